"""Base64 as RFC 4648 §3.5 has it: one spelling of the same bytes and no other, so that no text changes unnoticed in its padding bits."""

import base64
import binascii


def unarmoured(text: str) -> bytes:
    """The bytes of a base64 text.

    Raises:
        ValueError: it is no base64, or not the one spelling of what it stands for.
    """
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise binascii.Error("the unused bits of the last character are not zero")
    return content
