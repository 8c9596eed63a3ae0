"""Callers who go away: what they had begun is done whole or not at all, and nobody else notices (I7, I10)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc

from tests.builders import PHONE, asked, contact, create, entries, find, id_of, open_request, reveal, rows, sought
from tests.serving import Serving
from vault.store import tables
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest, CreateSubjectRequest

# Beginnings to cut off, spread over the life of a call: so many turns of the event loop, which server and client share.
MOMENTS = range(0, 240, 3)


async def left(call: Any, turns: int) -> None:
    """Begin a call and go away after some turns of the loop."""
    pending = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await pending


async def test_callers_who_leave_at_any_moment_keep_nobody_else_from_writing(served: Serving) -> None:
    """Once, a statement that was cut off kept SQLite's write lock, and every other writer was told that the log cannot be written."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    begun: list[Callable[[], Any]] = [
        lambda: app.records.CreateSubject(CreateSubjectRequest(parent="tenants/acme")),
        lambda: app.records.FindSubjects(sought("phone", PHONE)),
        lambda: app.records.RevealRecord(asked(name)),
    ]

    for turns in MOMENTS:
        for begin in begun:
            await left(begin(), turns)
        await open_request(served, "spring", "reveal", lasting=timedelta(days=1))

    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE
    assert [match.record for match in await find(app, sought("phone", PHONE))] == [name]


async def test_what_was_begun_by_callers_who_left_is_in_the_log_if_and_only_if_it_was_done(served: Serving) -> None:
    """I1, I7: data and log agree, entry by entry."""
    await served.create_tenants()
    app = served.service("acme-app")

    for turns in MOMENTS:
        await left(app.records.CreateSubject(CreateSubjectRequest(parent="tenants/acme")), turns)
    last = (await app.call(app.records.CreateSubject, CreateSubjectRequest(parent="tenants/acme"))).subject

    logged = await entries(served)
    async with served.vault.database.read() as connection:
        stored = {row.subject_id for row in await connection.execute(tables.subjects.select())}
    assert {subject for entry in logged for subject in entry.subjects} == stored
    assert {entry.decision for entry in logged} == {"ALLOWED"}
    assert id_of(last.name) in stored


async def test_a_batch_whose_caller_left_is_stored_whole_and_is_found_again_by_its_request_id(served: Serving) -> None:
    """I10: whoever does not know whether it was done asks again with the same id, and nothing is doubled."""
    await served.create_tenants()
    app = served.service("acme-app")
    new = [contact(f"050-2{n:06d}") for n in range(100)]
    request = BatchCreateRecordsRequest(parent="tenants/acme", records=new, request_id=str(uuid4()))

    for turns in MOMENTS:
        await left(app.records.BatchCreateRecords(request), turns)
    answer = await app.call(app.records.BatchCreateRecords, request)

    logged = [record for entry in await entries(served) for record in entry.records]
    assert (await rows(served))[:2] == (100, 100)
    assert sorted(id_of(item.record.name) for item in answer.results) == sorted(logged)
