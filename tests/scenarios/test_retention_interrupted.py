"""Retention beside everything else: a process that dies, twins, reads, and erasures, whose records it leaves to them (I10, E11)."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from tests.builders import asked, contact, create, create_all, entries, erase, id_of, record, reveal, sent, subject_of
from tests.faults import Crash, CrashError, quiet
from tests.serving import Serving, why
from vault import crypto
from vault.client.errors import CallError
from vault.errors import VaultError
from vault.operations import retain
from vault.operations.attempt import Attempt
from vault.operations.upkeep import upkeep_caller
from vault.store import subjects as subject_store
from vault.store import tables
from vault.v1.erasure_service_pb2 import ErasureState
from vault.v1.operations_service_pb2 import RunRetentionRequest, RunRetentionResponse
from vault.v1.vault_service_pb2 import RecordInput

DAY = timedelta(days=1)
REPORTING = why("customer-report")


def event(subject: str, moment: datetime) -> RecordInput:
    """A click, with the address it came from."""
    given = {"event_id": "e-1", "message_id": "m-1", "kind": "click", "ip": "192.0.2.7", "user_agent": "a browser"}
    return record("interaction-event", {**given, "at": moment.isoformat()}, subject=subject)


async def run(served: Serving) -> RunRetentionResponse:
    operator = served.service("operator")
    return await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))


async def kept(served: Serving) -> dict[str, set[str]]:
    """Names of the sealed fields of each record that there is."""
    async with served.vault.database.read() as connection:
        found: dict[str, set[str]] = {row.record_id: set() for row in await connection.execute(select(tables.records.c.record_id))}
        for part in await connection.execute(select(tables.record_parts.c.record_id, tables.record_parts.c.sealed)):
            found[part.record_id] |= set(crypto.field_names(part.sealed))
        return found


async def person(served: Serving) -> str:
    """Somebody with a number."""
    return subject_of((await create(served.service("acme-app"), contact())).name)


async def due(served: Serving, count: int, *, subject: str = "") -> list[str]:
    """Store records whose time is over already; their ids."""
    owner = subject or await person(served)
    await create(served.service("engine"), sent(owner, served.clock()))
    long_ago = served.clock() - 400 * DAY
    results = await create_all(served.service("engine"), [event(owner, long_ago) for _ in range(count)])
    return [id_of(result.record.name) for result in results]


async def test_a_batch_says_who_what_and_how_many_and_no_value(served: Serving) -> None:
    """I1, I2: one entry per batch and category."""
    await served.create_tenants("acme")
    await quiet(served)
    ids = await due(served, 3)

    answer = await run(served)

    swept = [entry for entry in await entries(served) if entry.operation == "retain"]
    assert dict(answer.erased_counts) == {"interaction-event": 3}
    assert [(entry.category, entry.decision) for entry in swept] == [("interaction-event", "ALLOWED")]
    assert b'"count":3' in swept[0].content
    assert sorted(id_of(name) for name in swept[0].records) == sorted(ids)
    assert b"192.0.2.7" not in swept[0].content
    assert (await entries(served, answer.receipt.log))[answer.receipt.index].operation == "retain"


async def test_two_sweeps_at_once_erase_each_record_once(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """A twin in another worker: every record is in one entry, none is counted twice."""
    monkeypatch.setattr(retain, "_BATCH", 3)
    await served.create_tenants("acme")
    await quiet(served)
    ids = await due(served, 20)

    answers = await asyncio.gather(*(run(served) for _ in range(3)))

    swept = [id_of(name) for entry in await entries(served) if entry.operation == "retain" for name in entry.records]
    assert sorted(swept) == sorted(ids)
    assert sum(answer.erased_counts["interaction-event"] for answer in answers) == len(ids)
    assert not set(ids) & set(await kept(served))


async def test_a_sweep_that_dies_anywhere_is_taken_up_where_it_was(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: whatever was committed is in the log, and nothing else; the next sweep does the rest."""
    monkeypatch.setattr(retain, "_BATCH", 2)
    await served.create_tenants("acme")
    await quiet(served)
    owner = await person(served)
    ids = await due(served, 5, subject=owner)
    old = [id_of((await create(served.service("engine"), event(owner, served.clock() - 40 * DAY))).name) for _ in range(3)]
    crash, boundary = Crash(served.vault.database), 0

    while True:
        crash.at(boundary)
        try:
            await retain.run_retention(served.vault, Attempt(upkeep_caller()), "acme")
            crash.over()
            break
        except (CrashError, VaultError):
            crash.over()
        gone = set(ids) - set(await kept(served))
        taken_out = b'"fields":["ip"]'
        swept = [entry for entry in await entries(served) if entry.operation == "retain" and taken_out not in entry.content]
        logged = [id_of(name) for entry in swept for name in entry.records]
        assert sorted(logged) == sorted(gone), boundary
        boundary += 3

    there = await kept(served)
    assert not set(ids) & set(there)
    assert [there[record_id] for record_id in old] == [{"user_agent"}] * len(old)
    assert boundary > 3


async def test_records_of_a_person_who_is_being_erased_are_the_erasures(served: Serving) -> None:
    """P2.7-rights: what the certificate counts is what the erasure found; the sweep takes none of it away from under it."""
    await served.create_tenants("acme")
    await quiet(served)
    owner = await person(served)
    ids = await due(served, 2, subject=owner)
    async with served.vault.database.write() as connection:
        await subject_store.set_subject_state(connection, "acme", id_of(owner), "ERASING")

    blocked = await run(served)
    there = set(ids) <= set(await kept(served))
    async with served.vault.database.write() as connection:
        await subject_store.set_subject_state(connection, "acme", id_of(owner), "ACTIVE")
    later = await run(served)

    assert (dict(blocked.erased_counts), there) == ({}, True)
    assert dict(later.erased_counts) == {"interaction-event": 2}


async def test_a_sweep_beside_reads_and_an_erasure(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is kept waiting for long, and nothing of either is left."""
    monkeypatch.setattr(retain, "_BATCH", 2)
    await served.create_tenants("acme")
    await quiet(served)
    owner = await person(served)
    gone = await due(served, 6, subject=owner)
    other = subject_of((await create(served.service("acme-app"), contact("+972502345671"))).name)
    await create(served.service("engine"), sent(other, served.clock()))
    fresh = (await create(served.service("engine"), event(other, served.clock()))).name
    more = await due(served, 6, subject=other)

    async def read() -> int:
        shown = [await reveal(served.service("reporting"), asked(fresh, because=REPORTING)) for _ in range(5)]
        return len(shown)

    swept, erased, read_count = await asyncio.gather(run(served), erase_if_possible(served, owner), read())
    await run(served)
    there = await kept(served)

    assert swept.receipt.log
    assert read_count == 5
    assert not set(there) & {*gone, *more}
    assert id_of(fresh) in there
    assert erased in {"COMPLETE", "PREVIEW_STALE"}
    if erased == "COMPLETE":
        async with served.vault.database.read() as connection:
            assert await subject_store.record_counts(connection, "acme", id_of(owner)) == {}


async def erase_if_possible(served: Serving, subject: str) -> str:
    """Erase a person; the state, or why the preview no longer holds: a sweep in between took some of it."""
    try:
        return ErasureState.Name((await erase(served, subject)).state).removeprefix("ERASURE_STATE_")
    except CallError as error:
        return error.reason
