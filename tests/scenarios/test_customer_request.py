"""Staff touch a customer's list only at the customer's request: for that list, those operations, until it ends (P3.2.1-rep)."""

from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    OTHER_PHONE,
    PHONE,
    asked,
    at,
    contact,
    create,
    entries,
    entry_of,
    not_revealed,
    open_request,
    reveal,
    rows,
    sought,
    values,
)
from tests.serving import Serving, why
from vault.v1.resources_pb2 import Justification
from vault.v1.tenant_service_pb2 import CloseCustomerRequestRequest, OpenCustomerRequestRequest
from vault.v1.vault_service_pb2 import DeleteRecordRequest, UpdateRecordRequest


def under(reference: str) -> Justification:
    """A justification by a customer request."""
    return why("customer-request", reference, "the customer asked us to correct an entry of the list")


async def test_an_account_manager_reads_a_list_only_under_an_open_request(served: Serving) -> None:
    """P3.2.1-rep, P1.6c-consent: the basis is in the log."""
    await served.create_tenants()
    listed = (await create(served.service("acme-app"), contact(list_id="spring"))).name
    manager = served.service("account-manager")

    refused = await not_revealed(manager, asked(listed, "phone", because=under("")))
    request = await open_request(served, "spring", "reveal")
    shown = await reveal(manager, asked(listed, "phone", because=under(request.name)))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CUSTOMER_REQUEST_REQUIRED")
    assert (await entry_of(served, refused)).decision == "REFUSED"
    assert shown.fields["phone"].text == PHONE
    entry = (await entries(served))[-1]
    assert entry.reference == request.name
    assert b'"consent_basis":"customer-request"' in entry.content


async def test_a_request_for_one_list_and_operation_opens_no_other(served: Serving) -> None:
    """P3.2.1-rep: OUT_OF_REQUEST."""
    await served.create_tenants()
    app, manager = served.service("acme-app"), served.service("account-manager")
    spring = (await create(app, contact(list_id="spring"))).name
    autumn = (await create(app, contact(OTHER_PHONE, list_id="autumn"))).name
    because = under((await open_request(served, "spring", "reveal", "find")).name)
    before = await rows(served)
    update = UpdateRecordRequest(
        name=spring, fields=values({"phone": OTHER_PHONE}), update_mask=FieldMask(paths=["phone"]), justification=because
    )

    refused = {
        "another list": await not_revealed(manager, asked(autumn, because=because)),
        "delete": await manager.refused(manager.records.DeleteRecord, DeleteRecordRequest(name=spring, justification=because)),
        "update": await manager.refused(manager.records.UpdateRecord, update),
        "a search over every list": await manager.refused(manager.records.FindSubjects, sought("phone", PHONE, because=because)),
    }

    assert {case: (error.code.name, error.reason) for case, error in refused.items()} == dict.fromkeys(
        refused, ("PERMISSION_DENIED", "OUT_OF_REQUEST")
    )
    assert await rows(served) == before


async def test_a_request_without_a_list_is_for_every_list_and_lets_staff_change_and_delete(served: Serving) -> None:
    """P3.2.1-rep: view, change, delete; the actor is in the log (P3.2.1-owner)."""
    await served.create_tenants()
    listed = (await create(served.service("acme-app"), contact(list_id="spring"))).name
    support = served.service("support")
    because = under((await open_request(served, "", "reveal", "find", "update", "delete")).name)
    update = UpdateRecordRequest(
        name=listed, fields=values({"phone": OTHER_PHONE}), update_mask=FieldMask(paths=["phone"]), justification=because
    )

    await support.call(support.records.UpdateRecord, update)
    found = await support.call(support.records.FindSubjects, sought("phone", OTHER_PHONE, because=because))
    await support.call(support.records.DeleteRecord, DeleteRecordRequest(name=listed, justification=because))

    assert [match.record for match in found.matches] == [listed]
    assert [(entry.actor.rpartition("/")[2], entry.operation) for entry in (await entries(served))[-3:]] == [
        ("support", "update"),
        ("support", "find"),
        ("support", "delete"),
    ]


@pytest.mark.parametrize("ended", ["expired", "closed"])
async def test_a_request_that_has_ended_opens_nothing(served: Serving, ended: str) -> None:
    """P3.2.1-rep: on the very next call."""
    await served.create_tenants()
    listed = (await create(served.service("acme-app"), contact(list_id="spring"))).name
    admin, manager = served.service("acme-admin"), served.service("account-manager")
    request = await open_request(served, "spring", "reveal", lasting=timedelta(days=1))
    shown = await reveal(manager, asked(listed, because=under(request.name)))

    if ended == "closed":
        await admin.call(admin.tenants.CloseCustomerRequest, CloseCustomerRequestRequest(name=request.name))
    else:
        served.clock.offset = timedelta(days=1)
    refused = await not_revealed(manager, asked(listed, because=under(request.name)))

    assert shown.name == listed
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CUSTOMER_REQUEST_REQUIRED")


async def test_a_ticket_or_another_purpose_opens_no_list_to_staff(served: Serving) -> None:
    """P3.2.1-rep, P3.2.1-use: whatever the purpose; and lists are for sending and reports, not for adverts."""
    await served.create_tenants()
    listed = (await create(served.service("acme-app"), contact(list_id="spring"))).name
    request = await open_request(served, "spring", "reveal")
    manager, marketing = served.service("account-manager"), served.service("marketing")

    refused = [
        await not_revealed(manager, asked(listed, because=why("customer-request", "SUP-4711", "the customer called about a ticket"))),
        await not_revealed(manager, asked(listed, because=why("contact", request.name, "the customer called about a fault"))),
        await not_revealed(marketing, asked(listed, because=why("own-marketing", request.name, "we would like to advertise"))),
    ]

    assert [error.reason for error in refused] == ["CUSTOMER_REQUEST_REQUIRED", "PURPOSE_NOT_ALLOWED", "ROLE_NOT_ALLOWED"]


async def test_the_request_of_another_tenant_is_none(served: Serving) -> None:
    """I11: it answers like a request that never existed."""
    await served.create_tenants()
    theirs = (await create(served.service("globex-app"), contact(list_id="spring"), tenant="globex")).name
    ours = await open_request(served, "", "reveal")
    manager = served.service("account-manager")
    renamed = ours.name.replace("tenants/acme", "tenants/globex")

    refused = [await not_revealed(manager, asked(theirs, because=under(name))) for name in (ours.name, renamed)]

    assert {(error.code.name, error.reason, error.message) for error in refused} == {
        ("FAILED_PRECONDITION", "CUSTOMER_REQUEST_REQUIRED", refused[0].message)
    }


async def test_staff_cannot_ask_on_the_customers_behalf_and_customers_cannot_ask_for_anything(served: Serving) -> None:
    """P3.2.1-rep: only the tenant opens a request, for known operations, for thirty days at most."""
    await served.create_tenants()
    admin, manager = served.service("acme-admin"), served.service("account-manager")

    def wanted(*operations: str, list_id: str = "spring", days: float = 1) -> OpenCustomerRequestRequest:
        expire_time = at(served.clock() + timedelta(days=days))
        return OpenCustomerRequestRequest(parent="tenants/acme", list=list_id, operations=operations, expire_time=expire_time)

    by_staff = await manager.refused(manager.tenants.OpenCustomerRequest, wanted("reveal"))
    wrong = {
        "an operation that is not staff's": wanted("reveal", "create"),
        "too long": wanted("reveal", days=30.1),
        "already over": wanted("reveal", days=-1),
        "a list named like a number": wanted("reveal", list_id="0502345678"),
        "a list named like a sentence": wanted("reveal", list_id="Dana Levi 12"),
        "no operation at all": wanted(),
    }
    refused = {case: (await admin.refused(admin.tenants.OpenCustomerRequest, request)).reason for case, request in wrong.items()}

    assert by_staff.reason == "ROLE_NOT_ALLOWED"
    assert refused == {
        "an operation that is not staff's": "FIELD_INVALID",
        "too long": "FIELD_INVALID",
        "already over": "FIELD_INVALID",
        "a list named like a number": "NAME_INVALID",
        "a list named like a sentence": "NAME_INVALID",
        "no operation at all": "FIELD_REQUIRED",
    }
    assert [entry.decision for entry in await entries(served)] == ["REFUSED"] * len(wrong)
