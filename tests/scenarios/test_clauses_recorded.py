"""Clauses about the record of accesses: what an entry holds, whether it was allowed or refused, and under which policy."""

import json

from tests.builders import NEVER, PHONE, asked, contact, create, entries, not_revealed, reveal, subject_of
from tests.serving import Serving, why
from vault.catalogue.loader import load

# L4: who, when, which part of the system, what kind of access, how far it went, granted or refused – and on what ground.
ALWAYS = {"actor", "actor_kind", "auth_method", "time", "component", "method", "operation", "purpose", "decision", "rule", "policy_version"}
REASON = "the customer reports that a message is missing"


async def test_an_allowed_and_a_refused_attempt_are_each_recorded_with_everything_that_is_asked_of_an_entry(served: Serving) -> None:
    """L4, P1.2-principles, P1.6a-authorised: the same members for both, the policy's version among them, and no value or sentence in clear."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact())

    await reveal(app, asked(stored.name, "phone", because=why(reason=REASON)))
    await not_revealed(app, asked(stored.name, "phone", because=why("billing", reason=REASON)))

    allowed, refused = [json.loads(entry.content) for entry in (await entries(served))[-2:]]
    assert allowed.keys() & refused.keys() >= ALWAYS
    assert (allowed["decision"], refused["decision"], refused["reason"]) == ("ALLOWED", "REFUSED", "PURPOSE_NOT_ALLOWED")
    assert {allowed["policy_version"], refused["policy_version"]} == {load().policy_version}
    assert (allowed["fields"], allowed["records"], allowed["subjects"], allowed["count"], allowed["consent_basis"]) == (
        ["phone"],
        [stored.name.rpartition("/")[2]],
        [subject_of(stored.name).rpartition("/")[2]],
        1,
        "contract",
    )
    assert not any(text in str(entry) for entry in (allowed, refused) for text in (PHONE, REASON))


async def test_a_record_that_never_was_is_recorded_as_sought(served: Serving) -> None:
    """L4: attempts count, not only what came of them."""
    await served.create_tenants()
    app = served.service("acme-app")

    error = await not_revealed(app, asked(f"tenants/acme/subjects/{NEVER}/records/{NEVER}", because=why(reason=REASON)))

    last = json.loads((await entries(served))[-1].content)
    assert error.code.name == "NOT_FOUND"
    assert (last["decision"], last["reason"], last["operation"]) == ("REFUSED", error.reason, "reveal")
