"""Contacts and the lists they are in: whoever leaves the last one has a clock, whoever is in one has none (§2B: C01).

Rules:
- The clock starts with the deletion of what put the person in their last list, in the same transaction. A contact that never was in a list has none.
- Whoever is in a list again loses it with the next sweep, and is looked for once more before anything goes: nothing goes that is in a list.
- A contact that was stored into a list is in that one until it is deleted itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from vault.catalogue.model import Catalogue, HeldAs, RetentionEvent
from vault.operations import due
from vault.operations.core import Vault
from vault.store import listing as listing_store
from vault.store import retention as retention_store
from vault.store.database import Connection
from vault.store.listing import Listed
from vault.store.records import RecordRow

# One batch holds its locks for some milliseconds.
_BATCH = 200


async def leave_list(vault: Vault, connection: Connection, tenant: str, gone: RecordRow) -> None:
    """Start the clock of a person's contacts if a record that was just deleted was the last that put them in a list."""
    which = listed_in(vault.catalogue)
    if gone.category not in which.naming and not (gone.category in which.contacts and gone.list_id):
        return
    # Locked before anybody looks: of two who delete the last two memberships at once, the second sees that none is left.
    contacts = await listing_store.contacts_of(connection, tenant, gone.subject_id, which)
    if not contacts or await listing_store.listed_people(connection, tenant, [gone.subject_id], which):
        return
    now = vault.clock()
    days = {row.record_id: vault.catalogue.category(row.category).retention_at(row.level, row.metadata).days for row in contacts}
    await _set(vault, connection, tenant, [replace(row, expire_time=now + timedelta(days=days[row.record_id])) for row in contacts])


async def without_listed(vault: Vault, connection: Connection, tenant: str, rows: Sequence[RecordRow]) -> list[RecordRow]:
    """The records, those of people who are in a list again without their clock; stored where that changed one."""
    which = listed_in(vault.catalogue)
    owners = {row.subject_id for row in rows if row.category in which.contacts and row.expire_time is not None}
    listed = await listing_store.listed_people(connection, tenant, owners, which)
    kept = {row.record_id: replace(row, expire_time=None) for row in rows if row.category in which.contacts and row.subject_id in listed}
    await _set(vault, connection, tenant, list(kept.values()))
    return [kept.get(row.record_id, row) for row in rows]


async def sweep_lists(vault: Vault, tenant: str) -> None:
    """Take the clock from every contact of a tenant that is in a list again. Twice changes nothing."""
    which = listed_in(vault.catalogue)
    while True:
        async with vault.database.read() as connection:
            # Looked at before a writing transaction is opened: mostly there is nothing.
            if not await listing_store.back_in_list(connection, tenant, which, limit=1):
                return
        async with vault.database.write() as connection:
            rows = await listing_store.back_in_list(connection, tenant, which, limit=_BATCH, lock=True)
            await _set(vault, connection, tenant, [replace(row, expire_time=None) for row in rows])


def listed_in(catalogue: Catalogue) -> Listed:
    """What is kept for as long as it is in a list, and what puts it in one."""
    stored = [category for category in catalogue.categories.values() if category.held_as is HeldAs.RECORD]
    contacts = {category.name for category in stored if RetentionEvent.UNLISTED in {kept.event for kept in category.retentions}}
    return Listed(contacts, {category.name for category in stored if category.is_list} - contacts)


async def _set(vault: Vault, connection: Connection, tenant: str, rows: Sequence[RecordRow]) -> None:
    categories = vault.catalogue.categories
    await retention_store.set_expiry(connection, tenant, {row.record_id: row.expire_time for row in rows})
    # As if it had every field: too early a look does nothing.
    times = {row.record_id: due.next_due(categories[row.category], row, categories[row.category].fields) for row in rows}
    await retention_store.set_due(connection, tenant, times)
