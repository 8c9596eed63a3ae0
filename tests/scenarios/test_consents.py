"""Consents to third parties and for purposes: recorded, withdrawn, and counting from the next call on."""

from datetime import timedelta
from typing import Any

import pytest

from tests.builders import NEVER, PHONE, at, contact, create, entries, erase, id_of, rows, subject_of
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.store import tables
from vault.store.consents import has_consent
from vault.v1.rights_service_pb2 import RecordConsentRequest, WithdrawConsentRequest
from vault.v1.tenant_service_pb2 import ListTenantsRequest

ATTESTATION = "attestation:recipients-of-age"
PARTNER, OTHER = "third-party:parcel-partner", "third-party:other-partner"


async def given_person(served: Serving) -> tuple[Caller, str]:
    """The tenant's application, and a person whom it knows."""
    await served.create_tenants()
    app = served.service("acme-app")
    return app, subject_of((await create(app, contact(PHONE))).name)


async def consent(caller: Caller, subject: str, scope: str = PARTNER, *, lasting: timedelta | None = None, served: Serving) -> None:
    until = at(served.clock() + lasting) if lasting else None
    request = RecordConsentRequest(subject=subject, scope=scope, text_version="2026-01", evidence_sha256=b"\2" * 32, expire_time=until)
    await caller.call(caller.rights.RecordConsent, request)


async def withdraw(caller: Caller, subject: str, scope: str = PARTNER) -> None:
    await caller.call(caller.rights.WithdrawConsent, WithdrawConsentRequest(subject=subject, scope=scope))


async def refused(caller: Caller, subject: str, scope: str = PARTNER, **fields: Any) -> CallError:
    return await caller.refused(caller.rights.RecordConsent, RecordConsentRequest(subject=subject, scope=scope, **fields))


async def holds(served: Serving, scope: str, *subjects: str) -> bool:
    """Whether a decision made now would find the consent."""
    async with served.vault.database.read() as connection:
        return await has_consent(connection, "acme", scope, [id_of(name) for name in subjects], served.clock())


async def test_a_consent_covers_the_recipient_it_names_and_no_other(served: Serving) -> None:
    """P1.7-no3p: given a consent for X, when X and Y are asked about, then only X is covered."""
    app, person = await given_person(served)

    await consent(app, person, served=served)

    assert await holds(served, PARTNER, person)
    assert not await holds(served, OTHER, person)


async def test_a_tenants_administrator_attests_that_its_recipients_are_of_age(served: Serving) -> None:
    """A12: what is attested is told while it is in force; nobody else attests it, and nobody for a single person."""
    app, person = await given_person(served)
    admin, officer, auditor = (served.service(name) for name in ("acme-admin", "privacy-officer", "auditor"))

    async def attested() -> dict[str, bool]:
        listed = (await auditor.call(auditor.tenants.ListTenants, ListTenantsRequest())).tenants
        return {id_of(tenant.name): tenant.HasField("recipients_attest_time") for tenant in listed}

    before = await attested()
    refusals = [
        await refused(app, "tenants/acme", ATTESTATION, text_version="2026-01"),
        await refused(officer, "tenants/acme", ATTESTATION, text_version="2026-01"),
        await refused(admin, person, ATTESTATION, text_version="2026-01"),
        await refused(admin, "tenants/acme", ATTESTATION),
    ]
    await consent(admin, "tenants/acme", ATTESTATION, lasting=timedelta(days=365), served=served)
    in_force = await attested()
    await withdraw(admin, "tenants/acme", ATTESTATION)

    assert [error.reason for error in refusals] == ["ROLE_NOT_ALLOWED", "ROLE_NOT_ALLOWED", "FIELD_INVALID", "FIELD_REQUIRED"]
    assert (before, in_force) == ({"acme": False, "globex": False}, {"acme": True, "globex": False})
    assert await attested() == before
    assert [entry.rule for entry in await entries(served) if entry.operation == "record-consent" and entry.decision == "ALLOWED"] == [
        f"consent:{ATTESTATION}"
    ]


async def test_a_withdrawal_counts_from_the_next_call_on(served: Serving) -> None:
    """L26, P1.7-no3p: given a consent, when it is withdrawn by one call, then nothing rests on it any more."""
    app, person = await given_person(served)
    await consent(app, person, served=served)
    await consent(app, person, served=served)

    await withdraw(app, person)

    assert not await holds(served, PARTNER, person)


async def test_a_consent_ends_by_itself(served: Serving) -> None:
    """L26."""
    app, person = await given_person(served)
    await consent(app, person, lasting=timedelta(hours=1), served=served)

    served.clock.offset = timedelta(hours=2)

    assert not await holds(served, PARTNER, person)


async def test_a_record_of_two_people_needs_the_consent_of_both(served: Serving) -> None:
    """P1.7-no3p: everybody concerned."""
    app, person = await given_person(served)
    other = subject_of((await create(app, contact("+972502345679"))).name)
    await consent(app, person, served=served)

    assert not await holds(served, PARTNER, person, other)

    await consent(app, other, served=served)

    assert await holds(served, PARTNER, person, other)


async def test_a_tenant_consents_for_everybody_of_its_own(served: Serving) -> None:
    """P1.7-no3p: the customer is the tenant, for what is the tenant's."""
    app, person = await given_person(served)

    await consent(app, "tenants/acme", served=served)

    assert await holds(served, PARTNER, person)
    async with served.vault.database.read() as connection:
        assert not await has_consent(connection, "globex", PARTNER, [], served.clock())


async def test_nothing_is_withdrawn_where_nothing_was_given(served: Serving) -> None:
    """L26."""
    app, person = await given_person(served)
    await consent(app, person, OTHER, served=served)

    error = await app.refused(app.rights.WithdrawConsent, WithdrawConsentRequest(subject=person, scope=PARTNER))

    assert error.reason == "CONSENT_NOT_FOUND"


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("third-party:X", "FIELD_INVALID"),
        ("third-party:", "FIELD_INVALID"),
        ("third-party:0502345678", "FIELD_INVALID"),
        ("everything", "FIELD_INVALID"),
        ("purpose:no-such-purpose", "UNKNOWN_PURPOSE"),
    ],
)
async def test_a_scope_is_a_recipient_or_a_purpose_of_the_catalogue(served: Serving, scope: str, reason: str) -> None:
    """P1.7-no3p, I2: what is not one is refused, and a number is no recipient."""
    app, person = await given_person(served)

    assert (await refused(app, person, scope)).reason == reason


async def test_a_consent_to_a_purpose_is_recorded(served: Serving) -> None:
    """L26."""
    app, person = await given_person(served)

    await consent(app, person, "purpose:own-marketing", served=served)

    assert await holds(served, "purpose:own-marketing", person)


async def test_somebody_erased_consents_to_nothing_and_leaves_no_consent_that_holds(served: Serving) -> None:
    """P2.10a-erase, §6.2: given an erased person, when a consent is recorded, then it is refused; the earlier one is evidence, and holds no more."""
    app, person = await given_person(served)
    await consent(app, person, served=served)

    await erase(served, person)

    assert (await refused(app, person)).reason == "SUBJECT_ERASED"
    assert not await holds(served, PARTNER, person)
    assert await rows(served, tables.consents, tables.erasure_exceptions) == (1, 1)


async def test_a_person_who_never_was_or_is_another_tenants_consents_to_nothing(served: Serving) -> None:
    """I11."""
    app, _ = await given_person(served)
    abroad = subject_of((await create(served.service("globex-app"), contact(), tenant="globex")).name)

    assert (await refused(app, f"tenants/acme/subjects/{NEVER}")).reason == "SUBJECT_NOT_FOUND"
    assert (await refused(app, abroad)).reason == "TENANT_NOT_FOUND"


async def test_evidence_that_is_no_digest_and_an_end_in_the_past_are_refused(served: Serving) -> None:
    """L26: provable, or not recorded."""
    app, person = await given_person(served)

    errors = [
        await refused(app, person, evidence_sha256=b"short"),
        await refused(app, person, expire_time=at(served.clock() - timedelta(hours=1))),
        await refused(app, person, text_version="call 050-234-5678"),
        await refused(app, person, text_version="502345678"),
        await refused(app, person, scope="third-party:502345678"),
    ]

    assert [(error.reason, *error.fields) for error in errors] == [
        ("FIELD_INVALID", "evidence_sha256"),
        ("FIELD_INVALID", "expire_time"),
        ("FIELD_INVALID", "text_version"),
        ("FIELD_INVALID", "text_version"),
        ("FIELD_INVALID", "scope"),
    ]


async def test_consents_and_withdrawals_are_recorded(served: Serving) -> None:
    """I6."""
    app, person = await given_person(served)

    await consent(app, person, served=served)
    await withdraw(app, person)

    last = (await entries(served))[-2:]
    assert [(entry.operation, entry.rule, list(entry.subjects)) for entry in last] == [
        ("record-consent", f"consent:{PARTNER}", [id_of(person)]),
        ("withdraw-consent", f"consent:{PARTNER}", [id_of(person)]),
    ]
