"""Which records retention has something to do about, and what it did.

They are found by category, level and the time at which something falls due, which one index leads to; a batch at a time. Records of
somebody who is being erased are left to the erasure, which counted them, and records that are held stay whole until the hold ends; where a
tenant has no hold, nobody looks for one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.holds import is_held
from vault.store.records import RecordRow
from vault.store.tables import erasure_exceptions, records, subjects

_RECORD = tuple(records.c[name] for name in RecordRow.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Off:
    """Content that a tenant does not keep.

    Attributes:
        field: clear field that tells the channel; empty for every record of the category.
        channels: the channels whose content is not kept.
    """

    category: str
    level: str
    field: str = ""
    channels: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """Where a sweep looks: categories that are kept as records, their levels, and what the tenant does not keep."""

    categories: Collection[str]
    levels: Collection[str]
    off: Sequence[Off] = ()
    # Whether there are holds to look at, and the categories that none of them keeps.
    has_holds: bool = False
    transient: Collection[str] = ()


async def due_records(connection: AsyncConnection, tenant: str, now: datetime, where: Swept, *, limit: int) -> list[RecordRow]:
    """Some records about which something is to be done, locked until the transaction ends."""
    # Locked by primary key, which is how everybody else locks records: two who lock several do not wait for each other.
    ids = [row.record_id for row in await connection.execute(_due(tenant, now, where, limit))]
    if not ids:
        return []
    query = select(*_RECORD).where(records.c.tenant_id == tenant, records.c.record_id.in_(ids)).order_by(records.c.record_id)
    return [RecordRow(*row) for row in await connection.execute(query.with_for_update())]


async def has_due(connection: AsyncConnection, tenant: str, now: datetime, where: Swept) -> bool:
    """Whether there is any such record."""
    return (await connection.execute(_due(tenant, now, where, 1))).first() is not None


async def count_due(connection: AsyncConnection, tenant: str, before: datetime, where: Swept) -> int:
    """How many records were due by a moment and are there still."""
    query = select(func.count()).select_from(records).where(_by(tenant, before, where), *_is_free(tenant, before, where))
    return (await connection.execute(query)).scalar_one()


async def delete_records(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> None:
    """Delete records; parts and index entries go with them."""
    if ids:
        await connection.execute(delete(records).where(records.c.tenant_id == tenant, records.c.record_id.in_(ids)))


async def set_due(connection: AsyncConnection, tenant: str, times: Mapping[str, datetime | None]) -> None:
    """Note when each record is to be looked at next."""
    if not times:
        return
    statement = (
        update(records)
        .where(records.c.tenant_id == tenant, records.c.record_id == bindparam("b_record"))
        .values(due_time=bindparam("b_due", type_=records.c.due_time.type))
    )
    await connection.execute(statement, [{"b_record": record, "b_due": time} for record, time in times.items()])


async def set_expiry(connection: AsyncConnection, tenant: str, times: Mapping[str, datetime | None]) -> None:
    """Store when the retention of each record ends; None where its clock does not run."""
    if not times:
        return
    statement = (
        update(records)
        .where(records.c.tenant_id == tenant, records.c.record_id == bindparam("b_record"))
        .values(expire_time=bindparam("b_expire", type_=records.c.expire_time.type))
    )
    await connection.execute(statement, [{"b_record": record, "b_expire": time} for record, time in times.items()])


async def end_owned(
    connection: AsyncConnection, tenant: str, subject: str, category: str, *, field: str, values: Collection[str], now: datetime
) -> None:
    """End the retention of a subject's own records of a category whose clear field has one of the values."""
    mine = and_(
        records.c.tenant_id == tenant,
        records.c.subject_id == subject,
        records.c.category == category,
        records.c.metadata[field].as_string().in_(sorted(values)),
    )
    # Locked by primary key, as everybody else locks several.
    query = select(records.c.record_id).where(mine).order_by(records.c.record_id).with_for_update()
    ids = [row.record_id for row in await connection.execute(query)]
    await connection.execute(
        update(records).where(records.c.tenant_id == tenant, records.c.record_id.in_(ids)).values(expire_time=now, due_time=now)
    )


def _due(tenant: str, now: datetime, where: Swept, limit: int) -> Select[tuple[str]]:
    found = or_(_by(tenant, now, where), *(_is_off(tenant, item) for item in where.off))
    return select(records.c.record_id).where(found, *_is_free(tenant, now, where)).limit(limit)


def _by(tenant: str, moment: datetime, where: Swept) -> ColumnElement[bool]:
    return and_(
        records.c.tenant_id == tenant,
        records.c.category.in_(sorted(where.categories)),
        records.c.level.in_(sorted(where.levels)),
        records.c.due_time <= moment,
    )


def _is_off(tenant: str, off: Off) -> ColumnElement[bool]:
    same = and_(records.c.tenant_id == tenant, records.c.category == off.category, records.c.level == off.level)
    return and_(same, records.c.metadata[off.field].as_string().in_(sorted(off.channels))) if off.field else same


def _is_free(tenant: str, now: datetime, where: Swept) -> list[ColumnElement[bool]]:
    """Whether a record's owner is not being erased, no erasure keeps it, both a look by primary key, and no hold, a look by the people in it."""
    owner = subjects.c
    being_erased = select(owner.subject_id).where(
        owner.tenant_id == tenant, owner.subject_id == records.c.subject_id, owner.state == "ERASING"
    )
    kept = select(erasure_exceptions.c.record_id).where(
        erasure_exceptions.c.tenant_id == tenant, erasure_exceptions.c.record_id == records.c.record_id
    )
    held = [~is_held(tenant, now, transient=where.transient)] if where.has_holds else []
    return [~being_erased.exists(), ~kept.exists(), *held]
