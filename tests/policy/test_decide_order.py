"""The order of checks is fixed, and remembering answers changes none (requirements §0)."""

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.catalogue.document import CatalogueError
from vault.catalogue.loader import load
from vault.catalogue.model import Catalogue, View
from vault.policy.compiled import PolicySource, packaged_source
from vault.policy.decide import _STEPS, Allowed, Operation, Policy, Question, Reference, Refused, _missing_grant


def masked_only(catalogue: Catalogue) -> Catalogue:
    """The catalogue in which support sees call detail masked, so that every check can fail on one question."""
    category = catalogue.categories["call-detail"]
    grants = tuple(replace(grant, view=View.MASKED) for grant in category.grants)
    return replace(catalogue, categories=MappingProxyType({**catalogue.categories, "call-detail": replace(category, grants=grants)}))


CATALOGUE = load()
MASKED = Policy(masked_only(CATALOGUE))
WARM = Policy(CATALOGUE)

SOUND = Question(
    operation=Operation.REVEAL,
    category="call-detail",
    roles=frozenset({"support"}),
    actor_kind="person",
    purpose="technical-fault",
    products=frozenset({"star"}),
    reference=Reference.TICKET,
    reference_live=True,
    nda_valid=True,
    justified=True,
)

# In the order of checks: what is wrong, and the reason that must speak when nothing before it is wrong.
DEFECTS: list[tuple[str, Callable[[Question], Question]]] = [
    ("ROLE_NOT_ALLOWED", lambda q: replace(q, roles=frozenset({"marketing"}))),
    ("DEVICE_UNMANAGED", lambda q: replace(q, device_unmanaged=True)),
    ("PRODUCT_LOCK", lambda q: replace(q, products=frozenset({"menterprise"}))),
    ("LEVEL_NOT_ALLOWED", lambda q: replace(q, level="report")),
    ("REASON_MISMATCH", lambda q: replace(q, ended=True)),
    ("PURPOSE_NOT_ALLOWED", lambda q: replace(q, purpose="contact")),
    ("VIEW_NOT_ALLOWED", lambda q: replace(q, view=View.FULL)),
    ("AGREEMENT_EXPIRED", lambda q: replace(q, agreement="expired")),
    ("RECIPIENT_NOT_ALLOWED", lambda q: replace(q, recipient="authority")),
    ("JUSTIFICATION_REQUIRED", lambda q: replace(q, justified=False)),
    ("NDA_INVALID", lambda q: replace(q, nda_valid=False)),
    ("CONSENT_BASIS_MISSING", lambda q: replace(q, reference=Reference.NONE)),
    ("RESTRICTED", lambda q: replace(q, restricted=True)),
]

questions = st.builds(
    Question,
    operation=st.sampled_from(Operation),
    category=st.sampled_from([*CATALOGUE.categories, "no-such-category"]),
    roles=st.frozensets(st.sampled_from([*CATALOGUE.roles, "no-such-role"]), max_size=3),
    actor_kind=st.sampled_from(["service", "person", "upkeep", "somebody"]),
    purpose=st.sampled_from([*CATALOGUE.purposes, "no-such-purpose"]),
    level=st.sampled_from(["", "system-log", "report", "system-file"]),
    products=st.none() | st.frozensets(st.sampled_from(["num2", "star", "no-such-product"]), max_size=2),
    view=st.sampled_from(View),
    recipient=st.sampled_from(["internal", "tenant", "affiliate", "data-subject", "authority", "third-party", "anyone"]),
    reference=st.sampled_from(Reference),
    reference_live=st.booleans(),
    reference_waiting=st.booleans(),
    reference_expired=st.booleans(),
    reference_covers=st.booleans(),
    incident_kind=st.sampled_from(["", "SECURITY", "TECHNICAL", "FRAUD", "no-such-kind"]),
    third_party_consent=st.booleans(),
    agreement=st.sampled_from(["in-force", "expired", "none", "no-such-standing"]),
    minor=st.booleans(),
    preference=st.sampled_from(["in", "out", "none", "no-such-choice"]),
    nda_valid=st.booleans(),
    device_unmanaged=st.booleans(),
    restricted=st.booleans(),
    affiliate_part=st.booleans(),
    justified=st.booleans(),
)


def with_defects(places: set[int]) -> Question:
    question = SOUND
    for place in sorted(places):
        question = DEFECTS[place][1](question)
    return question


def test_the_sound_question_is_allowed() -> None:
    assert isinstance(MASKED.decide(SOUND), Allowed)


@settings(max_examples=150, deadline=None)
@given(places=st.sets(st.integers(0, len(DEFECTS) - 1), min_size=1))
def test_the_earliest_defect_speaks_whatever_else_is_wrong(places: set[int]) -> None:
    decision = MASKED.decide(with_defects(places))

    assert isinstance(decision, Refused)
    assert decision.reason == DEFECTS[min(places)][0]


@settings(max_examples=60, deadline=None)
@given(asked=st.lists(questions, min_size=1, max_size=5))
def test_a_policy_that_remembers_answers_as_a_fresh_one(asked: list[Question]) -> None:
    first = [WARM.decide(question) for question in asked]
    again = [WARM.decide(question) for question in reversed(asked)]
    fresh = Policy(CATALOGUE)

    assert first == again[::-1]
    assert first == [fresh.decide(question) for question in asked]


@settings(max_examples=300, deadline=None)
@given(question=questions)
def test_only_a_grant_allows_and_a_refusal_without_a_guard_is_explained_by_the_grants(question: Question) -> None:
    """Default deny (I9): Cedar's answer and its explanation never part."""
    decision = WARM.decide(question)

    category = CATALOGUE.categories.get(question.category)
    missing = _STEPS[0][0] if category is None else _missing_grant(category.grants, question)
    if isinstance(decision, Allowed):
        assert missing is None
        assert decision.rule.startswith(f"grant:{question.category}:")
    elif decision.rule.startswith("default-deny:"):
        assert missing is not None
        assert decision.rule == missing.id


def test_a_new_catalogue_answers_afresh() -> None:
    """P1.2-principles: the memory belongs to one policy, so nothing of an older bundle survives in a newer one."""
    without = Policy(
        replace(
            CATALOGUE,
            version="2026.2",
            categories=MappingProxyType({**CATALOGUE.categories, "call-detail": replace(CATALOGUE.categories["call-detail"], grants=())}),
        )
    )

    before, after = WARM.decide(SOUND), without.decide(SOUND)

    assert isinstance(before, Allowed)
    assert isinstance(after, Refused)
    assert (after.reason, after.policy_version) == ("ROLE_NOT_ALLOWED", f"2026.2+{CATALOGUE.digest[:12]}")


def test_a_question_that_cannot_be_evaluated_is_not_answered() -> None:
    """Fail closed: Cedar skips what it cannot evaluate, and a skipped guard would open a door."""
    with pytest.raises(CatalogueError) as caught:
        WARM.decide(replace(SOUND, recipient="\ud800"))

    assert caught.value.metadata["rule"] == "cedar-evaluation"


def test_guards_that_were_not_reviewed_with_the_catalogue_do_not_start() -> None:
    """I6: a policy version stands for one set of guards."""
    source = packaged_source()

    with pytest.raises(CatalogueError) as caught:
        Policy(CATALOGUE, PolicySource(source.guards + "\n// changed\n", source.schema))

    assert caught.value.metadata["rule"] == "guards-digest"
