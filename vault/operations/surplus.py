"""What a tenant may hold without needing it: lists that nobody used for a year, former contacts that nobody looked at for two (A21, A22, L2).

Computed when it is asked for, and holds no value: ids of lists, counts and times. The tenant decides what goes. Reading a list leaves no mark on it
but in the log, so that a list that is only looked at counts as unused: what is scheduled, imported or stored is use.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.operations.core import Vault, known_tenant
from vault.operations.wind_up_kept import FORMER
from vault.store import surplus as surplus_store
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.records import RecordRow
from vault.store.terminations import Which

_UNUSED = timedelta(days=365)
_REVIEW = timedelta(days=731)
_REVIEWED, _PAGE = "reviewed_at", 500


@dataclass(frozen=True, slots=True)
class UnusedList:
    """A list, how much is in it, and since when nobody used it."""

    list_id: str
    count: int
    last_use: datetime


async def get_surplus_report(vault: Vault, tenant: str) -> tuple[list[UnusedList], int]:
    """The lists, longest unused first, and how many former contacts are due for a look.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
    """
    now = vault.clock()
    async with vault.database.read() as connection:
        await known_tenant(vault, connection, tenant)
        stored = await surplus_store.list_uses(connection, tenant)
        asked = await surplus_store.asked_for(connection, tenant)
        due = await _contacts_due(connection, tenant, now - _REVIEW)
    used = [
        UnusedList(found.list_id, found.count, max([found.newest, *(asked[key] for key in ("", found.list_id) if key in asked)]))
        for found in stored
    ]
    return sorted((found for found in used if found.last_use <= now - _UNUSED), key=lambda found: (found.last_use, found.list_id)), due


async def _contacts_due(connection: Connection, tenant: str, before: datetime) -> int:
    """A tenant has few: they are read, since their last look is among their clear fields."""
    due, after = 0, ""
    while True:
        rows = await termination_store.page_of(connection, tenant, Which(FORMER), after=after, limit=_PAGE)
        due += sum(_last_look(row) <= before for row in rows)
        if len(rows) < _PAGE:
            return due
        after = rows[-1].record_id


def _last_look(row: RecordRow) -> datetime:
    looked = row.metadata.get(_REVIEWED)
    return max(row.create_time, datetime.fromisoformat(looked)) if looked else row.create_time
