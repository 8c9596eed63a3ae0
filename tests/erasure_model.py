"""What erasures, holds and retention must do, in plain Python: written from docs/erasure.md and §6 of the policy, not from the code.

Rules:
- A part is OPEN, KEPT (for claims alone), TOKEN, or gone. A record without a part is gone.
- A person's request reaches what the operator decides about; a tenant's instruction, what is the tenant's; nobody touches the rest.
- Law keeps before holds do. What is kept stays until neither law nor a hold keeps it, and goes then with the next turn of the background.
- Retention takes what is over, unless it is held, an erasure keeps it, or its owner is being erased.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

OPEN, KEPT, TOKEN = "OPEN", "KEPT", "TOKEN"
TENANTS = frozenset({"end-customer-contact", "email-template"})
BY_LAW = frozenset({"call-detail", "billing-record", "number-mapping"})
_SEVEN_YEARS = timedelta(days=2557)


@dataclass(slots=True)
class Part:
    """One person's part of a record.

    Attributes:
        phone: the number that it is found by; empty if by none.
        erasure: which erasure keeps it.
    """

    subject: str
    fields: dict[str, str]
    phone: str = ""
    state: str = OPEN
    erasure: str = ""


@dataclass(slots=True)
class Record:
    """A record, its parts by role, the owner's first; `end` is when law and retention let go, None if that is not known."""

    category: str
    created: datetime
    happened: datetime
    end: datetime | None
    parts: dict[str, Part]
    until: datetime | None = None

    @property
    def owner(self) -> str:
        """Whose it is."""
        return next(iter(self.parts.values())).subject


@dataclass(slots=True)
class Hold:
    """A hold on people or records; on every category if none is named."""

    kind: str
    subjects: frozenset[str]
    records: frozenset[str]
    categories: frozenset[str]
    end: datetime | None
    released: bool = False


@dataclass(slots=True)
class Erasure:
    """An erasure; `found` is what its certificate must account for."""

    subject: str
    by_tenant: bool
    state: str
    needed: int = 1
    approvals: int = 0
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Model:
    """Everybody and everything."""

    records: dict[str, Record] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    erasures: dict[str, Erasure] = field(default_factory=dict)

    def parts_of(self, subject: str) -> list[tuple[str, str, Record, Part]]:
        """Record, role, and both, of every part of a person that is no token."""
        return [
            (record_id, role, record, part)
            for record_id, record in self.records.items()
            for role, part in record.parts.items()
            if part.subject == subject and part.state != TOKEN
        ]

    def is_held(self, record_id: str, now: datetime) -> bool:
        """Whether a live hold covers a record."""
        record = self.records[record_id]
        people = {record.owner, *(part.subject for part in record.parts.values() if part.state != TOKEN)}
        return any(
            not hold.released
            and (hold.end is None or hold.end > now)
            and (record_id in hold.records or bool(hold.subjects & people))
            and (not hold.categories or record.category in hold.categories)
            for hold in self.holds.values()
        )

    def outcome(self, record_id: str, *, by_tenant: bool, now: datetime, holds: bool = True) -> str:
        """What an erasure makes of a part: forwarded, restricted, tokenised or erased; nothing if it is not in scope."""
        record = self.records[record_id]
        if by_tenant and record.category not in TENANTS:
            return ""
        if not by_tenant and record.category in TENANTS:
            return "forwarded"
        by_law = record.category in BY_LAW and (record.end is None or record.end > now)
        if by_law or (holds and self.is_held(record_id, now)):
            return "restricted"
        return "tokenised" if record.category == "call-detail" else "erased"

    def preview(self, subject: str, *, by_tenant: bool, now: datetime) -> Counter[tuple[str, str]]:
        """What a preview counts, by category and outcome: no holds, and nothing that an erasure keeps already."""
        return Counter(
            (record.category, outcome)
            for record_id, _, record, part in self.parts_of(subject)
            if part.state == OPEN and (outcome := self.outcome(record_id, by_tenant=by_tenant, now=now, holds=False))
        )

    def begin(self, erasure: Erasure, now: datetime) -> None:
        """The last approval: the person is blocked."""
        erasure.state, self.subjects[erasure.subject] = "RUNNING", "ERASING"
        erasure.found = Counter()
        for (category, _), count in self.preview(erasure.subject, by_tenant=erasure.by_tenant, now=now).items():
            erasure.found[category] += count

    def run(self, erasure_id: str, now: datetime) -> None:
        """The run, from its beginning to its end."""
        erasure = self.erasures[erasure_id]
        for record_id, role, record, part in self.parts_of(erasure.subject):
            outcome = self.outcome(record_id, by_tenant=erasure.by_tenant, now=now) if part.state == OPEN else ""
            if outcome == "restricted":
                part.state, part.erasure = KEPT, erasure_id
            elif outcome == "tokenised":
                part.state = TOKEN
            elif outcome == "erased":
                self._remove(record_id, record, role)
        left = [part for *_, part in self.parts_of(erasure.subject) if part.state == OPEN]
        found_by = {part.phone for part in left}
        self.owners = {phone: who for phone, who in self.owners.items() if who != erasure.subject or phone in found_by}
        self.subjects[erasure.subject] = "ACTIVE" if left else "ERASED"
        erasure.state = "DONE"

    def resume(self, now: datetime) -> None:
        """What the background does about erasures."""
        for erasure_id, erasure in self.erasures.items():
            if erasure.state == "RUNNING":
                self.run(erasure_id, now)
        for erasure_id, erasure in self.erasures.items():
            for record_id, role, record, part in self.parts_of(erasure.subject):
                if part.state == KEPT and part.erasure == erasure_id:
                    outcome = self.outcome(record_id, by_tenant=erasure.by_tenant, now=now)
                    if outcome == "tokenised":
                        part.state = TOKEN
                    elif outcome == "erased":
                        self._remove(record_id, record, role)

    def expire(self, now: datetime) -> None:
        """What the background does about holds."""
        for hold in self.holds.values():
            hold.released = hold.released or (hold.end is not None and hold.end <= now)

    def retain(self, now: datetime) -> None:
        """A retention sweep."""
        for record_id, record in list(self.records.items()):
            is_kept = any(part.state == KEPT for part in record.parts.values()) or self.is_held(record_id, now)
            if record.end is not None and record.end <= now and not is_kept and self.subjects[record.owner] != "ERASING":
                del self.records[record_id]

    def restricted(self, erasure_id: str) -> Counter[str]:
        """What an erasure keeps, by category."""
        parts = [(record.category, part) for record in self.records.values() for part in record.parts.values()]
        return Counter(category for category, part in parts if part.state == KEPT and part.erasure == erasure_id)

    def _remove(self, record_id: str, record: Record, role: str) -> None:
        del record.parts[role]
        if not record.parts:
            del self.records[record_id]


def is_past_use(record: Record, now: datetime) -> bool:
    """Whether a record is kept on for claims alone, whatever became of its people (§2)."""
    return record.category == "call-detail" and record.happened + timedelta(days=365) <= now


def end_of(category: str, happened: datetime, until: datetime | None) -> datetime | None:
    """When a record is over, by the table of retention periods (§2)."""
    match category:
        case "site-visitor":
            return happened + timedelta(days=365)
        case "call-detail":
            return happened + _SEVEN_YEARS
        case "billing-record":
            return datetime(happened.year + 1, 1, 1, tzinfo=UTC) + _SEVEN_YEARS
        case "number-mapping":
            return until + _SEVEN_YEARS if until else None
        case _:
            return None
