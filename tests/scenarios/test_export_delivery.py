"""A package from the vault to its recipient: fetched once by one courier, read back, destroyed here; and worth the same afterwards."""

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.builders import PHONE, call_detail, create, create_all, entries, entry_of, erase_for_person, id_of
from tests.faults import quiet
from tests.orders import approved, download, export, fresh_team, judged, opened, order_for, team
from tests.rotating import all_rows
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.operations import export_deliver, export_seal, order_end
from vault.operations.export_deliver import destroy_due
from vault.operations.upkeep import upkeep_caller
from vault.store import exports as export_store
from vault.store import tables
from vault.v1.legal_service_pb2 import (
    EXPORT_STATE_CANCELLED,
    EXPORT_STATE_DELIVERED,
    EXPORT_STATE_PURGED,
    EXPORT_STATE_RECEIPT_CONFIRMED,
    EXPORT_STATE_RELEASED,
    ConfirmExportDeliveryRequest,
    CreateExportRequest,
    DownloadExportRequest,
    Export,
    GetExportRequest,
    RevokeOrderRequest,
)


async def seen(caller: Caller, name: str) -> Export:
    """The export as it stands."""
    return (await caller.call(caller.legal.GetExport, GetExportRequest(name=name))).export


async def not_sent(caller: Caller, name: str, offset: int = 0) -> CallError:
    """A download that must be refused."""
    return await caller.refused(caller.legal.DownloadExport, DownloadExportRequest(name=name, offset=offset), streams=True)


def receipt_of(name: str, digest: bytes, **changes: object) -> ConfirmExportDeliveryRequest:
    """What a recipient says of a package that arrived."""
    fields = {"recipient_name": "פקד אורי לדוגמה", "recipient_id": "badge 433-17", "receipt_sha256": b"\7" * 32, **changes}
    return ConfirmExportDeliveryRequest(name=name, sha256=digest, **fields)  # type: ignore[arg-type]


async def built(served: Serving, people: object, *, document: bytes = b"\1" * 32) -> Export:
    """A package with one call in it."""
    await create(served.service("billing"), call_detail())
    return await export(people, await approved(people, order_for(served, people, document=document)))  # type: ignore[arg-type]


async def test_a_package_is_fetched_by_one_courier_once(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """§5.4 step 11: the first who fetches is the courier; after the end only what the line may have swallowed is sent again."""
    await served.create_tenants()
    people = await team(served)
    await served.sign_nda("e-second-courier")
    made, other = await built(served, people), served.person("e-second-courier", "order-courier")
    courier = people.courier

    package = await download(courier, made.name)
    monkeypatch.setattr(export_deliver, "TAIL_BYTES", 1000)
    tail = await download(courier, made.name, offset=len(package) - 1000)
    refused = [
        await not_sent(other, made.name),
        await not_sent(people.registrant, made.name),
        await not_sent(courier, made.name),
        await not_sent(courier, made.name, len(package) - 1001),
    ]

    assert hashlib.sha256(package).hexdigest() == made.sha256
    assert tail == package[-1000:]
    assert [error.reason for error in refused] == ["NOT_THE_COURIER", "ROLE_NOT_ALLOWED", "EXPORT_TAKEN", "EXPORT_TAKEN"]
    assert [(await entry_of(served, error)).decision for error in refused] == ["REFUSED"] * 4
    sent = [
        (entry.actor, json.loads(entry.content)["count"])
        for entry in await entries(served)
        if entry.operation == "download-export" and entry.decision == "ALLOWED"
    ]
    assert sent == [("people/e-courier", len(package)), ("people/e-courier", 1000)]


async def test_a_download_that_broke_off_goes_on_and_is_nobody_elses(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed by offset; until then it is on its way."""
    for module in (export_store, export_deliver, export_seal):
        monkeypatch.setattr(module, "CHUNK_BYTES", 10_000)
    await served.create_tenants()
    people = await team(served)
    made, courier = await built(served, people), people.courier
    call = courier.legal.DownloadExport(DownloadExportRequest(name=made.name), metadata=courier.metadata, timeout=30)
    first: bytes = (await anext(aiter(call))).data
    call.cancel()

    on_the_way = await seen(courier, made.name)
    rest = await download(courier, made.name, offset=len(first))

    assert on_the_way.state in {EXPORT_STATE_RELEASED, EXPORT_STATE_DELIVERED}
    assert judged(served, people, first + rest).ok
    assert (await seen(courier, made.name)).state == EXPORT_STATE_DELIVERED


async def test_a_receipt_repeats_the_digest_of_the_package(served: Serving) -> None:
    """§5.4 step 12: another digest is refused and recorded; whoever took it is named nowhere in clear."""
    await served.create_tenants()
    people = await team(served)
    made, courier = await built(served, people), people.courier
    too_early = await courier.refused(courier.legal.ConfirmExportDelivery, receipt_of(made.name, bytes.fromhex(made.sha256)))
    digest = hashlib.sha256(await download(courier, made.name)).digest()
    wrong = [
        receipt_of(made.name, b"\0" * 32),
        receipt_of(made.name, digest[:-1]),
        receipt_of(made.name, digest, recipient_name=" "),
        receipt_of(made.name, digest, receipt_sha256=b"\1"),
    ]

    refused = [await courier.refused(courier.legal.ConfirmExportDelivery, request) for request in wrong]
    confirmed = (await courier.call(courier.legal.ConfirmExportDelivery, receipt_of(made.name, digest))).export
    again = await courier.refused(courier.legal.ConfirmExportDelivery, receipt_of(made.name, digest))
    no_more = await not_sent(courier, made.name, 1)

    assert [error.reason for error in refused] == ["EXPORT_DIGEST_MISMATCH", "FIELD_INVALID", "FIELD_INVALID", "FIELD_INVALID"]
    assert confirmed.state == EXPORT_STATE_RECEIPT_CONFIRMED
    assert confirmed.HasField("deliver_time")
    assert confirmed.HasField("confirm_time")
    assert (too_early.reason, again.reason, no_more.reason) == ("EXPORT_NOT_DELIVERED", "EXPORT_NOT_DELIVERED", "EXPORT_NOT_SEALED")
    assert [entry.operation for entry in await entries(served) if entry.decision == "ALLOWED"][-1] == "confirm-delivery"
    assert [row.state for row in await all_rows(served, tables.orders)] == ["FULFILLED"]
    [row] = await all_rows(served, tables.exports)
    assert "לדוגמה".encode() not in row.delivery
    assert not any("לדוגמה".encode() in entry.content or b"433-17" in entry.content for entry in await entries(served))


async def test_the_vaults_copy_goes_thirty_days_after_it_was_handed_over(served: Serving) -> None:
    """§5.4: what stays is the receipt."""
    await served.create_tenants()
    await quiet(served)
    people = await team(served)
    made, courier = await built(served, people), people.courier
    digest = hashlib.sha256(await download(courier, made.name)).digest()
    await courier.call(courier.legal.ConfirmExportDelivery, receipt_of(made.name, digest))
    served.clock.offset += timedelta(days=30, seconds=-60)
    early = await destroy_due(served.vault, upkeep_caller())
    served.clock.offset += timedelta(seconds=120)

    destroyed = [await destroy_due(served.vault, upkeep_caller()) for _ in range(2)]

    left = await seen(fresh_team(served).courier, made.name)
    assert (early, destroyed) == (0, [1, 0])
    assert left.state == EXPORT_STATE_PURGED
    assert (left.sha256, left.size_bytes, dict(left.record_counts)) == (made.sha256, made.size_bytes, dict(made.record_counts))
    assert await all_rows(served, tables.export_chunks) == []
    assert (await entries(served))[-1].operation == "purge-export"


async def test_a_package_that_nobody_fetched_goes_with_its_order(served: Serving) -> None:
    """N1: the sealed package is destroyed when the order's time is over; one that was handed over is not."""
    await served.create_tenants()
    await quiet(served)
    people = await team(served)
    waiting, fetched = await built(served, people), await built(served, people, document=b"\2" * 32)
    await download(people.courier, fetched.name)
    served.clock.offset += timedelta(days=14, seconds=1)

    ended = await order_end.expire_orders(served.vault, upkeep_caller())
    destroyed = await destroy_due(served.vault, upkeep_caller())

    later = fresh_team(served, people.identity)
    assert (ended, destroyed) == (2, 0)
    assert [(await seen(later.courier, made.name)).state for made in (waiting, fetched)] == [EXPORT_STATE_CANCELLED, EXPORT_STATE_DELIVERED]
    async with served.vault.database.read() as connection:
        left = await connection.execute(select(tables.export_chunks.c.export_id).distinct())
        assert [row.export_id for row in left] == [id_of(fetched.name)]


async def test_a_package_outlives_the_person_and_the_vault_keeps_no_key_to_it(served: Serving) -> None:
    """§5.5: what a court has is not undone; what the vault has of it opens for nobody but the recipient."""
    await served.create_tenants()
    people = await team(served)
    stored = await create(served.service("billing"), call_detail())
    made = await export(people, await approved(people, order_for(served, people)))
    [row] = await all_rows(served, tables.exports)
    staged: Sequence[object] = [*await all_rows(served, tables.export_pieces), *await all_rows(served, tables.export_records)]

    await erase_for_person(served, {party.role: party.subject for party in stored.parties}["calling"])

    package = await download(people.courier, made.name)
    assert row.staging_key is None
    assert staged == []
    assert judged(served, people, package).ok
    assert PHONE.encode() in opened(people, package)
    assert PHONE.encode() not in package


async def test_an_order_that_is_withdrawn_amid_the_build_is_built_no_further(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """N7: the next page is not read; nothing of what was read leaves."""
    await served.create_tenants()
    people = await team(served)
    await create_all(served.service("billing"), [call_detail(start=f"2026-03-02T08:{minute:02}:00Z") for minute in range(6)])
    order = await approved(people, order_for(served, people))
    monkeypatch.setattr("vault.operations.export._PAGE", 2)
    read_page, pages = __import__("vault.operations.export", fromlist=["_read_page"])._read_page, 0

    async def reads(*arguments: object) -> bool:
        nonlocal pages
        pages += 1
        if pages == 2:
            revocation = RevokeOrderRequest(name=order.name, reason="the order was withdrawn by the court")
            await people.officer.call(people.officer.legal.RevokeOrder, revocation)
        return bool(await read_page(*arguments))

    monkeypatch.setattr("vault.operations.export._read_page", reads)
    legal = people.registrant
    refused = await legal.refused(legal.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_REVOKED")
    assert pages == 2
    [row] = await all_rows(served, tables.exports)
    assert (row.state, row.staging_key) == ("CANCELLED", None)
    for table in (tables.export_chunks, tables.export_pieces, tables.export_records):
        assert await all_rows(served, table) == []
    assert sum(len(entry.records) for entry in await entries(served) if entry.operation == "export") == 2
