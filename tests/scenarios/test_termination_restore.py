"""A restored backup brings no ended contract back: it is ended again, as far as it had come, before anything is served (§6.6, L9, L36)."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import asked, contact, create, id_of, not_revealed, reveal, subject_of
from tests.faults import quiet
from tests.restoring import Restorable, findings, replay
from tests.rotating import all_rows
from tests.scenarios.test_restore import apart, keys_of, vault  # noqa: F401 - fixtures
from tests.serving import Serving
from tests.terminating import GRACE, Customer, customer, ended, finished, told, wound_up
from vault.errors import UnavailableError
from vault.operations import wind_up
from vault.store import tables
from vault.v1.operations_service_pb2 import ReplayErasuresRequest
from vault.v1.tenant_service_pb2 import TERMINATION_STATE_COMPLETE, TERMINATION_STATE_GRACE

DAY = timedelta(days=1)
LISTED = {"end-customer-contact", "list-profile", "list-membership", "email-template"}


async def begun(served: Serving) -> Customer:
    await served.create_tenants()
    await quiet(served)
    return await customer(served)


async def categories(served: Serving) -> set[str]:
    """Of what there is something of the tenant's."""
    return {row.category for row in await all_rows(served, tables.records) if row.tenant_id == "acme"}


async def ended_after(vault: Restorable, *, grace_over: bool = True, **more: object) -> tuple[Path, Customer]:  # noqa: F811 - a fixture's value
    """A vault whose tenant's contract ended after a backup was made."""
    async with vault.serving() as served:
        names = await begun(served)
        file = await vault.back_up()
        await (finished if grace_over else ended)(served, **more)
    return file, names


async def test_a_contract_that_ended_after_the_backup_ends_again_before_anything_is_served(vault: Restorable) -> None:  # noqa: F811
    """§6.6: credentials and lists are gone again, contacts are not made for whoever wanted none, and other tenants come back as they were."""
    async with vault.serving() as served:
        names = await begun(served)
        other = (await create(served.service("globex-app"), contact("+972502345679"), tenant="globex")).name
        file = await vault.back_up()
        await finished(served, remove_contacts=True)
        before = await categories(served)
    await vault.restore(file)

    async with vault.serving() as served:
        await quiet(served)
        served.clock.offset = GRACE + DAY
        pending = await findings(served)
        refused = await not_revealed(served.service("acme-app"), asked(names["listed"], "phone"))
        back = await categories(served)
        replayed = await replay(served)
        after = await findings(served)
        report = await told(served)
        gone = await not_revealed(served.service("acme-app"), asked(names["listed"], "phone"))
        kept = await reveal(served.service("globex-app"), asked(other, "phone"))
        left = await categories(served)
        people = {row.subject_id for row in await all_rows(served, tables.subject_keys)}

    assert pending == ["RESTORE_PENDING 2"]
    assert refused.reason == "RESTORE_PENDING"
    assert LISTED | {"access-credential"} <= back
    assert (replayed.replayed_count, after) == (2, [])
    assert report.termination.state == TERMINATION_STATE_COMPLETE
    assert report.termination.remove_contacts
    assert gone.reason == "TENANT_TERMINATED"
    assert kept.fields["phone"].text
    # Retention catches up as well: the time of the file that was sent is over.
    assert left == before - {"outgoing-message"}
    assert not left & {*LISTED, "access-credential", "former-customer-contact"}
    assert id_of(subject_of(names["listed"])) not in people


async def test_a_contract_that_was_within_its_grace_is_so_again_until_the_same_moment(vault: Restorable) -> None:  # noqa: F811
    """Nothing is erased early because of a restore, and the customer may take its data until the day it was told."""
    async with vault.serving() as served:
        await begun(served)
        file = await vault.back_up()
        await ended(served, grace_days=40)
        end = (await told(served)).termination.grace_end_time
    await vault.restore(file)

    async with vault.serving() as served:
        await quiet(served)
        pending = await findings(served)
        await replay(served)
        report = await told(served)
        left = await categories(served)
        served.clock.offset += timedelta(days=40, seconds=10)
        await wound_up(served)
        later = await told(served)

    assert pending == ["RESTORE_PENDING 1"]
    assert (report.termination.state, report.termination.grace_end_time) == (TERMINATION_STATE_GRACE, end)
    assert left >= LISTED
    assert "access-credential" not in left
    assert later.termination.state == TERMINATION_STATE_COMPLETE


async def test_a_backup_from_within_the_grace_is_noticed_when_the_grace_is_over(vault: Restorable) -> None:  # noqa: F811
    """The end of the contract is in the backup; that everything went is not."""
    async with vault.serving() as served:
        await begun(served)
        await ended(served)
        file = await vault.back_up()
        served.clock.offset += GRACE + DAY
        await wound_up(served)
    await vault.restore(file)

    async with vault.serving() as served:
        await quiet(served)
        served.clock.offset = GRACE + DAY
        pending = await findings(served)
        await replay(served)
        left, report = await categories(served), await told(served)

    assert pending == ["RESTORE_PENDING 1"]
    assert report.termination.state == TERMINATION_STATE_COMPLETE
    assert not left & LISTED


async def test_an_end_that_cannot_be_replayed_keeps_the_vault_closed(vault: Restorable, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """§6.6: a tenant's root key is away; nobody reads what its contract's end erased, and the next replay goes on."""
    file, names = await ended_after(vault)
    await vault.restore(file)

    async def away(*_: object) -> None:
        raise UnavailableError("KEYS_UNAVAILABLE", "the key service does not answer")

    async with vault.serving() as served:
        await quiet(served)
        served.clock.offset = GRACE + DAY
        operator = served.service("operator")
        with monkeypatch.context() as patched:
            patched.setattr(wind_up, "_STEPS", {**wind_up._STEPS, "CREDENTIALS": away})
            refused = await operator.refused(operator.operations.ReplayErasures, ReplayErasuresRequest())
        still = await not_revealed(served.service("acme-app"), asked(names["listed"], "phone"))
        replayed = await replay(served)
        left = await categories(served)

    assert (refused.code.name, refused.reason) == ("UNAVAILABLE", "RESTORE_PENDING")
    assert still.reason == "RESTORE_PENDING"
    assert replayed.replayed_count == 2
    assert not left & LISTED


async def test_restored_keys_of_an_ended_contract_are_noticed_and_destroyed_again(apart: Restorable) -> None:  # noqa: F811
    """L43, ADR 0015: the data know the end, the keys of those it erased came back, and with them whatever older backups hold."""
    async with apart.serving() as served:
        names = await begun(served)
        file = await apart.back_up(apart.keys_url)
        await finished(served)
        before = await keys_of(served)
    await apart.restore(file, apart.keys_url)
    person = id_of(subject_of(names["listed"]))

    async with apart.serving() as served:
        await quiet(served)
        served.clock.offset = GRACE + DAY
        back, pending = await keys_of(served), await findings(served)
        await replay(served)
        after, report = await keys_of(served), await told(served)

    assert person in back
    assert person not in before
    assert pending == ["RESTORE_PENDING 2"]
    assert after == before
    assert report.termination.state == TERMINATION_STATE_COMPLETE
