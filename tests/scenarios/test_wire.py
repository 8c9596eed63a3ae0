"""Bytes that are no request, answers that are too large, moments outside the calendar: each has its answer, and none is INTERNAL (§9)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tests.builders import (
    NOTHING,
    PHONE,
    asked,
    at,
    contact,
    create,
    create_all,
    entries,
    entry_of,
    mapping,
    outgoing,
    record,
    refusal,
    reveal,
    rows,
    sought,
    subject_of,
)
from tests.serving import Caller as Client
from tests.serving import Serving, why
from vault.client.errors import CallError, call_error
from vault.operations import log
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import active_tenant
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest
from vault.v1.resources_pb2 import VIEW_FULL
from vault.v1.tenant_service_pb2 import OpenCustomerRequestRequest
from vault.v1.vault_service_pb2 import BatchRevealRecordsRequest, CreateRecordRequest, RevealRecordRequest

MIB = 1 << 20
FAULT = why("technical-fault", "SUP-4711", "the customer reports that a message is missing")
# Field 1, a text of three bytes that are not UTF-8; a field that promises more bytes than there are; a tag that is none.
NO_REQUESTS = {"no UTF-8": b"\x0a\x03\xff\xfe\xfd", "cut short": b"\x0a\x7fabc", "no tag": b"\x07", "noise": bytes(range(256))}


async def refused_bytes(caller: Client, method: str, data: bytes, *, form: str = "unary_unary") -> CallError:
    """Send bytes as a request, by whatever kind of call the method is."""

    async def stream() -> AsyncIterator[bytes]:
        yield data

    call = getattr(caller.channel, form)(f"/vault.v1.{method}")
    sends, answers = form.split("_")
    pending: Any = call(stream() if sends == "stream" else data, metadata=caller.metadata, timeout=30)
    try:
        if answers == "stream":
            answer: object = [item async for item in pending]
        else:
            answer = await pending
    except grpc.aio.AioRpcError as error:
        return call_error(error)
    message = f"not refused: {answer!r}"
    raise AssertionError(message)


async def test_bytes_that_are_no_request_are_refused_and_recorded_by_every_kind_of_call(served: Serving) -> None:
    """I5. Once, invalid UTF-8 was an internal error that nobody recorded."""
    await served.create_tenants()
    app, courier = served.service("acme-app"), served.person("e-courier", "order-courier")
    kinds = [
        (app, "VaultService/RevealRecord", "unary_unary"),
        (app, "VaultService/ImportRecords", "stream_unary"),
        (app, "VaultService/StreamRevealRecords", "stream_stream"),
        (courier, "LegalService/DownloadExport", "unary_stream"),
    ]

    refused = {
        (method, case): await refused_bytes(caller, method, data, form=form)
        for caller, method, form in kinds
        for case, data in NO_REQUESTS.items()
    }

    assert {asked: (error.code.name, error.reason) for asked, error in refused.items()} == dict.fromkeys(
        refused, ("INVALID_ARGUMENT", "REQUEST_MALFORMED")
    )
    assert [(await entry_of(served, error)).method.removeprefix("/vault.v1.") for error in refused.values()] == [
        method for method, _ in refused
    ]


async def test_whoever_may_not_call_a_method_learns_nothing_about_its_requests(served: Serving) -> None:
    """AIP-211: authorisation comes before validation."""
    await served.create_tenants()
    auditor = served.service("auditor")

    refused = [await refused_bytes(auditor, "VaultService/RevealRecord", data) for data in (b"", *NO_REQUESTS.values())]

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")}


async def test_an_enum_value_that_is_not_in_the_contract_is_refused(served: Serving) -> None:
    """I9: an unknown view is not taken for the masked one."""
    await served.create_tenants()
    app = served.service("acme-app")
    request = asked((await create(app, contact())).name)
    request.ClearField("view")
    # Field 3 is the view: 7, and −1.
    known = request.SerializeToString()
    raw = [known + b"\x18\x07", known + b"\x18" + b"\xff" * 9 + b"\x01"]

    refused = [await refused_bytes(app, "VaultService/RevealRecord", data) for data in raw]

    assert {(error.code.name, error.reason, error.fields) for error in refused} == {("INVALID_ARGUMENT", "FIELD_INVALID", ("view",))}
    assert RevealRecordRequest.FromString(raw[0]).view == 7


async def test_a_record_or_message_above_its_limit_is_refused_and_nothing_is_stored(served: Serving) -> None:
    """§9: the limit is named, the vault goes on serving."""
    await served.create_tenants()
    engine = served.service("engine")
    person = f"tenants/acme/subjects/{'a' * 26}"

    two, five = [
        await engine.refused(
            engine.records.CreateRecord,
            CreateRecordRequest(parent="tenants/acme", record=outgoing(person, "system-file", b"x" * size * MIB)),
        )
        for size in (2, 5)
    ]

    assert (two.code.name, two.reason, two.metadata["limit"]) == ("INVALID_ARGUMENT", "FIELD_INVALID", "1000000")
    assert (five.code.name, five.receipt) == ("RESOURCE_EXHAUSTED", None)
    assert await rows(served) == NOTHING
    assert (await create(engine, contact())).category == "end-customer-contact"


async def test_an_answer_above_the_limit_of_a_message_is_an_answer_about_that(served: Serving) -> None:
    """§9: never INTERNAL; the caller asks for less and gets it."""
    await served.create_tenants()
    engine, support = served.service("engine"), served.service("support")
    person = subject_of((await create(engine, contact())).name)
    stored = [(await create(engine, outgoing(person, "system-file", b"x" * 1_000_000))).name for _ in range(5)]

    def bodies(count: int) -> BatchRevealRecordsRequest:
        mask = FieldMask(paths=["body"])
        return BatchRevealRecordsRequest(parent="tenants/acme", names=stored[:count], justification=FAULT, view=VIEW_FULL, field_mask=mask)

    refused = await support.refused(support.records.BatchRevealRecords, bodies(5))
    answer = await support.call(support.records.BatchRevealRecords, bodies(4))

    assert refused.code.name == "RESOURCE_EXHAUSTED"
    assert [len(item.record.fields["body"].data) for item in answer.results] == [1_000_000] * 4


async def test_a_log_of_large_entries_is_read_by_its_default_pages(served: Serving) -> None:
    """I8: a page of the log is never larger than a message, and whoever reads on gets every entry."""
    await served.create_tenants()
    auditor = served.service("auditor")
    caller = Caller("spiffe://pii-vault.localhost/test", "service", frozenset(), None, "test", "0" * 32, "mtls")
    attempt = Attempt(caller=caller, operation="reveal", records=("a" * 26,) * 2000)
    async with served.vault.database.write() as connection:
        _, keys = await active_tenant(served.vault, connection, "acme")
        await log.append(served.vault, connection, keys, [attempt] * 60)

    page = await auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent="tenants/acme"))

    read = await entries(served)
    assert (0 < len(page.entries) < 60, page.log_size) == (True, 60)
    assert [entry.name for entry in read] == [f"tenants/acme/auditEntries/{n}" for n in range(60)]


async def test_moments_outside_the_calendar_are_refused_wherever_a_moment_is_asked_for(served: Serving) -> None:
    """§9: seconds and nanoseconds that are no time, in messages and in records."""
    await served.create_tenants()
    num2, admin, officer = served.service("num2"), served.service("acme-admin"), served.person("e-dpo", "privacy-officer")
    wrong = [Timestamp(seconds=10**15), Timestamp(seconds=-(10**15)), Timestamp(nanos=-1), Timestamp(nanos=2_000_000_000)]
    search = sought("virtual-number", PHONE, category="number-mapping", as_of="2026-01-01T00:00:00Z")
    ask = OpenCustomerRequestRequest(parent="tenants/acme", operations=["reveal"])
    nda = RegisterNdaRequest(person="people/e-1", document_sha256=b"\1" * 32, expire_time=at(served.clock() + timedelta(days=1)))

    refused = []
    for moment in wrong:
        search.as_of.CopyFrom(moment)
        ask.expire_time.CopyFrom(moment)
        nda.sign_time.CopyFrom(moment)
        refused += [
            await num2.refused(num2.records.FindSubjects, search),
            await admin.refused(admin.tenants.OpenCustomerRequest, ask),
            await officer.refused(officer.access.RegisterNda, nda),
        ]

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "FIELD_INVALID")}
    assert {error.fields for error in refused} == {("as_of",), ("expire_time",), ("sign_time",)}


async def test_a_record_of_no_possible_moment_is_refused(served: Serving) -> None:
    """A29: also one whose retention would end after the calendar, and an assignment that ends before it begins."""
    await served.create_tenants()
    num2, engine = served.service("num2"), served.service("engine")
    texts = ["2026-02-30T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "26-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "now", "9" * 40]
    number = "+972732345678"
    person = subject_of((await create(engine, contact())).name)
    late = outgoing(person, "system-file")
    late.fields["submitted_at"].text = "9999-12-01T00:00:00Z"

    refused = [refusal(item) for item in await create_all(num2, [mapping(number, PHONE, begin=text) for text in texts])]
    backwards = refusal((await create_all(num2, [mapping(number, PHONE, begin="2026-02-01T00:00:00Z", end="2026-01-01T00:00:00Z")]))[0])
    too_late = refusal((await create_all(engine, [late]))[0])

    assert {(error.reason, error.fields) for error in refused} == {("FIELD_INVALID", ("valid_from",))}
    assert [(error.reason, error.fields) for error in (backwards, too_late)] == [
        ("FIELD_INVALID", ("valid_to",)),
        ("FIELD_INVALID", ("submitted_at",)),
    ]
    assert (await rows(served))[:2] == (1, 1)


async def test_a_page_token_that_nobody_gave_out_is_refused(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    request = sought("phone", PHONE)
    invented = ["x", "AAAA", "A" * 64, "=" * 8, "שלום", "2026", " ", "A" * 100_000]

    refused = []
    for token in invented:
        request.page_token = token
        refused.append(await app.refused(app.records.FindSubjects, request))

    assert [(error.code.name, error.reason, error.fields) for error in refused] == [
        ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", ("page_token",))
    ] * len(invented)


async def test_text_is_kept_in_one_form_and_bytes_as_they_are(served: Serving) -> None:
    """Two spellings of one letter are one letter (NFC); a body is nobody's to change; a surrogate is no text."""
    await served.create_tenants()
    app, engine, support = served.service("acme-app"), served.service("engine"), served.service("support")
    person = subject_of((await create(app, contact())).name)
    body = bytes(range(256))

    name = await create(app, record("list-profile", {"first_name": "Jose\u0301"}, subject=person))
    message = await create(engine, outgoing(person, "system-file", body))

    shown = await reveal(engine, asked(name.name, "first_name", because=await served.job()))
    assert shown.fields["first_name"].text == "Jos\u00e9"
    assert (await reveal(support, asked(message.name, "body", because=FAULT))).fields["body"].data == body
