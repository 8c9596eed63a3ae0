"""A court order from the register to a package that verifies offline: exactly what it covers, and nothing else."""

import asyncio
import hashlib
from datetime import timedelta

import pytest

from tests.builders import (
    LINE,
    OTHER_PHONE,
    PHONE,
    call_detail,
    create,
    create_all,
    entries,
    entry_of,
    erase,
    erase_for_person,
    id_of,
    incoming,
    mapping,
    subject_of,
)
from tests.orders import (
    END,
    START,
    approve,
    approved,
    build,
    deliver,
    download,
    export,
    fresh_team,
    judged,
    opened,
    order_for,
    preview,
    register,
    team,
)
from tests.serving import Serving
from vault.v1.legal_service_pb2 import (
    ApproveOrderRequest,
    CreateExportRequest,
    DownloadExportRequest,
    GetExportRequest,
    GetOrderRequest,
    RejectOrderRequest,
)


async def test_a_message_is_handed_over_without_what_it_says(served: Serving) -> None:
    """A19, §2B C07: from whom and when is traffic data; the text stays, whatever level it is kept at."""
    await served.create_tenants()
    people = await team(served)
    await create_all(served.service("engine"), [incoming("system-file"), incoming("report", sender=OTHER_PHONE)])

    request = order_for(served, people, categories=["incoming-message"], fields=["from", "received_at"])
    delivered = await deliver(served, people, request)

    assert delivered.verdict.ok
    assert delivered.counts == {"incoming-message": 1}
    assert PHONE.encode() in delivered.archive
    assert b"thank you" not in delivered.archive
    assert OTHER_PHONE.encode() not in delivered.archive


async def test_a_package_holds_exactly_the_calls_of_the_order_and_verifies(served: Serving) -> None:
    """P3.6-order, I8: start inclusive, end exclusive; the target calling, called, or as the line routed to."""
    await served.create_tenants()
    people = await team(served)
    third = "+972502345670"
    inside = [
        call_detail(start=START),
        call_detail(start="2026-03-07T23:59:59Z"),
        call_detail(calling=OTHER_PHONE, called=PHONE, start="2026-03-02T08:15:00Z"),
        call_detail(calling=OTHER_PHONE, called=third, start="2026-03-03T08:15:00Z", route_line=PHONE),
    ]
    outside = [
        call_detail(start="2026-02-28T23:59:59Z"),
        call_detail(start=END),
        call_detail(calling=OTHER_PHONE, called=third, start="2026-03-02T08:15:00Z"),
    ]
    stored = await create_all(served.service("billing"), [*inside, *outside])
    wanted, unwanted = [[id_of(item.record.name) for item in half] for half in (stored[:4], stored[4:])]

    delivered = await deliver(served, people, order_for(served, people))

    assert delivered.verdict.ok
    assert delivered.counts == dict(delivered.export.record_counts) == {"call-detail": 4}
    assert delivered.export.sha256 == hashlib.sha256(delivered.package).hexdigest()
    assert delivered.export.size_bytes == len(delivered.package)
    assert all(record.encode() in delivered.archive for record in wanted)
    assert not any(record.encode() in delivered.archive for record in unwanted)


async def test_the_log_names_every_record_that_left_and_who_had_a_hand_in_it(served: Serving) -> None:
    """I1, I6, P3.6-order: register, two approvals, export, download; no number in any entry."""
    await served.create_tenants()
    people = await team(served)
    stored = await create(served.service("billing"), call_detail())

    await deliver(served, people, order_for(served, people))

    logged = (await entries(served))[1:]
    assert [(entry.operation, entry.actor) for entry in logged] == [
        ("register-order", "people/e-registrant"),
        ("place-hold", "people/e-registrant"),
        ("authenticate-order", "people/e-officer"),
        ("place-hold", "people/e-officer"),
        ("set-order-scope", "people/e-registrant"),
        ("preview-export", "people/e-officer"),
        ("approve-order", "people/e-officer"),
        ("preview-export", "people/e-approver"),
        ("approve-order", "people/e-approver"),
        ("notice-not-due", "people/e-approver"),
        ("export", "people/e-registrant"),
        ("seal-export", "people/e-registrant"),
        ("approve-export", "people/e-approver"),
        ("notice-not-due", "people/e-approver"),
        ("download-export", "people/e-courier"),
    ]
    assert list(logged[10].records) == [id_of(stored.name)]
    assert not any(b"2345678" in entry.content for entry in logged)


async def test_an_order_without_a_hit_still_gives_a_package_that_verifies(served: Serving) -> None:
    """N18: that there is nothing is an answer, and it is signed."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail(calling=OTHER_PHONE, called="+972502345670"))

    delivered = await deliver(served, people, order_for(served, people))

    assert delivered.verdict.ok
    assert delivered.counts == {"call-detail": 0}


async def test_only_the_fields_of_the_order_are_in_the_package(served: Serving) -> None:
    """P3.6-order: the scope may name fields."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail(route_ip="192.0.2.7"))

    delivered = await deliver(served, people, order_for(served, people, fields=["calling", "start_at"]))

    assert delivered.verdict.ok
    assert PHONE.encode() in delivered.archive
    assert not any(value in delivered.archive for value in (OTHER_PHONE.encode(), b"192.0.2.7", LINE.encode()))


async def test_another_tenants_data_is_not_in_the_package(served: Serving) -> None:
    """N10, I11: the same number under two tenants is two people; an order names one tenant."""
    await served.create_tenants()
    people = await team(served)
    ours = await create(served.service("billing"), call_detail())
    theirs = await create(served.service("billing"), call_detail(called="+972502345670"), tenant="globex")

    delivered = await deliver(served, people, order_for(served, people))

    assert delivered.counts == {"call-detail": 1}
    assert id_of(ours.name).encode() in delivered.archive
    assert not any(value in delivered.archive for value in (id_of(theirs.name).encode(), b"globex", b"+972502345670"))


async def test_a_repeated_export_is_the_same_package(served: Serving) -> None:
    """N15: also when asked for at once, and when more was stored since."""
    await served.create_tenants()
    people = await team(served)
    billing = served.service("billing")
    await create(billing, call_detail())
    order = await approved(people, order_for(served, people))

    first, *others = await asyncio.gather(*(build(people, order) for _ in range(3)))
    assert all(other == first for other in others)
    first = await export(people, order)
    await create(billing, call_detail(start="2026-03-04T08:15:00Z"))
    later = await export(people, order)
    package = await download(people.courier, first.name)

    assert later == first
    assert hashlib.sha256(package).hexdigest() == first.sha256
    assert [entry.operation for entry in await entries(served)].count("export") == 1


async def test_a_download_resumes_where_it_broke_off(served: Serving) -> None:
    """From any byte; an offset outside the package is refused."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    built = await export(people, await approved(people, order_for(served, people)))
    courier = people.courier

    whole = await download(courier, built.name)
    rest = [await download(courier, built.name, offset=offset) for offset in (1, 1000, len(whole) - 1)]
    refused = [
        await courier.refused(courier.legal.DownloadExport, DownloadExportRequest(name=built.name, offset=offset), streams=True)
        for offset in (-1, len(whole), 1 << 40)
    ]

    assert rest == [whole[1:], whole[1000:], whole[-1:]]
    assert judged(served, people, whole[:1000] + rest[1]).ok
    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "FIELD_INVALID")}


async def test_what_an_order_holds_is_in_its_package_whoever_is_erased_meanwhile(served: Serving) -> None:
    """E4, N18: an order holds from its registration on, so an erasure keeps what it covers; the totals agree with what the package holds."""
    await served.create_tenants()
    people = await team(served)
    engine = served.service("engine")
    erased = await create(engine, incoming("system-file"))
    other = await create(engine, incoming("system-file", sender=OTHER_PHONE))
    request = order_for(
        served,
        people,
        ("phone", PHONE),
        ("phone", OTHER_PHONE),
        categories=["incoming-message"],
        fields=["from", "received_at"],
    )
    order = await approved(people, request)

    await erase(served, subject_of(erased.name))

    built = await export(people, order)
    package = await download(people.courier, built.name)
    verdict, archive = judged(served, people, package), opened(people, package)
    assert verdict.ok
    assert verdict.manifest is not None
    assert verdict.manifest.counts == dict(built.record_counts) == {"incoming-message": 2}
    assert sum(verdict.manifest.withheld.values()) == sum(built.withheld_counts.values()) == 0
    assert all(id_of(record.name).encode() in archive for record in (erased, other))
    assert all(number.encode() in archive for number in (PHONE, OTHER_PHONE))


async def test_a_call_that_an_erasure_kept_for_the_law_is_in_the_package(served: Serving) -> None:
    """§6.4, A23: what is restricted is what orders are for, and is found by the number as before."""
    await served.create_tenants()
    people = await team(served)
    call = await create(served.service("billing"), call_detail())
    order = await approved(people, order_for(served, people))
    await erase_for_person(served, {party.role: party.subject for party in call.parties}["calling"])

    built = await export(people, order)

    archive = opened(people, await download(people.courier, built.name))
    assert dict(built.record_counts) == {"call-detail": 1}
    assert PHONE.encode() in archive


async def test_a_recycled_number_with_several_users_needs_a_narrower_period(served: Serving) -> None:
    """N12, A29: a number is not a person."""
    await served.create_tenants()
    people = await team(served)
    users = [
        mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z", end="2026-03-04T00:00:00Z"),
        mapping(LINE, OTHER_PHONE, begin="2026-03-04T00:00:00Z"),
    ]
    first, second = [await create(served.service("num2"), user) for user in users]
    wide = order_for(served, people, ("virtual-number", LINE), categories=["number-mapping"])
    narrow = order_for(
        served, people, ("virtual-number", LINE), categories=["number-mapping"], end="2026-03-04T00:00:00Z", document=b"\2" * 32
    )
    order = await register(people, wide)
    seen = await preview(people.officer, order)
    approval = ApproveOrderRequest(name=order.name, scope_digest=order.scope_digest)

    refused = await people.officer.refused(people.officer.legal.ApproveOrder, approval)
    delivered = await deliver(served, people, narrow)

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "REQUIRES_INTERVAL")
    assert (await entry_of(served, refused)).operation == "approve-order"
    assert list(seen.problems) == ["REQUIRES_INTERVAL"]
    assert [(target.holder_count, target.requires_interval) for target in seen.targets] == [(2, True)]
    assert delivered.verdict.ok
    assert delivered.counts == {"number-mapping": 1}
    assert id_of(first.name).encode() in delivered.archive
    assert id_of(second.name).encode() not in delivered.archive


async def test_an_order_without_both_approvals_exports_nothing(served: Serving) -> None:
    """N4."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    legal = people.registrant

    none = await legal.refused(legal.legal.CreateExport, CreateExportRequest(parent=order.name))
    await approve(people.approver, order)
    one = await legal.refused(legal.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert {(error.code.name, error.reason) for error in (none, one)} == {("FAILED_PRECONDITION", "APPROVALS_MISSING")}
    assert {(await entry_of(served, error)).decision for error in (none, one)} == {"REFUSED"}


async def test_a_rejected_order_exports_nothing_and_stays_on_the_register(served: Serving) -> None:
    await served.create_tenants()
    people = await team(served)
    order = await approved(people, order_for(served, people))
    legal = people.registrant
    rejection = RejectOrderRequest(name=order.name, reason="the order was withdrawn by the court")
    rejected = (await people.approver.call(people.approver.legal.RejectOrder, rejection)).order

    refused = await legal.refused(legal.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_REJECTED")
    assert (await legal.call(legal.legal.GetOrder, GetOrderRequest(name=order.name))).order == rejected


async def test_an_order_that_expired_exports_nothing_and_its_package_is_not_sent(served: Serving) -> None:
    """N1: at the second of each step, whatever was approved and built before."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    unbuilt = await approved(people, order_for(served, people))
    built = await export(people, await approved(people, order_for(served, people, document=b"\2" * 32)))
    served.clock.offset = timedelta(days=14, seconds=1)
    later = fresh_team(served, people.identity)

    refused = [
        await later.registrant.refused(later.registrant.legal.CreateExport, CreateExportRequest(parent=unbuilt.name)),
        await later.courier.refused(later.courier.legal.DownloadExport, DownloadExportRequest(name=built.name), streams=True),
    ]

    assert {(error.code.name, error.reason) for error in refused} == {("FAILED_PRECONDITION", "ORDER_EXPIRED")}
    assert [(await entry_of(served, error)).operation for error in refused] == ["export", "download-export"]


@pytest.mark.parametrize("role", ["auditor", "operator"])
async def test_neither_the_auditor_nor_the_operator_downloads_a_package(served: Serving, role: str) -> None:
    """N17."""
    await served.create_tenants()
    people = await team(served)
    built = await export(people, await approved(people, order_for(served, people)))
    await served.sign_nda("e-other")
    other = served.person("e-other", role)

    refused = await other.refused(other.legal.DownloadExport, DownloadExportRequest(name=built.name), streams=True)

    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


async def test_a_package_is_named_by_its_own_order_only(served: Serving) -> None:
    """I11: another order's or tenant's name does not lead to it."""
    await served.create_tenants()
    people = await team(served)
    built = await export(people, await approved(people, order_for(served, people)))
    other = await register(people, order_for(served, people, document=b"\2" * 32))
    legal = people.registrant
    names = [f"{other.name}/exports/{id_of(built.name)}", built.name.replace("tenants/acme", "tenants/globex")]

    refused = [await legal.refused(legal.legal.GetExport, GetExportRequest(name=name)) for name in names]

    assert {(error.code.name, error.reason) for error in refused} == {("NOT_FOUND", "EXPORT_NOT_FOUND")}
