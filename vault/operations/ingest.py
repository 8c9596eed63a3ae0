"""Importing a list file, row by row, so that being killed anywhere costs nothing and doubles nothing (I10).

Rules:
- A batch of rows, its refusals and the count of rows handled are one commit. An attempt on the same file skips as many rows as are counted.
- The file is recognised by an HMAC of its digest with category and list; no digest of personal data is kept (I2).
- A category that describes a person (no event time, no interval) has one record per subject and list: a second row about the same person is merged
  into it, and of two values for one field the later row's stands. Events are stored one record a row.
- A list row makes three records: the contact, its membership of the list, its profile there.
- A refused row is kept as line number and reason, never as content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vault import names
from vault.errors import FailedPreconditionError, InvalidArgumentError, VaultError
from vault.operations import log, preference
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant
from vault.operations.create import accounts_in, store_records
from vault.operations.decision import gather, require
from vault.operations.keyring import TenantKeys
from vault.operations.merging import Merged, merge_records
from vault.operations.preparing import Prepared, RecordInput, check_list, prepare
from vault.operations.transport import PLAINTEXT, check_ingress, require_policy
from vault.policy.decide import Operation
from vault.store import holds as hold_store
from vault.store import imports as import_store
from vault.store.database import Connection
from vault.store.imports import ImportRow, IssueRow

CONTACT, MEMBERSHIP, PROFILE = "end-customer-contact", "list-membership", "list-profile"
# What a row of each list category becomes.
_LIST_RECORDS = {CONTACT: (CONTACT,), MEMBERSHIP: (CONTACT, MEMBERSHIP), PROFILE: (CONTACT, MEMBERSHIP, PROFILE)}
_CONTACT_FIELDS = frozenset({"phone", "email"})
CHANNELS = frozenset({"WEB", "API", "WS", "FTP", "SFTP", "SAFE"})
MAX_ROWS = 500
MAX_ISSUES = 50_000
# A row whose telephone number is unusable but whose mailbox is not is kept without the number; that is told, not counted as refused.
DROPPED = "IDENTIFIER_DROPPED"
# What a file is recognised by, wherever it was taken in; also when a row of it is to be erased (§6.2).
FILE_DIGEST = "import-file"
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Header:
    """What an import is about."""

    category: str
    list_id: str
    channel: str
    source_digest: bytes = field(repr=False)
    repeat: str = ""
    ingress: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file, by field."""

    line: int
    fields: Mapping[str, str] = field(repr=False)
    extra: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class Import:
    """One attempt on one file: where it stands.

    Attributes:
        position: rows that this attempt has been sent.
        resumed: rows that an earlier attempt had stored.
        complete: whether an earlier attempt finished the file.
    """

    tenant: str
    import_id: str
    header: Header
    resumed: int
    complete: bool
    position: int = 0
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a file, over every attempt."""

    row: ImportRow
    rejected: Mapping[str, int]
    issues: Sequence[IssueRow]


async def begin_import(vault: Vault, attempt: Attempt, tenant: str, header: Header) -> Import:
    """Start an import, or take up an earlier one of the same file.

    Raises:
        InvalidArgumentError: UNKNOWN_CATEGORY, LIST_REQUIRED, FIELD_INVALID.
        FailedPreconditionError: PLAINTEXT_CHANNEL_FORBIDDEN.
        VaultError: as the policy says.
    """
    _check_header(vault, header)
    ingress = check_ingress(header.ingress)
    attempt.operation, attempt.category = "import", header.category
    async with vault.database.write() as connection:
        row, keys = await active_tenant(vault, connection, tenant, hold=True)
        facts = await gather(vault, connection, attempt, row, required=False)
        for category in _categories(header):
            require(vault, attempt, facts, operation=Operation.CREATE, category=category, list_id=header.list_id)
        if ingress == PLAINTEXT:
            await require_policy(vault, connection, tenant, category=header.category, channel=header.channel)
        source = b"\0".join([header.source_digest, header.category.encode(), header.list_id.encode(), header.repeat.encode()])
        tokens = keys.digests("import-source", source)
        known = await import_store.find_import(connection, tenant, tokens)
        import_id = known.import_id if known else names.new_id()
        if known is None:
            await import_store.insert_import(
                connection,
                tenant,
                import_id,
                source_token=tokens[0],
                file_token=keys.digests(FILE_DIGEST, header.source_digest)[0],
                category=header.category,
                list_id=header.list_id,
                ingress=ingress,
                now=vault.clock(),
            )
        elif ingress == PLAINTEXT and known.state != "COMPLETE":
            await import_store.mark_plaintext(connection, tenant, import_id)
    attempt.resource = f"tenants/{tenant}/imports/{import_id}"
    return Import(tenant, import_id, header, known.row_count if known else 0, known is not None and known.state == "COMPLETE")


async def import_rows(vault: Vault, attempt: Attempt, state: Import, rows: Sequence[Row]) -> None:
    """Store some rows, in one commit with their count and refusals."""
    if len(rows) > MAX_ROWS:
        raise InvalidArgumentError("BATCH_TOO_LARGE", f"at most {MAX_ROWS} rows in one message", field="rows", limit=str(MAX_ROWS))
    start, state.position = state.position, state.position + len(rows)
    if state.position <= state.resumed:
        return
    async with vault.database.write() as connection:
        tenant, keys = await active_tenant(vault, connection, state.tenant, hold=True)
        facts = await gather(vault, connection, attempt, tenant, required=False)
        await hold_store.delay_holds(connection, state.tenant)
        progress = await import_store.locked_import(connection, state.tenant, state.import_id)
        # Another attempt on the same file may have come further meanwhile.
        fresh = rows[max(0, progress.row_count - start) :]
        if not fresh:
            return
        allowed = {
            category: require(vault, attempt, facts, operation=Operation.CREATE, category=category, list_id=state.header.list_id)
            for category in _categories(state.header)
        }
        prepared, issues = _prepare(vault, state.header, fresh)
        merged = await _store(vault, connection, keys, state, [item for _, item in prepared], by=attempt.caller.principal)
        progress = replace(
            progress,
            row_count=progress.row_count + len(fresh),
            accepted_count=progress.accepted_count + len(prepared) - merged.duplicates,
            duplicate_count=progress.duplicate_count + merged.duplicates,
        )
        await import_store.advance_import(connection, state.tenant, progress, issues)
        attempt.operation, attempt.count = "import", len(fresh)
        entries = [
            attempt.about(category=category, records=tuple(ids), subjects=merged.subjects if n == 0 else (), rule=allowed[category].rule)
            for n, (category, ids) in enumerate(merged.records.items())
        ]
        [state.receipt, *_] = await log.append(vault, connection, keys, entries or [attempt])


async def finish_import(vault: Vault, state: Import, *, row_count: int) -> None:
    """Close an import whose file was sent whole.

    Raises:
        FailedPreconditionError: IMPORT_INCOMPLETE, rows are missing; the import stays open to be resumed.
    """
    if row_count != state.position:
        raise FailedPreconditionError("IMPORT_INCOMPLETE", "fewer rows arrived than were announced, send the file again")
    async with vault.database.write() as connection:
        progress = await import_store.locked_import(connection, state.tenant, state.import_id)
        await import_store.advance_import(connection, state.tenant, replace(progress, state="COMPLETE"), [])


async def result_of(vault: Vault, state: Import) -> Result:
    """What became of the file so far."""
    async with vault.database.read() as connection:
        row = await import_store.locked_import(connection, state.tenant, state.import_id)
        counts = await import_store.issue_counts(connection, state.tenant, state.import_id)
        issues = await import_store.issues_of(connection, state.tenant, state.import_id, limit=MAX_ISSUES)
    return Result(row, {reason: count for reason, count in counts.items() if reason != DROPPED}, issues)


def _check_header(vault: Vault, header: Header) -> None:
    vault.catalogue.category(header.category)
    if header.category in {MEMBERSHIP, PROFILE} and not header.list_id:
        raise InvalidArgumentError("LIST_REQUIRED", "rows of this category belong to a list", field="header.list")
    check_list(header.list_id, field="header.list")
    if header.channel not in CHANNELS:
        raise InvalidArgumentError("FIELD_INVALID", f"channel is not one of {', '.join(sorted(CHANNELS))}", field="header.channel")
    if len(header.source_digest) != _DIGEST_BYTES:
        raise InvalidArgumentError("FIELD_INVALID", "source digest is not 32 bytes", field="header.source_digest")


def _categories(header: Header) -> tuple[str, ...]:
    """Categories that a row becomes records of; contacts that are put into a list become its members."""
    if header.category == CONTACT and header.list_id:
        return _LIST_RECORDS[MEMBERSHIP]
    return _LIST_RECORDS.get(header.category, (header.category,))


def _prepare(vault: Vault, header: Header, rows: Sequence[Row]) -> tuple[list[tuple[Row, list[Prepared]]], list[IssueRow]]:
    """Check every row; a row is stored whole or not at all."""
    prepared: list[tuple[Row, list[Prepared]]] = []
    issues: list[IssueRow] = []
    for row in rows:
        try:
            usable, dropped = _usable(vault, header, row)
            prepared.append((row, usable))
        except VaultError as error:
            issues.append(IssueRow(row.line, error.reason, error.field or ""))
        else:
            if dropped:
                issues.append(IssueRow(row.line, DROPPED, dropped))
    return prepared, issues


def _usable(vault: Vault, header: Header, row: Row) -> tuple[list[Prepared], str]:
    """The records of a row, and the identifier that had to be left out."""
    if header.category not in _LIST_RECORDS:
        return [prepare(vault, RecordInput(header.category, row.fields, row.extra, list_id=header.list_id))], ""
    contact = {name: value for name, value in row.fields.items() if name in _CONTACT_FIELDS}
    records, dropped = _contact(vault, header, contact)
    if header.list_id:
        fields = {"list_id": header.list_id, "added_at": vault.clock().isoformat(), "source": header.channel}
        records.append(prepare(vault, RecordInput(MEMBERSHIP, fields, list_id=header.list_id), owner_follows=True))
    profile = {name: value for name, value in row.fields.items() if name not in _CONTACT_FIELDS}
    if header.category == PROFILE:
        if profile or row.extra:
            records.append(prepare(vault, RecordInput(PROFILE, profile, row.extra, list_id=header.list_id), owner_follows=True))
    elif profile or row.extra:
        raise InvalidArgumentError("UNKNOWN_FIELD", f"category '{header.category}' has no such field", field="fields")
    return records, dropped


def _contact(vault: Vault, header: Header, fields: Mapping[str, str]) -> tuple[list[Prepared], str]:
    try:
        return [prepare(vault, RecordInput(CONTACT, {**fields, "channel": header.channel}))], ""
    except InvalidArgumentError as error:
        if error.reason != "IDENTIFIER_INVALID" or error.field not in fields:
            raise
        left = {name: value for name, value in fields.items() if name != error.field}
        if not left:
            raise InvalidArgumentError("NO_USABLE_IDENTIFIER", "no usable telephone number or mailbox", field=error.field) from None
        return _contact(vault, header, left)[0], error.field or ""


async def _store(
    vault: Vault, connection: Connection, keys: TenantKeys, state: Import, rows: Sequence[Sequence[Prepared]], *, by: str
) -> Merged:
    """Merge rows about people, add rows about events."""
    first = vault.catalogue.category(_categories(state.header)[0])
    if first.occur_field or first.valid_from_field:
        items = [record for row in rows for record in row]
        stored = await store_records(vault, connection, keys, items, import_id=state.import_id)
        await preference.accept_terms(vault, connection, keys.tenant, accounts_in(items, stored), by=by)
        subjects = tuple(dict.fromkeys(name.subject for name in stored))
        return Merged({first.name: [name.record for name in stored]} if stored else {}, subjects, 0)
    return await merge_records(vault, connection, keys, rows, import_id=state.import_id)
