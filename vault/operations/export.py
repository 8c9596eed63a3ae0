"""Exporting exactly what an approved order covers, as a package sealed to its recipient.

    (1) lock the order; check state and expiry at this second (N1, N4); decide, under the order, for each category
    (2) note which records are in scope: category, target, period; that is the snapshot, with the head of the log at that moment
    (3) page by page: open the fields in scope, seal them under a key of this export alone, append entries that name every record; one commit
    (4) digest what was read, write and sign the manifest, seal the package to its recipient as it is written (`export_seal.py`)

Rules:
- Whoever calls again after a crash, or at the same time, gets the same export: what was read is not read again, no entry is written twice, and the
  payload has the same bytes (N15). One worker builds at a time; the others wait for it.
- Memory is a page, however much there is; no plaintext touches a disk (I2).
- Before every page the order is looked at again: one that was revoked, suspended or has expired is built no further (N1, N7). From the snapshot on
  it is in execution, and its scope stays what it is.
- The vault keeps no key to the package, so it survives a later erasure; the key of what was read goes when the package is sealed.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import structlog

from vault import crypto, names
from vault.audit.merkle import Frontier
from vault.bundle.package import csv_path, jsonl_path
from vault.bundle.records import csv_rows, jsonl_rows
from vault.errors import FailedPreconditionError, ResourceExhaustedError
from vault.names import SYSTEM_LOG, ChildName, ExportName
from vault.operations import export_seal, log, order_selection
from vault.operations.attempt import Attempt, Justification, Receipt
from vault.operations.core import Vault, known_tenant, readable_parts
from vault.operations.decision import Facts, decide, gather_nda
from vault.operations.export_order import executable_order, load_export, wanted_of
from vault.operations.export_rows import Opened, Wanted, open_records
from vault.operations.export_staging import Counts, Progress, open_staging_key, seal_staging_key, stage
from vault.operations.keyring import TenantKeys
from vault.operations.order import open_order
from vault.operations.order_content import OrderContent
from vault.operations.order_selection import CLASS_NOT_COVERED, Found
from vault.operations.order_state import Action, State
from vault.policy.decide import Operation, Reference, Refused, View
from vault.store import audit as audit_store
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store import records as record_store
from vault.store import rotations as lease_store
from vault.store.database import Connection, on_commit
from vault.store.exports import ExportRow, SnapshotRow
from vault.store.records import ReadableRow

_PURPOSE = "court-order"
# More than this is refused, never truncated: a verifier reads archives of 4 GiB at most.
_MAX_RECORDS = 1_000_000
_PAGE = 500
_IDS_PER_ENTRY = 1500
# How long the work of a builder that is not heard of any more is kept for it.
_LEASE = timedelta(seconds=30)
_LOOK_AGAIN = timedelta(seconds=0.2)

_log = structlog.get_logger()


async def create_export(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[ExportRow, Receipt | None]:
    """Build the package of an approved order, or go on building it.

    Returns:
        The export, and where its sealing was recorded; no receipt if somebody else sealed it.
    Raises:
        FailedPreconditionError: REQUIRES_INTERVAL, EXPORT_TOO_LARGE, CERTIFICATE_EXPIRED, EXPORT_CANCELLED; what `require` raises.
        ResourceExhaustedError: EXPORT_TOO_LARGE.
        UnavailableError: TIMESTAMP_UNAVAILABLE; what was read is kept, and the next call goes on from there.
    """
    attempt.operation, attempt.resource = Operation.EXPORT.value, str(name)
    attempt.justification, attempt.is_justified = Justification(_PURPOSE, str(name)), True
    row = await _begin(vault, attempt, name)
    if row.state != "BUILDING":
        return row, None
    export = ExportName(name.tenant, name.id, row.export_id)
    async with _building(vault, export) as holder:
        if holder is None:
            return await get_export(vault, export), None
        while await _read_page(vault, attempt, export, holder):
            pass
        receipt = await export_seal.seal_package(vault, attempt, export, lambda connection: _keep_lease(vault, connection, export, holder))
    return await get_export(vault, export), receipt


async def get_export(vault: Vault, name: ExportName) -> ExportRow:
    """Read an export.

    Raises:
        NotFoundError: EXPORT_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        return await load_export(connection, name)


async def _begin(vault: Vault, attempt: Attempt, name: ChildName) -> ExportRow:
    """The order's export, with its snapshot; a new one if there is none."""
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        order = await executable_order(vault, connection, attempt, name, Action.EXPORT)
        row = await export_store.export_of_order(connection, name.tenant, name.id)
        if row is not None and row.state != "BUILDING":
            return row
        said = open_order(keys, order)
        await _decide(vault, connection, attempt, said)
        if row is None:
            on_commit(connection, lambda: _log.info("export building"))
            row = await _snapshot(vault, connection, keys, attempt, name, said)
            # From now on the scope stays what it is.
            await order_store.set_order_state(connection, name.tenant, name.id, State.IN_EXECUTION)
        return row


async def _decide(vault: Vault, connection: Connection, attempt: Attempt, said: OrderContent) -> None:
    nda_valid = await gather_nda(connection, attempt, vault.clock())
    facts = Facts(Reference.ORDER, live=True, request=None, nda_valid=nda_valid, justified=True, order_covers=True)
    levels = [(name, level) for name in said.scope.categories for level in vault.catalogue.category(name).levels or ("",)]
    for category, level in levels:
        decision = decide(
            vault, attempt, facts, operation=Operation.EXPORT, category=category, level=level, view=View.FULL, recipient="authority"
        )
        attempt.category, attempt.rule = category, decision.rule
        if isinstance(decision, Refused):
            raise decision.error()
        attempt.consent_basis = decision.consent_basis


async def _snapshot(
    vault: Vault, connection: Connection, keys: TenantKeys, attempt: Attempt, name: ChildName, said: OrderContent
) -> ExportRow:
    found = await order_selection.count(vault, connection, keys, said.scope)
    # What was seen at the approval may have become more meanwhile.
    order_selection.check_problems(found.problems)
    audit_log = SYSTEM_LOG if attempt.is_gagged else keys.tenant
    size, frontier = await audit_store.locked_head(connection, audit_log) or (0, Frontier.empty().to_bytes())
    export_id = names.new_id()
    row = ExportRow(
        export_id=export_id,
        order_id=name.id,
        state="BUILDING",
        record_counts={},
        withheld_counts={},
        size_bytes=0,
        sha256="",
        create_time=vault.clock().replace(microsecond=0),
        audit_log=audit_log,
        audit_size=size,
        audit_root=Frontier.from_bytes(frontier).root().hex(),
        staging_key=seal_staging_key(keys, export_id, crypto.new_key_material()),
        progress=Progress(counts=_declined(found)).stored(),
        builder=attempt.caller.principal,
    )
    await export_store.insert_export(connection, keys.tenant, row)
    searches = order_selection.searches_of(vault, keys, said.scope)
    await export_store.take_snapshot(
        connection, keys.tenant, export_id, categories=said.scope.categories, levels=said.scope.levels, searches=searches
    )
    selected = await export_store.count_snapshot(connection, keys.tenant, export_id)
    if sum(selected.values()) > _MAX_RECORDS:
        raise ResourceExhaustedError("EXPORT_TOO_LARGE", "the order covers more records than one package holds", limit=str(_MAX_RECORDS))
    # A category without records is named in the log too; the others are when they are read.
    empty = [attempt.about(category=category) for category in said.scope.categories if category not in selected]
    if empty:
        await log.append(vault, connection, keys, [replace(entry, fields=said.scope.fields) for entry in empty])
    return row


def _declined(found: Found) -> dict[str, Counts]:
    """What was asked for and is not covered; the package names it as withheld (N11)."""
    return {category: Counts(withheld={CLASS_NOT_COVERED: count}) for category, count in found.declined.items()}


@asynccontextmanager
async def _building(vault: Vault, export: ExportName) -> AsyncIterator[str | None]:
    """Who builds: an id of ours, once nobody else does; None if the export was built meanwhile."""
    holder = names.new_id()
    while True:
        async with vault.database.write() as connection:
            if (await load_export(connection, export)).state != "BUILDING":
                mine = None
                break
            mine = await lease_store.take_lease(connection, _lease_of(export), holder=holder, now=vault.clock(), lasting=_LEASE)
        if mine:
            break
        await asyncio.sleep(_LOOK_AGAIN.total_seconds())
    try:
        yield holder if mine else None
    finally:
        if mine:
            async with vault.database.write() as connection:
                await lease_store.give_back_lease(connection, _lease_of(export), holder=holder)


async def _keep_lease(vault: Vault, connection: Connection, export: ExportName, holder: str) -> None:
    """In every transaction of a builder: only one of them commits.

    Raises:
        FailedPreconditionError: EXPORT_TAKEN_OVER, this one was not heard of for too long.
    """
    if not await lease_store.take_lease(connection, _lease_of(export), holder=holder, now=vault.clock(), lasting=_LEASE):
        raise FailedPreconditionError("EXPORT_TAKEN_OVER", "another worker goes on building the package, ask again")


def _lease_of(export: ExportName) -> str:
    return f"export/{export.tenant}/{export.export}"


async def _read_page(vault: Vault, attempt: Attempt, export: ExportName, holder: str) -> bool:
    """Read the next records of the snapshot, and record it. Whether there were any."""
    order_name = ChildName(export.tenant, "orders", export.order)
    async with vault.database.write() as connection:
        await _keep_lease(vault, connection, export, holder)
        _, keys = await known_tenant(vault, connection, export.tenant, hold=True)
        order = await executable_order(vault, connection, attempt, order_name, Action.EXPORT)
        row = await load_export(connection, export, lock=True)
        # A gag may end meanwhile; an export is recorded in one log, whose head it names.
        attempt.is_gagged = row.audit_log == SYSTEM_LOG
        if row.state != "BUILDING" or row.staging_key is None:
            raise FailedPreconditionError("EXPORT_CANCELLED", "the export was given up")
        progress = Progress.of(row.progress)
        page = await export_store.snapshot_page(connection, export.tenant, export.export, after=progress.after, limit=_PAGE)
        if not page:
            return False
        wanted = wanted_of(vault, open_order(keys, order), page[0].category)
        opened, pieces = await _open(vault, connection, keys, wanted, page)
        under = open_staging_key(keys, row.export_id, row.staging_key)
        for path, data in pieces.items():
            await stage(connection, export, path, progress.sequence, data, under=under)
        progress = progress.advanced(page[-1], opened)
        await export_store.update_export(connection, export.tenant, export.export, progress=progress.stored())
        await log.append(vault, connection, keys, _entries(attempt.about(category=page[0].category), opened, wanted.fields))
    return True


async def _open(
    vault: Vault, connection: Connection, keys: TenantKeys, wanted: Wanted, page: Sequence[SnapshotRow]
) -> tuple[Opened, Mapping[str, bytes]]:
    """The records of a page, and what is written of them into each of their files."""
    ids = [noted.record_id for noted in page]
    stored = {row.record_id: row for row in await record_store.get_records(connection, keys.tenant, ids)}
    parts: dict[str, list[ReadableRow]] = defaultdict(list)
    for part in await readable_parts(vault, connection, keys.tenant, ids):
        parts[part.record_id].append(part)

    def work() -> tuple[Opened, Mapping[str, bytes]]:
        opened = open_records(keys, wanted, page, stored, parts)
        table = export_seal.table_of(wanted)
        category = wanted.category.name
        return opened, {csv_path(category): csv_rows(table, opened.rows), jsonl_path(category): jsonl_rows(table, opened.rows)}

    # Opening and writing some hundred records: not on the loop that serves everyone else.
    return await asyncio.to_thread(work)


def _entries(attempt: Attempt, opened: Opened, fields: Sequence[str]) -> list[Attempt]:
    """Entries that name every record and every person, in pieces that fit; one at least."""
    entries = []
    for start in range(0, max(len(opened.records), len(opened.subjects), 1), _IDS_PER_ENTRY // 2):
        end = start + _IDS_PER_ENTRY // 2
        piece = attempt.about(records=tuple(opened.records[start:end]), subjects=tuple(opened.subjects[start:end]))
        entries.append(replace(piece, count=len(piece.records), fields=tuple(fields)))
    return entries
