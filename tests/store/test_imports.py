"""Imports: progress, refused rows, one attempt at a time."""

import asyncio
from dataclasses import replace

import pytest

from tests.store.rows import ACME, BETA, NOW, opened
from vault.errors import AbortedError, UnavailableError
from vault.store.database import Database
from vault.store.imports import ImportRow, IssueRow, advance_import, find_import, insert_import, issue_counts, issues_of, locked_import

FRESH = ImportRow("import", 0, 0, 0, "OPEN")


async def begin(database: Database, *, tenant: str = ACME, import_id: str = "import", source: bytes = b"source") -> None:
    async with database.write() as connection:
        await insert_import(connection, tenant, import_id, source_token=source, category="list-membership", list_id="spring", now=NOW)


async def test_a_fresh_import_is_open_and_empty(database: Database) -> None:
    await begin(database)

    async with database.write() as connection:
        found, locked = await find_import(connection, ACME, [b"source"]), await locked_import(connection, ACME, "import")

    assert (found, locked) == (FRESH, FRESH)


async def test_an_import_is_found_by_its_own_tenant_and_file(database: Database) -> None:
    await begin(database)

    async with database.read() as connection:
        found = [await find_import(connection, tenant, [source]) for tenant, source in ((ACME, b"other"), (BETA, b"source"))]

    assert found == [None, None]


async def test_one_file_has_one_import_in_each_tenant(database: Database) -> None:
    await begin(database)
    await begin(database, tenant=BETA)

    with pytest.raises(AbortedError) as raised:
        await begin(database, import_id="second")

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_an_import_that_is_not_there_cannot_be_locked(database: Database) -> None:
    await begin(database, tenant=BETA)

    with pytest.raises(UnavailableError):
        async with database.write() as connection:
            await locked_import(connection, ACME, "import")


async def test_progress_and_refusals_are_stored_together(database: Database) -> None:
    await begin(database)
    await begin(database, tenant=BETA)
    issues = [IssueRow(3, "FIELD_INVALID", "phone"), IssueRow(2, "NO_USABLE_IDENTIFIER", ""), IssueRow(7, "FIELD_INVALID", "mail")]

    async with database.write() as connection:
        await advance_import(connection, ACME, ImportRow("import", 10, 6, 1, "OPEN"), issues)
        await advance_import(connection, ACME, ImportRow("import", 12, 8, 1, "COMPLETE"), [])
        rows = [await locked_import(connection, tenant, "import") for tenant in (ACME, BETA)]
        stored = await issues_of(connection, ACME, "import", limit=10)
        counts = [await issue_counts(connection, tenant, "import") for tenant in (ACME, BETA)]

    assert rows == [ImportRow("import", 12, 8, 1, "COMPLETE"), FRESH]
    assert stored == sorted(issues, key=lambda issue: issue.line)
    assert counts == [{"FIELD_INVALID": 2, "NO_USABLE_IDENTIFIER": 1}, {}]


async def test_refused_rows_are_listed_up_to_a_limit_and_all_are_counted(database: Database) -> None:
    await begin(database)

    async with database.write() as connection:
        await advance_import(connection, ACME, FRESH, [IssueRow(line, "FIELD_INVALID", "phone") for line in range(1, 51)])
        lines = [issue.line for issue in await issues_of(connection, ACME, "import", limit=3)]
        counts = await issue_counts(connection, ACME, "import")

    assert lines == [1, 2, 3]
    assert counts == {"FIELD_INVALID": 50}


async def test_two_attempts_on_one_file_do_not_interleave(database: Database, migrated_url: str) -> None:
    await begin(database)

    async def attempt(which: Database) -> None:
        for _ in range(10):
            async with which.write() as connection:
                row = await locked_import(connection, ACME, "import")
                await asyncio.sleep(0.001)
                await advance_import(connection, ACME, replace(row, row_count=row.row_count + 1), [])

    async with opened(migrated_url) as other:
        await asyncio.gather(attempt(database), attempt(other))

    async with database.read() as connection:
        assert await locked_import(connection, ACME, "import") == replace(FRESH, row_count=20)
