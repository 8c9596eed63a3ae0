"""The load client's processes, as their parent sees them: orders go out to all of them, answers come back from all."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import people
from benchmarks.plan import Cell, Plan, Scenario
from benchmarks.servers import ECHO, Server

# Between giving an order and the moment the load begins: enough for every process to have read it.
_LEAD = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Observation:
    """What one window showed.

    Attributes:
        seconds: length of the window.
        calls: calls that were over in it.
        items: records or rows they were about.
        latencies_us: microseconds, one per call, in order of size.
        errors: failed calls by status.
        cpu_seconds: CPU time of `server`, `database`, `client` and the whole `machine`.
    """

    seconds: float
    calls: int
    items: int
    latencies_us: Sequence[int]
    errors: Mapping[str, int]
    cpu_seconds: Mapping[str, float]


class ClientFailedError(Exception):
    """A process of the load client ended."""


class Crew:
    """The processes, ready for orders."""

    def __init__(self, processes: Sequence["subprocess.Popen[str]"], plan: Plan) -> None:
        self._processes = processes
        self._plan = plan

    def prepare(self, server: Server) -> None:
        """Connect to a server and store what is read later."""
        plan = self._plan
        self._order_all(
            {"do": "open", "server": server.name, "address": server.address, "clients": str(server.clients), "channels": plan.channels}
        )
        if server.name == ECHO:
            # It answers whatever it is asked for.
            names = [f"{people.PARENT}/subjects/{'s' * 26}/records/{'r' * 26}"] * plan.subjects
        else:
            names = self._order(self._processes[0], {"do": "prepare", "server": server.name, "subjects": plan.subjects})
            server.settle()
        self._order_all({"do": "learn", "server": server.name, "names": names})

    def run(self, server: Server, cell: Cell) -> Observation:
        """Load a server for one window."""
        begin = time.monotonic() + _LEAD + self._plan.warm_up.total_seconds()
        common = {
            "do": "run",
            "server": server.name,
            "scenario": cell.scenario.value,
            "begin": begin,
            "end": begin + self._plan.window.total_seconds(),
            "rows": self._plan.import_rows,
        }
        shares = _shares(cell, len(self._processes))
        working = [(process, share) for process, share in zip(self._processes, shares, strict=True) if share]
        for number, (process, share) in enumerate(working):
            _send(process, {**common, "in_flight": share, "watch": server.watch if number == 0 else {}})
        answers = [_receive(process) for process, _ in working]
        return Observation(
            seconds=answers[0]["seconds"],
            calls=sum(answer["calls"] for answer in answers),
            items=sum(answer["items"] for answer in answers),
            latencies_us=sorted(latency for answer in answers for latency in answer["latencies_us"]),
            errors=sum((Counter(answer["errors"]) for answer in answers), Counter()),
            cpu_seconds={**answers[0]["cpu_seconds"], "client": sum(answer["cpu_seconds"]["client"] for answer in answers)},
        )

    def _order_all(self, order: dict[str, object]) -> None:
        for process in self._processes:
            self._order(process, order)

    def _order(self, process: "subprocess.Popen[str]", order: dict[str, object]) -> Any:
        _send(process, order)
        return _receive(process)


@contextmanager
def hired(plan: Plan) -> Iterator[Crew]:
    """Processes that end when the context does, or when their orders do, should this process vanish."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for number in range(plan.clients):
            command = [sys.executable, "-m", "benchmarks.client", str(number)]
            processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        yield Crew(processes, plan)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            # Not by its context: an order that it never read would be written once more.
            process.wait()


def _shares(cell: Cell, processes: int) -> list[int]:
    """Calls in flight of each process. A file is imported by one of them."""
    if cell.scenario is Scenario.IMPORT:
        return [1] + [0] * (processes - 1)
    each, left = divmod(cell.in_flight, processes)
    return [each + (number < left) for number in range(processes)]


def _send(process: "subprocess.Popen[str]", order: Mapping[str, object]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise _failed() from None


def _receive(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise _failed()
    return json.loads(line)


def _failed() -> ClientFailedError:
    return ClientFailedError("a process of the load client ended; what it said stands above")
