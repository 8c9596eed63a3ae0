"""What is kept when a contract ends, and from when on it counts (P3.8-keep-contact, P3.8-keep-map, §2B).

- An account becomes a former customer's contact, unless the customer or the person asked to be left alone; what remains of it is what invoices need.
- An assignment of a number ends with the contract.
- An account that is held, or that an erasure kept, is left whole.
- What is kept for a time after the contract, or after what a card or a number was for, is given its end.

What cannot be opened now is left whole, says so in the log, and is not counted as converted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from vault import crypto
from vault.catalogue.model import Category, ContractEnd, HeldAs, RetentionEvent
from vault.errors import DataLossError
from vault.names import SubjectName
from vault.operations import due
from vault.operations.core import Vault, keys_of_parts, readable_parts, usable_keys
from vault.operations.create import store_records
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import RecordInput, prepare
from vault.operations.retain import take_out
from vault.operations.reveal import open_part, wrapped_under
from vault.store import holds as hold_store
from vault.store import objections as objection_store
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.records import ReadableRow, RecordRow
from vault.store.subjects import RESTRICTED
from vault.store.terminations import TerminationRow

FORMER = "former-customer-contact"
_KEEP_IN_TOUCH = "keep-in-touch"
# Of an account, what is about its contact person and not about the company that invoices go to.
_PERSON = frozenset({"full_name", "email", "phone"})
# P3.8-reasons: a enquiry, b authority or claim, c keeping in touch.
_REASONS = "a.b.c"

_log = structlog.get_logger()


@dataclass(slots=True)
class Kept:
    """What one batch did: counts by category and outcome, records by category, people who lost something; `position` is empty at the end."""

    position: str = ""
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    changed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    people: list[str] = field(default_factory=list)


async def keep_records(vault: Vault, connection: Connection, keys: TenantKeys, termination: TerminationRow, *, limit: int) -> Kept:
    """Do what is to be done about some of the records that are kept, in this transaction."""
    tenant, kept = keys.tenant, Kept()
    categories = [category.name for category in vault.catalogue.categories.values() if _is_concerned(category)]
    rows = await termination_store.records_of(connection, tenant, categories, after=termination.position, limit=limit)
    parts: dict[str, list[ReadableRow]] = defaultdict(list)
    for part in await readable_parts(vault, connection, tenant, [row.record_id for row in rows]):
        parts[part.record_id].append(part)
    keys = await keys_of_parts(vault, connection, keys, wrapped_under(part for group in parts.values() for part in group))
    held = await hold_store.held_records(connection, tenant, [row.record_id for row in rows], vault.clock())
    for row in rows:
        category, group = vault.catalogue.category(row.category), parts[row.record_id]
        present = frozenset(name for part in group if part.key_version for name in crypto.field_names(part.sealed))
        if category.on_contract_end is ContractEnd.CONVERTED and row.record_id not in held:
            present -= await _convert(vault, connection, keys, termination, row, group, kept)
        clocked = clock_of(category, row, termination.effective_time, present)
        if clocked != row:
            await termination_store.set_clock(connection, tenant, clocked)
            kept.changed[row.category].append(row.record_id)
        kept.position = row.record_id
    return kept


def clock_of(category: Category, row: RecordRow, ended: datetime, present: frozenset[str]) -> RecordRow:
    """The record with its interval closed and its end set, where the contract's end is what they waited for."""
    to = category.valid_to_field
    if to and row.valid_from is not None and (row.valid_to is None or row.valid_to > ended):
        closed = max(ended, row.valid_from)
        row = replace(row, valid_to=closed, metadata={**row.metadata, to: closed.isoformat()})
    start = _starts(category, row, ended)
    if start is None:
        return row
    # What ended before the contract goes on counting from there.
    end = start + timedelta(days=category.retention_at(row.level, row.metadata).days)
    if row.expire_time is not None and row.expire_time <= end:
        return row
    row = replace(row, expire_time=end)
    return replace(row, due_time=due.next_due(category, row, present))


def _starts(category: Category, row: RecordRow, ended: datetime) -> datetime | None:
    match category.retention_at(row.level, row.metadata).event:
        case RetentionEvent.CONTRACT_ENDED:
            return ended
        case RetentionEvent.VALIDITY_ENDED:
            return row.valid_to
        case RetentionEvent.ENDED:
            # What it is about is over with the contract, if it runs out then; a case that is kept ends when it is closed, as its record says.
            return ended if category.on_contract_end is ContractEnd.EXPIRES else None
        case _:
            return None


def _is_concerned(category: Category) -> bool:
    if category.held_as is not HeldAs.RECORD:
        return False
    if category.on_contract_end is ContractEnd.CONVERTED:
        return True
    waits = {RetentionEvent.CONTRACT_ENDED, RetentionEvent.VALIDITY_ENDED, RetentionEvent.ENDED}
    stays = category.on_contract_end in {ContractEnd.KEPT, ContractEnd.EXPIRES, ContractEnd.TOKENISED}
    return stays and category.retention is not None and category.retention.event in waits


async def _convert(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    termination: TerminationRow,
    row: RecordRow,
    parts: Sequence[ReadableRow],
    kept: Kept,
) -> frozenset[str]:
    """Make an account a former customer's contact, and leave of it what invoices need. Names of the fields that are gone from it."""
    tenant, subject = keys.tenant, row.subject_id
    part = next((part for part in parts if part.subject_id == subject and not part.is_erased), None)
    if part is None or part.keyring == RESTRICTED or not _PERSON & set(crypto.field_names(part.sealed)):
        # It is the erasure's, or was converted before.
        return frozenset()
    if subject not in await usable_keys(vault, connection, tenant, [subject]):
        # A person who is being erased is the erasure's.
        return frozenset()
    try:
        contact = _contact(vault.catalogue.category(FORMER), open_part(keys, part, None))
        gone = await take_out(vault, connection, keys, part, _PERSON)
    except DataLossError as error:
        _log.warning("account not converted", resource=f"tenants/{tenant}", reason=error.reason)
        return frozenset()
    is_removed = bool(termination.remove_contacts) or _KEEP_IN_TOUCH in await objection_store.objections_of(connection, tenant, subject)
    if contact.keys() & _PERSON and not is_removed:
        said = {**contact, "ended_at": termination.effective_time.isoformat(), "reasons": _REASONS}
        prepared = prepare(vault, RecordInput(FORMER, said, subject=str(SubjectName(tenant, subject))))
        [name] = await store_records(vault, connection, keys, [prepared], import_id="")
        kept.counts[FORMER]["found"] += 1
        kept.changed[FORMER].append(name.record)
    kept.counts[row.category]["converted"] += 1
    kept.people.append(subject)
    return gone


def _contact(former: Category, opened: Mapping[str, bytes]) -> dict[str, str]:
    return {name: value.decode() for name, value in opened.items() if name in former.fields}
