"""Court orders, their approvals, and which records they cover."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import index_entries, order_approvals, orders, records


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order as stored; what it says is in `sealed`."""

    order_id: str
    state: str
    instrument_type: str
    sealed: bytes
    document_token: bytes
    scope_digest: str
    registrant: str
    categories: Sequence[str]
    target_count: int
    expire_time: datetime
    create_time: datetime


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One person's approval of one scope digest."""

    employee_id: str
    approver: str
    role: str
    scope_digest: str
    approve_time: datetime


_ORDER = tuple(orders.c[name] for name in OrderRow.__dataclass_fields__)
_APPROVAL = tuple(order_approvals.c[name] for name in ApprovalRow.__dataclass_fields__)


async def insert_order(connection: AsyncConnection, tenant: str, row: OrderRow) -> None:
    """Store a registered order."""
    values = {name: getattr(row, name) for name in OrderRow.__dataclass_fields__}
    await connection.execute(insert(orders).values(tenant_id=tenant, **{**values, "categories": list(row.categories)}))


async def get_order(connection: AsyncConnection, tenant: str, order_id: str, *, lock: bool = False) -> OrderRow | None:
    """The order, or None. `lock` holds the row until the transaction ends."""
    query = select(*_ORDER).where(orders.c.tenant_id == tenant, orders.c.order_id == order_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return OrderRow(*row) if row else None


async def order_with_document(connection: AsyncConnection, tenant: str, document_tokens: Sequence[bytes]) -> str | None:
    """Id of the order registered for a document, or None."""
    query = select(orders.c.order_id).where(orders.c.tenant_id == tenant, orders.c.document_token.in_(document_tokens))
    return (await connection.execute(query)).scalar_one_or_none()


async def list_orders(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[OrderRow]:
    """Orders by id, from `after` on."""
    query = select(*_ORDER).where(orders.c.tenant_id == tenant, orders.c.order_id > after).order_by(orders.c.order_id).limit(limit)
    return [OrderRow(*row) for row in await connection.execute(query)]


async def set_order_state(connection: AsyncConnection, tenant: str, order_id: str, state: str) -> None:
    """Move an order to another state."""
    await connection.execute(update(orders).where(orders.c.tenant_id == tenant, orders.c.order_id == order_id).values(state=state))


async def insert_approval(connection: AsyncConnection, tenant: str, order_id: str, row: ApprovalRow) -> None:
    """Store an approval."""
    values = {name: getattr(row, name) for name in ApprovalRow.__dataclass_fields__}
    await connection.execute(insert(order_approvals).values(tenant_id=tenant, order_id=order_id, **values))


async def approvals_of(connection: AsyncConnection, tenant: str, order_id: str) -> list[ApprovalRow]:
    """Approvals of an order, in the order they were given."""
    query = (
        select(*_APPROVAL)
        .where(order_approvals.c.tenant_id == tenant, order_approvals.c.order_id == order_id)
        .order_by(order_approvals.c.approve_time, order_approvals.c.employee_id)
    )
    return [ApprovalRow(*row) for row in await connection.execute(query)]


async def delete_approvals(connection: AsyncConnection, tenant: str, order_id: str) -> None:
    """Void every approval of an order."""
    await connection.execute(delete(order_approvals).where(order_approvals.c.tenant_id == tenant, order_approvals.c.order_id == order_id))


async def records_in_scope(
    connection: AsyncConnection,
    tenant: str,
    *,
    categories: Sequence[str],
    tokens: Sequence[tuple[str, Sequence[bytes]]],
    start: datetime,
    end: datetime,
    limit: int,
) -> list[tuple[str, str]]:
    """(category, record id) of the records that an order covers, in that order; of each target, at most `limit`.

    A record is covered if one of its indexed fields is a target and it happened in [start, end); a record with a validity interval
    is covered if the interval overlaps the period (A29).
    """
    found: set[tuple[str, str]] = set()
    for kind, spellings in tokens:
        happened = (records.c.occur_time >= start) & (records.c.occur_time < end)
        valid = (
            (records.c.valid_from.is_not(None))
            & (records.c.valid_from < end)
            & ((records.c.valid_to.is_(None)) | (records.c.valid_to > start))
        )
        query = (
            select(records.c.category, records.c.record_id)
            .join(index_entries, (index_entries.c.tenant_id == records.c.tenant_id) & (index_entries.c.record_id == records.c.record_id))
            .where(
                records.c.tenant_id == tenant,
                records.c.category.in_(categories),
                index_entries.c.kind == kind,
                index_entries.c.token == spellings[0] if len(spellings) == 1 else index_entries.c.token.in_(spellings),
                happened | valid,
            )
            # A record that carries the target twice counts once: the limit must not be used up by repetitions.
            .distinct()
            .limit(limit)
        )
        found.update((row.category, row.record_id) for row in await connection.execute(query))
    return sorted(found)
