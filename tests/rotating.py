"""Key rotations for tests: started by the operator, waited for by polling; and what is stored, row by row, to look at or to damage."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, Table, select

from tests.builders import entries
from tests.serving import Serving
from vault.audit.entry import AuditEntry, decode
from vault.operations import rotate
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1 import operations_service_pb2
from vault.v1.operations_service_pb2 import (
    KEY_ROTATION_STATE_RUNNING,
    DropCachedKeysRequest,
    GetKeyRotationRequest,
    KeyRotation,
    RotateKeysRequest,
)

_DEADLINE = timedelta(seconds=100)


def asked_for(kind: str, *, tenant: str = "tenants/acme", subject: str = "", root_key: str = "") -> RotateKeysRequest:
    """A request to rotate a key of a kind, of acme unless told."""
    return RotateKeysRequest(
        tenant="" if kind == "ROOT" else tenant,
        kind=operations_service_pb2.KeyKind.Value(f"KEY_KIND_{kind}"),
        subject=subject,
        root_key=root_key,
    )


async def started(served: Serving, request: RotateKeysRequest) -> KeyRotation:
    """Start a rotation as the operator."""
    operator = served.service("operator")
    return (await operator.call(operator.operations.RotateKeys, request)).rotation


async def ended(served: Serving, name: str) -> KeyRotation:
    """Wait until a rotation has ended."""
    operator = served.service("operator")
    seen: list[KeyRotation] = []

    async def has_ended() -> bool:
        seen.append((await operator.call(operator.operations.GetKeyRotation, GetKeyRotationRequest(name=name))).rotation)
        return seen[-1].state != KEY_ROTATION_STATE_RUNNING

    await until(has_ended, "ended")
    return seen[-1]


async def rotated(served: Serving, kind: str, *, tenant: str = "tenants/acme", subject: str = "") -> KeyRotation:
    """Rotate a key, from the call to the end."""
    return await ended(served, (await started(served, asked_for(kind, tenant=tenant, subject=subject))).name)


async def advanced(served: Serving) -> None:
    """Take every rotation to its end in this task, where the server's own upkeep is stopped."""
    for _ in range(10_000):
        if not await rotate.is_pending(served.vault):
            return
        await rotate.advance(served.vault, upkeep_caller())
    message = "a rotation does not come to its end"
    raise AssertionError(message)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + _DEADLINE.total_seconds()
    while not await condition():
        assert time.monotonic() < deadline, f"not {what} in time"
        await asyncio.sleep(0.02)


async def logged(served: Serving, log: str = "acme") -> list[AuditEntry]:
    """What a log says, with everything that is in an entry."""
    return [decode(entry.content) for entry in await entries(served, log)]


async def drop_cached(served: Serving, *tenants: str) -> None:
    """Have the keys of tenants unwrapped anew, and forget that they could not be."""
    operator = served.service("operator")
    for tenant in tenants or ("tenants/acme",):
        await operator.call(operator.operations.DropCachedKeys, DropCachedKeysRequest(name=tenant))


async def all_rows(served: Serving, table: Table) -> list[Row[Any]]:
    """Every row of a table, in the order of its primary key."""
    async with served.vault.database.read() as connection:
        return list(await connection.execute(select(table).order_by(*table.primary_key.columns)))


async def put(served: Serving, table: Table, row: Row[Any], **changes: object) -> None:
    """Write columns of a row behind the vault's back."""
    async with served.vault.database.write() as connection:
        await connection.execute(table.update().where(*_is(table, row)).values(changes))


async def remove(served: Serving, table: Table, row: Row[Any]) -> None:
    """Delete a row behind the vault's back."""
    async with served.vault.database.write() as connection:
        await connection.execute(table.delete().where(*_is(table, row)))


async def put_back(served: Serving, table: Table, row: Row[Any]) -> None:
    """Have a row as it once was, whatever stands in its place."""
    async with served.vault.database.write() as connection:
        await connection.execute(table.delete().where(*_is(table, row)))
        await connection.execute(table.insert().values(**row._mapping))


async def versions(served: Serving, purpose: str, *, tenant: str = "acme") -> list[int]:
    """Versions of a tenant's key that exist."""
    return [row.version for row in await all_rows(served, tables.tenant_keys) if (row.tenant_id, row.purpose) == (tenant, purpose)]


def _is(table: Table, row: Row[Any]) -> list[Any]:
    return [column == row._mapping[column.name] for column in table.primary_key.columns]
