"""Rows to store in tests: everything that a test does not care about has a value."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from vault.names import new_id
from vault.store import records as record_store
from vault.store import subjects as subject_store
from vault.store.database import Database
from vault.store.orders import OrderRow
from vault.store.records import IndexRow, PartRow, RecordRow
from vault.store.subjects import SubjectKeyRow, Token
from vault.store.tables import metadata
from vault.store.tenants import TenantRow

NOW = datetime(2026, 11, 23, 12, 30, 15, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
END = NOW + 24 * HOUR

ACME = "acme"
BETA = "beta"

PHONE = Token("phone", b"\x01" * 32)
MAIL = Token("mail", b"\x02" * 32)

TENANT = TenantRow(
    tenant_id=ACME, display_name="Acme", state="ACTIVE", key_epoch=1, reference_pattern=r"[A-Z]+-\d+", create_time=NOW, version=1
)

RECORD = RecordRow(
    record_id="",
    subject_id="",
    category="call-detail",
    level="",
    list_id="",
    import_id="",
    create_time=NOW,
    occur_time=None,
    valid_from=None,
    valid_to=None,
    expire_time=None,
    metadata={},
    version=1,
)

ORDER = OrderRow(
    order_id="order",
    state="SCOPED",
    instrument_type="court-order",
    sealed=b"sealed",
    document_token=b"document",
    scope_digest="digest",
    registrant="spiffe://vault.example/desk",
    categories=("call-detail", "incoming-message"),
    target_count=2,
    expire_time=NOW + HOUR,
    create_time=NOW,
)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Another process's view of a database."""
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


def subject_key(subject: str, *, version: int = 1) -> SubjectKeyRow:
    """A wrapped key, recognisable."""
    return SubjectKeyRow(subject, version, 1, f"key of {subject} v{version}".encode())


@dataclass(frozen=True, slots=True)
class Stored:
    """What `store` stores: records, with a part for each of their parties and an index entry for each token.

    Attributes:
        row: the record.
        parties: role and subject of each part; the first is the owner.
        tokens: role and token of each index entry, by field.
    """

    row: RecordRow
    parties: Mapping[str, str]
    tokens: Mapping[str, tuple[str, Token]] = field(default_factory=dict)


def record(parties: Mapping[str, str], tokens: Mapping[str, tuple[str, Token]] | None = None, **columns: object) -> Stored:
    """A record of some parties."""
    row = replace(RECORD, record_id=new_id(), subject_id=next(iter(parties.values())))
    return Stored(_changed(row, columns), parties, tokens or {})


def _changed(row: RecordRow, columns: Mapping[str, object]) -> RecordRow:
    change: Callable[..., RecordRow] = replace
    return change(row, **columns)


def parts_of(stored: Stored) -> list[PartRow]:
    """The parts of a record."""
    return [
        PartRow(stored.row.record_id, role, subject, 1, f"{stored.row.record_id} {role}".encode())
        for role, subject in stored.parties.items()
    ]


def index_of(stored: Stored) -> list[IndexRow]:
    """The index entries of a record."""
    return [
        IndexRow(token.kind, token.token, stored.row.record_id, name, role, stored.parties[role], 1)
        for name, (role, token) in stored.tokens.items()
    ]


async def store(database: Database, *stored: Stored, tenant: str = ACME) -> None:
    """Store records, and those of their parties that are not there, with their keys."""
    wanted = sorted({subject for item in stored for subject in item.parties.values()})
    async with database.write() as connection:
        known = await subject_store.active_subject_keys(connection, tenant, wanted)
        await subject_store.insert_subjects(connection, tenant, [subject_key(s) for s in wanted if s not in known], NOW)
        await record_store.insert_records(
            connection,
            tenant,
            [item.row for item in stored],
            [part for item in stored for part in parts_of(item)],
            [entry for item in stored for entry in index_of(item)],
        )


async def count(database: Database, table: str, **columns: Sequence[str] | str) -> int:
    """Rows of a table of which each named column has the value, or one of the values."""
    wanted = metadata.tables[table]
    query = select(func.count()).select_from(wanted)
    for name, value in columns.items():
        query = query.where(wanted.c[name].in_([value] if isinstance(value, str) else value))
    async with database.read() as connection:
        return (await connection.execute(query)).scalar_one()
