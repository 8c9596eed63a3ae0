"""The keys of the token issuer (RFC 7517), from a file or a URL, followed while they rotate.

Rules:
- A key that is not known makes the set be read again, at most every few seconds, so that a rotation is followed and a flood of invented key
  ids is not a flood of requests.
- A known set goes on serving while the issuer is away; it is read again when it is older than the refresh time. A key that the issuer took out of
  the set is dead then.
- Whoever has a key does not wait while somebody else reads the set: an issuer that hangs holds up one call, not all.
- Only public keys for signatures are taken; a symmetric key in the set is ignored. The issuer may not send us elsewhere.
"""

import asyncio
import json
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path

import jwt

from vault.errors import UnavailableError

_AGAIN = timedelta(seconds=5)
_TIMEOUT = timedelta(seconds=5)
_MAX_BYTES = 1 << 20
_PUBLIC = frozenset({"EC", "RSA", "OKP"})


class Jwks:
    """A set of public keys by key id.

    Args:
        source: path of a file, or a URL.
        refresh: age at which the set is read again.
        clock: current time.
    """

    def __init__(self, source: str, *, refresh: timedelta, clock: Callable[[], datetime]) -> None:
        self._source = source
        self._refresh = refresh
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._read_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._lock = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """The key of this id, or None.

        Raises:
            UnavailableError: IDENTITY_UNAVAILABLE, the set was never read.
        """
        if kid not in self._keys or (self._age() >= self._refresh and not self._lock.locked()):
            async with self._lock:
                await self._read(kid)
        if self._read_at is None:
            raise UnavailableError("IDENTITY_UNAVAILABLE", "the token issuer's keys cannot be read", retry_after=_AGAIN)
        return self._keys.get(kid)

    async def _read(self, kid: str) -> None:
        fresh = kid in self._keys and self._age() < self._refresh
        if fresh or (self._tried_at is not None and self._clock() - self._tried_at < _AGAIN):
            return
        began = self._clock()
        try:
            self._keys = _parsed(await asyncio.to_thread(_load, self._source))
        except (OSError, ValueError, RecursionError, HTTPException):
            return  # the set at hand, if there is one, goes on serving
        finally:
            # Counted from the end: those who waited for an issuer that hangs must not try it again, one after the other.
            self._tried_at = self._clock()
        self._read_at = began

    def _age(self) -> timedelta:
        return timedelta.max if self._read_at is None else self._clock() - self._read_at


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: it could lead to keys of someone else, and out of TLS."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""


# The configuration admits http(s) only.
_OPENER = urllib.request.build_opener(_NoRedirect)


def _load(source: str) -> bytes:
    if "://" not in source:
        return Path(source).read_bytes()
    with _OPENER.open(source, timeout=_TIMEOUT.total_seconds()) as answer:
        content: bytes = answer.read(_MAX_BYTES)
    return content


def _parsed(content: bytes) -> dict[str, jwt.PyJWK]:
    keys: dict[str, jwt.PyJWK] = {}
    members = json.loads(content)
    entries = members.get("keys") if isinstance(members, dict) else None
    if not isinstance(entries, list):
        msg = "not a JWK set"
        raise ValueError(msg)  # noqa: TRY004 - every damage is one error
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") not in _PUBLIC or entry.get("use", "sig") != "sig" or "kid" not in entry:
            continue
        try:
            keys[str(entry["kid"])] = jwt.PyJWK.from_dict(entry)
        except (jwt.PyJWTError, ValueError, TypeError, NotImplementedError):
            continue  # damaged, or of a kind that this version does not know
    return keys
