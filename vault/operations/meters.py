"""What is counted for whoever watches a vault. `docs/metrics.md` names every instrument.

Rules:
- Attributes are words of closed lists, a category, a reason, a trigger, a state: no tenant, no person, no name of a resource, no word of a caller.
- What was done is counted once it is committed, by the process that did it.
- What stands is looked at by `observe.py` in the one worker that holds the lease of upkeep, so that nothing is reported twice.
- What a process has at hand, a pool or a cache, is read when somebody asks for it (`gauges.py`), and costs a call nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation

from vault.audit.entry import AuditEntry

# From at once to what waits for a database that is away for days.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3600.0, 86400.0)
# Of a call; semantic conventions of rpc, and finer where a reveal is.
_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# What gives somebody data, by the operation of its entry.
RELEASING = frozenset({"reveal", "resolve", "find", "export", "export-subject-data"})
_ALLOWED = "ALLOWED"


@dataclass(frozen=True, slots=True)
class Standings:
    """What stands, as it was last looked at.

    Attributes:
        overdue: records that were due a day ago and are there still.
        erasures: number of erasures by state.
        exceptions_due: parts that erasures kept and have to look at now.
        oldest_erasure: how long the oldest unfinished erasure has waited.
        orders: number of court orders by state.
        orders_due: how many orders have to be acted on within a day, or had to be, by what is due.
        logged: entries of all audit logs.
        unpublished: audit logs that grew since their newest checkpoint.
        findings: how often each word of readiness was found.
    """

    overdue: int
    erasures: Mapping[str, int]
    exceptions_due: int
    oldest_erasure: timedelta
    orders: Mapping[str, int]
    orders_due: Mapping[str, int]
    logged: int
    unpublished: int
    findings: Mapping[str, int]


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
        self._meter = meter = (provider or NoOpMeterProvider()).get_meter("pii_vault")
        self._calls = meter.create_histogram(
            "rpc.server.call.duration", "s", "Calls, by method and status.", explicit_bucket_boundaries_advisory=_CALL_SECONDS
        )
        self._failures = meter.create_counter("pii_vault.call.failures", "{call}", "Calls that were answered with an error, by reason.")
        self._releases = meter.create_counter("pii_vault.releases", "{record}", "Records that were asked for, by what became of them.")
        self._denials = meter.create_counter("pii_vault.denials", "{entry}", "Recorded refusals, by reason.")
        self._entries = meter.create_counter("pii_vault.audit.appended", "{entry}", "Entries appended to audit logs.")
        self._batches = meter.create_histogram(
            "pii_vault.audit.batch.size", "{entry}", "Entries of one commit.", explicit_bucket_boundaries_advisory=_BATCHES
        )
        self._root_key = meter.create_histogram(
            "pii_vault.kms.duration", "s", "What a key service was asked.", explicit_bucket_boundaries_advisory=_CALL_SECONDS
        )
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
            ("pii_vault.erasures.oldest", "s", "How long the oldest unfinished erasure has waited.", _oldest_erasure),
            ("pii_vault.orders", "{order}", "Court orders by state.", _orders),
            ("pii_vault.orders.due", "{order}", "Court orders with a day left or less, by what is due.", _orders_due),
            ("pii_vault.audit.head", "{entry}", "Entries of all audit logs.", _logged),
            ("pii_vault.audit.unpublished", "{log}", "Audit logs that grew since their newest checkpoint.", _unpublished),
            ("pii_vault.findings", "{finding}", "What readiness found, by word.", _findings),
        ):
            meter.create_observable_gauge(name, [self._reading(read)], unit, description)

    def gauge(self, name: str, unit: str, description: str, read: Callable[[], Iterable[Observation]]) -> None:
        """Have something read whenever somebody asks; it must be at hand, and is read in another thread."""
        self._meter.create_observable_gauge(name, [lambda _options: list(read())], unit, description)

    def counted(self, name: str, unit: str, description: str, read: Callable[[], Iterable[Observation]]) -> None:
        """The same of a number that only grows."""
        self._meter.create_observable_counter(name, [lambda _options: list(read())], unit, description)

    def called(self, method: str, code: str, seconds: float) -> None:
        """Count a call.

        Args:
            method: `service/method` of the contract.
            code: name of its gRPC status.
            seconds: from its arrival to its end.
        """
        self._calls.record(seconds, {"rpc.method": method, "rpc.response.status_code": code})

    def failed(self, reason: str) -> None:
        """Count a call that was answered with an error."""
        self._failures.add(1, {"reason": reason})

    def recorded(self, entries: Sequence[AuditEntry]) -> None:
        """Count what a commit recorded in an audit log."""
        if not self.is_read:
            return
        self._entries.add(len(entries))
        self._batches.record(len(entries))
        for entry in entries:
            if entry.decision != _ALLOWED:
                self._denials.add(1, {"reason": entry.reason})
            if entry.operation in RELEASING:
                by = {"category": entry.category, "purpose": entry.purpose, "decision": entry.decision}
                self._releases.add(entry.count, by)

    def asked_root_key(self, operation: str, outcome: str, seconds: float) -> None:
        """Count a question to a key service: `wrap`, `unwrap` or `health`, and `ok` or the reason of its failure."""
        self._root_key.record(seconds, {"operation": operation, "outcome": outcome})

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


def _oldest_erasure(standings: Standings) -> Iterator[Observation]:
    yield Observation(standings.oldest_erasure.total_seconds())


def _orders(standings: Standings) -> Iterator[Observation]:
    for state, count in standings.orders.items():
        yield Observation(count, {"state": state})


def _orders_due(standings: Standings) -> Iterator[Observation]:
    for deadline, count in standings.orders_due.items():
        yield Observation(count, {"deadline": deadline})


def _logged(standings: Standings) -> Iterator[Observation]:
    yield Observation(standings.logged)


def _unpublished(standings: Standings) -> Iterator[Observation]:
    yield Observation(standings.unpublished)


def _findings(standings: Standings) -> Iterator[Observation]:
    for finding, count in standings.findings.items():
        yield Observation(count, {"finding": finding})
