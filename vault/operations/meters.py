"""What is counted for whoever watches a vault: retention, erasures, replays, incidents. `docs/metrics.md` names every instrument.

Rules:
- Attributes are words of closed lists, a category, a state or a trigger: no tenant, no person, no name of a resource.
- What was done is counted once it is committed, by the process that did it.
- What stands is looked at by `observe.py` in the one worker that holds the lease of upkeep, so that nothing is reported twice.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation

# From at once to what waits for a database that is away for days.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)


@dataclass(frozen=True, slots=True)
class Standings:
    """What stands, as it was last looked at.

    Attributes:
        overdue: records that were due a day ago and are there still.
        erasures: number of erasures by state.
        exceptions_due: parts that erasures kept and have to look at now.
    """

    overdue: int
    erasures: Mapping[str, int]
    exceptions_due: int


class Meters:
    """The instruments of one process.

    Args:
        provider: where they report to; without one nothing is counted.

    Attributes:
        is_read: whether anybody reads them; nothing is looked up for nobody.
        standings: what the gauges say; None while another worker looks, or nobody has yet.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self.is_read = provider is not None
        self.standings: Standings | None = None
        meter = (provider or NoOpMeterProvider()).get_meter("pii_vault")
        self._erased = meter.create_counter("pii_vault.retention.erased", "{record}", "Records that retention erased.")
        self._stripped = meter.create_counter("pii_vault.retention.stripped", "{record}", "Records that retention took fields out of.")
        self._duration = meter.create_histogram(
            "pii_vault.erasure.duration",
            "s",
            "From the last approval of an erasure to its certificate.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._replayed = meter.create_counter("pii_vault.replay.entries", "{entry}", "Entries of the erasure ledger that were replayed.")
        self._incidents = meter.create_counter("pii_vault.incidents", "{incident}", "Incidents that the vault itself opened.")
        for name, unit, description, read in (
            ("pii_vault.retention.overdue", "{record}", "Records that were due a day ago and are there still.", _overdue),
            ("pii_vault.erasures", "{erasure}", "Erasures by state.", _erasures),
            ("pii_vault.erasures.exceptions_due", "{part}", "Parts that erasures kept and have to look at now.", _exceptions_due),
        ):
            meter.create_observable_gauge(name, [self._reading(read)], unit, description)

    def retained(self, erased: Mapping[str, int], stripped: Mapping[str, int]) -> None:
        """Count records by category that a batch of retention erased, or took fields out of."""
        for counter, counts in ((self._erased, erased), (self._stripped, stripped)):
            for category, count in counts.items():
                counter.add(count, {"category": category})

    def certified(self, after: timedelta) -> None:
        """Count an erasure that got its certificate so long after its approval."""
        self._duration.record(after.total_seconds())

    def replayed(self, entries: int) -> None:
        """Count entries of the erasure ledger that were replayed."""
        self._replayed.add(entries)

    def alarmed(self, trigger: str) -> None:
        """Count an incident that the vault opened for what it saw."""
        self._incidents.add(1, {"trigger": trigger})

    def _reading(self, read: Callable[[Standings], Iterator[Observation]]) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _options: list(read(self.standings)) if self.standings is not None else []


def _overdue(standings: Standings) -> Iterator[Observation]:
    yield Observation(standings.overdue)


def _erasures(standings: Standings) -> Iterator[Observation]:
    for state, count in standings.erasures.items():
        yield Observation(count, {"state": state})


def _exceptions_due(standings: Standings) -> Iterator[Observation]:
    yield Observation(standings.exceptions_due)
