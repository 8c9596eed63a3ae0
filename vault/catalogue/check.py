"""Whether the values of one record fit its category, and their normal form.

Rules:
- Every reason names the field and the rule, never the value.
- Text is NFC-normalised. Timestamps become RFC 3339 in UTC with microseconds only where there are some; integers lose leading zeros.
- An empty text is no value: a required field is then missing, an optional one is refused rather than stored.
- The normal form is stable: checking it again returns it unchanged.

Not here: what an identifier looks like once normalised (`vault/identifiers.py`), and whether a free text holds a card number (`vault/scan.py`).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime

from vault.catalogue.fields import Field, FieldType, NeverStored
from vault.errors import FailedPreconditionError, InvalidArgumentError

Value = str | bytes | Mapping[str, str]

# Ids are kept in clear and end up in metadata: short opaque tokens only, so that no sentence about a person fits.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
# No category counts below zero; 18 digits fit every 64-bit integer.
_INTEGER = re.compile(r"[0-9]{1,18}")
# RFC 3339 §5.6; digits past the microsecond are refused, because dropping them would change what was said.
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_KEY_CHARACTERS = 64
MAJORITY = 18  # P2.6-minor, A12: the strictest of the ages that apply
_LINE_CONTROLS = frozenset("\t\n\r")


def check_values(fields: Mapping[str, Field], never_stored: NeverStored, values: Mapping[str, Value], *, partial: bool) -> dict[str, Value]:
    """Check field names, presence and values.

    Args:
        fields: fields of the category.
        never_stored: names that are refused for what they mean, not because they are unknown.
        values: what the caller sent.
        partial: whether required fields may be missing, as in an update.
    Returns:
        The values in normal form, in the order of the category.
    Raises:
        InvalidArgumentError: SAD_FORBIDDEN, CATEGORY_NOT_COLLECTED, UNKNOWN_FIELD, FIELD_REQUIRED, FIELD_INVALID, or what the catalogue says
            for a field that is missing or a value that is refused.
    """
    for name in values:
        _check_name(name, fields, never_stored)
    normal: dict[str, Value] = {}
    for name, field in fields.items():
        value = values.get(name)
        if value is None or value == "":
            if field.required and (name in values or not partial):
                raise InvalidArgumentError(field.missing_reason or "FIELD_REQUIRED", f"field '{name}' is required", field=name)
            if value is not None:
                raise _invalid(field, "is empty")
            continue
        normal[name] = _check_map(field, value, never_stored) if field.type is FieldType.MAP else _check_value(field, value)
    return normal


def check_one_of(names: Iterable[str], values: Mapping[str, Value]) -> None:
    """Require a value for at least one of the fields by which a party is found.

    Raises:
        InvalidArgumentError: NO_USABLE_IDENTIFIER.
    """
    wanted = tuple(names)
    if wanted and not any(name in values for name in wanted):
        raise InvalidArgumentError("NO_USABLE_IDENTIFIER", f"one of {', '.join(wanted)} is required", field=wanted[0])


def check_interval(start_field: str, end_field: str, values: Mapping[str, Value]) -> None:
    """Require that an interval [start, end) ends after it begins; both in normal form.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    start, end = values.get(start_field), values.get(end_field)
    if isinstance(start, str) and isinstance(end, str) and datetime.fromisoformat(end) <= datetime.fromisoformat(start):
        raise InvalidArgumentError("FIELD_INVALID", f"field '{end_field}' does not lie after '{start_field}'", field=end_field)


def minor_by(fields: Iterable[Field], values: Mapping[str, Value], clock: Callable[[], datetime]) -> str:
    """Name of the field by which somebody is under age by their own account; empty if they are not (P2.6-minor)."""
    for field in fields:
        value = values.get(field.name)
        if field.type is not FieldType.DATE or not isinstance(value, str):
            continue
        if is_under_age(date.fromisoformat(value), clock()):
            return field.name
    return ""


def is_under_age(born: date, now: datetime) -> bool:
    """Whether somebody has not come of age yet."""
    return now.year - born.year - ((now.month, now.day) < (born.month, born.day)) < MAJORITY


def guardian_required(field: str) -> FailedPreconditionError:
    """Why a minor's data is not stored: no verified guardian consented."""
    return FailedPreconditionError("GUARDIAN_CONSENT_REQUIRED", f"a person under {MAJORITY} needs the consent of a guardian", field=field)


def _check_name(name: str, fields: Mapping[str, Field], never_stored: NeverStored) -> None:
    if name in fields:
        return
    _check_not_forbidden(name, never_stored, field=None)
    # The name is the caller's and may be anything, so it is not repeated.
    raise InvalidArgumentError("UNKNOWN_FIELD", "the category has no such field", field="fields")


def _check_not_forbidden(name: str, never_stored: NeverStored, *, field: str | None) -> None:
    """Refuse names of what must not be collected; those are words of the catalogue and can be repeated."""
    if never_stored.is_card_secret(name):
        raise InvalidArgumentError(
            "SAD_FORBIDDEN", "card numbers, verification codes, tracks and pins are never stored", field=field or "fields"
        )
    if never_stored.is_reserved(name):
        raise InvalidArgumentError("CATEGORY_NOT_COLLECTED", "data of this kind is never stored", field=field or "fields")


def _check_value(field: Field, value: Value) -> str | bytes:
    if field.type is FieldType.BYTES:
        if not isinstance(value, bytes):
            raise _invalid(field, "is not bytes")
        if not 0 < len(value) <= field.max_bytes:
            raise _invalid(field, "is empty or too long", limit=field.max_bytes)
        return value
    if not isinstance(value, str):
        raise _invalid(field, "is not text")
    normal = _NORMAL_FORMS.get(field.type, _text)(field, value)
    if field.pattern is not None and not field.pattern.fullmatch(normal):
        raise _invalid(field, "does not have the form that the catalogue gives")
    return normal


def _check_map(field: Field, value: Value, never_stored: NeverStored) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _invalid(field, "is not a map")
    if len(value) > field.max_keys:
        raise _invalid(field, "has too many keys", limit=field.max_keys)
    normal: dict[str, str] = {}
    for key, text in value.items():
        name = unicodedata.normalize("NFC", key)
        _check_not_forbidden(name, never_stored, field=field.name)
        if not 0 < len(name) <= _MAX_KEY_CHARACTERS or not name.isprintable() or name in normal:
            raise _invalid(field, "has a key that is empty, too long, not printable or repeated", limit=_MAX_KEY_CHARACTERS)
        normal[name] = _text(field, text)
    return normal


def _text(field: Field, value: str) -> str:
    text = unicodedata.normalize("NFC", value)
    if any(unicodedata.category(letter) in {"Cc", "Cs"} and letter not in _LINE_CONTROLS for letter in text):
        raise _invalid(field, "holds control characters")
    if len(text.encode()) > field.max_bytes:
        raise _invalid(field, "is too long", limit=field.max_bytes)
    return text


def _enum(field: Field, value: str) -> str:
    if value in field.refused:
        raise InvalidArgumentError(field.refused[value], f"field '{field.name}' may not be {value}", field=field.name)
    if value not in field.values:
        raise _invalid(field, f"is not one of {', '.join(field.values)}")
    return value


def _id(field: Field, value: str) -> str:
    if not _ID.fullmatch(value):
        raise _invalid(field, "is not 1 to 64 letters, digits, '.', '_', ':' or '-'")
    return value


def _integer(field: Field, value: str) -> str:
    if not _INTEGER.fullmatch(value):
        raise _invalid(field, "is not a whole number of at most 18 digits")
    return str(int(value))


def _timestamp(field: Field, value: str) -> str:
    if not _TIMESTAMP.fullmatch(value):
        raise _invalid(field, "is not an RFC 3339 time with an offset")
    try:
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _invalid(field, "is not a moment of the calendar") from None
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _date(field: Field, value: str) -> str:
    # ISO 8601 has more spellings than this one; a birthday is written in one way or refused.
    if not _DATE.fullmatch(value):
        raise _invalid(field, "is not a date like 2001-12-31")
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise _invalid(field, "is not a day of the calendar") from None


_NORMAL_FORMS: Mapping[FieldType, Callable[[Field, str], str]] = {
    FieldType.ENUM: _enum,
    FieldType.ID: _id,
    FieldType.INTEGER: _integer,
    FieldType.TIMESTAMP: _timestamp,
    FieldType.DATE: _date,
}


def _invalid(field: Field, rule: str, *, limit: int | None = None) -> InvalidArgumentError:
    message = f"field '{field.name}' {rule}"
    if limit is None:
        return InvalidArgumentError("FIELD_INVALID", message, field=field.name)
    return InvalidArgumentError("FIELD_INVALID", message, field=field.name, limit=str(limit))
