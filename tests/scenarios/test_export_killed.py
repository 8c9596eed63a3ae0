"""A package that is being built when the vault dies is taken up where it was, and comes out as one that nothing happened to (N15, I10)."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL

import pytest
from pyrage import x25519
from sqlalchemy import delete, select

from tests.builders import at, call_detail, create_all, entries, id_of
from tests.faults import Crash, boundaries, quiet
from tests.orders import Team, approved, download, export, judged, opened, order_for, team
from tests.processes import VaultProcess, copy_home, serving, wait_until
from tests.rotating import all_rows
from tests.serving import Serving
from tests.vectors.bundle_2.sample import unpack
from vault.bundle.verify import verify
from vault.cli import development
from vault.client.errors import CallError
from vault.operations import export as export_flow
from vault.store import tables
from vault.store.database import Database
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest
from vault.v1.legal_service_pb2 import (
    AUTHENTICITY_CONFIRMED,
    INSTRUMENT_TYPE_COMMS_DATA,
    ApproveExportRequest,
    ApproveOrderRequest,
    AuthenticateOrderRequest,
    CreateExportRequest,
    DownloadExportRequest,
    PreviewExportRequest,
    RegisterOrderRequest,
    SetOrderScopeRequest,
)
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest

CALLS = 1500
# Each a while later than the one before, from the snapshot on: however fast a machine is, some come amid the build.
KILLS = 3


async def let_another_go_on(database: Database) -> None:
    """As if the half minute had passed for which the dead one's work is kept for it."""
    async with database.write() as connection:
        await connection.execute(delete(tables.leases))


async def stored_package(served: Serving) -> bytes:
    """The chunks that are there."""
    async with served.vault.database.read() as connection:
        chunks = await connection.execute(select(tables.export_chunks.c.data).order_by(tables.export_chunks.c.sequence))
        return b"".join(chunk.data for chunk in chunks)


async def tried(people: Team, name: str) -> None:
    """Build, as far as it goes."""
    with suppress(CallError):
        await people.registrant.call(people.registrant.legal.CreateExport, CreateExportRequest(parent=name))


@pytest.mark.timeout(300)
async def test_a_build_that_dies_at_any_statement_gives_the_same_package(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """N15: at statements and commits in turn, of one build; what was read is not read again and is in the log once."""
    await served.create_tenants()
    await quiet(served)
    monkeypatch.setattr(export_flow, "_PAGE", 2)
    people = await team(served)
    inputs = [call_detail(start=f"2026-03-02T08:{minute:02}:00Z", cdr_id=f"c-{minute}") for minute in range(3)]
    records = {id_of(item.record.name) for item in await create_all(served.service("billing"), inputs)}
    order = await approved(people, order_for(served, people))
    crash = Crash(served.vault.database)
    deaths, places = 0, boundaries(0, every=3)
    exports: set[str] = set()

    while True:
        before = [*await all_rows(served, tables.exports), *await all_rows(served, tables.export_chunks)]
        crash.at(next(places))
        await tried(people, order.name)
        died = crash.happened
        crash.over()
        deaths += died
        await let_another_go_on(served.vault.database)
        exports |= {row.export_id for row in await all_rows(served, tables.exports)}
        if not died:
            break
        rows = [*await all_rows(served, tables.exports), *await all_rows(served, tables.export_chunks)]
        if [row for row in rows if hasattr(row, "progress")] != [row for row in before if hasattr(row, "progress")]:
            # Something was committed: the next build begins after it, and dies at other statements than this one.
            places = boundaries(deaths % 3, every=3)

    made = await export(people, order)
    package = await download(people.courier, made.name)
    logged = [record for entry in await entries(served) if entry.operation == "export" for record in entry.records]
    lines = unpack(opened(people, package))["data/02_records/call-detail.jsonl"].splitlines()
    assert deaths > 15, f"died {deaths} times only"
    assert len(exports) == 1
    assert judged(served, people, package).ok
    assert len(lines) == len(records)
    assert sorted(logged) == sorted(records)
    assert [entry.operation for entry in await entries(served)].count("seal-export") == 1


async def test_a_package_that_was_sealed_and_not_acknowledged_is_sealed_anew_with_the_same_payload(served: Serving) -> None:
    """N15: it dies at its last commit. The envelope differs, for age draws a new key; every byte within is the same."""
    await served.create_tenants()
    await quiet(served)
    people = await team(served)
    await create_all(served.service("billing"), [call_detail(start=f"2026-03-02T08:{minute:02}:00Z") for minute in range(5)])
    order = await approved(people, order_for(served, people))
    crash = Crash(served.vault.database)
    crash.before(lambda _, statement: statement.startswith("UPDATE exports SET state"))
    await tried(people, order.name)
    happened = crash.happened
    crash.over()
    first = await stored_package(served)
    await let_another_go_on(served.vault.database)
    await create_all(served.service("billing"), [call_detail(start="2026-03-02T09:00:00Z")])

    made = await export(people, order)

    second = await download(people.courier, made.name)
    assert happened
    assert first != second
    assert unpack(opened(people, first)) == unpack(opened(people, second))
    assert judged(served, people, second).ok


async def test_what_changed_after_the_snapshot_is_withheld_and_said(served: Serving) -> None:
    """N15, N18: the package is of one moment; a record that is another one by then is not passed off as what it was."""
    await served.create_tenants()
    await quiet(served)
    people = await team(served)
    stored = await create_all(served.service("billing"), [call_detail(start=f"2026-03-02T08:{minute:02}:00Z") for minute in range(3)])
    order = await approved(people, order_for(served, people))
    crash = Crash(served.vault.database)
    crash.before(lambda _, statement: statement.startswith("INSERT INTO export_pieces"))
    await tried(people, order.name)
    assert crash.happened
    crash.over()
    await let_another_go_on(served.vault.database)
    async with served.vault.database.write() as connection:
        changed = tables.records.c.record_id == id_of(stored[1].record.name)
        await connection.execute(tables.records.update().where(changed).values(version=tables.records.c.version + 1))

    made = await export(people, order)

    verdict = judged(served, people, await download(people.courier, made.name))
    assert dict(made.record_counts) == {"call-detail": 2}
    assert dict(made.withheld_counts) == {"CHANGED_SINCE_SNAPSHOT": 1}
    assert verdict.ok
    assert verdict.manifest is not None
    assert verdict.manifest.selected == {"call-detail": 3}


def an_order(identity: x25519.Identity) -> RegisterOrderRequest:
    """An order for the calls of a number, in a real process's time."""
    request = RegisterOrderRequest(parent="tenants/acme")
    said, scope, recipient = request.instrument, request.scope, request.recipient
    said.type, said.court_name, said.case_number, said.issuer_name = (
        INSTRUMENT_TYPE_COMMS_DATA,
        "בית משפט השלום",
        "1-01-26",
        "כב׳ השופטת לוי",
    )
    said.requesting_body, said.document_sha256 = "משטרת ישראל", b"\1" * 32
    said.call_back = "the switchboard in our directory"
    said.issue_time.CopyFrom(at(datetime.now(UTC) - timedelta(days=1)))
    said.expire_time.CopyFrom(at(datetime.now(UTC) + timedelta(days=14)))
    scope.targets.add(kind="phone", value="+972502345678")
    scope.categories.append("call-detail")
    scope.start_time.CopyFrom(at("2026-03-01T00:00:00Z"))
    scope.end_time.CopyFrom(at("2026-03-08T00:00:00Z"))
    recipient.body, recipient.age_recipient, recipient.verification = "משטרת ישראל", str(identity.to_public()), "read back by telephone"
    return request


def prepare(vault: VaultProcess, identity: x25519.Identity) -> str:
    """Calls, people, and an approved order; its name."""
    team_of = {"e-registrar": "privacy-officer", "e-dana": "legal-officer", "e-eli": "legal-officer", "e-noa": "legal-approver"}
    for employee, role in {**team_of, "e-uri": "order-courier"}.items():
        development.sign_in(vault.home, employee, roles=[role], tenants=["*"])
    with vault.client("operator") as operator:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
    with vault.client("e-registrar") as registrar:
        for employee in ("e-dana", "e-eli", "e-noa", "e-uri"):
            nda = RegisterNdaRequest(person=f"people/{employee}", document_sha256=b"\1" * 32)
            nda.sign_time.FromDatetime(datetime.now(UTC) - timedelta(days=1))
            nda.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=365))
            registrar.call(registrar.access.RegisterNda, nda)
    with vault.client("billing") as billing:
        first = datetime(2026, 3, 1, tzinfo=UTC)
        calls = [call_detail(cdr_id=f"c-{n}", start=f"{first + timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}") for n in range(CALLS)]
        for begin in range(0, CALLS, 500):
            billing.call(
                billing.records.BatchCreateRecords, BatchCreateRecordsRequest(parent="tenants/acme", records=calls[begin : begin + 500])
            )
    with vault.client("e-dana") as dana:
        order = dana.call(dana.legal.RegisterOrder, an_order(identity)).order
    with vault.client("e-eli") as eli:
        finding = AuthenticateOrderRequest(
            name=order.name, method="call-back", result=AUTHENTICITY_CONFIRMED, finding="the registry read it back to us"
        )
        eli.call(eli.legal.AuthenticateOrder, finding)
    with vault.client("e-dana") as dana:
        order = dana.call(dana.legal.SetOrderScope, SetOrderScopeRequest(name=order.name, scope=an_order(identity).scope)).order
    for employee in ("e-eli", "e-noa"):
        with vault.client(employee) as approver:
            approver.call(approver.legal.PreviewExport, PreviewExportRequest(name=order.name))
            approver.call(approver.legal.ApproveOrder, ApproveOrderRequest(name=order.name, scope_digest=order.scope_digest))
    return order.name


def build(vault: VaultProcess, order: str) -> object:
    """Build, until the vault dies."""
    with vault.client("e-dana") as dana, suppress(CallError):
        return dana.call(dana.legal.CreateExport, CreateExportRequest(parent=order)).export
    return None


@pytest.mark.timeout(300)
def test_a_vault_that_is_killed_again_and_again_hands_over_one_package_of_the_whole_scope(
    home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    """N15 with a real process and SIGKILL, at moments that nobody chose."""
    home = copy_home(home_template, tmp_path / "home", database_url=migrated_url)
    moments, identity, amid = random.Random(15), x25519.Identity.generate(), 0  # noqa: S311 - moments to kill at, not a secret
    with serving(home) as vault:
        order = prepare(vault, identity)

    with ThreadPoolExecutor(1) as pool:
        for kill in range(KILLS):
            asyncio.run(clear(migrated_url))
            with serving(home) as vault:
                building = pool.submit(build, vault, order)
                wait_until(lambda: asyncio.run(states(migrated_url)) != [], "a build that has begun")
                time.sleep(moments.uniform(0.04, 0.06) * 2.0**kill)
                vault.process.kill()
                assert vault.ended() == -SIGKILL
                building.result()
            amid += asyncio.run(states(migrated_url)) == ["BUILDING"]
    asyncio.run(clear(migrated_url))
    with serving(home) as vault:
        with vault.client("e-dana") as dana:
            made = dana.call(dana.legal.CreateExport, CreateExportRequest(parent=order)).export
        with vault.client("e-noa") as approver:
            approver.call(approver.legal.ApproveExport, ApproveExportRequest(name=made.name))
        with vault.client("e-uri") as courier:
            package = b"".join(chunk.data for chunk in courier.stream(courier.legal.DownloadExport, DownloadExportRequest(name=made.name)))
        with vault.client("auditor") as auditor:
            answer = auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent="tenants/acme", page_size=1000))
    logged = [record for entry in answer.entries if entry.operation == "export" for record in entry.records]

    verdict = verify(package, identity=str(identity), trust=(home / "signing.pub").read_bytes())
    assert amid > 0, f"none of {KILLS} kills came amid the build"
    assert verdict.ok
    assert verdict.manifest is not None
    assert verdict.manifest.counts == {"call-detail": CALLS}
    assert len(answer.entries) == answer.log_size
    assert len(logged) == len(set(logged)) == CALLS


async def states(url: str) -> list[str]:
    """How far the exports are that are there."""
    database = Database(url, pool_size=1)
    async with database.read() as connection:
        found = [row.state for row in await connection.execute(select(tables.exports.c.state))]
    await database.close()
    return found


async def clear(url: str) -> None:
    database = Database(url, pool_size=1)
    await let_another_go_on(database)
    await database.close()
