"""Finding what must not be where it is: card numbers in free text, personal data in justifications (A30, L40, PCI DSS 3.3.1).

Rules:
- Answers name a kind, never the value.
- A card number is 13 to 19 digits with separators, an issuer's prefix and a right check digit. It begins and ends where a group of digits does:
  `4111 1111 1111 1111 123` holds one, two telephone numbers side by side hold none. Eight- and nine-digit Isracard numbers cannot be told from
  ordinary numbers and are not looked for.
- How a digit, a space or a dash is encoded makes no difference; marks that are not seen are not there.
- Text without enough digits is let through by one cheap look: it is scanned for every record written.
"""

import re
import unicodedata
from itertools import accumulate

from vault.errors import InvalidArgumentError

_CARD_MIN, _CARD_MAX = 13, 19
_CODE_MIN = 3
_BETWEEN = r"(?:[ \-.]|  | - )?"
_RUN = re.compile(rf"(?<!\d)\d(?:{_BETWEEN}\d){{12,}}(?!\d)")
_GROUP = re.compile(r"\d+")
# A prefix is looked for at every digit, so the match itself takes nothing away.
_ISSUERS = re.compile(
    r"(?=4|5[1-5]|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)|3[47]|30[0-5]|3[68]|35(?:2[89]|[3-8]\d)|6011|64[4-9]|65|62)"
)
_SECURITY_CODE = re.compile(
    r"(?i)(?:\bcvv2?|\bcvc2?|\bcid\b|security code|קוד אבטחה|3 ספרות בגב)\W{0,12}(?:(?:is|הוא)\W{1,3})?\d{3,4}(?!\d)"
)
_EMAIL = re.compile(r"[^\s@<>,;:]{1,64}@[^\s@<>,;:]+\.[^\s@<>,;:]{2,}")
# Local and international spellings: 050-1234567, (03) 123 4567, +972501234567, +972 (0)50…, 00972…, 972501234567.
_NEXT = r"[ \-.()]{0,2}\d"
_PHONE = re.compile(rf"(?<![\w\-/])(?:(?:\+|00)\d{{1,3}}(?:{_NEXT}){{7,13}}|972(?:{_NEXT}){{8,9}}|0(?:{_NEXT}){{8,10}})(?![\w/])")
# A date in front of a time has the digits of a telephone number: 02.03.2026 10:15.
_DATE = re.compile(r"(?<!\d)(?:0?[1-9]|[12]\d|3[01])([./\-])(?:0?[1-9]|1[0-2])\1(?:20)?\d\d(?!\d)")
_ID_NUMBER = re.compile(r"(?<![\w\-])\d{9}(?![\w\-])")
_FEWEST_DIGITS = 7
_SCRUBBED = "•••"
# Format characters (Unicode category Cf: soft hyphens, direction marks, joiners) and what turns a digit into a picture of one.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20e3\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")
_DASH = re.compile("[\u058a\u05be\u1400\u1806\u2010-\u2015\u2212\u2e3a\u2e3b]")


def find_card_number(text: str) -> bool:
    """Whether the text holds what looks like a payment card number."""
    return _holds_card_number(_plain(text))


def find_security_code(text: str) -> bool:
    """Whether the text names a card's security code and gives one."""
    return _names_security_code(_plain(text))


def refuse_card_data(text: str, *, field: str) -> None:
    """Refuse card data in a free field.

    Raises:
        InvalidArgumentError: SAD_FORBIDDEN for a security code, PAN_IN_FREE_FIELD for a card number.
    """
    plain = _plain(text)
    if _names_security_code(plain):
        raise InvalidArgumentError("SAD_FORBIDDEN", "a card security code is never stored", field=field)
    if _holds_card_number(plain):
        raise InvalidArgumentError("PAN_IN_FREE_FIELD", "a card number may not stand in a free field", field=field)


def find_personal_data(text: str) -> str | None:
    """Kind of the personal data in a justification: `card`, `email`, `phone`, `id-number`; None if there is none."""
    plain = _plain(text)
    if _holds_card_number(plain):
        return "card"
    if _EMAIL.search(plain):
        return "email"
    if _digits(plain) < _FEWEST_DIGITS:
        return None
    if _PHONE.search(_DATE.sub("date", plain)):
        return "phone"
    if any(_is_id_number(found.group()) for found in _ID_NUMBER.finditer(plain)):
        return "id-number"
    return None


def find_contact(text: str) -> str | None:
    """Kind of the address in a token that is kept in clear: `email` or `phone`; None if it is none.

    Card and identity numbers are not looked for: a counter or a random id matches their check digit one time in ten.
    """
    plain = _plain(text)
    if _EMAIL.search(plain):
        return "email"
    return "phone" if _digits(plain) >= _FEWEST_DIGITS and _PHONE.search(plain) else None


def scrub(text: str) -> str:
    """The text with telephone numbers and mail addresses made unreadable, for what machines write about a person's device (P3.4-crash)."""
    return _PHONE.sub(_SCRUBBED, _EMAIL.sub(_SCRUBBED, _plain(text)))


def _plain(text: str) -> str:
    """The text with ASCII digits, spaces and dashes, and without what is not seen."""
    if text.isascii():
        return text
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", text))
    return _DASH.sub("-", _FOREIGN_DIGIT.sub(lambda found: str(unicodedata.digit(found.group())), seen))


def _digits(plain: str) -> int:
    return sum(map(plain.count, "0123456789"))


def _names_security_code(plain: str) -> bool:
    return _digits(plain) >= _CODE_MIN and _SECURITY_CODE.search(plain) is not None


def _holds_card_number(plain: str) -> bool:
    return _digits(plain) >= _CARD_MIN and any(_is_card(_GROUP.findall(run.group())) for run in _RUN.finditer(plain))


def _is_card(groups: list[str]) -> bool:
    """Whether some groups in a row are a card number; any stretch of a group that is longer than every card may be one."""
    digits = "".join(groups)
    edges = {0, *accumulate(map(len, groups))}
    for end, group in zip(accumulate(map(len, groups)), groups, strict=True):
        if len(group) > _CARD_MAX:
            edges.update(range(end - len(group), end))
    # Luhn sums of everything up to each digit, once with the digits at even places doubled and once with those at odd ones: the sum of any
    # stretch is then one subtraction, also in a megabyte of digits.
    values = [int(digit) for digit in digits]
    doubled = [value * 2 - 9 * (value > 4) for value in values]  # noqa: PLR2004 - Luhn: digits of the doubled value are added
    sums = [list(accumulate((doubled[n] if n % 2 == parity else value for n, value in enumerate(values)), initial=0)) for parity in (0, 1)]
    for found in _ISSUERS.finditer(digits):
        start = found.start()
        if start not in edges:
            continue
        for end in range(start + _CARD_MIN, min(start + _CARD_MAX, len(digits)) + 1):
            # The last digit is never doubled.
            upto = sums[end % 2]
            if end in edges and (upto[end] - upto[start]) % 10 == 0:
                return True
    return False


def _is_id_number(digits: str) -> bool:
    """Check digit of an Israeli identity number: Luhn over nine digits."""
    total = 0
    for place, digit in enumerate(digits):
        value = int(digit) << (place & 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - Luhn: digits of the doubled value are added
    return digits != "000000000" and total % 10 == 0
