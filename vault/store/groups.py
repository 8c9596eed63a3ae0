"""A person's parts of one category, counted by what their fate depends on: the level, some clear fields, and when they expire."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Subquery, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import record_parts, records


@dataclass(frozen=True, slots=True)
class Group:
    """Parts that are alike.

    Attributes:
        metadata: the clear fields that were asked for, as far as the records have them.
        count: how many there are.
        dated: how many of them have a time of expiry.
        first: the earliest of those times.
        last: the latest.
    """

    level: str
    metadata: Mapping[str, str]
    count: int
    dated: int
    first: datetime | None
    last: datetime | None


async def groups_of(
    connection: AsyncConnection, tenant: str, subject: str, category: str, fields: Collection[str], *, but: Collection[int] = ()
) -> list[Group]:
    """The parts of a person that are no tokens and not sealed under some keys, in groups that agree in level and in some clear fields."""
    names = sorted(fields)
    found = _parts(tenant, subject, category, names, but)
    by, expiry = [found.c.level, *_fields(found, names)], found.c.expire_time
    query = select(*by, func.count(), func.count(expiry), func.min(expiry), func.max(expiry)).group_by(*by).order_by(*by)
    groups = []
    for level, *values, count, dated, first, last in await connection.execute(query):
        metadata = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        groups.append(Group(level, metadata, count, dated, first, last))
    return groups


async def count_expired(
    connection: AsyncConnection,
    tenant: str,
    subject: str,
    category: str,
    fields: Collection[str],
    group: Group,
    *,
    by: datetime,
    but: Collection[int] = (),
) -> int:
    """How many parts of a group expire no later than a moment."""
    names = sorted(fields)
    found = _parts(tenant, subject, category, names, but)
    same = [field.is_not_distinct_from(group.metadata.get(name)) for name, field in zip(names, _fields(found, names), strict=True)]
    query = select(func.count()).select_from(found).where(found.c.level == group.level, found.c.expire_time <= by, *same)
    return int((await connection.execute(query)).scalar_one())


async def count_up_to(connection: AsyncConnection, tenant: str, subject: str, record: str) -> int:
    """How many parts of a person belong to records that come no later than one, in the order of their ids."""
    query = select(func.count()).select_from(record_parts)
    found = query.where(record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject, record_parts.c.record_id <= record)
    return int((await connection.execute(found)).scalar_one())


def _parts(tenant: str, subject: str, category: str, names: Sequence[str], but: Collection[int]) -> Subquery:
    """Level, expiry and clear fields of each part; the fields by number, because a category may call one of its own as it likes."""
    fields = [records.c.metadata[name].as_string().label(f"field_{number}") for number, name in enumerate(names)]
    return (
        select(records.c.level, records.c.expire_time, *fields)
        .join(record_parts, (record_parts.c.tenant_id == records.c.tenant_id) & (record_parts.c.record_id == records.c.record_id))
        .where(
            record_parts.c.tenant_id == tenant,
            record_parts.c.subject_id == subject,
            record_parts.c.key_version.not_in([0, *sorted(but)]),
            records.c.category == category,
        )
        .subquery()
    )


def _fields(found: Subquery, names: Sequence[str]) -> list[ColumnElement[str]]:
    return [found.c[f"field_{number}"] for number in range(len(names))]
