"""Moving subject keys from beside the data to a database of their own, once, before a vault serves with `keys_url`.

Copied in batches that may be repeated, compared, and only then taken away: a crash at any point leaves every key in at least one place.
"""

from vault.errors import DataLossError
from vault.store import subjects as subject_store
from vault.store.database import Database

_BATCH = 1000


async def move_subject_keys(database: Database, key_database: Database) -> int:
    """Copy every subject key, then remove the originals. How many were moved.

    Raises:
        DataLossError: KEYS_INCOMPLETE, a copy differs from its original; nothing was removed.
    """
    moved, place = 0, ("", "", 0)
    while True:
        async with database.read() as source:
            page = await subject_store.all_subject_keys(source, after=place, limit=_BATCH)
        if not page:
            break
        async with key_database.write() as target:
            await subject_store.copy_subject_keys(target, page)
        async with key_database.read() as target:
            if not await subject_store.are_copied(target, page):
                raise DataLossError("KEYS_INCOMPLETE", "a subject key in the database of keys_url differs from the one beside the data")
        tenant, last = page[-1]
        moved, place = moved + len(page), (tenant, last.subject_id, last.version)
    async with database.write() as source:
        await subject_store.remove_all_subject_keys(source)
    return moved
