"""Subjects, their wrapped keys and the tokens that identify them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, union_all, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import identities, record_parts, records, subject_keys, subjects


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One subject as stored."""

    subject_id: str
    state: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class SubjectKeyRow:
    """The newest wrapped key of a subject."""

    subject_id: str
    version: int
    tenant_key_version: int
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """An identifying token: what a normalised identifier becomes under the tenant's index key."""

    kind: str
    token: bytes


async def insert_subjects(connection: AsyncConnection, tenant: str, keys: Sequence[SubjectKeyRow], now: datetime) -> None:
    """Store new subjects, each with its first key."""
    if not keys:
        return
    await connection.execute(
        insert(subjects),
        [{"tenant_id": tenant, "subject_id": key.subject_id, "state": "ACTIVE", "create_time": now} for key in keys],
    )
    await connection.execute(
        insert(subject_keys),
        [
            {
                "tenant_id": tenant,
                "subject_id": key.subject_id,
                "version": key.version,
                "tenant_key_version": key.tenant_key_version,
                "wrapped": key.wrapped,
            }
            for key in keys
        ],
    )


async def claim_identities(connection: AsyncConnection, tenant: str, claims: Sequence[tuple[Token, str]]) -> None:
    """Bind tokens to subjects; a token that is bound already keeps its subject.

    Tokens are written in one order everywhere, so that two writers cannot deadlock on them.
    """
    if not claims:
        return
    rows = [
        {"tenant_id": tenant, "kind": token.kind, "token": token.token, "subject_id": subject}
        for token, subject in sorted(claims, key=lambda claim: (claim[0].kind, claim[0].token))
    ]
    if connection.dialect.name == "sqlite":
        await connection.execute(sqlite_insert(identities).on_conflict_do_nothing(), rows)
    else:
        await connection.execute(postgresql_insert(identities).on_conflict_do_nothing(), rows)


async def subjects_of_tokens(connection: AsyncConnection, tenant: str, tokens: Iterable[Token]) -> dict[Token, str]:
    """Subject of each token that is bound.

    Asked kind by kind, in one statement: for pairs and for alternatives SQLite would read every token of the kind or of the tenant, and
    PostgreSQL nests a condition for each pair until its stack is full.
    """
    wanted: dict[str, set[bytes]] = defaultdict(set)
    for token in tokens:
        wanted[token.kind].add(token.token)
    if not wanted:
        return {}
    of_kind = [
        select(identities.c.kind, identities.c.token, identities.c.subject_id).where(
            identities.c.tenant_id == tenant, identities.c.kind == kind, identities.c.token.in_(sorted(values))
        )
        for kind, values in sorted(wanted.items())
    ]
    query = union_all(*of_kind) if len(of_kind) > 1 else of_kind[0]
    return {Token(kind, token): subject for kind, token, subject in await connection.execute(query)}


async def get_subject(connection: AsyncConnection, tenant: str, subject: str, *, lock: bool = False) -> SubjectRow | None:
    """The subject, or None. `lock` holds its row until the transaction ends, against a concurrent erasure."""
    query = select(subjects.c.subject_id, subjects.c.state, subjects.c.create_time).where(
        subjects.c.tenant_id == tenant, subjects.c.subject_id == subject
    )
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return SubjectRow(*row) if row else None


async def active_subject_keys(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> dict[str, SubjectKeyRow]:
    """Newest key of each subject that is not erased. Share-locks the subjects, so that no erasure overtakes a write (E11)."""
    if not ids:
        return {}
    query = (
        select(subject_keys.c.subject_id, subject_keys.c.version, subject_keys.c.tenant_key_version, subject_keys.c.wrapped)
        .join(
            subjects,
            (subjects.c.tenant_id == subject_keys.c.tenant_id) & (subjects.c.subject_id == subject_keys.c.subject_id),
        )
        .where(subject_keys.c.tenant_id == tenant, subject_keys.c.subject_id.in_(ids), subjects.c.state.in_(("ACTIVE", "RESTRICTED")))
        .order_by(subject_keys.c.subject_id, subject_keys.c.version)
        .with_for_update(read=True, of=subjects)
    )
    return {row.subject_id: SubjectKeyRow(*row) for row in await connection.execute(query)}


async def set_subject_state(connection: AsyncConnection, tenant: str, subject: str, state: str) -> None:
    """Move a subject to another state."""
    await connection.execute(update(subjects).where(subjects.c.tenant_id == tenant, subjects.c.subject_id == subject).values(state=state))


async def destroy_subject_keys(connection: AsyncConnection, tenant: str, subject: str) -> int:
    """Delete every version of a subject's key. How many there were."""
    result = await connection.execute(delete(subject_keys).where(subject_keys.c.tenant_id == tenant, subject_keys.c.subject_id == subject))
    return result.rowcount


async def delete_identities(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Unbind every token of a subject, so that the identifier can belong to a new one (P2.10b)."""
    await connection.execute(delete(identities).where(identities.c.tenant_id == tenant, identities.c.subject_id == subject))


async def record_counts(connection: AsyncConnection, tenant: str, subject: str) -> dict[str, int]:
    """Number of record parts per category in which the subject is a party."""
    query = (
        select(records.c.category, func.count())
        .join(record_parts, (record_parts.c.tenant_id == records.c.tenant_id) & (record_parts.c.record_id == records.c.record_id))
        .where(record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject)
        .group_by(records.c.category)
        .order_by(records.c.category)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}
