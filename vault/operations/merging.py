"""One record per person and list: rows about someone who has a record already are merged into it.

Of two values for one field the later one stands; a field that the later row leaves out keeps its value; extra fields are merged by key. A row is a
duplicate if the same import wrote the person's record before. A record that is held is not merged into: the row becomes a record beside it (A18, N2).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from vault import crypto
from vault.catalogue.model import Category
from vault.crypto import DataKey, Place
from vault.operations import hold
from vault.operations.core import Vault, readable_parts
from vault.operations.create import index_rows, record_row
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import EXTRA, Prepared, PreparedPart
from vault.operations.reveal import open_part
from vault.operations.subjects import PartKey, Resolved, resolve_subjects
from vault.store import holds as hold_store
from vault.store import records as record_store
from vault.store.database import Connection
from vault.store.records import IndexRow, PartRow, RecordRow


@dataclass(frozen=True, slots=True)
class Merged:
    """What a batch of rows became: record ids by category, subjects, and how many rows were duplicates."""

    records: Mapping[str, Sequence[str]]
    subjects: tuple[str, ...]
    duplicates: int


async def merge_records(
    vault: Vault, connection: Connection, keys: TenantKeys, rows: Sequence[Sequence[Prepared]], *, import_id: str
) -> Merged:
    """Store rows whose first record identifies the person and whose other records are about the same person.

    Returns:
        What was written; a row counts as duplicate if its person was written before by the same import.
    """
    if not rows:
        return Merged({}, (), 0)
    resolved = await resolve_subjects(vault, connection, keys, [row[0] for row in rows])
    subjects = [resolved.subjects[PartKey(position, row[0].parts[0].role)] for position, row in enumerate(rows)]
    columns: dict[str, list[tuple[str, Prepared]]] = {}
    for subject, row in zip(subjects, rows, strict=True):
        for record in row:
            columns.setdefault(record.category.name, []).append((subject, record))
    written: dict[str, list[str]] = {}
    marker = _marker(rows[0])
    before: set[str] = set()
    for name, column in columns.items():
        touched, ids = await _merge_column(vault, connection, keys, resolved, column, import_id=import_id)
        written[name] = ids
        if name == marker:
            before = touched
    duplicates = 0
    for subject in subjects:
        duplicates += subject in before
        before.add(subject)
    return Merged(written, tuple(dict.fromkeys(subjects)), duplicates)


def _marker(row: Sequence[Prepared]) -> str:
    """Category that tells a duplicate: the membership, if the row has one, because a person may be in many lists."""
    return row[min(1, len(row) - 1)].category.name


async def _merge_column(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    resolved: Resolved,
    column: Sequence[tuple[str, Prepared]],
    *,
    import_id: str,
) -> tuple[set[str], list[str]]:
    """Merge the records of one category; returns whose records this import had written before, and the ids written."""
    category, list_id = column[0][1].category, column[0][1].list_id
    owners = sorted({subject for subject, _ in column} - resolved.created)
    known = await record_store.list_members(connection, keys.tenant, category=category.name, list_id=list_id, owners=owners)
    existing = await _mergeable(vault, connection, keys.tenant, known)
    parts = {
        part.record_id: part for part in await readable_parts(vault, connection, keys.tenant, [row.record_id for row in existing.values()])
    }
    state: dict[str, tuple[RecordRow, dict[str, bytes], Prepared]] = {}
    for subject, record in column:
        if subject in state:
            row, fields, earlier = state[subject]
        elif subject in existing:
            row, earlier = existing[subject], record
            fields = open_part(keys, parts[row.record_id], None)
        else:
            row, fields, earlier = record_row(vault, record, owner=subject, import_id=import_id), {}, record
        state[subject] = (row, _overlaid(fields, record.parts[0]), _later(earlier, record))
    touched = {subject for subject, rows in known.items() if any(row.import_id == import_id for row in rows)}
    await _write(connection, keys, resolved.keys, category, state, existing, import_id=import_id)
    return touched, [row.record_id for row, _, _ in state.values()]


async def _mergeable(vault: Vault, connection: Connection, tenant: str, known: Mapping[str, Sequence[RecordRow]]) -> dict[str, RecordRow]:
    """For each owner the oldest record that is not held."""
    held: Collection[str] = ()
    if known and await hold_store.has_live_holds(connection, tenant, vault.clock()):
        held = await hold.held_records(vault, connection, tenant, [row.record_id for rows in known.values() for row in rows])
    free = {owner: [row for row in rows if row.record_id not in held] for owner, rows in known.items()}
    return {owner: rows[0] for owner, rows in free.items() if rows}


def _overlaid(fields: Mapping[str, bytes], part: PreparedPart) -> dict[str, bytes]:
    merged = {**fields, **part.fields}
    if EXTRA in fields and EXTRA in part.fields:
        extra = {**json.loads(fields[EXTRA]), **json.loads(part.fields[EXTRA])}
        merged[EXTRA] = json.dumps(extra, ensure_ascii=False, separators=(",", ":")).encode()
    return merged


def _later(earlier: Prepared, later: Prepared) -> Prepared:
    """The later record with the identifiers of both, the later one's first."""
    fields = {item.field for item in later.parts[0].searchable}
    kept = tuple(item for item in earlier.parts[0].searchable if item.field not in fields)
    part = replace(later.parts[0], searchable=(*later.parts[0].searchable, *kept))
    return replace(later, parts=(part,), metadata={**earlier.metadata, **later.metadata})


async def _write(
    connection: Connection,
    keys: TenantKeys,
    subject_keys: Mapping[str, DataKey],
    category: Category,
    state: Mapping[str, tuple[RecordRow, Mapping[str, bytes], Prepared]],
    existing: Mapping[str, RecordRow],
    *,
    import_id: str,
) -> None:
    new_rows: list[RecordRow] = []
    new_parts: list[PartRow] = []
    changed_rows: list[RecordRow] = []
    changed_parts: list[PartRow] = []
    index: list[IndexRow] = []
    role = category.parties[0].name
    for subject, (row, fields, record) in state.items():
        key = subject_keys[subject]
        sealed = crypto.seal_fields(fields, under=key, at=Place(keys.tenant, subject, row.record_id))
        part = PartRow(row.record_id, role, subject, key.version, sealed)
        if subject in existing:
            metadata = {**row.metadata, **record.metadata}
            changed_rows.append(replace(row, metadata=metadata, import_id=import_id, version=row.version + 1))
            changed_parts.append(part)
            replaced = [item.field for item in record.parts[0].searchable]
            await record_store.delete_index_fields(connection, keys.tenant, row.record_id, replaced)
        else:
            new_rows.append(replace(row, metadata=record.metadata))
            new_parts.append(part)
        index += index_rows(keys, row.record_id, record, 0, {PartKey(0, role): subject})
    await record_store.insert_records(connection, keys.tenant, new_rows, new_parts, [])
    await record_store.touch_records(connection, keys.tenant, changed_rows)
    await record_store.replace_parts(connection, keys.tenant, changed_parts)
    await record_store.insert_index(connection, keys.tenant, index)
