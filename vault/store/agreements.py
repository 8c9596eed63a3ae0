"""Processing agreements: what may be processed for whom, until when (L7). None is ever changed or deleted; a renewal is another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import agreements


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One agreement as stored; without purposes it covers every purpose."""

    agreement_id: str
    party: str
    purposes: Sequence[str]
    document_sha256: bytes
    sign_time: datetime
    expire_time: datetime
    registered_by: str
    create_time: datetime


_COLUMNS = tuple(agreements.c[name] for name in AgreementRow.__dataclass_fields__)


async def insert_agreement(connection: AsyncConnection, tenant: str, row: AgreementRow) -> None:
    """Store an agreement."""
    values = {name: getattr(row, name) for name in AgreementRow.__dataclass_fields__}
    await connection.execute(insert(agreements).values(tenant_id=tenant, **{**values, "purposes": list(row.purposes)}))


async def list_agreements(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[AgreementRow]:
    """Agreements by id, from `after` on."""
    c = agreements.c
    query = select(*_COLUMNS).where(c.tenant_id == tenant, c.agreement_id > after).order_by(c.agreement_id).limit(limit)
    return [AgreementRow(*row) for row in await connection.execute(query)]


async def latest_end(connection: AsyncConnection, tenant: str, party: str) -> datetime | None:
    """Until when the agreements with a party run, or None if there is none."""
    c = agreements.c
    query = select(func.max(c.expire_time)).where(c.tenant_id == tenant, c.party == party)
    end: datetime | None = (await connection.execute(query)).scalar_one()
    return end


async def agreement_standing(connection: AsyncConnection, tenant: str, party: str, now: datetime) -> str:
    """Where the agreement with a party stands: `IN_FORCE`; `EXPIRED` if there was one; `NONE`, also if it only begins later."""
    c = agreements.c
    signed = select(c.expire_time).where(c.tenant_id == tenant, c.party == party, c.sign_time <= now)
    newest = (await connection.execute(signed.order_by(c.expire_time.desc()).limit(1))).scalar_one_or_none()
    if newest is None:
        return "NONE"
    return "IN_FORCE" if newest > now else "EXPIRED"
