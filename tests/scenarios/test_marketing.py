"""Advertising: nobody without their own yes, at once nobody after a no, and service messages all the while."""

from typing import Any

import pytest

from tests.builders import PHONE, account, contact, create, entries, erase, id_of, record, rows, subject_of
from tests.serving import Caller, Serving
from vault.store import tables
from vault.store.preferences import newest_preferences
from vault.v1.rights_service_pb2 import ObjectToProcessingRequest, RegisterGuardianConsentRequest, SetMarketingPreferenceRequest
from vault.v1.vault_service_pb2 import CheckContactableRequest

MAIL = "dana@example.com"
CHANNELS = ("SMS", "EMAIL", "VOICE", "FAX", "POST")


async def given_person(served: Serving) -> tuple[Caller, str]:
    """The tenant's application, and a person whom it knows by telephone and mail."""
    await served.create_tenants()
    app = served.service("acme-app")
    return app, subject_of((await create(app, contact(PHONE, email=MAIL))).name)


async def choose(caller: Caller, subject: str, *, allowed: bool, channel: str = "", basis: str = "", source: str = "WEB") -> None:
    request = SetMarketingPreferenceRequest(
        subject=subject, channel=channel, allowed=allowed, basis=basis, source=source, text_version="2026-01"
    )
    await caller.call(caller.rights.SetMarketingPreference, request)


async def contactable(caller: Caller, purpose: str = "own-marketing", *, channel: str = "", value: str = PHONE) -> tuple[bool, str]:
    """The answer and its rule."""
    kind = "email" if "@" in value else "phone"
    request = CheckContactableRequest(parent="tenants/acme", kind=kind, value=value, purpose=purpose, channel=channel)
    answer = await caller.call(caller.records.CheckContactable, request)
    return answer.contactable, answer.reason


@pytest.mark.parametrize(
    ("basis", "answer"),
    [
        ("ACCOUNT_TERMS", (False, "ACCOUNT_TERMS")),
        ("EXPLICIT_OPT_IN", (True, "EXPLICIT_OPT_IN")),
        ("EXISTING_CUSTOMER_SIMILAR_SERVICE", (True, "EXISTING_CUSTOMER_SIMILAR_SERVICE")),
    ],
)
async def test_what_a_yes_rests_on_decides(served: Serving, basis: str, answer: tuple[bool, str]) -> None:
    """A10, P2.9a-mkt-in, L18: given a yes on each basis, then the account's terms alone make nobody contactable."""
    app, person = await given_person(served)

    await choose(app, person, allowed=True, basis=basis)

    assert await contactable(app) == answer
    assert await rows(served, tables.marketing_preferences) == (len(CHANNELS),)


async def test_a_new_account_is_a_weak_yes_where_nothing_was_chosen(served: Serving) -> None:
    """P2.9a-mkt-in: on every channel, with the version of the terms; no visitor, no minor, and never against a no that was said before."""
    app, person = await given_person(served)
    await choose(app, person, allowed=False, channel="SMS")
    said = {"source": "VOLUNTARY", "terms_version": "2026-03"}

    await create(app, record("site-visitor", {**said, "is_subscriber": "no", "phone": PHONE}))
    assert await chosen(served, person) == {"SMS": ("OUT", "", "2026-01")}
    for _ in range(2):
        await create(app, record("site-visitor", {**said, "is_subscriber": "yes", "phone": PHONE}))

    weak = ("IN", "ACCOUNT_TERMS", "2026-03")
    assert await chosen(served, person) == {"SMS": ("OUT", "", "2026-01"), "EMAIL": weak, "VOICE": weak, "FAX": weak, "POST": weak}
    assert await rows(served, tables.marketing_preferences) == (len(CHANNELS),)
    assert await contactable(app) == (False, "SUPPRESSED")
    assert await contactable(app, channel="EMAIL", value=MAIL) == (False, "ACCOUNT_TERMS")


async def chosen(served: Serving, person: str) -> dict[str, tuple[str, str, str]]:
    """State, basis and text of what counts on each channel."""
    async with served.vault.database.read() as connection:
        found = await newest_preferences(connection, "acme", id_of(person))
    return {channel: (row.state, row.basis, row.text_version) for channel, row in found.items()}


async def test_a_no_by_telephone_ends_advertising_everywhere_at_once_and_service_goes_on(served: Serving) -> None:
    """P2.9b-mkt-out: when the no comes by PHONE, then no channel is open any more, and service messages are."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")

    await choose(app, person, allowed=False, source="PHONE")

    for value in (PHONE, MAIL):
        assert {await contactable(app, channel=channel, value=value) for channel in CHANNELS} == {(False, "SUPPRESSED")}
        assert await contactable(app, "service-delivery", value=value) == (True, "SERVICE")


async def test_a_no_to_one_channel_leaves_the_others(served: Serving) -> None:
    """P2.9b-mkt-out: all channels unless narrowed."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")

    await choose(app, person, allowed=False, channel="SMS")

    assert await contactable(app) == (False, "SUPPRESSED")
    assert await contactable(app, channel="VOICE") == (True, "EXPLICIT_OPT_IN")
    assert await contactable(app, value=MAIL) == (True, "EXPLICIT_OPT_IN")


async def test_an_identifier_that_is_learnt_after_the_no_is_not_advertised_to(served: Serving) -> None:
    """P2.9b-mkt-out: the no is the person's, not the number's."""
    app, person = await given_person(served)
    await choose(app, person, allowed=False)
    await create(app, contact("+972502345670", email=MAIL))

    await create(app, record("end-customer-contact", {"phone": "+972502345671"}, subject=person, list_id="spring"))

    assert await contactable(app, value="+972502345671") == (False, "OPTED_OUT")


async def test_only_an_explicit_yes_takes_a_no_back(served: Serving) -> None:
    """A10, L18: a customer's no is not undone by finding that they are a customer."""
    app, person = await given_person(served)
    await choose(app, person, allowed=False)

    await choose(app, person, allowed=True, basis="EXISTING_CUSTOMER_SIMILAR_SERVICE")
    assert await contactable(app) == (False, "SUPPRESSED")

    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN", channel="SMS")
    assert await contactable(app) == (True, "EXPLICIT_OPT_IN")
    assert await contactable(app, value=MAIL) == (False, "SUPPRESSED")


async def test_a_no_outlives_the_person_and_blocks_no_return(served: Serving) -> None:
    """A5, P2.10b-readd: given an erased person who had said no, when the number is stored anew, then the subject is new and is not advertised to."""
    app, person = await given_person(served)
    await choose(app, person, allowed=False)

    await erase(served, person)
    assert await contactable(app) == (False, "SUPPRESSED")
    assert await contactable(app, "service-delivery") == (False, "NOT_KNOWN")
    assert await rows(served, tables.marketing_preferences) == (0,)

    again = subject_of((await create(app, contact(PHONE, email=MAIL))).name)
    assert again != person
    assert await contactable(app) == (False, "SUPPRESSED")
    assert await contactable(app, "service-delivery") == (True, "SERVICE")

    await choose(app, again, allowed=True, basis="EXPLICIT_OPT_IN")
    assert await contactable(app) == (True, "EXPLICIT_OPT_IN")


async def test_whoever_is_stored_again_after_an_erasure_has_chosen_nothing(served: Serving) -> None:
    """P2.10b-readd, L34: a yes does not outlive the person."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")
    await erase(served, person)

    await create(app, contact(PHONE, email=MAIL))

    assert await contactable(app) == (False, "NO_CONSENT")


async def test_an_objection_to_advertising_is_a_no_on_every_channel(served: Serving) -> None:
    """L34, GDPR 21(3): absolute, and service goes on."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")

    await app.call(app.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=person, purpose="own-marketing"))

    assert {await contactable(app, channel=channel) for channel in CHANNELS} == {(False, "SUPPRESSED")}
    assert await contactable(app, value=MAIL) == (False, "SUPPRESSED")
    assert await contactable(app, "service-delivery") == (True, "SERVICE")

    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")
    assert await contactable(app) == (True, "EXPLICIT_OPT_IN")


async def test_nobody_advertises_to_a_minor(served: Serving) -> None:
    """A12."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")
    officer = served.person("e-officer", "privacy-officer")

    await officer.call(officer.rights.RegisterGuardianConsent, RegisterGuardianConsentRequest(subject=person, evidence_sha256=b"\3" * 32))

    assert await contactable(app) == (False, "MINOR")
    assert await contactable(app, "service-delivery") == (True, "SERVICE")


async def test_former_customers_are_kept_in_touch_with_until_they_say_no(served: Serving) -> None:
    """P3.8-keep-contact: for keeping in touch, a no is enough to end it and no yes is needed to begin it."""
    await served.create_tenants()
    manager = served.service("account-manager")
    person = subject_of((await create(manager, account(phone="+972502345672"))).name)
    former = {"full_name": "דנה לוי", "email": MAIL, "ended_at": "2026-01-31T00:00:00Z", "reasons": "a"}

    assert await contactable(manager, "keep-in-touch", value=MAIL) == (False, "NO_CONSENT")
    await create(manager, record("former-customer-contact", former, subject=person))
    assert await contactable(manager, "keep-in-touch", value=MAIL) == (True, "FORMER_CUSTOMER")

    officer = served.service("privacy-officer")
    await choose(officer, person, allowed=False)
    assert await contactable(manager, "keep-in-touch", value=MAIL) == (False, "OPTED_OUT")


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"allowed": True, "source": "WEB"}, "FIELD_REQUIRED", "basis"),
        ({"allowed": True, "source": "WEB", "basis": "BECAUSE"}, "FIELD_INVALID", "basis"),
        ({"source": "PIGEON"}, "FIELD_INVALID", "source"),
        ({"source": "WEB", "channel": "TELEX"}, "FIELD_INVALID", "channel"),
        ({}, "FIELD_REQUIRED", "source"),
    ],
)
async def test_a_choice_says_how_it_was_told_and_what_it_rests_on(served: Serving, fields: dict[str, Any], reason: str, field: str) -> None:
    """L18: evidence, or no agreement."""
    app, person = await given_person(served)

    error = await app.refused(app.rights.SetMarketingPreference, SetMarketingPreferenceRequest(subject=person, **fields))

    assert (error.reason, *error.fields) == (reason, field)


async def test_a_damaged_record_stands_in_the_way_of_nobodys_no(served: Serving) -> None:
    """P2.9b-mkt-out: given a record that does not open any more, when the person says no, then that counts."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")
    async with served.vault.database.write() as connection:
        await connection.execute(tables.record_parts.update().values(sealed=b"\1" + b"damaged" * 10))

    await choose(app, person, allowed=False)

    assert await contactable(app) == (False, "OPTED_OUT")


async def test_an_unknown_channel_is_not_asked_about(served: Serving) -> None:
    """I9."""
    app, _ = await given_person(served)
    request = CheckContactableRequest(parent="tenants/acme", kind="phone", value=PHONE, purpose="own-marketing", channel="TELEX")

    error = await app.refused(app.records.CheckContactable, request)

    assert (error.reason, *error.fields) == ("FIELD_INVALID", "channel")


async def test_choices_are_recorded_and_what_is_suppressed_names_nobody(served: Serving) -> None:
    """I2, I6, L18: earlier choices stay as evidence."""
    app, person = await given_person(served)
    await choose(app, person, allowed=True, basis="EXPLICIT_OPT_IN")

    await choose(app, person, allowed=False)

    last = (await entries(served))[-2:]
    assert [(entry.operation, entry.rule, list(entry.subjects)) for entry in last] == [
        ("set-marketing-preference", "marketing:in", [id_of(person)]),
        ("set-marketing-preference", "marketing:out", [id_of(person)]),
    ]
    assert await rows(served, tables.marketing_preferences, tables.suppressions) == (2 * len(CHANNELS), 2 * len(CHANNELS))
    async with served.vault.database.read() as connection:
        stored = (await connection.execute(tables.suppressions.select())).all()
    assert not any(PHONE.encode() in row.token or MAIL.encode() in row.token for row in stored)
