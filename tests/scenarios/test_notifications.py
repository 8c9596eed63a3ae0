"""Whoever received data is told what became of it, each their own, until they say that it is done (L32, L35, E2)."""

import itertools
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    ERASING,
    NEVER,
    OTHER_PHONE,
    PHONE,
    SERVING,
    asked,
    asked_by,
    contact,
    create,
    entries,
    erase_for_person,
    id_of,
    open_request,
    record,
    request_erasure,
    reveal,
    subject_of,
    values,
)
from tests.faults import Crash, quiet
from tests.serving import Caller, Serving, why
from tests.telling import ASKED, CARD, acknowledge, customer, listed, restrict, stored, told
from vault.audit.certificate import verify_certificate
from vault.errors import VaultError
from vault.names import parse_child, parse_subject
from vault.operations import erase_run, notify
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.erasure_service_pb2 import (
    ERASURE_STATE_PARTIAL,
    ApproveErasureRequest,
    GetErasureCertificateRequest,
)
from vault.v1.rights_service_pb2 import LiftRestrictionRequest
from vault.v1.tenant_service_pb2 import (
    NOTIFICATION_STATE_ACKNOWLEDGED,
    NOTIFICATION_STATE_PENDING,
    AcknowledgeNotificationRequest,
    ListNotificationsRequest,
)
from vault.v1.vault_service_pb2 import DeleteRecordRequest, UpdateRecordRequest

DAY = timedelta(days=1)
ORDER = f"tenants/acme/orders/{NEVER}"
ORDER_NAME = parse_child(ORDER, "orders")
VISITOR = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
PROCESSED = ["call-detail", "end-customer-contact"]


async def given_tenants(served: Serving) -> tuple[Caller, Caller, Caller]:
    """The tenant's administrator, the affiliate's service, the privacy officer's."""
    await served.create_tenants()
    return served.service("acme-admin"), served.service("affiliate"), served.service("privacy-officer")


async def payer(served: Serving, **fields: str) -> str:
    """Somebody known from the site who pays by card, of whom nothing has to be kept: the subject."""
    visitor = record("site-visitor", {**VISITOR, "phone": PHONE, **fields})
    subject = subject_of((await create(served.service("acme-app"), visitor)).name)
    await create(served.service("billing"), record("payment-card", CARD, subject=subject), purpose="billing")
    return subject


async def certificates(served: Serving, name: str) -> list[Mapping[str, Any]]:
    """What the certificate and its supplements say."""
    auditor = served.service("auditor")
    answer = await auditor.call(auditor.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=name))
    return [verify_certificate(note, served.vault.signer.verifier()) for note in (answer.certificate, *answer.supplements)]


async def pending(served: Serving, resource: str) -> bool:
    async with served.vault.database.read() as connection:
        return await notify.pending_for(connection, "acme", resource)


async def notice(served: Serving, *, gagged: bool, gag_end: timedelta | None = None) -> bool:
    """What the flow of an order does before it releases."""
    end = None if gag_end is None else served.clock() + gag_end
    async with served.vault.database.write() as connection:
        return await notify.controller_notice(served.vault, connection, ORDER_NAME, PROCESSED, gagged=gagged, gag_end=end)


async def test_a_request_to_erase_tells_the_tenant_of_what_is_its_to_decide(served: Serving) -> None:
    """L32, E2: the task is listed until the tenant acknowledges it."""
    admin, _, officer = await given_tenants(served)
    subject = subject_of((await create(served.service("acme-app"), contact(PHONE))).name)

    erasure = await request_erasure(officer, subject, await asked_by(served, subject))

    [task] = await listed(admin)
    assert told([task]) == [("FORWARDED", "tenant", ("end-customer-contact",))]
    assert (task.resource, task.subject, task.state) == (erasure.name, subject, NOTIFICATION_STATE_PENDING)
    assert 27 * DAY < task.due_time.ToDatetime() - task.create_time.ToDatetime() <= 31 * DAY
    assert await pending(served, erasure.name)

    done = await acknowledge(admin, task.name)

    assert (done.state, done.acknowledged_by.rpartition("/")[2]) == (NOTIFICATION_STATE_ACKNOWLEDGED, "acme-admin")
    assert not await pending(served, erasure.name)
    assert (await listed(admin), len(await listed(officer, done=True))) == ([], 1)


@pytest.mark.parametrize("agreed", [False, True])
async def test_affiliate_and_payment_provider_are_told_of_what_they_may_have_received(served: Serving, agreed: bool) -> None:
    """L32, §6.2, P3.6-aff: without an agreement nothing ever went to the affiliate."""
    admin, affiliate, officer = await given_tenants(served)
    if agreed:
        await served.agree_with_affiliate()
    subject = await customer(served)
    await create(served.service("billing"), record("payment-card", CARD, subject=subject), purpose="billing")

    erasure = await erase_for_person(served, subject)

    of_affiliate = [("ERASURE", "affiliate", ("business-account",))] if agreed else []
    of_provider = [("ERASURE", "payment-provider", ("payment-card",))]
    assert told(await listed(affiliate)) == of_affiliate
    assert told(await listed(admin)) == []
    assert told(await listed(officer)) == of_affiliate + of_provider
    assert erasure.state == ERASURE_STATE_PARTIAL


async def test_an_erasure_is_complete_when_everybody_who_was_told_acknowledged_it(served: Serving) -> None:
    """L32: a supplement says so."""
    _, _, officer = await given_tenants(served)
    subject = await payer(served)
    erasure = await erase_for_person(served, subject)
    await erase_run.resume(served.vault, upkeep_caller())
    waiting = await certificates(served, erasure.name)

    for task in await listed(officer):
        await acknowledge(officer, task.name)
    await erase_run.resume(served.vault, upkeep_caller())

    first, supplement = await certificates(served, erasure.name)
    assert [said["state"] for said in waiting] == ["PARTIAL"]
    assert first["notifications"] == [{"recipient": "payment-provider", "state": "PENDING", "count": 1}]
    assert supplement["state"] == "COMPLETE"
    assert supplement["notifications"] == [{"recipient": "payment-provider", "state": "ACKNOWLEDGED", "count": 1}]


async def test_an_affiliate_whose_agreement_ended_is_told_all_the_same(served: Serving) -> None:
    """L32, L7: what was given under it is still there."""
    _, affiliate, _ = await given_tenants(served)
    await served.agree_with_affiliate()
    subject = await customer(served)
    served.clock.offset += timedelta(days=400)

    await restrict(served, subject)

    assert told(await listed(affiliate)) == [("RESTRICTION", "affiliate", ("business-account",))]


async def test_a_correction_tells_the_affiliate_once_per_version(served: Serving) -> None:
    """L32, L14: the record is named with the etag that it has since, and no value is told."""
    _, affiliate, _ = await given_tenants(served)
    await served.agree_with_affiliate()
    await customer(served)
    manager = served.service("account-manager")
    name = (await create(manager, record("business-account", {"full_name": "רון כהן", "email": "ron@example.com"}))).name
    request = await open_request(served, "", "update")
    because = why("customer-request", request.name, "the customer asked us to correct their address")

    etags = []
    for mail in ("new@example.com", "newer@example.com"):
        update = UpdateRecordRequest(
            name=name, fields=values({"email": mail}), update_mask=FieldMask(paths=["email"]), justification=because
        )
        etags.append((await manager.call(manager.records.UpdateRecord, update)).record.etag)

    tasks = await listed(affiliate)
    assert told(tasks) == [("RECTIFICATION", "affiliate", ("business-account",))] * 2
    assert sorted(task.resource for task in tasks) == sorted(f"{name}@{etag}" for etag in etags)


async def test_a_tenant_is_told_of_what_staff_corrected_and_not_of_its_own_corrections(served: Serving) -> None:
    """L32."""
    admin, _, _ = await given_tenants(served)
    app, manager = served.service("acme-app"), served.service("account-manager")
    name = (await create(app, contact(PHONE, list_id="spring"))).name
    request = await open_request(served, "spring", "update")
    because = why("customer-request", request.name, "the customer asked us to correct an entry of the list")
    new, mask = values({"phone": OTHER_PHONE}), FieldMask(paths=["phone"])

    await app.call(app.records.UpdateRecord, UpdateRecordRequest(name=name, fields=new, update_mask=mask, justification=SERVING))
    own = await listed(admin)
    await manager.call(manager.records.UpdateRecord, UpdateRecordRequest(name=name, fields=new, update_mask=mask, justification=because))

    assert own == []
    assert told(await listed(admin)) == [("RECTIFICATION", "tenant", ("end-customer-contact",))]


async def test_a_deleted_record_is_told_as_erased_but_not_to_the_tenant_whose_service_did_it(served: Serving) -> None:
    """L32: recipients of one record, named by its opaque name."""
    admin, _, officer = await given_tenants(served)
    app, manager = served.service("acme-app"), served.service("account-manager")
    own, others = [(await create(app, contact(phone, list_id="spring"))).name for phone in (PHONE, OTHER_PHONE)]
    request = await open_request(served, "spring", "delete")
    because = why("customer-request", request.name, "the customer asked us to take an entry off the list")

    await app.call(app.records.DeleteRecord, DeleteRecordRequest(name=own, justification=SERVING))
    await manager.call(manager.records.DeleteRecord, DeleteRecordRequest(name=others, justification=because))

    [task] = await listed(admin)
    assert told([task]) == [("ERASURE", "tenant", ("end-customer-contact",))]
    assert (task.resource, {item.resource for item in await listed(officer)}) == (others, {others})


async def test_a_restriction_and_its_end_are_told(served: Serving) -> None:
    """L31, L32: both name the same restriction."""
    admin, _, _ = await given_tenants(served)
    await served.sign_nda("e-officer")
    subject = subject_of((await create(served.service("acme-app"), contact(PHONE))).name)
    officer = served.person("e-officer", "privacy-officer")

    await restrict(served, subject)
    lifting = LiftRestrictionRequest(subject=subject, justification=ASKED, notice_id="notice-7")
    await officer.call(officer.rights.LiftRestriction, lifting)

    tasks = await listed(admin)
    assert told(tasks) == [(kind, "tenant", ("end-customer-contact",)) for kind in ("RESTRICTION", "RESTRICTION_LIFTED")]
    assert len({task.resource for task in tasks}) == 1


async def test_a_request_that_is_the_tenants_to_answer_is_handed_to_it_with_a_date(served: Serving) -> None:
    """E2, P1.8-role: once, however often; the tenant finds out who it is under its own role, because nothing was changed."""
    admin, _, _ = await given_tenants(served)
    app = served.service("acme-app")
    name = (await create(app, contact(PHONE))).name
    subject, due = subject_of(name), served.clock() + 9 * DAY
    erasure = parse_child(f"tenants/acme/erasures/{NEVER}", "erasures")

    for _ in range(2):
        async with served.vault.database.write() as connection:
            found = {"end-customer-contact": 1}
            await notify.forwarded(served.vault, connection, erasure, parse_subject(subject).subject, found, due_time=due)

    [task] = await listed(admin)
    assert told([task]) == [("FORWARDED", "tenant", ("end-customer-contact",))]
    assert (task.subject, task.due_time.ToDatetime(due.tzinfo)) == (subject, due)
    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE


async def test_a_tenant_is_told_before_its_data_leaves_by_an_order(served: Serving) -> None:
    """L35: of what is processed for it, and of nothing else of the order."""
    admin, affiliate, _ = await given_tenants(served)

    assert await notice(served, gagged=False)

    assert told(await listed(admin)) == [("CONTROLLER_NOTICE", "tenant", ("end-customer-contact",))]
    assert await listed(affiliate) == []


async def test_what_an_order_forbids_to_tell_is_told_when_that_ends(served: Serving) -> None:
    """L35, I11: until then the tenant can neither read, count nor acknowledge it; nor is it late."""
    admin, _, officer = await given_tenants(served)

    assert not await notice(served, gagged=True)
    served.clock.offset += timedelta(days=90)
    [hidden] = await listed(officer)
    guessed = await admin.refused(admin.tenants.AcknowledgeNotification, AcknowledgeNotificationRequest(name=hidden.name))
    before = await listed(admin)
    async with served.vault.database.write() as connection:
        assert await notify.gag_ended(served.vault, connection, "acme", ORDER) == 1

    assert (before, guessed.reason) == ([], "NOTIFICATION_NOT_FOUND")
    [task] = await listed(admin)
    assert (task.name, hidden.HasField("visible_time")) == (hidden.name, False)
    assert task.due_time.ToDatetime(served.clock().tzinfo) > served.clock() + 27 * DAY
    assert (await acknowledge(admin, task.name)).state == NOTIFICATION_STATE_ACKNOWLEDGED


async def test_what_may_be_told_from_a_day_on_is_told_from_that_day_on(served: Serving) -> None:
    """L35."""
    admin, _, _ = await given_tenants(served)

    assert not await notice(served, gagged=True, gag_end=30 * DAY)

    before = await listed(admin)
    served.clock.offset += 31 * DAY
    assert (before, len(await listed(admin))) == ([], 1)


async def test_each_recipient_sees_and_acknowledges_their_own_alone(served: Serving) -> None:
    """I11: what is another recipient's or another tenant's answers like what never was; only the privacy officer sees all of a tenant's."""
    admin, affiliate, officer = await given_tenants(served)
    subject = subject_of((await create(served.service("acme-app"), contact(PHONE))).name)
    await restrict(served, subject)
    await served.agree_with_affiliate()
    await restrict(served, await customer(served))
    [ours], [theirs] = await listed(admin), await listed(affiliate)
    never = f"tenants/acme/notifications/{NEVER}"
    stranger = served.service("globex-admin")

    refused = [
        await caller.refused(caller.tenants.AcknowledgeNotification, AcknowledgeNotificationRequest(name=name))
        for caller, name in (
            (admin, theirs.name),
            (affiliate, ours.name),
            (officer, never),
            (stranger, ours.name.replace("acme", "globex")),
        )
    ]
    foreign = await stranger.refused(stranger.tenants.ListNotifications, ListNotificationsRequest(parent="tenants/acme"))

    assert {(error.code.name, error.reason, error.message) for error in refused} == {
        ("NOT_FOUND", "NOTIFICATION_NOT_FOUND", "no such notification")
    }
    assert foreign.reason == "TENANT_NOT_FOUND"
    assert await listed(stranger, "globex") == []
    assert {task.name for task in await listed(officer)} == {ours.name, theirs.name}


async def test_acknowledging_is_recorded_and_counts_once(served: Serving) -> None:
    """I6: whoever was first stays."""
    admin, _, officer = await given_tenants(served)
    subject = subject_of((await create(served.service("acme-app"), contact(PHONE))).name)
    await restrict(served, subject)
    [task] = await listed(admin)

    first, second = await acknowledge(admin, task.name), await acknowledge(officer, task.name)

    assert (second.acknowledged_by, second.acknowledge_time) == (first.acknowledged_by, first.acknowledge_time)
    said = [(entry.operation, entry.rule, list(entry.subjects), entry.actor.rpartition("/")[2]) for entry in (await entries(served))[-2:]]
    assert said == [
        ("acknowledge-notification", "notification:restriction", [id_of(subject)], who) for who in ("acme-admin", "privacy-officer")
    ]


async def test_notifications_are_listed_a_page_at_a_time_what_is_due_first(served: Serving) -> None:
    """I11: a page of the officer's listing opens no other."""
    admin, _, officer = await given_tenants(served)
    app = served.service("acme-app")
    for number in range(5):
        await restrict(served, subject_of((await create(app, contact(f"+97250234568{number}"))).name))
        served.clock.offset += DAY

    names, token = [], ""
    while True:
        request = ListNotificationsRequest(parent="tenants/acme", page_size=2, page_token=token)
        page = await officer.call(officer.tenants.ListNotifications, request)
        names.append([task.name for task in page.notifications])
        token, last = page.next_page_token, token or page.next_page_token
        if not token:
            break
    stolen = await admin.refused(admin.tenants.ListNotifications, ListNotificationsRequest(parent="tenants/acme", page_token=last))

    assert [len(page) for page in names] == [2, 2, 1]
    assert list(itertools.chain(*names)) == [task.name for task in await listed(admin)]
    assert stolen.reason == "PAGE_TOKEN_INVALID"


async def test_an_erasure_that_dies_at_any_statement_tells_everybody_exactly_once(served: Serving) -> None:
    """I10, E18: a task is made in the transaction of what it is about."""
    await given_tenants(served)
    await served.sign_nda("e-approver")
    await quiet(served)
    crash, officer = Crash(served.vault.database), served.service("privacy-officer")
    approver = served.person("e-approver", "privacy-officer")

    for boundary in itertools.count(1):
        subject = await payer(served)
        erasure = await request_erasure(officer, subject, await asked_by(served, subject))
        crash.at(boundary)
        with suppress(Exception):
            await approver.call(approver.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))
        happened = crash.happened
        crash.over()
        with suppress(VaultError):
            await erase_run.resume(served.vault, upkeep_caller())
        if not happened:
            break

    async with served.vault.database.read() as connection:
        states = (await connection.execute(tables.erasures.select())).all()
    complete = {f"tenants/acme/erasures/{row.erasure_id}" for row in states if row.state == "PARTIAL"}
    assert boundary > 12, f"died at {boundary} statements only"
    assert sorted(str(row["resource"]) for row in await stored(served)) == sorted(complete)


async def test_what_is_stored_of_a_notification_is_ids_and_words(served: Serving) -> None:
    """I2: nothing of the person, sealed or not."""
    await given_tenants(served)
    subject = await payer(served, email="dana@example.com")
    await erase_for_person(served, subject)

    [row] = await stored(served)

    text = repr(row)
    assert id_of(subject) in text
    assert [value for value in ("2345678", "dana", "example.com") if value in text] == []
