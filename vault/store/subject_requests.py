"""Requests of people about their own data, each with its statutory clock (P2.7-rights, L28)."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import subject_requests


@dataclass(frozen=True, slots=True)
class SubjectRequestRow:
    """One request as stored; `subject_id` is empty while the person is not known, and again when they were erased."""

    request_id: str
    subject_id: str
    kind: str
    channel: str
    requester: str
    opened_by: str
    receive_time: datetime
    due_time: datetime
    evidence_sha256: bytes
    verified_by: str
    verify_time: datetime | None
    extend_reason: bytes
    extend_time: datetime | None
    close_time: datetime | None

    @property
    def is_live(self) -> bool:
        """Whether something may be done on the ground of it: identity verified, not closed."""
        return self.verify_time is not None and self.close_time is None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for the identity of who asks."""
        return self.verify_time is None and self.close_time is None


_C = subject_requests.c
_COLUMNS = tuple(subject_requests.c[name] for name in SubjectRequestRow.__dataclass_fields__)


async def insert_subject_request(connection: AsyncConnection, tenant: str, row: SubjectRequestRow) -> None:
    """Store a request that was opened."""
    await connection.execute(insert(subject_requests).values(tenant_id=tenant, **_values(row)))


async def get_subject_request(connection: AsyncConnection, tenant: str, request_id: str, *, lock: bool = False) -> SubjectRequestRow | None:
    """The request, or None. `lock` holds the row until the transaction ends."""
    query = select(*_COLUMNS).where(_C.tenant_id == tenant, _C.request_id == request_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return SubjectRequestRow(*row) if row else None


async def update_subject_request(connection: AsyncConnection, tenant: str, row: SubjectRequestRow) -> None:
    """Store a changed request; the caller holds the row's lock."""
    await connection.execute(update(subject_requests).where(_C.tenant_id == tenant, _C.request_id == row.request_id).values(**_values(row)))


async def list_subject_requests(
    connection: AsyncConnection, tenant: str, *, closed: bool, after: tuple[datetime, str] | None, limit: int
) -> list[SubjectRequestRow]:
    """Requests, what is due first; from a place, which is a due time and an id, on."""
    query = select(*_COLUMNS).where(_C.tenant_id == tenant)
    if not closed:
        query = query.where(_C.close_time.is_(None))
    if after is not None:
        due, request = after
        query = query.where(or_(_C.due_time > due, and_(_C.due_time == due, _C.request_id > request)))
    query = query.order_by(_C.due_time, _C.request_id).limit(limit)
    return [SubjectRequestRow(*row) for row in await connection.execute(query)]


async def requests_of(connection: AsyncConnection, tenant: str, subject: str) -> list[SubjectRequestRow]:
    """Every request of a subject, oldest first."""
    query = select(*_COLUMNS).where(_C.tenant_id == tenant, _C.subject_id == subject).order_by(_C.receive_time, _C.request_id)
    return [SubjectRequestRow(*row) for row in await connection.execute(query)]


async def unlink_requests(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Let requests say no more whose they are; that they were made and answered in time stays provable."""
    await connection.execute(
        update(subject_requests).where(_C.tenant_id == tenant, _C.subject_id == subject).values(subject_id="", evidence_sha256=b"")
    )


def _values(row: SubjectRequestRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in SubjectRequestRow.__dataclass_fields__}
