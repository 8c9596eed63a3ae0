"""Holds: which records they cover, until when, and who waits for whom (§6.3, A29, E4)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from tests.store.rows import ACME, BETA, HOUR, MICROSECOND, NOW, PHONE, Stored, record, store
from vault.store.database import Connection, Database
from vault.store.holds import (
    HoldRow,
    ScopeRow,
    count_overdue_reviews,
    delay_holds,
    expired_holds,
    get_hold,
    has_live_holds,
    held_records,
    insert_hold,
    is_held,
    list_holds,
    live_holds,
    people_of_identifier,
    place_alone,
    release_hold,
    scopes_of,
    unreleased_holds,
)
from vault.store.retention import Swept, count_due, due_records, has_due
from vault.store.tables import records

HOLD = HoldRow(
    hold_id="hold",
    kind="CLAIM",
    reference="CASE-17",
    start_time=None,
    end_time=None,
    expire_time=None,
    review_time=NOW + HOUR,
    placed_by="people/e-legal",
    create_time=NOW,
)
EVERYTHING = ScopeRow("", "", "")
CALL = record({"caller": "anna", "callee": "boris"}, occur_time=NOW)
LISTED = record({"member": "anna"}, category="list-membership")
NUMBER = record({"holder": "boris"}, category="number-mapping", valid_from=NOW - 10 * HOUR, valid_to=NOW)
ALL = (CALL, LISTED, NUMBER)


async def place(database: Database, *scopes: ScopeRow, row: HoldRow = HOLD, tenant: str = ACME) -> None:
    async with database.write() as connection:
        await insert_hold(connection, tenant, row, scopes or (EVERYTHING,))


async def held(database: Database, *, tenant: str = ACME, transient: Sequence[str] = ()) -> dict[str, str]:
    """Hold by held record of `ALL`, looked up both ways."""
    async with database.read() as connection:
        named = await held_records(connection, tenant, [item.row.record_id for item in ALL], NOW, transient=transient)
        query = select(records.c.record_id).where(records.c.tenant_id == tenant, is_held(tenant, NOW, transient=transient))
        found = set((await connection.execute(query)).scalars())
    assert found == named.keys()
    return {record_id: row.hold_id for record_id, row in named.items()}


@pytest.fixture
async def stored(database: Database) -> Database:
    await store(database, *ALL)
    return database


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        pytest.param(EVERYTHING, ALL, id="everything"),
        pytest.param(ScopeRow("anna", "", ""), (CALL, LISTED), id="an owner"),
        pytest.param(ScopeRow("boris", "", ""), (CALL, NUMBER), id="a party"),
        pytest.param(ScopeRow("boris", "call-detail", ""), (CALL,), id="a category of a party"),
        pytest.param(ScopeRow("", "number-mapping", ""), (NUMBER,), id="a category"),
        pytest.param(ScopeRow("anna", "", LISTED.row.record_id), (LISTED,), id="a record of an owner"),
        pytest.param(ScopeRow("", "", NUMBER.row.record_id), (NUMBER,), id="a record"),
        pytest.param(ScopeRow("boris", "", LISTED.row.record_id), (), id="a record of somebody else"),
        pytest.param(ScopeRow("anna", "number-mapping", ""), (), id="a category that the person has none of"),
        pytest.param(ScopeRow("nobody", "", ""), (), id="somebody unknown"),
    ],
)
async def test_a_scope_covers_by_owner_or_party_by_category_and_by_record(
    stored: Database, scope: ScopeRow, covered: Sequence[Stored]
) -> None:
    await place(stored, scope)

    assert (await held(stored)).keys() == {item.row.record_id for item in covered}
    assert await held(stored, tenant=BETA) == {}


@pytest.mark.parametrize(
    ("start", "end", "covered"),
    [
        pytest.param(NOW, NOW + MICROSECOND, (CALL, LISTED), id="the moment of the call"),
        pytest.param(NOW, None, (CALL, LISTED), id="from the call on"),
        pytest.param(NOW + MICROSECOND, None, (LISTED,), id="from after the call on"),
        pytest.param(NOW - HOUR, NOW, (LISTED, NUMBER), id="until the call, the end of the number"),
        pytest.param(None, NOW, (LISTED, NUMBER), id="from the beginning"),
        pytest.param(None, NOW - 10 * HOUR, (LISTED,), id="until the number began"),
        pytest.param(NOW - 11 * HOUR, NOW - 10 * HOUR + MICROSECOND, (LISTED, NUMBER), id="the begin of the number"),
        pytest.param(None, None, ALL, id="whenever"),
    ],
)
async def test_a_record_is_covered_by_when_it_happened_or_was_valid_and_whenever_if_it_says_neither(
    stored: Database, start: datetime | None, end: datetime | None, covered: Sequence[Stored]
) -> None:
    """A29."""
    await place(stored, row=replace(HOLD, start_time=start, end_time=end))

    assert (await held(stored)).keys() == {item.row.record_id for item in covered}


async def test_what_is_never_kept_is_not_held(stored: Database) -> None:
    """P3.4-rec."""
    await place(stored)

    assert LISTED.row.record_id not in await held(stored, transient=["list-membership"])


async def test_of_several_holds_the_one_that_ends_last_is_named(stored: Database) -> None:
    """§6.3: a record stays until the last of them ends."""
    for number, hours in enumerate((2, 5, 3)):
        await place(stored, row=replace(HOLD, hold_id=f"until {hours}", expire_time=NOW + hours * HOUR, reference=str(number)))
    before = set((await held(stored)).values())
    await place(stored, ScopeRow("boris", "", ""))
    after = await held(stored)

    assert before == {"until 5"}
    assert after == {CALL.row.record_id: "hold", NUMBER.row.record_id: "hold", LISTED.row.record_id: "until 5"}


@pytest.mark.parametrize("by_end", [True, False], ids=["by its end", "by release"])
async def test_a_hold_counts_until_its_moment_and_not_from_it_on(stored: Database, by_end: bool) -> None:
    await place(stored, row=replace(HOLD, expire_time=NOW + MICROSECOND if by_end else None))
    first = await held(stored)
    async with stored.write() as connection:
        before = await has_live_holds(connection, ACME, NOW)
        if not by_end:
            await release_hold(connection, ACME, "hold", by="people/e-legal", now=NOW)
        after = await has_live_holds(connection, ACME, NOW + MICROSECOND)
        left = await held_records(connection, ACME, [CALL.row.record_id], NOW + MICROSECOND)

    assert len(first) == len(ALL)
    assert (before, after, left) == (True, False, {})


async def test_a_hold_is_released_once(database: Database) -> None:
    await place(database)
    async with database.write() as connection:
        await release_hold(connection, ACME, "hold", by="people/e-legal", now=NOW)
        await release_hold(connection, ACME, "hold", by="people/e-other", now=NOW + HOUR)
        row = await get_hold(connection, ACME, "hold", lock=True)
        foreign = await get_hold(connection, BETA, "hold")
        left = await unreleased_holds(connection, ACME, HOLD.reference)

    assert row == replace(HOLD, release_time=NOW, released_by="people/e-legal")
    assert foreign is None
    assert left == []


async def test_live_holds_of_people_are_theirs_and_everybodys(database: Database) -> None:
    for name, scope in (("anna's", ScopeRow("anna", "", "")), ("boris's", ScopeRow("boris", "", "")), ("everybody's", EVERYTHING)):
        await place(database, scope, row=replace(HOLD, hold_id=name))
    await place(database, row=replace(HOLD, hold_id="over", expire_time=NOW))

    async with database.read() as connection:
        every = [row.hold_id for row in await live_holds(connection, ACME, NOW)]
        annas = [row.hold_id for row in await live_holds(connection, ACME, NOW, subjects=["anna"])]
        foreign = await live_holds(connection, BETA, NOW)

    assert every == ["anna's", "boris's", "everybody's"]
    assert annas == ["anna's", "everybody's"]
    assert foreign == []


async def test_the_ends_and_reviews_of_every_tenant_are_found(database: Database) -> None:
    over = replace(HOLD, hold_id="over", expire_time=NOW)
    for tenant in (ACME, BETA):
        await place(database, row=over, tenant=tenant)
        await place(database, row=replace(HOLD, review_time=NOW), tenant=tenant)
        await place(database, row=replace(HOLD, hold_id="later", review_time=NOW + MICROSECOND, expire_time=NOW + HOUR), tenant=tenant)

    async with database.write() as connection:
        expired = await expired_holds(connection, NOW)
        overdue = await count_overdue_reviews(connection, NOW)
        await release_hold(connection, ACME, "over", by="upkeep", now=NOW)
        left = await expired_holds(connection, NOW)
        page = [row.hold_id for row in await list_holds(connection, ACME, after="hold", limit=1)]
        scopes = await scopes_of(connection, ACME, "over")

    assert expired == [(ACME, "over"), (BETA, "over")]
    assert overdue == 2
    assert left == [(BETA, "over")]
    assert page == ["later"]
    assert scopes == [EVERYTHING]


async def test_a_recycled_number_leads_to_whoever_had_it_in_the_period(database: Database) -> None:
    """A29, N12."""
    now_hers = record({"caller": "anna"}, {"calling": ("caller", PHONE)}, occur_time=NOW)
    once_his = record({"caller": "boris"}, {"calling": ("caller", PHONE)}, occur_time=NOW - 100 * HOUR)
    await store(database, now_hers, once_his)

    async def people(start: timedelta, *, categories: Sequence[str] = ("call-detail",), tenant: str = ACME) -> frozenset[str]:
        async with database.read() as connection:
            return await people_of_identifier(
                connection, tenant, kind=PHONE.kind, tokens=[PHONE.token], categories=categories, start=NOW + start, end=NOW + HOUR, limit=9
            )

    assert await people(-HOUR) == {"anna"}
    assert await people(-200 * HOUR) == {"anna", "boris"}
    assert await people(-HOUR, categories=("fax",)) == frozenset()
    assert await people(-HOUR, tenant=BETA) == frozenset()


async def test_retention_spares_what_is_held_where_it_is_told_of_holds(database: Database) -> None:
    """A13, P3.2-lvl-files-off."""
    due = [record({"caller": subject}, due_time=NOW) for subject in ("anna", "boris")]
    await store(database, *due)
    await place(database, ScopeRow("anna", "", ""))
    where = Swept(["call-detail"], [""])
    told = replace(where, has_holds=True)

    async with database.write() as connection:
        both = {row.subject_id for row in await due_records(connection, ACME, NOW, where, limit=9)}
        free = {row.subject_id for row in await due_records(connection, ACME, NOW, told, limit=9)}
        counts = [await count_due(connection, ACME, NOW, which) for which in (where, told)]
        transient = await count_due(connection, ACME, NOW, replace(told, transient=["call-detail"]))
        await place_everywhere(connection)
        left = await has_due(connection, ACME, NOW, told)

    assert (both, free) == ({"anna", "boris"}, {"boris"})
    assert (counts, transient) == ([2, 1], 2)
    assert not left


async def place_everywhere(connection: Connection) -> None:
    await insert_hold(connection, ACME, replace(HOLD, hold_id="all"), (EVERYTHING,))


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_a_hold_waits_for_who_destroys_in_its_tenant_and_for_nobody_elses(database: Database) -> None:
    """E4. On SQLite every writing transaction is alone anyway."""
    placed = asyncio.Event()

    async def hold(tenant: str) -> None:
        async with database.write() as connection:
            await place_alone(connection, tenant)
            await insert_hold(connection, tenant, HOLD, (EVERYTHING,))

    async def waiting() -> None:
        await hold(ACME)
        placed.set()

    async with database.write() as connection:
        await delay_holds(connection, ACME)
        await hold(BETA)
        task = asyncio.create_task(waiting())
        for _ in range(10_000):
            if await waits(database):
                break
        did_wait = await waits(database)
        seen = await has_live_holds(connection, ACME, NOW)
        was_placed = placed.is_set()
    await task

    async with database.write() as connection:
        await delay_holds(connection, ACME)
        now_seen = await has_live_holds(connection, ACME, NOW)
    assert (did_wait, seen, was_placed, now_seen) == (True, False, False, True)


async def waits(database: Database) -> bool:
    """Whether somebody waits for an advisory lock of this database."""
    async with database.read() as connection:
        query = (
            select(func.count())
            .select_from(text("pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"))
            .where(text("locktype = 'advisory' AND NOT granted AND datname = current_database()"))
        )
        return bool((await connection.execute(query)).scalar_one())
