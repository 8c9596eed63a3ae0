"""What is done in the background, in whichever worker holds the lease.

Erasures, rotations and ends of contracts that are under way, the end of holds, orders, gags and packages, retention, notifications, counts of key
uses.

Every step is idempotent and takes up where the last commit was (I10). A dependency that is away is tried again at the next turn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from opentelemetry.context import Context

from vault.errors import VaultError
from vault.names import new_id
from vault.operations import (
    deliver,
    detect,
    erase_run,
    export_deliver,
    hold,
    observe,
    order_end,
    order_notice,
    retain,
    rotate,
    wind_up,
)
from vault.operations.attempt import Caller
from vault.operations.core import Vault
from vault.operations.keyring import WARN_USES
from vault.store import alarms as alarm_store
from vault.store import rotations as rotation_store
from vault.store import tenants as tenant_store
from vault.telemetry import spanning, trace_id

_LEASE = "upkeep"
_LASTING = timedelta(seconds=30)
_EVERY = timedelta(seconds=1)
_REST = 9
# What a release budget looks back over.
_COUNTED = timedelta(hours=1)
# Turns between two looks at erasures, use counts and the logs.
_SELDOM = 10
# Turns between two removals of what no budget looks at any more; a multiple of the other.
_RARELY = 600

_log = structlog.get_logger()


@dataclass(slots=True)
class _Lease:
    """Who holds it, and from when on it is renewed; a moment before that it is good for two thirds of its time."""

    holder: str
    renew_from: datetime


def upkeep_caller() -> Caller:
    """Who background work is recorded as."""
    return Caller(
        principal="upkeep",
        kind="upkeep",
        roles=frozenset({"upkeep-worker"}),
        tenants=None,
        method="upkeep",
        trace_id=trace_id(),
        auth_method="internal",
    )


async def is_set_within(event: asyncio.Event, time: timedelta) -> bool:
    """Wait for an event, no longer than told. Whether it is set."""
    try:
        async with asyncio.timeout(time.total_seconds()):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def run(vault: Vault, stopping: asyncio.Event) -> None:
    """Turn after turn, until told to stop; on the way out the counts of the last turn are stored and the lease is given back."""
    # What is done seldom is first done in a while: erasures that were interrupted are finished before the port opens, and a start is busy enough.
    lease, detector, turn = _Lease(new_id(), vault.clock()), detect.Detector(), 1
    if vault.database.is_sqlite:
        # A restart of the one process forgets nothing either.
        with suppress(VaultError):
            async with vault.database.read() as connection:
                vault.budgets.learn(await alarm_store.releases_of_others(connection, lease.holder, since=vault.clock() - _COUNTED))
    try:
        if vault.database.is_sqlite:
            # One process alone serves the file: whoever held a lease is gone.
            with suppress(VaultError):
                async with vault.database.write() as connection:
                    await rotation_store.clear_leases(connection)
        while not stopping.is_set():
            busy, began = False, asyncio.get_running_loop().time()
            try:
                await share_budgets(vault, lease.holder)
                busy = await _turn(vault, lease, detector, turn, stopping)
            except VaultError as error:
                _log.warning("upkeep delayed", reason=error.reason)
            turn += 1
            # A rotation under way rests nine times as long as its batch took: calls notice little of it, and a tenth of a worker is still much.
            worked = timedelta(seconds=asyncio.get_running_loop().time() - began)
            await is_set_within(stopping, min(worked * _REST, _EVERY) if busy else _EVERY)
    finally:
        await count_uses(vault)
        await _look_again(vault)
        await _give_back(vault, lease.holder)


async def resume_erasures(vault: Vault) -> None:
    """Finish the erasures that a crash or a dependency interrupted."""
    resumed = await erase_run.resume(vault, upkeep_caller())
    if resumed:
        _log.info("erasures resumed", count=resumed)


async def count_uses(vault: Vault) -> None:
    """Add the encryptions of this process since the last time to the counts of the keys; warn of a key that nears its limit."""
    uses = vault.keyring.take_uses()
    if not uses:
        return
    try:
        async with vault.database.write() as connection:
            await tenant_store.add_uses(connection, uses)
            worn = await tenant_store.worn_keys(connection, limit=WARN_USES)
    except VaultError as error:
        vault.keyring.give_back(uses)
        _log.warning("key uses not counted", reason=error.reason)
        return
    if worn:
        _log.warning("keys near their limit of uses", count=worn)


async def _look_again(vault: Vault) -> None:
    """What the gauges of this worker say last is what it leaves."""
    if vault.meters.standings is None:
        return
    try:
        await observe.look(vault)
    except VaultError as error:
        _log.warning("upkeep delayed", reason=error.reason)


async def share_budgets(vault: Vault, worker: str) -> None:
    """Tell the other replicas what was released here, and learn what was there."""
    if vault.health.foreign_schema:
        return
    counts = vault.budgets.take_unshared()
    if not counts and not vault.budgets.is_watching:
        return
    try:
        if counts:
            async with vault.database.write() as connection:
                await alarm_store.add_releases(connection, worker, counts)
        if not vault.database.is_sqlite:
            async with vault.database.read() as connection:
                vault.budgets.learn(await alarm_store.releases_of_others(connection, worker, since=vault.clock() - _COUNTED))
    except VaultError as error:
        vault.budgets.give_back(counts)
        _log.warning("budgets not shared", reason=error.reason)


async def _hold_lease(vault: Vault, lease: _Lease) -> bool:
    """Whether the lease is ours; renewed when a third of it has passed, because every renewal is a commit of its own."""
    now = vault.clock()
    if not lease.renew_from - _LASTING / 3 <= now < lease.renew_from:
        async with vault.database.write() as connection:
            mine = await rotation_store.take_lease(connection, _LEASE, holder=lease.holder, now=now, lasting=_LASTING)
        lease.renew_from = now + _LASTING / 3 if mine else now
    return now < lease.renew_from


async def _give_back(vault: Vault, holder: str) -> None:
    """Whoever serves next need not wait for the lease to run out."""
    try:
        async with vault.database.write() as connection:
            await rotation_store.give_back_lease(connection, _LEASE, holder=holder)
    except VaultError as error:
        _log.warning("lease not given back", reason=error.reason)


async def _turn(vault: Vault, lease: _Lease, detector: detect.Detector, turn: int, stopping: asyncio.Event) -> bool:
    """One turn, as far as it comes before a stop. Whether there is more to do at once.

    A database that may be older than what was erased is left alone, and another version's.
    """
    if vault.is_left_alone:
        return False
    if turn % _SELDOM == 0:
        await count_uses(vault)
    if turn % _SELDOM and not await rotate.is_pending(vault) and not await wind_up.is_pending(vault):
        return False
    if not await _hold_lease(vault, lease):
        observe.look_away(vault)
        return False
    for name, step in _seldom(vault, detector) if turn % _SELDOM == 0 else ():
        # Between two steps is soon enough: the longest of them is some batches.
        if stopping.is_set():
            return False
        with _step(vault, name):
            await step()
    if turn % _RARELY == 0:
        with _step(vault, "budgets"):
            async with vault.database.write() as connection:
                await alarm_store.forget_releases(connection, before=vault.clock() - 2 * _COUNTED)
    with _step(vault, "contracts"):
        ending = await wind_up.advance(vault, upkeep_caller())
    with _step(vault, "rotations"):
        return await rotate.advance(vault, upkeep_caller()) or ending


def _seldom(vault: Vault, detector: detect.Detector) -> tuple[tuple[str, Callable[[], Awaitable[object]]], ...]:
    return (
        ("erasures", lambda: resume_erasures(vault)),
        ("orders", lambda: order_end.expire_orders(vault, upkeep_caller())),
        ("gags", lambda: order_notice.end_gags(vault, upkeep_caller())),
        ("holds", lambda: hold.expire_holds(vault, upkeep_caller())),
        ("packages", lambda: export_deliver.destroy_due(vault, upkeep_caller())),
        ("retention", lambda: retain.sweep(vault, upkeep_caller())),
        ("notifications", lambda: deliver.deliver(vault, upkeep_caller())),
        ("detection", lambda: detect.detect(vault, detector, upkeep_caller())),
        ("standings", lambda: observe.look(vault)),
    )


def _step(vault: Vault, name: str) -> AbstractContextManager[object]:
    """A trace of its own for one step; what it records in an audit log carries its id."""
    return spanning(vault.tracer, f"upkeep {name}", parent=Context())
