"""Input that makes no sense or must not be here: refused with the field at fault, recorded, and never repeated."""

import pytest

from tests.builders import (
    NEVER,
    NOTHING,
    PHONE,
    asked,
    contact,
    create,
    entries,
    entry_of,
    id_of,
    not_revealed,
    open_request,
    outgoing,
    profile,
    record,
    request_erasure,
    rows,
    sought,
    subject_of,
)
from tests.serving import Caller, Serving, why
from vault.client.errors import CallError
from vault.v1.erasure_service_pb2 import GetErasureRequest
from vault.v1.legal_service_pb2 import GetOrderRequest
from vault.v1.resources_pb2 import Justification
from vault.v1.vault_service_pb2 import (
    CreateRecordRequest,
    GetSubjectRequest,
    RecordInput,
)

# A published test number; no account stands behind it.
CARD = "4111 1111 1111 1111"
PERSONAL = {
    "phone, English": "please call back on 050-2345678 today",
    "phone, Hebrew": "נא לחזור ללקוח במספר 0502345678 היום",
    "international phone": "please call back on +972 50 234 5678 today",
    "mail, English": "the answer goes to dana@example.com today",
    "mail, Hebrew": "התשובה תישלח אל dana@example.com היום",
    "card": f"the customer paid with {CARD} yesterday",
    "id number": "הלקוחה הזדהתה עם תעודת זהות 123456782 בשיחה",
}
SECRETS = (b"2345678", b"234 5678", b"dana@", b"4111 1111", b"4111111", b"123456782")


def new(item: RecordInput, *, request_id: str = "") -> CreateRecordRequest:
    """A request to store one record for the tenant `acme`."""
    return CreateRecordRequest(parent="tenants/acme", record=item, request_id=request_id)


async def not_stored(caller: Caller, item: RecordInput) -> CallError:
    """Be refused to store one record."""
    return await caller.refused(caller.records.CreateRecord, new(item))


def said(error: CallError) -> tuple[str, str, str]:
    """What a caller can tell refusals apart by."""
    return error.code.name, error.reason, error.message


async def test_unknown_categories_purposes_and_fields_are_refused_and_recorded(served: Serving) -> None:
    """I9, A9: what is not listed does not exist."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name

    refused = [
        await not_stored(app, record("shoe-size", {"phone": PHONE})),
        await not_stored(app, contact(shoe_size="44")),
        await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=contact(), purpose="curiosity")),
        await not_revealed(app, asked(name, "phone", because=why("curiosity"))),
        await not_revealed(app, asked(name, "shoe_size")),
    ]

    reasons = ["UNKNOWN_CATEGORY", "UNKNOWN_FIELD", "UNKNOWN_PURPOSE", "UNKNOWN_PURPOSE", "UNKNOWN_FIELD"]
    assert [error.reason for error in refused] == reasons
    assert {error.code.name for error in refused} == {"INVALID_ARGUMENT"}
    assert [(await entry_of(served, error)).reason for error in refused] == reasons
    assert (await rows(served))[:2] == (1, 1)


@pytest.mark.parametrize("category", ["device-contacts", "device-sms", "card-pan", "card-cvv", "merged-email-body"])
async def test_what_is_never_collected_says_so(served: Serving, category: str) -> None:
    """C00, P3.4-contacts, L40, A20: known by name, and refused for good."""
    await served.create_tenants()

    refused = await not_stored(served.service("acme-app"), record(category, {"phone": PHONE}))

    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "CATEGORY_NOT_COLLECTED")
    assert await rows(served) == NOTHING


async def test_a_justification_that_is_none_is_refused(served: Serving) -> None:
    """P1.6b-need: missing, a dot, one word, too long, several lines."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    poor = [
        Justification(),
        Justification(purpose="service-delivery"),
        why(reason="."),
        why(reason="because"),
        why(reason="so it is " * 60),
        why(reason="needed for\nthe work of this test"),
        Justification(reason="needed to carry out the work of this test"),
    ]

    refused = [await not_revealed(app, asked(name, "phone", because=because)) for because in poor]

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "JUSTIFICATION_REQUIRED")}
    assert {(await entry_of(served, error)).decision for error in refused} == {"REFUSED"}


async def test_personal_data_in_a_justification_is_refused_and_not_recorded(served: Serving) -> None:
    """A30, I2: in either language; the entry says that it was refused and repeats nothing."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name

    refused = {case: await not_revealed(app, asked(name, because=why(reason=reason))) for case, reason in PERSONAL.items()}

    assert {case: error.reason for case, error in refused.items()} == dict.fromkeys(PERSONAL, "PII_IN_JUSTIFICATION")
    recorded = [await entry_of(served, error) for error in refused.values()]
    assert {entry.reason for entry in recorded} == {"PII_IN_JUSTIFICATION"}
    assert not any(secret in entry.content for secret in SECRETS for entry in recorded)
    assert not any(secret.decode() in error.message for secret in SECRETS for error in refused.values())


async def test_a_reference_of_no_known_form_is_refused(served: Serving) -> None:
    """P1.6c-consent: neither a ticket nor a name; it is not recorded, for it may be anything."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    references = ["later", "050-2345678", "tenants/acme/orders/", "tenants/acme/subjects/" + NEVER, "SUP-1\nSUP-2", "A-" + "1" * 100]

    refused = [await not_revealed(app, asked(name, because=why(reference=reference))) for reference in references]

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "REFERENCE_INVALID")}
    assert not any(b"2345678" in entry.content for entry in await entries(served))


async def test_a_purpose_that_is_a_number_leaves_no_trace_of_it(served: Serving) -> None:
    """I2, A9: only words of the catalogue are recorded."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name

    refused = [
        await not_revealed(app, asked(name, because=why("0502345678"))),
        await app.refused(app.records.FindSubjects, sought("phone", PHONE, because=why("0502345678"))),
        await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=contact(), purpose="0502345678")),
        await not_stored(app, record("0502345678", {"phone": PHONE})),
    ]

    assert [error.reason for error in refused] == ["UNKNOWN_PURPOSE"] * 3 + ["UNKNOWN_CATEGORY"]
    logged = [*await entries(served), *await entries(served, "system")]
    assert not any(b"2345678" in entry.content for entry in logged)


async def test_what_is_another_tenants_answers_like_what_never_existed(served: Serving) -> None:
    """I11: same code, reason and message."""
    await served.create_tenants()
    theirs = (await create(served.service("globex-app"), contact(), tenant="globex")).name
    ours = (await create(served.service("acme-app"), contact())).name
    app, officer = served.service("acme-app"), served.service("privacy-officer")
    lawyer, engine = served.service("legal-officer"), served.service("engine")
    erasure = await request_erasure(served.service("acme-admin"), subject_of(ours))
    request = await open_request(served, "", "reveal")
    manager = served.service("account-manager")
    pairs = {
        "subject": [
            await app.refused(app.records.GetSubject, GetSubjectRequest(name=f"tenants/acme/subjects/{id_}"))
            for id_ in (id_of(subject_of(theirs)), NEVER)
        ],
        "record": [
            await engine.refused(engine.records.RevealRecord, asked(f"{subject}/records/{id_}"))
            for subject, id_ in ((subject_of(theirs).replace("globex", "acme"), id_of(theirs)), (subject_of(ours), NEVER))
        ],
        "erasure": [
            await officer.refused(officer.erasures.GetErasure, GetErasureRequest(name=f"tenants/globex/erasures/{id_}"))
            for id_ in (id_of(erasure.name), NEVER)
        ],
        "order": [
            await lawyer.refused(lawyer.legal.GetOrder, GetOrderRequest(name=f"tenants/{tenant}/orders/{NEVER}"))
            for tenant in ("acme", "globex")
        ],
        "customer request": [
            await manager.refused(
                manager.records.RevealRecord,
                asked(ours, because=why("customer-request", f"tenants/{tenant}/customerRequests/{id_}", "the customer asked us to look")),
            )
            for tenant, id_ in (("globex", id_of(request.name)), ("acme", NEVER))
        ],
        "tenant": [
            await app.refused(app.records.RevealRecord, asked(name)) for name in (theirs, theirs.replace("globex", "nobody-at-all"))
        ],
    }

    assert {kind: said(first) for kind, (first, _) in pairs.items()} == {kind: said(second) for kind, (_, second) in pairs.items()}
    assert {kind: first.code.name for kind, (first, _) in pairs.items()} == {
        **dict.fromkeys(pairs, "NOT_FOUND"),
        "customer request": "FAILED_PRECONDITION",
    }


async def test_card_data_is_refused_wherever_people_could_have_written_it(served: Serving) -> None:
    """L40, P3.1-direct: free fields, extra fields and their names, message bodies in either encoding."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    person = subject_of((await create(app, contact())).name)
    before = await rows(served)

    refused = {
        "free field": await not_stored(app, profile(person, first_name=CARD)),
        "extra value": await not_stored(app, profile(person, extra={"note": CARD})),
        "extra key": await not_stored(app, profile(person, extra={CARD: "note"})),
        "security code": await not_stored(app, profile(person, extra={"note": "the cvv is 123"})),
        "named cvv": await not_stored(app, profile(person, extra={"cvv": "123"})),
        "body": await not_stored(engine, outgoing(person, "system-file", f"שולם בכרטיס {CARD}".encode())),
        "body, UTF-16": await not_stored(engine, outgoing(person, "system-file", CARD.encode("utf-16-be"))),
    }
    because = await not_revealed(app, asked(f"{person}/records/{NEVER}", because=why(reason=f"the customer paid with {CARD}")))

    assert {error.code.name for error in (*refused.values(), because)} == {"INVALID_ARGUMENT"}
    assert {case: error.reason for case, error in refused.items()} == {
        **dict.fromkeys(refused, "PAN_IN_FREE_FIELD"),
        "security code": "SAD_FORBIDDEN",
        "named cvv": "SAD_FORBIDDEN",
    }
    assert because.reason == "PII_IN_JUSTIFICATION"
    assert await rows(served) == before
    # Eight digits: four of them may well stand in a random trace id.
    logged = b"".join([entry.content for entry in await entries(served)])
    assert not any(form in logged for form in (b"41111111", b"4111 1111", b"4111-1111"))


async def test_ids_that_are_somebodys_number_are_refused(served: Serving) -> None:
    """I2: list ids and record ids stay in clear."""
    await served.create_tenants()
    app, engine, billing = served.service("acme-app"), served.service("engine"), served.service("billing")
    person = subject_of((await create(app, contact())).name)
    message, call = outgoing(person, "system-file"), record("call-detail", {"cdr_id": "0502345678", "shadow_number": PHONE})
    message.fields["message_id"].text = "0502345678"
    for name, value in {"calling": PHONE, "called": PHONE, "status": "busy", "duration_s": "0", "start_at": "2026-03-02T08:15:00Z"}.items():
        call.fields[name].text = value

    refused = [
        await not_stored(app, contact(list_id="0502345678")),
        await not_stored(engine, message),
        await not_stored(billing, call),
    ]

    assert [(error.code.name, error.reason) for error in refused] == [
        ("INVALID_ARGUMENT", "NAME_INVALID"),
        ("INVALID_ARGUMENT", "FIELD_INVALID"),
        ("INVALID_ARGUMENT", "FIELD_INVALID"),
    ]
    assert not any(b"2345678" in entry.content for entry in await entries(served))
