"""With the last approval a person is blocked first, and what the erasure does is counted then: stale, it lets go of the person again."""

import pytest

from tests.builders import ERASING, PHONE, approve, asked, asked_by, create, id_of, record, request_erasure, reveal, subject_of
from tests.serving import Serving, why
from vault.errors import AbortedError, UnavailableError
from vault.names import ChildName
from vault.operations import erase_run
from vault.operations.upkeep import upkeep_caller
from vault.store.subjects import get_subject
from vault.v1.erasure_service_pb2 import (
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_REQUESTED,
    ApproveErasureRequest,
    GetErasureRequest,
)

VISITOR = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01", "phone": PHONE}


async def test_a_stale_approval_leaves_the_person_as_before_and_the_erasure_unapproved(served: Serving) -> None:
    """Nothing is noted in the ledger, nothing is destroyed, and another preview can be asked for."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, record("site-visitor", VISITOR))).name
    person = subject_of(name)
    asked_for = await request_erasure(served.service("privacy-officer"), person, await asked_by(served, person))
    await create(app, record("site-visitor", VISITOR, subject=person))
    await served.sign_nda("e-approver")
    officer = served.person("e-approver", "privacy-officer")

    refused = await officer.refused(officer.erasures.ApproveErasure, ApproveErasureRequest(name=asked_for.name, justification=ERASING))

    found = (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=asked_for.name))).erasure
    desk = served.service("privacy-officer")
    shown = await reveal(served.person("e-approver", "account-manager"), asked(name, "phone", because=why()))
    assert (refused.code.name, refused.reason) == ("ABORTED", "PREVIEW_STALE")
    assert (found.state, list(found.approvers)) == (ERASURE_STATE_REQUESTED, [])
    assert id_of(asked_for.name) not in served.vault.ledger.erasures
    assert shown.fields["phone"].text
    again = await request_erasure(desk, person, await asked_by(served, person))
    assert again.state == ERASURE_STATE_REQUESTED


@pytest.mark.parametrize("is_stale", [False, True], ids=["as asked", "stale"])
async def test_a_crash_between_block_and_count_is_taken_up(served: Serving, monkeypatch: pytest.MonkeyPatch, is_stale: bool) -> None:
    """I10: the background counts, and goes on or lets go."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, record("site-visitor", VISITOR))).name)
    asked_for = await request_erasure(served.service("privacy-officer"), person, await asked_by(served, person))
    if is_stale:
        await create(app, record("site-visitor", VISITOR, subject=person))

    async def crashed(*_: object) -> None:
        raise UnavailableError("AUDIT_UNAVAILABLE", "stands in for a process that is gone")

    with monkeypatch.context() as outage:
        outage.setattr(erase_run, "run", crashed)
        await approve(served, asked_for)
    name = ChildName("acme", "erasures", id_of(asked_for.name))
    blocked = await state_of(served, person)
    if is_stale:
        with pytest.raises(AbortedError) as refused:
            await erase_run.run(served.vault, upkeep_caller(), name)
        assert refused.value.reason == "PREVIEW_STALE"
    else:
        assert (await erase_run.run(served.vault, upkeep_caller(), name)).state == "COMPLETE"

    officer = served.service("auditor")
    found = (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=asked_for.name))).erasure
    assert blocked == "ERASING"
    assert await state_of(served, person) == ("ACTIVE" if is_stale else "ERASED")
    assert found.state == (ERASURE_STATE_REQUESTED if is_stale else ERASURE_STATE_COMPLETE)


async def state_of(served: Serving, person: str) -> str:
    """State of a person, as stored."""
    async with served.vault.database.read() as connection:
        row = await get_subject(connection, "acme", id_of(person))
    assert row is not None
    return row.state
