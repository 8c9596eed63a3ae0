"""Reading what is known about subjects and records without any value: state, categories, times, names of fields."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vault import crypto
from vault.errors import NotFoundError
from vault.names import RecordName, SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant, known_tenant, page_limit, refuse_former_customer
from vault.operations.idempotency import Answer, RequestKey, earlier_answer, keep
from vault.operations.subjects import new_subject
from vault.policy.decide import Operation
from vault.store import records as record_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.records import RecordRow
from vault.store.subjects import SubjectRow


@dataclass(frozen=True, slots=True)
class PartView:
    """One party of a record: role, subject, names of the sealed fields."""

    role: str
    subject: str
    field_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record without its values; `erased_parties` are those that it had and has no more."""

    row: RecordRow
    parts: tuple[PartView, ...]
    erased_parties: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubjectView:
    """A subject and its record counts by category."""

    row: SubjectRow
    counts: Mapping[str, int]


async def create_subject(vault: Vault, attempt: Attempt, tenant: str, request: RequestKey) -> tuple[SubjectView, Receipt]:
    """Create a subject that no identifier is known of yet."""
    attempt.operation = "create-subject"
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, tenant)
        if (answer := await earlier_answer(connection, keys, request)) is not None:
            return await _subject(connection, SubjectName(tenant, answer.ids[0])), answer.receipt
        subject = await new_subject(vault, connection, keys)
        attempt.subjects, attempt.count = (subject,), 1
        [receipt] = await log.append(vault, connection, keys, [attempt])
        await keep(vault, connection, keys, request, Answer((subject,), receipt))
        return await _subject(connection, SubjectName(tenant, subject)), receipt


async def get_subject(vault: Vault, attempt: Attempt, name: SubjectName) -> SubjectView:
    """Read a subject; counted are the categories that the caller may list at any level.

    Raises:
        NotFoundError: SUBJECT_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        row, _ = await known_tenant(vault, connection, name.tenant)
        refuse_former_customer(row, attempt)
        view = await _subject(connection, name)
    return replace(view, counts={category: count for category, count in view.counts.items() if _may_list(vault, attempt, category)})


async def get_record(vault: Vault, attempt: Attempt, name: RecordName) -> RecordView:
    """Read a record's metadata.

    Raises:
        NotFoundError: RECORD_NOT_FOUND.
        PermissionDeniedError: ROLE_NOT_ALLOWED.
        FailedPreconditionError: CUSTOMER_REQUEST_REQUIRED.
    """
    attempt.operation, attempt.records, attempt.subjects = Operation.LIST.value, (name.record,), (name.subject,)
    async with vault.database.read() as connection:
        row, _ = await known_tenant(vault, connection, name.tenant)
        refuse_former_customer(row, attempt)
        view = await load_view(vault, connection, name)
    attempt.category = view.row.category
    if refused := vault.policy.refuse_listing(view.row.category, view.row.level, attempt.caller.roles, attempt.caller.products):
        attempt.rule = refused.rule
        raise refused.error()
    return view


async def list_records(
    vault: Vault, attempt: Attempt, name: SubjectName, *, category: str, page_size: int, after: str
) -> tuple[list[RecordView], str]:
    """Metadata of those of a subject's records that the caller may list, and where the next page starts; a page may be short.

    Raises:
        NotFoundError: SUBJECT_NOT_FOUND.
        InvalidArgumentError: UNKNOWN_CATEGORY.
    """
    if category:
        vault.catalogue.category(category)
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        row, _ = await known_tenant(vault, connection, name.tenant)
        refuse_former_customer(row, attempt)
        await _subject(connection, name)
        rows = await record_store.list_records(connection, name.tenant, name.subject, category=category, after=after, limit=limit + 1)
        views = await views_of(vault, connection, name.tenant, rows[:limit])
    caller, refuse = attempt.caller, vault.policy.refuse_listing
    views = [view for view in views if refuse(view.row.category, view.row.level, caller.roles, caller.products) is None]
    return views, rows[limit - 1].record_id if len(rows) > limit else ""


def _may_list(vault: Vault, attempt: Attempt, category: str) -> bool:
    levels = vault.catalogue.category(category).levels or ("",)
    caller = attempt.caller
    return any(vault.policy.refuse_listing(category, level, caller.roles, caller.products) is None for level in levels)


async def load_view(vault: Vault, connection: Connection, name: RecordName) -> RecordView:
    """A record's metadata, if the named subject is a party of it.

    Raises:
        NotFoundError: RECORD_NOT_FOUND.
    """
    row = await record_store.get_record(connection, name.tenant, name.record)
    [view] = await views_of(vault, connection, name.tenant, [row]) if row else [None]
    if view is None or name.subject not in {part.subject for part in view.parts}:
        raise NotFoundError("RECORD_NOT_FOUND", "no such record")
    return view


async def record_views(vault: Vault, tenant: str, ids: list[str]) -> dict[str, RecordView]:
    """Metadata of records just stored, by id."""
    async with vault.database.read() as connection:
        rows = await record_store.get_records(connection, tenant, ids)
        return {view.row.record_id: view for view in await views_of(vault, connection, tenant, rows)}


async def views_of(vault: Vault, connection: Connection, tenant: str, rows: list[RecordRow]) -> list[RecordView]:
    """Records with the names of their sealed fields; nothing is opened. A party that is a token is an erased one (A23)."""
    parts: dict[str, list[PartView]] = {row.record_id: [] for row in rows}
    tokens: dict[str, set[str]] = {row.record_id: set() for row in rows}
    for part in await record_store.get_parts(connection, tenant, list(parts)):
        if part.key_version == 0:
            tokens[part.record_id].add(part.role)
        else:
            parts[part.record_id].append(PartView(part.role, part.subject_id, tuple(crypto.field_names(part.sealed))))
    return [_view(vault, row, parts[row.record_id], tokens[row.record_id]) for row in rows]


def _view(vault: Vault, row: RecordRow, parts: list[PartView], tokens: set[str]) -> RecordView:
    category = vault.catalogue.category(row.category)
    missing = category.missing_parties({part.role for part in parts})
    return RecordView(row, tuple(parts), tuple(party.name for party in category.parties if party.name in tokens or party.name in missing))


async def _subject(connection: Connection, name: SubjectName) -> SubjectView:
    row = await subject_store.get_subject(connection, name.tenant, name.subject)
    if row is None:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    return SubjectView(row, await subject_store.record_counts(connection, name.tenant, name.subject))
