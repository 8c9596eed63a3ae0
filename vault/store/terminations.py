"""Ends of contracts: how far each is, which records it is about, and whose keys are to be renewed or destroyed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.holds import is_held
from vault.store.records import RecordRow
from vault.store.tables import (
    customer_requests,
    erasure_exceptions,
    guardian_consents,
    idempotent_requests,
    import_issues,
    imports,
    jobs,
    record_parts,
    records,
    subjects,
    termination_subjects,
    terminations,
)

Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class TerminationRow:
    """The end of one tenant's contract as stored."""

    tenant_id: str
    state: str
    position: str
    asked_by: str
    remove_contacts: int
    effective_time: datetime
    grace_end_time: datetime
    requester: str
    approver: str
    request_time: datetime
    credentials_time: datetime | None = None
    erase_time: datetime | None = None
    return_time: datetime | None = None
    finish_time: datetime | None = None
    counts: Counts = field(default_factory=dict)
    key_counts: Mapping[str, int] = field(default_factory=dict)
    report: str = ""


@dataclass(frozen=True, slots=True)
class Which:
    """Records of a category.

    Attributes:
        level: of this content level; of every one if None.
        field, but: except those whose clear field has one of these values.
    """

    category: str
    level: str | None = None
    field: str = ""
    but: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Spared:
    """What holds keep. What an erasure kept is spared in any case, by party.

    Attributes:
        now: records that are held at this moment are left alone; None if nothing of the tenant's is held.
        transient: categories of which nothing is held.
    """

    now: datetime | None = None
    transient: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Queued:
    """Somebody whose keys are to be renewed or destroyed; `version` is 0 before the new key was made."""

    subject_id: str
    version: int


_TERMINATION = tuple(terminations.c[name] for name in TerminationRow.__dataclass_fields__)
_RECORD = tuple(records.c[name] for name in RecordRow.__dataclass_fields__)
_NOTHING_HELD = Spared()
# The contract still runs.
BEFORE = ("REQUESTED", "APPROVED")
_UNDER_WAY = ("CREDENTIALS", "KEEPING", "LISTS", "TOKENS", "KEYS")


async def insert_termination(connection: AsyncConnection, row: TerminationRow) -> None:
    """Store a requested termination."""
    await connection.execute(insert(terminations).values(_values(row)))


async def get_termination(connection: AsyncConnection, tenant: str, *, lock: bool = False) -> TerminationRow | None:
    """The end of a tenant's contract, or None. `lock` holds the row until the transaction ends."""
    query = select(*_TERMINATION).where(terminations.c.tenant_id == tenant)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return TerminationRow(*row) if row else None


async def update_termination(connection: AsyncConnection, row: TerminationRow) -> None:
    """Store a changed termination."""
    await connection.execute(update(terminations).where(terminations.c.tenant_id == row.tenant_id).values(_values(row)))


async def take_up(connection: AsyncConnection, tenant: str) -> None:
    """Begin anew with the end of a tenant's contract, if it has begun: something that was left may go now."""
    await connection.execute(
        update(terminations)
        .where(terminations.c.tenant_id == tenant, terminations.c.state.not_in(BEFORE))
        .values(state="CREDENTIALS", position="", finish_time=None)
    )


async def pending_terminations(connection: AsyncConnection, now: datetime) -> list[str]:
    """Tenants the end of whose contract has something to do now."""
    due = or_(
        terminations.c.state.in_(_UNDER_WAY),
        and_(terminations.c.state == "APPROVED", terminations.c.effective_time <= now),
        and_(terminations.c.state == "GRACE", terminations.c.grace_end_time <= now),
    )
    query = select(terminations.c.tenant_id).where(due).order_by(terminations.c.tenant_id)
    return [row.tenant_id for row in await connection.execute(query)]


async def cut_off(connection: AsyncConnection, tenant: str, now: datetime) -> None:
    """Close every job and customer request of a tenant; what was asked for under the contract ends with it."""
    for table in (jobs, customer_requests):
        await connection.execute(update(table).where(table.c.tenant_id == tenant, table.c.close_time.is_(None)).values(close_time=now))


async def forget_requests(connection: AsyncConnection, tenant: str, *, limit: int) -> int:
    """Delete some of the answers kept for repeated requests. How many there were."""
    some = select(idempotent_requests.c.request_id).where(idempotent_requests.c.tenant_id == tenant).limit(limit)
    result = await connection.execute(
        delete(idempotent_requests).where(idempotent_requests.c.tenant_id == tenant, idempotent_requests.c.request_id.in_(some))
    )
    return result.rowcount


async def forget_imports(connection: AsyncConnection, tenant: str) -> None:
    """Delete what recognises a tenant's files."""
    for table in (import_issues, imports):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant))


async def find_records(
    connection: AsyncConnection, tenant: str, which: Sequence[Which], *, limit: int, spared: Spared = _NOTHING_HELD
) -> list[RecordRow]:
    """Some of the records, but for what is spared and those whose owner is being erased, which are the erasure's."""
    query = select(*_RECORD).where(_one_of(tenant, which), _is_free(), _may_go(tenant, spared)).limit(limit)
    return [RecordRow(*row) for row in await connection.execute(query)]


async def sealed_records(
    connection: AsyncConnection, tenant: str, which: Sequence[Which], *, after: str, limit: int, spared: Spared = _NOTHING_HELD
) -> list[RecordRow]:
    """The same of records that are no tokens yet, by id from `after` on."""
    query = (
        select(*_RECORD)
        .where(_one_of(tenant, which), _is_free(), _may_go(tenant, spared, sealed=True), records.c.record_id > after)
        .order_by(records.c.record_id)
        .limit(limit)
    )
    return [RecordRow(*row) for row in await connection.execute(query)]


async def count_left(
    connection: AsyncConnection, tenant: str, which: Sequence[Which], *, sealed: bool = False, spared: Spared = _NOTHING_HELD
) -> int:
    """How many of the records there are but for what is spared, whosever they are."""
    query = select(func.count()).select_from(records).where(_one_of(tenant, which), _may_go(tenant, spared, sealed=sealed))
    return (await connection.execute(query)).scalar_one()


async def kept_parts(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> frozenset[tuple[str, str]]:
    """(record, role) of the parties of these records that an erasure kept under an exception."""
    query = select(erasure_exceptions.c.record_id, erasure_exceptions.c.role).where(
        erasure_exceptions.c.tenant_id == tenant, erasure_exceptions.c.record_id.in_(ids)
    )
    return frozenset((row.record_id, row.role) for row in await connection.execute(query))


async def records_of(connection: AsyncConnection, tenant: str, categories: Collection[str], *, after: str, limit: int) -> list[RecordRow]:
    """Records of some categories by id from `after` on, locked."""
    query = (
        select(*_RECORD)
        .where(records.c.tenant_id == tenant, records.c.category.in_(sorted(categories)), records.c.record_id > after)
        .order_by(records.c.record_id)
        .limit(limit)
        .with_for_update()
    )
    return [RecordRow(*row) for row in await connection.execute(query)]


async def page_of(connection: AsyncConnection, tenant: str, which: Which, *, after: str, limit: int) -> list[RecordRow]:
    """Records of one kind by id from `after` on."""
    query = select(*_RECORD).where(_one_of(tenant, [which]), records.c.record_id > after).order_by(records.c.record_id).limit(limit)
    return [RecordRow(*row) for row in await connection.execute(query)]


async def count_by_category(connection: AsyncConnection, tenant: str) -> dict[str, int]:
    """How many records a tenant has of each category."""
    query = (
        select(records.c.category, func.count())
        .where(records.c.tenant_id == tenant)
        .group_by(records.c.category)
        .order_by(records.c.category)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def being_erased(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of the subjects who are being erased."""
    query = select(subjects.c.subject_id).where(
        subjects.c.tenant_id == tenant, subjects.c.subject_id.in_(ids), subjects.c.state == "ERASING"
    )
    return frozenset(row.subject_id for row in await connection.execute(query))


async def set_clock(connection: AsyncConnection, tenant: str, row: RecordRow) -> None:
    """Store the interval and the end of a record whose clock the contract's end has started."""
    await connection.execute(
        update(records)
        .where(records.c.tenant_id == tenant, records.c.record_id == row.record_id)
        .values(
            metadata=dict(row.metadata),
            valid_to=row.valid_to,
            expire_time=row.expire_time,
            due_time=row.due_time,
            version=row.version + 1,
        )
    )


async def queue_subjects(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> None:
    """Note whose keys are to be renewed or destroyed; who is noted already stays as they are."""
    rows = [{"tenant_id": tenant, "subject_id": subject, "version": 0} for subject in ids]
    if rows:
        to = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
        await connection.execute(to(termination_subjects).on_conflict_do_nothing(), rows)


async def queued_subjects(connection: AsyncConnection, tenant: str, *, limit: int) -> list[Queued]:
    """Some of them, in order."""
    query = (
        select(termination_subjects.c.subject_id, termination_subjects.c.version)
        .where(termination_subjects.c.tenant_id == tenant)
        .order_by(termination_subjects.c.subject_id)
        .limit(limit)
    )
    return [Queued(*row) for row in await connection.execute(query)]


async def set_new_version(connection: AsyncConnection, tenant: str, subject: str, version: int) -> None:
    """Note which key what is left of somebody is sealed under from now on."""
    await connection.execute(
        update(termination_subjects)
        .where(termination_subjects.c.tenant_id == tenant, termination_subjects.c.subject_id == subject)
        .values(version=version)
    )


async def dequeue_subject(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Nothing is to be done about somebody's keys any more."""
    await connection.execute(
        delete(termination_subjects).where(termination_subjects.c.tenant_id == tenant, termination_subjects.c.subject_id == subject)
    )


async def has_sealed(connection: AsyncConnection, tenant: str, subject: str, *, but: Collection[int] = ()) -> bool:
    """Whether anything is sealed under somebody's keys, but for some: a part of a record, or who their guardian is."""
    parts = select(record_parts.c.record_id).where(
        record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject, record_parts.c.key_version.not_in([0, *sorted(but)])
    )
    guardian = select(guardian_consents.c.subject_id).where(
        guardian_consents.c.tenant_id == tenant, guardian_consents.c.subject_id == subject
    )
    return (await connection.execute(parts.limit(1))).first() is not None or (await connection.execute(guardian)).first() is not None


def _one_of(tenant: str, which: Sequence[Which]) -> ColumnElement[bool]:
    return and_(records.c.tenant_id == tenant, or_(*(_is(one) for one in which)))


def _is(which: Which) -> ColumnElement[bool]:
    found = records.c.category == which.category
    if which.level is not None:
        found = and_(found, records.c.level == which.level)
    if which.but:
        value = records.c.metadata[which.field].as_string()
        found = and_(found, or_(value.is_(None), value.not_in(sorted(which.but))))
    return found


def _is_free() -> ColumnElement[bool]:
    """Whether the owner of a record is not being erased; a look by primary key."""
    owner = subjects.c
    dying = select(owner.subject_id).where(
        owner.tenant_id == records.c.tenant_id, owner.subject_id == records.c.subject_id, owner.state == "ERASING"
    )
    return ~dying.exists()


def _may_go(tenant: str, spared: Spared, *, sealed: bool = False) -> ColumnElement[bool]:
    """Whether a record is not held, and some party of it, that is no token yet if `sealed`, is kept by no erasure's exception."""
    part, kept = record_parts.c, erasure_exceptions.c
    excepted = select(kept.record_id).where(kept.tenant_id == tenant, kept.record_id == part.record_id, kept.role == part.role)
    free = select(part.record_id).where(part.tenant_id == records.c.tenant_id, part.record_id == records.c.record_id, ~excepted.exists())
    some = (free.where(part.key_version != 0) if sealed else free).exists()
    return some if spared.now is None else and_(some, ~is_held(tenant, spared.now, transient=spared.transient))


def _values(row: TerminationRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in TerminationRow.__dataclass_fields__}
    counts = {category: dict(found) for category, found in row.counts.items()}
    return {**values, "counts": counts, "key_counts": dict(row.key_counts)}
