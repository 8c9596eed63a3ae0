"""The audit log's rows: one total order per log under any number of writers, and which logs need a checkpoint."""

import asyncio

import pytest

from tests.store.rows import ACME, BETA, NOW, count, opened
from vault.errors import AbortedError
from vault.store.audit import append_entries, create_log, entries, head, insert_checkpoint, locked_head, uncovered_logs
from vault.store.database import Database


async def create(database: Database, *logs: str) -> None:
    async with database.write() as connection:
        for log in logs:
            await create_log(connection, log, b"empty")


async def append(database: Database, log: str, *contents: bytes) -> int:
    """Append as the vault does; index of the first entry."""
    async with database.write() as connection:
        state = await locked_head(connection, log)
        assert state is not None
        size, frontier = state
        await asyncio.sleep(0)  # whoever else writes may run now
        await append_entries(connection, log, start=size, entries=contents, frontier=frontier + b"+" * len(contents))
    return size


async def all_entries(database: Database, log: str) -> list[tuple[int, bytes]]:
    async with database.read() as connection:
        return await entries(connection, log, start=0, limit=10_000)


async def test_a_new_log_is_empty(database: Database) -> None:
    await create(database, ACME)

    async with database.write() as connection:
        seen = await head(connection, ACME), await locked_head(connection, ACME), await head(connection, BETA)

    assert seen == ((0, b"empty"), (0, b"empty"), None)
    assert await all_entries(database, ACME) == []


async def test_creating_a_log_again_changes_nothing(database: Database) -> None:
    await create(database, ACME)
    await append(database, ACME, b"one")

    await create(database, ACME)

    async with database.read() as connection:
        assert await head(connection, ACME) == (1, b"empty+")


async def test_a_log_that_was_never_created_has_no_head_to_lock(database: Database) -> None:
    async with database.write() as connection:
        assert await locked_head(connection, ACME) is None


async def test_entries_are_numbered_in_the_order_they_were_appended(database: Database) -> None:
    await create(database, ACME)
    await append(database, ACME, b"zero", b"one")
    await append(database, ACME, b"two")

    async with database.read() as connection:
        state, stored = await head(connection, ACME), await entries(connection, ACME, start=0, limit=10)

    assert state == (3, b"empty+++")
    assert stored == [(0, b"zero"), (1, b"one"), (2, b"two")]


async def test_entries_are_read_in_pages(database: Database) -> None:
    await create(database, ACME)
    await append(database, ACME, *(str(n).encode() for n in range(25)))

    async with database.read() as connection:
        pages = [[index for index, _ in await entries(connection, ACME, start=start, limit=10)] for start in (0, 10, 20, 30)]

    assert pages == [list(range(10)), list(range(10, 20)), list(range(20, 25)), []]


async def test_each_log_counts_for_itself(database: Database) -> None:
    await create(database, ACME, BETA)
    await append(database, ACME, b"a", b"b")
    await append(database, BETA, b"c")

    stored = [await all_entries(database, log) for log in (ACME, BETA)]

    assert stored == [[(0, b"a"), (1, b"b")], [(0, b"c")]]


async def test_writers_at_once_leave_no_gap_and_lose_no_entry(database: Database, migrated_url: str) -> None:
    await create(database, ACME)
    starts: dict[bytes, int] = {}

    async def one(which: Database, writer: int) -> None:
        for turn in range(10):
            content = f"{writer}.{turn}".encode()
            starts[content] = await append(which, ACME, content, content + b" second")

    async with opened(migrated_url) as other:
        await asyncio.gather(one(database, 0), one(other, 1), one(database, 2), one(other, 3))

    stored = await all_entries(database, ACME)
    assert [index for index, _ in stored] == list(range(80))
    assert all(stored[start] == (start, content) and stored[start + 1][1] == content + b" second" for content, start in starts.items())
    async with database.read() as connection:
        assert await head(connection, ACME) == (80, b"empty" + b"+" * 80)


async def test_writers_of_one_log_come_one_after_the_other_in_the_order_of_their_indices(database: Database) -> None:
    await create(database, ACME)
    commits: list[int] = []

    async def one() -> None:
        for _ in range(10):
            async with database.write() as connection:
                size, _ = await locked_head(connection, ACME) or (0, b"")
                await append_entries(connection, ACME, start=size, entries=[b"entry"], frontier=b"")
                await asyncio.sleep(0.001)
                # Nobody else can have got this far before this transaction ends.
                commits.append(size)

    await asyncio.gather(one(), one())

    assert commits == list(range(20))


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_writers_of_different_logs_do_not_wait_for_each_other(database: Database) -> None:
    await create(database, ACME, BETA)

    async with database.write() as connection:
        await locked_head(connection, ACME)
        start = await asyncio.wait_for(append(database, BETA, b"entry"), timeout=5)

    assert start == 0


async def test_an_append_that_is_rolled_back_leaves_its_index_to_the_next(database: Database) -> None:
    await create(database, ACME)

    async def give_up() -> None:
        async with database.write() as connection:
            await locked_head(connection, ACME)
            await append_entries(connection, ACME, start=0, entries=[b"lost"], frontier=b"lost")
            raise AbortedError("RETRY_AFTER_ERASURE", "the subject is being erased or was erased")

    with pytest.raises(AbortedError):
        await give_up()
    start = await append(database, ACME, b"kept")

    assert start == 0
    assert await all_entries(database, ACME) == [(0, b"kept")]


async def test_an_entry_is_never_written_over(database: Database) -> None:
    await create(database, ACME)
    await append(database, ACME, b"first")

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await append_entries(connection, ACME, start=0, entries=[b"other"], frontier=b"")

    assert raised.value.reason == "CONCURRENT_CHANGE"
    assert await all_entries(database, ACME) == [(0, b"first")]


async def test_logs_that_grew_since_their_newest_checkpoint_or_have_none_are_uncovered(database: Database) -> None:
    await create(database, "covered", "empty", "grown", "never", "other")
    for log, size in {"covered": 2, "grown": 3, "never": 1, "other": 2}.items():
        await append(database, log, *[b"entry"] * size)

    async with database.write() as connection:
        for log, size in [("covered", 1), ("covered", 2), ("grown", 1), ("grown", 2)]:
            await insert_checkpoint(connection, log, size=size, note="note", now=NOW)
        found = await uncovered_logs(connection)

    assert found == ["empty", "grown", "never", "other"]


async def test_a_second_checkpoint_of_the_same_size_changes_nothing(database: Database) -> None:
    async with database.write() as connection:
        await insert_checkpoint(connection, ACME, size=1, note="first", now=NOW)
        await insert_checkpoint(connection, ACME, size=1, note="second", now=NOW)
        await insert_checkpoint(connection, BETA, size=1, note="third", now=NOW)

    assert await count(database, "audit_checkpoints", tenant_id=ACME, note="first") == 1
    assert await count(database, "audit_checkpoints") == 2
