"""Who may be shown what: people under an agreement, the affiliate within its categories, third parties never, each up to the view it is granted."""

from datetime import timedelta

from tests.builders import (
    LINE,
    OTHER_PHONE,
    PHONE,
    account,
    asked,
    at,
    call_detail,
    contact,
    create,
    entries,
    entry_of,
    mapping,
    not_revealed,
    outgoing,
    record,
    reveal,
    subject_of,
)
from tests.serving import Serving, why
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.vault_service_pb2 import ConfirmDeliveryRequest, DeleteRecordRequest, RecordInput

BILLING = why("billing", reason="the customer asks about an invoice")
SERVICE = why("affiliate-service", reason="the affiliate keeps the line in service")


async def test_a_person_is_shown_something_only_under_an_agreement_in_force(served: Serving) -> None:
    """P3.7-nda: missing, expired and signed in the future are refused; renewed, it holds on the next call."""
    await served.create_tenants()
    name = (await create(served.service("billing"), account(), purpose="billing")).name
    registrar = served.person("e-dpo", "privacy-officer")

    async def agree(begin: timedelta, end: timedelta) -> None:
        request = RegisterNdaRequest(person="people/e-clerk", document_sha256=b"\1" * 32)
        request.sign_time.CopyFrom(at(served.clock() + begin))
        request.expire_time.CopyFrom(at(served.clock() + end))
        await registrar.call(registrar.access.RegisterNda, request)

    clerk = served.person("e-clerk", "billing")
    missing = await not_revealed(clerk, asked(name, "full_name", because=BILLING))
    await agree(timedelta(days=-2), timedelta(days=-1))
    expired = await not_revealed(clerk, asked(name, "full_name", because=BILLING))
    await agree(timedelta(days=1), timedelta(days=2))
    not_yet = await not_revealed(clerk, asked(name, "full_name", because=BILLING))
    await agree(timedelta(days=-1), timedelta(days=30))
    shown = await reveal(clerk, asked(name, "full_name", because=BILLING))

    assert [(error.code.name, error.reason) for error in (missing, expired, not_yet)] == [("PERMISSION_DENIED", "NDA_INVALID")] * 3
    assert {(await entry_of(served, error)).actor for error in (missing, expired, not_yet)} == {"people/e-clerk"}
    assert shown.fields["full_name"].text == "דנה לוי"


async def test_nothing_is_released_to_a_device_that_is_not_managed(served: Serving) -> None:
    """L8: whatever the role grants; what the same person asks from a managed device is answered."""
    await served.create_tenants()
    await served.sign_nda("e-clerk")
    name = (await create(served.service("billing"), account(), purpose="billing")).name
    at_home, at_work = (served.person("e-clerk", "billing", claims={"device_managed": managed}) for managed in (False, True))

    refused = [await not_revealed(at_home, asked(name, *full, because=BILLING)) for full in ((), ("full_name",))]
    shown = await reveal(at_work, asked(name, "full_name", because=BILLING))

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "DEVICE_UNMANAGED")}
    assert {(await entry_of(served, error)).rule for error in refused} == {"guard:managed-device"}
    assert shown.fields["full_name"].text == "דנה לוי"


async def test_an_agreement_that_runs_out_ends_access_at_that_very_moment(served: Serving) -> None:
    """P3.7-nda."""
    await served.create_tenants()
    await served.sign_nda("e-clerk")
    name = (await create(served.service("billing"), account(), purpose="billing")).name
    before = await reveal(served.person("e-clerk", "billing"), asked(name, because=BILLING))

    served.clock.offset = timedelta(days=365)
    after = await not_revealed(served.person("e-clerk", "billing"), asked(name, because=BILLING))

    assert before.name == name
    assert after.reason == "NDA_INVALID"


async def test_the_log_names_the_person_and_the_service_that_carried_them(served: Serving) -> None:
    """Design §8: on behalf of: both are recorded."""
    await served.create_tenants()
    await served.sign_nda("e-clerk")
    name = (await create(served.service("billing"), account(), purpose="billing")).name

    await reveal(served.person("e-clerk", "billing"), asked(name, because=BILLING))

    entry = (await entries(served))[-1]
    assert (entry.actor, entry.on_behalf_of.rpartition("/")[2]) == ("people/e-clerk", "desk")
    assert b'"auth_method":"mtls+oidc"' in entry.content


async def test_a_person_reaches_no_tenant_that_the_token_does_not_name(served: Serving) -> None:
    """I11."""
    await served.create_tenants()
    await served.sign_nda("e-clerk")
    name = (await create(served.service("billing"), account(), purpose="billing")).name

    refused = await not_revealed(served.person("e-clerk", "billing", tenants=["globex"]), asked(name, because=BILLING))

    assert (refused.code.name, refused.reason) == ("NOT_FOUND", "TENANT_NOT_FOUND")


async def test_the_affiliate_is_given_its_categories_and_no_other(served: Serving) -> None:
    """P3.6-aff, A2: accounts, calls and mappings for the affiliate's service; lists and content never, whatever the purpose."""
    await served.create_tenants()
    await served.agree_with_affiliate()
    app, engine, affiliate = served.service("acme-app"), served.service("engine"), served.service("affiliate")
    listed = (await create(app, contact())).name
    names = {
        "account": (await create(served.service("billing"), account(phone=PHONE), purpose="billing")).name,
        "call": (await create(served.service("billing"), call_detail())).name,
        "mapping": (await create(served.service("num2"), mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z"))).name,
    }
    content = (await create(engine, outgoing(subject_of(listed), "system-file"))).name

    shown = {kind: await reveal(affiliate, asked(name, because=SERVICE, recipient="affiliate")) for kind, name in names.items()}
    refused = [
        await not_revealed(affiliate, asked(listed, because=SERVICE, recipient="affiliate")),
        await not_revealed(affiliate, asked(content, because=SERVICE, recipient="affiliate")),
        await not_revealed(affiliate, asked(listed, because=why())),
    ]

    assert shown.keys() == names.keys()
    assert [(error.code.name, error.reason) for error in refused] == [("PERMISSION_DENIED", "AFFILIATE_CATEGORY")] * 3
    assert {(await entry_of(served, error)).decision for error in refused} == {"REFUSED"}


async def test_of_some_categories_the_affiliate_is_given_a_part(served: Serving) -> None:
    """P3.6-aff, §2B: a voice target and a call of the second number, but no other target and no other use of the app."""
    await served.create_tenants()
    await served.agree_with_affiliate()
    app, num2, affiliate = served.service("acme-app"), served.service("num2"), served.service("affiliate")
    user = subject_of((await create(app, contact("050-2345670"))).name)

    def used(kind: str) -> RecordInput:
        return record("app-usage", {"kind": kind, "at": "2026-03-02T08:15:00Z", "peer_number": OTHER_PHONE}, subject=user)

    given = [
        (await create(app, contact(reached_by="VOICE"))).name,
        (await create(num2, used("CALL"))).name,
    ]
    kept = [
        (await create(app, contact("050-2345671", reached_by="SMS"))).name,
        (await create(app, contact("050-2345672"))).name,
        (await create(num2, used("ACTION"))).name,
    ]

    for name in given:
        await reveal(affiliate, asked(name, because=SERVICE, recipient="affiliate"))
    refused = [await not_revealed(affiliate, asked(name, because=SERVICE, recipient="affiliate")) for name in kept]

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "AFFILIATE_CATEGORY")}


async def test_a_card_is_shown_to_the_billing_service_masked_and_to_nobody_else(served: Serving) -> None:
    """P3.1-direct, §2B: the service that charges it, never a person, never in full."""
    await served.create_tenants()
    await served.sign_nda("e-clerk")
    billing, clerk = served.service("billing"), served.person("e-clerk", "billing")
    customer = subject_of((await create(billing, account(), purpose="billing")).name)
    card = {"psp_token": "tok_9f", "brand": "visa", "last4": "1111", "exp_month": "3", "exp_year": "2030", "holder": "דנה לוי"}
    name = (await create(billing, record("payment-card", card, subject=customer), purpose="billing")).name

    shown = await reveal(billing, asked(name, because=BILLING))
    refused = [
        await not_revealed(billing, asked(name, "last4", because=BILLING)),
        await not_revealed(clerk, asked(name, because=BILLING)),
    ]

    assert {key: value.text for key, value in shown.fields.items()} == {**card, "holder": "ד•••"}
    assert [error.reason for error in refused] == ["VIEW_NOT_ALLOWED", "SERVICE_ONLY"]
    await billing.call(billing.records.DeleteRecord, DeleteRecordRequest(name=name, justification=BILLING))


async def test_a_recording_is_gone_once_the_app_confirms_that_it_was_delivered(served: Serving) -> None:
    """P3.4-rec: the app's worker alone reads it, and alone confirms."""
    await served.create_tenants()
    num2, engine = served.service("num2"), served.service("engine")
    user = subject_of((await create(num2, mapping(LINE, PHONE, begin="2026-01-01T00:00:00Z"))).name)
    fields: dict[str, str | bytes] = {"rec_id": "r-1", "audio": b"RIFF", "delivery_target": "dana@example.com"}
    name = (await create(num2, record("call-recording", fields, subject=user))).name

    heard = await reveal(num2, asked(name, "audio"))
    refused = [
        await not_revealed(engine, asked(name)),
        await engine.refused(engine.records.ConfirmDelivery, ConfirmDeliveryRequest(name=name)),
    ]
    await num2.call(num2.records.ConfirmDelivery, ConfirmDeliveryRequest(name=name))

    assert heard.fields["audio"].data == b"RIFF"
    assert [error.reason for error in refused] == ["ROLE_NOT_ALLOWED", "ROLE_NOT_ALLOWED"]
    assert (await not_revealed(num2, asked(name))).reason == "RECORD_NOT_FOUND"


async def test_the_affiliates_own_services_alone_receive_for_the_affiliate(served: Serving) -> None:
    """P3.6-aff: nobody else can pass something on by naming the recipient, nor the affiliate take it for another purpose."""
    await served.create_tenants()
    await served.agree_with_affiliate()
    billing, affiliate = served.service("billing"), served.service("affiliate")
    name = (await create(billing, call_detail())).name

    refused = [
        await not_revealed(billing, asked(name, because=BILLING, recipient="affiliate")),
        await not_revealed(affiliate, asked(name, because=BILLING, recipient="affiliate")),
        await not_revealed(affiliate, asked(name, because=SERVICE, recipient="internal")),
    ]

    assert [error.reason for error in refused] == ["AFFILIATE_CATEGORY", "PURPOSE_NOT_ALLOWED", "RECIPIENT_NOT_ALLOWED"]
    assert {error.code.name for error in refused} == {"PERMISSION_DENIED"}


async def test_nothing_goes_to_a_third_party_or_to_a_recipient_that_does_not_exist(served: Serving) -> None:
    """P1.7-no3p, P3.6-no3p, A1, I9: no consent is kept yet, so none is found."""
    await served.create_tenants()
    app, billing = served.service("acme-app"), served.service("billing")
    listed, account_name = (await create(app, contact())).name, (await create(billing, account(), purpose="billing")).name

    refused = {
        "third party": await not_revealed(app, asked(listed, recipient="third-party")),
        "third party of billing": await not_revealed(billing, asked(account_name, because=BILLING, recipient="third-party")),
        "authority": await not_revealed(app, asked(listed, recipient="authority")),
        "data subject": await not_revealed(app, asked(listed, recipient="data-subject")),
        "partner": await not_revealed(app, asked(listed, recipient="partner")),
    }

    assert {case: (error.code.name, error.reason) for case, error in refused.items()} == {
        "third party": ("PERMISSION_DENIED", "THIRD_PARTY_CONSENT_REQUIRED"),
        "third party of billing": ("PERMISSION_DENIED", "THIRD_PARTY_CONSENT_REQUIRED"),
        "authority": ("PERMISSION_DENIED", "RECIPIENT_NOT_ALLOWED"),
        "data subject": ("PERMISSION_DENIED", "RECIPIENT_NOT_ALLOWED"),
        "partner": ("PERMISSION_DENIED", "RECIPIENT_NOT_ALLOWED"),
    }


async def test_the_call_centre_recognises_a_caller_and_reads_no_account(served: Serving) -> None:
    """P3.3-cust: masked and never full; other people's calls not at all."""
    await served.create_tenants()
    billing, centre = served.service("billing"), served.service("call-centre")
    stored = (await create(billing, account(phone=PHONE, billing_address="Shefayim 1"), purpose="billing")).name
    identify = why("caller-identification", reason="a caller asks about the account")

    shown = await reveal(centre, asked(stored, because=identify))
    refused = await not_revealed(centre, asked(stored, "billing_address", because=identify))

    assert {name: value.text for name, value in shown.fields.items()} == {
        "full_name": "ד•••",
        "company_no": "•••",
        "email": "d•••@example.com",
        "phone": f"{PHONE[:6]}•••••{PHONE[-2:]}",
        "billing_address": "•••",
    }
    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "VIEW_NOT_ALLOWED")


async def test_only_the_fields_of_the_mask_are_opened_and_recorded(served: Serving) -> None:
    """P1.6b-need: a field mask, and its names in the log."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact(email="dana@example.com", channel="WEB"))).name

    shown = await reveal(app, asked(name, "phone"))
    unknown = await not_revealed(app, asked(name, "shoe_size"))

    entry = (await entries(served))[1]
    assert list(shown.fields) == ["phone"]
    assert b'"fields":["phone"]' in entry.content
    assert (unknown.reason, unknown.fields) == ("UNKNOWN_FIELD", ("field_mask",))


async def test_investigators_need_an_incident_and_there_is_none_yet(served: Serving) -> None:
    """P3.6-fraud, P3.6-sectech, I9: what cannot be looked up does not hold."""
    await served.create_tenants()
    engine = served.service("engine")
    person = subject_of((await create(engine, contact())).name)
    content = (await create(engine, outgoing(person, "system-file"))).name
    security, fraud = served.service("security-investigator"), served.service("fraud-investigator")
    incident = f"tenants/acme/incidents/{'a' * 26}"

    refused = [
        await not_revealed(security, asked(content, "body", because=why("security-problem"))),
        await not_revealed(security, asked(content, "body", because=why("security-problem", incident))),
        await not_revealed(fraud, asked(content, "body", because=why("suspected-fraud", incident))),
        await not_revealed(fraud, asked(content, "body", because=why("security-problem", incident))),
    ]

    assert [(error.code.name, error.reason) for error in refused] == [
        ("FAILED_PRECONDITION", "INCIDENT_REQUIRED"),
        ("FAILED_PRECONDITION", "INCIDENT_REQUIRED"),
        ("FAILED_PRECONDITION", "INCIDENT_REQUIRED"),
        ("PERMISSION_DENIED", "PURPOSE_NOT_ALLOWED"),
    ]


async def test_the_legal_officer_reads_nothing_for_an_order_outside_its_export(served: Serving) -> None:
    """P3.6-order, N2: without an order, and with one that never was."""
    await served.create_tenants()
    name = (await create(served.service("billing"), call_detail())).name
    officer = served.service("legal-officer")

    refused = [
        await not_revealed(officer, asked(name, because=why("court-order", reference)))
        for reference in ("", f"tenants/acme/orders/{'a' * 26}", "SUP-1")
    ]

    assert {(error.code.name, error.reason) for error in refused} == {("FAILED_PRECONDITION", "ORDER_REQUIRED")}
