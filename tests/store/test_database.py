"""Transactions: what commits, what rolls back, and what a failure says (I1, I2, I7)."""

import asyncio
import errno
import sqlite3
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text

from tests.databases import PostgresServer, sqlite_url
from tests.store.rows import ACME, TENANT, opened
from vault.errors import AbortedError, NotFoundError, UnavailableError
from vault.names import new_id
from vault.store import audit as audit_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection, Database

only_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


@pytest.fixture
async def unreachable(database_kind: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database that is not there."""
    missing = tmp_path / "missing"
    url = sqlite_url(missing / "vault.db") if database_kind == "sqlite" else f"postgresql+asyncpg://postgres@/vault?host={missing}"
    async with opened(url) as database:
        yield database
    # aiosqlite does not wait for the thread of a connection that could not be opened, which reports to this loop once more.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)


async def has_log(database: Database, log: str) -> bool:
    async with database.read() as connection:
        return await audit_store.head(connection, log) is not None


async def setting(connection: Connection, name: str) -> object:
    return (await connection.execute(text(f"SELECT current_setting('{name}')"))).scalar_one()


async def terminate(connection: Connection, database: Database) -> None:
    """End the session of a connection from outside, as a failing server does."""
    process = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    async with database.read() as other:
        await other.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})


async def test_write_commits_on_leaving(database: Database) -> None:
    async with database.write() as connection:
        await audit_store.create_log(connection, ACME, b"")

    assert await has_log(database, ACME)


async def test_what_was_committed_is_there_for_another_process(database: Database, migrated_url: str) -> None:
    async with database.write() as connection:
        await audit_store.create_log(connection, ACME, b"")

    async with opened(migrated_url) as other:
        assert await has_log(other, ACME)


@pytest.mark.parametrize("kind", [NotFoundError, ValueError, asyncio.CancelledError])
async def test_write_rolls_back_on_an_error_and_lets_it_through(database: Database, kind: Callable[..., BaseException]) -> None:
    error = kind("SUBJECT_NOT_FOUND", "no such subject")

    async def fail() -> None:
        async with database.write() as connection:
            await audit_store.create_log(connection, ACME, b"")
            raise error

    with pytest.raises(type(error)) as raised:
        await fail()

    assert raised.value is error
    assert not await has_log(database, ACME)


async def test_a_write_after_a_failed_one_succeeds(database: Database) -> None:
    with pytest.raises(UnavailableError):
        async with database.write() as connection:
            await connection.execute(text("SELECT nothing FROM nowhere"))

    async with database.write() as connection:
        await audit_store.create_log(connection, ACME, b"")

    assert await has_log(database, ACME)


async def test_a_conflicting_write_is_a_concurrent_change(database: Database) -> None:
    async with database.write() as connection:
        await tenant_store.insert_tenant(connection, TENANT, [tenant_store.TenantKeyRow("data", 1, b"wrapped")])

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await tenant_store.insert_tenant(connection, TENANT, [tenant_store.TenantKeyRow("data", 1, b"wrapped")])

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_a_statement_that_fails_makes_the_audit_log_unavailable(database: Database) -> None:
    with pytest.raises(UnavailableError) as raised:
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO no_such_table VALUES (1)"))

    assert raised.value.reason == "AUDIT_UNAVAILABLE"
    assert raised.value.retry_after is not None


async def test_a_commit_that_fails_makes_the_audit_log_unavailable_and_stores_nothing(database: Database) -> None:
    def disk_full(_connection: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    event.listen(database.engine.sync_engine, "commit", disk_full)
    with pytest.raises(UnavailableError) as raised:
        async with database.write() as connection:
            await audit_store.create_log(connection, ACME, b"")
    event.remove(database.engine.sync_engine, "commit", disk_full)

    assert raised.value.reason == "AUDIT_UNAVAILABLE"
    assert not await has_log(database, ACME)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_heads (tenant_id, size, frontier) VALUES (:secret, 0, :other)",  # a key that is there already
        "INSERT INTO no_such_table VALUES (:secret, :other)",
        "SELECT no_such_function(:secret, :other)",
    ],
)
async def test_an_error_of_the_driver_leaves_neither_statement_nor_values_behind(database: Database, statement: str) -> None:
    secret = new_id()
    async with database.write() as connection:
        await audit_store.create_log(connection, secret, b"")

    with pytest.raises((UnavailableError, AbortedError)) as raised:
        async with database.write() as connection:
            await connection.execute(text(statement), {"secret": secret, "other": b"\x00"})

    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + repr(raised.value.metadata)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert secret not in shown
    assert "INSERT" not in shown
    assert "SELECT" not in shown


async def test_reading_a_database_that_is_not_there_makes_the_store_unavailable(unreachable: Database) -> None:
    with pytest.raises(UnavailableError) as raised:
        async with unreachable.read():
            pytest.fail("there is nothing to read")

    assert raised.value.reason == "STORE_UNAVAILABLE"
    assert raised.value.retry_after is not None


async def test_writing_a_database_that_is_not_there_makes_the_audit_log_unavailable(unreachable: Database) -> None:
    with pytest.raises(UnavailableError) as raised:
        async with unreachable.write():
            pytest.fail("there is nothing to write")

    assert raised.value.reason == "AUDIT_UNAVAILABLE"


@only_postgres
async def test_a_database_that_disappears_while_connected_makes_the_store_unavailable(
    database: Database, postgres_server: PostgresServer
) -> None:
    await has_log(database, ACME)
    postgres_server.drop(str(database.engine.url.database))

    reasons = []
    for _ in range(2):  # the connection that was kept, then a new one
        with pytest.raises(UnavailableError) as raised:
            await has_log(database, ACME)
        reasons.append(raised.value.reason)

    assert reasons == ["STORE_UNAVAILABLE", "STORE_UNAVAILABLE"]


@only_postgres
@pytest.mark.parametrize("moment", ["before the next statement", "before the commit"])
async def test_a_session_that_dies_in_a_write_makes_the_audit_log_unavailable_and_the_next_write_works(
    database: Database, moment: str
) -> None:
    async def write_and_die() -> None:
        async with database.write() as connection:
            await audit_store.create_log(connection, ACME, b"")
            await terminate(connection, database)
            if moment == "before the next statement":
                await audit_store.create_log(connection, "other", b"")

    with pytest.raises(UnavailableError) as raised:
        await write_and_die()
    async with database.write() as connection:
        await audit_store.create_log(connection, "later", b"")

    assert raised.value.reason == "AUDIT_UNAVAILABLE"
    assert not await has_log(database, ACME)
    assert await has_log(database, "later")


@only_postgres
async def test_a_deadlock_is_a_concurrent_change_for_one_of_the_two(database: Database) -> None:
    async with database.write() as connection:
        await audit_store.create_log(connection, "one", b"")
        await audit_store.create_log(connection, "two", b"")
    both = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with database.write() as connection:
            await connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            await audit_store.locked_head(connection, first)
            await both.wait()
            await audit_store.locked_head(connection, second)

    outcomes = await asyncio.gather(lock("one", "two"), lock("two", "one"), return_exceptions=True)

    [lost] = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(lost, AbortedError)
    assert lost.reason == "CONCURRENT_CHANGE"


@only_postgres
async def test_a_serialization_failure_is_a_concurrent_change(database: Database) -> None:
    async with database.write() as connection:
        await audit_store.create_log(connection, ACME, b"")

    async def be_overtaken() -> None:
        async with database.write() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            await audit_store.head(connection, ACME)
            async with database.write() as other:
                await other.execute(text("UPDATE audit_heads SET size = 1"))
            await connection.execute(text("UPDATE audit_heads SET size = 2"))

    with pytest.raises(AbortedError) as raised:
        await be_overtaken()

    assert raised.value.reason == "CONCURRENT_CHANGE"


@only_sqlite
@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),  # FULL
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("temp_store", 2),  # MEMORY
        ("busy_timeout", 5000),
    ],
)
async def test_every_sqlite_connection_is_durable_and_leaves_nothing_behind(database: Database, pragma: str, value: object) -> None:
    async with database.read() as one, database.read() as two, database.write() as three:
        found = [(await connection.execute(text(f"PRAGMA {pragma}"))).scalar_one() for connection in (one, two, three)]

    assert found == [value] * 3


@only_postgres
@pytest.mark.parametrize(("configured", "used"), [("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")])
async def test_postgres_waits_for_the_disk_even_if_it_was_told_not_to(
    migrated_url: str, postgres_server: PostgresServer, configured: str, used: str
) -> None:
    postgres_server.execute(f"ALTER DATABASE {make_url(migrated_url).database} SET synchronous_commit = '{configured}'")

    async with opened(migrated_url) as database:
        # The second one gets the connection that the first one's rollback passed through the pool.
        with pytest.raises(UnavailableError):
            async with database.write() as connection:
                await connection.execute(text("SELECT nothing FROM nowhere"))
        async with database.write() as connection:
            found = await setting(connection, "synchronous_commit")

    assert found == used


@only_postgres
async def test_postgres_of_the_tests_keeps_what_it_acknowledges(database: Database) -> None:
    async with database.write() as connection:
        found = [await setting(connection, name) for name in ("fsync", "full_page_writes", "synchronous_commit")]

    assert found == ["on", "on", "on"]


@only_postgres
async def test_postgres_shows_what_others_committed_even_if_it_defaults_to_snapshots(
    migrated_url: str, postgres_server: PostgresServer
) -> None:
    postgres_server.execute(f"ALTER DATABASE {make_url(migrated_url).database} SET default_transaction_isolation = 'repeatable read'")

    async with opened(migrated_url) as database, database.write() as connection:
        before = await audit_store.head(connection, ACME)
        async with database.write() as other:
            await audit_store.create_log(other, ACME, b"")
        after = await audit_store.head(connection, ACME)

    assert before is None
    assert after == (0, b"")


@only_sqlite
async def test_a_new_file_that_somebody_writes_to_is_waited_for(database_url: str) -> None:
    """Harm: of several who opened a new file at once some were refused, because SQLite lets nobody wait who turns it to a write-ahead log."""
    async with opened(database_url) as database:
        with closing(sqlite3.connect(str(database.engine.url.database))) as other:
            other.execute("BEGIN IMMEDIATE")
            # Long enough to be refused once; if this machine is slower, nobody was in the way.
            asyncio.get_running_loop().call_later(0.2, other.rollback)

            async with database.write() as connection:
                mode = (await connection.execute(text("PRAGMA journal_mode"))).scalar_one()

    assert mode == "wal"


@only_sqlite
async def test_a_sqlite_writer_holds_the_write_lock_from_its_beginning(database: Database) -> None:
    async with database.write():
        with closing(sqlite3.connect(str(database.engine.url.database), timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("BEGIN IMMEDIATE")


@only_sqlite
async def test_a_sqlite_reader_keeps_nobody_from_writing(database: Database) -> None:
    async with database.read() as connection:
        await audit_store.head(connection, ACME)
        async with database.write() as writer:
            await audit_store.create_log(writer, ACME, b"")
        seen = await audit_store.head(connection, ACME)

    assert seen is None  # a reader keeps the state it began with
    assert await has_log(database, ACME)


async def test_writers_that_read_before_they_write_lose_nothing(database: Database, migrated_url: str) -> None:
    async with database.write() as connection:
        await audit_store.create_log(connection, ACME, b"")

    async def count_up(which: Database) -> None:
        for _ in range(5):
            async with which.write() as connection:
                size, _ = await audit_store.locked_head(connection, ACME) or (0, b"")
                await asyncio.sleep(0.001)
                await audit_store.append_entries(connection, ACME, start=size, entries=[b"entry"], frontier=b"")

    async with opened(migrated_url) as other:
        await asyncio.gather(*(count_up(which) for which in (database, database, other, other)))

    async with database.read() as connection:
        assert await audit_store.head(connection, ACME) == (20, b"")
