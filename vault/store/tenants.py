"""Tenants and their wrapped keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import tenant_keys, tenants


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant as stored."""

    tenant_id: str
    display_name: str
    state: str
    key_epoch: int
    reference_pattern: str
    create_time: datetime
    version: int


@dataclass(frozen=True, slots=True)
class TenantKeyRow:
    """One wrapped key of a tenant."""

    purpose: str
    version: int
    wrapped: bytes


_TENANT = tuple(tenants.c[name] for name in TenantRow.__dataclass_fields__)


async def insert_tenant(connection: AsyncConnection, row: TenantRow, keys: Sequence[TenantKeyRow]) -> None:
    """Store a new tenant with its keys."""
    await connection.execute(
        insert(tenants).values(
            tenant_id=row.tenant_id,
            display_name=row.display_name,
            state=row.state,
            key_epoch=row.key_epoch,
            reference_pattern=row.reference_pattern,
            create_time=row.create_time,
            version=row.version,
        )
    )
    await connection.execute(
        insert(tenant_keys),
        [
            {
                "tenant_id": row.tenant_id,
                "purpose": key.purpose,
                "version": key.version,
                "wrapped": key.wrapped,
                "create_time": row.create_time,
            }
            for key in keys
        ],
    )


async def get_tenant(connection: AsyncConnection, tenant: str) -> TenantRow | None:
    """The tenant, or None."""
    row = (await connection.execute(select(*_TENANT).where(tenants.c.tenant_id == tenant))).first()
    return TenantRow(*row) if row else None


async def list_tenants(connection: AsyncConnection, *, after: str, limit: int, only: Sequence[str] | None) -> list[TenantRow]:
    """Tenants by id, from `after` on; `only` restricts to those the caller may see. What belongs to no tenant is none."""
    query = (
        select(*_TENANT).where(tenants.c.tenant_id > after, tenants.c.tenant_id != SYSTEM_LOG).order_by(tenants.c.tenant_id).limit(limit)
    )
    if only is not None:
        query = query.where(tenants.c.tenant_id.in_(only))
    return [TenantRow(*row) for row in await connection.execute(query)]


async def update_tenant(connection: AsyncConnection, tenant: str, *, version: int, display_name: str, reference_pattern: str) -> bool:
    """Change a tenant's settings if its version is still the one that was read. Whether it was."""
    result = await connection.execute(
        update(tenants)
        .where(tenants.c.tenant_id == tenant, tenants.c.version == version)
        .values(display_name=display_name, reference_pattern=reference_pattern, version=version + 1)
    )
    return result.rowcount == 1


async def tenant_key_rows(connection: AsyncConnection, tenant: str) -> list[TenantKeyRow]:
    """Every wrapped key of a tenant."""
    query = select(tenant_keys.c.purpose, tenant_keys.c.version, tenant_keys.c.wrapped).where(tenant_keys.c.tenant_id == tenant)
    return [TenantKeyRow(*row) for row in await connection.execute(query)]
