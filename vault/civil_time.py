"""Times as a court writes them: on the clock of a place, which twice a year repeats an hour or leaves one out. Pure.

An interval is [start, end) on the wall. What is meant is every moment that the clock on the wall showed within it:
- an hour that came twice, in autumn, is meant both times: a start is its first reading, an end its second
- an hour that never came, in spring, is moved forward to the first moment that did
Both are noted, because whoever reads the order may have meant only one of them.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vault.errors import InvalidArgumentError

JERUSALEM = "Asia/Jerusalem"


class Note(StrEnum):
    """What had to be read into an interval."""

    START_CAME_TWICE = "START_CAME_TWICE"
    END_CAME_TWICE = "END_CAME_TWICE"
    START_NEVER_CAME = "START_NEVER_CAME"
    END_NEVER_CAME = "END_NEVER_CAME"


@dataclass(frozen=True, slots=True)
class Interval:
    """What is meant, in UTC, and what had to be noted."""

    start: datetime
    end: datetime
    notes: tuple[Note, ...]


def interval(start: str, end: str, zone: str = JERUSALEM) -> Interval:
    """The moments that an order means by two times on the wall.

    Args:
        start: `2026-10-25T01:30`, or a date alone for its midnight.
        end: the same, exclusive; a date alone is the whole of that day.
        zone: name of the zone, as the tz database spells it.
    Raises:
        InvalidArgumentError: FIELD_INVALID: no such zone, no such time, a time that has a zone of its own, or an end before the start.
    """
    place = _zone(zone)
    first, first_note = _reading(_wall(start, "local_start", is_end=False), place, is_end=False)
    last, last_note = _reading(_wall(end, "local_end", is_end=True), place, is_end=True)
    if first >= last:
        raise InvalidArgumentError("FIELD_INVALID", "the period ends before it begins", field="scope.local_end")
    return Interval(first, last, tuple(note for note in (first_note, last_note) if note is not None))


def moment(text: str, zone: str = JERUSALEM) -> datetime:
    """One time on the wall in UTC, its first reading; a time that has a zone keeps it.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgumentError("FIELD_INVALID", "not a time like 2026-03-01T12:00", field="time") from None
    return value.astimezone(UTC) if value.tzinfo else _reading(value, _zone(zone), is_end=False)[0]


def on_the_wall(value: datetime, zone: str = JERUSALEM) -> str:
    """A moment as the clock of a place shows it, to the minute: `25.10.2026 01:30`."""
    return value.astimezone(_zone(zone)).strftime("%d.%m.%Y %H:%M")


def _reading(wall: datetime, place: ZoneInfo, *, is_end: bool) -> tuple[datetime, Note | None]:
    first, second = (wall.replace(tzinfo=place, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return first, None
    if first.astimezone(place).replace(tzinfo=None) == wall:
        return (second, Note.END_CAME_TWICE) if is_end else (first, Note.START_CAME_TWICE)
    # With the offset of before the change the reading is after it, and the other way round: the change lies between them.
    return _change(second, first, place), Note.END_NEVER_CAME if is_end else Note.START_NEVER_CAME


def _change(before: datetime, after: datetime, place: ZoneInfo) -> datetime:
    """The moment between two at which the offset of a place changes, to the second."""
    old = before.astimezone(place).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(place).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def _wall(text: str, field: str, *, is_end: bool) -> datetime:
    value: datetime | None
    try:
        value = datetime.fromisoformat(text)
        if len(text) == len("2026-10-25"):
            day = date.fromisoformat(text)
            return datetime.combine(day + timedelta(days=1) if is_end else day, time())
    except (ValueError, OverflowError):
        value = None
    if value is None or value.tzinfo is not None:
        raise InvalidArgumentError("FIELD_INVALID", "not a time on the wall like 2026-10-25T01:30, without a zone", field=f"scope.{field}")
    return value


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgumentError("FIELD_INVALID", "no such time zone", field="scope.time_zone") from None
