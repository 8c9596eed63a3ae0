"""Running a vault: probes, certificates that are replaced while it serves, a configuration that is read again, and the doctor."""

import asyncio
import json
import re
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Authority
from tests.processes import copy_home, run, serve, serving, wait_until
from tests.serving import Serving
from tests.serving import serving as serving_here
from vault import server
from vault.client import CallError
from vault.rpc import certificates
from vault.v1.operations_service_pb2 import GetReadinessRequest

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture
def home(home_template: Path, tmp_path: Path, migrated_url: str) -> Path:
    """A home in which everything is as it should be."""
    return copy_home(home_template, tmp_path / "home", database_url=migrated_url)


# --- probes


@on_sqlite
def test_a_probe_says_serving_and_ends_with_1_where_nothing_answers(home: Path) -> None:
    client = home / "clients" / "nobody"
    with serving(home):
        answers = {name: run("--json", "-c", client, "health", "--service", name) for name in ("startup", "liveness", "readiness")}
        unknown = run("--json", "-c", client, "health", "--service", "vault.v1.SurpriseService")
    gone = run("--json", "-c", client, "health", "--timeout", "2")

    assert {name: answer.answer()["status"] for name, answer in answers.items()} == dict.fromkeys(answers, "SERVING")
    assert unknown.code == 1
    assert gone.error()["reason"] == "UNREACHABLE"


async def test_a_vault_that_is_not_ready_is_alive(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """Harm: a probe for liveness that fails with the database has every process restarted, again and again, while the database is away."""
    async with serving_here(home_template, tmp_path / "home", migrated_url) as served:
        await server._set_health(served.running._health, healthy=False)

        said = {name: await status_of(served, name) for name in ("", "readiness", "vault.v1.VaultService", "liveness", "startup")}

    assert said == {"": 2, "readiness": 2, "vault.v1.VaultService": 2, "liveness": 1, "startup": 1}


async def status_of(served: Serving, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(served.service("nobody").channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)).status)


# --- certificates


async def shown(served: Serving) -> int:
    """Serial number of the certificate that a new connection is shown."""
    host, _, port = served.address.rpartition(":")
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def replace_certificate(served: Serving) -> int:
    """Put another certificate in its place, the key first, each by a rename; its serial number."""
    pair = Authority.of_home(served.home).issue(x509.DNSName("localhost"), uses=[ExtendedKeyUsageOID.SERVER_AUTH])
    for name, content in (("server.key", pair.private_key), ("server.pem", pair.certificate)):
        new = served.home / f"{name}.new"
        new.write_bytes(content)
        new.rename(served.home / name)
    return x509.load_pem_x509_certificate(pair.certificate).serial_number


@on_sqlite
async def test_a_certificate_is_replaced_without_a_restart(
    home_template: Path, tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_LOOK_EVERY", 0.0)
    async with serving_here(home_template, tmp_path / "home", migrated_url) as served:
        operator = served.service("operator")
        before = await shown(served)
        await operator.call(operator.operations.GetReadiness, GetReadinessRequest())

        (served.home / "server.pem").write_text("rubbish")
        during = await shown(served)
        new = replace_certificate(served)
        after = await shown(served)
        # Whoever is connected stays so.
        await operator.call(operator.operations.GetReadiness, GetReadinessRequest())

    assert during == before
    assert after == new != before


def scrape(served: Serving, client: str) -> int:
    """Serial number of the certificate that whoever scrapes is shown; raises unless they are told metrics."""
    folder = served.home / "clients" / client
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "certificate.pem", folder / "private-key.pem")
    connection = HTTPSConnection("localhost", served.running.metrics_port, context=context, timeout=10)
    with closing(connection):
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        shown = connection.sock.getpeercert(binary_form=True)
        assert shown
        connection.request("GET", "/metrics")
        assert "pii_vault_start_time" in connection.getresponse().read().decode()
    return x509.load_der_x509_certificate(shown).serial_number


@on_sqlite
async def test_the_address_for_metrics_follows_its_certificate_and_stays_with_the_old_one_while_the_new_is_broken(
    home_template: Path, tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_LOOK_EVERY", 0.0)
    telemetry = {"prometheus": "0.0.0.0:0"}  # not on loopback alone, so that it is TLS
    async with serving_here(home_template, tmp_path / "home", migrated_url, telemetry=telemetry) as served:
        before = await asyncio.to_thread(scrape, served, "nobody")
        # Whoever connects and says nothing keeps nobody waiting.
        with socket.create_connection(("localhost", served.running.metrics_port)), structlog.testing.capture_logs() as log:
            (served.home / "server.pem").write_text("rubbish")
            during = await asyncio.to_thread(scrape, served, "nobody")
            new = replace_certificate(served)
            after = await asyncio.to_thread(scrape, served, "nobody")
        # An authority that is taken out is not believed any more.
        (served.home / "ca.pem").write_bytes(Authority.foreign().pem)
        with pytest.raises((OSError, HTTPException)):
            await asyncio.to_thread(scrape, served, "nobody")

    assert during == before
    assert after == new != before
    assert [line["event"] for line in log if line["event"].startswith("certificate ")] == [
        "certificate not replaced",
        "certificate replaced",
    ]


# --- a configuration that is read again


def change(home: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load((home / "vault.yaml").read_text())
    edit(content)
    (home / "vault.yaml").write_text(yaml.safe_dump(content))


def events(log: list[dict[str, object]], name: str) -> list[dict[str, object]]:
    return [line for line in log if line["event"] == name]


@on_sqlite
def test_sighup_takes_over_who_may_call_and_leaves_the_rest_for_a_restart(home: Path) -> None:
    me = next(name for name in yaml.safe_load((home / "vault.yaml").read_text())["principals"] if name.endswith("/operator"))
    with serving(home) as vault, vault.client("operator") as operator:
        operator.call(operator.operations.GetReadiness, GetReadinessRequest())

        change(home, lambda content: (content["principals"].pop(me), content.update(batch_size=7)))
        vault.signal(signal.SIGHUP)
        wait_until(lambda: bool(events(vault.log(), "configuration reloaded")), "reloaded")
        with pytest.raises(CallError) as refused:
            operator.call(operator.operations.GetReadiness, GetReadinessRequest())
        (home / "vault.yaml").write_text("principals: [")
        vault.signal(signal.SIGHUP)
        wait_until(lambda: bool(events(vault.log(), "configuration not reloaded")), "refused")
        log = vault.log()

    assert refused.value.reason == "CREDENTIAL_INVALID"
    assert [line["count"] for line in events(log, "configuration reloaded")] == [1]
    assert [line["reason"] for line in events(log, "configuration not reloaded")] == ["CONFIG_INVALID"]


# --- the doctor


def diagnosis(home: Path) -> tuple[int, dict[str, set[tuple[str, str]]]]:
    """Exit code, and states and words by check."""
    done = run("--json", "doctor", "--config", home / "vault.yaml")
    found: dict[str, set[tuple[str, str]]] = {}
    for finding in json.loads(done.out)["findings"]:
        found.setdefault(finding["check"], set()).add((finding["state"], finding["words"]))
    return done.code, found


def test_the_doctor_finds_nothing_wrong_with_a_vault_that_serves(home: Path) -> None:
    with serve(home) as vault:
        vault.wait_until_serving()

        code, found = diagnosis(home)

    states = {check: {state for state, _ in findings} for check, findings in found.items()}
    assert code == 0, found
    assert states.pop("telemetry") == {"warning"}
    assert states.pop("checkpoints") <= {"ok", "warning"}
    assert set().union(*states.values()) == {"ok"}, found
    assert states.keys() == {"policy", "certificates", "signing key", "secret files", "root keys", "databases", "erasure ledger", "room"}


@on_sqlite
@pytest.mark.parametrize(
    ("spoil", "check", "state", "words"),
    [
        (lambda home: (home / "server.key").write_text("rubbish"), "certificates", "failed", "tls.private_key"),
        (lambda home: (home / "server.pem").unlink(), "certificates", "failed", "server.pem cannot be read"),
        (lambda home: (home / "signing.key").write_text("rubbish"), "signing key", "failed", "signing_key"),
        (lambda home: (home / "signing.key").chmod(0o644), "secret files", "warning", "signing.key"),
        (lambda home: (home / "root.key").write_bytes(b"rubbish"), "root keys", "failed", "root key"),
        (lambda home: copy_home(home, home, database_url="sqlite+aiosqlite:///empty.db"), "databases", "failed", "SCHEMA_OUTDATED"),
        (lambda home: copy_home(home, home, erasure_ledger="nowhere"), "erasure ledger", "failed", "nothing can be erased"),
        (lambda home: copy_home(home, home, telemetry={"otlp_endpoint": "http://127.0.0.1:9"}), "telemetry", "warning", "collector"),
    ],
)
def test_the_doctor_says_what_is_wrong_and_goes_on(home: Path, spoil: Callable[[Path], object], check: str, state: str, words: str) -> None:
    spoil(home)

    code, found = diagnosis(home)

    assert any(found_state == state and words in text for found_state, text in found[check]), found[check]
    assert code == (1 if any(one == "failed" for findings in found.values() for one, _ in findings) else 0)
    assert len(found) == 10


@on_sqlite
def test_the_doctor_repeats_no_secret(home: Path) -> None:
    copy_home(home, home, database_url="postgresql+asyncpg://vault:canary-7731@127.0.0.1:9/none")

    told = run("doctor", "--config", home / "vault.yaml")

    assert told.code == 1
    assert "canary-7731" not in told.out + told.err
    assert re.search(r"^x databases: database_url: .*STORE_UNAVAILABLE", told.out, re.MULTILINE)
