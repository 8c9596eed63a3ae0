"""Resolving a second number to the person it belonged to at a moment: look-up and release in one call."""

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import LINE, OTHER_PHONE, PHONE, at, contact, create, entries, entry_of, id_of, mapping, rows
from tests.serving import Serving, why
from vault.v1.resources_pb2 import VIEW_FULL, Justification
from vault.v1.vault_service_pb2 import ResolveIdentifierRequest

SERVING = why()
# Two people in turn, with a month in between when the number was nobody's.
FIRST = mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z", end="2026-02-01T00:00:00Z")
SECOND = mapping(LINE, OTHER_PHONE, begin="2026-03-01T00:00:00Z")


def resolved(
    as_of: str = "", *, value: str = LINE, kind: str = "virtual-number", category: str = "", because: Justification = SERVING
) -> ResolveIdentifierRequest:
    """A request to resolve a number, in full."""
    return ResolveIdentifierRequest(
        parent="tenants/acme",
        category=category,
        kind=kind,
        value=value,
        as_of=at(as_of) if as_of else None,
        justification=because,
        view=VIEW_FULL,
        field_mask=FieldMask(paths=["real_number"]),
    )


async def test_a_recycled_number_resolves_to_whoever_had_it_at_that_moment(served: Serving) -> None:
    """P3.4-map, P3.5-route, A29: intervals include their start and exclude their end."""
    await served.create_tenants()
    num2, engine = served.service("num2"), served.service("engine")
    for item in (FIRST, SECOND):
        await create(num2, item)
    moments = {
        "2026-01-01T00:00:00Z": PHONE,
        "2026-01-31T23:59:59Z": PHONE,
        "2026-03-01T00:00:00Z": OTHER_PHONE,
        "2027-01-01T00:00:00Z": OTHER_PHONE,
    }

    answers = {moment: await engine.call(engine.records.ResolveIdentifier, resolved(moment)) for moment in moments}

    assert {moment: answer.record.fields["real_number"].text for moment, answer in answers.items()} == moments


async def test_a_number_that_was_nobodys_at_that_moment_is_not_found(served: Serving) -> None:
    """P3.4-map, P3.8-keep-map: before the first, between the two, and a number that was never assigned answer alike."""
    await served.create_tenants()
    num2 = served.service("num2")
    for item in (FIRST, SECOND):
        await create(num2, item)
    nobodys = [resolved("2025-12-31T23:59:59Z"), resolved("2026-02-01T00:00:00Z"), resolved("2026-01-15T00:00:00Z", value="+972732345670")]

    refused = [await num2.refused(num2.records.ResolveIdentifier, request) for request in nobodys]

    assert {(error.code.name, error.reason, error.message) for error in refused} == {("NOT_FOUND", "RECORD_NOT_FOUND", refused[0].message)}
    assert [(await entry_of(served, error)).reason for error in refused] == ["RECORD_NOT_FOUND"] * 3


async def test_a_number_without_a_moment_is_refused(served: Serving) -> None:
    """P3.4-map, A29."""
    await served.create_tenants()
    num2 = served.service("num2")
    await create(num2, SECOND)

    refused = await num2.refused(num2.records.ResolveIdentifier, resolved())

    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "AS_OF_REQUIRED", ("as_of",))


async def test_two_people_at_one_moment_are_nobody(served: Serving) -> None:
    """A29: a number is not a person; an ambiguous one is not guessed at."""
    await served.create_tenants()
    num2 = served.service("num2")
    await create(num2, SECOND)
    await create(num2, mapping(LINE, PHONE, begin="2026-03-05T00:00:00Z"))

    before = await num2.call(num2.records.ResolveIdentifier, resolved("2026-03-04T00:00:00Z"))
    refused = await num2.refused(num2.records.ResolveIdentifier, resolved("2026-03-06T00:00:00Z"))

    assert before.record.fields["real_number"].text == OTHER_PHONE
    assert refused.reason == "RECORD_NOT_FOUND"


async def test_the_release_is_recorded_once_as_a_resolve_that_names_the_record(served: Serving) -> None:
    """P3.5-route, I6."""
    await served.create_tenants()
    num2 = served.service("num2")
    stored = await create(num2, FIRST)

    answer = await num2.call(num2.records.ResolveIdentifier, resolved("2026-01-15T00:00:00Z"))

    [entry] = (await entries(served))[1:]
    assert answer.receipt.index == 1
    assert (entry.operation, entry.category, entry.purpose, list(entry.records)) == (
        "resolve",
        "number-mapping",
        "service-delivery",
        [id_of(stored.name)],
    )
    assert b'"fields":["real_number"]' in entry.content


async def test_whoever_may_not_resolve_a_category_learns_nothing_about_what_exists(served: Serving) -> None:
    """I11, P3.4-usage: decided before the look-up: the answer for a number that exists and one that does not is the same."""
    await served.create_tenants()
    app = served.service("acme-app")
    await create(served.service("num2"), FIRST)
    requests = [resolved("2026-01-15T00:00:00Z"), resolved("2026-01-15T00:00:00Z", value="+972732345670")]

    refused = [await app.refused(app.records.ResolveIdentifier, request) for request in requests]

    assert {(error.code.name, error.reason, error.message) for error in refused} == {
        ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED", refused[0].message)
    }


async def test_the_legal_officer_resolves_for_an_order_only_with_one(served: Serving) -> None:
    """P3.6-order, P3.8-keep-map."""
    await served.create_tenants()
    await create(served.service("num2"), FIRST)
    officer = served.service("legal-officer")
    before = await rows(served)

    refused = await officer.refused(
        officer.records.ResolveIdentifier,
        resolved("2026-01-15T00:00:00Z", because=why("court-order", reason="the court asks for the owner")),
    )

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ORDER_REQUIRED")
    assert (await entry_of(served, refused)).purpose == "court-order"
    assert await rows(served) == before


async def test_a_contact_is_resolved_without_a_moment_because_its_number_is_not_the_vaults_to_recycle(served: Serving) -> None:
    """P3.5-route: the engine resolves whom a message goes to."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    stored = await create(app, contact(email="dana@example.com"))
    request = resolved(kind="email", value="DANA@example.com", category="end-customer-contact")
    request.justification.CopyFrom(await served.job())
    request.field_mask.paths[:] = ["phone"]

    answer = await engine.call(engine.records.ResolveIdentifier, request)

    assert answer.record.name == stored.name
    assert answer.record.fields["phone"].text == PHONE
