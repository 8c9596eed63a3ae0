"""After a restore: what the erasure ledger knows and the database does not is done once more, and then the vault serves again.

    (1) one worker alone, by lease
    (2) every entry that a database has not seen: the person is found by their token among those who came before the cut-off; their erasure is
        entered if the database lacks it, and finished by the flow that finishes every erasure; an end of a contract likewise by its own
    (3) everything that retention has ended for meanwhile
    (4) a look at everybody: nobody of whom the ledger has an entry may be left, however old the entry
    (5) the markers move, the database gets a new incarnation, what the audit logs lost is noted (`restored.py`), and calls are served

Every step may be done again: a crash leaves the marker where it was, and the next replay finds done what was done. Whoever was added again after the
cut-off has another id, another token, and is not found.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from vault.audit.ledger import Kind, LedgerEntry
from vault.errors import AbortedError, DataLossError, UnavailableError, VaultError
from vault.names import ChildName, SubjectName, new_id
from vault.operations import erase_counts, erase_run, ledger, log, restored, retain, wind_up
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant, reading_keys, writing_keys
from vault.operations.outcomes import Requester
from vault.store import erasures as erasure_store
from vault.store import restore_markers as marker_store
from vault.store import rotations as rotation_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.erasures import ErasureRow
from vault.store.subjects import SubjectRow
from vault.store.terminations import TerminationRow

OPERATION = "replay-erasures"
# Who asked for an erasure, and approved it, is in the certificate of then; the ledger names nobody.
_REQUESTER = "erasure-ledger"
_LEASE = OPERATION
_LASTING = timedelta(seconds=15)
_PAGE = 1000
_GONE = frozenset({"ERASING", "ERASED"})
# Stands for the state of somebody of whom there is a key and nothing else.
_KEY_ALONE = "KEY_ALONE"

_log = structlog.get_logger()


async def replay_erasures(vault: Vault, attempt: Attempt) -> tuple[int, Receipt]:
    """Replay what the databases have not seen; how many entries. Nothing, if they have seen everything.

    Raises:
        UnavailableError: LEDGER_BEHIND, LEDGER_CORRUPT, LEDGER_PRUNED, LEDGER_UNAVAILABLE, the ledger is to be mended first;
            RESTORE_PENDING, a dependency of some erasure is away, the others were replayed.
        UnavailableError: CHECKPOINTS_UNAVAILABLE, what was published of the audit logs cannot be read; everything else was done.
        AbortedError: REPLAY_RUNNING, another worker replays.
        DataLossError: REPLAY_INCOMPLETE, somebody is left who was erased.
    """
    attempt.operation = OPERATION
    standing = await ledger.check(vault)
    if standing.reason != "RESTORE_PENDING":
        standing.require()
    async with _alone(vault):
        return await _replay(vault, attempt)


async def _replay(vault: Vault, attempt: Attempt) -> tuple[int, Receipt]:
    seen = min(marker.sequence for marker in await ledger.markers(vault))
    reached = vault.ledger.last
    entries = await asyncio.to_thread(lambda: list(vault.ledger.entries(after=seen)))
    people = await _people(vault, entries)
    failed = [entry for entry in entries if not await _is_replayed(vault, attempt.caller, entry, people)]
    if failed:
        raise UnavailableError("RESTORE_PENDING", f"{len(failed)} entries of the erasure ledger could not be replayed yet")
    is_pending = bool(vault.standing.reason)
    if is_pending:
        await retain.run_retention(vault, replace(attempt), "")
        await _verify(vault)
    attempt.count = len(entries)
    receipt = await _serve_again(vault, attempt, reached=reached, is_pending=is_pending)
    await ledger.check(vault)
    vault.meters.replayed(len(entries))
    _log.info("erasures replayed", count=len(entries))
    return len(entries), receipt


async def _is_replayed(vault: Vault, caller: Caller, entry: LedgerEntry, people: Mapping[str, Sequence[SubjectRow]]) -> bool:
    """Replay one entry. Whether that succeeded; one that cannot be replayed now keeps no other waiting."""
    try:
        match entry.kind:
            case Kind.ERASURE:
                for person in people.get(entry.subject_token, ()):
                    if person.state == _KEY_ALONE:
                        await _destroy_keys(vault, caller, entry, person.subject_id)
                    elif person.create_time < entry.cut_off:
                        await _erase_again(vault, caller, entry, person.subject_id)
            case Kind.TERMINATION:
                await replay_termination(vault, caller, entry)
    except VaultError as error:
        _log.warning("entry not replayed", resource=f"tenants/{entry.tenant}/erasures/{entry.erasure}", reason=error.reason)
        return False
    return True


async def replay_termination(vault: Vault, caller: Caller, entry: LedgerEntry) -> None:
    """End a contract again that had ended, as far as it had come.

    Raises:
        UnavailableError: RESTORE_PENDING, it does not come that far now.
        VaultError: a dependency of the tenant's is away.
    """
    async with vault.database.write() as connection:
        row = await termination_store.get_termination(connection, entry.tenant, lock=True)
        if await tenant_store.get_tenant(connection, entry.tenant) is None:
            return
        if row is None or row.state in termination_store.BEFORE:
            entered = _entered_end(entry)
            await (termination_store.insert_termination if row is None else termination_store.update_termination)(connection, entered)
        elif ledger.is_grace_over(entry) and vault.key_database is not None:
            async with vault.key_database.read() as apart:
                await _queue_owners(connection, apart, entry.tenant)
            await termination_store.take_up(connection, entry.tenant)
    await wind_up.carry_out(vault, caller, entry.tenant)
    async with vault.database.read() as connection, reading_keys(vault) as apart:
        if await ledger.state_of_termination(connection, apart, entry) is None:
            raise UnavailableError("RESTORE_PENDING", "the end of a contract did not come as far as it had")


def _entered_end(entry: LedgerEntry) -> TerminationRow:
    return TerminationRow(
        tenant_id=entry.tenant,
        state="APPROVED",
        position="",
        asked_by=entry.terms["asked_by"],
        remove_contacts=int(entry.terms["remove_contacts"]),
        effective_time=datetime.fromisoformat(entry.terms["effective_time"]),
        grace_end_time=datetime.fromisoformat(entry.terms["grace_end_time"]),
        requester=_REQUESTER,
        approver=_REQUESTER,
        request_time=entry.cut_off,
    )


async def _queue_owners(connection: Connection, apart: Connection, tenant: str) -> None:
    """Look at everybody's keys once more: those that were destroyed, or were sealed away from, may have come back."""
    after = ""
    while owners := await subject_store.key_owners_after(apart, tenant, after, limit=_PAGE):
        await termination_store.queue_subjects(connection, tenant, owners)
        after = owners[-1]


async def _erase_again(vault: Vault, caller: Caller, entry: LedgerEntry, subject: str) -> None:
    """Enter the erasure if the database lacks it, block the person, and finish as every erasure is finished."""
    async with vault.database.write() as connection:
        await subject_store.get_subject(connection, entry.tenant, subject, lock=True)
        known = await erasure_store.get_erasure(connection, entry.tenant, entry.erasure, lock=True)
        if known is None:
            known = await _entered(vault, connection, entry, subject)
        elif known.state in ledger.BEFORE_APPROVAL:
            known = replace(known, state="RUNNING", approvers=(*known.approvers, _REQUESTER))
            await erasure_store.update_erasure(connection, entry.tenant, known)
        if known.state in erasure_store.UNDER_WAY:
            await subject_store.set_subject_state(connection, entry.tenant, subject, "ERASING")
        versions = await ledger.destroyed(connection, entry, known)
    if known.state in erasure_store.UNDER_WAY:
        await erase_run.run(vault, caller, ChildName(entry.tenant, "erasures", known.erasure_id))
    else:
        await _destroy_keys(vault, caller, entry, subject, versions=versions)


async def _entered(vault: Vault, connection: Connection, entry: LedgerEntry, subject: str) -> ErasureRow:
    requester = Requester(entry.requester)
    row = ErasureRow(
        erasure_id=entry.erasure,
        subject_id=subject,
        state="RUNNING",
        requester=_REQUESTER,
        requester_kind=requester,
        reference="",
        approvers=(_REQUESTER,),
        required_approvals=1,
        keep_suppression=True,
        preview_digest="",
        preview=await erase_counts.count_outcomes(vault, connection, SubjectName(entry.tenant, subject), requester),
        outcomes=(),
        request_time=entry.cut_off,
    )
    await erasure_store.insert_erasure(connection, entry.tenant, row)
    return row


async def _destroy_keys(vault: Vault, caller: Caller, entry: LedgerEntry, subject: str, *, versions: frozenset[int] | None = None) -> None:
    """Destroy keys that came back alone, every one unless told, and record that there were any."""
    async with vault.database.write() as connection:
        async with writing_keys(vault, connection) as keys_on:
            stored = {key.version for key in await subject_store.subject_key_rows(keys_on, entry.tenant, [subject])}
            stay = frozenset() if versions is None else stored - versions
            count = await subject_store.destroy_subject_keys(keys_on, entry.tenant, subject, but=stay)
        if count:
            attempt = Attempt(
                caller, OPERATION, tenant=entry.tenant, subjects=(subject,), resource=f"tenants/{entry.tenant}/erasures/{entry.erasure}"
            )
            _, keys = await known_tenant(vault, connection, entry.tenant)
            await log.append(vault, connection, keys, [attempt])


async def _people(vault: Vault, entries: Iterable[LedgerEntry]) -> dict[str, list[SubjectRow]]:
    """Who the tokens of the entries stand for, and what is left of them: a row, or a key alone."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.kind is Kind.ERASURE:
            wanted[entry.tenant].add(entry.subject_token)
    found: dict[str, list[SubjectRow]] = defaultdict(list)
    for tenant, tokens in sorted(wanted.items()):
        async for person in _known_people(vault, tenant):
            token = vault.ledger.token_of(str(SubjectName(tenant, person.subject_id)))
            if token in tokens:
                found[token].append(person)
    return found


async def _known_people(vault: Vault, tenant: str) -> AsyncIterator[SubjectRow]:
    after = ""
    while True:
        async with vault.database.read() as connection:
            page = await subject_store.subjects_after(connection, tenant, after, limit=_PAGE)
        if not page:
            break
        for person in page:
            yield person
        after = page[-1].subject_id
    if vault.key_database is None:
        return
    after = ""
    while True:
        # Of a person whom the restored data does not know yet the key may be there all the same.
        async with vault.key_database.read() as apart:
            owners = await subject_store.key_owners_after(apart, tenant, after, limit=_PAGE)
        if not owners:
            return
        async with vault.database.read() as connection:
            known = await subject_store.known_subjects(connection, tenant, owners)
        for owner in owners:
            if owner not in known:
                yield SubjectRow(owner, _KEY_ALONE, datetime.min.replace(tzinfo=UTC))
        after = owners[-1]


async def _verify(vault: Vault) -> None:
    """Look for everybody of whom the ledger has an entry, from its first one on.

    Raises:
        DataLossError: REPLAY_INCOMPLETE.
    """
    entries = await asyncio.to_thread(lambda: list(vault.ledger.entries()))
    people, left = await _people(vault, entries), 0
    for entry in entries:
        for person in people.get(entry.subject_token, ()):
            async with vault.database.read() as connection, reading_keys(vault) as apart:
                keys = await subject_store.subject_key_rows(apart or connection, entry.tenant, [person.subject_id])
                erasure = await erasure_store.get_erasure(connection, entry.tenant, entry.erasure)
                gone = await ledger.destroyed(connection, entry, erasure) if erasure is not None else frozenset()
            if person.create_time >= entry.cut_off:
                continue
            # Whose erasure is under way is blocked, and taken up by upkeep.
            is_over = erasure is not None and erasure.state in ledger.DONE
            came_back = is_over and gone & {key.version for key in keys}
            left += bool(came_back) or not (is_over or person.state == "ERASING" or (person.state == _KEY_ALONE and not keys))
    if left:
        raise DataLossError("REPLAY_INCOMPLETE", f"{left} people are left whom the erasure ledger says were erased")


async def _serve_again(vault: Vault, attempt: Attempt, *, reached: int, is_pending: bool) -> Receipt:
    """Record the replay and move the markers, that of the keys first: what comes last is what opens the vault."""
    incarnation, now = new_id(), vault.clock()
    published = await restored.look(vault) if is_pending else {}
    if is_pending and vault.key_database is not None:
        async with vault.key_database.write() as apart:
            await marker_store.end_replay(apart, reached=reached, incarnation=incarnation, now=now)
    async with vault.database.write() as connection:
        if is_pending:
            await restored.note_restores(vault, connection, attempt.caller, published, incarnation=incarnation)
            await marker_store.end_replay(connection, reached=reached, incarnation=incarnation, now=now)
        [receipt] = await log.append(vault, connection, await log.system_keys(vault, connection), [attempt])
    # A sink that is away now gets them before anything is signed that names them.
    await restored.publish_notes(vault)
    return receipt


@asynccontextmanager
async def _alone(vault: Vault) -> AsyncIterator[None]:
    """Hold the lease for as long as this lasts.

    Raises:
        AbortedError: REPLAY_RUNNING.
    """
    holder = new_id()
    if not await _take(vault, holder):
        raise AbortedError("REPLAY_RUNNING", "another worker replays, or was killed a moment ago")
    renewing = asyncio.create_task(_renew(vault, holder))
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        async with vault.database.write() as connection:
            await rotation_store.give_back_lease(connection, _LEASE, holder=holder)


async def _take(vault: Vault, holder: str) -> bool:
    async with vault.database.write() as connection:
        return await rotation_store.take_lease(connection, _LEASE, holder=holder, now=vault.clock(), lasting=_LASTING)


async def _renew(vault: Vault, holder: str) -> None:
    while True:
        await asyncio.sleep(_LASTING.total_seconds() / 3)
        with suppress(VaultError):
            await _take(vault, holder)
