"""Consents of guardians, one for each minor: the newest word on it (P2.6-minor, A12)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import guardian_consents

VERIFIED, WITHDRAWN = "VERIFIED", "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class GuardianRow:
    """One guardian's consent as stored; who the guardian is lies sealed under the minor's key of `key_version`."""

    subject_id: str
    evidence_sha256: bytes
    method: str
    verified_by: str
    verify_time: datetime
    withdraw_time: datetime | None
    majority_time: datetime
    key_version: int
    sealed: bytes


_C = guardian_consents.c
_COLUMNS = tuple(guardian_consents.c[name] for name in GuardianRow.__dataclass_fields__)


async def put_guardian(connection: AsyncConnection, tenant: str, row: GuardianRow) -> None:
    """Store a guardian's consent, replacing the minor's earlier one; the caller holds the subject's lock."""
    await delete_guardian(connection, tenant, row.subject_id)
    values = {name: getattr(row, name) for name in GuardianRow.__dataclass_fields__}
    await connection.execute(insert(guardian_consents).values(tenant_id=tenant, **values))


async def get_guardian(connection: AsyncConnection, tenant: str, subject: str) -> GuardianRow | None:
    """The consent of a minor's guardian, withdrawn or not, or None."""
    row = (await connection.execute(select(*_COLUMNS).where(_C.tenant_id == tenant, _C.subject_id == subject))).first()
    return GuardianRow(*row) if row else None


async def withdraw_guardian(connection: AsyncConnection, tenant: str, subject: str, now: datetime) -> bool:
    """Withdraw a guardian's consent. Whether one was in force."""
    result = await connection.execute(
        update(guardian_consents)
        .where(_C.tenant_id == tenant, _C.subject_id == subject, _C.withdraw_time.is_(None))
        .values(withdraw_time=now)
    )
    return result.rowcount > 0


async def guardian_standing(connection: AsyncConnection, tenant: str, subjects: Collection[str], now: datetime) -> dict[str, str]:
    """Of each subject that a guardian consented for, `VERIFIED` or `WITHDRAWN`, until they are of age.

    Whoever is not named is no minor that is known of.
    """
    if not subjects:
        return {}
    query = select(_C.subject_id, _C.withdraw_time).where(
        _C.tenant_id == tenant, _C.subject_id.in_(sorted(set(subjects))), _C.majority_time > now
    )
    return {row.subject_id: VERIFIED if row.withdraw_time is None else WITHDRAWN for row in await connection.execute(query)}


async def unseal_guardian(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Delete who the guardian is, and leave the evidence that there was a consent."""
    await connection.execute(
        update(guardian_consents).where(_C.tenant_id == tenant, _C.subject_id == subject).values(key_version=0, sealed=b"")
    )


async def delete_guardian(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Delete what is kept of a minor's guardian."""
    await connection.execute(delete(guardian_consents).where(_C.tenant_id == tenant, _C.subject_id == subject))
