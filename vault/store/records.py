"""Records, their sealed parts and their index entries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, bindparam, delete, exists, func, insert, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.subjects import RESTRICTED, Token, subject_key_rows
from vault.store.tables import (
    identities,
    index_entries,
    marketing_preferences,
    objections,
    record_parts,
    records,
    replaced_values,
    restrictions,
    subject_keys,
    subject_requests,
    subjects,
)


@dataclass(frozen=True, slots=True)
class RecordRow:
    """One record as stored, without its parts."""

    record_id: str
    subject_id: str
    category: str
    level: str
    list_id: str
    import_id: str
    create_time: datetime
    occur_time: datetime | None
    valid_from: datetime | None
    valid_to: datetime | None
    expire_time: datetime | None
    metadata: Mapping[str, str]
    version: int
    due_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class PartRow:
    """One party's sealed fields."""

    record_id: str
    role: str
    subject_id: str
    key_version: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One index entry."""

    kind: str
    token: bytes
    record_id: str
    field: str
    role: str
    subject_id: str
    index_version: int


@dataclass(frozen=True, slots=True)
class ReadableRow:
    """One part with everything that opening it depends on, read in one query (I4)."""

    record_id: str
    owner: str
    category: str
    level: str
    list_id: str
    occur_time: datetime | None
    expire_time: datetime | None
    metadata: Mapping[str, str]
    role: str
    subject_id: str
    key_version: int
    sealed: bytes
    subject_state: str
    wrapped: bytes | None
    tenant_key_version: int | None
    keyring: str | None

    @property
    def is_restricted(self) -> bool:
        """Whether the person, or what an erasure kept of them, is restricted (§6.4)."""
        return self.subject_state == "RESTRICTED" or self.keyring == RESTRICTED

    @property
    def is_erased(self) -> bool:
        """Whether the party is gone from the record; what was kept under an exception is not. A party that is a token has no fields (A23)."""
        return self.key_version == 0 or (self.subject_state in {"ERASING", "ERASED"} and self.keyring != RESTRICTED)


# The dataclasses name their columns, in order.
_RECORD = tuple(records.c[name] for name in RecordRow.__dataclass_fields__)
_PART = tuple(record_parts.c[name] for name in PartRow.__dataclass_fields__)
_INDEX = tuple(index_entries.c[name] for name in IndexRow.__dataclass_fields__)
# What people chose, objected to and asked for.
_REGISTERS = (marketing_preferences, objections, restrictions, subject_requests)
_IDS: BindParameter[Sequence[str]] = bindparam("ids", expanding=True)

_READABLE_COLUMNS: tuple[Column[Any], ...] = (
    records.c.record_id,
    records.c.subject_id,
    records.c.category,
    records.c.level,
    records.c.list_id,
    records.c.occur_time,
    records.c.expire_time,
    records.c.metadata,
    record_parts.c.role,
    record_parts.c.subject_id,
    record_parts.c.key_version,
    record_parts.c.sealed,
    subjects.c.state,
    subject_keys.c.wrapped,
    subject_keys.c.tenant_key_version,
    subject_keys.c.keyring,
)

# The one query of a reveal. Key and subject state come with the ciphertext: a key that was destroyed a moment ago is simply not
# there (I4).
_READABLE = (
    select(*_READABLE_COLUMNS)
    .join(record_parts, (record_parts.c.tenant_id == records.c.tenant_id) & (record_parts.c.record_id == records.c.record_id))
    .join(subjects, (subjects.c.tenant_id == record_parts.c.tenant_id) & (subjects.c.subject_id == record_parts.c.subject_id))
    .outerjoin(
        subject_keys,
        (subject_keys.c.tenant_id == record_parts.c.tenant_id)
        & (subject_keys.c.subject_id == record_parts.c.subject_id)
        & (subject_keys.c.version == record_parts.c.key_version),
    )
    .where(records.c.tenant_id == bindparam("tenant"), records.c.record_id.in_(_IDS))
)


# A person's key is rotated once in a while, not twice within two reads.
_READS = 2

# Where the keys have a database of their own: the same without them.
_READABLE_WITHOUT_KEYS = (
    select(*_READABLE_COLUMNS[:-3])
    .join(record_parts, (record_parts.c.tenant_id == records.c.tenant_id) & (record_parts.c.record_id == records.c.record_id))
    .join(subjects, (subjects.c.tenant_id == record_parts.c.tenant_id) & (subjects.c.subject_id == record_parts.c.subject_id))
    .where(records.c.tenant_id == bindparam("tenant"), records.c.record_id.in_(_IDS))
)


async def readable_parts(
    connection: AsyncConnection, tenant: str, ids: Sequence[str], *, keys_on: AsyncConnection | None = None
) -> list[ReadableRow]:
    """Every part of the records, with its key.

    Keys on another connection are read after the parts: a key destroyed in between is not there any more (I4). A key that is missing although its
    person is not erased was replaced in between, by a rotation that sealed the part anew: both are read again.

    The list is padded to a power of two by repeating its last id: the driver then prepares a dozen statements, not a thousand.
    """
    if not ids:
        return []
    padded = list(ids) + [ids[-1]] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
    if keys_on is None:
        return [ReadableRow(*row) for row in await connection.execute(_READABLE, {"tenant": tenant, "ids": padded})]
    rows: list[ReadableRow] = []
    for _ in range(_READS):
        rows = await _with_keys(connection, keys_on, tenant, padded)
        if all(row.wrapped is not None or row.is_erased for row in rows):
            break
    return rows


async def _with_keys(connection: AsyncConnection, keys_on: AsyncConnection, tenant: str, ids: Sequence[str]) -> list[ReadableRow]:
    parts = await connection.execute(_READABLE_WITHOUT_KEYS, {"tenant": tenant, "ids": ids})
    rows = [ReadableRow(*(*part, None, None, None)) for part in parts]
    keys = await subject_key_rows(keys_on, tenant, sorted({row.subject_id for row in rows}))
    of_version = {(key.subject_id, key.version): key for key in keys}
    return [
        replace(row, wrapped=key.wrapped, tenant_key_version=key.tenant_key_version, keyring=key.keyring)
        if (key := of_version.get((row.subject_id, row.key_version)))
        else row
        for row in rows
    ]


async def insert_records(
    connection: AsyncConnection, tenant: str, rows: Sequence[RecordRow], parts: Sequence[PartRow], index: Sequence[IndexRow]
) -> None:
    """Store records with their parts and index entries."""
    if rows:
        await connection.execute(insert(records), [_record_values(tenant, row) for row in rows])
    if parts:
        await connection.execute(insert(record_parts), [_part_values(tenant, part) for part in parts])
    await insert_index(connection, tenant, index)


async def insert_index(connection: AsyncConnection, tenant: str, index: Sequence[IndexRow]) -> None:
    """Store index entries."""
    if index:
        await connection.execute(insert(index_entries), [_index_values(tenant, entry) for entry in index])


async def get_record(connection: AsyncConnection, tenant: str, record: str, *, lock: bool = False) -> RecordRow | None:
    """The record's metadata, or None. `lock` holds the row until the transaction ends."""
    query = select(*_RECORD).where(records.c.tenant_id == tenant, records.c.record_id == record)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return RecordRow(*row) if row else None


async def get_records(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> list[RecordRow]:
    """Metadata of the records that exist."""
    if not ids:
        return []
    query = select(*_RECORD).where(records.c.tenant_id == tenant, records.c.record_id.in_(ids))
    return [RecordRow(*row) for row in await connection.execute(query)]


async def get_parts(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> list[PartRow]:
    """Every part of the records."""
    if not ids:
        return []
    query = select(*_PART).where(record_parts.c.tenant_id == tenant, record_parts.c.record_id.in_(ids)).order_by(record_parts.c.role)
    return [PartRow(*row) for row in await connection.execute(query)]


async def list_records(connection: AsyncConnection, tenant: str, subject: str, *, category: str, after: str, limit: int) -> list[RecordRow]:
    """Records in which the subject is a party, by record id from `after` on."""
    # From the parts, because their index begins with the subject; SQLite, which keeps no statistics, would else read every record of the
    # tenant in order. JSON has no equality on PostgreSQL, so DISTINCT runs on ids and the rows are fetched by them.
    ids_query = (
        select(record_parts.c.record_id)
        .where(record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject, record_parts.c.record_id > after)
        .order_by(record_parts.c.record_id)
        .distinct()
        .limit(limit)
    )
    if category:
        ids_query = ids_query.join(
            records, (records.c.tenant_id == record_parts.c.tenant_id) & (records.c.record_id == record_parts.c.record_id)
        ).where(records.c.category == category)
    ids = [row.record_id for row in await connection.execute(ids_query)]
    return sorted(await get_records(connection, tenant, ids), key=lambda row: row.record_id)


async def with_value(
    connection: AsyncConnection, tenant: str, owners: Collection[str], categories: Collection[str], *, field: str, values: Collection[str]
) -> set[tuple[str, str]]:
    """Owner and value of those of some people's records of some categories whose clear field has one of the values."""
    value = records.c.metadata[field].as_string()
    query = select(records.c.subject_id, value).where(
        records.c.tenant_id == tenant,
        records.c.subject_id.in_(sorted(owners)),
        records.c.category.in_(sorted(categories)),
        value.in_(sorted(values)),
    )
    return {(row[0], row[1]) for row in await connection.execute(query.distinct())}


async def list_members(
    connection: AsyncConnection, tenant: str, *, category: str, list_id: str, owners: Sequence[str]
) -> dict[str, list[RecordRow]]:
    """For each owner, their records of this category in this list (or outside lists, for an empty list id), the oldest first."""
    found: dict[str, list[RecordRow]] = {}
    if not owners:
        return found
    query = (
        select(*_RECORD)
        .where(
            records.c.tenant_id == tenant, records.c.category == category, records.c.list_id == list_id, records.c.subject_id.in_(owners)
        )
        .order_by(records.c.create_time, records.c.record_id)
    )
    for row in await connection.execute(query):
        found.setdefault(row.subject_id, []).append(RecordRow(*row))
    return found


async def find_by_token(
    connection: AsyncConnection, tenant: str, *, category: str, tokens: Sequence[Token], after: str, limit: int
) -> list[tuple[IndexRow, RecordRow]]:
    """Index entries of one identifier within one category, by any of its tokens, with their records, by record id from `after` on."""
    kinds, values = sorted({token.kind for token in tokens}), [token.token for token in tokens]
    query = (
        select(
            *_INDEX,
            *_RECORD,
        )
        .join(records, (records.c.tenant_id == index_entries.c.tenant_id) & (records.c.record_id == index_entries.c.record_id))
        .where(
            index_entries.c.tenant_id == tenant,
            # Compared, not listed, when it is one: then the index gives the order too.
            index_entries.c.kind == kinds[0] if len(kinds) == 1 else index_entries.c.kind.in_(kinds),
            index_entries.c.token == values[0] if len(values) == 1 else index_entries.c.token.in_(values),
            index_entries.c.record_id > after,
            records.c.category == category,
        )
        .order_by(index_entries.c.record_id, index_entries.c.field)
        .limit(limit)
    )
    return [(IndexRow(*row[:7]), RecordRow(*row[7:])) for row in await connection.execute(query)]


async def entries_of_tokens(
    connection: AsyncConnection, tenant: str, tokens: Sequence[Token], *, limit: int
) -> list[tuple[IndexRow, RecordRow]]:
    """Index entries of one identifier, in whatever category, with their records."""
    query = (
        select(*_INDEX, *_RECORD)
        .join(records, (records.c.tenant_id == index_entries.c.tenant_id) & (records.c.record_id == index_entries.c.record_id))
        .where(
            index_entries.c.tenant_id == tenant,
            index_entries.c.kind == tokens[0].kind,
            index_entries.c.token.in_([token.token for token in tokens]),
        )
        .limit(limit)
    )
    width = len(_INDEX)
    return [(IndexRow(*row[:width]), RecordRow(*row[width:])) for row in await connection.execute(query)]


async def records_of_identifiers(connection: AsyncConnection, tenant: str, subject: str, kinds: Collection[str]) -> list[str]:
    """For each identifier of a subject, a record in which it stands."""
    # Asked by the subject alone and grouped here: SQLite would go by the kinds, and read every entry of everybody's.
    query = select(index_entries.c.kind, index_entries.c.token, index_entries.c.record_id).where(
        index_entries.c.tenant_id == tenant, index_entries.c.subject_id == subject
    )
    first: dict[tuple[str, bytes], str] = {}
    for kind, token, record in await connection.execute(query):
        if kind in kinds:
            first[kind, token] = min(record, first.get((kind, token), record))
    return sorted(set(first.values()))


async def replace_part(connection: AsyncConnection, tenant: str, part: PartRow) -> None:
    """Store new sealed fields of one part."""
    await connection.execute(
        update(record_parts)
        .where(record_parts.c.tenant_id == tenant, record_parts.c.record_id == part.record_id, record_parts.c.role == part.role)
        .values(sealed=part.sealed, key_version=part.key_version)
    )


async def replace_parts(connection: AsyncConnection, tenant: str, parts: Sequence[PartRow]) -> None:
    """Store new sealed fields of several parts."""
    if not parts:
        return
    statement = (
        update(record_parts)
        .where(
            record_parts.c.tenant_id == tenant,
            record_parts.c.record_id == bindparam("b_record"),
            record_parts.c.role == bindparam("b_role"),
        )
        .values(sealed=bindparam("b_sealed"), key_version=bindparam("b_version"))
    )
    await connection.execute(
        statement,
        [{"b_record": p.record_id, "b_role": p.role, "b_sealed": p.sealed, "b_version": p.key_version} for p in parts],
    )


async def touch_records(connection: AsyncConnection, tenant: str, rows: Sequence[RecordRow]) -> None:
    """Store changed metadata, times, import and version of records."""
    if not rows:
        return
    statement = (
        update(records)
        .where(records.c.tenant_id == tenant, records.c.record_id == bindparam("b_record"))
        .values(
            metadata=bindparam("b_metadata", type_=records.c.metadata.type),
            import_id=bindparam("b_import"),
            occur_time=bindparam("b_occur", type_=records.c.occur_time.type),
            valid_from=bindparam("b_from", type_=records.c.valid_from.type),
            valid_to=bindparam("b_to", type_=records.c.valid_to.type),
            version=bindparam("b_version"),
            due_time=bindparam("b_due", type_=records.c.due_time.type),
        )
    )
    await connection.execute(
        statement,
        [
            {
                "b_record": row.record_id,
                "b_metadata": dict(row.metadata),
                "b_import": row.import_id,
                "b_occur": row.occur_time,
                "b_from": row.valid_from,
                "b_to": row.valid_to,
                "b_version": row.version,
                "b_due": row.due_time,
            }
            for row in rows
        ],
    )


async def delete_index_fields(connection: AsyncConnection, tenant: str, record: str, fields: Sequence[str]) -> None:
    """Remove the index entries of some fields of one record."""
    await connection.execute(
        delete(index_entries).where(
            index_entries.c.tenant_id == tenant, index_entries.c.record_id == record, index_entries.c.field.in_(fields)
        )
    )


async def records_indexed_before(connection: AsyncConnection, tenant: str, index_version: int, *, after: str, limit: int) -> list[str]:
    """Ids of a tenant's records from `after` on, but for those that were indexed under this version or a newer one alone."""
    of_record = (index_entries.c.tenant_id == records.c.tenant_id, index_entries.c.record_id == records.c.record_id)
    indexed = exists().where(*of_record)
    before = exists().where(*of_record, index_entries.c.index_version < index_version)
    query = (
        select(records.c.record_id)
        .where(records.c.tenant_id == tenant, records.c.record_id > after, or_(before, not_(indexed)))
        .order_by(records.c.record_id)
        .limit(limit)
    )
    return [row.record_id for row in await connection.execute(query)]


async def records_of_category(connection: AsyncConnection, tenant: str, category: str) -> list[RecordRow]:
    """Every record of a category that has few."""
    query = select(*_RECORD).where(records.c.tenant_id == tenant, records.c.category == category).order_by(records.c.record_id)
    return [RecordRow(*row) for row in await connection.execute(query)]


async def sample_records(connection: AsyncConnection, tenant: str, *, limit: int) -> list[str]:
    """Some records that have parts; ids are random, so the first ones are as good as any."""
    query = (
        select(record_parts.c.record_id)
        .where(record_parts.c.tenant_id == tenant)
        .order_by(record_parts.c.record_id)
        .distinct()
        .limit(limit)
    )
    return [row.record_id for row in await connection.execute(query)]


async def lock_records(connection: AsyncConnection, tenant: str, ids: Sequence[str]) -> list[str]:
    """Those of the records that still exist, locked until the transaction ends."""
    query = (
        select(records.c.record_id)
        .where(records.c.tenant_id == tenant, records.c.record_id.in_(ids))
        .order_by(records.c.record_id)
        .with_for_update()
    )
    return [row.record_id for row in await connection.execute(query)]


async def count_records(connection: AsyncConnection, tenant: str) -> int:
    """How many records a tenant has."""
    return (await connection.execute(select(func.count()).select_from(records).where(records.c.tenant_id == tenant))).scalar_one()


async def delete_index_roles(connection: AsyncConnection, tenant: str, roles: Sequence[tuple[str, str]]) -> None:
    """Remove every index entry of some parties of some records."""
    if not roles:
        return
    statement = delete(index_entries).where(
        index_entries.c.tenant_id == tenant, index_entries.c.record_id == bindparam("b_record"), index_entries.c.role == bindparam("b_role")
    )
    await connection.execute(statement, [{"b_record": record, "b_role": role} for record, role in roles])


async def count_index_before(connection: AsyncConnection, tenant: str, version: int) -> int:
    """How many index entries were made with an older index key."""
    query = (
        select(func.count()).select_from(index_entries).where(index_entries.c.tenant_id == tenant, index_entries.c.index_version < version)
    )
    return (await connection.execute(query)).scalar_one()


async def parts_sealed_before(
    connection: AsyncConnection, tenant: str, subject: str, version: int, *, but: Collection[int] = (), after: str, limit: int
) -> list[PartRow]:
    """A subject's parts that are sealed under an older key of theirs, but for some versions, by record from `after` on, locked."""
    query = (
        select(*_PART)
        .where(
            record_parts.c.tenant_id == tenant,
            record_parts.c.subject_id == subject,
            record_parts.c.record_id > after,
            record_parts.c.key_version < version,
            record_parts.c.key_version.not_in(sorted(but)),
            record_parts.c.key_version != 0,
        )
        .order_by(record_parts.c.record_id)
        .limit(limit)
        .with_for_update()
    )
    return [PartRow(*row) for row in await connection.execute(query)]


async def count_parts(connection: AsyncConnection, tenant: str, subject: str) -> int:
    """How many parts a subject has."""
    query = select(func.count()).select_from(record_parts).where(record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject)
    return (await connection.execute(query)).scalar_one()


async def delete_record(connection: AsyncConnection, tenant: str, record: str) -> None:
    """Delete a record; parts and index entries go with it."""
    await connection.execute(delete(records).where(records.c.tenant_id == tenant, records.c.record_id == record))


async def parts_in(
    connection: AsyncConnection,
    tenant: str,
    subject: str,
    *,
    categories: Collection[str],
    but: Collection[int],
    after: str,
    limit: int,
    lock: bool = False,
) -> list[tuple[PartRow, RecordRow]]:
    """A subject's parts in some categories that are no tokens and not sealed under some keys, with their records, by record from `after` on."""
    query = (
        select(*_PART, *_RECORD)
        .join(records, (records.c.tenant_id == record_parts.c.tenant_id) & (records.c.record_id == record_parts.c.record_id))
        .where(*_whose(tenant, subject, but), records.c.category.in_(sorted(categories)), record_parts.c.record_id > after)
        .order_by(record_parts.c.record_id)
        .limit(limit)
    )
    rows = await connection.execute(query.with_for_update(of=record_parts) if lock else query)
    width = len(_PART)
    return [(PartRow(*row[:width]), RecordRow(*row[width:])) for row in rows]


async def tokenise_parts(connection: AsyncConnection, tenant: str, parts: Sequence[tuple[str, str]]) -> None:
    """Leave of some parties, by record and role, nothing but their opaque id: without identities and key it is a token that leads nowhere (A23)."""
    if not parts:
        return
    statement = (
        update(record_parts)
        .where(
            record_parts.c.tenant_id == tenant,
            record_parts.c.record_id == bindparam("b_record"),
            record_parts.c.role == bindparam("b_role"),
        )
        .values(sealed=b"", key_version=0)
    )
    await connection.execute(statement, [{"b_record": record, "b_role": role} for record, role in parts])


async def tokenise_subject(
    connection: AsyncConnection, tenant: str, subject: str, *, categories: Collection[str], but: Collection[int]
) -> None:
    """The same for every part of a subject in some categories that is not sealed under some keys."""
    if not categories:
        return
    # Asked of each part: a list of the records of the categories would be that of everybody's.
    within = select(records.c.record_id).where(
        records.c.tenant_id == record_parts.c.tenant_id,
        records.c.record_id == record_parts.c.record_id,
        records.c.category.in_(sorted(categories)),
    )
    await connection.execute(update(record_parts).where(*_whose(tenant, subject, but), within.exists()).values(sealed=b"", key_version=0))


async def delete_subject_parts(connection: AsyncConnection, tenant: str, subject: str, *, but: Collection[int] = ()) -> None:
    """Delete a subject's parts that are no tokens and not sealed under some keys, and every record that has no other part left.

    Whoever owned the record: its owner may have been erased before, when this subject was still in it.
    """
    mine = select(record_parts.c.record_id).where(*_whose(tenant, subject, but))
    # Two parties erased at once would each see the other's part and leave the record to nobody: the second one waits here.
    await connection.execute(
        select(func.count()).select_from(
            select(records.c.record_id)
            .where(records.c.tenant_id == tenant, records.c.record_id.in_(mine))
            .order_by(records.c.record_id)
            .with_for_update()
            .subquery()
        )
    )
    others = select(record_parts.c.record_id).where(
        record_parts.c.tenant_id == records.c.tenant_id,
        record_parts.c.record_id == records.c.record_id,
        (record_parts.c.subject_id != subject) | ~_is_whole(but),
    )
    # Parts and index entries of these go with them.
    await connection.execute(delete(records).where(records.c.tenant_id == tenant, records.c.record_id.in_(mine), ~others.exists()))
    await connection.execute(delete(record_parts).where(*_whose(tenant, subject, but)))
    await connection.execute(delete(index_entries).where(*_of_no_part(tenant, subject, but)))


async def delete_part(connection: AsyncConnection, tenant: str, record: str, role: str) -> None:
    """Delete one party's part with its index entries, and the record if no other part is left."""
    for table in (index_entries, record_parts):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant, table.c.record_id == record, table.c.role == role))
    left = select(record_parts.c.record_id).where(record_parts.c.tenant_id == tenant, record_parts.c.record_id == record)
    await connection.execute(delete(records).where(records.c.tenant_id == tenant, records.c.record_id == record, ~left.exists()))


async def unbind_identities(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Unbind every token of a subject that none of their records is found by any more."""
    found = select(index_entries.c.record_id).where(
        index_entries.c.tenant_id == identities.c.tenant_id,
        index_entries.c.kind == identities.c.kind,
        index_entries.c.token == identities.c.token,
        index_entries.c.subject_id == subject,
    )
    await connection.execute(
        delete(identities).where(identities.c.tenant_id == tenant, identities.c.subject_id == subject, ~found.exists())
    )


async def count_by_category(connection: AsyncConnection, tenant: str, subject: str, key_versions: Collection[int]) -> dict[str, int]:
    """How many of a subject's parts are sealed under some keys, by category; under 0 are the tokens."""
    query = (
        select(records.c.category, func.count())
        .join(record_parts, (record_parts.c.tenant_id == records.c.tenant_id) & (record_parts.c.record_id == records.c.record_id))
        .where(
            record_parts.c.tenant_id == tenant,
            record_parts.c.subject_id == subject,
            record_parts.c.key_version.in_(sorted(key_versions)),
        )
        .group_by(records.c.category)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def count_traces(
    connection: AsyncConnection, tenant: str, subject: str, *, but: Collection[int] = (), keys_on: AsyncConnection | None = None
) -> int:
    """Rows that still belong to a subject and to nothing that stays: what the sweep after an erasure must find to be zero.

    Args:
        connection: an open transaction.
        tenant: id of the tenant.
        subject: the subject.
        but: versions of the keys that seal what stays.
        keys_on: where the subject keys are, if not beside the data.
    """
    keys = select(func.count()).select_from(subject_keys)
    queries = [
        (connection, select(func.count()).select_from(record_parts).where(*_whose(tenant, subject, but))),
        (connection, select(func.count()).select_from(index_entries).where(*_of_no_part(tenant, subject, but))),
        (
            connection,
            select(func.count())
            .select_from(replaced_values)
            .where(replaced_values.c.tenant_id == tenant, replaced_values.c.subject_id == subject),
        ),
        (
            keys_on or connection,
            keys.where(
                subject_keys.c.tenant_id == tenant, subject_keys.c.subject_id == subject, subject_keys.c.version.not_in(sorted(but))
            ),
        ),
    ]
    if not but:
        queries += [
            (connection, select(func.count()).select_from(table).where(table.c.tenant_id == tenant, table.c.subject_id == subject))
            for table in (identities, *_REGISTERS)
        ]
    return sum([(await on.execute(query)).scalar_one() for on, query in queries])


def _whose(tenant: str, subject: str, but: Collection[int]) -> tuple[ColumnElement[bool], ...]:
    """Parts of a subject that are neither tokens nor sealed under some keys."""
    return (record_parts.c.tenant_id == tenant, record_parts.c.subject_id == subject, _is_whole(but))


def _is_whole(but: Collection[int]) -> ColumnElement[bool]:
    return record_parts.c.key_version.not_in([0, *sorted(but)])


def _of_no_part(tenant: str, subject: str, but: Collection[int]) -> tuple[ColumnElement[bool], ...]:
    """Index entries of a subject that belong to none of the parts that stay."""
    stays = select(record_parts.c.record_id).where(
        record_parts.c.tenant_id == index_entries.c.tenant_id,
        record_parts.c.record_id == index_entries.c.record_id,
        record_parts.c.role == index_entries.c.role,
        record_parts.c.key_version.in_(sorted(but)),
    )
    return (index_entries.c.tenant_id == tenant, index_entries.c.subject_id == subject, ~stays.exists())


def _record_values(tenant: str, row: RecordRow) -> dict[str, object]:
    return {
        "tenant_id": tenant,
        "record_id": row.record_id,
        "subject_id": row.subject_id,
        "category": row.category,
        "level": row.level,
        "list_id": row.list_id,
        "import_id": row.import_id,
        "create_time": row.create_time,
        "occur_time": row.occur_time,
        "valid_from": row.valid_from,
        "valid_to": row.valid_to,
        "expire_time": row.expire_time,
        "metadata": dict(row.metadata),
        "version": row.version,
        "due_time": row.due_time,
    }


def _part_values(tenant: str, part: PartRow) -> dict[str, object]:
    return {
        "tenant_id": tenant,
        "record_id": part.record_id,
        "role": part.role,
        "subject_id": part.subject_id,
        "key_version": part.key_version,
        "sealed": part.sealed,
    }


def _index_values(tenant: str, entry: IndexRow) -> dict[str, object]:
    return {
        "tenant_id": tenant,
        "kind": entry.kind,
        "token": entry.token,
        "record_id": entry.record_id,
        "field": entry.field,
        "role": entry.role,
        "subject_id": entry.subject_id,
        "index_version": entry.index_version,
    }
