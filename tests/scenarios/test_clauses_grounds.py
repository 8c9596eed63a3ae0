"""Clauses about the ground that an access stands on, from the register that keeps it to the value that is shown or not."""

from datetime import timedelta

from tests.builders import (
    OTHER_PHONE,
    PHONE,
    account,
    asked,
    at,
    call_detail,
    contact,
    create,
    incoming,
    not_revealed,
    open_request,
    profile,
    record,
    reveal,
    subject_of,
)
from tests.serving import Serving, why
from vault.client.errors import CallError
from vault.v1.access_service_pb2 import (
    INCIDENT_KIND_FRAUD,
    ApproveIncidentRequest,
    OpenIncidentRequest,
    RegisterAgreementRequest,
    RevokeRoleRequest,
)
from vault.v1.rights_service_pb2 import RecordConsentRequest, SetMarketingPreferenceRequest, WithdrawConsentRequest

DAY = timedelta(days=1)
FAULT = why("technical-fault", "SUP-4711", "the customer reports that a call was cut off")
SUSPICION = "a customer reports messages that nobody sent"
ADVERT = why("own-marketing", reason="a visitor is told about a new service")
VISITOR = {"is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01"}


def told(error: CallError) -> tuple[str, str]:
    """Code and reason of a refusal."""
    return error.code.name, error.reason


async def test_a_role_that_is_taken_away_is_gone_in_a_session_that_goes_on(served: Serving) -> None:
    """L2: whatever the token says, the register is asked at every call."""
    await served.create_tenants()
    await served.sign_nda("e-support")
    stored = await create(served.service("billing"), call_detail())
    support, officer = served.person("e-support", "support"), served.person("e-officer", "privacy-officer")

    shown = await reveal(support, asked(stored.name, because=FAULT))
    await officer.call(officer.access.RevokeRole, RevokeRoleRequest(principal="people/e-support", role="support"))
    refused = await not_revealed(support, asked(stored.name, because=FAULT))

    assert shown.fields
    assert told(refused) == ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")


async def test_fraud_is_investigated_under_an_incident_about_the_person_once_approved_and_until_it_ends(served: Serving) -> None:
    """P3.6-fraud: none, not yet approved, approved, about somebody else, over."""
    await served.create_tenants()
    await served.sign_nda("e-fraud", "e-officer")
    engine = served.service("engine")
    named = (await create(engine, incoming("system-file"))).name
    other = (await create(engine, incoming("system-file", sender=OTHER_PHONE))).name
    investigator, officer = served.person("e-fraud", "fraud-investigator"), served.person("e-officer", "privacy-officer")
    opening = OpenIncidentRequest(parent="tenants/acme", kind=INCIDENT_KIND_FRAUD, summary=SUSPICION, subjects=[subject_of(named)])

    without = await not_revealed(investigator, asked(named, because=why("suspected-fraud", reason=SUSPICION)))
    incident = (await investigator.call(investigator.access.OpenIncident, opening)).incident
    under = why("suspected-fraud", incident.name, SUSPICION)
    waiting = await not_revealed(investigator, asked(named, because=under))
    await officer.call(officer.access.ApproveIncident, ApproveIncidentRequest(name=incident.name))
    shown = await reveal(investigator, asked(named, "body", because=under))
    about_others = await not_revealed(investigator, asked(other, because=under))
    served.clock.offset = timedelta(hours=72, seconds=1)
    over = await not_revealed(served.person("e-fraud", "fraud-investigator"), asked(named, because=under))

    assert shown.fields["body"].data
    assert [told(error) for error in (without, waiting, about_others, over)] == [
        ("FAILED_PRECONDITION", "INCIDENT_REQUIRED"),
        ("FAILED_PRECONDITION", "APPROVALS_MISSING"),
        ("PERMISSION_DENIED", "OUT_OF_INCIDENT"),
        ("FAILED_PRECONDITION", "INCIDENT_EXPIRED"),
    ]


async def test_the_affiliate_is_shown_something_while_its_agreement_runs(served: Serving) -> None:
    """L7, P3.6-aff: none, in force, run out."""
    await served.create_tenants()
    affiliate, officer = served.service("affiliate"), served.person("e-officer", "privacy-officer")
    stored = await create(served.service("billing"), call_detail())
    request = asked(stored.name, because=why("affiliate-service", reason="the affiliate carries the call"), recipient="affiliate")
    agreement = RegisterAgreementRequest(parent="tenants/acme", party="affiliate", document_sha256=b"\7" * 32)
    agreement.sign_time.CopyFrom(at(served.clock() - DAY))
    agreement.expire_time.CopyFrom(at(served.clock() + DAY))

    without = await not_revealed(affiliate, request)
    await officer.call(officer.access.RegisterAgreement, agreement)
    shown = await reveal(affiliate, request)
    served.clock.offset = 2 * DAY
    over = await not_revealed(affiliate, request)

    assert shown.fields
    assert [told(error) for error in (without, over)] == [
        ("FAILED_PRECONDITION", "AGREEMENT_REQUIRED"),
        ("FAILED_PRECONDITION", "AGREEMENT_EXPIRED"),
    ]


async def test_the_engine_reads_no_list_without_a_job(served: Serving) -> None:
    """P3.5-send: of a list neither contacts nor profiles; what was received is no list."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    member = await create(app, contact(list_id="spring"))
    known = await create(app, profile(subject_of(member.name), first_name="דנה"))

    refused = [await not_revealed(engine, asked(name)) for name in (member.name, known.name)]

    assert [told(error) for error in refused] == [("FAILED_PRECONDITION", "JOB_REQUIRED")] * 2


async def test_marketing_is_shown_only_whoever_said_yes(served: Serving) -> None:
    """A10, L18: nothing said, the account's terms, an explicit yes, a no."""
    await served.create_tenants()
    app, marketing = served.service("acme-app"), served.service("marketing")
    stored = (await create(app, record("site-visitor", {**VISITOR, "phone": PHONE}))).name

    async def choose(*, allowed: bool, basis: str) -> None:
        request = SetMarketingPreferenceRequest(
            subject=subject_of(stored), allowed=allowed, basis=basis, source="WEB", text_version="2026-01"
        )
        await app.call(app.rights.SetMarketingPreference, request)

    silent = await not_revealed(marketing, asked(stored, because=ADVERT))
    await choose(allowed=True, basis="ACCOUNT_TERMS")
    by_terms = await not_revealed(marketing, asked(stored, because=ADVERT))
    await choose(allowed=True, basis="EXPLICIT_OPT_IN")
    shown = await reveal(marketing, asked(stored, because=ADVERT))
    await choose(allowed=False, basis="")
    against = await not_revealed(marketing, asked(stored, because=ADVERT))

    assert shown.fields
    assert [told(error) for error in (silent, by_terms, against)] == [("FAILED_PRECONDITION", "CONSENT_BASIS_MISSING")] * 3


async def test_a_third_party_is_shown_what_the_customer_asked_for_and_consented_to(served: Serving) -> None:
    """P1.7-no3p, A1: X and not Y, until the consent is withdrawn."""
    await served.create_tenants()
    manager = served.service("account-manager")
    stored = (await create(served.service("billing"), account(), purpose="billing")).name
    because = why("customer-request", (await open_request(served, "", "reveal")).name, "the customer asked us to pass it on")
    shipper, printer = (asked(stored, "full_name", because=because, recipient=f"third-party:{name}") for name in ("shipper", "printer"))
    consent = RecordConsentRequest(
        subject=subject_of(stored), scope="third-party:shipper", text_version="2026-01", evidence_sha256=b"\3" * 32
    )
    admin = served.service("acme-admin")

    without = await not_revealed(manager, shipper)
    await admin.call(admin.rights.RecordConsent, consent)
    shown = await reveal(manager, shipper)
    of_another = await not_revealed(manager, printer)
    withdrawal = WithdrawConsentRequest(subject=subject_of(stored), scope="third-party:shipper")
    await admin.call(admin.rights.WithdrawConsent, withdrawal)
    after = await not_revealed(manager, shipper)

    assert shown.fields["full_name"].text == "דנה לוי"
    assert {told(error) for error in (without, of_another, after)} == {("PERMISSION_DENIED", "THIRD_PARTY_CONSENT_REQUIRED")}


async def test_a_consent_alone_hands_nothing_to_a_third_party(served: Serving) -> None:
    """P1.7-no3p, A1: without one it is missing; with one a list is still nothing that any third party is shown."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = (await create(app, contact())).name

    without = await not_revealed(app, asked(stored, recipient="third-party:shipper"))
    request = RecordConsentRequest(
        subject=subject_of(stored), scope="third-party:shipper", text_version="2026-01", evidence_sha256=b"\3" * 32
    )
    await app.call(app.rights.RecordConsent, request)
    with_one = await not_revealed(app, asked(stored, recipient="third-party:shipper"))
    of_another = await not_revealed(app, asked(stored, recipient="third-party:printer"))

    assert [error.reason for error in (without, with_one, of_another)] == [
        "THIRD_PARTY_CONSENT_REQUIRED",
        "RECIPIENT_NOT_ALLOWED",
        "THIRD_PARTY_CONSENT_REQUIRED",
    ]
