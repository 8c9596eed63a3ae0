"""Changing and deleting one record: rectification (L14), list upkeep (P3.2.1-owner), delivery of what is transient (P3.4-rec)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from vault import crypto
from vault.catalogue.fields import Storage
from vault.catalogue.model import Category, Value
from vault.crypto import DataKey, Place
from vault.errors import AbortedError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from vault.identifiers import IdentifierKind
from vault.names import RecordName
from vault.operations import due, listing, log, notify, replaced, rights
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant, known_tenant, open_subject_key, readable_parts, usable_keys
from vault.operations.decision import gather, require
from vault.operations.hold import check_not_held
from vault.operations.keyring import TenantKeys
from vault.operations.metadata import RecordView, load_view
from vault.operations.preparing import EXTRA, Identifier, encoded, expiry, prepare_values
from vault.operations.reveal import open_part
from vault.operations.subjects import token_of
from vault.policy.decide import Operation
from vault.store import guardians as guardian_store
from vault.store import holds as hold_store
from vault.store import records as record_store
from vault.store import retention as retention_store
from vault.store.database import Connection
from vault.store.records import IndexRow, PartRow, ReadableRow, RecordRow


@dataclass(frozen=True, slots=True)
class Update:
    """New values of the fields that the mask names; a named field without a value is removed."""

    mask: frozenset[str]
    fields: Mapping[str, str | bytes] = field(repr=False)
    extra: Mapping[str, str] = field(repr=False)
    etag: str


async def update_record(vault: Vault, attempt: Attempt, name: RecordName, update: Update) -> tuple[RecordView, Receipt]:
    """Replace fields of one record; old index tokens go, new ones come, in the same transaction (L14). What says when it ended starts its clock.

    Raises:
        NotFoundError: RECORD_NOT_FOUND.
        AbortedError: ETAG_MISMATCH.
        InvalidArgumentError: UNKNOWN_FIELD, FIELD_REQUIRED, FIELD_INVALID, FIELD_MASK_REQUIRED and what storing refuses.
        FailedPreconditionError: LEGAL_HOLD.
    """
    async with vault.database.write() as connection:
        row, keys, parts = await _changeable(vault, connection, attempt, name, Operation.UPDATE, update.etag)
        category = vault.catalogue.category(row.category)
        minors = [name.subject] if category.minors else []
        standing = await guardian_store.guardian_standing(connection, name.tenant, minors, vault.clock())
        _check_closing(category, row, attempt, update)
        normal = _new_values(vault, category, row, update, guarded=standing.get(name.subject) == guardian_store.VERIFIED)
        removed = update.mask - normal.keys()
        for part in parts:
            await _reseal(vault, connection, keys, category, part, normal, update.mask, version=row.version)
        metadata = {key: value for key, value in row.metadata.items() if key not in removed}
        metadata |= {key: str(value) for key, value in normal.items() if category.fields[key].storage is Storage.CLEAR}
        # The next sweep looks at it anew: a field whose time is over may have come back.
        changed = _ended(category, replace(row, metadata=metadata, version=row.version + 1, due_time=vault.clock()), update.mask)
        await record_store.touch_records(connection, name.tenant, [changed])
        if changed.expire_time != row.expire_time:
            await retention_store.set_expiry(connection, name.tenant, {row.record_id: changed.expire_time})
        attempt.fields = tuple(sorted(update.mask))
        await notify.rectified(vault, connection, attempt.caller, name, changed)
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await load_view(vault, connection, name), receipt


async def delete_record(vault: Vault, attempt: Attempt, name: RecordName, *, etag: str) -> Receipt:
    """Delete one record with its parts and index entries. Whoever was in a list by it and is in none any more has a clock from now on (C01).

    Raises:
        NotFoundError: RECORD_NOT_FOUND.
        AbortedError: ETAG_MISMATCH.
        FailedPreconditionError: LEGAL_HOLD.
    """
    async with vault.database.write() as connection:
        row, keys, _ = await _changeable(vault, connection, attempt, name, Operation.DELETE, etag)
        await record_store.delete_record(connection, name.tenant, name.record)
        await listing.leave_list(vault, connection, name.tenant, row)
        await notify.deleted(vault, connection, attempt.caller, name, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def confirm_delivery(vault: Vault, attempt: Attempt, name: RecordName) -> Receipt:
    """Destroy a transient record that was delivered (P3.4-rec). No hold keeps it: what is never kept cannot be preserved either.

    Raises:
        NotFoundError: RECORD_NOT_FOUND.
        FailedPreconditionError: NOT_TRANSIENT, the record's category is kept after delivery.
    """
    attempt.operation = "confirm-delivery"
    attempt.records, attempt.subjects = (name.record,), (name.subject,)
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, name.tenant)
        view = await load_view(vault, connection, name)
        attempt.category = view.row.category
        if not vault.catalogue.category(view.row.category).is_transient:
            raise FailedPreconditionError("NOT_TRANSIENT", "records of this category are not destroyed on delivery")
        await record_store.delete_record(connection, name.tenant, name.record)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def _changeable(
    vault: Vault, connection: Connection, attempt: Attempt, name: RecordName, operation: Operation, etag: str
) -> tuple[RecordRow, TenantKeys, list[ReadableRow]]:
    """The locked record, once the caller may change it and read the newest version."""
    attempt.operation, attempt.records, attempt.subjects, attempt.count = operation.value, (name.record,), (name.subject,), 1
    tenant, keys = await known_tenant(vault, connection, name.tenant, hold=True)
    facts = await gather(vault, connection, attempt, tenant)
    await hold_store.delay_holds(connection, name.tenant)
    row = await record_store.get_record(connection, name.tenant, name.record, lock=True)
    parts = await readable_parts(vault, connection, name.tenant, [name.record])
    if row is None or name.subject not in {part.subject_id for part in parts}:
        raise NotFoundError("RECORD_NOT_FOUND", "no such record")
    past_use = due.is_past_use(vault.catalogue.category(row.category), row.level, row.metadata, row.expire_time, vault.clock())
    restricted = past_use or any(part.subject_state == "RESTRICTED" for part in parts)
    require(
        vault,
        attempt,
        facts,
        operation=operation,
        category=row.category,
        level=row.level,
        list_id=row.list_id,
        restricted=restricted,
        subject=name.subject,
    )
    await check_not_held(vault, connection, name)
    if etag and etag != str(row.version):
        raise AbortedError("ETAG_MISMATCH", "the record was changed since it was read")
    return row, keys, parts


def _check_closing(category: Category, row: RecordRow, attempt: Attempt, update: Update) -> None:
    """Of what has an interval, whoever serves it says when that ends and nothing else; the rest is the person's to correct (P3.8-keep-map, L14).

    An interval is closed once: whose a number was is not changed afterwards (A29).
    """
    if category.valid_to_field is None:
        return
    if attempt.justification.purpose != rights.PURPOSE and update.mask != {category.valid_to_field}:
        raise InvalidArgumentError(
            "FIELD_INVALID", "of an interval nothing is changed but its end, unless the person asks", field="update_mask"
        )
    if category.valid_to_field in update.mask and (row.valid_to is not None or category.valid_to_field not in update.fields):
        raise InvalidArgumentError("FIELD_INVALID", "an interval that was closed is not opened or moved", field="update_mask")


def _ended(category: Category, row: RecordRow, mask: frozenset[str]) -> RecordRow:
    """The record with its interval, and with the end of its retention counted anew if the mask names what it counts from."""
    closed = row.metadata.get(category.valid_to_field) if category.valid_to_field else None
    if category.valid_to_field in mask and closed:
        row = replace(row, valid_to=datetime.fromisoformat(closed).astimezone(UTC))
    event = category.retention_at(row.level, row.metadata).event
    if category.end_field(event) not in mask:
        return row
    return replace(row, expire_time=expiry(category, row.level, row.metadata, created=row.create_time, occurred=row.occur_time))


def _check_end(category: Category, row: RecordRow, normal: Mapping[str, Value]) -> None:
    """What ends later than it was stored ended after it began, and was not over before it was stored as going on."""
    for name, begin in ((category.valid_to_field, row.valid_from), (category.ended_field, row.create_time)):
        end = normal.get(name) if name else None
        if isinstance(end, str) and begin is not None and datetime.fromisoformat(end) <= begin:
            raise InvalidArgumentError("FIELD_INVALID", f"field '{name}' lies before what it ends", field=name)


def _new_values(vault: Vault, category: Category, row: RecordRow, update: Update, *, guarded: bool) -> dict[str, Value]:
    given = set(update.fields) | ({EXTRA} if update.extra else set())
    if not update.mask or given - update.mask:
        raise InvalidArgumentError("FIELD_MASK_REQUIRED", "the mask names every field that is changed", field="update_mask")
    unknown = update.mask - category.fields.keys()
    if unknown:
        raise InvalidArgumentError("UNKNOWN_FIELD", f"category '{category.name}' has no such field", field="update_mask")
    times = {category.occur_field, category.valid_from_field} & update.mask
    if times:
        raise InvalidArgumentError("FIELD_INVALID", "when something happened is not changed but recorded anew", field="update_mask")
    missing = sorted(name for name in update.mask - given if category.fields[name].required)
    if missing:
        raise InvalidArgumentError("FIELD_REQUIRED", f"field '{missing[0]}' is required", field=missing[0])
    normal = prepare_values(vault, category, update.fields, update.extra, partial=True, guarded=guarded)
    _check_end(category, row, normal)
    return normal


async def _reseal(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    category: Category,
    part: ReadableRow,
    normal: Mapping[str, Value],
    mask: frozenset[str],
    *,
    version: int,
) -> None:
    """Seal one party's part anew, with its index entries, if the mask touches it; what it replaces is kept for a while."""
    touched = frozenset(name for name in mask if category.fields[name].party == part.role)
    if not touched:
        return
    key = await _subject_key(vault, connection, keys, part)
    before = open_part(keys, part, None)
    after = {name: encoded(normal[name]) for name in category.fields if name in touched and name in normal}
    gone = {name: value for name, value in before.items() if name in touched and after.get(name) != value}
    await replaced.keep(vault, connection, keys.tenant, part, gone, key=key, version=version)
    fields = {name: value for name, value in before.items() if name not in touched} | after
    content = crypto.seal_fields(fields, under=key, at=Place(keys.tenant, part.subject_id, part.record_id))
    await record_store.replace_part(connection, keys.tenant, PartRow(part.record_id, part.role, part.subject_id, key.version, content))
    await record_store.delete_index_fields(connection, keys.tenant, part.record_id, sorted(touched))
    entries = []
    for name in sorted(touched & normal.keys()):
        kind, value = category.fields[name].index, normal[name]
        if kind is not None and isinstance(value, str):
            token = token_of(keys, Identifier(IdentifierKind(kind), value, name))
            entries.append(IndexRow(token.kind, token.token, part.record_id, name, part.role, part.subject_id, keys.index_version))
    await record_store.insert_index(connection, keys.tenant, entries)


async def _subject_key(vault: Vault, connection: Connection, keys: TenantKeys, part: ReadableRow) -> DataKey:
    rows = await usable_keys(vault, connection, keys.tenant, [part.subject_id])
    row = rows.get(part.subject_id)
    if row is None:
        raise AbortedError("RETRY_AFTER_ERASURE", "the subject is being erased or was erased")
    return open_subject_key(keys, row)
