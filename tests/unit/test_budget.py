"""Release budgets: bulk exfiltration by one account is stopped (design §8)."""

from datetime import UTC, datetime, timedelta

import pytest

from vault.errors import ResourceExhaustedError
from vault.operations.attempt import Caller
from vault.operations.budget import ReleaseBudgets


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def caller(budget: int | None, *, name: str = "people/dana", **by_purpose: int) -> Caller:
    """Somebody with these budgets."""
    return Caller(
        principal=name,
        kind="person",
        roles=frozenset(),
        tenants=None,
        method="",
        trace_id="",
        auth_method="mtls+oidc",
        hourly_releases=budget,
        hourly_releases_for=by_purpose,
    )


def test_what_exceeds_the_budget_is_refused_and_not_counted() -> None:
    budgets, dana = ReleaseBudgets(Clock()), caller(1000)
    budgets.spend(dana, 900, purpose="support")

    with pytest.raises(ResourceExhaustedError) as caught:
        budgets.spend(dana, 101, purpose="support")
    budgets.spend(dana, 100, purpose="support")

    assert (caught.value.reason, caught.value.retry_after) == ("RELEASE_BUDGET_EXCEEDED", timedelta(hours=1))


def test_spending_is_forgotten_after_an_hour() -> None:
    clock = Clock()
    budgets, dana = ReleaseBudgets(clock), caller(10)
    budgets.spend(dana, 10, purpose="support")

    clock.now += timedelta(minutes=59, seconds=59)
    with pytest.raises(ResourceExhaustedError):
        budgets.spend(dana, 1, purpose="support")
    clock.now += timedelta(seconds=1)

    budgets.spend(dana, 10, purpose="support")


def test_principals_do_not_share_a_budget() -> None:
    budgets = ReleaseBudgets(Clock())
    budgets.spend(caller(10), 10, purpose="support")

    budgets.spend(caller(10, name="people/eli"), 10, purpose="support")
    budgets.spend(caller(None, name="spiffe://example/engine"), 1_000_000, purpose="support")


def test_a_purpose_has_a_budget_of_its_own_within_the_one_of_everything() -> None:
    budgets, dana = ReleaseBudgets(Clock()), caller(10, support=4, billing=9)
    budgets.spend(dana, 4, purpose="support")

    with pytest.raises(ResourceExhaustedError) as of_purpose:
        budgets.spend(dana, 1, purpose="support")
    budgets.spend(dana, 5, purpose="billing")
    with pytest.raises(ResourceExhaustedError) as of_all:
        budgets.spend(dana, 2, purpose="billing")
    budgets.spend(dana, 1, purpose="delivery")

    assert (of_purpose.value.metadata["limit"], of_all.value.metadata["limit"]) == ("4", "10")


def test_a_purpose_can_be_limited_where_nothing_else_is() -> None:
    clock = Clock()
    budgets, engine = ReleaseBudgets(clock), caller(None, support=4)
    budgets.spend(engine, 1_000, purpose="billing")
    budgets.spend(engine, 4, purpose="support")

    with pytest.raises(ResourceExhaustedError) as caught:
        budgets.spend(engine, 1, purpose="support")
    clock.now += timedelta(hours=1)
    budgets.spend(engine, 4, purpose="support")

    assert caught.value.retry_after == timedelta(hours=1)


def test_what_others_counted_counts_for_everything_and_for_its_purpose() -> None:
    clock = Clock()
    budgets, dana = ReleaseBudgets(clock), caller(10, support=4)
    budgets.learn({"people/dana": {"support": [(clock.now, 3)], "": [(clock.now, 2)]}})

    with pytest.raises(ResourceExhaustedError) as of_purpose:
        budgets.spend(dana, 2, purpose="support")
    with pytest.raises(ResourceExhaustedError) as of_all:
        budgets.spend(dana, 6, purpose="billing")
    budgets.spend(dana, 1, purpose="support")
    budgets.spend(dana, 4, purpose="billing")

    assert (of_purpose.value.metadata["limit"], of_all.value.metadata["limit"]) == ("4", "10")


def test_what_a_caller_calls_its_purpose_is_not_kept() -> None:
    clock = Clock()
    budgets, dana = ReleaseBudgets(clock), caller(10, support=4)

    budgets.spend(dana, 1, purpose="Dana Cohen, 050-1234567")
    budgets.spend(dana, 2, purpose="support")

    assert budgets.take_unshared() == {("people/dana", "", clock.now): 1, ("people/dana", "support", clock.now): 2}


def test_a_busy_principal_costs_a_number_a_minute() -> None:
    clock = Clock()
    budgets, dana = ReleaseBudgets(clock), caller(10_000)

    for _ in range(3600):
        budgets.spend(dana, 1, purpose="support")
        clock.now += timedelta(seconds=1)

    assert len(budgets._spent["people/dana"][""]) <= 61
