"""Restore notes: what a restore left of each audit log, signed, so that a log of which more was published may go on (`audit.restore`).

    (1) every log is looked for in the sinks: what was published of it, and which notes there are from restores that a restore undid
    (2) in the transaction that ends the replay, a note for every log of which something was published that it does not hold
    (3) an entry of the system log for each, one incident for all
    (4) the notes are published, before anything is signed that names them

Rules:
- Nothing else makes a note. Who puts an older database back and runs no replay has a log that is not signed (`checkpoint.py`).
- A log that was signed and of which nothing is published gets one too: what was published may only be away, and must not be contradicted.
- A log that does not hash to its head, or contradicts what was published up to what was restored, gets no note.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from vault.audit.checkpoint import Checkpoint, NoteVerifier, origin_of
from vault.audit.merkle import Frontier
from vault.audit.restore import Restore, open_restore, sign_restore
from vault.audit.watch import Alarm
from vault.errors import DataLossError, UnavailableError
from vault.names import SYSTEM_LOG
from vault.operations import detect, outside, proofs
from vault.operations import log as audit_log
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import Vault
from vault.operations.sink import place_of, restore_name
from vault.store import audit as audit_store
from vault.store import restore_notes as note_store
from vault.store.database import Connection

_OPERATION = "note-restore"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a log.

    Attributes:
        newest: head, of a checkpoint or of a restore note; None if there is none.
        continued: the newest head that the restored log has to continue; None if there is none.
        restores: notes by number, with their texts.
        size: how much of the log was restored.
    """

    newest: Checkpoint | None
    continued: Checkpoint | None
    restores: Mapping[int, tuple[Restore, str]]
    size: int


async def look(vault: Vault) -> dict[str, Published]:
    """(1) What is published of every log.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, a sink cannot be read: what it holds would be denied.
    """
    async with vault.database.read() as connection:
        sizes = await note_store.restored_sizes(connection)
        lives = await note_store.newest_numbers(connection)
        keys = await outside.trusted_keys(vault, connection)
    found = {}
    # The system's log comes last, as whoever appends locks its head last.
    for log, size in sorted(sizes.items(), key=lambda item: (item[0] == SYSTEM_LOG, item[0])):
        restores, life = await outside.restores(vault, keys, log), lives.get(log, 0)
        heads = [await outside.newest(vault, keys, log), vault.published.get(log), *(restore.head() for restore, _ in restores.values())]
        newest = max((head for head in heads if head is not None), key=outside.order, default=None)
        continued = await outside.newest(vault, keys, log, start=place_of(0, life), end=place_of(size + 1, life))
        found[log] = Published(newest, continued, restores, size)
    return found


async def note_restores(
    vault: Vault, connection: Connection, caller: Caller, published: Mapping[str, Published], *, incarnation: str
) -> None:
    """(2) and (3), in the transaction that opens the vault again."""
    keys = await outside.trusted_keys(vault, connection)
    await note_store.forget_sizes(connection)
    attempts, lost = list[Attempt](), 0
    for log, found in published.items():
        try:
            restore = await _restored(vault, connection, log, found, keys=keys, incarnation=incarnation)
        except DataLossError:
            # It is not signed, and the hourly look opens an incident: nobody vouches for what was restored.
            _log.error("audit log broken", log=log)
            continue
        if restore is None:
            continue
        known = await note_store.notes(connection, log)
        for number, (earlier, note) in sorted(found.restores.items()):
            if number not in known:
                await _keep(vault, connection, log, earlier, note)
        await _keep(vault, connection, log, restore, sign_restore(restore, vault.signer))
        tenant, gone = "" if log == SYSTEM_LOG else log, max(restore.published.size - restore.size, 0)
        attempts.append(Attempt(caller, _OPERATION, tenant=tenant, count=gone, resource=f"logs/{log}/restores/{restore.number}"))
        lost += gone
    if attempts:
        await audit_log.append(vault, connection, await audit_log.system_keys(vault, connection), attempts)
        alarm = Alarm("restored-log", f"restores/{incarnation}", vault.clock(), vault.clock(), records=lost)
        await detect.open_incidents(vault, connection, caller, SYSTEM_LOG, [alarm])


async def publish_notes(vault: Vault) -> tuple[set[str], UnavailableError | None]:
    """(4) Logs whose notes some sink does not have yet, and why not."""
    async with vault.database.read() as connection:
        newest = await note_store.newest_numbers(connection)
        keys = await outside.trusted_keys(vault, connection) if newest else []
    waiting, unavailable = set[str](), None
    for log, number in newest.items():
        known = vault.published.get(log)
        if known is not None and known.restore >= number:
            continue
        async with vault.database.read() as connection:
            notes = await note_store.notes(connection, log)
        try:
            for earlier, note in notes.items():
                for sink in vault.sinks:
                    await sink.put(restore_name(log, earlier), note.encode())
            vault.published[log] = open_restore(notes[number], keys, origin=origin_of(vault.name, log)).head()
        except DataLossError:
            _log.error("audit log broken", log=log)
        except UnavailableError as error:
            unavailable = error
            waiting.add(log)
    return waiting, unavailable


async def newest_restore(vault: Vault, connection: Connection, log: str) -> Restore | None:
    """The restore after which the log lives.

    Raises:
        DataLossError: NOTE_INVALID, somebody put a note there that is not the vault's.
    """
    note = await note_store.newest_note(connection, log)
    return open_restore(note, await outside.trusted_keys(vault, connection), origin=origin_of(vault.name, log)) if note else None


async def _restored(
    vault: Vault, connection: Connection, log: str, found: Published, *, keys: list[NoteVerifier], incarnation: str
) -> Restore | None:
    """What is to be said of a log; nothing if everything that was published is there.

    Raises:
        DataLossError: LOG_CORRUPT, the log is not what was written, or not what was published up to there.
    """
    head = await audit_store.locked_head(connection, log)
    if head is None:
        return None
    await proofs.make_last_tiles(connection, log)
    await proofs.check_head(connection, log, Frontier.from_bytes(head[1]))
    notes = await note_store.notes(connection, log)
    base = max(notes, default=0)
    began = open_restore(notes[base], keys, origin=origin_of(vault.name, log)).head() if notes else None
    for known in (found.continued, began):
        if known is not None and await proofs.root_at(connection, log, known.size) != known.root:
            raise DataLossError("LOG_CORRUPT", "the restored audit log does not continue a checkpoint of it that was published")
    newest = found.newest or await _signed(vault, connection, log, base)
    if newest is None or (newest is found.newest and newest.restore == base and newest.size <= found.size):
        return None
    root = await proofs.root_at(connection, log, found.size)
    number = 1 + max(base, newest.restore)
    return Restore(origin_of(vault.name, log), number, base, found.size, root, newest, vault.clock(), incarnation)


async def _signed(vault: Vault, connection: Connection, log: str, life: int) -> Checkpoint | None:
    """The newest head that the database knows to have been signed."""
    covered = await audit_store.covered_sizes(connection)
    if log not in covered:
        return None
    return Checkpoint(origin_of(vault.name, log), covered[log], await proofs.root_at(connection, log, covered[log]), life)


async def _keep(vault: Vault, connection: Connection, log: str, restore: Restore, note: str) -> None:
    await note_store.insert_note(
        connection, log, number=restore.number, published_size=restore.published.size, note=note, now=vault.clock()
    )
