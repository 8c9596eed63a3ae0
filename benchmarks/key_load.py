"""What callers notice of a rotation: unary reveals on a real server, in windows with and without one."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import grpc

from benchmarks import people
from benchmarks.crew import Crew, Observation, hired
from benchmarks.plan import Cell, Plan, Scenario
from benchmarks.report import short
from benchmarks.results import Spread, percentile
from benchmarks.section import Section, spread_cell
from benchmarks.servers import POSTGRES, SQLITE, Server, running_servers
from vault.v1 import operations_service_pb2_grpc
from vault.v1.operations_service_pb2 import (
    KEY_KIND_DATA,
    KEY_ROTATION_STATE_COMPLETE,
    KEY_ROTATION_STATE_RUNNING,
    GetKeyRotationRequest,
    KeyRotation,
    RotateKeysRequest,
)

_CELL = Cell(Scenario.REVEAL, 32)
_IDLE, _ROTATING = "idle", "rotating"
_HEAD = [
    "server",
    "window",
    "reveals/s",
    "rotating / idle",
    "p50 ms",
    "p95",
    "p99",
    "by idle p50, p95, p99",
    "rows rotated/s",
    "moving",
    "server CPU",
]
_POLL = 0.1  # seconds
_TIMEOUT = 30.0  # seconds
# A rotation that takes longer than this has stopped.
_PATIENCE = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class _Rotated:
    """What was rotated during a window: rows a second, and for which share of the window there was any."""

    per_second: float
    moving: float


def measure(work: Path, *, quick: bool, say: Callable[[str], None]) -> Section:
    """Windows with and without a rotation in turns, on both databases, several rounds."""
    plan = _plan(quick=quick)
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    errors: Counter[str] = Counter()
    with running_servers(work, [SQLITE, POSTGRES]) as servers, hired(plan) as crew:
        for server in servers:
            say(f"reveals while rotating: storing {plan.subjects} people on {server.name}")
            crew.prepare(server)
        seen: dict[tuple[str, str], list[Observation]] = {}
        rotated: dict[str, list[_Rotated]] = {server.name: [] for server in servers}
        for number in range(plan.rounds):
            for server in servers:
                for window in (_IDLE, _ROTATING) if number % 2 == 0 else (_ROTATING, _IDLE):
                    say(f"reveals while rotating: round {number + 1} of {plan.rounds}, {server.name}, {window}")
                    seen.setdefault((server.name, window), []).append(_window(crew, server, window, rotated, errors))
    for server in servers:
        idle, rotating = seen[server.name, _IDLE], seen[server.name, _ROTATING]
        for window in (_IDLE, _ROTATING):
            errors += sum((Counter(one.errors) for one in seen[server.name, window]), Counter())
        ratio = Spread.of(one.items / other.items for one, other in zip(rotating, idle, strict=True))
        speed = Spread.of(one.per_second for one in rotated[server.name])
        moving = f"{median(one.moving for one in rotated[server.name]):.0%}"
        by_idle = {
            name: median(_latency(one, share) / _latency(other, share) for one, other in zip(rotating, idle, strict=True))
            for name, share in _SHARES.items()
        }
        rows += [
            [server.name, _IDLE, *_cells(idle, "", "", "", "")],
            [
                server.name,
                _ROTATING,
                *_cells(rotating, spread_cell(ratio), ", ".join(map(short, by_idle.values())), spread_cell(speed), moving),
            ],
        ]
        data[server.name] = {
            "rotating_by_idle": {"median": ratio.median, "least": ratio.least, "greatest": ratio.greatest},
            "latency_rotating_by_idle": by_idle,
            "rows_rotated_per_second": [one.per_second for one in rotated[server.name]],
            "share_of_window_moving": [one.moving for one in rotated[server.name]],
            **{
                window: [{"per_second": one.items / one.seconds, **{n: _latency(one, s) for n, s in _SHARES.items()}} for one in observed]
                for window, observed in ((_IDLE, idle), (_ROTATING, rotating))
            },
        }
    data["errors"] = dict(errors)
    for error, count in errors.items():
        say(f"{count} calls failed: {error}")
    note = (
        f"RevealRecord, masked, {_CELL.in_flight} in flight, on the server as shipped with {plan.subjects:,} people; {plan.rounds} rounds of "
        f"windows of {plan.window.total_seconds():g} s in which idle and rotating take turns. While it rotates, DATA rotations follow one another "
        "for the whole window, started by RotateKeys; the window begins when the first one moves. Ratios are formed within a round; medians, "
        "least and greatest in brackets. Rows rotated and `moving`, the share of the time in which there were any, are counted over warm-up and "
        "window; between two rotations the server looks for the next one once a second. "
        "Load client, server and database share the machine's cores."
    )
    return Section("reveal", "Unary reveals while keys are rotated", note, _HEAD, rows, data, errors.total())


def _plan(*, quick: bool) -> Plan:
    seconds, subjects = (1.5, 20_000) if quick else (5.0, 80_000)
    return Plan((_CELL,), 5, timedelta(seconds=0.5), timedelta(seconds=seconds), subjects, 0, 4, 1)


def _window(crew: Crew, server: Server, window: str, rotated: dict[str, list[_Rotated]], errors: Counter[str]) -> Observation:
    if window == _IDLE:
        return crew.run(server, _CELL)
    with _rotating(server) as rotator:
        rows, moving, begin = rotator.rows, rotator.moving, time.monotonic()
        seen = crew.run(server, _CELL)
        seconds = time.monotonic() - begin
        rotated[server.name].append(_Rotated((rotator.rows - rows) / seconds, min(1.0, (rotator.moving - moving) / seconds)))
    errors += rotator.errors
    return seen


class _Rotator(threading.Thread):
    """Starts a rotation whenever there is none, until it is told to stop; then it sees the last one to its end.

    Attributes:
        rows: rows that were wrapped anew, as of the last look.
        moving: seconds between two looks of which the later saw more rows.
        moves: set once there are any.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(name="rotator")
        folder = server.clients / "operator"
        ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.pem", "private-key.pem", "certificate.pem"))
        self._channel = grpc.secure_channel(server.address, grpc.ssl_channel_credentials(ca, key, certificate))
        self._stub = operations_service_pb2_grpc.OperationsServiceStub(self._channel)
        self.rows, self.moving = 0, 0.0
        self.errors: Counter[str] = Counter()
        self.moves, self.enough = threading.Event(), threading.Event()

    def run(self) -> None:
        with self._channel:
            while not self.enough.is_set():
                try:
                    self._rotate()
                except grpc.RpcError as error:
                    self.errors[f"rotation: {error}"] += 1
                    self.moves.set()
                    return

    def _rotate(self) -> None:
        before = self.rows
        request = RotateKeysRequest(tenant=people.PARENT, kind=KEY_KIND_DATA)
        rotation: KeyRotation = self._stub.RotateKeys(request, timeout=_TIMEOUT).rotation
        deadline, looked = time.monotonic() + _PATIENCE, time.monotonic()
        while rotation.state == KEY_ROTATION_STATE_RUNNING and looked < deadline:
            time.sleep(_POLL)
            rotation = self._stub.GetKeyRotation(GetKeyRotationRequest(name=rotation.name), timeout=_TIMEOUT).rotation
            last, looked = looked, time.monotonic()
            # One that begins again counts from nothing.
            if before + rotation.done_count > self.rows:
                self.rows, self.moving = before + rotation.done_count, self.moving + looked - last
                self.moves.set()
        if rotation.state != KEY_ROTATION_STATE_COMPLETE:
            self.errors["rotation: not complete"] += 1


@contextmanager
def _rotating(server: Server) -> Iterator[_Rotator]:
    rotator = _Rotator(server)
    rotator.start()
    try:
        if not rotator.moves.wait(_TIMEOUT):
            rotator.errors["rotation: does not begin"] += 1
        yield rotator
    finally:
        rotator.enough.set()
        rotator.join()


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _latency(seen: Observation, share: float) -> float:
    return percentile(seen.latencies_us, share) / 1000


def _cells(seen: list[Observation], ratio: str, latencies: str, speed: str, moving: str) -> list[str]:
    return [
        spread_cell(Spread.of(one.items / one.seconds for one in seen)),
        ratio,
        *(short(median(_latency(one, share) for one in seen)) for share in _SHARES.values()),
        latencies,
        speed,
        moving,
        f"{median(one.cpu_seconds['server'] / one.seconds for one in seen):.0%}",
    ]
