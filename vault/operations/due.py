"""When retention has something to do about a record. Pure: no clock, no database.

- A record goes when its retention ends; where it is kept restricted after that, when the restriction ends.
- Where it is kept on as a token, the person goes when its ordinary use ends.
- A field that is kept for fewer days than its record goes first, counted from when the record happened.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from vault.catalogue.model import Category, Erasure, Retention
from vault.store.records import RecordRow


def end_of(category: Category, row: RecordRow) -> datetime | None:
    """When a record goes; None if that is not known yet, or past the calendar."""
    if row.expire_time is None:
        return None
    retention = category.retention_at(row.level, row.metadata)
    return _later(row.expire_time, _tail(retention))


def is_past_use(category: Category, level: str, metadata: Mapping[str, object], expire_time: datetime | None, now: datetime) -> bool:
    """Whether a record is past its ordinary use and kept on restricted (§2B, P3.5-reg): who may still read it is for the policy to say."""
    return expire_time is not None and expire_time <= now and _tail(category.retention_at(level, metadata)) > 0


def token_time(category: Category, row: RecordRow) -> datetime | None:
    """When the people in a record that is kept on become tokens; None if they do not, or that is not known yet."""
    retention = category.retention_at(row.level, row.metadata)
    return row.expire_time if _tail(retention) and retention.afterwards is Erasure.TOKENISED else None


def fields_due(category: Category, row: RecordRow, now: datetime) -> frozenset[str]:
    """Fields whose time is over, whether the record still has them or not."""
    return frozenset(name for name in _short_lived(category) if (end := _field_end(category, row, name)) is not None and end <= now)


def next_due(category: Category, row: RecordRow, present: Collection[str], *, is_token: bool = False) -> datetime | None:
    """When a record with these fields is to be looked at next; `is_token` if nobody is in it any more."""
    ends = [
        end_of(category, row),
        None if is_token else token_time(category, row),
        *(_field_end(category, row, name) for name in _short_lived(category) if name in present),
    ]
    return min((end for end in ends if end is not None), default=None)


def _tail(retention: Retention) -> int:
    """Days for which it is kept on after its ordinary use."""
    return max(0, retention.restricted_days - retention.days)


def _short_lived(category: Category) -> list[str]:
    return [field.name for field in category.fields.values() if field.keep_days]


def _field_end(category: Category, row: RecordRow, name: str) -> datetime | None:
    return _later(row.occur_time or row.create_time, category.fields[name].keep_days)


def _later(moment: datetime, days: int) -> datetime | None:
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        return None
