"""Sealing a package to its recipient, opening it, and the receipt that may travel in the clear.

Rules:
- age v1, one X25519 recipient: an AEAD in 64 KiB chunks that refuses a flipped bit and a truncated end. Never a password, never a second
  recipient.
- Sealing takes pieces and gives pieces: memory is a chunk, however large the package.
- Sealing authenticates nobody: anyone can seal to a public key. Who wrote the package is said by the signature inside it (`package.py`).
- The receipt names no person and holds no digest of plaintext: a short record file could be guessed from its hash (I2).

Not here: the check of what is inside (`verify.py`, which shares no code with this file).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator

import pyrage
from pyrage import x25519

from vault.errors import DataLossError, InvalidArgumentError


def seal_pieces(pieces: Iterable[bytes], recipient: str, write: Callable[[bytes], None]) -> None:
    """Encrypt a package as it comes; whatever reading or writing raises ends it, and what was written until then opens nowhere.

    Raises:
        InvalidArgumentError: RECIPIENT_KEY_INVALID (N14).
    """
    key, pipe = _recipient(recipient), _Pipe(iter(pieces), write)
    try:
        pyrage.encrypt_io(pipe, pipe, [key])
    except pyrage.EncryptError:
        # The library keeps only the text of what was raised beneath it.
        raise pipe.raised or DataLossError("PACKAGE_INVALID", "the package cannot be sealed") from None


def seal(tar: bytes, recipient: str) -> bytes:
    """Encrypt a whole package; different bytes each time, for age draws a fresh file key.

    Raises:
        InvalidArgumentError: RECIPIENT_KEY_INVALID (N14).
    """
    sealed = bytearray()
    seal_pieces([tar], recipient, sealed.extend)
    return bytes(sealed)


def open_sealed(sealed: bytes, identity: str) -> bytes:
    """Decrypt a package with an age identity (`AGE-SECRET-KEY-1…`).

    Raises:
        InvalidArgumentError: IDENTITY_INVALID.
        DataLossError: PACKAGE_INVALID, sealed to another key or altered.
    """
    try:
        key = x25519.Identity.from_str(identity.strip())
    except pyrage.IdentityError:
        raise InvalidArgumentError("IDENTITY_INVALID", "identity is not an age X25519 secret key", field="identity") from None
    try:
        tar: bytes = pyrage.decrypt(sealed, [key])
    except pyrage.DecryptError:
        raise DataLossError("PACKAGE_INVALID", "package does not open with this identity") from None
    return tar


def fingerprint(recipient: str) -> str:
    """SHA-256 of the recipient's canonical spelling `age1…`, 64 hex digits.

    Raises:
        InvalidArgumentError: RECIPIENT_KEY_INVALID (N14).
    """
    return hashlib.sha256(str(_recipient(recipient)).encode()).hexdigest()


def receipt(*, export_id: str, sealed: bytes, recipient: str) -> dict[str, str | int]:
    """What the recipient compares on arrival: digest and size of the sealed file, and the key it was sealed to. Safe to mail."""
    return {
        "export_id": export_id,
        "sha256": hashlib.sha256(sealed).hexdigest(),
        "size": len(sealed),
        "recipient_fingerprint": fingerprint(recipient),
    }


class _Pipe:
    """What age reads from and writes to."""

    def __init__(self, pieces: Iterator[bytes], write: Callable[[bytes], None]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")
        self._write = write
        self.raised: BaseException | None = None

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end only."""
        try:
            while not self._left:
                self._left = memoryview(next(self._pieces))
        except StopIteration:
            return b""
        except BaseException as error:
            self.raised = error
            raise
        piece, self._left = self._left[:size], self._left[size:]
        return bytes(piece)

    def write(self, data: bytes) -> int:
        """All of it."""
        try:
            self._write(bytes(data))
        except BaseException as error:
            self.raised = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _recipient(recipient: str) -> x25519.Recipient:
    try:
        return x25519.Recipient.from_str(recipient)
    except pyrage.RecipientError:
        raise InvalidArgumentError("RECIPIENT_KEY_INVALID", "recipient is not an age X25519 public key", field="recipient") from None
