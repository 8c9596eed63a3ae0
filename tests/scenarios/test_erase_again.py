"""A person who is erased a second time while the first erasure still keeps something: what is kept is the first one's (§6.3, §6.6, A4)."""

from datetime import timedelta
from pathlib import Path

from tests.builders import asked, contact, create, erase, erase_for_person, not_revealed, record, reveal, rows, subject_of
from tests.erasure_checks import findings, stored
from tests.restoring import Restorable, replay
from tests.restoring import findings as told
from tests.rotating import rotated
from tests.scenarios.test_erase_outcomes import BILLING, CLAIM, INVOICE, lawyer, state_of, turn, visitor
from tests.serving import Serving
from vault.store import tables
from vault.v1.erasure_service_pb2 import ERASURE_STATE_PARTIAL

LATER = timedelta(days=8 * 366)


async def customer(served: Serving) -> tuple[str, str, str]:
    """Somebody in a tenant's list who has an invoice: the person, the contact and the invoice."""
    listed = (await create(served.service("acme-app"), contact())).name
    person = subject_of(listed)
    invoice = (await create(served.service("billing"), record("billing-record", INVOICE, subject=person), purpose="billing")).name
    return person, listed, invoice


async def test_a_tenants_instruction_leaves_restricted_what_the_persons_request_left(served: Serving) -> None:
    """It was sealed anew under an ordinary key: everybody could read it again."""
    await served.create_tenants()
    person, _, invoice = await customer(served)
    await erase_for_person(served, person)

    second = await erase(served, person)

    refused = await not_revealed(served.service("billing"), asked(invoice, "amount", because=BILLING))
    shown = await reveal(await lawyer(served), asked(invoice, "amount", because=CLAIM))
    assert findings(await stored(served.vault)) == []
    assert (refused.reason, shown.fields["amount"].text) == ("RESTRICTED", "11900")
    assert [line.category for line in second.outcomes] == ["end-customer-contact"]
    await turn(served, after=LATER)
    assert await rows(served, tables.records, tables.subject_keys, tables.erasure_exceptions) == (0, 0, 0)


async def test_a_person_may_ask_again_while_something_is_kept(served: Serving) -> None:
    """The second exception for the same part was refused by the database, and the person stayed blocked for ever."""
    await served.create_tenants()
    person, listed, _ = await customer(served)
    first = await erase_for_person(served, person)
    await visitor(served)

    second = await erase_for_person(served, person)

    outcomes = {line.category: (line.found_count, line.erased_count, line.forwarded_count) for line in second.outcomes}
    assert outcomes == {"end-customer-contact": (1, 0, 1), "site-visitor": (1, 1, 0)}
    assert (await state_of(served, first)).state == ERASURE_STATE_PARTIAL
    assert findings(await stored(served.vault)) == []
    assert (await reveal(served.service("acme-app"), asked(listed, "phone"))).fields["phone"].text


async def test_the_end_of_an_exception_destroys_no_key_but_its_own(served: Serving) -> None:
    """The person's key had been rotated meanwhile; the new version was destroyed, and the tenant's list lost."""
    await served.create_tenants()
    person, listed, _ = await customer(served)
    erasure = await erase_for_person(served, person)
    await rotated(served, "SUBJECT", subject=person)

    await turn(served, after=LATER)

    done = await state_of(served, erasure)
    counts = {line.category: (line.erased_count, line.forwarded_count) for line in done.outcomes}
    assert counts == {"billing-record": (1, 0), "end-customer-contact": (0, 1)}
    assert findings(await stored(served.vault)) == []
    assert (await reveal(served.service("acme-app"), asked(listed, "phone"))).fields["phone"].text
    assert await rows(served, tables.records, tables.subject_keys) == (1, 1)


async def test_a_replay_of_both_erasures_comes_to_its_end(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """The second entry names the key under which the first one keeps: the vault stayed closed, with REPLAY_INCOMPLETE."""
    vault = Restorable(home_template, tmp_path / "home", migrated_url)
    async with vault.serving() as served:
        await served.create_tenants()
        person, _, invoice = await customer(served)
        file = await vault.back_up()
        await erase_for_person(served, person)
        await erase(served, person)
    await vault.restore(file)

    async with vault.serving() as served:
        closed = await told(served)
        await replay(served)
        shown = await reveal(await lawyer(served), asked(invoice, "amount", because=CLAIM))

        assert bool(closed)
        assert await told(served) == []
        assert findings(await stored(served.vault)) == []
        assert shown.fields["amount"].text == "11900"
