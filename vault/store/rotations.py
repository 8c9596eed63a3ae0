"""Key rotations under way and done, the lease that one worker holds, and the keys that signed."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import key_rotations, leases, signing_keys


@dataclass(frozen=True, slots=True)
class RotationRow:
    """One rotation as stored."""

    tenant_id: str
    rotation_id: str
    kind: str
    subject_id: str
    state: str
    root_key: str
    version: int
    position: str
    done_count: int
    total_count: int
    failed_count: int
    requester: str
    create_time: datetime
    finish_time: datetime | None


@dataclass(frozen=True, slots=True)
class SigningKeyRow:
    """One key that signs or signed, and the note by which the one before it introduced it."""

    sequence: int
    public_key: bytes
    note: str
    create_time: datetime


_ROTATION = tuple(key_rotations.c[name] for name in RotationRow.__dataclass_fields__)
_SIGNING = tuple(signing_keys.c[name] for name in SigningKeyRow.__dataclass_fields__)


async def insert_rotation(connection: AsyncConnection, row: RotationRow) -> None:
    """Store a new rotation."""
    await connection.execute(insert(key_rotations).values({name: getattr(row, name) for name in RotationRow.__dataclass_fields__}))


async def get_rotation(connection: AsyncConnection, tenant: str, rotation: str, *, lock: bool = False) -> RotationRow | None:
    """The rotation, or None. `lock` holds its row, so that two workers do not do one batch twice."""
    query = select(*_ROTATION).where(key_rotations.c.tenant_id == tenant, key_rotations.c.rotation_id == rotation)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return RotationRow(*row) if row else None


async def running_rotation(connection: AsyncConnection, tenant: str, kind: str, *, subject: str = "", root_key: str = "") -> str | None:
    """Id of the rotation of the same key that is under way, if there is one."""
    query = select(key_rotations.c.rotation_id).where(
        key_rotations.c.tenant_id == tenant,
        key_rotations.c.state == "RUNNING",
        key_rotations.c.kind == kind,
        key_rotations.c.subject_id == subject,
        key_rotations.c.root_key == root_key,
    )
    return (await connection.execute(query)).scalar_one_or_none()


async def running_rotations(connection: AsyncConnection, tenant: str) -> list[RotationRow]:
    """Rotations of a tenant that are under way, by age."""
    query = select(*_ROTATION).where(key_rotations.c.tenant_id == tenant, key_rotations.c.state == "RUNNING")
    return [RotationRow(*row) for row in await connection.execute(query.order_by(key_rotations.c.create_time, key_rotations.c.rotation_id))]


async def tenants_with_rotations(connection: AsyncConnection) -> list[str]:
    """Tenants of which a rotation is under way."""
    query = select(key_rotations.c.tenant_id).where(key_rotations.c.state == "RUNNING").distinct().order_by(key_rotations.c.tenant_id)
    return [row.tenant_id for row in await connection.execute(query)]


async def count_incomplete(connection: AsyncConnection) -> int:
    """How many keys, by the newest rotation of each, could not be rotated whole."""
    c = key_rotations.c
    newer = key_rotations.alias()
    later = select(newer.c.rotation_id).where(
        newer.c.tenant_id == c.tenant_id,
        newer.c.kind == c.kind,
        newer.c.subject_id == c.subject_id,
        newer.c.root_key == c.root_key,
        newer.c.state == "COMPLETE",
        newer.c.create_time > c.create_time,
    )
    query = select(func.count()).select_from(key_rotations).where(c.state == "INCOMPLETE", ~later.exists())
    return (await connection.execute(query)).scalar_one()


async def list_rotations(connection: AsyncConnection, tenant: str, *, after: str, limit: int) -> list[RotationRow]:
    """Rotations of a tenant, by id from `after` on."""
    query = (
        select(*_ROTATION)
        .where(key_rotations.c.tenant_id == tenant, key_rotations.c.rotation_id > after)
        .order_by(key_rotations.c.rotation_id)
        .limit(limit)
    )
    return [RotationRow(*row) for row in await connection.execute(query)]


async def update_rotation(connection: AsyncConnection, row: RotationRow) -> None:
    """Store how far a rotation is."""
    await connection.execute(
        update(key_rotations)
        .where(key_rotations.c.tenant_id == row.tenant_id, key_rotations.c.rotation_id == row.rotation_id)
        .values(
            state=row.state,
            position=row.position,
            done_count=row.done_count,
            total_count=row.total_count,
            failed_count=row.failed_count,
            finish_time=row.finish_time,
        )
    )


async def take_lease(connection: AsyncConnection, name: str, *, holder: str, now: datetime, lasting: timedelta) -> bool:
    """Take or renew a lease. Whether it is the holder's now."""
    taken = await connection.execute(
        update(leases)
        .where(leases.c.tenant_id == SYSTEM_LOG, leases.c.name == name, (leases.c.holder == holder) | (leases.c.expire_time < now))
        .values(holder=holder, expire_time=now + lasting)
    )
    if taken.rowcount:
        return True
    values = {"tenant_id": SYSTEM_LOG, "name": name, "holder": holder, "expire_time": now + lasting}
    if connection.dialect.name == "sqlite":
        made = await connection.execute(sqlite_insert(leases).values(values).on_conflict_do_nothing())
    else:
        made = await connection.execute(postgresql_insert(leases).values(values).on_conflict_do_nothing())
    return made.rowcount == 1


async def clear_leases(connection: AsyncConnection) -> None:
    """Drop every lease: for a database that one process alone serves, whose predecessor may have been killed."""
    await connection.execute(delete(leases).where(leases.c.tenant_id == SYSTEM_LOG))


async def give_back_lease(connection: AsyncConnection, name: str, *, holder: str) -> None:
    """Let the next one have a lease at once, if it is the holder's."""
    await connection.execute(delete(leases).where(leases.c.tenant_id == SYSTEM_LOG, leases.c.name == name, leases.c.holder == holder))


async def signing_key_rows(connection: AsyncConnection) -> list[SigningKeyRow]:
    """Every key that signed, oldest first."""
    query = select(*_SIGNING).where(signing_keys.c.tenant_id == SYSTEM_LOG).order_by(signing_keys.c.sequence)
    return [SigningKeyRow(*row) for row in await connection.execute(query)]


async def insert_signing_key(connection: AsyncConnection, row: SigningKeyRow) -> None:
    """Store a key that signs from now on."""
    values = {name: getattr(row, name) for name in SigningKeyRow.__dataclass_fields__}
    await connection.execute(insert(signing_keys).values(tenant_id=SYSTEM_LOG, **values))
