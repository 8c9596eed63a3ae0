"""Importing a list file over the stream: being killed anywhere costs nothing and doubles nothing (I10)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import grpc
import pytest
from sqlalchemy import select

from tests.builders import PHONE, asked, entries, find, id_of, reveal, rows, sought, subject_of
from tests.holds import officer_of, place, release, wanted
from tests.imports import end, header, imported, people, people_without_names, some
from tests.serving import Caller, Serving, why
from vault.client.errors import CallError
from vault.store import tables
from vault.v1.vault_service_pb2 import ImportRecordsRequest, ListRecordsRequest


async def progress(served: Serving) -> int:
    """Rows handled so far, of every import."""
    async with served.vault.database.read() as connection:
        return sum((await connection.execute(select(tables.imports.c.row_count))).scalars())


async def cut_off(served: Serving, caller: Caller, messages: Sequence[ImportRecordsRequest], *, after: int) -> None:
    """Send some messages, and go away as soon as so many rows are handled and the next message is out."""

    async def until() -> AsyncIterator[ImportRecordsRequest]:
        for message in messages[:-1]:
            yield message
        while not call.done() and await progress(served) < after:
            pass
        yield messages[-1]
        call.cancel()

    call: Any = caller.records.ImportRecords(until())
    with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
        await call


async def test_a_row_of_a_list_becomes_contact_membership_and_profile(served: Serving) -> None:
    """P3.2.1-files, P3.2.1-fields, P3.2.1-channels: found by number, hidden by default, the channel known."""
    await served.create_tenants()
    app, admin, engine = served.service("acme-app"), served.service("acme-admin"), served.service("engine")
    row = some({"phone": "050-2345678", "first_name": "דנה"}, extra={"colour": "red"})

    answer = await imported(app, header(), row, end(1))

    [match] = await find(app, sought("phone", PHONE))
    listed = (await admin.call(admin.records.ListRecords, ListRecordsRequest(parent=match.subject))).records
    kinds = {item.category: item for item in listed}
    shown = await reveal(engine, asked(kinds["list-profile"].name, "first_name", "extra", because=await served.job()))
    assert (answer.row_count, answer.accepted_count, answer.duplicate_count, dict(answer.rejected_counts)) == (1, 1, 0, {})
    assert kinds.keys() == {"end-customer-contact", "list-membership", "list-profile"}
    assert (kinds["list-membership"].list, kinds["list-membership"].metadata["source"]) == ("spring", "SFTP")
    assert (shown.fields["first_name"].text, dict(shown.extra)) == ("דנה", {"colour": "red"})


async def test_contacts_that_are_put_into_a_list_become_its_members(served: Serving) -> None:
    """P3.2-exp-contact. Once, such a file failed with an internal error, because nobody had decided about the memberships."""
    await served.create_tenants()
    app = served.service("acme-app")

    answer = await imported(app, header("end-customer-contact"), people_without_names(0, 2), end(2))

    logged = await entries(served)
    assert (answer.accepted_count, await rows(served)) == (2, (2, 4, 4, 2, 2))
    assert [(entry.category, len(entry.records), bool(entry.rule)) for entry in logged] == [
        ("end-customer-contact", 2, True),
        ("list-membership", 2, True),
    ]


async def test_a_bad_row_is_counted_by_line_and_reason_and_nothing_of_it_is_kept(served: Serving) -> None:
    """P3.2.1-fields, L40, I2: a row is stored whole or not at all; the good ones are."""
    await served.create_tenants()
    app = served.service("acme-app")
    given = [
        {"phone": "050-2345678", "first_name": "דנה"},
        {"phone": "12", "first_name": "no number"},
        {"phone": "050-2345671", "first_name": "4111 1111 1111 1111"},
        {"phone": "12", "email": "dana@example.com", "first_name": "mail only"},
        {"phone": "050-2345672", "shoe_size": "44"},
    ]

    answer = await imported(app, header(), some(*given, start=2), end(5))

    assert (answer.row_count, answer.accepted_count) == (5, 2)
    assert dict(answer.rejected_counts) == {"NO_USABLE_IDENTIFIER": 1, "PAN_IN_FREE_FIELD": 1, "UNKNOWN_FIELD": 1}
    assert [(issue.line, issue.reason) for issue in answer.issues] == [
        (3, "NO_USABLE_IDENTIFIER"),
        (4, "PAN_IN_FREE_FIELD"),
        (5, "IDENTIFIER_DROPPED"),
        (6, "UNKNOWN_FIELD"),
    ]
    assert list(await find(app, sought("phone", "050-2345671"))) == []
    assert len(await find(app, sought("email", "dana@example.com"))) == 1
    assert (await rows(served))[0] == 2


async def test_two_rows_about_one_person_are_one_person_and_the_later_row_stands(served: Serving) -> None:
    """E19: 050-… and +972… are one; the second is a duplicate and fills in what the first left out."""
    await served.create_tenants()
    app, admin, engine = served.service("acme-app"), served.service("acme-admin"), served.service("engine")
    given = [
        {"phone": "050-2345678", "first_name": "Dana", "last_name": "Levi"},
        {"phone": "+972 50 234 5678", "first_name": "דנה"},
    ]

    answer = await imported(app, header(), some(*given), end(2))

    [match] = await find(app, sought("phone", PHONE))
    request = ListRecordsRequest(parent=match.subject, category="list-profile")
    [stored] = (await admin.call(admin.records.ListRecords, request)).records
    shown = await reveal(engine, asked(stored.name, "first_name", "last_name", because=await served.job()))
    assert (answer.accepted_count, answer.duplicate_count) == (1, 1)
    assert {name: value.text for name, value in shown.fields.items()} == {"first_name": "דנה", "last_name": "Levi"}


@pytest.mark.parametrize("cut", [0, 40, 80])
async def test_an_import_that_was_cut_off_goes_on_where_it_stopped(served: Serving, cut: int) -> None:
    """I10: whatever had become of the last message, the sums are right and nothing is doubled."""
    await served.create_tenants()
    app = served.service("acme-app")
    messages = [header(), people(0, 40), people(40, 40), people(80, 40)]

    await cut_off(served, app, messages[: 2 + cut // 40], after=cut)
    answer = await imported(app, *messages, end(120))

    logged = [record for entry in await entries(served) for record in entry.records]
    assert (answer.row_count, answer.accepted_count, answer.duplicate_count) == (120, 120, 0)
    assert answer.resumed_count in {cut, cut + 40}
    assert (await rows(served))[:2] == (120, 360)
    assert len(logged) == len(set(logged)) == 360


async def test_an_import_that_is_cut_off_again_and_again_gets_done(served: Serving) -> None:
    """I10."""
    await served.create_tenants()
    app = served.service("acme-app")
    messages = [header("end-customer-contact"), *(people_without_names(n * 10, 10) for n in range(6))]

    for number in range(1, 6):
        await cut_off(served, app, messages[: number + 1], after=(number - 1) * 10)
    answer = await imported(app, *messages, end(60))

    assert (answer.row_count, answer.accepted_count, answer.duplicate_count) == (60, 60, 0)
    assert (await rows(served))[0] == 60


async def test_two_imports_of_one_file_at_once_are_one(served: Serving) -> None:
    """I10: whoever loses the race is told to try again, or goes on from where the other is."""
    await served.create_tenants()
    app = served.service("acme-app")
    messages = [header(), *(people(n * 20, 20) for n in range(5)), end(100)]

    answers = await asyncio.gather(*[imported(app, *messages) for _ in range(3)], return_exceptions=True)
    last = await imported(app, *messages)

    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(error, CallError) and (error.code.name, error.reason) == ("ABORTED", "CONCURRENT_CHANGE") for error in refused)
    assert len(refused) < 3
    assert (last.row_count, last.accepted_count, last.duplicate_count) == (100, 100, 0)
    assert (await rows(served))[:2] == (100, 300)


async def test_a_file_that_was_imported_is_not_imported_again_unless_on_purpose(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    first = await imported(app, header(), people(0, 3), end(3))
    before = await rows(served)

    again = await imported(app, header(), people(0, 3), end(3))
    unchanged = await rows(served)
    repeated = await imported(app, header(repeat="2026-03-02"), people(0, 3), end(3))
    elsewhere = await imported(app, header(list_id="autumn"), people(0, 3), end(3))

    assert (again.name, again.row_count, again.resumed_count) == (first.name, 3, 3)
    assert unchanged == before
    assert len({first.name, repeated.name, elsewhere.name}) == 3
    assert (repeated.accepted_count, repeated.duplicate_count) == (3, 0)
    assert (await rows(served))[0] == before[0]


async def test_a_file_of_calls_is_one_record_a_row_however_often_it_is_sent(served: Serving) -> None:
    """P3.3-cdr, I10: events are not merged; rows with the same parties are different calls."""
    await served.create_tenants()
    billing = served.service("billing")
    call = {
        "cdr_id": "c-1",
        "shadow_number": "073-2345678",
        "calling": "050-2345678",
        "called": "050-2345679",
        "status": "answered",
        "duration_s": "61",
        "start_at": "2026-03-02T08:15:00Z",
    }
    messages = [header("call-detail", list_id=""), some(call, {**call, "cdr_id": "c-2"}), end(2)]

    first, again = await imported(billing, *messages), await imported(billing, *messages)

    request = sought("phone", PHONE, category="call-detail", because=why("billing"))
    assert (first.accepted_count, first.duplicate_count, again.resumed_count) == (2, 0, 2)
    assert len({id_of(match.record) for match in await find(billing, request)}) == 2
    assert len({subject_of(match.record) for match in await find(billing, request)}) == 1


async def test_a_row_about_somebody_whose_record_is_held_becomes_a_record_beside_it(served: Serving) -> None:
    """A18, N2: what is held stays as it was; when the hold is over, rows are merged into the older one again."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    await imported(app, header(), some({"phone": "050-2345678", "first_name": "דנה"}), end(1))
    officer = await officer_of(served)
    placed = await place(officer, wanted(subject_of((await find(app, sought("phone", PHONE)))[0].record)))
    before = await names_in(served, engine)

    await imported(app, header(source_digest=b"\2" * 32), some({"phone": "050-2345678", "first_name": "רות"}), end(1))
    twice = some({"phone": "050-2345678", "first_name": "נועה"}, {"phone": "050-2345678", "first_name": "יעל"})
    answer = await imported(app, header(source_digest=b"\3" * 32), twice, end(2))
    during = await names_in(served, engine)
    await release(await officer_of(served), placed)
    await imported(app, header(source_digest=b"\4" * 32), some({"phone": "050-2345678", "first_name": "תמר"}), end(1))

    assert before == ["דנה"]
    # The hold covers what comes after it as well.
    assert during == ["דנה", "רות", "יעל"]
    assert (answer.accepted_count, answer.duplicate_count) == (1, 1)
    assert await names_in(served, engine) == ["תמר", "רות", "יעל"]


async def names_in(served: Serving, engine: Caller) -> list[str]:
    """First names in the profiles of the list, oldest record first."""
    async with served.vault.database.read() as connection:
        profiles = select(tables.records).where(tables.records.c.category == "list-profile").order_by(tables.records.c.create_time)
        names = [f"tenants/acme/subjects/{row.subject_id}/records/{row.record_id}" for row in await connection.execute(profiles)]
    job = await served.job()
    return [(await reveal(engine, asked(name, "first_name", because=job))).fields["first_name"].text for name in names]
