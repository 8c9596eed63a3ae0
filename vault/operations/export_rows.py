"""What a record looks like in a package: the fields of the scope, opened, and of the other side as much as the order discloses. No I/O.

Rules:
- Only listed fields; all of the category if none is listed (§5.4 step 8).
- The other side of a call or a message is whoever carries no target. Its fields are whole (FULL), masked, or left out (NONE).
- A moment stands in UTC as it is stored, and beside it on the clock of Israel.
- Bytes stand as Base64.
- A record of which nothing can be opened any more, or that is not what it was at the snapshot, is withheld and counted (N18).
"""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from vault.bundle.content import Column
from vault.catalogue.fields import Field, FieldType
from vault.catalogue.model import Category
from vault.masking import mask
from vault.operations.keyring import TenantKeys
from vault.operations.order_content import FULL, MASKED
from vault.operations.reveal import open_part
from vault.store.exports import SnapshotRow
from vault.store.records import ReadableRow, RecordRow

LOCAL = "_local"
_ISRAEL = ZoneInfo("Asia/Jerusalem")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a category goes into the package.

    Attributes:
        category: its catalogue entry.
        fields: which fields; all if empty.
        targets: identifiers of the order as (kind, normalised value).
        counterpart: FULL, MASKED or NONE.
    """

    category: Category
    fields: Sequence[str]
    targets: frozenset[tuple[str, str]] = field(repr=False)
    counterpart: str = FULL

    def named(self) -> list[Field]:
        """The fields, in the order of the catalogue."""
        return [spec for name, spec in self.category.fields.items() if not self.fields or name in self.fields]

    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        columns = [Column("record", "record id", "מזהה רשומה")]
        for spec in self.named():
            columns.append(Column(spec.name, spec.description.en, spec.description.he))
            if spec.type is FieldType.TIMESTAMP:
                columns.append(Column(spec.name + LOCAL, f"{spec.description.en} (time in Israel)", f"{spec.description.he} (שעון ישראל)"))
        return tuple(columns)


@dataclass(frozen=True, slots=True)
class Opened:
    """Some records of one category.

    Attributes:
        rows: value by column, in order.
        records, subjects: opaque ids of what is named in the log.
        withheld: how many are not there, by reason.
        timed: when each happened and when it was stored, of those that say so.
    """

    rows: Sequence[Mapping[str, str]] = field(repr=False)
    records: Sequence[str]
    subjects: Sequence[str]
    withheld: Mapping[str, int]
    timed: Sequence[tuple[datetime, datetime]]


def open_records(
    keys: TenantKeys,
    wanted: Wanted,
    snapshot: Sequence[SnapshotRow],
    stored: Mapping[str, RecordRow],
    parts: Mapping[str, Sequence[ReadableRow]],
) -> Opened:
    """Open the records of a page of the snapshot, in its order.

    Raises:
        CiphertextInvalidError: a part was altered or moved (I3).
    """
    rows, records, subjects, withheld = list[Mapping[str, str]](), list[str](), dict[str, None](), Counter[str]()
    timed: list[tuple[datetime, datetime]] = []
    for noted in snapshot:
        living = [part for part in parts.get(noted.record_id, ()) if part.wrapped is not None]
        row = stored.get(noted.record_id)
        if row is None or not living:
            withheld["KEY_DESTROYED"] += 1
        elif row.version != noted.version:
            withheld["CHANGED_SINCE_SNAPSHOT"] += 1
        else:
            rows.append({"record": noted.record_id, **_values(keys, wanted, row, living)})
            records.append(noted.record_id)
            subjects |= dict.fromkeys(part.subject_id for part in living)
            if row.occur_time is not None:
                timed.append((row.occur_time, row.create_time))
    return Opened(rows, records, list(subjects), withheld, timed)


def stored_within_a_day(timed: Sequence[tuple[datetime, datetime]]) -> int:
    """How many of what happened were stored within a day."""
    return sum(stored - happened <= _DAY for happened, stored in timed)


def _values(keys: TenantKeys, wanted: Wanted, row: RecordRow, living: Sequence[ReadableRow]) -> dict[str, str]:
    specs = wanted.named()
    # Identifiers are looked at although they may not be asked for: they tell whose side a field is.
    indexed = [spec.name for spec in wanted.category.fields.values() if spec.index]
    asked = frozenset([spec.name for spec in specs] + (indexed if wanted.counterpart != FULL else []))
    plain: dict[str, bytes] = {}
    for part in living:
        plain |= open_part(keys, part, asked)
    texts = dict(row.metadata) | {name: _text(wanted.category.fields[name], value) for name, value in plain.items()}
    sides = _sides_of_targets(wanted, texts) if wanted.counterpart != FULL else None
    values: dict[str, str] = {}
    for spec in specs:
        if spec.name not in texts:
            continue
        text = texts[spec.name] if sides is None or not spec.party or spec.party in sides else _of_the_other(wanted, spec, texts[spec.name])
        if text is not None:
            values[spec.name] = text
            if spec.type is FieldType.TIMESTAMP:
                values[spec.name + LOCAL] = _local(text)
    return values


def _sides_of_targets(wanted: Wanted, texts: Mapping[str, str]) -> set[str]:
    """Parties one of whose identifiers is a target."""
    named = [(spec, texts[spec.name]) for spec in wanted.category.fields.values() if spec.index and spec.name in texts]
    return {spec.party for spec, text in named if spec.index and (spec.index.value, text) in wanted.targets}


def _of_the_other(wanted: Wanted, spec: Field, text: str) -> str | None:
    return mask(spec.mask, text) if wanted.counterpart == MASKED else None


def _text(spec: Field, value: bytes) -> str:
    return base64.b64encode(value).decode() if spec.type is FieldType.BYTES else value.decode()


def _local(text: str) -> str:
    """A stored moment on the clock of Israel, with how far that is from UTC; as it stands if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone(_ISRAEL).isoformat(sep=" ") if moment.tzinfo else text
