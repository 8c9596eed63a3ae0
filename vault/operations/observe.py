"""Looks at what the gauges of `meters.py` say: what is overdue, and where erasures and audit logs stand. Reads and counts, and changes nothing."""

from datetime import timedelta

from vault.operations import readiness
from vault.operations.core import Vault
from vault.operations.meters import Standings
from vault.store import audit as audit_store
from vault.store import erasures as erasure_store


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
        vault.meters.standings = Standings(
            overdue=findings["RETENTION_OVERDUE"],
            # Every state is said, so that one that has become empty is seen to be.
            erasures={state: counts.get(state, 0) for state in erasure_store.STATES},
            exceptions_due=await erasure_store.count_due(connection, now),
            oldest_erasure=max(now - oldest, timedelta()) if oldest else timedelta(),
            logged=await audit_store.total_size(connection),
            unpublished=len(await audit_store.uncovered_logs(connection)),
            findings=findings,
        )


def look_away(vault: Vault) -> None:
    """Say nothing any more: another worker looks."""
    vault.meters.standings = None
