"""What a correction replaced: kept sealed for thirty days, told to the person alone, and gone with whatever it is part of (L14)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.builders import PHONE, asked, contact, create, entries, erase, find, id_of, not_revealed, rows, sought, subject_of
from tests.faults import quiet
from tests.holds import officer_of, place, release, wanted
from tests.retaining import changing, swept
from tests.rotating import advanced, asked_for, started
from tests.scenarios.test_subject_export import categories, exported, given_officer, on_request, request_of, visitor
from tests.serving import Serving, why
from vault.store import tables
from vault.store.tables import replaced_values
from vault.v1.resources_pb2 import Record
from vault.v1.vault_service_pb2 import DeleteRecordRequest

WRONG, RIGHT, NEWER = PHONE, "+972502345675", "+972502345676"
DAY = timedelta(days=1)


async def given_corrected(served: Serving) -> Record:
    """An end customer whose number was corrected."""
    await served.create_tenants("acme")
    await quiet(served)
    app = served.service("acme-app")
    stored = await create(app, contact(WRONG, email="dana@example.com"))
    return (await app.call(app.records.UpdateRecord, changing(stored.name, {"phone": RIGHT}))).record


async def kept(served: Serving) -> int:
    return (await rows(served, replaced_values))[0]


async def test_the_person_is_told_for_thirty_days_what_stood_there_before(served: Serving) -> None:
    """L14: in their own copy, each correction with its end, and nothing that was not replaced; found by nobody, and forgotten with an entry."""
    officer = await given_officer(served)
    await quiet(served)
    app = served.service("acme-app")
    name = (await create(app, visitor(phone=WRONG, name="דנה"))).name
    because = on_request(await request_of(officer, subject_of(name), kind="RECTIFICATION"))
    await officer.call(officer.records.UpdateRecord, changing(name, {"phone": RIGHT, "name": "דנה"}, because))
    served.clock.offset += 10 * DAY
    # A token lasts an hour.
    officer = served.person("e-officer", "privacy-officer")
    await officer.call(officer.records.UpdateRecord, changing(name, {"phone": NEWER}, because))

    early = categories(await exported(officer, subject_of(name)))["site-visitor"]["records"]
    served.clock.offset += 21 * DAY
    officer = served.person("e-officer", "privacy-officer")
    later = categories(await exported(officer, subject_of(name)))["site-visitor"]["records"]
    await swept(served)

    assert [(found.get("phone"), found.get("name"), "replaced_until" in found) for found in early] == [
        (NEWER, "דנה", False),
        (WRONG, None, True),
        (RIGHT, None, True),
    ]
    assert [found.get("phone") for found in later] == [NEWER, RIGHT]
    assert await kept(served) == 1
    [forgotten] = [entry for entry in await entries(served) if entry.operation == "retain"]
    assert (forgotten.category, list(forgotten.records), forgotten.rule) == ("site-visitor", [id_of(name)], "replaced-values")


async def test_nothing_leads_to_what_was_replaced(served: Serving) -> None:
    """L14, I3: no index; and put where the newest value stands, it does not open."""
    stored = await given_corrected(served)
    app = served.service("acme-app")

    assert list(await find(app, sought("phone", WRONG))) == []
    async with served.vault.database.write() as connection:
        sealed = (await connection.execute(select(replaced_values.c.sealed))).scalar_one()
        await connection.execute(update(tables.record_parts).values(sealed=sealed))
    assert WRONG.encode() not in sealed
    assert (await not_revealed(app, asked(stored.name, "phone"))).reason == "CIPHERTEXT_INVALID"


async def deleted(served: Serving, stored: Record) -> None:
    admin = served.service("acme-app")
    await admin.call(admin.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=why()))


async def erased(served: Serving, stored: Record) -> None:
    await erase(served, subject_of(stored.name))


async def key_replaced(served: Serving, stored: Record) -> None:
    await started(served, asked_for("SUBJECT", subject=subject_of(stored.name)))
    await advanced(served)


@pytest.mark.parametrize("ending", [deleted, erased, key_replaced])
async def test_it_goes_with_whatever_it_is_part_of(served: Serving, ending: Callable[[Serving, Record], Awaitable[None]]) -> None:
    """L14, L43: the record, the person, and their key."""
    stored = await given_corrected(served)
    before = await kept(served)

    await ending(served, stored)

    assert (before, await kept(served)) == (1, 0)


async def test_a_hold_keeps_it_until_the_hold_ends(served: Serving) -> None:
    """A18: what is held stays as it was."""
    stored = await given_corrected(served)
    served.clock.offset += 20 * DAY
    placed = await place(await officer_of(served), wanted(subject_of(stored.name)))

    served.clock.offset += 11 * DAY
    await swept(served)
    held = await kept(served)
    await release(await officer_of(served), placed)
    await swept(served)

    assert (held, await kept(served)) == (1, 0)
