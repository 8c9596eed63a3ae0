"""Role grants: which roles a person gains and loses by them, and reviews of the list."""

from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import select

from tests.store.rows import HOUR, MICROSECOND, NOW
from vault.store import tables
from vault.store.database import Database
from vault.store.role_grants import (
    AccessReviewRow,
    RoleGrantRow,
    attest_grants,
    get_grant,
    grants_in_force,
    insert_review,
    list_grants,
    put_grant,
    role_changes,
)

GRANT = RoleGrantRow(
    principal="people/e-1",
    role="auditor",
    granted_by="people/e-granter",
    grant_time=NOW,
    expire_time=None,
    revoked_by="",
    revoke_time=None,
    attested_by="",
    attest_time=None,
)
LIMITED = replace(GRANT, role="support", expire_time=NOW + HOUR)
REVOKED = replace(GRANT, role="operator", revoked_by="people/e-revoker", revoke_time=NOW)
OTHERS = replace(GRANT, principal="people/e-2", role="billing")
REVIEW = AccessReviewRow("review", "digest", 2, "people/e-reviewer", NOW)


async def put(database: Database, *rows: RoleGrantRow) -> None:
    async with database.write() as connection:
        for row in rows:
            await put_grant(connection, row)


async def changes(database: Database, at: datetime, principal: str = "people/e-1") -> tuple[set[str], set[str]]:
    async with database.read() as connection:
        granted, revoked = await role_changes(connection, principal, at)
    return set(granted), set(revoked)


async def test_a_grant_comes_back_as_it_was_stored_and_a_newer_word_replaces_it(database: Database) -> None:
    await put(database, GRANT, replace(REVOKED, role="auditor"))

    async with database.read() as connection:
        found = [await get_grant(connection, "people/e-1", role) for role in ("auditor", "support")]

    assert found == [replace(REVOKED, role="auditor"), None]


@pytest.mark.parametrize(("at", "is_held"), [(NOW, True), (NOW + HOUR - MICROSECOND, True), (NOW + HOUR, False)])
async def test_a_grant_is_in_force_until_it_expires(database: Database, at: datetime, is_held: bool) -> None:
    """L2."""
    await put(database, LIMITED)

    assert await changes(database, at) == ({"support"} if is_held else set(), set())


async def test_a_revocation_takes_the_role_whatever_the_clock_says(database: Database) -> None:
    """L2: a worker whose clock is behind the revoker's knows it too."""
    await put(database, GRANT, REVOKED, OTHERS)

    assert await changes(database, NOW - HOUR) == ({"auditor"}, {"operator"})
    assert await changes(database, NOW, "people/e-2") == ({"billing"}, set())
    assert await changes(database, NOW, "people/e-3") == (set(), set())
    assert await changes(database, NOW, "") == (set(), set())


async def test_a_role_that_was_revoked_is_taken_again_when_a_later_grant_ends(database: Database) -> None:
    """L2: a week's grant does not undo a revocation for good."""
    await put(database, replace(LIMITED, revoked_by="people/e-revoker"))

    assert await changes(database, NOW) == ({"support"}, set())
    assert await changes(database, NOW + HOUR) == (set(), {"support"})


async def test_the_list_is_sorted_and_read_a_page_at_a_time(database: Database) -> None:
    everything = [GRANT, REVOKED, LIMITED, OTHERS]
    await put(database, *reversed(everything))

    async with database.read() as connection:
        first = await list_grants(connection, principal="", after=("", ""), limit=3)
        rest = await list_grants(connection, principal="", after=(first[-1].principal, first[-1].role), limit=3)
        one = await list_grants(connection, principal="people/e-2", after=("", ""), limit=3)
        in_force = await grants_in_force(connection, NOW + HOUR)
        hers = await grants_in_force(connection, NOW, principal="people/e-1")

    assert [*first, *rest] == everything
    assert one == [OTHERS]
    assert in_force == [GRANT, OTHERS]
    assert hers == [GRANT, LIMITED]


async def test_a_review_attests_what_is_in_force_and_nothing_else(database: Database) -> None:
    """L2."""
    await put(database, GRANT, REVOKED, LIMITED, OTHERS)

    async with database.write() as connection:
        await attest_grants(connection, NOW + HOUR, attested_by="people/e-reviewer")
        rows = await list_grants(connection, principal="", after=("", ""), limit=9)

    assert [row.role for row in rows if row.attest_time == NOW + HOUR and row.attested_by == "people/e-reviewer"] == ["auditor", "billing"]
    assert [row.attested_by for row in rows].count("") == 2


async def test_a_review_is_kept_as_it_was_stored(database: Database) -> None:
    async with database.write() as connection:
        await insert_review(connection, REVIEW)
        row = (await connection.execute(select(tables.access_reviews))).one()

    assert row == ("system", "review", "digest", 2, "people/e-reviewer", NOW)
