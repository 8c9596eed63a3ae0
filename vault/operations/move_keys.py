"""Moving subject keys from beside the data to a database of their own, once, before a vault serves with `keys_url`.

Copied in batches that may be repeated; then, in one transaction that lets nobody else write them, compared and taken away: a crash at any point
leaves every key in at least one place, and so does a vault that serves although it should not.
"""

from collections.abc import Sequence

from vault.errors import DataLossError
from vault.store import erasures as erasure_store
from vault.store import restore_markers as marker_store
from vault.store import schema
from vault.store import subjects as subject_store
from vault.store.database import Database
from vault.store.subjects import SubjectKeyRow

_BATCH = 1000
_START = ("", "", 0)


async def move_subject_keys(database: Database, key_database: Database) -> int:
    """Copy every subject key, then remove the originals. How many were moved.

    Raises:
        FailedPreconditionError: SCHEMA_OUTDATED or SCHEMA_UNKNOWN, there is no place for them.
        DataLossError: KEYS_INCOMPLETE, a copy is missing or differs from its original; nothing was removed.
    """
    await schema.check(key_database)
    place = _START
    while True:
        async with database.read() as source:
            page = await subject_store.all_subject_keys(source, after=place, limit=_BATCH)
        if not page:
            break
        async with key_database.write() as target:
            await subject_store.copy_subject_keys(target, page)
        place = _end_of(page)
    await _carry_marker(database, key_database)
    async with database.write() as source, key_database.read() as target:
        await subject_store.lock_subject_keys(source)
        moved, place = 0, _START
        while page := await subject_store.all_subject_keys(source, after=place, limit=_BATCH):
            if not await subject_store.are_copied(target, page):
                raise DataLossError("KEYS_INCOMPLETE", "a subject key in the database of keys_url differs from the one beside the data")
            moved, place = moved + len(page), _end_of(page)
        await subject_store.remove_all_subject_keys(source)
    return moved


async def _carry_marker(database: Database, key_database: Database) -> None:
    """The keys have seen what the data have, unless some erasure has not destroyed its key yet: then the vault looks for itself."""
    async with database.read() as source:
        marker = await marker_store.get_marker(source)
        unfinished = await erasure_store.erasures_under_way(source)
    async with key_database.write() as target:
        if marker is not None and not unfinished and await marker_store.get_marker(target) is None:
            await marker_store.insert_marker(target, marker.incarnation, marker.change_time, sequence=marker.sequence)


def _end_of(page: Sequence[tuple[str, SubjectKeyRow]]) -> tuple[str, str, int]:
    tenant, last = page[-1]
    return tenant, last.subject_id, last.version
