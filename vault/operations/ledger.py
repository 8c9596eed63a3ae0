"""The erasure ledger beside the database: what was ended for good is noted outside every backup, and a restored database is noticed by it.

    approved (committed) -> `record` (on the disk) -> keys and rows destroyed

A crash before `record` leaves an erasure that upkeep takes up; a crash after it leaves an entry of an erasure that was approved, which may be carried
out twice. An entry that cannot be written stops the erasure before anything is destroyed.

Every database has a marker: the newest entry up to which it knows all of them. A database that is older than an entry does not know it:
- the data, if it has no approved erasure of the entry's id;
- the subject keys, if they hold a key of somebody whose erasure is complete.
Then nothing is served but the replay (`replay.py`), until it has come to its end. Entries of erasures under way are known: two workers add and look
at the same time, and nothing is wrong.

The ledger's key lies with the ledger, wrapped by the vault's root key, and never rotates: a key in the database would be as old as the backup.
"""

import asyncio
from datetime import timedelta

import structlog

from vault.audit.ledger import Kind, LedgerEntry, LedgerKey
from vault.errors import AbortedError, DataLossError, FailedPreconditionError, UnavailableError
from vault.names import SYSTEM_LOG, SubjectName, new_id
from vault.operations.core import Standing, Vault, reading_keys
from vault.store import erasures as erasure_store
from vault.store import restore_markers as marker_store
from vault.store import restore_notes as note_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store import terminations as termination_store
from vault.store.database import Connection, Database
from vault.store.erasures import ErasureRow
from vault.store.restore_markers import MarkerRow
from vault.store.terminations import TerminationRow

# As long as the ledger is kept beyond the oldest backup from which anybody may restore.
KEPT_BEYOND_BACKUPS = timedelta(days=30)
_PURPOSE = "ledger"
BEFORE_APPROVAL = frozenset({"REQUESTED"})
# Keys were destroyed; what is kept or told does not matter here.
DONE = frozenset({"COMPLETE", "PARTIAL"})
_COMPLETE = "COMPLETE"
# How far the end of a contract is: access details are destroyed, and then everything that is not kept.
CONTRACT_ENDED, GRACE_OVER = "contract-ended", "grace-over"
_PAGE = 1000

_log = structlog.get_logger()


async def record(vault: Vault, tenant: str, erasure: ErasureRow) -> None:
    """Note an approved erasure before anything is destroyed for it; one that is noted already is not noted again.

    Raises:
        UnavailableError: LEDGER_UNAVAILABLE, RESTORE_PENDING; nothing may be destroyed.
        DataLossError: LEDGER_CORRUPT, LEDGER_BEHIND.
    """
    if erasure.erasure_id in vault.ledger.erasures:
        return
    async with vault.database.read() as connection, reading_keys(vault) as apart:
        keys = await subject_store.subject_key_rows(apart or connection, tenant, [erasure.subject_id])
    await _append(
        vault,
        LedgerEntry(
            kind=Kind.ERASURE,
            tenant=tenant,
            subject_token=vault.ledger.token_of(str(SubjectName(tenant, erasure.subject_id))),
            erasure=erasure.erasure_id,
            cut_off=vault.clock(),
            keys=tuple(key.version for key in keys),
            categories=tuple(sorted({count.category for count in erasure.preview})),
            requester=erasure.requester_kind,
        ),
    )


async def is_noted(vault: Vault, erasure: str) -> bool:
    """Whether an erasure is in the ledger, by whichever worker.

    Raises:
        UnavailableError: LEDGER_UNAVAILABLE, RESTORE_PENDING; it is not known.
    """
    if erasure in vault.ledger.erasures:
        return True
    standing = await check(vault)
    standing.require()
    if not standing.reachable:
        raise UnavailableError("LEDGER_UNAVAILABLE", "the erasure ledger cannot be read")
    return erasure in vault.ledger.erasures


async def record_termination(vault: Vault, row: TerminationRow, stage: str) -> None:
    """Note how far the end of a contract is, before anything is destroyed for it; what is noted already is not noted again.

    Args:
        vault: the vault.
        row: the end of the contract.
        stage: CONTRACT_ENDED or GRACE_OVER.
    Raises:
        UnavailableError: LEDGER_UNAVAILABLE, RESTORE_PENDING; nothing may be destroyed.
        DataLossError: LEDGER_CORRUPT, LEDGER_BEHIND.
    """
    if has_termination(vault, row.tenant_id, stage):
        return
    terms = {
        "effective_time": row.effective_time.isoformat(),
        "grace_end_time": row.grace_end_time.isoformat(),
        "asked_by": row.asked_by,
        "remove_contacts": str(row.remove_contacts),
    }
    await _append(vault, LedgerEntry(Kind.TERMINATION, row.tenant_id, "", f"{row.tenant_id}:{stage}", vault.clock(), terms=terms))


def has_termination(vault: Vault, tenant: str, stage: str) -> bool:
    """Whether the ledger says that the end of a tenant's contract came that far."""
    return f"{tenant}:{stage}" in vault.ledger.erasures


def is_grace_over(entry: LedgerEntry) -> bool:
    """Whether an entry of a termination says that everything was to be erased, and not only that the contract had ended."""
    return entry.erasure.endswith(f":{GRACE_OVER}")


async def open_ledger(vault: Vault) -> None:
    """Unwrap the ledger's key, which the first start makes, and look where the database stands.

    Raises:
        KeyUnavailableError: the root key does not answer.
        CiphertextInvalidError: the ledger is another vault's.
    """
    for database in _databases(vault):
        try:
            await _require_marker(vault, database)
        except AbortedError:
            # Another worker made it at the same moment; now it is there.
            await _require_marker(vault, database)
    await check(vault)
    if vault.standing.reason:
        _log.error("not serving", reason=vault.standing.reason, count=vault.standing.count)


async def check(vault: Vault) -> Standing:
    """Compare the ledger with the markers: what the vault stands for from now on. A ledger that cannot be read now changes nothing."""
    async with vault.standing.lock:
        try:
            found = await _compared(vault)
        except DataLossError as error:
            found = (error.reason, int(error.metadata.get("count", "0")))
        except UnavailableError as error:
            if error.reason != "LEDGER_UNAVAILABLE":
                raise
            # What was served is not older for that. At the start nobody knows, and nothing is served.
            found = (vault.standing.reason, vault.standing.count) if vault.standing.is_known else (error.reason, 0)
            vault.standing.reachable = False
        else:
            vault.standing.is_known = vault.standing.reachable = True
        vault.standing.reason, vault.standing.count = found
    return vault.standing


async def rewrap_key(vault: Vault) -> None:
    """Wrap the ledger's key under the newest version of the root key.

    Raises:
        UnavailableError: the root key or the ledger cannot be reached.
    """
    row = await asyncio.to_thread(vault.ledger.wrapped_key)
    if row is not None:
        wrapped = await vault.keyring.rewrap(SYSTEM_LOG, row, root_key="")
        await asyncio.to_thread(lambda: vault.ledger.store_key(wrapped, replacing=True))


async def prune(vault: Vault, *, before_days: int, backup_days: int) -> int:
    """Take away entries that no backup is old enough to need; how many.

    Args:
        vault: the vault.
        before_days: entries older than this go.
        backup_days: for how long the oldest backup is kept.
    Raises:
        FailedPreconditionError: LEDGER_TOO_YOUNG, a backup may still need them.
        UnavailableError: RESTORE_PENDING, LEDGER_UNAVAILABLE.
    """
    least = timedelta(days=backup_days) + KEPT_BEYOND_BACKUPS
    if timedelta(days=before_days) < least:
        raise FailedPreconditionError("LEDGER_TOO_YOUNG", f"entries are kept for {least.days} days", limit=str(least.days))
    (await check(vault)).require()
    seen = min(marker.sequence for marker in await markers(vault))
    before = vault.clock() - timedelta(days=before_days)
    async with vault.standing.lock:
        return await asyncio.to_thread(lambda: vault.ledger.prune(before=before, seen=seen))


async def markers(vault: Vault) -> list[MarkerRow]:
    """The marker of every database of the vault; one that has none has seen nothing."""
    found = []
    for database in _databases(vault):
        async with database.read() as connection:
            found.append(await marker_store.get_marker(connection))
    return [marker or MarkerRow(0, "", 0, vault.clock()) for marker in found]


async def _append(vault: Vault, entry: LedgerEntry) -> None:
    (await check(vault)).require()
    async with vault.standing.lock:
        number = await asyncio.to_thread(vault.ledger.append, entry)
    async with vault.database.write() as connection:
        await marker_store.advance_marker(connection, seen=number - 1, reached=number, now=vault.clock())
    _log.info("noted in the erasure ledger", resource=f"tenants/{entry.tenant}/erasures/{entry.erasure}", count=number)


async def _compared(vault: Vault) -> tuple[str, int]:
    """Why nothing may be served, and of how many entries; nothing and 0 if everything is as it should be.

    Raises:
        UnavailableError: LEDGER_UNAVAILABLE.
        DataLossError: LEDGER_BEHIND, LEDGER_PRUNED, LEDGER_CORRUPT.
    """
    if vault.ledger.key is None:
        await _open_key(vault)
    await asyncio.to_thread(vault.ledger.read_on)
    found = await markers(vault)
    seen, most = min(marker.sequence for marker in found), max(marker.sequence for marker in found)
    if vault.ledger.last < most:
        # Another worker may have noted something between the two looks: an entry is on the disk before any marker knows it.
        await asyncio.to_thread(vault.ledger.read_on)
    first, last = vault.ledger.first, vault.ledger.last
    if last < most:
        raise DataLossError("LEDGER_BEHIND", "the erasure ledger lacks entries that the database has seen", count=str(most - last))
    if seen < first - 1:
        raise DataLossError("LEDGER_PRUNED", "the database is older than the oldest entry of the ledger", count=str(first - 1 - seen))
    unseen = last - seen
    if any(marker.is_pending for marker in found):
        return "RESTORE_PENDING", unseen
    if unseen and not await _catch_up(vault, found):
        async with vault.database.write() as connection:
            await note_store.keep_sizes(connection)
            await marker_store.set_pending(connection, vault.clock())
        return "RESTORE_PENDING", unseen
    return "", 0


async def _open_key(vault: Vault) -> None:
    row = await asyncio.to_thread(vault.ledger.wrapped_key)
    if row is None:
        if any(marker.sequence for marker in await markers(vault)):
            raise DataLossError("LEDGER_BEHIND", "there is no erasure ledger, and there was one")
        made = await vault.keyring.fresh(SYSTEM_LOG, _PURPOSE, 1, root_key="")
        await asyncio.to_thread(vault.ledger.store_key, made)
        row = await asyncio.to_thread(vault.ledger.wrapped_key) or made
    vault.ledger.key = LedgerKey.derived(await vault.keyring.unwrap(SYSTEM_LOG, row))


async def _catch_up(vault: Vault, found: list[MarkerRow]) -> bool:
    """Move the markers over what the databases know. Whether they know everything."""
    start = min(marker.sequence for marker in found)
    reached = [marker.sequence for marker in found]
    under_way = False
    for entry in await asyncio.to_thread(lambda: list(vault.ledger.entries(after=start))):
        async with vault.database.read() as connection, reading_keys(vault) as apart:
            state = await _state(connection, apart, entry)
        if state is None:
            return False
        reached[0] = max(reached[0], entry.sequence)
        # Keys in a database of their own die after the approval: that one has seen an entry when the erasure is complete, and all before it are.
        under_way = under_way or state not in DONE
        if not under_way:
            reached[1:] = [max(number, entry.sequence) for number in reached[1:]]
    for database, marker, number in zip(_databases(vault), found, reached, strict=True):
        if number > marker.sequence:
            async with database.write() as connection:
                await marker_store.advance_marker(connection, seen=marker.sequence, reached=number, now=vault.clock())
    return True


async def _state(connection: Connection, apart: Connection | None, entry: LedgerEntry) -> str | None:
    """How far the databases are with what an entry says; None if one of them is older than that."""
    if entry.kind is Kind.TERMINATION:
        return await state_of_termination(connection, apart, entry)
    erasure = await erasure_store.get_erasure(connection, entry.tenant, entry.erasure)
    if erasure is None or erasure.state in BEFORE_APPROVAL:
        return None
    if erasure.state in DONE:
        keys = await subject_store.subject_key_rows(apart or connection, entry.tenant, [erasure.subject_id])
        if await destroyed(connection, entry, erasure) & {key.version for key in keys}:
            return None
    return erasure.state


async def state_of_termination(connection: Connection, apart: Connection | None, entry: LedgerEntry) -> str | None:
    """The same of an entry that says how far the end of a contract was. A database without the tenant has nothing to end."""
    tenant = await tenant_store.get_tenant(connection, entry.tenant)
    if tenant is None:
        return _COMPLETE
    if not tenant.has_ended:
        return None
    if not is_grace_over(entry):
        # No key dies before the grace is over.
        return _COMPLETE
    row = await termination_store.get_termination(connection, entry.tenant)
    if row is None or row.erase_time is None:
        return None
    if row.state == _COMPLETE and apart is not None and await _have_returned(connection, apart, entry.tenant):
        return None
    return row.state


async def _have_returned(connection: Connection, apart: Connection, tenant: str) -> bool:
    """Whether a database of keys holds keys in ordinary use of people who are gone."""
    after = ""
    while owners := await subject_store.key_owners_after(apart, tenant, after, limit=_PAGE):
        gone = await subject_store.erased_subjects(connection, tenant, owners)
        if any(key.keyring == subject_store.DATA for key in await subject_store.subject_key_rows(apart, tenant, sorted(gone))):
            return True
        after = owners[-1]
    return False


async def destroyed(connection: Connection, entry: LedgerEntry, erasure: ErasureRow) -> frozenset[int]:
    """Versions of the person's key that an erasure destroyed, and that are nowhere but in a backup.

    What seals what stays is not among them, for this erasure or for another one: after a replay its version may be another than it was then.
    """
    rows = await erasure_store.erasures_of_subject(connection, entry.tenant, erasure.subject_id)
    stays = {erasure.kept_version, *(row.restricted_version for row in rows)}
    return frozenset({*entry.keys, *erasure.destroyed_keys}) - stays


async def _require_marker(vault: Vault, database: Database) -> None:
    async with database.write() as connection:
        if await marker_store.get_marker(connection) is None:
            await marker_store.insert_marker(connection, new_id(), vault.clock())


def _databases(vault: Vault) -> list[Database]:
    """The data first."""
    return [vault.database] if vault.key_database is None else [vault.database, vault.key_database]
