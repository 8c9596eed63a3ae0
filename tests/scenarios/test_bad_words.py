"""Words that must not be here, tried everywhere: what is never collected, and card data in everything that people write."""

from collections.abc import Mapping

import pytest

from tests.builders import (
    NEVER,
    NOTHING,
    OTHER_PHONE,
    PHONE,
    account,
    call_detail,
    contact,
    create,
    create_all,
    entries,
    entry_of,
    incoming,
    outgoing,
    profile,
    record,
    refusal,
    rows,
    subject_of,
)
from tests.serving import Caller, Serving
from vault.catalogue import loader
from vault.catalogue.words import HeldAs
from vault.client.errors import CallError
from vault.v1.vault_service_pb2 import CreateRecordRequest, RecordInput

CARD = "4111 1111 1111 1111"
# Requirements §2A: what is never stored, under any name (C00).
NEVER_STORED = (
    "device-contacts",
    "device-call-log",
    "device-sms",
    "device-media",
    "temp-contact",
    "dnd-state",
    "local-app-phonebook",
    "local-app-state",
    "recording-email-local",
    "merged-email-body",
    "card-pan",
    "card-cvv",
    "card-track",
    "card-pin",
)
# Ways of writing a card number or its security code, and the reason that refuses them.
CARD_DATA = {
    CARD: "PAN_IN_FREE_FIELD",
    "pay with 4111-1111-1111-1111 please": "PAN_IN_FREE_FIELD",
    "כרטיס ４１１１１１１１１１１１１１１１": "PAN_IN_FREE_FIELD",
    "4111\u200f1111\u200f1111\u200f1111": "PAN_IN_FREE_FIELD",
    "the cvv is 123": "SAD_FORBIDDEN",
    "קוד אבטחה: 123": "SAD_FORBIDDEN",
}
NOBODY = f"tenants/acme/subjects/{NEVER}"


async def not_created(caller: Caller, new: RecordInput, *, purpose: str = "") -> CallError:
    """Be refused storing one record."""
    return await caller.refused(caller.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=new, purpose=purpose))


async def test_what_is_never_collected_is_refused_as_category_field_and_extra(served: Serving) -> None:
    """C00, P3.4-contacts, P3.4-perm-log, P3.4-perm-sms, P3.4-perm-media, P3.4-local, A20, P3.1-direct: in kebab-case and in upper snake case."""
    await served.create_tenants()
    app = served.service("acme-app")
    spellings = [*NEVER_STORED, *(name.upper().replace("-", "_") for name in NEVER_STORED)]
    given = {
        "category": [record(name, {"value": "x"}) for name in spellings],
        "field": [contact(**{name: "x"}) for name in spellings],
        "extra": [profile(NOBODY, extra={name: "x"}) for name in spellings],
    }

    refused = {place: [refusal(item) for item in await create_all(app, items)] for place, items in given.items()}

    reasons = {place: dict(zip(spellings, [error.reason for error in errors], strict=True)) for place, errors in refused.items()}
    by_name = {spelling: "SAD_FORBIDDEN" if "card" in spelling.lower() else "CATEGORY_NOT_COLLECTED" for spelling in spellings}
    assert reasons == {"category": dict.fromkeys(spellings, "CATEGORY_NOT_COLLECTED"), "field": by_name, "extra": by_name}
    assert loader.load().never_stored.names.keys() == set(NEVER_STORED)
    assert await rows(served) == NOTHING


def others(text: str, person: str) -> Mapping[str, RecordInput]:
    """The free fields of the categories that no other test here writes, each with the text in it."""
    moment, one = "2026-03-02T08:15:00Z", "1"
    whole: dict[str, dict[str, str | bytes]] = {
        "list-file": {"sha256": "a" * 64, "channel": "WEB", "ingress": "TLS", "body": b"x", "file_name": "x"},
        "email-template": {"template_id": "t-1", "html": b"x", "subject_line": "x", "placeholders": "x"},
        "fax": {"fax_id": "f-1", "from": PHONE, "to": OTHER_PHONE, "leg": "PLATFORM", "sent_at": moment, "body": b"x"},
        "system-log": {"at": moment, "component": "smpp", "leg": "OTHER", "err": "x"},
        "billing-record": {"invoice_no": "i-1", "service": "VOICE", "issued_at": moment, "amount": one, "lines": "x"},
        "payment-card": {"psp_token": "tok", "brand": "visa", "last4": "1111", "exp_month": one, "exp_year": "2030", "holder": "x"},
        "app-diagnostics": {"install_id": "i-1", "crashed_at": moment, "trace": "x"},
        "site-visitor": {
            "phone": PHONE,
            "is_subscriber": "yes",
            "source": "USE",
            "terms_version": "v1",
            "name": "x",
            "address": "x",
            "enquiry": "x",
        },
        "former-customer-contact": {"phone": PHONE, "ended_at": moment, "reasons": "c", "full_name": "x"},
        "complaint-case": {"case_no": "c-1", "channel": "PHONE", "text": "x"},
    }
    levels = {"fax": "system-file", "system-log": "system-log"}
    return {
        f"{category}.{name}": record(
            category,
            {**fields, name: text.encode() if isinstance(value, bytes) else text},
            subject=person,
            level=levels.get(category, ""),
        )
        for category, fields in whole.items()
        for name, value in fields.items()
        if value in ("x", b"x")
    }


@pytest.mark.parametrize("category", ["guardian-consent", "marketing-preference", "consent-and-instruction", "legal-order", "audit-event"])
async def test_what_a_register_holds_is_not_taken_as_a_record(served: Serving, category: str) -> None:
    """C22, C26, C27, C29, C30: the reason says so, by either method, and nothing is stored."""
    await served.create_tenants()
    app = served.service("acme-app")
    before = await rows(served)

    refused = await not_created(app, record(category, {"kind": "x"}, subject=NOBODY))
    [result] = await create_all(app, [record(category, {"kind": "x"}, subject=NOBODY)])

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CATEGORY_HELD_AS_REGISTER")
    assert refusal(result).reason == "CATEGORY_HELD_AS_REGISTER"
    assert await rows(served) == before


async def test_card_data_is_refused_in_everything_that_people_write(served: Serving) -> None:
    """L40, P3.1-direct, P3.2.1-fields. Once, the name of a company and the address of an exchange could be a card number."""
    await served.create_tenants()
    app, engine, billing = served.service("acme-app"), served.service("engine"), served.service("billing")
    admin, num2, manager = served.service("acme-admin"), served.service("num2"), served.service("account-manager")
    callers = {
        **dict.fromkeys(("list-file", "fax", "system-log"), engine),
        **dict.fromkeys(("billing-record", "payment-card"), billing),
        "email-template": admin,
        "app-diagnostics": num2,
        "site-visitor": app,
        **dict.fromkeys(("former-customer-contact", "complaint-case"), manager),
    }
    person = subject_of((await create(app, contact())).name)
    before = await rows(served)

    def places(text: str) -> Mapping[str, tuple[Caller, RecordInput]]:
        member = {"source": "WEB", "list_name": text}
        return {
            "list-membership.list_name": (app, record("list-membership", member, subject=person)),
            "list-profile.first_name": (app, profile(person, first_name=text)),
            "list-profile.last_name": (app, profile(person, last_name=text)),
            "list-profile.address": (app, profile(person, address=text)),
            "list-profile.extra": (app, profile(person, extra={"note": text})),
            "list-profile.extra as a key": (app, profile(person, extra={text: "note"})),
            "business-account.full_name": (billing, account(full_name=text)),
            "business-account.billing_address": (billing, account(billing_address=text)),
            "business-account.company_name": (billing, account(company_name=text)),
            "call-detail.route_ip": (billing, call_detail(route_ip=text)),
            "outgoing-message.body": (engine, outgoing(person, "system-file", text.encode())),
            "outgoing-message.body as UTF-16": (engine, outgoing(person, "system-file", text.encode("utf-16-be"))),
            "incoming-message.body": (engine, incoming("report", text.encode())),
            **{place: (callers[place.partition(".")[0]], new) for place, new in others(text, person).items()},
        }

    refused = {
        (place, text): (await not_created(caller, new)).reason for text in CARD_DATA for place, (caller, new) in places(text).items()
    }

    categories = loader.load().categories.values()
    stored = [category for category in categories if category.held_as is HeldAs.RECORD]
    free = {f"{category.name}.{name}" for category in stored for name, field in category.fields.items() if field.free}
    # Direction marks are no text of a key: it is refused before anybody looks for numbers in it.
    wanted = {(place, text): CARD_DATA[text] for place, text in refused}
    wanted["list-profile.extra as a key", "4111\u200f1111\u200f1111\u200f1111"] = "FIELD_INVALID"
    assert refused == wanted
    assert {place.partition(" ")[0] for place, _ in refused} >= free
    assert await rows(served) == before
    # Eight digits: four of them may well stand in a random trace id.
    forms = (b"41111111", b"4111 1111", b"4111-1111", "４１１１".encode(), "4111\u200f".encode())
    logged = b"".join([entry.content for entry in await entries(served)])
    assert not any(form in logged for form in forms)


async def test_fields_named_for_card_secrets_are_refused_whatever_they_hold(served: Serving) -> None:
    """P3.1-direct: {cvv}: SAD_FORBIDDEN, in any spelling of the name."""
    await served.create_tenants()
    spellings = ["cvv", "CVV2", "c.v.c", "Card Number", "track_1", "PIN"]
    items = [profile(NOBODY, extra={name: "x"}) for name in spellings]

    refused = [refusal(item) for item in await create_all(served.service("acme-app"), items)]

    assert [(error.code.name, error.reason) for error in refused] == [("INVALID_ARGUMENT", "SAD_FORBIDDEN")] * len(spellings)


async def test_what_is_refused_is_repeated_neither_to_the_caller_nor_to_the_log(served: Serving) -> None:
    """I2: names of categories, fields, purposes and values are the caller's and may hold anything."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")

    refused = {
        "category": await not_created(app, record("shoes of 050-2345678", {"phone": PHONE})),
        "field": await not_created(app, contact(shoes_of_050_2345678="44")),
        "level": await not_created(engine, outgoing(NOBODY, "050-2345678")),
        "purpose": await not_created(app, contact(), purpose="ask 050-2345678"),
        "enum": await not_created(app, contact(channel="050-2345678")),
        "identifier": await not_created(app, contact("050-2345678-2345678")),
        "name": await not_created(app, profile("tenants/acme/subjects/0502345678", first_name="דנה")),
        "list": await not_created(app, contact(list_id="0502345678")),
    }

    told = [f"{error.message} {error.fields} {error.metadata}" for error in refused.values()]
    logged = [await entry_of(served, error) for error in refused.values()]
    assert {case: error.reason for case, error in refused.items()} == {
        "category": "UNKNOWN_CATEGORY",
        "field": "UNKNOWN_FIELD",
        "level": "LEVEL_INVALID",
        "purpose": "UNKNOWN_PURPOSE",
        "enum": "FIELD_INVALID",
        "identifier": "IDENTIFIER_INVALID",
        "name": "NAME_INVALID",
        "list": "NAME_INVALID",
    }
    assert not any("2345678" in text for text in told)
    assert not any(b"2345678" in entry.content for entry in logged)


@pytest.mark.parametrize("field", ["phone", "email"])
async def test_an_identifier_that_cannot_be_one_is_refused(served: Serving, field: str) -> None:
    await served.create_tenants()
    impossible = {"phone": ["12", "0", "call me", "+", "9" * 40, "*2345"], "email": ["@", "dana@", "dana@localhost", "a b@c.d", "x" * 200]}
    items = [record("end-customer-contact", {field: text}) for text in impossible[field]]

    refused = [refusal(item) for item in await create_all(served.service("acme-app"), items)]

    assert {(error.code.name, error.reason, error.fields) for error in refused} == {("INVALID_ARGUMENT", "IDENTIFIER_INVALID", (field,))}
    assert await rows(served) == NOTHING
