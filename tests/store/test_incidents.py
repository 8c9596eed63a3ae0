"""Incidents: how they are found, and when a review of one is owed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.store.rows import ACME, BETA, HOUR, MICROSECOND, NOW, record, store
from vault.store.database import Database
from vault.store.incidents import (
    IncidentRow,
    get_incident,
    insert_incident,
    list_incidents,
    one_business_day_after,
    overdue_reviews,
    subject_states,
    update_incident,
    use_incident,
)

OPENER = "people/e-opener"
INCIDENT = IncidentRow(
    incident_id="incident",
    kind="SECURITY",
    summary=b"sealed",
    subjects=["anna"],
    opened_by=OPENER,
    approved_by="",
    approve_time=None,
    create_time=NOW,
    expire_time=NOW + 72 * HOUR,
    close_time=None,
    use_time=None,
    review_due_time=None,
    reviewed_by="",
    review_time=None,
    finding=b"",
)
# NOW is a Monday.
DUE = NOW + 24 * HOUR


async def insert(database: Database, *rows: IncidentRow, tenant: str = ACME) -> None:
    async with database.write() as connection:
        for row in rows:
            await insert_incident(connection, tenant, row)


async def use(database: Database, *, at: datetime = NOW, incident: str = "incident") -> IncidentRow:
    async with database.write() as connection:
        await use_incident(connection, ACME, incident, at)
    return await stored(database, incident)


async def review(database: Database, *, at: datetime) -> IncidentRow:
    row = replace(await stored(database), reviewed_by="people/e-reviewer", review_time=at, finding=b"nothing")
    async with database.write() as connection:
        await update_incident(connection, ACME, row)
    return row


async def stored(database: Database, incident: str = "incident") -> IncidentRow:
    async with database.read() as connection:
        row = await get_incident(connection, ACME, incident)
    assert row is not None
    return row


async def is_overdue(database: Database, *, at: datetime, tenant: str = ACME, principal: str = OPENER) -> bool:
    async with database.read() as connection:
        return await overdue_reviews(connection, tenant, principal, at)


async def test_an_incident_comes_back_as_it_was_stored_and_to_its_tenant_only(database: Database) -> None:
    await insert(database, INCIDENT)

    async with database.read() as connection:
        found = [await get_incident(connection, tenant, "incident", lock=True) for tenant in (ACME, BETA)]

    assert found == [INCIDENT, None]


async def test_incidents_are_listed_by_id_a_page_at_a_time(database: Database) -> None:
    rows = [replace(INCIDENT, incident_id=name) for name in "abc"]
    await insert(database, *rows)
    await insert(database, INCIDENT, tenant=BETA)

    async with database.read() as connection:
        pages = [await list_incidents(connection, ACME, after=after, limit=2) for after in ("", "b", "c")]

    assert pages == [rows[:2], rows[2:], []]


async def test_the_first_use_of_a_security_incident_makes_its_review_due(database: Database) -> None:
    """P3.6-sectech: later uses move nothing."""
    await insert(database, INCIDENT)

    used = await use(database)
    again = await use(database, at=NOW + HOUR)

    assert (used.use_time, used.review_due_time, used.is_review_due) == (NOW, DUE, True)
    assert again == used


@pytest.mark.parametrize("kind", ["TECHNICAL", "FRAUD"])
async def test_the_use_of_another_incident_is_noted_and_makes_no_review_due(database: Database, kind: str) -> None:
    await insert(database, replace(INCIDENT, kind=kind))

    used = await use(database)

    assert (used.use_time, used.review_due_time, used.is_review_due) == (NOW, None, False)


async def test_the_use_of_an_incident_that_is_not_there_is_nothing(database: Database) -> None:
    async with database.write() as connection:
        await use_incident(connection, ACME, "incident", NOW)

    assert not await is_overdue(database, at=NOW + 720 * HOUR)


async def test_a_review_is_overdue_from_its_time_on_for_the_opener_in_that_tenant(database: Database) -> None:
    """P3.6-sectech."""
    await insert(database, INCIDENT)
    await use(database)

    late = {at: await is_overdue(database, at=at) for at in (DUE - MICROSECOND, DUE)}

    assert late == {DUE - MICROSECOND: False, DUE: True}
    assert not await is_overdue(database, at=DUE, tenant=BETA)
    assert not await is_overdue(database, at=DUE, principal="people/e-other")


async def test_a_review_in_time_or_late_ends_what_is_owed_and_a_use_after_it_owes_another(database: Database) -> None:
    """P3.6-sectech: no use stays unseen because an earlier one was looked at."""
    await insert(database, INCIDENT)
    await use(database)
    reviewed = await review(database, at=DUE + HOUR)
    settled = await is_overdue(database, at=DUE + 2 * HOUR)

    used = await use(database, at=DUE + 3 * HOUR)

    assert not reviewed.is_review_due
    assert not settled
    assert used.is_review_due
    assert used.review_due_time == DUE + 27 * HOUR
    assert await is_overdue(database, at=DUE + 27 * HOUR)


async def test_a_use_by_a_worker_whose_clock_is_behind_still_counts_as_after_the_review(database: Database) -> None:
    await insert(database, INCIDENT)
    await use(database)
    await review(database, at=NOW + HOUR)

    used = await use(database, at=NOW + HOUR - MICROSECOND)

    assert used.is_review_due
    assert used.use_time == NOW + HOUR + MICROSECOND


async def test_the_state_of_people_is_known_for_those_of_the_tenant(database: Database) -> None:
    await store(database, record({"owner": "anna"}))
    await store(database, record({"owner": "ben"}), tenant=BETA)

    async with database.read() as connection:
        known = await subject_states(connection, ACME, ["anna", "ben"])
        of_nobody = await subject_states(connection, ACME, [])

    assert known == {"anna": "ACTIVE"}
    assert of_nobody == {}


@pytest.mark.parametrize(
    ("moment", "due"),
    [
        ("2026-11-22T08:00", "2026-11-23T08:00"),
        ("2026-11-25T08:00", "2026-11-26T08:00"),
        ("2026-11-26T08:00", "2026-11-29T08:00"),
        ("2026-11-27T08:00", "2026-11-29T08:00"),
        ("2026-11-28T08:00", "2026-11-29T08:00"),
        # It is Friday in Israel already.
        ("2026-11-26T22:00", "2026-11-28T22:00"),
    ],
    ids=["Sunday", "Wednesday", "Thursday", "Friday", "Saturday", "late on Thursday"],
)
def test_business_days_are_sunday_to_thursday_in_israel(moment: str, due: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)

    assert one_business_day_after(at) == datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert one_business_day_after(at.astimezone(timezone(timedelta(hours=-8)))) == one_business_day_after(at)
