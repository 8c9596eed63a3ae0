"""Whether a justification is one: a sentence, a reference of a known form, and no personal data in either.

Rules:
- The reason is a sentence a colleague could check: at least two words and ten letters, at most 500 characters, on one line (P1.6b-need).
- A reference is the name of a customer request, an order, an incident, a job or a person's request, or a ticket of the tenant's pattern. None at
  all is no fault here: whether the purpose can do without is `decide`'s.
- Personal data is refused by its kind; the value is never repeated (A30).

Not here: whether what is referred to exists and is in force.
"""

import re
import unicodedata
from collections.abc import Callable

from vault import names
from vault.errors import InvalidArgumentError
from vault.policy.decide import Reference

DEFAULT_TICKET_PATTERN = r"[A-Z]{2,10}-\d{1,9}"

_MAX_REASON = 500  # characters
_MIN_LETTERS = 10
_MIN_WORDS = 2
_MAX_TICKET = 64  # characters
_COLLECTIONS = {
    "customerRequests": Reference.CUSTOMER_REQUEST,
    "orders": Reference.ORDER,
    "incidents": Reference.INCIDENT,
    "jobs": Reference.JOB,
    "subjectRequests": Reference.SUBJECT_REQUEST,
}


def check(
    purpose: str,
    reference: str,
    reason: str,
    *,
    reference_pattern: str = DEFAULT_TICKET_PATTERN,
    find_personal_data: Callable[[str], str | None],
) -> Reference:
    """Check a justification.

    Args:
        purpose: code of the purpose; whether it is known is the catalogue's.
        reference: resource name, ticket, or empty.
        reason: a sentence.
        reference_pattern: pattern that a ticket of the tenant matches whole.
        find_personal_data: kind of the personal data found in a text, e.g. `phone`, or None.
    Returns:
        What kind of thing the reference names, by its form alone.
    Raises:
        InvalidArgumentError: JUSTIFICATION_REQUIRED, REFERENCE_INVALID, PII_IN_JUSTIFICATION.
    """
    if not purpose:
        raise InvalidArgumentError("JUSTIFICATION_REQUIRED", "a purpose is required", field="justification.purpose")
    _check_reason(reason)
    kind = _kind(reference, reference_pattern)
    _check_impersonal(reason, "justification.reason", find_personal_data)
    if kind is Reference.TICKET:
        # Resource ids are random; only a ticket is worded by people.
        _check_impersonal(reference, "justification.reference", find_personal_data)
    return kind


def _check_reason(reason: str) -> None:
    field = "justification.reason"
    if len(reason) > _MAX_REASON:
        raise InvalidArgumentError("JUSTIFICATION_REQUIRED", "the reason is too long", field=field, limit=str(_MAX_REASON))
    letters = sum(letter.isalpha() for letter in reason)
    words = sum(any(letter.isalpha() for letter in word) for word in reason.split())
    if letters < _MIN_LETTERS or words < _MIN_WORDS:
        raise InvalidArgumentError(
            "JUSTIFICATION_REQUIRED", "the reason is not a sentence of at least two words and ten letters", field=field
        )
    # Direction marks are part of Hebrew typing; line breaks and control characters are not part of a sentence.
    if any(unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in reason):
        raise InvalidArgumentError("JUSTIFICATION_REQUIRED", "the reason is not one line of text", field=field)


def _kind(reference: str, pattern: str) -> Reference:
    if not reference:
        return Reference.NONE
    if reference.startswith("tenants/"):
        return _resource(reference)
    if len(reference) <= _MAX_TICKET and re.fullmatch(pattern, reference):
        return Reference.TICKET
    raise _reference_invalid()


def _resource(reference: str) -> Reference:
    collection = "".join(reference.split("/")[2:3])
    if collection not in _COLLECTIONS:
        raise _reference_invalid()
    try:
        names.parse_child(reference, collection)
    except InvalidArgumentError:
        raise _reference_invalid() from None
    return _COLLECTIONS[collection]


def _reference_invalid() -> InvalidArgumentError:
    return InvalidArgumentError(
        "REFERENCE_INVALID",
        "the reference is neither the name of a customer request, an order, an incident, a job or a subject request nor a ticket",
        field="justification.reference",
    )


def _check_impersonal(text: str, field: str, find_personal_data: Callable[[str], str | None]) -> None:
    if kind := find_personal_data(text):
        raise InvalidArgumentError("PII_IN_JUSTIFICATION", f"the text holds personal data ({kind})", field=field, kind=kind)
