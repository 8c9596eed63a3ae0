"""Exporting exactly what an approved order covers, as a package sealed to its recipient.

    (1) lock the order; check state and expiry at this second (N1, N4)
    (2) select the records in scope: category, target, period; nothing else is read
    (3) decide, under the order, for each category
    (4) open the fields in scope
    (5) build, sign and seal the package in memory: no plaintext touches a disk (I2)
    (6) append entries naming every record; store package and entries in one commit

A repeated call gets the same package (N15). The vault keeps no key to it, so it survives a later erasure.
"""

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vault import names
from vault.audit.merkle import Frontier
from vault.bundle import content as bundle
from vault.bundle.package import build
from vault.bundle.seal import seal
from vault.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, ResourceExhaustedError
from vault.names import ChildName, ExportName
from vault.operations import log, order_selection
from vault.operations.attempt import Attempt, Justification, Receipt
from vault.operations.core import Vault, known_tenant, readable_parts
from vault.operations.decision import Facts, decide, gather_nda
from vault.operations.keyring import TenantKeys
from vault.operations.order import locked_order, open_order
from vault.operations.order_content import OrderContent
from vault.operations.order_intake import kind_of
from vault.operations.order_state import Action, State, require
from vault.operations.reveal import open_part
from vault.policy.decide import Operation, Reference, Refused, View
from vault.store import audit as audit_store
from vault.store import orders as order_store
from vault.store.database import Connection
from vault.store.orders import ApprovalRow, ExportRow, OrderRow
from vault.store.records import ReadableRow

_PURPOSE = "court-order"
# A package is built in memory for now; more than this is refused, never truncated.
_MAX_RECORDS = 20_000
_IDS_PER_ENTRY = 1500
_NOT_RELEASED = frozenset({"REQUESTED", "BUILDING", "SEALED", "FAILED", "CANCELLED"})

_STATEMENT = (
    "The records in this package were kept in the ordinary course of business. They were selected by the identifiers, categories and period of the\n"
    "order named on the cover, opened from encrypted storage that authenticates every field, and written here without alteration. Access to\n"
    "them is recorded in an append-only log whose head at the moment of the snapshot is part of the signed manifest.\n"
)


async def create_export(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[ExportRow, Receipt | None]:
    """Build the package of an approved order.

    Returns:
        The export, and where it was recorded; no receipt if the package existed already.
    Raises:
        FailedPreconditionError: APPROVALS_MISSING, ORDER_EXPIRED, REQUIRES_INTERVAL.
        ResourceExhaustedError: EXPORT_TOO_LARGE.
    """
    attempt.operation, attempt.resource = Operation.EXPORT.value, str(name)
    attempt.justification, attempt.is_justified = Justification(_PURPOSE, str(name)), True
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        order = await locked_order(vault, connection, attempt, name)
        _check_executable(vault, order, Action.EXPORT)
        existing = await order_store.export_of_order(connection, name.tenant, name.id)
        if existing is not None:
            return existing, None
        said = open_order(keys, order)
        await _decide(vault, connection, attempt, said)
        opened = _open(vault, keys, said, await _parts_in_scope(vault, connection, keys, said))
        export_id = names.new_id()
        package = await _package(vault, connection, keys, order=order, said=said, opened=opened, export_id=export_id)
        row = ExportRow(
            export_id=export_id,
            order_id=name.id,
            state="SEALED",
            record_counts={category: len(opened.rows.get(category, ())) for category in said.scope.categories},
            withheld_counts=_by_reason(opened.withheld),
            size_bytes=len(package),
            sha256=hashlib.sha256(package).hexdigest(),
            create_time=vault.clock(),
            builder=attempt.caller.principal,
        )
        await order_store.insert_export(connection, name.tenant, row, package)
        await order_store.set_order_state(connection, name.tenant, name.id, State.IN_EXECUTION)
        receipts = await log.append(vault, connection, keys, _entries(attempt, opened, said))
    return row, receipts[0]


async def get_export(vault: Vault, name: ExportName) -> ExportRow:
    """Read an export.

    Raises:
        NotFoundError: EXPORT_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        row = await order_store.get_export(connection, name.tenant, name.export)
    if row is None or row.order_id != name.order:
        raise NotFoundError("EXPORT_NOT_FOUND", "no such export")
    return row


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a package and, on the first chunk, where the download was recorded."""

    offset: int
    data: bytes
    receipt: Receipt | None


async def download_export(vault: Vault, attempt: Attempt, name: ExportName, *, offset: int) -> AsyncIterator[Chunk]:
    """Send the sealed package from an offset on; the download is recorded before the first byte leaves.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the offset is outside the package.
        FailedPreconditionError: ORDER_EXPIRED.
    """
    attempt.operation, attempt.resource = "download-export", str(name)
    attempt.justification, attempt.is_justified = Justification(_PURPOSE, str(ChildName(name.tenant, "orders", name.order))), True
    row = await get_export(vault, name)
    if not 0 <= offset < row.size_bytes:
        raise InvalidArgumentError("FIELD_INVALID", "offset is outside the package", field="offset", limit=str(row.size_bytes))
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        order = await locked_order(vault, connection, attempt, ChildName(name.tenant, "orders", name.order))
        _check_executable(vault, order, Action.DELIVER)
        if row.state in _NOT_RELEASED:
            raise FailedPreconditionError("RELEASE_NOT_APPROVED", "the package was not approved for release", state=row.state)
        attempt.count = row.size_bytes - offset
        receipt: Receipt | None
        [receipt] = await log.append(vault, connection, keys, [attempt])
    while offset < row.size_bytes:
        sequence, start = divmod(offset, order_store.CHUNK_BYTES)
        async with vault.database.read() as connection:
            stored = await order_store.export_chunk(connection, name.tenant, name.export, sequence)
        if stored is None:
            raise NotFoundError("EXPORT_NOT_FOUND", "the package is gone")
        yield Chunk(offset, stored[start:], receipt)
        offset, receipt = (sequence + 1) * order_store.CHUNK_BYTES, None


def _check_executable(vault: Vault, order: OrderRow, action: Action) -> None:
    require(action, order.state, expire_time=order.expire_time, now=vault.clock())
    if not kind_of(order.instrument_type).releases:
        raise FailedPreconditionError("INSTRUMENT_NOT_ALLOWED", "nothing is released under an instrument of this kind")


async def _parts_in_scope(
    vault: Vault, connection: Connection, keys: TenantKeys, said: OrderContent
) -> dict[tuple[str, str], list[ReadableRow]]:
    """Parts of every record in scope, by (category, record id), in that order."""
    found = await order_selection.covered_records(connection, keys, said.scope, limit=_MAX_RECORDS + 1)
    if len(found) > _MAX_RECORDS:
        raise ResourceExhaustedError("EXPORT_TOO_LARGE", "the order covers more records than one package holds", limit=str(_MAX_RECORDS))
    parts: dict[tuple[str, str], list[ReadableRow]] = {key: [] for key in found}
    for start in range(0, len(found), 1000):
        ids = [record for _, record in found[start : start + 1000]]
        for part in await readable_parts(vault, connection, keys.tenant, ids):
            parts[part.category, part.record_id].append(part)
    for category in {category for category, _ in found}:
        if vault.catalogue.category(category).requires_as_of:
            _check_one_user(category, said, parts)
    return parts


def _check_one_user(category: str, said: OrderContent, parts: Mapping[tuple[str, str], Sequence[ReadableRow]]) -> None:
    """A recycled number with several users in the period needs a narrower period: a number is not a person (N12, A29)."""
    users = {part.subject_id for (name, _), rows in parts.items() if name == category for part in rows}
    if len(users) > len(said.scope.targets):
        raise FailedPreconditionError("REQUIRES_INTERVAL", "a number had several users in the period, narrow it", category=category)


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


def _by_reason(withheld: Counter[tuple[str, str]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (_, reason), count in withheld.items():
        counts[reason] += count
    return dict(counts)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What goes into the package: rows by category, records withheld by (category, reason), ids named by (category)."""

    rows: Mapping[str, Sequence[Mapping[str, str]]]
    withheld: Counter[tuple[str, str]]
    records: Mapping[str, Sequence[str]]
    subjects: Mapping[str, Sequence[str]]


def _open(vault: Vault, keys: TenantKeys, said: OrderContent, parts: Mapping[tuple[str, str], Sequence[ReadableRow]]) -> _Opened:
    """Open the fields in scope; a record of which no part can be opened is withheld, and counted (N18)."""
    rows: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    records: dict[str, list[str]] = defaultdict(list)
    subjects: dict[str, dict[str, None]] = defaultdict(dict)
    withheld: Counter[tuple[str, str]] = Counter()
    for (category, record), group in parts.items():
        wanted = frozenset(said.scope.fields or vault.catalogue.category(category).fields)
        living = [part for part in group if part.wrapped is not None]
        if not living:
            withheld[category, "KEY_DESTROYED"] += 1
            continue
        row = {key: value for key, value in living[0].metadata.items() if key in wanted}
        for part in living:
            row |= {key: value.decode() for key, value in open_part(keys, part, wanted).items()}
            subjects[category][part.subject_id] = None
        rows[category].append({"record": record, **row})
        records[category].append(record)
    return _Opened(rows, withheld, records, {category: list(ids) for category, ids in subjects.items()})


async def _package(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    *,
    order: OrderRow,
    said: OrderContent,
    opened: _Opened,
    export_id: str,
) -> bytes:
    size, frontier = await audit_store.locked_head(connection, keys.tenant) or (0, Frontier.empty().to_bytes())
    now = vault.clock()
    approvals = await order_store.approvals_of(connection, keys.tenant, order.order_id)
    content = bundle.PackageContent(
        export_id=export_id,
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
            categories=said.scope.categories,
            time_from=said.scope.start_time,
            time_to=said.scope.end_time,
            target_count=len(said.scope.targets),
            tenants=(keys.tenant,),
        ),
        tables=tuple(_table(vault, said, category, opened.rows.get(category, ())) for category in said.scope.categories),
        withheld=tuple(bundle.Withheld(category, count, reason) for (category, reason), count in sorted(opened.withheld.items())),
        custody=_custody(order, approvals),
        recipient=bundle.Recipient(
            body=said.recipient.body, person="", age_recipient=said.recipient.age_recipient, verified_by=said.recipient.verification
        ),
        audit_head=bundle.AuditHead(keys.tenant, size, Frontier.from_bytes(frontier).root().hex()),
        created=now.replace(microsecond=0),
        operator=vault.name,
        policy_version=vault.catalogue.policy_version,
        statement=_STATEMENT,
    )
    # Building hashes and encrypts megabytes: not on the loop that serves everyone else.
    return await asyncio.to_thread(lambda: seal(build(content, vault.signing_key), said.recipient.age_recipient))


def _table(vault: Vault, said: OrderContent, category: str, rows: Sequence[Mapping[str, str]]) -> bundle.RecordTable:
    spec = vault.catalogue.category(category)
    wanted = said.scope.fields or tuple(spec.fields)
    columns = [bundle.Column("record", "record id", "מזהה רשומה")]
    columns += [bundle.Column(name, field.description.en, field.description.he) for name, field in spec.fields.items() if name in wanted]
    return bundle.RecordTable(category=category, columns=tuple(columns), rows=tuple(rows))


def _custody(order: OrderRow, approvals: Sequence[ApprovalRow]) -> tuple[bundle.CustodyEvent, ...]:
    registered = bundle.CustodyEvent(order.create_time, order.registrant, "registered", order.scope_digest)
    return (registered, *(bundle.CustodyEvent(a.approve_time, a.approver, "approved", a.scope_digest) for a in approvals))


def _entries(attempt: Attempt, opened: _Opened, said: OrderContent) -> list[Attempt]:
    """One entry per category, in pieces that fit; a category without records is still named."""
    entries = []
    for category in said.scope.categories:
        records, subjects = opened.records.get(category, ()), opened.subjects.get(category, ())
        for start in range(0, max(len(records), len(subjects), 1), _IDS_PER_ENTRY // 2):
            end = start + _IDS_PER_ENTRY // 2
            piece = attempt.about(category=category, records=tuple(records[start:end]), subjects=tuple(subjects[start:end]))
            entries.append(replace(piece, count=len(piece.records), fields=said.scope.fields))
    return entries
