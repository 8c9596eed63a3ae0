"""The root key in a hardware security module, through its PKCS#11 module.

URI (RFC 7512): `pkcs11:token=NAME;object=LABEL;type=secret-key?module-path=/path/module.so&pin-source=/path/pin`. `serial`, `manufacturer`, `model`
and `slot-id` are matched if given; any other attribute is refused. The PIN is read from a file that only its owner may read.

- The root key is an AES-256 secret key that cannot leave the token; one with CKA_EXTRACTABLE is refused. Its versions share the label and are told
  apart by CKA_ID (2 bytes, big endian). The highest wraps, every version unwraps.
- Wrapped key: version (2, big endian) | AES key wrap (88) of salt (16), material (32) and SHA-256 of the context (32). The token computes it:
  C_WrapKey and C_UnwrapKey with CKM_AES_KEY_WRAP (RFC 3394, NIST SP 800-38F). That mechanism has neither associated data nor a nonce, hence the
  digest and the salt inside. AES-GCM has both, but tokens differ in who chooses its nonce, and a repeated one would be fatal.
- A session logs in for the whole process, and a module may be initialised again under everybody: providers of one module share its sessions, and
  calls into one module run one at a time. Tenant keys are cached, so that this costs little.
- Opening is lazy and heals by itself. A refused PIN is not: tokens lock after a few, so that it is offered once per change of its file.
"""

import hashlib
import hmac
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import unquote_to_bytes

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag

from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError
from vault.keys import reading
from vault.keys.blocking import CONNECT_SECONDS, Blocking

Result = TypeVar("Result")

_VERSION_BYTES, _SALT_BYTES, _KEY_BYTES, _DIGEST_BYTES = 2, 16, 32, 32
_BOUND_BYTES = _SALT_BYTES + _KEY_BYTES + _DIGEST_BYTES
_SEALED_BYTES = _BOUND_BYTES + 8  # the check value
_IN_PATH = frozenset({"token", "object", "type", "serial", "manufacturer", "model", "slot-id"})
_IN_QUERY = frozenset({"module-path", "pin-source"})
# Initialising a module again costs every provider of it a login, and a remote module seconds.
_REINITIALISE_EVERY = timedelta(seconds=10)

_TokenName = tuple[str, bytes, int]
_FileMark = tuple[str, int, int, int]

# The token was asked with this PIN and said no; asking again may lock it.
_PIN_REFUSED = {
    pkcs11.PinIncorrect: "the token refuses the PIN",
    pkcs11.PinInvalid: "the token refuses the PIN",
    pkcs11.PinLenRange: "the token refuses the length of the PIN",
    pkcs11.PinLocked: "the PIN is locked, its security officer must reset it",
    pkcs11.PinExpired: "the PIN has expired",
    pkcs11.UserPinNotInitialized: "the token has no user PIN yet",
}
_WORDS = {
    pkcs11.NoSuchToken: "the token is not there",
    pkcs11.TokenNotPresent: "the token is not there",
    pkcs11.DeviceRemoved: "the token was removed",
    pkcs11.NoSuchKey: "the token has no root key of this label",
    pkcs11.MechanismInvalid: "the token has no AES key wrap",
    pkcs11.TokenWriteProtected: "the token is write-protected",
}


@dataclass(frozen=True, slots=True)
class _Address:
    """What the URI says; nothing in it is secret."""

    token: str
    label: str
    module: str
    pin_file: Path
    also: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Opened:
    """The root key's versions, as handles that are good for one session only."""

    session: pkcs11.Session
    keys: Mapping[int, pkcs11.SecretKey]

    @property
    def newest(self) -> int:
        return max(self.keys)


class Pkcs11RootKey:
    """A provider whose root key is in a token.

    Args:
        address: parsed URI.
    """

    def __init__(self, address: _Address) -> None:
        self._address = address
        self._module = _module(address.module)
        self._blocking = Blocking("pkcs11")
        self._opened: _Opened | None = None

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt under the newest version, looked up anew: a version added meanwhile is used from then on."""
        bound = secrets.token_bytes(_SALT_BYTES) + material + hashlib.sha256(context).digest()
        return await self._blocking.run(lambda: self._held(lambda opened: _wrap(self._again(opened), bound)))

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt under the version that the wrapped key names."""
        if len(wrapped) != _VERSION_BYTES + _SEALED_BYTES:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key")
        bound = await self._blocking.run(lambda: self._held(lambda opened: self._unwrap(opened, wrapped)))
        if len(bound) != _BOUND_BYTES or not hmac.compare_digest(bound[-_DIGEST_BYTES:], hashlib.sha256(context).digest()):
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key")
        return bound[_SALT_BYTES:-_DIGEST_BYTES]

    def describe(self) -> str:
        """Token, label and the newest version seen."""
        version = f"version {self._opened.newest}" if self._opened else "not opened yet"
        return f"PKCS#11 token {self._address.token}, key {self._address.label}, {version}"

    async def health(self) -> None:
        """Wrap and unwrap once."""
        probe = secrets.token_bytes(_KEY_BYTES)
        if await self.unwrap(await self.wrap(probe, context=b"health"), context=b"health") != probe:
            raise KeyUnavailableError("the root key does not unwrap what it wrapped")

    def _held(self, work: Callable[[_Opened], Result]) -> Result:
        """Work while no other thread is inside the module; once more with everything opened anew if the token fails."""
        with self._module.held():
            try:
                return work(self._open())
            except pkcs11.PKCS11Error:
                self._module.forget(self._address)
            try:
                return work(self._open())
            except pkcs11.PKCS11Error as error:
                self._module.forget(self._address)
                raise _unavailable(error) from None

    def _open(self) -> _Opened:
        session = self._module.session(self._address)
        if self._opened is None or self._opened.session is not session:
            self._opened = _Opened(session, _versions(session, self._address.label))
        return self._opened

    def _again(self, opened: _Opened) -> _Opened:
        self._opened = _Opened(opened.session, _versions(opened.session, self._address.label))
        return self._opened

    def _unwrap(self, opened: _Opened, wrapped: bytes) -> bytes:
        version, sealed = int.from_bytes(wrapped[:_VERSION_BYTES]), wrapped[_VERSION_BYTES:]
        key = opened.keys.get(version) or self._again(opened).keys.get(version)
        if key is None:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key")
        with suppress(pkcs11.PKCS11Error):
            return _unwrap_inside(key, sealed)
        # The error does not tell whose fault it is: SoftHSM answers a failed integrity check with CKR_GENERAL_ERROR, others with
        # CKR_FUNCTION_FAILED. If this very key can do what it is asked now, and still not with this ciphertext, the ciphertext is damaged.
        _unwrap_inside(key, _wrap_inside(opened.session, key, secrets.token_bytes(_BOUND_BYTES)))
        try:
            return _unwrap_inside(key, sealed)
        except pkcs11.PKCS11Error:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key") from None


def open_uri(uri: str) -> Pkcs11RootKey:
    """The provider that a URI names; the token is opened when it is first needed.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN; KEYS_PIN_INVALID, others may read the PIN file.
    """
    address = _parse(uri)
    with suppress(OSError):
        if stat.S_IMODE(address.pin_file.stat().st_mode) & 0o077:
            raise FailedPreconditionError("KEYS_PIN_INVALID", "the file with the PIN may be read by others, make it mode 0600")
    return Pkcs11RootKey(address)


def create_root_key(uri: str) -> int:
    """Make the next version of the root key inside the token.

    Returns:
        the version; providers wrap under it from their next call on.
    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN; ROOT_KEY_EXISTS, somebody else made this version at the same time, or none is left.
        KeyUnavailableError: KEYS_UNAVAILABLE.
    """
    address = _parse(uri)
    module = _module(address.module)
    with module.held():
        try:
            session = module.session(address)
            # Without a PIN, closing does not log out: the login is the whole process's.
            with session.token.open(rw=True) as writing:
                return _create(writing, address.label)
        except pkcs11.PKCS11Error as error:
            module.forget(address)
            raise _unavailable(error) from None


def _create(session: pkcs11.Session, label: str) -> int:
    version = max((int.from_bytes(name) for name in _ids(session, label)), default=0) + 1
    if version >= 1 << 8 * _VERSION_BYTES:
        raise FailedPreconditionError("ROOT_KEY_EXISTS", "the last possible version of the root key exists already")
    key = session.generate_key(
        KeyType.AES,
        8 * _KEY_BYTES,
        id=version.to_bytes(_VERSION_BYTES),
        label=label,
        store=True,
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    # Two keys of one version would stop every vault. If two processes meet here, both give up theirs.
    if _ids(session, label).count(version.to_bytes(_VERSION_BYTES)) > 1:
        key.destroy()
        raise FailedPreconditionError("ROOT_KEY_EXISTS", "this version of the root key was made by somebody else meanwhile")
    return version


# --- inside the token


def _wrap(opened: _Opened, bound: bytes) -> bytes:
    version = opened.newest
    return version.to_bytes(_VERSION_BYTES) + _wrap_inside(opened.session, opened.keys[version], bound)


def _wrap_inside(session: pkcs11.Session, key: pkcs11.SecretKey, bound: bytes) -> bytes:
    """AES key wrap of what enters the token for this moment only."""
    template = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: True,  # else it could not be wrapped
        Attribute.VALUE: bound,
    }
    entered = cast("pkcs11.SecretKey", session.create_object(template))
    try:
        wrapped: bytes = cast("pkcs11.WrapMixin", key).wrap_key(entered, mechanism=Mechanism.AES_KEY_WRAP)
    finally:
        entered.destroy()
    return wrapped


def _unwrap_inside(key: pkcs11.SecretKey, sealed: bytes) -> bytes:
    """What was wrapped; its copy in the token can be read, is read, and goes."""
    left = cast("pkcs11.UnwrapMixin", key).unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        sealed,
        mechanism=Mechanism.AES_KEY_WRAP,
        template={Attribute.PRIVATE: True, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    try:
        return cast("bytes", left[Attribute.VALUE])
    finally:
        left.destroy()


def _versions(session: pkcs11.Session, label: str) -> Mapping[int, pkcs11.SecretKey]:
    """Every version of the root key.

    Raises:
        pkcs11.NoSuchKey: there is none.
        KeyUnavailableError: one is not as it must be.
    """
    keys: dict[int, pkcs11.SecretKey] = {}
    for key in _found(session, label):
        names = [Attribute.ID, Attribute.KEY_TYPE, Attribute.VALUE_LEN, Attribute.SENSITIVE, Attribute.EXTRACTABLE]
        told = key.get_attributes([*names, Attribute.WRAP, Attribute.UNWRAP])
        name = told.get(Attribute.ID, b"")
        version = int.from_bytes(name)
        if len(name) != _VERSION_BYTES or not version:
            raise KeyUnavailableError("a key in the token has the root key's label and an id that is no version")
        if version in keys:
            raise KeyUnavailableError(f"version {version} of the root key is in the token twice")
        if told.get(Attribute.KEY_TYPE) != KeyType.AES or told.get(Attribute.VALUE_LEN) != _KEY_BYTES:
            raise KeyUnavailableError(f"version {version} of the root key is no AES-256 key")
        if told.get(Attribute.EXTRACTABLE) is not False or told.get(Attribute.SENSITIVE) is not True:
            raise KeyUnavailableError(
                f"version {version} of the root key may leave the token, make one that is sensitive and not extractable"
            )
        if not told.get(Attribute.WRAP) or not told.get(Attribute.UNWRAP):
            raise KeyUnavailableError(f"version {version} of the root key may not wrap and unwrap")
        keys[version] = key
    if not keys:
        # Not a refusal of ours: a session that went stale sees no keys either, so that opening anew is worth a try.
        raise pkcs11.NoSuchKey
    return keys


def _found(session: pkcs11.Session, label: str) -> list[pkcs11.SecretKey]:
    # To the end: a search that is left open blocks the session.
    return cast("list[pkcs11.SecretKey]", list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label})))


def _ids(session: pkcs11.Session, label: str) -> list[bytes]:
    return [cast("bytes", key[Attribute.ID]) for key in _found(session, label)]


# --- the module and its sessions


@dataclass(slots=True)
class _Login:
    """A session that is logged in. `live` ends when the session fails or the module is initialised again: its handles may name other things then."""

    session: pkcs11.Session
    pin_mark: bytes
    live: bool = True


class _Module:
    """A loaded PKCS#11 module: its lock, its logins, the PINs that were refused. Every method but `held` needs the lock."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._logins: dict[_TokenName, _Login] = {}
        self._by_address: dict[_Address, _Login] = {}
        self._refused: dict[tuple[_TokenName, _FileMark], str] = {}
        self._salt = secrets.token_bytes(16)
        self._reinitialise_from = 0.0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else calls the module meanwhile.

        Raises:
            KeyUnavailableError: another call does not come back.
        """
        if not self._lock.acquire(timeout=CONNECT_SECONDS):
            raise KeyUnavailableError("the token does not answer")
        try:
            yield
        finally:
            self._lock.release()

    def session(self, address: _Address) -> pkcs11.Session:
        """The session with the token of this address, logged in.

        Raises:
            KeyUnavailableError: the PIN cannot be read, or is refused or was and its file is still the same.
            pkcs11.PKCS11Error: everything else.
        """
        login = self._by_address.get(address)
        if login is None or not login.live:
            login = self._by_address[address] = self._log_in(address)
        return login.session

    def forget(self, address: _Address) -> None:
        """Drop a session that failed."""
        login = self._by_address.pop(address, None)
        if login is not None and login.live:
            self._end(login)

    def _log_in(self, address: _Address) -> _Login:
        try:
            return self._log_in_once(address)
        except pkcs11.PKCS11Error:
            # Many modules see a token that comes, or comes back, only when they are initialised again.
            if not self._reinitialise():
                raise
        return self._log_in_once(address)

    def _log_in_once(self, address: _Address) -> _Login:
        token = self._token(address)
        name = (token.label, token.serial, token.slot.slot_id)
        pin, file_mark = _read_pin(address.pin_file)
        if words := self._refused.get((name, file_mark)):
            raise KeyUnavailableError(f"{words}; it is not asked again until the PIN file changes")
        # Whoever comes second is logged in already, as PKCS#11 has it. A wrong PIN must not pass because of that.
        pin_mark = hashlib.blake2b(pin.encode(), key=self._salt).digest()
        login = self._logins.get(name)
        if login is not None and login.live:
            if hmac.compare_digest(login.pin_mark, pin_mark):
                return login
            self._end(login)
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            raise KeyUnavailableError("one wrong PIN is left before the token locks: log in by hand once, with the right one")
        try:
            login = self._logins[name] = _Login(token.open(user_pin=pin), pin_mark)
        except tuple(_PIN_REFUSED) as error:
            words = self._refused[name, file_mark] = _PIN_REFUSED[type(error)]
            raise KeyUnavailableError(words) from None
        return login

    def _token(self, address: _Address) -> pkcs11.Token:
        wanted = {*address.also, ("token", address.token)}
        tokens = []
        for slot in pkcs11.lib(self._path).get_slots(token_present=True):
            # One broken slot does not hide the others.
            with suppress(pkcs11.PKCS11Error):
                token = slot.get_token()
                told = {
                    "token": token.label,
                    "serial": token.serial.decode(errors="replace"),
                    "manufacturer": token.manufacturer_id,
                    "model": token.model,
                    "slot-id": str(slot.slot_id),
                }
                if wanted <= told.items():
                    tokens.append(token)
        if not tokens:
            raise pkcs11.NoSuchToken
        if len(tokens) > 1:
            raise KeyUnavailableError("several tokens answer to this name, add the serial number to the URI")
        return tokens[0]

    def _reinitialise(self) -> bool:
        if time.monotonic() < self._reinitialise_from:
            return False
        self._reinitialise_from = time.monotonic() + _REINITIALISE_EVERY.total_seconds()
        # No session is closed from here on: a handle of before may be another session's number now.
        for login in self._logins.values():
            login.live = False
        self._logins.clear()
        library = pkcs11.lib(self._path)
        with suppress(pkcs11.PKCS11Error):
            library.finalize()
        library.initialize()
        return True

    def _end(self, login: _Login) -> None:
        login.live = False
        with suppress(pkcs11.PKCS11Error):
            login.session.close()


_modules: dict[str, _Module] = {}


def _module(path: str) -> _Module:
    # One per process: so it is in PKCS#11, where a second C_Initialize is an error and a login counts for all.
    return _modules.setdefault(path, _Module(path))


def _read_pin(path: Path) -> tuple[str, _FileMark]:
    """The PIN, and what changes when its file does."""
    # Before the PIN: were the file replaced in between, the new PIN would be offered twice, and not never.
    try:
        status = path.stat()
    except OSError:
        raise KeyUnavailableError("the file with the PIN cannot be read") from None
    try:
        pin = reading.read_secret(path, "the PIN").decode()
    except UnicodeDecodeError:
        raise KeyUnavailableError("the file with the PIN holds no PIN") from None
    return pin, (str(path), status.st_dev, status.st_ino, status.st_mtime_ns)


def _unavailable(error: pkcs11.PKCS11Error) -> KeyUnavailableError:
    """In words; the library's own are dropped, they may repeat what was passed."""
    if type(error) is pkcs11.PKCS11Error:
        return KeyUnavailableError("the PKCS#11 module cannot be loaded or used")
    return KeyUnavailableError(_WORDS.get(type(error), f"the token fails with {type(error).__name__}"))


# --- the URI


def _parse(uri: str) -> _Address:
    scheme, _, rest = uri.partition(":")
    path, _, query = rest.partition("?")
    if scheme != "pkcs11":
        raise _refusal("it begins with pkcs11:")
    told: dict[str, str] = {}
    for part, allowed in [*((p, _IN_PATH) for p in path.split(";")), *((p, _IN_QUERY) for p in query.split("&"))]:
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise _refusal("a PIN does not belong in a URI, name its file by pin-source")
        # An unknown name is not repeated: it may be a value in the wrong place.
        if name not in allowed or not equals or name in told:
            raise _refusal(
                "each of token, object, type, serial, manufacturer, model, slot-id; module-path, pin-source at most once, no other"
            )
        told[name] = _decoded(value)
    if told.pop("type", "secret-key") != "secret-key":
        raise _refusal("type=secret-key")
    if not all(told.get(name) for name in ("token", "object", "module-path", "pin-source")):
        raise _refusal("token, object, module-path and pin-source are needed")
    label, module, pin_source = told.pop("object"), told.pop("module-path"), told.pop("pin-source")
    pin_source = pin_source.removeprefix("file:").removeprefix("//")
    if not module.startswith("/") or not pin_source.startswith("/"):
        raise _refusal("module-path and pin-source are absolute paths")
    return _Address(told.pop("token"), label, module, Path(pin_source), frozenset(told.items()))


def _decoded(value: str) -> str:
    try:
        text = unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        raise _refusal("values are printable UTF-8, percent-encoded and not empty")
    return text


def _refusal(rule: str) -> FailedPreconditionError:
    return FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key's pkcs11 URI is not of the form that is needed: {rule}")
