"""How fast retention erases what is due, next to a plain DELETE of as many rows that are alike."""

import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, delete, func, select

from benchmarks import people
from benchmarks.key_vault import Clock, FailedCallError, analyze, caller, new_tenant, opened, store
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from benchmarks.servers import POSTGRES, SQLITE
from vault.names import new_id
from vault.operations import retain
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.preparing import RecordInput
from vault.store import holds as hold_store
from vault.store.holds import HoldRow, ScopeRow
from vault.store.tables import records

# As many as one batch of a sweep.
BATCH = retain._BATCH  # noqa: SLF001 - what is compared has to be of the same size
_VISITOR = {"is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01"}
# Longer than a visitor's details are kept.
_ALL_OVER = timedelta(days=3 * 366)
_HEAD = ["database", "what", "rows", "rows/s", "by plain DELETE in batches", "by one DELETE"]
_SWEEP, _HELD = "sweep", "sweep, holds on others"
_PLAIN, _ONE = f"plain DELETE, batches of {BATCH}", "one DELETE"
_HOLDS = 10


async def measure(work: Path, urls: Iterator[URL], *, quick: bool, say: Callable[[str], None]) -> Section:
    """Sweep and delete in turns, several rounds, on both databases, every one in a tenant of its own."""
    count, rounds = (600, 2) if quick else (10_000, 5)
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    for name in (SQLITE, POSTGRES):
        clock = Clock()
        url = f"sqlite+aiosqlite:///{work / name / 'vault.db'}" if name == SQLITE else next(urls)
        async with opened(work / name, url, clock) as (vault, _):
            seen = await _rounds(vault, clock, count, rounds, name, say)
        ratios = {
            what: [Spread.of(one / other for one, other in zip(seen[what], seen[below], strict=True)) for below in (_PLAIN, _ONE)]
            for what in (_SWEEP, _HELD)
        }
        for what, values in seen.items():
            by = [spread_cell(ratio) for ratio in ratios[what]] if what in ratios else ["", ""]
            rows.append([name, what, f"{count:,}", spread_cell(Spread.of(values)), *by])
        data[name] = {"rows": count, "rows_per_second": seen}
    note = (
        f"In process, {rounds} rounds after one to warm up, in which all take turns, each with a tenant of its own that has as many records, all of "
        "them due. Medians, least and greatest in brackets; ratios are formed within a round. A sweep looks for what is due, locks it, holds each "
        f"record against the catalogue, deletes {BATCH} a transaction, and writes the entry that names them; parts and index entries go by cascade "
        f"in all of them. With holds: {_HOLDS} live ones on other people, so that every batch has to look."
    )
    return Section("retention", "Retention", note, _HEAD, rows, data, errors=0)


async def _rounds(vault: Vault, clock: Clock, count: int, rounds: int, name: str, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Rows per second by what is measured, one per round."""
    measures: dict[str, Callable[[Vault, str], Awaitable[None]]] = {_SWEEP: _swept, _HELD: _swept, _PLAIN: _in_batches, _ONE: _at_once}
    seen: dict[str, list[float]] = {what: [] for what in measures}
    order = list(measures)
    # The first one, number 0, warms up and is thrown away.
    for number in range(rounds + 1):
        say(f"retention on {name}: round {number} of {rounds}")
        tenants = {what: f"tenant-{number}-{place}" for place, what in enumerate(order)}
        for tenant in tenants.values():
            await new_tenant(vault, tenant)
            await store(vault, tenant, [_visitor(item) for item in range(count)])
        await analyze(vault)
        clock.move(_ALL_OVER)
        await _hold_others(vault, tenants[_HELD])
        turn = number % len(order)
        for what in order[turn:] + order[:turn]:
            begin = time.perf_counter()
            await measures[what](vault, tenants[what])
            seen[what].append(count / (time.perf_counter() - begin))
            if left := await _count(vault, tenants[what]):
                raise FailedCallError(f"{what}: {left} rows are left")
    return {what: values[1:] for what, values in seen.items()}


async def _swept(vault: Vault, tenant: str) -> None:
    await retain.run_retention(vault, Attempt(caller("operator", "RunRetention")), tenant)


async def _in_batches(vault: Vault, tenant: str) -> None:
    """Delete every row, in batches and commits of a sweep's size."""
    while True:
        async with vault.database.write() as connection:
            found = select(records.c.record_id).where(records.c.tenant_id == tenant).limit(BATCH)
            ids = (await connection.execute(found)).scalars().all()
            if not ids:
                return
            await connection.execute(delete(records).where(records.c.tenant_id == tenant, records.c.record_id.in_(ids)))


async def _at_once(vault: Vault, tenant: str) -> None:
    """Delete every row in one statement."""
    async with vault.database.write() as connection:
        await connection.execute(delete(records).where(records.c.tenant_id == tenant))


async def _hold_others(vault: Vault, tenant: str) -> None:
    """Place holds on people who have nothing that is due."""
    async with vault.database.write() as connection:
        for _ in range(_HOLDS):
            row = HoldRow(new_id(), "CLAIM", "TCK-1", None, None, None, vault.clock() + _ALL_OVER, "people/e-lawyer", vault.clock())
            await hold_store.insert_hold(connection, tenant, row, [ScopeRow(new_id(), "", "")])


async def _count(vault: Vault, tenant: str) -> int:
    async with vault.database.read() as connection:
        query = select(func.count()).select_from(records).where(records.c.tenant_id == tenant)
        return int((await connection.execute(query)).scalar_one())


def _visitor(number: int) -> RecordInput:
    return RecordInput("site-visitor", {**_VISITOR, "phone": people.phone(number), "email": people.email(number)})
