"""Root-key providers side by side, each against a real service of its own: start-up, latency, outage, rotation.

Services run in processes of their own (OpenBao, moto's server) or as a library in this one (SoftHSM, files). Nothing is stood in for: a service is
stopped by ending it, hangs by SIGSTOP, and gets a new version of its key as an administrator would give it one.
"""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3.session

from benchmarks.children import child, wait_for
from benchmarks.report import short
from benchmarks.results import percentile
from benchmarks.section import Section
from tests import softhsm
from tests.openbao import running_openbao
from vault.errors import KeyUnavailableError
from vault.keys import local
from vault.keys.open import open_provider
from vault.keys.provider import RootKeyProvider

CALLS, AT_ONCE = 200, 16
_MATERIAL, _CONTEXT = bytes(32), b"acme/data/1"
_REGION = "eu-central-1"
_HEAD = [
    "provider",
    "service",
    "open + health ms",
    "wrap p50 ms",
    "p95",
    "unwrap p50 ms",
    "p95",
    f"unwraps/s, {AT_ONCE} at once",
    "stopped: s until refused",
    "hanging: s until refused",
    "new version by",
    "of it",
    "old still unwraps",
]
_NOTE = (
    f"{CALLS} calls, one at a time; then unwraps with {AT_ONCE} at once. All on this machine's loopback, so latency is the provider's and the "
    "service's own, without a network. `stopped` and `hanging` are the longest of some calls until `KEYS_UNAVAILABLE`; a root key in a file is "
    "stopped by taking the file away, which stops wrapping only; a token by pulling it out. `old still unwraps` was tried by the provider "
    "that ran through the rotation and by a fresh one, both with what was wrapped before and after; "
    "moto only notes a rotation and keeps the material, so AWS's line shows no more than that the calls fit."
)


@dataclass(frozen=True, slots=True)
class _Key:
    """One provider's root key and what may happen to it.

    Attributes:
        add_version: makes a new version, as `how` says.
        version: which version wrapped something; empty if only the service knows.
        stop: takes the service away for good.
        hang, wake: let it answer nothing, and answer again; None where there is no process that could hang.
        fails_on_wrap: without its service it still unwraps, and only wrapping is refused.
    """

    uri: str
    service: str
    how: str
    add_version: Callable[[], object]
    version: Callable[[bytes], str]
    stop: Callable[[], object]
    hang: Callable[[], object] | None = None
    wake: Callable[[], object] | None = None
    fails_on_wrap: bool = False


def measure(work: Path, *, quick: bool, say: Callable[[str], None]) -> Section:
    """Every provider in turn."""
    rows, data, errors = [], {}, 0
    kinds = {
        "local": _local,
        "local, passphrase": _local_with_passphrase,
        "OpenBao": _openbao,
        "PKCS#11": _softhsm,
        "AWS KMS": _aws,
    }
    for number, (name, start) in enumerate(kinds.items()):
        say(f"provider {name}")
        home = work / f"provider-{number}"
        home.mkdir()
        with start(home) as key:
            if key is None:
                rows.append([name, "not installed, skipped", *["–"] * (len(_HEAD) - 2)])
                continue
            found = asyncio.run(_measure(key, tries=1 if quick else 3))
        data[name] = found
        errors += int(found["errors"])
        rows.append([name, key.service, *_cells(found), key.how, str(found["versions"]), "yes" if found["old_unwraps"] else "**no**"])
    return Section("providers", "Key services", _NOTE, _HEAD, rows, data, errors)


def _cells(found: dict[str, Any]) -> list[str]:
    names = ("start_ms", "wrap_p50_ms", "wrap_p95_ms", "unwrap_p50_ms", "unwrap_p95_ms", "unwraps_per_second", "stopped_s", "hanging_s")
    return ["–" if found[name] is None else short(found[name]) for name in names]


async def _measure(key: _Key, *, tries: int) -> dict[str, Any]:
    begin = time.monotonic()
    provider = open_provider(key.uri)
    await provider.health()
    found: dict[str, Any] = {"start_ms": (time.monotonic() - begin) * 1000}
    wrapped = await provider.wrap(_MATERIAL, context=_CONTEXT)
    calls = {"wrap": lambda: provider.wrap(_MATERIAL, context=_CONTEXT), "unwrap": lambda: provider.unwrap(wrapped, context=_CONTEXT)}
    for name, call in calls.items():
        latencies = sorted([await _seconds(call) for _ in range(CALLS)])
        found |= {f"{name}_p50_ms": _milliseconds(latencies, 0.5), f"{name}_p95_ms": _milliseconds(latencies, 0.95)}
    found["unwraps_per_second"] = await _at_once(calls["unwrap"])
    found["versions"], found["old_unwraps"] = await _rotate(key, provider, wrapped)
    failing = calls["wrap" if key.fails_on_wrap else "unwrap"]
    found["hanging_s"] = None
    errors = int(not found["old_unwraps"])
    if key.hang is not None and key.wake is not None:
        key.hang()
        seen = [await _refused(failing) for _ in range(tries)]
        key.wake()
        found["hanging_s"] = max(seconds for seconds, _ in seen)
        errors += sum(not refused for _, refused in seen)
    key.stop()
    seen = [await _refused(failing) for _ in range(tries)]
    found["stopped_s"] = max(seconds for seconds, _ in seen)
    found["errors"] = errors + sum(not refused for _, refused in seen)
    return found


def _milliseconds(seconds: list[float], share: float) -> float:
    return percentile(seconds, share) * 1000


async def _seconds(call: Callable[[], Awaitable[object]]) -> float:
    begin = time.monotonic()
    await call()
    return time.monotonic() - begin


async def _at_once(call: Callable[[], Awaitable[object]]) -> float:
    async def chain() -> None:
        for _ in range(CALLS // AT_ONCE):
            await call()

    begin = time.monotonic()
    await asyncio.gather(*(chain() for _ in range(AT_ONCE)))
    return CALLS // AT_ONCE * AT_ONCE / (time.monotonic() - begin)


async def _rotate(key: _Key, provider: RootKeyProvider, before: bytes) -> tuple[str, bool]:
    """Which versions wrapped before and after, and whether a running and a fresh provider unwrap both."""
    key.add_version()
    after = await provider.wrap(_MATERIAL, context=_CONTEXT)
    holders = (provider, open_provider(key.uri))
    opened = [await one.unwrap(wrapped, context=_CONTEXT) for one in holders for wrapped in (before, after)]
    versions = f"{key.version(before)} → {key.version(after)}"
    return versions, opened == [_MATERIAL] * 4


async def _refused(call: Callable[[], Awaitable[object]]) -> tuple[float, bool]:
    """How long a call took, and whether it was refused as it has to be."""
    begin = time.monotonic()
    try:
        await call()
    except KeyUnavailableError as error:
        return time.monotonic() - begin, error.reason == "KEYS_UNAVAILABLE"
    return time.monotonic() - begin, False


# --- the services


def _version(wrapped: bytes) -> str:
    return str(int.from_bytes(wrapped[:2]))


@contextmanager
def _local(home: Path) -> Iterator[_Key]:
    file = home / "root.key"
    local.create(file)
    how = "`keys add-root-key-version`"
    yield _Key(f"local:{file}", "a file", how, lambda: local.add_version(file), _version, file.unlink, fails_on_wrap=True)


@contextmanager
def _local_with_passphrase(home: Path) -> Iterator[_Key]:
    file, phrase = home / "root.key", home / "passphrase"
    _write(phrase, secrets.token_hex(16))
    secret = local.read_passphrase(phrase)
    local.create(file, secret)
    uri, how = f"local:{file}?passphrase_file={phrase}", "`keys add-root-key-version`"
    yield _Key(uri, "a file", how, lambda: local.add_version(file, secret), _version, file.unlink, fails_on_wrap=True)


@contextmanager
def _openbao(home: Path) -> Iterator[_Key]:
    (home / "openbao").mkdir()
    with running_openbao(home / "openbao") as server:
        root = server.new_root()
        _write(home / "token", server.token(root))
        uri = server.uri(root, auth="token", token_file=home / "token")
        yield _Key(
            uri,
            "OpenBao, TLS, raft on disk",
            "`transit/keys/…/rotate`",
            lambda: server.rotate(root),
            lambda wrapped: wrapped.split(b":")[1].decode().removeprefix("v"),
            server.stop,
            server.pause,
            server.resume,
        )


@contextmanager
def _softhsm(home: Path) -> Iterator[_Key | None]:
    if not softhsm.MODULE.exists() or shutil.which("softhsm2-util") is None:
        yield None
        return
    store = home / "tokens"
    store.mkdir()
    (home / "softhsm2.conf").write_text(f"directories.tokendir = {store}\nobjectstore.backend = file\nlog.level = ERROR\n")
    # The module reads it when it is loaded into this process.
    os.environ["SOFTHSM2_CONF"] = str(home / "softhsm2.conf")
    token = softhsm.SoftHSM(store, home)
    token.add_version()
    yield _Key(token.uri(), "SoftHSM, a token in a file", "`keys add-root-key-version`", token.add_version, _version, token.remove)


@contextmanager
def _aws(home: Path) -> Iterator[_Key]:
    # What is set in this shell must not reach a real account.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "dummy",
        "AWS_SECRET_ACCESS_KEY": "dummy",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "NO_PROXY": "127.0.0.1",
    }
    port, log = _free_port(), home / "log"
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    with child(command, log=log, stop=signal.SIGKILL) as server:
        wait_for(server, log, lambda text: "Running on" in text)
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.session.Session().client("kms", region_name=_REGION, endpoint_url=endpoint)
        arn = client.create_key()["KeyMetadata"]["Arn"]

        def stop() -> None:
            server.kill()
            server.wait()

        yield _Key(
            f"awskms:///{arn}?endpoint={quote(endpoint, safe=':/')}",
            "moto's server on loopback",
            "`RotateKeyOnDemand`",
            lambda: client.rotate_key_on_demand(KeyId=arn),
            lambda _: "hidden",
            stop,
            lambda: server.send_signal(signal.SIGSTOP),
            lambda: server.send_signal(signal.SIGCONT),
        )


def _write(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
