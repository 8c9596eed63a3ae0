"""Masked forms of values: enough to recognise one that is known already, not to learn one that is not."""

from enum import StrEnum

_HIDDEN = "•••"


class MaskStyle(StrEnum):
    """How a field is masked."""

    PHONE = "phone"
    EMAIL = "email"
    NAME = "name"
    HIDDEN = "hidden"
    SHOWN = "shown"
    """The value stands in for another one already, as the last digits of a card do."""


# Digits kept of an E.164 number: plus, country and operator in front, two behind.
_PHONE_HEAD, _PHONE_TAIL, _PHONE_MIN = 6, 2, 11


def mask(style: MaskStyle, text: str) -> str:
    """The masked form of a value.

    Returns:
        phone `+97250•••••67`; email `n•••@example.com`; name, its first letter; shown, as it is; everything else, and whatever is too
        short to hide anything, `•••`. Empty stays empty.
    """
    if not text:
        return ""
    match style:
        case MaskStyle.PHONE if len(text) >= _PHONE_MIN:
            hidden = "•" * (len(text) - _PHONE_HEAD - _PHONE_TAIL)
            return f"{text[:_PHONE_HEAD]}{hidden}{text[-_PHONE_TAIL:]}"
        case MaskStyle.EMAIL if "@" in text:
            local, _, domain = text.rpartition("@")
            return f"{local[0] if len(local) > 1 else ''}{_HIDDEN}@{domain}"
        case MaskStyle.NAME if len(text) > 1:
            return f"{text[0]}{_HIDDEN}"
        case MaskStyle.SHOWN:
            return text
        case _:
            return _HIDDEN
