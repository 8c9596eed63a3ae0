"""Guardians, requests, restrictions and objections as they are stored."""

from dataclasses import replace
from datetime import timedelta

from tests.store.rows import ACME, BETA, HOUR, NOW
from vault.operations import rights
from vault.store.database import Database
from vault.store.guardians import GuardianRow, get_guardian, guardian_standing, put_guardian, withdraw_guardian
from vault.store.objections import delete_objection, objections_of, put_objection
from vault.store.records import count_traces
from vault.store.restrictions import RestrictionRow, insert_restriction, lift_restrictions, restrictions_of
from vault.store.subject_requests import (
    SubjectRequestRow,
    get_subject_request,
    insert_subject_request,
    list_subject_requests,
    requests_of,
    update_subject_request,
)

MAJORITY = NOW + timedelta(days=1)
GUARDIAN = GuardianRow("anna", b"digest", "DOCUMENT", "people/e-1", NOW, None, MAJORITY, 1, b"sealed")
RESTRICTION = RestrictionRow("restriction", "anna", "objection", "people/e-1", NOW, "", None, "")
REQUEST = SubjectRequestRow(
    request_id="request",
    subject_id="anna",
    kind="ACCESS",
    channel="WEB",
    requester="SUBJECT",
    opened_by="people/e-1",
    receive_time=NOW,
    due_time=NOW + timedelta(days=30),
    evidence_sha256=b"",
    verified_by="",
    verify_time=None,
    extend_reason=b"",
    extend_time=None,
    close_time=None,
)


async def test_a_guardian_stands_verified_withdrawn_or_verified_anew(database: Database) -> None:
    async with database.write() as connection:
        await put_guardian(connection, ACME, GUARDIAN)
        await put_guardian(connection, ACME, replace(GUARDIAN, subject_id="bert"))
        assert await withdraw_guardian(connection, ACME, "bert", NOW)
        assert not await withdraw_guardian(connection, ACME, "bert", NOW)
        assert not await withdraw_guardian(connection, BETA, "anna", NOW)

    async with database.read() as connection:
        everybody = ["anna", "bert", "carl"]
        assert await guardian_standing(connection, ACME, everybody, NOW) == {"anna": "VERIFIED", "bert": "WITHDRAWN"}
        assert await guardian_standing(connection, BETA, everybody, NOW) == {}
        assert await guardian_standing(connection, ACME, [], NOW) == {}

    async with database.write() as connection:
        await put_guardian(connection, ACME, replace(GUARDIAN, subject_id="bert", verify_time=NOW + HOUR))
        assert await guardian_standing(connection, ACME, ["bert"], NOW) == {"bert": "VERIFIED"}


async def test_a_request_is_live_from_its_verification_to_its_end(database: Database) -> None:
    async with database.write() as connection:
        await insert_subject_request(connection, ACME, REQUEST)
        assert await get_subject_request(connection, ACME, "request", lock=True) == REQUEST
        await update_subject_request(connection, ACME, replace(REQUEST, verify_time=NOW))
        stored = await get_subject_request(connection, ACME, "request")
        assert await get_subject_request(connection, BETA, "request") is None

    assert stored is not None
    assert (REQUEST.is_waiting, REQUEST.is_live) == (True, False)
    assert (stored.is_waiting, stored.is_live) == (False, True)
    done = replace(stored, close_time=NOW)
    assert (done.is_waiting, done.is_live) == (False, False)


async def test_requests_are_listed_by_due_time_then_id(database: Database) -> None:
    soon = replace(REQUEST, request_id="soon", due_time=NOW + HOUR)
    same = replace(REQUEST, request_id="aaa")
    done = replace(REQUEST, request_id="done", due_time=NOW, close_time=NOW)
    async with database.write() as connection:
        for row in (REQUEST, soon, same, done):
            await insert_subject_request(connection, ACME, row)

    async with database.read() as connection:
        assert await list_subject_requests(connection, ACME, closed=False, after=None, limit=2) == [soon, same]
        after = (same.due_time, same.request_id)
        assert await list_subject_requests(connection, ACME, closed=False, after=after, limit=2) == [REQUEST]
        assert await list_subject_requests(connection, ACME, closed=True, after=None, limit=9) == [done, soon, same, REQUEST]
        assert await list_subject_requests(connection, BETA, closed=True, after=None, limit=9) == []


async def test_lifting_leaves_what_was_lifted_before(database: Database) -> None:
    async with database.write() as connection:
        await insert_restriction(connection, ACME, RESTRICTION)
        await lift_restrictions(connection, ACME, "anna", by="people/e-2", notice_id="first", now=NOW)
        await insert_restriction(connection, ACME, replace(RESTRICTION, restriction_id="second", create_time=NOW + HOUR))
        await lift_restrictions(connection, ACME, "anna", by="people/e-2", notice_id="second", now=NOW + HOUR)

    async with database.read() as connection:
        assert [(row.notice_id, row.lift_time) for row in await restrictions_of(connection, ACME, "anna")] == [
            ("first", NOW),
            ("second", NOW + HOUR),
        ]


async def test_an_objection_keeps_its_first_time_until_it_is_taken_back(database: Database) -> None:
    async with database.write() as connection:
        await put_objection(connection, ACME, "anna", "billing", by="people/e-1", now=NOW)
        await put_objection(connection, ACME, "anna", "billing", by="people/e-2", now=NOW + HOUR)
        await put_objection(connection, ACME, "anna", "own-marketing", by="people/e-2", now=NOW)
        assert await objections_of(connection, ACME, "anna") == {"billing": NOW, "own-marketing": NOW}
        assert await objections_of(connection, BETA, "anna") == {}
        await delete_objection(connection, ACME, "anna", "own-marketing")
        assert await objections_of(connection, ACME, "anna") == {"billing": NOW}


async def test_a_forgotten_person_leaves_no_trace_and_requests_leave_no_name(database: Database) -> None:
    async with database.write() as connection:
        await put_guardian(connection, ACME, GUARDIAN)
        await insert_restriction(connection, ACME, RESTRICTION)
        await put_objection(connection, ACME, "anna", "billing", by="people/e-1", now=NOW)
        await insert_subject_request(connection, ACME, replace(REQUEST, evidence_sha256=b"digest"))
        assert await count_traces(connection, ACME, "anna") == 3

        await rights.forget(connection, ACME, "anna", is_gone=True, by="people/e-2", now=NOW)

        assert await count_traces(connection, ACME, "anna") == 0
        assert await get_guardian(connection, ACME, "anna") == replace(GUARDIAN, key_version=0, sealed=b"")
        assert await requests_of(connection, ACME, "") == [replace(REQUEST, subject_id="")]
