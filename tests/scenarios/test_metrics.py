"""What is counted of retention, erasure and court orders: the numbers, and nothing else with them (I2, L41). The collector is a real one."""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from tests.builders import OTHER_PHONE, PHONE, approve, asked_by, at, create, erase_for_person, record, request_erasure, subject_of
from tests.collector import collecting
from tests.orders import fresh_team, order_for, receive
from tests.processes import wait_until
from tests.restoring import Restorable
from tests.serving import Serving, serving
from vault.operations import observe, retain
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.meters import Meters
from vault.operations.order_state import State
from vault.operations.replay import replay_erasures
from vault.operations.upkeep import upkeep_caller
from vault.telemetry import METRIC_ATTRIBUTES, meter_provider
from vault.v1.operations_service_pb2 import RunRetentionRequest

VISITOR = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
INVOICE = {"invoice_no": "inv-1", "service": "VOICE", "issued_at": "2026-03-02T08:15:00Z", "amount": "11900"}
# Past the 30 days of an address on the network, within the year of a visitor; past everything.
LATER, MUCH_LATER = timedelta(days=60), timedelta(days=20 * 366)
NAMES = {
    "pii_vault.retention.erased",
    "pii_vault.retention.stripped",
    "pii_vault.retention.overdue",
    "pii_vault.erasures",
    "pii_vault.erasures.exceptions_due",
    "pii_vault.erasures.oldest",
    "pii_vault.erasure.duration",
    "pii_vault.replay.entries",
}
OF_ORDERS = {"pii_vault.orders", "pii_vault.orders.due"}
RESOURCE = {"telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version", "service.instance.id", "service.name"}
Points = dict[tuple[str, str], float]


async def visitor(served: Serving, **fields: str) -> str:
    """Somebody whom the operator knows from its site."""
    return subject_of((await create(served.service("acme-app"), record("site-visitor", {**VISITOR, **fields}))).name)


async def customer(served: Serving, **fields: str) -> str:
    """A visitor with an invoice, which has to stay."""
    person = await visitor(served, **fields)
    await create(served.service("billing"), record("billing-record", INVOICE, subject=person), purpose="billing")
    return person


def watched(served: Serving, *, after: timedelta, names: Collection[str] = NAMES) -> tuple[Vault, Callable[[], Points]]:
    """The vault as it is some time later, for its background alone, and what its meters say."""
    reader = InMemoryMetricReader()

    def clock() -> datetime:
        return served.clock() + after

    vault = replace(served.vault, clock=clock, meters=Meters(meter_provider("test", reader)))
    return vault, lambda: {key: value for key, value in points(reader) if key[0] in names}


def points(reader: InMemoryMetricReader) -> Iterator[tuple[tuple[str, str], float]]:
    """Name and attributes of every point, with its value; of a histogram, how many it counted."""
    data = reader.get_metrics_data()
    for metric in [metric for found in data.resource_metrics for scope in found.scope_metrics for metric in scope.metrics] if data else []:
        for point in metric.data.data_points:
            number = point.value if isinstance(point, NumberDataPoint) else point.count
            yield (metric.name, str(dict(point.attributes or {}))), number


async def test_retention_counts_what_it_erased_and_what_it_took_out(served: Serving) -> None:
    await served.create_tenants()
    for phone in (PHONE, OTHER_PHONE):
        await visitor(served, phone=phone, ip="192.0.2.7")
    soon, said_soon = watched(served, after=LATER)
    then, said_then = watched(served, after=MUCH_LATER)

    await retain.run_retention(soon, Attempt(upkeep_caller()), "acme")
    await retain.run_retention(then, Attempt(upkeep_caller()), "acme")

    by = str({"category": "site-visitor"})
    assert said_soon() == {("pii_vault.retention.stripped", by): 2}
    assert said_then() == {("pii_vault.retention.erased", by): 2}


async def test_the_gauges_say_what_is_overdue_and_where_erasures_stand(served: Serving) -> None:
    await served.create_tenants()
    await visitor(served, phone=PHONE)
    kept = await customer(served, phone=OTHER_PHONE)
    await erase_for_person(served, kept)
    other = await visitor(served, email="somebody@example.org")
    await request_erasure(served.service("privacy-officer"), other, await asked_by(served, other))
    asked_at = served.clock()
    now, said_now = watched(served, after=timedelta())
    then, said_then = watched(served, after=MUCH_LATER)

    await observe.look(now)
    await observe.look(then)

    states = dict.fromkeys(("REQUESTED", "RUNNING", "PENDING_KEY_DESTRUCTION", "PARTIAL", "COMPLETE", "FORWARDED"), 0)
    erasures = {("pii_vault.erasures", str({"state": state})): count for state, count in (states | {"REQUESTED": 1, "PARTIAL": 1}).items()}
    early, late = said_now(), said_then()
    waited = [said.pop(("pii_vault.erasures.oldest", "{}")) for said in (early, late)]
    assert early == erasures | {("pii_vault.retention.overdue", "{}"): 0, ("pii_vault.erasures.exceptions_due", "{}"): 0}
    assert late == erasures | {("pii_vault.retention.overdue", "{}"): 2, ("pii_vault.erasures.exceptions_due", "{}"): 1}
    assert 0 <= waited[0] <= (served.clock() - asked_at).total_seconds() + 10
    assert waited[1] >= MUCH_LATER.total_seconds()


async def test_the_gauges_say_where_orders_stand_and_what_is_due_within_a_day(served: Serving) -> None:
    """Of two orders, of two tenants, one is to be answered in three days; both run out in fourteen."""
    await served.create_tenants()
    await served.sign_nda("e-registrant")
    people = fresh_team(served)
    asked = order_for(served, people)
    asked.instrument.respond_time.CopyFrom(at(served.clock() + timedelta(days=3)))
    for request in (asked, order_for(served, people, tenant="globex")):
        await receive(people, request)
    looks = [watched(served, after=timedelta(days=days), names=OF_ORDERS) for days in (1, 2.5, 13.5)]

    for vault, _ in looks:
        await observe.look(vault)

    found = [said() for _, said in looks]
    states = {("pii_vault.orders", str({"state": state.value})): 2 if state is State.RECEIVED else 0 for state in State}
    due = [
        {word: said["pii_vault.orders.due", str({"deadline": word})] for word in ("RESPOND", "EXPIRE", "SECOND_APPROVAL", "RECALL")}
        for said in found
    ]
    assert [{key: said[key] for key in said if key[0] == "pii_vault.orders"} for said in found] == [states] * 3
    assert [(each.pop("RESPOND"), each.pop("EXPIRE")) for each in due] == [(0, 0), (1, 0), (1, 2)]
    assert [set(each.values()) for each in due] == [{0}] * 3


async def test_a_replay_counts_the_entries_that_it_replayed(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    restorable = Restorable(home_template, tmp_path / "home", migrated_url)
    async with restorable.serving() as served:
        await served.create_tenants()
        gone = [await visitor(served, phone=phone) for phone in (PHONE, OTHER_PHONE)]
        file = await restorable.back_up()
        for person in gone:
            await erase_for_person(served, person)
    await restorable.restore(file)
    async with restorable.serving() as served:
        vault, said = watched(served, after=timedelta())

        await replay_erasures(vault, Attempt(upkeep_caller()))

        counted = said()
    assert counted["pii_vault.replay.entries", "{}"] == len(gone)
    assert counted["pii_vault.erasure.duration", "{}"] == len(gone)


async def test_a_worker_that_lost_the_lease_says_nothing(served: Serving) -> None:
    await served.create_tenants()
    vault, said = watched(served, after=timedelta())
    await observe.look(vault)
    before = said()

    observe.look_away(vault)

    assert ("pii_vault.retention.overdue", "{}") in before
    assert said() == {}


async def test_metrics_reach_a_collector_with_their_counts_and_no_other_attribute(
    home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    with collecting(tmp_path, of="metrics") as collector:
        telemetry = {"otlp_endpoint": collector.endpoint}
        async with serving(home_template, tmp_path / "home", migrated_url, telemetry=telemetry) as served:
            await served.create_tenants()
            for number in range(3):
                await visitor(served, email=f"somebody.{number}@example.org", ip="192.0.2.7")
            gone = await visitor(served, phone=PHONE)
            erasure = await request_erasure(served.service("privacy-officer"), gone, await asked_by(served, gone))
            await approve(served, erasure)
            served.clock.offset += LATER
            operator = served.service("operator")
            await operator.call(operator.operations.RunRetention, RunRetentionRequest())
            await observe.look(served.vault)
        wait_until(lambda: "pii_vault.erasures.exceptions_due" in collector.received(), "metrics at the collector")
        received = collector.received()

    assert OF_ORDERS | NAMES - {"pii_vault.retention.erased", "pii_vault.replay.entries"} <= set(re.findall(r"-> Name: (\S+)", received))
    assert set(re.findall(r"-> ([a-z_.]+): ", received)) <= RESOURCE | METRIC_ATTRIBUTES
    assert values(received, "pii_vault.retention.stripped") == ["3"]
    assert values(received, "pii_vault.erasure.duration") == ["1"]
    assert values(received, "pii_vault.erasures", "state: Str(COMPLETE)") == ["1"]
    assert not any(word in received for word in (gone, erasure.name, "acme", "example.org", "192.0.2.7"))


def values(received: str, name: str, attribute: str = "") -> list[str]:
    """What the collector printed as values of a metric, or as how many it counted; of the points with an attribute."""
    [metric] = [part for part in re.split(r"^Metric #\d+$", received, flags=re.MULTILINE) if f"-> Name: {name}\n" in part]
    found = [part for part in re.split(r"^(?:Number|Histogram)DataPoints #\d+$", metric, flags=re.MULTILINE)[1:] if attribute in part]
    return [value for part in found for value in re.findall(r"^(?:Value|Count): (\S+)$", part, flags=re.MULTILINE)]
