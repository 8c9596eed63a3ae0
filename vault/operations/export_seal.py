"""From what was read of an order's records to the package sealed to its recipient: digests, manifest, signatures, envelope; in one pass each.

The package is written in a thread that asks the loop for the next pieces and hands it the chunks of the sealed file: nothing is ever there whole. A
crash begins this part anew; what was read stays, and with it the payload's bytes (N15). The envelope, and the signatures that name a moment, differ.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from threading import Event
from typing import Any, TypeVar

import structlog

from vault.bundle import content as bundle
from vault.bundle.countersign import countersign
from vault.bundle.package import CMS, SIGNATURE, TIMESTAMP, csv_path, digest_of, jsonl_path, prepare, sign, tar_of
from vault.bundle.records import csv_head
from vault.bundle.seal import seal_pieces
from vault.crypto import DataKey
from vault.errors import FailedPreconditionError, UnavailableError
from vault.names import SYSTEM_LOG, ChildName, ExportName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.export_order import executable_order, load_export, wanted_of
from vault.operations.export_rows import Wanted
from vault.operations.export_staging import NOTHING, Counts, Progress, open_piece, open_staging_key
from vault.operations.order import open_order
from vault.operations.order_content import OrderContent
from vault.operations.order_state import Action
from vault.operations.timestamp import timestamp
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store.database import Connection, on_commit
from vault.store.exports import CHUNK_BYTES, ExportRow
from vault.store.orders import ApprovalRow, OrderRow

_PIECES_AT_ONCE = 8
_log = structlog.get_logger()
Fence = Callable[[Connection], Awaitable[None]]
Result = TypeVar("Result")


async def seal_package(vault: Vault, attempt: Attempt, export: ExportName, fence: Fence) -> Receipt:
    """Write the package of an export whose snapshot was read; where that was recorded.

    Args:
        vault: the vault.
        attempt: who builds.
        export: the export.
        fence: called in every transaction, so that of two builders one commits.
    Raises:
        UnavailableError: TIMESTAMP_UNAVAILABLE.
        FailedPreconditionError: CERTIFICATE_EXPIRED, EXPORT_CANCELLED, or what is wrong with the order.
    """
    async with vault.database.write() as connection:
        await fence(connection)
        _, keys = await known_tenant(vault, connection, export.tenant)
        order = await executable_order(vault, connection, attempt, ChildName(export.tenant, "orders", export.order), Action.EXPORT)
        row = await load_export(connection, export)
        approvals = await order_store.approvals_of(connection, export.tenant, export.order)
        await export_store.delete_chunks(connection, export.tenant, export.export)
        if row.staging_key is None:
            raise FailedPreconditionError("EXPORT_CANCELLED", "the export was given up")
    said = open_order(keys, order)
    content = _content(vault, export, order, row, said, approvals)
    tables = {table.category: table for table in content.tables}
    desk = _Desk(vault, export, fence, open_staging_key(keys, row.export_id, row.staging_key), tables)
    records = await desk.at_work(lambda: {path: digest_of(desk.read(path)) for path in desk.paths()})
    prepared = await asyncio.to_thread(prepare, content, records, vault.signing_key)
    signatures = await _signatures(vault, prepared.manifest)
    pieces = tar_of(prepared, signatures, desk.read)
    await desk.at_work(lambda: desk.write_sealed(pieces, said.recipient.age_recipient))
    return await _finish(vault, attempt, export, fence, content, desk)


def table_of(wanted: Wanted, counts: Counts = NOTHING) -> bundle.RecordTable:
    """The table of a category, with what was read of it."""
    category = wanted.category
    return bundle.RecordTable(
        category=category.name,
        columns=wanted.columns(),
        count=counts.exported,
        selected=counts.exported + sum(counts.withheld.values()),
        title_en=category.title.en,
        title_he=category.title.he,
        keeping=counts.keeping,
    )


async def _signatures(vault: Vault, manifest: bytes) -> dict[str, bytes]:
    """What lies beside the manifest, by path."""
    signatures = {SIGNATURE: sign(manifest, vault.signing_key)}
    organisation, url = vault.countersigning.organisation, vault.countersigning.timestamp_url
    if organisation is not None:
        organisation.check_valid(vault.clock())
        signatures[CMS] = countersign(manifest, organisation)
    if url:
        signatures[TIMESTAMP] = await timestamp(manifest, url=url)
    return signatures


class _Desk:
    """Reads pieces and writes chunks for a thread; the database is on the loop."""

    def __init__(self, vault: Vault, export: ExportName, fence: Fence, key: DataKey, tables: Mapping[str, bundle.RecordTable]) -> None:
        self._vault = vault
        self._export = export
        self._fence = fence
        self._key = key
        self._of_path = {path(category): table for category, table in tables.items() for path in (csv_path, jsonl_path)}
        self._loop = asyncio.get_running_loop()
        self._given_up = Event()
        self._sha256 = hashlib.sha256()
        self._chunk = bytearray()
        self._written = 0
        self.size = 0

    @property
    def sha256(self) -> str:
        """Digest of what was written."""
        return self._sha256.hexdigest()

    def paths(self) -> list[str]:
        """The files of records."""
        return sorted(self._of_path)

    async def at_work(self, work: Callable[[], Result]) -> Result:
        """Do it in a thread; whoever is cancelled waits until the thread has noticed."""
        thread = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            self._given_up.set()
            with suppress(Exception):
                await thread
            raise

    def read(self, path: str) -> Iterator[bytes]:
        """The pieces of a file of records; in the thread."""
        if path.endswith(".csv"):
            yield csv_head(self._of_path[path])
        after = -1
        while found := self._wait(self._pieces(path, after)):
            for sequence, sealed in found:
                yield open_piece(self._export, path, sequence, sealed, under=self._key)
                after = sequence

    def write_sealed(self, pieces: Iterator[bytes], recipient: str) -> None:
        """Seal the package, and keep it chunk by chunk; in the thread."""
        seal_pieces(pieces, recipient, self._write)
        if self._chunk:
            self._wait(self._keep(bytes(self._chunk)))

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        self._sha256.update(data)
        self._chunk += data
        while len(self._chunk) >= CHUNK_BYTES:
            self._wait(self._keep(bytes(self._chunk[:CHUNK_BYTES])))
            del self._chunk[:CHUNK_BYTES]

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._given_up.is_set():
            work.close()
            raise UnavailableError("STORE_UNAVAILABLE", "the call was given up")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _pieces(self, path: str, after: int) -> list[tuple[int, bytes]]:
        async with self._vault.database.read() as connection:
            tenant, export_id = self._export.tenant, self._export.export
            return await export_store.pieces_after(connection, tenant, export_id, path, after=after, limit=_PIECES_AT_ONCE)

    async def _keep(self, data: bytes) -> None:
        async with self._vault.database.write() as connection:
            await self._fence(connection)
            await export_store.insert_chunk(connection, self._export.tenant, self._export.export, self._written, data)
        self._written += 1


async def _finish(vault: Vault, attempt: Attempt, export: ExportName, fence: Fence, content: bundle.PackageContent, desk: _Desk) -> Receipt:
    """The package is there: its key to what was read goes, in one commit with the entry that says so."""
    withheld: dict[str, int] = {}
    for item in content.withheld:
        withheld[item.reason] = withheld.get(item.reason, 0) + item.count
    async with vault.database.write() as connection:
        await fence(connection)
        _, keys = await known_tenant(vault, connection, export.tenant)
        name = ChildName(export.tenant, "orders", export.order)
        await executable_order(vault, connection, attempt, name, Action.EXPORT)
        row = await load_export(connection, export, lock=True)
        if row.state != "BUILDING":
            raise FailedPreconditionError("EXPORT_CANCELLED", "the export was given up")
        await export_store.update_export(
            connection,
            export.tenant,
            export.export,
            state="SEALED",
            record_counts={table.category: table.count for table in content.tables},
            withheld_counts=withheld,
            size_bytes=desk.size,
            sha256=desk.sha256,
            seal_time=vault.clock(),
        )
        await export_store.delete_staging(connection, export.tenant, export.export)
        sealing = attempt.about(category="", records=(), subjects=())
        sealing.operation, sealing.resource, sealing.count = "seal-export", str(export), sum(table.count for table in content.tables)
        sealing.fields, sealing.is_gagged = (), row.audit_log == SYSTEM_LOG
        [receipt] = await log.append(vault, connection, keys, [sealing])
        on_commit(connection, lambda: _log.info("export sealed", count=sealing.count))
    return receipt


def _content(
    vault: Vault, export: ExportName, order: OrderRow, row: ExportRow, said: OrderContent, approvals: list[ApprovalRow]
) -> bundle.PackageContent:
    progress, categories = Progress.of(row.progress), said.scope.categories
    return bundle.PackageContent(
        export_id=row.export_id,
        order=bundle.OrderReference(
            order_id=order.order_id,
            instrument_type=said.instrument.type,
            court_name=said.instrument.court_name,
            case_no=said.instrument.case_number,
            judge_name=said.instrument.issuer_name,
            requesting_body=said.instrument.requesting_body,
            document_sha256=said.instrument.document_sha256.hex(),
            issued_at=said.instrument.issue_time,
            valid_until=said.instrument.expire_time,
        ),
        scope=bundle.ScopeSummary(
            digest=order.scope_digest,
            categories=categories,
            time_from=said.scope.start_time,
            time_to=said.scope.end_time,
            target_count=len(said.scope.targets),
            tenants=(export.tenant,),
        ),
        tables=tuple(table_of(wanted_of(vault, said, category), progress.of_category(category)) for category in categories),
        withheld=tuple(
            bundle.Withheld(category, count, reason)
            for category in (*categories, *said.scope.declined)
            for reason, count in sorted(progress.of_category(category).withheld.items())
        ),
        custody=_custody(order, row, approvals),
        recipient=bundle.Recipient(
            body=said.recipient.body,
            person=said.recipient.person,
            age_recipient=said.recipient.age_recipient,
            verified_by=said.recipient.verification,
        ),
        audit_head=bundle.AuditHead(row.audit_log, row.audit_size, row.audit_root),
        created=row.create_time,
        operator=f"{vault.catalogue.operator.in_both} ({vault.name})",
        policy_version=vault.catalogue.policy_version,
        authorities=bundle.Authorities(
            vault.countersigning.organisation.pem() if vault.countersigning.organisation else b"",
            vault.countersigning.timestamp_root if vault.countersigning.timestamp_url else b"",
        ),
    )


def _custody(order: OrderRow, row: ExportRow, approvals: list[ApprovalRow]) -> tuple[bundle.CustodyEvent, ...]:
    """Every step so far, and the digest of what it was done to."""
    registered = [bundle.CustodyEvent(order.create_time, order.registrant, "registered", order.scope_digest)]
    if order.authenticate_time is not None:
        registered.append(bundle.CustodyEvent(order.authenticate_time, order.authenticator, "authenticated", order.scope_digest))
    approved = (bundle.CustodyEvent(a.approve_time, a.approver, "approved", a.scope_digest) for a in approvals)
    return (*registered, *approved, bundle.CustodyEvent(row.create_time, "pii-vault", "snapshot", row.audit_root))
