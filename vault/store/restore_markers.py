"""How much of the erasure ledger a database has seen. One row, in a database of subject keys as well."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import restore_markers


@dataclass(frozen=True, slots=True)
class MarkerRow:
    """The marker as stored.

    Attributes:
        sequence: number of the last ledger entry that the database has seen, all before it included.
        incarnation: random id of this life of the database, another one after every replay.
        is_pending: whether a replay is due and has not come to its end.
    """

    sequence: int
    incarnation: str
    is_pending: int
    change_time: datetime


_COLUMNS = tuple(restore_markers.c[name] for name in MarkerRow.__dataclass_fields__)


async def get_marker(connection: AsyncConnection) -> MarkerRow | None:
    """The marker; None in a database that never met a ledger."""
    row = (await connection.execute(select(*_COLUMNS).where(restore_markers.c.tenant_id == SYSTEM_LOG))).first()
    return MarkerRow(*row) if row else None


async def insert_marker(connection: AsyncConnection, incarnation: str, now: datetime, *, sequence: int = 0) -> None:
    """Begin, with nothing seen unless told."""
    values = {"sequence": sequence, "incarnation": incarnation, "is_pending": 0, "change_time": now}
    await connection.execute(insert(restore_markers).values(tenant_id=SYSTEM_LOG, **values))


async def advance_marker(connection: AsyncConnection, *, seen: int, reached: int, now: datetime) -> None:
    """Note that entries up to `reached` are seen, if those up to `seen` were and nobody noted more."""
    await connection.execute(
        update(restore_markers)
        .where(restore_markers.c.tenant_id == SYSTEM_LOG, restore_markers.c.sequence >= seen, restore_markers.c.sequence < reached)
        .values(sequence=reached, change_time=now)
    )


async def set_pending(connection: AsyncConnection, now: datetime) -> None:
    """Note that a replay is due, for whoever serves next as well."""
    await connection.execute(
        update(restore_markers)
        .where(restore_markers.c.tenant_id == SYSTEM_LOG, restore_markers.c.is_pending == 0)
        .values(is_pending=1, change_time=now)
    )


async def end_replay(connection: AsyncConnection, *, reached: int, incarnation: str, now: datetime) -> None:
    """Note that everything up to `reached` was replayed: a new life of the database."""
    await connection.execute(
        update(restore_markers)
        .where(restore_markers.c.tenant_id == SYSTEM_LOG)
        .values(sequence=reached, incarnation=incarnation, is_pending=0, change_time=now)
    )
