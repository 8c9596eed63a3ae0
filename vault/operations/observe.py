"""Looks at what the gauges of `meters.py` say: what is overdue, where erasures, court orders and audit logs stand. Counts, and changes nothing."""

from datetime import timedelta

from vault.operations import readiness
from vault.operations.core import Vault
from vault.operations.meters import Standings
from vault.operations.order_state import RUNNING, State
from vault.store import audit as audit_store
from vault.store import erasures as erasure_store
from vault.store import orders as order_store

# Whoever has a day left wants to be told.
_NEAR = timedelta(days=1)


async def look(vault: Vault) -> None:
    """Look at what stands, if anybody reads it.

    Raises:
        UnavailableError: the database is away; the gauges say what they said.
    """
    if not vault.meters.is_read:
        return
    async with vault.database.read() as connection:
        counts, now = await erasure_store.count_by_state(connection), vault.clock()
        findings = await readiness.count_findings(vault, connection)
        oldest = await erasure_store.oldest_unfinished(connection)
        orders = await order_store.count_by_state(connection)
        vault.meters.standings = Standings(
            overdue=findings["RETENTION_OVERDUE"],
            # Every state is said, so that one that has become empty is seen to be.
            erasures={state: counts.get(state, 0) for state in erasure_store.STATES},
            exceptions_due=await erasure_store.count_due(connection, now),
            oldest_erasure=max(now - oldest, timedelta()) if oldest else timedelta(),
            orders={state.value: orders.get(state, 0) for state in State},
            orders_due=await order_store.count_due(connection, sorted(RUNNING), by=now + _NEAR),
            logged=await audit_store.total_size(connection),
            unpublished=len(await audit_store.uncovered_logs(connection)),
            findings=findings,
        )


def look_away(vault: Vault) -> None:
    """Say nothing any more: another worker looks."""
    vault.meters.standings = None
