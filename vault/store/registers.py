"""Small registers: idempotent requests, confidentiality agreements, customer requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.names import SYSTEM_LOG
from vault.store.tables import customer_requests, idempotent_requests, ndas


@dataclass(frozen=True, slots=True)
class CustomerRequestRow:
    """What a customer asked staff to do."""

    request_id: str
    list_id: str
    operations: Sequence[str]
    opened_by: str
    create_time: datetime
    expire_time: datetime
    close_time: datetime | None


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A call that was answered under a request id."""

    method: str
    body_token: bytes
    response: bytes


async def answered_request(connection: AsyncConnection, tenant: str, request_id: str) -> AnsweredRequest | None:
    """The answer given under a request id, or None."""
    query = select(idempotent_requests.c.method, idempotent_requests.c.body_token, idempotent_requests.c.response).where(
        idempotent_requests.c.tenant_id == tenant, idempotent_requests.c.request_id == request_id
    )
    row = (await connection.execute(query)).first()
    return AnsweredRequest(*row) if row else None


async def keep_answer(connection: AsyncConnection, tenant: str, request_id: str, answer: AnsweredRequest, now: datetime) -> None:
    """Remember an answer, in the transaction of the change it answers."""
    await connection.execute(
        insert(idempotent_requests).values(
            tenant_id=tenant,
            request_id=request_id,
            method=answer.method,
            body_token=answer.body_token,
            response=answer.response,
            create_time=now,
        )
    )


async def put_nda(
    connection: AsyncConnection, person: str, *, document_sha256: bytes, sign_time: datetime, expire_time: datetime, registered_by: str
) -> None:
    """Register a person's agreement, replacing an earlier one. People belong to no tenant."""
    await connection.execute(delete(ndas).where(ndas.c.tenant_id == SYSTEM_LOG, ndas.c.person == person))
    await connection.execute(
        insert(ndas).values(
            tenant_id=SYSTEM_LOG,
            person=person,
            document_sha256=document_sha256,
            sign_time=sign_time,
            expire_time=expire_time,
            registered_by=registered_by,
        )
    )


async def valid_ndas(connection: AsyncConnection, people: Sequence[str], now: datetime) -> frozenset[str]:
    """Those of the people whose agreement is in force."""
    if not people:
        return frozenset()
    query = select(ndas.c.person).where(
        ndas.c.tenant_id == SYSTEM_LOG, ndas.c.person.in_(people), ndas.c.sign_time <= now, ndas.c.expire_time > now
    )
    return frozenset(row.person for row in await connection.execute(query))


async def insert_customer_request(connection: AsyncConnection, tenant: str, row: CustomerRequestRow) -> None:
    """Store a customer request."""
    await connection.execute(
        insert(customer_requests).values(
            tenant_id=tenant,
            request_id=row.request_id,
            list_id=row.list_id,
            operations=list(row.operations),
            opened_by=row.opened_by,
            create_time=row.create_time,
            expire_time=row.expire_time,
            close_time=row.close_time,
        )
    )


async def get_customer_request(connection: AsyncConnection, tenant: str, request_id: str) -> CustomerRequestRow | None:
    """The customer request, or None."""
    c = customer_requests.c
    query = select(c.request_id, c.list_id, c.operations, c.opened_by, c.create_time, c.expire_time, c.close_time).where(
        c.tenant_id == tenant, c.request_id == request_id
    )
    row = (await connection.execute(query)).first()
    return CustomerRequestRow(*row) if row else None


async def close_customer_request(connection: AsyncConnection, tenant: str, request_id: str, now: datetime) -> None:
    """Close a customer request; an already closed one keeps its time."""
    c = customer_requests.c
    await connection.execute(
        update(customer_requests).where(c.tenant_id == tenant, c.request_id == request_id, c.close_time.is_(None)).values(close_time=now)
    )
