"""Legal holds: what is kept although it is due or asked to be erased (§5.4, §6.3).

Rules:
- Nothing is ever deleted. A hold is live until it is released or its time is over, whichever comes first.
- A hold is a set of scopes: person, category, record, each empty for every one. It covers a record by its owner or by any of its parties.
- A record that says when it happened is covered if that was in the hold's period; one that says nothing of the kind is covered whenever (A29).
- Whoever destroys or changes records delays holds before it looks, and whoever places a hold waits for them: which commits first, wins (E4, E5).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, literal, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import UtcTime, hold_scopes, holds, index_entries, record_parts, records

# Parameters of one statement are bounded on both databases.
_AT_ONCE = 1000
# Any 32-bit number that no one else in this database takes for an advisory lock of two numbers.
_HOLDS_LOCK = int.from_bytes(b"hold", "big", signed=True)
_DELAY_HOLDS = text("SELECT pg_advisory_xact_lock_shared(:lock, hashtext(:tenant))")
_PLACE_ALONE = text("SELECT pg_advisory_xact_lock(:lock, hashtext(:tenant))")
_FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class HoldRow:
    """One hold as stored, without its scopes."""

    hold_id: str
    kind: str
    reference: str
    start_time: datetime | None
    end_time: datetime | None
    expire_time: datetime | None
    review_time: datetime | None
    placed_by: str
    create_time: datetime
    release_time: datetime | None = None
    released_by: str = ""


@dataclass(frozen=True, slots=True, order=True)
class ScopeRow:
    """What a hold covers; empty for every one."""

    subject_id: str
    category: str
    record_id: str


_H, _S = holds.c, hold_scopes.c
_HOLD = tuple(holds.c[name] for name in HoldRow.__dataclass_fields__)
_SCOPE = tuple(hold_scopes.c[name] for name in ScopeRow.__dataclass_fields__)


async def delay_holds(connection: AsyncConnection, tenant: str) -> None:
    """Until the transaction ends, no hold is placed on the tenant's records; for whoever is about to destroy or change some.

    Taken before any row is locked. Advisory, because a hold may name nobody whose row could be locked. On SQLite every writing transaction is alone.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(_DELAY_HOLDS, {"lock": _HOLDS_LOCK, "tenant": tenant})


async def place_alone(connection: AsyncConnection, tenant: str) -> None:
    """Wait until nobody is destroying or changing the tenant's records, and let nobody until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_PLACE_ALONE, {"lock": _HOLDS_LOCK, "tenant": tenant})


async def insert_hold(connection: AsyncConnection, tenant: str, row: HoldRow, scopes: Sequence[ScopeRow]) -> None:
    """Store a hold with at least one scope."""
    await connection.execute(insert(holds).values(tenant_id=tenant, **{name: getattr(row, name) for name in HoldRow.__dataclass_fields__}))
    covered = [{name: getattr(scope, name) for name in ScopeRow.__dataclass_fields__} for scope in scopes]
    await connection.execute(insert(hold_scopes), [{"tenant_id": tenant, "hold_id": row.hold_id, **values} for values in covered])


async def get_hold(connection: AsyncConnection, tenant: str, hold_id: str, *, lock: bool = False) -> HoldRow | None:
    """The hold, or None. `lock` holds the row until the transaction ends."""
    query = select(*_HOLD).where(_H.tenant_id == tenant, _H.hold_id == hold_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return HoldRow(*row) if row else None


async def scopes_of(connection: AsyncConnection, tenant: str, hold_id: str) -> list[ScopeRow]:
    """What a hold covers, in order."""
    query = select(*_SCOPE).where(_S.tenant_id == tenant, _S.hold_id == hold_id)
    return sorted(ScopeRow(*row) for row in await connection.execute(query))


async def list_holds(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[HoldRow]:
    """Holds by id, from `after` on, those that ended among them."""
    query = select(*_HOLD).where(_H.tenant_id == tenant, _H.hold_id > after).order_by(_H.hold_id).limit(limit)
    return [HoldRow(*row) for row in await connection.execute(query)]


async def release_hold(connection: AsyncConnection, tenant: str, hold_id: str, *, by: str, now: datetime) -> None:
    """Note that a hold ended; one that ended before keeps its time."""
    await connection.execute(
        update(holds)
        .where(_H.tenant_id == tenant, _H.hold_id == hold_id, _H.release_time.is_(None))
        .values(release_time=now, released_by=by)
    )


async def unreleased_holds(connection: AsyncConnection, tenant: str, reference: str) -> list[str]:
    """Ids of the holds that rest on a reference and were not released."""
    query = select(_H.hold_id).where(_H.tenant_id == tenant, _H.release_time.is_(None), _H.reference == reference)
    return sorted((await connection.execute(query)).scalars())


async def expired_holds(connection: AsyncConnection, now: datetime) -> list[tuple[str, str]]:
    """(tenant, hold) of every hold whose time is over and that was not released."""
    query = select(_H.tenant_id, _H.hold_id).where(_H.release_time.is_(None), _H.expire_time <= now).order_by(_H.tenant_id, _H.hold_id)
    return [(row.tenant_id, row.hold_id) for row in await connection.execute(query)]


async def count_overdue_reviews(connection: AsyncConnection, now: datetime) -> int:
    """How many live holds of all tenants should have been looked at again."""
    query = select(func.count()).select_from(holds).where(_is_live(now), _H.review_time <= now)
    return (await connection.execute(query)).scalar_one()


async def has_live_holds(connection: AsyncConnection, tenant: str, now: datetime) -> bool:
    """Whether the tenant has any."""
    return (await connection.execute(select(_H.hold_id).where(_H.tenant_id == tenant, _is_live(now)).limit(1))).first() is not None


async def live_holds(connection: AsyncConnection, tenant: str, now: datetime, *, subjects: Collection[str] | None = None) -> list[HoldRow]:
    """Holds that count now, by id; of some people only if they are named, and then those on everybody too."""
    query = select(*_HOLD).where(_H.tenant_id == tenant, _is_live(now)).order_by(_H.hold_id)
    if subjects is not None:
        covered = select(_S.hold_id).where(_S.tenant_id == tenant, _S.hold_id == _H.hold_id, _S.subject_id.in_(["", *sorted(subjects)]))
        query = query.where(covered.exists())
    return [HoldRow(*row) for row in await connection.execute(query)]


async def held_records(
    connection: AsyncConnection, tenant: str, record_ids: Sequence[str], now: datetime, *, transient: Collection[str] = ()
) -> dict[str, HoldRow]:
    """Those of the records that are held, each with the hold that ends last.

    Args:
        connection: a transaction in which holds are delayed, if anything is destroyed for want of one.
        tenant: id of the tenant.
        record_ids: any number of records.
        now: at which moment.
        transient: categories that nothing is held of, because they are never kept (P3.4-rec).
    """
    found: dict[str, HoldRow] = {}
    for start in range(0, len(record_ids), _AT_ONCE):
        ids = record_ids[start : start + _AT_ONCE]
        asked = (records.c.tenant_id == tenant, records.c.record_id.in_(ids), _is_kept(transient))
        # Without statistics SQLite looks through the tenant's scopes for each record here; few are asked about, where `is_held` is for many.
        for whose in (_of_owner(), and_(_part_of(tenant), _S.subject_id == record_parts.c.subject_id)):
            query = select(records.c.record_id, *_HOLD).where(*asked, _covers(tenant, now), whose)
            for record_id, *values in await connection.execute(query):
                hold = HoldRow(*values)
                found[record_id] = max(hold, found.get(record_id, hold), key=_end)
    return found


async def holds_parts(
    connection: AsyncConnection, tenant: str, subject: str, now: datetime, *, but: Collection[int], transient: Collection[str] = ()
) -> bool:
    """Whether a hold covers a record of which a person's part is no token and not sealed under some keys."""
    party = record_parts.c
    query = (
        select(party.record_id)
        .join(records, (records.c.tenant_id == party.tenant_id) & (records.c.record_id == party.record_id))
        .where(
            party.tenant_id == tenant,
            party.subject_id == subject,
            party.key_version.not_in([0, *sorted(but)]),
            is_held(tenant, now, transient=transient),
        )
    )
    return (await connection.execute(query.limit(1))).first() is not None


def is_held(tenant: str, now: datetime, *, transient: Collection[str] = ()) -> ColumnElement[bool]:
    """Whether a row of `records` is held: a condition for a statement that reads that table.

    It goes from the record to the people in it, and on to their scopes; what is held of others costs nothing.
    """
    by_owner = select(_S.hold_id).where(_covers(tenant, now), _of_owner()).correlate(records).exists()
    of_party = select(_S.hold_id).where(_covers(tenant, now), _S.subject_id == record_parts.c.subject_id).correlate(records, record_parts)
    by_party = select(record_parts.c.role).where(_part_of(tenant), of_party.exists()).correlate(records).exists()
    return and_(_is_kept(transient), or_(by_owner, by_party))


def is_person_held(tenant: str, now: datetime, subject: ColumnElement[str], category: str) -> ColumnElement[bool]:
    """Whether something of a person is held that a category, or every category, is part of."""
    scope = select(_S.hold_id).where(
        _S.tenant_id == tenant,
        _H.tenant_id == tenant,
        _H.hold_id == _S.hold_id,
        _is_live(now),
        _S.subject_id == subject,
        _S.category.in_(["", category]),
    )
    return scope.exists()


async def people_of_identifier(
    connection: AsyncConnection,
    tenant: str,
    *,
    kind: str,
    tokens: Sequence[bytes],
    categories: Sequence[str],
    start: datetime,
    end: datetime,
    limit: int,
) -> frozenset[str]:
    """People whose records of these categories carry an identifier in [start, end); a recycled number's other owners are not among them (N12)."""
    entry = index_entries.c
    query = (
        select(entry.subject_id)
        .join(records, (records.c.tenant_id == entry.tenant_id) & (records.c.record_id == entry.record_id))
        .where(
            entry.tenant_id == tenant,
            entry.kind == kind,
            entry.token.in_(tokens),
            records.c.category.in_(categories),
            _happened_in(literal(start, UtcTime()), literal(end, UtcTime())),
        )
        .distinct()
        .limit(limit)
    )
    return frozenset((await connection.execute(query)).scalars())


def _covers(tenant: str, now: datetime) -> ColumnElement[bool]:
    """Whether a scope of a live hold covers a record, but for whose it is."""
    return and_(
        _S.tenant_id == tenant,
        _H.tenant_id == tenant,
        _H.hold_id == _S.hold_id,
        _is_live(now),
        _S.category.in_([literal(""), records.c.category]),
        _S.record_id.in_([literal(""), records.c.record_id]),
        _happened_in(_H.start_time, _H.end_time),
    )


def _of_owner() -> ColumnElement[bool]:
    """Whether a scope is everybody's or the owner's."""
    return _S.subject_id.in_([literal(""), records.c.subject_id])


def _part_of(tenant: str) -> ColumnElement[bool]:
    """Whether a part is the record's. The version, which is never below one, keeps SQLite, which has no statistics, from an index of all parts."""
    party = record_parts.c
    return and_(party.tenant_id == tenant, party.record_id == records.c.record_id, party.key_version > 0)


def _is_live(now: datetime) -> ColumnElement[bool]:
    return and_(_H.release_time.is_(None), or_(_H.expire_time.is_(None), _H.expire_time > now))


def _is_kept(transient: Collection[str]) -> ColumnElement[bool]:
    return records.c.category.not_in(sorted(transient))


def _happened_in(start: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a record happened, or was valid, in [start, end), either of which may be null; true of a record that has no time of its own."""
    c = records.c
    timeless = and_(c.occur_time.is_(None), c.valid_from.is_(None))
    happened = and_(or_(start.is_(None), c.occur_time >= start), or_(end.is_(None), c.occur_time < end), c.occur_time.is_not(None))
    valid = and_(
        c.valid_from.is_not(None),
        or_(end.is_(None), c.valid_from < end),
        or_(start.is_(None), c.valid_to.is_(None), c.valid_to > start),
    )
    return or_(timeless, happened, valid)


def _end(row: HoldRow) -> tuple[datetime, str]:
    return row.expire_time or _FOR_EVER, row.hold_id
