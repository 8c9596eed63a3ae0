"""A rotation that dies at any moment is taken up by whoever serves next, and nothing is half done (I10)."""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

import pytest
from sqlalchemy import delete, select

from tests.builders import asked, contact, create, find, reveal, rows, sought, subject_of
from tests.faults import Crash, boundaries, quiet
from tests.processes import VaultProcess, copy_home, serving, wait_until
from tests.rotating import advanced, all_rows, asked_for, started
from tests.serving import Serving
from vault.errors import VaultError
from vault.keys import local
from vault.operations import rotate
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.store.database import Database
from vault.v1.operations_service_pb2 import KEY_ROTATION_STATE_COMPLETE, KEY_ROTATION_STATE_RUNNING, KeyRotation, ListKeyRotationsRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest

# More with `PII_VAULT_ROTATION_KILLS`.
KILLS = int(os.environ.get("PII_VAULT_ROTATION_KILLS", "5"))
PEOPLE = 500
PHONES = [f"+97250234560{n}" for n in range(6)]


@pytest.mark.parametrize("kind", ["DATA", "INDEX", "SUBJECT", "ROOT"])
async def test_a_rotation_that_dies_at_any_statement_leaves_nothing_half_done(
    served: Serving, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.create_tenants()
    await quiet(served)
    monkeypatch.setattr(rotate, "_BATCH", 4)
    app = served.service("acme-app")
    names = [(await create(app, contact(phone))).name for phone in PHONES]
    for _ in range(4):
        await create(app, contact(PHONES[0]))
    counts = await rows(served)
    crash = Crash(served.vault.database)

    async def expect_all() -> None:
        for name, phone in zip(names, PHONES, strict=True):
            assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == phone
            assert name in {match.record for match in await find(app, sought("phone", phone))}

    for boundary in boundaries(0, every=3):
        if kind == "ROOT":
            local.add_version(served.home / "root.key")
        subject = subject_of(names[0]) if kind == "SUBJECT" else ""
        await started(served, asked_for(kind, subject=subject))
        crash.at(boundary)
        with suppress(VaultError):
            while await rotate.advance(served.vault, upkeep_caller()):
                pass
        happened = crash.happened
        crash.over()

        await expect_all()
        await advanced(served)
        if not happened:
            break

    await expect_all()
    assert boundary > 15, f"died at {boundary} statements only"
    assert await rows(served) == counts
    assert {(row.state, row.failed_count) for row in await all_rows(served, tables.key_rotations)} == {("COMPLETE", 0)}
    assert len(await all_rows(served, tables.subject_keys)) == len(PHONES)
    # Whoever was known is still the same person.
    assert [subject_of((await create(app, contact(phone))).name) for phone in PHONES] == [subject_of(name) for name in names]


def rotations(vault: VaultProcess) -> list[KeyRotation]:
    """Every rotation of acme's keys."""
    with vault.client("operator") as operator:
        request = ListKeyRotationsRequest(parent="tenants/acme", page_size=1000)
        return list(operator.call(operator.operations.ListKeyRotations, request).rotations)


def is_running(vault: VaultProcess) -> bool:
    return any(rotation.state == KEY_ROTATION_STATE_RUNNING for rotation in rotations(vault))


async def let_next_one_go_on(url: str) -> bool:
    """As if the half minute had passed for which the killed one's work is kept for it. Whether there is work."""
    database = Database(url, pool_size=1)
    async with database.write() as connection:
        await connection.execute(delete(tables.leases))
        running = select(tables.key_rotations.c.rotation_id).where(tables.key_rotations.c.state == "RUNNING")
        is_left = (await connection.execute(running)).first() is not None
    await database.close()
    return is_left


def store(vault: VaultProcess, phones: Sequence[str]) -> list[str]:
    """A tenant with people; names of their contacts."""
    with vault.client("operator") as operator:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
    with vault.client("acme-app") as app:
        request = BatchCreateRecordsRequest(parent="tenants/acme", records=[contact(phone) for phone in phones])
        return [result.record.name for result in app.call(app.records.BatchCreateRecords, request).results]


def test_a_vault_that_is_killed_again_and_again_completes_its_rotations(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """A real process and SIGKILL, at moments that nobody chose."""
    home = copy_home(home_template, tmp_path / "home", database_url=migrated_url)
    moments = random.Random(12)  # noqa: S311 - moments to kill at, not a secret
    phones = [f"+97250220{n:04}" for n in range(PEOPLE)]
    kinds, names, amid = itertools.cycle(("DATA", "INDEX", "SUBJECT")), list[str](), 0

    for _ in range(KILLS):
        with serving(home) as vault:
            names = names or store(vault, phones)
            if not is_running(vault):
                kind = next(kinds)
                with vault.client("operator") as operator:
                    request = asked_for(kind, subject=subject_of(names[0]) if kind == "SUBJECT" else "")
                    operator.call(operator.operations.RotateKeys, request)
            time.sleep(moments.uniform(0, 0.2))
            vault.process.kill()
            assert vault.ended() == -SIGKILL
        amid += asyncio.run(let_next_one_go_on(migrated_url))

    with serving(home) as vault:
        wait_until(lambda: not is_running(vault), "complete")
        ended = rotations(vault)
        with vault.client("acme-app") as app:
            shown = [app.call(app.records.RevealRecord, asked(name, "phone")).record.fields["phone"].text for name in names]
            again = app.call(
                app.records.BatchCreateRecords,
                BatchCreateRecordsRequest(parent="tenants/acme", records=[contact(phone) for phone in phones]),
            ).results
        vault.process.terminate()
        assert vault.ended() == 0

    assert {rotation.state for rotation in ended} == {KEY_ROTATION_STATE_COMPLETE}
    assert {rotation.failed_count for rotation in ended} == {0}
    assert amid > 0, f"none of {KILLS} kills came amid a rotation"
    assert shown == phones
    assert [subject_of(result.record.name) for result in again] == [subject_of(name) for name in names]
