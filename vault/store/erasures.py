"""Erasures, what they had to keep, and their certificates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.notifications import ACKNOWLEDGED
from vault.store.tables import erasure_certificates, erasure_exceptions, erasures, notifications

STATES = ("REQUESTED", "RUNNING", "PENDING_KEY_DESTRUCTION", "PARTIAL", "COMPLETE", "FORWARDED")
_UNFINISHED = ("REQUESTED", "RUNNING", "PENDING_KEY_DESTRUCTION")
# Approved, and not certified.
UNDER_WAY = ("RUNNING", "PENDING_KEY_DESTRUCTION")


@dataclass(frozen=True, slots=True)
class Count:
    """How many parts of a category have one outcome.

    Attributes:
        outcome: erased, tokenised, restricted or forwarded.
        basis: the exception, for what is restricted.
        until: when it ends at the latest, as ISO 8601; empty if that is not known yet.
    """

    category: str
    outcome: str
    count: int
    basis: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """One erasure as stored; the columns are explained in tables.py."""

    erasure_id: str
    subject_id: str
    state: str
    requester: str
    requester_kind: str
    reference: str
    approvers: Sequence[str]
    required_approvals: int
    keep_suppression: bool
    preview_digest: str
    preview: Sequence[Count]
    outcomes: Sequence[Count]
    request_time: datetime
    finish_time: datetime | None = None
    position: str = ""
    kept_version: int = 0
    restricted_version: int = 0
    destroyed_keys: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """Something that an erasure had to keep."""

    record_id: str
    role: str
    erasure_id: str
    subject_id: str
    category: str
    basis: str
    end_time: datetime | None
    due_time: datetime


_COLUMNS = tuple(erasures.c[name] for name in ErasureRow.__dataclass_fields__)
_EXCEPTION = tuple(erasure_exceptions.c[name] for name in ExceptionRow.__dataclass_fields__)


async def insert_erasure(connection: AsyncConnection, tenant: str, row: ErasureRow) -> None:
    """Store a requested erasure."""
    await connection.execute(insert(erasures).values(tenant_id=tenant, **_values(row)))


async def get_erasure(connection: AsyncConnection, tenant: str, erasure_id: str, *, lock: bool = False) -> ErasureRow | None:
    """The erasure, or None. `lock` holds the row until the transaction ends."""
    query = select(*_COLUMNS).where(erasures.c.tenant_id == tenant, erasures.c.erasure_id == erasure_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return _row(row) if row else None


async def erasures_of_subject(connection: AsyncConnection, tenant: str, subject: str) -> list[ErasureRow]:
    """The erasures of a subject, the newest first."""
    query = select(*_COLUMNS).where(erasures.c.tenant_id == tenant, erasures.c.subject_id == subject)
    return [_row(row) for row in await connection.execute(query.order_by(erasures.c.request_time.desc(), erasures.c.erasure_id))]


async def update_erasure(connection: AsyncConnection, tenant: str, row: ErasureRow) -> None:
    """Store a changed erasure."""
    await connection.execute(
        update(erasures).where(erasures.c.tenant_id == tenant, erasures.c.erasure_id == row.erasure_id).values(**_values(row))
    )


async def list_erasures(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[ErasureRow]:
    """Erasures by id, from `after` on."""
    query = (
        select(*_COLUMNS).where(erasures.c.tenant_id == tenant, erasures.c.erasure_id > after).order_by(erasures.c.erasure_id).limit(limit)
    )
    return [_row(row) for row in await connection.execute(query)]


async def erasures_under_way(connection: AsyncConnection) -> list[tuple[str, str]]:
    """(tenant, erasure) of every erasure that was approved and is not certified."""
    query = select(erasures.c.tenant_id, erasures.c.erasure_id).where(erasures.c.state.in_(UNDER_WAY))
    return [(row.tenant_id, row.erasure_id) for row in await connection.execute(query)]


async def count_by_state(connection: AsyncConnection) -> dict[str, int]:
    """Number of erasures of all tenants by state."""
    query = select(erasures.c.state, func.count()).group_by(erasures.c.state)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def oldest_unfinished(connection: AsyncConnection) -> datetime | None:
    """When the oldest erasure that is not finished was asked for, of all tenants; None if there is none."""
    query = select(func.min(erasures.c.request_time)).where(erasures.c.state.in_(_UNFINISHED))
    found: datetime | None = (await connection.execute(query)).scalar_one()
    return found


async def count_due(connection: AsyncConnection, now: datetime) -> int:
    """How many exceptions of all tenants are to be looked at."""
    query = select(func.count()).select_from(erasure_exceptions).where(erasure_exceptions.c.due_time <= now)
    return int((await connection.execute(query)).scalar_one())


async def insert_exceptions(connection: AsyncConnection, tenant: str, rows: Sequence[ExceptionRow]) -> None:
    """Note what is kept."""
    if rows:
        await connection.execute(insert(erasure_exceptions), [{"tenant_id": tenant, **asdict(row)} for row in rows])


async def replace_exceptions(connection: AsyncConnection, tenant: str, rows: Sequence[ExceptionRow]) -> None:
    """Note another exception for what is kept already."""
    for row in rows:
        await connection.execute(
            update(erasure_exceptions).where(*_is(tenant, row)).values(basis=row.basis, end_time=row.end_time, due_time=row.due_time)
        )


async def due_exceptions(connection: AsyncConnection, tenant: str, erasure_id: str, now: datetime, *, limit: int) -> list[ExceptionRow]:
    """Exceptions of an erasure that are to be looked at, by record."""
    query = select(*_EXCEPTION).where(
        erasure_exceptions.c.tenant_id == tenant,
        erasure_exceptions.c.erasure_id == erasure_id,
        erasure_exceptions.c.due_time <= now,
    )
    ordered = query.order_by(erasure_exceptions.c.record_id, erasure_exceptions.c.role).limit(limit)
    return [ExceptionRow(*row) for row in await connection.execute(ordered)]


async def erasures_due(connection: AsyncConnection, now: datetime) -> list[tuple[str, str]]:
    """(tenant, erasure) of every erasure that kept something which is to be looked at."""
    query = select(erasure_exceptions.c.tenant_id, erasure_exceptions.c.erasure_id).where(erasure_exceptions.c.due_time <= now).distinct()
    return [(row.tenant_id, row.erasure_id) for row in await connection.execute(query)]


async def erasures_told(connection: AsyncConnection) -> list[tuple[str, str]]:
    """(tenant, erasure) of every erasure that kept nothing and waited only for somebody to acknowledge it, which is done."""
    kept = exists().where(erasure_exceptions.c.tenant_id == erasures.c.tenant_id, erasure_exceptions.c.erasure_id == erasures.c.erasure_id)
    told = exists().where(
        notifications.c.tenant_id == erasures.c.tenant_id,
        notifications.c.resource == literal("tenants/") + erasures.c.tenant_id + literal("/erasures/") + erasures.c.erasure_id,
        notifications.c.state != ACKNOWLEDGED,
    )
    query = select(erasures.c.tenant_id, erasures.c.erasure_id).where(erasures.c.state == "PARTIAL", ~kept, ~told)
    return [(row.tenant_id, row.erasure_id) for row in await connection.execute(query)]


async def delete_exceptions(connection: AsyncConnection, tenant: str, rows: Sequence[ExceptionRow]) -> None:
    """Forget exceptions that are over."""
    for row in rows:
        await connection.execute(delete(erasure_exceptions).where(*_is(tenant, row)))


async def exceptions_of(connection: AsyncConnection, tenant: str, erasure_id: str) -> list[Count]:
    """What an erasure still keeps, counted."""
    query = (
        select(
            erasure_exceptions.c.category,
            erasure_exceptions.c.basis,
            func.count(),
            func.max(erasure_exceptions.c.end_time),
            func.count(erasure_exceptions.c.end_time),
        )
        .where(erasure_exceptions.c.tenant_id == tenant, erasure_exceptions.c.erasure_id == erasure_id)
        .group_by(erasure_exceptions.c.category, erasure_exceptions.c.basis)
        .order_by(erasure_exceptions.c.category, erasure_exceptions.c.basis)
    )
    return [
        Count(category, "restricted", count, basis, end.isoformat() if end and dated == count else "")
        for category, basis, count, end, dated in await connection.execute(query)
    ]


async def next_due(connection: AsyncConnection, tenant: str, erasure_id: str) -> datetime | None:
    """When an erasure next looks at what it keeps; None if it keeps nothing."""
    query = select(func.min(erasure_exceptions.c.due_time)).where(
        erasure_exceptions.c.tenant_id == tenant, erasure_exceptions.c.erasure_id == erasure_id
    )
    found: datetime | None = (await connection.execute(query)).scalar_one()
    return found


async def keeps_anything(connection: AsyncConnection, tenant: str, subject: str) -> bool:
    """Whether anything of a subject is kept under an exception."""
    query = select(exists().where(erasure_exceptions.c.tenant_id == tenant, erasure_exceptions.c.subject_id == subject))
    return bool((await connection.execute(query)).scalar_one())


async def requeue(connection: AsyncConnection, tenant: str, basis: Sequence[str], now: datetime) -> None:
    """Look again at what holds and claims kept, because one of them ended."""
    await connection.execute(
        update(erasure_exceptions)
        .where(erasure_exceptions.c.tenant_id == tenant, erasure_exceptions.c.basis.in_(basis))
        .values(due_time=now)
    )


async def insert_certificate(
    connection: AsyncConnection, tenant: str, erasure_id: str, *, number: int, state: str, note: str, now: datetime
) -> None:
    """Store a certificate, or a supplement to one."""
    await connection.execute(
        insert(erasure_certificates).values(tenant_id=tenant, erasure_id=erasure_id, number=number, state=state, note=note, create_time=now)
    )


async def certificates_of(connection: AsyncConnection, tenant: str, erasure_id: str) -> list[str]:
    """Every certificate of an erasure, the first one first."""
    query = select(erasure_certificates.c.note).where(
        erasure_certificates.c.tenant_id == tenant, erasure_certificates.c.erasure_id == erasure_id
    )
    return [row.note for row in await connection.execute(query.order_by(erasure_certificates.c.number))]


def _is(tenant: str, row: ExceptionRow) -> tuple[ColumnElement[bool], ...]:
    table = erasure_exceptions.c
    return (table.tenant_id == tenant, table.record_id == row.record_id, table.role == row.role)


def _row(row: Row[Any]) -> ErasureRow:
    values = dict(zip(ErasureRow.__dataclass_fields__, row, strict=True))
    counts = {name: tuple(Count(**count) for count in values[name]) for name in ("preview", "outcomes")}
    return ErasureRow(
        **{
            **values,
            **counts,
            "approvers": tuple(values["approvers"]),
            "destroyed_keys": tuple(values["destroyed_keys"]),
            "keep_suppression": bool(values["keep_suppression"]),
        }
    )


def _values(row: ErasureRow) -> Mapping[str, object]:
    values = {name: getattr(row, name) for name in ErasureRow.__dataclass_fields__}
    return {
        **values,
        "approvers": list(row.approvers),
        "destroyed_keys": list(row.destroyed_keys),
        "keep_suppression": int(row.keep_suppression),
        "preview": [asdict(count) for count in row.preview],
        "outcomes": [asdict(count) for count in row.outcomes],
    }
