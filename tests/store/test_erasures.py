"""Erasures and their certificates."""

import asyncio
from dataclasses import replace

import pytest

from tests.store.rows import ACME, BETA, HOUR, NOW, opened
from vault.errors import VaultError
from vault.store.database import Database
from vault.store.erasures import (
    ErasureRow,
    erasure_of_subject,
    get_erasure,
    insert_erasure,
    list_erasures,
    unfinished_erasures,
    update_erasure,
)

ERASURE = ErasureRow("e1", "anna", "REQUESTED", "desk", "", "digest", {"call-detail": 2}, NOW, None, "")


async def insert(database: Database, *rows: ErasureRow, tenant: str = ACME) -> None:
    async with database.write() as connection:
        for row in rows:
            await insert_erasure(connection, tenant, row)


async def test_an_erasure_is_found_by_its_id_and_by_its_subject(database: Database) -> None:
    await insert(database, ERASURE)

    async with database.write() as connection:
        found = [
            await get_erasure(connection, ACME, "e1"),
            await get_erasure(connection, ACME, "e1", lock=True),
            await erasure_of_subject(connection, ACME, "anna"),
        ]

    assert found == [ERASURE] * 3


async def test_another_tenants_erasure_is_not_there(database: Database) -> None:
    await insert(database, ERASURE, tenant=BETA)

    async with database.read() as connection:
        found = [await get_erasure(connection, ACME, "e1"), await erasure_of_subject(connection, ACME, "anna")]
        listed = await list_erasures(connection, ACME, after="", limit=10)

    assert found == [None, None]
    assert listed == []


async def test_a_subject_is_erased_once_however_many_ask(database: Database, migrated_url: str) -> None:
    async def ask(which: Database, erasure: str) -> str:
        async with which.write() as connection:
            await insert_erasure(connection, ACME, replace(ERASURE, erasure_id=erasure))
            await asyncio.sleep(0.01)
        return erasure

    async with opened(migrated_url) as other:
        outcomes = await asyncio.gather(ask(database, "e1"), ask(other, "e2"), return_exceptions=True)

    [won] = [outcome for outcome in outcomes if isinstance(outcome, str)]
    [lost] = [outcome for outcome in outcomes if isinstance(outcome, VaultError)]
    assert lost.reason == "CONCURRENT_CHANGE"
    async with database.read() as connection:
        assert await erasure_of_subject(connection, ACME, "anna") == replace(ERASURE, erasure_id=won)


async def test_the_same_subject_id_in_two_tenants_has_two_erasures(database: Database) -> None:
    await insert(database, ERASURE, tenant=ACME)
    await insert(database, ERASURE, tenant=BETA)

    async with database.read() as connection:
        found = [await erasure_of_subject(connection, tenant, "anna") for tenant in (ACME, BETA)]

    assert found == [ERASURE, ERASURE]


async def test_a_changed_erasure_is_stored_whole_and_in_its_tenant_only(database: Database) -> None:
    await insert(database, ERASURE, tenant=ACME)
    await insert(database, ERASURE, tenant=BETA)
    changed = replace(ERASURE, state="COMPLETE", approver="officer", outcomes={}, finish_time=NOW + HOUR, certificate="signed\n")

    async with database.write() as connection:
        await update_erasure(connection, ACME, changed)
        found = [await get_erasure(connection, tenant, "e1") for tenant in (ACME, BETA)]

    assert found == [changed, ERASURE]


async def test_erasures_are_listed_by_id_in_pages(database: Database) -> None:
    rows = [replace(ERASURE, erasure_id=f"e{n}", subject_id=f"s{n}") for n in range(5)]
    await insert(database, *reversed(rows))

    async with database.read() as connection:
        pages = [await list_erasures(connection, ACME, after=after, limit=3) for after in ("", "e2", "e4")]

    assert pages == [rows[:3], rows[3:], []]


@pytest.mark.parametrize(("state", "unfinished"), [("REQUESTED", False), ("RUNNING", True), ("COMPLETE", False)])
async def test_what_was_approved_and_did_not_finish_is_unfinished(database: Database, state: str, unfinished: bool) -> None:
    await insert(database, replace(ERASURE, state=state), tenant=ACME)
    await insert(database, replace(ERASURE, erasure_id="e2", state="RUNNING"), tenant=BETA)

    async with database.read() as connection:
        found = await unfinished_erasures(connection)

    assert sorted(found) == ([(ACME, "e1")] if unfinished else []) + [(BETA, "e2")]
