"""What people chose about advertising, and who is not to be advertised to (P2.9b-mkt-out, A5, A10, L18).

Rules:
- Choices are only ever added; the newest of a channel counts. Of two at one moment the no counts.
- A suppression is a keyed digest of an identifier on one channel. It names no subject, so it outlives the person's data.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import marketing_preferences, suppressions

IN, OUT = "IN", "OUT"


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """One choice on one channel as stored."""

    preference_id: str
    subject_id: str
    channel: str
    state: str
    basis: str
    source: str
    text_version: str
    recorded_by: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Suppression:
    """Whom not to advertise to: kind of identifier and channel, and a keyed digest of the identifier."""

    kind: str
    token: bytes


_P = marketing_preferences.c
_S = suppressions.c
_COLUMNS = tuple(marketing_preferences.c[name] for name in PreferenceRow.__dataclass_fields__)


async def add_preferences(connection: AsyncConnection, tenant: str, rows: Sequence[PreferenceRow]) -> None:
    """Store choices."""
    if rows:
        fields = PreferenceRow.__dataclass_fields__
        values = [{"tenant_id": tenant, **{name: getattr(row, name) for name in fields}} for row in rows]
        await connection.execute(insert(marketing_preferences), values)


async def preferences_of(connection: AsyncConnection, tenant: str, subject: str) -> list[PreferenceRow]:
    """Every choice of a subject, oldest first; `OUT` after `IN` where both were made at one moment."""
    query = (
        select(*_COLUMNS)
        .where(_P.tenant_id == tenant, _P.subject_id == subject)
        .order_by(_P.channel, _P.create_time, _P.state, _P.preference_id)
    )
    return [PreferenceRow(*row) for row in await connection.execute(query)]


async def newest_preferences(connection: AsyncConnection, tenant: str, subject: str) -> dict[str, PreferenceRow]:
    """The choice that counts on each channel; no channel that nothing was chosen about."""
    return {row.channel: row for row in await preferences_of(connection, tenant, subject)}


async def chosen_channels(connection: AsyncConnection, tenant: str, subjects: Collection[str]) -> set[tuple[str, str]]:
    """Subject and channel of everything that some subjects chose about."""
    query = select(_P.subject_id, _P.channel).where(_P.tenant_id == tenant, _P.subject_id.in_(sorted(subjects))).distinct()
    return {(row.subject_id, row.channel) for row in await connection.execute(query)}


async def delete_preferences(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Delete a subject's choices; suppressions stay (A5)."""
    await connection.execute(delete(marketing_preferences).where(_P.tenant_id == tenant, _P.subject_id == subject))


async def add_suppressions(connection: AsyncConnection, tenant: str, items: Sequence[Suppression], now: datetime) -> None:
    """Suppress; what is suppressed already stays as it is. Written in one order everywhere, so that two writers cannot deadlock."""
    ordered = sorted(set(items), key=lambda item: (item.kind, item.token))
    rows = [{"tenant_id": tenant, "kind": item.kind, "token": item.token, "create_time": now} for item in ordered]
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        await connection.execute(sqlite_insert(suppressions).on_conflict_do_nothing(), rows)
    else:
        await connection.execute(postgresql_insert(suppressions).on_conflict_do_nothing(), rows)


async def is_suppressed(connection: AsyncConnection, tenant: str, kind: str, tokens: Sequence[bytes]) -> bool:
    """Whether an identifier, by any of its digests, is suppressed."""
    query = select(_S.kind).where(_S.tenant_id == tenant, _S.kind == kind, _S.token.in_(tokens)).limit(1)
    return (await connection.execute(query)).first() is not None


async def suppressed_among(connection: AsyncConnection, tenant: str, items: Collection[Suppression]) -> list[Suppression]:
    """Those of some suppressions that there are."""
    found: list[Suppression] = []
    for kind in sorted({item.kind for item in items}):
        tokens = sorted({item.token for item in items if item.kind == kind})
        query = select(_S.kind, _S.token).where(_S.tenant_id == tenant, _S.kind == kind, _S.token.in_(tokens))
        found += [Suppression(*row) for row in await connection.execute(query)]
    return found


async def remove_suppressions(connection: AsyncConnection, tenant: str, items: Sequence[Suppression]) -> None:
    """Suppress no more."""
    for kind in sorted({item.kind for item in items}):
        tokens = sorted({item.token for item in items if item.kind == kind})
        await connection.execute(delete(suppressions).where(_S.tenant_id == tenant, _S.kind == kind, _S.token.in_(tokens)))
