"""What an order says: instrument, scope, recipient; as values, and as the canonical JSON that is sealed and signed by approvals. Pure.

- An order keeps two scopes: what it covers, as registered, and what is exported, which is that or less.
- The digest is SHA-256 over everything an approver answers for – document, instrument, both scopes, recipient and its key – *with a random salt*, so
  that it cannot be used to test a guessed telephone number (I2, N14).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FULL, MASKED, NONE = "FULL", "MASKED", "NONE"
# What shows more of the other side comes later.
DISCLOSURES = (NONE, MASKED, FULL)
NO_GAG, UNTIL, FURTHER_ORDER = "", "UNTIL", "FURTHER_ORDER"


@dataclass(frozen=True, slots=True)
class Gag:
    """What an order forbids to tell.

    Attributes:
        kind: NO_GAG, UNTIL a date, or until FURTHER_ORDER.
        end_time: the date, of a gag that has one.
        from_staff: whether staff outside the legal team may not know either.
    """

    kind: str = NO_GAG
    end_time: datetime | None = None
    from_staff: bool = False


@dataclass(frozen=True, slots=True)
class Instrument:
    """What the document says about itself, and how it came in (§5.1)."""

    type: str
    court_name: str
    case_number: str
    issuer_name: str
    requesting_body: str
    document_sha256: bytes
    issue_time: datetime
    expire_time: datetime
    court_code: str = ""
    court_level: str = ""
    issuer_title: str = ""
    receive_time: datetime | None = None
    receive_channel: str = ""
    received_by: str = ""
    valid_from_time: datetime | None = None
    respond_time: datetime | None = None
    investigation_number: str = ""
    contact: str = ""
    call_back: str = ""
    legal_basis: str = ""
    legal_section: str = ""
    gag: Gag = Gag()
    privileged_occupation: bool = False
    emergency: bool = False
    pages: int = 0
    true_copy_stamp: str = ""
    signature_check: str = ""
    language: str = "he"
    names_content: bool = False
    counsel_note: str = ""


@dataclass(frozen=True, slots=True)
class Period:
    """A period of one target: [start, end)."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """What an order covers, or what is exported under it.

    Attributes:
        targets: identifiers as (kind, value).
        categories: of the catalogue.
        start_time, end_time: the period, [start, end).
        fields: which fields; all if empty.
        periods: targets with a period of their own, within that of the scope.
        levels: content levels; all if empty.
        counterpart: what is shown of the other side of a call or a message.
        max_rows: most records; 0 for no limit of the order's own.
        declined: categories that are asked for and not covered; the package names them as withheld (N11).
        time_zone, local_start, local_end: the period as the order prints it; empty if it was registered in UTC.
        notes: what had to be read into that.
    """

    targets: tuple[tuple[str, str], ...]
    categories: tuple[str, ...]
    start_time: datetime
    end_time: datetime
    fields: tuple[str, ...]
    periods: Mapping[tuple[str, str], Period] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    counterpart: str = FULL
    max_rows: int = 0
    declined: tuple[str, ...] = ()
    time_zone: str = ""
    local_start: str = ""
    local_end: str = ""
    notes: tuple[str, ...] = ()

    def period_of(self, target: tuple[str, str]) -> Period:
        """The period of a target."""
        return self.periods.get(target, Period(self.start_time, self.end_time))


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who receives the package, and how its key was verified; without that nothing is approved (N14)."""

    body: str
    age_recipient: str
    verification: str
    unit: str = ""
    person: str = ""
    verified_by: str = ""
    key_expire_time: datetime | None = None
    delivery_method: str = ""


@dataclass(frozen=True, slots=True)
class OrderContent:
    """Everything that is sealed with an order.

    Attributes:
        scope: what is exported.
        ordered: what the order covers; the same until less is exported.
    """

    instrument: Instrument
    scope: Scope
    recipient: Recipient
    ordered: Scope


def payload(content: OrderContent, *, salt: str) -> bytes:
    """Canonical JSON of an order; its digest is what approvals sign."""
    body = {
        "salt": salt,
        "instrument": _instrument_json(content.instrument),
        "scope": _scope_json(content.scope),
        "ordered": _scope_json(content.ordered),
        "recipient": _plain(content.recipient),
    }
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(sealed_payload: bytes) -> str:
    """What an approval signs: SHA-256 of the payload, hex."""
    return hashlib.sha256(sealed_payload).hexdigest()


def parsed(data: bytes) -> OrderContent:
    """The order that `payload` wrote; one from before a member existed has none of it."""
    body = json.loads(data)
    scope = _scope(body["scope"])
    return OrderContent(
        _instrument(body["instrument"]), scope, _recipient(body["recipient"]), _scope(body["ordered"]) if "ordered" in body else scope
    )


def _plain(value: Any) -> dict[str, Any]:
    """The members of a value that JSON has words for."""
    return {name: _json(getattr(value, name)) for name in value.__dataclass_fields__}


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return list(value) if isinstance(value, tuple) else value


def _instrument_json(instrument: Instrument) -> dict[str, Any]:
    # Without `gag`: it may end, and what was approved stays approved; the row has it.
    return {name: value for name, value in _plain(instrument).items() if name != "gag"}


def _scope_json(scope: Scope) -> dict[str, Any]:
    periods = [[kind, value, _json(period.start), _json(period.end)] for (kind, value), period in sorted(scope.periods.items())]
    return {**_plain(scope), "targets": [list(target) for target in scope.targets], "periods": periods}


def _instrument(said: Mapping[str, Any]) -> Instrument:
    times = ("issue_time", "expire_time", "receive_time", "valid_from_time", "respond_time")
    known = {name: value for name, value in said.items() if name in Instrument.__dataclass_fields__}
    known |= {name: datetime.fromisoformat(known[name]) for name in times if known.get(name)}
    return Instrument(**{**known, "document_sha256": bytes.fromhex(known["document_sha256"])})


def _scope(said: Mapping[str, Any]) -> Scope:
    known = {name: value for name, value in said.items() if name in Scope.__dataclass_fields__}
    known |= {name: tuple(known[name]) for name in ("categories", "fields", "levels", "declined", "notes") if name in known}
    known["targets"] = tuple((kind, value) for kind, value in known["targets"])
    known["periods"] = {
        (kind, value): Period(datetime.fromisoformat(start), datetime.fromisoformat(end))
        for kind, value, start, end in known.get("periods", ())
    }
    known |= {name: datetime.fromisoformat(known[name]) for name in ("start_time", "end_time")}
    return Scope(**known)


def _recipient(said: Mapping[str, Any]) -> Recipient:
    known = {name: value for name, value in said.items() if name in Recipient.__dataclass_fields__}
    if known.get("key_expire_time"):
        known["key_expire_time"] = datetime.fromisoformat(known["key_expire_time"])
    return Recipient(**known)
