"""Erasures, what they had to keep, and their certificates."""

from dataclasses import replace
from datetime import datetime

import pytest

from tests.store.rows import ACME, BETA, HOUR, NOW
from vault.store.database import Database
from vault.store.erasures import (
    Count,
    ErasureRow,
    ExceptionRow,
    certificates_of,
    delete_exceptions,
    due_exceptions,
    erasures_due,
    erasures_of_subject,
    erasures_under_way,
    exceptions_of,
    get_erasure,
    insert_certificate,
    insert_erasure,
    insert_exceptions,
    keeps_anything,
    list_erasures,
    next_due,
    replace_exceptions,
    requeue,
    update_erasure,
)

ERASURE = ErasureRow(
    erasure_id="e1",
    subject_id="anna",
    state="REQUESTED",
    requester="desk",
    requester_kind="SUBJECT",
    reference="tenants/acme/subjectRequests/r1",
    approvers=(),
    required_approvals=2,
    keep_suppression=False,
    preview_digest="digest",
    preview=(Count("call-detail", "restricted", 2, "REGULATORY_TELECOM", NOW.isoformat()), Count("site-visitor", "erased", 1)),
    outcomes=(),
    request_time=NOW,
)
KEPT = ExceptionRow("r1", "caller", "e1", "anna", "call-detail", "REGULATORY_TELECOM", NOW + HOUR, NOW + HOUR)


async def insert(database: Database, *rows: ErasureRow, tenant: str = ACME) -> None:
    async with database.write() as connection:
        for row in rows:
            await insert_erasure(connection, tenant, row)


async def keep(database: Database, *rows: ExceptionRow, tenant: str = ACME) -> None:
    async with database.write() as connection:
        await insert_exceptions(connection, tenant, rows)


async def due(database: Database, now: datetime, *, erasure: str = "e1", limit: int = 10) -> list[ExceptionRow]:
    async with database.read() as connection:
        return await due_exceptions(connection, ACME, erasure, now, limit=limit)


async def test_an_erasure_is_found_by_its_id_and_by_its_subject(database: Database) -> None:
    await insert(database, ERASURE)

    async with database.write() as connection:
        found = [
            await get_erasure(connection, ACME, "e1"),
            await get_erasure(connection, ACME, "e1", lock=True),
            *await erasures_of_subject(connection, ACME, "anna"),
        ]

    assert found == [ERASURE] * 3


async def test_another_tenants_erasure_is_not_there(database: Database) -> None:
    await insert(database, ERASURE, tenant=BETA)

    async with database.read() as connection:
        found = await get_erasure(connection, ACME, "e1")
        listed = await erasures_of_subject(connection, ACME, "anna") + await list_erasures(connection, ACME, after="", limit=10)

    assert found is None
    assert listed == []


async def test_erasures_of_a_subject_come_the_newest_first(database: Database) -> None:
    """A forwarded one may be followed by the tenant's own instruction."""
    later = replace(ERASURE, erasure_id="e0", requester_kind="TENANT", request_time=NOW + HOUR)
    other = replace(ERASURE, erasure_id="e2", subject_id="ben")
    await insert(database, ERASURE, later, other)

    async with database.read() as connection:
        found = await erasures_of_subject(connection, ACME, "anna")

    assert found == [later, ERASURE]


async def test_a_changed_erasure_is_stored_whole_and_in_its_tenant_only(database: Database) -> None:
    await insert(database, ERASURE, tenant=ACME)
    await insert(database, ERASURE, tenant=BETA)
    changed = replace(
        ERASURE,
        state="PARTIAL",
        approvers=("people/e-1", "people/e-2"),
        keep_suppression=True,
        outcomes=ERASURE.preview,
        finish_time=NOW + HOUR,
        position="r1",
        kept_version=2,
        restricted_version=3,
    )

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


@pytest.mark.parametrize("state", ["REQUESTED", "RUNNING", "PENDING_KEY_DESTRUCTION", "PARTIAL", "COMPLETE", "FORWARDED"])
async def test_erasures_under_way_are_found_in_every_tenant(database: Database, state: str) -> None:
    await insert(database, replace(ERASURE, state=state), tenant=ACME)
    await insert(database, replace(ERASURE, erasure_id="e2", state="RUNNING"), tenant=BETA)

    async with database.read() as connection:
        found = await erasures_under_way(connection)

    assert sorted(found) == ([(ACME, "e1")] if state in {"RUNNING", "PENDING_KEY_DESTRUCTION"} else []) + [(BETA, "e2")]


# What had to stay


async def test_exceptions_are_due_at_their_time_by_record_and_role_and_in_batches(database: Database) -> None:
    """A4: at the moment itself, not a moment before; of this erasure and this tenant only."""
    twice = replace(KEPT, role="callee")
    later = replace(KEPT, record_id="r0", due_time=NOW + 2 * HOUR)
    await keep(database, later, KEPT, twice, replace(KEPT, record_id="r2", erasure_id="e2", due_time=NOW))
    await keep(database, replace(KEPT, record_id="r3", due_time=NOW), tenant=BETA)

    assert await due(database, NOW) == []
    assert await due(database, NOW + HOUR) == [twice, KEPT]
    assert await due(database, NOW + 2 * HOUR, limit=2) == [later, twice]
    async with database.read() as connection:
        assert sorted(await erasures_due(connection, NOW)) == [(ACME, "e2"), (BETA, "e1")]
        assert sorted(await erasures_due(connection, NOW + HOUR)) == [(ACME, "e1"), (ACME, "e2"), (BETA, "e1")]


async def test_noting_nothing_notes_nothing(database: Database) -> None:
    await keep(database)

    async with database.write() as connection:
        await replace_exceptions(connection, ACME, [])
        await delete_exceptions(connection, ACME, [])
        assert await next_due(connection, ACME, "e1") is None
        assert await erasures_due(connection, NOW) == []


async def test_exceptions_are_counted_by_category_and_basis_with_their_last_date(database: Database) -> None:
    """§6.5: a line has a date only if everything in it has one."""
    await keep(
        database,
        KEPT,
        replace(KEPT, record_id="r2", end_time=NOW + 3 * HOUR),
        replace(KEPT, record_id="r3", category="billing-record", basis="STATUTORY_TAX"),
        replace(KEPT, record_id="r4", category="billing-record", basis="STATUTORY_TAX", end_time=None),
        replace(KEPT, record_id="r5", erasure_id="e2"),
    )
    await keep(database, replace(KEPT, record_id="r6"), tenant=BETA)

    async with database.read() as connection:
        found = await exceptions_of(connection, ACME, "e1")

    billing, calls = found
    assert (billing.category, billing.outcome, billing.count, billing.basis, billing.until) == (
        "billing-record",
        "restricted",
        2,
        "STATUTORY_TAX",
        "",
    )
    assert (calls.category, calls.outcome, calls.count, calls.basis) == ("call-detail", "restricted", 2, "REGULATORY_TELECOM")
    assert datetime.fromisoformat(calls.until) == NOW + 3 * HOUR


async def test_the_next_time_is_the_first_of_an_erasures_own(database: Database) -> None:
    await keep(
        database, KEPT, replace(KEPT, record_id="r2", due_time=NOW + 2 * HOUR), replace(KEPT, record_id="r3", erasure_id="e2", due_time=NOW)
    )

    async with database.read() as connection:
        found = [await next_due(connection, tenant, "e1") for tenant in (ACME, BETA)]

    assert found == [NOW + HOUR, None]


async def test_whether_anything_of_a_subject_is_kept(database: Database) -> None:
    await keep(database, KEPT)

    async with database.read() as connection:
        found = [await keeps_anything(connection, *of) for of in ((ACME, "anna"), (ACME, "ben"), (BETA, "anna"))]

    assert found == [True, False, False]


async def test_another_exception_takes_the_place_of_one_party_only(database: Database) -> None:
    """§6.3: the record stays until the last exception ends."""
    beside = replace(KEPT, role="callee")
    await keep(database, KEPT, beside)
    await keep(database, KEPT, tenant=BETA)
    held = replace(KEPT, basis="LEGAL_HOLD", end_time=None, due_time=NOW + 9 * HOUR)

    async with database.write() as connection:
        await replace_exceptions(connection, ACME, [held])
        foreign = await next_due(connection, BETA, "e1")

    assert await due(database, NOW + 9 * HOUR) == [beside, held]
    assert foreign == NOW + HOUR


async def test_an_exception_that_is_over_is_forgotten_alone(database: Database) -> None:
    beside, other = replace(KEPT, role="callee"), replace(KEPT, record_id="r2")
    await keep(database, KEPT, beside, other)
    await keep(database, KEPT, tenant=BETA)

    async with database.write() as connection:
        await delete_exceptions(connection, ACME, [KEPT])
        foreign = await keeps_anything(connection, BETA, "anna")

    assert await due(database, NOW + HOUR) == [beside, other]
    assert foreign


async def test_what_a_hold_kept_is_looked_at_at_once_when_one_ended_and_nothing_else_is(database: Database) -> None:
    held = replace(KEPT, record_id="r2", basis="LEGAL_HOLD", end_time=None, due_time=NOW + 9 * HOUR)
    claimed = replace(held, record_id="r3", basis="LEGAL_CLAIM")
    await keep(database, KEPT, held, claimed)
    await keep(database, held, tenant=BETA)

    async with database.write() as connection:
        await requeue(connection, ACME, ["LEGAL_HOLD"], NOW)
        foreign = await next_due(connection, BETA, "e1")

    assert await due(database, NOW) == [replace(held, due_time=NOW)]
    assert foreign == NOW + 9 * HOUR


async def test_a_certificate_comes_before_its_supplements_and_stays_as_it_was_signed(database: Database) -> None:
    async with database.write() as connection:
        for number, note in ((2, "second\n"), (0, "first\n"), (1, "supplement\n")):
            await insert_certificate(connection, ACME, "e1", number=number, state="PARTIAL", note=note, now=NOW)
        await insert_certificate(connection, ACME, "e2", number=0, state="COMPLETE", note="another's\n", now=NOW)
        await insert_certificate(connection, BETA, "e1", number=0, state="COMPLETE", note="abroad\n", now=NOW)

        assert await certificates_of(connection, ACME, "e1") == ["first\n", "supplement\n", "second\n"]
        assert await certificates_of(connection, BETA, "e1") == ["abroad\n"]
        assert await certificates_of(connection, ACME, "e3") == []
