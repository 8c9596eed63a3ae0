"""May a person be contacted? A yes or no with its rule, and nothing about the person."""

from tests.builders import PHONE, contact, create, entries, entry_of, erase, id_of, subject_of
from tests.serving import Caller, Serving
from vault.v1.vault_service_pb2 import CheckContactableRequest


async def contactable(caller: Caller, purpose: str, *, kind: str = "phone", value: str = PHONE, tenant: str = "acme") -> tuple[bool, str]:
    """The answer and its rule."""
    request = CheckContactableRequest(parent=f"tenants/{tenant}", kind=kind, value=value, purpose=purpose)
    answer = await caller.call(caller.records.CheckContactable, request)
    return answer.contactable, answer.reason


async def test_service_messages_may_be_sent_and_adverts_may_not_without_consent(served: Serving) -> None:
    """L18, A10, L34: marketing is out until a person opts in; what the contract needs is not marketing."""
    await served.create_tenants()
    app = served.service("acme-app")
    await create(app, contact())
    purposes = ("service-delivery", "contact", "billing", "own-marketing", "keep-in-touch")

    answers = {purpose: await contactable(app, purpose) for purpose in purposes}

    assert answers == {
        "service-delivery": (True, "SERVICE"),
        "contact": (True, "SERVICE"),
        "billing": (True, "SERVICE"),
        "own-marketing": (False, "NO_CONSENT"),
        "keep-in-touch": (False, "NO_CONSENT"),
    }


async def test_whoever_is_not_known_to_the_tenant_is_not_contactable(served: Serving) -> None:
    """I11: a person whom only another tenant knows answers like one whom nobody knows."""
    await served.create_tenants()
    await create(served.service("globex-app"), contact(), tenant="globex")
    engine = served.service("engine")

    known_elsewhere = await contactable(engine, "service-delivery")
    known_nowhere = await contactable(engine, "service-delivery", value="+972502345670")

    assert known_elsewhere == known_nowhere == (False, "NOT_KNOWN")


async def test_whoever_was_erased_is_not_contactable_on_the_very_next_call(served: Serving) -> None:
    """P2.10a-erase, A5."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact(email="dana@example.com"))

    await erase(served, subject_of(stored.name))

    assert await contactable(app, "service-delivery") == (False, "NOT_KNOWN")
    assert await contactable(app, "service-delivery", kind="email", value="dana@example.com") == (False, "NOT_KNOWN")


async def test_every_question_is_recorded_with_its_rule_and_without_the_number(served: Serving) -> None:
    """I2, I6."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact())

    await contactable(app, "own-marketing", value="050-234-5678")

    entry = (await entries(served))[-1]
    assert (entry.operation, entry.purpose, entry.rule) == ("check-contactable", "own-marketing", "contactable:no_consent")
    assert list(entry.subjects) == [id_of(subject_of(stored.name))]
    assert b"2345678" not in entry.content


async def test_a_question_that_makes_no_sense_is_refused_and_recorded(served: Serving) -> None:
    """A9: a purpose that is not listed does not exist."""
    await served.create_tenants()
    app = served.service("acme-app")
    wrong = [
        CheckContactableRequest(parent="tenants/acme", kind="phone", value=PHONE, purpose="business-any"),
        CheckContactableRequest(parent="tenants/acme", kind="star-number", value="*2345", purpose="service-delivery"),
        CheckContactableRequest(parent="tenants/acme", kind="phone", value="12", purpose="service-delivery"),
    ]

    refused = [await app.refused(app.records.CheckContactable, request) for request in wrong]

    assert [error.reason for error in refused] == ["UNKNOWN_PURPOSE", "UNKNOWN_IDENTIFIER_KIND", "IDENTIFIER_INVALID"]
    assert [(await entry_of(served, error)).reason for error in refused] == [error.reason for error in refused]
