"""Release budgets: bulk exfiltration by one account is stopped (design §8)."""

from datetime import UTC, datetime, timedelta

import pytest

from vault.errors import ResourceExhaustedError
from vault.operations.budget import ReleaseBudgets


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_what_exceeds_the_budget_is_refused_and_not_counted() -> None:
    budgets = ReleaseBudgets(Clock())
    budgets.spend("people/dana", 900, budget=1000)

    with pytest.raises(ResourceExhaustedError) as caught:
        budgets.spend("people/dana", 101, budget=1000)
    budgets.spend("people/dana", 100, budget=1000)

    assert (caught.value.reason, caught.value.retry_after) == ("RELEASE_BUDGET_EXCEEDED", timedelta(hours=1))


def test_spending_is_forgotten_after_an_hour() -> None:
    clock = Clock()
    budgets = ReleaseBudgets(clock)
    budgets.spend("people/dana", 10, budget=10)

    clock.now += timedelta(minutes=59, seconds=59)
    with pytest.raises(ResourceExhaustedError):
        budgets.spend("people/dana", 1, budget=10)
    clock.now += timedelta(seconds=1)

    budgets.spend("people/dana", 10, budget=10)


def test_principals_do_not_share_a_budget() -> None:
    budgets = ReleaseBudgets(Clock())
    budgets.spend("people/dana", 10, budget=10)

    budgets.spend("people/eli", 10, budget=10)
    budgets.spend("spiffe://example/engine", 1_000_000, budget=None)


def test_a_busy_principal_costs_a_number_a_minute() -> None:
    clock = Clock()
    budgets = ReleaseBudgets(clock)

    for _ in range(3600):
        budgets.spend("people/dana", 1, budget=10_000)
        clock.now += timedelta(seconds=1)

    assert len(budgets._spent["people/dana"]) <= 61
