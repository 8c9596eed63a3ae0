"""What a correction replaced: the values of one party's fields as they were, sealed under that party's key (L14).

A row goes with its record, with its time, and with whatever takes the party's key or fields away. No index leads to it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.holds import is_held
from vault.store.tables import records, replaced_values


@dataclass(frozen=True, slots=True)
class ReplacedRow:
    """Some fields of one party as they stood in one version of a record."""

    record_id: str
    role: str
    version: int
    subject_id: str
    key_version: int
    sealed: bytes
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A row whose time is over: its address, and whose and what it is of."""

    record_id: str
    role: str
    version: int
    subject_id: str
    category: str


_C = replaced_values.c
_COLUMNS = tuple(replaced_values.c[name] for name in ReplacedRow.__dataclass_fields__)


async def keep_replaced(connection: AsyncConnection, tenant: str, row: ReplacedRow) -> None:
    """Store what a correction replaced."""
    values = {name: getattr(row, name) for name in ReplacedRow.__dataclass_fields__}
    await connection.execute(insert(replaced_values).values(tenant_id=tenant, **values))


async def replaced_of(connection: AsyncConnection, tenant: str, subject: str, now: datetime) -> list[ReplacedRow]:
    """What was replaced of a subject and is kept still, in the order of records and corrections."""
    mine = (_C.tenant_id == tenant, _C.subject_id == subject, _C.expire_time > now)
    query = select(*_COLUMNS).where(*mine).order_by(_C.record_id, _C.version, _C.role)
    return [ReplacedRow(*row) for row in await connection.execute(query)]


async def due_replaced(connection: AsyncConnection, tenant: str, now: datetime, *, limit: int) -> list[Due]:
    """Rows whose time is over, of records that no hold keeps whole."""
    query = (
        select(_C.record_id, _C.role, _C.version, _C.subject_id, records.c.category)
        .join(records, (records.c.tenant_id == _C.tenant_id) & (records.c.record_id == _C.record_id))
        .where(_C.tenant_id == tenant, _C.expire_time <= now, ~is_held(tenant, now))
        .limit(limit)
    )
    return [Due(*row) for row in await connection.execute(query)]


async def forget_due(connection: AsyncConnection, tenant: str, rows: Sequence[Due]) -> None:
    """Delete rows."""
    places = [(row.record_id, row.role, row.version) for row in rows]
    await connection.execute(delete(replaced_values).where(_C.tenant_id == tenant, tuple_(_C.record_id, _C.role, _C.version).in_(places)))


async def forget_of_records(connection: AsyncConnection, tenant: str, ids: Collection[str]) -> None:
    """Delete what was replaced in some records."""
    if ids:
        await connection.execute(delete(replaced_values).where(_C.tenant_id == tenant, _C.record_id.in_(sorted(ids))))


async def forget_of_subject(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Delete everything that was replaced of a subject."""
    await connection.execute(delete(replaced_values).where(_C.tenant_id == tenant, _C.subject_id == subject))
