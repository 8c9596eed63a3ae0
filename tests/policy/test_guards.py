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
    agreement="in-force",
    nda_valid=True,
    justified=True,
)
REFERRED = replace(SOUND, reference_live=True, reference_covers=True)
FRAUD = replace(REFERRED, purpose="suspected-fraud", reference=Reference.INCIDENT, incident_kind="FRAUD")
ASKED = replace(REFERRED, purpose="data-subject-request", reference=Reference.SUBJECT_REQUEST)
# No purpose of the bundle is without a basis that a guard knows; one that were is closed all the same.
UNHEARD_OF = "unheard-of"

# One question per guard, in the order in which they speak, asked where everything is granted, so that nothing but the guard stands in the way.
WITNESSES = {
    "guard:affiliate-category": replace(SOUND, category="list-profile", roles=frozenset({"affiliate-service"})),
    "guard:managed-device": replace(SOUND, device_unmanaged=True),
    "guard:service-only": replace(SOUND, category="payment-card"),
    "guard:product-of-category": replace(SOUND, operation=Operation.CREATE, category="number-mapping", products=frozenset({"star"})),
    "guard:product-lock": replace(SOUND, category="number-mapping", products=frozenset({"star"})),
    "guard:reason": replace(SOUND, ended=True),
    "guard:third-party": replace(SOUND, recipient="third-party"),
    "guard:affiliate-recipient": replace(SOUND, recipient="affiliate"),
    "guard:affiliate-agreement": replace(SOUND, roles=frozenset({"affiliate-service"}), agreement="none"),
    "guard:agreement": replace(SOUND, agreement="expired"),
    "guard:minor-marketing": replace(SOUND, purpose="own-marketing", preference="in", minor=True),
    "guard:justification": replace(SOUND, justified=False),
    "guard:nda": replace(SOUND, nda_valid=False),
    "guard:job": replace(SOUND, category="list-profile", roles=frozenset({"messaging-engine"})),
    "guard:customer-request": replace(SOUND, category="list-profile", roles=frozenset({"support"}), reference_covers=True),
    "guard:customer-request-scope": replace(
        REFERRED, purpose="customer-request", reference=Reference.CUSTOMER_REQUEST, reference_covers=False
    ),
    "guard:order": replace(REFERRED, purpose="court-order", reference=Reference.TICKET),
    "guard:order-scope": replace(REFERRED, purpose="court-order", reference=Reference.ORDER, reference_covers=False),
    "guard:incident": replace(FRAUD, incident_kind="SECURITY"),
    "guard:incident-approval": replace(FRAUD, reference_live=False, reference_waiting=True),
    "guard:incident-expired": replace(FRAUD, reference_live=False, reference_expired=True),
    "guard:incident-scope": replace(FRAUD, reference_covers=False),
    "guard:ticket": replace(REFERRED, purpose="claim-or-complaint", reference=Reference.INCIDENT),
    "guard:ticket-or-incident": replace(REFERRED, purpose="technical-fault", reference=Reference.ORDER),
    "guard:subject-request": replace(ASKED, reference_covers=False),
    "guard:identity": replace(ASKED, reference_live=False, reference_waiting=True),
    "guard:preference": replace(SOUND, purpose="own-marketing"),
    "guard:known-basis": replace(REFERRED, purpose=UNHEARD_OF, reference=Reference.TICKET),
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
            purposes=frozenset(catalogue.purposes) | {UNHEARD_OF},
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


def passes(policy: Policy, question: Question) -> bool:
    """Whether the policies say yes. Asked below `decide`, which would not even word the basis of a purpose nobody has heard of."""
    return cedarpy.is_authorized(policy._request(question), policy._compiled.policies, policy._entities(question)).allowed


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
    unguarded = Policy(granting_everything(catalogue, source), source)

    assert isinstance(refused, Refused)
    assert refused.rule == guard
    assert passes(unguarded, WITNESSES[guard])


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


def test_guards_speak_in_the_order_of_the_requirements(guarded: Policy) -> None:
    """§0: who may ask at all, then to whom it goes, then why, then on what ground, then what became of the record."""
    assert list(guarded.guards) == list(WITNESSES)


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
