"""What is exported under an order: settled, counted without opening a record, and approved exactly as it was seen (§5.3, §5.4 steps 4–6)."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from pyrage import x25519

from tests.builders import LINE, OTHER_PHONE, PHONE, at, call_detail, create, create_all, entries, entry_of, id_of, incoming, mapping
from tests.orders import (
    END,
    Team,
    approve,
    approved,
    authenticate,
    build,
    deliver,
    order_for,
    preview,
    receive,
    register,
    settle,
    team,
)
from tests.serving import Caller, Serving
from vault import crypto
from vault.audit.entry import decode
from vault.client.errors import CallError
from vault.v1 import legal_service_pb2 as legal
from vault.v1.access_service_pb2 import ListIncidentsRequest
from vault.v1.legal_service_pb2 import (
    ORDER_STATE_AUTHENTICATED,
    ORDER_STATE_SCOPED,
    ApproveOrderRequest,
    CreateExportRequest,
    GetOrderRequest,
    Order,
    OrderRecipient,
    OrderScope,
    RegisterOrderRequest,
    SetOrderScopeRequest,
)

THIRD = "+972502345670"


async def authentic(people: Team, request: RegisterOrderRequest) -> Order:
    """An order that waits for its scope."""
    return await authenticate(people.officer, await receive(people, request))


async def not_settled(people: Team, order: Order, scope: OrderScope) -> CallError:
    officer = people.registrant
    return await officer.refused(officer.legal.SetOrderScope, SetOrderScopeRequest(name=order.name, scope=scope))


async def not_approved(caller: Caller, order: Order) -> CallError:
    request = ApproveOrderRequest(name=order.name, scope_digest=order.scope_digest)
    return await caller.refused(caller.legal.ApproveOrder, request)


def widened(request: RegisterOrderRequest, change: Callable[[OrderScope], object]) -> OrderScope:
    scope = OrderScope()
    scope.CopyFrom(request.scope)
    change(scope)
    return scope


WIDER: Mapping[str, Callable[[OrderScope], object]] = {
    "targets": lambda s: s.targets.add(kind="phone", value=OTHER_PHONE),
    "categories": lambda s: s.categories.append("message-metadata"),
    "fields": lambda s: s.fields.append("called"),
    "all fields": lambda s: s.ClearField("fields"),
    "start": lambda s: setattr(s.start_time, "seconds", s.start_time.seconds - 1),
    "end": lambda s: setattr(s.end_time, "seconds", s.end_time.seconds + 1),
    "rows": lambda s: setattr(s, "max_rows", 101),
    "no limit": lambda s: setattr(s, "max_rows", 0),
    "counterpart": lambda s: setattr(s, "counterpart_disclosure", legal.COUNTERPART_DISCLOSURE_FULL),
    "declined": lambda s: s.declined_categories.append("fax"),
}


async def test_n2_a_scope_never_becomes_wider_than_the_order(served: Serving) -> None:
    """N2: by whatever part; nothing is opened, and the order stays where it was."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people, fields=["calling", "start_at"])
    request.scope.max_rows, request.scope.counterpart_disclosure = 100, legal.COUNTERPART_DISCLOSURE_MASKED
    order = await authentic(people, request)

    refused = {part: await not_settled(people, order, widened(request, change)) for part, change in WIDER.items()}

    seen = (await people.officer.call(people.officer.legal.GetOrder, GetOrderRequest(name=order.name))).order
    found = {part: (error.code.name, error.reason) for part, error in refused.items()}
    assert found == dict.fromkeys(WIDER, ("FAILED_PRECONDITION", "SCOPE_EXCEEDED"))
    assert (seen.state, seen.scope_digest) == (ORDER_STATE_AUTHENTICATED, order.scope_digest)


async def test_n2_asking_for_more_than_the_order_covers_again_opens_an_incident(served: Serving) -> None:
    """N2: once may be a slip; twice is looked at by somebody else."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await authentic(people, request)
    wide = widened(request, lambda s: s.targets.add(kind="phone", value=OTHER_PHONE))
    officer = served.person("e-privacy", "privacy-officer")

    async def incidents() -> int:
        return len((await officer.call(officer.access.ListIncidents, ListIncidentsRequest(parent="tenants/acme"))).incidents)

    counts = []
    for _ in range(3):
        await not_settled(people, order, wide)
        counts.append(await incidents())

    assert counts == [0, 1, 1]


def decline_messages(scope: OrderScope) -> None:
    scope.categories.remove("message-metadata")
    scope.declined_categories.append("message-metadata")


NARROWER: Mapping[str, Callable[[OrderScope], object]] = {
    "target": lambda s: s.targets.pop(),
    "field": lambda s: s.fields.extend(["calling"]),
    "start": lambda s: setattr(s.start_time, "seconds", s.start_time.seconds + 3600),
    "rows": lambda s: setattr(s, "max_rows", 5),
    "counterpart": lambda s: setattr(s, "counterpart_disclosure", legal.COUNTERPART_DISCLOSURE_NONE),
    "declined": decline_messages,
}


async def test_a_scope_may_be_narrower_than_the_order(served: Serving) -> None:
    """§5.4 step 4."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people, ("phone", PHONE), ("phone", OTHER_PHONE), categories=["call-detail", "message-metadata"])
    order = await authentic(people, request)
    digests = [order.scope_digest]

    for change in NARROWER.values():
        scope = widened(request, change)
        if scope.fields:
            scope.categories[:] = ["call-detail"]
        settled = await settle(people.registrant, order, scope)
        assert settled.state == ORDER_STATE_SCOPED
        digests.append(settled.scope_digest)

    assert len(set(digests)) == 1 + len(NARROWER)


async def test_n3_any_edit_voids_what_was_approved(served: Serving) -> None:
    """N3: the late approver is told so; nothing is built on one approval of the old scope and one of the new."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await register(people, request)
    await approve(people.officer, order)
    await preview(people.approver, order)

    edited = await settle(people.registrant, order, widened(request, lambda s: setattr(s.start_time, "seconds", s.start_time.seconds + 60)))
    late = await not_approved(people.approver, order)
    await preview(people.approver, edited)
    after = await approve(people.approver, edited)

    assert (late.code.name, late.reason) == ("ABORTED", "SCOPE_DIGEST_CHANGED")
    assert list(edited.approvers) == []
    assert (after.state, list(after.approvers), list(after.missing_approvals)) == (
        ORDER_STATE_SCOPED,
        ["people/e-approver"],
        ["legal-officer"],
    )


async def test_n3_the_same_scope_settled_again_voids_approvals_of_an_approved_order_too(served: Serving) -> None:
    """N3: a digest is of this edit and no other."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await approved(people, request)

    edited = await settle(people.registrant, order, request.scope)
    officer = people.registrant
    refused = await officer.refused(officer.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert edited.scope_digest != order.scope_digest
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "APPROVALS_MISSING")


def recipient(people: Team, **changes: object) -> OrderRecipient:
    said = {"body": "משטרת ישראל", "age_recipient": str(people.identity.to_public()), "verification": "read back by telephone", **changes}
    return OrderRecipient(**said)  # type: ignore[arg-type]  # the message's own fields


async def with_recipient(people: Team, order: Order, scope: OrderScope, to: OrderRecipient) -> Order:
    request = SetOrderScopeRequest(name=order.name, scope=scope, recipient=to)
    return (await people.registrant.call(people.registrant.legal.SetOrderScope, request)).order


async def test_n14_a_key_that_nobody_verified_or_whose_time_is_over_is_not_approved(served: Serving) -> None:
    """N14."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await register(people, request)
    unverified = await with_recipient(people, order, request.scope, recipient(people, verification=""))
    await preview(people.officer, unverified)
    first = await not_approved(people.officer, unverified)
    expiring = await with_recipient(
        people, order, request.scope, recipient(people, key_expire_time=at(served.clock() + timedelta(hours=1)))
    )
    served.clock.offset = timedelta(hours=2)
    officer = served.person("e-officer", "legal-officer")
    await preview(officer, expiring)
    second = await not_approved(officer, expiring)

    assert {(error.code.name, error.reason) for error in (first, second)} == {("FAILED_PRECONDITION", "RECIPIENT_KEY_INVALID")}


async def test_n14_a_key_that_is_swapped_after_an_approval_voids_it(served: Serving) -> None:
    """N14: the key is part of what is signed."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await approved(people, request)

    other = recipient(people, age_recipient=str(x25519.Identity.generate().to_public()))
    swapped = await with_recipient(people, order, request.scope, other)

    assert (swapped.state, list(swapped.approvers)) == (ORDER_STATE_SCOPED, [])
    assert swapped.scope_digest != order.scope_digest


async def test_a_preview_counts_what_the_package_will_hold_and_opens_nothing(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """§5.4 step 5: per category and target, neighbours that stay, what the instrument does not cover; the package holds exactly that."""
    await served.create_tenants()
    people = await team(served)
    billing, engine = served.service("billing"), served.service("engine")
    await create_all(
        billing,
        [
            call_detail(),
            call_detail(calling=OTHER_PHONE, called=PHONE, start="2026-03-03T08:15:00Z"),
            call_detail(calling=OTHER_PHONE, called=THIRD),
            call_detail(start=END),
            call_detail(calling=THIRD, called=LINE),
        ],
    )
    await create_all(engine, [incoming("system-file"), incoming("system-file", sender=OTHER_PHONE)])
    request = order_for(served, people, ("phone", PHONE), ("phone", OTHER_PHONE))
    request.scope.declined_categories.append("incoming-message")
    opened: list[object] = []
    whole = crypto.open_fields

    def noted(*given: Any, **named: Any) -> Any:
        opened.append(given)
        return whole(*given, **named)

    monkeypatch.setattr(crypto, "open_fields", noted)

    seen = await preview(people.officer, await register(people, request))
    opened_by_preview = len(opened)
    delivered = await deliver(served, people, order_for(served, people, ("phone", PHONE), ("phone", OTHER_PHONE), document=b"\2" * 32))

    assert (opened_by_preview, len(opened) > 0) == (0, True)
    assert dict(seen.record_counts) == dict(delivered.counts) == {"call-detail": 3}
    assert dict(seen.withheld_counts) == {"OUTSIDE_PERIOD": 1, "CLASS_NOT_COVERED": 2}
    assert {target.target.value: dict(target.record_counts) for target in seen.targets} == {
        PHONE: {"call-detail": 2},
        OTHER_PHONE: {"call-detail": 3},
    }
    assert list(seen.problems) == []


async def test_n10_a_preview_says_nothing_of_another_tenant(served: Serving) -> None:
    """N10, A28: the same number elsewhere is neither counted nor withheld."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail(), tenant="globex")

    seen = await preview(people.officer, await register(people, order_for(served, people)))
    there = await preview(people.officer, await register(people, order_for(served, people, tenant="globex", document=b"\2" * 32)))

    assert (dict(seen.record_counts), dict(seen.withheld_counts)) == ({"call-detail": 0}, {})
    assert dict(there.record_counts) == {"call-detail": 1}
    assert b"globex" not in seen.SerializeToString()


async def test_n12_a_recycled_number_is_exported_for_the_user_of_its_own_period(served: Serving) -> None:
    """N12, A29: a period of its own for the target, within that of the order; the other user is not in the package."""
    await served.create_tenants()
    people = await team(served)
    users = [
        mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z", end="2026-03-04T00:00:00Z"),
        mapping(LINE, OTHER_PHONE, begin="2026-03-04T00:00:00Z"),
    ]
    first, second = [await create(served.service("num2"), user) for user in users]
    wide = order_for(served, people, ("virtual-number", LINE), categories=["number-mapping"])
    order = await register(people, wide)
    blocked = await preview(people.approver, order)

    narrow = widened(wide, lambda s: s.targets[0].end_time.CopyFrom(at("2026-03-04T00:00:00Z")))
    request = order_for(served, people, ("virtual-number", LINE), categories=["number-mapping"], document=b"\2" * 32)
    request.scope.CopyFrom(narrow)
    delivered = await deliver(served, people, request)

    assert list(blocked.problems) == ["REQUIRES_INTERVAL"]
    assert delivered.counts == {"number-mapping": 1}
    assert id_of(first.name).encode() in delivered.archive
    assert id_of(second.name).encode() not in delivered.archive


async def test_more_than_the_order_allows_is_not_approved(served: Serving) -> None:
    """§5.4 step 5: the limit that the order names."""
    await served.create_tenants()
    people = await team(served)
    await create_all(served.service("billing"), [call_detail(), call_detail(start="2026-03-03T08:15:00Z")])
    request = order_for(served, people)
    request.scope.max_rows = 1
    order = await register(people, request)
    seen = await preview(people.officer, order)

    refused = await not_approved(people.officer, order)

    assert list(seen.problems) == ["EXPORT_TOO_LARGE"]
    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "EXPORT_TOO_LARGE")


async def test_whoever_approves_has_seen_what_would_be_exported(served: Serving) -> None:
    """§5.4 step 6: themselves, and of this very scope."""
    await served.create_tenants()
    people = await team(served)
    request = order_for(served, people)
    order = await register(people, request)
    await preview(people.officer, order)

    unseen = await not_approved(people.approver, order)
    edited = await settle(people.registrant, order, request.scope)
    outdated = await not_approved(people.officer, edited)

    assert {(error.code.name, error.reason) for error in (unseen, outdated)} == {("FAILED_PRECONDITION", "PREVIEW_REQUIRED")}


async def test_n11_what_the_instrument_does_not_cover_is_declined_and_the_rest_goes_on(served: Serving) -> None:
    """N11, A19: an order for calls and texts of messages is carried out for the calls; the texts are counted and stay."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    await create(served.service("engine"), incoming("system-file"))
    whole = order_for(served, people, categories=["call-detail", "incoming-message"])
    refused = await people.registrant.refused(people.registrant.legal.RegisterOrder, whole)
    part = order_for(served, people)
    part.scope.declined_categories.append("incoming-message")

    order = await approved(people, part)
    seen = await preview(people.officer, order)
    built = await build(people, order)

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CLASS_NOT_COVERED")
    assert dict(seen.withheld_counts) == {"CLASS_NOT_COVERED": 1}
    assert dict(built.record_counts) == {"call-detail": 1}


async def test_each_edit_and_each_preview_is_on_the_record(served: Serving) -> None:
    """§5.6: the digest before and after, who looked, how many there were; no number."""
    await served.create_tenants()
    people = await team(served)
    await create(served.service("billing"), call_detail())
    order = await authentic(people, order_for(served, people))
    edited = await settle(people.registrant, order, order_for(served, people).scope)
    await preview(people.approver, edited)
    refused = await not_settled(people, edited, order_for(served, people, ("phone", THIRD)).scope)

    logged = await entries(served)
    edit, look = logged[-3], logged[-2]
    assert (edit.operation, edit.rule) == ("set-order-scope", f"order:scope:{order.scope_digest[:16]}:{edited.scope_digest[:16]}")
    assert (look.operation, look.actor, decode(look.content).count) == ("preview-export", "people/e-approver", 1)
    assert (await entry_of(served, refused)).reason == "SCOPE_EXCEEDED"
    assert not any(b"2345678" in entry.content for entry in logged)
