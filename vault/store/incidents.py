"""Incidents: what somebody may look at because something happened (P3.6-fraud, P3.6-sectech).

Rules:
- Nothing is ever deleted; whether an incident is waiting, open or over follows from its times and is no column.
- A use of a security incident makes its review due; a use after a review makes the next one due. So `use_time` is the first use since the last
  review, and a review is owed as long as none came after it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import incidents, subjects

SECURITY = "SECURITY"

# Which day it is in Israel. Standard time all year: the hour of summer time would need a database of time zones, and could only move a deadline
# of somebody who works around midnight.
_ISRAEL = timezone(timedelta(hours=2))
_DAY = timedelta(days=1)
# Friday and Saturday, as `datetime.weekday` counts.
_DAYS_OFF = frozenset({4, 5})


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident as stored; what happened and what a review found is sealed."""

    incident_id: str
    kind: str
    summary: bytes
    subjects: Sequence[str]
    opened_by: str
    approved_by: str
    approve_time: datetime | None
    create_time: datetime
    expire_time: datetime
    close_time: datetime | None
    use_time: datetime | None
    review_due_time: datetime | None
    reviewed_by: str
    review_time: datetime | None
    finding: bytes

    @property
    def is_reviewed(self) -> bool:
        """Whether a review came after everything that it was used for."""
        return self.review_time is not None and (self.use_time is None or self.review_time >= self.use_time)

    @property
    def is_review_due(self) -> bool:
        """Whether a review is owed."""
        return self.review_due_time is not None and not self.is_reviewed


_COLUMNS = tuple(incidents.c[name] for name in IncidentRow.__dataclass_fields__)


async def insert_incident(connection: AsyncConnection, tenant: str, row: IncidentRow) -> None:
    """Store an incident that was opened."""
    await connection.execute(insert(incidents).values(tenant_id=tenant, **_values(row)))


async def get_incident(connection: AsyncConnection, tenant: str, incident: str, *, lock: bool = False) -> IncidentRow | None:
    """The incident, or None. `lock` holds the row until the transaction ends."""
    query = select(*_COLUMNS).where(incidents.c.tenant_id == tenant, incidents.c.incident_id == incident)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return IncidentRow(*row) if row else None


async def list_incidents(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[IncidentRow]:
    """Incidents by id, from `after` on."""
    query = (
        select(*_COLUMNS)
        .where(incidents.c.tenant_id == tenant, incidents.c.incident_id > after)
        .order_by(incidents.c.incident_id)
        .limit(limit)
    )
    return [IncidentRow(*row) for row in await connection.execute(query)]


async def update_incident(connection: AsyncConnection, tenant: str, row: IncidentRow) -> None:
    """Store a changed incident; the caller holds the row's lock."""
    await connection.execute(
        update(incidents).where(incidents.c.tenant_id == tenant, incidents.c.incident_id == row.incident_id).values(**_values(row))
    )


async def use_incident(connection: AsyncConnection, tenant: str, incident: str, now: datetime) -> None:
    """Note that something is released under an incident, in the transaction of the release; what makes the review of a security incident due.

    The row stays locked, so that no review counts what it has not seen.
    """
    row = await get_incident(connection, tenant, incident, lock=True)
    if row is None or (row.use_time is not None and not row.is_reviewed):
        return
    # After the review, also by the clock of another worker that is behind the reviewer's.
    used = now if row.review_time is None else max(now, row.review_time + timedelta.resolution)
    due = one_business_day_after(used) if row.kind == SECURITY else None
    await connection.execute(
        update(incidents)
        .where(incidents.c.tenant_id == tenant, incidents.c.incident_id == incident)
        .values(use_time=used, review_due_time=due)
    )


async def overdue_reviews(connection: AsyncConnection, tenant: str, principal: str, now: datetime) -> bool:
    """Whether an incident of the tenant that this principal opened was used and not reviewed in time (P3.6-sectech)."""
    c = incidents.c
    query = (
        select(c.incident_id)
        .where(
            c.tenant_id == tenant,
            c.opened_by == principal,
            c.review_due_time <= now,
            or_(c.review_time.is_(None), c.review_time < c.use_time),
        )
        .limit(1)
    )
    return (await connection.execute(query)).first() is not None


async def subject_states(connection: AsyncConnection, tenant: str, ids: Collection[str]) -> dict[str, str]:
    """State of each of the people who are known to the tenant."""
    if not ids:
        return {}
    query = select(subjects.c.subject_id, subjects.c.state).where(subjects.c.tenant_id == tenant, subjects.c.subject_id.in_(ids))
    return {row.subject_id: row.state for row in await connection.execute(query)}


def one_business_day_after(moment: datetime) -> datetime:
    """The same time on the next business day; in Israel those are Sunday to Thursday. Holidays are not known and count as business days."""
    local = moment.astimezone(_ISRAEL) + _DAY
    while local.weekday() in _DAYS_OFF:
        local += _DAY
    return local.astimezone(moment.tzinfo)


def _values(row: IncidentRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in IncidentRow.__dataclass_fields__}
    return {**values, "subjects": list(row.subjects)}
