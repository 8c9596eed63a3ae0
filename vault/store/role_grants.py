"""Roles that people were given or taken, whatever their token says, and the reviews of that list (L2). People belong to no tenant.

Rules:
- One row per person and role: the newest word on it. What was said before is in the audit log.
- A revocation counts from its commit on, whatever the clocks of the workers say.
- A grant that follows a revocation does not forget it: when the grant ends by itself, the role is taken again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import access_reviews, role_grants


@dataclass(frozen=True, slots=True)
class RoleGrantRow:
    """The newest word on a person's role. `revoked_by` without `revoke_time`: granted again since."""

    principal: str
    role: str
    granted_by: str
    grant_time: datetime
    expire_time: datetime | None
    revoked_by: str
    revoke_time: datetime | None
    attested_by: str
    attest_time: datetime | None


@dataclass(frozen=True, slots=True)
class AccessReviewRow:
    """One attestation of the whole list."""

    review_id: str
    list_digest: str
    grant_count: int
    reviewed_by: str
    review_time: datetime


_C = role_grants.c
_COLUMNS = tuple(role_grants.c[name] for name in RoleGrantRow.__dataclass_fields__)


async def get_grant(connection: AsyncConnection, principal: str, role: str) -> RoleGrantRow | None:
    """The newest word on a person's role, or None."""
    query = select(*_COLUMNS).where(_C.tenant_id == SYSTEM_LOG, _C.principal == principal, _C.role == role)
    row = (await connection.execute(query)).first()
    return RoleGrantRow(*row) if row else None


async def put_grant(connection: AsyncConnection, row: RoleGrantRow) -> None:
    """Store the newest word on a person's role, replacing the earlier one."""
    values = {name: getattr(row, name) for name in RoleGrantRow.__dataclass_fields__}
    await connection.execute(delete(role_grants).where(_C.tenant_id == SYSTEM_LOG, _C.principal == row.principal, _C.role == row.role))
    await connection.execute(insert(role_grants).values(tenant_id=SYSTEM_LOG, **values))


async def grants_in_force(connection: AsyncConnection, now: datetime, *, principal: str = "") -> list[RoleGrantRow]:
    """Grants in force, of one person or of everybody, by person and role."""
    query = select(*_COLUMNS).where(*_of(principal), _in_force(now))
    # Sorted here: databases order text by their own rules, and a digest is made of this.
    return sorted((RoleGrantRow(*row) for row in await connection.execute(query)), key=lambda row: (row.principal, row.role))


async def list_grants(connection: AsyncConnection, *, principal: str, after: tuple[str, str], limit: int) -> list[RoleGrantRow]:
    """Every grant and revocation, of one person or of everybody, by person and role, from `after` on."""
    query = (
        select(*_COLUMNS)
        .where(*_of(principal), tuple_(_C.principal, _C.role) > tuple_(*after))
        .order_by(_C.principal, _C.role)
        .limit(limit)
    )
    return [RoleGrantRow(*row) for row in await connection.execute(query)]


async def role_changes(connection: AsyncConnection, principal: str, now: datetime) -> tuple[frozenset[str], frozenset[str]]:
    """What is to be added to a person's roles, and what is to be taken from them: roles granted and in force, and roles revoked."""
    query = select(*_COLUMNS).where(*_of(principal))
    rows = [RoleGrantRow(*row) for row in await connection.execute(query)] if principal else []
    granted = {row.role for row in rows if row.revoke_time is None and (row.expire_time is None or row.expire_time > now)}
    revoked = {row.role for row in rows if row.role not in granted and row.revoked_by}
    return frozenset(granted), frozenset(revoked)


async def attest_grants(connection: AsyncConnection, now: datetime, *, attested_by: str) -> None:
    """Mark every grant in force as attested."""
    await connection.execute(update(role_grants).where(*_of(""), _in_force(now)).values(attested_by=attested_by, attest_time=now))


async def insert_review(connection: AsyncConnection, row: AccessReviewRow) -> None:
    """Store a review."""
    values = {name: getattr(row, name) for name in AccessReviewRow.__dataclass_fields__}
    await connection.execute(insert(access_reviews).values(tenant_id=SYSTEM_LOG, **values))


def _of(principal: str) -> Sequence[ColumnElement[bool]]:
    mine = [_C.tenant_id == SYSTEM_LOG]
    return [*mine, _C.principal == principal] if principal else mine


def _in_force(now: datetime) -> ColumnElement[bool]:
    return and_(_C.revoke_time.is_(None), or_(_C.expire_time.is_(None), _C.expire_time > now))
