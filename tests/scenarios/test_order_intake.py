"""What comes in: the form checked, the scan sealed, the instrument judged by what it may reach, and found authentic or not (§5.1–5.3)."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.builders import at, call_detail, create, entries, entry_of
from tests.holds import listed
from tests.orders import Team, authenticate, order_for, preview, receive, register, team
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.store import tables
from vault.v1 import legal_service_pb2 as legal
from vault.v1.legal_service_pb2 import (
    AUTHENTICITY_CONFIRMED,
    AUTHENTICITY_FAILED,
    AuthenticateOrderRequest,
    GetOrderRequest,
    InstrumentType,
    ListOrdersRequest,
    Order,
    PreviewExportRequest,
    RegisterOrderRequest,
    SetOrderScopeRequest,
)

SCAN = b"%PDF-1.7 " + "צו בית משפט".encode()
Change = Callable[[RegisterOrderRequest], None]


def of_type(served: Serving, people: Team, kind: str, **changes: object) -> RegisterOrderRequest:
    """An order under another kind of instrument."""
    request = order_for(served, people, **changes)  # type: ignore[arg-type]  # the builder's own names
    request.instrument.type = InstrumentType.Value(f"INSTRUMENT_TYPE_{kind}")
    if kind == "COMMS_URGENT":
        request.instrument.ClearField("expire_time")
        request.instrument.issue_time.CopyFrom(at(served.clock() - timedelta(hours=1)))
    if kind == "REGULATOR_DEMAND":
        request.instrument.legal_section = "section 11"
    return request


async def refused_to_register(people: Team, request: RegisterOrderRequest) -> CallError:
    return await people.registrant.refused(people.registrant.legal.RegisterOrder, request)


async def everything_stored(served: Serving) -> bytes:
    """Every row about orders, as the database has it."""
    async with served.vault.database.read() as connection:
        found = [
            (await connection.execute(select(table))).all() for table in (tables.orders, tables.order_documents, tables.order_previews)
        ]
    return repr(found).encode() + b"".join(bytes(v) for rows in found for row in rows for v in row if isinstance(v, bytes))


async def test_every_field_of_the_form_is_taken_and_none_of_it_stands_in_clear(served: Serving) -> None:
    """§5.1, I2: what the order says is sealed, the scan too; whoever works on it gets both back."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people, document=hashlib.sha256(SCAN).digest())
    said = request.instrument
    said.court_code, said.court_level, said.case_number = "TA-1", legal.COURT_LEVEL_MAGISTRATE, "צ״א 12345-06-26"
    said.issuer_title, said.received_by = "שופטת", "the front desk"
    said.receive_time.CopyFrom(at(served.clock() - timedelta(hours=1)))
    said.receive_channel, said.signature_check = legal.RECEIVED_CHANNEL_COURT_SYSTEM, legal.SIGNATURE_CHECK_VALID
    said.valid_from_time.CopyFrom(said.issue_time)
    said.respond_time.CopyFrom(at(served.clock() + timedelta(days=3)))
    said.investigation_number, said.contact, said.call_back = "פ.א. 4711/2026", "רס״ר כהן", "+972-2-5000000"
    said.legal_basis, said.legal_section, said.emergency, said.pages = "Communications Data Law", "3", True, 4
    said.true_copy_stamp, said.language, said.counsel_note = "STAMP-99812", "he", "nothing is unclear"
    request.recipient.unit, request.recipient.person, request.recipient.verified_by = "יאח״ה", "רס״ר כהן", "dana"
    request.recipient.delivery_method, request.document = "courier", SCAN
    request.recipient.key_expire_time.CopyFrom(at(served.clock() + timedelta(days=60)))

    order = await register(people, request)
    seen = await people.officer.call(people.officer.legal.PreviewExport, PreviewExportRequest(name=order.name, include_document=True))

    stored = await everything_stored(served)
    words = [said.court_name, said.case_number, "12345-06-26", said.issuer_name, said.contact, said.investigation_number, "STAMP-99812"]
    assert not any(word.encode() in stored for word in [*words, said.call_back, "2345678", "יאח״ה"])
    assert SCAN not in stored
    assert SCAN[:8] not in stored
    assert hashlib.sha256(SCAN).digest() not in stored
    assert seen.document == SCAN
    assert [(target.kind, target.value) for target in seen.scope.targets] == [("phone", "+972502345678")]
    assert [legal.DeadlineKind.Name(deadline.kind) for deadline in order.deadlines] == ["DEADLINE_KIND_RESPOND", "DEADLINE_KIND_EXPIRE"]


async def test_whoever_approves_sees_the_numbers_masked_and_no_scan(served: Serving) -> None:
    """C29: the full view of an order is the legal officer's."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people, ("phone", "+972502345678"), ("email", "noa@example.com"), document=hashlib.sha256(SCAN).digest())
    request.document = SCAN
    order = await register(people, request)

    seen = await people.approver.call(people.approver.legal.PreviewExport, PreviewExportRequest(name=order.name, include_document=True))

    assert [target.value for target in seen.scope.targets] == ["n•••@example.com", "+97250•••••78"]
    assert seen.document == b""


WRONG: list[tuple[Change, str, str]] = [
    (lambda r: setattr(r.instrument, "court_name", ""), "FIELD_REQUIRED", "instrument.court_name"),
    (lambda r: setattr(r.instrument, "case_number", ""), "FIELD_REQUIRED", "instrument.case_number"),
    (lambda r: setattr(r.instrument, "issuer_name", "two\nlines"), "FIELD_INVALID", "instrument.issuer_name"),
    (
        lambda r: r.instrument.MergeFrom(legal.Instrument(court_level=legal.COURT_LEVEL_DISTRICT, case_number="12345/13/26")),
        "CASE_NUMBER_INVALID",
        "instrument.case_number",
    ),
    (lambda r: setattr(r.instrument, "pages", -1), "FIELD_INVALID", "instrument.pages"),
    (lambda r: setattr(r.instrument, "document_sha256", b"short"), "FIELD_INVALID", "instrument.document_sha256"),
    (lambda r: r.instrument.receive_time.FromSeconds(r.instrument.issue_time.seconds - 1), "FIELD_INVALID", "instrument.receive_time"),
    (lambda r: r.instrument.respond_time.FromSeconds(r.instrument.issue_time.seconds - 1), "FIELD_INVALID", "instrument.respond_time"),
    (lambda r: r.instrument.valid_from_time.CopyFrom(r.instrument.expire_time), "FIELD_INVALID", "instrument.valid_from_time"),
    (lambda r: r.instrument.expire_time.FromSeconds(r.instrument.issue_time.seconds - 1), "FIELD_INVALID", "instrument.expire_time"),
    (lambda r: setattr(r.instrument.gag, "kind", legal.GAG_KIND_UNTIL), "FIELD_INVALID", "instrument.gag.end_time"),
    (lambda r: setattr(r.recipient, "delivery_method", "pigeon"), "FIELD_INVALID", "recipient.delivery_method"),
    (lambda r: setattr(r.recipient, "body", ""), "FIELD_REQUIRED", "recipient.body"),
    (lambda r: r.ClearField("scope"), "SCOPE_TOO_WIDE", "scope.targets"),
    (lambda r: setattr(r.scope, "max_rows", -1), "FIELD_INVALID", "scope.max_rows"),
    (lambda r: setattr(r.scope, "local_start", "2026-03-01T00:00"), "FIELD_INVALID", "scope.local_end"),
    (lambda r: r.scope.targets[0].start_time.FromSeconds(0), "FIELD_INVALID", "scope.targets.start_time"),
    (lambda r: r.scope.declined_categories.append("call-detail"), "FIELD_INVALID", "scope.declined_categories"),
    (lambda r: setattr(r, "document", b"another scan"), "DOCUMENT_MISMATCH", "document"),
]


async def test_a_form_that_is_filled_in_wrongly_is_refused_with_the_field(served: Serving) -> None:
    """§5.1, N13."""
    await served.create_tenants()
    people = await team(served)

    for change, reason, where in WRONG:
        request = order_for(served, people)
        change(request)
        refused = await refused_to_register(people, request)
        assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason, (where,))

    sound = order_for(served, people)
    sound.instrument.court_level = legal.COURT_LEVEL_DISTRICT
    assert (await receive(people, sound)).state == legal.ORDER_STATE_RECEIVED


async def test_one_scan_is_one_order_whatever_case_it_is_said_to_be_of(served: Serving) -> None:
    """N13: the same document for another case, and after a rejection."""
    await served.create_tenants()
    people = await team(served)
    await receive(people, order_for(served, people))
    other = order_for(served, people)
    other.instrument.case_number, other.instrument.court_name = "999-01-26", "בית המשפט המחוזי"

    refused = await refused_to_register(people, other)

    assert (refused.code.name, refused.reason) == ("ALREADY_EXISTS", "ORDER_DUPLICATE")


@pytest.mark.parametrize(
    ("start", "end", "utc_start", "utc_end", "notes"),
    [
        ("2025-10-26T01:30", "2025-10-26T05:00", "2025-10-25T22:30:00Z", "2025-10-26T03:00:00Z", ["START_CAME_TWICE"]),
        ("2025-03-27", "2025-03-28T02:30", "2025-03-26T22:00:00Z", "2025-03-28T00:00:00Z", ["END_NEVER_CAME"]),
    ],
)
async def test_a_period_is_read_on_the_clock_of_jerusalem_and_what_was_read_into_it_is_noted(
    served: Serving, start: str, end: str, utc_start: str, utc_end: str, notes: list[str]
) -> None:
    """§5.3: both changes of the clock; a time that means another moment than the one given is refused."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people, start=utc_start, end=utc_end)
    request.scope.time_zone, request.scope.local_start, request.scope.local_end = "Asia/Jerusalem", start, end
    shifted = order_for(served, people, start=utc_start, end=utc_end, document=b"\2" * 32)
    shifted.scope.local_start, shifted.scope.local_end = start, end
    shifted.scope.start_time.seconds += 3600

    seen = await preview(people.officer, await register(people, request))
    refused = await refused_to_register(people, shifted)

    assert list(seen.notes) == notes
    assert (refused.reason, refused.fields) == ("FIELD_INVALID", ("scope.start_time",))


@pytest.mark.parametrize(
    ("kind", "rejection"),
    [
        ("WIRETAP", "INSTRUMENT_NOT_ALLOWED"),
        ("FOREIGN", "INSTRUMENT_NOT_ALLOWED"),
        ("DATABASE_BULK", "SCOPE_TOO_WIDE"),
        ("NO_INSTRUMENT", "NO_INSTRUMENT"),
    ],
)
async def test_what_nothing_is_released_under_stays_on_the_register_with_its_reason(served: Serving, kind: str, rejection: str) -> None:
    """§5.2, A18, L22: rejected from the start; it holds nothing, and nothing can be done with it."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    request = of_type(served, people, kind)
    request.ClearField("recipient")
    if kind in {"DATABASE_BULK", "NO_INSTRUMENT"}:
        request.ClearField("scope")
        for name in ("court_name", "case_number", "expire_time"):
            request.instrument.ClearField(name)

    order = await receive(people, request)
    asked = AuthenticateOrderRequest(name=order.name, method="call-back", result=AUTHENTICITY_CONFIRMED, finding="they wrote to us again")
    refused = await people.officer.refused(people.officer.legal.AuthenticateOrder, asked)
    register_of = (await people.officer.call(people.officer.legal.ListOrders, ListOrdersRequest(parent="tenants/acme"))).orders

    assert (order.state, order.rejection) == (legal.ORDER_STATE_REJECTED, rejection)
    assert refused.reason == "ORDER_REJECTED"
    assert [one.name for one in register_of] == [order.name]
    assert await listed(served) == []
    assert [entry.operation for entry in await entries(served)][-2:] == ["register-order", "authenticate-order"]


async def test_an_instrument_that_prints_no_end_ends_when_the_law_says(served: Serving) -> None:
    """L19, L20, A18, §5.2: those that have to print it are refused without."""
    await served.create_tenants()
    people = await team(served)
    lasting = {"COMMS_DATA": timedelta(days=30), "COMMS_URGENT": timedelta(hours=24), "PRESERVATION": timedelta(days=30)}
    refused, found = [], {}

    for number, kind in enumerate([*lasting, "PRODUCTION", "CIVIL_DISCLOSURE", "REGULATOR_DEMAND"]):
        request = of_type(served, people, kind, fields=["calling"], document=bytes([number]) * 32)
        request.instrument.ClearField("expire_time")
        if kind in lasting:
            order = await receive(people, request)
            found[kind] = order.expire_time.ToDatetime() - request.instrument.issue_time.ToDatetime()
        else:
            refused.append(await refused_to_register(people, request))

    assert found == lasting
    assert [(error.reason, error.fields) for error in refused] == [("FIELD_REQUIRED", ("instrument.expire_time",))] * 3


# Kind, fields, whether the order names content, what counsel noted, and why not.
REACHED: list[tuple[str, list[str], bool, str, str]] = [
    ("COMMS_DATA", [], True, "confirmed", "CLASS_NOT_COVERED"),
    ("COMMS_DATA", ["from"], False, "", ""),
    ("COMMS_URGENT", ["body"], True, "confirmed", "CLASS_NOT_COVERED"),
    ("COMMS_URGENT", ["from"], False, "", ""),
    ("PRODUCTION", ["body"], False, "", "CLASS_NOT_COVERED"),
    ("PRODUCTION", ["body"], True, "", "CLASS_NOT_COVERED"),
    ("PRODUCTION", ["body"], False, "confirmed", "CLASS_NOT_COVERED"),
    ("PRODUCTION", ["body"], True, "confirmed", ""),
    ("CIVIL_DISCLOSURE", [], True, "confirmed", "CLASS_NOT_COVERED"),
    ("CIVIL_DISCLOSURE", ["from", "body"], True, "confirmed", ""),
    ("REGULATOR_DEMAND", ["from"], False, "", ""),
    ("REGULATOR_DEMAND", ["body"], True, "", "CLASS_NOT_COVERED"),
    ("PRESERVATION", [], False, "", ""),
]


async def test_each_instrument_reaches_what_it_may_and_nothing_else(served: Serving) -> None:
    """§5.2, L19, A19, N11: content needs an instrument that reaches it, names it, and counsel's word."""
    await served.create_tenants()
    people = await team(served)

    for number, (kind, fields, named, note, reason) in enumerate(REACHED):
        request = of_type(served, people, kind, categories=["incoming-message"], fields=fields, document=bytes([number]) * 32)
        request.instrument.names_content, request.instrument.counsel_note = named, note
        if reason:
            refused = await refused_to_register(people, request)
            assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", reason)
        else:
            assert (await receive(people, request)).state == legal.ORDER_STATE_RECEIVED


async def test_a_regulator_cites_the_section_that_it_relies_on(served: Serving) -> None:
    """§5.2."""
    await served.create_tenants()
    people = await team(served)
    request = of_type(served, people, "REGULATOR_DEMAND")
    request.instrument.legal_section = ""

    refused = await refused_to_register(people, request)

    assert (refused.reason, refused.fields) == ("FIELD_REQUIRED", ("instrument.legal_section",))


def finding(order: Order, method: str = "call-back", *, failed: bool = False) -> AuthenticateOrderRequest:
    return AuthenticateOrderRequest(
        name=order.name,
        method=method,
        result=AUTHENTICITY_FAILED if failed else AUTHENTICITY_CONFIRMED,
        finding="the registry was asked about the case",
    )


async def test_another_person_than_the_registrant_finds_out_whether_an_order_is_authentic(served: Serving) -> None:
    """§5.4 step 3: also under another account of the same employee; method and result are recorded."""
    await served.create_tenants()
    people = await team(served)
    order = await receive(people, order_for(served, people))
    other_account = served.person("e-registrant", "legal-approver", claims={"sub": "another-account"})

    refused = [await who.refused(who.legal.AuthenticateOrder, finding(order)) for who in (people.registrant, other_account)]
    found = await authenticate(people.officer, order)

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")}
    assert (found.state, found.authenticator) == (legal.ORDER_STATE_AUTHENTICATED, "people/e-officer")
    recorded = [(entry.operation, entry.rule) for entry in await entries(served) if entry.decision == "ALLOWED"]
    assert ("authenticate-order", "order:call-back:confirmed") in recorded


async def test_an_order_is_authenticated_by_something_that_is_on_the_register(served: Serving) -> None:
    """§5.4 step 3: a stamp that has no number says nothing."""
    await served.create_tenants()
    people = await team(served)
    order = await receive(people, order_for(served, people))

    asked = [finding(order, method) for method in ("stamp", "signature", "dream")]
    refused = [await people.officer.refused(people.officer.legal.AuthenticateOrder, request) for request in asked]

    assert [error.reason for error in refused] == ["AUTHENTICATION_UNFOUNDED", "AUTHENTICATION_UNFOUNDED", "FIELD_INVALID"]


async def test_a_forged_order_is_rejected_and_lets_go_what_it_held(served: Serving) -> None:
    """§5.4 step 2 and 3: a forged letter freezes nothing."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    order = await receive(people, order_for(served, people))
    held = [hold for hold in await listed(served) if not hold.HasField("release_time")]

    answer = await people.officer.call(people.officer.legal.AuthenticateOrder, finding(order, failed=True))

    assert len(held) == 1
    assert (answer.order.state, answer.order.rejection) == (legal.ORDER_STATE_REJECTED, "NOT_AUTHENTIC")
    assert all(hold.HasField("release_time") for hold in await listed(served))


async def test_an_authentic_order_holds_for_as_long_as_it_runs(served: Serving) -> None:
    """§5.4 step 2: thirty days are for finding out; then the order itself says how long."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    order = await receive(people, order_for(served, people, lasting=timedelta(days=300)))

    await authenticate(people.officer, order)

    ends = [hold.expire_time.ToDatetime() for hold in await listed(served)]
    assert max(ends) == order.expire_time.ToDatetime() + timedelta(days=30)
    assert min(ends) < order.expire_time.ToDatetime()


async def test_nothing_is_scoped_before_an_order_was_found_authentic(served: Serving) -> None:
    """§5.4."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await receive(people, request)
    legal_officer = people.registrant

    refused = await legal_officer.refused(legal_officer.legal.SetOrderScope, SetOrderScopeRequest(name=order.name, scope=request.scope))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_NOT_PENDING")
    assert (await entry_of(served, refused)).operation == "set-order-scope"
    assert (await read(people.officer, order)).state == legal.ORDER_STATE_RECEIVED


async def read(caller: Caller, order: Order) -> Order:
    return (await caller.call(caller.legal.GetOrder, GetOrderRequest(name=order.name))).order
