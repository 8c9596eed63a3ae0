"""Looks at everything that a configuration names, and says in plain words what is wrong. Changes nothing, and runs beside a vault that serves.

Every check stands alone: what one of them meets does not keep the others from being made. No text of a library is repeated, and no value.
"""

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vault.catalogue import loader
from vault.config import Settings
from vault.errors import VaultError
from vault.keys.open import open_provider
from vault.rpc.certificates import CertificateFiles
from vault.server import signing_key_in
from vault.store import schema
from vault.store.database import Database

_WITHIN = timedelta(seconds=10)
_SOON, _REVIEW = timedelta(days=14), timedelta(days=365)
_ROOM = 1 << 30
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: what was looked at.
        state: `ok`, `warning` or `failed`.
        words: what was found, and what to do.
    """

    check: str
    state: str
    words: str


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything, in the order in which a start needs it."""
    checks: Sequence[tuple[str, Awaitable[list[Finding]]]] = (
        *((name, asyncio.to_thread(check, settings)) for name, check in _LOCAL.items()),
        ("root keys", _root_keys(settings)),
        ("databases", _databases(settings)),
    )
    return [finding for name, check in checks for finding in await _alone(name, check)]


async def _alone(name: str, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(_WITHIN.total_seconds()):
            return await check
    except VaultError as error:
        return [Finding(name, "failed", f"{error.message} ({error.reason})")]
    except TimeoutError:
        return [Finding(name, "failed", f"no answer within {_WITHIN.seconds} seconds")]
    except OSError as error:
        return [Finding(name, "failed", f"cannot be used: {(error.strerror or 'unknown').lower()}")]


def _policy(_settings: Settings) -> list[Finding]:
    catalogue = loader.load()
    reviewed = catalogue.organisation.definition_reviewed
    if datetime.now(UTC).date() - reviewed > _REVIEW:
        return [
            Finding("policy", "warning", f"the database definition was last looked through on {reviewed}: it is due every twelve months")
        ]
    return [Finding("policy", "ok", f"version {catalogue.policy_version}, looked through on {reviewed}")]


def _certificates(settings: Settings) -> list[Finding]:
    found = CertificateFiles(settings.tls.certificate, settings.tls.private_key, settings.tls.client_ca).read()
    return [_expiry(name, end) for name, end in found.ends.items()]


def _expiry(name: str, end: datetime) -> Finding:
    left = end - datetime.now(UTC)
    if left <= timedelta():
        return Finding("certificates", "failed", f"{name} ran out on {end.date()}: put a new one at its path, no restart is wanted")
    state = "warning" if left < _SOON else "ok"
    return Finding("certificates", state, f"{name} is valid until {end.date()}, {left.days} days")


def _signing_key(settings: Settings) -> list[Finding]:
    signing_key_in(settings.signing_key)
    return [Finding("signing key", "ok", "an Ed25519 key; checkpoints and certificates can be signed")]


def _modes(settings: Settings) -> list[Finding]:
    """Files that hold a secret, and are anybody's to read."""
    uris = [uri for uri in (settings.keys_uri, *settings.root_keys.values()) if uri.startswith("local:")]
    local = [Path(unquote(uri.removeprefix("local:").partition("?")[0])) for uri in uris]
    secret = [settings.tls.private_key, settings.signing_key, *local]
    exposed = [path.name for path in secret if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if exposed:
        return [Finding("secret files", "warning", f"others may read {', '.join(exposed)}: give them mode 0600 (chmod 600)")]
    return [Finding("secret files", "ok", "nobody else may read them")]


def _ledger(settings: Settings) -> list[Finding]:
    return [_folder("erasure ledger", settings.erasure_ledger, "nothing can be erased")]


def _folder(check: str, folder: Path, harm: str) -> Finding:
    if not folder.is_dir():
        return Finding(check, "failed", f"there is no folder {folder.name}: {harm}; mount it, or make it before the first start")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(check, "failed", f"{folder.name} cannot be written: {harm}")
    return Finding(check, "ok", f"{folder.name} can be written")


def _checkpoints(settings: Settings) -> list[Finding]:
    folder = settings.checkpoints.directory
    if not folder.exists():
        return [
            Finding(
                "checkpoints", "warning", f"there is no folder {folder.name} yet: the first checkpoint makes it, unless it is to be mounted"
            )
        ]
    found = _folder("checkpoints", folder, "a cut-off audit log would not be noticed")
    if found.state != "ok":
        return [found]
    newest = max((path.stat().st_mtime for path in folder.glob("*/*.checkpoint")), default=0.0)
    if not newest:
        return [Finding("checkpoints", "warning", "none has been published yet")]
    age = int(datetime.now(UTC).timestamp() - newest)
    return [Finding("checkpoints", "ok", f"the newest is {age} seconds old; one is made whenever a log has grown")]


def _room(settings: Settings) -> list[Finding]:
    folders = {"the erasure ledger": settings.erasure_ledger, "checkpoints": settings.checkpoints.directory}
    url = settings.database_url.get_secret_value()
    if url.startswith("sqlite"):
        folders["the database"] = Path(unquote(url.partition("///")[2].partition("?")[0])).parent
    short = [name for name, folder in folders.items() if folder.is_dir() and shutil.disk_usage(folder).free < _ROOM]
    if short:
        return [Finding("room", "warning", f"less than 1 GiB is left for {', '.join(short)}; a full disk stops every release")]
    return [Finding("room", "ok", "at least 1 GiB is left")]


def _telemetry(settings: Settings) -> list[Finding]:
    endpoint = settings.telemetry.otlp_endpoint
    if not endpoint:
        if settings.telemetry.prometheus:
            return [Finding("telemetry", "ok", "metrics can be scraped; there are no traces without otlp_endpoint")]
        return [Finding("telemetry", "warning", "neither otlp_endpoint nor prometheus is set: nobody is told of anything")]
    parts = urlsplit(endpoint)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), timeout=_WITHIN.total_seconds() / 2):
            return [Finding("telemetry", "ok", "the collector takes connections")]
    except OSError:
        return [Finding("telemetry", "warning", "the collector does not take connections; calls are served all the same")]


async def _root_keys(settings: Settings) -> list[Finding]:
    found = []
    for name, uri in {"": settings.keys_uri, **settings.root_keys}.items():
        called = f"root key '{name}'" if name else "the vault's root key"
        try:
            await open_provider(uri).health()
            found.append(Finding("root keys", "ok", f"{called} wraps and unwraps"))
        except VaultError as error:
            found.append(Finding("root keys", "failed", f"{called}: {error.message} ({error.reason})"))
    return found


async def _databases(settings: Settings) -> list[Finding]:
    found = []
    for name, url in (("database_url", settings.database_url), ("keys_url", settings.keys_url)):
        if url is None:
            continue
        database = Database(url.get_secret_value(), pool_size=1, of_keys=name == "keys_url")
        try:
            if await schema.check(database):
                found.append(
                    Finding("databases", "warning", f"{name} has the schema of a newer version; this one serves it, replace it soon")
                )
            else:
                found.append(Finding("databases", "ok", f"{name} answers and has the schema of this version"))
        except VaultError as error:
            found.append(Finding("databases", "failed", f"{name}: {error.message} ({error.reason})"))
        finally:
            await database.close()
    return found


_LOCAL: Mapping[str, Callable[[Settings], list[Finding]]] = {
    "policy": _policy,
    "certificates": _certificates,
    "signing key": _signing_key,
    "secret files": _modes,
    "erasure ledger": _ledger,
    "checkpoints": _checkpoints,
    "room": _room,
    "telemetry": _telemetry,
}


def worst(findings: Sequence[Finding]) -> str:
    """The state of the whole."""
    states = {finding.state for finding in findings}
    return next((state for state in ("failed", "warning") if state in states), "ok")
