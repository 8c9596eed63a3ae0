"""One category file, read and checked against everything it refers to.

Rules beyond spelling:
- What is stored in clear is operational: ids, numbers, times and closed sets; never what people write or are called.
- A search token has a kind that suits the type; what is not searchable has none.
- A party is found by its own searchable fields, or it says that only the caller can name it.
- A grant in a category with content levels names its levels, because what is not named is not granted.
- What is kept in a register is not created, changed or deleted as a record.
- The full view is granted only with an operation by which values leave.
- Nothing is searched that has no field to search by.
- Only services see a value that is its own mask.
- Kinds of rows with rules of their own are told apart by one clear field, so that a record is of one kind.
- What is kept as records and for a time after an end has a clear field that says when it ended.
- What is kept after a contract says for which reasons; what is erased then, or hangs on no contract and is nobody's former customer, says none.
- Only the affiliate's own roles may hand anything to the affiliate, and only what is releasable to it; a third party is
  shown something at the customer's request alone, and to whom its consent names (A1, A2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vault.catalogue.document import Node
from vault.catalogue.fields import Description, Field, FieldType, NeverStored, Sensitivity, Storage
from vault.catalogue.model import (
    Category,
    ContractEnd,
    CourtClass,
    Erasure,
    ErasureException,
    Grant,
    HeldAs,
    Level,
    Minors,
    Operation,
    Party,
    Purpose,
    Reason,
    Recipient,
    Responsibility,
    Retention,
    RetentionEvent,
    Role,
    RowKind,
    View,
)
from vault.identifiers import IdentifierKind
from vault.masking import MaskStyle

# P1.7-no3p: what a third party is shown, the customer asked for.
_ASKED = "customer-request"
CONTENT_LEVELS = ("system-log", "report", "system-file")

# Keys of a category file and of the mappings in it; the published schema (`schema.py`) is made of the same.
ABOUT = (
    *("name", "code", "title", "description", "notice", "source", "data_subject"),
    *("products", "operating_entity", "role", "towards", "requirements"),
)
CONTENT = ("parties", "fields", "grants")
OUTCOMES = ("court_class", "affiliate", "on_erasure", "on_contract_end")
TIMES = ("occur_field", "valid_from_field", "valid_to_field", "ended_field", "requires_as_of")
OPTIONAL = (
    *TIMES,
    *("levels", "retention", "rows", "is_list", "held_as", "service_only", "minors", "court_if_named", "asks_who_readds"),
    *("erasure_exception", "erasure_note", "contract_end_note", "kept_for"),
)
PARTY = (("name", "description"), ("identified_by", "named_by_caller", "optional"))
FIELD = (
    ("type", "storage", "sensitivity", "description"),
    (
        *("party", "index", "required", "missing_reason", "values", "refused", "pattern", "max_bytes", "max_keys"),
        *("mask", "free", "scrub", "keep_days", "court_class", "goes_first"),
    ),
)
LEVEL = (("retained", "retention"), ())
RETENTION = (("days", "event", "text", "reason"), ("restricted_days", "ceiling_days", "floor_days", "latest_days", "afterwards"))
ROWS = (
    ("name", "field", "values", "description"),
    ("affiliate", "retention", "on_erasure", "on_contract_end", "ends_on_objection", "account_terms"),
)
GRANT = (("operations", "roles", "purposes", "view"), ("levels", "recipients"))

# Longest value in bytes where the type settles it; every other sealed type says so itself.
# RFC 5321 §4.5.3.1 for mail: 64 + 1 + 255; E.164 is 15 digits, and people add blanks, dashes and direction marks.
_MAX_BYTES: Mapping[FieldType, int] = {
    FieldType.PHONE: 64,
    FieldType.EMAIL: 320,
    FieldType.COMPANY_NUMBER: 32,
    FieldType.STAR_NUMBER: 16,
    FieldType.ID: 64,
    FieldType.INTEGER: 18,
    FieldType.TIMESTAMP: 40,
    FieldType.DATE: 10,
    FieldType.ENUM: 64,
}
_OPERATIONAL = frozenset({FieldType.ID, FieldType.INTEGER, FieldType.TIMESTAMP, FieldType.ENUM})
# What a value can be compared with a pattern of.
_PATTERNED = frozenset({FieldType.TEXT, FieldType.ID, FieldType.INTEGER})
# Operations by which values leave; for the others there is nothing that a full view would add.
RELEASING = frozenset({Operation.REVEAL, Operation.RESOLVE, Operation.EXPORT})
# What is done with a record and not with a register's entry.
_SEARCHING = frozenset({Operation.FIND, Operation.RESOLVE})
_WRITING = frozenset({Operation.CREATE, Operation.UPDATE, Operation.DELETE})
# Of which nothing is left when a contract has ended.
_GONE = frozenset({ContractEnd.DESTROYED, ContractEnd.ERASED})
REASON = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")

_INDEX_KINDS: Mapping[FieldType, frozenset[IdentifierKind]] = {
    FieldType.PHONE: frozenset({IdentifierKind.PHONE, IdentifierKind.VIRTUAL_NUMBER}),
    FieldType.EMAIL: frozenset({IdentifierKind.EMAIL}),
    FieldType.COMPANY_NUMBER: frozenset({IdentifierKind.COMPANY_NUMBER}),
    FieldType.COMPANY_NAME: frozenset({IdentifierKind.COMPANY_NAME}),
    FieldType.STAR_NUMBER: frozenset({IdentifierKind.STAR_NUMBER}),
    FieldType.TEXT: frozenset({IdentifierKind.USERNAME, IdentifierKind.INSTALL_ID}),
}


@dataclass(frozen=True, slots=True)
class Known:
    """Names that a category file may refer to."""

    products: Mapping[str, Description]
    roles: Mapping[str, Role]
    purposes: Mapping[str, Purpose]
    entities: frozenset[str]
    never_stored: NeverStored


def read_category(node: Node, known: Known) -> Category:
    """Read one category.

    Raises:
        CatalogueError: CATALOGUE_INVALID.
    """
    record = node.record((*ABOUT, *CONTENT, *OUTCOMES), OPTIONAL)
    parties = _parties(record["parties"])
    court_class = record["court_class"].choice(CourtClass)
    fields = _fields(record["fields"], [party.name for party in parties], known.never_stored, court_class)
    _check_parties(record["parties"], parties, fields)
    levels = _levels(record["levels"]) if "levels" in record else {}
    affiliate = record["affiliate"].flag()
    rows = _rows(record["rows"], fields, affiliate=affiliate) if "rows" in record else ()
    held_as = record["held_as"].choice(HeldAs) if "held_as" in record else HeldAs.RECORD
    category = Category(
        name=record["name"].name(),
        code=record["code"].text(),
        title=read_description(record["title"]),
        description=read_description(record["description"]),
        notice=read_description(record["notice"]),
        source=read_description(record["source"]),
        data_subject=read_description(record["data_subject"]),
        products=frozenset(record["products"].some_names(known.products, what="product")),
        operating_entity=record["operating_entity"].text(),
        responsibility=record["role"].choice(Responsibility),
        towards=read_description(record["towards"]),
        held_as=held_as,
        service_only=_flag(record, "service_only"),
        asks_who_readds=_flag(record, "asks_who_readds"),
        minors=record["minors"].choice(Minors) if "minors" in record else None,
        parties=parties,
        fields=MappingProxyType(fields),
        occur_field=_timestamp_field(record.get("occur_field"), fields),
        valid_from_field=_timestamp_field(record.get("valid_from_field"), fields),
        valid_to_field=_timestamp_field(record.get("valid_to_field"), fields),
        ended_field=_timestamp_field(record.get("ended_field"), fields),
        requires_as_of=_flag(record, "requires_as_of"),
        levels=MappingProxyType(levels),
        retention=_retention(record["retention"]) if "retention" in record else None,
        rows=rows,
        grants=_grants(
            record["grants"],
            known,
            levels,
            held_as,
            searchable=any(field.index for field in fields.values()),
            affiliate=affiliate or any(row.affiliate for row in rows),
        ),
        court_class=court_class,
        court_if_named=_flag(record, "court_if_named"),
        affiliate=affiliate,
        is_list=_flag(record, "is_list"),
        on_erasure=record["on_erasure"].choice(Erasure),
        erasure_exception=record["erasure_exception"].choice(ErasureException) if "erasure_exception" in record else None,
        erasure_note=_note(record.get("erasure_note")),
        on_contract_end=record["on_contract_end"].choice(ContractEnd),
        contract_end_note=_note(record.get("contract_end_note")),
        kept_for=frozenset(Reason(name) for name in record["kept_for"].some_names(Reason, what="reason"))
        if "kept_for" in record
        else frozenset(),
        requirements=record["requirements"].some_names(what="requirement"),
        never_stored=known.never_stored,
    )
    _check_category(node, record, category, known)
    return category


def read_description(node: Node) -> Description:
    """Read a text in both languages."""
    record = node.record(["he", "en"])
    return Description(he=record["he"].text(), en=record["en"].text())


def _note(node: Node | None) -> Description | None:
    return read_description(node) if node else None


def _flag(record: Mapping[str, Node], key: str) -> bool:
    """An optional `true` or `false`; what is not said is not so."""
    return key in record and record[key].flag()


def _check_category(node: Node, record: Mapping[str, Node], category: Category, known: Known) -> None:
    if known.never_stored.is_reserved(category.name):
        record["name"].fail("never-stored", f"'{category.name}' must never be stored")
    if category.operating_entity not in known.entities:
        record["operating_entity"].fail("unknown-entity", f"'{category.operating_entity}' is not a known entity")
    _check_times(node, record, category)
    _check_ends(node, record, category)
    _check_contract_end(node, record, category)
    if category.minors is Minors.GUARDIAN and category.responsibility is not Responsibility.CONTROLLER:
        record["minors"].fail("minors", "only where the operator is controller does it ask for a guardian's consent")
    if category.court_if_named and category.court_class is CourtClass.NONE:
        record["court_if_named"].fail("court", "no order can name what no order can have")
    if category.asks_who_readds and category.responsibility is not Responsibility.CONTROLLER:
        record["asks_who_readds"].fail("readd", "whom a tenant adds again is the tenant's to say")
    is_kept = Erasure.RESTRICTED in {category.on_erasure, *(row.on_erasure for row in category.rows)}
    if is_kept != (category.erasure_exception is not None):
        record.get("erasure_exception", node).fail("erasure", "what is restricted instead of erased says why, and nothing else does")
    for name, field in category.fields.items():
        if field.mask is MaskStyle.SHOWN and not category.service_only:
            record["fields"].entries()[name].entries()["mask"].fail("mask", "only what no person is ever shown is shown unmasked")


def _check_times(node: Node, record: Mapping[str, Node], category: Category) -> None:
    if bool(category.levels) == (category.retention is not None):
        record.get("retention", node).fail("retention", "retention is given once: by the category or by each of its levels")
    if (category.valid_from_field is None) != (category.valid_to_field is None):
        lonely = record.get("valid_from_field") or record["valid_to_field"]
        lonely.fail("interval", "validity has a beginning and an end")
    if category.requires_as_of and category.valid_from_field is None:
        record["requires_as_of"].fail("interval", "a look-up at a moment needs a validity interval")
    if category.levels and any(row.retention for row in category.rows):
        record["rows"].fail("retention", "where levels say how long something is kept, kinds of rows do not")


def _check_ends(node: Node, record: Mapping[str, Node], category: Category) -> None:
    """What starts a clock is kept in clear, and named where a clock waits for it; a register's own methods know when a row ended."""
    events = {retention.event for retention in category.retentions}
    if (category.held_as is HeldAs.RECORD and RetentionEvent.ENDED in events) != (category.ended_field is not None):
        record.get("ended_field", node).fail(
            "retention", "what is kept as records for a time after it ended, and nothing else, says which field tells"
        )
    if RetentionEvent.VALIDITY_ENDED in events and category.valid_to_field is None:
        node.fail("retention", "what is kept for a time after its validity has an interval")
    for key in ("ended_field", "valid_to_field"):
        name = getattr(category, key)
        if name is not None and category.fields[name].storage is not Storage.CLEAR:
            record[key].fail("storage", f"'{name}' starts a clock, and is kept in clear")


def _check_contract_end(node: Node, record: Mapping[str, Node], category: Category) -> None:
    """P3.8-reasons: nothing is kept without a reason, and nothing that goes has one."""
    end = category.on_contract_end
    if end in _GONE and category.kept_for:
        record["kept_for"].fail("contract-end", "what is erased when a contract ends is kept for no reason")
    if end not in _GONE and end is not ContractEnd.UNAFFECTED and not category.kept_for:
        node.fail("contract-end", "what is kept when a contract ends says for which reasons")


def _parties(node: Node) -> tuple[Party, ...]:
    found: list[Party] = []
    for item in node.items():
        record = item.record(*PARTY)
        name = record["name"].name()
        if name in {party.name for party in found}:
            record["name"].fail("duplicate-name", f"party '{name}' appears twice")
        by_caller = "named_by_caller" in record and record["named_by_caller"].flag()
        identified_by = record["identified_by"].names(what="field") if "identified_by" in record else ()
        if by_caller == bool(identified_by):
            record.get("named_by_caller", item).fail("party", f"party '{name}' is either identified by fields or named by the caller")
        optional = _flag(record, "optional")
        if optional and (not found or by_caller):
            record["optional"].fail("party", "the owner of a record is never missing, and nor is a party that only the caller can name")
        found.append(Party(name, identified_by, optional, read_description(record["description"])))
    if not found:
        node.fail("empty", "at least one party is needed")
    return tuple(found)


def _check_parties(node: Node, parties: tuple[Party, ...], fields: Mapping[str, Field]) -> None:
    for item, party in zip(node.items(), parties, strict=True):
        if not party.identified_by:
            continue
        if party.optional and any(field.required for field in fields.values() if field.party == party.name):
            item.entries()["optional"].fail("party", f"party '{party.name}' may be missing, so no field of it is required")
        for entry in item.entries()["identified_by"].items():
            field = fields.get(entry.text())
            if field is None or field.party != party.name or field.index is None:
                entry.fail("party", f"'{entry.text()}' is not a searchable field of party '{party.name}'")


def _fields(node: Node, parties: list[str], never_stored: NeverStored, court_class: CourtClass) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, entry in node.named_entries().items():
        if never_stored.is_card_secret(name) or never_stored.is_reserved(name):
            entry.fail("never-stored", f"field '{name}' must never be stored")
        found[name] = _field(name, entry, parties, court_class)
    return found


def _field(name: str, node: Node, parties: list[str], court_class: CourtClass) -> Field:
    record = node.record(*FIELD)
    kind, storage = record["type"].choice(FieldType), record["storage"].choice(Storage)
    index = record["index"].choice(IdentifierKind) if "index" in record else None
    _check_storage(node, record, kind, storage)
    # A key that is too much is named by its own line; one that is missing, by the line of the field.
    if (storage is Storage.INDEXED) != (index is not None):
        record.get("index", node).fail("index", f"field '{name}' is indexed exactly if it names an identifier kind")
    if index is not None and index not in _INDEX_KINDS.get(kind, frozenset()):
        record["index"].fail("index", f"identifier kind '{index}' does not suit type '{kind}'")
    if (kind is FieldType.ENUM) != ("values" in record):
        record.get("values", node).fail("values", f"field '{name}' lists its values exactly if it is an enum")
    if (kind is FieldType.MAP) != ("max_keys" in record):
        record.get("max_keys", node).fail("limit", f"field '{name}' limits its keys exactly if it is a map")
    if (kind in _MAX_BYTES) == ("max_bytes" in record):
        record.get("max_bytes", node).fail("limit", f"field '{name}' states its longest value exactly if its type does not")
    values = record["values"].some_names(what="value") if "values" in record else ()
    required = _flag(record, "required")
    _check_refinements(record, kind, storage, required=required)
    return Field(
        name=name,
        type=kind,
        storage=storage,
        party="" if storage is Storage.CLEAR else _party(record["party"], parties),
        index=index,
        required=required,
        values=values,
        sensitivity=record["sensitivity"].choice(Sensitivity),
        max_bytes=record["max_bytes"].number(least=1) if "max_bytes" in record else _MAX_BYTES[kind],
        max_keys=record["max_keys"].number(least=1) if "max_keys" in record else 0,
        mask=record["mask"].choice(MaskStyle) if "mask" in record else MaskStyle.HIDDEN,
        free=_flag(record, "free"),
        pattern=_pattern(record.get("pattern")),
        missing_reason=_reason(record["missing_reason"]) if "missing_reason" in record else "",
        refused=_refused(record.get("refused"), values),
        keep_days=record["keep_days"].number(least=1) if "keep_days" in record else 0,
        court_class=record["court_class"].choice(CourtClass) if "court_class" in record else court_class,
        goes_first=_flag(record, "goes_first"),
        scrub=_flag(record, "scrub"),
        description=read_description(record["description"]),
    )


def _check_refinements(record: Mapping[str, Node], kind: FieldType, storage: Storage, *, required: bool) -> None:
    if "pattern" in record and kind not in _PATTERNED:
        record["pattern"].fail("pattern", f"a value of type '{kind}' has its form already")
    if "missing_reason" in record and not required:
        record["missing_reason"].fail("reason", "only a field that is required is missed")
    if "refused" in record and kind is not FieldType.ENUM:
        record["refused"].fail("values", "only the values of an enum are refused one by one")
    if "scrub" in record and kind is not FieldType.TEXT:
        record["scrub"].fail("scrub", "only text is scrubbed")
    if "goes_first" in record and (storage is Storage.CLEAR or required):
        record["goes_first"].fail("erasure", "what goes before its record is personal and not required")
    if "keep_days" in record and (storage is Storage.CLEAR or required):
        record["keep_days"].fail("retention", "what goes before its record is personal and not required")


def _pattern(node: Node | None) -> re.Pattern[str] | None:
    if node is None:
        return None
    try:
        return re.compile(node.text())
    except re.error:
        node.fail("pattern", "not a regular expression")


def _reason(node: Node) -> str:
    text = node.text()
    if not REASON.fullmatch(text):
        node.fail("reason", "a reason is upper-case words joined by '_'")
    return text


def _refused(node: Node | None, values: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for value, entry in node.entries().items() if node else ():
        if value in values:
            entry.fail("values", f"'{value}' cannot be both accepted and refused")
        found[value] = _reason(entry)
    return MappingProxyType(found)


def _rows(node: Node, fields: Mapping[str, Field], *, affiliate: bool) -> tuple[RowKind, ...]:
    found: list[RowKind] = []
    for item in node.items():
        record = item.record(*ROWS)
        name, field = record["name"].name(), record["field"].text()
        spec = fields.get(field)
        if spec is None or spec.type is not FieldType.ENUM or spec.storage is not Storage.CLEAR:
            record["field"].fail("rows", f"'{field}' is not an enum of the category that is kept in clear")
        row = RowKind(
            name=name,
            field=field,
            values=frozenset(record["values"].some_names(spec.values, what="value")),
            affiliate=_flag(record, "affiliate"),
            retention=_retention(record["retention"]) if "retention" in record else None,
            on_erasure=record["on_erasure"].choice(Erasure) if "on_erasure" in record else None,
            on_contract_end=record["on_contract_end"].choice(ContractEnd) if "on_contract_end" in record else None,
            ends_on_objection=_flag(record, "ends_on_objection"),
            account_terms=_terms(record["account_terms"], fields) if "account_terms" in record else "",
            description=read_description(record["description"]),
        )
        if row.affiliate and affiliate:
            record["affiliate"].fail("rows", "the whole category goes to the affiliate already")
        if any(name == other.name or field != other.field or row.values & other.values for other in found):
            item.fail(
                "rows", f"a record is of one kind, so '{name}' shares no name and no value with another, and is told by the same field"
            )
        found.append(row)
    if not found:
        node.fail("empty", "a category without kinds of rows does not speak of them")
    return tuple(found)


def _terms(node: Node, fields: Mapping[str, Field]) -> str:
    name = node.text()
    spec = fields.get(name)
    if spec is None or spec.storage is not Storage.CLEAR or not spec.required:
        node.fail("rows", f"'{name}' is not a field of the category that is required and kept in clear")
    return name


def _check_storage(node: Node, record: Mapping[str, Node], kind: FieldType, storage: Storage) -> None:
    if storage is Storage.CLEAR:
        if kind not in _OPERATIONAL:
            record["storage"].fail("storage", f"a value of type '{kind}' is never stored in clear")
        if record["sensitivity"].choice(Sensitivity) is not Sensitivity.OPERATIONAL:
            record["sensitivity"].fail("storage", "only operational values are stored in clear")
        if extra := record.keys() & {"party", "mask", "free", "index"}:
            record[min(extra)].fail("storage", f"a clear field has no {min(extra)}")
    elif "party" not in record or "mask" not in record:
        node.fail("missing-key", "a sealed field says whose it is and how it is masked")


def _party(node: Node, parties: list[str]) -> str:
    name = node.text()
    if name not in parties:
        node.fail("unknown-party", f"'{name}' is not a party of the category")
    return name


def _timestamp_field(node: Node | None, fields: Mapping[str, Field]) -> str | None:
    if node is None:
        return None
    name = node.text()
    if name not in fields or fields[name].type is not FieldType.TIMESTAMP:
        node.fail("unknown-field", f"'{name}' is not a timestamp field of the category")
    return name


def _levels(node: Node) -> dict[str, Level]:
    found: dict[str, Level] = {}
    for name, entry in node.named_entries().items():
        if name not in CONTENT_LEVELS:
            entry.fail("unknown-level", f"'{name}' is not a content level")
        record = entry.record(*LEVEL)
        found[name] = Level(name, retained=record["retained"].flag(), retention=_retention(record["retention"]))
    if not found:
        node.fail("empty", "a category without content levels does not speak of them")
    return found


def _retention(node: Node) -> Retention:
    record = node.record(*RETENTION)
    days, event = record["days"].number(), record["event"].choice(RetentionEvent)
    restricted_days = record["restricted_days"].number() if "restricted_days" in record else 0
    ceiling_days = record["ceiling_days"].number(least=1) if "ceiling_days" in record else 0
    if ceiling_days and days > ceiling_days:
        record["days"].fail("retention", f"kept {days} days, above the ceiling of {ceiling_days}")
    floor_days = record["floor_days"].number(least=1) if "floor_days" in record else 0
    if days < floor_days:
        record["days"].fail("retention", f"kept {days} days, below the floor of {floor_days}")
    if restricted_days and restricted_days <= days:
        record["restricted_days"].fail("retention", "restriction lasts longer than ordinary use")
    afterwards = record["afterwards"].choice(Erasure) if "afterwards" in record else Erasure.RESTRICTED
    if "afterwards" in record and (not restricted_days or afterwards not in {Erasure.RESTRICTED, Erasure.TOKENISED}):
        record["afterwards"].fail("retention", "what is kept on is restricted or tokenised")
    if (event is RetentionEvent.DELIVERED) != ("latest_days" in record):
        # What is destroyed on delivery must not stay because nobody ever took it (P3.4-rec); every other event comes of itself.
        record.get("latest_days", node).fail("retention", "what waits for delivery, and nothing else, says when it goes undelivered")
    return Retention(
        days=days,
        restricted_days=restricted_days,
        ceiling_days=ceiling_days,
        floor_days=floor_days,
        latest_days=record["latest_days"].number(least=1) if "latest_days" in record else 0,
        afterwards=afterwards,
        event=event,
        text=read_description(record["text"]),
        reason=read_description(record["reason"]),
    )


def _grants(
    node: Node, known: Known, levels: Mapping[str, Level], held_as: HeldAs, *, searchable: bool, affiliate: bool
) -> tuple[Grant, ...]:
    found: list[Grant] = []
    for number, item in enumerate(node.items(), start=1):
        record = item.record(*GRANT)
        if bool(levels) != ("levels" in record):
            record.get("levels", item).fail("level", "a grant names its levels exactly if the category has some")
        grant = Grant(
            number=number,
            operations=frozenset(Operation(name) for name in record["operations"].some_names(Operation, what="operation")),
            roles=frozenset(record["roles"].some_names(known.roles, what="role")),
            purposes=frozenset(record["purposes"].some_names(known.purposes, what="purpose")),
            levels=frozenset(record["levels"].some_names(levels, what="level") if "levels" in record else ()),
            view=record["view"].choice(View),
            recipients=_recipients(record.get("recipients")),
        )
        _check_recipients(record.get("recipients", item), grant, known, affiliate=affiliate)
        if held_as is HeldAs.REGISTER and grant.operations & _WRITING:
            record["operations"].fail("register", "what a register holds is written by the register's own methods")
        if grant.operations & _SEARCHING and not searchable:
            record["operations"].fail("search", "what has no field to search by is not found or resolved")
        if grant.view is View.FULL and not grant.operations & RELEASING:
            record["view"].fail("view", "the full view adds nothing where no value leaves")
        found.append(grant)
    return tuple(found)


def _recipients(node: Node | None) -> frozenset[Recipient]:
    if node is None:
        return frozenset({Recipient.INTERNAL})
    return frozenset(Recipient(name) for name in node.some_names(Recipient, what="recipient"))


def _check_recipients(node: Node, grant: Grant, known: Known, *, affiliate: bool) -> None:
    to_third_party = grant.recipients == {Recipient.THIRD_PARTY} and grant.purposes == {_ASKED} and grant.operations == {Operation.REVEAL}
    if Recipient.THIRD_PARTY in grant.recipients and not to_third_party:
        node.fail("recipient", "a third party is shown something at the customer's request, by a grant of its own, and nothing else")
    other_entity = {known.roles[name].other_entity for name in grant.roles}
    to_affiliate = grant.recipients == frozenset({Recipient.AFFILIATE})
    if (Recipient.AFFILIATE in grant.recipients or True in other_entity) and not (to_affiliate and other_entity == {True} and affiliate):
        node.fail("recipient", "the affiliate receives through its own roles alone, and only what is releasable to it")
