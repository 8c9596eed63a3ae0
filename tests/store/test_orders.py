"""Court orders, approvals, and exactly which records an order covers (A29, N2)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from tests.store.rows import ACME, BETA, HOUR, MAIL, MICROSECOND, NOW, ORDER, PHONE, Stored, record, store
from vault.errors import AbortedError
from vault.store.database import Database
from vault.store.orders import (
    ApprovalRow,
    approvals_of,
    delete_approvals,
    get_order,
    insert_approval,
    insert_order,
    list_orders,
    order_with_document,
    records_in_scope,
    set_order_state,
)
from vault.store.subjects import Token

START, END = NOW, NOW + 24 * HOUR
APPROVAL = ApprovalRow("employee-1", "spiffe://vault.example/officer", "legal-officer", "digest", NOW)

LISTED = replace(ORDER, categories=list(ORDER.categories))  # lists come back as lists


def call(*, tokens: Sequence[Token] = (PHONE,), category: str = "call-detail", **columns: object) -> Stored:
    """A call from the target."""
    return record({"caller": "anna"}, {f"field{n}": ("caller", token) for n, token in enumerate(tokens)}, category=category, **columns)


def happened(time: datetime) -> Stored:
    return call(occur_time=time)


def valid(start: datetime | None, end: datetime | None) -> Stored:
    return call(valid_from=start, valid_to=end)


async def in_scope(
    database: Database,
    *,
    tenant: str = ACME,
    categories: Sequence[str] = ("call-detail",),
    tokens: Sequence[Token] = (PHONE,),
    limit: int = 100,
) -> list[tuple[str, str]]:
    async with database.read() as connection:
        return await records_in_scope(
            connection,
            tenant,
            categories=categories,
            tokens=[(token.kind, [token.token]) for token in tokens],
            start=START,
            end=END,
            limit=limit,
        )


def named(*stored: Stored) -> list[tuple[str, str]]:
    return sorted((item.row.category, item.row.record_id) for item in stored)


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


# What an order covers


@pytest.mark.parametrize(
    ("item", "covered"),
    [
        pytest.param(happened(START - MICROSECOND), False, id="before the start"),
        pytest.param(happened(START), True, id="at the start"),
        pytest.param(happened(END - MICROSECOND), True, id="last moment"),
        pytest.param(happened(END), False, id="at the end"),
        pytest.param(valid(START - HOUR, START), False, id="ends as the period starts"),
        pytest.param(valid(START - HOUR, START + MICROSECOND), True, id="reaches into the period"),
        pytest.param(valid(START - HOUR, END + HOUR), True, id="spans the period"),
        pytest.param(valid(START + HOUR, START + 2 * HOUR), True, id="within the period"),
        pytest.param(valid(END - MICROSECOND, END + HOUR), True, id="begins in the last moment"),
        pytest.param(valid(END, END + HOUR), False, id="begins as the period ends"),
        pytest.param(valid(START - HOUR, None), True, id="open, began before"),
        pytest.param(valid(END - MICROSECOND, None), True, id="open, began in the last moment"),
        pytest.param(valid(END, None), False, id="open, begins as the period ends"),
        pytest.param(valid(None, None), False, id="without any time"),
        pytest.param(valid(None, END), False, id="without a beginning"),
    ],
)
async def test_an_order_covers_what_happened_or_was_valid_in_its_period(database: Database, item: Stored, covered: bool) -> None:
    await store(database, item)

    found = await in_scope(database)

    assert found == (named(item) if covered else [])


async def test_an_order_covers_its_targets_categories_and_tenant_only(database: Database) -> None:
    covered = call(occur_time=NOW)
    message = call(occur_time=NOW, category="incoming-message")
    await store(
        database,
        covered,
        message,
        call(occur_time=NOW, category="list-membership"),
        call(occur_time=NOW, tokens=[MAIL]),
        call(occur_time=NOW, tokens=[replace(PHONE, kind="mail")]),
        call(occur_time=NOW, tokens=[]),
    )
    await store(database, call(occur_time=NOW), tenant=BETA)

    found = await in_scope(database, categories=["incoming-message", "call-detail"])

    assert found == named(covered, message)


async def test_a_record_of_several_targets_is_covered_once_and_any_target_will_do(database: Database) -> None:
    both, one, other = call(occur_time=NOW, tokens=[PHONE, MAIL]), call(occur_time=NOW), call(occur_time=NOW, tokens=[MAIL])
    await store(database, both, one, other)

    found = [await in_scope(database, tokens=tokens) for tokens in ([PHONE, MAIL], [MAIL, PHONE], [MAIL], [])]

    assert found == [named(both, one, other), named(both, one, other), named(both, other), []]


async def test_no_category_covers_nothing(database: Database) -> None:
    await store(database, call(occur_time=NOW))

    assert await in_scope(database, categories=[]) == []


@pytest.mark.parametrize(("limit", "expected"), [(4, 4), (5, 5), (6, 5)])
async def test_a_limit_shows_that_there_is_more(database: Database, limit: int, expected: int) -> None:
    await store(database, *(call(occur_time=NOW) for _ in range(5)))

    found = await in_scope(database, limit=limit)

    assert len(found) == expected


async def test_a_record_that_carries_the_target_twice_uses_the_limit_once(database: Database) -> None:
    """A court was sent fewer records than there were: repetitions filled the limit, and what it cut off was not noticed."""
    calls = [call(occur_time=NOW, tokens=[PHONE, PHONE, PHONE]) for _ in range(5)]
    await store(database, *calls)

    found = await in_scope(database, limit=5)

    assert found == named(*calls)
