"""Jobs: what the messaging engine may read of which list, for how long (P3.5-send)."""

from datetime import datetime, timedelta

from vault import names
from vault.errors import InvalidArgumentError, NotFoundError
from vault.names import ChildName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant
from vault.operations.preparing import check_list
from vault.store import jobs as job_store
from vault.store.jobs import JobRow

_MAX_DAYS = 30


async def open_job(vault: Vault, attempt: Attempt, tenant: str, *, list_id: str, expire_time: datetime) -> tuple[JobRow, Receipt]:
    """Open a job.

    Raises:
        InvalidArgumentError: FIELD_INVALID, NAME_INVALID.
    """
    now = vault.clock()
    check_list(list_id)
    if not now < expire_time <= now + timedelta(days=_MAX_DAYS):
        raise InvalidArgumentError(
            "FIELD_INVALID", f"expiry is not within the next {_MAX_DAYS} days", field="expire_time", limit=f"{_MAX_DAYS}d"
        )
    row = JobRow(names.new_id(), list_id, attempt.caller.principal, now, expire_time, None)
    attempt.operation, attempt.resource = "open-job", str(ChildName(tenant, "jobs", row.job_id))
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, tenant)
        await job_store.insert_job(connection, tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def close_job(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[JobRow, Receipt]:
    """Close a job; the engine loses access on the next call. Closing it again changes nothing.

    Raises:
        NotFoundError: JOB_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "close-job", str(name)
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, name.tenant)
        await job_store.close_job(connection, name.tenant, name.id, vault.clock())
        row = await job_store.get_job(connection, name.tenant, name.id)
        if row is None:
            raise NotFoundError("JOB_NOT_FOUND", "no such job")
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt
