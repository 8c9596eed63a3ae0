"""Retention of registers: what ended so long ago that nothing asks for it any more goes (§2B: C22, C26, C27, C31)."""

from collections import Counter
from datetime import timedelta

from vault.names import SYSTEM_LOG
from vault.operations import log
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import Vault, known_tenant
from vault.store import holds as hold_store
from vault.store import register_retention
from vault.store.register_retention import Register

# One batch holds its locks for some milliseconds.
_BATCH = 500


async def sweep_registers(vault: Vault, caller: Caller, tenant: str, *, operation: str) -> Counter[str]:
    """Delete what is over in the registers of a tenant, or in the operator's own; how many rows went, by category.

    A batch is one commit with its entry.
    """
    gone = Counter[str]()
    for register in register_retention.REGISTERS:
        while count := await _sweep_batch(vault, caller, tenant, register, operation):
            gone[register.category] += count
    return gone


async def _sweep_batch(vault: Vault, caller: Caller, tenant: str, register: Register, operation: str) -> int:
    now = vault.clock()
    before = now - timedelta(days=vault.catalogue.category(register.category).retention_at("").days)
    async with vault.database.read() as connection:
        # Looked at before a writing transaction is opened: mostly there is nothing.
        if not await register_retention.has_over(connection, tenant, register, now, before):
            return 0
    async with vault.database.write() as connection:
        if tenant == SYSTEM_LOG:
            keys = await log.system_keys(vault, connection)
        else:
            _, keys = await known_tenant(vault, connection, tenant, hold=True)
            await hold_store.delay_holds(connection, tenant)
        count, subjects = await register_retention.delete_over(connection, tenant, register, now, before, limit=_BATCH)
        if count:
            of = "" if tenant == SYSTEM_LOG else tenant
            entry = Attempt(caller, operation, tenant=of, category=register.category, subjects=subjects, count=count)
            await log.append(vault, connection, keys, [entry])
    return count
