"""One tenant can neither read, count nor detect another: whatever is named, it answers like what never existed (I11)."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    ERASING,
    NEVER,
    OTHER_PHONE,
    SERVING,
    asked,
    call_detail,
    contact,
    create,
    entries,
    entry_of,
    erase,
    erase_for_person,
    id_of,
    open_request,
    profile,
    reveal,
    rows,
    subject_of,
    values,
)
from tests.orders import approved, export, order_for, register, team
from tests.serving import Caller, Serving, why
from vault.client.errors import CallError
from vault.operations import erase_run
from vault.operations.upkeep import upkeep_caller
from vault.v1.erasure_service_pb2 import (
    ApproveErasureRequest,
    GetErasureCertificateRequest,
    GetErasureRequest,
    PreviewErasureRequest,
    RequestErasureRequest,
)
from vault.v1.legal_service_pb2 import (
    ApproveOrderRequest,
    CreateExportRequest,
    DownloadExportRequest,
    GetExportRequest,
    GetOrderRequest,
    RejectOrderRequest,
)
from vault.v1.tenant_service_pb2 import CloseCustomerRequestRequest
from vault.v1.vault_service_pb2 import (
    BatchRevealRecordsRequest,
    ConfirmDeliveryRequest,
    CreateRecordRequest,
    DeleteRecordRequest,
    GetRecordRequest,
    GetSubjectRequest,
    ListRecordsRequest,
    UpdateRecordRequest,
)

Asked = Callable[[str], Any]


async def answers(caller: Caller, method: Callable[..., Any], ask: Asked, *names: str, streams: bool = False) -> list[CallError]:
    """The refusal of one request per name."""
    return [await caller.refused(method, ask(name), streams=streams) for name in names]


def alike(pairs: Mapping[str, list[CallError]]) -> dict[str, set[tuple[str, str, str, tuple[str, ...]]]]:
    """What a caller can tell the refusals of each method apart by."""
    return {method: {(error.code.name, error.reason, error.message, error.fields) for error in errors} for method, errors in pairs.items()}


async def test_a_subject_or_record_of_another_tenant_answers_like_one_that_never_was(served: Serving) -> None:
    """I11, P3.5-reports: by every method that takes its name; nothing changes over there."""
    await served.create_tenants()
    theirs = (await create(served.service("globex-app"), contact(), tenant="globex")).name.replace("globex", "acme")
    app, admin, num2 = served.service("acme-app"), served.service("acme-admin"), served.service("num2")
    people = (subject_of(theirs), f"tenants/acme/subjects/{NEVER}")
    records = (theirs, f"{people[1]}/records/{NEVER}")
    before = await rows(served)
    new = values({"phone": OTHER_PHONE})
    mask = FieldMask(paths=["phone"])

    pairs = {
        "GetSubject": await answers(app, app.records.GetSubject, lambda n: GetSubjectRequest(name=n), *people),
        "ListRecords": await answers(app, app.records.ListRecords, lambda n: ListRecordsRequest(parent=n), *people),
        "CreateRecord": await answers(
            app, app.records.CreateRecord, lambda n: CreateRecordRequest(parent="tenants/acme", record=profile(n, first_name="x")), *people
        ),
        "PreviewErasure": await answers(
            admin, admin.erasures.PreviewErasure, lambda n: PreviewErasureRequest(subject=n, justification=ERASING), *people
        ),
        "RequestErasure": await answers(
            admin,
            admin.erasures.RequestErasure,
            lambda n: RequestErasureRequest(subject=n, preview_digest="0" * 64, justification=ERASING),
            *people,
        ),
        "GetRecord": await answers(app, app.records.GetRecord, lambda n: GetRecordRequest(name=n), *records),
        "RevealRecord": await answers(app, app.records.RevealRecord, lambda n: asked(n, "phone"), *records),
        "UpdateRecord": await answers(
            app,
            app.records.UpdateRecord,
            lambda n: UpdateRecordRequest(name=n, fields=new, update_mask=mask, justification=SERVING),
            *records,
        ),
        "DeleteRecord": await answers(
            app, app.records.DeleteRecord, lambda n: DeleteRecordRequest(name=n, justification=SERVING), *records
        ),
        "ConfirmDelivery": await answers(num2, num2.records.ConfirmDelivery, lambda n: ConfirmDeliveryRequest(name=n), *records),
    }

    told = alike(pairs)
    assert {method: len(answer) for method, answer in told.items()} == dict.fromkeys(pairs, 1)
    assert {(code, reason) for answer in told.values() for code, reason, *_ in answer} == {
        ("NOT_FOUND", "SUBJECT_NOT_FOUND"),
        ("NOT_FOUND", "RECORD_NOT_FOUND"),
    }
    assert all([(await entry_of(served, error)).decision == "REFUSED" for errors in pairs.values() for error in errors])
    assert await rows(served) == before


async def test_a_subject_named_under_the_wrong_tenant_is_not_stored_for(served: Serving) -> None:
    """I11: the tenant of a name counts, also where the tenant of the call is another."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, contact())).name)
    before = await rows(served)

    refused = await app.refused(
        app.records.CreateRecord,
        CreateRecordRequest(parent="tenants/acme", record=profile(person.replace("acme", "globex"), first_name="x")),
    )

    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "SUBJECT_NOT_FOUND")
    assert await rows(served) == before


async def test_a_batch_that_names_another_tenants_record_releases_nothing_of_it(served: Serving) -> None:
    """I11: also for a caller who may touch both tenants: one batch, one tenant, one log."""
    await served.create_tenants()
    engine = served.service("engine")
    ours = (await create(engine, contact())).name
    theirs = (await create(engine, contact(), tenant="globex")).name
    never = theirs.replace(id_of(theirs), NEVER)

    refused = [
        await engine.refused(
            engine.records.BatchRevealRecords,
            BatchRevealRecordsRequest(parent="tenants/acme", names=[ours, other], justification=SERVING),
        )
        for other in (theirs, never)
    ]

    assert len(alike({"BatchRevealRecords": refused})["BatchRevealRecords"]) == 1
    assert (refused[0].code.name, refused[0].reason) == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert [entry.operation for log in ("acme", "globex") for entry in await entries(served, log) if entry.decision == "ALLOWED"] == [
        "create",
        "create",
    ]


async def test_an_erasure_or_customer_request_of_another_tenant_answers_like_one_that_never_was(served: Serving) -> None:
    """I11."""
    await served.create_tenants()
    erasure = await erase(served, subject_of((await create(served.service("acme-app"), contact())).name))
    request = await open_request(served, "spring", "reveal")
    officer, admin, approver = (
        served.service("privacy-officer"),
        served.service("globex-admin"),
        served.person("e-approver", "privacy-officer"),
    )
    erasures = [f"tenants/globex/erasures/{id_}" for id_ in (id_of(erasure.name), NEVER)]
    requests = [f"tenants/globex/customerRequests/{id_}" for id_ in (id_of(request.name), NEVER)]

    pairs = {
        "GetErasure": await answers(officer, officer.erasures.GetErasure, lambda n: GetErasureRequest(name=n), *erasures),
        "GetErasureCertificate": await answers(
            officer, officer.erasures.GetErasureCertificate, lambda n: GetErasureCertificateRequest(name=n), *erasures
        ),
        "ApproveErasure": await answers(
            approver, approver.erasures.ApproveErasure, lambda n: ApproveErasureRequest(name=n, justification=ERASING), *erasures
        ),
        "CloseCustomerRequest": await answers(
            admin, admin.tenants.CloseCustomerRequest, lambda n: CloseCustomerRequestRequest(name=n), *requests
        ),
    }

    told = alike(pairs)
    assert {method: len(answer) for method, answer in told.items()} == dict.fromkeys(pairs, 1)
    assert {(code, reason) for answer in told.values() for code, reason, *_ in answer} == {
        ("NOT_FOUND", "ERASURE_NOT_FOUND"),
        ("NOT_FOUND", "CUSTOMER_REQUEST_NOT_FOUND"),
    }


async def test_an_order_or_export_of_another_tenant_answers_like_one_that_never_was(served: Serving) -> None:
    """I11, N10."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    package = await export(people, await approved(people, order_for(served, people)))
    pending = await register(people, order_for(served, people, document=b"\2" * 32))
    officer, registrant, courier = people.officer, people.registrant, people.courier
    orders = [f"tenants/globex/orders/{id_}" for id_ in (id_of(pending.name), NEVER)]
    exports = [package.name.replace("acme", "globex"), f"tenants/globex/orders/{NEVER}/exports/{NEVER}"]

    pairs = {
        "GetOrder": await answers(officer, officer.legal.GetOrder, lambda n: GetOrderRequest(name=n), *orders),
        "ApproveOrder": await answers(
            officer, officer.legal.ApproveOrder, lambda n: ApproveOrderRequest(name=n, scope_digest=pending.scope_digest), *orders
        ),
        "RejectOrder": await answers(
            officer, officer.legal.RejectOrder, lambda n: RejectOrderRequest(name=n, reason="the letter is a forgery"), *orders
        ),
        "CreateExport": await answers(registrant, registrant.legal.CreateExport, lambda n: CreateExportRequest(parent=n), *orders),
        "GetExport": await answers(officer, officer.legal.GetExport, lambda n: GetExportRequest(name=n), *exports),
        "DownloadExport": await answers(
            courier, courier.legal.DownloadExport, lambda n: DownloadExportRequest(name=n), *exports, streams=True
        ),
    }

    told = alike(pairs)
    assert {method: len(answer) for method, answer in told.items()} == dict.fromkeys(pairs, 1)
    assert {(code, reason) for answer in told.values() for code, reason, *_ in answer} == {
        ("NOT_FOUND", "ORDER_NOT_FOUND"),
        ("NOT_FOUND", "EXPORT_NOT_FOUND"),
    }


async def test_a_call_whose_owner_was_erased_is_still_listed_under_a_name_that_leads_to_it(served: Serving) -> None:
    """E7, A23. Once, the other parties were given the name of the erased owner; and once a party that had become a token broke the list."""
    await served.create_tenants()
    billing, reporting = served.service("billing"), served.service("reporting")
    parties = {party.role: party.subject for party in (await create(billing, call_detail())).parties}

    await erase_for_person(served, parties["customer"])
    served.clock.offset += timedelta(days=8 * 366)
    await erase_run.resume(served.vault, upkeep_caller())

    [listed] = (await reporting.call(reporting.records.ListRecords, ListRecordsRequest(parent=parties["called"]))).records
    got = (await reporting.call(reporting.records.GetRecord, GetRecordRequest(name=listed.name))).record
    await served.sign_nda("e-lawyer")
    because = why("claim-or-complaint", "TCK-1234", "the customer disputes a charge")
    shown = await reveal(served.person("e-lawyer", "legal-officer"), asked(listed.name, "called", because=because))
    assert got == listed
    assert [party.role for party in listed.parties if party.erased] == ["customer"]
    assert (list(shown.erased_parties), shown.fields["called"].text) == (["customer"], OTHER_PHONE)
