"""A tenant's own address for notifications: what it may be, how a call to it is signed and made.

Rules:
- The operator's configuration lists the hosts that may be called; a tenant cannot make the vault call anything else.
- TLS, verified against the system's authorities and those of the configuration; TLS 1.2 at least.
- Of the answer only the status line is read. 2xx is received; a redirect is a refusal like everything else, and no proxy is asked.
- Signed after the Standard Webhooks scheme: HMAC-SHA-256 over `id.timestamp.body`; the id stays the same however often it is tried.

The call is written on asyncio's streams: one request whose answer is not read needs no HTTP library, and those at hand block, follow redirects,
obey proxies of the environment, or wait for ever on an answer that comes byte by byte.
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from vault import crypto, scan
from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.operations.keyring import TenantKeys
from vault.store.notifications import WebhookRow

FIELD = "tenant.notification_url"
HOST = re.compile(r"(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::(?P<port>[1-9]\d{0,4}))?")
# No user, no password, no query: what stands in an address is kept in clear.
_URL = re.compile(rf"https://{HOST.pattern}(?P<path>(?:/[A-Za-z0-9._~-]+)*/?)")
_MAX_URL = 500  # characters
_HTTPS = 443
_SECRET_BYTES = 32  # Standard Webhooks: 24 to 64
_PURPOSE = "webhook-secret"
# Connecting, the handshake and the status line, together.
WITHIN = timedelta(seconds=5)
_LINE_BYTES = 4096
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r\n]")


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Which hosts may be called, and whose certificates are believed.

    Attributes:
        hosts: `host:port`; no webhooks if empty.
    """

    hosts: frozenset[str]
    tls: ssl.SSLContext

    @staticmethod
    def of(hosts: Collection[str] = (), ca: Path | None = None) -> "Webhooks":
        """From the configuration; a host without a port has the usual one.

        Raises:
            FailedPreconditionError: CONFIG_INVALID, the authorities cannot be read.
        """
        # Reading the system's authorities takes longer than anything else at a start; where nobody may be called, none is believed.
        context = ssl.create_default_context() if hosts else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if ca is not None:
                context.load_verify_locations(cafile=str(ca))
        except OSError:
            raise FailedPreconditionError("CONFIG_INVALID", "notification_ca is no file of certificates in PEM form") from None
        return Webhooks(frozenset(_with_port(host) for host in hosts), context)


@dataclass(frozen=True, slots=True)
class _Address:
    host: str
    port: int
    path: str


def check_url(webhooks: Webhooks, url: str) -> str:
    """Check an address that a tenant wants to be called at.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
        FailedPreconditionError: NOTIFICATION_HOST_NOT_ALLOWED, also where there are no webhooks at all.
    """
    if len(url) > _MAX_URL or not _URL.fullmatch(url) or any(scan.find_contact(part) for part in url.split("/")):
        message = f"the address is not https://host[:port][/path] of at most {_MAX_URL} characters, without user, query or anybody's number"
        raise InvalidArgumentError("FIELD_INVALID", message, field=FIELD, limit=str(_MAX_URL))
    if not is_allowed(webhooks, url):
        raise FailedPreconditionError("NOTIFICATION_HOST_NOT_ALLOWED", "the vault is not configured to call this host", field=FIELD)
    return url


def is_allowed(webhooks: Webhooks, url: str) -> bool:
    """Whether the configuration lists the host; looked at before every call, for it may have been taken from the list."""
    address = _parsed(url)
    return f"{address.host}:{address.port}" in webhooks.hosts


def new_webhook(keys: TenantKeys, url: str) -> tuple[WebhookRow, str]:
    """A webhook with a fresh secret, and the secret as the receiver needs it: `whsec_` and base64; told once."""
    secret = secrets.token_bytes(_SECRET_BYTES)
    # Sealed for this address: with another one in the row it does not open.
    sealed = crypto.seal_text(secret, under=keys.newest("text"), purpose=_PURPOSE, tenant=keys.tenant, place=url)
    return WebhookRow(url, sealed), f"whsec_{base64.b64encode(secret).decode()}"


def open_secret(keys: TenantKeys, row: WebhookRow) -> bytes:
    """The secret.

    Raises:
        CiphertextInvalidError: damaged, or sealed for another address.
    """
    key = keys.version("text", crypto.text_key_version(row.secret))
    return crypto.open_text(row.secret, under=key, purpose=_PURPOSE, tenant=keys.tenant, place=row.url)


def signed(secret: bytes, message_id: str, body: bytes, now: datetime) -> Mapping[str, str]:
    """Headers that prove to the receiver who sent it.

    Source: Standard Webhooks 1.0, symmetric signatures.
    """
    timestamp = str(int(now.timestamp()))
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{signature}"}


async def post(webhooks: Webhooks, url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Send it once. Empty if it was received, else why not: TIMEOUT, UNREACHABLE, TLS_REFUSED, ANSWER_INVALID, STATUS_{code}."""
    address = _parsed(url)
    try:
        async with asyncio.timeout(WITHIN.total_seconds()):
            status = await _status(webhooks, address, body, headers)
    except TimeoutError:
        return "TIMEOUT"
    except ssl.SSLError:
        return "TLS_REFUSED"
    except (OSError, EOFError):
        return "UNREACHABLE"
    if status is None:
        return "ANSWER_INVALID"
    return "" if status.startswith("2") else f"STATUS_{status}"


async def _status(webhooks: Webhooks, address: _Address, body: bytes, headers: Mapping[str, str]) -> str | None:
    """The three digits of the answer's first line; None if that is no line of HTTP."""
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=webhooks.tls, limit=_LINE_BYTES)
    try:
        lines = {
            "host": address.host if address.port == _HTTPS else f"{address.host}:{address.port}",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "pii-vault",
            "connection": "close",
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"POST {address.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        await writer.drain()
        try:
            found = _STATUS.match(await reader.readuntil(b"\n"))
        except asyncio.LimitOverrunError:
            return None
        return found[1].decode() if found else None
    finally:
        # The rest of the answer is nobody's business, and waiting for its end would be the receiver's choice.
        writer.transport.abort()


def _parsed(url: str) -> _Address:
    found = _URL.fullmatch(url)
    if found is None:
        raise InvalidArgumentError("FIELD_INVALID", "the address is malformed", field=FIELD)
    return _Address(found["host"], int(found["port"] or _HTTPS), found["path"] or "/")


def _with_port(host: str) -> str:
    return host if ":" in host else f"{host}:{_HTTPS}"
