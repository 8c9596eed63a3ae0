"""Carrying out the end of a contract, in the background and in short transactions (P3.8, §2B).

    CREDENTIALS  nothing is stored any more; jobs and requests are closed; access details, recordings in transit and kept answers are destroyed
    KEEPING      accounts become former customers' contacts, intervals are closed, clocks that start with the contract's end are started
    GRACE        the customer may take its data
    LISTS        lists, templates and content kept for reports are erased (P3.8-rm-lists, A24)
    TOKENS       reports that are kept lose whoever they do not need (A23)
    KEYS         keys that opened what is gone are destroyed, and what is left of those people is sealed anew (ADR 0015)
    COMPLETE     nothing is left that should not be; the report is signed

Rules:
- Every batch is one commit with its counts and its entry, and one that is done twice changes nothing: a crash costs the one under way (I10).
- Before anything is destroyed the erasure ledger says so, outside of every backup (§6.6): at first, and again when the grace is over.
- A person who is being erased is the erasure's: their records are left to it and waited for, so that both counts are right (E18). What an erasure
  kept under an exception stays its own.
- What is held stays, and nobody waits for it: when the hold ends, the end of the contract is taken up once more, and its report signed anew.
- One tenant whose root key is away keeps no other waiting.

Not here: what KEEPING and KEYS do, which is in `wind_up_kept.py` and `wind_up_keys.py`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import structlog

from vault.audit import termination_report
from vault.audit.checkpoint import sign_note
from vault.catalogue.model import Category, ContractEnd
from vault.errors import DataLossError, VaultError
from vault.operations import ledger, log, notify
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.keyring import TenantKeys
from vault.operations.terminate import Tally, tallies
from vault.operations.wind_up_kept import keep_records
from vault.operations.wind_up_keys import renew_keys
from vault.operations.wind_up_which import ending_as, gone_after_grace, tokenised
from vault.store import holds as hold_store
from vault.store import records as record_store
from vault.store import retention as retention_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.records import PartRow, RecordRow
from vault.store.terminations import Counts, Spared, TerminationRow, Which

OPERATION = "wind-up"
# One batch holds its locks for some milliseconds.
_BATCH = 200
_REQUESTS = 1000
# What is said in the erasure ledger before a step destroys anything.
_NOTED = {"CREDENTIALS": ledger.CONTRACT_ENDED, "LISTS": ledger.GRACE_OVER}

_log = structlog.get_logger()


async def is_pending(vault: Vault) -> bool:
    """Whether the end of any contract has something to do now."""
    async with vault.database.read() as connection:
        return bool(await termination_store.pending_terminations(connection, vault.clock()))


async def advance(vault: Vault, caller: Caller) -> bool:
    """Do one batch of every end of a contract. Whether any batch changed anything."""
    async with vault.database.read() as connection:
        tenants = await termination_store.pending_terminations(connection, vault.clock())
    advanced = False
    for tenant in tenants:
        try:
            advanced |= await _step(vault, caller, tenant)
        except VaultError as error:
            _log.warning("end of contract delayed", resource=f"tenants/{tenant}", reason=error.reason)
    return advanced


async def carry_out(vault: Vault, caller: Caller, tenant: str) -> None:
    """Do everything of one end of a contract that is to be done now and that the erasure ledger knows of.

    Raises:
        VaultError: something is in the way; it goes on from there.
    """
    while await _is_known(vault, tenant) and await _step(vault, caller, tenant):
        pass


async def _step(vault: Vault, caller: Caller, tenant: str) -> bool:
    await _note(vault, tenant)
    async with vault.database.write() as connection:
        row = await termination_store.get_termination(connection, tenant, lock=True)
        if row is None or not _is_due(vault, row):
            return False
        # Whoever stores for the tenant holds its keys: alone with them for a moment at the beginning, nobody stores after what was counted.
        await (tenant_store.change_keys if row.state == "APPROVED" else tenant_store.hold_keys)(connection, tenant)
        await hold_store.delay_holds(connection, tenant)
        if not _is_noted(vault, row):
            # Another worker was here: once more from the top.
            return True
        _, keys = await known_tenant(vault, connection, tenant)
        return await _STEPS[row.state](vault, connection, keys, caller, row)


async def _is_known(vault: Vault, tenant: str) -> bool:
    async with vault.database.read() as connection:
        row = await termination_store.get_termination(connection, tenant)
    return row is not None and _is_noted(vault, row)


async def _note(vault: Vault, tenant: str) -> None:
    async with vault.database.read() as connection:
        row = await termination_store.get_termination(connection, tenant)
    if row is not None and not _is_noted(vault, row):
        await ledger.record_termination(vault, row, _NOTED[row.state])


def _is_noted(vault: Vault, row: TerminationRow) -> bool:
    return row.state not in _NOTED or ledger.has_termination(vault, row.tenant_id, _NOTED[row.state])


def _is_due(vault: Vault, row: TerminationRow) -> bool:
    """Looked at again under the lock: another worker may have been here."""
    now = vault.clock()
    waits_until = {"APPROVED": row.effective_time, "GRACE": row.grace_end_time}
    return row.state not in {"REQUESTED", "COMPLETE"} and waits_until.get(row.state, now) <= now


async def _begin(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    """From this commit on nothing is stored for the tenant, and nobody acts for it but to have its data returned."""
    await tenant_store.set_state(connection, row.tenant_id, "TERMINATING")
    await termination_store.cut_off(connection, row.tenant_id, vault.clock())
    found = await termination_store.count_by_category(connection, row.tenant_id)
    counts = {category: {"found": count} for category, count in found.items()}
    await log.append(vault, connection, keys, [_attempt(caller, row, count=sum(found.values()))])
    await termination_store.update_termination(connection, replace(row, state="CREDENTIALS", counts=counts))
    return True


async def _credentials(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    if await termination_store.forget_requests(connection, row.tenant_id, limit=_REQUESTS):
        return True
    which = ending_as(vault.catalogue, ContractEnd.DESTROYED)
    if (erased := await _erase_some(vault, connection, keys, caller, row, which)) is not None:
        return erased
    await termination_store.update_termination(
        connection, replace(row, state="KEEPING", credentials_time=row.credentials_time or vault.clock())
    )
    return True


async def _keeping(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    kept = await keep_records(vault, connection, keys, row, limit=_BATCH)
    entries = [
        _attempt(caller, row, category=category, records=tuple(ids), count=len(ids)) for category, ids in sorted(kept.changed.items())
    ]
    if entries:
        await log.append(vault, connection, keys, entries)
    if kept.people:
        await termination_store.queue_subjects(connection, row.tenant_id, kept.people)
    counts = added(row.counts, kept.counts)
    done = replace(row, counts=counts, position=kept.position) if kept.position else replace(row, state="GRACE", position="")
    await termination_store.update_termination(connection, done)
    return True


async def _grace(vault: Vault, connection: Connection, _keys: TenantKeys, _caller: Caller, row: TerminationRow) -> bool:
    await termination_store.update_termination(connection, replace(row, state="LISTS", erase_time=row.erase_time or vault.clock()))
    return True


async def _lists(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    if (erased := await _erase_some(vault, connection, keys, caller, row, gone_after_grace(vault.catalogue))) is not None:
        return erased
    await termination_store.forget_imports(connection, row.tenant_id)
    await termination_store.update_termination(connection, replace(row, state="TOKENS"))
    return True


async def _tokens(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    tenant, which = row.tenant_id, tokenised(vault.catalogue)
    spared = await _spared(vault, connection, tenant)
    found = termination_store.sealed_records(connection, tenant, which, after=row.position, limit=_BATCH, spared=spared)
    rows = await found if which else []
    reached = rows[-1].record_id if rows else ""
    rows = await _free(connection, tenant, rows)
    if not rows:
        is_left = bool(which) and bool(await termination_store.count_left(connection, tenant, which, sealed=True, spared=spared))
        await termination_store.update_termination(connection, replace(row, state=row.state if is_left else "KEYS", position=reached))
        return bool(reached) or not is_left
    parts, _ = await _own_parts(connection, tenant, [item.record_id for item in rows])
    await termination_store.queue_subjects(connection, tenant, sorted({part.subject_id for part in parts}))
    named = [(part.record_id, part.role) for part in parts]
    await record_store.delete_index_roles(connection, tenant, named)
    await record_store.tokenise_parts(connection, tenant, named)
    await log.append(vault, connection, keys, _entries(caller, row, rows))
    counts = added(row.counts, _counted(rows, "tokenised"))
    await termination_store.update_termination(connection, replace(row, counts=counts, position=reached))
    return True


async def _keys(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    renewed = await renew_keys(vault, connection, keys)
    if renewed is not None:
        if renewed.people:
            await log.append(vault, connection, keys, [_attempt(caller, row, subjects=renewed.people, count=len(renewed.people))])
        key_counts = Counter(row.key_counts) + Counter(renewed.counts)
        await termination_store.update_termination(connection, replace(row, key_counts=dict(key_counts)))
        return True
    return await _finish(vault, connection, keys, caller, row)


async def _finish(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow) -> bool:
    """Look once more that nothing is left, and sign what was done.

    Raises:
        DataLossError: TERMINATION_INCOMPLETE, something came back; the end of the contract is not reported as done.
    """
    gone = [*ending_as(vault.catalogue, ContractEnd.DESTROYED), *gone_after_grace(vault.catalogue)]
    if await termination_store.count_left(connection, row.tenant_id, gone, spared=await _spared(vault, connection, row.tenant_id)):
        raise DataLossError("TERMINATION_INCOMPLETE", "the sweep after the end of a contract still finds records")
    kept = await termination_store.count_by_category(connection, row.tenant_id)
    counts = {name: {**row.counts.get(name, {}), "kept": kept.get(name, 0)} for name in sorted(row.counts.keys() | kept.keys())}
    done = replace(row, state="COMPLETE", finish_time=vault.clock(), counts=counts)
    found = tallies(vault.catalogue, done, kept)
    [receipt] = await log.append(vault, connection, keys, [_attempt(caller, row, count=sum(tally.erased for tally in found.values()))])
    await notify.contract_ended(vault, connection, row.tenant_id, [name for name, tally in found.items() if tally.erased])
    await tenant_store.set_state(connection, row.tenant_id, "TERMINATED")
    await termination_store.update_termination(connection, replace(done, report=_report(vault, done, found, receipt)))
    return True


async def _erase_some(
    vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: TerminationRow, which: Sequence[Which]
) -> bool | None:
    """Erase some of the records. None if there are none; False if what is left is some erasure's."""
    tenant, spared = row.tenant_id, await _spared(vault, connection, row.tenant_id)
    found = await termination_store.find_records(connection, tenant, which, limit=_BATCH, spared=spared)
    rows = await _free(connection, tenant, found)
    if not rows:
        return False if await termination_store.count_left(connection, tenant, which, spared=spared) else None
    parts, kept = await _own_parts(connection, tenant, [item.record_id for item in rows])
    await termination_store.queue_subjects(connection, tenant, sorted({part.subject_id for part in parts}))
    gone = [item for item in rows if item.record_id not in kept]
    await retention_store.delete_records(connection, tenant, [item.record_id for item in gone])
    for part in (part for part in parts if part.record_id in kept):
        await record_store.delete_part(connection, tenant, part.record_id, part.role)
    await log.append(vault, connection, keys, _entries(caller, row, rows))
    await termination_store.update_termination(connection, replace(row, counts=added(row.counts, _counted(gone, "erased"))))
    return True


async def _own_parts(connection: Connection, tenant: str, ids: Sequence[str]) -> tuple[list[PartRow], frozenset[str]]:
    """Parts of records but for those that an erasure kept, and of which records it kept any."""
    kept = await termination_store.kept_parts(connection, tenant, ids)
    parts = await record_store.get_parts(connection, tenant, ids)
    return [part for part in parts if (part.record_id, part.role) not in kept], frozenset(record for record, _ in kept)


async def _spared(vault: Vault, connection: Connection, tenant: str) -> Spared:
    """What holds keep; looked at once per batch of a tenant that has none."""
    now = vault.clock()
    if not await hold_store.has_live_holds(connection, tenant, now):
        return Spared()
    return Spared(now, frozenset(category.name for category in vault.catalogue.categories.values() if category.is_transient))


async def _free(connection: Connection, tenant: str, rows: Sequence[RecordRow]) -> list[RecordRow]:
    """Those of the records that are there and whose owner is not being erased, locked: no erasure of theirs begins before the commit (E18)."""
    owners = sorted({row.subject_id for row in rows})
    await subject_store.lock_living(connection, tenant, owners)
    dying = await termination_store.being_erased(connection, tenant, owners)
    left = set(await record_store.lock_records(connection, tenant, [row.record_id for row in rows if row.subject_id not in dying]))
    return [row for row in rows if row.record_id in left]


def added(counts: Counts, more: Counts) -> dict[str, dict[str, int]]:
    """Both counts together, by category and outcome."""
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for each in (counts, more):
        for category, found in each.items():
            total[category].update(found)
    return {category: dict(found) for category, found in total.items()}


def _counted(rows: Sequence[RecordRow], outcome: str) -> dict[str, dict[str, int]]:
    return {category: {outcome: count} for category, count in Counter(row.category for row in rows).items()}


def _entries(caller: Caller, row: TerminationRow, rows: Sequence[RecordRow]) -> list[Attempt]:
    """One entry per category."""
    by_category: dict[str, list[RecordRow]] = defaultdict(list)
    for item in rows:
        by_category[item.category].append(item)
    return [
        _attempt(
            caller,
            row,
            category=category,
            records=tuple(item.record_id for item in found),
            subjects=tuple(dict.fromkeys(item.subject_id for item in found)),
            count=len(found),
        )
        for category, found in sorted(by_category.items())
    ]


def _attempt(
    caller: Caller,
    row: TerminationRow,
    *,
    category: str = "",
    records: tuple[str, ...] = (),
    subjects: tuple[str, ...] = (),
    count: int = 0,
) -> Attempt:
    return Attempt(
        caller=caller,
        operation=OPERATION,
        tenant=row.tenant_id,
        category=category,
        records=records,
        subjects=subjects,
        count=count,
        rule=f"termination:{row.state.lower()}",
        resource=f"tenants/{row.tenant_id}",
    )


def _report(vault: Vault, row: TerminationRow, found: Mapping[str, Tally], receipt: Receipt) -> str:
    """A signed note over canonical JSON: what there was, what became of it, and where that is logged. Nobody is named."""
    body = {
        "format": termination_report.FORMAT,
        "issuer": vault.name,
        "operator": vault.catalogue.operator.in_both,
        "tenant": f"tenants/{row.tenant_id}",
        "state": "COMPLETE",
        "asked_by": row.asked_by,
        "requester": row.requester,
        "approver": row.approver,
        "request_time": row.request_time.isoformat(),
        "effective_time": row.effective_time.isoformat(),
        "credentials_time": row.credentials_time.isoformat() if row.credentials_time else "",
        "grace_end_time": row.grace_end_time.isoformat(),
        "return_time": row.return_time.isoformat() if row.return_time else "",
        "finish_time": row.finish_time.isoformat() if row.finish_time else "",
        "method": ["row-deletion", "tokenisation", "key-destruction"],
        "categories": {name: _said(vault.catalogue.category(name), tally) for name, tally in found.items()},
        "keys": {name: row.key_counts.get(name, 0) for name in ("destroyed", "renewed", "left")},
        "audit": {"log": receipt.log, "index": receipt.index},
        "policy_version": vault.catalogue.policy_version,
    }
    return sign_note(json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1) + "\n", vault.signer)


def _said(category: Category, tally: Tally) -> dict[str, object]:
    kept_until = [
        retention.text.en for retention in [category.retention, *(level.retention for level in category.levels.values())] if retention
    ]
    return {
        "found": tally.found,
        "erased": tally.erased,
        "converted": tally.converted,
        "tokenised": tally.tokenised,
        "kept": tally.kept,
        "otherwise": tally.otherwise,
        "reasons": list(tally.reasons) if tally.kept else [],
        "until": kept_until if tally.kept else [],
    }


_Step = Callable[[Vault, Connection, TenantKeys, Caller, TerminationRow], Awaitable[bool]]
_STEPS: Mapping[str, _Step] = MappingProxyType(
    {
        "APPROVED": _begin,
        "CREDENTIALS": _credentials,
        "KEEPING": _keeping,
        "GRACE": _grace,
        "LISTS": _lists,
        "TOKENS": _tokens,
        "KEYS": _keys,
    }
)
