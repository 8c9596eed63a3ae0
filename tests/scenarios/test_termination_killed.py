"""The end of a contract that dies at any moment is taken up by whoever serves next; and a person's erasure at the same time (I10, E18)."""

import asyncio
import json
import os
import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL

import pytest
from sqlalchemy import delete, select

from tests.builders import PHONE, approve, asked, contact, entries, id_of, request_erasure, reveal, subject_of
from tests.faults import Crash, quiet
from tests.processes import VaultProcess, copy_home, serving, wait_until
from tests.rotating import all_rows
from tests.scenarios.test_keys_apart import Apart, apart, empty_url  # noqa: F401 - fixtures
from tests.serving import Serving, why
from tests.terminating import ENDING, GRACE, approved, customer, ended, ending, message, told, wound_up
from vault.cli import development
from vault.errors import UnavailableError, VaultError
from vault.operations import erase_run, wind_up, wind_up_keys
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.store.database import Database
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.erasure_service_pb2 import GetErasureCertificateRequest
from vault.v1.tenant_service_pb2 import (
    TERMINATION_STATE_COMPLETE,
    ApproveTerminationRequest,
    CreateTenantRequest,
    GetTerminationReportRequest,
    GetTerminationReportResponse,
)
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest

# More with `PII_VAULT_TERMINATION_KILLS`.
KILLS = int(os.environ.get("PII_VAULT_TERMINATION_KILLS", "5"))
PEOPLE = 100
CLAIM = why("claim-or-complaint", "CLM-1", "an enquiry about the time as a customer")


async def progress(served: Serving) -> tuple[object, ...]:
    """How far the end of the contract is."""
    return (*await all_rows(served, tables.terminations), *await all_rows(served, tables.termination_subjects))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["closing", "erasing"])
async def test_an_end_that_dies_at_any_statement_leaves_nothing_half_done(
    served: Serving, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: at each statement and commit in turn, of one end of a contract; it comes out as one that nothing happened to."""
    await served.create_tenants()
    await quiet(served)
    monkeypatch.setattr(wind_up, "_BATCH", 2)
    monkeypatch.setattr(wind_up_keys, "_PEOPLE", 2)
    await customer(served)
    if part == "closing":
        await approved(served, ending(served.clock()))
    else:
        await ended(served)
        served.clock.offset += GRACE
    crash = Crash(served.vault.database)
    deaths = boundary = 0

    while await wind_up.is_pending(served.vault):
        before = await progress(served)
        crash.at(boundary)
        with suppress(VaultError):
            while await wind_up.advance(served.vault, upkeep_caller()):
                pass
        deaths += crash.happened
        crash.over()
        # A batch that was committed is over; the next one dies at each of its statements in turn.
        boundary = 0 if await progress(served) != before else boundary + 1

    if part == "closing":
        served.clock.offset += GRACE
        await wound_up(served)
    report = await told(served)
    counts = {name: (item.found, item.erased, item.kept, item.converted, item.tokenised) for name, item in report.counts.items()}
    states = [row.state for row in await all_rows(served, tables.subjects)]
    parts = await all_rows(served, tables.record_parts)
    assert deaths > {"closing": 80, "erasing": 150}[part], f"died {deaths} times only"
    assert report.termination.state == TERMINATION_STATE_COMPLETE
    assert counts == {
        "access-credential": (1, 1, 0, 0, 0),
        "billing-record": (1, 0, 1, 0, 0),
        "business-account": (1, 0, 1, 1, 0),
        "call-detail": (1, 0, 1, 0, 0),
        "email-template": (1, 1, 0, 0, 0),
        "end-customer-contact": (2, 2, 0, 0, 0),
        "former-customer-contact": (1, 0, 1, 0, 0),
        "incoming-message": (1, 1, 0, 0, 0),
        "list-membership": (1, 1, 0, 0, 0),
        "list-profile": (1, 1, 0, 0, 0),
        "message-metadata": (2, 0, 2, 0, 1),
        "number-mapping": (1, 0, 1, 0, 0),
        "outgoing-message": (1, 0, 1, 0, 0),
        "payment-card": (1, 0, 1, 0, 0),
        "usage-report": (1, 0, 1, 0, 0),
    }
    assert json.loads(report.report.partition("\n\n")[0])["keys"] == {"destroyed": 2, "renewed": 2, "left": 0}
    assert [row.sealed for row in parts].count(b"") == 1
    assert states.count("ERASED") == 2
    assert len(await all_rows(served, tables.subject_keys)) == states.count("ACTIVE")


@pytest.mark.timeout(300)
async def test_with_keys_apart_what_is_kept_can_be_read_after_a_death_at_any_statement_of_either_database(
    apart: Apart,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P3.8-rm-lists, ADR 0015: a key goes only after everything under the new one is committed; and then it is gone."""
    async with apart.serving() as served:
        await served.create_tenants()
        await quiet(served)
        monkeypatch.setattr(wind_up_keys, "_PEOPLE", 1)
        names = await customer(served)
        assert served.vault.key_database is not None
        kept = [asked(names["voice"], "recipient_phone", because=CLAIM), asked(names["call"], "calling", because=CLAIM)]
        await ended(served)
        served.clock.offset += GRACE
        while (await all_rows(served, tables.terminations))[0].state != "KEYS":
            await wind_up._step(served.vault, upkeep_caller(), "acme")
        queued = {row.subject_id for row in await all_rows(served, tables.termination_subjects)}
        before = await keys_of(served.vault.key_database, queued)
        crash = Crash(served.vault.database, served.vault.key_database)
        legal, boundary, deaths = served.service("legal-officer"), 0, 0

        while await wind_up.is_pending(served.vault):
            reached = await progress(served)
            crash.at(boundary)
            with suppress(VaultError):
                while await wind_up.advance(served.vault, upkeep_caller()):
                    pass
            deaths += crash.happened
            crash.over()
            boundary = 0 if await progress(served) != reached else boundary + 1
            shown = [next(iter((await reveal(legal, request)).fields.values())).text for request in kept]
            assert shown == [PHONE, PHONE]

        assert deaths > 50, f"died {deaths} times only"
        assert len(queued) > 2
        assert not await keys_of(served.vault.key_database, queued) & before


async def keys_of(database: Database, subjects: set[str]) -> set[bytes]:
    """The wrapped keys of some people."""
    async with database.read() as connection:
        rows = await connection.execute(select(tables.subject_keys))
        return {bytes(row.wrapped) for row in rows if row.subject_id in subjects}


async def test_e18_an_erasure_under_way_is_waited_for_and_both_add_up(served: Serving) -> None:
    """E18: the erasure was approved and died before its rows went; the end of the contract leaves them to it, waits, and counts them apart."""
    await served.create_tenants()
    await quiet(served)
    names = await customer(served)
    person = subject_of(names["contact"])
    await ended(served)
    erasure = await request_erasure(served.service("acme-admin"), person)

    async def dies(*_: object) -> None:
        raise UnavailableError("STORE_UNAVAILABLE", "the process is gone")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(erase_run, "run", dies)
        await approve(served, erasure)
    served.clock.offset += GRACE
    await wound_up(served)
    waiting = (await told(served)).termination.state
    others = {row.category for row in await all_rows(served, tables.records) if row.subject_id != id_of(person)}

    await erase_run.resume(served.vault, upkeep_caller())
    await wound_up(served)

    report = await told(served)
    request = GetErasureCertificateRequest(name=erasure.name)
    admin = served.service("acme-admin")
    certificate = (await admin.call(admin.erasures.GetErasureCertificate, request)).certificate
    outcomes = json.loads(certificate.partition("\n\n")[0])["outcomes"]
    assert waiting != TERMINATION_STATE_COMPLETE
    assert "end-customer-contact" not in others
    assert report.termination.state == TERMINATION_STATE_COMPLETE
    assert [line["erased"] for line in outcomes if line["category"] == "end-customer-contact"] == [1]
    counts = report.counts["end-customer-contact"]
    assert (counts.found, counts.erased, counts.otherwise) == (2, 1, 1)
    assert all(item.found == item.erased + item.kept + item.otherwise for item in report.counts.values())
    assert [row.state for row in await all_rows(served, tables.subjects) if row.subject_id == id_of(person)] == ["ACTIVE"]
    assert [entry.operation for entry in await entries(served) if entry.operation == "erase"] == ["erase"]


def end_now(vault: VaultProcess) -> None:
    """End acme's contract a day ago, with a day of grace that is over now."""
    request = ending(datetime.now(UTC) - timedelta(days=1, seconds=5), grace_days=1)
    for employee, role in (("e-registrar", "privacy-officer"), ("e-operator", "operator"), ("e-second", "privacy-officer")):
        development.sign_in(vault.home, employee, roles=[role], tenants=["*"])
    with vault.client("e-registrar") as registrar:
        for employee in ("e-operator", "e-second"):
            nda = RegisterNdaRequest(person=f"people/{employee}", document_sha256=b"\1" * 32)
            nda.sign_time.FromDatetime(datetime.now(UTC) - timedelta(days=1))
            nda.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=365))
            registrar.call(registrar.access.RegisterNda, nda)
    with vault.client("e-operator") as operator:
        operator.call(operator.tenants.TerminateTenant, request)
    with vault.client("e-second") as second:
        approval = ApproveTerminationRequest(name=request.name, effective_time=request.effective_time, justification=ENDING)
        second.call(second.tenants.ApproveTermination, approval)


def report_of(vault: VaultProcess) -> GetTerminationReportResponse:
    with vault.client("auditor") as auditor:
        return auditor.call(auditor.tenants.GetTerminationReport, GetTerminationReportRequest(name="tenants/acme"))


def store(vault: VaultProcess) -> None:
    """A tenant with people in a list, half of whom were sent a message that is kept as it is."""
    with vault.client("operator") as operator:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
    phones = [f"+97250220{n:04}" for n in range(PEOPLE)]
    with vault.client("acme-app") as app:
        people = [contact(phone, list_id="spring") for phone in phones]
        app.call(app.records.BatchCreateRecords, BatchCreateRecordsRequest(parent="tenants/acme", records=people))
    with vault.client("engine") as engine:
        sent = [message(phone, "VOICE") for phone in phones[::2]]
        engine.call(engine.records.BatchCreateRecords, BatchCreateRecordsRequest(parent="tenants/acme", records=sent))


@pytest.mark.timeout(300)
def test_a_vault_that_is_killed_again_and_again_completes_the_end_of_a_contract(
    home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    """A real process and SIGKILL, at moments that nobody chose."""
    home = copy_home(home_template, tmp_path / "home", database_url=migrated_url)
    moments = random.Random(8)  # noqa: S311 - moments to kill at, not a secret
    amid = 0
    with serving(home) as vault:
        store(vault)
        end_now(vault)
        vault.process.kill()
        vault.ended()

    for _ in range(KILLS):
        asyncio.run(let_next_one_go_on(migrated_url))
        with serving(home) as vault:
            time.sleep(moments.uniform(0, 0.4))
            amid += report_of(vault).termination.state != TERMINATION_STATE_COMPLETE
            vault.process.kill()
            assert vault.ended() == -SIGKILL
    asyncio.run(let_next_one_go_on(migrated_url))
    with serving(home) as vault:
        wait_until(lambda: report_of(vault).termination.state == TERMINATION_STATE_COMPLETE, "complete")
        report = report_of(vault)
        vault.process.terminate()
        assert vault.ended() == 0

    said = json.loads(report.report.partition("\n\n")[0])
    assert amid > 0, f"none of {KILLS} kills came amid the end of the contract"
    assert {name: (item.found, item.erased, item.kept) for name, item in report.counts.items()} == {
        "end-customer-contact": (PEOPLE, PEOPLE, 0),
        "message-metadata": (PEOPLE // 2, 0, PEOPLE // 2),
    }
    assert said["keys"] == {"destroyed": PEOPLE // 2, "renewed": PEOPLE // 2, "left": 0}


async def let_next_one_go_on(url: str) -> None:
    """As if the half minute had passed for which the killed one's work is kept for it."""
    database = Database(url, pool_size=1)
    async with database.write() as connection:
        await connection.execute(delete(tables.leases))
    await database.close()
