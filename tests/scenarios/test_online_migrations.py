"""A vault that serves while its database is migrated by the next version: it goes on if that lets it, and says so and stops if not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.builders import asked, contact, create, entries, erase, not_revealed, reveal, subject_of
from tests.next_version import ADDITIVE, BREAKING, Change, next_version
from tests.processes import run
from tests.serving import Serving, serving
from vault import server
from vault.errors import FailedPreconditionError
from vault.operations import checkpoint
from vault.store import schema
from vault.store.database import Database
from vault.v1.operations_service_pb2 import GetReadinessRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest


@pytest.fixture
async def served(home_template: Path, tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serving]:
    """A vault that looks at its health all the time."""
    monkeypatch.setattr(server, "_HEALTH_EVERY", timedelta(milliseconds=20))
    async with serving(home_template, tmp_path / "home", migrated_url) as vault:
        await vault.create_tenants()
        yield vault


async def advance(url: str, folder: Path, change: Change) -> None:
    """Migrate as the next version would, on connections of its own."""
    database = Database(url)
    async with database.write() as connection:
        await connection.run_sync(schema.upgrade, next_version(folder, change))
    await database.close()


async def becomes(served: Serving, status: int) -> None:
    """Wait until the vault's health says so."""
    stub: Any = HealthStub(served.service("nobody").channel)
    async with asyncio.timeout(30):
        while (await stub.Check(HealthCheckRequest(), timeout=30)).status != status:  # noqa: ASYNC110 - it tells nobody in this process
            await asyncio.sleep(0.01)


async def works(served: Serving) -> None:
    """Store somebody, show them, erase them, and find nobody."""
    app = served.service("acme-app")
    record = await create(app, contact())
    shown = await reveal(app, asked(record.name, "phone"))
    await erase(served, subject_of(record.name))
    gone = await not_revealed(app, asked(record.name, "phone"))

    assert shown.fields["phone"].text
    assert gone.reason == "RECORD_NOT_FOUND"


async def test_a_vault_serves_on_while_and_after_an_addition(
    served: Serving, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    app, done = served.service("acme-app"), asyncio.Event()
    kept = await create(app, contact("+972502360001"))

    async def calls() -> int:
        count = 0
        while not done.is_set():
            await create(app, contact("+972502360002"))
            await reveal(app, asked(kept.name, "phone"))
            count += 1
        return count

    under_way = asyncio.create_task(calls())
    await advance(migrated_url, tmp_path, ADDITIVE)
    await works(served)
    done.set()
    operator = served.service("operator")
    ready = await operator.call(operator.operations.GetReadiness, GetReadinessRequest())
    await becomes(served, HealthCheckResponse.SERVING)
    assert await under_way > 0
    assert (ready.ready, "SCHEMA_NEWER" in ready.findings) == (True, True)

    await checkpoint.publish_checkpoints(served.vault)
    options = ("--database-url", migrated_url, "--key", served.home / "verifier.txt", "--checkpoints", served.home / "checkpoints")
    verified = await asyncio.to_thread(run, "audit", "verify-database", *options, "--json")
    assert verified.code == 0, verified
    if not served.vault.database.is_sqlite:
        # Of the same code, on the new schema, beside the first.
        async with serving(home_template, served.home, migrated_url) as second:
            await works(second)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_vault_starts_on_a_later_schema_that_lets_it(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """One process at a time on SQLite; PostgreSQL is above."""
    await advance(migrated_url, tmp_path, ADDITIVE)

    async with serving(home_template, tmp_path / "home", migrated_url) as vault:
        await vault.create_tenants()
        await works(vault)


async def test_a_vault_says_so_and_stops_when_the_schema_is_no_longer_its(
    served: Serving, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    app, operator, nobody = (served.service(name) for name in ("acme-app", "operator", "nobody"))
    record = await create(app, contact())
    before = len(await entries(served))
    await advance(migrated_url, tmp_path, BREAKING)
    await becomes(served, HealthCheckResponse.NOT_SERVING)

    shown = await not_revealed(app, asked(record.name, "phone"))
    # A refusal would be recorded; this is none, whoever asks for what.
    unknown = await nobody.refused(nobody.tenants.CreateTenant, CreateTenantRequest(tenant_id="x"))
    ready = await operator.call(operator.operations.GetReadiness, GetReadinessRequest())
    async with served.vault.database.read() as connection:
        after = (await connection.exec_driver_sql("SELECT count(*) FROM audit_entries WHERE tenant_id = 'acme'")).scalar_one()

    told = (grpc.StatusCode.UNAVAILABLE, "SCHEMA_UNKNOWN")
    assert [(error.code, error.reason) for error in (shown, unknown)] == [told, told]
    assert shown.retry_after
    assert (ready.ready, list(ready.findings)) == (False, ["SCHEMA_UNKNOWN"])
    assert after == before
    await served.running.stop()
    with pytest.raises(FailedPreconditionError) as refused:
        async with serving(home_template, served.home, migrated_url):
            pass
    assert refused.value.reason == "SCHEMA_UNKNOWN"
