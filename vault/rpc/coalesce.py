"""Merging calls that arrive while a batch is running into the next batch.

One path serves unary, batch and stream calls (design §5): a call alone runs at once as a batch of one; under load a transaction, its commit
and the log's lock are shared by everyone who waited.

Trade-off accepted: a caller that goes away while its batch runs is still recorded as served. The log then says more than was seen, never less.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from vault.errors import AbortedError

Call = TypeVar("Call")
Result = TypeVar("Result")


class Coalescer(Generic[Call, Result]):
    """Runs calls in batches, one batch per key at a time.

    Args:
        run: carries out a batch for one key; returns one result per call, in order.
        weight: size of one call; a batch holds at most `max_weight`, or one call.
        max_weight: where a batch ends.
    """

    def __init__(
        self, run: Callable[[str, Sequence[Call]], Awaitable[Sequence[Result]]], *, weight: Callable[[Call], int], max_weight: int
    ) -> None:
        self._run = run
        self._weight = weight
        self._max_weight = max_weight
        self._waiting: dict[str, deque[tuple[Call, asyncio.Future[Result]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, key: str, call: Call) -> Result:
        """Carry out one call, alone or with others of the same key."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        queue = self._waiting.get(key)
        if queue is None:
            queue = self._waiting[key] = deque()
            queue.append((call, future))
            # The task is its own: a caller that is cancelled must not take the others' transaction with it.
            task = asyncio.create_task(self._drain(key))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            queue.append((call, future))
        return await future

    async def _drain(self, key: str) -> None:
        queue = self._waiting[key]
        while queue:
            batch = [queue.popleft()]
            size = self._weight(batch[0][0])
            while queue and size + self._weight(queue[0][0]) <= self._max_weight:
                batch.append(queue.popleft())
                size += self._weight(batch[-1][0])
            # Someone who left before the batch began is not served.
            batch = [item for item in batch if not item[1].done()]
            if batch:
                await self._carry_out(key, batch)
        del self._waiting[key]

    async def _carry_out(self, key: str, batch: Sequence[tuple[Call, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run(key, [call for call, _ in batch])
        except AbortedError as error:
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            # One call that met a concurrent change must not fail the others.
            for item in batch:
                await self._carry_out(key, [item])
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the callers, who wait for it
            for _, future in batch:
                _fail(future, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(future: asyncio.Future[Result], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
