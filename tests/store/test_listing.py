"""Who is in a list, as records tell; another tenant's tell nothing (I11)."""

from collections.abc import Mapping
from typing import Any

from tests.store.rows import ACME, BETA, END, Stored, record, store
from vault.store.database import Database
from vault.store.listing import Listed, back_in_list, contacts_of, listed_people

WHICH = Listed({"end-customer-contact"}, {"list-membership", "list-profile"})


def contact(person: str, *, list_id: str = "", clock: bool = False) -> Stored:
    times: Mapping[str, Any] = {"expire_time": END, "due_time": END} if clock else {}
    return record({"subject": person}, category="end-customer-contact", list_id=list_id, **times)


def membership(person: str) -> Stored:
    return record({"subject": person}, category="list-membership", list_id="spring")


async def test_in_a_list_is_whoever_something_is_kept_for_a_list_of(database: Database) -> None:
    people = ["member", "stored into one", "in none", "called"]
    call = record({"customer": "called"}, category="call-detail", list_id="")
    await store(database, contact("member"), membership("member"), contact("stored into one", list_id="spring"), contact("in none"), call)

    async with database.read() as connection:
        found = await listed_people(connection, ACME, people, WHICH)
        nobody = await listed_people(connection, ACME, [], WHICH)

    assert found == {"member", "stored into one"}
    assert nobody == frozenset()


async def test_contacts_are_a_persons_own_and_outside_lists(database: Database) -> None:
    mine, also = contact("anna"), contact("anna", clock=True)
    await store(database, mine, also, contact("anna", list_id="spring"), contact("ben"), membership("anna"))

    async with database.write() as connection:
        found = await contacts_of(connection, ACME, "anna", WHICH)

    assert [row.record_id for row in found] == sorted([mine.row.record_id, also.row.record_id])


async def test_a_clock_that_runs_although_the_person_is_in_a_list_is_found(database: Database) -> None:
    back, out, calm = contact("back", clock=True), contact("out", clock=True), contact("calm")
    await store(database, back, membership("back"), out, calm, membership("calm"))

    async with database.read() as connection:
        found = await back_in_list(connection, ACME, WHICH, limit=10)

    assert [row.record_id for row in found] == [back.row.record_id]


async def test_another_tenants_lists_tell_nothing(database: Database) -> None:
    """I11."""
    await store(database, contact("anna", clock=True))
    await store(database, membership("anna"), tenant=BETA)

    async with database.read() as connection:
        assert await back_in_list(connection, ACME, WHICH, limit=10) == []
        assert await listed_people(connection, ACME, ["anna"], WHICH) == frozenset()
        assert await contacts_of(connection, BETA, "anna", WHICH) == []
