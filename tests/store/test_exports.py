"""Exports: exactly which records an order covers (A29, N2), what is kept of them meanwhile, and their packages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.store.rows import ACME, BETA, HOUR, MAIL, MICROSECOND, NOW, ORDER, PHONE, Stored, record, store
from vault.errors import AbortedError
from vault.store.database import Database
from vault.store.exports import (
    ExportRow,
    SnapshotRow,
    count_snapshot,
    delete_chunks,
    delete_staging,
    export_chunk,
    export_of_order,
    exports_to_destroy,
    get_export,
    insert_chunk,
    insert_export,
    insert_piece,
    pieces_after,
    snapshot_page,
    take_snapshot,
)
from vault.store.orders import Search, count_holders, count_in_scope, insert_order
from vault.store.subjects import Token
from vault.store.tables import exports

START, END = NOW, NOW + 24 * HOUR
EXPORT = ExportRow(
    "export",
    "order",
    "SEALED",
    {"call-detail": 3},
    {"KEY_DESTROYED": 1},
    5,
    "ab" * 32,
    NOW,
    ACME,
    7,
    "cd" * 32,
    staging_key=None,
    progress={"a": [1]},
)


def call(*, tokens: Sequence[Token] = (PHONE,), category: str = "call-detail", **columns: object) -> Stored:
    """A call from the target."""
    return record({"caller": "anna"}, {f"field{n}": ("caller", token) for n, token in enumerate(tokens)}, category=category, **columns)


def happened(time: datetime) -> Stored:
    return call(occur_time=time)


def valid(start: datetime | None, end: datetime | None) -> Stored:
    return call(valid_from=start, valid_to=end)


async def in_scope(
    database: Database,
    *,
    tenant: str = ACME,
    categories: Sequence[str] = ("call-detail",),
    levels: Sequence[str] = (),
    tokens: Sequence[Token] = (PHONE,),
    timeless: Sequence[str] = (),
    page: int = 100,
) -> list[tuple[str, str]]:
    """The snapshot of an export, read in pages; it is what a preview counts."""
    searches = [Search(token.kind, [token.token], START, END, timeless) for token in tokens]
    found: list[SnapshotRow] = []
    async with database.write() as connection:
        await insert_export(connection, tenant, EXPORT)
        await take_snapshot(connection, tenant, "export", categories=categories, levels=levels, searches=searches)
        while True:
            after = (found[-1].category, found[-1].sort_time, found[-1].record_id) if found else None
            rows = await snapshot_page(connection, tenant, "export", after=after, limit=page)
            found += rows
            if not rows:
                break
        counted = await count_snapshot(connection, tenant, "export")
        if searches:
            assert counted == await count_in_scope(connection, tenant, categories=categories, searches=searches, levels=levels)
        await delete_staging(connection, tenant, "export")
        await connection.execute(exports.delete())
    assert sum(counted.values()) == len(found)
    return sorted((row.category, row.record_id) for row in found)


def named(*stored: Stored) -> list[tuple[str, str]]:
    return sorted((item.row.category, item.row.record_id) for item in stored)


# What an order covers


IN_PERIOD = {
    "before the start": (happened(START - MICROSECOND), False),
    "at the start": (happened(START), True),
    "last moment": (happened(END - MICROSECOND), True),
    "at the end": (happened(END), False),
    "ends as the period starts": (valid(START - HOUR, START), False),
    "reaches into the period": (valid(START - HOUR, START + MICROSECOND), True),
    "spans the period": (valid(START - HOUR, END + HOUR), True),
    "within the period": (valid(START + HOUR, START + 2 * HOUR), True),
    "begins in the last moment": (valid(END - MICROSECOND, END + HOUR), True),
    "begins as the period ends": (valid(END, END + HOUR), False),
    "open, began before": (valid(START - HOUR, None), True),
    "open, began in the last moment": (valid(END - MICROSECOND, None), True),
    "open, begins as the period ends": (valid(END, None), False),
    "without any time": (valid(None, None), False),
    "without a beginning": (valid(None, END), False),
}


async def test_an_order_covers_what_happened_or_was_valid_in_its_period(database: Database) -> None:
    await store(database, *(item for item, _ in IN_PERIOD.values()))

    found = await in_scope(database)

    covered = {(item.row.category, item.row.record_id): name for name, (item, _) in IN_PERIOD.items()}
    assert {covered[place] for place in found} == {name for name, (_, is_covered) in IN_PERIOD.items() if is_covered}


TIMELESS = {
    "without any time": (valid(None, None), True),
    "until the period": (valid(None, START + MICROSECOND), True),
    "ended before": (valid(None, START), False),
    "begins as the period ends": (valid(END, None), False),
    "happened afterwards": (happened(END), False),
}


async def test_who_somebody_is_has_no_moment(database: Database) -> None:
    """A29: of subscriber data a record that does not say when is covered whenever it carries a target."""
    await store(database, *(item for item, _ in TIMELESS.values()))

    found = await in_scope(database, timeless=["call-detail"])

    covered = {(item.row.category, item.row.record_id): name for name, (item, _) in TIMELESS.items()}
    assert {covered[place] for place in found} == {name for name, (_, is_covered) in TIMELESS.items() if is_covered}


async def test_an_order_covers_its_targets_categories_and_tenant_only(database: Database) -> None:
    covered = call(occur_time=NOW)
    message = call(occur_time=NOW, category="incoming-message")
    await store(
        database,
        covered,
        message,
        call(occur_time=NOW, category="list-membership"),
        call(occur_time=NOW, tokens=[MAIL]),
        call(occur_time=NOW, tokens=[replace(PHONE, kind="mail")]),
        call(occur_time=NOW, tokens=[]),
    )
    await store(database, call(occur_time=NOW), tenant=BETA)

    found = await in_scope(database, categories=["incoming-message", "call-detail"])

    assert found == named(covered, message)


async def test_a_record_of_several_targets_is_covered_once_and_any_target_will_do(database: Database) -> None:
    both, one, other = call(occur_time=NOW, tokens=[PHONE, MAIL]), call(occur_time=NOW), call(occur_time=NOW, tokens=[MAIL])
    await store(database, both, one, other)

    found = [await in_scope(database, tokens=tokens) for tokens in ([PHONE, MAIL], [MAIL, PHONE], [MAIL], [])]

    assert found == [named(both, one, other), named(both, one, other), named(both, other), []]


async def test_no_category_covers_nothing(database: Database) -> None:
    await store(database, call(occur_time=NOW))

    assert await in_scope(database, categories=[]) == []


async def test_a_snapshot_is_read_in_pages_each_record_once(database: Database) -> None:
    """A court was sent fewer records than there were: repetitions filled a page, and what it cut off was not noticed."""
    calls = [call(occur_time=START + (n // 2) * MICROSECOND, tokens=[PHONE, PHONE, PHONE]) for n in range(5)]
    messages = [call(occur_time=START, category="incoming-message") for _ in range(2)]
    await store(database, *calls, *messages)

    for page in (1, 2, 3, 100):
        found = await in_scope(database, page=page, categories=["call-detail", "incoming-message"])
        assert found == named(*calls, *messages)


async def test_a_page_is_of_one_category_and_in_order_of_time(database: Database) -> None:
    early, late = call(occur_time=START), call(occur_time=START + HOUR)
    message = call(occur_time=START, category="incoming-message")
    await store(database, late, early, message)

    async with database.write() as connection:
        await insert_export(connection, ACME, EXPORT)
        search = Search(PHONE.kind, [PHONE.token], START, END)
        await take_snapshot(connection, ACME, "export", categories=["call-detail", "incoming-message"], levels=[], searches=[search])
        first = await snapshot_page(connection, ACME, "export", after=None, limit=100)
        second = await snapshot_page(
            connection, ACME, "export", after=(first[-1].category, first[-1].sort_time, first[-1].record_id), limit=100
        )
        foreign = await snapshot_page(connection, BETA, "export", after=None, limit=100)

    assert [row.record_id for row in first] == [early.row.record_id, late.row.record_id]
    assert [row.record_id for row in second] == [message.row.record_id]
    assert {row.version for row in (*first, *second)} == {early.row.version}
    assert foreign == []


async def test_a_snapshot_is_of_the_levels_that_are_asked_for(database: Database) -> None:
    one, other = call(occur_time=START, level="report"), call(occur_time=START, level="system-file")
    await store(database, one, other)

    assert await in_scope(database, levels=["report"]) == named(one)
    assert await in_scope(database, levels=[]) == named(one, other)


async def test_each_target_has_its_own_period(database: Database) -> None:
    """A29: a number is not a person."""
    early, late = call(occur_time=START), call(occur_time=START + 2 * HOUR, tokens=[MAIL])
    await store(database, early, late)
    searches = [Search(PHONE.kind, [PHONE.token], START + HOUR, END), Search(MAIL.kind, [MAIL.token], START + HOUR, END)]

    async with database.write() as connection:
        await insert_export(connection, ACME, EXPORT)
        await take_snapshot(connection, ACME, "export", categories=["call-detail"], levels=[], searches=searches)
        found = await snapshot_page(connection, ACME, "export", after=None, limit=10)

    assert [row.record_id for row in found] == [late.row.record_id]


async def test_people_who_had_a_number_in_its_period_are_counted(database: Database) -> None:
    """N12."""
    await store(database, call(occur_time=START), call(occur_time=START + HOUR))
    await store(database, record({"caller": "berta"}, {"field0": ("caller", PHONE)}, category="call-detail", occur_time=START))
    searches = [Search(PHONE.kind, [PHONE.token], START, END), Search(PHONE.kind, [PHONE.token], END, END + HOUR)]

    async with database.read() as connection:
        found = [await count_holders(connection, ACME, categories=["call-detail"], searches=[search]) for search in searches]

    assert found == [2, 0]


# Exports


async def test_pieces_come_back_in_order_by_file_and_from_where_one_asks(database: Database) -> None:
    async with database.write() as connection:
        await insert_export(connection, ACME, EXPORT)
        for path, sequence in (("b", 0), ("a", 2), ("a", 0), ("a", 1)):
            await insert_piece(connection, ACME, "export", path, sequence, f"{path}{sequence}".encode())

    async with database.read() as connection:
        pages = [await pieces_after(connection, ACME, "export", "a", after=after, limit=2) for after in (-1, 1, 2)]
        foreign = await pieces_after(connection, BETA, "export", "a", after=-1, limit=2)

    assert pages == [[(0, b"a0"), (1, b"a1")], [(2, b"a2")], []]
    assert foreign == []


async def test_what_was_read_goes_with_its_key_and_the_package_stays(database: Database) -> None:
    async with database.write() as connection:
        await insert_export(connection, ACME, replace(EXPORT, staging_key=b"key"))
        await insert_piece(connection, ACME, "export", "a", 0, b"a0")
        await insert_chunk(connection, ACME, "export", 0, b"sealed")
        await delete_staging(connection, ACME, "export")
        row, chunk = await get_export(connection, ACME, "export"), await export_chunk(connection, ACME, "export", 0)
        pieces = await pieces_after(connection, ACME, "export", "a", after=-1, limit=1)
        await delete_chunks(connection, ACME, "export")
        gone = await export_chunk(connection, ACME, "export", 0)

    assert row is not None
    assert (row.staging_key, pieces, chunk, gone) == (None, [], b"sealed", None)


async def test_an_export_is_found_by_its_id_and_by_its_order_in_its_tenant(database: Database) -> None:
    async with database.write() as connection:
        await insert_export(connection, ACME, EXPORT)
        await insert_chunk(connection, ACME, "export", 0, b"sealed")

    async with database.read() as connection:
        found = [await get_export(connection, ACME, "export"), await export_of_order(connection, ACME, "order")]
        foreign = [
            await get_export(connection, BETA, "export"),
            await export_of_order(connection, BETA, "order"),
            await export_chunk(connection, BETA, "export", 0),
        ]

    assert found == [EXPORT, EXPORT]
    assert foreign == [None, None, None]


async def test_an_order_has_one_export(database: Database) -> None:
    async with database.write() as connection:
        await insert_export(connection, ACME, EXPORT)

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await insert_export(connection, ACME, replace(EXPORT, export_id="second"))

    assert raised.value.reason == "CONCURRENT_CHANGE"


# What became of an export, when its order runs out, and whether it goes.
HANDED_OVER: list[tuple[dict[str, object], datetime, bool]] = [
    ({"state": "DELIVERED", "deliver_time": NOW - 31 * 24 * HOUR}, NOW + HOUR, True),
    ({"state": "DELIVERED", "deliver_time": NOW - 29 * 24 * HOUR}, NOW - HOUR, False),
    ({"state": "RECEIPT_CONFIRMED", "confirm_time": NOW - 30 * 24 * HOUR}, NOW - HOUR, True),
    ({"state": "RECEIPT_CONFIRMED", "confirm_time": NOW - HOUR}, NOW - HOUR, False),
    ({"state": "SEALED"}, NOW - 99 * 24 * HOUR, False),
    ({"state": "RELEASED"}, NOW - 30 * 24 * HOUR, True),
    ({"state": "RELEASED"}, NOW - 30 * 24 * HOUR + MICROSECOND, False),
    ({"state": "PURGED", "confirm_time": NOW - 99 * 24 * HOUR}, NOW - HOUR, False),
    ({"state": "CANCELLED"}, NOW - HOUR, False),
]


async def test_what_was_handed_over_long_ago_is_found(database: Database) -> None:
    """§5.4: what was not goes with its order."""
    async with database.write() as connection:
        for number, (changes, expires, _) in enumerate(HANDED_OVER):
            order = replace(ORDER, order_id=f"order{number}", document_token=bytes([number]) * 32, expire_time=expires)
            await insert_order(connection, ACME, order)
            row = replace(EXPORT, export_id=f"export{number}", order_id=order.order_id, **changes)  # type: ignore[arg-type]
            await insert_export(connection, ACME, row)
        due = await exports_to_destroy(connection, now=NOW, kept=timedelta(days=30))

    goes = [number for number, (*_, goes) in enumerate(HANDED_OVER) if goes]
    assert sorted(due) == [(ACME, f"order{number}", f"export{number}") for number in goes]
