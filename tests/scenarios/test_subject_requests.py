"""Requests of people about their own data: every channel is a right one, one clock, one extension, and nobody served unverified."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders import NEVER, PHONE, at, contact, create, entries, erase, id_of, rows, subject_of
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.operations.rights import months_after
from vault.store import tables
from vault.store.subject_requests import get_subject_request
from vault.v1.rights_service_pb2 import (
    CloseSubjectRequestRequest,
    ExtendSubjectRequestRequest,
    ListSubjectRequestsRequest,
    OpenSubjectRequestRequest,
    SubjectRequest,
    VerifySubjectRequestRequest,
)

CHANNELS = ("PHONE", "FAX", "LETTER", "WEB", "EMAIL_INFO", "EMAIL_SUPPORT", "EMAIL_CONTACT")
REASON = "the archive has to be read back first"


async def given_officer(served: Serving) -> tuple[Caller, str]:
    """A privacy officer, and a person whom the tenant knows."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), contact(PHONE))).name)
    return served.person("e-officer", "privacy-officer"), person


async def opened(
    caller: Caller, subject: str = "", *, kind: str = "ACCESS", channel: str = "EMAIL_INFO", received: datetime | None = None
) -> SubjectRequest:
    request = OpenSubjectRequestRequest(
        parent="tenants/acme",
        subject=subject,
        kind=kind,
        channel=channel,
        requester="SUBJECT",
        receive_time=at(received) if received else None,
    )
    return (await caller.call(caller.rights.OpenSubjectRequest, request)).subject_request


async def verified(officer: Caller, name: str, subject: str = "") -> SubjectRequest:
    request = VerifySubjectRequestRequest(name=name, evidence_sha256=b"\4" * 32, subject=subject)
    return (await officer.call(officer.rights.VerifySubjectRequest, request)).subject_request


async def not_verified(officer: Caller, name: str, subject: str = "", evidence: bytes = b"\4" * 32) -> CallError:
    request = VerifySubjectRequestRequest(name=name, evidence_sha256=evidence, subject=subject)
    return await officer.refused(officer.rights.VerifySubjectRequest, request)


def extension(name: str, due: datetime, reason: str = REASON) -> ExtendSubjectRequestRequest:
    return ExtendSubjectRequestRequest(name=name, reason=reason, due_time=at(due))


async def closed(officer: Caller, name: str) -> SubjectRequest:
    return (await officer.call(officer.rights.CloseSubjectRequest, CloseSubjectRequestRequest(name=name))).subject_request


def due_of(request: SubjectRequest) -> datetime:
    return request.due_time.ToDatetime(tzinfo=UTC)


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ("2026-01-15T10:00:00+00:00", 1, "2026-02-15T10:00:00+00:00"),
        ("2026-01-31T10:00:00+00:00", 1, "2026-02-28T10:00:00+00:00"),
        ("2028-01-31T10:00:00+00:00", 1, "2028-02-29T10:00:00+00:00"),
        ("2026-12-31T10:00:00+00:00", 1, "2027-01-31T10:00:00+00:00"),
        ("2026-01-31T10:00:00+00:00", 3, "2026-04-30T10:00:00+00:00"),
        ("2026-11-30T10:00:00+00:00", 3, "2027-02-28T10:00:00+00:00"),
    ],
)
def test_a_month_is_a_calendar_month(received: str, months: int, due: str) -> None:
    """L28: GDPR 12(3) counts months, not days."""
    assert months_after(datetime.fromisoformat(received), months) == datetime.fromisoformat(due)


async def test_every_channel_is_a_right_one(served: Serving) -> None:
    """P4-contact, A26: given a request by each channel, then it is accepted, and the channel stored."""
    officer, person = await given_officer(served)

    requests = [await opened(officer, person, channel=channel) for channel in CHANNELS]

    assert [request.channel for request in requests] == list(CHANNELS)
    assert all(request.due_time == requests[0].due_time or due_of(request) > due_of(requests[0]) for request in requests)


async def test_the_clock_runs_from_the_first_receipt(served: Serving) -> None:
    """A26, L28: given a letter that lay for a week, then its month began a week ago."""
    officer, person = await given_officer(served)
    received = served.clock() - timedelta(days=7)

    request = await opened(officer, person, channel="LETTER", received=received)

    assert request.receive_time.ToDatetime(tzinfo=UTC) == received
    assert due_of(request) == months_after(received, 1)
    assert not request.HasField("verify_time")


@pytest.mark.parametrize("days", [-1, 400])
async def test_nothing_was_received_tomorrow_or_years_ago(served: Serving, days: int) -> None:
    """L28: a clock is not set by a slip of the pen."""
    officer, person = await given_officer(served)
    received = at(served.clock() - timedelta(days=days))
    request = OpenSubjectRequestRequest(
        parent="tenants/acme", subject=person, kind="ACCESS", channel="WEB", requester="SUBJECT", receive_time=received
    )

    error = await officer.refused(officer.rights.OpenSubjectRequest, request)

    assert (error.reason, *error.fields) == ("FIELD_INVALID", "receive_time")


@pytest.mark.parametrize("field", ["kind", "channel", "requester"])
async def test_words_that_nobody_knows_are_refused(served: Serving, field: str) -> None:
    """I9."""
    officer, person = await given_officer(served)
    words: dict[str, Any] = {"kind": "ACCESS", "channel": "WEB", "requester": "SUBJECT", field: "SOMETHING"}

    error = await officer.refused(
        officer.rights.OpenSubjectRequest, OpenSubjectRequestRequest(parent="tenants/acme", subject=person, **words)
    )

    assert (error.reason, *error.fields) == ("FIELD_INVALID", field)


async def test_who_asks_is_verified_by_a_person_once(served: Serving) -> None:
    """P2.7-rights, L28: identity is a person's finding, with the digest of what showed it."""
    officer, person = await given_officer(served)
    request = await opened(served.service("acme-app"), person)

    assert (await verified(officer, request.name)).HasField("verify_time")

    assert (await not_verified(officer, request.name)).reason == "ALREADY_VERIFIED"
    assert (await not_verified(served.service("privacy-officer"), request.name)).reason == "PERSON_REQUIRED"
    async with served.vault.database.read() as connection:
        row = await get_subject_request(connection, "acme", id_of(request.name))
    assert row is not None
    assert (row.verified_by, row.evidence_sha256, row.is_live) == ("people/e-officer", b"\4" * 32, True)


async def test_whose_request_it_is_may_be_found_out_with_their_identity(served: Serving) -> None:
    """P2.7-rights: somebody unknown asks; whose data it is about shows when they are verified, and does not change after."""
    officer, person = await given_officer(served)
    other = subject_of((await create(served.service("acme-app"), contact("+972502345679"))).name)
    unknown, known = await opened(officer), await opened(officer, person)

    assert (await not_verified(officer, unknown.name)).fields == ("subject",)
    assert (await not_verified(officer, known.name, other)).fields == ("subject",)
    assert (await not_verified(officer, known.name, evidence=b"short")).fields == ("evidence_sha256",)
    assert (await verified(officer, unknown.name, person)).subject == person


async def test_the_clock_is_extended_once_for_a_reason(served: Serving) -> None:
    """L28: given an extension, when a second one is asked for, then ALREADY_EXTENDED."""
    officer, person = await given_officer(served)
    request = await opened(officer, person)
    until = months_after(request.receive_time.ToDatetime(tzinfo=UTC), 3)

    answer = await officer.call(officer.rights.ExtendSubjectRequest, extension(request.name, until))

    assert due_of(answer.subject_request) == until
    again = await officer.refused(officer.rights.ExtendSubjectRequest, extension(request.name, until + timedelta(days=1)))
    assert again.reason == "ALREADY_EXTENDED"
    async with served.vault.database.read() as connection:
        row = await get_subject_request(connection, "acme", id_of(request.name))
    assert row is not None
    assert REASON.encode() not in row.extend_reason


async def test_an_extension_is_of_two_months_at_most_and_says_why(served: Serving) -> None:
    """L28, A30: with a reason, and nobody's data in it."""
    officer, person = await given_officer(served)
    request = await opened(officer, person)
    due = due_of(request)
    limit = months_after(request.receive_time.ToDatetime(tzinfo=UTC), 3)
    asked = [
        extension(request.name, limit + timedelta(seconds=1)),
        extension(request.name, due),
        extension(request.name, limit, "soon"),
        extension(request.name, limit, "waiting for the person at 050-2345678"),
    ]

    errors = [await officer.refused(officer.rights.ExtendSubjectRequest, each) for each in asked]

    assert [(error.reason, *error.fields) for error in errors] == [
        ("FIELD_INVALID", "due_time"),
        ("FIELD_INVALID", "due_time"),
        ("FIELD_INVALID", "reason"),
        ("PII_IN_JUSTIFICATION", "reason"),
    ]


async def test_nothing_is_done_on_a_request_that_was_closed(served: Serving) -> None:
    """P2.7-rights."""
    officer, person = await given_officer(served)
    request = await opened(officer, person)

    assert (await closed(officer, request.name)).HasField("close_time")

    again = await officer.refused(officer.rights.CloseSubjectRequest, CloseSubjectRequestRequest(name=request.name))
    assert again.reason == "SUBJECT_REQUEST_CLOSED"
    assert (await not_verified(officer, request.name)).reason == "SUBJECT_REQUEST_CLOSED"


async def test_requests_are_listed_by_when_they_are_due(served: Serving) -> None:
    """L28: what is due first comes first, page by page; what was closed only if asked for."""
    officer, person = await given_officer(served)
    now = served.clock()
    names = {days: (await opened(officer, person, received=now - timedelta(days=days))).name for days in (3, 20, 10, 1)}
    await closed(officer, names[20])
    listing = ListSubjectRequestsRequest(parent="tenants/acme", page_size=2)

    first = await officer.call(officer.rights.ListSubjectRequests, listing)
    listing.page_token = first.next_page_token
    second = await officer.call(officer.rights.ListSubjectRequests, listing)
    everything = await officer.call(officer.rights.ListSubjectRequests, ListSubjectRequestsRequest(parent="tenants/acme", closed=True))

    assert [request.name for page in (first, second) for request in page.subject_requests] == [names[10], names[3], names[1]]
    assert not second.next_page_token
    assert [request.name for request in everything.subject_requests] == [names[days] for days in (20, 10, 3, 1)]
    assert everything.subject_requests[0].HasField("close_time")


async def test_a_page_token_of_one_listing_opens_no_other(served: Serving) -> None:
    """I11."""
    officer, person = await given_officer(served)
    for _ in range(2):
        await opened(officer, person)
    page = await officer.call(officer.rights.ListSubjectRequests, ListSubjectRequestsRequest(parent="tenants/acme", page_size=1))

    for elsewhere in (
        ListSubjectRequestsRequest(parent="tenants/acme", closed=True, page_token=page.next_page_token),
        ListSubjectRequestsRequest(parent="tenants/globex", page_token=page.next_page_token),
    ):
        assert (await officer.refused(officer.rights.ListSubjectRequests, elsewhere)).reason == "PAGE_TOKEN_INVALID"


async def test_another_tenants_request_does_not_exist(served: Serving) -> None:
    """I11."""
    officer, person = await given_officer(served)
    name = (await opened(officer, person)).name
    abroad = subject_of((await create(served.service("globex-app"), contact(), tenant="globex")).name)

    for other in (name.replace("acme", "globex"), f"tenants/acme/subjectRequests/{NEVER}"):
        assert (await not_verified(officer, other)).reason == "SUBJECT_REQUEST_NOT_FOUND"
    request = OpenSubjectRequestRequest(parent="tenants/acme", subject=abroad, kind="ACCESS", channel="WEB", requester="SUBJECT")
    assert (await officer.refused(officer.rights.OpenSubjectRequest, request)).reason == "SUBJECT_NOT_FOUND"


async def test_an_erased_persons_request_stays_without_the_person(served: Serving) -> None:
    """P2.10a-erase, L28: that it was answered in time stays provable, whose it was does not."""
    officer, person = await given_officer(served)
    request = await verified(officer, (await opened(officer, person, kind="ERASURE")).name)

    await erase(served, person)

    assert await rows(served, tables.subject_requests) == (1,)
    done = await closed(officer, request.name)
    assert (done.subject, done.due_time) == ("", request.due_time)


async def test_every_step_is_recorded(served: Serving) -> None:
    """I6."""
    officer, person = await given_officer(served)
    request = await opened(officer, person)
    await verified(officer, request.name)
    until = due_of(request) + timedelta(days=20)
    await officer.call(officer.rights.ExtendSubjectRequest, extension(request.name, until))
    await closed(officer, request.name)

    last = (await entries(served))[-4:]

    steps = ["open-subject-request", "verify-subject-request", "extend-subject-request", "close-subject-request"]
    assert [(entry.operation, list(entry.subjects)) for entry in last] == [(step, [id_of(person)]) for step in steps]
