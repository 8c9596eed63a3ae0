"""How far an erasure under way has come, batch by batch."""

import pytest

from tests.builders import PHONE, approve, asked_by, create, id_of, record, request_erasure, subject_of
from tests.serving import Serving
from vault.errors import UnavailableError
from vault.names import ChildName
from vault.operations import erase_run
from vault.operations.upkeep import upkeep_caller
from vault.v1.erasure_service_pb2 import ERASURE_STATE_PARTIAL, ERASURE_STATE_RUNNING, Erasure, GetErasureRequest, ListErasuresRequest

VISITOR = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01", "phone": PHONE}
INVOICE = {"invoice_no": "inv-1", "service": "VOICE", "issued_at": "2026-03-02T08:15:00Z", "amount": "11900"}


async def test_an_erasure_under_way_says_how_far_it_has_come(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six invoices have to stay and are sealed anew two or three at a time; the visitor's own record goes with the rest at the end."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), record("site-visitor", VISITOR))).name)
    for _ in range(6):
        await create(served.service("billing"), record("billing-record", INVOICE, subject=person), purpose="billing")
    asked = await request_erasure(served.service("privacy-officer"), person, await asked_by(served, person))
    monkeypatch.setattr(erase_run, "_BATCH", 3)

    async def held_up(*_: object) -> None:
        raise UnavailableError("AUDIT_UNAVAILABLE", "stands in for a database that is away")

    with monkeypatch.context() as outage:
        outage.setattr(erase_run, "run", held_up)
        running = await approve(served, asked)
    name = ChildName("acme", "erasures", id_of(running.name))
    await erase_run._ensure_restricted_key(served.vault, name)
    seen = [await shown(served, running)]
    while await erase_run._keep_batch(served.vault, name):
        seen.append(await shown(served, running))
    await erase_run.resume(served.vault, upkeep_caller())
    done = await shown(served, running)
    auditor = served.service("auditor")
    [listed] = (await auditor.call(auditor.erasures.ListErasures, ListErasuresRequest(parent="tenants/acme"))).erasures

    assert (asked.done_count, asked.total_count) == (0, 7)
    assert (running.state, running.done_count, running.total_count) == (ERASURE_STATE_RUNNING, 0, 7)
    counts = [erasure.done_count for erasure in seen]
    assert counts[0] == 0
    assert counts == sorted(set(counts))
    assert len(counts) >= 3
    # The visitor's record may be the last by its id; it is settled by the end alone.
    assert counts[-1] in {6, 7}
    assert (done.state, done.done_count, done.total_count) == (ERASURE_STATE_PARTIAL, 7, 7)
    assert (listed.done_count, listed.total_count) == (7, 7)


async def shown(served: Serving, erasure: Erasure) -> Erasure:
    """The erasure as it stands."""
    auditor = served.service("auditor")
    return (await auditor.call(auditor.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure
