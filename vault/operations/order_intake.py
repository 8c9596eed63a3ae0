"""What an order may say: the kinds of instruments and what each may reach (§5.1–5.3, L19–L23, A18, A19). Reads the catalogue; no database.

Rules:
- What an instrument does not cover is refused whole, not narrowed in silence; whoever names the fields that are covered gets those.
- Content needs an instrument that can reach it, that names it, and counsel's word on it.
- Under some instruments nothing is ever released: they stay on the register, rejected, with the reason.
- A scope may become narrower than the order, never wider.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vault import civil_time
from vault.bundle import seal
from vault.catalogue.model import CourtClass
from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.identifiers import IdentifierKind, normalise
from vault.operations import case_number
from vault.operations.core import Vault
from vault.operations.order_content import DISCLOSURES, UNTIL, Gag, Instrument, OrderContent, Period, Recipient, Scope

APPROVER, OFFICER, PRIVACY = "legal-approver", "legal-officer", "privacy-officer"
PRESERVATION, URGENT = "PRESERVATION", "COMMS_URGENT"
_MAX_TARGETS = 100
_SHA256_BYTES = 32
_MAX_TEXT = 200
_MAX_NOTE = 2000
_MAX_PAGES = 10_000
_MAX_DOCUMENT = 3 << 20  # bytes; a message is at most 4 MiB
_DELIVERIES = frozenset({"", "download", "courier", "medium"})
_IN_COURTS = frozenset({"MAGISTRATE", "DISTRICT", "SUPREME", "LABOUR"})
_TRAFFIC = frozenset({CourtClass.SUBSCRIBER, CourtClass.TRAFFIC})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of instrument (§5.2).

    Attributes:
        classes: what it reaches; content only where counsel confirms that it is named.
        approvals: how many people approve before anything is built.
        privacy: whether the privacy officer is one more of them.
        afterwards: how many approve after release.
        default_end: when it ends if it prints no end; None if it must print one.
        longest: how long it can run from its issue; None for what is printed.
        named_only: whether it has to name each field.
        cites_law: whether it has to cite the section that it rests on.
        releases: whether anything is ever released under it.
        refusal: why nothing is done under it at all; empty if something is.
    """

    classes: frozenset[CourtClass] = frozenset()
    approvals: int = 2
    privacy: bool = False
    afterwards: int = 0
    default_end: timedelta | None = None
    longest: timedelta | None = None
    named_only: bool = False
    cites_law: bool = False
    releases: bool = True
    refusal: str = ""


_ALL = _TRAFFIC | {CourtClass.CONTENT}
KINDS: Mapping[str, Kind] = {
    # L19: to be carried out within thirty days, unless the order says otherwise.
    "COMMS_DATA": Kind(_TRAFFIC, default_end=timedelta(days=30)),
    # L20: no court, so a day and no second longer; the second approval follows within a business day.
    URGENT: Kind(_TRAFFIC, approvals=1, afterwards=1, default_end=timedelta(hours=24), longest=timedelta(hours=24)),
    "PRODUCTION": Kind(_ALL),
    "CIVIL_DISCLOSURE": Kind(_ALL, named_only=True),
    "REGULATOR_DEMAND": Kind(_ALL, privacy=True, cites_law=True),
    # A18: renewed by another letter; how long one holds is configured.
    PRESERVATION: Kind(approvals=1, releases=False),
    "WIRETAP": Kind(refusal="INSTRUMENT_NOT_ALLOWED"),
    "FOREIGN": Kind(refusal="INSTRUMENT_NOT_ALLOWED"),
    "DATABASE_BULK": Kind(refusal="SCOPE_TOO_WIDE"),
    "NO_INSTRUMENT": Kind(refusal="NO_INSTRUMENT"),
}


def kind_of(instrument_type: str) -> Kind:
    """The kind of an instrument."""
    return KINDS[instrument_type]


def checked_content(vault: Vault, content: OrderContent, now: datetime) -> OrderContent:
    """An order as it is registered: times filled in, targets normalised. Of one that is refused anyway only the texts are looked at.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID, CASE_NUMBER_INVALID, SCOPE_TOO_WIDE, FUTURE_SCOPE, UNKNOWN_CATEGORY, UNKNOWN_FIELD,
            IDENTIFIER_INVALID, RECIPIENT_KEY_INVALID.
        FailedPreconditionError: CLASS_NOT_COVERED, ORDER_EXPIRED.
    """
    kind = kind_of(content.instrument.type)
    instrument = _checked_instrument(vault, content.instrument, kind, now)
    if kind.refusal:
        return replace(content, instrument=instrument)
    scope = normalised_scope(vault, content.scope)
    check_scope(vault, scope, instrument, now)
    if kind.releases:
        check_recipient(content.recipient)
    return OrderContent(instrument, scope, content.recipient, scope)


def normalised_scope(vault: Vault, scope: Scope) -> Scope:
    """A scope in one order, its targets in one spelling and its period as it is meant on the clock of a place, if it says so.

    Raises:
        InvalidArgumentError: SCOPE_TOO_WIDE, FIELD_INVALID, IDENTIFIER_INVALID, UNKNOWN_IDENTIFIER_KIND.
    """
    if not 1 <= len(scope.targets) <= _MAX_TARGETS:
        raise InvalidArgumentError(
            "SCOPE_TOO_WIDE", f"an order names 1 to {_MAX_TARGETS} targets", field="scope.targets", limit=str(_MAX_TARGETS)
        )
    spelled = {target: _normalised(vault, target, number) for number, target in enumerate(scope.targets)}
    return replace(
        _as_printed(scope),
        targets=tuple(sorted(set(spelled.values()))),
        categories=tuple(sorted(set(scope.categories))),
        fields=tuple(sorted(set(scope.fields))),
        levels=tuple(sorted(set(scope.levels))),
        declined=tuple(sorted(set(scope.declined))),
        periods={spelled[target]: period for target, period in scope.periods.items()},
    )


def check_scope(vault: Vault, scope: Scope, instrument: Instrument, now: datetime) -> None:
    """Refuse a scope that the instrument does not cover, or that no order can have.

    Raises:
        InvalidArgumentError: FUTURE_SCOPE, FIELD_INVALID, UNKNOWN_CATEGORY, UNKNOWN_FIELD.
        FailedPreconditionError: CLASS_NOT_COVERED, CATEGORY_HELD_AS_REGISTER.
    """
    if scope.end_time > now:
        raise InvalidArgumentError("FUTURE_SCOPE", "the period ends in the future", field="scope.end_time")
    if scope.start_time >= scope.end_time:
        raise InvalidArgumentError("FIELD_INVALID", "the period ends before it begins", field="scope.end_time")
    if any(not scope.start_time <= period.start < period.end <= scope.end_time for period in scope.periods.values()):
        raise InvalidArgumentError("FIELD_INVALID", "a target's period is not within that of the scope", field="scope.targets.start_time")
    if scope.max_rows < 0:
        raise InvalidArgumentError("FIELD_INVALID", "a number of records is not below zero", field="scope.max_rows")
    if set(scope.declined) & set(scope.categories):
        raise InvalidArgumentError("FIELD_INVALID", "a category is exported or declined, not both", field="scope.declined_categories")
    for number, name in enumerate(scope.categories):
        _check_category(vault, scope, instrument, name, f"scope.categories[{number}]")
    for name in scope.declined:
        vault.catalogue.category(name).check_storable()


def check_narrower(scope: Scope, ordered: Scope) -> None:
    """Refuse a scope that reaches anything that the order does not (N2).

    Raises:
        FailedPreconditionError: SCOPE_EXCEEDED, naming the part.
    """
    wider = {
        "targets": not set(scope.targets) <= set(ordered.targets),
        "categories": not set(scope.categories) <= set(ordered.categories),
        "declined_categories": not set(scope.declined) <= {*ordered.declined, *ordered.categories},
        "fields": _more(scope.fields, ordered.fields),
        "levels": _more(scope.levels, ordered.levels),
        "period": any(_outside(scope.period_of(target), ordered.period_of(target)) for target in scope.targets),
        "max_rows": ordered.max_rows > 0 and not 0 < scope.max_rows <= ordered.max_rows,
        "counterpart_disclosure": DISCLOSURES.index(scope.counterpart) > DISCLOSURES.index(ordered.counterpart),
    }
    part = next((name for name, is_wider in wider.items() if is_wider), "")
    if part:
        raise FailedPreconditionError("SCOPE_EXCEEDED", f"the order does not cover that much: {part}", part=part)


def check_recipient(recipient: Recipient) -> None:
    """Refuse a recipient whose key is none; whether it was verified is looked at when somebody approves.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID, RECIPIENT_KEY_INVALID.
    """
    if not recipient.body:
        raise InvalidArgumentError("FIELD_REQUIRED", "field 'recipient.body' is empty", field="recipient.body")
    seal.fingerprint(recipient.age_recipient)
    for name in ("body", "verification", "unit", "person", "verified_by"):
        _check_line(getattr(recipient, name), f"recipient.{name}")
    if recipient.delivery_method not in _DELIVERIES:
        message = f"a package is delivered by {', '.join(sorted(_DELIVERIES - {''}))}"
        raise InvalidArgumentError("FIELD_INVALID", message, field="recipient.delivery_method")


def require_usable_key(recipient: Recipient, now: datetime) -> None:
    """Refuse a recipient's key that nobody verified, or whose time is over (N14).

    Raises:
        FailedPreconditionError: RECIPIENT_KEY_INVALID.
    """
    if not recipient.verification.strip():
        raise FailedPreconditionError("RECIPIENT_KEY_INVALID", "the recipient's key was not verified")
    if recipient.key_expire_time is not None and recipient.key_expire_time <= now:
        raise FailedPreconditionError("RECIPIENT_KEY_INVALID", "the recipient's key has expired")


def check_document(document: bytes, sha256: bytes, digest: bytes) -> None:
    """Refuse a scan that is not the document of the order, or too large (N13).

    Args:
        document: the scan.
        sha256: digest that the instrument names.
        digest: digest of the scan.
    Raises:
        InvalidArgumentError: DOCUMENT_MISMATCH, FIELD_INVALID.
    """
    if len(document) > _MAX_DOCUMENT:
        raise InvalidArgumentError("FIELD_INVALID", "the scanned document is larger than 3 MiB", field="document", limit=str(_MAX_DOCUMENT))
    if digest != sha256:
        raise InvalidArgumentError(
            "DOCUMENT_MISMATCH", "the scanned document is not the one whose digest the order names", field="document"
        )


def _checked_instrument(vault: Vault, said: Instrument, kind: Kind, now: datetime) -> Instrument:
    if len(said.document_sha256) != _SHA256_BYTES:
        raise InvalidArgumentError("FIELD_INVALID", "document digest is not 32 bytes", field="instrument.document_sha256")
    _check_texts(said, kind)
    if said.court_level in _IN_COURTS:
        case_number.parse(said.case_number)
    if kind.cites_law and not said.legal_section.strip():
        raise InvalidArgumentError("FIELD_REQUIRED", "a regulator cites the section it relies on", field="instrument.legal_section")
    if not 0 <= said.pages <= _MAX_PAGES:
        raise InvalidArgumentError("FIELD_INVALID", "a document does not have that many pages", field="instrument.pages")
    received = said.receive_time or now
    if not said.issue_time <= now:
        raise InvalidArgumentError("FIELD_INVALID", "the order was issued in the future", field="instrument.issue_time")
    if not said.issue_time <= received <= now:
        raise InvalidArgumentError(
            "FIELD_INVALID", "the order was received before it was issued, or in the future", field="instrument.receive_time"
        )
    said = replace(
        said, receive_time=received, valid_from_time=said.valid_from_time or said.issue_time, expire_time=_end(vault, said, kind)
    )
    _check_end(said, kind, now)
    _check_gag(said.gag, now)
    return said


def _check_texts(said: Instrument, kind: Kind) -> None:
    needed = {"issuer_name", "requesting_body"} | (set() if kind.refusal else {"court_name", "case_number"})
    lines = needed | {"court_name", "case_number", "court_code", "issuer_title", "received_by", "investigation_number", "contact"}
    for name in sorted(lines | {"call_back", "legal_basis", "legal_section", "true_copy_stamp", "language"}):
        text = getattr(said, name)
        if name in needed and not text.strip():
            raise InvalidArgumentError("FIELD_REQUIRED", f"field 'instrument.{name}' is empty", field=f"instrument.{name}")
        _check_line(text, f"instrument.{name}")
    if len(said.counsel_note) > _MAX_NOTE:
        raise InvalidArgumentError("FIELD_INVALID", "counsel's note is too long", field="instrument.counsel_note", limit=str(_MAX_NOTE))


def _check_line(text: str, field: str) -> None:
    # Marks of direction are part of Hebrew typing, and not printable in the sense of Python.
    visible = "".join(c for c in text if c not in "\u200e\u200f")
    if len(text) > _MAX_TEXT or not visible.isprintable() or (text and not text.strip()):
        message = f"a text of the order is not one line of 1 to {_MAX_TEXT} characters"
        raise InvalidArgumentError("FIELD_INVALID", message, field=field, limit=str(_MAX_TEXT))


def _end(vault: Vault, said: Instrument, kind: Kind) -> datetime:
    """When the instrument ends: as printed, or as the law says. What is refused anyway ends when it began."""
    if said.expire_time > said.issue_time:
        return said.expire_time
    default = timedelta(days=vault.limits.preservation_days) if said.type == PRESERVATION else kind.default_end
    if default is not None and said.expire_time == said.issue_time:
        return said.issue_time + default
    if kind.refusal:
        return said.issue_time
    if said.expire_time == said.issue_time:
        raise InvalidArgumentError("FIELD_REQUIRED", "field 'instrument.expire_time' is empty", field="instrument.expire_time")
    raise InvalidArgumentError("FIELD_INVALID", "the order ends before it was issued", field="instrument.expire_time")


def _check_end(said: Instrument, kind: Kind, now: datetime) -> None:
    if kind.refusal:
        return
    if kind.longest and said.expire_time > said.issue_time + kind.longest:
        raise InvalidArgumentError("FIELD_INVALID", "the instrument cannot run that long", field="instrument.expire_time")
    if said.expire_time <= now:
        raise FailedPreconditionError("ORDER_EXPIRED", "the order has expired")
    if said.valid_from_time is not None and not said.issue_time <= said.valid_from_time < said.expire_time:
        raise InvalidArgumentError(
            "FIELD_INVALID", "the order begins before its issue or after its end", field="instrument.valid_from_time"
        )
    if said.respond_time is not None and said.respond_time < said.issue_time:
        raise InvalidArgumentError("FIELD_INVALID", "the answer would be due before the order was issued", field="instrument.respond_time")


def _check_gag(gag: Gag, now: datetime) -> None:
    if (gag.kind == UNTIL) != (gag.end_time is not None):
        raise InvalidArgumentError("FIELD_INVALID", "a gag has a date exactly if it is until a date", field="instrument.gag.end_time")
    if gag.end_time is not None and gag.end_time <= now:
        raise InvalidArgumentError("FIELD_INVALID", "the gag would have ended already", field="instrument.gag.end_time")


def _check_category(vault: Vault, scope: Scope, instrument: Instrument, name: str, field: str) -> None:
    category, kind = vault.catalogue.category(name), kind_of(instrument.type)
    category.check_storable()
    if not kind.releases:
        return
    if (category.court_if_named or kind.named_only) and not scope.fields:
        raise FailedPreconditionError("CLASS_NOT_COVERED", "the order has to name the fields of this category", category=category.name)
    if set(scope.fields) - category.fields.keys():
        raise InvalidArgumentError("UNKNOWN_FIELD", "a field is not one of the category's", field=field)
    asked = {category.fields[name].court_class for name in scope.fields or tuple(category.fields)}
    if not asked <= kind.classes:
        raise FailedPreconditionError("CLASS_NOT_COVERED", "the instrument does not cover all of this", category=category.name)
    if CourtClass.CONTENT in asked and not (instrument.names_content and instrument.counsel_note.strip()):
        message = "content is covered only where the order names it and counsel confirms that"
        raise FailedPreconditionError("CLASS_NOT_COVERED", message, category=category.name)


def _as_printed(scope: Scope) -> Scope:
    """The scope with what its times on the wall mean, if it has any; they must mean the times that it says in UTC (§5.3)."""
    if not (scope.time_zone or scope.local_start or scope.local_end):
        return scope
    meant = civil_time.interval(scope.local_start, scope.local_end, scope.time_zone or civil_time.JERUSALEM)
    for name, said, is_meant in (("start", scope.start_time, meant.start), ("end", scope.end_time, meant.end)):
        if said != is_meant:
            raise InvalidArgumentError("FIELD_INVALID", "the time on the wall means another moment", field=f"scope.{name}_time")
    return replace(scope, time_zone=scope.time_zone or civil_time.JERUSALEM, notes=tuple(note.value for note in meant.notes))


def _normalised(vault: Vault, target: tuple[str, str], number: int) -> tuple[str, str]:
    kind, value = target
    if kind not in set(IdentifierKind):
        raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "no such identifier kind", field=f"scope.targets[{number}].kind")
    return kind, normalise(IdentifierKind(kind), value, region=vault.region)


def _more(asked: tuple[str, ...], ordered: tuple[str, ...]) -> bool:
    """Whether more is asked than was ordered; an empty list is everything."""
    return bool(ordered) and not (asked and set(asked) <= set(ordered))


def _outside(period: Period, ordered: Period) -> bool:
    return period.start < ordered.start or period.end > ordered.end
