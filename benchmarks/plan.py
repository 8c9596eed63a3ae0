"""What is run: which scenarios, how many calls in flight, for how long."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Scenario(StrEnum):
    """One kind of call; what it counts is `items`."""

    REVEAL = "reveal"
    REVEAL_BATCH = "reveal-batch"
    REVEAL_STREAM = "reveal-stream"
    CREATE = "create"
    IMPORT = "import"
    FIND = "find"


BATCH_RECORDS = 100

TITLES = {
    Scenario.REVEAL: "RevealRecord, masked, phone and mail",
    Scenario.REVEAL_BATCH: f"BatchRevealRecords of {BATCH_RECORDS}, per record",
    Scenario.REVEAL_STREAM: "StreamRevealRecords, per record",
    Scenario.CREATE: "CreateRecord, a new subject each",
    Scenario.IMPORT: "ImportRecords, one file, per row",
    Scenario.FIND: "FindSubjects by phone",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario at one load.

    Attributes:
        in_flight: calls under way at once; for streams, messages that wait for their answer, over all streams.
    """

    scenario: Scenario
    in_flight: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the benchmark.

    Attributes:
        rounds: how often every server meets every cell.
        warm_up: time under load before a window, thrown away.
        window: time that is measured; an import is measured from its first to its last row instead.
        subjects: people stored before anything is measured.
        import_rows: rows of the file that is imported.
        channels: connections of each client process.
        clients: client processes.
    """

    cells: tuple[Cell, ...]
    rounds: int
    warm_up: timedelta
    window: timedelta
    subjects: int
    import_rows: int
    channels: int
    clients: int


_CELLS = (
    Cell(Scenario.REVEAL, 1),
    Cell(Scenario.REVEAL, 8),
    Cell(Scenario.REVEAL, 32),
    Cell(Scenario.REVEAL, 128),
    Cell(Scenario.REVEAL_BATCH, 1),
    Cell(Scenario.REVEAL_BATCH, 8),
    Cell(Scenario.REVEAL_STREAM, 64),
    Cell(Scenario.FIND, 32),
    Cell(Scenario.CREATE, 32),
    Cell(Scenario.IMPORT, 1),
)


def full_plan() -> Plan:
    """For figures that are written down; about ten minutes."""
    return Plan(
        cells=_CELLS,
        rounds=5,
        warm_up=timedelta(seconds=0.7),
        window=timedelta(seconds=2.5),
        subjects=4000,
        import_rows=2500,
        channels=4,
        clients=1,
    )


def quick_plan() -> Plan:
    """To see where one stands; under two minutes."""
    return Plan(
        cells=_CELLS,
        rounds=2,
        warm_up=timedelta(seconds=0.3),
        window=timedelta(seconds=0.9),
        subjects=1500,
        import_rows=1000,
        channels=4,
        clients=1,
    )
