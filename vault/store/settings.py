"""What a tenant decided about itself: content levels, and edge services at which data may come unencrypted. Replaced whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import content_levels, transport_policies


@dataclass(frozen=True, slots=True)
class LevelRow:
    """What a tenant chose for one content level.

    Attributes:
        channel: empty for every channel.
        retention_days: 0 for the catalogue's.
    """

    level: str
    channel: str
    enabled: bool
    retention_days: int


@dataclass(frozen=True, slots=True)
class TransportRow:
    """An edge service at which a tenant lets data come unencrypted, and who answers for that until when."""

    edge_service: str
    signer: str
    risk_text_version: str
    sign_time: datetime
    expire_time: datetime


_TRANSPORT = tuple(transport_policies.c[name] for name in TransportRow.__dataclass_fields__)


async def level_rows(connection: AsyncConnection, tenant: str) -> tuple[LevelRow, ...]:
    """The content levels at which a tenant differs from the catalogue."""
    return (await levels_by_tenant(connection, [tenant])).get(tenant, ())


async def levels_by_tenant(connection: AsyncConnection, tenants: Sequence[str]) -> dict[str, tuple[LevelRow, ...]]:
    """The same of several tenants; whoever differs in nothing is not there."""
    c = content_levels.c
    query = select(c.tenant_id, c.level, c.channel, c.enabled, c.retention_days).where(c.tenant_id.in_(tenants))
    found: dict[str, tuple[LevelRow, ...]] = {}
    for row in await connection.execute(query.order_by(c.tenant_id, c.level, c.channel)):
        found[row.tenant_id] = (*found.get(row.tenant_id, ()), LevelRow(row.level, row.channel, bool(row.enabled), row.retention_days))
    return found


async def replace_levels(connection: AsyncConnection, tenant: str, rows: Sequence[LevelRow], *, set_by: str, now: datetime) -> None:
    """Store a tenant's content levels in the place of those that it had."""
    await connection.execute(delete(content_levels).where(content_levels.c.tenant_id == tenant))
    if rows:
        await connection.execute(
            insert(content_levels),
            [
                {
                    "tenant_id": tenant,
                    "level": row.level,
                    "channel": row.channel,
                    "enabled": int(row.enabled),
                    "retention_days": row.retention_days,
                    "set_by": set_by,
                    "set_time": now,
                }
                for row in rows
            ],
        )


async def transport_by_tenant(connection: AsyncConnection, tenants: Sequence[str]) -> dict[str, tuple[TransportRow, ...]]:
    """Edge services that may be unencrypted, those whose time is over among them, of those tenants that have some."""
    c = transport_policies.c
    query = select(c.tenant_id, *_TRANSPORT).where(c.tenant_id.in_(tenants)).order_by(c.tenant_id, c.edge_service)
    found: dict[str, tuple[TransportRow, ...]] = {}
    for tenant, *row in await connection.execute(query):
        found[tenant] = (*found.get(tenant, ()), TransportRow(*row))
    return found


async def plaintext_services(connection: AsyncConnection, tenant: str, now: datetime) -> frozenset[str]:
    """The edge services that may be unencrypted now."""
    c = transport_policies.c
    query = select(c.edge_service).where(c.tenant_id == tenant, c.sign_time <= now, c.expire_time > now)
    return frozenset(row.edge_service for row in await connection.execute(query))


async def replace_transport(connection: AsyncConnection, tenant: str, rows: Sequence[TransportRow], *, set_by: str) -> None:
    """Store a tenant's transport policies in the place of those that it had."""
    await connection.execute(delete(transport_policies).where(transport_policies.c.tenant_id == tenant))
    if rows:
        await connection.execute(
            insert(transport_policies),
            [
                {"tenant_id": tenant, "set_by": set_by, **{name: getattr(row, name) for name in TransportRow.__dataclass_fields__}}
                for row in rows
            ],
        )
