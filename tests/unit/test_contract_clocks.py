"""When the end of a contract starts a clock, and when one that runs already is left to run (P3.8-keep-map, §2B: C12, C14, C16, C28)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.store.rows import RECORD
from vault.catalogue.loader import load
from vault.operations.wind_up_kept import clock_of
from vault.store.records import RecordRow

CATALOGUE = load()
DAY = timedelta(days=1)
ENDED = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
YEARS = 2557 * DAY


def clocked(row: RecordRow, ended: datetime = ENDED) -> RecordRow:
    return clock_of(CATALOGUE.category(row.category), row, ended, frozenset())


def mapping(valid_to: datetime | None) -> RecordRow:
    expires = valid_to + YEARS if valid_to else None
    return replace(
        RECORD, category="number-mapping", valid_from=ENDED - 100 * DAY, valid_to=valid_to, expire_time=expires, due_time=expires
    )


def test_an_assignment_that_is_open_or_would_have_gone_on_ends_with_the_contract() -> None:
    """Harm: one that was to end later kept the clock of that later end."""
    for valid_to in (None, ENDED + 300 * DAY):
        row = clocked(mapping(valid_to))

        assert (row.valid_to, row.expire_time, row.due_time) == (ENDED, ENDED + YEARS, ENDED + YEARS)
        assert row.metadata["valid_to"] == ENDED.isoformat()
        assert clocked(row) == row


def test_an_assignment_that_was_closed_before_goes_on_counting_from_there() -> None:
    row = mapping(ENDED - 10 * DAY)

    assert clocked(row) == row


def test_a_card_goes_by_its_removal_or_the_contracts_end_whichever_came_first() -> None:
    """C14."""
    card = replace(RECORD, category="payment-card")
    removed = replace(card, expire_time=ENDED - 20 * DAY + 396 * DAY, due_time=ENDED - 20 * DAY + 396 * DAY)

    assert clocked(card).expire_time == ENDED + 396 * DAY
    assert clocked(removed) == removed


def test_a_case_waits_for_its_own_end_and_an_account_for_the_contracts() -> None:
    """C12, C28."""
    case, account = replace(RECORD, category="complaint-case"), replace(RECORD, category="business-account")

    assert clocked(case) == case
    assert clocked(account).expire_time == ENDED + YEARS
