"""Incidents: who opens, approves, closes and reviews them, and by when what is due (P3.6-fraud, P3.6-sectech, L5, L39)."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from tests.builders import NEVER, at, contact, create, entries, entry_of, erase, id_of, rows, subject_of
from tests.serving import Caller, Serving
from vault import crypto
from vault.client.errors import CallError
from vault.operations.core import active_tenant
from vault.store import tables
from vault.store.incidents import one_business_day_after, overdue_reviews, use_incident
from vault.v1.access_service_pb2 import (
    INCIDENT_KIND_FRAUD,
    INCIDENT_KIND_SECURITY,
    INCIDENT_KIND_TECHNICAL,
    INCIDENT_STATE_ACTIVE,
    INCIDENT_STATE_CLOSED,
    INCIDENT_STATE_EXPIRED,
    INCIDENT_STATE_OPENED,
    ApproveIncidentRequest,
    CloseIncidentRequest,
    Incident,
    IncidentKind,
    ListIncidentsRequest,
    OpenIncidentRequest,
    ReviewIncidentRequest,
)

HAPPENED = "somebody reads what they should not"
FOUND = "only the log of the fault was read"
HOUR = timedelta(hours=1)


def wanted(
    kind: "IncidentKind.ValueType" = INCIDENT_KIND_SECURITY,
    *subjects: str,
    summary: str = HAPPENED,
    until: datetime | None = None,
    tenant: str = "acme",
) -> OpenIncidentRequest:
    """A request to open an incident."""
    expire_time = None if until is None else at(until)
    return OpenIncidentRequest(parent=f"tenants/{tenant}", kind=kind, summary=summary, subjects=subjects, expire_time=expire_time)


async def open_incident(caller: Caller, request: OpenIncidentRequest) -> Incident:
    """Open an incident."""
    return (await caller.call(caller.access.OpenIncident, request)).incident


async def not_opened(caller: Caller, request: OpenIncidentRequest) -> CallError:
    """Be refused to open an incident."""
    return await caller.refused(caller.access.OpenIncident, request)


async def approve(caller: Caller, incident: Incident) -> Incident:
    """Approve an incident."""
    return (await caller.call(caller.access.ApproveIncident, ApproveIncidentRequest(name=incident.name))).incident


async def not_approved(caller: Caller, incident: Incident) -> CallError:
    """Be refused to approve an incident."""
    return await caller.refused(caller.access.ApproveIncident, ApproveIncidentRequest(name=incident.name))


async def close(caller: Caller, incident: Incident) -> Incident:
    """Close an incident."""
    return (await caller.call(caller.access.CloseIncident, CloseIncidentRequest(name=incident.name))).incident


async def review(caller: Caller, incident: Incident) -> Incident:
    """Review an incident."""
    request = ReviewIncidentRequest(name=incident.name, finding=FOUND)
    return (await caller.call(caller.access.ReviewIncident, request)).incident


async def not_reviewed(caller: Caller, incident: Incident, finding: str = FOUND) -> CallError:
    """Be refused to review an incident."""
    return await caller.refused(caller.access.ReviewIncident, ReviewIncidentRequest(name=incident.name, finding=finding))


async def listed(served: Serving, tenant: str = "acme") -> list[Incident]:
    """The incidents of a tenant, as the auditor sees them."""
    auditor = served.service("auditor")
    answer = await auditor.call(auditor.access.ListIncidents, ListIncidentsRequest(parent=f"tenants/{tenant}"))
    return list(answer.incidents)


async def person(served: Serving) -> str:
    """Name of a subject of acme."""
    return subject_of((await create(served.service("acme-app"), contact())).name)


async def use(served: Serving, incident: Incident) -> datetime:
    """Release something under an incident, as far as its register is told of it."""
    now = served.clock()
    async with served.vault.database.write() as connection:
        await use_incident(connection, "acme", id_of(incident.name), now)
    return now


async def is_overdue(served: Serving, principal: str) -> bool:
    async with served.vault.database.read() as connection:
        return await overdue_reviews(connection, "acme", principal, served.clock())


async def test_a_security_incident_is_open_at_once_for_72_hours_and_says_by_when_it_is_reported(served: Serving) -> None:
    """P3.6-sectech, L5: within 24 hours to the Authority; L39: within 72 to the authority under the GDPR."""
    await served.create_tenants()
    security = served.person("e-sec", "security-investigator")

    incident = await open_incident(security, wanted())

    opened = incident.create_time.ToDatetime()
    assert incident.state == INCIDENT_STATE_ACTIVE
    assert incident.opened_by == "people/e-sec"
    assert incident.expire_time.ToDatetime() == opened + 72 * HOUR
    assert incident.authority_due_time.ToDatetime() == opened + 24 * HOUR
    assert incident.gdpr_due_time.ToDatetime() == opened + 72 * HOUR
    assert not incident.HasField("review_due_time")
    assert await listed(served) == [incident]
    entry = (await entries(served))[-1]
    assert (entry.operation, entry.decision, entry.actor) == ("open-incident", "ALLOWED", "people/e-sec")
    assert incident.name.encode() in entry.content


async def test_a_technical_incident_is_open_at_once_and_nobody_is_told(served: Serving) -> None:
    """P3.6-sectech: support opens one for a fault."""
    await served.create_tenants()
    subject = await person(served)

    incident = await open_incident(served.service("support"), wanted(INCIDENT_KIND_TECHNICAL, subject, until=served.clock() + HOUR))

    assert incident.state == INCIDENT_STATE_ACTIVE
    assert list(incident.subjects) == [subject]
    assert not incident.HasField("authority_due_time")
    assert not incident.HasField("gdpr_due_time")


async def test_suspected_fraud_waits_until_another_person_approved_it(served: Serving) -> None:
    """P3.6-fraud: two accounts of one person are one (N5)."""
    await served.create_tenants()
    subject = await person(served)
    fraud = served.person("e-1", "fraud-investigator")
    same = served.person("e-1", "security-investigator", claims={"sub": "another-account"})
    other = served.person("e-2", "privacy-officer")

    incident = await open_incident(fraud, wanted(INCIDENT_KIND_FRAUD, subject, subject))
    by_same = await not_approved(same, incident)
    waiting = (await listed(served))[0]
    approved = await approve(other, incident)
    again = await not_approved(other, incident)

    assert incident.state == waiting.state == INCIDENT_STATE_OPENED
    assert list(incident.subjects) == [subject]
    assert (by_same.code.name, by_same.reason) == ("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")
    assert approved.state == INCIDENT_STATE_ACTIVE
    assert approved.approved_by == "people/e-2"
    assert approved.HasField("approve_time")
    assert (again.code.name, again.reason) == ("FAILED_PRECONDITION", "INCIDENT_NOT_PENDING")
    recorded = [entry for entry in await entries(served) if entry.operation.endswith("incident")]
    assert [(entry.operation, entry.decision) for entry in recorded] == [
        ("open-incident", "ALLOWED"),
        ("approve-incident", "REFUSED"),
        ("approve-incident", "ALLOWED"),
        ("approve-incident", "REFUSED"),
    ]
    assert list(recorded[0].subjects) == [id_of(subject)]


async def test_of_two_people_who_approve_at_once_one_is_the_approver(served: Serving) -> None:
    """P3.6-fraud: the register names one person, and the log says the same."""
    await served.create_tenants()
    incident = await open_incident(served.service("fraud-investigator"), wanted(INCIDENT_KIND_FRAUD, await person(served)))
    callers = [served.person(f"e-{number}", "privacy-officer") for number in range(4)]

    answers = await asyncio.gather(*(approve(caller, incident) for caller in callers), return_exceptions=True)

    [won] = [answer for answer in answers if isinstance(answer, Incident)]
    lost = {answer.reason for answer in answers if isinstance(answer, CallError)}
    assert lost == {"INCIDENT_NOT_PENDING"}
    assert (await listed(served))[0].approved_by == won.approved_by
    allowed = [entry.actor for entry in await entries(served) if (entry.operation, entry.decision) == ("approve-incident", "ALLOWED")]
    assert allowed == [won.approved_by]


async def test_fraud_names_people_of_the_tenant_who_are_there(served: Serving) -> None:
    """P3.6-fraud, I11: another tenant's person answers like one who never existed."""
    await served.create_tenants()
    theirs = subject_of((await create(served.service("globex-app"), contact(), tenant="globex")).name)
    gone = await person(served)
    await erase(served, gone)
    fraud = served.service("fraud-investigator")
    before = await rows(served, tables.incidents)
    cases = {
        "nobody": (),
        "one who never existed": (f"tenants/acme/subjects/{NEVER}",),
        "another tenant's": (theirs,),
        "another tenant's under our name": (theirs.replace("globex", "acme"),),
        "an erased one": (gone,),
        "what is no name": ("050-2345678",),
        "too many": tuple(f"tenants/acme/subjects/{'a' * 24}{first}{second}" for first in "abcdefghijk" for second in "abcdefghij"),
    }

    refused = {case: await not_opened(fraud, wanted(INCIDENT_KIND_FRAUD, *subjects)) for case, subjects in cases.items()}

    assert {case: error.reason for case, error in refused.items()} == {
        "nobody": "FIELD_REQUIRED",
        "one who never existed": "SUBJECT_NOT_FOUND",
        "another tenant's": "SUBJECT_NOT_FOUND",
        "another tenant's under our name": "SUBJECT_NOT_FOUND",
        "an erased one": "SUBJECT_ERASED",
        "what is no name": "NAME_INVALID",
        "too many": "FIELD_INVALID",
    }
    assert len({refused[case].message for case in cases if refused[case].reason == "SUBJECT_NOT_FOUND"}) == 1
    assert await rows(served, tables.incidents) == before
    assert {(await entry_of(served, error)).decision for error in refused.values()} == {"REFUSED"}


async def test_an_incident_that_lasts_too_long_or_is_over_is_refused(served: Serving) -> None:
    """P3.6-fraud: 72 hours at the latest."""
    await served.create_tenants()
    security = served.service("security-investigator")
    now = served.clock()
    times = {"longer than 72 hours": now + 72 * HOUR + timedelta(minutes=5), "over": now - HOUR}

    refused = {case: await not_opened(security, wanted(until=until)) for case, until in times.items()}

    assert {case: (error.code.name, error.reason) for case, error in refused.items()} == dict.fromkeys(
        times, ("INVALID_ARGUMENT", "FIELD_INVALID")
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("breach", "FIELD_INVALID"),
        ("many words " * 60, "FIELD_INVALID"),
        ("two lines\nof text", "FIELD_INVALID"),
        ("the caller of 050-2345678 complained", "PII_IN_JUSTIFICATION"),
        ("נא לבדוק את dana@example.com היום", "PII_IN_JUSTIFICATION"),
        ("card 4111 1111 1111 1111 was read", "PII_IN_JUSTIFICATION"),
    ],
)
async def test_a_summary_and_a_finding_are_sentences_without_personal_data(served: Serving, text: str, reason: str) -> None:
    """A30: neither is recorded anywhere."""
    await served.create_tenants()
    security, auditor = served.service("security-investigator"), served.person("e-auditor", "auditor")
    incident = await open_incident(security, wanted())

    refused = [await not_opened(security, wanted(summary=text)), await not_reviewed(auditor, incident, text)]

    assert [error.reason for error in refused] == [reason] * 2
    parts = (b"50-2345678", b"dana@example.com", b"4111 1111")
    assert not any(part in entry.content for entry in await entries(served) for part in parts)


async def test_what_happened_and_what_was_found_is_sealed_to_its_incident(served: Serving) -> None:
    """I2: a copy of the database does not say what it was."""
    await served.create_tenants()
    incident = await open_incident(served.service("security-investigator"), wanted())
    await review(served.person("e-auditor", "auditor"), incident)

    async with served.vault.database.read() as connection:
        row = (await connection.execute(select(tables.incidents))).one()
        _, keys = await active_tenant(served.vault, connection, "acme")

    key = keys.version("text", crypto.text_key_version(row.summary))
    place = id_of(incident.name)
    assert crypto.open_text(row.summary, under=key, purpose="incident-summary", tenant="acme", place=place).decode() == HAPPENED
    assert crypto.open_text(row.finding, under=key, purpose="incident-finding", tenant="acme", place=place).decode() == FOUND
    assert not any(b"somebody" in entry.content for entry in await entries(served))


async def test_an_incident_expires_by_the_clock_and_can_no_longer_be_approved(served: Serving) -> None:
    """P3.6-fraud: 72 hours and a second."""
    await served.create_tenants()
    incident = await open_incident(served.service("fraud-investigator"), wanted(INCIDENT_KIND_FRAUD, await person(served)))

    served.clock.offset = 72 * HOUR + timedelta(seconds=1)
    refused = await not_approved(served.person("e-officer", "privacy-officer"), incident)

    assert [found.state for found in await listed(served)] == [INCIDENT_STATE_EXPIRED]
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "INCIDENT_EXPIRED")


async def test_a_closed_incident_stays_closed_since_it_was(served: Serving) -> None:
    """P3.6-sectech: closing it again changes nothing; nobody approves it afterwards."""
    await served.create_tenants()
    security = served.service("security-investigator")
    incident = await open_incident(served.service("fraud-investigator"), wanted(INCIDENT_KIND_FRAUD, await person(served)))

    closed = await close(security, incident)
    served.clock.offset = HOUR
    again = await close(security, incident)
    refused = await not_approved(served.person("e-officer", "privacy-officer"), incident)

    assert closed.state == INCIDENT_STATE_CLOSED
    assert again == closed
    assert refused.reason == "INCIDENT_NOT_PENDING"


async def test_what_was_done_under_a_security_incident_is_reviewed_by_somebody_else_in_time(served: Serving) -> None:
    """P3.6-sectech: within one business day of the use, or the opener is known to be late."""
    await served.create_tenants()
    opener = served.person("e-1", "security-investigator")
    incident = await open_incident(opener, wanted())
    used = await use(served, incident)
    due = (await listed(served))[0].review_due_time
    early = await is_overdue(served, "people/e-1")

    served.clock.offset = timedelta(days=4)
    late = await is_overdue(served, "people/e-1")
    by_opener = await not_reviewed(served.person("e-1", "auditor"), incident)
    reviewed = await review(served.person("e-2", "auditor"), incident)
    twice = await not_reviewed(served.person("e-3", "privacy-officer"), incident)

    assert due == at(one_business_day_after(used))
    assert (early, late) == (False, True)
    assert (by_opener.code.name, by_opener.reason) == ("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")
    assert reviewed.HasField("review_time")
    assert not reviewed.HasField("review_due_time")
    assert (twice.code.name, twice.reason) == ("FAILED_PRECONDITION", "INCIDENT_REVIEWED")
    assert not await is_overdue(served, "people/e-1")


async def test_an_incident_that_was_never_opened_or_is_anothers_is_not_found(served: Serving) -> None:
    """I11: whoever asks, and whatever for."""
    await served.create_tenants()
    ours = await open_incident(served.service("security-investigator"), wanted())
    officer, security = served.person("e-officer", "privacy-officer"), served.service("security-investigator")
    of_globex_only = served.person("e-globex", "privacy-officer", tenants=("globex",))
    names = [f"tenants/acme/incidents/{NEVER}", ours.name.replace("acme", "globex")]

    refused = [
        error
        for name in names
        for error in (
            await not_approved(officer, Incident(name=name)),
            await not_reviewed(officer, Incident(name=name)),
            await security.refused(security.access.CloseIncident, CloseIncidentRequest(name=name)),
        )
    ]
    foreign = await not_reviewed(of_globex_only, ours)
    nowhere = await not_opened(security, wanted(tenant="nobody"))

    assert {(error.code.name, error.reason, error.message) for error in refused} == {
        ("NOT_FOUND", "INCIDENT_NOT_FOUND", refused[0].message)
    }
    assert foreign.reason == nowhere.reason == "TENANT_NOT_FOUND"
    assert await listed(served, "globex") == []


async def test_incidents_are_opened_closed_and_approved_by_those_whose_work_it_is(served: Serving) -> None:
    """P3.6-fraud, P1.6a-authorised: no investigator of fraud approves, no service approves or reviews."""
    await served.create_tenants()
    incident = await open_incident(served.service("fraud-investigator"), wanted(INCIDENT_KIND_FRAUD, await person(served)))

    refused = {
        "marketing opens": await not_opened(served.service("marketing"), wanted()),
        "fraud approves": await not_approved(served.person("e-2", "fraud-investigator"), incident),
        "security reviews": await not_reviewed(served.person("e-3", "security-investigator"), incident),
        "a service approves": await not_approved(served.service("privacy-officer"), incident),
        "a service reviews": await not_reviewed(served.service("auditor"), incident),
    }

    assert {case: error.reason for case, error in refused.items()} == {
        "marketing opens": "ROLE_NOT_ALLOWED",
        "fraud approves": "ROLE_NOT_ALLOWED",
        "security reviews": "ROLE_NOT_ALLOWED",
        "a service approves": "PERSON_REQUIRED",
        "a service reviews": "PERSON_REQUIRED",
    }


async def test_incidents_are_listed_a_page_at_a_time(served: Serving) -> None:
    """The token of one tenant's list opens no other's."""
    await served.create_tenants()
    security, auditor = served.service("security-investigator"), served.service("auditor")
    opened = {(await open_incident(security, wanted())).name for _ in range(3)}

    first = await auditor.call(auditor.access.ListIncidents, ListIncidentsRequest(parent="tenants/acme", page_size=2))
    following = ListIncidentsRequest(parent="tenants/acme", page_size=2, page_token=first.next_page_token)
    second = await auditor.call(auditor.access.ListIncidents, following)
    foreign = ListIncidentsRequest(parent="tenants/globex", page_token=first.next_page_token)
    refused = await auditor.refused(auditor.access.ListIncidents, foreign)

    assert [len(first.incidents), len(second.incidents)] == [2, 1]
    assert {incident.name for page in (first, second) for incident in page.incidents} == opened
    assert second.next_page_token == ""
    assert refused.reason == "PAGE_TOKEN_INVALID"
