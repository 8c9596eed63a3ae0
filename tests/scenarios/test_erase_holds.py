"""Holds and erasures that meet: who commits first wins, nothing held is destroyed, and what a hold stopped goes on when it ends (E4, E5, E13)."""

import pytest

from tests.builders import (
    PHONE,
    approve,
    asked,
    contact,
    create,
    entries,
    erase,
    not_revealed,
    outgoing,
    request_erasure,
    reveal,
    rows,
    subject_of,
)
from tests.holds import claim, officer_of, place, release, wanted
from tests.serving import Serving, why
from vault.audit.certificate import verify_certificate
from vault.errors import UnavailableError
from vault.names import ChildName
from vault.operations import erase_run
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.erasure_service_pb2 import (
    ERASURE_EXCEPTION_BASIS_LEGAL_CLAIM,
    ERASURE_EXCEPTION_BASIS_RETAINED_UNDER_LAW,
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_PARTIAL,
    ERASURE_STATE_RUNNING,
    Erasure,
    GetErasureCertificateRequest,
    GetErasureRequest,
)

CLAIM = why("claim-or-complaint", reference="CASE-17", reason="what the case is about must be looked at")


async def state_of(served: Serving, erasure: Erasure) -> Erasure:
    """The erasure as it stands."""
    auditor = served.service("auditor")
    return (await auditor.call(auditor.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure


async def certificate_of(served: Serving, erasure: Erasure) -> str:
    """The certificate, as text."""
    auditor = served.service("auditor")
    return (await auditor.call(auditor.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure.name))).certificate


def kept(erasure: Erasure) -> dict[str, list[int]]:
    """Bases of the exceptions, by category."""
    return {line.category: [item.basis for item in line.exceptions] for line in erasure.outcomes if line.exceptions}


async def test_e4_a_hold_that_comes_before_the_run_wins_for_what_it_covers(served: Serving) -> None:
    """E4: the approval stands, the rest is erased, and the certificate does not tell an order from another duty (N16)."""
    await served.create_tenants()
    app, engine, officer = served.service("acme-app"), served.service("engine"), await officer_of(served)
    person = subject_of((await create(app, contact())).name)
    message = (await create(engine, outgoing(person, "system-file"))).name
    asked_for = await request_erasure(served.service("acme-admin"), person)

    hold = await place(officer, wanted(person, categories=["outgoing-message"]))
    done = await approve(served, asked_for)

    said = verify_certificate(await certificate_of(served, done), served.vault.signer.verifier())
    shown = await reveal(officer, asked(message, "body", because=CLAIM))
    assert done.state == ERASURE_STATE_PARTIAL
    assert kept(done) == {"outgoing-message": [ERASURE_EXCEPTION_BASIS_RETAINED_UNDER_LAW]}
    assert {line.category: line.erased_count for line in done.outcomes} == {"end-customer-contact": 1, "outgoing-message": 0}
    assert "RETAINED_UNDER_LAW" in str(said)
    assert not any(word in str(said) for word in ("LEGAL_HOLD", "legal-hold", hold.name))
    assert shown.fields["body"].data == b"the parcel is here"

    await release(officer, hold)
    await erase_run.resume(served.vault, upkeep_caller())

    assert (await state_of(served, done)).state == ERASURE_STATE_COMPLETE
    assert (await not_revealed(officer, asked(message, "body", because=CLAIM))).reason == "RECORD_NOT_FOUND"
    assert await rows(served, tables.records, tables.record_parts, tables.subject_keys) == (0, 0, 0)
    assert "complete-erasure" in [entry.operation for entry in await entries(served)]


async def test_e5_a_hold_that_comes_amid_the_run_freezes_what_is_not_processed_yet(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E5: also records that the run has passed already, until the key is destroyed; after that a hold finds nothing."""
    await served.create_tenants()
    engine, officer = served.service("engine"), await officer_of(served)
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    messages = [(await create(engine, outgoing(person, "system-file"))).name for _ in range(2)]
    asked_for = await request_erasure(served.service("acme-admin"), person)

    async def held_up(*_: object) -> None:
        raise UnavailableError("AUDIT_UNAVAILABLE", "stands in for a database that is away")

    with monkeypatch.context() as outage:
        outage.setattr(erase_run, "run", held_up)
        running = await approve(served, asked_for)
    first = await place(officer, wanted(records=[messages[0]]))
    # One batch passes every record of the person but the one that is held; then another hold comes.
    assert await erase_run._keep_batch(served.vault, ChildName("acme", "erasures", running.name.rpartition("/")[2]))
    second = await place(officer, wanted(records=[messages[1]]))
    await erase_run.resume(served.vault, upkeep_caller())

    done = await state_of(served, running)
    shown = [(await reveal(officer, asked(name, "body", because=CLAIM))).fields["body"].data for name in messages]
    assert running.state == ERASURE_STATE_RUNNING
    assert done.state == ERASURE_STATE_PARTIAL
    assert [(line.category, line.restricted_count, line.erased_count) for line in done.outcomes] == [
        ("end-customer-contact", 0, 1),
        ("outgoing-message", 2, 0),
    ]
    assert shown == [b"the parcel is here"] * 2

    await release(officer, first)
    await erase_run.resume(served.vault, upkeep_caller())
    assert (await not_revealed(officer, asked(messages[0], "body", because=CLAIM))).reason == "RECORD_NOT_FOUND"
    assert (await reveal(officer, asked(messages[1], "body", because=CLAIM))).fields["body"].data == b"the parcel is here"
    await release(officer, second)
    await erase_run.resume(served.vault, upkeep_caller())
    assert (await state_of(served, running)).state == ERASURE_STATE_COMPLETE


async def test_e13_what_a_claim_is_about_stays_for_the_claim_alone(served: Serving) -> None:
    """E13, §6.3: restricted with its basis; a second claim keeps what the first one gives up."""
    await served.create_tenants()
    engine, officer = served.service("engine"), await officer_of(served)
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    message = (await create(engine, outgoing(person, "system-file"))).name
    claims = [await place(officer, claim(served, person)) for _ in range(2)]

    done = await erase(served, person)
    refused = await not_revealed(
        served.service("support"), asked(message, because=why("technical-fault", "CASE-17", "the customer reports a fault"))
    )
    await release(officer, claims[0])
    await erase_run.resume(served.vault, upkeep_caller())
    still = await state_of(served, done)
    await release(officer, claims[1])
    await erase_run.resume(served.vault, upkeep_caller())

    assert kept(done)["outgoing-message"] == [ERASURE_EXCEPTION_BASIS_LEGAL_CLAIM]
    assert (refused.code.name, refused.reason) in {("PERMISSION_DENIED", "NDA_INVALID"), ("FAILED_PRECONDITION", "RESTRICTED")}
    assert (still.state, kept(still)) == (ERASURE_STATE_PARTIAL, kept(done))
    assert (await state_of(served, done)).state == ERASURE_STATE_COMPLETE
    assert await rows(served, tables.records, tables.index_entries) == (0, 0)
    assert not any(PHONE in str(entry) for entry in await entries(served))
