"""Storing records: what becomes of them, what is kept at which level, and what is refused for good."""

from tests.builders import (
    LINE,
    NOTHING,
    OTHER_PHONE,
    PHONE,
    account,
    asked,
    call_detail,
    contact,
    create,
    create_all,
    entries,
    entry_of,
    incoming,
    not_revealed,
    outgoing,
    profile,
    record,
    refusal,
    reveal,
    rows,
    sent,
    subject_of,
)
from tests.serving import Serving, why
from vault.store import tables
from vault.v1.vault_service_pb2 import CreateRecordRequest, CreateSubjectRequest, GetRecordRequest, GetSubjectRequest, ListRecordsRequest

FAULT = why("technical-fault", reason="the customer reports that a message is missing")
FAULT_WITH_TICKET = why("technical-fault", "SUP-4711", "the customer reports that a message is missing")
REPORT = why("customer-report", reason="the customer asks for the monthly report")


async def test_a_stored_record_answers_with_metadata_and_never_with_a_value(served: Serving) -> None:
    """P1.5-confidential, I6: the log names who stored what under which rule, and no value."""
    await served.create_tenants()
    app = served.service("acme-app")

    stored = await create(app, contact(email="dana@example.com", channel="WEB"))

    got = (await app.call(app.records.GetRecord, GetRecordRequest(name=stored.name))).record
    [entry] = await entries(served)
    assert got == stored
    assert (stored.category, sorted(stored.field_names), dict(stored.metadata)) == (
        "end-customer-contact",
        ["email", "phone"],
        {"channel": "WEB"},
    )
    assert (entry.operation, entry.category, entry.decision) == ("create", "end-customer-contact", "ALLOWED")
    assert entry.rule
    assert list(entry.records) == [stored.name.rpartition("/")[2]]
    assert not any(value in entry.content for value in (PHONE.encode(), b"2345678", b"dana"))


async def test_records_about_one_person_share_a_subject_however_the_number_is_written(served: Serving) -> None:
    """L42, E19: 050-…, +972…, 972…, with direction marks, in full-width digits: one person."""
    await served.create_tenants()
    app = served.service("acme-app")
    spellings = [
        "050-2345678",
        "0502345678",
        "+972-50-234-5678",
        "972502345678",
        "\u200f050-2345678\u200e",
        "\u202a+972 50 2345678\u202c",
        "０５０２３４５６７８",
    ]

    stored = await create_all(app, [contact(spelling) for spelling in spellings])

    assert len({subject_of(item.record.name) for item in stored}) == 1
    assert len({item.record.name for item in stored}) == len(spellings)


async def test_one_number_under_two_tenants_is_two_people_with_nothing_in_common(served: Serving) -> None:
    """P3.2-exp-contact, A28: neither ids nor index tokens of two tenants can be joined."""
    await served.create_tenants()
    acme, globex = served.service("acme-app"), served.service("globex-app")

    ours = await create(acme, contact())
    theirs = await create(globex, contact(), tenant="globex")

    async with served.vault.database.read() as connection:
        tokens = list(await connection.execute(tables.index_entries.select()))
    assert subject_of(ours.name).rpartition("/")[2] != subject_of(theirs.name).rpartition("/")[2]
    assert len({row.token for row in tokens}) == len(tokens) == 2


async def test_a_subject_without_records_can_be_created_and_then_filled(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    subject = (await app.call(app.records.CreateSubject, CreateSubjectRequest(parent="tenants/acme"))).subject

    stored = await create(app, profile(subject.name, first_name="דנה"))

    admin = served.service("acme-admin")
    counts = (await admin.call(admin.records.GetSubject, GetSubjectRequest(name=subject.name))).subject.record_counts
    assert subject_of(stored.name) == subject.name
    assert dict(counts) == {"list-profile": 1}


async def test_every_party_of_a_call_is_a_subject_of_its_own(served: Serving) -> None:
    """P3.3-cdr: either party is found and the line's customer owns the record."""
    await served.create_tenants()
    billing = served.service("billing")

    stored = await create(billing, call_detail())

    parties = {party.role: party.subject for party in stored.parties}
    assert parties.keys() == {"customer", "calling", "called"}
    assert len(set(parties.values())) == 3
    assert subject_of(stored.name) == parties["customer"]
    assert dict(stored.metadata) == {"cdr_id": "c-1", "status": "answered", "duration_s": "61", "start_at": "2026-03-02T08:15:00Z"}


async def test_a_call_without_its_outcome_or_with_a_field_of_its_own_invention_is_not_stored(served: Serving) -> None:
    """P3.3-cdr: exactly the fields of the category."""
    await served.create_tenants()
    billing = served.service("billing")
    incomplete, excessive = call_detail(), call_detail(content="we talked about the weather")
    del incomplete.fields["status"]

    refused = [
        await billing.refused(billing.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=item))
        for item in (incomplete, excessive)
    ]

    assert [error.reason for error in refused] == ["FIELD_REQUIRED", "UNKNOWN_FIELD"]
    assert [(await entry_of(served, error)).reason for error in refused] == ["FIELD_REQUIRED", "UNKNOWN_FIELD"]
    assert await rows(served) == NOTHING


async def test_content_is_kept_in_system_files_and_not_for_reports_unless_the_customer_asks(served: Serving) -> None:
    """P3.2-lvl-rep, P3.2-lvl-files-on: outgoing content at report level is off by default; replies are kept."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    person = subject_of((await create(app, contact())).name)

    for_report = await engine.refused(
        engine.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=outgoing(person, "report"))
    )
    in_files = await create(engine, outgoing(person, "system-file"))
    reply = await create(engine, incoming("report"))

    support = served.service("support")
    listed = (await support.call(support.records.ListRecords, ListRecordsRequest(parent=person, category="outgoing-message"))).records
    assert (for_report.code.name, for_report.reason) == ("FAILED_PRECONDITION", "CONTENT_NOT_RETAINED")
    assert (await entry_of(served, for_report)).category == "outgoing-message"
    assert [item.name for item in listed] == [in_files.name]
    assert subject_of(reply.name) == person


async def test_support_reads_system_logs_by_contract_and_system_files_under_a_ticket(served: Serving) -> None:
    """P3.2-lvl-logs, P3.2-lvl-files-use, P1.6c-consent, A3: the basis is in the log."""
    await served.create_tenants()
    app, engine, support = served.service("acme-app"), served.service("engine"), served.service("support")
    person = subject_of((await create(app, contact())).name)
    in_log, in_file = [(await create(engine, outgoing(person, level, b"fetch code 1"))).name for level in ("system-log", "system-file")]

    shown = await reveal(support, asked(in_log, "body", because=FAULT))
    refused = await not_revealed(support, asked(in_file, "body", because=FAULT))
    with_ticket = await reveal(support, asked(in_file, "body", because=FAULT_WITH_TICKET))

    assert shown.fields["body"].data == with_ticket.fields["body"].data == b"fetch code 1"
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CONSENT_BASIS_MISSING")
    last = (await entries(served))[-1]
    assert (last.reference, last.purpose) == ("SUP-4711", "technical-fault")
    assert b'"consent_basis":"ticket"' in last.content


async def test_reports_never_show_what_is_kept_for_investigating_faults(served: Serving) -> None:
    """P3.2-lvl-files-use, P3.2-lvl-logs: level FILE is not the customer's and not the report service's; nor is another purpose support's."""
    await served.create_tenants()
    app, engine, reporting = served.service("acme-app"), served.service("engine"), served.service("reporting")
    person = subject_of((await create(app, contact())).name)
    in_file = (await create(engine, outgoing(person, "system-file"))).name
    in_log = (await create(engine, outgoing(person, "system-log"))).name
    reply = (await create(engine, incoming("report", b"thank you"))).name

    refused = [
        await not_revealed(served.service("reporting"), asked(in_file, because=REPORT)),
        await not_revealed(served.service("acme-admin"), asked(in_file, because=REPORT)),
        await not_revealed(served.service("support"), asked(in_log, because=REPORT)),
    ]
    shown = await reveal(reporting, asked(reply, "body", because=REPORT, recipient="tenant"))

    assert [(error.code.name, error.reason) for error in refused] == [
        ("PERMISSION_DENIED", "LEVEL_NOT_ALLOWED"),
        ("PERMISSION_DENIED", "LEVEL_NOT_ALLOWED"),
        ("PERMISSION_DENIED", "PURPOSE_NOT_ALLOWED"),
    ]
    assert {(await entry_of(served, error)).decision for error in refused} == {"REFUSED"}
    assert shown.fields["body"].data == b"thank you"


async def test_extra_fields_are_stored_shown_hidden_and_bounded(served: Serving) -> None:
    """P3.2.1-fields: up to fifty fields of the customer's own, each sealed."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    job = await served.job()
    person = subject_of((await create(app, contact())).name)
    fifty = {f"field {number}": "value" for number in range(50)}

    stored = await create(app, profile(person, extra={**fifty, "field 0": "ירוק"}))
    refused = await app.refused(
        app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=profile(person, extra={**fifty, "one more": "x"}))
    )

    masked, full = [await reveal(engine, asked(stored.name, *full, because=job)) for full in ((), ("extra",))]
    assert set(masked.extra.values()) == {"•••"}
    assert full.extra["field 0"] == "ירוק"
    assert (refused.code.name, refused.reason, refused.metadata["limit"]) == ("INVALID_ARGUMENT", "FIELD_INVALID", "50")


async def test_a_business_account_is_stored_by_billing_and_read_by_its_company_number(served: Serving) -> None:
    """P3.3-cust: for billing, in full; the tenant's own application has no business with it."""
    await served.create_tenants()
    billing, app = served.service("billing"), served.service("acme-app")

    stored = await create(billing, account(phone="03-5123456"), purpose="billing")
    refused = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=account()))

    shown = await reveal(billing, asked(stored.name, "full_name", "phone", because=why("billing")))
    assert {name: value.text for name, value in shown.fields.items()} == {"full_name": "דנה לוי", "phone": "+97235123456"}
    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


async def test_a_record_that_names_nobody_is_not_stored(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    nobody = record("end-customer-contact", {"channel": "WEB"})

    refused = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=nobody))

    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "NO_USABLE_IDENTIFIER")
    assert await rows(served) == NOTHING


async def test_what_is_unknown_of_a_line_is_left_out_and_what_is_known_is_masked(served: Serving) -> None:
    """P3.3-cdr: star number, routing target: the customer's, hidden in the masked view."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, call_detail(star_number="*2345", route_line="03-5123456", route_ip="192.0.2.7"))

    shown = await reveal(billing, asked(stored.name, because=why("billing")))

    assert {name: value.text for name, value in shown.fields.items() if value.text.count("•")} == {
        "shadow_number": f"{LINE[:6]}•••••{LINE[-2:]}",
        "star_number": "•••",
        "calling": f"{PHONE[:6]}•••••{PHONE[-2:]}",
        "called": f"{OTHER_PHONE[:6]}•••••{OTHER_PHONE[-2:]}",
        "route_line": "+97235••••56",
        "route_ip": "•••",
    }


async def test_a_reaction_is_stored_with_a_message_of_the_person_who_reacted(served: Serving) -> None:
    """P3.2-service: whichever of message and metadata is kept; a message of somebody else, of another tenant or of nobody is none."""
    await served.create_tenants()
    engine, moment = served.service("engine"), served.clock()
    person, other = [subject_of((await create(served.service("acme-app"), contact(phone))).name) for phone in (PHONE, OTHER_PHONE)]
    theirs = subject_of((await create(served.service("globex-app"), contact(PHONE), tenant="globex")).name)
    await create(engine, sent(person, moment, "m-content"))
    await create(engine, sent(other, moment, "m-others"))
    await create(engine, sent(theirs, moment, "m-theirs"), tenant="globex")
    said = {"message_id": "m-metadata", "channel": "SMS", "submitted_at": moment.isoformat(), "status": "delivered", "sender": "shop"}
    await create(engine, record("message-metadata", {**said, "recipient_phone": PHONE}))

    messages = ("m-content", "m-metadata", "m-others", "m-theirs", "m-never")
    click = {"event_id": "e-1", "kind": "click", "at": moment.isoformat(), "user_agent": "a browser"}
    events = [record("interaction-event", {**click, "message_id": message}, subject=person) for message in messages]
    results = await create_all(engine, events)
    app = served.service("acme-app")
    unasked = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=events[-1]))

    assert [result.WhichOneof("outcome") for result in results] == ["record", "record", "status", "status", "status"]
    assert {(refusal(result).code.name, refusal(result).reason) for result in results[2:]} == {("FAILED_PRECONDITION", "PARENT_NOT_FOUND")}
    assert unasked.reason == "ROLE_NOT_ALLOWED"
