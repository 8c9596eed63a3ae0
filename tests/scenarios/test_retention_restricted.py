"""After its ordinary use what is kept on is restricted, or a token, and goes when that is over (§2B: C05, C15, C17; P3.5-reg)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from tests.builders import (
    PHONE,
    asked,
    call_detail,
    contact,
    create,
    create_all,
    entries,
    erase,
    find,
    id_of,
    not_revealed,
    record,
    reveal,
    rows,
    sought,
    subject_of,
)
from tests.faults import Crash, CrashError, quiet
from tests.holds import officer_of, place, release, wanted
from tests.retaining import DAY, MINUTE, swept
from tests.serving import Serving, why
from vault.errors import VaultError
from vault.operations import retain
from vault.operations.attempt import Attempt
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.resources_pb2 import Justification
from vault.v1.vault_service_pb2 import RecordInput

USED, KEPT = timedelta(days=365), timedelta(days=2557)
CLAIM = why("claim-or-complaint", "CASE-4", "the customer complained about a charge in writing")


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    await served.create_tenants("acme")
    return served


def message(channel: str, moment: datetime) -> RecordInput:
    said = {"message_id": "m-1", "channel": channel, "submitted_at": moment.isoformat(), "status": "delivered", "sender": "shop"}
    return record("message-metadata", {**said, "recipient_phone": PHONE})


@dataclass(frozen=True)
class Use:
    """Something that is kept on restricted, who stores it and who uses it for what."""

    category: str
    item: Callable[[datetime], RecordInput]
    by: str
    user: str
    because: Justification
    field: str


USES = [
    Use("call-detail", lambda moment: call_detail(start=moment.isoformat()), "engine", "billing", why("billing"), "calling"),
    Use("message-metadata", lambda moment: message("VOICE", moment), "engine", "reporting", why("customer-report"), "recipient_phone"),
]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.category)
async def test_a_minute_after_its_ordinary_use_a_record_is_restricted(served: Serving, use: Use) -> None:
    """P3.5-reg, L31: as if the person were; no sweep has to come by."""
    happened = served.clock()
    stored = await create(served.service(use.by), use.item(happened))
    user = served.service(use.user)
    wanted_by = sought("phone", PHONE, category=use.category, because=use.because)
    request = asked(stored.name, use.field, because=use.because)

    served.clock.offset += USED - MINUTE
    before = (await reveal(user, request)).fields[use.field].text, len(await find(user, wanted_by))
    served.clock.offset += 2 * MINUTE
    after = (await not_revealed(user, request)).reason, len(await find(user, wanted_by))

    officer = await officer_of(served)
    claimed = await reveal(officer, asked(stored.name, use.field, because=CLAIM))
    found = await find(officer, sought("phone", PHONE, category=use.category, because=CLAIM))
    assert (before, after) == ((PHONE, 1), ("RESTRICTED", 0))
    assert (claimed.fields[use.field].text, [id_of(match.record) for match in found]) == (PHONE, [id_of(stored.name)])


@pytest.mark.parametrize("use", USES, ids=lambda use: use.category)
async def test_what_is_restricted_goes_when_that_is_over_and_nothing_of_it_before(served: Serving, use: Use) -> None:
    happened = served.clock()
    await create(served.service(use.by), use.item(happened))
    whole = await rows(served, tables.record_parts, tables.index_entries)

    first = await swept(served, at_moment=happened + USED + MINUTE)
    kept = await rows(served, tables.record_parts, tables.index_entries)
    early = await swept(served, at_moment=happened + KEPT - MINUTE)
    late = await swept(served, at_moment=happened + KEPT + MINUTE)

    assert kept == whole
    assert (first, early, late, await swept(served)) == ({}, {}, {use.category: 1}, {})


async def test_a_call_in_the_app_is_restricted_and_an_action_in_it_was_not_kept_so_long(served: Serving) -> None:
    """C17: the two are told apart by their kind."""
    num2, now = served.service("num2"), served.clock()
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    call, action = [
        await create(num2, record("app-usage", {"kind": kind, "at": now.isoformat(), "ip": "198.51.100.7"}, subject=person))
        for kind in ("CALL", "ACTION")
    ]

    served.clock.offset += timedelta(days=181)
    shown = await reveal(num2, asked(call.name))
    gone = await swept(served)
    served.clock.offset += timedelta(days=185)

    assert (shown.fields["kind"].text, gone) == ("CALL", {"app-usage": 1})
    assert (await not_revealed(num2, asked(call.name))).reason == "RESTRICTED"
    assert (await not_revealed(num2, asked(action.name))).reason == "RECORD_NOT_FOUND"


async def test_the_recipient_of_a_message_becomes_a_token_and_the_row_stays(served: Serving) -> None:
    """C05: once, to the minute, with an entry; what is left of it may be read for a claim, and goes after seven years."""
    happened, reporting = served.clock(), served.service("reporting")
    stored = await create(served.service("engine"), message("SMS", happened))
    wanted_by = sought("phone", PHONE, category="message-metadata", because=why("customer-report"))

    await swept(served, at_moment=happened + USED - MINUTE)
    before = len(await find(reporting, wanted_by)), await rows(served, tables.index_entries)
    await swept(served, at_moment=happened + USED + MINUTE)
    after = await rows(served, tables.records, tables.record_parts, tables.index_entries)
    noted = [entry for entry in await entries(served) if entry.operation == "retain"]
    await swept(served)

    refused = await not_revealed(reporting, asked(stored.name, because=why("customer-report")))
    officer = await officer_of(served)
    left = await reveal(officer, asked(stored.name, because=CLAIM))
    assert (before, after) == ((1, (1,)), (1, 1, 0))
    assert [(entry.category, [id_of(name) for name in entry.records]) for entry in noted] == [("message-metadata", [id_of(stored.name)])]
    assert b'"fields":["recipient_phone","sender"]' in noted[0].content
    assert len([entry for entry in await entries(served) if entry.operation == "retain"]) == 1
    assert refused.reason == "RESTRICTED"
    assert (left.fields["status"].text, "recipient_phone" in left.fields, list(left.erased_parties)) == ("delivered", False, ["subject"])
    assert await swept(served, at_moment=happened + KEPT - MINUTE) == {}
    assert await swept(served, at_moment=happened + KEPT + MINUTE) == {"message-metadata": 1}


async def test_many_become_tokens_in_batches_and_each_once(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: with an entry for each batch; also where they were over when they were stored."""
    monkeypatch.setattr(retain, "_BATCH", 3)
    long_ago = served.clock() - 400 * DAY
    stored = await create_all(served.service("engine"), [message("SMS", long_ago) for _ in range(7)])

    await swept(served)

    noted = [[id_of(name) for name in entry.records] for entry in await entries(served) if entry.operation == "retain"]
    assert sorted(name for batch in noted for name in batch) == sorted(id_of(item.record.name) for item in stored)
    assert max(len(batch) for batch in noted) <= 3
    assert await rows(served, tables.records, tables.index_entries) == (7, 0)


async def test_a_message_that_is_held_keeps_its_recipient_until_the_release(served: Serving) -> None:
    """N2: what is held stays whole."""
    stored = await create(served.service("engine"), message("SMS", served.clock() - 400 * DAY))
    held = await place(await officer_of(served), wanted(records=[stored.name]))

    await swept(served)
    whole = await rows(served, tables.index_entries)
    await release(await officer_of(served), held)
    await swept(served)

    assert (whole, await rows(served, tables.index_entries)) == ((1,), (0,))


async def test_a_person_whose_messages_are_tokens_is_erased_like_any_other(served: Serving) -> None:
    """A23, §6.2: the preview counts what is left, and the erasure leaves the tokens."""
    await create(served.service("acme-app"), contact(PHONE, list_id="spring"))
    stored = await create(served.service("engine"), message("SMS", served.clock() - 400 * DAY))
    await swept(served)

    erasure = await erase(served, subject_of(stored.name))

    assert {line.category: line.found_count for line in erasure.outcomes} == {"end-customer-contact": 1}
    assert await rows(served, tables.records, tables.record_parts, tables.identities) == (1, 1, 0)


async def test_a_sweep_that_dies_anywhere_makes_no_token_without_its_entry(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: whoever is a token is in the log, once, and nobody else is; the next sweep does the rest."""
    monkeypatch.setattr(retain, "_BATCH", 2)
    long_ago = served.clock() - 400 * DAY
    stored = await create_all(served.service("engine"), [message("SMS", long_ago) for _ in range(4)])
    crash, boundary = Crash(served.vault.database), 0

    while True:
        crash.at(boundary)
        try:
            await retain.run_retention(served.vault, Attempt(upkeep_caller()), "acme")
            crash.over()
            break
        except (CrashError, VaultError):
            crash.over()
        async with served.vault.database.read() as connection:
            parts = tables.record_parts.c
            tokens = set((await connection.execute(select(parts.record_id).where(parts.key_version == 0))).scalars())
            found = set((await connection.execute(select(tables.index_entries.c.record_id))).scalars())
        noted = [id_of(name) for entry in await entries(served) if entry.operation == "retain" for name in entry.records]
        assert sorted(noted) == sorted(tokens), boundary
        assert not tokens & found, boundary
        boundary += 3

    noted = [id_of(name) for entry in await entries(served) if entry.operation == "retain" for name in entry.records]
    assert boundary > 0
    assert sorted(noted) == sorted(id_of(item.record.name) for item in stored)
