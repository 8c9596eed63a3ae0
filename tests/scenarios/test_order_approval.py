"""Who approves an order and the release of its package, and what ends or stops an order on its way (§5.4, N1, N4, N5, N7, L20, L21)."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from tests.builders import at, call_detail, create, entries, entry_of
from tests.holds import listed
from tests.orders import (
    Team,
    approve,
    approved,
    authenticate,
    build,
    download,
    export,
    fresh_team,
    order_for,
    preview,
    receive,
    register,
    release,
    settle,
    team,
)
from tests.rotating import all_rows
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.operations import order_end
from vault.operations.export_staging import Progress
from vault.operations.upkeep import upkeep_caller
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store import tables
from vault.store.exports import ExportRow
from vault.v1 import legal_service_pb2 as legal
from vault.v1.legal_service_pb2 import (
    ApproveExportRequest,
    ApproveOrderRequest,
    CloseOrderRequest,
    CreateExportRequest,
    DownloadExportRequest,
    Export,
    GetExportRequest,
    GetOrderRequest,
    Order,
    RejectOrderRequest,
    ResumeOrderRequest,
    RevokeOrderRequest,
    SuspendOrderRequest,
)

WHY = "the court wrote to us about it"


async def not_approved(caller: Caller, order: Order) -> CallError:
    request = ApproveOrderRequest(name=order.name, scope_digest=order.scope_digest)
    return await caller.refused(caller.legal.ApproveOrder, request)


async def read(caller: Caller, name: str) -> Order:
    return (await caller.call(caller.legal.GetOrder, GetOrderRequest(name=name))).order


async def end(caller: Caller, order: Order, how: str) -> Order:
    """Reject, revoke, suspend or resume an order."""
    request = {
        "Reject": RejectOrderRequest,
        "Revoke": RevokeOrderRequest,
        "Suspend": SuspendOrderRequest,
        "Resume": ResumeOrderRequest,
    }[how](name=order.name, reason=WHY)
    answer: Order = (await caller.call(getattr(caller.legal, f"{how}Order"), request)).order
    return answer


async def chunks(served: Serving) -> int:
    """How many pieces of packages the vault keeps."""
    async with served.vault.database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(tables.export_chunks))).scalar_one()


async def set_export_state(served: Serving, built: Export, state: str) -> None:
    """A package that stands elsewhere on its way."""
    async with served.vault.database.write() as connection:
        where = tables.exports.c.export_id == built.name.rpartition("/")[2]
        await connection.execute(tables.exports.update().where(where).values(state=state))


# Approvals


async def test_n4_one_approval_is_none(served: Serving) -> None:
    """N4."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    once = await approve(people.officer, order)
    registrant = people.registrant

    refused = await registrant.refused(registrant.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert list(once.missing_approvals) == ["legal-approver"]
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "APPROVALS_MISSING")


async def test_n5_two_accounts_of_one_person_are_one_person(served: Serving) -> None:
    """N5: the registrant under another account, and an approver twice, in whatever role."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    await approve(people.officer, order)
    accounts = [
        served.person("e-registrant", "legal-approver", claims={"sub": "another-account"}),
        served.person("e-officer", "legal-approver", claims={"sub": "another-account"}),
        served.person("e-officer", "legal-approver", via="desk", claims={"sub": "a-third", "amr": ["pwd", "mfa", "hwk"]}),
    ]

    refused = [await not_approved(account, order) for account in accounts]

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")}
    assert list((await read(people.officer, order.name)).approvers) == ["people/e-officer"]


async def test_about_a_protected_profession_the_privacy_officer_approves_too(served: Serving) -> None:
    """L21: two approvals are not enough, and without the flag the privacy officer has none to give."""
    await served.create_tenants()
    people = await team(served)
    privacy = served.person("e-privacy", "privacy-officer")
    request = order_for(served, people)
    request.instrument.privileged_occupation = True
    order = await register(people, request)
    plain = await register(people, order_for(served, people, document=b"\2" * 32))
    await preview(privacy, plain)
    not_theirs = await not_approved(privacy, plain)
    await approve(people.officer, order)
    twice = await approve(people.approver, order)
    registrant = people.registrant

    refused = await registrant.refused(registrant.legal.CreateExport, CreateExportRequest(parent=order.name))
    thrice = await approve(privacy, order)

    assert (twice.state, list(twice.missing_approvals)) == (legal.ORDER_STATE_SCOPED, ["privacy-officer"])
    assert refused.reason == "APPROVALS_MISSING"
    assert (thrice.state, list(thrice.missing_approvals)) == (legal.ORDER_STATE_APPROVED, [])
    assert (not_theirs.code.name, not_theirs.reason) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


async def urgent(served: Serving, people: Team, *, document: bytes = b"\1" * 32) -> Order:
    """An urgent permit that one legal approver approved."""
    request = order_for(served, people, document=document)
    request.instrument.type = legal.INSTRUMENT_TYPE_COMMS_URGENT
    request.instrument.issue_time.CopyFrom(at(served.clock() - timedelta(hours=1)))
    request.instrument.ClearField("expire_time")
    return await approve(people.approver, await register(people, request))


async def test_an_urgent_permit_is_approved_by_one_before_and_by_another_within_a_business_day(served: Serving) -> None:
    """L20: until the second one it is among what is due, and is not closed; the second may come when the permit is over."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    order = await urgent(served, people)
    built = await export(people, order)
    served.clock.offset = timedelta(hours=30)
    later = fresh_team(served, people.identity)
    await set_export_state(served, built, "DELIVERED")
    await order_end.expire_orders(served.vault, upkeep_caller())
    officer = later.registrant
    unclosed = await officer.refused(officer.legal.CloseOrder, CloseOrderRequest(name=order.name))

    after = await approve(later.officer, order)
    closed = (await officer.call(officer.legal.CloseOrder, CloseOrderRequest(name=order.name))).order

    kinds = [legal.DeadlineKind.Name(deadline.kind) for deadline in order.deadlines]
    assert (order.state, list(order.missing_approvals)) == (legal.ORDER_STATE_APPROVED, ["legal-officer"])
    assert "DEADLINE_KIND_SECOND_APPROVAL" in kinds
    assert unclosed.reason == "APPROVALS_MISSING"
    assert (after.state, list(after.missing_approvals)) == (legal.ORDER_STATE_FULFILLED, [])
    assert "DEADLINE_KIND_SECOND_APPROVAL" not in [legal.DeadlineKind.Name(deadline.kind) for deadline in after.deadlines]
    assert closed.state == legal.ORDER_STATE_CLOSED


async def test_an_urgent_permit_that_was_revoked_is_approved_afterwards_if_something_left_under_it(served: Serving) -> None:
    """L20, N7: it could not be closed without the approval, nor approved once it was revoked; of one that nothing left under none is due."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    left = await urgent(served, people)
    await set_export_state(served, await export(people, left), "DELIVERED")
    officer, why = people.registrant, "the court withdrew it yesterday"
    revoked = (await officer.call(officer.legal.RevokeOrder, RevokeOrderRequest(name=left.name, reason=why))).order

    second = ApproveOrderRequest(name=left.name, scope_digest=left.scope_digest)
    approved_after = (await people.officer.call(people.officer.legal.ApproveOrder, second)).order
    closed = (await officer.call(officer.legal.CloseOrder, CloseOrderRequest(name=left.name))).order

    stayed = await urgent(served, people, document=b"\2" * 32)
    ended = (await officer.call(officer.legal.RejectOrder, RejectOrderRequest(name=stayed.name, reason=why))).order
    due = [{legal.DeadlineKind.Name(deadline.kind) for deadline in order.deadlines} for order in (revoked, approved_after, closed, ended)]
    assert due == [{"DEADLINE_KIND_SECOND_APPROVAL", "DEADLINE_KIND_RECALL"}, {"DEADLINE_KIND_RECALL"}, set(), set()]
    assert closed.HasField("close_time")


async def test_an_urgent_permit_ends_after_a_day_to_the_second(served: Serving) -> None:
    """L20: 24 hours and a second after its issue nothing is exported."""
    await served.create_tenants()
    people = await team(served)
    order = await urgent(served, people)
    served.clock.offset = timedelta(hours=23, seconds=1)
    later = fresh_team(served, people.identity)

    refused = await later.registrant.refused(later.registrant.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_EXPIRED")


# Release


async def not_released(caller: Caller, built: Export) -> CallError:
    return await caller.refused(caller.legal.ApproveExport, ApproveExportRequest(name=built.name))


async def test_a_package_is_handed_over_only_after_another_person_released_it(served: Serving) -> None:
    """§5.4 step 10: not the builder, not the registrant, with a fresh second factor; once."""
    await served.create_tenants()
    people = await team(served)
    order = await approved(people, order_for(served, people))
    built = await build(people, order)
    before = await people.courier.refused(people.courier.legal.DownloadExport, DownloadExportRequest(name=built.name), streams=True)
    proved = int(served.clock().timestamp()) - 16 * 60

    refused = [
        await not_released(served.person("e-registrant", "legal-approver"), built),
        await not_released(served.person("e-approver", "legal-approver", claims={"auth_time": proved}), built),
    ]
    released = await release(people.approver, built)
    again = await not_released(people.approver, built)
    package = await download(people.courier, built.name)

    assert (before.code.name, before.reason) == ("FAILED_PRECONDITION", "RELEASE_NOT_APPROVED")
    assert [error.reason for error in refused] == ["SEPARATION_OF_DUTIES", "MFA_REQUIRED"]
    assert released.state == legal.EXPORT_STATE_RELEASE_APPROVED
    assert again.reason == "EXPORT_NOT_SEALED"
    assert len(package) == built.size_bytes


async def test_n1_an_order_that_ends_between_approval_and_release_takes_its_package_along(served: Serving) -> None:
    """N1: refused at that second; the sealed package is destroyed, and what it covered is held for thirty days more."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    built = await build(people, await approved(people, order_for(served, people)))
    served.clock.offset = timedelta(days=14, seconds=1)
    later = fresh_team(served, people.identity)

    refused = await not_released(later.approver, built)

    order = await read(later.officer, built.name.rpartition("/exports/")[0])
    gone = (await later.officer.call(later.officer.legal.GetExport, GetExportRequest(name=built.name))).export
    held = [hold.expire_time.ToDatetime() for hold in await listed(served) if not hold.HasField("release_time")]
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_EXPIRED")
    assert (order.state, gone.state) == (legal.ORDER_STATE_EXPIRED, legal.EXPORT_STATE_CANCELLED)
    assert await chunks(served) == 0
    assert max(held) >= (served.clock() + timedelta(days=29)).replace(tzinfo=None)
    assert [entry.operation for entry in await entries(served)][-3:] == ["expire-order", "place-hold", "approve-export"]


async def test_n1_upkeep_ends_an_order_whose_time_is_over_though_nobody_calls(served: Serving) -> None:
    """N1, at every state on the way; what the recipient has already is not taken back."""
    await served.create_tenants()
    people = await team(served)
    documents = iter(bytes([number]) * 32 for number in range(1, 9))

    def request() -> legal.RegisterOrderRequest:
        return order_for(served, people, document=next(documents))

    ended = [
        await receive(people, request()),
        await authenticate(people.officer, await receive(people, request())),
        await register(people, request()),
        await approved(people, request()),
        await end(people.registrant, await register(people, request()), "Suspend"),
    ]
    ended.append(await approved(people, request()))
    await build(people, ended[-1])
    delivered = await approved(people, request())
    await set_export_state(served, await export(people, delivered), "DELIVERED")
    running = await receive(people, order_for(served, people, document=next(documents), lasting=timedelta(days=60)))
    served.clock.offset = timedelta(days=14, seconds=1)

    await order_end.expire_orders(served.vault, upkeep_caller())

    officer = fresh_team(served, people.identity).officer
    states = [(await read(officer, order.name)).state for order in ended]
    assert states == [legal.ORDER_STATE_EXPIRED] * len(ended)
    assert (await read(officer, delivered.name)).state == legal.ORDER_STATE_FULFILLED
    assert (await read(officer, running.name)).state == legal.ORDER_STATE_RECEIVED


# Revoked, suspended, closed


async def test_n7_an_order_that_is_revoked_while_its_package_is_built_leaves_nothing_of_it(served: Serving) -> None:
    """N7: what there is of it is destroyed, and its build can never be taken up again."""
    await served.create_tenants()
    people = await team(served)
    order = await approved(people, order_for(served, people))
    order_id = order.name.rpartition("/")[2]
    half = ExportRow("e" * 26, order_id, "BUILDING", {}, {}, 0, "", served.clock(), "acme", 0, "", b"key", Progress().stored())
    async with served.vault.database.write() as connection:
        await export_store.insert_export(connection, "acme", half)
        await export_store.insert_piece(connection, "acme", half.export_id, "a", 0, b"half of a package")
        await export_store.insert_chunk(connection, "acme", half.export_id, 0, b"half of a package")
        await order_store.set_order_state(connection, "acme", half.order_id, "IN_EXECUTION")

    revoked = await end(people.registrant, order, "Revoke")

    registrant = people.registrant
    refused = await registrant.refused(registrant.legal.CreateExport, CreateExportRequest(parent=order.name))
    assert (revoked.state, revoked.export_state) == (legal.ORDER_STATE_REVOKED, legal.EXPORT_STATE_CANCELLED)
    assert await chunks(served) == 0
    assert await all_rows(served, tables.export_pieces) == []
    assert [row.staging_key for row in await all_rows(served, tables.exports)] == [None]
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_REVOKED")


@pytest.mark.parametrize("state", ["SEALED", "RELEASE_APPROVED"])
async def test_n7_a_package_that_nobody_has_yet_is_destroyed(served: Serving, state: str) -> None:
    """N7: until the first byte has left."""
    await served.create_tenants()
    people = await team(served)
    built = await build(people, await approved(people, order_for(served, people)))
    await set_export_state(served, built, state)
    order = await read(people.officer, built.name.rpartition("/exports/")[0])

    revoked = await end(people.registrant, order, "Revoke")

    refused = await people.courier.refused(people.courier.legal.DownloadExport, DownloadExportRequest(name=built.name), streams=True)
    assert revoked.state == legal.ORDER_STATE_REVOKED
    assert await chunks(served) == 0
    assert refused.reason == "ORDER_REVOKED"


@pytest.mark.parametrize("state", ["RELEASED", "DELIVERED", "RECEIPT_CONFIRMED", "PURGED"])
async def test_n7_what_was_handed_over_is_asked_back(served: Serving, state: str) -> None:
    """N7: the state says so, and asking it back is due until the order is closed."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    built = await export(people, await approved(people, order_for(served, people)))
    await set_export_state(served, built, state)
    order = await read(people.officer, built.name.rpartition("/exports/")[0])
    officer = people.registrant

    revoked = await end(officer, order, "Revoke")
    closed = (await officer.call(officer.legal.CloseOrder, CloseOrderRequest(name=order.name))).order

    assert revoked.state == closed.state == legal.ORDER_STATE_REVOKED_AFTER_DELIVERY
    assert [legal.DeadlineKind.Name(deadline.kind) for deadline in revoked.deadlines] == ["DEADLINE_KIND_RECALL"]
    assert (list(closed.deadlines), closed.HasField("close_time")) == ([], True)
    assert all(hold.HasField("release_time") for hold in await listed(served))


async def test_a_suspended_order_stops_and_is_taken_up_where_it_stood(served: Serving) -> None:
    """§5.4: nothing is approved, built or released meanwhile."""
    await served.create_tenants()
    people = await team(served)
    officer = people.registrant
    order = await register(people, order_for(served, people))
    await approve(people.officer, order)
    await preview(people.approver, order)

    waiting = await end(officer, order, "Suspend")
    refused = await not_approved(people.approver, order)
    await end(officer, order, "Resume")
    resumed = await approve(people.approver, order)

    assert (waiting.state, waiting.suspended_state) == (legal.ORDER_STATE_SUSPENDED, legal.ORDER_STATE_SCOPED)
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_SUSPENDED")
    assert resumed.state == legal.ORDER_STATE_APPROVED


async def test_a_letter_that_asks_to_preserve_holds_and_releases_nothing(served: Serving) -> None:
    """§5.2, A18: one approval; it can be closed, and then lets go, or holds on for the case."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    request = order_for(served, people)
    request.instrument.type = legal.INSTRUMENT_TYPE_PRESERVATION
    request.ClearField("recipient")
    request.instrument.ClearField("expire_time")
    order = await authenticate(people.officer, await receive(people, request))
    order = await approve(people.approver, await settle(people.registrant, order, request.scope))
    officer = people.registrant

    refused = await officer.refused(officer.legal.CreateExport, CreateExportRequest(parent=order.name))
    until = served.clock() + timedelta(days=200)
    closing = CloseOrderRequest(name=order.name, hold_until_time=at(until))
    closed = (await officer.call(officer.legal.CloseOrder, closing)).order

    held = [hold.expire_time.ToDatetime() for hold in await listed(served) if not hold.HasField("release_time")]
    assert order.state == legal.ORDER_STATE_APPROVED
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "INSTRUMENT_NOT_ALLOWED")
    assert closed.state == legal.ORDER_STATE_CLOSED
    assert held == [until.replace(tzinfo=None)]


async def test_whoever_ends_an_order_says_why_in_a_sentence_without_personal_data(served: Serving) -> None:
    """A30: kept sealed on the register."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    officer = people.registrant

    refused = [
        await officer.refused(officer.legal.RevokeOrder, RevokeOrderRequest(name=order.name, reason=reason))
        for reason in ("withdrawn", "the court wrote about 050-2345678")
    ]
    await end(officer, order, "Revoke")

    assert [error.reason for error in refused] == ["FIELD_INVALID", "PII_IN_JUSTIFICATION"]
    assert (await entry_of(served, refused[0])).operation == "revoke-order"
    async with served.vault.database.read() as connection:
        [kept] = (await connection.execute(select(tables.orders.c.remarks))).scalars()
    assert len(kept) > len(WHY)
    assert WHY.encode() not in kept
