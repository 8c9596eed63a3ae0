"""The audit log's rows: head, entries, checkpoints. Arithmetic and bytes are `vault.audit`'s."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import audit_checkpoints, audit_entries, audit_heads

_HEAD = select(audit_heads.c.size, audit_heads.c.frontier).where(audit_heads.c.tenant_id == bindparam("log"))
_HEAD_LOCKED = _HEAD.with_for_update()
_SET_HEAD = (
    update(audit_heads)
    .where(audit_heads.c.tenant_id == bindparam("log"))
    .values(size=bindparam("new_size"), frontier=bindparam("new_frontier"))
)
_INSERT = insert(audit_entries)


async def create_log(connection: AsyncConnection, log: str, frontier: bytes) -> None:
    """Start an empty log, unless it is there."""
    values = {"tenant_id": log, "size": 0, "frontier": frontier}
    if connection.dialect.name == "sqlite":
        await connection.execute(sqlite_insert(audit_heads).values(values).on_conflict_do_nothing())
    else:
        await connection.execute(postgresql_insert(audit_heads).values(values).on_conflict_do_nothing())


async def locked_head(connection: AsyncConnection, log: str) -> tuple[int, bytes] | None:
    """Size and frontier of a log; the row stays locked until the transaction ends, which makes the order total."""
    row = (await connection.execute(_HEAD_LOCKED, {"log": log})).first()
    return (row.size, row.frontier) if row else None


async def head(connection: AsyncConnection, log: str) -> tuple[int, bytes] | None:
    """Size and frontier of a log."""
    row = (await connection.execute(_HEAD, {"log": log})).first()
    return (row.size, row.frontier) if row else None


async def append_entries(connection: AsyncConnection, log: str, *, start: int, entries: Sequence[bytes], frontier: bytes) -> None:
    """Store entries and move the head; the caller holds the head's lock."""
    await connection.execute(
        _INSERT, [{"tenant_id": log, "entry_index": start + offset, "entry": entry} for offset, entry in enumerate(entries)]
    )
    await connection.execute(_SET_HEAD, {"log": log, "new_size": start + len(entries), "new_frontier": frontier})


async def entries(connection: AsyncConnection, log: str, *, start: int, limit: int) -> list[tuple[int, bytes]]:
    """Entries in index order, from `start` on."""
    query = (
        select(audit_entries.c.entry_index, audit_entries.c.entry)
        .where(audit_entries.c.tenant_id == log, audit_entries.c.entry_index >= start)
        .order_by(audit_entries.c.entry_index)
        .limit(limit)
    )
    return [(row.entry_index, row.entry) for row in await connection.execute(query)]


async def logs(connection: AsyncConnection) -> list[str]:
    """Every log."""
    query = select(audit_heads.c.tenant_id).order_by(audit_heads.c.tenant_id)
    return [row.tenant_id for row in await connection.execute(query)]


async def covered_sizes(connection: AsyncConnection) -> dict[str, int]:
    """Size of the newest checkpoint of each log that has one."""
    query = select(audit_checkpoints.c.tenant_id, func.max(audit_checkpoints.c.size).label("size")).group_by(audit_checkpoints.c.tenant_id)
    return {row.tenant_id: row.size for row in await connection.execute(query)}


async def total_size(connection: AsyncConnection) -> int:
    """Entries of all logs."""
    return int((await connection.execute(select(func.coalesce(func.sum(audit_heads.c.size), 0)))).scalar_one())


async def uncovered_logs(connection: AsyncConnection) -> list[str]:
    """Logs that grew since their newest checkpoint, or have none: an empty log is signed too, so that one that is gone is missed."""
    covered = select(audit_checkpoints.c.tenant_id).where(
        audit_checkpoints.c.tenant_id == audit_heads.c.tenant_id, audit_checkpoints.c.size >= audit_heads.c.size
    )
    query = select(audit_heads.c.tenant_id).where(~covered.exists()).order_by(audit_heads.c.tenant_id)
    return [row.tenant_id for row in await connection.execute(query)]


async def insert_checkpoint(connection: AsyncConnection, log: str, *, size: int, note: str, now: datetime) -> None:
    """Keep a signed checkpoint; a second one of the same size changes nothing."""
    values = {"tenant_id": log, "size": size, "note": note, "create_time": now}
    if connection.dialect.name == "sqlite":
        await connection.execute(sqlite_insert(audit_checkpoints).values(values).on_conflict_do_nothing())
    else:
        await connection.execute(postgresql_insert(audit_checkpoints).values(values).on_conflict_do_nothing())
