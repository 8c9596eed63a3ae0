"""Reading the log, and signing its head: on demand, on a schedule, and published outside the database.

Rules:
- A published checkpoint is what a cut-off tail is found by: whoever rewrites the database does not reach the sinks.
- Nothing is signed that the entries do not hash to, or that does not continue what was published before.
- A log that was restored from backup goes on from what a restore note says (`restored.py`), and from everything published since.
"""

from collections.abc import Awaitable, Callable
from itertools import accumulate
from pathlib import PurePosixPath
from typing import TypeAlias

from vault.audit.checkpoint import Checkpoint, origin_of, read_checkpoint, sign_checkpoint
from vault.audit.merkle import Frontier
from vault.audit.restore import Restore
from vault.errors import DataLossError, NotFoundError, UnavailableError
from vault.operations import outside, proofs, restored
from vault.operations.core import Vault, page_limit
from vault.operations.sink import checkpoint_name, place_of
from vault.store import audit as audit_store
from vault.store import restore_notes as note_store
from vault.store import tiles as tile_store
from vault.store.database import Connection

Timestamp: TypeAlias = Callable[[bytes], Awaitable[bytes]]
# A page stays well below the 4 MiB of a message: an entry of 64 KiB goes out twice, as the bytes that are stored and as what they say.
_PAGE_BYTES = 1 << 20


async def list_entries(vault: Vault, log: str, *, start: int, page_size: int) -> tuple[list[tuple[int, bytes]], int]:
    """Entries from an index on, as many as fit a page and at least one if there is one, and the size of the log."""
    async with vault.database.read() as connection:
        head = await audit_store.head(connection, log)
        if head is None:
            raise NotFoundError("TENANT_NOT_FOUND", "no such log")
        entries = await audit_store.entries(connection, log, start=start, limit=page_limit(vault, page_size))
    sizes = accumulate(len(content) for _, content in entries)
    fitting = sum(size <= _PAGE_BYTES for size in sizes)
    return entries[: max(1, fitting)], head[0]


async def list_removed(vault: Vault, log: str, *, start: int, page_size: int) -> tuple[list[bytes], str, int]:
    """Leaf hashes of removed entries from an index on, as many as a page has; the note that says what was removed; the size of the log.

    Raises:
        NotFoundError: TENANT_NOT_FOUND, there is no such log.
        DataLossError: LOG_CORRUPT, a hash is missing.
    """
    async with vault.database.read() as connection:
        head = await audit_store.head(connection, log)
        if head is None:
            raise NotFoundError("TENANT_NOT_FOUND", "no such log")
        removed, note = await tile_store.newest_pruning(connection, log)
        end = min(removed, start + page_limit(vault, page_size))
        return await proofs.removed_leaves(connection, log, start, end), note, head[0]


async def sign_head(vault: Vault, log: str) -> str:
    """A signed checkpoint of the log as it stands; kept, so that the next scheduled one is not signed for nothing.

    Raises:
        NotFoundError: TENANT_NOT_FOUND, there is no such log.
        DataLossError: LOG_CORRUPT, the log is not what was written, or not what was signed before; this is not signed.
    """
    await proofs.make_tiles(vault, log)
    async with vault.database.write() as connection:
        frontier, restore = await _checked_head(vault, connection, log)
        checkpoint = Checkpoint(origin_of(vault.name, log), frontier.size, frontier.root(), restore.number if restore else 0)
        note = sign_checkpoint(checkpoint, vault.signer)
        await audit_store.insert_checkpoint(connection, log, size=frontier.size, note=note, now=vault.clock())
    return note


async def restore_notes(vault: Vault, log: str) -> list[str]:
    """Signed notes about every restore of the log from backup, in order."""
    async with vault.database.read() as connection:
        return list((await note_store.notes(connection, log)).values())


async def _checked_head(vault: Vault, connection: Connection, log: str) -> tuple[Frontier, Restore | None]:
    head = await audit_store.locked_head(connection, log)
    if head is None:
        raise NotFoundError("TENANT_NOT_FOUND", "no such log")
    frontier = Frontier.from_bytes(head[1])
    await proofs.make_last_tiles(connection, log)
    await proofs.check_head(connection, log, frontier)
    restore = await restored.newest_restore(vault, connection, log)
    await _check_published(vault, connection, log, frontier, restore)
    return frontier, restore


async def _check_published(vault: Vault, connection: Connection, log: str, head: Frontier, restore: Restore | None) -> None:
    """A log that does not continue what was published is not signed: somebody rewrote it, or put an older database back.

    What was published before the newest restore is that note's to tell. What other workers published since this one looked is found by those who read
    the folders.
    """
    life, published = restore.number if restore else 0, vault.published.get(log)
    if published is not None and published.restore > life:
        raise DataLossError("LOG_CORRUPT", "the audit log does not know of a restore of it that was published")
    for known in (restore.head() if restore else None, published):
        if known is None or known.restore < life:
            continue
        if known.size > head.size:
            raise DataLossError("LOG_CORRUPT", "the audit log is shorter than a checkpoint of it that was published")
        if await proofs.root_at(connection, log, known.size) != known.root:
            raise DataLossError("LOG_CORRUPT", "the audit log does not continue a checkpoint of it that was published")


async def look_outside(vault: Vault) -> None:
    """Read what was published of every log before this process started, so that a rewritten or older database is found out.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, a sink cannot be read.
    """
    async with vault.database.read() as connection:
        logs = await audit_store.logs(connection)
        covered = await audit_store.covered_sizes(connection)
        lives = await note_store.newest_numbers(connection)
        keys = await outside.trusted_keys(vault, connection)
    for log in logs:
        # From the newest that the database knows on, because a folder is long; from the first on if the database knows too much.
        start = place_of(covered.get(log, 0), lives.get(log, 0))
        found = await outside.newest(vault, keys, log, start=start) or await outside.newest(vault, keys, log)
        noted = [restore.head() for restore, _ in (await outside.restores(vault, keys, log)).values()]
        for head in (*noted, found):
            if head is not None:
                _remember(vault, log, head)


async def check_logs(vault: Vault) -> list[str]:
    """Logs that are not what was written, or not what was published; none while a replay is due, or the schema is another version's."""
    if vault.is_left_alone:
        return []
    async with vault.database.read() as connection:
        logs = await audit_store.logs(connection)
    broken = []
    for log in logs:
        try:
            await proofs.make_tiles(vault, log)
            async with vault.database.write() as connection:
                await _checked_head(vault, connection, log)
        except DataLossError:
            broken.append(log)
    return broken


async def publish_checkpoints(vault: Vault, *, timestamp: Timestamp | None = None) -> list[str]:
    """Sign every log that grew and publish the notes to every sink. Logs that could not be signed, because they are not what was written.

    While a replay is due nothing is signed: that the database is older than what was published is known. Nor is anything of another version's schema.

    Args:
        vault: the vault.
        timestamp: has an authority say when a note was there; what it says is published beside the note.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, a sink cannot be written; the others were. TIMESTAMP_UNAVAILABLE; the notes were published.
    """
    if vault.is_left_alone:
        return []
    waiting, unavailable = await restored.publish_notes(vault)
    async with vault.database.read() as connection:
        logs = await audit_store.uncovered_logs(connection)
    broken = list[str]()
    unavailable = await _publish_late(vault) or unavailable
    for log in logs:
        if log in waiting:
            continue
        try:
            note = await sign_head(vault, log)
        except DataLossError:
            broken.append(log)
            continue
        checkpoint, content = read_checkpoint(note), note.encode()
        _remember(vault, log, checkpoint)
        name = checkpoint_name(log, checkpoint.size, checkpoint.restore)
        unavailable = await _publish(vault, name, content) or unavailable
        if timestamp is not None:
            try:
                token = await timestamp(content)
            except UnavailableError as error:
                unavailable = error
            else:
                unavailable = await _publish(vault, f"{name}.tsr", token) or unavailable
    late = {sink for sink, _ in vault.unpublished}
    vault.health.published |= {sink.name: vault.clock().timestamp() for sink in vault.sinks if sink.name not in late}
    if unavailable is not None:
        raise unavailable
    return broken


async def _publish(vault: Vault, name: str, content: bytes) -> UnavailableError | None:
    """Put something into every sink; why not into one of them, if so. What is newer takes the place of what could not be published."""
    failed = None
    for sink in vault.sinks:
        place = sink.name, _kind(name)
        try:
            await sink.put(name, content)
        except UnavailableError as error:
            vault.unpublished[place] = name, content
            failed = error
        else:
            vault.unpublished.pop(place, None)
    return failed


async def _publish_late(vault: Vault) -> UnavailableError | None:
    """Put what a sink could not take into it, for a log may not grow any more; why not, if so."""
    failed = None
    for sink in vault.sinks:
        for (place, kind), (name, content) in list(vault.unpublished.items()):
            if place != sink.name:
                continue
            try:
                await sink.put(name, content)
            except UnavailableError as error:
                failed = error
            else:
                del vault.unpublished[place, kind]
    return failed


def _kind(name: str) -> str:
    """Log and kind of a note, without its size."""
    path = PurePosixPath(name)
    return f"{path.parent}/{''.join(path.suffixes)}"


def _remember(vault: Vault, log: str, head: Checkpoint) -> None:
    known = vault.published.get(log)
    if known is None or outside.order(known) < outside.order(head):
        vault.published[log] = head
