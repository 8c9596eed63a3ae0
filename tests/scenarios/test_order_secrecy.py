"""Who is told of an order, and when: the tenant before its data leaves, or, where the order forbids it, nobody by anything (L35, N9, N16)."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.builders import PHONE, at, contact, create, entries, erase, id_of, incoming, subject_of
from tests.orders import (
    Team,
    approve,
    approved,
    build,
    download,
    export,
    fresh_team,
    order_for,
    receive,
    register,
    release,
    team,
)
from tests.serving import Caller, Serving
from tests.telling import listed, told
from vault.audit.entry import AuditEntry as Entry
from vault.audit.entry import decode
from vault.operations import hold, order_notice
from vault.operations.upkeep import upkeep_caller
from vault.v1 import legal_service_pb2 as legal
from vault.v1.audit_service_pb2 import GetCheckpointRequest, ListAuditEntriesRequest
from vault.v1.legal_service_pb2 import (
    CloseOrderRequest,
    DownloadExportRequest,
    EndGagRequest,
    GetOrderRequest,
    ListOrdersRequest,
    RegisterOrderRequest,
    RejectOrderRequest,
    RevokeOrderRequest,
)
from vault.v1.resources_pb2 import AuditEntry
from vault.v1.vault_service_pb2 import ListRecordsRequest

NOTICE = ("CONTROLLER_NOTICE", "tenant", ("incoming-message",))


def message_order(served: Serving, people: Team, *, gag: str = "", document: bytes = b"\1" * 32) -> RegisterOrderRequest:
    """An order for when and from whom, of messages that are processed for the tenant."""
    request = order_for(served, people, categories=["incoming-message"], fields=["from", "received_at"], document=document)
    if gag:
        request.instrument.gag.kind = legal.GagKind.Value(f"GAG_KIND_{gag}")
    if gag == "UNTIL":
        request.instrument.gag.end_time.CopyFrom(at(served.clock() + timedelta(days=5)))
    return request


async def logged(served: Serving, log: str = "acme") -> list[Entry]:
    """Every entry of a log, with all that it says."""
    return [decode(entry.content) for entry in await entries(served, log)]


async def test_the_tenant_is_told_before_anything_is_built_or_released(served: Serving) -> None:
    """L35: with the last approval, and once."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("engine"), incoming("system-file"))
    admin = served.service("acme-admin")
    order = await register(people, message_order(served, people))
    await approve(people.officer, order)
    before = await listed(admin)

    await approve(people.approver, order)
    after = await listed(admin)
    await release(people.approver, await build(people, order))

    assert before == []
    assert told(after) == [NOTICE]
    assert after[0].resource == order.name
    assert told(await listed(admin)) == [NOTICE]
    operations = [entry.operation for entry in await entries(served)]
    assert operations.index("notice-sent") < operations.index("export") < operations.index("approve-export")
    assert operations.count("notice-sent") == 1


async def test_of_a_gagged_order_the_tenant_is_told_when_the_gag_ends(served: Serving) -> None:
    """L35: at its date, though nobody calls; until then there is nothing to see, and the task is not late."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("engine"), incoming("system-file"))
    admin = served.service("acme-admin")
    order = await approved(people, message_order(served, people, gag="UNTIL"))
    await export(people, order)
    during, size = await listed(admin), len(await entries(served))

    await order_notice.end_gags(served.vault, upkeep_caller())
    too_early = await listed(admin)
    served.clock.offset = timedelta(days=5, seconds=1)
    await order_notice.end_gags(served.vault, upkeep_caller())

    assert during == too_early == []
    assert told(await listed(admin)) == [NOTICE]
    later = (await logged(served))[size:]
    assert [(entry.operation, entry.resource) for entry in later] == [("end-gag", order.name)]


async def test_a_gag_until_further_order_ends_when_somebody_says_so(served: Serving) -> None:
    """L35: by the legal officer, with a reason; from then on the order is recorded where the tenant reads."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("engine"), incoming("system-file"))
    admin, officer = served.service("acme-admin"), people.registrant
    order = await approved(people, message_order(served, people, gag="FURTHER_ORDER"))
    served.clock.offset = timedelta(days=10)
    await order_notice.end_gags(served.vault, upkeep_caller())
    officer = fresh_team(served, people.identity).registrant
    during = await listed(admin)

    ending = EndGagRequest(name=order.name, reason="the court allowed to tell of it")
    ended = (await officer.call(officer.legal.EndGag, ending)).order
    again = await officer.refused(officer.legal.EndGag, ending)

    assert during == []
    assert ended.gag == legal.GAG_KIND_UNSPECIFIED
    assert told(await listed(admin)) == [NOTICE]
    assert again.reason == "GAG_NOT_SET"
    assert again.receipt is not None
    assert again.receipt.log == "acme"


async def seen_by_tenant(served: Serving, subject: str) -> tuple[Sequence[AuditEntry], int, bytes, int, int]:
    """Everything a tenant can read that an order could show in: its log, the size and root of that, its tasks, its records."""
    admin = served.service("acme-admin")
    log = await admin.call(admin.audit.ListAuditEntries, ListAuditEntriesRequest(parent="tenants/acme", page_size=1000))
    note = (await admin.call(admin.audit.GetCheckpoint, GetCheckpointRequest(parent="tenants/acme"))).checkpoint
    records = await admin.call(admin.records.ListRecords, ListRecordsRequest(parent=subject))
    size, root = note.split("\n")[1:3]
    assert int(size) == log.log_size
    return log.entries, log.log_size, root.encode(), len(await listed(admin)), len(records.records)


async def test_n16_of_a_gagged_order_nothing_shows_in_what_a_tenant_reads(served: Serving) -> None:
    """N16, §5.6: neither entry, gap, count, root nor task; from the register to the receipt, refusals and ends included."""
    await served.create_tenants()
    people = await team(served)
    subject = subject_of((await create(served.service("engine"), incoming("system-file"))).name)
    before = await seen_by_tenant(served, subject)

    order = await register(people, message_order(served, people, gag="FURTHER_ORDER"))
    await approve(people.officer, order)
    await approve(people.approver, order)
    built = await build(people, order)
    registrant, courier = people.registrant, people.courier
    early = await courier.refused(courier.legal.DownloadExport, DownloadExportRequest(name=built.name), streams=True)
    await release(people.approver, built)
    await download(courier, built.name)
    operator = served.person("e-operator", "operator")
    role = await operator.refused(operator.legal.DownloadExport, DownloadExportRequest(name=built.name), streams=True)
    duplicate = await registrant.refused(registrant.legal.RegisterOrder, message_order(served, people, gag="FURTHER_ORDER"))
    closing = await registrant.refused(registrant.legal.CloseOrder, CloseOrderRequest(name=order.name))
    await registrant.call(registrant.legal.RevokeOrder, RevokeOrderRequest(name=order.name, reason="the court withdrew the order"))
    rejected = await receive(people, message_order(served, people, gag="UNTIL", document=b"\2" * 32))
    await registrant.call(registrant.legal.RejectOrder, RejectOrderRequest(name=rejected.name, reason="the letter is a forgery"))

    after = await seen_by_tenant(served, subject)
    assert after[1:] == before[1:]
    assert [entry.content for entry in after[0]] == [entry.content for entry in before[0]]
    assert {error.receipt.log for error in (early, role, duplicate, closing) if error.receipt} == {"system"}


async def test_n16_whoever_oversees_reads_a_gagged_order_in_the_system_log(served: Serving) -> None:
    """§5.6, L41: all of it, with the tenant it is about; kept apart, not left out. The operator's log names neither."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("engine"), incoming("system-file"))
    order = await approved(people, message_order(served, people, gag="FURTHER_ORDER"))
    with capture_logs() as lines:
        await export(people, order)

    about = [entry for entry in await logged(served, "system") if entry.resource.startswith(order.name) or order.name in entry.reference]

    operations = [entry.operation for entry in about]
    assert {entry.tenant for entry in about} == {"acme"}
    assert operations[:2] == ["register-order", "place-hold"]
    assert {"authenticate-order", "set-order-scope", "preview-export", "approve-order", "notice-deferred", "export", "approve-export"} <= {
        *operations
    }
    assert [line["event"] for line in lines if line["event"].startswith("export ")] == [
        "export building",
        "export sealed",
        "export released",
    ]
    assert not any(word in str(lines) for word in (id_of(order.name), "acme"))


@pytest.mark.parametrize("gag", ["", "FURTHER_ORDER"])
async def test_n9_an_erasure_that_meets_a_hold_says_the_same_whether_the_order_may_be_told_or_not(served: Serving, gag: str) -> None:
    """N9: what is held stays, restricted; the tenant reads that the law keeps it, and nothing of an order."""
    await served.create_tenants()
    people = await team(served)
    held = await create(served.service("engine"), incoming("system-file"))
    order = await approved(people, message_order(served, people, gag=gag))

    erasure = await erase(served, subject_of(held.name))

    built = await export(people, order)
    said = erasure.SerializeToString()
    assert not any(word in said for word in (b"orders/", b"court", b"police", order.name.encode()))
    assert dict(built.record_counts) == {"incoming-message": 1}


async def test_of_an_order_to_be_kept_from_staff_others_learn_its_number_only(served: Serving) -> None:
    """§5.1, §5.6: the auditor sees that there is one more; the legal team works on it; then it is told."""
    await served.create_tenants()
    people = await team(served)
    auditor = served.service("auditor")
    open_one = await receive(people, order_for(served, people))
    request = order_for(served, people, document=b"\2" * 32)
    request.instrument.gag.kind, request.instrument.gag.from_staff = legal.GAG_KIND_FURTHER_ORDER, True
    kept = await receive(people, request)

    async def names_of(caller: Caller) -> tuple[set[str], int]:
        answer = await caller.call(caller.legal.ListOrders, ListOrdersRequest(parent="tenants/acme"))
        return {order.name for order in answer.orders}, answer.omitted_count

    during = await names_of(auditor)
    refused = await auditor.refused(auditor.legal.GetOrder, GetOrderRequest(name=kept.name))
    officer = people.registrant
    await officer.call(officer.legal.EndGag, EndGagRequest(name=kept.name, reason="the court allowed to tell of it"))

    assert during == ({open_one.name}, 1)
    assert await names_of(auditor) == ({open_one.name, kept.name}, 0)
    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "ORDER_NOT_FOUND")


async def test_a_hold_for_a_gagged_order_ends_without_a_word_to_the_tenant(served: Serving) -> None:
    """N16: also when its time is over and upkeep ends it."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("acme-app"), contact(PHONE))
    await create(served.service("engine"), incoming("system-file"))
    await receive(people, message_order(served, people, gag="FURTHER_ORDER"))
    served.clock.offset = timedelta(days=31)

    await hold.expire_holds(served.vault, upkeep_caller())

    ended = [entry for entry in await logged(served, "system") if entry.operation == "expire-hold"]
    assert [entry.tenant for entry in ended] == ["acme"]
    assert not {"place-hold", "expire-hold"} & {entry.operation for entry in await entries(served)}
