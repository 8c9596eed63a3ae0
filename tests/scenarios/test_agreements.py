"""Processing agreements with a tenant and the affiliate: registered with what they cover and until when (L7, A2)."""

import asyncio
from datetime import timedelta

from tests.builders import at, entries, rows
from tests.serving import Caller, Serving
from vault.store import tables
from vault.store.agreements import agreement_standing
from vault.store.tenants import get_tenant
from vault.v1.access_service_pb2 import Agreement, ListAgreementsRequest, RegisterAgreementRequest

DIGEST = b"\7" * 32
DAY = timedelta(days=1)


def wanted(
    served: Serving,
    party: str = "tenant",
    *purposes: str,
    signed: timedelta = -DAY,
    until: timedelta = 365 * DAY,
    digest: bytes = DIGEST,
    tenant: str = "acme",
) -> RegisterAgreementRequest:
    """A request to register an agreement."""
    now = served.clock()
    return RegisterAgreementRequest(
        parent=f"tenants/{tenant}",
        party=party,
        purposes=purposes,
        document_sha256=digest,
        sign_time=at(now + signed),
        expire_time=at(now + until),
    )


async def register(caller: Caller, request: RegisterAgreementRequest) -> Agreement:
    """Register an agreement."""
    return (await caller.call(caller.access.RegisterAgreement, request)).agreement


async def listed(caller: Caller, tenant: str = "acme") -> list[Agreement]:
    """Agreements of a tenant."""
    return list((await caller.call(caller.access.ListAgreements, ListAgreementsRequest(parent=f"tenants/{tenant}"))).agreements)


async def standing(served: Serving, party: str) -> str:
    """Where the agreement with a party stands now, if what stands with the tenant says the same."""
    now = served.clock()
    async with served.vault.database.read() as connection:
        tenant = await get_tenant(connection, "acme")
        said = await agreement_standing(connection, "acme", party, now)
    assert tenant is not None
    end = tenant.affiliate_agreement_expire_time if party == "affiliate" else tenant.agreement_expire_time
    assert said == ("NONE" if end is None else "IN_FORCE" if end > now else "EXPIRED")
    return said


async def test_an_agreement_is_registered_and_seen_by_the_tenant_and_the_auditor(served: Serving) -> None:
    """L7: the document's digest, its purposes and its end, and who registered it."""
    await served.create_tenants()
    officer = served.person("e-officer", "privacy-officer")
    request = wanted(served, "affiliate", "service-delivery", "billing", "service-delivery")

    agreement = await register(officer, request)

    assert (agreement.party, list(agreement.purposes)) == ("affiliate", ["billing", "service-delivery"])
    assert (agreement.sign_time, agreement.expire_time, agreement.document_sha256) == (request.sign_time, request.expire_time, DIGEST)
    for caller in (served.service("acme-admin"), served.service("auditor")):
        assert await listed(caller) == [agreement]
    entry = (await entries(served))[-1]
    assert (entry.operation, entry.decision, entry.actor) == ("register-agreement", "ALLOWED", "people/e-officer")
    assert agreement.name.encode() in entry.content


async def test_an_agreement_ends_by_the_clock_and_a_renewal_follows_it(served: Serving) -> None:
    """L7: of each party on its own."""
    await served.create_tenants()
    officer = served.person("e-officer", "privacy-officer")
    before = await standing(served, "tenant")

    await register(officer, wanted(served, until=DAY))
    first = await standing(served, "tenant")
    served.clock.offset = 2 * DAY
    ended = await standing(served, "tenant")
    officer = served.person("e-officer", "privacy-officer")
    await register(officer, wanted(served))
    renewed = await standing(served, "tenant")

    assert [before, first, ended, renewed] == ["NONE", "IN_FORCE", "EXPIRED", "IN_FORCE"]
    assert await standing(served, "affiliate") == "NONE"


async def test_an_older_agreement_that_is_registered_late_ends_nothing(served: Serving) -> None:
    """L7: the last to end counts, in whichever order and however many at once they come."""
    await served.create_tenants()
    officer = served.person("e-officer", "privacy-officer")

    requests = [wanted(served, until=DAY * days) for days in (30, 2, 90, 1)]
    await asyncio.gather(*(register(officer, request) for request in requests))
    await register(officer, wanted(served, signed=-9 * DAY, until=-DAY))

    served.clock.offset = 89 * DAY
    assert await standing(served, "tenant") == "IN_FORCE"


async def test_an_agreement_that_makes_no_sense_is_refused(served: Serving) -> None:
    """A2: there are two parties; L7: purposes are the catalogue's."""
    await served.create_tenants()
    officer = served.person("e-officer", "privacy-officer")
    wrong = {
        "another company": wanted(served, "partner"),
        "an unknown purpose": wanted(served, "tenant", "billing", "curiosity"),
        "a short digest": wanted(served, digest=b"\7" * 31),
        "over before it begins": wanted(served, until=-2 * DAY),
        "signed tomorrow": wanted(served, signed=DAY),
    }

    refused = {case: await officer.refused(officer.access.RegisterAgreement, request) for case, request in wrong.items()}

    assert {case: error.reason for case, error in refused.items()} == {
        "another company": "FIELD_INVALID",
        "an unknown purpose": "UNKNOWN_PURPOSE",
        "a short digest": "FIELD_INVALID",
        "over before it begins": "FIELD_INVALID",
        "signed tomorrow": "FIELD_INVALID",
    }
    assert {error.code.name for error in refused.values()} == {"INVALID_ARGUMENT"}
    assert await rows(served, tables.agreements) == (0,)
    assert [entry.decision for entry in await entries(served)] == ["REFUSED"] * len(wrong)


async def test_agreements_are_registered_by_the_privacy_officer_and_stay_within_the_tenant(served: Serving) -> None:
    """I11, P1.6a-authorised."""
    await served.create_tenants()
    officer, security = served.person("e-officer", "privacy-officer"), served.person("e-sec", "security-investigator")
    await register(officer, wanted(served))

    by_security = await security.refused(security.access.RegisterAgreement, wanted(served))
    service, foreign = served.service("privacy-officer"), served.service("globex-admin")
    by_service = await service.refused(service.access.RegisterAgreement, wanted(served))
    elsewhere = await officer.refused(officer.access.RegisterAgreement, wanted(served, tenant="nobody"))
    read = await foreign.refused(foreign.access.ListAgreements, ListAgreementsRequest(parent="tenants/acme"))

    assert [by_security.reason, by_service.reason] == ["ROLE_NOT_ALLOWED", "PERSON_REQUIRED"]
    assert {elsewhere.reason, read.reason} == {"TENANT_NOT_FOUND"}
    assert await listed(foreign, "globex") == []


async def test_agreements_are_listed_a_page_at_a_time(served: Serving) -> None:
    """The token of one tenant's list opens no other's."""
    await served.create_tenants()
    officer, auditor = served.person("e-officer", "privacy-officer"), served.service("auditor")
    registered = {(await register(officer, wanted(served))).name for _ in range(3)}

    first = await auditor.call(auditor.access.ListAgreements, ListAgreementsRequest(parent="tenants/acme", page_size=2))
    following = ListAgreementsRequest(parent="tenants/acme", page_size=2, page_token=first.next_page_token)
    second = await auditor.call(auditor.access.ListAgreements, following)
    foreign = ListAgreementsRequest(parent="tenants/globex", page_token=first.next_page_token)

    assert {agreement.name for page in (first, second) for agreement in page.agreements} == registered
    assert (len(first.agreements), second.next_page_token) == (2, "")
    assert (await auditor.refused(auditor.access.ListAgreements, foreign)).reason == "PAGE_TOKEN_INVALID"
