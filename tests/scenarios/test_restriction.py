"""Restricting a person's data: stored only, but for claims, orders and their own requests; and told before it is lifted."""

import pytest

from tests.builders import (
    NEVER,
    PHONE,
    asked,
    call_detail,
    contact,
    create,
    entries,
    entry_of,
    erase,
    id_of,
    not_revealed,
    record,
    reveal,
    subject_of,
)
from tests.faults import quiet
from tests.holds import officer_of, place, release, wanted
from tests.retaining import swept
from tests.serving import Caller, Serving, why
from vault.client.errors import CallError
from vault.store.restrictions import restrictions_of
from vault.v1.resources_pb2 import SUBJECT_STATE_ACTIVE, SUBJECT_STATE_RESTRICTED, Justification
from vault.v1.rights_service_pb2 import LiftRestrictionRequest, ObjectToProcessingRequest, RestrictSubjectRequest
from vault.v1.vault_service_pb2 import CheckContactableRequest, GetRecordRequest

CONTACT = why("contact", "SUP-4711", "a visitor asked us to call back")
ASKED = why("data-subject-request", reason="the person asked us to stop using it")
GIVEN = {"source": "VOLUNTARY", "terms_version": "2026-01"}


async def given_person(served: Serving) -> tuple[Caller, Caller, str]:
    """An officer, the tenant's application, and a record of a person."""
    await served.create_tenants()
    await served.sign_nda("e-officer")
    app = served.service("acme-app")
    return served.person("e-officer", "privacy-officer"), app, (await create(app, contact(PHONE))).name


async def restrict(caller: Caller, subject: str, because: Justification = ASKED) -> int:
    answer = await caller.call(caller.rights.RestrictSubject, RestrictSubjectRequest(subject=subject, justification=because))
    return answer.subject.state


def lifting(subject: str, notice: str = "notice-7", because: Justification = ASKED) -> LiftRestrictionRequest:
    return LiftRestrictionRequest(subject=subject, justification=because, notice_id=notice)


async def not_lifted(officer: Caller, request: LiftRestrictionRequest) -> CallError:
    return await officer.refused(officer.rights.LiftRestriction, request)


async def test_restricted_data_is_kept_and_not_used(served: Serving) -> None:
    """L31: given a restricted person, when anybody works with their data, then RESTRICTED; and nothing may be sent to them."""
    officer, app, record = await given_person(served)

    state = await restrict(officer, subject_of(record))

    assert state == SUBJECT_STATE_RESTRICTED
    assert (await not_revealed(app, asked(record))).reason == "RESTRICTED"
    request = CheckContactableRequest(parent="tenants/acme", kind="phone", value=PHONE, purpose="service-delivery")
    answer = await app.call(app.records.CheckContactable, request)
    assert (answer.contactable, answer.reason) == (False, "RESTRICTED")


async def test_a_restriction_of_one_party_restricts_the_record(served: Serving) -> None:
    """L31, P3.4-perm-party."""
    officer, _, _ = await given_person(served)
    call = await create(served.service("billing"), call_detail())
    called = next(party.subject for party in call.parties if party.role == "called")

    await restrict(officer, called)

    error = await not_revealed(served.service("billing"), asked(call.name, because=why("billing")))
    assert error.reason == "RESTRICTED"


async def test_a_restriction_is_lifted_after_a_notice(served: Serving) -> None:
    """L31: given no notice, then NOTICE_REQUIRED; given one, then the data is in use again and the notice is kept."""
    officer, app, record = await given_person(served)
    await restrict(officer, subject_of(record))

    assert (await not_lifted(officer, lifting(subject_of(record), ""))).reason == "NOTICE_REQUIRED"
    answer = await officer.call(officer.rights.LiftRestriction, lifting(subject_of(record)))

    assert answer.subject.state == SUBJECT_STATE_ACTIVE
    assert (await reveal(app, asked(record))).fields
    async with served.vault.database.read() as connection:
        [row] = await restrictions_of(connection, "acme", id_of(subject_of(record)))
    assert (row.basis, row.lifted_by, row.notice_id) == ("subject-request", "people/e-officer", "notice-7")


async def test_only_what_is_restricted_is_lifted_and_a_notice_is_an_id(served: Serving) -> None:
    """L31, I2."""
    officer, _, record = await given_person(served)

    assert (await not_lifted(officer, lifting(subject_of(record)))).reason == "NOT_RESTRICTED"
    await restrict(officer, subject_of(record))
    for notice in ("told at 050-2345678", "0502345678", "502345678"):
        assert (await not_lifted(officer, lifting(subject_of(record), notice))).fields == ("notice_id",)


async def test_a_notice_is_not_logged_for_whom_nothing_may_be_lifted(served: Serving) -> None:
    """I2, A30. Harm: what a caller without a purpose sent as the id of a notice stood in the log in clear."""
    officer, _, record = await given_person(served)
    await restrict(officer, subject_of(record))

    refused = await not_lifted(officer, lifting(subject_of(record), because=why("billing")))

    assert (refused.reason, (await entry_of(served, refused)).rule) == ("PURPOSE_NOT_ALLOWED", "")


async def test_a_restriction_needs_a_persons_request_and_an_agreement(served: Serving) -> None:
    """P1.6b-need, P3.7-nda."""
    officer, _, record = await given_person(served)
    unsigned = served.person("e-unsigned", "privacy-officer")
    subject = subject_of(record)

    other_purpose = await officer.refused(
        officer.rights.RestrictSubject, RestrictSubjectRequest(subject=subject, justification=why("billing"))
    )
    without_nda = await unsigned.refused(unsigned.rights.RestrictSubject, RestrictSubjectRequest(subject=subject, justification=ASKED))
    unreasoned = await officer.refused(officer.rights.RestrictSubject, RestrictSubjectRequest(subject=subject))

    assert [error.reason for error in (other_purpose, without_nda, unreasoned)] == [
        "PURPOSE_NOT_ALLOWED",
        "NDA_INVALID",
        "JUSTIFICATION_REQUIRED",
    ]


async def test_nobody_is_restricted_who_is_not_there(served: Serving) -> None:
    """I11, P2.10a-erase."""
    officer, _, record = await given_person(served)
    await erase(served, subject_of(record))
    never = f"tenants/acme/subjects/{NEVER}"

    for subject, reason in ((never, "SUBJECT_NOT_FOUND"), (subject_of(record), "SUBJECT_ERASED")):
        request = RestrictSubjectRequest(subject=subject, justification=ASKED)
        assert (await officer.refused(officer.rights.RestrictSubject, request)).reason == reason
        assert (await not_lifted(officer, lifting(subject))).reason == reason


async def test_an_objection_restricts(served: Serving) -> None:
    """P2.5-nonsub, L34, A13: given an objection to another purpose than advertising, then processing ends."""
    officer, app, record = await given_person(served)

    await app.call(app.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=subject_of(record), purpose="customer-report"))

    assert (await not_revealed(app, asked(record))).reason == "RESTRICTED"
    async with served.vault.database.read() as connection:
        [row] = await restrictions_of(connection, "acme", id_of(subject_of(record)))
    assert row.basis == "objection"
    answer = await officer.call(officer.rights.LiftRestriction, lifting(subject_of(record)))
    assert answer.subject.state == SUBJECT_STATE_ACTIVE


async def test_a_visitor_without_an_account_who_objects_is_restricted_and_then_erased(served: Serving) -> None:
    """P2.5-nonsub: given visitors with and without an account, when both object, then the sweep erases the latter's data alone, unless held."""
    await quiet(served)
    officer, app, _ = await given_person(served)
    stranger, held, subscriber = [
        (await create(app, record("site-visitor", {**GIVEN, "phone": phone, "is_subscriber": has_account}))).name
        for phone, has_account in (("+972502345671", "no"), ("+972502345672", "no"), ("+972502345673", "yes"))
    ]
    lawyer, manager = await officer_of(served), served.service("account-manager")
    hold = await place(lawyer, wanted(subject_of(held)))

    for name in (stranger, held, subscriber):
        await app.call(app.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=subject_of(name), purpose="contact"))

    refusals = [await not_revealed(manager, asked(name, because=CONTACT)) for name in (stranger, held, subscriber)]
    assert [refused.reason for refused in refusals] == ["RESTRICTED"] * 3
    assert await swept(served) == {"site-visitor": 1}
    gone = await officer.refused(officer.records.GetRecord, GetRecordRequest(name=stranger))
    assert gone.reason == "RECORD_NOT_FOUND"
    await release(lawyer, hold)
    assert await swept(served) == {"site-visitor": 1}
    assert (await officer.call(officer.records.GetRecord, GetRecordRequest(name=subscriber))).record.name == subscriber


async def test_an_objection_names_a_purpose_of_the_catalogue(served: Serving) -> None:
    """I9."""
    _, app, record = await given_person(served)

    error = await app.refused(app.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=subject_of(record), purpose="fun"))

    assert (error.reason, *error.fields) == ("UNKNOWN_PURPOSE", "purpose")


@pytest.mark.parametrize("who", ["acme-app", "marketing", "support"])
async def test_others_restrict_nobody(served: Serving, who: str) -> None:
    """I9."""
    _, _, record = await given_person(served)
    caller = served.service(who)

    request = RestrictSubjectRequest(subject=subject_of(record), justification=ASKED)

    assert (await caller.refused(caller.rights.RestrictSubject, request)).reason == "ROLE_NOT_ALLOWED"


async def test_restricting_lifting_and_objecting_are_recorded(served: Serving) -> None:
    """I6."""
    officer, app, record = await given_person(served)
    subject = subject_of(record)
    await restrict(officer, subject)
    await officer.call(officer.rights.LiftRestriction, lifting(subject))
    await app.call(app.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=subject, purpose="billing"))

    last = (await entries(served))[-3:]

    assert [(entry.operation, entry.rule, list(entry.subjects)) for entry in last] == [
        ("restrict-subject", "", [id_of(subject)]),
        ("lift-restriction", "notice:notice-7", [id_of(subject)]),
        ("object-to-processing", "objection:billing", [id_of(subject)]),
    ]
