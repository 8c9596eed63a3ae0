"""Erasures and their certificates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import erasures


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """One erasure as stored."""

    erasure_id: str
    subject_id: str
    state: str
    requester: str
    approver: str
    preview_digest: str
    outcomes: Mapping[str, int]
    request_time: datetime
    finish_time: datetime | None
    certificate: str


_COLUMNS = tuple(erasures.c[name] for name in ErasureRow.__dataclass_fields__)


async def insert_erasure(connection: AsyncConnection, tenant: str, row: ErasureRow) -> None:
    """Store a requested erasure."""
    await connection.execute(insert(erasures).values(tenant_id=tenant, **_values(row)))


async def get_erasure(connection: AsyncConnection, tenant: str, erasure_id: str, *, lock: bool = False) -> ErasureRow | None:
    """The erasure, or None. `lock` holds the row until the transaction ends."""
    query = select(*_COLUMNS).where(erasures.c.tenant_id == tenant, erasures.c.erasure_id == erasure_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return ErasureRow(*row) if row else None


async def erasure_of_subject(connection: AsyncConnection, tenant: str, subject: str) -> ErasureRow | None:
    """The erasure of a subject, or None."""
    query = select(*_COLUMNS).where(erasures.c.tenant_id == tenant, erasures.c.subject_id == subject)
    row = (await connection.execute(query)).first()
    return ErasureRow(*row) if row else None


async def update_erasure(connection: AsyncConnection, tenant: str, row: ErasureRow) -> None:
    """Store a changed erasure."""
    await connection.execute(
        update(erasures).where(erasures.c.tenant_id == tenant, erasures.c.erasure_id == row.erasure_id).values(**_values(row))
    )


async def list_erasures(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[ErasureRow]:
    """Erasures by id, from `after` on."""
    query = (
        select(*_COLUMNS).where(erasures.c.tenant_id == tenant, erasures.c.erasure_id > after).order_by(erasures.c.erasure_id).limit(limit)
    )
    return [ErasureRow(*row) for row in await connection.execute(query)]


async def unfinished_erasures(connection: AsyncConnection) -> list[tuple[str, str]]:
    """(tenant, erasure) of every erasure that was approved and did not finish."""
    query = select(erasures.c.tenant_id, erasures.c.erasure_id).where(erasures.c.state == "RUNNING")
    return [(row.tenant_id, row.erasure_id) for row in await connection.execute(query)]


def _values(row: ErasureRow) -> dict[str, object]:
    values = {name: getattr(row, name) for name in ErasureRow.__dataclass_fields__}
    return {**values, "outcomes": dict(row.outcomes)}
