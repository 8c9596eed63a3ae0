"""Clocks that an event starts: an interval that is closed; a case, a card, an account, a template that is over (§2B: C09, C14, C16, C23, C28)."""

from datetime import timedelta

import pytest

from tests.builders import LINE, OTHER_PHONE, PHONE, contact, create, find, mapping, record, sought, subject_of
from tests.faults import quiet
from tests.holds import officer_of, place, release, wanted
from tests.retaining import DAY, MINUTE, changing, ends, swept
from tests.serving import Caller, Serving, why
from vault.v1.resources_pb2 import Justification, Record
from vault.v1.vault_service_pb2 import DeleteRecordRequest, GetRecordRequest, RecordInput

SERVING, CHARGING = why(), why("billing")
COMPLAINT = why("claim-or-complaint", "CASE-4", "the customer complained about a charge in writing")
VERIFIER = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    await served.create_tenants("acme")
    return served


# ---- C16: an interval that is closed ----------------------------------------------------------------------------------------------------------

ASSIGNED = timedelta(days=2557)


async def test_an_assignment_that_was_over_when_it_was_stored_goes_seven_years_after_its_end(served: Serving) -> None:
    """P3.8-keep-map, P3.5-reg: the minute before it is there, and twice changes nothing."""
    over = served.clock() - DAY
    await create(served.service("num2"), mapping(LINE, PHONE, begin=(over - DAY).isoformat(), end=over.isoformat()))

    early = await swept(served, at_moment=over + ASSIGNED - MINUTE)
    late = await swept(served, at_moment=over + ASSIGNED + MINUTE)

    assert (early, late, await swept(served)) == ({}, {"number-mapping": 1}, {})


async def test_closing_an_assignment_starts_its_clock_and_ends_what_it_answers(served: Serving) -> None:
    """P3.8-keep-map, A29: until it is closed nothing is counted; from then on the number is nobody's, and before it was somebody's."""
    num2 = served.service("num2")
    stored = await create(num2, mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z"))
    still = await ends(served, stored.name)
    over = served.clock() + DAY

    await num2.call(num2.records.UpdateRecord, changing(stored.name, {"valid_to": over.isoformat()}))

    found = [
        len(await find(num2, sought("virtual-number", LINE, category="number-mapping", as_of=moment.isoformat())))
        for moment in (over - MINUTE, over)
    ]
    counted = await ends(served, stored.name)
    early = await swept(served, at_moment=over + ASSIGNED - MINUTE)
    late = await swept(served, at_moment=over + ASSIGNED + MINUTE)
    assert (still, counted, found) == (None, over + ASSIGNED, [1, 0])
    assert (early, late, await swept(served)) == ({}, {"number-mapping": 1}, {})


async def test_a_number_that_was_given_back_may_be_somebody_elses(served: Serving) -> None:
    """A29: both are found at their own time."""
    num2 = served.service("num2")
    first = await create(num2, mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z"))
    await num2.call(num2.records.UpdateRecord, changing(first.name, {"valid_to": "2026-02-01T00:00:00Z"}))
    second = await create(num2, mapping(LINE, OTHER_PHONE, begin="2026-02-01T00:00:00Z"))

    found = [
        [match.record for match in await find(num2, sought("virtual-number", LINE, category="number-mapping", as_of=moment))]
        for moment in ("2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z")
    ]

    assert found == [[first.name], [second.name]]


async def test_an_interval_is_closed_once_after_it_began_and_by_whoever_assigns_numbers(served: Serving) -> None:
    """P3.8-keep-map, A29: nothing else of it is changed, but at the person's request."""
    num2, engine = served.service("num2"), served.service("engine")
    open_one, closed = [await create(num2, mapping(LINE, phone, begin="2026-01-01T00:00:00Z")) for phone in (PHONE, OTHER_PHONE)]
    await num2.call(num2.records.UpdateRecord, changing(closed.name, {"valid_to": "2026-02-01T00:00:00Z"}))
    before = await ends(served, closed.name)
    attempts = {
        "before it began": changing(open_one.name, {"valid_to": "2025-12-31T00:00:00Z"}),
        "the moment it began": changing(open_one.name, {"valid_to": "2026-01-01T00:00:00Z"}),
        "past the calendar": changing(open_one.name, {"valid_to": "9999-06-01T00:00:00Z"}),
        "another number": changing(open_one.name, {"valid_to": "2026-02-01T00:00:00Z", "real_number": OTHER_PHONE}),
        "another number alone": changing(open_one.name, {"assigned_number": OTHER_PHONE}),
        "its beginning": changing(open_one.name, {"valid_from": "2026-01-02T00:00:00Z"}),
        "moved": changing(closed.name, {"valid_to": "2026-03-01T00:00:00Z"}),
        "opened again": changing(closed.name, {}, also=("valid_to",)),
        "nothing to close with": changing(open_one.name, {}, also=("valid_to",)),
    }

    refused = {case: (await num2.refused(num2.records.UpdateRecord, request)).reason for case, request in attempts.items()}
    not_theirs = await engine.refused(engine.records.UpdateRecord, changing(open_one.name, {"valid_to": "2026-02-01T00:00:00Z"}))

    assert refused == dict.fromkeys(attempts, "FIELD_INVALID")
    assert not_theirs.reason == "ROLE_NOT_ALLOWED"
    assert (await ends(served, open_one.name), await ends(served, closed.name)) == (None, before)


async def test_an_assignment_that_is_held_is_not_closed_and_stays_after_its_time(served: Serving) -> None:
    """N2, P3.5-reg: a hold keeps what is due; with its release it goes."""
    num2, over = served.service("num2"), served.clock() - DAY
    await create(num2, mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z", end=over.isoformat()))
    open_one = await create(num2, mapping("+972732345679", PHONE, begin="2026-01-01T00:00:00Z"))
    served.clock.offset += ASSIGNED
    hold = await place(await officer_of(served), wanted(subject_of(open_one.name)))

    refused = await num2.refused(num2.records.UpdateRecord, changing(open_one.name, {"valid_to": served.clock().isoformat()}))
    held = await swept(served)
    await release(await officer_of(served), hold)

    assert (refused.reason, held) == ("LEGAL_HOLD", {})
    assert await swept(served) == {"number-mapping": 1}


# ---- C09, C14, C23, C28: what says of itself that it is over ------------------------------------------------------------------------------------


async def person_of(served: Serving) -> str:
    return subject_of((await create(served.service("acme-app"), contact())).name)


def thing(category: str, subject: str) -> RecordInput:
    """Something that goes on when it is stored."""
    return {
        "email-template": lambda: record(category, {"template_id": "t-1", "html": b"<p>hello</p>"}, subject=subject),
        "payment-card": lambda: record(
            category,
            {"psp_token": "tok-1", "brand": "visa", "last4": "1234", "exp_month": "4", "exp_year": "2029"},
            subject=subject,
        ),
        "access-credential": lambda: record(category, {"username": "dana", "verifier": VERIFIER}),
        "complaint-case": lambda: record(
            category, {"case_no": "c-1", "channel": "LETTER", "text": "the bill is too high"}, subject=subject
        ),
    }[category]()


async def keeper_of(served: Serving, category: str) -> tuple[Caller, Justification]:
    """Who stores and changes what is of a category, and why."""
    if category == "complaint-case":
        await served.sign_nda("e-manager")
        return served.person("e-manager", "account-manager"), COMPLAINT
    names = {"email-template": "acme-admin", "payment-card": "billing", "access-credential": "acme-app"}
    return served.service(names[category]), CHARGING if category == "payment-card" else SERVING


ENDING = [
    ("email-template", "ended_at", 30),
    ("payment-card", "removed_at", 396),
    ("access-credential", "closed_at", 1),
    ("complaint-case", "closed_at", 2557),
]


async def stored_for(served: Serving, category: str, item: RecordInput) -> tuple[Caller, Justification, Record]:
    caller, because = await keeper_of(served, category)
    return caller, because, await create(caller, item, purpose="" if category == "complaint-case" else because.purpose)


@pytest.mark.parametrize(("category", "field", "days"), ENDING)
async def test_what_ends_later_is_counted_from_then_to_the_minute(served: Serving, category: str, field: str, days: int) -> None:
    """§2B: until it is over, nothing is counted, however long that is."""
    caller, because, stored = await stored_for(served, category, thing(category, await person_of(served)))
    meanwhile = await swept(served, at_moment=served.clock() + 100 * DAY)
    caller, _ = await keeper_of(served, category)
    over = served.clock()

    await caller.call(caller.records.UpdateRecord, changing(stored.name, {field: over.isoformat()}, because))

    counted = await ends(served, stored.name)
    early = await swept(served, at_moment=over + days * DAY - MINUTE)
    late = await swept(served, at_moment=over + days * DAY + MINUTE)
    assert (meanwhile, counted) == ({}, over + days * DAY)
    assert (early, late, await swept(served)) == ({}, {category: 1}, {})


@pytest.mark.parametrize(("category", "field", "days"), ENDING)
async def test_what_was_over_when_it_was_stored_is_counted_from_its_end(served: Serving, category: str, field: str, days: int) -> None:
    item, over = thing(category, await person_of(served)), served.clock() - timedelta(hours=5)
    item.fields[field].text = over.isoformat()
    await stored_for(served, category, item)

    early = await swept(served, at_moment=over + days * DAY - MINUTE)
    late = await swept(served, at_moment=over + days * DAY + MINUTE)

    assert (early, late, await swept(served)) == ({}, {category: 1}, {})


async def test_a_case_that_is_opened_again_is_counted_from_its_next_end(served: Serving) -> None:
    """C28: while it goes on nothing is counted."""
    manager, because, stored = await stored_for(served, "complaint-case", thing("complaint-case", await person_of(served)))
    await manager.call(manager.records.UpdateRecord, changing(stored.name, {"closed_at": served.clock().isoformat()}, because))

    await manager.call(manager.records.UpdateRecord, changing(stored.name, {}, because, also=("closed_at",)))
    opened = await ends(served, stored.name)
    longer = await swept(served, at_moment=served.clock() + 2558 * DAY)
    manager, _ = await keeper_of(served, "complaint-case")
    again = served.clock()
    await manager.call(manager.records.UpdateRecord, changing(stored.name, {"closed_at": again.isoformat()}, because))

    assert (opened, longer) == (None, {})
    assert await ends(served, stored.name) == again + 2557 * DAY


async def test_nothing_that_went_on_is_said_to_have_ended_before(served: Serving) -> None:
    """Harm: whoever may not delete a case could have dated its end so far back that the next sweep did."""
    manager, because, stored = await stored_for(served, "complaint-case", thing("complaint-case", await person_of(served)))
    long_ago = changing(stored.name, {"closed_at": (served.clock() - 3000 * DAY).isoformat()}, because)

    refused = await manager.refused(manager.records.UpdateRecord, long_ago)

    assert refused.reason == "FIELD_INVALID"
    assert (await swept(served), await ends(served, stored.name)) == ({}, None)


async def test_a_card_is_deleted_at_once_all_the_same(served: Serving) -> None:
    """C14: deleting it is the ordinary way."""
    billing, because, stored = await stored_for(served, "payment-card", thing("payment-card", await person_of(served)))

    await billing.call(billing.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=because))

    gone = await billing.refused(billing.records.GetRecord, GetRecordRequest(name=stored.name))
    assert gone.reason == "RECORD_NOT_FOUND"


async def test_a_former_customers_contact_has_no_clock(served: Serving) -> None:
    """C24, A22: it is kept until its removal is asked for; only a person decides that."""
    await served.sign_nda("e-manager")
    manager = served.person("e-manager", "account-manager")
    said = {"full_name": "Dana", "email": "dana@example.com", "ended_at": served.clock().isoformat(), "reasons": "c"}
    stored = await create(manager, record("former-customer-contact", {**said}))

    erased = await swept(served, at_moment=served.clock() + 10_000 * DAY)

    assert (erased, await ends(served, stored.name)) == ({}, None)
