"""Exports of court orders: their snapshot, what was read of it, and their sealed packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, delete, func, insert, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.orders import Search, at_levels, carrying, in_period
from vault.store.tables import export_chunks, export_pieces, export_records, exports, orders, records

# gRPC messages stay below 4 MiB; a chunk of a download is one row.
CHUNK_BYTES = 1 << 20
_LEFT = frozenset({"RELEASED", "DELIVERED", "RECEIPT_CONFIRMED", "PURGED"})


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One export as stored."""

    export_id: str
    order_id: str
    state: str
    record_counts: Mapping[str, int]
    withheld_counts: Mapping[str, int]
    size_bytes: int
    sha256: str
    create_time: datetime
    audit_log: str
    audit_size: int
    audit_root: str
    staging_key: bytes | None = field(repr=False)
    progress: Mapping[str, Any]
    courier: str = ""
    seal_time: datetime | None = None
    deliver_time: datetime | None = None
    confirm_time: datetime | None = None
    delivery: bytes | None = field(default=None, repr=False)
    builder: str = ""
    release_approver: str = ""
    release_time: datetime | None = None

    @property
    def has_left(self) -> bool:
        """Whether the recipient may have it already."""
        return self.state in _LEFT


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One record of a snapshot, in the order of the package."""

    category: str
    sort_time: datetime
    record_id: str
    version: int


_EXPORT = tuple(exports.c[name] for name in ExportRow.__dataclass_fields__)
_S = export_records.c
_SNAPSHOT = tuple(_S[name] for name in SnapshotRow.__dataclass_fields__)


async def insert_export(connection: AsyncConnection, tenant: str, row: ExportRow) -> None:
    """Store an export that is about to be built."""
    await connection.execute(
        insert(exports).values(tenant_id=tenant, **{name: getattr(row, name) for name in ExportRow.__dataclass_fields__})
    )


async def get_export(connection: AsyncConnection, tenant: str, export_id: str, *, lock: bool = False) -> ExportRow | None:
    """The export, or None. `lock` holds the row until the transaction ends."""
    query = select(*_EXPORT).where(exports.c.tenant_id == tenant, exports.c.export_id == export_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return ExportRow(*row) if row else None


async def export_of_order(connection: AsyncConnection, tenant: str, order_id: str) -> ExportRow | None:
    """The export of an order, or None."""
    query = select(*_EXPORT).where(exports.c.tenant_id == tenant, exports.c.order_id == order_id)
    row = (await connection.execute(query)).first()
    return ExportRow(*row) if row else None


async def update_export(connection: AsyncConnection, tenant: str, export_id: str, **values: object) -> None:
    """Set columns of an export."""
    await connection.execute(update(exports).where(exports.c.tenant_id == tenant, exports.c.export_id == export_id).values(**values))


async def take_snapshot(
    connection: AsyncConnection,
    tenant: str,
    export_id: str,
    *,
    categories: Sequence[str],
    levels: Sequence[str],
    searches: Sequence[Search],
) -> None:
    """Note every record that a scope covers, as it is now; what `count_in_scope` counts. One that carries several targets is noted once.

    Args:
        connection: the transaction; what it sees is what is noted.
        tenant: whose records.
        export_id: a stored export.
        categories: of the scope.
        levels: content levels, of categories that have any; every one if empty.
        searches: identifiers of the scope.
    """
    insert_into = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    sort_time = func.coalesce(records.c.occur_time, records.c.valid_from, records.c.create_time)
    columns = (records.c.tenant_id, literal(export_id, Text), records.c.category, sort_time, records.c.record_id, records.c.version)
    for search in searches:
        covered = carrying(tenant, categories, search).where(in_period(search), *at_levels(levels)).with_only_columns(*columns).distinct()
        names = ["tenant_id", "export_id", *SnapshotRow.__dataclass_fields__]
        await connection.execute(insert_into(export_records).from_select(names, covered).on_conflict_do_nothing())


async def count_snapshot(connection: AsyncConnection, tenant: str, export_id: str) -> dict[str, int]:
    """Records of a snapshot, by category."""
    query = (
        select(_S.category, func.count().label("found"))
        .where(_S.tenant_id == tenant, _S.export_id == export_id)
        .group_by(_S.category)
        .order_by(_S.category)
    )
    return {row.category: row.found for row in await connection.execute(query)}


async def snapshot_page(
    connection: AsyncConnection, tenant: str, export_id: str, *, after: tuple[str, datetime, str] | None, limit: int
) -> list[SnapshotRow]:
    """The next records of a snapshot, all of one category."""
    query = select(*_SNAPSHOT).where(_S.tenant_id == tenant, _S.export_id == export_id)
    if after is not None:
        query = query.where(
            tuple_(_S.category, _S.sort_time, _S.record_id) > tuple_(*after, types=[_S.category.type, _S.sort_time.type, _S.record_id.type])
        )
    rows = await connection.execute(query.order_by(_S.category, _S.sort_time, _S.record_id).limit(limit))
    page = [SnapshotRow(*row) for row in rows]
    return [row for row in page if row.category == page[0].category]


async def insert_piece(connection: AsyncConnection, tenant: str, export_id: str, path: str, sequence: int, sealed: bytes) -> None:
    """Store a piece of a file that is being read."""
    values = {"tenant_id": tenant, "export_id": export_id, "path": path, "sequence": sequence, "sealed": sealed}
    await connection.execute(insert(export_pieces).values(**values))


async def pieces_after(
    connection: AsyncConnection, tenant: str, export_id: str, path: str, *, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """(sequence, sealed) of the next pieces of a file."""
    c = export_pieces.c
    query = select(c.sequence, c.sealed).where(c.tenant_id == tenant, c.export_id == export_id, c.path == path, c.sequence > after)
    return [(row.sequence, row.sealed) for row in await connection.execute(query.order_by(c.sequence).limit(limit))]


async def insert_chunk(connection: AsyncConnection, tenant: str, export_id: str, sequence: int, data: bytes) -> None:
    """Store a chunk of the sealed package."""
    await connection.execute(insert(export_chunks).values(tenant_id=tenant, export_id=export_id, sequence=sequence, data=data))


async def export_chunk(connection: AsyncConnection, tenant: str, export_id: str, sequence: int) -> bytes | None:
    """One chunk of the package, or None past its end."""
    query = select(export_chunks.c.data).where(
        export_chunks.c.tenant_id == tenant, export_chunks.c.export_id == export_id, export_chunks.c.sequence == sequence
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def delete_chunks(connection: AsyncConnection, tenant: str, export_id: str) -> None:
    """Destroy the sealed package."""
    await connection.execute(delete(export_chunks).where(export_chunks.c.tenant_id == tenant, export_chunks.c.export_id == export_id))


async def delete_staging(connection: AsyncConnection, tenant: str, export_id: str) -> None:
    """Destroy the key of what was read, what was read, and the snapshot."""
    await update_export(connection, tenant, export_id, staging_key=None)
    for table in (export_pieces, export_records):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.export_id == export_id))


async def exports_to_destroy(connection: AsyncConnection, *, now: datetime, kept: timedelta) -> list[tuple[str, str, str]]:
    """(tenant, order, export) of what was handed over long ago; what was not goes with its order."""
    handed_over = (exports.c.state == "DELIVERED") & (exports.c.deliver_time <= now - kept)
    confirmed = (exports.c.state == "RECEIPT_CONFIRMED") & (exports.c.confirm_time <= now - kept)
    # Sent in part and never to the end; nobody could go on with that when the order's time was over.
    broken_off = (exports.c.state == "RELEASED") & (orders.c.expire_time <= now - kept)
    query = (
        select(exports.c.tenant_id, exports.c.order_id, exports.c.export_id)
        .join(orders, (orders.c.tenant_id == exports.c.tenant_id) & (orders.c.order_id == exports.c.order_id))
        .where(or_(handed_over, confirmed, broken_off))
        .order_by(exports.c.tenant_id, exports.c.export_id)
    )
    return [(row.tenant_id, row.order_id, row.export_id) for row in await connection.execute(query)]
