"""What an order says reaches its package, and what becomes of a package reaches its order (A29, N2, N7, N11, N12, N16)."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest

from tests.builders import OTHER_PHONE, PHONE, at, call_detail, contact, create, create_all, entries, id_of, incoming
from tests.orders import Team, approved, build, deliver, download, export, fresh_team, judged, order_for, release, team
from tests.rotating import all_rows
from tests.serving import Serving
from tests.vectors.bundle_2.sample import unpack
from vault.bundle.attachment import attached
from vault.bundle.logged import check_log
from vault.operations import order_end
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1 import legal_service_pb2 as legal
from vault.v1.legal_service_pb2 import ConfirmExportDeliveryRequest, CreateExportRequest, Export, GetOrderRequest, Order, RevokeOrderRequest


async def state_of(people: Team, order: Order) -> str:
    """Where an order stands."""
    seen = (await people.officer.call(people.officer.legal.GetOrder, GetOrderRequest(name=order.name))).order
    return legal.OrderState.Name(seen.state).removeprefix("ORDER_STATE_")


async def confirm(people: Team, made: Export) -> None:
    """Record that the recipient has a package."""
    said = ConfirmExportDeliveryRequest(
        name=made.name, sha256=bytes.fromhex(made.sha256), recipient_name="Ori Example", recipient_id="badge 433-17"
    )
    await people.courier.call(people.courier.legal.ConfirmExportDelivery, said)


async def test_a_subscriber_is_in_the_package_whenever_they_were_entered(served: Serving) -> None:
    """A29: who somebody is has no moment; whoever carries no target is not there."""
    await served.create_tenants()
    people = await team(served)
    named, other = await create_all(served.service("acme-app"), [contact(PHONE), contact(OTHER_PHONE)])

    delivered = await deliver(served, people, order_for(served, people, categories=["end-customer-contact"]))

    assert delivered.verdict.ok
    assert delivered.counts == {"end-customer-contact": 1}
    assert id_of(named.record.name).encode() in delivered.archive
    assert id_of(other.record.name).encode() not in delivered.archive


async def test_of_the_other_side_the_package_shows_what_the_order_discloses(served: Serving) -> None:
    """§5.3."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    shown = {}

    for number, (name, value) in enumerate(legal.CounterpartDisclosure.items()):
        request = order_for(served, people, document=bytes([number]) * 32)
        request.scope.counterpart_disclosure = value
        archive = (await deliver(served, people, request)).archive
        shown[name.removeprefix("COUNTERPART_DISCLOSURE_")] = (PHONE.encode() in archive, OTHER_PHONE.encode() in archive)

    assert shown["FULL"] == (True, True)
    assert (shown["MASKED"], shown["NONE"]) == ((True, False), (True, False))


async def test_each_target_is_exported_for_its_own_period(served: Serving) -> None:
    """N12."""
    await served.create_tenants()
    people = await team(served)
    early, late = await create_all(
        served.service("billing"), [call_detail(start="2026-03-02T08:00:00Z"), call_detail(start="2026-03-06T08:00:00Z")]
    )
    request = order_for(served, people)
    request.scope.targets[0].start_time.CopyFrom(at("2026-03-05T00:00:00Z"))
    request.scope.targets[0].end_time.CopyFrom(at("2026-03-07T00:00:00Z"))

    delivered = await deliver(served, people, request)

    assert delivered.counts == {"call-detail": 1}
    assert id_of(late.record.name).encode() in delivered.archive
    assert id_of(early.record.name).encode() not in delivered.archive


async def test_what_is_not_covered_is_named_as_withheld(served: Serving) -> None:
    """N11: asked for, counted, and not there; a category without a hit too."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("engine"), incoming("system-file"))
    request = order_for(served, people)
    request.scope.declined_categories.extend(["fax", "incoming-message"])

    delivered = await deliver(served, people, request)

    assert delivered.verdict.ok
    assert delivered.verdict.manifest is not None
    assert delivered.verdict.manifest.withheld == {("fax", "CLASS_NOT_COVERED"): 0, ("incoming-message", "CLASS_NOT_COVERED"): 1}
    assert dict(delivered.export.withheld_counts) == {"CLASS_NOT_COVERED": 1}


async def test_a_package_says_whose_it_is(served: Serving) -> None:
    """P1.1-identity: the operator that the bundle names, and the vault that signs, in the manifest, on the cover and in the bag's own words."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    said = "Cellact Ltd / סלקט בע״מ (vault.localhost)"

    delivered = await deliver(served, people, order_for(served, people))

    files = unpack(delivered.archive)
    cover = attached(files["data/00_cover/cover_he.pdf"]).decode()
    assert delivered.verdict.ok
    assert json.loads(files["meta/export-manifest.json"])["operator"] == said
    assert f"Source-Organization: {said}\n" in files["bag-info.txt"].decode()
    assert said in cover


async def test_what_became_more_since_the_approval_is_not_exported(served: Serving) -> None:
    """N2: at the snapshot it is counted again; the order can be narrowed."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    request = order_for(served, people)
    request.scope.max_rows = 1
    order = await approved(people, request)
    await create(served.service("billing"), call_detail(start="2026-03-04T08:15:00Z"))

    refused = await people.registrant.refused(people.registrant.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert (refused.reason, await state_of(people, order)) == ("EXPORT_TOO_LARGE", "APPROVED")
    assert await all_rows(served, tables.exports) == []


@pytest.mark.parametrize(("gag", "log"), [("", "acme"), ("FURTHER_ORDER", "system")])
async def test_a_package_names_the_log_that_records_it(served: Serving, gag: str, log: str) -> None:
    """N16: under a gag the system's; whoever compares the two finds every record."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    request = order_for(served, people)
    if gag:
        request.instrument.gag.kind = legal.GagKind.Value(f"GAG_KIND_{gag}")

    verdict = (await deliver(served, people, request)).verdict

    assert verdict.manifest is not None
    said = [json.dumps({"i": n, "e": base64.b64encode(entry.content).decode()}) for n, entry in enumerate(await entries(served, log))]
    assert verdict.manifest.audit_log == log
    assert list(check_log([json.dumps({"log": log}), *said], verdict.manifest)) == []


async def test_a_receipt_is_recorded_whatever_became_of_the_order(served: Serving) -> None:
    """N7: one that was revoked after delivery stays that, one whose time was over is fulfilled."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    orders = [await approved(people, order_for(served, people, document=bytes([n]) * 32)) for n in range(2)]
    made = [await export(people, order) for order in orders]
    for one in made:
        await download(people.courier, one.name)
    why = RevokeOrderRequest(name=orders[0].name, reason="the court withdrew it yesterday")
    await people.registrant.call(people.registrant.legal.RevokeOrder, why)
    served.clock.offset += timedelta(days=14, seconds=1)
    await order_end.expire_orders(served.vault, upkeep_caller())
    later = fresh_team(served, people.identity)

    for one in made:
        await confirm(later, one)

    assert [await state_of(later, order) for order in orders] == ["REVOKED_AFTER_DELIVERY", "FULFILLED"]
    assert {row.state for row in await all_rows(served, tables.exports)} == {"RECEIPT_CONFIRMED"}


async def test_of_what_was_sent_in_part_the_rest_goes_with_the_orders_time(served: Serving) -> None:
    """N1: nobody may fetch it any more; that it was sent in part stays."""
    await served.create_tenants()
    people = await team(served)
    order = await approved(people, order_for(served, people))
    made = await release(people.approver, await build(people, order))
    package = await download(people.courier, made.name)
    async with served.vault.database.write() as connection:
        await connection.execute(tables.exports.update().values(state="RELEASED", deliver_time=None))
    served.clock.offset += timedelta(days=14, seconds=1)

    ended = await order_end.expire_orders(served.vault, upkeep_caller())

    assert ended == 1
    assert judged(served, people, package).ok
    assert hashlib.sha256(package).hexdigest() == made.sha256
    assert await all_rows(served, tables.export_chunks) == []
    assert [row.state for row in await all_rows(served, tables.exports)] == ["RELEASED"]
    assert await state_of(fresh_team(served, people.identity), order) == "FULFILLED"
