"""A contact is kept while it is in a list and 30 days more, to the minute; one that comes back stays (§2B: C01)."""

import asyncio
from datetime import timedelta

import pytest

from tests.builders import PHONE, contact, create, entries, profile, record, subject_of
from tests.faults import quiet
from tests.holds import officer_of, place, release, wanted
from tests.retaining import DAY, MINUTE, ends, swept
from tests.serving import Serving, why
from vault.operations import retain
from vault.operations.upkeep import upkeep_caller
from vault.v1.resources_pb2 import Record
from vault.v1.vault_service_pb2 import DeleteRecordRequest, RecordInput

ORPHANED = timedelta(days=30)


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    await served.create_tenants("acme")
    return served


def membership(person: str, list_id: str = "spring") -> RecordInput:
    return record("list-membership", {"list_id": list_id, "source": "WEB"}, subject=person, list_id=list_id)


async def member(served: Serving, *lists: str) -> tuple[Record, list[Record]]:
    """A contact, and its memberships of some lists."""
    app = served.service("acme-app")
    stored = await create(app, contact(PHONE))
    return stored, [await create(app, membership(subject_of(stored.name), list_id)) for list_id in lists]


async def delete(served: Serving, name: str) -> None:
    app = served.service("acme-app")
    await app.call(app.records.DeleteRecord, DeleteRecordRequest(name=name, justification=why()))


async def test_a_contact_goes_thirty_days_after_it_left_its_last_list(served: Serving) -> None:
    """The minute before it is there; leaving one of two lists counts for nothing; twice changes nothing."""
    stored, (spring, summer) = await member(served, "spring", "summer")
    await delete(served, spring.name)
    in_one = await ends(served, stored.name)
    left = served.clock()

    await delete(served, summer.name)

    counted = await ends(served, stored.name)
    early = await swept(served, at_moment=left + ORPHANED - MINUTE)
    late = await swept(served, at_moment=left + ORPHANED + MINUTE)
    assert in_one is None
    assert counted is not None
    assert left + ORPHANED <= counted < left + ORPHANED + MINUTE
    assert (early, late, await swept(served)) == ({}, {"end-customer-contact": 1}, {})


async def test_a_contact_that_was_in_no_list_or_is_in_one_stays(served: Serving) -> None:
    """One that was stored into a list is in it until it is deleted itself, whatever else of the person goes."""
    app = served.service("acme-app")
    never = await create(app, contact("+972502345670"))
    into = await create(app, contact(PHONE, list_id="spring"))
    beside = await create(app, profile(subject_of(into.name), list_id="summer", first_name="Dana"))
    await delete(served, beside.name)

    erased = await swept(served, at_moment=served.clock() + 3650 * DAY)

    assert (erased, await ends(served, never.name), await ends(served, into.name)) == ({}, None, None)


async def test_what_else_is_kept_for_a_list_keeps_the_contact(served: Serving) -> None:
    """C03: what a list says of a person is of no use without them."""
    app = served.service("acme-app")
    stored, (spring,) = await member(served, "spring")
    said = await create(app, profile(subject_of(stored.name), first_name="Dana"))

    await delete(served, spring.name)
    with_profile = await ends(served, stored.name)
    await delete(served, said.name)

    assert with_profile is None
    assert await ends(served, stored.name) is not None


async def test_a_contact_that_is_in_a_list_again_has_no_clock_and_is_counted_anew_when_it_leaves(served: Serving) -> None:
    app = served.service("acme-app")
    stored, (spring,) = await member(served, "spring")
    await delete(served, spring.name)
    served.clock.offset += 20 * DAY
    again = await create(app, membership(subject_of(stored.name)))

    before = len(await entries(served))
    first, second = await swept(served), await swept(served)
    back = await ends(served, stored.name)
    longer = await swept(served, at_moment=served.clock() + 400 * DAY)
    left = served.clock()
    await delete(served, again.name)

    assert (first, second, longer, back) == ({}, {}, {}, None)
    assert len([entry for entry in (await entries(served))[before:] if entry.operation == "retain"]) == 0
    assert await swept(served, at_moment=left + ORPHANED - MINUTE) == {}
    assert await swept(served, at_moment=left + ORPHANED + MINUTE) == {"end-customer-contact": 1}


async def test_nothing_goes_that_is_in_a_list_although_its_clock_was_not_stopped_yet(served: Serving) -> None:
    """Harm: a person who was put into a list again in the last hour of the clock would have been taken out of it."""
    app, database = served.service("acme-app"), served.vault.database
    stored, (spring,) = await member(served, "spring")
    await delete(served, spring.name)
    served.clock.offset += ORPHANED - MINUTE
    await create(app, membership(subject_of(stored.name)))
    served.clock.offset += 2 * MINUTE
    retain._next_turn.pop(database, None)
    # Lists and registers were looked at a moment ago.
    retain._next_registers[database] = float("inf")

    await retain.sweep(served.vault, upkeep_caller())

    assert await ends(served, stored.name) is None


async def test_the_background_takes_the_clock_away_by_itself(served: Serving) -> None:
    app, database = served.service("acme-app"), served.vault.database
    stored, (spring,) = await member(served, "spring")
    await delete(served, spring.name)
    await create(app, membership(subject_of(stored.name)))
    for known in (retain._next_turn, retain._next_registers):
        known.pop(database, None)

    await retain.sweep(served.vault, upkeep_caller())

    assert await ends(served, stored.name) is None


async def test_a_contact_that_is_held_stays_and_goes_with_the_release(served: Serving) -> None:
    """A18, N2: the clock runs on beneath the hold."""
    stored, (spring,) = await member(served, "spring")
    await delete(served, spring.name)
    served.clock.offset += 15 * DAY
    held = await place(await officer_of(served), wanted(records=[stored.name]))

    early = await swept(served, at_moment=served.clock() + 16 * DAY)
    await release(await officer_of(served), held)

    assert (early, await swept(served)) == ({}, {"end-customer-contact": 1})


async def test_of_two_who_delete_the_last_two_memberships_one_starts_the_clock(served: Serving) -> None:
    """Harm: each saw the other's membership, and the contact would have stayed for ever."""
    members = [await member(served, "spring", "summer") for _ in range(4)]

    await asyncio.gather(*(delete(served, each.name) for _, both in members for each in both))

    assert None not in [await ends(served, stored.name) for stored, _ in members]
