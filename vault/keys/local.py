"""The root key in a file, for development and small deployments: whoever reads file and database reads everything (docs/threat-model.md).

File, mode 0600, canonical JSON of one of two forms. The highest version wraps, every version unwraps.
- `{"format": "pii-vault-root-key/1", "keys": {"1": base64 of 32 bytes, …}}`
- `{"format": "pii-vault-root-key/2", "kdf": {"name": "argon2id", "memory_kib": …, "iterations": …, "lanes": …, "salt": base64}, "keys": {"1":
  base64 of nonce (12) | ciphertext (32) | tag (16), …}}`: AES-256-GCM under a key from a passphrase, format and version as AAD.
  It protects a file that is read without its passphrase file: a copy, a backup, a volume of its own.

Wrapped key: root key version (2, big endian) | nonce (12) | ciphertext (32) | tag (16), the context as AAD.

A provider that runs takes in a new version by itself: when it wraps and the file is another one, and when it meets a version it does not know.
While the file is missing or damaged it unwraps under the versions it has, and wraps nothing: which version is the newest is not known then.
"""

import asyncio
import base64
import binascii
import fcntl
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError
from vault.keys import reading
from vault.keys.provider import RootKeyProvider

_PLAIN, _PROTECTED = "pii-vault-root-key/1", "pii-vault-root-key/2"
_VERSION_BYTES, _NONCE_BYTES, _KEY_BYTES, _TAG_BYTES, _SALT_BYTES = 2, 12, 32, 16, 16
_MAX_VERSION = (1 << 8 * _VERSION_BYTES) - 1
_FORM = "local:/path or local:/path?passphrase_file=/path"
# RFC 9106 §4, second recommended option.
_MEMORY_KIB, _ITERATIONS, _LANES = 64 << 10, 3, 4
# A file may ask for more than that, but not for the whole machine.
_MAX_MEMORY_KIB, _MAX_ITERATIONS, _MAX_LANES = 2 << 20, 64, 64


def open_uri(uri: str) -> RootKeyProvider:
    """The provider for `local:/path/root.key`, with `?passphrase_file=/path` for a file that is protected by a passphrase.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN, ROOT_KEY_INVALID.
        KeyUnavailableError: KEYS_UNAVAILABLE.
    """
    parts = reading.split(uri, form=_FORM)
    if parts.netloc or not parts.path:
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key is named by a URI of the form {_FORM}")
    given = reading.parameters(parts.query, known={"passphrase_file"})
    passphrase = read_passphrase(Path(given["passphrase_file"])) if "passphrase_file" in given else None
    return LocalRootKey(Path(unquote(parts.path)), passphrase)


class LocalRootKey:
    """A provider whose root key is a file.

    Args:
        path: the key file.
        passphrase: what protects it.
    Raises:
        KeyUnavailableError: KEYS_UNAVAILABLE, the file cannot be read.
        FailedPreconditionError: ROOT_KEY_INVALID, it is not a key file, others may read it, or this is not its passphrase.
    """

    def __init__(self, path: Path, passphrase: bytes | None = None) -> None:
        self._path = path
        self._passphrase = passphrase
        self._reading = asyncio.Lock()
        self._take(read(path, passphrase))

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt under the newest version."""
        await self._reread()
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._newest.to_bytes(_VERSION_BYTES) + nonce + self._ciphers[self._newest].encrypt(nonce, material, context)

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt under the version that the wrapped key names."""
        if len(wrapped) != _VERSION_BYTES + _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES:
            raise CiphertextInvalidError("a wrapped tenant key is cut off or too long")
        version = int.from_bytes(wrapped[:_VERSION_BYTES])
        if version not in self._ciphers:
            await self._reread()
        nonce, sealed = wrapped[_VERSION_BYTES:][:_NONCE_BYTES], wrapped[_VERSION_BYTES + _NONCE_BYTES :]
        try:
            return self._ciphers[version].decrypt(nonce, sealed, context)
        except (KeyError, InvalidTag):
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key") from None

    def describe(self) -> str:
        """The file's name and the newest version."""
        return f"local file {self._path.name}, version {self._newest}"

    async def health(self) -> None:
        """Wrap and unwrap once."""
        probe = secrets.token_bytes(_KEY_BYTES)
        if await self.unwrap(await self.wrap(probe, context=b"health"), context=b"health") != probe:
            raise KeyUnavailableError("the root key does not unwrap what it wrapped")

    async def _reread(self) -> None:
        """Take in the file if it is not the one that was read last.

        Raises:
            KeyUnavailableError: KEYS_UNAVAILABLE, it is missing or damaged.
        """
        async with self._reading:
            try:
                if _stamp(self._path.stat()) == self._stamp:
                    return
                # In a thread: deriving a key from a passphrase takes a tenth of a second on purpose.
                self._take(await asyncio.to_thread(read, self._path, self._passphrase))
            except OSError:
                raise KeyUnavailableError("the root key file cannot be read") from None
            except FailedPreconditionError as error:
                raise KeyUnavailableError(error.message) from None

    def _take(self, file: "KeyFile") -> None:
        self._ciphers = {version: AESGCM(key) for version, key in file.keys.items()}
        self._newest = max(file.keys)
        self._stamp = file.stamp


def create(path: Path, passphrase: bytes | None = None) -> None:
    """Make a new root key; an existing file is never touched.

    Raises:
        FailedPreconditionError: ROOT_KEY_EXISTS; ROOT_KEY_INVALID, the passphrase is empty.
    """
    protection = _Protection.derive(passphrase, salt=secrets.token_bytes(_SALT_BYTES)) if passphrase is not None else None
    content = content_of({1: secrets.token_bytes(_KEY_BYTES)}, protection)
    try:
        write_new(path, content)
    except FileExistsError:
        raise FailedPreconditionError("ROOT_KEY_EXISTS", "there is a root key file already") from None


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, durably; one that exists is not touched.

    Raises:
        FileExistsError: it exists.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    with _directory(path.parent) as directory:
        os.fsync(directory)


def add_version(path: Path, passphrase: bytes | None = None) -> int:
    """Add a new random version to a key file, which wraps from now on: all of it or nothing. Its number.

    Raises:
        KeyUnavailableError: KEYS_UNAVAILABLE, the file cannot be read or written.
        FailedPreconditionError: ROOT_KEY_INVALID, it is not a key file, others may read it, or this is not its passphrase; there is no room for
            another version.
    """
    # A link stays one: what it points at is replaced.
    path = path.resolve()
    try:
        with _directory(path.parent) as directory:
            # Of two that add at once the later one sees what the earlier one wrote.
            fcntl.flock(directory, fcntl.LOCK_EX)
            file = read(path, passphrase)
            version = max(file.keys) + 1
            if version > _MAX_VERSION:
                raise FailedPreconditionError("ROOT_KEY_INVALID", "the root key file has no room for another version")
            _replace(path, content_of({**file.keys, version: secrets.token_bytes(_KEY_BYTES)}, file.protection))
            os.fsync(directory)
    except OSError:
        raise KeyUnavailableError("the root key file cannot be read or written") from None
    return version


def read_passphrase(path: Path) -> bytes:
    """The passphrase from its file, without the line end behind it.

    Raises:
        KeyUnavailableError: KEYS_UNAVAILABLE, the file cannot be read.
        FailedPreconditionError: ROOT_KEY_INVALID, it is empty or others may read it.
    """
    try:
        path.stat()
    except (OSError, ValueError):
        raise KeyUnavailableError("the file with the passphrase cannot be read") from None
    try:
        return reading.read_secret(path, "the passphrase")
    except KeyUnavailableError as error:
        # Nothing that waiting mends.
        raise FailedPreconditionError("ROOT_KEY_INVALID", error.message) from None


@dataclass(frozen=True, slots=True)
class _Protection:
    """The key that encrypts keys in a file, and how it came from the passphrase."""

    key: bytes = field(repr=False)
    salt: bytes
    memory_kib: int
    iterations: int
    lanes: int

    @classmethod
    def derive(
        cls, passphrase: bytes, *, salt: bytes, memory_kib: int = _MEMORY_KIB, iterations: int = _ITERATIONS, lanes: int = _LANES
    ) -> "_Protection":
        if not passphrase:
            raise FailedPreconditionError("ROOT_KEY_INVALID", "the passphrase of the root key file is empty")
        try:
            kdf = Argon2id(salt=salt, length=_KEY_BYTES, iterations=iterations, lanes=lanes, memory_cost=memory_kib)
            return cls(kdf.derive(passphrase), salt, memory_kib, iterations, lanes)
        except UnsupportedAlgorithm:
            raise FailedPreconditionError("ROOT_KEY_INVALID", "the OpenSSL that is installed has no Argon2id") from None
        except MemoryError:
            raise KeyUnavailableError("there is not enough memory to open the root key file") from None

    def seal(self, version: int, key: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, key, _address(version))

    def open(self, version: int, sealed: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _address(version))
        except InvalidTag:
            raise FailedPreconditionError("ROOT_KEY_INVALID", "the passphrase does not open the root key file") from None


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file held, and which file that was."""

    keys: Mapping[int, bytes] = field(repr=False)
    stamp: tuple[int, ...]
    protection: _Protection | None


def read(path: Path, passphrase: bytes | None) -> KeyFile:
    """What a root key file holds.

    Raises:
        KeyUnavailableError: KEYS_UNAVAILABLE, it cannot be read.
        FailedPreconditionError: ROOT_KEY_INVALID.
    """
    try:
        with path.open("rb") as file:
            # Of the opened file: its name may be another file's a moment later.
            status = os.fstat(file.fileno())
            text = file.read()
    except OSError:
        raise KeyUnavailableError("the root key file cannot be read") from None
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise FailedPreconditionError("ROOT_KEY_INVALID", "the root key file may be read by others, make it mode 0600")
    try:
        content = json.loads(text)
        protected = content["format"] == _PROTECTED
        values = {int(version): base64.b64decode(key, validate=True) for version, key in content["keys"].items()}
        length = _NONCE_BYTES + _KEY_BYTES + _TAG_BYTES if protected else _KEY_BYTES
        sound = content["format"] in (_PLAIN, _PROTECTED) and bool(values) and all(len(value) == length for value in values.values())
        # One spelling per version: of "1" and "01" one would silently stand for both.
        sound = sound and [str(version) for version in values] == list(content["keys"])
        sound = sound and all(0 < version <= _MAX_VERSION for version in values)
        kdf = _kdf(content["kdf"]) if protected else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        sound = False
    if not sound:
        raise FailedPreconditionError("ROOT_KEY_INVALID", f"the root key file is not of the form {_PLAIN} or {_PROTECTED}")
    if kdf is None:
        if passphrase is not None:
            # Whoever names a passphrase believes the file to be protected by it.
            raise FailedPreconditionError("ROOT_KEY_INVALID", "the root key file is not protected by a passphrase")
        return KeyFile(values, _stamp(status), None)
    if passphrase is None:
        raise FailedPreconditionError("ROOT_KEY_INVALID", "the root key file is protected by a passphrase, name its file in the URI")
    protection = _Protection.derive(passphrase, **kdf)
    return KeyFile({version: protection.open(version, value) for version, value in values.items()}, _stamp(status), protection)


def _kdf(content: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the derivation as a file has them; ValueError for what is malformed or out of bounds."""
    salt = base64.b64decode(content["salt"], validate=True)
    memory_kib, iterations, lanes = (content[name] for name in ("memory_kib", "iterations", "lanes"))
    numbers = all(type(number) is int for number in (memory_kib, iterations, lanes))
    # Argon2 wants at least 8 KiB for each lane (RFC 9106 §3.1).
    if not (
        content["name"] == "argon2id"
        and content.keys() == {"name", "memory_kib", "iterations", "lanes", "salt"}
        and len(salt) >= _SALT_BYTES
        and numbers
        and 1 <= lanes <= _MAX_LANES
        and 1 <= iterations <= _MAX_ITERATIONS
        and 8 * lanes <= memory_kib <= _MAX_MEMORY_KIB
    ):
        raise ValueError
    return {"salt": salt, "memory_kib": memory_kib, "iterations": iterations, "lanes": lanes}


def content_of(keys: Mapping[int, bytes], protection: _Protection | None) -> bytes:
    """Bytes of a root key file with these keys by version; in clear without protection."""
    content: dict[str, Any] = {"format": _PLAIN, "keys": {str(version): _text(key) for version, key in keys.items()}}
    if protection is not None:
        kdf = {"name": "argon2id", "memory_kib": protection.memory_kib, "iterations": protection.iterations, "lanes": protection.lanes}
        content["format"] = _PROTECTED
        content["kdf"] = {**kdf, "salt": _text(protection.salt)}
        content["keys"] = {str(version): _text(protection.seal(version, key)) for version, key in keys.items()}
    return json.dumps(content, sort_keys=True).encode()


def _replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another one, with its owner and mode."""
    before = path.stat()
    # Made for its owner only.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            # Otherwise the account that the vault runs as could not read what an administrator wrote.
            os.fchown(out.fileno(), before.st_uid, before.st_gid)
            os.fchmod(out.fileno(), stat.S_IMODE(before.st_mode))
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """Differs for any other file, and for the same one written again or with another mode."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _address(version: int) -> bytes:
    return f"{_PROTECTED}/{version}".encode()


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
