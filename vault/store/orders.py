"""Court orders, their approvals, and which records they cover."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, delete, func, insert, or_, select, union, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import index_entries, order_approvals, order_documents, order_previews, orders, records


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
    suspended_state: str = ""
    gag: str = ""
    gag_end_time: datetime | None = None
    gag_from_staff: bool = False
    privileged: bool = False
    respond_time: datetime | None = None
    authenticator: str = ""
    authentication: str = ""
    authenticate_time: datetime | None = None
    remarks: bytes = field(default=b"", repr=False)
    rejection: str = ""
    second_approval_due_time: datetime | None = None
    recall_due_time: datetime | None = None
    close_time: datetime | None = None
    exceeded_count: int = 0

    def is_gagged(self, now: datetime) -> bool:
        """Whether nothing may be told of it, to the tenant or the person."""
        return bool(self.gag) and (self.gag_end_time is None or now < self.gag_end_time)


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """One person's approval of one scope digest."""

    employee_id: str
    approver: str
    role: str
    scope_digest: str
    approve_time: datetime


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """What one person saw last, and what stood in the way of approving it."""

    employee_id: str
    scope_digest: str
    problems: Sequence[str]
    preview_time: datetime


@dataclass(frozen=True, slots=True)
class Search:
    """One identifier with its period: records that carry it, and happened or were valid in [start, end).

    Attributes:
        kind, tokens: the identifier, under every version of its index key.
        start, end: the period.
        timeless: categories of which a record that does not say when is covered too.
    """

    kind: str
    tokens: Sequence[bytes]
    start: datetime
    end: datetime
    timeless: Sequence[str] = ()


_ORDER = tuple(orders.c[name] for name in OrderRow.__dataclass_fields__)
_APPROVAL = tuple(order_approvals.c[name] for name in ApprovalRow.__dataclass_fields__)
_PREVIEW = tuple(order_previews.c[name] for name in PreviewRow.__dataclass_fields__)


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


async def update_order(connection: AsyncConnection, tenant: str, row: OrderRow) -> None:
    """Store an order as it is now; the caller holds its row."""
    values = {name: getattr(row, name) for name in OrderRow.__dataclass_fields__ if name != "order_id"}
    await connection.execute(
        update(orders)
        .where(orders.c.tenant_id == tenant, orders.c.order_id == row.order_id)
        .values(**{**values, "categories": list(row.categories)})
    )


async def due_orders(connection: AsyncConnection, states: Sequence[str], now: datetime, *, limit: int) -> list[tuple[str, str]]:
    """(tenant, order id) of orders in one of these states whose time is over, whichever tenant's."""
    query = select(orders.c.tenant_id, orders.c.order_id).where(orders.c.state.in_(states), orders.c.expire_time <= now).limit(limit)
    return [(row.tenant_id, row.order_id) for row in await connection.execute(query)]


async def ended_gags(connection: AsyncConnection, now: datetime, *, limit: int) -> list[tuple[str, str]]:
    """(tenant, order id) of orders whose gag had a date, and that date has come."""
    query = select(orders.c.tenant_id, orders.c.order_id).where(orders.c.gag != "", orders.c.gag_end_time <= now).limit(limit)
    return [(row.tenant_id, row.order_id) for row in await connection.execute(query)]


async def count_by_state(connection: AsyncConnection) -> dict[str, int]:
    """Number of orders of all tenants by state."""
    query = select(orders.c.state, func.count()).group_by(orders.c.state)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def count_due(connection: AsyncConnection, running: Sequence[str], *, by: datetime) -> dict[str, int]:
    """How many orders of all tenants somebody has to act on by a moment, by what is due; what nothing is due of says 0.

    Args:
        connection: an open connection.
        running: states in which an order has to be answered, and runs out.
        by: the moment.
    """
    c = orders.c
    is_running = c.state.in_(running)
    due = {
        "RESPOND": is_running & (c.respond_time <= by),
        "EXPIRE": is_running & (c.expire_time <= by),
        "SECOND_APPROVAL": c.second_approval_due_time <= by,
        "RECALL": c.recall_due_time <= by,
    }
    row = (await connection.execute(select(*(func.count().filter(condition) for condition in due.values())))).one()
    return dict(zip(due, row, strict=True))


async def insert_document(connection: AsyncConnection, tenant: str, order_id: str, sealed: bytes) -> None:
    """Store a sealed scan."""
    await connection.execute(insert(order_documents).values(tenant_id=tenant, order_id=order_id, sealed=sealed))


async def document_of(connection: AsyncConnection, tenant: str, order_id: str) -> bytes | None:
    """The sealed scan, or None."""
    query = select(order_documents.c.sealed).where(order_documents.c.tenant_id == tenant, order_documents.c.order_id == order_id)
    return (await connection.execute(query)).scalar_one_or_none()


async def set_preview(connection: AsyncConnection, tenant: str, order_id: str, row: PreviewRow) -> None:
    """Note what somebody saw last."""
    await connection.execute(
        delete(order_previews).where(
            order_previews.c.tenant_id == tenant, order_previews.c.order_id == order_id, order_previews.c.employee_id == row.employee_id
        )
    )
    values = {name: getattr(row, name) for name in PreviewRow.__dataclass_fields__}
    await connection.execute(
        insert(order_previews).values(tenant_id=tenant, order_id=order_id, **{**values, "problems": list(row.problems)})
    )


async def preview_of(connection: AsyncConnection, tenant: str, order_id: str, employee_id: str) -> PreviewRow | None:
    """What somebody saw last, or None."""
    query = select(*_PREVIEW).where(
        order_previews.c.tenant_id == tenant, order_previews.c.order_id == order_id, order_previews.c.employee_id == employee_id
    )
    row = (await connection.execute(query)).first()
    return PreviewRow(*row) if row else None


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


async def count_in_scope(
    connection: AsyncConnection, tenant: str, *, categories: Sequence[str], searches: Sequence[Search], levels: Sequence[str] = ()
) -> dict[str, int]:
    """How many records an order covers, by category; counted by the database.

    A record is covered if one of its indexed fields is a target and it happened in the target's period; a record with a validity interval is
    covered if that overlaps the period (A29). One that carries several targets counts once.
    """
    covered = _covered(tenant, categories, levels, searches).subquery()
    query = select(covered.c.category, func.count().label("found")).group_by(covered.c.category).order_by(covered.c.category)
    return {row.category: row.found for row in await connection.execute(query)}


async def count_carrying(connection: AsyncConnection, tenant: str, *, categories: Sequence[str], searches: Sequence[Search]) -> int:
    """How many records carry one of the identifiers, whenever they happened."""
    found = union(*(carrying(tenant, categories, search).distinct() for search in searches)).subquery()
    return (await connection.execute(select(func.count()).select_from(found))).scalar_one()


async def count_holders(connection: AsyncConnection, tenant: str, *, categories: Sequence[str], searches: Sequence[Search]) -> int:
    """How many people had an identifier in its period, by the records of these categories."""
    found = union(
        *(
            carrying(tenant, categories, search).where(in_period(search)).with_only_columns(records.c.subject_id).distinct()
            for search in searches
        )
    ).subquery()
    return (await connection.execute(select(func.count()).select_from(found))).scalar_one()


def _covered(tenant: str, categories: Sequence[str], levels: Sequence[str], searches: Sequence[Search]) -> CompoundSelect[Any]:
    # Distinct besides: a union of one is none.
    return union(*(carrying(tenant, categories, search).where(in_period(search), *at_levels(levels)).distinct() for search in searches))


def carrying(tenant: str, categories: Sequence[str], search: Search) -> Select[Any]:
    """(category, record id) of the records that carry the identifier of a search, once per field."""
    return (
        select(records.c.category, records.c.record_id)
        .join(index_entries, (index_entries.c.tenant_id == records.c.tenant_id) & (index_entries.c.record_id == records.c.record_id))
        .where(
            records.c.tenant_id == tenant,
            records.c.category.in_(categories),
            index_entries.c.kind == search.kind,
            index_entries.c.token == search.tokens[0] if len(search.tokens) == 1 else index_entries.c.token.in_(search.tokens),
        )
    )


def in_period(search: Search) -> ColumnElement[bool]:
    """Whether a record happened or was valid in the period of a search (A29), or need not say when and has not ended before."""
    c = records.c
    happened = (c.occur_time >= search.start) & (c.occur_time < search.end)
    going_on = c.valid_to.is_(None) | (c.valid_to > search.start)
    valid = c.valid_from.is_not(None) & (c.valid_from < search.end) & going_on
    timeless = c.occur_time.is_(None) & c.valid_from.is_(None) & c.category.in_(search.timeless) & going_on
    return or_(happened, valid, timeless)


def at_levels(levels: Sequence[str]) -> list[ColumnElement[bool]]:
    """Conditions on the content level of a record, of categories that have any; none if every level is covered."""
    return [records.c.level.in_([*levels, ""])] if levels else []
