"""Revealing one record: what is released, to whom, and what the log says before it leaves."""

from google.protobuf.field_mask_pb2 import FieldMask

from tests.serving import Serving, why
from vault.v1.resources_pb2 import VIEW_FULL, FieldValue
from vault.v1.vault_service_pb2 import CreateRecordRequest, RecordInput, RevealRecordRequest


async def test_a_permitted_caller_is_shown_the_masked_value(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    record = RecordInput(category="end-customer-contact", fields={"phone": FieldValue(text="050-2345678")})
    created = await app.call(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record))

    answer = await app.call(app.records.RevealRecord, RevealRecordRequest(name=created.record.name, justification=why()))

    assert answer.record.fields["phone"].text == "+97250•••••78"
    assert (answer.receipt.log, answer.receipt.index) == ("acme", 1)


async def test_the_full_view_needs_a_mask(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    record = RecordInput(category="end-customer-contact", fields={"phone": FieldValue(text="050-2345678")})
    created = await app.call(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record))

    refused = await app.refused(
        app.records.RevealRecord, RevealRecordRequest(name=created.record.name, justification=why(), view=VIEW_FULL)
    )
    answer = await app.call(
        app.records.RevealRecord,
        RevealRecordRequest(name=created.record.name, justification=why(), view=VIEW_FULL, field_mask=FieldMask(paths=["phone"])),
    )

    assert refused.reason == "FIELD_MASK_REQUIRED"
    assert answer.record.fields["phone"].text == "+972502345678"
