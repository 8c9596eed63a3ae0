"""Guardians of minors: whose consent is registered by a person, kept sealed, and whose withdrawal restricts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders import PHONE, asked, contact, create, entries, erase, id_of, not_revealed, record, reveal, rows, subject_of
from tests.serving import Caller, Serving, why
from vault import crypto
from vault.crypto import DataKey, Place
from vault.operations import erase_run
from vault.operations.guardian import open_guardian, reseal_guardian
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.store.guardians import get_guardian, guardian_standing, put_guardian
from vault.store.subjects import subject_key_rows
from vault.v1.resources_pb2 import SUBJECT_STATE_ACTIVE
from vault.v1.rights_service_pb2 import LiftRestrictionRequest, RegisterGuardianConsentRequest, WithdrawGuardianConsentRequest
from vault.v1.vault_service_pb2 import CheckContactableRequest, CreateRecordRequest

VISITOR = {"phone": PHONE, "is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01"}
GUARDIAN, REACHED_AT = "רות לוי", "+972502345673"


async def given_minor(served: Serving) -> tuple[Caller, Caller, str]:
    """An officer, the tenant's application, and the record of somebody under age."""
    await served.create_tenants()
    await served.sign_nda("e-officer")
    app = served.service("acme-app")
    return served.person("e-officer", "privacy-officer"), app, (await create(app, contact(PHONE))).name


def consent(subject: str, born: str = "") -> RegisterGuardianConsentRequest:
    """A guardian's consent as it is registered."""
    evidence = b"\3" * 32
    return RegisterGuardianConsentRequest(
        subject=subject,
        evidence_sha256=evidence,
        method="CALL_BACK",
        guardian_name=GUARDIAN,
        guardian_contact=REACHED_AT,
        birth_date=born,
    )


async def register(officer: Caller, subject: str) -> None:
    await officer.call(officer.rights.RegisterGuardianConsent, consent(subject))


async def withdraw(officer: Caller, subject: str) -> None:
    await officer.call(officer.rights.WithdrawGuardianConsent, WithdrawGuardianConsentRequest(subject=subject))


async def standing(served: Serving, *subjects: str) -> dict[str, str]:
    async with served.vault.database.read() as connection:
        return await guardian_standing(connection, "acme", [id_of(name) for name in subjects], served.clock())


async def test_a_guardian_is_kept_sealed_under_the_minors_key(served: Serving) -> None:
    """P2.6-minor, I2: given a verified guardian, then the minor stands VERIFIED and who the guardian is lies sealed."""
    officer, _, record = await given_minor(served)
    minor = subject_of(record)

    await register(officer, minor)

    assert await standing(served, minor) == {id_of(minor): "VERIFIED"}
    async with served.vault.database.read() as connection:
        row = await get_guardian(connection, "acme", id_of(minor))
        assert row is not None
        assert GUARDIAN.encode() not in row.sealed
        assert REACHED_AT.encode() not in row.sealed
        keys = await served.vault.keyring.of(connection, "acme", epoch=1)
        opened = await open_guardian(served.vault, connection, keys, row)
    assert opened == {"guardian_name": GUARDIAN, "guardian_contact": REACHED_AT}
    assert (row.method, row.verified_by) == ("CALL_BACK", "people/e-officer")


@pytest.mark.parametrize(
    ("born", "until"),
    [("2012-12-31", "2031-01-01"), ("2012-01-01", "2031-01-01"), ("", "2045-01-01")],
    ids=["december", "january", "not told"],
)
async def test_a_minor_is_one_until_the_year_is_over_in_which_they_come_of_age(served: Serving, born: str, until: str) -> None:
    """C22, A12: of the birthday nothing else is kept; whose it is not known counts as just born."""
    officer, app, record = await given_minor(served)
    minor = subject_of(record)
    await officer.call(officer.rights.RegisterGuardianConsent, consent(minor, born))
    end = datetime.fromisoformat(until).replace(tzinfo=UTC)

    served.clock.offset += end - served.clock() - timedelta(minutes=1)
    before = await standing(served, minor)
    served.clock.offset += timedelta(minutes=2)

    assert (before, await standing(served, minor)) == ({id_of(minor): "VERIFIED"}, {})
    asked_for = CheckContactableRequest(parent="tenants/acme", kind="phone", value=PHONE, purpose="own-marketing", channel="SMS")
    assert (await app.call(app.records.CheckContactable, asked_for)).reason == "NO_CONSENT"


@pytest.mark.parametrize("born", ["2001-01-01", "2030-01-01", "31.12.2012", "2012-13-01", "050-2345678"])
async def test_a_birthday_that_is_no_minors_is_refused_and_not_repeated(served: Serving, born: str) -> None:
    """I2, P2.6-minor."""
    officer, _, record = await given_minor(served)

    refused = await officer.refused(officer.rights.RegisterGuardianConsent, consent(subject_of(record), born))

    assert (refused.reason, refused.fields) == ("FIELD_INVALID", ("birth_date",))
    assert born not in str(refused)
    assert born.encode() not in b"".join(entry.content for entry in await entries(served))


async def test_a_withdrawal_restricts_the_minors_records_at_once(served: Serving) -> None:
    """P2.6-minor: when the guardian withdraws, then the next reveal is refused."""
    officer, app, record = await given_minor(served)
    await register(officer, subject_of(record))
    assert (await reveal(app, asked(record))).fields

    await withdraw(officer, subject_of(record))

    assert (await not_revealed(app, asked(record))).reason == "RESTRICTED"
    assert await standing(served, subject_of(record)) == {id_of(subject_of(record)): "WITHDRAWN"}


async def test_what_a_guardian_withdrew_is_lifted_only_after_consenting_anew(served: Serving) -> None:
    """P2.6-minor, L31."""
    officer, _, record = await given_minor(served)
    minor = subject_of(record)
    await register(officer, minor)
    await withdraw(officer, minor)
    lifting = LiftRestrictionRequest(subject=minor, justification=why("data-subject-request"), notice_id="notice-1")

    error = await officer.refused(officer.rights.LiftRestriction, lifting)
    assert error.reason == "GUARDIAN_CONSENT_REQUIRED"

    await register(officer, minor)
    lifted = await officer.call(officer.rights.LiftRestriction, lifting)
    assert lifted.subject.state == SUBJECT_STATE_ACTIVE


async def test_a_minors_record_is_stored_only_while_a_guardian_consents(served: Serving) -> None:
    """P2.6-minor, A12: given no guardian, or one who withdrew, then GUARDIAN_CONSENT_REQUIRED; never for somebody who is not known yet."""
    officer, app, stored = await given_minor(served)
    born = f"{served.clock().year - 10}-01-01"
    visit = record("site-visitor", {**VISITOR, "birth_date": born}, subject=subject_of(stored))
    unknown = record("site-visitor", {**VISITOR, "phone": "+972502345671", "birth_date": born})

    before = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=visit))
    await register(officer, subject_of(stored))
    kept = await create(app, visit)
    of_nobody = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=unknown))
    await withdraw(officer, subject_of(stored))
    after = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=visit))

    assert subject_of(kept.name) == subject_of(stored)
    assert [error.reason for error in (before, of_nobody, after)] == ["GUARDIAN_CONSENT_REQUIRED"] * 3


async def test_a_guardian_is_sealed_anew_when_the_minors_key_is(served: Serving) -> None:
    """P2.6-minor, I3: what the older key sealed opens under the newer one; what is damaged stays as it is, and is told."""
    officer, _, record = await given_minor(served)
    minor = id_of(subject_of(record))
    await register(officer, subject_of(record))
    newer = DataKey(2, crypto.new_key_material())

    async with served.vault.database.write() as connection:
        keys = await served.vault.keyring.of(connection, "acme", epoch=1)
        [stored] = await subject_key_rows(connection, "acme", [minor])
        under = keys.version("data", stored.tenant_key_version)
        older = crypto.unwrap_subject_key(stored.wrapped, version=1, under=under, tenant="acme", subject=minor)
        assert not await reseal_guardian(connection, "acme", minor, own={2: newer}, version=2)
        assert await reseal_guardian(connection, "acme", minor, own={1: older, 2: newer}, version=2)
        assert await reseal_guardian(connection, "acme", minor, own={2: newer}, version=2)
        row = await get_guardian(connection, "acme", minor)
        assert row is not None
        await put_guardian(connection, "acme", replace(row, sealed=row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])))
        assert not await reseal_guardian(connection, "acme", minor, own={2: newer, 3: newer}, version=3)
        assert await reseal_guardian(connection, "acme", id_of(subject_of(record))[::-1], own={}, version=3)

    at = Place("acme", minor, "guardian-consent")
    assert crypto.open_fields(row.sealed, None, under=newer, at=at)["guardian_name"].decode() == GUARDIAN


async def test_nothing_is_withdrawn_twice(served: Serving) -> None:
    """P2.6-minor."""
    officer, _, record = await given_minor(served)
    request = WithdrawGuardianConsentRequest(subject=subject_of(record))
    assert (await officer.refused(officer.rights.WithdrawGuardianConsent, request)).reason == "CONSENT_NOT_FOUND"

    await register(officer, subject_of(record))
    await withdraw(officer, subject_of(record))

    assert (await officer.refused(officer.rights.WithdrawGuardianConsent, request)).reason == "CONSENT_NOT_FOUND"


async def test_a_guardian_goes_with_the_minor(served: Serving) -> None:
    """P2.10a-erase, I4, §6.2: who the guardian is goes; that there was a consent stays as evidence until its date, and then goes as well."""
    officer, _, record = await given_minor(served)
    await register(officer, subject_of(record))

    await erase(served, subject_of(record))

    async with served.vault.database.read() as connection:
        proof = await get_guardian(connection, "acme", id_of(subject_of(record)))
    assert proof is not None
    assert (proof.sealed, proof.key_version, proof.evidence_sha256) == (b"", 0, b"\3" * 32)
    assert await rows(served, tables.guardian_consents, tables.erasure_exceptions, tables.subject_keys) == (1, 1, 0)
    request = RegisterGuardianConsentRequest(subject=subject_of(record), evidence_sha256=b"\3" * 32)
    assert (await officer.refused(officer.rights.RegisterGuardianConsent, request)).reason == "SUBJECT_ERASED"
    served.clock.offset += timedelta(days=26 * 366)
    await erase_run.resume(served.vault, upkeep_caller())
    assert await rows(served, tables.guardian_consents, tables.erasure_exceptions) == (0, 0)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"evidence_sha256": b"short"}, "evidence_sha256"),
        ({"evidence_sha256": b"\3" * 32, "method": "HEARSAY"}, "method"),
        ({"evidence_sha256": b"\3" * 32, "guardian_name": "x" * 401}, "guardian_name"),
    ],
)
async def test_evidence_method_and_size_are_checked(served: Serving, fields: dict[str, Any], field: str) -> None:
    """L27: reasonable verification."""
    officer, _, record = await given_minor(served)

    error = await officer.refused(
        officer.rights.RegisterGuardianConsent, RegisterGuardianConsentRequest(subject=subject_of(record), **fields)
    )

    assert (error.reason, *error.fields) == ("FIELD_INVALID", field)


async def test_registering_and_withdrawing_are_recorded_without_the_name(served: Serving) -> None:
    """I2, I6."""
    officer, _, record = await given_minor(served)
    await register(officer, subject_of(record))
    await withdraw(officer, subject_of(record))

    last = (await entries(served))[-2:]

    assert [(entry.operation, entry.category, list(entry.subjects)) for entry in last] == [
        ("register-guardian-consent", "guardian-consent", [id_of(subject_of(record))]),
        ("withdraw-guardian-consent", "guardian-consent", [id_of(subject_of(record))]),
    ]
    assert not any(GUARDIAN.encode() in entry.content or REACHED_AT.encode() in entry.content for entry in last)
