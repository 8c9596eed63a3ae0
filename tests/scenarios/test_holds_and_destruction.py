"""What destroys records spares those that are held, whatever comes at the same time (E4, E13, P3.2-lvl-files-off, P3.4-rec, §5.4 step 2)."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import asked, call_detail, contact, create, entries, id_of, outgoing, record, reveal, sent, subject_of
from tests.faults import quiet
from tests.holds import claim, officer_of, place, release, wanted
from tests.serving import Serving, why
from vault.client.errors import CallError
from vault.operations.readiness import readiness
from vault.store import records as record_store
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.resources_pb2 import ContentLevel, Record, Tenant
from vault.v1.tenant_service_pb2 import UpdateTenantRequest
from vault.v1.vault_service_pb2 import ConfirmDeliveryRequest, DeleteRecordRequest, GetRecordRequest, RecordInput

DAY = timedelta(days=1)
REPORT = why("customer-report", reason="the customer looks at the reactions to its messages")
# Pairs of a hold and what destroys, at once.
RACES = 12


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    return served


async def run(served: Serving) -> dict[str, int]:
    """Sweep until nothing is due."""
    operator = served.service("operator")
    return dict((await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))).erased_counts)


async def person_of(served: Serving, phone: str = "+972502345678") -> str:
    return subject_of((await create(served.service("acme-app"), contact(phone))).name)


def click(subject: str) -> RecordInput:
    fields = {"event_id": "e-1", "message_id": "m-1", "kind": "click", "at": "2026-03-02T08:15:00Z", "user_agent": "Firefox"}
    return record("interaction-event", {**fields, "ip": "198.51.100.7"}, subject=subject)


async def is_there(served: Serving, stored: Record) -> bool:
    """Whether a record exists."""
    async with served.vault.database.read() as connection:
        return await record_store.get_record(connection, "acme", id_of(stored.name)) is not None


async def unless_held(destroying: Awaitable[object]) -> None:
    """Destroy something that may be held by now."""
    try:
        await destroying
    except CallError as error:
        if error.reason != "LEGAL_HOLD":
            raise


async def switch_off_files(served: Serving) -> None:
    admin = served.service("acme-admin")
    tenant = Tenant(name="tenants/acme", content_levels=[ContentLevel(level="system-file", enabled=False)])
    await admin.call(admin.tenants.UpdateTenant, UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=["content_levels"])))


async def test_what_is_due_and_held_goes_with_the_first_sweep_after_the_release(served: Serving) -> None:
    """Its neighbours go in time; the held one is not overdue while it is held."""
    await served.create_tenants()
    officer, engine = await officer_of(served), served.service("engine")
    person = await person_of(served)
    kept, free = [await create(engine, outgoing(person, "system-log")) for _ in range(2)]
    placed = await place(officer, claim(served, records=[kept.name]))

    served.clock.offset = 40 * DAY
    first = await run(served)
    again = await run(served)
    there = [await is_there(served, item) for item in (kept, free)]
    findings = (await readiness(served.vault)).findings
    await release(await officer_of(served), placed)
    after = await run(served)

    assert (first, again) == ({"outgoing-message": 1}, {})
    assert there == [True, False]
    assert not any(finding.startswith("RETENTION_OVERDUE") for finding in findings)
    assert after == {"outgoing-message": 1}
    assert not await is_there(served, kept)


async def test_what_a_letter_held_goes_after_thirty_days_by_the_clock_alone(served: Serving) -> None:
    """A18: nobody has to release it."""
    await served.create_tenants()
    officer, engine = await officer_of(served), served.service("engine")
    person = await person_of(served)
    stored = await create(engine, outgoing(person, "system-log"))
    await place(officer, wanted(person))

    served.clock.offset = 29 * DAY
    early = await run(served)
    served.clock.offset = 31 * DAY
    late = await run(served)

    assert (early, late) == ({}, {"outgoing-message": 1})
    assert not await is_there(served, stored)


async def test_a_field_that_is_due_stays_in_a_record_that_is_held(served: Serving) -> None:
    """A13: an address is evidence too."""
    await served.create_tenants()
    officer, engine, admin = await officer_of(served), served.service("engine"), served.service("acme-admin")
    person = await person_of(served)
    await create(engine, sent(person, served.clock()))
    event = await create(engine, click(person))
    placed = await place(officer, wanted(person, categories=["interaction-event"]))

    await run(served)
    whole = await reveal(admin, asked(event.name, "ip", because=REPORT))
    await release(officer, placed)
    await run(served)
    shown = (await admin.call(admin.records.GetRecord, GetRecordRequest(name=event.name))).record

    assert whole.fields["ip"].text == "198.51.100.7"
    assert list(shown.field_names) == ["user_agent"]


async def test_content_of_a_level_that_is_switched_off_stays_while_it_is_held(served: Serving) -> None:
    """E13, P3.2-lvl-files-off: what exists is kept, nothing new is stored."""
    await served.create_tenants()
    officer, engine = await officer_of(served), served.service("engine")
    person, other = await person_of(served), await person_of(served, "+972502345679")
    kept, free = [await create(engine, outgoing(subject, "system-file")) for subject in (person, other)]
    placed = await place(officer, claim(served, person))

    await switch_off_files(served)
    first = await run(served)
    with pytest.raises(CallError) as new:
        await create(engine, outgoing(person, "system-file"))
    there = [await is_there(served, item) for item in (kept, free)]
    await release(officer, placed)
    second = await run(served)

    assert first == {"outgoing-message": 1}
    assert there == [True, False]
    assert new.value.reason == "CONTENT_NOT_RETAINED"
    assert second == {"outgoing-message": 1}


async def test_a_call_goes_for_nobody_while_one_party_is_held(served: Serving) -> None:
    await served.create_tenants()
    officer = await officer_of(served)
    call = await create(served.service("billing"), call_detail())
    held = next(party.subject for party in call.parties if party.subject != subject_of(call.name))
    await place(officer, claim(served, held))

    served.clock.offset = 2600 * DAY

    assert await run(served) == {}
    assert await is_there(served, call)


async def test_a_recording_on_its_way_is_kept_by_no_hold(served: Serving) -> None:
    """P3.4-rec, C21: what is not kept once it is sent, and for a day at most, cannot be preserved either."""
    await served.create_tenants()
    officer, num2 = await officer_of(served), served.service("num2")
    person = await person_of(served)
    fields: dict[str, str | bytes] = {"rec_id": "r-1", "audio": b"sound", "delivery_target": "dana@example.com"}
    sent, left = [await create(num2, record("call-recording", fields, subject=person)) for _ in range(2)]
    await place(officer, claim(served, person))
    await place(officer, claim(served))

    await num2.call(num2.records.ConfirmDelivery, ConfirmDeliveryRequest(name=sent.name))
    served.clock.offset = timedelta(hours=24, seconds=1)
    swept = await run(served)

    assert swept == {"call-recording": 1}
    for item in (sent, left):
        assert (await num2.refused(num2.records.GetRecord, GetRecordRequest(name=item.name))).reason == "RECORD_NOT_FOUND"


@pytest.mark.parametrize("on_everybody", [False, True], ids=["on the person", "on everybody"])
@pytest.mark.parametrize("by", ["sweep", "deletion"])
async def test_a_hold_and_what_destroys_come_at_once_and_the_first_commit_wins(served: Serving, by: str, on_everybody: bool) -> None:
    """E4: nothing that is held at its commit is destroyed after it; what was destroyed before stays so. The log's order is the order of commits."""
    await served.create_tenants()
    officer, app, engine = await officer_of(served), served.service("acme-app"), served.service("engine")
    deleting = why(reason="the customer asked to take it off the list")
    category = "outgoing-message" if by == "sweep" else "end-customer-contact"
    outcomes = []
    for number in range(RACES):
        own = await create(app, contact(f"+97250234{number:04}"))
        person = subject_of(own.name)
        stored = await create(engine, outgoing(person, "system-log")) if by == "sweep" else own
        served.clock.offset = (number + 1) * 10 * DAY
        officer = served.person("e-legal", "legal-officer")
        request = claim(served, categories=[category]) if on_everybody else claim(served, person)
        destroying: Awaitable[object] = (
            run(served)
            if by == "sweep"
            else app.call(app.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=deleting))
        )

        pair = (place(officer, request), unless_held(destroying))
        answers = await asyncio.gather(*(pair if number % 2 else pair[::-1]))
        [hold] = [answer for answer in answers if answer is not None]
        there = await is_there(served, stored)
        logged = list(await entries(served))
        destroyed = [
            index
            for index, entry in enumerate(logged)
            if entry.operation in {"retain", "delete"} and entry.decision == "ALLOWED" and id_of(stored.name) in entry.records
        ]
        [held_from] = [index for index, entry in enumerate(logged) if id_of(hold.name).encode() in entry.content]
        outcomes.append((there, all(index < held_from for index in destroyed), len(destroyed)))
        await release(officer, hold)
        await run(served)

    assert set(outcomes) <= {(True, True, 0), (False, True, 1)}
