"""Who has to be told what (L32), and where tenants want to be told.

Rules:
- One row per kind, recipient and resource. Nothing is deleted: that somebody was told, and when, stays provable.
- What is not visible yet is shown to nobody whom an order forbids to know, and is not delivered.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import notifications, webhooks

PENDING, SENT, ACKNOWLEDGED = "PENDING", "SENT", "ACKNOWLEDGED"


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """One task as stored.

    Attributes:
        visible_time: None while nobody knows from when on the recipient may know of it.
        next_attempt_time: None once the webhook is not tried any more.
    """

    notification_id: str
    kind: str
    recipient: str
    resource: str
    subject_id: str
    categories: Sequence[str]
    state: str
    create_time: datetime
    due_time: datetime
    visible_time: datetime | None
    attempts: int
    next_attempt_time: datetime | None
    last_error: str
    acknowledged_by: str
    acknowledge_time: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """Where a tenant wants to be told, and the sealed secret that deliveries are signed with."""

    url: str
    secret: bytes


_C = notifications.c
_H = webhooks.c
_COLUMNS = tuple(notifications.c[name] for name in NotificationRow.__dataclass_fields__)


async def insert_notification(connection: AsyncConnection, tenant: str, row: NotificationRow) -> None:
    """Store a task."""
    await connection.execute(insert(notifications).values(tenant_id=tenant, **_values(row)))


async def has_notification(connection: AsyncConnection, tenant: str, *, kind: str, recipient: str, resource: str) -> bool:
    """Whether there is such a task already."""
    query = select(_C.notification_id).where(_C.tenant_id == tenant, _C.resource == resource, _C.kind == kind, _C.recipient == recipient)
    return (await connection.execute(query)).first() is not None


async def get_notification(connection: AsyncConnection, tenant: str, notification: str, *, lock: bool = False) -> NotificationRow | None:
    """The task, or None. `lock` holds the row until the transaction ends."""
    query = select(*_COLUMNS).where(_C.tenant_id == tenant, _C.notification_id == notification)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return NotificationRow(*row) if row else None


async def notified(connection: AsyncConnection, tenant: str, resource: str) -> list[tuple[str, str, int]]:
    """Recipient, state and number of the tasks about a resource that their recipients may know of."""
    query = (
        select(_C.recipient, _C.state, func.count())
        .where(_C.tenant_id == tenant, _C.resource == resource, _C.visible_time.is_not(None))
        .group_by(_C.recipient, _C.state)
        .order_by(_C.recipient, _C.state)
    )
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def update_notification(connection: AsyncConnection, tenant: str, row: NotificationRow) -> None:
    """Store a changed task; the caller holds the row's lock."""
    await connection.execute(
        update(notifications).where(_C.tenant_id == tenant, _C.notification_id == row.notification_id).values(**_values(row))
    )


async def list_notifications(
    connection: AsyncConnection,
    tenant: str,
    *,
    recipients: Collection[str],
    visible_at: datetime | None,
    acknowledged: bool,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[NotificationRow]:
    """Tasks of some recipients, what is due first; from a place, which is a due time and an id, on.

    Args:
        connection: an open transaction.
        tenant: id of the tenant.
        recipients: whose tasks.
        visible_at: leave out what is not visible then; None for everything.
        acknowledged: whether those that are done are listed too.
        after: where the last page ended.
        limit: at most this many.
    """
    query = select(*_COLUMNS).where(_C.tenant_id == tenant, _C.recipient.in_(recipients))
    if visible_at is not None:
        query = query.where(_C.visible_time <= visible_at)
    if not acknowledged:
        query = query.where(_C.state != ACKNOWLEDGED)
    if after is not None:
        due, notification = after
        query = query.where(or_(_C.due_time > due, and_(_C.due_time == due, _C.notification_id > notification)))
    query = query.order_by(_C.due_time, _C.notification_id).limit(limit)
    return [NotificationRow(*row) for row in await connection.execute(query)]


async def has_unacknowledged(connection: AsyncConnection, tenant: str, resource: str) -> bool:
    """Whether any recipient has not acknowledged what concerns a resource."""
    query = select(_C.notification_id).where(_C.tenant_id == tenant, _C.resource == resource, _C.state != ACKNOWLEDGED).limit(1)
    return (await connection.execute(query)).first() is not None


async def make_visible(connection: AsyncConnection, tenant: str, resource: str, *, now: datetime, due_time: datetime) -> int:
    """Let recipients know of what they could not know of yet. How many tasks."""
    result = await connection.execute(
        update(notifications)
        .where(_C.tenant_id == tenant, _C.resource == resource, or_(_C.visible_time.is_(None), _C.visible_time > now))
        .values(visible_time=now, next_attempt_time=now, due_time=due_time)
    )
    return result.rowcount


async def count_overdue(connection: AsyncConnection, now: datetime) -> int:
    """How many tasks are late, over all tenants; what nobody may know of is not."""
    query = select(func.count()).select_from(notifications)
    late = query.where(_C.state != ACKNOWLEDGED, _C.due_time < now, _C.visible_time <= now)
    return (await connection.execute(late)).scalar_one()


async def tenants_to_tell(connection: AsyncConnection, now: datetime, *, limit: int) -> list[str]:
    """Tenants with a webhook for which something is to be delivered, whoever waits longest first."""
    query = (
        select(_C.tenant_id)
        .join(webhooks, _H.tenant_id == _C.tenant_id)
        .where(*_deliverable(now))
        .group_by(_C.tenant_id)
        .order_by(func.min(_C.next_attempt_time))
        .limit(limit)
    )
    return [row.tenant_id for row in await connection.execute(query)]


async def deliverable(connection: AsyncConnection, tenant: str, now: datetime, *, limit: int) -> list[NotificationRow]:
    """What is to be delivered to a tenant now, locked until the transaction ends; what another worker holds is left out."""
    query = (
        select(*_COLUMNS)
        .where(_C.tenant_id == tenant, *_deliverable(now))
        .order_by(_C.next_attempt_time)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [NotificationRow(*row) for row in await connection.execute(query)]


async def deliver_again(connection: AsyncConnection, tenant: str, now: datetime) -> None:
    """Begin anew with what is to be delivered to a tenant: its address changed."""
    await connection.execute(
        update(notifications)
        .where(_C.tenant_id == tenant, _C.recipient == "tenant", _C.state == PENDING, _C.visible_time <= now)
        .values(attempts=0, next_attempt_time=now)
    )


async def webhooks_by_tenant(connection: AsyncConnection, tenants: Sequence[str]) -> dict[str, WebhookRow]:
    """Webhooks of those tenants that have one."""
    query = select(_H.tenant_id, _H.url, _H.secret).where(_H.tenant_id.in_(tenants))
    return {row.tenant_id: WebhookRow(row.url, row.secret) for row in await connection.execute(query)}


async def replace_webhook(connection: AsyncConnection, tenant: str, row: WebhookRow | None, *, set_by: str, now: datetime) -> None:
    """Store a tenant's webhook in the place of the one it had; None for none."""
    await connection.execute(delete(webhooks).where(_H.tenant_id == tenant))
    if row is not None:
        await connection.execute(insert(webhooks).values(tenant_id=tenant, url=row.url, secret=row.secret, set_by=set_by, set_time=now))


def _deliverable(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (_C.recipient == "tenant", _C.state == PENDING, _C.next_attempt_time <= now, _C.visible_time <= now)


def _values(row: NotificationRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in NotificationRow.__dataclass_fields__}
    return {**values, "categories": list(row.categories)}
