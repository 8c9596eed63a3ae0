"""Tenants and their wrapped keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select, text, update
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
    root_key: str = ""
    agreement_expire_time: datetime | None = None
    affiliate_agreement_expire_time: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the customer's contract has ended."""
        return self.state != "ACTIVE"


@dataclass(frozen=True, slots=True)
class TenantKeyRow:
    """One wrapped key of a tenant."""

    purpose: str
    version: int
    wrapped: bytes
    check_value: bytes = b""
    root_key: str = ""
    use_count: int = 0


_TENANT = tuple(tenants.c[name] for name in TenantRow.__dataclass_fields__)
_KEY = tuple(tenant_keys.c[name] for name in TenantKeyRow.__dataclass_fields__)
# Any 32-bit number that no one else in this database takes for an advisory lock of two numbers.
_KEYS_LOCK = int.from_bytes(b"keys", "big", signed=True)
_HOLD_KEYS = text("SELECT pg_advisory_xact_lock_shared(:lock, hashtext(:tenant))")
_CHANGE_KEYS = text("SELECT pg_advisory_xact_lock(:lock, hashtext(:tenant))")


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
            root_key=row.root_key,
        )
    )
    await insert_tenant_keys(connection, row.tenant_id, keys, row.create_time)


async def insert_tenant_keys(connection: AsyncConnection, tenant: str, keys: Sequence[TenantKeyRow], now: datetime) -> None:
    """Store new keys of a tenant."""
    await connection.execute(
        insert(tenant_keys),
        [
            {
                "tenant_id": tenant,
                "purpose": key.purpose,
                "version": key.version,
                "wrapped": key.wrapped,
                "check_value": key.check_value,
                "root_key": key.root_key,
                "use_count": key.use_count,
                "create_time": now,
            }
            for key in keys
        ],
    )


async def hold_keys(connection: AsyncConnection, tenant: str) -> None:
    """Until the transaction ends, no new version of the tenant's keys appears and none is retired; held by whoever seals or searches.

    Advisory, because those who wait for it queue: a row lock that is shared by an unbroken stream of writers would never be had alone.
    On SQLite every writing transaction is alone.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(_HOLD_KEYS, {"lock": _KEYS_LOCK, "tenant": tenant})


async def change_keys(connection: AsyncConnection, tenant: str) -> None:
    """Wait until nobody holds the tenant's keys, and let nobody until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_CHANGE_KEYS, {"lock": _KEYS_LOCK, "tenant": tenant})


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
    query = select(*_KEY).where(tenant_keys.c.tenant_id == tenant).order_by(tenant_keys.c.purpose, tenant_keys.c.version)
    return [TenantKeyRow(*row) for row in await connection.execute(query)]


async def bump_epoch(connection: AsyncConnection, tenant: str) -> None:
    """Make every cached key of the tenant useless, on every replica, from its next read on (I4)."""
    await connection.execute(update(tenants).where(tenants.c.tenant_id == tenant).values(key_epoch=tenants.c.key_epoch + 1))


async def set_state(connection: AsyncConnection, tenant: str, state: str) -> None:
    """Move a tenant to another state; every replica reads it with its next call."""
    await connection.execute(update(tenants).where(tenants.c.tenant_id == tenant).values(state=state, version=tenants.c.version + 1))


async def set_root_key(connection: AsyncConnection, tenant: str, root_key: str) -> None:
    """Name another root key for a tenant."""
    await connection.execute(update(tenants).where(tenants.c.tenant_id == tenant).values(root_key=root_key))


async def replace_tenant_keys(connection: AsyncConnection, tenant: str, keys: Sequence[TenantKeyRow]) -> None:
    """Store the same keys wrapped anew."""
    statement = (
        update(tenant_keys)
        .where(
            tenant_keys.c.tenant_id == tenant,
            tenant_keys.c.purpose == bindparam("b_purpose"),
            tenant_keys.c.version == bindparam("b_version"),
        )
        .values(wrapped=bindparam("b_wrapped"), check_value=bindparam("b_check"), root_key=bindparam("b_root"))
    )
    rows = [
        {"b_purpose": k.purpose, "b_version": k.version, "b_wrapped": k.wrapped, "b_check": k.check_value, "b_root": k.root_key}
        for k in keys
    ]
    if rows:
        await connection.execute(statement, rows)


async def retire_tenant_keys(connection: AsyncConnection, tenant: str, purpose: str, *, before: int) -> int:
    """Destroy the versions of a key older than `before`. How many there were."""
    result = await connection.execute(
        delete(tenant_keys).where(tenant_keys.c.tenant_id == tenant, tenant_keys.c.purpose == purpose, tenant_keys.c.version < before)
    )
    return result.rowcount


async def add_uses(connection: AsyncConnection, uses: Mapping[tuple[str, str, int], int]) -> None:
    """Add encryptions to the counts of keys, by (tenant, purpose, version)."""
    for (tenant, purpose, version), count in sorted(uses.items()):
        await connection.execute(
            update(tenant_keys)
            .where(tenant_keys.c.tenant_id == tenant, tenant_keys.c.purpose == purpose, tenant_keys.c.version == version)
            .values(use_count=tenant_keys.c.use_count + count)
        )


async def worn_keys(connection: AsyncConnection, *, limit: int) -> int:
    """How many keys have been used at least as often as `limit`."""
    return (await connection.execute(select(func.count()).select_from(tenant_keys).where(tenant_keys.c.use_count >= limit))).scalar_one()


async def set_agreement_end(connection: AsyncConnection, tenant: str, party: str, end: datetime) -> None:
    """Note until when the newest agreement with a party, `tenant` or `affiliate`, runs."""
    column = tenants.c.affiliate_agreement_expire_time if party == "affiliate" else tenants.c.agreement_expire_time
    await connection.execute(update(tenants).where(tenants.c.tenant_id == tenant).values({column: end}))


async def tenants_of_root(connection: AsyncConnection, root_key: str, *, after: str, limit: int) -> list[str]:
    """Tenants whose keys a root key wraps, the system log among them, by id from `after` on."""
    query = (
        select(tenants.c.tenant_id)
        .where(tenants.c.root_key == root_key, tenants.c.tenant_id > after)
        .order_by(tenants.c.tenant_id)
        .limit(limit)
    )
    return [row.tenant_id for row in await connection.execute(query)]


async def count_tenants(connection: AsyncConnection, *, root_key: str) -> int:
    """How many tenants' keys a root key wraps."""
    return (await connection.execute(select(func.count()).select_from(tenants).where(tenants.c.root_key == root_key))).scalar_one()


async def tenants_without(connection: AsyncConnection, purpose: str) -> list[TenantRow]:
    """Tenants that have no key of a purpose: it came with a later version of the vault."""
    has = select(tenant_keys.c.tenant_id).where(tenant_keys.c.tenant_id == tenants.c.tenant_id, tenant_keys.c.purpose == purpose)
    return [TenantRow(*row) for row in await connection.execute(select(*_TENANT).where(~has.exists()).order_by(tenants.c.tenant_id))]


async def tenant_ids(connection: AsyncConnection, *, after: str = "", limit: int = 1000) -> list[str]:
    """Ids of tenants, the system log's among them, by id from `after` on."""
    query = select(tenants.c.tenant_id).where(tenants.c.tenant_id > after).order_by(tenants.c.tenant_id).limit(limit)
    return [row.tenant_id for row in await connection.execute(query)]
