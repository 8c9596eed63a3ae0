"""Storing records. Written for a batch; one call is a batch of one.

(1) check and prepare every record, before any transaction
(2) decide, once per call, category and level
(3) find or create the subjects, with their keys
(4) seal, index, store
(5) append one entry per call and category
(6) commit; then answer (I7)
(7) record what was refused, in a transaction of its own (I5)
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vault import crypto, names
from vault.catalogue.check import guardian_required
from vault.crypto import DataKey, Place
from vault.errors import AbortedError, NotFoundError, VaultError
from vault.names import RecordName
from vault.operations import due, idempotency, log, parents, preference, readd
from vault.operations.attempt import Attempt, Justification, Receipt
from vault.operations.core import Vault, active_tenant
from vault.operations.decision import Facts, gather, require
from vault.operations.idempotency import Answer, RequestKey
from vault.operations.keyring import TenantKeys
from vault.operations.levels import Levels, as_chosen, levels_of
from vault.operations.preparing import Prepared, RecordInput, expiry, prepare
from vault.operations.subjects import PartKey, Resolved, resolve_subjects, token_of, unusable_subjects
from vault.operations.transport import check_record, plaintext_channels
from vault.policy.decide import Allowed, Operation
from vault.store import guardians as guardian_store
from vault.store import records as record_store
from vault.store.database import Connection
from vault.store.records import IndexRow, PartRow, RecordRow

DEFAULT_PURPOSE = "service-delivery"
_RECORDS_PER_ENTRY = 500


@dataclass(frozen=True, slots=True)
class CreateCall:
    """One call: records of one tenant, stored for one purpose.

    Attributes:
        atomic: all or nothing.
        request: for idempotency; empty if the caller wants none.
    """

    attempt: Attempt
    records: tuple[RecordInput, ...]
    atomic: bool
    request: RequestKey


@dataclass(frozen=True, slots=True)
class Created:
    """A stored record and where that was recorded."""

    name: RecordName
    receipt: Receipt


Outcome = Created | VaultError


async def create_records(vault: Vault, tenant: str, calls: Sequence[CreateCall]) -> list[list[Outcome]]:
    """Store the records of the calls.

    Returns:
        For each call, one outcome per record, in order.
    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        UnavailableError: nothing was stored.
        AbortedError: CONCURRENT_CHANGE, RETRY_AFTER_ERASURE; nothing was stored.
    """
    prepared = [[_prepared(vault, tenant, record) for record in call.records] for call in calls]
    async with vault.database.write() as connection:
        row, keys = await active_tenant(vault, connection, tenant, hold=True)
        levels = await levels_of(vault, connection, row)
        outcomes: list[list[Outcome]] = []
        for call, items in zip(calls, prepared, strict=True):
            try:
                facts = await gather(vault, connection, call.attempt, row, required=False)
                outcomes.append(await _store_call(vault, connection, keys, facts, levels, call, items))
            except AbortedError:
                # Something of this call may be written already: the transaction ends, and each of its calls is tried alone.
                raise
            except VaultError as error:
                outcomes.append([error] * len(items))
    await _record_refusals(vault, calls, outcomes)
    return outcomes


def _prepared(vault: Vault, tenant: str, record: RecordInput) -> Prepared | VaultError:
    try:
        prepared = replace(prepare(vault, record), readd_source=readd.check_source(record.readd_source))
        if record.subject and names.parse_subject(record.subject).tenant != tenant:
            raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    except VaultError as error:
        return error
    return prepared


async def _store_call(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    facts: Facts,
    levels: Levels,
    call: CreateCall,
    items: Sequence[Prepared | VaultError],
) -> list[Outcome]:
    if (answer := await idempotency.earlier_answer(connection, keys, call.request)) is not None:
        return [_named(keys.tenant, name, answer.receipt) for name in answer.ids]
    # What is kept under a request id is the whole answer, so such a call succeeds or fails as one, like an atomic one.
    prepared = [item for item in items if isinstance(item, Prepared)]
    unusable = await unusable_subjects(vault, connection, keys.tenant, {item.subject for item in prepared})
    plaintext = await plaintext_channels(vault, connection, keys.tenant, prepared)
    guarded = await _guarded(vault, connection, keys.tenant, prepared)
    items = await readd.ask_who(connection, keys, [_chosen(item, levels, plaintext, guarded) for item in items])
    asked = as_chosen(vault, levels)
    missing = await parents.missing_parents(connection, keys.tenant, prepared)
    decisions = [_decision(asked, facts, call.attempt, item, unusable, missing) for item in items]
    refused = next((decision for decision in decisions if isinstance(decision, VaultError)), None)
    if refused is not None and (call.atomic or call.request.request_id):
        raise refused
    allowed = [(item, decision) for item, decision in zip(items, decisions, strict=True) if isinstance(decision, Allowed)]
    admitted = [(item, decision.rule) for item, decision in allowed if isinstance(item, Prepared)]
    stored = await store_records(vault, connection, keys, [item for item, _ in admitted], import_id="")
    accounts = accounts_in([item for item, _ in admitted], stored)
    await preference.accept_terms(vault, connection, keys.tenant, accounts, by=call.attempt.caller.principal)
    receipts = await _append(vault, connection, keys, call, admitted, stored)
    created = iter([Created(name, receipt) for name, receipt in zip(stored, receipts, strict=True)])
    if call.request.request_id and receipts:
        ids = tuple(f"{name.subject}/{name.record}" for name in stored)
        await idempotency.keep(vault, connection, keys, call.request, Answer(ids, receipts[0]))
    return [decision if isinstance(decision, VaultError) else next(created) for decision in decisions]


async def _guarded(vault: Vault, connection: Connection, tenant: str, items: Sequence[Prepared]) -> frozenset[str]:
    """Those of the minors among the owners for whom a verified guardian consented (P2.6-minor)."""
    minors = {item.subject for item in items if item.minor_by}
    standing = await guardian_store.guardian_standing(connection, tenant, minors, vault.clock()) if minors else {}
    return frozenset(subject for subject, stands in standing.items() if stands == guardian_store.VERIFIED)


def _chosen(item: Prepared | VaultError, levels: Levels, plaintext: frozenset[str], guarded: frozenset[str]) -> Prepared | VaultError:
    """The item as the tenant's settings and the guardians have it: kept for as long as they say, or refused."""
    if isinstance(item, VaultError):
        return item
    try:
        levels.check(item.category, item.level, item.metadata)
        check_record(item, plaintext)
        if item.minor_by and item.subject not in guarded:
            raise guardian_required(item.minor_by)
    except VaultError as error:
        return error
    days = levels.days(item.category, item.level, item.metadata)
    return item if days is None else replace(item, kept_days=days)


def _decision(
    vault: Vault,
    facts: Facts,
    attempt: Attempt,
    item: Prepared | VaultError,
    unusable: Mapping[str, VaultError],
    missing: frozenset[tuple[str, str]],
) -> Allowed | VaultError:
    """The rule by which an item may be stored, or why it may not."""
    if isinstance(item, VaultError):
        return item
    try:
        allowed = require(
            vault, attempt, facts, operation=Operation.CREATE, category=item.category.name, level=item.level, list_id=item.list_id
        )
    except VaultError as error:
        return error
    return unusable.get(item.subject) or parents.without_parent(item, missing) or allowed


async def store_records(
    vault: Vault, connection: Connection, keys: TenantKeys, items: Sequence[Prepared], *, import_id: str
) -> list[RecordName]:
    """Seal, index and store prepared records in this transaction; returns their names, in order."""
    if not items:
        return []
    resolved = await resolve_subjects(vault, connection, keys, items)
    rows: list[RecordRow] = []
    parts: list[PartRow] = []
    index: list[IndexRow] = []
    for position, item in enumerate(items):
        row = record_row(vault, item, owner=resolved.subjects[PartKey(position, item.parts[0].role)], import_id=import_id)
        rows.append(row)
        parts += seal_parts(keys.tenant, row.record_id, item, position, resolved)
        index += index_rows(keys, row.record_id, item, position, resolved.subjects)
    await record_store.insert_records(connection, keys.tenant, rows, parts, index)
    return [RecordName(keys.tenant, row.subject_id, row.record_id) for row in rows]


def accounts_in(items: Sequence[Prepared], stored: Sequence[RecordName]) -> dict[str, str]:
    """Terms of the accounts that people opened by what was stored of them, by subject.

    No minor agrees by that, and whoever was erased comes back without having agreed to anything (§6.7).
    """
    found: dict[str, str] = {}
    for item, name in zip(items, stored, strict=True):
        kind = item.category.row_kind(item.metadata)
        if kind is not None and kind.account_terms and not item.minor_by and not item.readd_source:
            found[name.subject] = item.metadata[kind.account_terms]
    return found


def seal_parts(tenant: str, record_id: str, item: Prepared, position: int, resolved: Resolved) -> list[PartRow]:
    """Seal each party's fields under that party's key."""
    sealed = []
    for part in item.parts:
        subject = resolved.subjects[PartKey(position, part.role)]
        key: DataKey = resolved.keys[subject]
        content = crypto.seal_fields(part.fields, under=key, at=Place(tenant, subject, record_id))
        sealed.append(PartRow(record_id, part.role, subject, key.version, content))
    return sealed


def index_rows(keys: TenantKeys, record_id: str, item: Prepared, position: int, subjects: Mapping[PartKey, str]) -> list[IndexRow]:
    """Index entries of one record."""
    rows = []
    for part in item.parts:
        for identifier in part.searchable:
            token = token_of(keys, identifier)
            subject = subjects[PartKey(position, part.role)]
            rows.append(IndexRow(token.kind, token.token, record_id, identifier.field, part.role, subject, keys.index_version))
    return rows


def record_row(vault: Vault, item: Prepared, *, owner: str, import_id: str) -> RecordRow:
    """The record without its parts."""
    now = vault.clock()
    row = RecordRow(
        record_id=names.new_id(),
        subject_id=owner,
        category=item.category.name,
        level=item.level,
        list_id=item.list_id,
        import_id=import_id,
        create_time=now,
        occur_time=item.occur_time,
        valid_from=item.valid_from,
        valid_to=item.valid_to,
        expire_time=expiry(item.category, item.level, item.metadata, created=now, occurred=item.occur_time, kept_days=item.kept_days),
        metadata=item.metadata,
        version=1,
    )
    return replace(row, due_time=due.next_due(item.category, row, {name for part in item.parts for name in part.fields}))


async def _append(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    call: CreateCall,
    items: Sequence[tuple[Prepared, str]],
    stored: Sequence[RecordName],
) -> list[Receipt]:
    """One entry per category, rule and who asked for a return, in pieces that fit; returns the receipt of each record, in order."""
    by_rule: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for position, (item, rule) in enumerate(items):
        by_rule[item.category.name, rule, f"readd-{item.readd_source.lower()}" if item.readd_source else ""].append(position)
    pieces = [
        (kind, positions[start : start + _RECORDS_PER_ENTRY])
        for kind, positions in by_rule.items()
        for start in range(0, len(positions), _RECORDS_PER_ENTRY)
    ]
    if not pieces:
        return []
    entries = [
        replace(
            call.attempt,
            category=category,
            rule=rule,
            consent_basis=basis,
            records=tuple(stored[position].record for position in positions),
            subjects=tuple(dict.fromkeys(stored[position].subject for position in positions)),
            count=len(positions),
        )
        for (category, rule, basis), positions in pieces
    ]
    written = await log.append(vault, connection, keys, entries)
    receipts = {position: receipt for (_, positions), receipt in zip(pieces, written, strict=True) for position in positions}
    return [receipts[position] for position in range(len(items))]


def _named(tenant: str, stored: str, receipt: Receipt) -> Created:
    subject, _, record = stored.partition("/")
    return Created(RecordName(tenant, subject, record), receipt)


async def _record_refusals(vault: Vault, calls: Sequence[CreateCall], outcomes: Sequence[Sequence[Outcome]]) -> None:
    """One entry per call and reason."""
    for call, results in zip(calls, outcomes, strict=True):
        refused: dict[tuple[str, str], list[VaultError]] = defaultdict(list)
        for record, outcome in zip(call.records, results, strict=True):
            if isinstance(outcome, VaultError):
                category = record.category if record.category in vault.catalogue.categories else ""
                refused[category, outcome.reason].append(outcome)
        for (category, _), errors in refused.items():
            attempt = replace(call.attempt, operation=Operation.CREATE.value, category=category, count=len(errors))
            [receipt] = await log.refuse(vault, [attempt], errors[0])
            for error in errors:
                error.receipt = (receipt.log, receipt.index)


def stored_for(purpose: str) -> Justification:
    """Storing needs a purpose and no reason: what is justified is letting data out."""
    return Justification(purpose or DEFAULT_PURPOSE)
