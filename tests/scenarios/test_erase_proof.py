"""What is left of an erased person: nothing but a certificate, whenever the power goes out."""

from pathlib import Path

import pytest
from sqlalchemy import Table, select

from tests.builders import (
    ERASING,
    NEVER,
    OTHER_PHONE,
    PHONE,
    SERVING,
    asked,
    call_detail,
    contact,
    create,
    entries,
    erase,
    erase_for_person,
    find,
    id_of,
    not_revealed,
    profile,
    record,
    request_erasure,
    rows,
    sought,
    subject_of,
)
from tests.holds import officer_of, place, wanted
from tests.serving import Caller, Serving, serving
from vault.audit.certificate import verify_certificate
from vault.client.errors import CallError
from vault.errors import DataLossError
from vault.operations import erase_run
from vault.store import tables
from vault.store.cascade import CASCADE, Reach
from vault.v1.erasure_service_pb2 import (
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_PENDING_KEY_DESTRUCTION,
    ApproveErasureRequest,
    GetErasureCertificateRequest,
    GetErasureRequest,
)
from vault.v1.resources_pb2 import SUBJECT_STATE_ERASED
from vault.v1.rights_service_pb2 import RecordConsentRequest, SetMarketingPreferenceRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest, GetSubjectRequest, ResolveIdentifierRequest

OF_PERSON = (tables.subject_keys, tables.record_parts, tables.index_entries, tables.identities)
SECRET = {"wrapped", "sealed", "token"}


class PowerCutError(Exception):
    """Stands in for a process that dies between two commits."""


async def power_cut(*_: object) -> None:
    """Never gets to the rows."""
    raise PowerCutError


async def certificate_of(served: Serving, name: str) -> str:
    """A certificate, read as the auditor."""
    auditor = served.service("auditor")
    return (await auditor.call(auditor.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=name))).certificate


async def secrets_of(served: Serving, subject: str) -> set[bytes]:
    """Wrapped keys, ciphertexts and index tokens of a subject."""
    found: set[bytes] = set()
    async with served.vault.database.read() as connection:
        for table in OF_PERSON:
            columns = [column for column in table.columns if column.name in SECRET]
            query = select(*columns).where(table.c.subject_id == subject)
            found.update(value for row in await connection.execute(query) for value in row)
    return found


async def tables_that_name(served: Serving, subject: str) -> set[str]:
    """Tables with a row that has the subject's id in one of its columns; the log, which names ids for ever, is not looked at."""
    naming: set[str] = set()
    wanted: list[Table] = [table for table in tables.metadata.sorted_tables if not table.name.startswith("audit_")]
    async with served.vault.database.read() as connection:
        for table in wanted:
            if any(subject in str(row) for row in await connection.execute(select(table))):
                naming.add(table.name)
    return naming


async def everything(served: Serving) -> bytes:
    """Every row of every table, the log included, and the files of the database where they are at hand."""
    content = b""
    async with served.vault.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            for row in await connection.execute(select(table)):
                content += b"|".join(value if isinstance(value, bytes) else str(value).encode() for value in row) + b"\n"
    return content


async def refusals(caller: Caller, name: str) -> list[CallError]:
    """What reading and writing answer about a person who is being erased."""
    resolve = ResolveIdentifierRequest(
        parent="tenants/acme", category="end-customer-contact", kind="phone", value=PHONE, justification=SERVING
    )
    return [
        await not_revealed(caller, asked(name, "phone")),
        await not_revealed(caller, asked(name)),
        await caller.refused(caller.records.ResolveIdentifier, resolve),
        await caller.refused(caller.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=contact())),
        await caller.refused(
            caller.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=profile(subject_of(name), first_name="דנה"))
        ),
    ]


async def test_a_raw_scan_after_an_erasure_finds_nothing_of_the_person(served: Serving) -> None:
    """I4, L43: keys, ciphertexts, index tokens and identities are gone; the other person's are not."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, contact(email="dana@example.com"))).name)
    other = subject_of((await create(app, contact(OTHER_PHONE))).name)
    await create(app, profile(person, first_name="דנה", extra={"shoe": "blue suede"}))
    before, kept = await secrets_of(served, id_of(person)), await secrets_of(served, id_of(other))

    await erase(served, person)

    left = await everything(served)
    assert len(before) == 5
    assert not any(secret in left for secret in before)
    assert all(secret in left for secret in kept)
    assert not any(value in left for value in (PHONE.encode(), b"2345678", b"dana@", "דנה".encode(), b"suede"))
    # Whoever received copies is told by the id (L32).
    assert await tables_that_name(served, id_of(person)) == {"subjects", "erasures"}


async def test_a_certificate_says_what_was_destroyed_and_verifies_with_the_vaults_key_alone(served: Serving) -> None:
    """I8: offline; it names counts, people and the entry of the log, and nothing of the person."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, contact())).name)
    await create(app, profile(person, first_name="דנה"))

    erasure = await erase(served, person)

    certificate = await certificate_of(served, erasure.name)
    said = verify_certificate(certificate, served.vault.signer.verifier())
    logged = (await entries(served))[-1]
    assert (said["erasure"], said["subject"], said["state"], said["next_time"]) == (erasure.name, person, "COMPLETE", "")
    assert (said["issuer"], said["operator"]) == ("vault.localhost", "Cellact Ltd / סלקט בע״מ")
    nothing = {"tokenised": 0, "forwarded": 0, "controller": "", "restricted": []}
    assert said["outcomes"] == [
        {"category": "end-customer-contact", "found": 1, "erased": 1, **nothing},
        {"category": "list-profile", "found": 1, "erased": 1, **nothing},
    ]
    assert (said["requester_kind"], said["requester"]) == ("TENANT", "spiffe://pii-vault.localhost/acme-admin")
    assert said["approvers"] == ["people/e-approver-0"]
    assert said["audit"] == {"log": "acme", "index": len(await entries(served)) - 1}
    assert (logged.operation, list(logged.subjects)) == ("erase", [id_of(person)])
    assert not any(value in certificate for value in ("2345678", "דנה"))


async def test_a_certificate_that_was_changed_is_refused(served: Serving) -> None:
    """I8: another subject, another approver, another key."""
    await served.create_tenants()
    erasure = await erase(served, subject_of((await create(served.service("acme-app"), contact())).name))
    certificate, verifier = await certificate_of(served, erasure.name), served.vault.signer.verifier()
    tampered = [
        certificate.replace(id_of(erasure.subject), NEVER),
        certificate.replace("e-approver", "e-somebody"),
        certificate.replace('"found": 1', '"found": 2'),
        certificate[:-8],
        "",
    ]

    reasons = []
    for text in tampered:
        with pytest.raises(DataLossError) as refused:
            verify_certificate(text, verifier)
        reasons.append(refused.value.reason)

    assert reasons == ["NOTE_INVALID"] * len(tampered)


async def test_there_is_no_certificate_before_the_erasure_is_done(served: Serving) -> None:
    await served.create_tenants()
    erasure = await request_erasure(served.service("acme-admin"), subject_of((await create(served.service("acme-app"), contact())).name))
    auditor = served.service("auditor")

    refused = await auditor.refused(auditor.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure.name))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "ERASURE_NOT_COMPLETE")


async def test_e10_an_erasure_that_a_crash_interrupted_is_finished_at_the_next_start(
    home_template: Path, tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10, I4: keys die first, so in between nothing can be read; afterwards the certificate is there as ever."""
    home = tmp_path / "home"
    async with serving(home_template, home, migrated_url) as served:
        await served.create_tenants()
        app = served.service("acme-app")
        name = (await create(app, contact())).name
        person = subject_of(name)
        erasure = await request_erasure(served.service("acme-admin"), person)
        await served.sign_nda("e-approver")
        officer = served.person("e-approver", "privacy-officer")
        with monkeypatch.context() as crash:
            crash.setattr(erase_run, "_finish", power_cut)

            died = await officer.refused(officer.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))

        between = await refusals(app, name)
        state = (await app.call(app.records.GetSubject, GetSubjectRequest(name=person))).subject.state
        pending = (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure
        left = await rows(served, *OF_PERSON)
    async with serving(home_template, home, migrated_url) as served:
        app, officer = served.service("acme-app"), served.service("privacy-officer")

        done = (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure

        said = verify_certificate(await certificate_of(served, erasure.name), served.vault.signer.verifier())
        gone = await not_revealed(app, asked(name, "phone"))
        found = await find(app, sought("phone", PHONE))
        again = (await create(app, contact())).name
        last = [entry for entry in await entries(served) if entry.operation == "erase"]

    assert died.reason == "INTERNAL"
    assert [error.reason for error in between] == ["SUBJECT_ERASED"] * 3 + ["RETRY_AFTER_ERASURE"] * 2
    assert (state, pending.state, done.state) == (SUBJECT_STATE_ERASED, ERASURE_STATE_PENDING_KEY_DESTRUCTION, ERASURE_STATE_COMPLETE)
    assert left == (0, 1, 1, 1)
    assert (said["subject"], said["approvers"]) == (person, ["people/e-approver"])
    assert (gone.reason, list(found)) == ("RECORD_NOT_FOUND", [])
    assert subject_of(again) != person
    assert [entry.actor for entry in last] == ["upkeep"]


async def test_an_erasure_reaches_exactly_as_far_as_the_cascade_says(served: Serving) -> None:
    """§6.2, L43: of a person who is in every kind of table, what is to go is gone, and what stays is a token, evidence or an opaque id."""
    await served.create_tenants()
    app, desk = served.service("acme-app"), served.person("e-desk", "privacy-officer")
    await served.sign_nda("e-desk")
    fields = {"phone": PHONE, "is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
    person = subject_of((await create(app, record("site-visitor", fields))).name)
    await create(served.service("billing"), call_detail())
    await place(await officer_of(served), wanted(person, categories=["fax"]))
    await desk.call(
        desk.rights.RecordConsent,
        RecordConsentRequest(subject=person, scope="purpose:own-marketing", text_version="2026-01", evidence_sha256=b"\5" * 32),
    )
    await desk.call(
        desk.rights.SetMarketingPreference, SetMarketingPreferenceRequest(subject=person, channel="SMS", allowed=False, source="WEB")
    )
    naming = await tables_that_name(served, id_of(person))

    await erase_for_person(served, person)

    left = await tables_that_name(served, id_of(person))
    reach = {table.name: of for table, of in CASCADE.items()}
    assert {"record_parts", "identities", "index_entries", "consents", "marketing_preferences", "hold_scopes"} <= naming
    assert {name for name in left if reach[name] in {Reach.GONE, Reach.NOBODY}} == {"subject_keys", "index_entries"}
    async with served.vault.database.read() as connection:
        # Of a call that regulation keeps: the restricted key and the restricted index, and nothing else of either table.
        keys = {
            row.keyring
            for row in await connection.execute(select(tables.subject_keys).where(tables.subject_keys.c.subject_id == id_of(person)))
        }
        kinds = {
            row.kind
            for row in await connection.execute(select(tables.index_entries).where(tables.index_entries.c.subject_id == id_of(person)))
        }
    assert (keys, kinds) == ({"restricted"}, {"restricted:phone"})
