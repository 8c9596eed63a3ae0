"""What an erasure reaches, what it leaves and why, and what becomes of that (A4, §6): each scenario by the number it has in the requirements."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.builders import (
    ERASING,
    NEVER,
    OTHER_PHONE,
    PHONE,
    approve,
    asked,
    asked_by,
    at,
    call_detail,
    contact,
    create,
    entries,
    erase,
    erase_for_person,
    find,
    id_of,
    mapping,
    not_revealed,
    record,
    request_erasure,
    reveal,
    rows,
    sought,
    subject_of,
)
from tests.serving import Caller, Serving, why
from tests.terminating import message
from vault import crypto
from vault.audit.certificate import verify_certificate
from vault.client.errors import CallError
from vault.errors import UnavailableError
from vault.operations import erase_run, retain
from vault.operations.attempt import Attempt
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.erasure_service_pb2 import (
    ERASURE_EXCEPTION_BASIS_CONSENT_EVIDENCE,
    ERASURE_EXCEPTION_BASIS_REGULATORY_TELECOM,
    ERASURE_EXCEPTION_BASIS_STATUTORY_TAX,
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_FORWARDED,
    ERASURE_STATE_PARTIAL,
    ERASURE_STATE_REQUESTED,
    REQUESTER_KIND_GUARDIAN,
    ApproveErasureRequest,
    Erasure,
    GetErasureCertificateRequest,
    GetErasureRequest,
    IdentifierSelector,
    PreviewErasureRequest,
    RequestErasureRequest,
)
from vault.v1.resources_pb2 import Justification
from vault.v1.rights_service_pb2 import OpenSubjectRequestRequest, RecordConsentRequest
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest, CreateRecordRequest

BILLING = why("billing")
CLAIM = why("claim-or-complaint", reference="TCK-1234", reason="the customer disputes a charge")
VISITOR = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
INVOICE = {"invoice_no": "inv-1", "service": "VOICE", "issued_at": "2026-03-02T08:15:00Z", "amount": "11900"}


async def visitor(served: Serving, *, tenant: str = "acme", subject: str = "", **fields: str) -> str:
    """Somebody whom the operator knows from its site, and nothing keeps."""
    stored = await create(
        served.service(f"{tenant}-app"), record("site-visitor", {**VISITOR, **(fields or {"phone": PHONE})}, subject=subject), tenant=tenant
    )
    return subject_of(stored.name)


async def officer(served: Serving, employee: str = "e-officer") -> Caller:
    """A privacy officer whose agreement is in force."""
    await served.sign_nda(employee)
    return served.person(employee, "privacy-officer")


async def lawyer(served: Serving) -> Caller:
    """A legal officer whose agreement is in force."""
    await served.sign_nda("e-lawyer")
    return served.person("e-lawyer", "legal-officer")


async def certificates(served: Serving, erasure: Erasure) -> list[Mapping[str, object]]:
    """What the certificate and its supplements say, verified."""
    auditor = served.service("auditor")
    answer = await auditor.call(auditor.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure.name))
    return [verify_certificate(note, served.vault.signer.verifier()) for note in (answer.certificate, *answer.supplements)]


async def state_of(served: Serving, erasure: Erasure) -> Erasure:
    """The erasure as it stands."""
    auditor = served.service("auditor")
    return (await auditor.call(auditor.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure


async def turn(served: Serving, *, after: timedelta) -> None:
    """What the background does when some time has passed."""
    served.clock.offset += after
    await erase_run.resume(served.vault, upkeep_caller())


async def not_previewed(caller: Caller, because: Justification, **who: Any) -> CallError:
    """A refused preview."""
    return await caller.refused(caller.erasures.PreviewErasure, PreviewErasureRequest(justification=because, **who))


def identifier(kind: str, value: str, as_of: str = "") -> dict[str, Any]:
    """Someone, by an identifier within the tenant."""
    return {"parent": "tenants/acme", "identifier": IdentifierSelector(kind=kind, value=value, as_of=at(as_of) if as_of else None)}


async def test_e1_whoever_is_not_known_to_be_the_person_learns_nothing(served: Serving) -> None:
    """E1: no preview before the identity was verified, and the same answer whether anybody is there or not."""
    await served.create_tenants()
    person = await visitor(served)
    other = await visitor(served, phone=OTHER_PHONE)
    desk = await officer(served)
    opening = OpenSubjectRequestRequest(parent="tenants/acme", subject=person, kind="ERASURE", channel="PHONE", requester="REPRESENTATIVE")
    unverified = (await desk.call(desk.rights.OpenSubjectRequest, opening)).subject_request.name
    waiting = why(ERASING.purpose, reference=unverified, reason=ERASING.reason)
    others = await asked_by(served, other)
    nobody = f"tenants/acme/subjects/{NEVER}"

    unknown = [await not_previewed(desk, waiting, subject=name) for name in (person, nobody)]
    unknown.append(await not_previewed(desk, waiting, **identifier("phone", "+972502345670")))
    foreign = [await not_previewed(desk, others, subject=name) for name in (person, nobody)]
    groundless = [await not_previewed(desk, ERASING, subject=name) for name in (person, nobody)]

    assert {(error.code.name, error.reason) for error in unknown} == {("FAILED_PRECONDITION", "IDENTITY_NOT_VERIFIED")}
    assert {(error.code.name, error.reason) for error in (*foreign, *groundless)} == {("FAILED_PRECONDITION", "CONSENT_BASIS_MISSING")}
    assert await rows(served, tables.erasures) == (0,)


@pytest.mark.parametrize(("forget", "answer"), [(False, "KEPT"), (True, "ERASED")])
async def test_a5_the_person_is_asked_whether_the_mark_stays_and_the_certificate_says_the_answer(
    served: Serving, forget: bool, answer: str
) -> None:
    """A5: in both languages, before they ask for it. A tenant that instructs is asked nothing, nor is anybody of whom nothing is erased here."""
    await served.create_tenants()
    person, member = await visitor(served), subject_of((await create(served.service("acme-app"), contact(OTHER_PHONE))).name)
    desk, admin = await officer(served), served.service("acme-admin")
    asking = [(desk, person, await asked_by(served, person)), (desk, member, await asked_by(served, member)), (admin, member, ERASING)]

    previews = [
        await caller.call(caller.erasures.PreviewErasure, PreviewErasureRequest(subject=who, justification=because))
        for caller, who, because in asking
    ]
    erasure = await approve(served, await request_erasure(desk, person, asking[0][2], forget=forget))

    assert [set(preview.suppression_question) for preview in previews] == [{"he", "en"}, set(), set()]
    assert (await certificates(served, erasure))[0]["suppression"] == answer


async def test_e2_what_only_a_tenant_decides_about_is_forwarded_and_left(served: Serving) -> None:
    """E2, P1.8-role: nothing is changed, and the certificate says so."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    desk = await officer(served)
    because = await asked_by(served, subject_of(name))

    erasure = await request_erasure(desk, subject_of(name), because)
    again = await request_erasure(desk, subject_of(name), because)

    [said] = await certificates(served, erasure)
    assert (erasure.state, again.name) == (ERASURE_STATE_FORWARDED, erasure.name)
    assert [(line.category, line.found_count, line.forwarded_count) for line in erasure.outcomes] == [("end-customer-contact", 1, 1)]
    assert (said["state"], said["methods"]) == ("FORWARDED", [])
    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE


async def test_e3_a_tenants_instruction_reaches_its_own_lists_alone(served: Serving) -> None:
    """E3, I11: neither another tenant's list nor what the operator itself knows."""
    await served.create_tenants()
    app, other = served.service("acme-app"), served.service("globex-app")
    ours = (await create(app, contact())).name
    theirs = (await create(other, contact(), tenant="globex")).name
    lead = await visitor(served)

    erasure = await erase(served, subject_of(ours))

    left = await find(await officer(served), sought("phone", PHONE, category="site-visitor", because=await asked_by(served, lead)))
    assert lead == subject_of(ours)
    assert erasure.state == ERASURE_STATE_COMPLETE
    assert (await not_revealed(app, asked(ours, "phone"))).reason == "RECORD_NOT_FOUND"
    assert (await reveal(other, asked(theirs, "phone"))).fields["phone"].text == PHONE
    assert [match.subject for match in left] == [lead]
    assert [line.category for line in erasure.outcomes] == ["end-customer-contact"]


async def test_e6_an_invoice_stays_restricted_until_its_date_and_goes_then_by_itself(served: Serving) -> None:
    """E6, P2.10c-keep, A4: restricted with basis and date; a supplement says when it went."""
    await served.create_tenants()
    person = await visitor(served)
    billing = served.service("billing")
    invoice = (await create(billing, record("billing-record", INVOICE, subject=person), purpose="billing")).name

    erasure = await erase_for_person(served, person)

    refused = await not_revealed(billing, asked(invoice, "amount", because=BILLING))
    shown = await reveal(await lawyer(served), asked(invoice, "amount", because=CLAIM))
    [exception] = [found for line in erasure.outcomes for found in line.exceptions]
    end = exception.end_time.ToDatetime(tzinfo=served.clock().tzinfo)
    assert erasure.state == ERASURE_STATE_PARTIAL
    assert (exception.basis, exception.count) == (ERASURE_EXCEPTION_BASIS_STATUTORY_TAX, 1)
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "RESTRICTED")
    assert shown.fields["amount"].text == "11900"

    await turn(served, after=end - served.clock() - timedelta(minutes=1))
    assert (await state_of(served, erasure)).state == ERASURE_STATE_PARTIAL
    await turn(served, after=timedelta(minutes=2))

    done = await state_of(served, erasure)
    first, supplement = await certificates(served, erasure)
    assert done.state == ERASURE_STATE_COMPLETE
    assert (first["state"], supplement["state"]) == ("PARTIAL", "COMPLETE")
    assert supplement["certificate_no"] == f"{first['certificate_no']}-S1"
    assert (await not_revealed(await lawyer(served), asked(invoice, "amount", because=CLAIM))).reason == "RECORD_NOT_FOUND"
    assert await rows(served, tables.records, tables.record_parts, tables.subject_keys, tables.index_entries) == (0, 0, 0, 0)


async def test_of_messages_only_the_copy_that_regulation_needs_names_its_recipient_until_its_date(served: Serving) -> None:
    """P3.5-reg, §6.2, C05: what a licensed operator carried is restricted; of every other message the recipient becomes a token."""
    await served.create_tenants()
    engine = served.service("engine")
    carried, sent = [(await create(engine, message(PHONE, channel))).name for channel in ("VOICE", "SMS")]

    erasure = await erase(served, subject_of(carried))

    [line] = [line for line in erasure.outcomes if line.category == "message-metadata"]
    [exception] = line.exceptions
    refused = await not_revealed(served.service("billing"), asked(carried, "recipient_phone", because=BILLING))
    shown = await reveal(await lawyer(served), asked(carried, "recipient_phone", because=CLAIM))
    assert (line.found_count, line.restricted_count, line.tokenised_count) == (2, 1, 1)
    assert exception.basis == ERASURE_EXCEPTION_BASIS_REGULATORY_TELECOM
    assert (refused.reason, shown.fields["recipient_phone"].text) == ("RESTRICTED", PHONE)
    assert (await not_revealed(await lawyer(served), asked(sent, because=CLAIM))).reason == "SUBJECT_ERASED"

    end = exception.end_time.ToDatetime(tzinfo=served.clock().tzinfo)
    await turn(served, after=end - served.clock() + timedelta(minutes=1))

    assert (await state_of(served, erasure)).state == ERASURE_STATE_COMPLETE
    assert (await not_revealed(await lawyer(served), asked(carried, because=CLAIM))).reason == "RECORD_NOT_FOUND"


async def test_what_charging_does_not_need_goes_at_once(served: Serving) -> None:
    """§2B, C12: the account is kept for the books, without the telephone and the address."""
    await served.create_tenants()
    billing = served.service("billing")
    fields = {"full_name": "דנה לוי", "company_no": "512345678", "email": "dana@example.com", "phone": PHONE}
    stored = (await create(billing, record("business-account", fields), purpose="billing")).name

    erasure = await erase_for_person(served, subject_of(stored))

    async with served.vault.database.read() as connection:
        [part] = (await connection.execute(tables.record_parts.select())).all()
        kinds = {row.kind for row in await connection.execute(tables.index_entries.select())}
    assert erasure.state == ERASURE_STATE_PARTIAL
    assert set(crypto.field_names(part.sealed)) == {"full_name", "company_no"}
    assert not {"restricted:phone", "restricted:email", "phone", "email"} & kinds


async def test_e7_the_other_party_of_a_call_becomes_a_token_and_the_customers_charges_stay(served: Serving) -> None:
    """E7, A23: duration, status and the customer's own line are what they were; the number is nowhere."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, call_detail())
    called = next(party.subject for party in stored.parties if party.role == "called")
    line = f"{next(party.subject for party in stored.parties if party.role == 'customer')}/records/{id_of(stored.name)}"

    erasure = await erase_for_person(served, called)
    [exception] = [found for outcome in erasure.outcomes for found in outcome.exceptions]
    during = await not_revealed(billing, asked(line, "called", "duration_s", because=BILLING))
    await turn(served, after=timedelta(days=8 * 366))

    async with served.vault.database.read() as connection:
        parts = {part.role: part.key_version for part in await connection.execute(tables.record_parts.select())}
        metadata = (await connection.execute(tables.records.select())).one().metadata
    assert exception.basis == ERASURE_EXCEPTION_BASIS_REGULATORY_TELECOM
    assert during.reason == "RESTRICTED"
    assert (parts["called"], parts["customer"] > 0, parts["calling"] > 0) == (0, True, True)
    assert (metadata["duration_s"], metadata["status"]) == ("61", "answered")


async def test_e8_only_the_interval_of_this_person_is_touched(served: Serving) -> None:
    """E8, A29: a second number that was somebody else's before."""
    await served.create_tenants()
    num2 = served.service("num2")
    assigned = "+972552345678"
    before = (await create(num2, mapping(assigned, PHONE, begin="2025-01-01T00:00:00Z", end="2025-06-01T00:00:00Z"))).name
    after = (await create(num2, mapping(assigned, OTHER_PHONE, begin="2025-07-01T00:00:00Z"))).name
    desk = await officer(served)
    because = await asked_by(served, subject_of(before))

    ambiguous = await not_previewed(desk, because, **identifier("virtual-number", assigned))
    seen = await desk.call(
        desk.erasures.PreviewErasure,
        PreviewErasureRequest(justification=because, **identifier("virtual-number", assigned, "2025-03-01T00:00:00Z")),
    )
    request = RequestErasureRequest(subject=seen.subject, preview_digest=seen.preview_digest, justification=because)
    await approve(served, (await desk.call(desk.erasures.RequestErasure, request)).erasure)

    assert ambiguous.reason == "AS_OF_REQUIRED"
    assert seen.subject == subject_of(before)
    async with served.vault.database.read() as connection:
        states = {row.subject_id: row.state for row in await connection.execute(tables.subjects.select())}
    assert states == {id_of(subject_of(before)): "ERASED", id_of(subject_of(after)): "ACTIVE"}


async def test_e11_what_comes_in_about_a_person_during_the_run_waits_and_is_somebody_new_afterwards(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E11: a record, a batch and a call in which they are the other party are told to come back; nothing of them is stored meanwhile."""
    await served.create_tenants()
    app, billing = served.service("acme-app"), served.service("billing")
    person = subject_of((await create(app, contact())).name)
    erasure = await request_erasure(served.service("acme-admin"), person)

    async def stops(*_: object) -> None:
        raise UnavailableError("STORE_UNAVAILABLE", "the rest comes later")

    with monkeypatch.context() as amid:
        amid.setattr(erase_run, "run", stops)
        await approve(served, erasure)
    before = await rows(served, tables.records, tables.record_parts, tables.index_entries)
    parent = "tenants/acme"
    refused = [
        await app.refused(app.records.CreateRecord, CreateRecordRequest(parent=parent, record=contact())),
        await app.refused(
            app.records.BatchCreateRecords, BatchCreateRecordsRequest(parent=parent, records=[contact(), contact(OTHER_PHONE)])
        ),
        await billing.refused(billing.records.CreateRecord, CreateRecordRequest(parent=parent, record=call_detail(called=PHONE))),
    ]
    during = await rows(served, tables.records, tables.record_parts, tables.index_entries)
    await erase_run.resume(served.vault, upkeep_caller())

    assert {(error.code.name, error.reason) for error in refused} == {("ABORTED", "RETRY_AFTER_ERASURE")}
    assert during == before
    assert (await state_of(served, erasure)).state == ERASURE_STATE_COMPLETE
    assert subject_of((await create(app, contact())).name) != person


async def test_e12_two_people_approve_what_has_to_stay_and_nobody_twice(served: Serving) -> None:
    """§6.1: one approval changes nothing where two are asked for."""
    await served.create_tenants()
    person = await visitor(served)
    await create(served.service("billing"), record("billing-record", INVOICE, subject=person), purpose="billing")
    erasure = await request_erasure(served.service("privacy-officer"), person, await asked_by(served, person))
    first = await officer(served, "e-first")
    approval = ApproveErasureRequest(name=erasure.name, justification=ERASING)

    once = (await first.call(first.erasures.ApproveErasure, approval)).erasure
    twice = await first.refused(first.erasures.ApproveErasure, approval)
    second = await officer(served, "e-second")
    done = (await second.call(second.erasures.ApproveErasure, approval)).erasure

    assert erasure.required_approvals == 2
    assert (once.state, twice.reason) == (ERASURE_STATE_REQUESTED, "SEPARATION_OF_DUTIES")
    assert (done.state, list(done.approvers)) == (ERASURE_STATE_PARTIAL, ["people/e-first", "people/e-second"])


async def test_e14_a_number_that_two_people_share_erases_neither(served: Serving) -> None:
    """E14: a household; the person who is meant is named."""
    await served.create_tenants()
    one = await visitor(served)
    two = await visitor(served, email="dana@example.com")
    await visitor(served, phone=PHONE, subject=two)
    desk = await officer(served)
    because = await asked_by(served, two)

    refused = await not_previewed(desk, because, **identifier("phone", PHONE))
    await erase_for_person(served, two)

    async with served.vault.database.read() as connection:
        states = {row.subject_id: row.state for row in await connection.execute(tables.subjects.select())}
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "AMBIGUOUS_SUBJECT")
    assert (states[id_of(one)], states[id_of(two)]) == ("ACTIVE", "ERASED")


async def test_e15_a_guardian_gets_the_certificate_and_no_data(served: Serving) -> None:
    """E15: it says who asked as a kind, and refers to the request that holds the evidence."""
    await served.create_tenants()
    person = await visitor(served)

    erasure = await erase_for_person(served, person, "GUARDIAN")

    again = [await certificates(served, erasure) for _ in range(2)]
    [said] = again[0]
    assert erasure.requester_kind == REQUESTER_KIND_GUARDIAN
    assert again[0] == again[1]
    assert (said["requester_kind"], said["reference"]) == ("GUARDIAN", erasure.reference)
    assert not any(value in str(said) for value in (PHONE, "2345678"))


async def test_e17_the_log_keeps_what_happened_and_leads_to_nobody(served: Serving) -> None:
    """E17, L4: events stay under the opaque id; the number resolves no more."""
    await served.create_tenants()
    person = await visitor(served)
    desk = await officer(served)
    because = await asked_by(served, person)
    await find(desk, sought("phone", PHONE, category="site-visitor", because=because))

    erasure = await approve(served, await request_erasure(desk, person, because))

    operations = [entry.operation for entry in await entries(served) if id_of(person) in entry.subjects]
    assert erasure.state == ERASURE_STATE_COMPLETE
    assert {"find", "preview-erasure", "request-erasure", "approve-erasure", "erase"} <= set(operations)
    assert await rows(served, tables.identities, tables.index_entries) == (0, 0)
    assert (await not_previewed(served.service("acme-admin"), ERASING, **identifier("phone", PHONE))).reason == "SUBJECT_NOT_FOUND"


async def test_e19_every_spelling_leads_to_the_same_person(served: Serving) -> None:
    """E19: as people write numbers and addresses."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), contact(email="dana@example.com"))).name)
    admin = served.service("acme-admin")
    spellings = [("phone", "050-234-5678"), ("phone", "+972-50-2345678"), ("phone", "972502345678"), ("email", "DANA@Example.COM")]

    seen = [
        (await admin.call(admin.erasures.PreviewErasure, PreviewErasureRequest(justification=ERASING, **identifier(*spelling)))).subject
        for spelling in spellings
    ]

    assert seen == [person] * len(spellings)


async def test_what_is_kept_is_found_for_claims_and_by_nobody_else(served: Serving) -> None:
    """§6.4, L31: the restricted index; ordinary searches find nothing, whatever their spelling."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, call_detail())
    calling = next(party.subject for party in stored.parties if party.role == "calling")
    search = {"kind": "phone", "value": PHONE, "category": "call-detail"}

    await erase_for_person(served, calling)

    assert list(await find(billing, sought(**search, because=BILLING))) == []
    assert [match.subject for match in await find(await lawyer(served), sought(**search, because=CLAIM))] == [calling]


async def test_a_person_of_whom_a_tenant_keeps_something_lives_on_without_the_rest(served: Serving) -> None:
    """A4, P1.8-role: what the operator decides about goes, the tenant's list is forwarded and works as before."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    person = await visitor(served, phone=PHONE, email="dana@example.com")

    erasure = await erase_for_person(served, person)

    outcomes = {line.category: (line.erased_count, line.forwarded_count) for line in erasure.outcomes}
    assert person == subject_of(name)
    assert outcomes == {"end-customer-contact": (0, 1), "site-visitor": (1, 0)}
    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE
    # The address stood with the operator alone, so it leads to nobody any more.
    assert await rows(served, tables.records, tables.identities, tables.subject_keys) == (1, 1, 1)


async def test_evidence_of_a_consent_outlives_the_person_by_its_own_time(served: Serving) -> None:
    """§6.2: a digest and dates, no person; gone when its time is over."""
    await served.create_tenants()
    person = await visitor(served)
    desk = await officer(served)
    consent = RecordConsentRequest(subject=person, scope="purpose:own-marketing", text_version="2026-01", evidence_sha256=b"\5" * 32)
    await desk.call(desk.rights.RecordConsent, consent)

    erasure = await erase_for_person(served, person)
    kept = await rows(served, tables.consents, tables.erasure_exceptions)
    await turn(served, after=timedelta(days=8 * 366))

    bases = [found.basis for line in erasure.outcomes for found in line.exceptions]
    assert (erasure.state, bases) == (ERASURE_STATE_PARTIAL, [ERASURE_EXCEPTION_BASIS_CONSENT_EVIDENCE])
    assert kept == (1, 1)
    assert await rows(served, tables.consents, tables.erasure_exceptions) == (0, 0)
    assert (await state_of(served, erasure)).state == ERASURE_STATE_COMPLETE


async def test_retention_leaves_to_the_erasure_what_an_erasure_keeps(served: Serving) -> None:
    """A4: what goes at its date is certified, not swept in silence."""
    await served.create_tenants()
    person = await visitor(served)
    await create(served.service("billing"), record("billing-record", INVOICE, subject=person), purpose="billing")
    erasure = await erase_for_person(served, person)

    served.clock.offset += timedelta(days=9 * 366)
    await retain.run_retention(served.vault, Attempt(upkeep_caller()), "acme")
    still_there = await rows(served, tables.records)
    await turn(served, after=timedelta())

    assert still_there == (1,)
    assert await rows(served, tables.records) == (0,)
    assert len(await certificates(served, erasure)) == 2
    assert [entry.operation for entry in await entries(served)][-1] == "complete-erasure"
