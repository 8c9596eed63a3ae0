"""Finding people by an identifier, exactly, within one tenant and category, without being shown anything."""

import pytest

from tests.builders import (
    LINE,
    OTHER_PHONE,
    PHONE,
    account,
    call_detail,
    contact,
    create,
    create_all,
    entries,
    entry_of,
    find,
    incoming,
    mapping,
    sought,
    subject_of,
)
from tests.serving import Serving, why
from vault.v1.resources_pb2 import Justification
from vault.v1.vault_service_pb2 import FindSubjectsRequest

BILLING = why("billing", reason="the customer asks about an invoice")


async def test_a_person_is_found_by_every_spelling_of_a_number(served: Serving) -> None:
    """L42, E19: 050-…, +972…, 972…, bidi marks, full-width digits, no-break spaces."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact("050-2345678"))
    spellings = [
        "0502345678",
        "050-234-5678",
        "+972502345678",
        "+972 (0)50-2345678",
        "972502345678",
        "00972502345678",
        "\u200f050-2345678\u200f",
        "\u2066+972-50-2345678\u2069",
        "０５０-２３４５６７８",
        "050\u00a0234\u00a05678",
    ]

    found = {spelling: [match.record for match in await find(app, sought("phone", spelling))] for spelling in spellings}

    assert found == {spelling: [stored.name] for spelling in spellings}


async def test_a_person_is_found_by_every_spelling_of_a_mailbox(served: Serving) -> None:
    """L42, E19: case, and the domain in Unicode or in ASCII."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact("", email="Dana@מכתב.example"))
    spellings = ["dana@מכתב.example", "DANA@מכתב.EXAMPLE", "dana@xn--5dbti3c.example", " dana@מכתב.example\u200f"]

    found = {spelling: [match.record for match in await find(app, sought("email", spelling))] for spelling in spellings}

    assert found == {spelling: [stored.name] for spelling in spellings}


async def test_a_business_is_found_by_number_and_by_name_without_its_legal_form(served: Serving) -> None:
    """P3.3-cust, E19."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, account(company_no="51-2345678", company_name='מכתבים בע"מ'), purpose="billing")
    wanted = [
        ("company-number", "512345678"),
        ("company-number", "51 234 5678"),
        ("company-name", "מכתבים בע״מ"),
        ("company-name", "מכתבים"),
    ]

    found = {
        (kind, value): [match.record for match in await find(billing, sought(kind, value, category="business-account", because=BILLING))]
        for kind, value in wanted
    }

    assert found == {key: [stored.name] for key in wanted}


async def test_a_search_finds_only_what_is_kept_at_a_level_that_the_searcher_may_search(served: Serving) -> None:
    """P3.2-lvl-rep, P3.2-lvl-files-use, A3: reports show replies; system files take a ticket; investigators do not search."""
    await served.create_tenants()
    levels = ("system-log", "report", "system-file")
    stored = {level: (await create(served.service("engine"), incoming(level))).name for level in levels}
    asking = {
        "reporting": why("customer-report", reason="the customer opened its report"),
        "support": why("technical-fault", reason="the customer reports that a message is missing"),
        "support with a ticket": why("technical-fault", "SUP-4711", "the customer reports that a message is missing"),
    }

    async def found_by(who: str, because: Justification) -> set[str]:
        request = sought("phone", PHONE, category="incoming-message", because=because)
        return {match.record for match in await find(served.service(who.split(maxsplit=1)[0]), request)}

    found = {who: await found_by(who, because) for who, because in asking.items()}
    engine = served.service("engine")
    request = sought("phone", PHONE, category="incoming-message")
    refused = await engine.refused(engine.records.FindSubjects, request)

    assert found == {
        "reporting": {stored["report"]},
        "support": {stored["system-log"]},
        "support with a ticket": {stored["system-log"], stored["system-file"]},
    }
    assert refused.reason == "ROLE_NOT_ALLOWED"


async def test_each_party_of_a_call_is_found_under_its_own_name(served: Serving) -> None:
    """P3.3-cdr: either party is searchable; the match names the party's role."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, call_detail())
    parties = {party.role: party.subject for party in stored.parties}

    found = {
        value: [(match.role, match.subject) for match in await find(billing, sought(kind, value, category="call-detail", because=BILLING))]
        for kind, value in (("phone", PHONE), ("phone", OTHER_PHONE), ("virtual-number", LINE))
    }

    assert found == {
        PHONE: [("calling", parties["calling"])],
        OTHER_PHONE: [("called", parties["called"])],
        LINE: [("customer", parties["customer"])],
    }


async def test_another_tenant_finds_nobody_by_the_same_number(served: Serving) -> None:
    """I11, P3.5-reports: not even that somebody else has it."""
    await served.create_tenants()
    acme, globex = served.service("acme-app"), served.service("globex-app")
    await create(acme, contact())

    theirs = await find(globex, sought("phone", PHONE, tenant="globex"))
    refused = await globex.refused(globex.records.FindSubjects, sought("phone", PHONE))

    assert list(theirs) == []
    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "TENANT_NOT_FOUND")
    assert (await entry_of(served, refused)).actor.endswith("/globex-app")
    assert (refused.receipt and refused.receipt.log, len(await entries(served))) == ("system", 1)


async def test_every_search_is_recorded_whatever_it_finds_and_without_what_was_sought(served: Serving) -> None:
    """I2, I6: purpose, rule and the opaque ids of what was found."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact())

    await find(app, sought("phone", PHONE))
    await find(app, sought("phone", OTHER_PHONE))

    hit, miss = (await entries(served))[-2:]
    assert [(entry.operation, entry.purpose, bool(entry.rule)) for entry in (hit, miss)] == [("find", "service-delivery", True)] * 2
    assert (list(hit.records), list(miss.records)) == ([stored.name.rpartition("/")[2]], [])
    assert not any(number[-7:].encode() in entry.content for entry in (hit, miss) for number in (PHONE, OTHER_PHONE))


async def test_a_long_answer_comes_in_pages_that_belong_to_the_query(served: Serving) -> None:
    """Page tokens are sealed to tenant and query."""
    await served.create_tenants()
    app, globex = served.service("acme-app"), served.service("globex-app")
    stored = await create_all(app, [contact(channel="WEB") for _ in range(5)])
    request = sought("phone", PHONE)
    request.page_size = 2

    found: list[str] = []
    tokens: list[str] = []
    while True:
        page = await app.call(app.records.FindSubjects, request)
        found += [match.record for match in page.matches]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
        tokens.append(page.next_page_token)
    elsewhere = sought("phone", OTHER_PHONE)
    elsewhere.page_token = tokens[0]
    other_tenant = sought("phone", PHONE, tenant="globex")
    other_tenant.page_token = tokens[0]
    refused = [
        await app.refused(app.records.FindSubjects, elsewhere),
        await globex.refused(globex.records.FindSubjects, other_tenant),
    ]

    assert sorted(found) == sorted(item.record.name for item in stored)
    assert len(tokens) == 2
    assert [(error.code.name, error.reason) for error in refused] == [("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")] * 2


@pytest.mark.parametrize(("kind", "value"), [("email", "dana@example.com"), ("install-id", "x1"), ("telephone", PHONE)])
async def test_a_category_is_searched_only_by_the_kinds_that_it_indexes(served: Serving, kind: str, value: str) -> None:
    await served.create_tenants()
    num2 = served.service("num2")
    request = sought(kind, value, category="number-mapping", as_of="2026-03-01T00:00:00Z")

    refused = await num2.refused(num2.records.FindSubjects, request)

    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "UNKNOWN_IDENTIFIER_KIND", ("kind",))


async def test_a_recycled_number_is_sought_with_the_moment_that_is_meant(served: Serving) -> None:
    """A29, P3.4-map: without a moment a number names nobody."""
    await served.create_tenants()
    num2 = served.service("num2")
    first = await create(num2, mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z", end="2026-02-01T00:00:00Z"))
    request = sought("virtual-number", LINE, category="number-mapping", as_of="2026-01-15T00:00:00Z")

    found = await find(num2, request)
    refused = await num2.refused(num2.records.FindSubjects, sought("virtual-number", LINE, category="number-mapping"))

    assert [match.subject for match in found] == [subject_of(first.name)]
    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "AS_OF_REQUIRED", ("as_of",))


async def test_the_call_centre_finds_an_account_and_support_needs_a_ticket_to_contact_it(served: Serving) -> None:
    """P3.3-cust, P3.5-enable: who may not search for a purpose learns nothing about what exists."""
    await served.create_tenants()
    stored = await create(served.service("billing"), account(phone=PHONE), purpose="billing")
    centre, support = served.service("call-centre"), served.service("support")

    def wanted(purpose: str, reference: str = "") -> FindSubjectsRequest:
        return sought("phone", PHONE, category="business-account", because=why(purpose, reference))

    identified = await find(centre, wanted("caller-identification"))
    contacted = await find(support, wanted("contact", "SUP-12"))
    refused = [
        await support.refused(support.records.FindSubjects, wanted("contact")),
        await centre.refused(centre.records.FindSubjects, wanted("billing")),
    ]

    assert [match.record for match in identified] == [match.record for match in contacted] == [stored.name]
    assert [(error.code.name, error.reason) for error in refused] == [
        ("FAILED_PRECONDITION", "CONSENT_BASIS_MISSING"),
        ("PERMISSION_DENIED", "PURPOSE_NOT_ALLOWED"),
    ]
