"""Finding what must not be where it is: card numbers in free text, personal data in justifications (A30, L40, PCI DSS 3.3.1).

Rules:
- Answers name a kind, never the value.
- A card number is 13 to 19 digits with separators, an issuer's prefix and a right check digit. Eight- and nine-digit Isracard numbers cannot be
  told from ordinary numbers and are not looked for.
- Text without enough digits is let through by one cheap look: it is scanned for every record written.
"""

import re
import unicodedata

from vault.errors import InvalidArgumentError

_CARD_MIN, _CARD_MAX = 13, 19
_RUN = re.compile(r"(?<!\d)\d(?:[ \-.\u00a0]?\d){12,}(?!\d)")
_ISSUERS = re.compile(r"4|5[1-5]|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)|3[47]|30[0-5]|3[68]|35(?:2[89]|[3-8]\d)|6011|64[4-9]|65|62")
_SECURITY_CODE = re.compile(r"(?i)(?:\bcvv2?\b|\bcvc2?\b|\bcid\b|security code|קוד אבטחה|3 ספרות בגב)\W{0,12}\d{3,4}(?!\d)")
_EMAIL = re.compile(r"[^\s@<>,;:]{1,64}@[^\s@<>,;:]+\.[^\s@<>,;:]{2,}")
# Local and international spellings: 050-1234567, 03 123 4567, +972501234567, 00972…, 972501234567.
_PHONE = re.compile(
    r"(?<![\w\-/])(?:(?:\+|00)\d{1,3}[ \-.]?(?:\d[ \-.]?){6,12}\d|972[ \-.]?(?:\d[ \-.]?){7,8}\d|0(?:\d[ \-.]?){7,9}\d)(?![\w/])"
)
_ID_NUMBER = re.compile(r"(?<![\w\-])\d{9}(?![\w\-])")
_FEWEST_DIGITS = 7


def find_card_number(text: str) -> bool:
    """Whether the text holds what looks like a payment card number."""
    plain = _digits_plain(text, _CARD_MIN)
    if plain is None:
        return False
    return any(_is_card(re.sub(r"\D", "", run.group())) for run in _RUN.finditer(plain))


def find_security_code(text: str) -> bool:
    """Whether the text names a card's security code and gives one."""
    plain = _digits_plain(text, 3)
    return plain is not None and _SECURITY_CODE.search(plain) is not None


def refuse_card_data(text: str, *, field: str) -> None:
    """Refuse card data in a free field.

    Raises:
        InvalidArgumentError: SAD_FORBIDDEN for a security code, PAN_IN_FREE_FIELD for a card number.
    """
    if find_security_code(text):
        raise InvalidArgumentError("SAD_FORBIDDEN", "a card security code is never stored", field=field)
    if find_card_number(text):
        raise InvalidArgumentError("PAN_IN_FREE_FIELD", "a card number may not stand in a free field", field=field)


def find_contact(text: str) -> str | None:
    """Kind of the address in a token that is kept in clear: `email` or `phone`; None if it is none.

    Card and identity numbers are not looked for: a counter or a random id matches their check digit one time in ten.
    """
    if _EMAIL.search(text):
        return "email"
    plain = _digits_plain(text, _FEWEST_DIGITS)
    return "phone" if plain is not None and _PHONE.search(plain) else None


def find_personal_data(text: str) -> str | None:
    """Kind of the personal data in a justification: `card`, `email`, `phone`, `id-number`; None if there is none."""
    if find_card_number(text):
        return "card"
    if _EMAIL.search(text):
        return "email"
    plain = _digits_plain(text, _FEWEST_DIGITS)
    if plain is None:
        return None
    if _PHONE.search(plain):
        return "phone"
    if any(_is_id_number(found.group()) for found in _ID_NUMBER.finditer(plain)):
        return "id-number"
    return None


def _digits_plain(text: str, fewest: int) -> str | None:
    """The text with ASCII digits and without direction marks, or None if it cannot hold what is looked for."""
    if not text.isascii():
        text = "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text if unicodedata.category(c) != "Cf")
    return text if sum(map(str.isdecimal, text)) >= fewest else None


def _is_card(digits: str) -> bool:
    """Any stretch of the run may be the number: digits before and after it are no hiding place."""
    return any(
        _ISSUERS.match(digits, start) and _luhn(digits[start : start + length])
        for length in range(_CARD_MIN, min(_CARD_MAX, len(digits)) + 1)
        for start in ((0,) if len(digits) <= _CARD_MAX else range(len(digits) - length + 1))
        if len(digits) > _CARD_MAX or length == len(digits)
    )


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - Luhn: digits of the doubled value are added
    return total % 10 == 0


def _is_id_number(digits: str) -> bool:
    """Check digit of an Israeli identity number: Luhn over nine digits."""
    return digits != "000000000" and _luhn(digits)
