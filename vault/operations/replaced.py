"""What a correction replaced is kept for thirty days, and then forgotten (L14).

Rules:
- Sealed under the person's own key, at a place of its own: it opens nowhere else, and dies with the key.
- Nothing finds it and no role reads it. It is in the person's own copy (GDPR 15) while it is kept, and in nothing else.
- It goes before its time with the record, with the person, with their key, and with a field whose time is over; a hold keeps it beyond.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta

from vault import crypto
from vault.crypto import DataKey, Place
from vault.operations import log
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import Vault, keys_of_parts, known_tenant, open_subject_key, reading_keys
from vault.operations.keyring import TenantKeys
from vault.store import holds as hold_store
from vault.store import replaced as replaced_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.records import ReadableRow
from vault.store.replaced import Due, ReplacedRow

_KEPT = timedelta(days=30)
# One correction of one party, and the values that it replaced.
Replaced = tuple[ReplacedRow, dict[str, bytes]]
# One batch holds its locks for some milliseconds.
_BATCH = 500


async def keep(
    vault: Vault, connection: Connection, tenant: str, part: ReadableRow, values: Mapping[str, bytes], *, key: DataKey, version: int
) -> None:
    """Keep the values of one party that a correction is about to replace, as they stood in a version of the record."""
    if not values:
        return
    sealed = crypto.seal_fields(values, under=key, at=_place(tenant, part.subject_id, part.record_id))
    row = ReplacedRow(part.record_id, part.role, version, part.subject_id, key.version, sealed, vault.clock() + _KEPT)
    await replaced_store.keep_replaced(connection, tenant, row)


async def opened(vault: Vault, connection: Connection, keys: TenantKeys, subject: str) -> dict[str, list[Replaced]]:
    """What is kept of a person, by record; what went with its key is left out."""
    rows = await replaced_store.replaced_of(connection, keys.tenant, subject, vault.clock())
    found: dict[str, list[Replaced]] = defaultdict(list)
    if not rows:
        return found
    async with reading_keys(vault) as apart:
        stored = await subject_store.subject_key_rows(apart or connection, keys.tenant, [subject])
    keys = await keys_of_parts(vault, connection, keys, {(item.keyring, item.tenant_key_version) for item in stored})
    by_version = {item.version: item for item in stored}
    for row in rows:
        if row.key_version in by_version:
            under = open_subject_key(keys, by_version[row.key_version])
            values = crypto.open_fields(row.sealed, None, under=under, at=_place(keys.tenant, subject, row.record_id))
            found[row.record_id].append((row, values))
    return found


async def sweep(vault: Vault, caller: Caller, tenant: str, *, operation: str) -> None:
    """Forget what of a tenant's is over; a batch is one commit with its entries."""
    while await _sweep_batch(vault, caller, tenant, operation):
        pass


async def _sweep_batch(vault: Vault, caller: Caller, tenant: str, operation: str) -> bool:
    now = vault.clock()
    async with vault.database.read() as connection:
        # Looked at before a writing transaction is opened: mostly there is nothing.
        if not await replaced_store.due_replaced(connection, tenant, now, limit=1):
            return False
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, tenant, hold=True)
        await hold_store.delay_holds(connection, tenant)
        rows = await replaced_store.due_replaced(connection, tenant, now, limit=_BATCH)
        await replaced_store.forget_due(connection, tenant, rows)
        by_category: dict[str, list[Due]] = defaultdict(list)
        for row in rows:
            by_category[row.category].append(row)
        entries = [_entry(caller, operation, tenant, category, found) for category, found in sorted(by_category.items())]
        if entries:
            await log.append(vault, connection, keys, entries)
    return len(rows) == _BATCH


def _entry(caller: Caller, operation: str, tenant: str, category: str, rows: list[Due]) -> Attempt:
    return Attempt(
        caller=caller,
        operation=operation,
        tenant=tenant,
        category=category,
        records=tuple(dict.fromkeys(row.record_id for row in rows)),
        subjects=tuple(dict.fromkeys(row.subject_id for row in rows)),
        count=len(rows),
        rule="replaced-values",
    )


def _place(tenant: str, subject: str, record: str) -> Place:
    """Beside the record's own place, so that an old value cannot be put where the newest one stands (I3)."""
    return Place(tenant, subject, f"{record}/replaced")
