"""What a service of one product may touch of another's: nothing, whatever its roles (P3.0-products, P3.4-usage)."""

import grpc
import pytest

from tests.builders import asked, call_detail, create, entry_of, find, mapping, not_revealed, sought, subject_of
from tests.retaining import changing
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.v1.resources_pb2 import Record
from vault.v1.vault_service_pb2 import CreateRecordRequest, GetRecordRequest, ListRecordsRequest

ASSIGNED, REAL = "+972552345678", "+972502345678"
LOCKED = (grpc.StatusCode.PERMISSION_DENIED, "PRODUCT_LOCK", "guard:product-lock")


@pytest.fixture
async def stored(served: Serving) -> Record:
    """A second number, stored by the service of that product."""
    await served.create_tenants("acme")
    return await create(served.service("num2"), mapping(ASSIGNED, REAL, begin="2026-03-01T00:00:00Z"))


async def test_a_service_stores_nothing_of_a_product_it_does_not_work_for(served: Serving) -> None:
    """P3.0-products: its role may store calls, its product has none."""
    await served.create_tenants("acme")
    other = served.service("large-account")

    refused = await other.refused(other.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=call_detail()))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CATEGORY_PRODUCT_MISMATCH")
    assert (await entry_of(served, refused)).rule == "guard:product-of-category"
    assert (await create(served.service("engine"), call_detail())).category == "call-detail"


async def test_data_of_the_app_is_closed_to_a_service_of_another_product(served: Serving, stored: Record) -> None:
    """P3.4-usage: released, found, corrected and listed for the app alone; each refusal is recorded."""
    other = served.service("large-account")
    seeking = sought("virtual-number", ASSIGNED, category="number-mapping", as_of="2026-03-02T00:00:00Z")
    closing = changing(stored.name, {"valid_to": "2026-04-01T00:00:00Z"})

    refusals = [
        await not_revealed(other, asked(stored.name, "real_number")),
        await other.refused(other.records.FindSubjects, seeking),
        await other.refused(other.records.UpdateRecord, closing),
        await other.refused(other.records.GetRecord, GetRecordRequest(name=stored.name)),
    ]
    listed = await other.call(other.records.ListRecords, ListRecordsRequest(parent=subject_of(stored.name)))

    assert [await said_by(served, refused) for refused in refusals] == [LOCKED] * 4
    assert not listed.records
    assert await find(served.service("num2"), seeking)


@pytest.mark.parametrize(
    ("products", "reason"),
    [
        (None, ""),
        (["num2", "website"], ""),
        (["large-account"], "PRODUCT_LOCK"),
        ([], "PRODUCT_LOCK"),
        ("num2", "PRODUCT_LOCK"),  # in another form than a list, it is none
    ],
    ids=str,
)
async def test_a_token_may_name_the_products_that_a_person_works_for(
    served: Serving, stored: Record, products: object, reason: str
) -> None:
    person = served.person("dana", "second-number-app", claims={"products": products})
    await served.sign_nda("dana")

    assert await seen(person, stored) == reason


async def seen(person: Caller, stored: Record) -> str:
    """Why a record's metadata is closed; empty if it is not."""
    try:
        await person.call(person.records.GetRecord, GetRecordRequest(name=stored.name))
    except CallError as error:
        return error.reason
    return ""


async def said_by(served: Serving, refused: CallError) -> tuple[grpc.StatusCode, str, str]:
    """Code and reason of a refusal, and the rule that its entry names."""
    return refused.code, refused.reason, (await entry_of(served, refused)).rule
