"""Merging waiting calls into batches: who is served with whom, in what order, and who hears of whose trouble.

No test waits for time to pass: a batch runs until the test lets it go.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import AbortedError, FailedPreconditionError, KeyUnavailableError, VaultError
from vault.rpc.coalesce import Coalescer


@dataclass
class Runner:
    """Carries out batches that a test can hold, fail and look at afterwards.

    Attributes:
        held: keys whose batches wait until they are let go.
        fails: what a batch of these calls raises, if anything.
    """

    held: dict[str, asyncio.Event] = field(default_factory=dict)
    fails: Callable[[list[str]], BaseException | None] = lambda _: None
    batches: list[list[str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    under_way: dict[str, int] = field(default_factory=dict)

    async def __call__(self, key: str, calls: Sequence[str]) -> list[str]:
        self.batches.append(list(calls))
        self.keys.append(key)
        self.under_way[key] = self.under_way.get(key, 0) + 1
        assert self.under_way[key] == 1, "one batch per key at a time"
        try:
            if key in self.held:
                await self.held[key].wait()
            if (error := self.fails(list(calls))) is not None:
                raise error
        finally:
            self.under_way[key] -= 1
        return [f"{key}:{call}" for call in calls]

    def hold(self, key: str = "k") -> asyncio.Event:
        self.held[key] = asyncio.Event()
        return self.held[key]


def coalescer(runner: Runner, max_weight: int = 10) -> Coalescer[str, str]:
    """Calls weigh as much as they are long."""
    return Coalescer(runner, weight=len, max_weight=max_weight)


async def settled() -> None:
    """Let everything run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def start(coalescer: Coalescer[str, str], *calls: str, key: str = "k") -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(coalescer.submit(key, call)) for call in calls]
    await settled()
    return tasks


def failing_with(error: BaseException) -> Callable[[list[str]], BaseException | None]:
    """Fails every batch that holds the call `bad`."""
    return lambda calls: error if "bad" in calls else None


async def outcomes(tasks: list[asyncio.Task[str]]) -> list[str | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_call_alone_runs_at_once_as_a_batch_of_one() -> None:
    runner = Runner()

    assert await coalescer(runner).submit("k", "a") == "k:a"

    assert runner.batches == [["a"]]


async def test_calls_that_arrive_while_a_batch_runs_are_merged_into_the_next() -> None:
    runner = Runner()
    release, calls = runner.hold(), coalescer(runner)
    first = await start(calls, "a")
    others = await start(calls, "b", "c", "d")

    release.set()

    assert await outcomes(first + others) == ["k:a", "k:b", "k:c", "k:d"]
    assert runner.batches == [["a"], ["b", "c", "d"]]


async def test_calls_submitted_together_are_one_batch() -> None:
    runner = Runner()

    answers = await outcomes(await start(coalescer(runner), "a", "b"))

    assert answers == ["k:a", "k:b"]
    assert runner.batches == [["a", "b"]]


async def test_keys_do_not_wait_for_each_other() -> None:
    runner = Runner()
    release, calls = runner.hold("slow"), coalescer(runner)
    slow = await start(calls, "a", key="slow")

    fast = await outcomes(await start(calls, "b", key="fast"))

    assert fast == ["fast:b"]
    assert not slow[0].done()
    release.set()
    assert await outcomes(slow) == ["slow:a"]


async def test_keys_are_never_in_one_batch() -> None:
    runner = Runner()
    calls = coalescer(runner)

    await asyncio.gather(*(calls.submit(key, call) for key, call in (("x", "a"), ("y", "b"), ("x", "c"))))

    assert sorted(zip(runner.keys, runner.batches, strict=True)) == [("x", ["a", "c"]), ("y", ["b"])]


async def test_a_batch_ends_before_it_weighs_too_much() -> None:
    runner = Runner()

    await outcomes(await start(coalescer(runner, max_weight=10), "aaaa", "bbbb", "cc", "d", "eeeeeeeee", "f", "g"))

    assert runner.batches == [["aaaa", "bbbb", "cc"], ["d", "eeeeeeeee"], ["f", "g"]]


async def test_a_call_above_the_limit_is_a_batch_of_its_own() -> None:
    runner = Runner()

    await outcomes(await start(coalescer(runner, max_weight=3), "a", "bbbbbbbb", "c"))

    assert runner.batches == [["a"], ["bbbbbbbb"], ["c"]]


@settings(deadline=None)
@given(calls=st.lists(st.text(alphabet="abc", min_size=1, max_size=12), max_size=30), limit=st.integers(1, 20))
def test_every_call_is_run_once_in_order_within_the_limit(calls: list[str], limit: int) -> None:
    runner = Runner()

    async def run() -> list[str]:
        merged = coalescer(runner, max_weight=limit)
        return await asyncio.gather(*(merged.submit("k", call) for call in calls))

    answers = asyncio.run(run())

    assert answers == [f"k:{call}" for call in calls]
    assert [call for batch in runner.batches for call in batch] == calls
    assert all(len(batch) == 1 or sum(map(len, batch)) <= limit for batch in runner.batches)


async def test_nothing_is_left_behind_and_a_key_can_be_used_again() -> None:
    runner = Runner()
    calls = coalescer(runner)

    await outcomes(await start(calls, "a"))
    await settled()
    await outcomes(await start(calls, "b"))
    await settled()

    assert runner.batches == [["a"], ["b"]]
    assert (calls._waiting, calls._running) == ({}, set())


async def test_who_leaves_before_the_batch_begins_is_not_served() -> None:
    runner = Runner()
    release, calls = runner.hold(), coalescer(runner)
    first, [stays, leaves] = await start(calls, "a"), await start(calls, "b", "c")

    leaves.cancel()
    await settled()
    release.set()

    assert await outcomes([*first, stays]) == ["k:a", "k:b"]
    assert runner.batches == [["a"], ["b"]]
    assert leaves.cancelled()


async def test_who_left_takes_up_no_room_in_the_batch() -> None:
    runner = Runner()
    release, calls = runner.hold(), coalescer(runner, max_weight=4)
    first, [leaves, *stay] = await start(calls, "a"), await start(calls, "bbbb", "cc", "dd")

    leaves.cancel()
    await settled()
    release.set()

    await outcomes([*first, *stay])
    assert runner.batches == [["a"], ["cc", "dd"]]


async def test_a_batch_that_everybody_left_is_not_run() -> None:
    runner = Runner()
    release, calls = runner.hold(), coalescer(runner)
    first, leave = await start(calls, "a"), await start(calls, "b", "c")

    for task in leave:
        task.cancel()
    await settled()
    release.set()
    await outcomes(first)
    await settled()

    assert runner.batches == [["a"]]
    assert calls._waiting == {}


async def test_who_leaves_during_the_batch_does_no_harm_to_the_others() -> None:
    """The transaction belongs to all of them."""
    runner = Runner()
    release, calls = runner.hold(), coalescer(runner)
    [leaves, stays] = await start(calls, "a", "b")

    leaves.cancel()
    await settled()
    release.set()

    assert await outcomes([stays]) == ["k:b"]
    assert runner.batches == [["a", "b"]]
    assert leaves.cancelled()


async def test_who_leaves_during_a_batch_that_fails_does_no_harm_either() -> None:
    runner = Runner(fails=failing_with(KeyUnavailableError()))
    release, calls = runner.hold(), coalescer(runner)
    [leaves, stays] = await start(calls, "bad", "b")
    later = await start(calls, "c")

    leaves.cancel()
    await settled()
    release.set()

    [error, answer] = await outcomes([stays, *later])
    assert isinstance(error, KeyUnavailableError)
    assert answer == "k:c"


@pytest.mark.parametrize(
    "error",
    [KeyUnavailableError(), FailedPreconditionError("TENANT_TERMINATED", "the contract has ended"), ValueError("x"), RuntimeError()],
)
async def test_an_error_of_the_batch_reaches_every_caller_in_it_and_no_other(error: Exception) -> None:
    runner = Runner(fails=failing_with(error))
    release, calls = runner.hold(), coalescer(runner)
    together, later = await start(calls, "a", "bad", "c"), await start(calls, "d")

    release.set()

    [*errors, answer] = await outcomes(together + later)
    assert [type(caught) for caught in errors] == [type(error)] * 3
    assert all(str(caught) == str(error) for caught in errors)
    assert answer == "k:d"


async def test_every_caller_gets_an_error_of_its_own() -> None:
    """Harm: the edge marks an error with the entry that recorded the refusal, so of all callers of a batch only the first was recorded (I5)."""
    error = FailedPreconditionError("TENANT_TERMINATED", "ended", field="f", retry_after=timedelta(seconds=3), limit="1")
    runner = Runner(fails=failing_with(error))

    [first, second] = await outcomes(await start(coalescer(runner), "a", "bad"))

    assert isinstance(first, VaultError)
    assert isinstance(second, VaultError)
    first.receipt = ("acme", 1)
    assert second.receipt is None
    for caught in (first, second):
        assert (caught.reason, caught.message, caught.field) == ("TENANT_TERMINATED", "ended", "f")
        assert (caught.retry_after, caught.metadata) == (timedelta(seconds=3), {"limit": "1"})
        assert str(caught) == "TENANT_TERMINATED: ended"


async def test_an_aborted_batch_is_tried_again_one_by_one() -> None:
    runner = Runner(fails=failing_with(AbortedError("CONCURRENT_CHANGE", "the record was changed")))

    [first, aborted, last] = await outcomes(await start(coalescer(runner), "a", "bad", "c"))

    assert (first, last) == ("k:a", "k:c")
    assert isinstance(aborted, AbortedError)
    assert aborted.reason == "CONCURRENT_CHANGE"
    assert runner.batches == [["a", "bad", "c"], ["a"], ["bad"], ["c"]]


async def test_a_call_that_is_aborted_alone_is_not_tried_again() -> None:
    runner = Runner(fails=failing_with(AbortedError("CONCURRENT_CHANGE", "the record was changed")))

    [aborted] = await outcomes(await start(coalescer(runner), "bad"))

    assert isinstance(aborted, AbortedError)
    assert runner.batches == [["bad"]]


async def test_who_left_an_aborted_batch_is_not_tried_again() -> None:
    """Nothing was done for it: the batch was rolled back."""
    runner = Runner(fails=failing_with(AbortedError("CONCURRENT_CHANGE", "the record was changed")))
    release, calls = runner.hold(), coalescer(runner)
    [first, leaves, aborted] = await start(calls, "a", "b", "bad")

    leaves.cancel()
    await settled()
    release.set()

    assert (await outcomes([first]))[0] == "k:a"
    assert isinstance((await outcomes([aborted]))[0], AbortedError)
    assert runner.batches == [["a", "b", "bad"], ["a"], ["bad"]]


async def test_another_error_met_while_trying_alone_is_that_callers_only() -> None:
    def fails(calls: list[str]) -> Exception | None:
        if len(calls) > 1:
            return AbortedError("CONCURRENT_CHANGE", "changed")
        return KeyUnavailableError() if calls == ["bad"] else None

    [first, failed, last] = await outcomes(await start(coalescer(Runner(fails=fails)), "a", "bad", "c"))

    assert (first, last) == ("k:a", "k:c")
    assert isinstance(failed, KeyUnavailableError)


@pytest.mark.parametrize("answers", [[], ["one"], ["one", "two", "three"]])
async def test_a_batch_with_another_number_of_results_fails_its_callers_and_not_the_key(answers: list[str]) -> None:
    """Harm: a wrong number of results ended the only task of the tenant, and every later call of it waited for ever."""
    ran: list[Sequence[str]] = []

    async def run(key: str, calls: Sequence[str]) -> list[str]:
        ran.append(calls)
        return answers if len(ran) == 1 else [key] * len(calls)

    calls: Coalescer[str, str] = Coalescer(run, weight=len, max_weight=10)

    errors = await outcomes(await start(calls, "a", "b"))

    assert [type(error) for error in errors] == [ValueError, ValueError]
    assert await calls.submit("k", "c") == "k"


async def test_a_call_that_cannot_be_weighed_is_its_callers_trouble_alone() -> None:
    """Harm: the weight was asked for in the only task of the tenant, and every later call of it waited for ever."""

    def weight(call: str) -> int:
        if call == "bad":
            raise ValueError
        return 1

    runner = Runner()
    calls: Coalescer[str, str] = Coalescer(runner, weight=weight, max_weight=10)

    [good, error] = await outcomes(await start(calls, "a", "bad"))

    assert good == "k:a"
    assert isinstance(error, ValueError)
    assert await calls.submit("k", "c") == "k:c"


async def test_a_batch_that_something_cancels_from_within_ends_its_callers_and_not_the_key() -> None:
    runner = Runner(fails=failing_with(asyncio.CancelledError()))
    release, calls = runner.hold(), coalescer(runner)
    together, later = await start(calls, "a", "bad"), await start(calls, "c")

    release.set()

    [*ended, answer] = await outcomes(together + later)
    assert [type(error) for error in ended] == [asyncio.CancelledError, asyncio.CancelledError]
    assert answer == "k:c"


async def test_nobody_waits_for_ever_when_the_loop_shuts_down() -> None:
    """The loop cancels every task; who waits for a batch that will not run is let go as well."""
    runner = Runner()
    runner.hold()
    calls = coalescer(runner)
    tasks = await start(calls, "a") + await start(calls, "b", "c")

    for task in list(calls._running):
        task.cancel()

    assert [type(error) for error in await outcomes(tasks)] == [asyncio.CancelledError] * 3
    assert runner.batches == [["a"]]
    assert calls._waiting == {}
