"""The calls of each scenario, as the load client makes them. Requests are built before they are needed, answers are looked at.

A worker is an endless chain of calls, one after another. It notes each when it is over; who started it decides what counts.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TypeAlias, TypeVar

import grpc

from benchmarks import people
from benchmarks.plan import BATCH_RECORDS, Scenario
from vault.v1 import vault_service_pb2_grpc
from vault.v1.vault_service_pb2 import (
    BatchRevealRecordsRequest,
    BatchRevealRecordsResponse,
    CreateRecordResponse,
    FindSubjectsRequest,
    FindSubjectsResponse,
    ImportRecordsRequest,
    RevealRecordRequest,
    RevealRecordResponse,
    StreamRevealRecordsRequest,
    StreamRevealRecordsResponse,
)

Request = TypeVar("Request")
Call = Callable[[], Awaitable[int]]
# The generated module has this type for the type checker only.
Stub: TypeAlias = "vault_service_pb2_grpc.VaultServiceAsyncStub"

# Messages of one stream that wait for their answer.
STREAM_WINDOW = 32
_TIMEOUT = 30.0  # seconds
_BATCHES = 64
# Any number that is coprime to the sizes above it.
_STRIDE = 1009
# After a failure a worker waits, so that a server which refuses everything is not also flooded.
_PAUSE = 0.05  # seconds


@dataclass(slots=True)
class Tally:
    """Calls that were over while `begin` <= time < `end`.

    Attributes:
        latencies: seconds, one per call.
        items: what the calls were about: records, rows.
        errors: failed calls by status and message, at any time.
    """

    begin: float
    end: float
    latencies: list[float] = field(default_factory=list)
    items: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def note(self, started: float, items: int) -> None:
        """A call is over."""
        now = time.monotonic()
        if self.begin <= now < self.end:
            self.latencies.append(now - started)
            self.items += items

    def failed(self, error: grpc.aio.AioRpcError) -> None:
        """A call was refused or lost."""
        self.errors[f"{error.code().name}: {error.details()}"] += 1

    @property
    def is_over(self) -> bool:
        """Whether nothing counts any more."""
        return time.monotonic() >= self.end


class Source:
    """Where requests come from: the records that are stored, and numbers of people who are not yet.

    Args:
        names: record names; the record at place n is person n's.
        next_number: the next person nobody has stored.
    """

    def __init__(self, names: Sequence[str], next_number: int) -> None:
        choose = random.Random(len(names))  # noqa: S311 - nothing secret
        self.next_number = next_number
        self.reveals: list[RevealRecordRequest] = [people.reveal(name) for name in names]
        self.batches: list[BatchRevealRecordsRequest] = [people.reveal_batch(choose.sample(names, BATCH_RECORDS)) for _ in range(_BATCHES)]
        self.finds: list[FindSubjectsRequest] = [people.find(number) for number in range(len(names))]

    def take(self, count: int) -> int:
        """The first of some numbers that are the caller's alone."""
        first, self.next_number = self.next_number, self.next_number + count
        return first


async def run_workers(scenario: Scenario, in_flight: int, stubs: Sequence[Stub], source: Source, tally: Tally) -> None:
    """Keep so many calls in flight until the tally is over."""
    if scenario is Scenario.REVEAL_STREAM:
        streams = max(1, in_flight // STREAM_WINDOW)
        await asyncio.gather(*(_stream(stub, source, tally, seed) for seed, stub in zip(range(streams), cycle(stubs), strict=False)))
        return
    make = _CALLS[scenario]
    await asyncio.gather(
        *(_chain(make(stub, source, seed), tally) for seed, stub in zip(range(in_flight), cycle(stubs), strict=False)),
    )


async def _chain(call: Call, tally: Tally) -> None:
    while not tally.is_over:
        started = time.monotonic()
        try:
            tally.note(started, await call())
        except grpc.aio.AioRpcError as error:
            tally.failed(error)
            await asyncio.sleep(_PAUSE)


def _reveal(stub: Stub, source: Source, seed: int) -> Call:
    requests = _from(source.reveals, seed)

    async def call() -> int:
        answer: RevealRecordResponse = await stub.RevealRecord(next(requests), timeout=_TIMEOUT)
        assert len(answer.record.fields) == 2
        return 1

    return call


def _reveal_batch(stub: Stub, source: Source, seed: int) -> Call:
    requests = _from(source.batches, seed)

    async def call() -> int:
        answer: BatchRevealRecordsResponse = await stub.BatchRevealRecords(next(requests), timeout=_TIMEOUT)
        assert len(answer.results) == BATCH_RECORDS
        assert answer.results[0].HasField("record")
        return BATCH_RECORDS

    return call


def _find(stub: Stub, source: Source, seed: int) -> Call:
    requests = _from(source.finds, seed)

    async def call() -> int:
        answer: FindSubjectsResponse = await stub.FindSubjects(next(requests), timeout=_TIMEOUT)
        assert len(answer.matches) == 1
        return 1

    return call


def _create(stub: Stub, source: Source, _seed: int) -> Call:
    async def call() -> int:
        answer: CreateRecordResponse = await stub.CreateRecord(people.create(source.take(1)), timeout=_TIMEOUT)
        assert answer.record.name
        return 1

    return call


_CALLS: dict[Scenario, Callable[[Stub, Source, int], Call]] = {
    Scenario.REVEAL: _reveal,
    Scenario.REVEAL_BATCH: _reveal_batch,
    Scenario.FIND: _find,
    Scenario.CREATE: _create,
}


async def _stream(stub: Stub, source: Source, tally: Tally, seed: int) -> None:
    """One stream, on which so many messages wait for their answer at any time; answers come in order."""
    requests = (StreamRevealRecordsRequest(reveal=request) for request in _from(source.reveals, seed))
    sent: deque[float] = deque()
    call = stub.StreamRevealRecords()
    try:
        for _ in range(STREAM_WINDOW):
            sent.append(time.monotonic())
            await call.write(next(requests))
        while not tally.is_over:
            answer = await call.read()
            assert isinstance(answer, StreamRevealRecordsResponse)
            assert answer.result.HasField("record")
            tally.note(sent.popleft(), 1)
            sent.append(time.monotonic())
            await call.write(next(requests))
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        tally.failed(error)


async def import_file(stub: Stub, messages: Sequence[ImportRecordsRequest], rows: int, tally: Tally) -> None:
    """Import one file, from now to the answer."""
    started = time.monotonic()
    try:
        answer = await stub.ImportRecords(iter(messages), timeout=_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        tally.failed(error)
        return
    assert answer.accepted_count == rows
    assert not answer.issues
    tally.note(started, rows)


def _from(requests: list[Request], seed: int) -> Iterator[Request]:
    """All requests over and over; every worker begins elsewhere."""
    return islice(cycle(requests), seed * _STRIDE % len(requests), None)
