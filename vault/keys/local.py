"""The root key in a file, for development and small deployments: whoever reads file and database reads everything (docs/threat-model.md).

File: canonical JSON, `{"format": "pii-vault-root-key/1", "keys": {"1": base64 of 32 bytes, …}}`, mode 0600. The highest version wraps, every
version unwraps. Wrapped key: root key version (2, big endian) | nonce (12) | ciphertext (32) | tag (16), the context as AAD.
"""

import base64
import binascii
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError

_FORMAT = "pii-vault-root-key/1"
_VERSION_BYTES, _NONCE_BYTES, _KEY_BYTES = 2, 12, 32


class LocalRootKey:
    """A provider whose root key is a file.

    Args:
        path: the key file.
    Raises:
        KeyUnavailableError: KEYS_UNAVAILABLE, the file cannot be read.
        FailedPreconditionError: ROOT_KEY_INVALID, it is not a key file or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ciphers = {version: AESGCM(key) for version, key in _read(path).items()}
        self._newest = max(self._ciphers)

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt under the newest version."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._newest.to_bytes(_VERSION_BYTES) + nonce + self._ciphers[self._newest].encrypt(nonce, material, context)

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt under the version that the wrapped key names."""
        cipher = self._ciphers.get(int.from_bytes(wrapped[:_VERSION_BYTES]))
        nonce, sealed = wrapped[_VERSION_BYTES:][:_NONCE_BYTES], wrapped[_VERSION_BYTES + _NONCE_BYTES :]
        try:
            if cipher is None or len(nonce) < _NONCE_BYTES:
                raise InvalidTag  # noqa: TRY301 - every damage is one error
            return cipher.decrypt(nonce, sealed, context)
        except InvalidTag:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key") from None

    def describe(self) -> str:
        """The file's name and the newest version."""
        return f"local file {self._path.name}, version {self._newest}"

    async def health(self) -> None:
        """Wrap and unwrap once."""
        probe = secrets.token_bytes(_KEY_BYTES)
        if await self.unwrap(await self.wrap(probe, context=b"health"), context=b"health") != probe:
            raise KeyUnavailableError("the root key does not unwrap what it wrapped")


def create(path: Path) -> None:
    """Make a new root key; an existing file is never touched.

    Raises:
        FailedPreconditionError: ROOT_KEY_EXISTS.
    """
    key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FailedPreconditionError("ROOT_KEY_EXISTS", "there is a root key file already") from None
    with os.fdopen(handle, "w") as out:
        json.dump({"format": _FORMAT, "keys": {"1": key}}, out, sort_keys=True)
        out.flush()
        os.fsync(out.fileno())


def _read(path: Path) -> Mapping[int, bytes]:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise FailedPreconditionError("ROOT_KEY_INVALID", "the root key file may be read by others, make it mode 0600")
        text = path.read_bytes()
    except OSError:
        raise KeyUnavailableError("the root key file cannot be read") from None
    try:
        content = json.loads(text)
        keys = {int(version): base64.b64decode(key, validate=True) for version, key in content["keys"].items()}
        sound = content["format"] == _FORMAT and bool(keys) and all(len(key) == _KEY_BYTES for key in keys.values())
        # One spelling per version: of "1" and "01" one would silently stand for both.
        sound = sound and [str(version) for version in keys] == list(content["keys"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        sound = False
    if not sound or not all(0 < version < 1 << 8 * _VERSION_BYTES for version in keys):
        raise FailedPreconditionError("ROOT_KEY_INVALID", "the root key file is not of the form pii-vault-root-key/1")
    return keys
