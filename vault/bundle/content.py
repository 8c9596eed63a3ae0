"""What goes into a court-order package, as values. No I/O, no clock, no bytes of any file.

Rules:
- A package holds what the signed scope names and nothing else: a category outside the scope is `SCOPE_EXCEEDED`, a field that is not a
  declared column is `PACKAGE_CONTENT_INVALID` (policy §5.3, §5.4 step 8).
- Whatever becomes part of a file name or of a one-line tag is checked here, once: nothing in a package can forge a line or a path.
- Every instant is aware UTC. `created` is the instant of the snapshot and is kept with the export, so that a repeated build gives the
  same bytes (N15).
- Some texts name people; no type here shows them in its repr.

Not here: which records belong in (`operations/`), how they are written (`package.py`).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vault.errors import FailedPreconditionError, InvalidArgumentError

_EXPORT_ID = re.compile(r"[a-z2-7]{26}")
# 40 characters keep every path below the 100 that a plain ustar header holds.
_CATEGORY = re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
_COLUMN = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Explicit embeddings, overrides and isolates (UAX #9): in a name they would reorder the rest of a cover line.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReference:
    """The instrument, as registered (policy §5.1). `document_sha256` is lower-case hex."""

    order_id: str
    instrument_type: str
    court_name: str
    case_no: str
    judge_name: str = field(repr=False)
    requesting_body: str
    document_sha256: str
    issued_at: datetime
    valid_until: datetime
    stamp_no: str = ""

    def __post_init__(self) -> None:
        _check_lines(self, ("order_id", "instrument_type", "court_name", "case_no", "judge_name", "requesting_body", "stamp_no"))
        _check_form(_SHA256, (self.document_sha256,), "order.document_sha256")
        _check_utc(self.issued_at, "order.issued_at")
        _check_utc(self.valid_until, "order.valid_until")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSummary:
    """The approved scope without its targets: `digest` (hex) is what was approved, `target_count` how many identifiers it names."""

    digest: str
    categories: tuple[str, ...]
    time_from: datetime
    time_to: datetime
    target_count: int
    tenants: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_form(_SHA256, (self.digest,), "scope.digest")
        _check_form(_CATEGORY, self.categories, "scope.categories")
        for tenant in self.tenants:
            _check_line(tenant, "scope.tenants")
        _check_utc(self.time_from, "scope.time_from")
        _check_utc(self.time_to, "scope.time_to")
        _check_count(self.target_count, "scope.target_count")


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a table and what it means, for the field dictionary of the package."""

    name: str
    label_en: str = ""
    label_he: str = ""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How the records of one category were made and kept (L24): of those that say when they happened, the facts of when they were stored.

    Args:
        first, last: when the first and the last of them happened.
        within_a_day: how many were stored within a day of it.
        timed: how many say when they happened.
    """

    first: datetime | None = None
    last: datetime | None = None
    within_a_day: int = 0
    timed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTable:
    """What is said about the records of one category; the records themselves are written as they are read.

    Args:
        columns: in the order of the CSV columns; every row's fields are among them.
        count: records in the package.
        selected: records that the scope covers: those in the package and those withheld.
        title_en, title_he: what the category is called.
        keeping: how they were kept.
    """

    category: str
    columns: tuple[Column, ...]
    count: int
    selected: int
    title_en: str = ""
    title_he: str = ""
    keeping: Keeping = Keeping()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        _check_form(_CATEGORY, (self.category,), "table.category")
        _check_form(_COLUMN, names, "table.columns")
        _check_distinct(names, "table.columns")
        _check_lines(self, ("title_en", "title_he"))
        _check_count(self.count, "table.count")
        _check_count(self.selected, "table.selected")
        if not names:
            raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", "table has no columns", field="table.columns")

    def checked(self, rows: Iterable[Mapping[str, str]]) -> Iterator[Mapping[str, str]]:
        """The same rows: value by column name. One may lack a column; the exact form then lacks it too, and the CSV cell is empty.

        Raises:
            InvalidArgumentError: PACKAGE_CONTENT_INVALID, a row has a field that is no column.
        """
        names = {column.name for column in self.columns}
        for row in rows:
            if row.keys() - names:
                raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", "row has a field that is not a column", field="table.rows")
            yield row


@dataclass(frozen=True, slots=True)
class Withheld:
    """So many records of a category are covered by the order and not in the package, and why (an upper-snake code)."""

    category: str
    count: int
    reason: str

    def __post_init__(self) -> None:
        _check_form(_CATEGORY, (self.category,), "withheld.category")
        _check_form(_REASON, (self.reason,), "withheld.reason")
        _check_count(self.count, "withheld.count")


@dataclass(frozen=True, slots=True)
class CustodyEvent:
    """One step of the chain of custody: who did what when, and the hex digest of what it was done to (or nothing)."""

    time: datetime
    actor: str
    action: str
    digest: str

    def __post_init__(self) -> None:
        _check_utc(self.time, "custody.time")
        _check_lines(self, ("actor", "action", "digest"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Who receives the package, under which age key, and how that key was verified."""

    body: str
    person: str = field(repr=False)
    age_recipient: str
    verified_by: str

    def __post_init__(self) -> None:
        _check_lines(self, ("body", "person", "age_recipient", "verified_by"))


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Head of the audit log when the snapshot was taken: `root` is the RFC 9162 root hash in hex."""

    log: str
    size: int
    root: str

    def __post_init__(self) -> None:
        _check_line(self.log, "audit_head.log")
        _check_count(self.size, "audit_head.size")
        _check_form(_SHA256, (self.root,), "audit_head.root")


@dataclass(frozen=True, slots=True)
class Authorities:
    """Whose certificates the signatures in `meta/` rest on, PEM; empty where there is no such signature.

    Args:
        organisation: the certificate that signs, and those above it.
        timestamp: the root of the authority that says when.
    """

    organisation: bytes = b""
    timestamp: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageContent:
    """Everything a package says but the records.

    Args:
        export_id: 26 characters of base32.
        tables: at most one per category; none at all is a nil package (N18).
        created: instant of the snapshot; also the date of the bag and of every file in it.
        operator: who holds the data and signs.
        authorities: what the further signatures rest on.
    Raises:
        InvalidArgumentError: PACKAGE_CONTENT_INVALID.
        FailedPreconditionError: SCOPE_EXCEEDED.
    """

    export_id: str
    order: OrderReference
    scope: ScopeSummary
    tables: tuple[RecordTable, ...]
    withheld: tuple[Withheld, ...]
    custody: tuple[CustodyEvent, ...]
    recipient: Recipient
    audit_head: AuditHead
    created: datetime
    operator: str
    policy_version: str
    authorities: Authorities = Authorities()

    def __post_init__(self) -> None:
        _check_form(_EXPORT_ID, (self.export_id,), "export_id")
        _check_lines(self, ("operator", "policy_version"))
        _check_utc(self.created, "created")
        _check_distinct([table.category for table in self.tables], "tables")
        _check_distinct([f"{item.category} {item.reason}" for item in self.withheld], "withheld")
        if {table.category for table in self.tables} - set(self.scope.categories):
            raise FailedPreconditionError("SCOPE_EXCEEDED", "package holds a category that the scope does not name")
        for table in self.tables:
            if table.selected != table.count + sum(item.count for item in self.withheld if item.category == table.category):
                raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", "records and withheld are not what was selected", field="tables")


def _check_form(pattern: re.Pattern[str], values: Iterable[str], name: str) -> None:
    if not all(pattern.fullmatch(value) for value in values):
        raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", f"{name} is not of the form {pattern.pattern}", field=name)


def _check_lines(value: object, names: Iterable[str]) -> None:
    for name in names:
        _check_line(getattr(value, name), name)


def _check_line(text: str, name: str) -> None:
    """One line of plain text: no control, separator, surrogate or reordering character."""
    if any(c in _BIDI_CONTROLS or unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in text):
        raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", f"{name} is not one line of plain text", field=name)


def _check_utc(instant: datetime, name: str) -> None:
    if instant.utcoffset() != timedelta(0):
        raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", f"{name} is not in UTC", field=name)


def _check_count(count: int, name: str) -> None:
    if count < 0:
        raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", f"{name} is negative", field=name)


def _check_distinct(names: list[str], name: str) -> None:
    if len(set(names)) != len(names):
        raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", f"{name} repeats a name", field=name)
