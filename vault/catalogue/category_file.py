"""One category file, read and checked against everything it refers to.

Rules beyond spelling:
- What is stored in clear is operational: ids, numbers, times and closed sets; never what people write or are called.
- A search token has a kind that suits the type; what is not searchable has none.
- A party is found by its own searchable fields, or it says that only the caller can name it.
- A grant in a category with content levels names its levels, because what is not named is not granted.
- Only the affiliate's own roles may hand anything to the affiliate, and only what is releasable to it; no grant reaches a third party (A1, A2).
"""

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
    Grant,
    Level,
    Operation,
    Party,
    Purpose,
    Recipient,
    Responsibility,
    Retention,
    RetentionEvent,
    Role,
    View,
)
from vault.identifiers import IdentifierKind
from vault.masking import MaskStyle

CONTENT_LEVELS = ("system-log", "report", "system-file")

_ABOUT = ("name", "code", "description", "data_subject", "products", "operating_entity", "role", "requirements")
_CONTENT = ("parties", "fields", "grants")
_OUTCOMES = ("court_class", "affiliate", "on_erasure", "on_contract_end")
_OPTIONAL = ("occur_field", "valid_from_field", "valid_to_field", "requires_as_of", "levels", "retention", "is_list")

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
    FieldType.ENUM: 64,
}
_OPERATIONAL = frozenset({FieldType.ID, FieldType.INTEGER, FieldType.TIMESTAMP, FieldType.ENUM})
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
    record = node.record((*_ABOUT, *_CONTENT, *_OUTCOMES), _OPTIONAL)
    parties = _parties(record["parties"])
    fields = _fields(record["fields"], [party.name for party in parties], known.never_stored)
    _check_parties(record["parties"], parties, fields)
    levels = _levels(record["levels"]) if "levels" in record else {}
    affiliate = record["affiliate"].flag()
    category = Category(
        name=record["name"].name(),
        code=record["code"].text(),
        description=read_description(record["description"]),
        data_subject=read_description(record["data_subject"]),
        products=frozenset(record["products"].some_names(known.products, what="product")),
        operating_entity=record["operating_entity"].text(),
        responsibility=record["role"].choice(Responsibility),
        parties=parties,
        fields=MappingProxyType(fields),
        occur_field=_timestamp_field(record.get("occur_field"), fields),
        valid_from_field=_timestamp_field(record.get("valid_from_field"), fields),
        valid_to_field=_timestamp_field(record.get("valid_to_field"), fields),
        requires_as_of="requires_as_of" in record and record["requires_as_of"].flag(),
        levels=MappingProxyType(levels),
        retention=_retention(record["retention"]) if "retention" in record else None,
        grants=_grants(record["grants"], known, levels, affiliate=affiliate),
        court_class=record["court_class"].choice(CourtClass),
        affiliate=affiliate,
        is_list="is_list" in record and record["is_list"].flag(),
        on_erasure=record["on_erasure"].choice(Erasure),
        on_contract_end=record["on_contract_end"].choice(ContractEnd),
        requirements=record["requirements"].some_names(what="requirement"),
        never_stored=known.never_stored,
    )
    _check_category(node, record, category, known)
    return category


def read_description(node: Node) -> Description:
    """Read a text in both languages."""
    record = node.record(["he", "en"])
    return Description(he=record["he"].text(), en=record["en"].text())


def _check_category(node: Node, record: Mapping[str, Node], category: Category, known: Known) -> None:
    if known.never_stored.is_reserved(category.name):
        record["name"].fail("never-stored", f"'{category.name}' must never be stored")
    if category.operating_entity not in known.entities:
        record["operating_entity"].fail("unknown-entity", f"'{category.operating_entity}' is not a known entity")
    if bool(category.levels) == (category.retention is not None):
        record.get("retention", node).fail("retention", "retention is given once: by the category or by each of its levels")
    if (category.valid_from_field is None) != (category.valid_to_field is None):
        lonely = record.get("valid_from_field") or record["valid_to_field"]
        lonely.fail("interval", "validity has a beginning and an end")
    if category.requires_as_of and category.valid_from_field is None:
        record["requires_as_of"].fail("interval", "a look-up at a moment needs a validity interval")


def _parties(node: Node) -> tuple[Party, ...]:
    found: list[Party] = []
    for item in node.items():
        record = item.record(["name", "description"], ["identified_by", "named_by_caller"])
        name = record["name"].name()
        if name in {party.name for party in found}:
            record["name"].fail("duplicate-name", f"party '{name}' appears twice")
        by_caller = "named_by_caller" in record and record["named_by_caller"].flag()
        identified_by = record["identified_by"].names(what="field") if "identified_by" in record else ()
        if by_caller == bool(identified_by):
            record.get("named_by_caller", item).fail("party", f"party '{name}' is either identified by fields or named by the caller")
        found.append(Party(name, identified_by, read_description(record["description"])))
    if not found:
        node.fail("empty", "at least one party is needed")
    return tuple(found)


def _check_parties(node: Node, parties: tuple[Party, ...], fields: Mapping[str, Field]) -> None:
    for item, party in zip(node.items(), parties, strict=True):
        if not party.identified_by:
            continue
        for entry in item.entries()["identified_by"].items():
            field = fields.get(entry.text())
            if field is None or field.party != party.name or field.index is None:
                entry.fail("party", f"'{entry.text()}' is not a searchable field of party '{party.name}'")


def _fields(node: Node, parties: list[str], never_stored: NeverStored) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, entry in node.named_entries().items():
        if never_stored.is_card_secret(name) or never_stored.is_reserved(name):
            entry.fail("never-stored", f"field '{name}' must never be stored")
        found[name] = _field(name, entry, parties)
    return found


def _field(name: str, node: Node, parties: list[str]) -> Field:
    record = node.record(
        ["type", "storage", "sensitivity", "description"],
        ["party", "index", "required", "values", "max_bytes", "max_keys", "mask", "free"],
    )
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
    return Field(
        name=name,
        type=kind,
        storage=storage,
        party="" if storage is Storage.CLEAR else _party(record["party"], parties),
        index=index,
        required="required" in record and record["required"].flag(),
        values=record["values"].some_names(what="value") if "values" in record else (),
        sensitivity=record["sensitivity"].choice(Sensitivity),
        max_bytes=record["max_bytes"].number(least=1) if "max_bytes" in record else _MAX_BYTES[kind],
        max_keys=record["max_keys"].number(least=1) if "max_keys" in record else 0,
        mask=record["mask"].choice(MaskStyle) if "mask" in record else MaskStyle.HIDDEN,
        free="free" in record and record["free"].flag(),
        description=read_description(record["description"]),
    )


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
        record = entry.record(["retained", "retention"])
        found[name] = Level(name, retained=record["retained"].flag(), retention=_retention(record["retention"]))
    if not found:
        node.fail("empty", "a category without content levels does not speak of them")
    return found


def _retention(node: Node) -> Retention:
    record = node.record(["days", "event", "text", "reason"], ["restricted_days", "ceiling_days"])
    days = record["days"].number()
    restricted_days = record["restricted_days"].number() if "restricted_days" in record else 0
    ceiling_days = record["ceiling_days"].number(least=1) if "ceiling_days" in record else 0
    if ceiling_days and days > ceiling_days:
        record["days"].fail("retention", f"kept {days} days, above the ceiling of {ceiling_days}")
    if restricted_days and restricted_days <= days:
        record["restricted_days"].fail("retention", "restriction lasts longer than ordinary use")
    return Retention(
        days=days,
        restricted_days=restricted_days,
        ceiling_days=ceiling_days,
        event=record["event"].choice(RetentionEvent),
        text=read_description(record["text"]),
        reason=read_description(record["reason"]),
    )


def _grants(node: Node, known: Known, levels: Mapping[str, Level], *, affiliate: bool) -> tuple[Grant, ...]:
    found: list[Grant] = []
    for number, item in enumerate(node.items(), start=1):
        record = item.record(["operations", "roles", "purposes", "view"], ["levels", "recipients"])
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
        found.append(grant)
    return tuple(found)


def _recipients(node: Node | None) -> frozenset[Recipient]:
    if node is None:
        return frozenset({Recipient.INTERNAL})
    return frozenset(Recipient(name) for name in node.some_names(Recipient, what="recipient"))


def _check_recipients(node: Node, grant: Grant, known: Known, *, affiliate: bool) -> None:
    if Recipient.THIRD_PARTY in grant.recipients:
        node.fail("recipient", "no grant reaches a third party; that takes the customer's consent")
    other_entity = {known.roles[name].other_entity for name in grant.roles}
    to_affiliate = grant.recipients == frozenset({Recipient.AFFILIATE})
    if (Recipient.AFFILIATE in grant.recipients or True in other_entity) and not (to_affiliate and other_entity == {True} and affiliate):
        node.fail("recipient", "the affiliate receives through its own roles alone, and only what is releasable to it")
