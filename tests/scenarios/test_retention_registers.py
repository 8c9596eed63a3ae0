"""Registers forget what ended long ago, to the day, and nothing that is still in force or part of a matter (§2B: C22, C26, C27, C31)."""

from datetime import timedelta

import pytest

from tests.builders import PHONE, contact, create, entries, id_of, open_request, record, rows, subject_of
from tests.faults import quiet
from tests.holds import officer_of, place, release, wanted
from tests.serving import Serving
from vault.operations import retain
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.access_service_pb2 import GrantRoleRequest, RegisterAgreementRequest, RevokeRoleRequest
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.rights_service_pb2 import (
    RecordConsentRequest,
    RegisterGuardianConsentRequest,
    SetMarketingPreferenceRequest,
    WithdrawConsentRequest,
)
from vault.v1.tenant_service_pb2 import CloseCustomerRequestRequest

KEPT = timedelta(days=2557)
MINUTE = timedelta(minutes=1)
PARTNER = "third-party:parcel-partner"


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    await served.create_tenants()
    return served


async def person_of(served: Serving) -> str:
    return subject_of((await create(served.service("acme-app"), contact(PHONE))).name)


async def swept(served: Serving, *, tenant: str = "tenants/acme", after: timedelta = timedelta()) -> dict[str, int]:
    """What a sweep takes out when some time has passed; of registers only."""
    served.clock.offset += after
    operator = served.service("operator")
    answer = await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant=tenant))
    registers = ("guardian-consent", "marketing-preference", "consent-and-instruction", "staff-authorisation")
    return {category: count for category, count in answer.erased_counts.items() if category in registers}


async def consent(served: Serving, person: str, scope: str = PARTNER) -> None:
    app = served.service("acme-app")
    request = RecordConsentRequest(subject=person, scope=scope, text_version="2026-01", evidence_sha256=b"\1" * 32)
    await app.call(app.rights.RecordConsent, request)


async def withdrawn(served: Serving, person: str) -> None:
    app = served.service("acme-app")
    await consent(served, person)
    await app.call(app.rights.WithdrawConsent, WithdrawConsentRequest(subject=person, scope=PARTNER))


async def test_a_consent_goes_seven_years_after_it_was_withdrawn_and_not_while_it_is_in_force(served: Serving) -> None:
    """C27: the day before it is there."""
    person = await person_of(served)
    await withdrawn(served, person)
    await consent(served, person, "third-party:other-partner")

    early = await swept(served, after=KEPT - MINUTE)
    late = await swept(served, after=2 * MINUTE)

    assert (early, late) == ({}, {"consent-and-instruction": 1})
    assert await rows(served, tables.consents) == (1,)
    assert await swept(served, after=10 * KEPT) == {}


async def test_a_customers_request_and_an_agreement_go_seven_years_after_their_end(served: Serving) -> None:
    """C27."""
    admin = served.service("acme-admin")
    closed = await open_request(served, "spring", "reveal")
    await admin.call(admin.tenants.CloseCustomerRequest, CloseCustomerRequestRequest(name=closed.name))
    officer = served.person("nda-registrar", "privacy-officer")
    agreement = RegisterAgreementRequest(parent="tenants/acme", party="tenant", purposes=["service-delivery"], document_sha256=b"\1" * 32)
    agreement.sign_time.FromDatetime(served.clock() - timedelta(days=1))
    agreement.expire_time.FromDatetime(served.clock() + timedelta(days=30))
    await officer.call(officer.access.RegisterAgreement, agreement)

    assert await swept(served, after=KEPT + MINUTE) == {"consent-and-instruction": 1}
    assert await swept(served, after=timedelta(days=30)) == {"consent-and-instruction": 1}
    assert await rows(served, tables.customer_requests, tables.agreements) == (0, 0)


async def test_of_choices_about_advertising_the_newest_stays_and_what_it_replaced_goes(served: Serving) -> None:
    """C26, L18: what counts now is never taken away, however old it is."""
    person = await person_of(served)
    app = served.service("acme-app")

    async def choose(*, allowed: bool) -> None:
        basis = "EXPLICIT_OPT_IN" if allowed else ""
        request = SetMarketingPreferenceRequest(
            subject=person, channel="SMS", allowed=allowed, basis=basis, source="WEB", text_version="2026-01"
        )
        await app.call(app.rights.SetMarketingPreference, request)

    await choose(allowed=True)
    served.clock.offset += timedelta(days=1000)
    await choose(allowed=False)

    early = await swept(served, after=KEPT - MINUTE)
    late = await swept(served, after=2 * MINUTE)

    assert (early, late) == ({}, {"marketing-preference": 1})
    assert await swept(served, after=10 * KEPT) == {}
    async with served.vault.database.read() as connection:
        [left] = (await connection.execute(tables.marketing_preferences.select())).all()
    assert left.state == "OUT"


async def test_a_guardians_consent_goes_seven_years_after_the_minor_came_of_age(served: Serving) -> None:
    """C22: born in 2012, of age in 2030; nothing is counted from the day of the consent."""
    person = await person_of(served)
    officer = served.person("nda-registrar", "privacy-officer")
    request = RegisterGuardianConsentRequest(subject=person, evidence_sha256=b"\3" * 32, birth_date="2012-05-17")
    await officer.call(officer.rights.RegisterGuardianConsent, request)
    async with served.vault.database.read() as connection:
        [row] = (await connection.execute(tables.guardian_consents.select())).all()

    early = await swept(served, after=row.majority_time + KEPT - served.clock() - MINUTE)
    late = await swept(served, after=2 * MINUTE)

    assert row.majority_time.year == 2031
    assert (early, late) == ({}, {"guardian-consent": 1})
    assert await rows(served, tables.guardian_consents) == (0,)
    entry = (await entries(served))[-1]
    assert b'"operation":"retain"' in entry.content
    assert id_of(person).encode() in entry.content


async def test_authorisations_of_staff_go_seven_years_after_they_ended(served: Serving) -> None:
    """C31: roles and confidentiality agreements; a role that is held is kept."""
    security = served.person("e-security", "security-investigator")
    await served.sign_nda("e-gone")
    for principal in ("people/e-gone", "people/e-here"):
        await security.call(security.access.GrantRole, GrantRoleRequest(principal=principal, role="support"))
    await security.call(security.access.RevokeRole, RevokeRoleRequest(principal="people/e-gone", role="support"))

    assert await swept(served, tenant="", after=KEPT + MINUTE) == {"staff-authorisation": 1}
    assert await swept(served, tenant="", after=timedelta(days=365)) == {"staff-authorisation": 1}
    assert await rows(served, tables.role_grants, tables.ndas) == (1, 0)


async def test_what_belongs_to_a_matter_is_not_taken_from_it(served: Serving) -> None:
    """A18, N2: while something of a person is held, so is what allowed its use."""
    person = await person_of(served)
    await withdrawn(served, person)
    served.clock.offset += KEPT
    placed = await place(await officer_of(served), wanted(person))

    held = await swept(served, after=MINUTE)
    await release(await officer_of(served), placed)

    assert (held, await swept(served)) == ({}, {"consent-and-instruction": 1})


async def test_the_server_sweeps_registers_by_itself_and_twice_changes_nothing(served: Serving) -> None:
    """I10."""
    person = await person_of(served)
    app = served.service("acme-app")
    await withdrawn(served, person)
    await create(app, record("site-visitor", {"is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01", "phone": PHONE}))
    served.clock.offset += KEPT + MINUTE
    retain._next_turn.clear()
    retain._next_registers.clear()

    await retain.sweep(served.vault, upkeep_caller())
    before = len(await entries(served))
    retain._next_turn.clear()
    retain._next_registers.clear()
    await retain.sweep(served.vault, upkeep_caller())

    assert await rows(served, tables.consents) == (0,)
    assert len(await entries(served)) == before
