"""Subjects, their wrapped keys and the tokens that identify them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select, text, tuple_, union_all, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import identities, record_parts, records, subject_keys, subjects

DATA, RESTRICTED = "data", "restricted"


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One subject as stored."""

    subject_id: str
    state: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class SubjectKeyRow:
    """One wrapped key of a subject.

    Attributes:
        keyring: purpose of the tenant key that wraps it: `data`, or `restricted` for what an erasure has to keep (§6.4).
    """

    subject_id: str
    version: int
    tenant_key_version: int
    wrapped: bytes
    keyring: str = DATA


_LOCK_KEYS = text("LOCK TABLE subject_keys IN EXCLUSIVE MODE")
_KEY = tuple(subject_keys.c[name] for name in SubjectKeyRow.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Token:
    """An identifying token: what a normalised identifier becomes under the tenant's index key."""

    kind: str
    token: bytes


async def insert_subjects(
    connection: AsyncConnection, tenant: str, keys: Sequence[SubjectKeyRow], now: datetime, *, keys_on: AsyncConnection | None = None
) -> None:
    """Store new subjects, each with its first key; the keys on another connection if they have a database of their own."""
    if not keys:
        return
    await connection.execute(
        insert(subjects),
        [{"tenant_id": tenant, "subject_id": key.subject_id, "state": "ACTIVE", "create_time": now} for key in keys],
    )
    await insert_subject_keys(keys_on or connection, tenant, keys)


async def insert_subject_keys(connection: AsyncConnection, tenant: str, keys: Sequence[SubjectKeyRow]) -> None:
    """Store wrapped keys."""
    await connection.execute(
        insert(subject_keys),
        [
            {
                "tenant_id": tenant,
                "subject_id": key.subject_id,
                "version": key.version,
                "tenant_key_version": key.tenant_key_version,
                "wrapped": key.wrapped,
                "keyring": key.keyring,
            }
            for key in keys
        ],
    )


async def claim_identities(
    connection: AsyncConnection, tenant: str, claims: Sequence[tuple[Token, str]], *, index_version: int = 1
) -> None:
    """Bind tokens, made with one version of the index key, to subjects; a token that is bound already keeps its subject.

    Tokens are written in one order everywhere, so that two writers cannot deadlock on them.
    """
    if not claims:
        return
    rows = [
        {"tenant_id": tenant, "kind": token.kind, "token": token.token, "subject_id": subject, "index_version": index_version}
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


async def lock_subjects(connection: AsyncConnection, tenant: str, ids: Collection[str]) -> dict[str, str]:
    """State of each of the people who are known, their rows locked until the transaction ends, as an erasure locks them."""
    if not ids:
        return {}
    query = (
        select(subjects.c.subject_id, subjects.c.state)
        .where(subjects.c.tenant_id == tenant, subjects.c.subject_id.in_(sorted(ids)))
        .order_by(subjects.c.subject_id)
        .with_for_update()
    )
    return {row.subject_id: row.state for row in await connection.execute(query)}


async def subjects_after(connection: AsyncConnection, tenant: str, after: str, *, limit: int) -> list[SubjectRow]:
    """Subjects of a tenant, by id from `after` on."""
    query = (
        select(subjects.c.subject_id, subjects.c.state, subjects.c.create_time)
        .where(subjects.c.tenant_id == tenant, subjects.c.subject_id > after)
        .order_by(subjects.c.subject_id)
        .limit(limit)
    )
    return [SubjectRow(*row) for row in await connection.execute(query)]


async def known_subjects(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of the ids that are subjects, in whatever state."""
    query = select(subjects.c.subject_id).where(subjects.c.tenant_id == tenant, subjects.c.subject_id.in_(ids))
    return frozenset(row.subject_id for row in await connection.execute(query))


async def erased_subjects(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of the subjects who are erased."""
    query = select(subjects.c.subject_id).where(
        subjects.c.tenant_id == tenant, subjects.c.subject_id.in_(ids), subjects.c.state == "ERASED"
    )
    return frozenset(row.subject_id for row in await connection.execute(query))


async def key_owners_after(connection: AsyncConnection, tenant: str, after: str, *, limit: int) -> list[str]:
    """Ids of those who have a key, from `after` on."""
    query = (
        select(subject_keys.c.subject_id)
        .where(subject_keys.c.tenant_id == tenant, subject_keys.c.subject_id > after)
        .group_by(subject_keys.c.subject_id)
        .order_by(subject_keys.c.subject_id)
        .limit(limit)
    )
    return [row.subject_id for row in await connection.execute(query)]


async def lock_living(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> frozenset[str]:
    """Those of the subjects that are not erased, share-locked: no erasure begins before the transaction ends."""
    if not ids:
        return frozenset()
    query = (
        select(subjects.c.subject_id)
        .where(subjects.c.tenant_id == tenant, subjects.c.subject_id.in_(ids), subjects.c.state.in_(("ACTIVE", "RESTRICTED")))
        .order_by(subjects.c.subject_id)
        .with_for_update(read=True)
    )
    return frozenset(row.subject_id for row in await connection.execute(query))


async def active_subject_keys(
    connection: AsyncConnection, tenant: str, ids: Sequence[str], *, keys_on: AsyncConnection | None = None
) -> dict[str, SubjectKeyRow]:
    """Newest key of each subject that is not erased. Share-locks the subjects, so that no erasure overtakes a write (E11)."""
    if not ids:
        return {}
    usable = sorted(await lock_living(connection, tenant, ids))
    rows = await subject_key_rows(keys_on or connection, tenant, usable)
    return {row.subject_id: row for row in rows if row.keyring == DATA}


async def subject_key_rows(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> list[SubjectKeyRow]:
    """Every key of the subjects, each subject's newest last."""
    if not ids:
        return []
    query = select(*_KEY).where(subject_keys.c.tenant_id == tenant, subject_keys.c.subject_id.in_(ids))
    return [SubjectKeyRow(*row) for row in await connection.execute(query.order_by(subject_keys.c.subject_id, subject_keys.c.version))]


async def subject_keys_wrapped_before(
    connection: AsyncConnection, tenant: str, tenant_key_version: int, *, keyring: str, after: str, limit: int
) -> list[SubjectKeyRow]:
    """Keys that are wrapped under an older tenant key of that purpose, by subject from `after` on, locked.

    A subject's keys stand together, so the last one's may be cut off and come again.
    """
    query = (
        select(*_KEY)
        .where(
            subject_keys.c.tenant_id == tenant,
            subject_keys.c.keyring == keyring,
            subject_keys.c.tenant_key_version < tenant_key_version,
            subject_keys.c.subject_id > after,
        )
        .order_by(subject_keys.c.subject_id, subject_keys.c.version)
        .limit(limit)
        .with_for_update()
    )
    return [SubjectKeyRow(*row) for row in await connection.execute(query)]


async def count_subject_keys(connection: AsyncConnection, tenant: str, *, keyring: str) -> int:
    """How many subject keys a tenant has in a keyring."""
    query = select(func.count()).select_from(subject_keys)
    return (await connection.execute(query.where(subject_keys.c.tenant_id == tenant, subject_keys.c.keyring == keyring))).scalar_one()


async def count_keys_wrapped_before(connection: AsyncConnection, tenant: str, tenant_key_version: int, *, keyring: str) -> int:
    """How many subject keys are wrapped under an older tenant key of that purpose."""
    query = (
        select(func.count())
        .select_from(subject_keys)
        .where(
            subject_keys.c.tenant_id == tenant,
            subject_keys.c.keyring == keyring,
            subject_keys.c.tenant_key_version < tenant_key_version,
        )
    )
    return (await connection.execute(query)).scalar_one()


async def replace_subject_keys(connection: AsyncConnection, tenant: str, keys: Sequence[SubjectKeyRow]) -> None:
    """Store the same keys wrapped anew."""
    statement = (
        update(subject_keys)
        .where(
            subject_keys.c.tenant_id == tenant,
            subject_keys.c.subject_id == bindparam("b_subject"),
            subject_keys.c.version == bindparam("b_version"),
        )
        .values(tenant_key_version=bindparam("b_under"), wrapped=bindparam("b_wrapped"))
    )
    rows = [{"b_subject": k.subject_id, "b_version": k.version, "b_under": k.tenant_key_version, "b_wrapped": k.wrapped} for k in keys]
    if rows:
        await connection.execute(statement, rows)


async def retire_subject_keys(connection: AsyncConnection, tenant: str, subject: str, *, before: int) -> int:
    """Destroy the versions of a subject's key in ordinary use that are older than `before`. How many there were."""
    result = await connection.execute(
        delete(subject_keys).where(
            subject_keys.c.tenant_id == tenant,
            subject_keys.c.subject_id == subject,
            subject_keys.c.keyring == DATA,
            subject_keys.c.version < before,
        )
    )
    return result.rowcount


async def all_subject_keys(connection: AsyncConnection, *, after: tuple[str, str, int], limit: int) -> list[tuple[str, SubjectKeyRow]]:
    """(tenant, key) of every tenant, in the order of the primary key, from `after` on."""
    place = tuple_(subject_keys.c.tenant_id, subject_keys.c.subject_id, subject_keys.c.version)
    query = (
        select(subject_keys.c.tenant_id, *_KEY)
        .where(place > tuple_(*after))
        .order_by(subject_keys.c.tenant_id, subject_keys.c.subject_id, subject_keys.c.version)
        .limit(limit)
    )
    return [(row[0], SubjectKeyRow(*row[1:])) for row in await connection.execute(query)]


async def copy_subject_keys(connection: AsyncConnection, keys: Sequence[tuple[str, SubjectKeyRow]]) -> None:
    """Store keys of several tenants; one that is there already stays as it is."""
    rows = [{"tenant_id": tenant, **asdict(key)} for tenant, key in keys]
    if connection.dialect.name == "sqlite":
        await connection.execute(sqlite_insert(subject_keys).on_conflict_do_nothing(), rows)
    else:
        await connection.execute(postgresql_insert(subject_keys).on_conflict_do_nothing(), rows)


async def are_copied(connection: AsyncConnection, keys: Sequence[tuple[str, SubjectKeyRow]]) -> bool:
    """Whether every one of the keys is here, byte for byte."""
    for tenant in {tenant for tenant, _ in keys}:
        wanted = {key for of, key in keys if of == tenant}
        found = set(await subject_key_rows(connection, tenant, sorted({key.subject_id for key in wanted})))
        if not wanted <= found:
            return False
    return True


async def lock_subject_keys(connection: AsyncConnection) -> None:
    """Let nobody write a subject key until the transaction ends. On SQLite every writing transaction is alone."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_LOCK_KEYS)


async def remove_all_subject_keys(connection: AsyncConnection) -> None:
    """Remove every subject key: they are somewhere else now."""
    await connection.execute(delete(subject_keys))


async def has_subjects(connection: AsyncConnection) -> bool:
    """Whether anybody is known whose key must be somewhere."""
    return (await connection.execute(select(subjects.c.subject_id).where(subjects.c.state == "ACTIVE").limit(1))).first() is not None


async def has_subject_keys(connection: AsyncConnection) -> bool:
    """Whether any subject key is here."""
    return (await connection.execute(select(subject_keys.c.subject_id).limit(1))).first() is not None


async def set_subject_state(connection: AsyncConnection, tenant: str, subject: str, state: str) -> None:
    """Move a subject to another state."""
    await connection.execute(update(subjects).where(subjects.c.tenant_id == tenant, subjects.c.subject_id == subject).values(state=state))


async def destroy_subject_keys(connection: AsyncConnection, tenant: str, subject: str, *, but: Collection[int] = ()) -> int:
    """Delete every version of a subject's key, but for those that seal what stays. How many there were."""
    result = await connection.execute(
        delete(subject_keys).where(
            subject_keys.c.tenant_id == tenant, subject_keys.c.subject_id == subject, subject_keys.c.version.not_in(sorted(but))
        )
    )
    return result.rowcount


async def retire_identities(connection: AsyncConnection, tenant: str, *, before: int) -> None:
    """Unbind tokens made with an index key older than `before`."""
    await connection.execute(delete(identities).where(identities.c.tenant_id == tenant, identities.c.index_version < before))


async def delete_identities(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Unbind every token of a subject, so that the identifier can belong to a new one (P2.10b)."""
    await connection.execute(delete(identities).where(identities.c.tenant_id == tenant, identities.c.subject_id == subject))


async def record_counts(connection: AsyncConnection, tenant: str, subject: str, *, but: Collection[int] = ()) -> dict[str, int]:
    """Number of record parts per category in which the subject is a party, without those that are sealed under some keys."""
    query = (
        select(records.c.category, func.count())
        .join(record_parts, (record_parts.c.tenant_id == records.c.tenant_id) & (record_parts.c.record_id == records.c.record_id))
        .where(
            record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject, record_parts.c.key_version.not_in([0, *sorted(but)])
        )
        .group_by(records.c.category)
        .order_by(records.c.category)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}
