"""Batches and streams: every item stands alone, in order, and the log says exactly what happened to each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    NEVER,
    NOTHING,
    PHONE,
    asked,
    contact,
    create,
    create_all,
    entries,
    id_of,
    profile,
    refusal,
    reveal,
    rows,
    subject_of,
)
from tests.serving import Serving, why
from vault.v1.resources_pb2 import VIEW_FULL
from vault.v1.vault_service_pb2 import (
    BatchCreateRecordsRequest,
    BatchRevealRecordsRequest,
    RevealRecordRequest,
    RevealResult,
    StreamRevealRecordsRequest,
    StreamRevealRecordsResponse,
)

UNKNOWN_CATEGORY = contact()
UNKNOWN_CATEGORY.category = "shoe-size"


def batch(*names: str) -> BatchRevealRecordsRequest:
    """A request to reveal the numbers of contacts, in full."""
    mask = FieldMask(paths=["phone"])
    return BatchRevealRecordsRequest(parent="tenants/acme", names=names, justification=why(), view=VIEW_FULL, field_mask=mask)


def phones(results: Sequence[RevealResult]) -> list[str]:
    """The released number of each item, or why there is none."""
    return [item.record.fields["phone"].text if item.HasField("record") else refusal(item).reason for item in results]


async def sent(requests: Sequence[RevealRecordRequest]) -> AsyncIterator[StreamRevealRecordsRequest]:
    """Requests as a stream."""
    for request in requests:
        yield StreamRevealRecordsRequest(reveal=request)


async def test_a_batch_stores_what_is_sound_and_says_of_each_item_what_became_of_it(served: Serving) -> None:
    """A batch answers per item, never all-or-nothing by accident; what was refused is recorded too (I5)."""
    await served.create_tenants()
    app = served.service("acme-app")
    unknown_person = profile(f"tenants/acme/subjects/{NEVER}", first_name="דנה")

    results = await create_all(app, [contact("050-2345670"), UNKNOWN_CATEGORY, contact("12"), unknown_person, contact("050-2345671")])

    outcomes = ["stored" if item.HasField("record") else refusal(item).reason for item in results]
    recorded = [(entry.decision, entry.reason) for entry in await entries(served)]
    assert outcomes == ["stored", "UNKNOWN_CATEGORY", "IDENTIFIER_INVALID", "SUBJECT_NOT_FOUND", "stored"]
    assert [item.receipt.index for item in results] == [0, 1, 2, 3, 0]
    assert recorded == [
        ("ALLOWED", ""),
        ("REFUSED", "UNKNOWN_CATEGORY"),
        ("REFUSED", "IDENTIFIER_INVALID"),
        ("REFUSED", "SUBJECT_NOT_FOUND"),
    ]
    assert (await rows(served))[:2] == (2, 2)


async def test_an_atomic_batch_with_one_bad_item_stores_nothing(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    request = BatchCreateRecordsRequest(parent="tenants/acme", records=[contact("050-2345670"), UNKNOWN_CATEGORY], atomic=True)

    refused = await app.refused(app.records.BatchCreateRecords, request)

    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "UNKNOWN_CATEGORY")
    assert await rows(served) == NOTHING
    assert {(entry.decision, entry.reason) for entry in await entries(served)} == {("REFUSED", "UNKNOWN_CATEGORY")}


async def test_an_atomic_batch_of_sound_items_stores_all(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")

    results = await create_all(app, [contact(f"050-234567{n}") for n in range(5)], atomic=True)

    assert all(item.HasField("record") for item in results)
    assert (await rows(served))[:2] == (5, 5)


async def test_a_batch_of_reveals_answers_in_order_and_writes_one_entry_that_names_them_all(served: Serving) -> None:
    """Design §5: one entry for what one call released, one for what it was refused."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = [item.record.name for item in await create_all(app, [contact(f"050-234567{n}") for n in range(4)])]
    never = f"{subject_of(stored[0])}/records/{NEVER}"

    answer = await app.call(app.records.BatchRevealRecords, batch(stored[2], never, stored[0], stored[2]))

    released, refused = (await entries(served))[1:]
    assert phones(answer.results) == ["+972502345672", "RECORD_NOT_FOUND", "+972502345670", "+972502345672"]
    assert [item.receipt.index for item in answer.results] == [1, 2, 1, 1]
    assert list(released.records) == [id_of(stored[2]), id_of(stored[0]), id_of(stored[2])]
    assert (refused.decision, list(refused.records)) == ("REFUSED", [NEVER])


async def test_a_thousand_records_are_stored_and_released_in_one_call_each(served: Serving) -> None:
    """The documented limit of a batch can be used up, and the log still reads (an entry is at most 64 KiB)."""
    await served.create_tenants()
    app = served.service("acme-app")

    stored = await create_all(app, [contact(f"050-2{number:06d}") for number in range(1000)])
    answer = await app.call(app.records.BatchRevealRecords, batch(*(item.record.name for item in stored)))

    assert phones(answer.results) == [f"+972502{number:06d}" for number in range(1000)]
    logged = await entries(served)
    assert [sum(len(entry.records) for entry in logged if entry.operation == kind) for kind in ("create", "reveal")] == [1000, 1000]
    assert max(len(entry.content) for entry in logged) <= 64 * 1024


async def test_calls_that_arrive_together_are_each_answered_and_recorded_on_their_own(served: Serving) -> None:
    """Design §5: merged into one transaction, never into one answer."""
    await served.create_tenants()
    app, globex = served.service("acme-app"), served.service("globex-app")
    stored = [item.record.name for item in await create_all(app, [contact(f"050-234567{n}") for n in range(8)])]
    wrong = asked(stored[0], "phone", because=why("no-such-purpose"))

    async def shown(name: str) -> str:
        return (await reveal(app, asked(name, "phone"))).fields["phone"].text

    async def refused(request: RevealRecordRequest, as_globex: bool = False) -> str:
        caller = globex if as_globex else app
        return (await caller.refused(caller.records.RevealRecord, request)).reason

    answers = await asyncio.gather(*map(shown, stored), refused(wrong), refused(asked(stored[1], "phone"), as_globex=True))

    assert answers == [*(f"+97250234567{n}" for n in range(8)), "UNKNOWN_PURPOSE", "TENANT_NOT_FOUND"]
    assert [entry.decision for entry in await entries(served)].count("ALLOWED") == 9
    assert sorted(len(entry.records) for entry in (await entries(served))[1:]) == [1] * 9


async def test_a_stream_goes_on_after_a_bad_item_and_answers_in_order(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    stored = [item.record.name for item in await create_all(app, [contact(f"050-234567{n}") for n in range(3)])]
    foreign = stored[1].replace("tenants/acme", "tenants/globex")
    requests = [
        asked(stored[0], "phone"),
        asked("not a name", "phone"),
        asked(foreign, "phone"),
        asked(stored[1], "phone", because=why("no-such-purpose")),
        asked(f"{subject_of(stored[0])}/records/{NEVER}", "phone"),
        asked(stored[2], "phone"),
    ]

    answers: list[StreamRevealRecordsResponse] = await app.stream(app.records.StreamRevealRecords, sent(requests))

    results = [answer.result for answer in answers]
    assert phones(results) == [
        "+972502345670",
        "NAME_INVALID",
        "TENANT_NOT_FOUND",
        "UNKNOWN_PURPOSE",
        "RECORD_NOT_FOUND",
        "+972502345672",
    ]
    assert all(item.HasField("receipt") for item in results)


async def test_every_item_of_a_stream_is_in_the_log(served: Serving) -> None:
    """I1, I5: refused as faithfully as released; in the system log what names no tenant of the caller's."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    requests = [asked(name), asked("not a name"), asked(name.replace("acme", "globex")), asked(name)]

    answers = await app.stream(app.records.StreamRevealRecords, sent(requests))

    logs = {"acme": await entries(served), "system": await entries(served, "system")}
    found = [logs[answer.result.receipt.log][answer.result.receipt.index] for answer in answers]
    assert [(entry.decision, entry.reason) for entry in found] == [
        ("ALLOWED", ""),
        ("REFUSED", "NAME_INVALID"),
        ("REFUSED", "TENANT_NOT_FOUND"),
        ("ALLOWED", ""),
    ]
    assert {entry.method for entry in found} == {"/vault.v1.VaultService/StreamRevealRecords"}


async def test_a_long_stream_keeps_its_order_through_many_batches(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    stored = [item.record.name for item in await create_all(app, [contact(f"050-23456{n:02d}") for n in range(50)])]
    wanted = [stored[(n * 7) % 50] for n in range(300)]

    answers = await app.stream(app.records.StreamRevealRecords, sent([asked(name, "phone") for name in wanted]))

    assert phones([answer.result for answer in answers]) == [f"+9725023456{(n * 7) % 50:02d}" for n in range(300)]


async def test_a_stream_that_its_reader_leaves_goes_away_with_what_it_had_opened(served: Serving) -> None:
    """Once, the reading end waited for ever in a full window, with released values in it."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name

    async def endless() -> AsyncIterator[StreamRevealRecordsRequest]:
        while True:
            yield StreamRevealRecordsRequest(reveal=asked(name))

    call: Any = app.records.StreamRevealRecords(endless())
    first = await call.read()
    # Each of these waits for a batch of the stream's: long enough that nobody takes its answers and the window is full.
    others = [await reveal(app, asked(name, "phone")) for _ in range(30)]
    call.cancel()
    left = [await reveal(app, asked(name, "phone")) for _ in range(30) if is_reading()]

    assert first.result.record.name == name
    assert {item.fields["phone"].text for item in (*others, *left)} == {PHONE}
    assert not is_reading()


def is_reading() -> bool:
    """Whether the server, which runs in this very loop, still reads a stream."""
    return any("_read_stream" in repr(task.get_coro()) for task in asyncio.all_tasks())
