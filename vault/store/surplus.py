"""When each distribution list was last used, as far as rows tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import customer_requests, imports, jobs, records


@dataclass(frozen=True, slots=True)
class ListUse:
    """One list: how many records are in it, and when one was stored last."""

    list_id: str
    count: int
    newest: datetime


async def list_uses(connection: AsyncConnection, tenant: str) -> list[ListUse]:
    """Every list of a tenant that something is in."""
    query = (
        select(records.c.list_id, func.count(), func.max(records.c.create_time))
        .where(records.c.tenant_id == tenant, records.c.list_id != "")
        .group_by(records.c.list_id)
        .order_by(records.c.list_id)
    )
    return [ListUse(*row) for row in await connection.execute(query)]


async def asked_for(connection: AsyncConnection, tenant: str) -> Mapping[str, datetime]:
    """When something was last imported to a list, scheduled for it or asked about it; for every list under an empty id."""
    newest: dict[str, datetime] = {}
    for table in (imports, jobs, customer_requests):
        query = select(table.c.list_id, func.max(table.c.create_time)).where(table.c.tenant_id == tenant).group_by(table.c.list_id)
        for list_id, moment in await connection.execute(query):
            newest[list_id] = max(moment, newest.get(list_id, moment))
    return newest
