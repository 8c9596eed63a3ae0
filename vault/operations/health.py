"""Whether calls can be served, check by check. What else there is to look at is `readiness.py`'s.

| check | fails when |
|---|---|
| database | a database does not answer |
| schema | a database is of another version of the vault, and this one may not serve it: no call is answered, upkeep rests |
| keys | the vault's own root key neither wraps nor unwraps; a tenant's own is that tenant's affair |
| ledger | the database is older than what was erased, or the ledger of that is damaged |
| audit | the system log cannot be read, or has no head |
| policy | the database definition has not been looked through for twelve months; calls are served all the same |
"""

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import timedelta

from vault.errors import DataLossError, VaultError
from vault.keys.provider import RootKeyProvider
from vault.names import SYSTEM_LOG
from vault.operations import definition, ledger
from vault.operations.core import Vault
from vault.store import audit as audit_store
from vault.store import schema

TIMEOUT = "TIMEOUT"
# What stops nothing.
_ADVISORY = frozenset({"policy"})


async def look(vault: Vault, provider: RootKeyProvider, *, within: timedelta) -> Mapping[str, str]:
    """Look at everything that a call needs; for each check the reason of its failure, empty for what is well. Kept in `vault.health`."""
    checks: dict[str, Awaitable[None]] = {
        "database": _databases(vault),
        "keys": provider.health(),
        "ledger": _ledger(vault),
        "audit": _audit(vault),
    }
    reasons = await asyncio.gather(*(_reason(check, within) for check in checks.values()))
    found = dict(zip(checks, reasons, strict=True))
    # The database answers, and what it is is another question. Of one that does not answer, what was known last is the best guess.
    if found["database"].startswith("SCHEMA_"):
        found["schema"], found["database"] = found["database"], ""
    else:
        found["schema"] = vault.health.foreign_schema if found["database"] else ""
    found["policy"] = "DEFINITION_STALE" if definition.is_stale(vault) else ""
    vault.health.checks = found
    return found


def failures(checks: Mapping[str, str]) -> dict[str, str]:
    """Checks without which nothing is served, and why they failed."""
    return {check: reason for check, reason in checks.items() if reason and check not in _ADVISORY}


async def _reason(check: Awaitable[None], within: timedelta) -> str:
    try:
        # A database that does not say no but nothing at all, behind a broken network, is gone as well.
        async with asyncio.timeout(within.total_seconds()):
            await check
    except VaultError as error:
        return error.reason
    except TimeoutError:
        return TIMEOUT
    return ""


async def _databases(vault: Vault) -> None:
    for database in (vault.database, vault.key_database):
        if database is not None:
            await schema.check(database)


async def _ledger(vault: Vault) -> None:
    (await ledger.check(vault)).require()


async def _audit(vault: Vault) -> None:
    async with vault.database.read() as connection:
        if await audit_store.head(connection, SYSTEM_LOG) is None:
            raise DataLossError("LOG_CORRUPT", "the system log has no head")
