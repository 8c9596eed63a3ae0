"""From what a caller sent to what can be stored: checked, normalised, split by party. Pure: no database, no keys.

One record becomes one `Prepared`: plaintext fields per party, identifying and searchable identifiers per party, clear metadata, times. Everything
that can be wrong with an input is found here, before any transaction opens.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from vault import names
from vault.catalogue.check import guardian_required, minor_by
from vault.catalogue.fields import Field, FieldType, Storage
from vault.catalogue.model import Category, Minors, RetentionEvent, Value
from vault.errors import InvalidArgumentError, ResourceExhaustedError
from vault.identifiers import IdentifierKind, normalise
from vault.operations.core import Vault
from vault.scan import find_contact, refuse_card_data, scrub

EXTRA = "extra"
# Types that take any words, whether the catalogue calls the field free or not: no card number is stored in a company's name either (L40).
_PROSE = frozenset({FieldType.TEXT, FieldType.COMPANY_NAME, FieldType.MAP})
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_OVERHEAD_BYTES = 64  # framing and tag of one sealed field


@dataclass(frozen=True, slots=True)
class RecordInput:
    """A record as a caller sends it."""

    category: str
    fields: Mapping[str, str | bytes] = field(repr=False)
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    subject: str = ""
    level: str = ""
    list_id: str = ""
    readd_source: str = ""


@dataclass(frozen=True, slots=True)
class Identifier:
    """A normalised identifier and the field it came from."""

    kind: IdentifierKind
    value: str = field(repr=False)
    field: str = ""


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """One party's share of a record.

    Attributes:
        role: name of the party.
        fields: plaintext by field name, to be sealed under the party's key.
        identities: identifiers of the party, best first: by the first the party is found or created, the others then lead to it too.
        searchable: every indexed identifier of the part.
    """

    role: str
    fields: Mapping[str, bytes] = field(repr=False)
    identities: tuple[Identifier, ...]
    searchable: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One record, ready to be sealed.

    Attributes:
        kept_days: for how long, if its tenant keeps it for fewer days than the catalogue says.
        minor_by: field by which the owner is a minor; empty if they are not.
        readd_source: who asked to add the owner again, if they were erased.
    """

    category: Category
    level: str
    list_id: str
    subject: str
    parts: tuple[PreparedPart, ...]
    metadata: Mapping[str, str]
    occur_time: datetime | None
    valid_from: datetime | None
    valid_to: datetime | None
    kept_days: int | None = None
    minor_by: str = ""
    readd_source: str = ""


def prepare(vault: Vault, record: RecordInput, *, owner_follows: bool = False) -> Prepared:
    """Check one record against its category and split it by party.

    Args:
        vault: the vault.
        record: what the caller sent.
        owner_follows: whether the owner is found elsewhere, as in a list row whose contact is another record.
    Raises:
        InvalidArgumentError: UNKNOWN_CATEGORY, CATEGORY_NOT_COLLECTED, UNKNOWN_FIELD, FIELD_REQUIRED, FIELD_INVALID, SAD_FORBIDDEN,
            PAN_IN_FREE_FIELD, IDENTIFIER_INVALID, NO_USABLE_IDENTIFIER, LEVEL_INVALID, NAME_INVALID.
        FailedPreconditionError: CATEGORY_HELD_AS_REGISTER.
        ResourceExhaustedError: RECORD_TOO_LARGE.
    """
    category = vault.catalogue.category(record.category)
    category.check_storable()
    category.retention_at(record.level)
    check_list(record.list_id)
    # A guardian consents for a person who is known; whether one did is looked up when the record is stored.
    normal = prepare_values(vault, category, record.fields, record.extra, guarded=bool(record.subject))
    parts = []
    for party in category.parties:
        fields = {name: encoded(value) for name, value in normal.items() if category.fields[name].party == party.name}
        searchable = tuple(_searchable(category, party.name, normal))
        identities = tuple(item for name in party.identified_by for item in searchable if item.field == name)
        is_owner = party is category.parties[0]
        if fields or (is_owner and (record.subject or owner_follows)):
            parts.append(PreparedPart(party.name, fields, identities, searchable))
    if not owner_follows:
        _check_owner(category, parts, record)
    occurred = _time(normal, category.occur_field)
    # What would be kept past the calendar is refused here.
    expiry(category, record.level, normal, created=occurred or _LONG_AGO, occurred=occurred)
    return Prepared(
        category=category,
        level=record.level,
        list_id=record.list_id,
        subject=names.parse_subject(record.subject, field="record.subject").subject if record.subject else "",
        parts=tuple(parts),
        metadata={name: str(value) for name, value in normal.items() if category.fields[name].storage is Storage.CLEAR},
        occur_time=occurred,
        valid_from=_time(normal, category.valid_from_field),
        valid_to=_time(normal, category.valid_to_field),
        minor_by=minor_by(category.fields.values(), normal, vault.clock) if category.minors is Minors.GUARDIAN else "",
    )


def check_list(list_id: str, *, field: str = "list") -> None:
    """Check a list id, if there is one: it stays in clear, so it may not be somebody's number.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    if list_id and find_contact(names.check_list_id(list_id, field=field)):
        raise InvalidArgumentError("NAME_INVALID", "list id looks like a telephone number", field=field)


def prepare_values(
    vault: Vault,
    category: Category,
    fields: Mapping[str, str | bytes],
    extra: Mapping[str, str],
    *,
    partial: bool = False,
    guarded: bool = False,
) -> dict[str, Value]:
    """Check values and bring them into normal form: catalogue first, then identifiers, card data and size.

    Raises:
        InvalidArgumentError, ResourceExhaustedError: as `prepare`.
    """
    values: dict[str, Value] = dict(fields)
    if extra:
        if EXTRA in values:
            raise InvalidArgumentError("FIELD_INVALID", f"field '{EXTRA}' is given twice", field=EXTRA)
        values[EXTRA] = extra
    checked = category.check_fields(values, partial=partial)
    normal = {name: _checked(vault, category.fields[name], value) for name, value in checked.items()}
    if category.minors is Minors.GUARDIAN and not guarded and (field := minor_by(category.fields.values(), normal, vault.clock)):
        raise guardian_required(field)
    size = sum(len(encoded(value)) + _OVERHEAD_BYTES for value in normal.values())
    if size > vault.limits.record_bytes:
        raise ResourceExhaustedError("RECORD_TOO_LARGE", "a record is larger than its limit", limit=str(vault.limits.record_bytes))
    return normal


def _checked(vault: Vault, spec: Field, value: Value) -> Value:
    """One value without card data in it, as it is searched by or as it may be stored."""
    if spec.free or spec.type in _PROSE:
        for text in _texts(value):
            refuse_card_data(text, field=spec.name)
    if not isinstance(value, str):
        return value
    if spec.index is not None:
        return _normalised(vault, spec, value)
    if spec.type is FieldType.ID and find_contact(value):
        # Ids stay in clear (I2).
        raise InvalidArgumentError("FIELD_INVALID", f"field '{spec.name}' is an id and looks like a telephone number", field=spec.name)
    return scrub(value) if spec.scrub else value


def _texts(value: Value) -> Iterator[str]:
    """Everything in a value that people may have written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        # A message body is UTF-8, or UTF-16 as telephone networks send it. Without its zero bytes the latter shows the same digits, whatever stands
        # around them; read as what it is, it also shows words in Hebrew. What is neither is left out, so that it cannot part the digits of a number.
        yield value.replace(b"\x00", b"").decode(errors="ignore")
        if b"\x00" in value:
            yield value.decode("utf-16-be", errors="ignore")
            yield value.decode("utf-16-le", errors="ignore")
    else:
        for key, text in value.items():
            yield key
            yield text


def encoded(value: Value) -> bytes:
    """Bytes of a value as they are sealed: text as UTF-8, a map as JSON."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    return json.dumps(dict(value), ensure_ascii=False, separators=(",", ":")).encode()


def expiry(
    category: Category,
    level: str,
    metadata: Mapping[str, object],
    *,
    created: datetime,
    occurred: datetime | None,
    kept_days: int | None = None,
) -> datetime | None:
    """When retention ends, where it counts from a moment that is known: of storing, or one that the clear fields tell.

    Some kinds of records are kept for another time than the rest of their category; the clear fields, `metadata`, tell them apart. `kept_days` is for
    how long the tenant keeps them, if for less than the catalogue says.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the record happened or ended so late that its retention would end after the calendar does.
    """
    retention = category.retention_at(level, metadata)
    end_field = category.end_field(retention.event)
    days = retention.days if kept_days is None else min(kept_days, retention.days)
    try:
        match retention.event:
            case RetentionEvent.CREATED:
                return created + timedelta(days=days)
            case RetentionEvent.OCCURRED:
                return (occurred or created) + timedelta(days=days)
            case RetentionEvent.TAX_YEAR_ENDED:
                return datetime((occurred or created).year + 1, 1, 1, tzinfo=UTC) + timedelta(days=days)
            case RetentionEvent.DELIVERED:
                # Delivery destroys it at once; this is when it goes if nobody took it.
                return created + timedelta(days=retention.latest_days)
            case RetentionEvent.VALIDITY_ENDED | RetentionEvent.ENDED:
                ended = _time(metadata, end_field)
                return ended + timedelta(days=days) if ended is not None else None
            case _:
                return None
    except (OverflowError, ValueError):
        name = end_field or category.occur_field
        raise InvalidArgumentError("FIELD_INVALID", f"field '{name}' is too late a moment to be kept from", field=name) from None


def _check_owner(category: Category, parts: list[PreparedPart], record: RecordInput) -> None:
    owner = category.parties[0]
    named = [part for part in parts if part.role == owner.name]
    if not record.subject and not (named and named[0].identities):
        raise InvalidArgumentError("NO_USABLE_IDENTIFIER", "the record names neither its subject nor an identifier of it", field="record")


def _normalised(vault: Vault, spec: Field, value: str) -> str:
    assert spec.index is not None  # noqa: S101 - the caller looked
    try:
        return normalise(spec.index, value, region=vault.region)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.reason, error.message, field=spec.name, kind=spec.index.value) from None


def _searchable(category: Category, party: str, normal: Mapping[str, Value]) -> list[Identifier]:
    found = []
    for name, value in normal.items():
        spec = category.fields[name]
        if spec.index is not None and spec.party == party and isinstance(value, str):
            found.append(Identifier(spec.index, value, name))
    return found


def _time(normal: Mapping[str, object], name: str | None) -> datetime | None:
    value = normal.get(name) if name else None
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
