"""What holds and erasures keep when a contract ends, and what becomes of it afterwards (E18, §5.4, §6.3, L32)."""

from datetime import timedelta

from tests.builders import asked, erase_for_person, id_of, not_revealed, reveal, subject_of
from tests.faults import quiet
from tests.holds import claim, officer_of, place, release, wanted
from tests.rotating import all_rows
from tests.serving import Serving, why
from tests.telling import acknowledge
from tests.telling import listed as notified
from tests.terminating import Customer, customer, ended, finished, told, wound_up
from vault.audit.checkpoint import NoteVerifier
from vault.audit.termination_report import verify_report
from vault.operations import erase_run, hold
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.tenant_service_pb2 import TERMINATION_STATE_COMPLETE, GetTerminationReportResponse

DAY = timedelta(days=1)
HELD = ("listed", "credential", "sms", "account")
CLAIM = why("claim-or-complaint", "CLM-1", "an enquiry about the time as a customer")


async def begun(served: Serving) -> Customer:
    await served.create_tenants()
    await quiet(served)
    return await customer(served)


async def records(served: Serving) -> dict[str, str]:
    """Category by id of what there is."""
    return {row.record_id: row.category for row in await all_rows(served, tables.records) if row.tenant_id == "acme"}


async def versions(served: Serving, name: str) -> set[int]:
    """Under which versions the parts of a record are sealed; 0 for a token."""
    return {row.key_version for row in await all_rows(served, tables.record_parts) if row.record_id == id_of(name)}


def adds_up(report: GetTerminationReportResponse) -> bool:
    """Whether every row of a report does."""
    return all(item.found == item.erased + item.kept + item.otherwise for item in report.counts.values())


async def test_what_is_held_stays_for_the_claim_and_goes_when_it_is_released(served: Serving) -> None:
    """§5.4, P3.8: a contact, a credential, a message and an account are held; the end waits for none of them, and takes each up afterwards."""
    names = await begun(served)
    placed = await place(await officer_of(served), claim(served, records=[names[what] for what in HELD]))
    verifier = NoteVerifier(served.vault.name, served.vault.signing_key.public_key())

    await finished(served)
    first = await told(served)
    there = await records(served)
    sealed = await versions(served, names["sms"])
    refused = await not_revealed(served.service("acme-app"), asked(names["listed"], "phone"))
    await release(await officer_of(served), placed)
    await wound_up(served)
    second = await told(served)
    left = await records(served)

    assert first.termination.state == second.termination.state == TERMINATION_STATE_COMPLETE
    assert {id_of(names[what]) for what in HELD} <= there.keys()
    assert (first.counts["end-customer-contact"].kept, first.counts["access-credential"].kept) == (1, 1)
    assert (first.counts["business-account"].converted, first.counts["message-metadata"].tokenised) == (0, 0)
    assert 0 not in sealed
    assert refused.reason == "TENANT_TERMINATED"
    assert adds_up(first)
    assert adds_up(second)
    assert not {id_of(names["listed"]), id_of(names["credential"])} & left.keys()
    assert (second.counts["end-customer-contact"].kept, second.counts["end-customer-contact"].erased) == (0, 2)
    assert (second.counts["business-account"].converted, second.counts["former-customer-contact"].kept) == (1, 1)
    assert await versions(served, names["sms"]) == {0}
    assert verify_report(second.report, verifier)["finish_time"] != verify_report(first.report, verifier)["finish_time"]
    assert second.termination.credentials_time == first.termination.credentials_time
    # Whoever was known by the list alone is gone with it.
    person = id_of(subject_of(names["listed"]))
    assert person not in {row.subject_id for row in await all_rows(served, tables.subject_keys)}


async def test_a_letter_holds_what_is_left_of_an_ended_contract_and_ends_by_itself(served: Serving) -> None:
    """A18: placed within the grace, it outlasts it; upkeep notes its end, and what it kept goes without anybody's doing."""
    names = await begun(served)
    await ended(served)
    served.clock.offset += 10 * DAY
    await place(await officer_of(served), wanted(subject_of(names["listed"])))
    served.clock.offset += 21 * DAY
    await wound_up(served)
    held = await records(served)
    state = (await told(served)).termination.state
    served.clock.offset += 10 * DAY

    noted = await hold.expire_holds(served.vault, upkeep_caller())
    await wound_up(served)

    assert state == TERMINATION_STATE_COMPLETE
    assert [name for name, category in held.items() if category == "end-customer-contact"] == [id_of(names["listed"])]
    assert noted == 1
    assert "end-customer-contact" not in (await records(served)).values()
    assert adds_up(await told(served))


async def test_e18_what_an_erasure_kept_is_its_own_and_is_not_converted(served: Serving) -> None:
    """E18, §6.3: the account of somebody who was erased stays restricted until its date, whatever ends meanwhile, and goes by the erasure."""
    names = await begun(served)
    person = subject_of(names["account"])
    await erase_for_person(served, person)
    before = [row for row in await all_rows(served, tables.erasure_exceptions) if row.subject_id == id_of(person)]
    keys = {row.version: row.keyring for row in await all_rows(served, tables.subject_keys) if row.subject_id == id_of(person)}

    await finished(served)
    report = await told(served)
    after = [row for row in await all_rows(served, tables.erasure_exceptions) if row.subject_id == id_of(person)]
    stayed = {row.version: row.keyring for row in await all_rows(served, tables.subject_keys) if row.subject_id == id_of(person)}
    shown = await reveal(served.service("legal-officer"), asked(names["invoice"], "amount", because=CLAIM))
    served.clock.offset += timedelta(days=3000)
    await erase_run.resume(served.vault, upkeep_caller())

    assert before
    assert before == after
    assert {version for version, keyring in keys.items() if keyring == "restricted"} == stayed.keys()
    assert shown.fields["amount"].text == "100"
    assert report.termination.state == TERMINATION_STATE_COMPLETE
    assert adds_up(report)
    assert report.counts["business-account"].converted == 0
    assert report.counts["former-customer-contact"].found == 0
    assert id_of(names["invoice"]) not in await records(served)
    assert id_of(person) not in {row.subject_id for row in await all_rows(served, tables.subject_keys)}


async def test_l32_whoever_received_data_is_told_once_that_it_went_with_the_contract(served: Serving) -> None:
    """L32: the affiliate, of what may have been released to it; the tenant knows, and a task of an ended contract is acknowledged as any."""
    names = await begun(served)
    await served.agree_with_affiliate()
    placed = await place(await officer_of(served), claim(served, records=[names["listed"]]))
    await finished(served)
    await release(await officer_of(served), placed)
    await wound_up(served)
    affiliate = served.service("affiliate")

    tasks = [task for task in await notified(affiliate) if task.resource == "tenants/acme"]
    own = [task for task in await notified(served.service("acme-admin")) if task.resource == "tenants/acme"]
    done = [await acknowledge(affiliate, task.name) for task in tasks]

    assert own == []
    assert [(task.recipient, task.subject) for task in tasks] == [("affiliate", "")]
    assert set(tasks[0].categories) <= {name for name, item in (await told(served)).counts.items() if item.erased}
    assert done[0].acknowledged_by
