"""What an erasure does to a part, against a table written from the requirements (§2B, §6.2): every category, requester and kind of row."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from tests.store.rows import NOW, RECORD
from vault.catalogue.loader import load
from vault.catalogue.model import Erasure, ErasureException
from vault.operations.outcomes import REVIEW, Outcome, Requester, at_last, in_scope, outcome_of
from vault.store.records import RecordRow

CATALOGUE = load()
PERSONS = [requester for requester in Requester if requester is not Requester.TENANT]
LONG = timedelta(days=100 * 366)
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """What §2B and §6.2 say of a category.

    Attributes:
        at_last: what becomes of it when nothing keeps it.
        basis: what keeps it before that, if anything does.
        forwarded: whether the tenant decides about it.
        metadata: of which kind of row this is said.
    """

    category: str
    at_last: str
    basis: str = ""
    forwarded: bool = False
    metadata: Mapping[str, str] | None = None


RULES = (
    Rule("end-customer-contact", "erased", forwarded=True),
    Rule("list-membership", "erased", forwarded=True),
    Rule("list-profile", "erased", forwarded=True),
    Rule("list-file", "erased", forwarded=True),
    Rule("message-metadata", "tokenised", forwarded=True),
    # P3.5-reg: the copy that regulation needs.
    Rule("message-metadata", "erased", "regulatory-telecom", forwarded=True, metadata={"channel": "VOICE"}),
    Rule("outgoing-message", "erased", forwarded=True),
    Rule("incoming-message", "erased", forwarded=True),
    Rule("interaction-event", "erased", forwarded=True),
    Rule("email-template", "erased", forwarded=True),
    Rule("fax", "erased", forwarded=True),
    Rule("system-log", "tokenised", forwarded=True),
    Rule("business-account", "erased", "statutory-tax"),
    Rule("billing-record", "erased", "statutory-tax"),
    Rule("payment-card", "erased"),
    Rule("call-detail", "tokenised", "regulatory-telecom"),
    Rule("number-mapping", "erased", "regulatory-telecom"),
    Rule("app-usage", "erased"),
    Rule("app-usage", "tokenised", "regulatory-telecom", metadata={"kind": "CALL"}),
    Rule("app-usage", "tokenised", "regulatory-telecom", metadata={"kind": "SMS"}),
    Rule("app-purchase", "erased", "statutory-tax"),
    Rule("app-diagnostics", "erased"),
    Rule("site-visitor", "erased"),
    # Destroyed once it is delivered, whoever asks (P3.4-rec).
    Rule("call-recording", "erased"),
    Rule("access-credential", "erased"),
    Rule("former-customer-contact", "erased"),
    Rule("usage-report", "tokenised"),
    Rule("complaint-case", "erased", "legal-claim"),
)


def row_of(rule: Rule) -> RecordRow:
    """A record whose ordinary retention ends a day from now."""
    level = next(iter(CATALOGUE.category(rule.category).levels), "")
    return replace(RECORD, category=rule.category, level=level, metadata=rule.metadata or {}, expire_time=NOW + timedelta(days=1))


def named(rule: Rule) -> str:
    return " ".join([rule.category, *(rule.metadata or {}).values()])


def test_the_table_has_every_category_that_is_kept_as_records() -> None:
    assert {rule.category for rule in RULES} == {name for name, found in CATALOGUE.categories.items() if found.held_as == "record"}


@pytest.mark.parametrize("rule", RULES, ids=named)
@pytest.mark.parametrize("requester", PERSONS)
def test_a_persons_request_forwards_keeps_or_ends(rule: Rule, requester: Requester) -> None:
    """E2, E6: whoever asks for the person; what the law keeps goes at its date, not a moment before."""
    category, row = CATALOGUE.category(rule.category), row_of(rule)

    outcome = outcome_of(category, row, requester, NOW)

    assert in_scope(category, requester)
    assert outcome.kind == ("forwarded" if rule.forwarded else "restricted" if rule.basis else rule.at_last)
    assert (outcome.basis or "") == ("" if rule.forwarded else rule.basis)
    if outcome.until is not None:
        assert outcome_of(category, row, requester, outcome.until - MOMENT) == outcome
        assert outcome_of(category, row, requester, outcome.until).kind == rule.at_last


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_tenants_instruction_reaches_what_is_processed_for_it_and_nothing_else(rule: Rule) -> None:
    """E3, P1.8-role."""
    category = CATALOGUE.category(rule.category)

    assert in_scope(category, Requester.TENANT) == rule.forwarded
    if rule.forwarded:
        outcome = outcome_of(category, row_of(rule), Requester.TENANT, NOW)
        assert (outcome.kind, outcome.basis or "") == ("restricted" if rule.basis else rule.at_last, rule.basis)
        assert outcome_of(category, row_of(rule), Requester.TENANT, outcome.until or NOW).kind == rule.at_last


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.basis], ids=named)
def test_what_has_no_date_yet_is_looked_at_again_within_a_year(rule: Rule) -> None:
    """§6.3: an end or a review date, and never none."""
    asked = Requester.TENANT if rule.forwarded else Requester.SUBJECT
    outcome = outcome_of(CATALOGUE.category(rule.category), replace(row_of(rule), expire_time=None), asked, NOW)

    assert (outcome.kind, outcome.until, outcome.review) == (Erasure.RESTRICTED, None, NOW + timedelta(days=365))
    assert outcome.look_again == NOW + REVIEW


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_a_hold_keeps_what_nothing_else_keeps_and_is_not_asked_about_what_is_forwarded(rule: Rule) -> None:
    """E4, §6.3: with several exceptions the law's own comes first, and the hold after it."""
    category, row = CATALOGUE.category(rule.category), row_of(rule)
    held = Outcome(Erasure.RESTRICTED, ErasureException.LEGAL_HOLD, review=NOW + REVIEW)

    now = outcome_of(category, row, Requester.SUBJECT, NOW, held=held)
    later = outcome_of(category, row, Requester.SUBJECT, NOW + LONG, held=held)

    assert now.kind == (Erasure.FORWARDED if rule.forwarded else Erasure.RESTRICTED)
    assert later == (now if rule.forwarded else held)
    assert at_last(category, row.metadata).kind == rule.at_last
