"""Intervals on the clock of Jerusalem: an hour that came twice, an hour that never came (§5.3).

In 2026 the clock went forward on 27 March, from 02:00 to 03:00, and back on 25 October, from 02:00 to 01:00.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.civil_time import JERUSALEM, Note, interval, moment, on_the_wall
from vault.errors import InvalidArgumentError

PLACE = ZoneInfo(JERUSALEM)
MINUTES = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda t: t.replace(second=0, microsecond=0))  # noqa: DTZ001 - walls


@pytest.mark.parametrize(
    ("start", "end", "first", "last", "notes"),
    [
        ("2026-01-01T00:00", "2026-07-01T00:00", "2025-12-31T22:00", "2026-06-30T21:00", []),
        ("2026-01-01", "2026-01-31", "2025-12-31T22:00", "2026-01-31T22:00", []),
        ("2026-10-25T01:30", "2026-10-25T05:00", "2026-10-24T22:30", "2026-10-25T03:00", [Note.START_CAME_TWICE]),
        ("2026-10-24T20:00", "2026-10-25T01:30", "2026-10-24T17:00", "2026-10-24T23:30", [Note.END_CAME_TWICE]),
        ("2026-10-25T01:10", "2026-10-25T01:20", "2026-10-24T22:10", "2026-10-24T23:20", [Note.START_CAME_TWICE, Note.END_CAME_TWICE]),
        ("2026-03-27T02:30", "2026-03-27T05:00", "2026-03-27T00:00", "2026-03-27T02:00", [Note.START_NEVER_CAME]),
        ("2026-03-26T20:00", "2026-03-27T02:30", "2026-03-26T18:00", "2026-03-27T00:00", [Note.END_NEVER_CAME]),
    ],
)
def test_what_an_interval_means(start: str, end: str, first: str, last: str, notes: list[Note]) -> None:
    meant = interval(start, end)

    assert meant.start == datetime.fromisoformat(first).replace(tzinfo=UTC)
    assert meant.end == datetime.fromisoformat(last).replace(tzinfo=UTC)
    assert list(meant.notes) == notes


@given(start=MINUTES, length=st.integers(1, 60 * 24 * 400), at=st.integers(-200, 60 * 24 * 410))
def test_every_moment_is_meant_that_the_wall_showed_within_the_interval(start: datetime, length: int, at: int) -> None:
    """Whatever moment: if the clock on the wall read a time of the interval, it is in. An hour that came twice may bring more, never less."""
    end = start + timedelta(minutes=length)
    try:
        meant = interval(start.isoformat(), end.isoformat())
    except InvalidArgumentError:
        # Both within the hour that never came: no wall showed any of it.
        assert start.replace(tzinfo=PLACE).astimezone(UTC).astimezone(PLACE).replace(tzinfo=None) != start
        return
    some = start.replace(tzinfo=PLACE).astimezone(UTC) + timedelta(minutes=at)
    shown = some.astimezone(PLACE).replace(tzinfo=None)

    if start <= shown < end:
        assert meant.start <= some < meant.end
    elif not meant.notes:
        assert not meant.start <= some < meant.end


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("2026-01-02", "2026-01-01T00:00", JERUSALEM),
        ("2026-01-01T00:00Z", "2026-01-02", JERUSALEM),
        ("yesterday", "2026-01-02", JERUSALEM),
        ("2026-01-01", "2026-01-02", "Asia/Nowhere"),
        ("2026-01-01", "2026-01-02", "../etc/passwd"),
        ("2026-01-01", "9999-12-31", JERUSALEM),
    ],
)
def test_what_is_no_interval_is_refused(start: str, end: str, zone: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        interval(start, end, zone)

    assert refused.value.reason == "FIELD_INVALID"


def test_a_moment_is_read_on_the_wall_unless_it_says_where() -> None:
    assert moment("2026-07-01T12:00") == moment("2026-07-01T09:00Z") == datetime(2026, 7, 1, 9, tzinfo=UTC)
    assert on_the_wall(datetime(2026, 10, 24, 22, 30, tzinfo=UTC)) == "25.10.2026 01:30"
