"""Ends of contracts: how far each is, which records it is about, and whose keys are to be renewed or destroyed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.records import RecordRow
from vault.store.tables import (
    customer_requests,
    guardian_consents,
    idempotent_requests,
    identities,
    import_issues,
    imports,
    index_entries,
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
class Queued:
    """Somebody whose keys are to be renewed or destroyed; `version` is 0 before the new key was made."""

    subject_id: str
    version: int


_TERMINATION = tuple(terminations.c[name] for name in TerminationRow.__dataclass_fields__)
_RECORD = tuple(records.c[name] for name in RecordRow.__dataclass_fields__)
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


async def find_records(connection: AsyncConnection, tenant: str, which: Sequence[Which], *, limit: int) -> list[RecordRow]:
    """Some of the records, but for those whose owner is being erased, which are the erasure's."""
    query = select(*_RECORD).where(_one_of(tenant, which), _is_free()).limit(limit)
    return [RecordRow(*row) for row in await connection.execute(query)]


async def sealed_records(connection: AsyncConnection, tenant: str, which: Sequence[Which], *, after: str, limit: int) -> list[RecordRow]:
    """The same of records that are no tokens yet, by id from `after` on."""
    query = (
        select(*_RECORD)
        .where(_one_of(tenant, which), _is_free(), _has_sealed(), records.c.record_id > after)
        .order_by(records.c.record_id)
        .limit(limit)
    )
    return [RecordRow(*row) for row in await connection.execute(query)]


async def count_left(connection: AsyncConnection, tenant: str, which: Sequence[Which], *, sealed: bool = False) -> int:
    """How many of the records there are, whosever they are."""
    query = select(func.count()).select_from(records).where(_one_of(tenant, which))
    return (await connection.execute(query.where(_has_sealed()) if sealed else query)).scalar_one()


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


async def people_in(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> list[str]:
    """Everybody who is a party of one of the records."""
    query = (
        select(record_parts.c.subject_id)
        .where(record_parts.c.tenant_id == tenant, record_parts.c.record_id.in_(ids))
        .order_by(record_parts.c.subject_id)
        .distinct()
    )
    return [row.subject_id for row in await connection.execute(query)]


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


async def has_sealed(connection: AsyncConnection, tenant: str, subject: str) -> bool:
    """Whether anything is sealed under somebody's key: a part of a record, or who their guardian is."""
    parts = select(record_parts.c.record_id).where(
        record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject, record_parts.c.sealed != b""
    )
    guardian = select(guardian_consents.c.subject_id).where(
        guardian_consents.c.tenant_id == tenant, guardian_consents.c.subject_id == subject
    )
    return (await connection.execute(parts.limit(1))).first() is not None or (await connection.execute(guardian)).first() is not None


async def delete_unused_identities(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Unbind those of somebody's tokens that lead to no record of theirs any more."""
    used = select(index_entries.c.record_id).where(
        index_entries.c.tenant_id == tenant,
        index_entries.c.kind == identities.c.kind,
        index_entries.c.token == identities.c.token,
        index_entries.c.subject_id == subject,
    )
    await connection.execute(delete(identities).where(identities.c.tenant_id == tenant, identities.c.subject_id == subject, ~used.exists()))


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


def _has_sealed() -> ColumnElement[bool]:
    part = record_parts.c
    return (
        select(part.record_id)
        .where(part.tenant_id == records.c.tenant_id, part.record_id == records.c.record_id, part.sealed != b"")
        .exists()
    )


def _values(row: TerminationRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in TerminationRow.__dataclass_fields__}
    counts = {category: dict(found) for category, found in row.counts.items()}
    return {**values, "counts": counts, "key_counts": dict(row.key_counts)}
