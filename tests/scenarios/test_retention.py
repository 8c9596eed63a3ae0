"""What is due goes with the sweep, and nothing that is not due does (§2B, P3.2-lvl-logs, P3.2.1-files, P3.4-rec, A13)."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from tests.builders import (
    NEVER,
    account,
    asked,
    call_detail,
    contact,
    create,
    create_all,
    entries,
    erase,
    id_of,
    incoming,
    mapping,
    outgoing,
    record,
    reveal,
    rows,
    sent,
    subject_of,
    values,
)
from tests.faults import quiet
from tests.serving import Serving, why
from vault.catalogue.loader import load
from vault.catalogue.model import Category
from vault.operations import due, retain, upkeep
from vault.operations.levels import Levels
from vault.store import tables
from vault.store.records import RecordRow
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.resources_pb2 import Record
from vault.v1.rights_service_pb2 import OpenSubjectRequestRequest, VerifySubjectRequestRequest
from vault.v1.vault_service_pb2 import GetRecordRequest, RecordInput, UpdateRecordRequest

CATALOGUE = load()
REPORT = why("customer-report", reason="the customer looks at the reactions to its messages")


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    return served


async def run(served: Serving, tenant: str = "acme", *, who: str = "operator") -> dict[str, int]:
    caller = served.service(who)
    request = RunRetentionRequest(tenant=f"tenants/{tenant}" if tenant else "")
    return dict((await caller.call(caller.operations.RunRetention, request)).erased_counts)


async def there(served: Serving) -> set[str]:
    async with served.vault.database.read() as connection:
        return set((await connection.execute(select(tables.records.c.record_id))).scalars())


def timed(item: RecordInput, field: str, moment: datetime) -> RecordInput:
    item.fields[field].text = moment.isoformat()
    return item


def click(subject: str, moment: datetime, *, ip: str = "198.51.100.7") -> RecordInput:
    fields = {"event_id": "e-1", "message_id": "m-1", "kind": "click", "at": moment.isoformat(), "user_agent": "Firefox"}
    return record("interaction-event", {**fields, "ip": ip} if ip else fields, subject=subject)


def recording(subject: str) -> RecordInput:
    return record("call-recording", {"rec_id": "r-1", "audio": b"sound", "delivery_target": "dana@example.com"}, subject=subject)


def usage(subject: str, moment: datetime, kind: str = "ACTION") -> RecordInput:
    return record("app-usage", {"kind": kind, "at": moment.isoformat(), "ip": "198.51.100.7"}, subject=subject)


async def person_of(served: Serving) -> str:
    await served.create_tenants()
    return subject_of((await create(served.service("acme-app"), contact())).name)


async def test_a_system_log_is_gone_a_moment_after_seven_days_and_there_a_moment_before(served: Serving) -> None:
    """P3.2-lvl-logs."""
    person, engine, operator = await person_of(served), served.service("engine"), served.service("operator")
    logged = await create(engine, timed(outgoing(person, "system-log"), "submitted_at", served.clock()))
    before = await rows(served, tables.records, tables.record_parts, tables.index_entries)

    served.clock.offset = timedelta(days=7, seconds=-5)
    early = await run(served)
    served.clock.offset = timedelta(days=7, seconds=1)
    answer = await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))

    after = await rows(served, tables.records, tables.record_parts, tables.index_entries)
    gone = await engine.refused(engine.records.GetRecord, GetRecordRequest(name=logged.name))
    [entry] = [entry for entry in await entries(served) if entry.operation == "retain"]
    assert early == {}
    assert dict(answer.erased_counts) == {"outgoing-message": 1}
    assert (after[0], after[1], after[2]) == (before[0] - 1, before[1] - 1, before[2])
    assert gone.reason == "RECORD_NOT_FOUND"
    assert (entry.category, list(entry.records), entry.actor.rpartition("/")[2]) == ("outgoing-message", [id_of(logged.name)], "operator")
    assert answer.receipt.log == "system"
    assert await run(served) == {}


async def test_a_recording_that_nobody_took_is_gone_after_a_day(served: Serving) -> None:
    """P3.4-rec, C21."""
    person = await person_of(served)
    await create(served.service("num2"), recording(person))

    served.clock.offset = timedelta(hours=23)
    early = await run(served)
    served.clock.offset = timedelta(hours=24, seconds=1)

    assert early == {}
    assert await run(served, who="upkeep-worker") == {"call-recording": 1}


async def test_a_list_file_goes_thirty_days_after_it_was_taken_in_and_the_list_stays(served: Serving) -> None:
    """P3.2.1-files."""
    person = await person_of(served)
    fields: dict[str, str | bytes] = {"sha256": "a" * 64, "channel": "WEB", "ingress": "TLS", "body": b"phone\n0502345678\n"}
    file = record("list-file", {**fields, "parsed_at": served.clock().isoformat()}, subject=person)
    await create(served.service("engine"), file)

    served.clock.offset = timedelta(days=31)
    erased = await run(served)

    assert erased == {"list-file": 1}
    assert await rows(served, tables.records) == (1,)


async def test_an_address_goes_after_thirty_days_and_what_it_stood_in_stays(served: Serving) -> None:
    """A13, C08: the address alone is taken out, once."""
    person, engine, admin = await person_of(served), served.service("engine"), served.service("acme-admin")
    await create(engine, sent(person, served.clock()))
    event = await create(engine, click(person, served.clock()))

    served.clock.offset = timedelta(days=29)
    await run(served)
    before = await reveal(admin, asked(event.name, "ip", "user_agent", because=REPORT))
    served.clock.offset = timedelta(days=30, seconds=1)
    erased = await run(served)
    after = await reveal(admin, asked(event.name, "user_agent", because=REPORT))
    shown = (await admin.call(admin.records.GetRecord, GetRecordRequest(name=event.name))).record
    again = len(await entries(served))
    await run(served)

    assert before.fields["ip"].text == "198.51.100.7"
    assert erased == {}
    assert after.fields["user_agent"].text == "Firefox"
    assert list(shown.field_names) == ["user_agent"]
    [entry] = [entry for entry in await entries(served) if entry.operation == "retain"]
    assert b'"fields":["ip"]' in entry.content
    assert len(await entries(served)) == again


async def test_an_address_of_an_event_long_ago_goes_with_the_next_sweep(served: Serving) -> None:
    """A13: it counts from when it happened, not from when it was told."""
    person, engine, admin = await person_of(served), served.service("engine"), served.service("acme-admin")
    await create(engine, sent(person, served.clock()))
    event = await create(engine, click(person, served.clock() - timedelta(days=40)))

    await run(served)

    shown = (await admin.call(admin.records.GetRecord, GetRecordRequest(name=event.name))).record
    assert list(shown.field_names) == ["user_agent"]


async def test_what_is_kept_restricted_after_its_ordinary_time_goes_when_that_is_over(served: Serving) -> None:
    """C15, C17: a call is kept for seven years; an action in the app for 180 days."""
    person, num2 = await person_of(served), served.service("num2")
    now = served.clock()
    call = await create(served.service("engine"), call_detail(start=now.isoformat()))
    talked, acted = [await create(num2, usage(person, now, kind)) for kind in ("CALL", "ACTION")]

    served.clock.offset = timedelta(days=400)
    first = await run(served)
    left = await there(served)
    served.clock.offset = timedelta(days=2558)
    second = await run(served)

    assert first == {"app-usage": 1}
    assert {id_of(call.name), id_of(talked.name)} <= left
    assert id_of(acted.name) not in left
    assert second == {"call-detail": 1, "app-usage": 1}


async def test_what_counts_from_something_that_has_not_happened_stays(served: Serving) -> None:
    """A contact in a list, an account under contract, a number that is somebody's."""
    await person_of(served)
    await create(served.service("billing"), account())
    await create(served.service("num2"), mapping("+972732345678", "+972502345678", begin="2026-03-01T00:00:00Z"))
    before = await there(served)

    served.clock.offset = timedelta(days=3650)

    assert await run(served) == {}
    assert await there(served) == before


async def test_every_tenant_is_swept_if_none_is_named_and_no_other_if_one_is(served: Serving) -> None:
    await served.create_tenants()
    for tenant in ("acme", "globex"):
        await create(served.service("engine"), timed(incoming("system-log"), "received_at", served.clock()), tenant=tenant)
    served.clock.offset = timedelta(days=8)

    one = await run(served, "acme")
    rest = await run(served, "")
    operator = served.service("operator")
    unknown = await operator.refused(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/initech"))

    assert (one, rest) == ({"incoming-message": 1}, {"incoming-message": 1})
    assert [entry.operation for entry in await entries(served, "globex")].count("retain") == 1
    assert unknown.reason == "TENANT_NOT_FOUND"


async def test_more_than_a_batch_is_swept_to_the_end_with_an_entry_for_each_batch(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retain, "_BATCH", 3)
    await served.create_tenants()
    now = served.clock()
    stored = await create_all(served.service("engine"), [timed(incoming("system-log"), "received_at", now) for _ in range(8)])
    served.clock.offset = timedelta(days=8)

    both = await asyncio.gather(run(served), run(served))

    counts = [entry for entry in await entries(served) if entry.operation == "retain" and entry.category]
    assert len(stored) == 8
    assert sum(erased.get("incoming-message", 0) for erased in both) == 8
    assert sorted(record for entry in counts for record in entry.records) == sorted(id_of(item.record.name) for item in stored)
    assert max(len(entry.records) for entry in counts) <= 3
    assert await there(served) == set()


async def test_the_background_sweeps_by_itself_and_not_all_the_time(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.create_tenants()
    engine = served.service("engine")
    database = served.vault.database
    now = served.clock()

    for turn in range(2):
        await create(engine, timed(incoming("system-log"), "received_at", now - timedelta(days=8)))
        if turn == 0:
            retain._next_turn.pop(database, None)
        await retain.sweep(served.vault, upkeep.upkeep_caller())

    assert len(await there(served)) == 1
    [entry] = [entry for entry in await entries(served) if entry.operation == "retain"]
    assert entry.actor == "upkeep"
    monkeypatch.setattr(retain, "_BATCHES_PER_TURN", 0)
    retain._next_turn.pop(database, None)
    await retain.sweep(served.vault, upkeep.upkeep_caller())
    assert database not in retain._next_turn


async def test_a_part_that_does_not_open_keeps_nothing_else_waiting(served: Serving) -> None:
    """It is tried again later; what is due beside it goes."""
    person, engine, admin = await person_of(served), served.service("engine"), served.service("acme-admin")
    await create(engine, sent(person, served.clock()))
    damaged, sound = [await create(engine, click(person, served.clock() - timedelta(days=31))) for _ in range(2)]
    async with served.vault.database.write() as connection:
        part = tables.record_parts.c
        [sealed] = (await connection.execute(select(part.sealed).where(part.record_id == id_of(damaged.name)))).scalars()
        changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        await connection.execute(update(tables.record_parts).where(part.record_id == id_of(damaged.name)).values(sealed=changed))

    await run(served)

    shown = (await admin.call(admin.records.GetRecord, GetRecordRequest(name=sound.name))).record
    left = (await admin.call(admin.records.GetRecord, GetRecordRequest(name=damaged.name))).record
    assert list(shown.field_names) == ["user_agent"]
    assert "ip" in left.field_names


async def test_a_person_who_was_erased_is_swept_over(served: Serving) -> None:
    person, engine = await person_of(served), served.service("engine")
    await create(engine, sent(person, served.clock()))
    await create(engine, click(person, served.clock() - timedelta(days=31)))
    await erase(served, person)

    assert await run(served) == {}
    assert await there(served) == set()


async def test_an_address_that_is_written_again_later_goes_again(served: Serving) -> None:
    """A13: a correction does not lengthen its time."""
    await served.create_tenants()
    await served.sign_nda("e-officer")
    fields = {"phone": "+972502345678", "is_subscriber": "yes", "source": "USE", "terms_version": "t-1", "ip": "198.51.100.7"}
    visitor = await create(served.service("acme-app"), record("site-visitor", {**fields, "last_contact_at": served.clock().isoformat()}))
    served.clock.offset = timedelta(days=31)
    await run(served)
    officer = served.person("e-officer", "privacy-officer")
    opening = OpenSubjectRequestRequest(
        parent="tenants/acme", subject=subject_of(visitor.name), kind="RECTIFICATION", channel="WEB", requester="SUBJECT"
    )
    asked_for = (await officer.call(officer.rights.OpenSubjectRequest, opening)).subject_request
    verified = VerifySubjectRequestRequest(name=asked_for.name, subject=subject_of(visitor.name), evidence_sha256=b"\1" * 32)
    await officer.call(officer.rights.VerifySubjectRequest, verified)
    because = why("data-subject-request", asked_for.name, "the person asked us to correct what we hold")
    change = UpdateRecordRequest(
        name=visitor.name, fields=values({"ip": "198.51.100.8"}), update_mask=FieldMask(paths=["ip"]), justification=because
    )

    written = (await officer.call(officer.records.UpdateRecord, change)).record
    await run(served)

    shown = (await officer.call(officer.records.GetRecord, GetRecordRequest(name=visitor.name))).record
    assert "ip" in written.field_names
    assert "ip" not in shown.field_names
    assert "phone" in shown.field_names


# ---- laws ------------------------------------------------------------------------------------------------------------------------------------

DAY = timedelta(days=1)
START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STORED = [category for category in CATALOGUE.categories.values() if category.held_as.value == "record"]


@dataclass(frozen=True)
class Law:
    """What §2B says of one kind of record, written by hand: the level, the fields that tell, and the days until it is gone."""

    category: str
    level: str
    metadata: Mapping[str, str]
    expires: int
    gone: int


LAWS = [
    Law("outgoing-message", "system-log", {"channel": "SMS"}, 7, 7),
    Law("outgoing-message", "system-file", {"channel": "SMS"}, 180, 180),
    Law("incoming-message", "report", {}, 365, 365),
    Law("list-file", "", {}, 30, 30),
    Law("message-metadata", "", {}, 365, 2557),
    Law("interaction-event", "", {}, 365, 365),
    Law("call-detail", "", {}, 365, 2557),
    Law("app-usage", "", {"kind": "ACTION"}, 180, 180),
    Law("app-usage", "", {"kind": "CALL"}, 365, 2557),
    Law("app-diagnostics", "", {}, 90, 90),
    Law("site-visitor", "", {"is_subscriber": "yes"}, 731, 731),
    Law("site-visitor", "", {"is_subscriber": "no"}, 365, 365),
    Law("usage-report", "", {}, 2557, 2557),
]
SHORT = {"interaction-event": ({"ip"}, 30), "site-visitor": ({"ip"}, 30), "app-usage": ({"ip", "cookie", "device_model", "network"}, 180)}


def row_of(law: Law, occurred: datetime | None) -> RecordRow:
    expire = (occurred or START) + law.expires * DAY
    return RecordRow(NEVER, NEVER, law.category, law.level, "", "", START, occurred, None, None, expire, dict(law.metadata), 1)


@given(st.sampled_from(LAWS), st.none() | st.integers(-3000, 0), st.integers(0, 6000), st.integers(-1, 1))
def test_a_record_goes_exactly_when_its_time_is_over(law: Law, ago: int | None, days: int, second: int) -> None:
    occurred = None if ago is None else START + ago * DAY
    now = START + days * DAY + timedelta(seconds=second)
    category, row = CATALOGUE.category(law.category), row_of(law, occurred)

    assert retain.is_over(category, row, Levels(), now) == (now >= (occurred or START) + law.gone * DAY)


@given(st.sampled_from(STORED), st.integers(-3000, 0), st.integers(0, 6000), st.data())
def test_fields_go_before_their_record_and_the_next_look_is_never_too_late(
    category: Category, ago: int, days: int, data: st.DataObject
) -> None:
    occurred, now = START + ago * DAY, START + days * DAY
    names, keep = SHORT.get(category.name, (set(), 0))
    row = RecordRow(NEVER, NEVER, category.name, next(iter(category.levels), ""), "", "", START, occurred, None, None, None, {}, 1)
    present = data.draw(st.sets(st.sampled_from(sorted(category.fields))))

    over = due.fields_due(category, row, now)
    following = due.next_due(category, row, present - over)

    assert over == (names if names and now >= occurred + keep * DAY else set())
    assert following is None or following > now
    assert (following is None) == (not (present - over) & names)


@pytest.mark.parametrize("seed", range(2))
async def test_of_many_records_exactly_what_is_due_goes_at_every_sweep(served: Serving, seed: int) -> None:
    """At moments that only chance chose."""
    random = Random(seed)  # noqa: S311 - not for a secret
    person = await person_of(served)
    engine, num2 = served.service("engine"), served.service("num2")
    now = served.clock()
    await create(engine, sent(person, now))
    ends: dict[str, datetime] = {}
    kinds: Sequence[tuple[str, int]] = (("log", 7), ("file", 180), ("click", 365), ("action", 180), ("call", 2557))
    for _ in range(40):
        kind, days = random.choice(kinds)
        moment = now - timedelta(days=random.uniform(0, days + 5))
        item = {
            "log": lambda at: timed(outgoing(person, "system-log"), "submitted_at", at),
            "file": lambda at: timed(incoming("system-file"), "received_at", at),
            "click": lambda at: click(person, at, ip=random.choice(["", "198.51.100.7"])),
            "action": lambda at: usage(person, at),
            "call": lambda at: call_detail(start=at.isoformat()),
        }[kind](moment)
        stored: Record = await create(num2 if kind == "action" else engine, item)
        ends[id_of(stored.name)] = moment + timedelta(days=days)
    forever = await there(served) - ends.keys()

    for offset in sorted(timedelta(days=random.uniform(0, 2600)) for _ in range(6)):
        served.clock.offset = offset
        await run(served)
        assert await there(served) - forever == {name for name, end in ends.items() if end > served.clock()}
