"""Which entries of the logs name which person, and how far that has been read off them. Derived: it can be dropped and made again."""

from collections.abc import Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import audit_entries, audit_readers, audit_subjects

# Parameters of one statement: four a row, and PostgreSQL's driver takes 32,767.
_ROWS = 5000


async def position(connection: AsyncConnection, log: str, reader: str, *, lock: bool = False) -> int:
    """The first entry that a reader has not read."""
    query = select(audit_readers.c.position).where(audit_readers.c.tenant_id == log, audit_readers.c.reader == reader)
    found = (await connection.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    return found or 0


async def set_position(connection: AsyncConnection, log: str, reader: str, position: int) -> None:
    """Remember how far a reader has come."""
    statement = sqlite_insert(audit_readers) if connection.dialect.name == "sqlite" else postgresql_insert(audit_readers)
    values = {"tenant_id": log, "reader": reader, "position": position}
    await connection.execute(
        statement.values(values).on_conflict_do_update(
            index_elements=["tenant_id", "reader"], set_={"position": statement.excluded.position}
        )
    )


async def add_subjects(connection: AsyncConnection, log: str, named: Iterable[tuple[str, str, int]]) -> None:
    """Store which entries name whom: tenant, subject, index. What is there already stays."""
    statement = sqlite_insert(audit_subjects) if connection.dialect.name == "sqlite" else postgresql_insert(audit_subjects)
    rows = [{"tenant_id": tenant, "subject_id": subject, "log": log, "entry_index": index} for tenant, subject, index in named]
    for start in range(0, len(rows), _ROWS):
        await connection.execute(statement.on_conflict_do_nothing(), rows[start : start + _ROWS])


async def entries_naming(
    connection: AsyncConnection, tenant: str, subject: str, *, log: str, after: int, limit: int
) -> list[tuple[int, bytes]]:
    """Entries of a log that name a subject, in index order, after an index."""
    query = (
        select(audit_entries.c.entry_index, audit_entries.c.entry)
        .join(
            audit_subjects,
            (audit_entries.c.tenant_id == audit_subjects.c.log) & (audit_entries.c.entry_index == audit_subjects.c.entry_index),
        )
        .where(
            audit_subjects.c.tenant_id == tenant,
            audit_subjects.c.subject_id == subject,
            audit_subjects.c.log == log,
            audit_subjects.c.entry_index > after,
            audit_entries.c.tenant_id == log,
        )
        .order_by(audit_entries.c.entry_index)
        .limit(limit)
    )
    return [(row.entry_index, row.entry) for row in await connection.execute(query)]


async def count_naming(connection: AsyncConnection, tenant: str, subject: str, *, log: str) -> int:
    """How many entries of a log name a subject of a tenant."""
    query = select(func.count()).where(
        audit_subjects.c.tenant_id == tenant, audit_subjects.c.subject_id == subject, audit_subjects.c.log == log
    )
    return int((await connection.execute(query)).scalar_one())


async def forget(connection: AsyncConnection, *, log: str, before: int) -> None:
    """Remove what leads to entries that are gone; of the system log, what leads there from any tenant."""
    gone = (audit_subjects.c.log == log) & (audit_subjects.c.entry_index < before)
    await connection.execute(delete(audit_subjects).where(gone if log == SYSTEM_LOG else gone & (audit_subjects.c.tenant_id == log)))
