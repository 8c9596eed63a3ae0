"""The tiles of the audit logs, written once and read by the row; and the removal of the entries below them. Arithmetic is `vault.audit.tiles`'s."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, literal, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit.tiles import Tile
from vault.store.tables import audit_entries, audit_prunings, audit_tiles


async def count_tiles(connection: AsyncConnection, log: str) -> int:
    """How many tiles there are; they have no gaps."""
    query = select(func.max(audit_tiles.c.tile_index)).where(audit_tiles.c.tenant_id == log)
    newest = (await connection.execute(query)).scalar_one()
    return 0 if newest is None else int(newest) + 1


async def read_tiles(connection: AsyncConnection, log: str, indexes: Collection[int], *, leaves: bool) -> dict[int, Tile]:
    """Tiles by index; without their leaves unless they are wanted: a node alone is a hundredth of a row."""
    hashes = audit_tiles.c.leaves if leaves else literal(b"").label("leaves")
    query = select(audit_tiles.c.tile_index, hashes, audit_tiles.c.nodes).where(
        audit_tiles.c.tenant_id == log, audit_tiles.c.tile_index.in_(sorted(indexes))
    )
    return {row.tile_index: Tile(*row) for row in await connection.execute(query)}


async def insert_tiles(connection: AsyncConnection, log: str, tiles: Sequence[Tile]) -> None:
    """Store tiles; one that another worker stored meanwhile is the same."""
    statement = sqlite_insert(audit_tiles) if connection.dialect.name == "sqlite" else postgresql_insert(audit_tiles)
    rows = [{"tenant_id": log, "tile_index": tile.index, "leaves": tile.leaves, "nodes": tile.nodes} for tile in tiles]
    await connection.execute(statement.on_conflict_do_nothing(), rows)


async def pruned_size(connection: AsyncConnection, log: str) -> int:
    """How many entries were removed of a log."""
    query = select(func.max(audit_prunings.c.size)).where(audit_prunings.c.tenant_id == log)
    return (await connection.execute(query)).scalar_one() or 0


async def newest_pruning(connection: AsyncConnection, log: str) -> tuple[int, str]:
    """How many entries were removed of a log, and the signed note that says so; empty if none were."""
    query = select(audit_prunings.c.size, audit_prunings.c.note).where(audit_prunings.c.tenant_id == log)
    row = (await connection.execute(query.order_by(audit_prunings.c.size.desc()).limit(1))).first()
    return (row.size, row.note) if row else (0, "")


async def insert_pruning(connection: AsyncConnection, log: str, *, size: int, note: str, now: datetime) -> None:
    """Keep the signed note about a removal."""
    await connection.execute(insert(audit_prunings).values(tenant_id=log, size=size, note=note, create_time=now))


async def delete_entries(connection: AsyncConnection, log: str, *, before: int) -> None:
    """Remove the entries below an index. Only the pruning role may, on PostgreSQL."""
    await connection.execute(delete(audit_entries).where(audit_entries.c.tenant_id == log, audit_entries.c.entry_index < before))
