"""Somebody who was erased comes back: as somebody new, and the log says who asked for it (P2.10b-readd, §6.7)."""

import json
from datetime import timedelta

import pytest

from tests.builders import (
    OTHER_PHONE,
    PHONE,
    contact,
    create,
    create_all,
    entries,
    erase,
    erase_for_person,
    record,
    refusal,
    rows,
    subject_of,
)
from tests.faults import quiet
from tests.serving import Caller, Serving
from vault.store import tables
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.vault_service_pb2 import (
    CheckContactableRequest,
    CreateRecordRequest,
    RecordInput,
)

MAIL = "dana@example.com"


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    return served


def visitor(phone: str = PHONE, *, source: str = "", email: str = "", subject: str = "") -> RecordInput:
    """A visitor of the operator's site, of whom it is the controller."""
    said = {
        "is_subscriber": "yes",
        "source": "VOLUNTARY",
        "terms_version": "2026-01",
        "phone": phone,
        **({"email": email} if email else {}),
    }
    return record("site-visitor", said, subject=subject, readd_source=source)


async def given_erased(served: Serving, *, forget: bool = False) -> tuple[Caller, str]:
    """The application, and somebody who was erased because they asked for it."""
    await served.create_tenants()
    app = served.service("acme-app")
    person = subject_of((await create(app, visitor(email=MAIL))).name)
    await erase_for_person(served, person, forget=forget)
    return app, person


async def bases(served: Serving) -> list[str]:
    """The ground of each entry about something stored, oldest first."""
    found = [json.loads(entry.content) for entry in await entries(served)]
    return [entry.get("consent_basis", "") for entry in found if entry["operation"] == "create" and entry["decision"] == "ALLOWED"]


@pytest.mark.parametrize("source", ["SUBJECT", "GUARDIAN", "REPRESENTATIVE", "TENANT"])
async def test_somebody_who_was_erased_comes_back_as_somebody_new_if_it_is_said_who_asked(served: Serving, source: str) -> None:
    """P2.10b-readd: new subject, nothing of before, no advertising; and who asked is in the log."""
    app, before = await given_erased(served)

    refused = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=visitor()))
    stored = await rows(served, tables.records, tables.identities)
    again = subject_of((await create(app, visitor(source=source))).name)

    asked = CheckContactableRequest(parent="tenants/acme", kind="phone", value=PHONE, purpose="own-marketing", channel="SMS")
    answer = await app.call(app.records.CheckContactable, asked)
    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "READD_SOURCE_REQUIRED", ("record.readd_source",))
    assert stored == (0, 0)
    assert again != before
    assert (answer.contactable, answer.reason) == (False, "SUPPRESSED")
    assert (await bases(served))[-1] == f"readd-{source.lower()}"


@pytest.mark.parametrize("identifier", [{"phone": OTHER_PHONE, "email": MAIL}, {"phone": PHONE}])
async def test_whichever_of_their_identifiers_comes_back_is_asked_about(served: Serving, identifier: dict[str, str]) -> None:
    """P2.10b-readd: by mail under another number as well."""
    app, _ = await given_erased(served)

    refused = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=visitor(**identifier)))

    assert refused.reason == "READD_SOURCE_REQUIRED"


async def test_of_a_batch_only_those_who_were_erased_are_asked_about(served: Serving) -> None:
    """P2.10b-readd: items stand alone, and each has its own entry."""
    app, _ = await given_erased(served)

    results = await create_all(app, [visitor(OTHER_PHONE), visitor(), visitor("+972502345670", source="SUBJECT")])

    assert [item.WhichOneof("outcome") for item in results] == ["record", "status", "record"]
    assert refusal(results[1]).reason == "READD_SOURCE_REQUIRED"
    # Nobody came back: what was said about it is nobody's to keep.
    assert (await bases(served))[-1] == ""


async def test_once_they_are_back_nobody_is_asked_again(served: Serving) -> None:
    """P2.10b-readd: the second record of somebody who came back is as anybody's."""
    app, _ = await given_erased(served)
    again = subject_of((await create(app, visitor(source="SUBJECT"))).name)

    by_number = subject_of((await create(app, visitor())).name)
    by_name = subject_of((await create(app, visitor(subject=again))).name)

    assert {by_number, by_name} == {again}
    assert (await bases(served))[-2:] == ["", ""]


async def test_whoever_wanted_to_be_forgotten_altogether_is_not_remembered_for_this(served: Serving) -> None:
    """A5: the person chose that not even a digest stays."""
    app, before = await given_erased(served, forget=True)

    assert subject_of((await create(app, visitor())).name) != before
    assert await rows(served, tables.suppressions) == (0,)


async def test_who_went_in_another_way_is_not_asked_about(served: Serving) -> None:
    """§6.7: the end of retention is no erasure, and nor is a tenant's instruction about what is processed for it."""
    await served.create_tenants()
    app = served.service("acme-app")
    await create(app, visitor())
    served.clock.offset += timedelta(days=800)
    operator = served.service("operator")
    swept = await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))
    await erase(served, subject_of((await create(app, contact(OTHER_PHONE))).name))

    assert swept.erased_counts == {"site-visitor": 1}
    assert (await create(app, visitor())).name
    assert (await create(app, visitor(OTHER_PHONE))).name


async def test_a_tenants_own_list_takes_whoever_it_wants(served: Serving) -> None:
    """§6.7: what the operator erased as controller does not bind the tenant; and another tenant learns nothing."""
    await given_erased(served)
    app, other = served.service("acme-app"), served.service("globex-app")

    assert (await create(other, visitor(), tenant="globex")).name
    assert (await create(app, contact(PHONE))).name


async def test_who_asked_is_one_of_a_few_words(served: Serving) -> None:
    """I2: a sentence about a person does not reach the log."""
    app, _ = await given_erased(served)

    record = visitor(source="her husband, 050-2345678")
    refused = await app.refused(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record))

    assert (refused.reason, refused.fields) == ("FIELD_INVALID", ("record.readd_source",))
    assert "2345678" not in (await entries(served))[-1].content.decode()
