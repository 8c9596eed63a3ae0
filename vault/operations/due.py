"""When retention has something to do about a record. Pure: no clock, no database.

- A record goes when its retention ends; where it is kept restricted after that, when the restriction ends.
- A field that is kept for fewer days than its record goes first, counted from when the record happened.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from vault.catalogue.model import Category
from vault.store.records import RecordRow


def end_of(category: Category, row: RecordRow) -> datetime | None:
    """When a record goes; None if that is not known yet, or past the calendar."""
    if row.expire_time is None:
        return None
    retention = category.retention_at(row.level, row.metadata)
    return _later(row.expire_time, max(0, retention.restricted_days - retention.days))


def fields_due(category: Category, row: RecordRow, now: datetime) -> frozenset[str]:
    """Fields whose time is over, whether the record still has them or not."""
    return frozenset(name for name in _short_lived(category) if (end := _field_end(category, row, name)) is not None and end <= now)


def next_due(category: Category, row: RecordRow, present: Collection[str]) -> datetime | None:
    """When a record with these fields is to be looked at next."""
    ends = [end_of(category, row), *(_field_end(category, row, name) for name in _short_lived(category) if name in present)]
    return min((end for end in ends if end is not None), default=None)


def _short_lived(category: Category) -> list[str]:
    return [field.name for field in category.fields.values() if field.keep_days]


def _field_end(category: Category, row: RecordRow, name: str) -> datetime | None:
    return _later(row.occur_time or row.create_time, category.fields[name].keep_days)


def _later(moment: datetime, days: int) -> datetime | None:
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        return None
