"""Retention: what is due goes, and nothing else.

Rules:
- A record goes when its retention ends, and content of a level that the tenant does not keep at once; a field that is kept for fewer days than its
  record is taken out of it. `due.py` says when.
- What is kept on as a token after its ordinary use loses the people in it, once; the record goes later.
- A contact that is in a list is not due, whenever it left another one (`listing.py`).
- What a correction replaced goes after thirty days (`replaced.py`).
- What registers say goes when it has been over for as long as the catalogue says (`retain_registers.py`).
- A batch is one commit with its entries: one per category for what was erased, and one for what was taken out.
- A batch that is done twice changes nothing, and a crash costs the batch that was under way (I10).
- A part that cannot be opened now keeps its field, and is tried again after a while; it keeps nothing else waiting.
- What is held stays whole: neither the record goes nor a field of it, also where its level was switched off (P3.2-lvl-files-off). No hold is placed
  amid a batch.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import structlog

from vault import crypto
from vault.catalogue.model import Category
from vault.crypto import Place
from vault.errors import DataLossError, InvalidArgumentError, VaultError
from vault.names import SYSTEM_LOG
from vault.operations import due, log, replaced
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, keys_of_parts, known_tenant, open_subject_key, readable_parts, usable_keys
from vault.operations.keyring import TenantKeys
from vault.operations.levels import Levels, levels_of
from vault.operations.listing import sweep_lists, without_listed
from vault.operations.preparing import expiry
from vault.operations.retain_registers import sweep_registers
from vault.operations.reveal import open_part, wrapped_under
from vault.store import holds as hold_store
from vault.store import records as record_store
from vault.store import replaced as replaced_store
from vault.store import retention as retention_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection, Database
from vault.store.records import PartRow, ReadableRow, RecordRow
from vault.store.retention import Swept
from vault.store.subjects import RESTRICTED, SubjectKeyRow

OPERATION = "retain"
# One batch holds its locks for some milliseconds.
_BATCH = 200
# In one turn of the background, so that erasures and rotations are not kept waiting.
_BATCHES_PER_TURN = 20
_EVERY_SECONDS = 60.0
# Kept for years: an hour more is nothing.
_REGISTERS_EVERY_SECONDS = 3600.0
_AGAIN = timedelta(hours=1)

_log = structlog.get_logger()
_next_turn: "WeakKeyDictionary[Database, float]" = WeakKeyDictionary()
_next_registers: "WeakKeyDictionary[Database, float]" = WeakKeyDictionary()


@dataclass(slots=True)
class Done:
    """What a sweep did: records erased by category, and whether it stopped before the end."""

    erased: Counter[str] = field(default_factory=Counter)
    stripped: Counter[str] = field(default_factory=Counter)
    is_more: bool = False


async def run_retention(vault: Vault, attempt: Attempt, tenant: str) -> tuple[Mapping[str, int], Receipt]:
    """Sweep one tenant, or every tenant if none is named, until nothing is due.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        KeyUnavailableError: a root key does not answer; asked about every tenant, the sweep goes on with the others.
    """
    done = Done()
    if tenant:
        await sweep_lists(vault, tenant)
        await replaced.sweep(vault, attempt.caller, tenant, operation=OPERATION)
        await _sweep_tenant(vault, attempt.caller, tenant, done, most=None)
        await _sweep_registers(vault, attempt.caller, tenant, done)
    else:
        await _sweep_all(vault, attempt.caller, done, most=None, registers=True)
    attempt.operation, attempt.count = OPERATION, done.erased.total()
    attempt.resource = f"tenants/{tenant}" if tenant else ""
    async with vault.database.write() as connection:
        system = await log.system_keys(vault, connection)
        [receipt] = await log.append(vault, connection, system, [replace(attempt, tenant="")])
    return dict(done.erased), receipt


async def sweep(vault: Vault, caller: Caller) -> None:
    """A turn of the background: every tenant, once a minute, or sooner if the last turn did not come to the end."""
    now = time.monotonic()
    if now < _next_turn.get(vault.database, 0.0):
        return
    done = Done()
    registers = now >= _next_registers.get(vault.database, 0.0)
    await _sweep_all(vault, caller, done, most=_BATCHES_PER_TURN, registers=registers)
    if registers:
        _next_registers[vault.database] = now + _REGISTERS_EVERY_SECONDS
    if not done.is_more:
        _next_turn[vault.database] = now + _EVERY_SECONDS
    if done.erased or done.stripped:
        _log.info("retention swept", count=done.erased.total())


async def count_overdue(vault: Vault, connection: Connection, tenant: str, *, since: timedelta) -> int:
    """How many of a tenant's records were due that long ago and are there still."""
    where = await _swept(vault, connection, tenant, Levels())
    return await retention_store.count_due(connection, tenant, vault.clock() - since, where)


async def _sweep_all(vault: Vault, caller: Caller, done: Done, *, most: int | None, registers: bool) -> None:
    after = ""
    while True:
        async with vault.database.read() as connection:
            page = await tenant_store.tenant_ids(connection, after=after)
        if not page:
            return
        for tenant in page:
            try:
                if tenant != SYSTEM_LOG:
                    if registers:
                        await sweep_lists(vault, tenant)
                        await replaced.sweep(vault, caller, tenant, operation=OPERATION)
                    await _sweep_tenant(vault, caller, tenant, done, most=most)
                if registers:
                    await _sweep_registers(vault, caller, tenant, done)
            except VaultError as error:
                # One tenant whose root key is away keeps no other waiting.
                _log.warning("retention delayed", resource=f"tenants/{tenant}", reason=error.reason)
        after = page[-1]


async def _sweep_tenant(vault: Vault, caller: Caller, tenant: str, done: Done, *, most: int | None) -> None:
    batches = 0
    while await _has_due(vault, tenant):
        if most is not None and batches == most:
            done.is_more = True
            return
        batches += 1
        await _sweep_batch(vault, caller, tenant, done)


async def _sweep_registers(vault: Vault, caller: Caller, tenant: str, done: Done) -> None:
    gone = await sweep_registers(vault, caller, tenant, operation=OPERATION)
    done.erased.update(gone)
    vault.meters.retained(gone, Counter())


async def _has_due(vault: Vault, tenant: str) -> bool:
    """Look before a writing transaction is opened: mostly there is nothing."""
    async with vault.database.read() as connection:
        row, _ = await known_tenant(vault, connection, tenant)
        where = await _swept(vault, connection, tenant, await levels_of(vault, connection, row))
        return await retention_store.has_due(connection, tenant, vault.clock(), where)


async def _swept(vault: Vault, connection: Connection, tenant: str, levels: Levels) -> Swept:
    """Where the sweep looks. Whether there are holds is asked once, not of every record."""
    has_holds = await hold_store.has_live_holds(connection, tenant, vault.clock())
    return replace(levels.swept(vault.catalogue), has_holds=has_holds)


async def _sweep_batch(vault: Vault, caller: Caller, tenant: str, done: Done) -> None:
    erased: Counter[str] = Counter()
    stripped: Counter[str] = Counter()
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, tenant, hold=True)
        levels = await levels_of(vault, connection, row)
        await hold_store.delay_holds(connection, tenant)
        now = vault.clock()
        rows = await retention_store.due_records(connection, tenant, now, await _swept(vault, connection, tenant, levels), limit=_BATCH)
        rows = await _with_clocks(vault, connection, tenant, rows)
        over = {item.record_id for item in rows if is_over(vault.catalogue.category(item.category), item, levels, now)}
        gone, left = [item for item in rows if item.record_id in over], [item for item in rows if item.record_id not in over]
        await retention_store.delete_records(connection, tenant, [item.record_id for item in gone])
        taken = await _take_fields(vault, connection, keys, left, now)
        entries = [
            *_entries(caller, tenant, gone, {}),
            *_entries(caller, tenant, [item for item in left if item.record_id in taken], taken),
        ]
        if entries:
            await log.append(vault, connection, keys, entries)
        erased.update(item.category for item in gone)
        stripped.update(item.category for item in left if item.record_id in taken)
    # Counted once it is committed.
    done.erased.update(erased)
    done.stripped.update(stripped)
    vault.meters.retained(erased, stripped)


def is_over(category: Category, row: RecordRow, levels: Levels, now: datetime) -> bool:
    """Whether a record is to go now: its time is over, or its content is not kept at its level."""
    end = due.end_of(category, row)
    return (end is not None and end <= now) or not levels.is_kept(category, row.level, row.metadata)


async def _with_clocks(vault: Vault, connection: Connection, tenant: str, rows: Sequence[RecordRow]) -> list[RecordRow]:
    """The records with the clocks that they should have: what ended says so, and who is in a list again has none."""
    rows = await without_listed(vault, connection, tenant, rows)
    started = {row.record_id: end for row in rows if row.expire_time is None and (end := _told_end(vault, row)) is not None}
    await retention_store.set_expiry(connection, tenant, started)
    return [replace(row, expire_time=started.get(row.record_id, row.expire_time)) for row in rows]


def _told_end(vault: Vault, row: RecordRow) -> datetime | None:
    """When the retention of a record ends which tells itself when it was over; None too for one past the calendar, which nobody stores any more."""
    category = vault.catalogue.category(row.category)
    if category.end_field(category.retention_at(row.level, row.metadata).event) is None:
        return None
    try:
        return expiry(category, row.level, row.metadata, created=row.create_time, occurred=row.occur_time)
    except InvalidArgumentError:
        return None


async def _take_fields(
    vault: Vault, connection: Connection, keys: TenantKeys, rows: Sequence[RecordRow], now: datetime
) -> dict[str, frozenset[str]]:
    """Take the fields, and the people, whose time is over out of records, and note when each is to be looked at next; what was taken, by record."""
    parts: dict[str, list[ReadableRow]] = defaultdict(list)
    for part in await readable_parts(vault, connection, keys.tenant, [row.record_id for row in rows]):
        # A party that is a token has no fields (A23).
        if part.key_version != 0:
            parts[part.record_id].append(part)
    opened = [part for found in parts.values() for part in found if part.tenant_key_version is not None]
    keys = await keys_of_parts(vault, connection, keys, wrapped_under(opened))
    taken: dict[str, frozenset[str]] = {}
    times: dict[str, datetime | None] = {}
    tokens: list[tuple[str, str]] = []
    for row in rows:
        category = vault.catalogue.category(row.category)
        over = due.fields_due(category, row, now)
        present = {name for part in parts[row.record_id] for name in crypto.field_names(part.sealed)}
        if (token_time := due.token_time(category, row)) is not None and token_time <= now:
            if parts[row.record_id]:
                tokens += [(part.record_id, part.role) for part in parts[row.record_id]]
                taken[row.record_id] = frozenset(present)
            times[row.record_id] = due.next_due(category, row, (), is_token=True)
            continue
        held = present & over
        try:
            removed = frozenset().union(*[await take_out(vault, connection, keys, part, over) for part in parts[row.record_id]])
        except DataLossError as error:
            _log.warning("field not taken out", resource=f"tenants/{keys.tenant}", reason=error.reason)
            removed = frozenset()
        if removed:
            taken[row.record_id] = removed
        if held - removed:
            times[row.record_id] = now + _AGAIN
        else:
            times[row.record_id] = due.next_due(category, row, present - removed)
    await record_store.delete_index_roles(connection, keys.tenant, tokens)
    await record_store.tokenise_parts(connection, keys.tenant, tokens)
    await replaced_store.forget_of_records(connection, keys.tenant, taken)
    await retention_store.set_due(connection, keys.tenant, times)
    return taken


async def take_out(vault: Vault, connection: Connection, keys: TenantKeys, part: ReadableRow, over: Collection[str]) -> frozenset[str]:
    """Seal a part without some fields, and forget their tokens; which of them it had. A person who is being erased has no key, and soon no part."""
    held = frozenset(over) & frozenset(crypto.field_names(part.sealed))
    if not held or part.wrapped is None or part.tenant_key_version is None:
        return frozenset()
    if part.keyring == RESTRICTED:
        # What an erasure kept stays under the key that it was kept under (§6.4).
        usable = SubjectKeyRow(part.subject_id, part.key_version, part.tenant_key_version, part.wrapped, RESTRICTED)
    elif found := (await usable_keys(vault, connection, keys.tenant, [part.subject_id])).get(part.subject_id):
        usable = found
    else:
        return frozenset()
    fields = {name: value for name, value in open_part(keys, part, None).items() if name not in held}
    key = open_subject_key(keys, usable)
    sealed = crypto.seal_fields(fields, under=key, at=Place(keys.tenant, part.subject_id, part.record_id))
    await record_store.replace_part(connection, keys.tenant, PartRow(part.record_id, part.role, part.subject_id, key.version, sealed))
    await record_store.delete_index_fields(connection, keys.tenant, part.record_id, sorted(held))
    return held


def _entries(caller: Caller, tenant: str, rows: Sequence[RecordRow], taken: Mapping[str, Collection[str]]) -> list[Attempt]:
    """One entry per category: of records that are gone, or of fields that are."""
    by_category: dict[str, list[RecordRow]] = defaultdict(list)
    for row in rows:
        by_category[row.category].append(row)
    return [
        Attempt(
            caller=caller,
            operation=OPERATION,
            tenant=tenant,
            category=category,
            fields=tuple(sorted({name for row in found for name in taken.get(row.record_id, ())})),
            records=tuple(row.record_id for row in found),
            subjects=tuple(dict.fromkeys(row.subject_id for row in found)),
            count=len(found),
        )
        for category, found in sorted(by_category.items())
    ]
