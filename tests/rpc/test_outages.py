"""A vault whose database goes away and comes back, and a vault that is killed while everybody writes (I7, I9)."""

import itertools
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import make_url

from tests.builders import contact
from tests.databases import PostgresServer
from tests.processes import VaultProcess, copy_home, run, serving, wait_until
from tests.serving import Serving, why
from vault.client import CallError, Receipt
from vault.config import load
from vault.keys.open import open_provider
from vault.server import SERVICES, _healthy, _set_health
from vault.v1.resources_pb2 import VIEW_FULL
from vault.v1.tenant_service_pb2 import CreateTenantRequest, GetTenantRequest
from vault.v1.vault_service_pb2 import BatchRevealRecordsRequest, CreateRecordRequest

STATUS = health_pb2.HealthCheckResponse
PATIENCE = timedelta(seconds=90)
WRITERS = 4


# --- the database goes away


async def health_of(served: Serving, service: str = "") -> int:
    stub: Any = health_pb2_grpc.HealthStub(served.service("nobody").channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    return int(answer.status)


async def look_again(served: Serving) -> None:
    """What the vault does every five seconds."""
    provider = open_provider(load(served.home / "vault.yaml").keys_uri)
    await _set_health(served.running._health, await _healthy(served.vault, provider))


@pytest.fixture
def outage(
    database_kind: str, migrated_url: str, request: pytest.FixtureRequest
) -> tuple[Callable[[Serving], Awaitable[None]], Callable[[], None]]:
    """Take the database away, and bring it back."""
    if database_kind == "sqlite":
        file = Path(make_url(migrated_url).database or "")
        elsewhere = file.with_name("elsewhere.db")

        def away() -> None:
            file.rename(elsewhere)
            file.mkdir()

        async def unmount(served: Serving) -> None:
            # An open file would outlive its name.
            await served.vault.database.close()
            away()

        def mount() -> None:
            file.rmdir()
            elsewhere.rename(file)

        return unmount, mount
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = make_url(migrated_url).database

    async def close(_: Serving) -> None:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - our own name

    def reopen() -> None:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    return close, reopen


async def test_the_vault_is_not_serving_while_the_database_is_gone_and_serves_again_when_it_is_back(
    served: Serving, outage: tuple[Callable[[Serving], Awaitable[None]], Callable[[], None]]
) -> None:
    """I9: and what is asked meanwhile is refused as unavailable, not as absent."""
    await served.create_tenants("acme")
    operator = served.service("operator")
    take_away, bring_back = outage

    await take_away(served)
    await look_again(served)
    during = {await health_of(served, service) for service in ("", *SERVICES)}
    refused = await operator.refused(operator.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))
    bring_back()
    await look_again(served)
    after = {await health_of(served, service) for service in ("", *SERVICES)}
    tenant = (await operator.call(operator.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))).tenant

    assert during == {STATUS.NOT_SERVING}
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert after == {STATUS.SERVING}
    assert tenant.name == "tenants/acme"


# --- no orderly stop


@pytest.fixture
def home(home_template: Path, tmp_path: Path, migrated_url: str) -> Path:
    return copy_home(home_template, tmp_path / "home", database_url=migrated_url)


def create_tenant(vault: VaultProcess) -> None:
    with vault.client("operator") as operator:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))


def phone(number: int) -> str:
    return f"+97250{2_000_000 + number}"


class Written:
    """What was acknowledged to concurrent writers: name, number and receipt of each record."""

    def __init__(self, vault: VaultProcess) -> None:
        self.acknowledged: list[tuple[str, str, Receipt]] = []
        self._vault = vault

    def write_until_gone(self, writer: int) -> CallError:
        """Store one record after another until the vault does not answer any more."""
        with self._vault.client("acme-app") as app:
            for count in itertools.count():
                number = phone(writer * 100_000 + count)
                try:
                    answer = app.call(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=contact(number)))
                except CallError as error:
                    return error
                self.acknowledged.append((answer.record.name, number, Receipt(answer.receipt.log, answer.receipt.index)))
        raise AssertionError


def numbers_behind(vault: VaultProcess, names: list[str]) -> list[str]:
    request = BatchRevealRecordsRequest(
        parent="tenants/acme", names=names, justification=why(), view=VIEW_FULL, field_mask=FieldMask(paths=["phone"])
    )
    with vault.client("acme-app") as app:
        results = app.call(app.records.BatchRevealRecords, request).results
    return [item.record.fields["phone"].text for item in results]


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(home: Path, tmp_path: Path) -> None:
    """I7: every acknowledged record can be revealed, every receipt is in the log, and the log verifies."""
    with serving(home) as vault, ThreadPoolExecutor(WRITERS) as pool:
        create_tenant(vault)
        written = Written(vault)
        writers = [pool.submit(written.write_until_gone, writer) for writer in range(WRITERS)]
        wait_until(lambda: len(written.acknowledged) >= 10 * WRITERS or any(w.done() for w in writers), "busy")

        vault.signal(signal.SIGKILL)
        code = vault.ended()
        ends = {writer.result(PATIENCE.total_seconds()).reason for writer in writers}
    names, numbers, receipts = zip(*written.acknowledged[:1000], strict=True)
    with serving(home) as again:
        found = numbers_behind(again, list(names))
        for log in ("acme", "system"):
            run("--client", home / "clients" / "auditor", "audit", "dump", log, "-o", tmp_path / f"{log}.dump", "--json").answer()
    verdicts = [
        run("audit", "verify", tmp_path / f"{log}.dump", "--log", log, "--key", home / "verifier.txt", "--json").answer()
        for log in ("acme", "system")
    ]

    assert code == -signal.SIGKILL
    assert ends == {"UNREACHABLE"}
    assert len(names) >= 10 * WRITERS
    assert found == list(numbers)
    assert {receipt.log for receipt in receipts} == {"acme"}
    assert max(receipt.index for receipt in receipts) < verdicts[0]["entries"]
    assert [(verdict["intact"], verdict["complete"]) for verdict in verdicts] == [(True, True)] * 2
