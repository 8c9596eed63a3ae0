"""The key that signs checkpoints, certificates and packages, and how it is replaced without a restart.

The first start introduces the key to the database. Later the file may hold another one only as its successor: the old key, still at hand, signs
the hand-over, which is stored, published beside the checkpoints and logged. A key that nobody introduced stops the start: somebody exchanged it.
"""

import asyncio

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.audit.checkpoint import NoteSigner
from vault.audit.succession import hand_over
from vault.errors import FailedPreconditionError
from vault.names import SYSTEM_LOG
from vault.operations import log
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault
from vault.store import rotations as rotation_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.rotations import SigningKeyRow

_OPERATION, _RULE = "rotate-keys", "key:signing"


async def introduce(vault: Vault, caller: Caller, *, former: Ed25519PrivateKey | None) -> None:
    """At start: make sure that the key in use is the one that the database knows as the newest.

    Args:
        vault: the vault.
        caller: who a hand-over is recorded as.
        former: the key that was in use before, if its file is still there; it may hand over to the one in use.
    Raises:
        FailedPreconditionError: SIGNING_KEY_UNKNOWN, nobody introduced the key.
    """
    async with vault.database.write() as connection:
        await tenant_store.change_keys(connection, SYSTEM_LOG)
        rows = await rotation_store.signing_key_rows(connection)
        mine = vault.signing.key.public_key().public_bytes_raw()
        if not rows:
            await rotation_store.insert_signing_key(connection, SigningKeyRow(1, mine, "", vault.clock()))
        elif rows[-1].public_key != mine:
            if former is None or rows[-1].public_key != former.public_key().public_bytes_raw():
                raise FailedPreconditionError(
                    "SIGNING_KEY_UNKNOWN", "another key signs for this database, and it did not introduce this one"
                )
            await _hand_over(vault, connection, Attempt(caller), former, vault.signing.key, rows[-1].sequence + 1)


async def rotate_signing_key(vault: Vault, attempt: Attempt) -> Receipt:
    """Take up the key that is in the file now; the one in use signs the hand-over.

    Raises:
        FailedPreconditionError: SIGNING_KEY_UNCHANGED, the file holds the key in use or an earlier one; SIGNING_KEY_OUTDATED, another worker has
            taken up a newer one; CONFIG_INVALID, the file is no key.
    """
    attempt.operation, attempt.rule = _OPERATION, _RULE
    new = await asyncio.to_thread(vault.signing.load)
    async with vault.database.write() as connection:
        await tenant_store.change_keys(connection, SYSTEM_LOG)
        rows = await rotation_store.signing_key_rows(connection)
        public = new.public_key().public_bytes_raw()
        if public in {row.public_key for row in rows}:
            raise FailedPreconditionError("SIGNING_KEY_UNCHANGED", "the file of the signing key holds no new key")
        if rows and rows[-1].public_key != vault.signing.key.public_key().public_bytes_raw():
            raise FailedPreconditionError("SIGNING_KEY_OUTDATED", "another worker has taken up a newer key")
        sequence = rows[-1].sequence + 1 if rows else 1
        receipt = await _hand_over(vault, connection, attempt, vault.signing.key, new, sequence)
    vault.signing.key = new
    return receipt


async def follow(vault: Vault) -> bool:
    """Take up the newest key if another worker rotated it. Whether the key in use is the newest now."""
    async with vault.database.read() as connection:
        rows = await rotation_store.signing_key_rows(connection)
    newest = rows[-1].public_key if rows else b""
    if newest == vault.signing.key.public_key().public_bytes_raw():
        return True
    loaded = await asyncio.to_thread(vault.signing.load)
    if loaded.public_key().public_bytes_raw() != newest:
        return False
    vault.signing.key = loaded
    return True


async def publish_hand_overs(vault: Vault) -> None:
    """Write every hand-over beside the checkpoints, as `signing-keys/<sequence>.note`.

    Raises:
        UnavailableError: CHECKPOINTS_UNAVAILABLE, a sink cannot be written.
    """
    async with vault.database.read() as connection:
        rows = await rotation_store.signing_key_rows(connection)
    for row in rows:
        if row.note:
            for sink in vault.sinks:
                await sink.put(f"signing-keys/{row.sequence:06d}.note", row.note.encode())


async def _hand_over(
    vault: Vault, connection: Connection, attempt: Attempt, old: Ed25519PrivateKey, new: Ed25519PrivateKey, sequence: int
) -> Receipt:
    """Store the note by which the old key introduces the new one, and record it in the system log, in this transaction."""
    note = hand_over(NoteSigner(vault.name, old), NoteSigner(vault.name, new), sequence=sequence)
    await rotation_store.insert_signing_key(connection, SigningKeyRow(sequence, new.public_key().public_bytes_raw(), note, vault.clock()))
    attempt.operation, attempt.rule = _OPERATION, _RULE
    attempt.resource, attempt.count = f"signingKeys/{sequence}", 1
    [receipt] = await log.append(vault, connection, await log.system_keys(vault, connection), [attempt])
    return receipt
