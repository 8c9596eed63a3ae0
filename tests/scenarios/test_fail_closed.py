"""No entry, no plaintext (I1): the log refuses some of the writes, and what was released is counted against what was recorded."""

import asyncio

from sqlalchemy import text

from tests.builders import asked, contact, create
from tests.serving import Caller, Serving
from vault.client.errors import CallError
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


async def released(app: Caller, name: str) -> bool:
    try:
        await app.call(app.records.RevealRecord, asked(name))
    except CallError as error:
        assert error.reason in {"AUDIT_UNAVAILABLE", "CONCURRENT_CHANGE"}  # noqa: PT017 - some are refused, some are not
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

    subject = record.name.split("/records/")[0]
    listed = await auditor.call(auditor.audit.ListSubjectAccesses, ListSubjectAccessesRequest(subject=subject, page_size=1000))
    recorded = [entry for entry in listed.entries if entry.operation == "reveal" and entry.decision == "ALLOWED"]
    assert 0 < sum(outcomes) < len(outcomes)
    assert len(recorded) == sum(outcomes) + again
    assert again
