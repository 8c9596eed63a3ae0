"""No entry, no plaintext (I1): the log refuses some of the writes, and what was released is counted against what was recorded."""

import asyncio

import pytest
from sqlalchemy import text

from tests.builders import asked, contact, create
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.store.database import Database
from vault.v1.audit_service_pb2 import ListSubjectAccessesRequest

TRIED = 120
# Three of ten entries of acme cannot be written, as on a table that is locked or a disk that is full now and then.
_BROKEN = {
    True: (
        (
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_entries WHEN NEW.tenant_id = 'acme' AND abs(random()) % 10 < 3 "
            "BEGIN SELECT RAISE(ABORT, 'no room'); END"
        ),
    ),
    False: (
        (
            "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN IF NEW.tenant_id = 'acme' AND random() < 0.3 THEN RAISE EXCEPTION 'no room'; "
            "END IF; RETURN NEW; END $$ LANGUAGE plpgsql"
        ),
        "CREATE TRIGGER refuse BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse()",
    ),
}


async def break_the_log(served: Serving) -> None:
    async with served.vault.database.write() as connection:
        for statement in _BROKEN[served.vault.database.is_sqlite]:
            await connection.execute(text(statement))


async def mend_the_log(served: Serving) -> None:
    async with served.vault.database.write() as connection:
        on = "" if served.vault.database.is_sqlite else " ON audit_entries"
        await connection.execute(text(f"DROP TRIGGER refuse{on}"))


async def released(app: Caller, name: str, **options: float) -> bool:
    try:
        await app.call(app.records.RevealRecord, asked(name), **options)
    except CallError as error:
        assert error.reason in {"AUDIT_UNAVAILABLE", "STORE_UNAVAILABLE", "CONCURRENT_CHANGE", "DEADLINE_EXCEEDED"}  # noqa: PT017 - some are refused, some are not
        return False
    return True


async def test_not_one_plaintext_leaves_without_its_entry(served: Serving) -> None:
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    record = await create(app, contact())
    await break_the_log(served)

    outcomes = [outcome for _ in range(TRIED // 8) for outcome in await asyncio.gather(*(released(app, record.name) for _ in range(8)))]
    await mend_the_log(served)
    again = await released(app, record.name)

    assert 0 < sum(outcomes) < len(outcomes)
    assert await recorded(auditor, record.name) == sum(outcomes) + again
    assert again


async def test_nothing_leaves_while_the_log_is_locked(served: Serving) -> None:
    """Somebody else holds the table, or on SQLite the file: calls wait, and those that give up have shown nothing."""
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    record = await create(app, contact())
    before = await recorded(auditor, record.name)
    database = served.vault.database

    other = Database(database.engine.url.render_as_string(hide_password=False))
    async with other.write() as connection:
        if not database.is_sqlite:
            await connection.execute(text("LOCK TABLE audit_entries IN ACCESS EXCLUSIVE MODE"))
        locked = await asyncio.gather(*(released(app, record.name, timeout=1) for _ in range(TRIED)))
    await other.close()
    again = await released(app, record.name)

    assert locked == [False] * TRIED
    assert again
    # What a caller gave up may have been recorded once the lock was gone; nobody has seen it.
    assert await recorded(auditor, record.name) > before


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_nothing_leaves_without_its_entry_while_connections_are_cut(served: Serving) -> None:
    """The database goes away amid commits: some calls are answered, some not, and every answer has its entry."""
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    record = await create(app, contact())
    other = Database(served.vault.database.engine.url.render_as_string(hide_password=False))
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")

    async def cut_now_and_then() -> None:
        while not done.is_set():
            async with other.write() as connection:
                await connection.execute(cut)
            await asyncio.sleep(0.02)

    done = asyncio.Event()
    cutting = asyncio.create_task(cut_now_and_then())
    outcomes = [outcome for _ in range(TRIED // 8) for outcome in await asyncio.gather(*(released(app, record.name) for _ in range(8)))]
    done.set()
    await cutting
    await other.close()
    # The pool meets connections that were cut before it serves again.
    afterwards = [await released(app, record.name) for _ in range(20)]

    assert sum(outcomes) < len(outcomes)
    assert afterwards[-1]
    # A commit whose answer was lost is recorded and was not released.
    assert await recorded(auditor, record.name) >= sum(outcomes) + sum(afterwards)


async def recorded(auditor: Caller, record: str) -> int:
    """How many releases of a record's person the log tells of."""
    request = ListSubjectAccessesRequest(subject=record.partition("/records/")[0], page_size=1000)
    listed = await auditor.call(auditor.audit.ListSubjectAccesses, request)
    return sum(entry.operation == "reveal" and entry.decision == "ALLOWED" for entry in listed.entries)
