"""Page tokens, sealed to tenant and query: a token of one query opens in no other, and says nothing to its holder."""

import base64
import binascii
import json
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.errors import InvalidArgumentError

_NONCE_BYTES = 12


class PageTokens:
    """Seals positions of listings.

    Args:
        key: 32 bytes; tokens are good for as long as it is, and on every worker that has it.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, after: str, *query: str) -> str:
        """Token for what comes after a position; empty at the end."""
        if not after:
            return ""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, after.encode(), _aad(query))).decode()

    def open(self, token: str, *query: str) -> str:
        """Position in a token; empty for an empty token.

        Raises:
            InvalidArgumentError: PAGE_TOKEN_INVALID, made for another query or not by us.
        """
        if not token:
            return ""
        try:
            data = base64.urlsafe_b64decode(token)
            # The decoder skips what is not its alphabet and ignores unused bits: only the one spelling that was given out is taken back.
            if base64.urlsafe_b64encode(data) != token.encode():
                raise _invalid()
            return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _aad(query)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise _invalid() from None


def _invalid() -> InvalidArgumentError:
    return InvalidArgumentError("PAGE_TOKEN_INVALID", "the page token belongs to another query", field="page_token")


def _aad(query: tuple[str, ...]) -> bytes:
    return json.dumps(query).encode()
