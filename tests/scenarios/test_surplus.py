"""What a tenant may hold without needing it is told: lists that nobody used, contacts that nobody looked at (A21, A22)."""

from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import contact, create, record, values
from tests.faults import quiet
from tests.serving import Serving, why
from vault.v1.tenant_service_pb2 import GetSurplusReportRequest, GetSurplusReportResponse
from vault.v1.vault_service_pb2 import UpdateRecordRequest

YEAR = timedelta(days=365)
IN_TOUCH = why("keep-in-touch", reason="looked whether the contact is still needed")


async def told(served: Serving, who: str = "acme-admin") -> GetSurplusReportResponse:
    caller = served.service(who)
    return await caller.call(caller.tenants.GetSurplusReport, GetSurplusReportRequest(name="tenants/acme"))


async def test_a21_lists_that_nobody_used_for_a_year_are_told(served: Serving) -> None:
    """A21: unless something was stored in them meanwhile, or a job was scheduled for every list."""
    await served.create_tenants()
    await quiet(served)
    app = served.service("acme-app")
    for phone in ("+972502345670", "+972502345671"):
        await create(app, contact(phone, list_id="spring"))
    await create(app, contact("+972502345672", list_id="autumn"))
    await create(served.service("globex-app"), contact("+972502345670", list_id="theirs"), tenant="globex")
    fresh = await told(served)
    served.clock.offset += timedelta(days=200)
    await create(app, contact("+972502345673", list_id="autumn"))

    served.clock.offset += timedelta(days=166)
    late = await told(served)
    await served.job()
    used = await told(served)

    assert list(fresh.lists) == []
    assert [(item.list, item.record_count) for item in late.lists] == [("spring", 2)]
    assert list(used.lists) == []


async def test_a22_former_contacts_are_due_for_a_look_after_two_years(served: Serving) -> None:
    """A22: counted from the end of the contract, and again from each look that was noted."""
    await served.create_tenants()
    await quiet(served)
    manager = served.service("account-manager")
    said = {"full_name": "Dana", "email": "dana@example.com", "ended_at": served.clock().isoformat(), "reasons": "c"}
    former = await create(manager, record("former-customer-contact", said))
    served.clock.offset += 2 * YEAR
    before = (await told(served)).former_contacts_due

    served.clock.offset += timedelta(days=2)
    due = (await told(served)).former_contacts_due
    looked = UpdateRecordRequest(
        name=former.name,
        fields=values({"reviewed_at": served.clock().isoformat()}),
        update_mask=FieldMask(paths=["reviewed_at"]),
        justification=IN_TOUCH,
    )
    await manager.call(manager.records.UpdateRecord, looked)
    after = (await told(served)).former_contacts_due
    served.clock.offset += 2 * YEAR + timedelta(days=2)

    assert (before, due, after) == (0, 1, 0)
    assert (await told(served)).former_contacts_due == 1
