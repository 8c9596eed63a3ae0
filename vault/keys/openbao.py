"""The root key as a key of the transit engine of OpenBao, or of HashiCorp Vault, which never lets it out.

URI: `openbao://host:port/<transit mount>/<key name>?<log-in>[&ca=/path/ca.pem][&namespace=…]`; `vault://` is the same and says so. The log-in:
- `auth=token&token_file=/path`
- `auth=approle&role_id=…&secret_id_file=/path[&auth_mount=approle]`
- `auth=kubernetes&role=…[&jwt_file=/path][&auth_mount=kubernetes]`

Rules:
- TLS always, certificates always verified, redirects never followed: a token goes to the host that was configured and nowhere else.
- Nothing is taken from the environment: no token, address, certificate, proxy or `.netrc`.
- The context is `associated_data`, so that the key must be of an AEAD type (aes256-gcm96).
- A wrapped key is the ASCII `vault:vN:…` as the engine gives it, and one spelling of it only: the engine itself takes version 0 and 01 for 1,
  and line breaks anywhere.
- Before a call, a token with less than a third of its lease left is renewed, or replaced by a new log-in if it cannot be. A token that is
  refused is replaced once. There is no task in the background.
- What the engine says is damage is `CiphertextInvalidError`. Everything else, a missing key or version too, is `KeyUnavailableError`: it may
  be put right without touching what is stored.
"""

import base64
import binascii
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import hvac.exceptions
import requests
from hvac.adapters import JSONAdapter
from hvac.api.auth_methods import AppRole as AppRoleAPI
from hvac.api.auth_methods import Kubernetes as KubernetesAPI
from hvac.api.auth_methods import Token as TokenAPI
from hvac.api.secrets_engines import Transit

from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError, VaultError
from vault.keys import reading
from vault.keys.blocking import CONNECT_SECONDS, READ_SECONDS, Blocking
from vault.keys.provider import RootKeyProvider

_FORM = "openbao://host:port/mount/key?auth=…"
_NAMES = {"openbao": "OpenBao", "vault": "HashiCorp Vault"}
_PORT = 8200
_KEY_BYTES = 32
_COMMON = frozenset({"auth", "ca", "namespace"})
_PARAMETERS = {
    "token": frozenset({"token_file"}),
    "approle": frozenset({"role_id", "secret_id_file", "auth_mount"}),
    "kubernetes": frozenset({"role", "jwt_file", "auth_mount"}),
}
_JWT_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")
# 80 characters are 60 bytes without padding: nonce (12), ciphertext (32), tag (16).
_WRAPPED = re.compile(rb"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]{80}")
# A policy that forbids the key is not mended by log-ins, and each would leave a token behind at the key service.
_LOG_IN_IN_VAIN_SECONDS = 10.0
# What calls raise: the last is hvac's when an error's JSON is not an object.
_FAULTS = (hvac.exceptions.VaultError, OSError, AttributeError)

# What the engine says in an answer 400, and what that means.
_DAMAGED = ("message authentication failed", "invalid ciphertext")
_NOT_DAMAGED = {
    "version is too new": "the key service has no such version of the key",
    "disallowed by policy": "the key service does not allow this version of the key any more",
    "key not found": "there is no such key",
    "soft-deleted": "the key is disabled",
    "non-aead": "the key is of a type without associated data, aes256-gcm96 is needed",
    "key derivation": "the key is a derived one, aes256-gcm96 without derivation is needed",
}


def open_uri(uri: str) -> RootKeyProvider:
    """The provider that a URI names. Connects when it is first used.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN.
    """
    parts = reading.split(uri, form=_FORM)
    segments = unquote(parts.path).removeprefix("/").split("/")
    if parts.scheme not in _NAMES or not parts.hostname or len(segments) < 2 or not all(map(_SEGMENT.fullmatch, segments)):  # noqa: PLR2004
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key is named by a URI of the form {_FORM}")
    given = reading.parameters(parts.query, known=_COMMON.union(*_PARAMETERS.values()))
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    connection = _Connection(
        host=f"{host}:{parts.port or _PORT}",
        ca=given.get("ca"),
        namespace=given.get("namespace"),
    )
    key = _Key("/".join(segments[:-1]), segments[-1])
    return OpenBaoRootKey(_Session(connection, _log_in_of(given)), key, f"{_NAMES[parts.scheme]} transit key {key} at {connection.host}")


class OpenBaoRootKey:
    """A provider whose root key is in a transit engine.

    Args:
        session: calls to the key service.
        key: which key.
        description: says so to people.
    """

    def __init__(self, session: "_Session", key: "_Key", description: str) -> None:
        self._session = session
        self._key = key
        self._description = description
        self._blocking = Blocking("openbao")

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt under the newest version."""
        return await self._blocking.run(lambda: self._session.encrypt(self._key, material, context))

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt under the version that the wrapped key names."""
        if not _WRAPPED.fullmatch(wrapped):
            raise CiphertextInvalidError("a wrapped tenant key is not of the form that the key service gives")
        return await self._blocking.run(lambda: self._session.decrypt(self._key, wrapped, context))

    def describe(self) -> str:
        """Kind, key and address."""
        return self._description

    async def health(self) -> None:
        """Wrap and unwrap once."""
        probe = secrets.token_bytes(_KEY_BYTES)
        try:
            sound = await self.unwrap(await self.wrap(probe, context=b"health"), context=b"health") == probe
        except CiphertextInvalidError:
            sound = False
        if not sound:
            raise KeyUnavailableError("the root key does not unwrap what it wrapped")


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a transit engine."""

    mount: str
    name: str

    def __str__(self) -> str:
        return f"{self.mount}/{self.name}"


@dataclass(frozen=True, slots=True)
class _Connection:
    """Where the key service is, and whom to trust for it: the file of authorities, or the ones that come with the client."""

    host: str
    ca: str | None
    namespace: str | None

    def adapter(self, session: requests.Session) -> JSONAdapter:
        return JSONAdapter(
            base_uri=f"https://{self.host}",
            token=None,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            session=session,
            namespace=self.namespace,
        )

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = self.ca or True
        return session


@dataclass(frozen=True, slots=True)
class _Grant:
    """A token and how long it is good for; 0 seconds is for ever, or unknown."""

    token: str = field(repr=False)
    seconds: float
    renewable: bool


class _LogIn(Protocol):
    """A way to a token. Reads its secret each time, so that a replaced one is picked up."""

    def __call__(self, adapter: JSONAdapter) -> _Grant:
        """Log in.

        Args:
            adapter: carries no token, and is the caller's to set one.
        """


@dataclass(frozen=True, slots=True)
class _TokenFile:
    path: Path

    def __call__(self, adapter: JSONAdapter) -> _Grant:
        adapter.token = _text(reading.read_secret(self.path, "the token"))
        try:
            # Whoever made the token knows its lease; renewing it tells us.
            return _grant(TokenAPI(adapter).renew_self())
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            # It cannot be renewed, or may not be asked to. Whether it is good for anything is seen when it is used.
            return _Grant(adapter.token, 0, renewable=False)


@dataclass(frozen=True, slots=True)
class _AppRole:
    role_id: str = field(repr=False)
    secret_id_file: Path
    mount: str

    def __call__(self, adapter: JSONAdapter) -> _Grant:
        secret_id = _text(reading.read_secret(self.secret_id_file, "the secret id"))
        return _grant(_answer(lambda: AppRoleAPI(adapter).login(self.role_id, secret_id, use_token=False, mount_point=self.mount)))


@dataclass(frozen=True, slots=True)
class _Kubernetes:
    role: str
    jwt_file: Path
    mount: str

    def __call__(self, adapter: JSONAdapter) -> _Grant:
        # The kubelet projects the file with a mode of its own.
        token = _text(reading.read_secret(self.jwt_file, "the service account's token", for_owner_only=False))
        return _grant(_answer(lambda: KubernetesAPI(adapter).login(self.role, token, use_token=False, mount_point=self.mount)))


class _Session:
    """Calls to the key service with a token that is kept alive. Used by several threads at once.

    Args:
        connection: where the key service is.
        log_in: how to get a token.
        clock: seconds from any start.
    """

    def __init__(self, connection: _Connection, log_in: _LogIn, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._log_in_with = log_in
        self._clock = clock
        # Kept connections are shared; the token is not, so that a log-in never carries one that was refused.
        self._http = connection.session()
        self._adapter = connection.adapter(self._http)
        self._transit = Transit(self._adapter)
        self._lock = threading.Lock()
        self._grant: _Grant | None = None
        self._ends: float | None = None
        self._third = 0.0
        self._in_vain_until = float("-inf")

    def encrypt(self, key: _Key, material: bytes, context: bytes) -> bytes:
        """The wrapped key."""
        body = {"plaintext": _base64(material), "associated_data": _base64(context), "mount_point": key.mount}
        wrapped = self._call(key, lambda: self._transit.encrypt_data(key.name, **body), "ciphertext").encode()
        if not _WRAPPED.fullmatch(wrapped):
            # Nothing may be stored that would be refused when it is read.
            raise KeyUnavailableError("the key service answers what is not a wrapped key")
        return wrapped

    def decrypt(self, key: _Key, wrapped: bytes, context: bytes) -> bytes:
        """The key that was wrapped."""
        body = {"ciphertext": wrapped.decode(), "associated_data": _base64(context), "mount_point": key.mount}
        plaintext = self._call(key, lambda: self._transit.decrypt_data(key.name, **body), "plaintext")
        try:
            material = base64.b64decode(plaintext, validate=True)
        except (binascii.Error, ValueError):
            material = b""
        if len(material) != _KEY_BYTES:
            raise CiphertextInvalidError("a tenant key is not 32 bytes long")
        return material

    def _call(self, key: _Key, call: Callable[[], Any], wanted: str) -> str:
        """One value out of an answer; everything that can go wrong as an error of ours."""
        try:
            self._keep_alive()
            refused = self._adapter.token
            try:
                answer = call()
            except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
                self._replace(refused)
                try:
                    answer = call()
                except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
                    self._in_vain_until = self._clock() + _LOG_IN_IN_VAIN_SECONDS
                    raise
            value = answer["data"][wanted] if isinstance(answer, dict) else None
        except _FAULTS as error:
            raise self._fault(key, error) from None
        except (KeyError, TypeError):
            value = None
        if not isinstance(value, str):
            raise KeyUnavailableError("the key service answers what is not understood, or sends its callers elsewhere")
        return value

    def _keep_alive(self) -> None:
        """Have a token with a third of its lease left, if one can be had."""
        with self._lock:
            if self._grant is None:
                self._log_in()
                return
            if self._ends is None or self._ends - self._clock() >= self._third:
                return
            try:
                if not self._renew(self._grant):
                    self._log_in()
            except (VaultError, *_FAULTS):
                # The token that is there may still do, and a key service that is down says so itself.
                if self._clock() >= self._ends:
                    raise

    def _renew(self, grant: _Grant) -> bool:
        """Whether the token is good for another while; not so when it is close to the end that no renewal moves."""
        if not grant.renewable:
            return False
        adapter = self._connection.adapter(self._http)
        adapter.token = grant.token
        try:
            renewed = _grant(TokenAPI(adapter).renew_self())
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            return False
        self._grant, self._ends = renewed, self._clock() + renewed.seconds
        return renewed.seconds >= self._third

    def _replace(self, refused: str) -> None:
        """Have another token than the one that was refused.

        Raises:
            KeyUnavailableError: KEYS_UNAVAILABLE, there is no other.
        """
        with self._lock:
            if self._adapter.token != refused:
                return
            if self._clock() < self._in_vain_until:
                raise hvac.exceptions.Forbidden
            self._log_in()
            if self._adapter.token == refused:
                raise hvac.exceptions.Forbidden

    def _log_in(self) -> None:
        grant = self._log_in_with(self._connection.adapter(self._http))
        # The same token, at the end that no renewal moves: there is nothing to be had by asking before each call.
        spent = grant.token == self._adapter.token and grant.seconds < self._third
        self._grant, self._adapter.token = grant, grant.token
        self._third = grant.seconds / 3
        self._ends = self._clock() + grant.seconds if grant.seconds and not spent else None

    def _fault(self, key: _Key, error: Exception) -> VaultError:
        if isinstance(error, (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized)) and self._is_missing(key):
            # To encrypt under a missing key is to create it, which the vault's policy forbids.
            return KeyUnavailableError("there is no such key")
        return _error(error)

    def _is_missing(self, key: _Key) -> bool:
        try:
            self._transit.read_key(key.name, mount_point=key.mount)
        except hvac.exceptions.InvalidPath:
            return True
        except _FAULTS:
            return False
        return False


def _error(error: Exception) -> VaultError:
    """What a fault of the key service means. Nothing of its text is passed on."""
    match error:
        case requests.exceptions.SSLError():
            said = "there is no trusted TLS connection to the key service"
        case requests.exceptions.Timeout():
            said = "the key service does not answer in time"
        case OSError():
            said = "the key service cannot be reached"
        case hvac.exceptions.Forbidden() | hvac.exceptions.Unauthorized():
            said = "the key service refuses the credentials, or forbids them the key"
        case hvac.exceptions.InvalidPath():
            said = "there is no such key, or no such transit engine"
        case hvac.exceptions.RateLimitExceeded():
            said = "the key service is throttled"
        case hvac.exceptions.InvalidRequest():
            return _refused(_words(error))
        case hvac.exceptions.VaultDown() if "sealed" in _words(error):
            said = "the key service is sealed"
        case hvac.exceptions.VaultNotInitialized() | hvac.exceptions.VaultDown():
            said = "the key service is not ready"
        case _:
            said = "the key service has a fault of its own"
    return KeyUnavailableError(said)


def _refused(words: str) -> VaultError:
    for part, said in _NOT_DAMAGED.items():
        if part in words:
            return KeyUnavailableError(said)
    if any(part in words for part in _DAMAGED):
        return CiphertextInvalidError("a tenant key does not unwrap under this root key")
    return KeyUnavailableError("the key service refuses the request")


def _words(error: hvac.exceptions.VaultError) -> str:
    return " ".join(map(str, error.errors or ())).lower()


def _answer(log_in: Callable[[], Any]) -> Any:
    """The answer to a log-in, for which wrong credentials are an answer 400."""
    try:
        return log_in()
    except hvac.exceptions.InvalidRequest:
        raise hvac.exceptions.Forbidden from None


def _grant(answer: Any) -> _Grant:
    try:
        auth: Mapping[str, Any] = answer["auth"]
        return _Grant(str(auth["client_token"]), float(auth["lease_duration"]), renewable=bool(auth["renewable"]))
    except (KeyError, TypeError, ValueError):
        raise KeyUnavailableError("the key service answers a log-in with what is not understood") from None


def _log_in_of(given: Mapping[str, str]) -> _LogIn:
    """The way to log in that the parameters describe."""
    auth = given.get("auth", "")
    known = _PARAMETERS.get(auth)
    if known is None:
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", "parameter 'auth' of the root key's URI is token, approle or kubernetes")
    if foreign := sorted(given.keys() - known - _COMMON):
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"parameter '{foreign[0]}' of the root key's URI does not go with auth={auth}")
    mount = given.get("auth_mount", auth)
    if not all(map(_SEGMENT.fullmatch, mount.split("/"))):
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", "parameter 'auth_mount' of the root key's URI is not the path of a mount")
    try:
        match auth:
            case "token":
                return _TokenFile(Path(given["token_file"]))
            case "approle":
                return _AppRole(given["role_id"], Path(given["secret_id_file"]), mount)
            case _:
                return _Kubernetes(given["role"], Path(given.get("jwt_file", _JWT_FILE)), mount)
    except KeyError as error:
        raise FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key's URI lacks parameter '{error.args[0]}'") from None


def _text(secret: bytes) -> str:
    """A secret as it goes into a header or a body; ASCII, or it is none that a key service gave out."""
    text = secret.decode("ascii", errors="replace")
    if not text.isprintable() or "\ufffd" in text:
        raise KeyUnavailableError("a file with a secret holds something else")
    return text


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
