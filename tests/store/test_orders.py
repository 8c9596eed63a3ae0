"""Court orders and their approvals; which records an order covers is in `test_exports.py`."""

from dataclasses import replace
from datetime import datetime

import pytest

from tests.store.rows import ACME, BETA, MICROSECOND, NOW, ORDER
from vault.errors import AbortedError
from vault.store.database import Database
from vault.store.orders import (
    ApprovalRow,
    OrderRow,
    approvals_of,
    count_by_state,
    count_due,
    delete_approvals,
    get_order,
    insert_approval,
    insert_order,
    list_orders,
    order_with_document,
    set_order_state,
)

APPROVAL = ApprovalRow("employee-1", "spiffe://vault.example/officer", "legal-officer", "digest", NOW)

LISTED = replace(ORDER, categories=list(ORDER.categories))  # lists come back as lists


async def insert(database: Database, *, tenant: str = ACME, order: str = "order", document: bytes = b"document") -> None:
    async with database.write() as connection:
        await insert_order(connection, tenant, replace(ORDER, order_id=order, document_token=document))


# Orders and approvals


async def test_an_order_comes_back_as_it_was_stored(database: Database) -> None:
    await insert(database)

    async with database.write() as connection:
        found = [await get_order(connection, ACME, "order"), await get_order(connection, ACME, "order", lock=True)]
        document = await order_with_document(connection, ACME, [b"document"])

    assert found == [LISTED, LISTED]
    assert document == "order"


async def test_another_tenants_order_is_not_there(database: Database) -> None:
    await insert(database, tenant=BETA)

    async with database.read() as connection:
        order, document = await get_order(connection, ACME, "order"), await order_with_document(connection, ACME, [b"document"])
        listed = await list_orders(connection, ACME, after="", limit=10)

    assert order is None
    assert document is None
    assert listed == []


async def test_one_document_has_one_order_in_each_tenant(database: Database) -> None:
    await insert(database)
    await insert(database, tenant=BETA)

    with pytest.raises(AbortedError) as raised:
        await insert(database, order="second")

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_orders_are_listed_by_id_in_pages(database: Database) -> None:
    for n in (3, 0, 2, 1):
        await insert(database, order=f"o{n}", document=str(n).encode())

    async with database.read() as connection:
        pages = [[row.order_id for row in await list_orders(connection, ACME, after=after, limit=3)] for after in ("", "o2", "o3")]

    assert pages == [["o0", "o1", "o2"], ["o3"], []]


async def test_one_order_of_one_tenant_moves_to_another_state(database: Database) -> None:
    await insert(database)
    await insert(database, order="second", document=b"second")
    await insert(database, tenant=BETA)

    async with database.write() as connection:
        await set_order_state(connection, ACME, "order", "APPROVED")
        states = [
            row.state
            for tenant, order in ((ACME, "order"), (ACME, "second"), (BETA, "order"))
            if (row := await get_order(connection, tenant, order))
        ]

    assert states == ["APPROVED", "SCOPED", "SCOPED"]


async def test_approvals_come_back_in_the_order_they_were_given(database: Database) -> None:
    await insert(database)
    await insert(database, tenant=BETA)
    later = replace(APPROVAL, employee_id="employee-0", role="legal-approver", approve_time=NOW + MICROSECOND)

    async with database.write() as connection:
        await insert_approval(connection, ACME, "order", later)
        await insert_approval(connection, ACME, "order", APPROVAL)
        approvals = [await approvals_of(connection, tenant, "order") for tenant in (ACME, BETA)]

    assert approvals == [[APPROVAL, later], []]


async def test_one_person_approves_an_order_once_whatever_the_account(database: Database) -> None:
    await insert(database)
    async with database.write() as connection:
        await insert_approval(connection, ACME, "order", APPROVAL)

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await insert_approval(connection, ACME, "order", replace(APPROVAL, approver="spiffe://vault.example/second-account"))

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_an_approval_is_of_an_order_that_is_there(database: Database) -> None:
    await insert(database, tenant=BETA)

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await insert_approval(connection, ACME, "order", APPROVAL)

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_approvals_of_one_order_are_voided(database: Database) -> None:
    await insert(database)
    await insert(database, order="second", document=b"second")
    await insert(database, tenant=BETA)
    async with database.write() as connection:
        for tenant, order in ((ACME, "order"), (ACME, "second"), (BETA, "order")):
            await insert_approval(connection, tenant, order, APPROVAL)

    async with database.write() as connection:
        await delete_approvals(connection, ACME, "order")
        left = [
            len(await approvals_of(connection, tenant, order)) for tenant, order in ((ACME, "order"), (ACME, "second"), (BETA, "order"))
        ]

    assert left == [0, 1, 1]


# What stands, of all tenants


async def test_what_is_due_is_counted_by_what_it_is_at_the_moment_and_before(database: Database) -> None:
    """An answer and an end are due of what runs; an approval afterwards and a package to be asked back of anything."""
    later = NOW + MICROSECOND

    def everything_due(order: str, state: str, time: datetime) -> OrderRow:
        row = replace(ORDER, order_id=order, document_token=order.encode(), state=state, expire_time=time)
        return replace(row, respond_time=time, second_approval_due_time=time, recall_due_time=time)

    rows = [
        everything_due("due", "SCOPED", NOW),
        everything_due("over", "CLOSED", NOW),
        everything_due("later", "SCOPED", later),
        replace(ORDER, state="SCOPED", expire_time=later),
    ]
    async with database.write() as connection:
        for row, tenant in zip(rows, (ACME, ACME, ACME, BETA), strict=True):
            await insert_order(connection, tenant, row)

        counts = await count_due(connection, ["SCOPED"], by=NOW)
        states = await count_by_state(connection)

    assert counts == {"RESPOND": 1, "EXPIRE": 1, "SECOND_APPROVAL": 2, "RECALL": 2}
    assert states == {"SCOPED": 3, "CLOSED": 1}
