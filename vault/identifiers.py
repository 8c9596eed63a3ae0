"""Identifiers in one spelling each, so that every way of writing a number finds the same person (L42, E19).

Pure, and without a cache: a cache of parsed numbers would keep personal data in memory for no one's benefit.
"""

import re
import unicodedata
from enum import StrEnum

import idna
import phonenumbers

from vault.errors import InvalidArgumentError


class IdentifierKind(StrEnum):
    """What an identifier is; each kind has its own index key."""

    PHONE = "phone"
    EMAIL = "email"
    COMPANY_NUMBER = "company-number"
    COMPANY_NAME = "company-name"
    USERNAME = "username"
    INSTALL_ID = "install-id"
    VIRTUAL_NUMBER = "virtual-number"
    STAR_NUMBER = "star-number"


_MAX_LENGTH = 320  # the longest mail address: 64 + 1 + 255 (RFC 5321 §4.5.3.1)
_MAX_LOCAL = 64
_COMPANY_DIGITS = 9
_STAR = re.compile(r"\*\d{3,6}")
_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\]\\\x00-\x1f\x7f]+")
_NAME_NOISE = re.compile("[\"'`´׳״‘’“”.,()\\-־–—_/]+")
_COMPANY_SUFFIX = re.compile(r"\s+(?:בעמ|ltd|limited|inc|llc)$")


def normalise(kind: IdentifierKind, value: str, *, region: str = "IL") -> str:
    """The one spelling of an identifier.

    Args:
        kind: what it is.
        value: any usual spelling.
        region: region of telephone numbers written without a country.
    Returns:
        phone, virtual-number: E.164. email: NFC, case-folded local part, domain in ASCII (IDNA, UTS 46). company-number: nine digits; the
        check digit is not required, because foreign and older registrations lack it. company-name: case-folded, without punctuation and
        legal form. star-number: `*` and digits. username, install-id: case-folded NFKC.
    Raises:
        InvalidArgumentError: IDENTIFIER_INVALID, naming the kind only.
    """
    text = _plain(value)
    if not text or len(text) > _MAX_LENGTH:
        raise _invalid(kind)
    match kind:
        case IdentifierKind.PHONE | IdentifierKind.VIRTUAL_NUMBER:
            return _phone(kind, text, region)
        case IdentifierKind.EMAIL:
            return _email(text)
        case IdentifierKind.COMPANY_NUMBER:
            return _company_number(text)
        case IdentifierKind.COMPANY_NAME:
            return _company_name(text)
        case IdentifierKind.STAR_NUMBER:
            compact = text.replace(" ", "")
            if not _STAR.fullmatch(compact):
                raise _invalid(kind)
            return compact
        case IdentifierKind.USERNAME | IdentifierKind.INSTALL_ID:
            return text.casefold()


def _plain(value: str) -> str:
    """NFKC without direction marks and other format characters: full-width digits, no-break spaces and RTL marks are only spelling."""
    return "".join(c for c in unicodedata.normalize("NFKC", value) if unicodedata.category(c) not in {"Cf", "Cc"}).strip()


def _phone(kind: IdentifierKind, text: str, region: str) -> str:
    country = phonenumbers.country_code_for_region(region)
    digits = re.sub(r"\D", "", text)
    # An international number that lost its plus, as spreadsheets and call records write it: 972501234567.
    spellings = [text] if text.startswith("+") or not digits.startswith(str(country)) else [f"+{digits}", text]
    for spelling in spellings:
        try:
            number = phonenumbers.parse(spelling, region)
        except phonenumbers.NumberParseException:
            continue
        sound = phonenumbers.is_valid_number(number) if kind is IdentifierKind.PHONE else phonenumbers.is_possible_number(number)
        if sound and not number.extension:
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    raise _invalid(kind)


def _email(text: str) -> str:
    local, _, domain = text.rpartition("@")
    if not _LOCAL_PART.fullmatch(local) or len(local) > _MAX_LOCAL or local.startswith(".") or local.endswith(".") or ".." in local:
        raise _invalid(IdentifierKind.EMAIL)
    try:
        ascii_domain = idna.encode(domain, uts46=True).decode().lower()
    except idna.IDNAError:
        raise _invalid(IdentifierKind.EMAIL) from None
    if "." not in ascii_domain:
        raise _invalid(IdentifierKind.EMAIL)
    return f"{unicodedata.normalize('NFC', local.casefold())}@{ascii_domain}"


def _company_number(text: str) -> str:
    digits = re.sub(r"[\s\-/.]", "", text)
    if not digits.isascii() or not digits.isdecimal() or not 1 < len(digits) <= _COMPANY_DIGITS:
        raise _invalid(IdentifierKind.COMPANY_NUMBER)
    return digits.zfill(_COMPANY_DIGITS)


def _company_name(text: str) -> str:
    folded = " ".join(_NAME_NOISE.sub(" ", _joined_marks(text.casefold())).split())
    name = _COMPANY_SUFFIX.sub("", folded)
    if not name:
        raise _invalid(IdentifierKind.COMPANY_NAME)
    return name


def _joined_marks(text: str) -> str:
    """Quote marks inside a Hebrew abbreviation join its letters: בע"מ and בע״מ are one word."""
    return re.sub("(?<=\\w)[\"'׳״](?=\\w)", "", text)


def _invalid(kind: IdentifierKind) -> InvalidArgumentError:
    return InvalidArgumentError("IDENTIFIER_INVALID", f"not a usable {kind.value}", kind=kind.value)
