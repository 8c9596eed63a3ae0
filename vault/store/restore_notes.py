"""Signed notes about restores, by log; and, while a replay is due, how long each log was when the restore was noticed."""

from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import audit_heads, audit_restores, restored_heads


async def notes(connection: AsyncConnection, log: str) -> dict[int, str]:
    """The notes of a log by their numbers, in order."""
    query = select(audit_restores.c.number, audit_restores.c.note).where(audit_restores.c.tenant_id == log)
    return {row.number: row.note for row in await connection.execute(query.order_by(audit_restores.c.number))}


async def newest_numbers(connection: AsyncConnection) -> dict[str, int]:
    """How often each log was restored, as far as the database knows; of those that were."""
    query = select(audit_restores.c.tenant_id, func.max(audit_restores.c.number).label("number")).group_by(audit_restores.c.tenant_id)
    return {row.tenant_id: row.number for row in await connection.execute(query)}


async def newest_note(connection: AsyncConnection, log: str) -> str:
    """The newest note of a log; empty if it was never restored."""
    query = select(audit_restores.c.note).where(audit_restores.c.tenant_id == log).order_by(audit_restores.c.number.desc()).limit(1)
    return (await connection.execute(query)).scalar_one_or_none() or ""


async def published_size(connection: AsyncConnection, log: str) -> int:
    """How many entries a log had at most before it was restored; 0 if it never was."""
    query = select(func.max(audit_restores.c.published_size)).where(audit_restores.c.tenant_id == log)
    return (await connection.execute(query)).scalar_one() or 0


async def insert_note(connection: AsyncConnection, log: str, *, number: int, published_size: int, note: str, now: datetime) -> None:
    """Keep a note."""
    values = {"number": number, "published_size": published_size, "note": note, "create_time": now}
    await connection.execute(insert(audit_restores).values(tenant_id=log, **values))


async def keep_sizes(connection: AsyncConnection) -> None:
    """Keep how long every log is that is not kept yet, before anything is added."""
    kept = select(restored_heads.c.tenant_id).where(restored_heads.c.tenant_id == audit_heads.c.tenant_id)
    sizes = select(audit_heads.c.tenant_id, audit_heads.c.size).where(~kept.exists())
    await connection.execute(insert(restored_heads).from_select(["tenant_id", "size"], sizes))


async def restored_sizes(connection: AsyncConnection) -> dict[str, int]:
    """How long each log was when the restore was noticed; as long as it is where that was not kept."""
    size = func.coalesce(restored_heads.c.size, audit_heads.c.size).label("size")
    both = audit_heads.outerjoin(restored_heads, restored_heads.c.tenant_id == audit_heads.c.tenant_id)
    return {row.tenant_id: row.size for row in await connection.execute(select(audit_heads.c.tenant_id, size).select_from(both))}


async def forget_sizes(connection: AsyncConnection) -> None:
    """The replay has come to its end."""
    await connection.execute(delete(restored_heads))
