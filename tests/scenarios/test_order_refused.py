"""Orders that must not be carried out: what is wrong with the document, the scope, the key, or with who approves it."""

from datetime import timedelta

from tests.builders import at, entry_of, id_of
from tests.orders import Team, approve, fresh_team, order_for, register, team
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.v1.legal_service_pb2 import (
    ORDER_STATE_APPROVED,
    ApproveOrderRequest,
    GetOrderRequest,
    Order,
    RegisterOrderRequest,
)


async def not_registered(people: Team, request: RegisterOrderRequest) -> CallError:
    """Be refused to register an order."""
    return await people.registrant.refused(people.registrant.legal.RegisterOrder, request)


async def not_approved(caller: Caller, order: Order, *, digest: str = "") -> CallError:
    """Be refused to approve an order."""
    request = ApproveOrderRequest(name=order.name, scope_digest=digest or order.scope_digest)
    return await caller.refused(caller.legal.ApproveOrder, request)


# Category, fields, and why not.
REACHED: list[tuple[str, list[str], str]] = [
    ("incoming-message", [], "CLASS_NOT_COVERED"),
    ("incoming-message", ["from", "body"], "CLASS_NOT_COVERED"),
    ("incoming-message", ["from", "received_at"], ""),
    ("payment-card", [], "CLASS_NOT_COVERED"),
    ("payment-card", ["psp_token"], "CLASS_NOT_COVERED"),
    ("payment-card", ["last4"], ""),
    ("access-credential", ["username", "last_used_at"], ""),
    ("access-credential", ["verifier"], "CLASS_NOT_COVERED"),
    ("call-recording", ["rec_id"], "CLASS_NOT_COVERED"),
    ("complaint-case", [], "CLASS_NOT_COVERED"),
    ("message-metadata", [], ""),
    ("legal-order", [], "CATEGORY_HELD_AS_REGISTER"),
    ("marketing-preference", ["basis"], "CATEGORY_HELD_AS_REGISTER"),
]


async def test_an_order_reaches_the_fields_that_its_instrument_covers(served: Serving) -> None:
    """§2B, A19, N11: of a card the last digits, of a message when and from whom; what is asked for besides refuses the whole."""
    await served.create_tenants()
    people = await team(served)

    for number, (category, fields, reason) in enumerate(REACHED):
        request = order_for(served, people, categories=[category], fields=fields, document=bytes([number]) * 32)
        if reason:
            refused = await not_registered(people, request)
            assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", reason), (category, fields)
        else:
            await people.registrant.call(people.registrant.legal.RegisterOrder, request)


async def test_a_scope_that_no_order_can_have_is_refused(served: Serving) -> None:
    """N11, L19, A19: content; L23: the future; a period that ends before it begins."""
    await served.create_tenants()
    people = await team(served)
    future = order_for(served, people)
    future.scope.end_time.CopyFrom(at(served.clock() + timedelta(days=1)))

    refused = [
        await not_registered(people, order_for(served, people, categories=["call-detail", "incoming-message"])),
        await not_registered(people, future),
        await not_registered(people, order_for(served, people, end="2026-02-01T00:00:00Z")),
        await not_registered(people, order_for(served, people, ("phone", "12"))),
        await not_registered(people, order_for(served, people, fields=["shoe_size"])),
    ]

    assert [(error.code.name, error.reason) for error in refused] == [
        ("FAILED_PRECONDITION", "CLASS_NOT_COVERED"),
        ("INVALID_ARGUMENT", "FUTURE_SCOPE"),
        ("INVALID_ARGUMENT", "FIELD_INVALID"),
        ("INVALID_ARGUMENT", "IDENTIFIER_INVALID"),
        ("INVALID_ARGUMENT", "UNKNOWN_FIELD"),
    ]
    assert {(await entry_of(served, error)).operation for error in refused} == {"register-order"}


async def test_an_order_that_has_expired_already_is_not_registered(served: Serving) -> None:
    """N1."""
    await served.create_tenants()
    people = await team(served)

    refused = await not_registered(people, order_for(served, people, lasting=timedelta(seconds=-1)))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_EXPIRED")


async def test_a_recipients_key_that_is_none_is_refused(served: Serving) -> None:
    """N14: before anything is approved; a private key is none."""
    await served.create_tenants()
    people = await team(served)
    keys = ["age1", "-----BEGIN PGP PUBLIC KEY BLOCK-----", str(people.identity), str(people.identity.to_public())[:-1]]
    requests = [order_for(served, people) for _ in keys]
    for request, key in zip(requests, keys, strict=True):
        request.recipient.age_recipient = key

    refused = [await not_registered(people, request) for request in requests]

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "RECIPIENT_KEY_INVALID")}
    recorded = [await entry_of(served, error) for error in refused]
    assert not any(b"AGE-SECRET" in entry.content for entry in recorded)


async def test_an_order_is_registered_once(served: Serving) -> None:
    """The same document, court and case; for another tenant it is another order."""
    await served.create_tenants()
    people = await team(served)
    first = await register(people, order_for(served, people))

    refused = await not_registered(people, order_for(served, people))
    elsewhere = await register(people, order_for(served, people, tenant="globex"))

    assert (refused.code.name, refused.reason) == ("ALREADY_EXISTS", "ORDER_DUPLICATE")
    assert id_of(elsewhere.name) != id_of(first.name)


async def test_registrant_and_approvers_are_three_different_people(served: Serving) -> None:
    """N5: the registrant, one person twice, two accounts of one employee; one of the two is a legal approver."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    by_registrant = await not_approved(served.person("e-registrant", "legal-approver"), order)
    await approve(people.officer, order)

    twice = await not_approved(people.officer, order)
    second_account = served.person("e-officer", "legal-approver", claims={"sub": "another-account"})
    as_another = await not_approved(second_account, order)
    two_officers = await not_approved(served.person("e-third", "legal-officer"), order)
    approved = await approve(people.approver, order)

    refused = [by_registrant, twice, as_another, two_officers]
    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")}
    assert approved.state == ORDER_STATE_APPROVED
    assert list(approved.approvers) == ["people/e-officer", "people/e-approver"]


async def test_an_approval_repeats_what_was_seen(served: Serving) -> None:
    """§5.4: the digest of another order's scope approves nothing."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    other = await register(people, order_for(served, people, document=b"\2" * 32))

    refused = await not_approved(people.approver, order, digest=other.scope_digest)

    seen = (await people.approver.call(people.approver.legal.GetOrder, GetOrderRequest(name=order.name))).order
    assert (refused.code.name, refused.reason) == ("ABORTED", "SCOPE_DIGEST_CHANGED")
    assert list(seen.approvers) == []


async def test_an_approval_needs_a_second_factor_of_the_last_quarter_of_an_hour(served: Serving) -> None:
    """§5.4 step 6."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    proved = int(served.clock().timestamp()) - 16 * 60

    refused = await not_approved(served.person("e-approver", "legal-approver", claims={"auth_time": proved}), order)

    assert (refused.code.name, refused.reason) == ("UNAUTHENTICATED", "MFA_REQUIRED")
    assert (await entry_of(served, refused)).decision == "REFUSED"


async def test_an_order_that_expired_is_not_approved(served: Serving) -> None:
    """N1."""
    await served.create_tenants()
    people = await team(served)
    order = await register(people, order_for(served, people))
    served.clock.offset = timedelta(days=14, seconds=1)

    refused = await not_approved(fresh_team(served, people.identity).approver, order)

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_EXPIRED")
