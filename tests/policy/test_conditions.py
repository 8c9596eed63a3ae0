"""Every state of what a decision hangs on besides its grant – agreements, jobs, incidents, requests, choices, minors, third parties – against a
second statement of the conditions."""

from collections import Counter

import pytest

from tests.policy.conditions import CONDITIONS, Case, Cell, answer, cells, unmet, worlds
from tests.policy.matrix import Asker, expected, single
from vault.catalogue.model import Catalogue
from vault.policy.decide import Allowed, Policy


@pytest.fixture(scope="module")
def granted() -> list[Cell]:
    return cells(expected())


def test_every_state_of_every_condition_answers_as_the_requirements_say(catalogue: Catalogue, granted: list[Cell]) -> None:
    """P1.7-no3p, P2.7-rights, P3.2.1-rep, P3.5-send, P3.6-fraud, P3.6-order, P3.6-sectech, P3.8-reasons, A3, A10, A22, L7, L18, L28."""
    whole = Asker(catalogue, Policy(catalogue))
    answers: Counter[str] = Counter()
    wrong = []
    for code in sorted({cell.place.code for cell in granted}):
        alone = single(catalogue, whole.categories[code].name)
        policy = Policy(alone)
        ask = Asker(alone, policy)
        for cell in (cell for cell in granted if cell.place.code == code):
            recipient = min(cell.given.recipients)
            sound = ask.question(cell.place, frozenset({cell.role}), cell.given.view, recipient)
            for question in worlds(cell, sound):
                decision = policy.decide(question)
                said = "ALLOWED" if isinstance(decision, Allowed) else decision.reason
                answers[said] += 1
                case = Case(cell, question)
                if said != answer(case):
                    wrong.append(f"{cell.place} {cell.role}: {said} instead of {answer(case)} for {question}")

    assert not wrong, f"{len(wrong)} of {answers.total()} states differ: {wrong[:5]}"
    assert {condition.reason for condition in CONDITIONS} | {"ALLOWED"} == answers.keys()
    assert answers.total() > 100_000, f"only {answers.total()} states: {answers}"


def test_every_condition_is_the_reason_somewhere(granted: list[Cell], catalogue: Catalogue) -> None:
    """A condition that never speaks would be one that nothing tests."""
    ask = Asker(catalogue, Policy(catalogue))
    spoke = set()
    for cell in granted:
        sound = ask.question(cell.place, frozenset({cell.role}), cell.given.view, min(cell.given.recipients))
        for question in worlds(cell, sound):
            condition = unmet(Case(cell, question))
            spoke.add(condition.requirement if condition else "")

    assert spoke == {condition.requirement for condition in CONDITIONS} | {""}
