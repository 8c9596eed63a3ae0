"""Whether the vault can serve, and what to look at: a stable word for each finding with a count, never an id of a person."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from vault.errors import VaultError
from vault.keys.provider import RootKeyProvider
from vault.names import SYSTEM_LOG
from vault.operations import definition, ledger, retain
from vault.operations.core import Vault
from vault.operations.keyring import WARN_USES
from vault.store import holds as hold_store
from vault.store import notifications as notification_store
from vault.store import rotations as rotation_store
from vault.store import schema
from vault.store import tenants as tenant_store
from vault.store.database import Connection

# What is due later than this should have been swept many times over.
_OVERDUE = timedelta(days=1)
# A key service behind a broken network says nothing at all.
_WITHIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether calls can be served, and the findings; most of them keep nobody from being served."""

    ready: bool
    findings: tuple[str, ...]


async def readiness(vault: Vault) -> Readiness:
    """Look at the databases, the root keys, and everything that is due."""
    findings: list[str] = []
    if definition.is_stale(vault):
        findings.append("DEFINITION_STALE")
    serving = True
    for database in (vault.database, vault.key_database):
        try:
            if database is not None and await schema.check(database):
                # Served on, until this process is replaced as well.
                findings.append("SCHEMA_NEWER")
        except VaultError as error:
            serving = False
            findings.append(error.reason)
    away = [name for name, provider in vault.keyring.root_keys.items() if not await _answers(provider)]
    if "" in away:
        serving = False
        findings.append("ROOT_KEY_UNAVAILABLE")
    if others := len([name for name in away if name]):
        # A tenant's own root key is that tenant's affair.
        findings.append(f"TENANT_ROOT_KEYS_UNAVAILABLE {others}")
    if serving:
        serving, found = await _ledger(vault)
        findings += found
    if serving:
        async with vault.database.read() as connection:
            counts = await count_findings(vault, connection)
        findings += [f"{word} {count}" for word, count in counts.items() if count]
    return Readiness(serving, tuple(findings))


async def count_findings(vault: Vault, connection: Connection) -> dict[str, int]:
    """How often there is what somebody should look at, by word; a word without any says 0."""
    return {
        "KEYS_WORN": await tenant_store.worn_keys(connection, limit=WARN_USES),
        "ROTATIONS_INCOMPLETE": await rotation_store.count_incomplete(connection),
        "NOTIFICATIONS_OVERDUE": await notification_store.count_overdue(connection, vault.clock()),
        "HOLD_REVIEWS_OVERDUE": await hold_store.count_overdue_reviews(connection, vault.clock()),
        "RETENTION_OVERDUE": await count_overdue(vault, connection),
    }


async def count_overdue(vault: Vault, connection: Connection) -> int:
    """How many records of all tenants retention should have erased long ago."""
    return sum([await retain.count_overdue(vault, connection, tenant, since=_OVERDUE) async for tenant in _tenants(connection)])


async def _ledger(vault: Vault) -> tuple[bool, list[str]]:
    """Whether the database is as new as what was erased, and what to look at."""
    standing = await ledger.check(vault)
    if standing.reason:
        return False, [f"{standing.reason} {standing.count}".removesuffix(" 0")]
    # Nothing can be erased meanwhile; everything else goes on.
    return True, [] if standing.reachable else ["LEDGER_UNAVAILABLE"]


async def _answers(provider: RootKeyProvider) -> bool:
    try:
        async with asyncio.timeout(_WITHIN.total_seconds()):
            await provider.health()
    except (VaultError, TimeoutError):
        return False
    return True


async def _tenants(connection: Connection) -> AsyncIterator[str]:
    after = ""
    while page := await tenant_store.tenant_ids(connection, after=after):
        for tenant in page:
            if tenant != SYSTEM_LOG:
                yield tenant
        after = page[-1]
