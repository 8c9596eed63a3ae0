"""From windows to figures: medians, spread, and ratios that are formed within a round."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.crew import Observation
from benchmarks.plan import Cell, Scenario
from benchmarks.servers import ECHO, POSTGRES, SQLITE


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of one figure over the rounds."""

    median: float
    least: float
    greatest: float

    @staticmethod
    def of(values: Iterable[float]) -> "Spread":
        """Of at least one value."""
        ordered = sorted(values)
        return Spread(median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True, slots=True)
class Figures:
    """One server in one cell.

    Attributes:
        items_per_second: records or rows; for calls that are about one record, calls.
        latency_ms: of calls, by percentile: `p50`, `p95`, `p99`; the median over rounds of each.
        server_cpu_us: CPU of the server's process per item.
        database_cpu_us: CPU of the database's processes per item; None if it has none of its own.
        server_busy: share of one core that the server's process used.
        client_busy: the same of the load client; near the number of its processes, the client is what was measured.
        others_busy: the same of everything else on the machine: what disturbed the measurement.
        errors: failed calls by status, over all rounds.
    """

    cell: Cell
    server: str
    items_per_second: Spread
    latency_ms: Mapping[str, float]
    server_cpu_us: Spread
    database_cpu_us: Spread | None
    server_busy: Spread
    client_busy: Spread
    others_busy: Spread
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure by another of the same round.

    Attributes:
        aim: what the design wants at least; None where it wants nothing.
    """

    name: str
    server: str
    spread: Spread
    aim: float | None = None


Key = tuple[Cell, str]
Rounds = Mapping[Key, Sequence[Observation]]

_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def figures(rounds: Rounds) -> list[Figures]:
    """The figures of every server in every cell."""
    return [_figures(cell, server, seen) for (cell, server), seen in rounds.items()]


def _figures(cell: Cell, server: str, seen: Sequence[Observation]) -> Figures:
    errors: dict[str, int] = {}
    for observation in seen:
        for status, count in observation.errors.items():
            errors[status] = errors.get(status, 0) + count
    return Figures(
        cell=cell,
        server=server,
        items_per_second=Spread.of(map(_rate, seen)),
        latency_ms={name: median(percentile(one.latencies_us, share) / 1000 for one in seen) for name, share in _PERCENTILES.items()},
        server_cpu_us=Spread.of(_per_item(one, "server") for one in seen),
        database_cpu_us=Spread.of(_per_item(one, "database") for one in seen) if "database" in seen[0].cpu_seconds else None,
        server_busy=Spread.of(one.cpu_seconds["server"] / one.seconds for one in seen),
        client_busy=Spread.of(one.cpu_seconds["client"] / one.seconds for one in seen),
        others_busy=Spread.of(_others(one) / one.seconds for one in seen),
        errors=errors,
    )


def _others(seen: Observation) -> float:
    """CPU time of what is no part of the measurement; the clocks differ by a tick or two, so it may come out below nothing."""
    ours = sum(seconds for process, seconds in seen.cpu_seconds.items() if process != "machine")
    return max(0.0, seen.cpu_seconds["machine"] - ours)


def ratios(rounds: Rounds) -> list[Ratio]:
    """What the benchmark is about, in the order in which it is told."""
    found = []
    unary, batch = Cell(Scenario.REVEAL, 32), Cell(Scenario.REVEAL_BATCH, 8)
    for server in (POSTGRES, SQLITE):
        found += _by_echo(rounds, server, unary, "reveal, 32 in flight, by bare echo", aim=0.35 if server == POSTGRES else None)
        found += _ratio(
            rounds, "batches of 100, 8 in flight, per record, by unary reveal, 32 in flight", (batch, server), (unary, server), 8
        )
        for cell, name in _OTHERS.items():
            found += _by_echo(rounds, server, cell, name)
        found += _cpu_by_echo(rounds, server, unary)
    return found


_OTHERS = {
    Cell(Scenario.CREATE, 32): "create, 32 in flight, by bare echo",
    Cell(Scenario.FIND, 32): "find, 32 in flight, by bare echo",
    Cell(Scenario.REVEAL_BATCH, 8): "batches of 100, 8 in flight, by bare echo",
    Cell(Scenario.REVEAL_STREAM, 64): "stream, 64 in flight, by bare echo",
    Cell(Scenario.IMPORT, 1): "import, rows, by bare echo",
    Cell(Scenario.REVEAL, 1): "reveal, 1 in flight, by bare echo",
}


def _by_echo(rounds: Rounds, server: str, cell: Cell, name: str, *, aim: float | None = None) -> list[Ratio]:
    return _ratio(rounds, name, (cell, server), (cell, ECHO), aim)


def _ratio(rounds: Rounds, name: str, above: Key, below: Key, aim: float | None) -> list[Ratio]:
    if above not in rounds or below not in rounds:
        return []
    pairs = zip(rounds[above], rounds[below], strict=True)
    return [Ratio(name, above[1], Spread.of(_rate(one) / _rate(other) for one, other in pairs), aim)]


def _cpu_by_echo(rounds: Rounds, server: str, cell: Cell) -> list[Ratio]:
    """CPU of everything behind the port per call: what is left of it when the load client is the limit of the echo server."""
    if (cell, server) not in rounds or (cell, ECHO) not in rounds:
        return []
    pairs = zip(rounds[cell, server], rounds[cell, ECHO], strict=True)
    spread = Spread.of(_per_item(other, "server") / (_per_item(one, "server") + _per_item(one, "database")) for one, other in pairs)
    return [Ratio("CPU of a bare echo call by that of a reveal with its database, 32 in flight", server, spread)]


def _rate(seen: Observation) -> float:
    return seen.items / seen.seconds


def _per_item(seen: Observation, process: str) -> float:
    """Microseconds of CPU per item."""
    return seen.cpu_seconds.get(process, 0.0) / max(1, seen.items) * 1e6


def percentile(ordered: Sequence[float], share: float) -> float:
    """A percentile of what is in order of size; nothing for nothing."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def as_json(found: Figures | Ratio) -> dict[str, object]:
    """What is kept in the results file, rounded to what the clock can tell."""
    return _rounded(asdict(found))


def _rounded(values: dict[str, object]) -> dict[str, object]:
    rounded: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            rounded[key] = _rounded(value)
        else:
            rounded[key] = float(f"{value:.4g}") if isinstance(value, float) else value
    return rounded
