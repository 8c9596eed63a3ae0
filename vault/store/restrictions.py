"""Why somebody's data is restricted, since when, and by which notice that ended (L31)."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import restrictions


@dataclass(frozen=True, slots=True)
class RestrictionRow:
    """One restriction as stored; a subject may have several, and is restricted as long as one of them is not lifted."""

    restriction_id: str
    subject_id: str
    basis: str
    restricted_by: str
    create_time: datetime
    lifted_by: str
    lift_time: datetime | None
    notice_id: str


_C = restrictions.c
_COLUMNS = tuple(restrictions.c[name] for name in RestrictionRow.__dataclass_fields__)


async def insert_restriction(connection: AsyncConnection, tenant: str, row: RestrictionRow) -> None:
    """Store a restriction."""
    values = {name: getattr(row, name) for name in RestrictionRow.__dataclass_fields__}
    await connection.execute(insert(restrictions).values(tenant_id=tenant, **values))


async def restrictions_of(connection: AsyncConnection, tenant: str, subject: str) -> list[RestrictionRow]:
    """Every restriction of a subject, oldest first."""
    query = select(*_COLUMNS).where(_C.tenant_id == tenant, _C.subject_id == subject).order_by(_C.create_time, _C.restriction_id)
    return [RestrictionRow(*row) for row in await connection.execute(query)]


async def lift_restrictions(connection: AsyncConnection, tenant: str, subject: str, *, by: str, notice_id: str, now: datetime) -> None:
    """Lift every restriction of a subject that is in force."""
    await connection.execute(
        update(restrictions)
        .where(_C.tenant_id == tenant, _C.subject_id == subject, _C.lift_time.is_(None))
        .values(lifted_by=by, lift_time=now, notice_id=notice_id)
    )


async def delete_restrictions(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Delete what is kept of a subject's restrictions."""
    await connection.execute(delete(restrictions).where(_C.tenant_id == tenant, _C.subject_id == subject))
