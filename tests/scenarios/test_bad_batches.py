"""Request ids, page tokens and batches that make no sense: refused whole, or item by item, as promised."""

import asyncio
import uuid

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    NEVER,
    PHONE,
    contact,
    create,
    create_all,
    entry_of,
    find,
    id_of,
    profile,
    refusal,
    rows,
    sought,
    subject_of,
)
from tests.serving import Serving, why
from vault.client.errors import CallError
from vault.v1.resources_pb2 import VIEW_MASKED
from vault.v1.vault_service_pb2 import (
    BatchCreateRecordsRequest,
    BatchRevealRecordsRequest,
    CreateRecordRequest,
    ListRecordsRequest,
    RecordInput,
)


def new(item: RecordInput, *, request_id: str = "") -> CreateRecordRequest:
    """A request to store one record for the tenant `acme`."""
    return CreateRecordRequest(parent="tenants/acme", record=item, request_id=request_id)


async def test_a_request_id_is_answered_once(served: Serving) -> None:
    """Same id and body, same answer; another body is refused; ten at once store one record."""
    await served.create_tenants()
    app = served.service("acme-app")
    key = str(uuid.uuid4())

    async def attempt(_: int) -> str:
        try:
            return (await create(app, contact(), request_id=key)).name
        except CallError as error:
            return error.reason

    answers = await asyncio.gather(*map(attempt, range(10)))
    again = (await create(app, contact(), request_id=key)).name
    reused = await app.refused(app.records.CreateRecord, new(contact("050-2345670"), request_id=key))
    malformed = [
        await app.refused(app.records.CreateRecord, new(contact(), request_id=text)) for text in ("1", str(uuid.uuid1()), key.upper() + "A")
    ]

    assert set(answers) - {"CONCURRENT_CHANGE"} == {again}
    assert (reused.code.name, reused.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    assert {(error.code.name, error.reason) for error in malformed} == {("INVALID_ARGUMENT", "FIELD_INVALID")}
    assert (await rows(served))[:2] == (1, 1)


async def test_page_tokens_and_sizes_of_another_query_are_refused(served: Serving) -> None:
    """A token is sealed to tenant and query; a size below one is the default."""
    await served.create_tenants()
    support, app = served.service("acme-admin"), served.service("acme-app")
    person = subject_of((await create(app, contact())).name)
    other = subject_of((await create(app, contact("050-2345670"))).name)
    await create(app, contact())
    listing = ListRecordsRequest(parent=person, category="end-customer-contact", page_size=1)
    first = await support.call(support.records.ListRecords, listing)
    stolen = [
        ListRecordsRequest(parent=other, category="end-customer-contact", page_token=first.next_page_token),
        ListRecordsRequest(parent=person, category="list-profile", page_token=first.next_page_token),
        ListRecordsRequest(parent=person, category="end-customer-contact", page_token=first.next_page_token[:-4] + "AAAA"),
        ListRecordsRequest(parent=person, category="end-customer-contact", page_token="2"),
    ]

    refused = [await support.refused(support.records.ListRecords, request) for request in stolen]
    listing.page_size = -5
    whole = await support.call(support.records.ListRecords, listing)

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")}
    assert len(whole.records) == 2


async def test_batches_are_bounded_and_belong_to_one_tenant(served: Serving) -> None:
    """Empty, too large, or naming another tenant's record: refused whole, with the limit."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    mask = FieldMask()

    def reveal_batch(*names: str) -> BatchRevealRecordsRequest:
        return BatchRevealRecordsRequest(parent="tenants/acme", names=names, justification=why(), view=VIEW_MASKED, field_mask=mask)

    refused = [
        await app.refused(app.records.BatchCreateRecords, BatchCreateRecordsRequest(parent="tenants/acme")),
        await app.refused(app.records.BatchRevealRecords, reveal_batch()),
        await app.refused(app.records.BatchCreateRecords, BatchCreateRecordsRequest(parent="tenants/acme", records=[contact()] * 1001)),
        await app.refused(app.records.BatchRevealRecords, reveal_batch(*[name] * 1001)),
        await app.refused(app.records.BatchRevealRecords, reveal_batch(name, name.replace("acme", "globex"))),
    ]

    assert [error.reason for error in refused] == ["FIELD_REQUIRED"] * 2 + ["BATCH_TOO_LARGE"] * 2 + ["RECORD_NOT_FOUND"]
    assert [error.metadata.get("limit") for error in refused[2:4]] == ["1000", "1000"]
    assert {(await entry_of(served, error)).decision for error in refused} == {"REFUSED"}
    assert (await rows(served))[:2] == (1, 1)


async def test_a_batch_item_that_names_an_unknown_person_fails_alone(served: Serving) -> None:
    """Never all-or-nothing by accident."""
    await served.create_tenants()
    app = served.service("acme-app")

    stored, missing, also = await create_all(
        app, [contact(), profile(f"tenants/acme/subjects/{NEVER}", first_name="דנה"), contact("050-2345670")]
    )

    assert refusal(missing).reason == "SUBJECT_NOT_FOUND"
    assert [match.record for match in await find(app, sought("phone", PHONE))] == [stored.record.name]
    assert also.HasField("record")
    assert id_of(stored.record.name) != NEVER
