"""What stands in the sinks, as far as it is believed: only what a key of this vault signed, for its log and under its name.

Who can write to a sink could otherwise have the vault stop signing, or overlook what it published.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vault.audit.checkpoint import Checkpoint, NoteVerifier, open_checkpoint, origin_of, read_checkpoint
from vault.audit.restore import Restore, open_restore
from vault.errors import DataLossError
from vault.operations.core import Vault
from vault.operations.sink import END, checkpoint_name, restore_name
from vault.store import rotations as rotation_store
from vault.store.database import Connection

_log = structlog.get_logger()


async def trusted_keys(vault: Vault, connection: Connection) -> list[NoteVerifier]:
    """The key that signs, and those that signed before it."""
    rows = await rotation_store.signing_key_rows(connection)
    former = [NoteVerifier(vault.name, Ed25519PublicKey.from_public_bytes(row.public_key)) for row in reversed(rows)]
    return [vault.signer.verifier(), *former]


async def newest(vault: Vault, keys: Sequence[NoteVerifier], log: str, *, start: str = "", end: str = END) -> Checkpoint | None:
    """The newest checkpoint of a log in any sink, from a place on and before another.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, a sink cannot be read.
    """
    is_ours = partial(_is_ours, keys, origin_of(vault.name, log), log)
    notes = [await sink.newest(log, start=start, end=end, is_ours=is_ours) for sink in vault.sinks]
    return max((read_checkpoint(note) for note in notes if note is not None), key=order, default=None)


async def restores(vault: Vault, keys: Sequence[NoteVerifier], log: str) -> dict[int, tuple[Restore, str]]:
    """Every note about a restore of a log in any sink, by its number: what it says, and its text.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, a sink cannot be read.
    """
    found = {}
    for sink in vault.sinks:
        for name, note in await sink.restores(log):
            with suppress(DataLossError):
                restore = open_restore(note, keys, origin=origin_of(vault.name, log))
                if restore_name(log, restore.number) == name:
                    found[restore.number] = restore, note
                    continue
            _log.error("published restore note not believed", log=log)
    return found


def order(checkpoint: Checkpoint) -> tuple[int, int]:
    """Which of two heads of a log is the newer one."""
    return checkpoint.restore, checkpoint.size


def _is_ours(keys: Sequence[NoteVerifier], origin: str, log: str, name: str, note: str) -> bool:
    for key in keys:
        with suppress(DataLossError):
            found = open_checkpoint(note, key)
            if found.origin == origin and checkpoint_name(log, found.size, found.restore) == name:
                return True
    _log.error("published checkpoint not believed", log=log)
    return False
