"""A replay that dies at any moment is done again, and until then nothing is served (I10, §6.6)."""

import asyncio
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from threading import Thread

import pytest
from sqlalchemy import delete, func, select

from deploy import backup
from tests.builders import contact, erase, rows, subject_of
from tests.faults import Crash, boundaries, quiet
from tests.processes import VaultProcess, copy_home, run, serving
from tests.restoring import Restorable, findings, people, replay
from tests.serving import Clock, Serving
from vault.client import CallError
from vault.errors import VaultError
from vault.operations import ledger as ledger_flow
from vault.operations import replay as replay_flow
from vault.operations.attempt import Attempt
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.store.database import Database
from vault.v1.operations_service_pb2 import GetReadinessRequest, ReplayErasuresRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest, GetSubjectRequest

# `make restore-crashes` sets 200.
KILLS = int(os.environ.get("PII_VAULT_REPLAY_KILLS", "5"))
ERASED, KEPT = 12, 3
OF_PERSON = (tables.subject_keys, tables.record_parts, tables.index_entries, tables.identities)


async def test_a_replay_that_dies_at_any_statement_is_done_again(
    home_template: Path, tmp_path: Path, migrated_url: str, database_kind: str
) -> None:
    """Whatever was committed, the vault stays closed until the whole replay has come to its end; and then nobody is left."""
    vault = Restorable(home_template, tmp_path / "home", migrated_url)
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, [f"+97250234560{n}" for n in range(3)])
        file = await vault.back_up()
        for name in names[:2]:
            await erase(served, subject_of(name))

    # At each seventh, every other one on the one database and the rest on the other.
    for boundary in boundaries(0 if database_kind == "sqlite" else 7, every=14):
        await vault.restore(file)
        async with vault.serving() as served:
            await quiet(served)
            crash = Crash(served.vault.database)
            crash.at(boundary)
            with suppress(VaultError):
                await replay_flow.replay_erasures(served.vault, Attempt(upkeep_caller()))
            happened = crash.happened
            crash.over()
            await lease_is_over(vault.url)
            [marker] = await ledger_flow.markers(served.vault)
            closed = await findings(served)
            # As the next process finds it.
            served.vault.standing.is_known = False
            await replay(served)
            counts, told = await rows(served, *OF_PERSON), await findings(served)

        assert (bool(closed), bool(marker.is_pending)) in {(True, True), (False, False)}
        assert bool(closed) or not happened or marker.sequence == 2
        assert (counts, told) == ((1, 1, 1, 1), [])
        if not happened:
            break

    assert boundary > 20, f"died at {boundary} statements only"


async def lease_is_over(url: str) -> None:
    """As if the quarter of a minute had passed for which the killed one's work is kept for it."""
    database = Database(url, pool_size=1)
    async with database.write() as connection:
        await connection.execute(delete(tables.leases))
    await database.close()


def prepare(vault: VaultProcess, url: str, file: Path) -> list[str]:
    """People, a backup, and erasures of most of them; names of the people."""
    with vault.client("operator") as operator:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
    with vault.client("acme-app") as app:
        new = [contact(f"+97250220{n:04}") for n in range(ERASED + KEPT)]
        request = BatchCreateRecordsRequest(parent="tenants/acme", records=new)
        names = [result.record.name for result in app.call(app.records.BatchCreateRecords, request).results]
    backup.back_up(url, file)
    asyncio.run(erase_all(vault, names[:ERASED]))
    return names


async def erase_all(vault: VaultProcess, names: list[str]) -> None:
    served = Serving(vault.home, f"localhost:{vault.port}", Clock())
    for name in names:
        await erase(served, subject_of(name))
    await served.close()


def ask_to_replay(vault: VaultProcess) -> None:
    """Ask for the replay, and be cut off."""
    with suppress(CallError), vault.client("operator") as operator:
        operator.call(operator.operations.ReplayErasures, ReplayErasuresRequest())


def state_of_people(url: str) -> tuple[int, int]:
    """How many have a key, and how many are erased or being erased."""

    async def look() -> tuple[int, int]:
        database = Database(url, pool_size=1)
        async with database.write() as connection:
            await connection.execute(delete(tables.leases))
            keys = select(func.count()).select_from(tables.subject_keys)
            gone = select(func.count()).select_from(tables.subjects).where(tables.subjects.c.state != "ACTIVE")
            counts = ((await connection.execute(keys)).scalar_one(), (await connection.execute(gone)).scalar_one())
        await database.close()
        return counts

    return asyncio.run(look())


@pytest.mark.timeout(60 + 30 * KILLS)
def test_a_vault_that_is_killed_again_and_again_comes_to_the_end_of_its_replay(
    home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    """A real process and SIGKILL, at moments that nobody chose; each time the state in between is looked at."""
    home, file = copy_home(home_template, tmp_path / "home", database_url=migrated_url), tmp_path / "backup"
    moments = random.Random(6)  # noqa: S311 - moments to kill at, not a secret
    with serving(home) as vault:
        names = prepare(vault, migrated_url, file)
    backup.restore(migrated_url, file)
    amid, ended, inconsistent = 0, 0, 0

    for _ in range(KILLS):
        with serving(home) as vault:
            asking = Thread(target=ask_to_replay, args=(vault,))
            asking.start()
            time.sleep(moments.uniform(0, 0.35))
            vault.process.kill()
            assert vault.ended() == -SIGKILL
            asking.join()
        keys, gone = state_of_people(migrated_url)
        inconsistent += keys < KEPT or gone > ERASED
        amid += 0 < gone < ERASED
        if gone == ERASED:
            # It was faster: from the beginning.
            ended += 1
            backup.restore(migrated_url, file)

    with serving(home) as vault:
        with vault.client("operator") as operator:
            operator.call(operator.operations.ReplayErasures, ReplayErasuresRequest())
            ready = operator.call(operator.operations.GetReadiness, GetReadinessRequest())
        with vault.client("acme-app") as app:
            states = [app.call(app.records.GetSubject, GetSubjectRequest(name=subject_of(name))).subject.state for name in names]
        vault.process.terminate()
        assert vault.ended() == 0

    print(f"{KILLS} kills, {amid} amid the erasures, {ended} after them, {inconsistent} inconsistent")  # noqa: T201 - what the run measured
    assert inconsistent == 0
    assert ready.ready
    assert len(set(states[:ERASED])) == len(set(states[ERASED:])) == 1
    assert states[0] != states[-1]
    assert state_of_people(migrated_url) == (KEPT, ERASED)


def test_the_operators_command_replays(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """E9 by the command line: readiness fails, the replay tells how many, a second one none."""
    home, file = copy_home(home_template, tmp_path / "home", database_url=migrated_url), tmp_path / "backup"
    with serving(home) as vault:
        prepare(vault, migrated_url, file)
    backup.restore(migrated_url, file)

    with serving(home):
        operator = ("--json", "--client", home / "clients" / "operator", "operations")
        before = run(*operator, "readiness")
        replayed = run(*operator, "replay-erasures").answer()
        after = run(*operator, "readiness")
        again = run(*operator, "replay-erasures").answer()
        early = run("--json", "operations", "prune-ledger", "--older-than", "64", "--config", home / "vault.yaml").error()
        pruned = run("--json", "operations", "prune-ledger", "--older-than", "65", "--config", home / "vault.yaml").answer()

    assert (before.code, after.code) == (1, 0)
    assert f"RESTORE_PENDING {ERASED}" in before.out
    assert (replayed["replayed_count"], again["replayed_count"]) == (str(ERASED), "0")
    assert early["reason"] == "LEDGER_TOO_YOUNG"
    assert pruned == {"pruned": 0}
