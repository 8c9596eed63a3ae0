"""Which people are in a list, and whose contacts have a clock that runs although they are (§2B: C01).

Somebody is in a list who has a record that is kept for a list, or a contact that was stored into one.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, FromClause, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.records import RecordRow
from vault.store.tables import records

_RECORD = tuple(records.c[name] for name in RecordRow.__dataclass_fields__)
# Before any clock: what is compared leads by the index to the rows that have one, and "is not null" does not on SQLite.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """Categories of contacts, which are kept while they are in a list, and those of what puts them in one."""

    contacts: Collection[str]
    naming: Collection[str]


async def contacts_of(connection: AsyncConnection, tenant: str, subject: str, which: Listed) -> list[RecordRow]:
    """A person's contacts outside lists, locked until the transaction ends."""
    found = select(records.c.record_id).where(
        records.c.tenant_id == tenant,
        records.c.subject_id == subject,
        records.c.category.in_(sorted(which.contacts)),
        records.c.list_id == "",
    )
    # Found first, and locked by primary key in its order: asked for the order at once, SQLite reads every record of the tenant in it.
    ids = [row.record_id for row in await connection.execute(found)]
    query = select(*_RECORD).where(records.c.tenant_id == tenant, records.c.record_id.in_(ids)).order_by(records.c.record_id)
    return [RecordRow(*row) for row in await connection.execute(query.with_for_update())] if ids else []


async def listed_people(connection: AsyncConnection, tenant: str, subjects: Collection[str], which: Listed) -> frozenset[str]:
    """Those of the people who are in some list."""
    if not subjects:
        return frozenset()
    query = select(records.c.subject_id).where(
        records.c.tenant_id == tenant, records.c.subject_id.in_(sorted(subjects)), *_is_listing(records, which)
    )
    return frozenset(row.subject_id for row in await connection.execute(query.distinct()))


async def back_in_list(connection: AsyncConnection, tenant: str, which: Listed, *, limit: int, lock: bool = False) -> Sequence[RecordRow]:
    """Some contacts whose clock runs although the person is in a list again."""
    naming = records.alias("naming")
    is_in_one = select(naming.c.record_id).where(
        naming.c.tenant_id == records.c.tenant_id, naming.c.subject_id == records.c.subject_id, *_is_listing(naming, which)
    )
    query = (
        select(*_RECORD)
        .where(
            records.c.tenant_id == tenant,
            records.c.category.in_(sorted(which.contacts)),
            records.c.level == "",
            records.c.due_time > _EVER,
            records.c.expire_time.is_not(None),
            is_in_one.exists(),
        )
        .limit(limit)
    )
    return [RecordRow(*row) for row in await connection.execute(query.with_for_update(of=records) if lock else query)]


def _is_listing(table: FromClause, which: Listed) -> tuple[ColumnElement[bool], ...]:
    both = sorted({*which.contacts, *which.naming})
    return table.c.category.in_(both), table.c.category.in_(sorted(which.naming)) | (table.c.list_id != "")
