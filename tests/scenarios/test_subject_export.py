"""A person's own data, handed out: what the operator answers for whole, what others hold by name only, and nobody else's number."""

import csv
import io
import json
import zipfile
from typing import Any

import pytest

from tests.builders import (
    NEVER,
    OTHER_PHONE,
    PHONE,
    account,
    call_detail,
    contact,
    create,
    create_all,
    entries,
    erase_for_person,
    id_of,
    record,
    subject_of,
)
from tests.serving import Caller, Serving, why
from vault.client.errors import CallError
from vault.v1.resources_pb2 import Justification
from vault.v1.rights_service_pb2 import (
    CloseSubjectRequestRequest,
    ExportSubjectDataRequest,
    ObjectToProcessingRequest,
    OpenSubjectRequestRequest,
    RecordConsentRequest,
    RegisterGuardianConsentRequest,
    RestrictSubjectRequest,
    SetMarketingPreferenceRequest,
    VerifySubjectRequestRequest,
)

MAIL = "dana@example.com"
FORMULA = "=HYPERLINK(0)"


def visitor(**fields: str) -> Any:
    """Somebody who wrote on the web site."""
    given = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01", "email": MAIL, **fields}
    return record("site-visitor", given)


async def given_officer(served: Serving) -> Caller:
    await served.create_tenants()
    await served.sign_nda("e-officer")
    return served.person("e-officer", "privacy-officer")


async def request_of(officer: Caller, subject: str, *, kind: str = "ACCESS", verify: bool = True) -> str:
    """A request of a person; its name."""
    opening = OpenSubjectRequestRequest(parent="tenants/acme", subject=subject, kind=kind, channel="EMAIL_INFO", requester="SUBJECT")
    name = (await officer.call(officer.rights.OpenSubjectRequest, opening)).subject_request.name
    if verify:
        await officer.call(officer.rights.VerifySubjectRequest, VerifySubjectRequestRequest(name=name, evidence_sha256=b"\4" * 32))
    return name


def on_request(reference: str, purpose: str = "data-subject-request") -> Justification:
    return why(purpose, reference, "the person asked for a copy of their data")


async def exported(officer: Caller, subject: str) -> dict[str, bytes]:
    """The files of a package, for a request made just before."""
    request = ExportSubjectDataRequest(subject=subject, justification=on_request(await request_of(officer, subject)))
    chunks = await officer.stream(officer.rights.ExportSubjectData, request)
    assert [chunk.HasField("receipt") for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    with zipfile.ZipFile(io.BytesIO(b"".join(chunk.data for chunk in chunks))) as package:
        return {name: package.read(name) for name in package.namelist()}


async def refused(officer: Caller, subject: str, because: Justification) -> CallError:
    request = ExportSubjectDataRequest(subject=subject, justification=because)
    return await officer.refused(officer.rights.ExportSubjectData, request, streams=True)


def categories(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    return {item["category"]: item for item in json.loads(files["data.json"])["categories"]}


async def test_controller_data_is_handed_out_with_all_that_is_to_be_said(served: Serving) -> None:
    """P1.3-gdpr, L29, A27: given one person in three controller categories, then all three, with purposes, end of retention and recipients."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), visitor(name="דנה לוי"))).name)
    customer = {"full_name": "דנה לוי", "company_no": "512345678", "email": MAIL}
    await create(served.service("account-manager"), record("business-account", customer, subject=person))
    former = {"full_name": "דנה לוי", "email": MAIL, "ended_at": "2026-01-31T00:00:00Z", "reasons": "a"}
    await create(served.service("account-manager"), record("former-customer-contact", former))

    files = await exported(officer, person)

    found = categories(files)
    assert {"site-visitor", "business-account", "former-customer-contact"} <= found.keys()
    assert found["site-visitor"]["records"][0]["name"] == "דנה לוי"
    assert found["business-account"]["records"][0]["email"] == MAIL
    for name in ("site-visitor", "business-account", "former-customer-contact"):
        item = found[name]
        assert item["purposes"]
        assert all(text["he"] and text["en"] for text in item["purposes"].values())
        assert item["retention"]["he"]
        assert item["retention"]["en"]
        assert item["controller"]["en"]
        assert isinstance(item["portable"], bool)
    assert found["business-account"]["portable"] is True
    assert served.vault.catalogue.affiliate.name.en in found["business-account"]["recipients"]
    assert served.vault.catalogue.affiliate.name.en not in found["site-visitor"]["recipients"]


async def test_what_is_held_for_a_tenant_is_named_and_not_shown(served: Serving) -> None:
    """L13, P1.8-role: given a person known only from a tenant's list, then a statement names the tenant, and nothing of the list is there."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), contact(PHONE, email=MAIL))).name)

    files = await exported(officer, person)

    statement = json.loads(files["statement.json"])
    assert [(item["type"], item["tenant"]) for item in statement["statements"]] == [("HOLDER_STATEMENT", "tenants/acme")]
    assert not any(
        PHONE.encode() in content or MAIL.encode() in content or b"end-customer-contact" in content for content in files.values()
    )
    assert categories(files).keys() == {"consent-and-instruction"}


async def test_nothing_is_said_to_be_held_where_nothing_is(served: Serving) -> None:
    """L13."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), visitor())).name)

    assert json.loads((await exported(officer, person))["statement.json"])["statements"] == []


async def test_the_other_party_of_a_call_is_masked(served: Serving) -> None:
    """P3.4-perm-party: given a call from A to B, when B asks, then the call is listed with B's number whole and A's masked."""
    officer = await given_officer(served)
    call = await create(served.service("billing"), call_detail())
    called = next(party.subject for party in call.parties if party.role == "called")

    files = await exported(officer, called)

    [listed] = categories(files)["call-detail"]["records"]
    assert listed["called"] == OTHER_PHONE
    assert listed["calling"] == "+97250•••••78"
    assert not any(PHONE.encode() in content for content in files.values())
    assert categories(files)["call-detail"]["controller"]["en"] == served.vault.catalogue.affiliate.name.en


async def test_an_erased_party_is_not_in_it(served: Serving) -> None:
    """P2.8-others, I4."""
    officer = await given_officer(served)
    call = await create(served.service("billing"), call_detail())
    parties = {party.role: party.subject for party in call.parties}
    await erase_for_person(served, parties["calling"])

    [listed] = categories(await exported(officer, parties["called"]))["call-detail"]["records"]

    assert listed["called"] == OTHER_PHONE
    assert "calling" not in listed


async def test_tables_are_for_spreadsheets_and_run_nothing(served: Serving) -> None:
    """L29: UTF-8 with BOM, one table per category, and no cell that is a formula."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), visitor(name=FORMULA, phone=PHONE))).name)

    files = await exported(officer, person)

    table = files["csv/site-visitor.csv"]
    assert table.startswith("\ufeff".encode())
    [row] = csv.DictReader(io.StringIO(table.decode("utf-8-sig")))
    assert (row["name"], row["phone"]) == (f"'{FORMULA}", f"'{PHONE}")
    assert categories(files)["site-visitor"]["records"][0]["name"] == FORMULA


async def test_what_is_registered_about_a_person_is_theirs_too(served: Serving) -> None:
    """P1.3-gdpr: choices, consents, objections, requests, and of the guardian only the least."""
    officer = await given_officer(served)
    app = served.service("acme-app")
    person = subject_of((await create(app, visitor())).name)
    choice = SetMarketingPreferenceRequest(subject=person, channel="SMS", allowed=True, basis="EXPLICIT_OPT_IN", source="WEB")
    await app.call(app.rights.SetMarketingPreference, choice)
    await app.call(app.rights.RecordConsent, RecordConsentRequest(subject=person, scope="third-party:parcel-partner"))
    await app.call(app.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=person, purpose="keep-in-touch"))
    guardian = RegisterGuardianConsentRequest(
        subject=person, evidence_sha256=b"\3" * 32, guardian_name="רות לוי", guardian_contact=OTHER_PHONE
    )
    await officer.call(officer.rights.RegisterGuardianConsent, guardian)

    found = categories(await exported(officer, person))

    assert {(row["channel"], row["state"]) for row in found["marketing-preference"]["records"]} >= {("SMS", "IN"), ("SMS", "OUT")}
    scopes = {(row["kind"], row["scope"]) for row in found["consent-and-instruction"]["records"]}
    assert scopes == {
        ("CONSENT", "third-party:parcel-partner"),
        ("OBJECTION", "purpose:keep-in-touch"),
        ("REQUEST", "ACCESS"),
    }
    [kept] = found["guardian-consent"]["records"]
    assert (kept["guardian_name"], kept["guardian_contact"]) == ("ר•••", "•••")


async def test_what_only_services_work_with_is_named_and_left_out(served: Serving) -> None:
    """P1.3-gdpr, §2B: a card's token is no use to a person; that there is one is said."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("account-manager"), account(email=MAIL))).name)
    card = {"psp_token": "tok-abc", "last4": "4242", "brand": "visa", "exp_month": "1", "exp_year": "2030"}
    await create(served.service("billing"), record("payment-card", card, subject=person), purpose="billing")

    files = await exported(officer, person)

    assert "payment-card" not in categories(files)
    assert [item["category"] for item in json.loads(files["statement.json"])["left_out"]] == ["payment-card"]


async def test_restricted_data_is_still_the_persons_own(served: Serving) -> None:
    """L31, §6.4: a restriction does not stand in the way of the person's own request."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), visitor())).name)
    await officer.call(officer.rights.RestrictSubject, RestrictSubjectRequest(subject=person, justification=why("data-subject-request")))

    assert "site-visitor" in categories(await exported(officer, person))


async def test_only_a_verified_open_request_of_that_very_person_is_answered(served: Serving) -> None:
    """P2.7-rights, L28: unverified, closed, another's, of another kind, or none at all: nothing leaves."""
    officer = await given_officer(served)
    app = served.service("acme-app")
    person = subject_of((await create(app, visitor())).name)
    other = subject_of((await create(app, visitor(email="noa@example.com"))).name)
    finished = await request_of(officer, person)
    await officer.call(officer.rights.CloseSubjectRequest, CloseSubjectRequestRequest(name=finished))
    references = {
        "unverified": await request_of(officer, person, verify=False),
        "closed": finished,
        "another's": await request_of(officer, other),
        "another kind": await request_of(officer, person, kind="RECTIFICATION"),
        "never": f"tenants/acme/subjectRequests/{NEVER}",
        "another tenant's": f"tenants/globex/subjectRequests/{NEVER}",
        "none": "",
        "ticket": "TIC-1",
    }

    reasons = {name: (await refused(officer, person, on_request(reference))).reason for name, reference in references.items()}

    assert reasons == dict.fromkeys(references, "CONSENT_BASIS_MISSING") | {"unverified": "IDENTITY_NOT_VERIFIED"}


async def test_no_other_purpose_no_other_role_and_nobody_without_an_agreement(served: Serving) -> None:
    """P1.6b-need, P3.7-nda, I9."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), visitor())).name)
    name = await request_of(officer, person)

    reasons = [
        (await refused(officer, person, on_request(name, "own-marketing"))).reason,
        (await refused(served.person("e-unsigned", "privacy-officer"), person, on_request(name))).reason,
        (await refused(served.service("privacy-officer"), person, on_request(name))).reason,
        (await refused(served.person("e-officer", "marketing"), person, on_request(name))).reason,
    ]

    assert reasons == ["PURPOSE_NOT_ALLOWED", "NDA_INVALID", "PERSON_REQUIRED", "ROLE_NOT_ALLOWED"]


async def test_nobody_erased_is_exported(served: Serving) -> None:
    """P2.10a-erase: the request is nobody's any more."""
    officer = await given_officer(served)
    person = subject_of((await create(served.service("acme-app"), visitor())).name)
    name = await request_of(officer, person)

    await erase_for_person(served, person)

    assert (await refused(officer, person, on_request(name))).reason == "CONSENT_BASIS_MISSING"


async def test_an_export_is_recorded_before_it_leaves(served: Serving) -> None:
    """I1, I6: one entry for the whole, one for each category with its records, and no value in any."""
    officer = await given_officer(served)
    stored = await create(served.service("acme-app"), visitor(name="דנה לוי"))

    await exported(officer, subject_of(stored.name))

    last = (await entries(served))[-3:]
    assert [(entry.operation, entry.category, list(entry.records)) for entry in last] == [
        ("export-subject-data", "", []),
        ("export", "site-visitor", [id_of(stored.name)]),
        ("export", "consent-and-instruction", []),
    ]
    assert {(entry.purpose, entry.decision) for entry in last} == {("data-subject-request", "ALLOWED")}
    assert all(entry.reference.startswith("tenants/acme/subjectRequests/") for entry in last)
    assert not any(MAIL.encode() in entry.content or "דנה".encode() in entry.content for entry in last)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_package_of_many_records_comes_in_chunks(served: Serving) -> None:
    """P1.3-gdpr: more records than one page of the database, more bytes than one message."""
    officer = await given_officer(served)
    app = served.service("acme-app")
    many = [visitor(enquiry=f"question {n}" + " and so on" * 400) for n in range(600)]
    results = await create_all(app, many)
    assert {result.WhichOneof("outcome") for result in results} == {"record"}
    person = subject_of(results[0].record.name)

    files = await exported(officer, person)

    assert len(categories(files)["site-visitor"]["records"]) == len(many)
