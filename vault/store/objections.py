"""What people object to (L34). An objection lasts until the person agrees anew, or is erased."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import objections

_C = objections.c


async def put_objection(connection: AsyncConnection, tenant: str, subject: str, purpose: str, *, by: str, now: datetime) -> None:
    """Store an objection; one that is there already keeps its time."""
    values = {"tenant_id": tenant, "subject_id": subject, "purpose": purpose, "recorded_by": by, "create_time": now}
    if connection.dialect.name == "sqlite":
        await connection.execute(sqlite_insert(objections).values(values).on_conflict_do_nothing())
    else:
        await connection.execute(postgresql_insert(objections).values(values).on_conflict_do_nothing())


async def objections_of(connection: AsyncConnection, tenant: str, subject: str) -> dict[str, datetime]:
    """Purposes that a subject objects to, and since when."""
    query = select(_C.purpose, _C.create_time).where(_C.tenant_id == tenant, _C.subject_id == subject).order_by(_C.purpose)
    return {row.purpose: row.create_time for row in await connection.execute(query)}


async def delete_objection(connection: AsyncConnection, tenant: str, subject: str, purpose: str) -> None:
    """Forget one objection."""
    await connection.execute(delete(objections).where(_C.tenant_id == tenant, _C.subject_id == subject, _C.purpose == purpose))


async def delete_objections(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Forget every objection of a subject."""
    await connection.execute(delete(objections).where(_C.tenant_id == tenant, _C.subject_id == subject))
