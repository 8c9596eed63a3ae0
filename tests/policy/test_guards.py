"""Every guard is needed: for each there is a question that it alone refuses. Every policy fits the schema."""

import re
from dataclasses import replace
from types import MappingProxyType

import cedarpy
import pytest

from vault.catalogue.document import CatalogueError
from vault.catalogue.model import Catalogue, Category, Grant, Operation, Recipient, View
from vault.policy.compiled import PolicySource, compile_policies, packaged_source
from vault.policy.decide import _STEPS, Allowed, Policy, Question, Reference, Refused

SOURCE = packaged_source()
GUARD = re.compile(r'@id\("(guard:[a-z-]+)"\).*?;', re.DOTALL)
IDS = GUARD.findall(SOURCE.guards)

SOUND = Question(
    operation=Operation.REVEAL,
    category="business-account",
    roles=frozenset({"billing"}),
    actor_kind="person",
    purpose="billing",
    view=View.FULL,
    nda_valid=True,
    justified=True,
)
REFERRED = replace(SOUND, reference_live=True, reference_covers=True)

# One question per guard, asked where everything is granted, so that nothing but the guard stands in the way.
WITNESSES = {
    "guard:affiliate-category": replace(SOUND, category="list-profile", roles=frozenset({"affiliate-service"})),
    "guard:service-only": replace(SOUND, category="payment-card"),
    "guard:product-of-category": replace(SOUND, operation=Operation.CREATE, category="number-mapping", product="star"),
    "guard:product-lock": replace(SOUND, category="number-mapping", product="star"),
    "guard:third-party": replace(SOUND, recipient="third-party"),
    "guard:affiliate-recipient": replace(SOUND, recipient="affiliate"),
    "guard:justification": replace(SOUND, justified=False),
    "guard:nda": replace(SOUND, nda_valid=False),
    "guard:customer-request": replace(SOUND, category="list-profile", roles=frozenset({"support"}), reference_covers=True),
    "guard:customer-request-scope": replace(
        REFERRED, purpose="customer-request", reference=Reference.CUSTOMER_REQUEST, reference_covers=False
    ),
    "guard:order": replace(REFERRED, purpose="court-order", reference=Reference.TICKET),
    "guard:order-scope": replace(REFERRED, purpose="court-order", reference=Reference.ORDER, reference_covers=False),
    "guard:incident": replace(REFERRED, purpose="suspected-fraud", reference=Reference.TICKET),
    "guard:ticket": replace(REFERRED, purpose="claim-or-complaint", reference=Reference.INCIDENT),
    "guard:ticket-or-incident": replace(REFERRED, purpose="technical-fault", reference=Reference.ORDER),
    "guard:subject-request": replace(REFERRED, purpose="data-subject-request", reference=Reference.TICKET),
    "guard:known-basis": replace(REFERRED, purpose="own-marketing", reference=Reference.TICKET),
    "guard:restricted": replace(SOUND, restricted=True),
    "guard:content-not-retained": replace(SOUND, operation=Operation.CREATE, category="outgoing-message", level="report"),
}


def granting_everything(catalogue: Catalogue, source: PolicySource) -> Catalogue:
    """A catalogue no loader would pass: everyone may do everything, so that only guards are left."""

    def opened(category: Category) -> Category:
        grant = Grant(
            number=1,
            operations=frozenset(Operation),
            roles=frozenset(catalogue.roles),
            purposes=frozenset(catalogue.purposes),
            levels=frozenset(category.levels),
            view=View.FULL,
            recipients=frozenset(Recipient),
        )
        return replace(category, grants=(grant,))

    categories = MappingProxyType({name: opened(category) for name, category in catalogue.categories.items()})
    return replace(catalogue, guards_sha256=source.sha256, categories=categories)


def without(guard: str) -> PolicySource:
    kept = GUARD.sub(lambda match: "" if match[1] == guard else match[0], SOURCE.guards)
    return PolicySource(kept, SOURCE.schema)


@pytest.fixture(scope="module")
def guarded(catalogue: Catalogue) -> Policy:
    return Policy(granting_everything(catalogue, SOURCE))


def test_every_guard_has_a_question_that_shows_its_need() -> None:
    assert sorted(IDS) == sorted(WITNESSES)
    assert len(IDS) == SOURCE.guards.count("\nforbid (")


@pytest.mark.parametrize("guard", list(WITNESSES))
def test_a_question_that_only_one_guard_refuses(guarded: Policy, catalogue: Catalogue, guard: str) -> None:
    source = without(guard)

    refused = guarded.decide(WITNESSES[guard])
    unguarded = Policy(granting_everything(catalogue, source), source).decide(WITNESSES[guard])

    assert isinstance(refused, Refused)
    assert refused.rule == guard
    assert isinstance(unguarded, Allowed)


def test_where_everything_is_granted_a_sound_question_passes_all_guards(guarded: Policy) -> None:
    assert isinstance(guarded.decide(SOUND), Allowed)


def test_staff_need_a_customer_request_for_lists_whatever_their_purpose(guarded: Policy) -> None:
    """P3.2.1-rep."""
    question = replace(REFERRED, category="list-membership", roles=frozenset({"account-manager"}))

    refused = guarded.decide(replace(question, reference=Reference.TICKET))
    outside = guarded.decide(replace(question, reference=Reference.CUSTOMER_REQUEST, reference_covers=False))
    allowed = guarded.decide(replace(question, reference=Reference.CUSTOMER_REQUEST))

    assert isinstance(refused, Refused)
    assert refused.reason == "CUSTOMER_REQUEST_REQUIRED"
    assert isinstance(outside, Refused)
    assert outside.reason == "OUT_OF_REQUEST"
    assert isinstance(allowed, Allowed)
    assert allowed.consent_basis == "customer-request"


def test_no_two_checks_share_a_place_in_the_order(catalogue: Catalogue) -> None:
    compiled = compile_policies(catalogue, SOURCE)

    orders = [check.order for check in (*compiled.guards.values(), *(check for check, _ in _STEPS))]

    assert len(orders) == len(set(orders))


def test_every_policy_fits_the_schema_and_every_grant_is_one(catalogue: Catalogue) -> None:
    compiled = compile_policies(catalogue, SOURCE)

    verdict = cedarpy.validate_policies(str(compiled.policies), cedarpy.Schema.from_str(SOURCE.schema))

    assert verdict.validation_passed, verdict.errors
    assert len(compiled.policies) == len(IDS) + sum(len(category.grants) for category in catalogue.categories.values())


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("cedar-syntax", "forbid (principal, action, resource)", "forbid (principal, action"),
        ("cedar-schema", "context.justified", "context.justifyed"),
        ("guard", '@reason("NDA_INVALID")\n', ""),
        ("guard", '@order("80")', '@order("70")'),
        ("guard", '@order("80")', '@order("late")'),
        ("guard", '@kind("permission-denied")', '@kind("maybe")'),
        ("guard", '@id("guard:nda")', '@id("nda")'),
        ("guard", '@id("guard:nda")', '@id("guard:justification")'),
        ("guard", "forbid (principal, action, resource)\nunless { context.justified }", "permit (principal, action, resource)"),
    ],
)
def test_a_bad_guard_does_not_start(catalogue: Catalogue, rule: str, old: str, new: str) -> None:
    assert old in SOURCE.guards
    source = PolicySource(SOURCE.guards.replace(old, new, 1), SOURCE.schema)

    with pytest.raises(CatalogueError) as caught:
        compile_policies(replace(catalogue, guards_sha256=source.sha256), source)

    assert (caught.value.reason, caught.value.metadata["rule"]) == ("CATALOGUE_INVALID", rule)
