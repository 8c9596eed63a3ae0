"""Holds: who places and releases them, what they cover, how they end (§5.4, §6.3, A18, A29, I11)."""

import asyncio
from datetime import timedelta
from pathlib import Path

from tests.builders import (
    NEVER,
    OTHER_PHONE,
    PHONE,
    call_detail,
    contact,
    create,
    entries,
    entry_of,
    erase,
    id_of,
    outgoing,
    subject_of,
)
from tests.holds import because, claim, listed, not_placed, officer_of, place, release, wanted
from tests.orders import order_for, receive, register, team
from tests.serving import Caller, Serving, serving, why
from vault.client.errors import CallError
from vault.operations import hold as hold_operations
from vault.operations import upkeep
from vault.operations.readiness import readiness
from vault.v1.legal_service_pb2 import (
    HOLD_KIND_CLAIM,
    HOLD_KIND_ORDER,
    ListHoldsRequest,
    OrderScope,
    OrderTarget,
    PlaceHoldRequest,
    RejectOrderRequest,
    ReleaseHoldRequest,
)
from vault.v1.resources_pb2 import Record
from vault.v1.vault_service_pb2 import DeleteRecordRequest, UpdateRecordRequest

DAY = timedelta(days=1)
REQUEST_ID = "6f9619ff-8b86-4011-b42d-00c04fc964ff"


def by_identifier(*phones: str, start: str = "2026-03-01T00:00:00Z", end: str = "2026-03-08T00:00:00Z") -> PlaceHoldRequest:
    """A hold on the calls of numbers within a week."""
    request = wanted()
    targets = [OrderTarget(kind="phone", value=phone) for phone in phones]
    request.scope.CopyFrom(OrderScope(targets=targets, categories=["call-detail"]))
    request.scope.start_time.FromJsonString(start)
    request.scope.end_time.FromJsonString(end)
    return request


async def held(served: Serving, *names: str) -> list[bool]:
    """Whether each of the records is held now."""
    ids = [id_of(name) for name in names]
    async with served.vault.database.read() as connection:
        found = await hold_operations.held_records(served.vault, connection, "acme", ids)
    return [record_id in found for record_id in ids]


async def is_deletable(caller: Caller, record: Record) -> bool:
    """Whether a record can be deleted; it is, if it can."""
    request = DeleteRecordRequest(name=record.name, justification=why(reason="the customer asked to take it off the list"))
    try:
        await caller.call(caller.records.DeleteRecord, request)
    except CallError as error:
        if error.reason != "LEGAL_HOLD":
            raise
        return False
    return True


async def test_what_is_held_can_be_neither_changed_nor_deleted_until_it_is_released(served: Serving) -> None:
    """§5.4 step 2: also by its owner's own application, which learns that it is kept and nothing else."""
    await served.create_tenants()
    officer, app = await officer_of(served), served.service("acme-app")
    stored, other = await create(app, contact(PHONE)), await create(app, contact(OTHER_PHONE))
    change = UpdateRecordRequest(name=stored.name, justification=why())
    change.fields["email"].text = "dana@example.com"
    change.update_mask.paths.append("email")

    placed = await place(officer, wanted(subject_of(stored.name)))
    unchanged = await app.refused(app.records.UpdateRecord, change)
    undeleted = await is_deletable(app, stored)
    free = await is_deletable(app, other)
    await release(officer, placed)

    assert (unchanged.code.name, unchanged.reason) == ("FAILED_PRECONDITION", "LEGAL_HOLD")
    assert id_of(placed.name) not in str(unchanged)
    assert "order" not in str(unchanged).lower()
    assert not undeleted
    assert free
    await app.call(app.records.UpdateRecord, change)
    assert await is_deletable(app, stored)


async def test_a_hold_on_nobody_in_particular_covers_everybody_and_whoever_comes_later(served: Serving) -> None:
    await served.create_tenants()
    officer, app = await officer_of(served), served.service("acme-app")
    before = await create(app, contact(PHONE))
    await place(officer, wanted(categories=["end-customer-contact"]))
    later = await create(app, contact(OTHER_PHONE))
    call = await create(served.service("billing"), call_detail())

    assert await held(served, before.name, later.name, call.name) == [True, True, False]


async def test_a_hold_on_a_record_leaves_the_persons_other_records_free(served: Serving) -> None:
    await served.create_tenants()
    officer, engine = await officer_of(served), served.service("engine")
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    kept, free = [await create(engine, outgoing(person, "system-log")) for _ in range(2)]

    placed = await place(officer, claim(served, records=[kept.name]))

    assert await held(served, kept.name, free.name) == [True, False]
    assert list(placed.records) == [kept.name]
    assert list(placed.subjects) == []


async def test_a_call_is_held_by_either_of_its_parties_within_the_period_only(served: Serving) -> None:
    """A29: the period is when the call was, not when it was stored."""
    await served.create_tenants()
    officer, billing = await officer_of(served), served.service("billing")
    inside = await create(billing, call_detail(start="2026-03-01T00:00:00Z"))
    after = await create(billing, call_detail(start="2026-03-08T00:00:00Z"))
    before = await create(billing, call_detail(start="2026-02-28T23:59:59Z"))
    parties = {party.role: party.subject for party in inside.parties}

    for subject in parties.values():
        placed = await place(officer, wanted(subject, start="2026-03-01T00:00:00Z", end="2026-03-08T00:00:00Z"))
        seen = await held(served, inside.name, after.name, before.name)
        await release(officer, placed)

        assert seen == [True, False, False]
    assert len(parties) > 1
    assert await held(served, inside.name) == [False]


async def test_identifiers_are_resolved_when_the_hold_is_placed_and_not_kept(served: Serving) -> None:
    """I2, A29: the hold names people; whoever comes by the number later is not held."""
    await served.create_tenants()
    officer, billing = await officer_of(served), served.service("billing")
    call = await create(billing, call_detail(calling=PHONE, called=OTHER_PHONE))
    other = await create(billing, call_detail(calling="+972502345670", called="+972502345671"))

    placed = await place(officer, by_identifier("050-2345678"))
    unknown = await not_placed(officer, by_identifier("+972502345699"))

    assert set(placed.subjects) < {party.subject for party in call.parties}
    assert len(placed.subjects) == 1
    assert await held(served, call.name, other.name) == [True, False]
    assert unknown.reason == "SUBJECT_NOT_FOUND"
    assert not any(b"2345678" in entry.content for entry in await entries(served))


async def test_a_registered_order_holds_what_it_covers_until_it_is_rejected(served: Serving) -> None:
    """§5.4 step 2: a forged letter freezes nothing for long."""
    await served.create_tenants()
    people = await team(served)
    call = await create(served.service("billing"), call_detail())
    late = await create(served.service("billing"), call_detail(start="2026-03-09T00:00:00Z"))

    order = await receive(people, order_for(served, people))
    [hold] = await listed(served)
    while_registered = await held(served, call.name, late.name)
    await people.registrant.call(
        people.registrant.legal.RejectOrder, RejectOrderRequest(name=order.name, reason="the stamp is not the court's")
    )
    [released] = await listed(served)

    assert while_registered == [True, False]
    assert (hold.order, hold.kind, list(hold.categories)) == (order.name, HOLD_KIND_ORDER, ["call-detail"])
    assert hold.expire_time.ToDatetime() - hold.create_time.ToDatetime() == 30 * DAY
    assert released.released_by == "people/e-registrant"
    assert await held(served, call.name) == [False]
    assert [entry.operation for entry in await entries(served)][-4:] == ["register-order", "place-hold", "reject-order", "release-hold"]


async def test_an_order_that_names_nobody_holds_nothing(served: Serving) -> None:
    await served.create_tenants()
    people = await team(served)

    await register(people, order_for(served, people))

    assert await listed(served) == []


async def test_a_hold_for_an_order_is_placed_while_the_order_is_not_rejected(served: Serving) -> None:
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    end = served.clock() + 90 * DAY
    asked = wanted(kind=HOLD_KIND_ORDER, reference=order.name, until=end, categories=["call-detail"])

    placed = await place(people.registrant, asked)
    unknown = await not_placed(people.registrant, wanted(kind=HOLD_KIND_ORDER, reference=f"tenants/acme/orders/{NEVER}", until=end))
    foreign = order.name.replace("acme", "globex")
    elsewhere = await not_placed(people.registrant, wanted(kind=HOLD_KIND_ORDER, reference=foreign, until=end))
    no_order = await not_placed(people.registrant, wanted(kind=HOLD_KIND_ORDER, until=end))
    await people.registrant.call(
        people.registrant.legal.RejectOrder, RejectOrderRequest(name=order.name, reason="the stamp is not the court's")
    )
    rejected = await not_placed(people.registrant, asked)

    assert placed.order == order.name
    assert [error.reason for error in (unknown, elsewhere)] == ["ORDER_NOT_FOUND", "ORDER_NOT_FOUND"]
    assert no_order.reason == "REFERENCE_INVALID"
    assert (rejected.code.name, rejected.reason) == ("FAILED_PRECONDITION", "ORDER_REJECTED")
    assert [hold.HasField("release_time") for hold in await listed(served)] == [True]


async def test_a_letter_holds_for_thirty_days_and_a_claim_until_it_is_released(served: Serving) -> None:
    """A18: by the clock, whether or not anybody has noted the end."""
    await served.create_tenants()
    officer, app = await officer_of(served), served.service("acme-app")
    asked, sued = await create(app, contact(PHONE)), await create(app, contact(OTHER_PHONE))
    await place(officer, wanted(subject_of(asked.name)))
    await place(officer, claim(served, subject_of(sued.name)))

    served.clock.offset = 30 * DAY - timedelta(minutes=5)
    early = await held(served, asked.name, sued.name)
    served.clock.offset = 30 * DAY + timedelta(seconds=1)
    late = await held(served, asked.name, sued.name)
    served.clock.offset = 3000 * DAY

    assert early == [True, True]
    assert late == [False, True]
    assert await held(served, asked.name, sued.name) == [False, True]


async def test_upkeep_notes_the_end_once_and_records_it(served: Serving) -> None:
    await served.create_tenants()
    officer = await officer_of(served)
    placed = await place(officer, wanted())
    served.clock.offset = 31 * DAY

    first = await hold_operations.expire_holds(served.vault, upkeep.upkeep_caller())
    [ended] = await listed(served)
    second = await hold_operations.expire_holds(served.vault, upkeep.upkeep_caller())
    again = await release(await officer_of(served), placed)

    logged = [entry.operation for entry in await entries(served)]
    assert (first, second) == (1, 0)
    assert ended.released_by == "upkeep"
    assert again.release_time == ended.release_time
    assert logged.count("expire-hold") == 1


async def test_every_hold_has_an_end_or_a_review_within_twelve_months(served: Serving) -> None:
    """§6.3: what nobody looks at again is not placed."""
    await served.create_tenants()
    people = await team(served)
    officer, now = people.registrant, served.clock()
    order = await register(people, order_for(served, people))

    refused = {
        "claim without review": wanted(kind=HOLD_KIND_CLAIM, until=now + DAY),
        "claim reviewed late": wanted(kind=HOLD_KIND_CLAIM, review=now + 367 * DAY),
        "claim reviewed before": wanted(kind=HOLD_KIND_CLAIM, review=now - DAY),
        "order without either": wanted(kind=HOLD_KIND_ORDER, reference=order.name),
        "letter for long": wanted(until=now + 31 * DAY),
        "letter that has ended": wanted(until=now - DAY),
        "period backwards": wanted(start=now, end=now - DAY),
    }
    errors = {name: await not_placed(officer, request) for name, request in refused.items()}

    fields = {name: (error.code.name, error.reason, *error.fields) for name, error in errors.items()}
    assert fields == {
        "claim without review": ("INVALID_ARGUMENT", "FIELD_REQUIRED", "review_time"),
        "claim reviewed late": ("INVALID_ARGUMENT", "FIELD_INVALID", "review_time"),
        "claim reviewed before": ("INVALID_ARGUMENT", "FIELD_INVALID", "review_time"),
        "order without either": ("INVALID_ARGUMENT", "FIELD_REQUIRED", "review_time"),
        "letter for long": ("INVALID_ARGUMENT", "FIELD_INVALID", "expire_time"),
        "letter that has ended": ("INVALID_ARGUMENT", "FIELD_INVALID", "expire_time"),
        "period backwards": ("INVALID_ARGUMENT", "FIELD_INVALID", "end_time"),
    }
    assert await listed(served) == []


async def test_what_a_hold_cannot_name_is_refused(served: Serving) -> None:
    await served.create_tenants()
    officer, app = await officer_of(served), served.service("acme-app")
    stored = await create(app, contact())
    person = subject_of(stored.name)
    both = by_identifier(PHONE)
    both.subjects.append(person)
    period_twice = by_identifier(PHONE)
    period_twice.categories.append("call-detail")
    fields = by_identifier(PHONE)
    fields.scope.fields.append("duration_s")
    other_owner = stored.name.replace(id_of(person), NEVER)

    errors = [
        await not_placed(officer, request)
        for request in (
            wanted(categories=["call-recording"]),
            wanted(categories=["no-such-thing"]),
            wanted(person, records=[stored.name]),
            both,
            period_twice,
            fields,
            wanted(records=[other_owner]),
            wanted(f"tenants/acme/subjects/{NEVER}"),
            wanted("tenants/acme/orders/x"),
            by_identifier("nothing like a number"),
        )
    ]

    assert [error.reason for error in errors] == [
        "CATEGORY_NOT_HELD",
        "UNKNOWN_CATEGORY",
        "FIELD_INVALID",
        "FIELD_INVALID",
        "FIELD_INVALID",
        "FIELD_INVALID",
        "RECORD_NOT_FOUND",
        "SUBJECT_NOT_FOUND",
        "NAME_INVALID",
        "IDENTIFIER_INVALID",
    ]


async def test_somebody_who_was_erased_cannot_be_held(served: Serving) -> None:
    """E5: what is destroyed stays so."""
    await served.create_tenants()
    officer = await officer_of(served)
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    await erase(served, person)

    error = await not_placed(officer, wanted(person))
    by_number = await not_placed(officer, by_identifier(PHONE))

    assert (error.code.name, error.reason) == ("FAILED_PRECONDITION", "SUBJECT_ERASED")
    assert by_number.reason == "SUBJECT_NOT_FOUND"


async def test_only_a_legal_officer_whose_agreement_is_in_force_holds_for_the_purpose_of_the_kind(served: Serving) -> None:
    """I5, P3.7-nda: every refusal is recorded, and names nobody."""
    await served.create_tenants()
    officer = await officer_of(served)
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    placed = await place(officer, wanted(person))
    approver, machine, nda_less = (
        served.person("e-approver", "legal-approver"),
        served.service("legal-officer"),
        served.person("e-new", "legal-officer"),
    )
    wrong = wanted(person)
    wrong.justification.CopyFrom(because(HOLD_KIND_CLAIM))
    released = ReleaseHoldRequest(name=placed.name, justification=because(HOLD_KIND_CLAIM))

    errors = [
        await not_placed(approver, wanted(person)),
        await not_placed(machine, wanted(person)),
        await not_placed(nda_less, wanted(person)),
        await not_placed(officer, wrong),
        await officer.refused(officer.legal.ReleaseHold, released),
        await nda_less.refused(nda_less.legal.ReleaseHold, ReleaseHoldRequest(name=placed.name, justification=because())),
    ]

    reasons = [error.reason for error in errors]
    assert reasons == ["ROLE_NOT_ALLOWED", "PERSON_REQUIRED", "NDA_INVALID", "PURPOSE_NOT_ALLOWED", "PURPOSE_NOT_ALLOWED", "NDA_INVALID"]
    assert {error.code.name for error in errors} == {"PERMISSION_DENIED"}
    assert [list((await entry_of(served, error)).subjects) for error in errors] == [[]] * 6
    assert await held(served, f"{person}/records/{NEVER}") == [False]
    assert [hold.HasField("release_time") for hold in await listed(served)] == [False]


async def test_another_tenants_people_records_and_holds_answer_like_none(served: Serving) -> None:
    """I11."""
    await served.create_tenants()
    officer = await officer_of(served)
    stored = await create(served.service("globex-app"), contact(), tenant="globex")
    theirs = await place(officer, wanted(subject_of(stored.name), tenant="globex"))
    mine = theirs.name.replace("globex", "acme")
    one_tenant = served.person("e-legal", "legal-officer", tenants=["acme"])

    errors = [
        await not_placed(officer, wanted(subject_of(stored.name))),
        await not_placed(officer, wanted(subject_of(stored.name).replace("globex", "acme"))),
        await not_placed(officer, wanted(records=[stored.name])),
        await officer.refused(officer.legal.ReleaseHold, ReleaseHoldRequest(name=mine, justification=because())),
        await one_tenant.refused(one_tenant.legal.ReleaseHold, ReleaseHoldRequest(name=theirs.name, justification=because())),
        await one_tenant.refused(one_tenant.legal.ListHolds, ListHoldsRequest(parent="tenants/globex")),
    ]

    assert {error.code.name for error in errors} == {"NOT_FOUND"}
    assert [error.reason for error in errors] == [
        "SUBJECT_NOT_FOUND",
        "SUBJECT_NOT_FOUND",
        "RECORD_NOT_FOUND",
        "HOLD_NOT_FOUND",
        "TENANT_NOT_FOUND",
        "TENANT_NOT_FOUND",
    ]
    assert await listed(served) == []


async def test_the_same_request_twice_places_one_hold(served: Serving) -> None:
    await served.create_tenants()
    officer = await officer_of(served)
    request = wanted(categories=["end-customer-contact"], request_id=REQUEST_ID)

    twins = await asyncio.gather(*(place(officer, request) for _ in range(4)))
    other = await not_placed(officer, wanted(categories=["call-detail"], request_id=REQUEST_ID))

    assert len({hold.name for hold in twins}) == 1
    assert other.reason == "REQUEST_ID_REUSED"
    assert len(await listed(served)) == 1


async def test_a_tenant_that_reads_its_log_learns_nobody_who_is_held(served: Serving) -> None:
    """N16: the log says that there is a hold, by whom and of how many."""
    await served.create_tenants()
    officer = await officer_of(served)
    person = subject_of((await create(served.service("acme-app"), contact())).name)

    placed = await place(officer, wanted(person))
    await release(officer, placed)

    logged = {entry.operation: entry for entry in await entries(served)}
    put, let_go = logged["place-hold"], logged["release-hold"]
    assert list(put.subjects) == list(let_go.subjects) == []
    assert id_of(person).encode() not in put.content + let_go.content
    assert id_of(placed.name).encode() in put.content
    assert (put.purpose, put.reference, put.actor) == ("court-order", "CASE-17", "people/e-legal")


async def test_a_review_that_is_overdue_is_found_until_the_hold_is_released(served: Serving) -> None:
    await served.create_tenants()
    officer = await officer_of(served)
    placed = await place(officer, claim(served, categories=["call-detail"], days=10))
    before = (await readiness(served.vault)).findings
    served.clock.offset = 11 * DAY
    overdue = (await readiness(served.vault)).findings
    await release(await officer_of(served), placed)

    assert "HOLD_REVIEWS_OVERDUE 1" not in before
    assert "HOLD_REVIEWS_OVERDUE 1" in overdue
    assert "HOLD_REVIEWS_OVERDUE 1" not in (await readiness(served.vault)).findings


async def test_a_listing_goes_on_where_the_page_ended(served: Serving) -> None:
    await served.create_tenants()
    officer, auditor = await officer_of(served), served.service("auditor")
    placed = {(await place(officer, wanted(reference=f"CASE-{n}"))).name for n in range(3)}

    first = await auditor.call(auditor.legal.ListHolds, ListHoldsRequest(parent="tenants/acme", page_size=2))
    rest = await auditor.call(auditor.legal.ListHolds, ListHoldsRequest(parent="tenants/acme", page_token=first.next_page_token))
    foreign = await auditor.refused(auditor.legal.ListHolds, ListHoldsRequest(parent="tenants/globex", page_token=first.next_page_token))

    assert [len(first.holds), len(rest.holds)] == [2, 1]
    assert {hold.name for hold in (*first.holds, *rest.holds)} == placed
    assert foreign.reason == "PAGE_TOKEN_INVALID"


async def test_how_long_a_letter_holds_is_configured(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """A18."""
    async with serving(home_template, tmp_path / "home", migrated_url, preservation_days=5) as served:
        await served.create_tenants()
        officer = await officer_of(served)

        placed = await place(officer, wanted())
        longer = await not_placed(officer, wanted(until=served.clock() + 6 * DAY))

    assert placed.expire_time.ToDatetime() - placed.create_time.ToDatetime() == 5 * DAY
    assert (longer.reason, longer.metadata["limit"]) == ("FIELD_INVALID", "5d")
