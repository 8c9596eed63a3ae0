"""Erasing a person: previewed, asked for, approved by somebody else, gone on the very next call, and certified."""

from collections.abc import AsyncIterator
from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select

from tests.builders import (
    ERASING,
    OTHER_PHONE,
    PHONE,
    SERVING,
    approve,
    asked,
    asked_by,
    call_detail,
    contact,
    create,
    entry_of,
    erase,
    erase_for_person,
    find,
    not_revealed,
    profile,
    record,
    refusal,
    request_erasure,
    reveal,
    rows,
    sought,
    subject_of,
)
from tests.serving import Caller, Serving, why
from vault.operations import erase_run
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.erasure_service_pb2 import (
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_REQUESTED,
    ApproveErasureRequest,
    Erasure,
    ListErasuresRequest,
    PreviewErasureRequest,
    RequestErasureRequest,
)
from vault.v1.resources_pb2 import SUBJECT_STATE_ACTIVE, SUBJECT_STATE_ERASED, VIEW_FULL, Justification
from vault.v1.vault_service_pb2 import (
    BatchRevealRecordsRequest,
    CreateRecordRequest,
    GetRecordRequest,
    GetSubjectRequest,
    ListRecordsRequest,
    ResolveIdentifierRequest,
    RevealRecordRequest,
    StreamRevealRecordsRequest,
)

CLAIM = why("service-delivery", reason="the person asked us to be forgotten")
OF_PERSON = (tables.subject_keys, tables.record_parts, tables.index_entries, tables.identities)
BILLING = why("billing")


def approval(erasure: Erasure) -> ApproveErasureRequest:
    """A request to approve."""
    return ApproveErasureRequest(name=erasure.name, justification=ERASING)


async def approver(served: Serving, employee: str = "e-approver") -> Caller:
    """A privacy officer whose agreement is in force."""
    await served.sign_nda(employee)
    return served.person(employee, "privacy-officer")


def again(person: str, because: Justification) -> RequestErasureRequest:
    """A request for somebody of whom there is nothing to preview any more."""
    return RequestErasureRequest(subject=person, preview_digest="0" * 64, justification=because)


async def visitor(served: Serving) -> str:
    """Somebody whom the operator knows from its own site, and nothing keeps."""
    fields = {"email": "dana@example.com", "is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
    stored = await create(served.service("acme-app"), record("site-visitor", fields))
    return subject_of(stored.name)


async def years_later(served: Serving) -> None:
    """What upkeep does when every exception is over."""
    served.clock.offset += timedelta(days=8 * 366)
    await erase_run.resume(served.vault, upkeep_caller())


async def one(request: RevealRecordRequest) -> AsyncIterator[StreamRevealRecordsRequest]:
    """A stream of one."""
    yield StreamRevealRecordsRequest(reveal=request)


async def reads_of(caller: Caller, name: str) -> dict[str, str]:
    """What each way of reading a contact answers."""
    mask = FieldMask(paths=["phone"])
    batch = BatchRevealRecordsRequest(parent="tenants/acme", names=[name], justification=SERVING, view=VIEW_FULL, field_mask=mask)
    resolve = ResolveIdentifierRequest(
        parent="tenants/acme",
        category="end-customer-contact",
        kind="phone",
        value=PHONE,
        justification=SERVING,
        view=VIEW_FULL,
        field_mask=mask,
    )
    unary = await caller.refused(caller.records.RevealRecord, asked(name, "phone"))
    batched = (await caller.call(caller.records.BatchRevealRecords, batch)).results
    streamed = await caller.stream(caller.records.StreamRevealRecords, one(asked(name, "phone")))
    resolved = await caller.refused(caller.records.ResolveIdentifier, resolve)
    answers = {"unary": unary, "batch": refusal(batched[0]), "stream": refusal(streamed[0].result), "resolve": resolved}
    return {way: error.reason for way, error in answers.items()}


async def test_an_erased_person_is_gone_on_the_very_next_call_by_every_way_of_reading(served: Serving) -> None:
    """P2.10a-erase, A5: unary, batch, stream, resolve, find, list; the subject says that it was erased."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact(email="dana@example.com"))).name
    person = subject_of(name)
    await create(app, profile(person, first_name="דנה"))

    erasure = await erase(served, person)

    assert erasure.state == ERASURE_STATE_COMPLETE
    assert set((await reads_of(app, name)).values()) == {"RECORD_NOT_FOUND"}
    assert list(await find(app, sought("phone", PHONE))) == list(await find(app, sought("email", "dana@example.com"))) == []
    assert (await app.refused(app.records.GetRecord, GetRecordRequest(name=name))).reason == "RECORD_NOT_FOUND"
    assert list((await app.call(app.records.ListRecords, ListRecordsRequest(parent=person))).records) == []
    subject = (await app.call(app.records.GetSubject, GetSubjectRequest(name=person))).subject
    assert (subject.state, dict(subject.record_counts)) == (SUBJECT_STATE_ERASED, {})


async def test_nothing_can_be_added_to_an_erased_person(served: Serving) -> None:
    """E11: a name that was kept somewhere does not bring the person back."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, contact())).name)
    await erase(served, person)

    refused = await app.refused(
        app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=profile(person, first_name="דנה"))
    )

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "SUBJECT_ERASED")
    assert await rows(served, *OF_PERSON) == (0, 0, 0, 0)


async def test_an_erased_persons_number_can_be_added_again_as_somebody_new(served: Serving) -> None:
    """P2.10b: a new subject with a new id, and nothing of the old one."""
    await served.create_tenants()
    app = served.service("acme-app")
    before = (await create(app, contact())).name
    await erase(served, subject_of(before))

    after = (await create(app, contact())).name

    assert subject_of(after) != subject_of(before)
    assert (await reveal(app, asked(after, "phone"))).fields["phone"].text == PHONE
    assert [match.record for match in await find(app, sought("phone", PHONE))] == [after]
    assert (await not_revealed(app, asked(before, "phone"))).reason == "RECORD_NOT_FOUND"


async def test_a_shared_call_keeps_the_other_party_and_says_who_was_erased(served: Serving) -> None:
    """P3.3-cdr, A5: a record of several people loses one of them, and remains the others'."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, call_detail())
    parties = {party.role: party.subject for party in stored.parties}

    await erase_for_person(served, parties["calling"])
    await years_later(served)
    # After so long the call is kept on for claims alone (P3.5-reg).
    await served.sign_nda("e-lawyer")
    lawyer, because = served.person("e-lawyer", "legal-officer"), why("claim-or-complaint", "TCK-1234", "the customer disputes a charge")

    assert (await not_revealed(billing, asked(stored.name, "called", because=BILLING))).reason == "RESTRICTED"
    shown = await reveal(lawyer, asked(stored.name, "calling", "called", "shadow_number", because=because))
    assert list(shown.erased_parties) == ["calling"]
    assert sorted(shown.fields) == ["called", "shadow_number"]
    assert shown.fields["called"].text == OTHER_PHONE
    assert list(await find(lawyer, sought("phone", PHONE, category="call-detail", because=because))) == []
    assert [match.role for match in await find(lawyer, sought("phone", OTHER_PHONE, category="call-detail", because=because))] == ["called"]


async def test_a_call_goes_with_the_last_of_its_parties(served: Serving) -> None:
    """A23, L43: when regulation keeps it no more, what is left names nobody, and no key or identity leads anywhere."""
    await served.create_tenants()
    stored = await create(served.service("billing"), call_detail())

    for party in stored.parties:
        await erase_for_person(served, party.subject)
    assert (await rows(served, tables.subject_keys, tables.identities))[1] == 0
    await years_later(served)

    async with served.vault.database.read() as connection:
        left = [(part.key_version, part.sealed) for part in await connection.execute(select(tables.record_parts))]
    assert set(left) <= {(0, b"")}
    assert await rows(served, tables.subject_keys, tables.index_entries, tables.identities) == (0, 0, 0)


async def test_a_request_on_a_preview_that_is_no_longer_true_is_refused(served: Serving) -> None:
    """E11: what is asked for is what was seen; nothing changes otherwise."""
    await served.create_tenants()
    app, officer = served.service("acme-app"), served.service("acme-admin")
    person = subject_of((await create(app, contact())).name)
    seen = await officer.call(officer.erasures.PreviewErasure, PreviewErasureRequest(subject=person, justification=ERASING))
    await create(app, profile(person, first_name="דנה"))
    request = RequestErasureRequest(subject=person, preview_digest=seen.preview_digest, justification=ERASING)

    refused = await officer.refused(officer.erasures.RequestErasure, request)

    assert {outcome.category: outcome.found_count for outcome in seen.outcomes} == {"end-customer-contact": 1}
    assert (refused.code.name, refused.reason) == ("ABORTED", "PREVIEW_STALE")
    assert (await entry_of(served, refused)).operation == "request-erasure"
    assert await rows(served, tables.erasures) == (0,)


async def test_an_approval_of_what_changed_since_it_was_asked_for_is_refused(served: Serving) -> None:
    """E11: a record that was added between request and approval is not destroyed unseen."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, contact())).name)
    erasure = await request_erasure(served.service("acme-admin"), person)
    added = (await create(app, profile(person, first_name="דנה"))).name
    officer = await approver(served)

    refused = await officer.refused(officer.erasures.ApproveErasure, approval(erasure))

    subject = (await app.call(app.records.GetSubject, GetSubjectRequest(name=person))).subject
    assert (refused.code.name, refused.reason) == ("ABORTED", "PREVIEW_STALE")
    assert subject.state == SUBJECT_STATE_ACTIVE
    shown = await reveal(served.service("engine"), asked(added, "first_name", because=await served.job()))
    assert shown.fields["first_name"].text == "דנה"


async def test_who_asked_may_not_approve(served: Serving) -> None:
    """Separation of duties: the same person, whatever roles."""
    await served.create_tenants()
    officer = await approver(served)
    person = await visitor(served)
    erasure = await request_erasure(officer, person, await asked_by(served, person))

    refused = await officer.refused(officer.erasures.ApproveErasure, approval(erasure))

    assert erasure.state == ERASURE_STATE_REQUESTED
    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")
    assert (await entry_of(served, refused)).actor == "people/e-approver"
    assert (await rows(served))[:2] == (1, 1)


async def test_an_erasure_has_one_purpose(served: Serving) -> None:
    """A9: no other purpose erases, at any of the three steps."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    officer = served.service("acme-admin")
    erasure = await request_erasure(officer, person)
    second = await approver(served)

    refused = [
        await officer.refused(officer.erasures.PreviewErasure, PreviewErasureRequest(subject=person, justification=CLAIM)),
        await officer.refused(
            officer.erasures.RequestErasure, RequestErasureRequest(subject=person, preview_digest="0" * 64, justification=CLAIM)
        ),
        await second.refused(second.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=CLAIM)),
    ]

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "PURPOSE_NOT_ALLOWED")}
    assert (await rows(served))[:2] == (1, 1)


async def test_a_tenants_administrator_erases_its_contacts_and_no_call_detail(served: Serving) -> None:
    """P1.8-role: what is processed for the tenant is the tenant's to erase; call detail, of which Cellact is controller, is not."""
    await served.create_tenants()
    admin = served.service("acme-admin")
    ours = subject_of((await create(served.service("acme-app"), contact("050-2345670"))).name)
    parties = {party.role: party.subject for party in (await create(served.service("billing"), call_detail())).parties}

    asked_for = await request_erasure(admin, ours)
    refused = await admin.refused(admin.erasures.PreviewErasure, PreviewErasureRequest(subject=parties["calling"], justification=ERASING))

    assert asked_for.state == ERASURE_STATE_REQUESTED
    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
    assert await rows(served, tables.erasures) == (1,)


async def test_a_person_without_an_agreement_in_force_approves_nothing(served: Serving) -> None:
    """P3.7-nda."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    erasure = await request_erasure(served.service("acme-admin"), person)
    officer = served.person("e-unsigned", "privacy-officer")

    refused = await officer.refused(officer.erasures.ApproveErasure, approval(erasure))

    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "NDA_INVALID")
    assert (await rows(served))[:2] == (1, 1)


async def test_a_second_request_for_a_person_is_the_same_erasure(served: Serving) -> None:
    """E12: by two channels, before and after it is done; there is one certificate."""
    await served.create_tenants()
    person = await visitor(served)
    officer = served.service("privacy-officer")
    by_letter, by_mail = await asked_by(served, person), await asked_by(served, person)

    first = await request_erasure(officer, person, by_letter)
    second = await request_erasure(officer, person, by_mail)
    await approve(served, first)
    admin = served.service("acme-admin")
    afterwards = [
        (await caller.call(caller.erasures.RequestErasure, again(person, because))).erasure
        for caller, because in ((officer, by_letter), (admin, ERASING))
    ]
    unlinked = await officer.refused(officer.erasures.RequestErasure, again(person, by_mail))

    listed = (await officer.call(officer.erasures.ListErasures, ListErasuresRequest(parent="tenants/acme"))).erasures
    assert {erasure.name for erasure in (second, *afterwards)} == {first.name}
    # The other request names nobody any more, so nothing is learnt by it.
    assert unlinked.reason == "CONSENT_BASIS_MISSING"
    assert [erasure.name for erasure in listed] == [first.name]
    assert await rows(served, tables.erasure_certificates) == (1,)


async def test_an_erasure_is_approved_once(served: Serving) -> None:
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    erasure = await erase(served, person)
    officer = await approver(served, "e-another")

    refused = await officer.refused(officer.erasures.ApproveErasure, approval(erasure))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ERASURE_NOT_PENDING")
