"""Reading the log, and signing its head: on demand, on a schedule, and published outside the database.

A published checkpoint is what a cut-off tail is found by: whoever rewrites the database does not reach the files.
"""

import asyncio
import os
from itertools import accumulate
from pathlib import Path

from vault.audit.checkpoint import Checkpoint, origin_of, sign_checkpoint
from vault.audit.merkle import Frontier
from vault.errors import NotFoundError, UnavailableError
from vault.operations.core import Vault, page_limit
from vault.store import audit as audit_store

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


async def sign_head(vault: Vault, log: str) -> str:
    """A signed checkpoint of the log as it stands; kept, so that the next scheduled one is not signed for nothing.

    Raises:
        NotFoundError: TENANT_NOT_FOUND, there is no such log.
    """
    async with vault.database.write() as connection:
        head = await audit_store.head(connection, log)
        if head is None:
            raise NotFoundError("TENANT_NOT_FOUND", "no such log")
        root = Frontier.from_bytes(head[1]).root()
        note = sign_checkpoint(Checkpoint(origin_of(vault.name, log), head[0], root), vault.signer)
        await audit_store.insert_checkpoint(connection, log, size=head[0], note=note, now=vault.clock())
    return note


async def publish_checkpoints(vault: Vault, directory: Path) -> int:
    """Sign every log that grew and write the notes to `<directory>/<log>/<size>`. How many there were.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, the directory cannot be written.
    """
    async with vault.database.read() as connection:
        logs = await audit_store.uncovered_logs(connection)
    for log in logs:
        note = await sign_head(vault, log)
        size = note.split("\n", 2)[1]
        await publish(directory / log / f"{int(size):020d}.checkpoint", note)
    return len(logs)


async def publish(path: Path, note: str) -> None:
    """Write a note whole or not at all; one that was published is never replaced by another.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, the directory cannot be written.
    """
    try:
        await asyncio.to_thread(_publish, path, note)
    except OSError:
        raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the checkpoint directory cannot be written") from None


def _publish(path: Path, note: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as handle:
        handle.write(note)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
