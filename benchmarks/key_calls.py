"""How often the key service is asked, however much is revealed."""

import time
from itertools import islice
from pathlib import Path

from benchmarks.key_vault import TTL, WHY, Clock, Counting, FailedCallError, caller, new_tenant, opened, person, store
from benchmarks.section import Section
from vault.names import SYSTEM_LOG, RecordName
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.reveal import Released, RevealCall, reveal
from vault.policy.decide import View

TENANTS = ("acme", "globex", "initech", "umbrella")
_RECORDS, _BATCH, _REVEALS = 500, 100, 24_000
_PER_SECOND = 1000
_LATER = "after the TTL"
_MILLION = 1_000_000


async def measure(work: Path) -> Section:
    """Count unwraps within one TTL, half way and at its end, and after it."""
    clock = Clock()
    async with opened(work / "calls", f"sqlite+aiosqlite:///{work / 'calls' / 'vault.db'}", clock) as (vault, counting):
        names: dict[str, list[RecordName]] = {}
        for tenant in TENANTS:
            await new_tenant(vault, tenant)
            names[tenant] = await store(vault, tenant, [person(number) for number in range(_RECORDS)])
        # As after a start: nothing is cached.
        clock.move(TTL)
        stages = []
        for label, reveals in (
            ("first half", _REVEALS // 2),
            ("second half, same TTL", _REVEALS // 2),
            (_LATER, len(TENANTS) * _BATCH),
        ):
            if label == _LATER:
                clock.move(TTL)
            stages.append((label, *await _stage(vault, counting, names, reveals)))
    asked = [calls[tenant] for _, _, _, calls in (stages[0], stages[2]) for tenant in TENANTS]
    per_tenant = max(asked)
    rows = [
        [label, f"{reveals:,}", f"{reveals / seconds:,.0f}", str(sum(calls.values())), ", ".join(str(calls[tenant]) for tenant in TENANTS)]
        for label, reveals, seconds, calls in stages
    ]
    at_once = per_tenant * len(TENANTS)
    spells = _MILLION / _PER_SECOND / TTL.total_seconds()
    note = (
        f"{len(TENANTS)} tenants in turn, {_BATCH} records a call; a clock that stands still inside a TTL of {TTL.total_seconds():g} s, then "
        f"is moved past it. One tenant and TTL cost {per_tenant} unwraps, one for each version of each key, however many reveals they serve. "
        f"A million reveals by {len(TENANTS)} tenants inside one TTL: {per_tenant} × {len(TENANTS)} = {at_once} calls. "
        f"Spread out at {_PER_SECOND:,} a second they take {_MILLION // _PER_SECOND:,} s, {spells:.1f} TTLs: {per_tenant} calls × "
        f"{len(TENANTS)} tenants × {spells:.1f} = {at_once * spells:.0f} calls per million reveals and replica; at a tenth of that rate, "
        "ten times as many. A call for every reveal would be a million."
    )
    data = {
        "ttl_seconds": TTL.total_seconds(),
        "unwraps_per_tenant_and_ttl": per_tenant,
        "unwraps_per_million_in_one_ttl": at_once,
        "unwraps_per_million_at_1000_per_second": at_once * spells,
        "stages": [
            {"stage": label, "reveals": reveals, "unwraps": dict(calls), "unwraps_of_system_log": calls[SYSTEM_LOG]}
            for label, reveals, _, calls in stages
        ],
    }
    # That it does not grow, and is the same for all, is what was to be shown.
    grown = sum(stages[1][3].values())
    return Section(
        "calls",
        "Calls to the key service",
        note,
        ["when", "reveals", "per second", "unwraps", f"by {', '.join(TENANTS)}"],
        rows,
        data,
        errors=int(grown > 0 or set(asked) != {per_tenant}),
    )


async def _stage(vault: Vault, counting: Counting, names: dict[str, list[RecordName]], reveals: int) -> tuple[int, float, dict[str, int]]:
    """Reveal so many records, tenants taking turns; how many, in how many seconds, and the unwraps meanwhile."""
    counting.unwraps.clear()
    begin, done = time.monotonic(), 0
    while done < reveals:
        tenant = TENANTS[done // _BATCH % len(TENANTS)]
        start = done // (_BATCH * len(TENANTS)) * _BATCH % _RECORDS
        attempt = Attempt(caller("tenant-app", "BatchRevealRecords"), "reveal", tenant, justification=WHY)
        wanted = tuple(islice(names[tenant], start, start + _BATCH))
        [outcomes] = await reveal(vault, tenant, [RevealCall(attempt, wanted, View.MASKED, None, "internal")])
        for outcome in outcomes:
            if not isinstance(outcome, Released):
                raise FailedCallError(f"{outcome.reason}: {outcome.message}")
        done += len(outcomes)
    return done, time.monotonic() - begin, counting.unwraps.copy()
