"""What the order of a log costs: reveals a second by several workers, all in one tenant, whose log they share, and each in its own.

Each worker is a process with a vault of its own on one database, without a port in between: what is measured is the path from the request to the
commit of its entries.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks import key_vault, postgres
from benchmarks.key_vault import WHY, Clock
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from vault import config, server
from vault.names import RecordName
from vault.operations.attempt import Attempt
from vault.operations.reveal import Released, RevealCall, reveal
from vault.policy.decide import View

_WORKERS = (1, 2, 4)
_PEOPLE = 500
# As many unary calls as the server answers in one transaction when it is busy.
_AT_ONCE = 16
_TENANTS = tuple(f"worker-{number}" for number in range(max(_WORKERS)))

# Seconds in which every worker has to be there.
_PATIENCE = 120
# In a worker: where it waits until all of them have opened their vaults.
_ready: list[Barrier] = []


def measure(work: Path, *, seconds: float, rounds: int) -> Section:
    """Windows of every number of workers, in one log and in one each, several rounds."""
    found: dict[tuple[int, bool], list[float]] = {}
    errors = 0
    work.mkdir(mode=0o755)
    with postgres.running_postgres(work) as url:
        home = work / "home"
        names = asyncio.run(_stored(home, url.render_as_string(hide_password=False)))
        for _ in range(rounds):
            for workers in _WORKERS:
                for shared in (True, False):
                    tenants = [_TENANTS[0 if shared else worker] for worker in range(workers)]
                    context = multiprocessing.get_context("spawn")
                    with context.Pool(workers, _wait_for_each_other, (context.Barrier(workers),)) as pool:
                        counts = pool.starmap(_reveal_for, [(home, names[tenant], seconds) for tenant in tenants], chunksize=1)
                    errors += sum(failed for _, failed in counts)
                    found.setdefault((workers, shared), []).append(sum(done for done, _ in counts) / seconds)
    base = found[1, True]
    rows = [
        [
            str(workers),
            "one" if shared else "one each",
            spread_cell(Spread.of(values)),
            spread_cell(Spread.of(value / first for value, first in zip(values, base, strict=True))),
        ]
        for (workers, shared), values in found.items()
    ]
    note = (
        f"PostgreSQL, durable commits, {_AT_ONCE} unary calls in a transaction, as the server has them when it is busy; {_PEOPLE} people a tenant. "
        "Workers and database share the machine's two cores."
    )
    data = {f"{workers}-{'one' if shared else 'each'}": values for (workers, shared), values in found.items()}
    return Section("reveals", "Reveals per second", note, ["workers", "tenants", "reveals/s", "by one worker"], rows, data, errors)


async def _stored(home: Path, url: str) -> dict[str, list[RecordName]]:
    """A vault with people in every tenant."""
    async with key_vault.opened(home, url, Clock()) as (vault, _):
        names = {}
        for tenant in _TENANTS:
            await key_vault.new_tenant(vault, tenant)
            names[tenant] = await key_vault.store(vault, tenant, [key_vault.person(number) for number in range(_PEOPLE)])
        await key_vault.analyze(vault)
    return names


def _wait_for_each_other(barrier: Barrier) -> None:
    _ready.append(barrier)


def _reveal_for(home: Path, names: Sequence[RecordName], seconds: float) -> tuple[int, int]:
    return asyncio.run(_reveal(home, names, seconds))


async def _reveal(home: Path, names: Sequence[RecordName], seconds: float) -> tuple[int, int]:
    """Reveal within one window; how many were released and how many were not."""
    vault, _ = await server.open_vault(config.load(home / "vault.yaml"))
    done, failed, place = 0, 0, 0
    try:
        await reveal(vault, names[0].tenant, _calls(names, 0))
        _ready[0].wait(_PATIENCE)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for [outcome] in await reveal(vault, names[0].tenant, _calls(names, place)):
                done += isinstance(outcome, Released)
                failed += not isinstance(outcome, Released)
            place += _AT_ONCE
    finally:
        await server.close_vault(vault)
    return done, failed


def _calls(names: Sequence[RecordName], place: int) -> list[RevealCall]:
    caller = key_vault.caller("tenant-app", "/vault.v1.VaultService/RevealRecord")
    wanted = [names[(place + number) % len(names)] for number in range(_AT_ONCE)]
    return [RevealCall(Attempt(caller, tenant=name.tenant, justification=WHY), (name,), View.MASKED, None, "internal") for name in wanted]
