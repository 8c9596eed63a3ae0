"""Clauses about whose data it is: given by somebody else, of a person abroad, of an installation and of nobody in particular."""

from collections.abc import Mapping

import pytest

from tests.builders import PHONE, account, asked, create, erase_for_person, find, record, reveal, sought, subject_of
from tests.serving import Serving, why
from vault.catalogue.loader import load
from vault.v1.resources_pb2 import SUBJECT_STATE_ACTIVE, SUBJECT_STATE_ERASED
from vault.v1.vault_service_pb2 import GetSubjectRequest

CONTACT = why("contact", "SUP-4711", "a visitor asked us to call back")
VISITOR: Mapping[str, str] = {"is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01"}


async def test_whoever_was_named_by_somebody_else_is_erased_alone(served: Serving) -> None:
    """P2.8-others, A14: the record of a person says that another gave it; that person's rights are theirs, and the giver keeps their own data."""
    await served.create_tenants()
    app, manager, officer = served.service("acme-app"), served.service("account-manager"), served.service("privacy-officer")
    giver = await create(app, record("site-visitor", {**VISITOR, "phone": PHONE}))
    named = await create(app, record("site-visitor", {**VISITOR, "phone": "+972502345670", "supplied_by_other": "yes"}))

    await erase_for_person(served, subject_of(named.name))

    states = [
        (await officer.call(officer.records.GetSubject, GetSubjectRequest(name=subject_of(one.name)))).subject.state
        for one in (giver, named)
    ]
    found = [await find(manager, sought("phone", phone, category="site-visitor", because=CONTACT)) for phone in (PHONE, "+972502345670")]
    assert named.metadata["supplied_by_other"] == "yes"
    assert states == [SUBJECT_STATE_ACTIVE, SUBJECT_STATE_ERASED]
    assert [len(matches) for matches in found] == [1, 0]


@pytest.mark.parametrize("phone", [PHONE, "+4930901820", "+33142685300"])
async def test_a_person_is_erased_alike_wherever_their_number_is_from(served: Serving, phone: str) -> None:
    """L17: one regime; nothing depends on where somebody lives."""
    await served.create_tenants()
    app, manager = served.service("acme-app"), served.service("account-manager")
    stored = await create(app, record("site-visitor", {**VISITOR, "phone": phone}))

    erasure = await erase_for_person(served, subject_of(stored.name))

    assert {outcome.category: outcome.found_count for outcome in erasure.outcomes} == {"site-visitor": 1}
    assert not await find(manager, sought("phone", phone, category="site-visitor", because=CONTACT))


async def test_two_installations_are_two_pseudonyms_that_lead_to_no_number(served: Serving) -> None:
    """P3.4-install: each installation is a subject of its own, found by its id and not by anybody's number."""
    await served.create_tenants()
    app = served.service("num2")
    crash = {"crashed_at": "2026-03-02T08:15:00Z", "app_version": "7"}

    first, second = [await create(app, record("app-diagnostics", {**crash, "install_id": install})) for install in ("i-1", "i-2")]

    again = await create(app, record("app-diagnostics", {**crash, "install_id": "i-1"}))
    assert subject_of(first.name) == subject_of(again.name) != subject_of(second.name)
    assert set(first.field_names) == {"install_id"}
    assert not load().category("app-diagnostics").fields.keys() & {"phone", "real_number", "assigned_number", "peer_number"}


async def test_what_is_billed_of_a_business_is_read_by_billing_for_that_purpose(served: Serving) -> None:
    """P3.3-cust, P1.6b-need: one field of the account, in full, because it is named."""
    await served.create_tenants()
    billing = served.service("billing")
    stored = await create(billing, account(), purpose="billing")

    shown = await reveal(billing, asked(stored.name, "company_no", because=why("billing")))

    assert {name: value.text for name, value in shown.fields.items()} == {"company_no": "512345678"}
