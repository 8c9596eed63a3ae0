"""What in a log is an alarm: denial bursts, bulk reads, spent budgets, planted people, damaged data (L5).

Pure: entries in, alarms out; the time is the entries'.

Rules:
- A window slides over the entries of one log; what it knows is forgotten when it has passed.
- One cause is one alarm an hour, however often it goes on.
- Replicas need no state: entries are what all of them wrote.
- A customer that is returned everything at the end of its contract, which two people approved, reads neither in bulk nor whom it should not.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.audit.entry import AuditEntry

DENIALS = 50  # L5
DENIALS_WITHIN = timedelta(minutes=5)  # L5
BULK_WITHIN = timedelta(hours=1)
QUIET = timedelta(hours=1)

# What is stored does not open where it stands, or its key is gone: damage, or somebody who wrote into the database (design §9).
_DAMAGED = frozenset({"CIPHERTEXT_INVALID", "KEY_UNKNOWN"})
_RELEASES = frozenset({"reveal", "resolve", "export"})


@dataclass(frozen=True, slots=True)
class Alarm:
    """One reason to open an incident.

    Attributes:
        trigger: `denial-burst`, `bulk-read`, `budget-exceeded`, `honey-record`, `damaged-data`, `chain-break`,
            `restored-log`, `stalled-head`, `unreviewed-incident`.
        cause: whose doing it is, or what it is about; one alarm for one cause in an hour.
        start_time: from when on the trigger counted.
        records: how many records are concerned.
        subjects: how many people are.
    """

    trigger: str
    cause: str
    start_time: datetime
    time: datetime
    records: int = 0
    subjects: int = 0


@dataclass(slots=True)
class _Window:
    """What one principal did lately: time, records, people."""

    lasting: timedelta
    items: deque[tuple[datetime, int, tuple[str, ...]]]
    records: int = 0

    def add(self, time: datetime, records: int, subjects: tuple[str, ...]) -> None:
        self.items.append((time, records, subjects))
        self.records += records
        while self.items[0][0] <= time - self.lasting:
            self.records -= self.items.popleft()[1]

    def alarm(self, trigger: str, cause: str) -> Alarm:
        people = {subject for _, _, subjects in self.items for subject in subjects}
        return Alarm(trigger, cause, self.items[0][0], self.items[-1][0], self.records, len(people))


class Watch:
    """Watches the entries of one log, in order.

    Args:
        bulk_records: how many records released to one principal within an hour are an alarm.
    """

    def __init__(self, *, bulk_records: int) -> None:
        self._bulk_records = bulk_records
        self._denials: dict[str, _Window] = {}
        self._releases: dict[str, _Window] = {}
        self._raised: dict[tuple[str, str], datetime] = {}

    def see(self, entry: AuditEntry, *, honey: Container[str] = ()) -> list[Alarm]:
        """The alarms that an entry sets off.

        Args:
            entry: the next one.
            honey: planted people of the log's tenant.
        """
        if entry.actor_kind == "upkeep":
            return []
        alarms = []
        if entry.decision == "REFUSED":
            window = self._denials.setdefault(entry.actor, _Window(DENIALS_WITHIN, deque()))
            window.add(entry.time, max(entry.count, len(entry.records)), entry.subjects)
            if len(window.items) >= DENIALS:
                alarms.append(window.alarm("denial-burst", entry.actor))
            if entry.reason == "RELEASE_BUDGET_EXCEEDED":
                alarms.append(Alarm("budget-exceeded", entry.actor, entry.time, entry.time, entry.count, len(entry.subjects)))
            if entry.reason in _DAMAGED:
                cause = f"tenants/{entry.tenant or entry.log}"
                alarms.append(
                    Alarm("damaged-data", cause, entry.time, entry.time, max(entry.count, len(entry.records)), len(entry.subjects))
                )
        elif entry.operation in _RELEASES and not _is_return(entry):
            window = self._releases.setdefault(entry.actor, _Window(BULK_WITHIN, deque()))
            window.add(entry.time, entry.count, entry.subjects)
            if window.records >= self._bulk_records:
                alarms.append(window.alarm("bulk-read", entry.actor))
            if any(subject in honey for subject in entry.subjects):
                alarms.append(Alarm("honey-record", entry.actor, entry.time, entry.time, entry.count, len(entry.subjects)))
        return [alarm for alarm in alarms if self._is_new(alarm)]

    def _is_new(self, alarm: Alarm) -> bool:
        key = alarm.trigger, alarm.cause
        last = self._raised.get(key)
        if last is not None and alarm.time < last + QUIET:
            return False
        self._raised[key] = alarm.time
        return True


def _is_return(entry: AuditEntry) -> bool:
    """Whether a customer was returned its data: an export of the whole tenant."""
    return entry.operation == "export" and entry.resource == f"tenants/{entry.log}"
