"""The end of a contract, from the request to the signed report: what goes, what stays, for what, and for whom (P3.8, A22, A23, A24)."""

import json
from collections import Counter
from datetime import timedelta

from sqlalchemy import select

from tests.builders import (
    OTHER_PHONE,
    PHONE,
    asked,
    at,
    contact,
    create,
    entries,
    erase_for_person,
    find,
    id_of,
    not_revealed,
    reveal,
    sought,
    subject_of,
)
from tests.faults import quiet
from tests.orders import deliver, fresh_team, order_for
from tests.rotating import advanced, all_rows, asked_for, started, until
from tests.serving import Serving, why
from tests.terminating import ENDING, GRACE, LISTED, MAIL, Customer, approved, customer, ended, ending, finished, requested, told, wound_up
from vault.audit.checkpoint import NoteVerifier
from vault.audit.termination_report import verify_report
from vault.operations import erase_run
from vault.operations.upkeep import upkeep_caller
from vault.operations.verify_keys import verify_keys
from vault.store import tables
from vault.v1.erasure_service_pb2 import ERASURE_STATE_PARTIAL
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.resources_pb2 import TENANT_STATE_ACTIVE, TENANT_STATE_TERMINATED, TENANT_STATE_TERMINATING
from vault.v1.rights_service_pb2 import ObjectToProcessingRequest
from vault.v1.tenant_service_pb2 import (
    TERMINATION_STATE_APPROVED,
    TERMINATION_STATE_COMPLETE,
    TERMINATION_STATE_GRACE,
    TERMINATION_STATE_REQUESTED,
    ApproveTerminationRequest,
    GetTenantRequest,
    OpenJobRequest,
)
from vault.v1.vault_service_pb2 import CheckContactableRequest, CreateRecordRequest, GetRecordRequest

CLAIM = why("claim-or-complaint", "CLM-1", "an enquiry about the time as a customer")
IN_TOUCH = why("keep-in-touch", reason="keeping in touch with a former customer")


async def begun(served: Serving) -> Customer:
    await served.create_tenants()
    await quiet(served)
    return await customer(served)


async def categories(served: Serving, tenant: str = "acme") -> Counter[str]:
    return Counter(row.category for row in await all_rows(served, tables.records) if row.tenant_id == tenant)


async def state_of(served: Serving) -> int:
    operator = served.service("operator")
    return (await operator.call(operator.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))).tenant.state


async def test_an_end_is_approved_by_another_person_as_it_was_asked_for(served: Serving) -> None:
    """P3.8: asked for twice it is one; changed before the approval it is another; who asked does not approve."""
    await served.create_tenants()
    await quiet(served)
    moment = served.clock() + timedelta(days=3)
    await served.sign_nda("e-second")
    operator, second = served.person("e-operator", "operator"), served.person("e-second", "privacy-officer")

    first, again = [await requested(served, ending(moment)) for _ in range(2)]
    later = await requested(served, ending(moment + timedelta(days=1)))
    approval = ApproveTerminationRequest(name="tenants/acme", effective_time=later.effective_time, justification=ENDING)
    stale = ApproveTerminationRequest(name="tenants/acme", effective_time=first.effective_time, justification=ENDING)
    own = await operator.refused(operator.tenants.ApproveTermination, approval)
    changed = await second.refused(second.tenants.ApproveTermination, stale)
    agreed = (await second.call(second.tenants.ApproveTermination, approval)).termination
    twice = await second.refused(second.tenants.ApproveTermination, approval)
    other = await operator.refused(operator.tenants.TerminateTenant, ending(moment))
    same = await requested(served, ending(moment + timedelta(days=1)))
    await wound_up(served)

    assert first == again
    assert (first.state, agreed.state) == (TERMINATION_STATE_REQUESTED, TERMINATION_STATE_APPROVED)
    assert [error.reason for error in (own, changed, twice, other)] == [
        *("SEPARATION_OF_DUTIES", "TERMINATION_CHANGED", "TERMINATION_NOT_PENDING", "TERMINATION_APPROVED")
    ]
    assert same == agreed
    assert await state_of(served) == TENANT_STATE_ACTIVE
    logged = [(entry.operation, entry.decision) for entry in await entries(served) if "terminat" in entry.operation]
    assert logged.count(("terminate-tenant", "ALLOWED")) == 4
    assert logged.count(("approve-termination", "REFUSED")) == 3


async def test_bad_requests_for_an_end_are_refused_and_change_nothing(served: Serving) -> None:
    """P1.6b-need: without a ticket, a purpose that fits, an agreement, or a moment that can be."""
    await served.create_tenants()
    await served.sign_nda("e-operator")
    operator, unsigned = served.person("e-operator", "operator"), served.person("e-unsigned", "operator")
    now = served.clock()
    cases = {
        "REFERENCE_REQUIRED": (operator, ending(now, justification=why("service-delivery"))),
        "PURPOSE_NOT_ALLOWED": (operator, ending(now, justification=why("billing", "END-1"))),
        "JUSTIFICATION_REQUIRED": (operator, ending(now, justification=why("service-delivery", "END-1", "."))),
        "NDA_INVALID": (unsigned, ending(now)),
        "FIELD_INVALID": (operator, ending(now + timedelta(days=400))),
        "TENANT_NOT_FOUND": (operator, ending(now, name="tenants/nobody")),
    }

    refused = {reason: (await who.refused(who.tenants.TerminateTenant, request)).reason for reason, (who, request) in cases.items()}
    too_long = await operator.refused(operator.tenants.TerminateTenant, ending(now, grace_days=1000))

    assert refused == {reason: reason for reason in cases}
    assert too_long.reason == "FIELD_INVALID"
    assert await all_rows(served, tables.terminations) == []


async def test_p38_rm_cred_access_details_are_gone_at_the_effective_time(served: Serving) -> None:
    """P3.8-rm-cred: C23 is destroyed, jobs and requests are closed, kept answers are forgotten, and nobody stores or reads for the customer."""
    names = await begun(served)
    app, admin = served.service("acme-app"), served.service("acme-admin")
    await create(app, contact("+972502345672"), request_id="7f3c1c3e-5d3f-4e0c-9d0b-0f6f0d5f9a11")
    await served.job()
    moment = served.clock() + timedelta(hours=1)
    await approved(served, ending(moment))
    await wound_up(served)
    before = (await state_of(served), (await categories(served))["access-credential"])

    served.clock.offset += timedelta(hours=1)
    await wound_up(served)

    report = await told(served)
    assert before == (TENANT_STATE_ACTIVE, 1)
    assert await state_of(served) == TENANT_STATE_TERMINATING
    assert report.termination.state == TERMINATION_STATE_GRACE
    assert report.termination.credentials_time.ToDatetime() - moment.replace(tzinfo=None) < timedelta(hours=24)
    assert (report.counts["access-credential"].erased, report.counts["access-credential"].kept) == (1, 0)
    assert (await categories(served))["access-credential"] == 0
    assert await all_rows(served, tables.idempotent_requests) == []
    assert all(row.close_time is not None for row in await all_rows(served, tables.jobs))
    reading = [
        await not_revealed(app, asked(names["contact"], "phone")),
        await app.refused(app.records.GetRecord, GetRecordRequest(name=names["contact"])),
        await app.refused(app.records.FindSubjects, sought("phone", PHONE)),
        await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=contact(PHONE))),
        await admin.refused(admin.tenants.OpenJob, OpenJobRequest(parent="tenants/acme", expire_time=at(served.clock() + GRACE / 30))),
    ]
    assert {error.reason for error in reading} == {"TENANT_TERMINATED"}


async def test_p38_rm_lists_lists_go_when_the_grace_is_over_and_not_before(served: Serving) -> None:
    """P3.8-rm-lists, A24: C01–C04, templates and content for reports are erased; system files and what is kept stay; no key that opened them does."""
    names = await begun(served)
    await create(served.service("globex-app"), contact(PHONE), tenant="globex")
    kept_keys = {(row.subject_id, bytes(row.wrapped)) for row in await all_rows(served, tables.subject_keys) if row.tenant_id == "acme"}
    await ended(served)
    within = await categories(served)

    served.clock.offset += GRACE + timedelta(seconds=1)
    await wound_up(served)

    after, report = await categories(served), await told(served)
    gone = {"end-customer-contact", "list-membership", "list-profile", "email-template"}
    assert gone <= within.keys()
    assert gone & after.keys() == set()
    assert {row.level for row in await all_rows(served, tables.records) if row.category == "incoming-message"} == set()
    assert after["outgoing-message"] == 1
    assert {name: report.counts[name].erased for name in gone} == {
        "end-customer-contact": 2,
        **dict.fromkeys(gone - {"end-customer-contact"}, 1),
    }
    assert report.termination.state == TERMINATION_STATE_COMPLETE
    assert await state_of(served) == TENANT_STATE_TERMINATED
    assert report.counts["incoming-message"].erased == 1
    # The list's key: nothing that opened a list is left, neither whose people are gone nor whose people stay.
    listed = {id_of(subject_of(names[what])) for what in ("contact", "listed")}
    left = {(row.subject_id, bytes(row.wrapped)) for row in await all_rows(served, tables.subject_keys) if row.tenant_id == "acme"}
    assert {subject for subject, _ in kept_keys} >= listed
    assert not {key for key in kept_keys if key[0] in listed} & left
    assert id_of(subject_of(names["listed"])) not in {subject for subject, _ in left}
    assert {row.subject_id for row in await all_rows(served, tables.identities)} & {id_of(subject_of(names["listed"]))} == set()
    assert await all_rows(served, tables.termination_subjects) == []
    # The other tenant's, by the same number.
    assert await categories(served, "globex") == {"end-customer-contact": 1}
    assert len(await find(served.service("globex-app"), sought("phone", PHONE, tenant="globex"))) == 1


async def test_p38_keep_contact_an_account_becomes_a_former_customers_contact(served: Serving) -> None:
    """P3.8-keep-contact: found and shown for keeping in touch and for claims; of the account what invoices need is left, for seven years."""
    names = await begun(served)
    manager = served.service("account-manager")
    await finished(served)

    [match] = await find(manager, sought("email", MAIL, category="former-customer-contact", because=IN_TOUCH))
    shown = await reveal(manager, asked(match.record, "full_name", "phone", "email", "reasons", because=CLAIM))
    wrong = await not_revealed(served.service("marketing"), asked(match.record, "email", because=why("own-marketing")))

    assert subject_of(match.record) == subject_of(names["account"])
    assert shown.fields["email"].text == MAIL
    assert shown.fields["full_name"].text == "דנה לוי"
    assert shown.fields["reasons"].text == "a.b.c"
    assert wrong.reason == "REASON_MISMATCH"
    [row] = [row for row in await all_rows(served, tables.records) if row.category == "business-account"]
    assert row.expire_time is not None
    billing = served.service("billing")
    metadata = (await billing.call(billing.records.GetRecord, GetRecordRequest(name=names["account"]))).record
    assert set(metadata.field_names) == {"company_no", "company_name", "billing_address"}
    report = await told(served)
    assert (report.counts["business-account"].converted, report.counts["business-account"].kept) == (1, 1)
    assert (report.counts["former-customer-contact"].found, report.counts["former-customer-contact"].kept) == (1, 1)


async def test_p38_keep_contact_who_asked_to_be_removed_is_not_kept(served: Serving) -> None:
    """P3.8-keep-contact: the customer asked when the contract ended."""
    await begun(served)

    await finished(served, remove_contacts=True)

    report = await told(served)
    assert report.termination.remove_contacts
    assert (await categories(served))["former-customer-contact"] == 0
    assert report.counts["business-account"].converted == 1


async def test_a22_a_person_who_objected_before_is_not_kept_in_touch_with(served: Serving) -> None:
    """A22: an objection ends it, whenever it was made."""
    names = await begun(served)
    officer = served.service("privacy-officer")
    request = ObjectToProcessingRequest(subject=subject_of(names["account"]), purpose="keep-in-touch")
    await officer.call(officer.rights.ObjectToProcessing, request)

    await finished(served)

    assert (await categories(served))["former-customer-contact"] == 0


async def test_p38_keep_map_the_interval_is_closed_and_an_order_reaches_the_past(served: Serving) -> None:
    """P3.8-keep-map: the app resolves nothing any more; an order for the past time is answered, and there is nobody after the end."""
    names = await begun(served)
    await finished(served)
    num2 = served.service("num2")
    await served.sign_nda("e-registrant", "e-officer", "e-approver", "e-courier")
    people = fresh_team(served)

    refused = await num2.refused(
        num2.records.FindSubjects,
        sought("virtual-number", OTHER_PHONE, category="number-mapping", as_of=served.clock().isoformat()),
    )
    wanted = order_for(
        served,
        people,
        ("virtual-number", OTHER_PHONE),
        categories=["number-mapping"],
        start="2026-02-01T00:00:00Z",
        end="2026-03-01T00:00:00Z",
    )
    delivered = await deliver(served, people, wanted)

    [row] = [row for row in await all_rows(served, tables.records) if row.category == "number-mapping"]
    assert row.valid_to is not None
    assert row.metadata["valid_to"] == row.valid_to.isoformat()
    assert row.expire_time == row.valid_to + timedelta(days=2557)
    assert refused.reason == "REASON_MISMATCH"
    assert delivered.counts == {"number-mapping": 1}
    assert id_of(names["mapping"]).encode() in delivered.archive


async def test_p38_keep_rep_a23_reports_are_kept_for_claims_and_name_no_end_customer(served: Serving) -> None:
    """P3.8-keep-rep, P3.8-reasons, A23: usage reports for a claim and not for keeping in touch; report rows without their recipient, but for
    what the licensed operator carried."""
    names = await begun(served)
    manager, legal = served.service("account-manager"), served.service("legal-officer")
    await finished(served)

    report = await reveal(manager, asked(names["report"], "aggregates", "rows", because=CLAIM))
    mismatch = await not_revealed(manager, asked(names["report"], "aggregates", because=IN_TOUCH))
    token = await reveal(legal, asked(names["sms"], "recipient_phone", "status", "sender", because=CLAIM))
    voice = await reveal(legal, asked(names["voice"], "recipient_phone", because=CLAIM))
    matches = await find(legal, sought("phone", PHONE, category="message-metadata", because=CLAIM))

    assert report.fields["aggregates"].text == "12 calls"
    assert PHONE not in report.fields["rows"].text
    assert (mismatch.code.name, mismatch.reason) == ("PERMISSION_DENIED", "REASON_MISMATCH")
    assert dict(token.fields).keys() == {"status"}
    assert token.erased_parties == ["subject"]
    assert voice.fields["recipient_phone"].text == PHONE
    assert [match.record for match in matches] == [names["voice"]]
    counts = (await told(served)).counts["message-metadata"]
    assert (counts.found, counts.kept, counts.tokenised, counts.erased) == (2, 2, 1, 0)
    [part] = [row for row in await all_rows(served, tables.record_parts) if row.record_id == id_of(names["sms"])]
    assert (part.sealed, part.subject_id) == (b"", id_of(subject_of(names["sms"])))


async def test_p38_reasons_everything_that_is_left_has_a_reason(served: Serving) -> None:
    """P3.8-reasons: by its category at least one of the three; and nobody is contacted for anything but keeping in touch."""
    await begun(served)
    await finished(served)
    catalogue, manager = served.vault.catalogue, served.service("account-manager")

    def contactable(purpose: str) -> CheckContactableRequest:
        return CheckContactableRequest(parent="tenants/acme", kind="email", value=MAIL, purpose=purpose)

    answers = {
        purpose: await manager.call(manager.records.CheckContactable, contactable(purpose))
        for purpose in ("keep-in-touch", "service-delivery", "own-marketing")
    }

    left = await categories(served)
    assert [name for name in left if not catalogue.category(name).kept_for] == []
    report = await told(served)
    assert [name for name, counts in report.counts.items() if bool(counts.reasons) != bool(counts.kept)] == []
    assert {purpose: (answer.contactable, answer.reason) for purpose, answer in answers.items()} == {
        "keep-in-touch": (True, "FORMER_CUSTOMER"),
        "service-delivery": (False, "CONTRACT_ENDED"),
        "own-marketing": (False, "CONTRACT_ENDED"),
    }


async def test_the_signed_report_adds_up_and_names_nobody(served: Serving) -> None:
    """L36: per category what there was, what went, what stays and why; verified offline, and not if a digit differs."""
    await begun(served)
    await finished(served)
    verifier = NoteVerifier(served.vault.name, served.vault.signing_key.public_key())

    answer = await told(served)
    said = verify_report(answer.report, verifier)

    assert said["tenant"] == "tenants/acme"
    assert said["operator"] == "Cellact Ltd / סלקט בע״מ"
    assert said["return_time"] == ""
    found = said["categories"]
    assert isinstance(found, dict)
    assert {name for name, item in found.items() if item["found"] != item["erased"] + item["kept"] + item["otherwise"]} == set()
    assert {name: item["kept"] for name, item in found.items() if item["kept"]} == dict(await categories(served))
    assert all(item["until"] and item["reasons"] for item in found.values() if item["kept"])
    keys = said["keys"]
    assert isinstance(keys, dict)
    assert keys["destroyed"] >= 1
    assert keys["renewed"] >= 1
    assert keys["left"] == 0
    assert not [value for value in (PHONE, OTHER_PHONE, LISTED, MAIL, "דנה", "Acme", "acme-ftp") if value in answer.report]
    index = json.loads(json.dumps(said["audit"]))["index"]
    entry = (await entries(served))[index]
    assert (entry.operation, entry.rule) == ("wind-up", "termination:keys")


async def test_what_is_kept_is_looked_after_as_before(served: Serving) -> None:
    """P3.8: after the end keys are rotated and checked, people erased and restricted, and what is due goes; a token is in nobody's way."""
    names = await begun(served)
    await finished(served)
    before = await categories(served)

    for kind in ("INDEX", "DATA"):
        await started(served, asked_for(kind))
        await advanced(served)
    await started(served, asked_for("SUBJECT", subject=subject_of(names["sms"])))
    await advanced(served)
    checked = {found.tenant: found.problems async for found in verify_keys(served.vault)}
    legal = served.service("legal-officer")
    token = await reveal(legal, asked(names["sms"], "status", because=CLAIM))
    voice = await reveal(legal, asked(names["voice"], "recipient_phone", because=CLAIM))
    erasure = await erase_for_person(served, subject_of(names["account"]))
    served.clock.offset += timedelta(days=3000)
    await erase_run.resume(served.vault, upkeep_caller())
    operator = served.service("operator")
    swept = await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))

    rotations = [row for row in await all_rows(served, tables.key_rotations) if row.tenant_id == "acme"]
    assert {(row.kind, row.state, row.failed_count) for row in rotations} == {
        (kind, "COMPLETE", 0) for kind in ("INDEX", "DATA", "SUBJECT")
    }
    assert checked["acme"] == ()
    assert list(token.erased_parties) == ["subject"]
    assert voice.fields["recipient_phone"].text == PHONE
    assert erasure.state == ERASURE_STATE_PARTIAL
    assert {"message-metadata", "number-mapping", "call-detail"} <= before.keys() & swept.erased_counts.keys()
    assert await categories(served) == {}


async def test_the_server_does_it_all_by_itself(served: Serving) -> None:
    """P3.8: by upkeep, under its lease, with nobody's help."""

    await served.create_tenants()
    await customer(served)
    await approved(served, ending(served.clock()))

    async def is_in(state: int) -> bool:
        return (await told(served)).termination.state == state

    await until(lambda: is_in(TERMINATION_STATE_GRACE), "closed")
    served.clock.offset += GRACE + timedelta(seconds=1)
    await until(lambda: is_in(TERMINATION_STATE_COMPLETE), "complete")

    assert (await told(served)).report
    async with served.vault.database.read() as connection:
        assert (await connection.execute(select(tables.termination_subjects))).all() == []
