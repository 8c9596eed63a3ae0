"""What the vault opened an incident for, planted people, and releases counted across replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import honey_subjects, incident_triggers, incidents, release_counts


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """Why the vault opened an incident."""

    incident_id: str
    trigger: str
    cause: str
    start_time: datetime
    record_count: int
    subject_count: int
    create_time: datetime


_TRIGGER = tuple(incident_triggers.c[name] for name in TriggerRow.__dataclass_fields__)


async def insert_trigger(connection: AsyncConnection, tenant: str, row: TriggerRow) -> None:
    """Store why an incident was opened."""
    await connection.execute(
        insert(incident_triggers).values(tenant_id=tenant, **{name: getattr(row, name) for name in TriggerRow.__dataclass_fields__})
    )


async def triggers(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> dict[str, TriggerRow]:
    """Why incidents were opened, by id; those that somebody opened are not there."""
    query = select(*_TRIGGER).where(incident_triggers.c.tenant_id == tenant, incident_triggers.c.incident_id.in_(ids))
    return {row.incident_id: TriggerRow(*row) for row in await connection.execute(query)}


async def is_known(connection: AsyncConnection, tenant: str, *, trigger: str, cause: str, since: datetime) -> bool:
    """Whether an incident was opened for the same cause since a time."""
    query = select(incident_triggers.c.incident_id).where(
        incident_triggers.c.tenant_id == tenant,
        incident_triggers.c.trigger == trigger,
        incident_triggers.c.cause == cause,
        incident_triggers.c.create_time > since,
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def overdue_incidents(connection: AsyncConnection, now: datetime) -> list[tuple[str, str, datetime]]:
    """Tenant, id and due time of the incidents that were used and whose review is overdue."""
    reviewed = (incidents.c.review_time.is_not(None)) & (incidents.c.use_time.is_(None) | (incidents.c.review_time >= incidents.c.use_time))
    query = select(incidents.c.tenant_id, incidents.c.incident_id, incidents.c.review_due_time).where(
        incidents.c.review_due_time < now, ~func.coalesce(reviewed, False)
    )
    return [(row.tenant_id, row.incident_id, row.review_due_time) for row in await connection.execute(query)]


async def plant(connection: AsyncConnection, tenant: str, subject: str, *, principal: str, now: datetime) -> None:
    """Remember a planted person; a second time changes nothing."""
    statement = sqlite_insert(honey_subjects) if connection.dialect.name == "sqlite" else postgresql_insert(honey_subjects)
    values = {"tenant_id": tenant, "subject_id": subject, "planted_by": principal, "create_time": now}
    await connection.execute(statement.values(values).on_conflict_do_nothing())


async def honey(connection: AsyncConnection, tenant: str) -> frozenset[str]:
    """Planted people of a tenant."""
    query = select(honey_subjects.c.subject_id).where(honey_subjects.c.tenant_id == tenant)
    return frozenset(row.subject_id for row in await connection.execute(query))


async def add_releases(connection: AsyncConnection, worker: str, counts: Mapping[tuple[str, str, datetime], int]) -> None:
    """Add what a worker released: principal, purpose, minute, records."""
    statement = sqlite_insert(release_counts) if connection.dialect.name == "sqlite" else postgresql_insert(release_counts)
    rows = [
        {
            "tenant_id": SYSTEM_LOG,
            "principal": principal,
            "purpose": purpose,
            "minute_time": minute,
            "worker": worker,
            "record_count": count,
        }
        for (principal, purpose, minute), count in sorted(counts.items())
    ]
    added = release_counts.c.record_count + statement.excluded.record_count
    key = [column.name for column in release_counts.primary_key.columns]
    await connection.execute(statement.on_conflict_do_update(index_elements=key, set_={"record_count": added}), rows)


async def releases_of_others(
    connection: AsyncConnection, worker: str, *, since: datetime
) -> dict[str, dict[str, list[tuple[datetime, int]]]]:
    """What other workers released since a time, by principal and purpose, in order of minutes."""
    step = release_counts.c.principal, release_counts.c.purpose, release_counts.c.minute_time
    query = (
        select(*step, func.sum(release_counts.c.record_count).label("total"))
        .where(release_counts.c.tenant_id == SYSTEM_LOG, release_counts.c.minute_time > since, release_counts.c.worker != worker)
        .group_by(*step)
        .order_by(release_counts.c.minute_time)
    )
    found: dict[str, dict[str, list[tuple[datetime, int]]]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.principal, {}).setdefault(row.purpose, []).append((row.minute_time, int(row.total)))
    return found


async def forget_releases(connection: AsyncConnection, *, before: datetime) -> None:
    """Drop counts that no window looks at any more."""
    await connection.execute(delete(release_counts).where(release_counts.c.tenant_id == SYSTEM_LOG, release_counts.c.minute_time < before))
