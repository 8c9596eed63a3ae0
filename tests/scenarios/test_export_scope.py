"""Scope exactness: whatever was stored and whatever an order covers, the package holds that and nothing else.

Random data and random scopes against an independent query on the plaintext that the test itself put in: no crypto, no index, no database.
"""

import json
import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from tests.builders import LINE, call_detail, create_all, id_of
from tests.orders import deliver, order_for, team
from tests.serving import Serving
from tests.vectors.bundle_2.sample import unpack

# More with `PII_VAULT_SCOPES`.
SCOPES = int(os.environ.get("PII_VAULT_SCOPES", "5"))
CALLS = 60
PHONES = [f"+97250234500{n}" for n in range(5)]
LINES = [LINE, "+97233760001"]
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
# Moments at which calls happen and periods begin and end: often the same ones.
MOMENTS = [FIRST + timedelta(hours=6 * n) for n in range(20)]
FIELDS = ["calling", "called", "start_at", "duration_s", "route_line"]


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def some_call(chance: random.Random) -> dict[str, str]:
    calling, called = chance.sample(PHONES, 2)
    call = {"calling": calling, "called": called, "start_at": text(chance.choice(MOMENTS)), "shadow_number": chance.choice(LINES)}
    call["duration_s"] = str(chance.randrange(3600))
    if chance.random() < 0.4:
        call["route_line"] = chance.choice(PHONES)
    return call


def is_covered(call: Mapping[str, str], targets: list[tuple[str, str]], start: datetime, end: datetime) -> bool:
    """What an order covers, as a person would look for it in the calls themselves."""
    carried = {("phone", call[name]) for name in ("calling", "called", "route_line") if name in call}
    carried.add(("virtual-number", call["shadow_number"]))
    return bool(carried & set(targets)) and text(start) <= call["start_at"] < text(end)


@pytest.mark.timeout(300)
async def test_a_package_holds_what_the_order_covers_and_nothing_else(served: Serving) -> None:
    """P3.6-order, N2: rows missed 0, rows in excess 0."""
    chance = random.Random(f"scopes {os.environ.get('PII_VAULT_SCOPES_SEED', '7')}")  # noqa: S311 - data, not a secret
    await served.create_tenants()
    people = await team(served)
    calls = [some_call(chance) for _ in range(CALLS)]
    wanted = [dict(call) for call in calls]
    inputs = [
        call_detail(
            calling=call["calling"],
            called=call["called"],
            start=call["start_at"],
            **{name: value for name, value in call.items() if name not in {"calling", "called", "start_at"}},
        )
        for call in calls
    ]
    stored = await create_all(served.service("billing"), inputs)
    by_id = {id_of(item.record.name): call for item, call in zip(stored, wanted, strict=True)}
    missed = excess = rows = 0

    for number in range(SCOPES):
        known = [("phone", phone) for phone in PHONES] + [("virtual-number", line) for line in LINES] + [("phone", "+972502399999")]
        targets = chance.sample(known, chance.randint(1, 3))
        start, end = sorted(chance.sample([*MOMENTS, FIRST - timedelta(days=1)], 2))
        fields = sorted(chance.sample(FIELDS, chance.randint(1, len(FIELDS)))) if chance.random() < 0.5 else []
        request = order_for(served, people, *targets, start=text(start), end=text(end), fields=fields, document=bytes([number]) * 32)

        delivered = await deliver(served, people, request)

        assert delivered.verdict.ok
        lines = unpack(delivered.archive)["data/02_records/call-detail.jsonl"].splitlines()
        exported = {row["record"]: row for row in map(json.loads, lines)}
        expected = {record: call for record, call in by_id.items() if is_covered(call, targets, start, end)}
        missed, excess, rows = (
            missed + len(expected.keys() - exported.keys()),
            excess + len(exported.keys() - expected.keys()),
            rows + len(expected),
        )
        for record in expected.keys() & exported.keys():
            allowed = {name for name in exported[record] if not fields or name.removesuffix("_local") in {*fields, "record"}}
            assert exported[record].keys() == allowed
            said = {name: value for name, value in expected[record].items() if not fields or name in fields}
            assert {name: exported[record].get(name) for name in said} == said
        assert list(exported) == sorted(exported, key=lambda record: (by_id[record]["start_at"], record))

    assert rows > SCOPES, "scopes that cover nothing prove nothing"
    assert (missed, excess) == (0, 0)
