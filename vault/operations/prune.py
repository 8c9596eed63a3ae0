"""Removing entries whose retention floor has passed. What is left of them are their hashes, so that old proofs and checkpoints still hold.

    (1) find the oldest tiles whose every entry is older than is wanted
    (2) sign that they are removed: how many, their root, the time of the newest
    (3) delete them, and what leads to them
    (4) record it in the system log
    (5) commit

Rules:
- Nothing younger than 24 months goes, whoever asks for it (L4, L9); the verifier refuses a note that says otherwise.
- By whole tiles, so that every hash is in one.
- The serving vault never does this and, on PostgreSQL, may not (`store.privileges`): it is a command of its own, under a role of its own.
"""

from datetime import datetime, timedelta

from vault.audit.checkpoint import origin_of
from vault.audit.entry import decode
from vault.audit.pruning import Pruning, check_floor, sign_pruning
from vault.audit.tiles import TILE_LEAVES
from vault.operations import log as audit_log
from vault.operations import proofs
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault
from vault.store import audit as audit_store
from vault.store import audit_index
from vault.store import tiles as tile_store
from vault.store.database import Connection

# Entries removed in one transaction.
_AT_ONCE = 64 * TILE_LEAVES


async def prune_log(vault: Vault, attempt: Attempt, log: str, *, kept_for: timedelta) -> tuple[int, Receipt | None]:
    """Remove what is older than entries are kept for. How many entries went, and where that is recorded; None if there were none.

    Raises:
        InvalidArgumentError: BELOW_FLOOR.
        DataLossError: LOG_CORRUPT, what would be removed is not what was written; it stays.
    """
    check_floor(kept_for)
    total, receipt = 0, None
    while True:
        async with vault.database.write() as connection:
            removed, receipt_now = await _prune_some(vault, connection, attempt, log, vault.clock() - kept_for)
        if not removed:
            return total, receipt
        total, receipt = total + removed, receipt_now


async def _prune_some(vault: Vault, connection: Connection, attempt: Attempt, log: str, before: datetime) -> tuple[int, Receipt | None]:
    head = await audit_store.locked_head(connection, log)
    start = await tile_store.pruned_size(connection, log)
    # (1) find
    end, newest = start, None
    for index, content in await audit_store.entries(connection, log, start=start, limit=_AT_ONCE):
        time = decode(content).time
        if time >= before:
            break
        newest = max(newest or time, time)
        end = index + 1
    end -= end % TILE_LEAVES
    if head is None or newest is None or end <= start:
        return 0, None
    await proofs.make_last_tiles(connection, log)
    await proofs.check_span(connection, log, start, end)
    # (2) sign
    root, now = await proofs.root_at(connection, log, end), vault.clock()
    note = sign_pruning(Pruning(origin_of(vault.name, log), end, root, newest, now), vault.signer)
    await tile_store.insert_pruning(connection, log, size=end, note=note, now=now)
    # (3) delete
    await tile_store.delete_entries(connection, log, before=end)
    await audit_index.forget(connection, log=log, before=end)
    # (4) record
    attempt.operation, attempt.resource, attempt.count = "prune-log", f"logs/{log}", end - start
    return end - start, await audit_log.append_to_system(vault, connection, attempt)
