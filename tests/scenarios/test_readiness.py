"""What readiness says: words and counts, never an id; and that it says so only while it is so."""

import re
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.builders import contact, create, outgoing, subject_of
from tests.faults import quiet
from tests.serving import Serving
from tests.telling import acknowledge, listed, restrict
from vault.catalogue.loader import load
from vault.names import ChildName, new_id
from vault.operations import notify
from vault.operations.keyring import WARN_USES
from vault.store import rotations as rotation_store
from vault.store import tables
from vault.store.rotations import RotationRow
from vault.v1.operations_service_pb2 import GetReadinessRequest, GetReadinessResponse, RunRetentionRequest

REVIEWED = load().organisation.definition_reviewed
DAY = timedelta(days=1)


async def looked(served: Serving) -> GetReadinessResponse:
    operator = served.service("operator")
    return await operator.call(operator.operations.GetReadiness, GetReadinessRequest())


async def findings(served: Serving) -> dict[str, int]:
    """Count by word; 1 where a finding has none."""
    found = {}
    for finding in (await looked(served)).findings:
        told = re.fullmatch(r"([A-Z_]+)(?: (\d+))?", finding)
        assert told, finding
        found[told[1]] = int(told[2] or 1)
    return found


def rotation(log: str, kind: str, moment: datetime, state: str) -> RotationRow:
    return RotationRow(
        tenant_id=log,
        rotation_id=new_id(),
        kind=kind,
        subject_id="",
        state=state,
        root_key="",
        version=2,
        position="",
        done_count=1,
        total_count=2,
        failed_count=1 if state == "INCOMPLETE" else 0,
        requester="operator",
        create_time=moment,
        finish_time=moment,
    )


@pytest.fixture
def fresh(served: Serving) -> Serving:
    """A vault on the day on which its definition was looked through: what the calendar does is no finding here."""
    served.clock.offset = datetime.combine(REVIEWED, time(12), UTC) - datetime.now(UTC)
    return served


async def test_a_vault_at_rest_is_ready_and_has_nothing_to_look_at(fresh: Serving) -> None:
    await fresh.create_tenants()

    answer = await looked(fresh)

    assert (answer.ready, list(answer.findings)) == (True, [])


async def test_a_definition_that_nobody_looked_through_is_told(fresh: Serving) -> None:
    """L1: thirteen months."""
    fresh.clock.offset += timedelta(days=396)

    assert await findings(fresh) == {"DEFINITION_STALE": 1}
    assert (await looked(fresh)).ready


async def test_worn_keys_are_counted(fresh: Serving) -> None:
    """NIST SP 800-38D §8.3."""
    await fresh.create_tenants()
    async with fresh.vault.database.write() as connection:
        key = tables.tenant_keys.c
        await connection.execute(
            update(tables.tenant_keys).where(key.tenant_id == "acme", key.purpose.in_(["data", "text"])).values(use_count=WARN_USES)
        )

    assert await findings(fresh) == {"KEYS_WORN": 2}


@pytest.mark.parametrize(("log", "kind"), [("acme", "DATA"), ("system", "ROOT")])
async def test_a_rotation_that_ended_incomplete_is_told_until_another_one_is_complete(fresh: Serving, log: str, kind: str) -> None:
    await fresh.create_tenants()
    await quiet(fresh)
    moment = fresh.clock()
    async with fresh.vault.database.write() as connection:
        await rotation_store.insert_rotation(connection, rotation(log, kind, moment, "INCOMPLETE"))
    told = await findings(fresh)
    async with fresh.vault.database.write() as connection:
        await rotation_store.insert_rotation(connection, rotation(log, kind, moment + DAY, "COMPLETE"))

    assert told == {"ROTATIONS_INCOMPLETE": 1}
    assert await findings(fresh) == {}


async def test_what_is_a_day_overdue_is_counted_until_it_is_swept(fresh: Serving) -> None:
    """A7: an hour late is no finding, a day late is one; no id of anybody is told."""
    await fresh.create_tenants()
    await quiet(fresh)
    person = subject_of((await create(fresh.service("acme-app"), contact())).name)
    item = outgoing(person, "system-log")
    item.fields["submitted_at"].text = fresh.clock().isoformat()
    await create(fresh.service("engine"), item)

    fresh.clock.offset += 7 * DAY + timedelta(hours=1)
    late = await findings(fresh)
    fresh.clock.offset += DAY
    overdue = await looked(fresh)
    operator = fresh.service("operator")
    await operator.call(operator.operations.RunRetention, RunRetentionRequest())

    assert late == {}
    assert overdue.ready
    assert list(overdue.findings) == ["RETENTION_OVERDUE 1"]
    assert await findings(fresh) == {}


async def test_who_was_not_told_in_time_is_counted_until_they_say_that_it_is_done(fresh: Serving) -> None:
    """L32: what an order forbids to tell is not late."""
    await fresh.create_tenants()
    await quiet(fresh)
    app, admin = fresh.service("acme-app"), fresh.service("acme-admin")
    for phone in ("+972502345678", "+972502345679"):
        await restrict(fresh, subject_of((await create(app, contact(phone))).name))
    async with fresh.vault.database.write() as connection:
        order = ChildName("acme", "orders", "a" * 26)
        await notify.controller_notice(fresh.vault, connection, order, ["end-customer-contact"], gagged=True)

    before = await findings(fresh)
    fresh.clock.offset += timedelta(days=32)
    late = await findings(fresh)
    await acknowledge(admin, (await listed(admin))[0].name)

    assert (before, late, await findings(fresh)) == ({}, {"NOTIFICATIONS_OVERDUE": 2}, {"NOTIFICATIONS_OVERDUE": 1})


async def test_without_its_root_key_a_vault_is_not_ready(fresh: Serving, tmp_path: Path) -> None:
    await fresh.create_tenants()
    [key] = [path for path in fresh.home.iterdir() if path.name.startswith("root") and path.is_file()]
    key.rename(tmp_path / "elsewhere")

    away = await looked(fresh)
    (tmp_path / "elsewhere").rename(key)
    back = await looked(fresh)

    assert not away.ready
    assert list(away.findings) == ["ROOT_KEY_UNAVAILABLE"]
    assert back.ready


async def test_only_the_operator_is_told(fresh: Serving) -> None:
    app = fresh.service("acme-app")

    refused = await app.refused(app.operations.GetReadiness, GetReadinessRequest())

    assert refused.reason == "ROLE_NOT_ALLOWED"
