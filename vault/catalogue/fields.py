"""What one field of a category is: its type, how it is stored, whose it is and how much of it may be shown.

Values only; where they come from is `loader.py`, whether a given value fits is `check.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vault.catalogue.words import CourtClass
from vault.identifiers import IdentifierKind
from vault.masking import MaskStyle


@dataclass(frozen=True, slots=True)
class Description:
    """One text for people, in Hebrew and in English."""

    he: str
    en: str


class FieldType(StrEnum):
    """What a value must look like; the normal forms are in `check.py`."""

    PHONE = "phone"
    EMAIL = "email"
    TEXT = "text"
    BYTES = "bytes"
    INTEGER = "integer"
    TIMESTAMP = "timestamp"
    DATE = "date"
    ENUM = "enum"
    ID = "id"
    COMPANY_NUMBER = "company-number"
    COMPANY_NAME = "company-name"
    STAR_NUMBER = "star-number"
    MAP = "map"


class Storage(StrEnum):
    """How a value rests (requirements §2A)."""

    ENCRYPTED = "encrypted"
    """`str*`: sealed, cannot be searched."""
    INDEXED = "indexed"
    """`str!`: sealed, and findable by an exact keyed token."""
    CLEAR = "clear"
    """Operational metadata; never a personal value."""


class Sensitivity(StrEnum):
    """How much harm a leak of the value does (L12)."""

    OPERATIONAL = "operational"
    PERSONAL = "personal"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a category.

    Attributes:
        party: party whose key seals the value; empty for what is stored in clear and belongs to the record.
        index: identifier kind of the search token; None unless the value is indexed.
        values: the closed set of an enum, in the order of the file.
        max_bytes: longest value, in bytes of UTF-8; for a map, of each of its values.
        max_keys: most entries of a map; 0 for every other type.
        mask: how the masked view shows the value.
        free: whether people write freely in it, so that it is scanned for card numbers.
        pattern: what the whole value must match; None if any value of the type will do.
        missing_reason: reason of the refusal where the value is missing, if it is not FIELD_REQUIRED.
        refused: values of an enum that are refused for a reason of their own, by value.
        keep_days: days after which the value goes, before the record does; 0 if it stays as long as the record.
        court_class: kind of order that can cover the field.
        goes_first: whether an erasure takes it out of a record that is otherwise restricted (§2B, C12).
        scrub: whether telephone numbers and mail addresses in it are made unreadable before it is stored (P3.4-crash).
    """

    name: str
    type: FieldType
    storage: Storage
    party: str
    index: IdentifierKind | None
    required: bool
    values: tuple[str, ...]
    sensitivity: Sensitivity
    max_bytes: int
    max_keys: int
    mask: MaskStyle
    free: bool
    pattern: re.Pattern[str] | None
    missing_reason: str
    refused: Mapping[str, str]
    keep_days: int
    court_class: CourtClass
    goes_first: bool
    scrub: bool
    description: Description


@dataclass(frozen=True, slots=True)
class NeverStored:
    """C00: what must not be collected, as a category, a field or a key of free-form data.

    Attributes:
        names: kebab-case names of data that is not collected.
        card_fields: names under which card secrets travel, letters and digits only (PCI DSS 3.3.1, L40).
    """

    names: Mapping[str, Description]
    card_fields: frozenset[str]

    def is_reserved(self, name: str) -> bool:
        """Whether a name, in kebab-case or upper-snake-case, is one that must not be collected."""
        return name.lower().replace("_", "-") in self.names

    def is_card_secret(self, name: str) -> bool:
        """Whether a field of this name would hold a card number, verification code, track or PIN."""
        return "".join(letter for letter in name.casefold() if letter.isalnum()) in self.card_fields
