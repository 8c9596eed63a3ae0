"""Scheduled jobs: what the messaging engine may read of which list, for how long (P3.5-send)."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import jobs


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as stored."""

    job_id: str
    list_id: str
    opened_by: str
    create_time: datetime
    expire_time: datetime
    close_time: datetime | None


_JOB = tuple(jobs.c[name] for name in JobRow.__dataclass_fields__)


async def insert_job(connection: AsyncConnection, tenant: str, row: JobRow) -> None:
    """Store a new job."""
    await connection.execute(insert(jobs).values(tenant_id=tenant, **{name: getattr(row, name) for name in JobRow.__dataclass_fields__}))


async def get_job(connection: AsyncConnection, tenant: str, job: str) -> JobRow | None:
    """The job, or None."""
    row = (await connection.execute(select(*_JOB).where(jobs.c.tenant_id == tenant, jobs.c.job_id == job))).first()
    return JobRow(*row) if row else None


async def close_job(connection: AsyncConnection, tenant: str, job: str, now: datetime) -> None:
    """Close a job; an already closed one keeps its time."""
    await connection.execute(
        update(jobs).where(jobs.c.tenant_id == tenant, jobs.c.job_id == job, jobs.c.close_time.is_(None)).values(close_time=now)
    )
