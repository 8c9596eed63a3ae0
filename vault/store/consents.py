"""Consents of people and of tenants, and their withdrawal (P1.7-no3p, L26). What was withdrawn stays as evidence until the person is erased."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import consents

# Whose consents are the tenant's own, for everybody it is responsible for.
TENANT_ITSELF = ""


@dataclass(frozen=True, slots=True)
class ConsentRow:
    """One consent as stored; in force until it expires or is withdrawn."""

    consent_id: str
    subject_id: str
    scope: str
    text_version: str
    evidence_sha256: bytes
    recorded_by: str
    create_time: datetime
    expire_time: datetime | None
    withdrawn_by: str
    withdraw_time: datetime | None


_C = consents.c
_COLUMNS = tuple(consents.c[name] for name in ConsentRow.__dataclass_fields__)


async def insert_consent(connection: AsyncConnection, tenant: str, row: ConsentRow) -> None:
    """Store a consent."""
    values = {name: getattr(row, name) for name in ConsentRow.__dataclass_fields__}
    await connection.execute(insert(consents).values(tenant_id=tenant, **values))


async def withdraw_consents(connection: AsyncConnection, tenant: str, subject: str, scope: str, *, by: str, now: datetime) -> int:
    """Withdraw every consent of a subject, or of the tenant itself, that is in force. How many there were."""
    result = await connection.execute(
        update(consents)
        .where(_C.tenant_id == tenant, _C.scope == scope, _C.subject_id == subject, _in_force(now))
        .values(withdrawn_by=by, withdraw_time=now)
    )
    return result.rowcount


async def end_consents(connection: AsyncConnection, tenant: str, subject: str, *, by: str, now: datetime) -> None:
    """Withdraw whatever somebody who is erased consented to: it stays as evidence, and nothing rests on it."""
    await connection.execute(
        update(consents).where(_C.tenant_id == tenant, _C.subject_id == subject, _in_force(now)).values(withdrawn_by=by, withdraw_time=now)
    )


async def has_consent(connection: AsyncConnection, tenant: str, scope: str, subjects: Collection[str], now: datetime) -> bool:
    """Whether every subject is covered by a consent in force: its own, or the tenant's. Nobody at all is covered by the tenant's only."""
    wanted = set(subjects)
    query = (
        select(_C.subject_id)
        .where(_C.tenant_id == tenant, _C.scope == scope, _C.subject_id.in_(sorted({*wanted, TENANT_ITSELF})), _in_force(now))
        .distinct()
    )
    found = {row.subject_id for row in await connection.execute(query)}
    return TENANT_ITSELF in found or (bool(wanted) and wanted <= found)


async def attested_by_tenant(connection: AsyncConnection, tenants: Sequence[str], scope: str, now: datetime) -> dict[str, datetime]:
    """When each of some tenants last attested something for its own that is in force."""
    query = select(_C.tenant_id, func.max(_C.create_time)).where(
        _C.tenant_id.in_(tenants), _C.subject_id == TENANT_ITSELF, _C.scope == scope, _in_force(now)
    )
    return {row[0]: row[1] for row in await connection.execute(query.group_by(_C.tenant_id))}


async def consents_of(connection: AsyncConnection, tenant: str, subject: str) -> list[ConsentRow]:
    """Every consent of a subject, oldest first."""
    query = select(*_COLUMNS).where(_C.tenant_id == tenant, _C.subject_id == subject).order_by(_C.create_time, _C.consent_id)
    return [ConsentRow(*row) for row in await connection.execute(query)]


async def delete_consent(connection: AsyncConnection, tenant: str, consent_id: str) -> None:
    """Delete one consent."""
    await connection.execute(delete(consents).where(consents.c.tenant_id == tenant, consents.c.consent_id == consent_id))


async def delete_consents(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Delete a subject's consents; the tenant's own stay."""
    if subject != TENANT_ITSELF:
        await connection.execute(delete(consents).where(_C.tenant_id == tenant, _C.subject_id == subject))


def _in_force(now: datetime) -> ColumnElement[bool]:
    return _C.withdraw_time.is_(None) & or_(_C.expire_time.is_(None), _C.expire_time > now)
