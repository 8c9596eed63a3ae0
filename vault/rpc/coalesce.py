"""Merging calls that arrive while a batch is running into the next batch.

One path serves unary, batch and stream calls (design §5): a call alone runs at once as a batch of one; under load a transaction, its commit
and the log's lock are shared by everyone who waited.

Trade-off accepted: a caller that goes away while its batch runs is still recorded as served. The log then says more than was seen, never less.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, Tracer

from vault.errors import AbortedError, VaultError
from vault.telemetry import NO_TRACER, failed

Call = TypeVar("Call")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[Call, Result]):
    """A call, its weight, the caller who waits for its result, and the span of that."""

    call: Call
    weight: int
    future: asyncio.Future[Result]
    span: Span

    @property
    def is_over(self) -> bool:
        """Whether there is a result already, or nobody waits for one."""
        return self.future.done()

    def answer(self, result: Result) -> None:
        """Hand over the result, unless the caller left."""
        if not self.is_over:
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Hand over an error, unless the caller left."""
        if not self.is_over:
            self.future.set_exception(_copy(error) if isinstance(error, VaultError) else error)


class Coalescer(Generic[Call, Result]):
    """Runs calls in batches, one batch per key at a time.

    Args:
        run: carries out a batch for one key; returns one result per call, in order.
        weight: size of one call; a batch holds at most `max_weight`, or one call.
        max_weight: where a batch ends.
        name: what a batch is called in a trace.
        tracer: where its span is told.
    """

    def __init__(
        self,
        run: Callable[[str, Sequence[Call]], Awaitable[Sequence[Result]]],
        *,
        weight: Callable[[Call], int],
        max_weight: int,
        name: str = "batch",
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._name = name
        self._tracer = tracer
        self._run = run
        self._weight = weight
        self._max_weight = max_weight
        self._waiting: dict[str, deque[_Waiting[Call, Result]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Calls that wait for the next batch."""
        return sum(map(len, list(self._waiting.values())))

    async def submit(self, key: str, call: Call) -> Result:
        """Carry out one call, alone or with others of the same key."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiting: _Waiting[Call, Result] = _Waiting(call, self._weight(call), future, trace.get_current_span())
        queue = self._waiting.get(key)
        if queue is None:
            queue = self._waiting[key] = deque([waiting])
            # The task is its own: a caller that is cancelled must not take the others' transaction with it.
            task = asyncio.create_task(self._drain(key, queue))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            queue.append(waiting)
        return await waiting.future

    async def _drain(self, key: str, queue: deque[_Waiting[Call, Result]]) -> None:
        try:
            while queue:
                if batch := self._next_batch(queue):
                    await self._carry_out(key, batch)
        finally:
            del self._waiting[key]
            # Empty, unless this task was cancelled: then nobody may go on waiting for a batch that will never run.
            for waiting in queue:
                waiting.future.cancel()

    def _next_batch(self, queue: deque[_Waiting[Call, Result]]) -> list[_Waiting[Call, Result]]:
        """Takes the calls of the next batch off the queue; whoever left before it begins is not served."""
        batch: list[_Waiting[Call, Result]] = []
        weight = 0
        while queue and (not batch or weight + queue[0].weight <= self._max_weight):
            waiting = queue.popleft()
            if not waiting.is_over:
                batch.append(waiting)
                weight += waiting.weight
        return batch

    def _begin(self, batch: Sequence[_Waiting[Call, Result]]) -> Span:
        """A span of the batch, in the trace of the first call that is traced, linked to each of those that are; the current one from here on.

        The task was made by the first of many callers, and what it does later is not that one's.
        """
        traced = [waiting.span for waiting in batch if waiting.span.is_recording()]
        parent = trace.set_span_in_context(traced[0] if traced else batch[0].span, Context())
        if not traced:
            contexts.attach(parent)
            return batch[0].span
        span = self._tracer.start_span(self._name, parent, links=[Link(call.get_span_context()) for call in traced])
        span.set_attribute("pii_vault.calls", len(batch))
        contexts.attach(trace.set_span_in_context(span, parent))
        return span

    async def _carry_out(self, key: str, batch: Sequence[_Waiting[Call, Result]]) -> None:
        span = self._begin(batch)
        try:
            answered = list(zip(batch, await self._run(key, [waiting.call for waiting in batch]), strict=True))
        except AbortedError as error:
            await self._carry_out_alone(key, batch, error)
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.future.cancel()
            if _is_cancelled():
                raise
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the callers, who wait for it
            failed(span, error)
            for waiting in batch:
                waiting.fail(error)
        else:
            for waiting, result in answered:
                waiting.answer(result)
        finally:
            if span is not batch[0].span:
                span.end()

    async def _carry_out_alone(self, key: str, batch: Sequence[_Waiting[Call, Result]], error: AbortedError) -> None:
        """Nothing of an aborted batch happened, and one call that met a concurrent change must not fail the others."""
        if len(batch) == 1:
            batch[0].fail(error)
            return
        for waiting in batch:
            if not waiting.is_over:
                await self._carry_out(key, [waiting])


def _is_cancelled() -> bool:
    """Whether it is this task that is cancelled, and not something that the batch waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _copy(error: VaultError) -> VaultError:
    """The error for one caller alone: the edge notes on it where that caller's refusal is recorded, and every caller's is to be (I5)."""
    copied = VaultError.__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__suppress_context__ = True
    return copied.with_traceback(error.__traceback__)
