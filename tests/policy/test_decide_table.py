"""Clauses of the policy, asked one by one: who may do what, and the reason of each refusal. Every cell of the matrix is in `test_matrix.py`."""

from dataclasses import replace
from typing import Any

import pytest

from vault.catalogue.model import Catalogue
from vault.policy.decide import Allowed, Operation, Policy, Question, Reference, RefusalKind, Refused, View

# What a purpose has to refer to (A3 and §1); nothing for those that rest on the contract.
REFERENCES = {
    "contact": Reference.TICKET,
    "technical-fault": Reference.TICKET,
    "claim-or-complaint": Reference.TICKET,
    "security-problem": Reference.INCIDENT,
    "suspected-fraud": Reference.INCIDENT,
    "court-order": Reference.ORDER,
    "customer-request": Reference.CUSTOMER_REQUEST,
    "data-subject-request": Reference.SUBJECT_REQUEST,
}
# P3.6-fraud, P3.6-sectech: the kind of incident that a purpose is about.
INCIDENTS = {"security-problem": "SECURITY", "suspected-fraud": "FRAUD"}


def sound(operation: Operation, role: str, purpose: str, category: str, level: str = "") -> Question:
    """A question in which everything but the grant is in order."""
    return Question(
        operation=operation,
        category=category,
        roles=frozenset({role}),
        actor_kind="person",
        purpose=purpose,
        level=level,
        recipient="affiliate" if role == "affiliate-service" else "internal",
        reference=REFERENCES.get(purpose, Reference.NONE),
        reference_live=True,
        reference_covers=True,
        incident_kind=INCIDENTS.get(purpose, ""),
        agreement="in-force",
        nda_valid=True,
        justified=True,
    )


def reason(decision: Allowed | Refused) -> str:
    return decision.reason if isinstance(decision, Refused) else "ALLOWED"


def reason_of(policy: Policy, question: Question) -> str:
    return reason(policy.decide(question))


@pytest.mark.parametrize(
    ("clause", "operation", "role", "purpose", "category", "level", "expected"),
    [
        ("P1.6a", "reveal", "no-such-role", "billing", "call-detail", "", "ROLE_NOT_ALLOWED"),
        ("P2.4", "reveal", "billing", "no-such-purpose", "call-detail", "", "PURPOSE_NOT_ALLOWED"),
        ("I9", "reveal", "billing", "billing", "no-such-category", "", "ROLE_NOT_ALLOWED"),
        ("P3.2-lvl-logs", "reveal", "support", "customer-report", "outgoing-message", "system-log", "PURPOSE_NOT_ALLOWED"),
        ("P3.2-lvl-files-use", "reveal", "reporting", "customer-report", "outgoing-message", "system-file", "LEVEL_NOT_ALLOWED"),
        ("P3.2-lvl-files-use", "reveal", "tenant-admin", "customer-report", "incoming-message", "system-file", "LEVEL_NOT_ALLOWED"),
        ("P3.2-exp-content", "reveal", "reporting", "customer-report", "incoming-message", "report", "ALLOWED"),
        ("P3.2-exp-content", "reveal", "reporting", "customer-report", "incoming-message", "", "LEVEL_NOT_ALLOWED"),
        ("P3.2.1-use", "reveal", "messaging-engine", "own-marketing", "list-profile", "", "PURPOSE_NOT_ALLOWED"),
        ("P3.2.1-owner", "create", "tenant-app", "service-delivery", "end-customer-contact", "", "ALLOWED"),
        ("P3.2.1-owner", "update", "tenant-admin", "service-delivery", "list-profile", "", "ALLOWED"),
        ("P3.2.1-owner", "delete", "tenant-admin", "service-delivery", "list-membership", "", "ALLOWED"),
        ("P3.2.1-owner", "delete", "messaging-engine", "service-delivery", "list-membership", "", "ROLE_NOT_ALLOWED"),
        ("P3.2.1-rep", "delete", "support", "customer-request", "list-membership", "", "ALLOWED"),
        ("P3.2.1-rep", "create", "support", "customer-request", "list-membership", "", "ROLE_NOT_ALLOWED"),
        ("P3.3-cust", "find", "call-centre", "caller-identification", "business-account", "", "ALLOWED"),
        ("P3.3-cust", "list", "call-centre", "caller-identification", "business-account", "", "ROLE_NOT_ALLOWED"),
        ("P3.3-cdr-use", "reveal", "marketing", "own-marketing", "call-detail", "", "ROLE_NOT_ALLOWED"),
        ("P3.4-map", "resolve", "second-number-app", "service-delivery", "number-mapping", "", "ALLOWED"),
        ("P3.6-fraud", "update", "fraud-investigator", "suspected-fraud", "outgoing-message", "system-file", "ROLE_NOT_ALLOWED"),
        ("P3.6-aff", "reveal", "affiliate-service", "affiliate-service", "list-profile", "", "AFFILIATE_CATEGORY"),
        ("P3.6-aff", "reveal", "affiliate-service", "service-delivery", "number-mapping", "", "PURPOSE_NOT_ALLOWED"),
        ("P3.2-lvl-rep", "create", "messaging-engine", "service-delivery", "outgoing-message", "report", "CONTENT_NOT_RETAINED"),
        ("P3.2-lvl-files-on", "create", "messaging-engine", "service-delivery", "outgoing-message", "system-file", "ALLOWED"),
        ("P3.2-lvl-rep", "create", "messaging-engine", "service-delivery", "incoming-message", "report", "ALLOWED"),
        ("P3.3-cust", "reveal", "account-manager", "billing", "billing-record", "", "PURPOSE_NOT_ALLOWED"),
        ("P3.8-keep-rep", "reveal", "account-manager", "claim-or-complaint", "usage-report", "", "ALLOWED"),
        ("P3.8-keep-rep", "reveal", "account-manager", "own-marketing", "usage-report", "", "PURPOSE_NOT_ALLOWED"),
        ("P3.5-forward", "find", "marketing", "own-marketing", "app-usage", "", "ROLE_NOT_ALLOWED"),
        ("P3.4-usage", "reveal", "marketing", "own-marketing", "app-usage", "", "ROLE_NOT_ALLOWED"),
        ("A10", "reveal", "marketing", "own-marketing", "site-visitor", "", "CONSENT_BASIS_MISSING"),
        ("A22", "reveal", "marketing", "keep-in-touch", "former-customer-contact", "", "ALLOWED"),
        ("P3.6-aff", "reveal", "affiliate-service", "affiliate-service", "site-visitor", "", "AFFILIATE_CATEGORY"),
        ("P3.6-aff", "reveal", "affiliate-service", "affiliate-service", "marketing-preference", "", "AFFILIATE_CATEGORY"),
        ("P3.6-aff", "reveal", "affiliate-service", "affiliate-service", "app-usage", "", "AFFILIATE_CATEGORY"),
        ("§2B", "reveal", "tenant-app", "service-delivery", "access-credential", "", "ROLE_NOT_ALLOWED"),
        ("§2B", "reveal", "second-number-app", "service-delivery", "call-recording", "", "SERVICE_ONLY"),
        ("§2B", "reveal", "billing", "billing", "payment-card", "", "SERVICE_ONLY"),
        ("§2B", "delete", "billing", "billing", "payment-card", "", "ALLOWED"),
        ("C29", "create", "legal-officer", "court-order", "legal-order", "", "ROLE_NOT_ALLOWED"),
        ("P3.2-lvl-rep", "create", "messaging-engine", "service-delivery", "fax", "report", "CONTENT_NOT_RETAINED"),
        ("N17", "reveal", "operator", "technical-fault", "call-detail", "", "ROLE_NOT_ALLOWED"),
        ("N17", "export", "auditor", "court-order", "call-detail", "", "ROLE_NOT_ALLOWED"),
    ],
)
def test_clause_of_the_policy(
    policy: Policy, clause: str, operation: str, role: str, purpose: str, category: str, level: str, expected: str
) -> None:
    question = sound(Operation(operation), role, purpose, category, level)

    assert reason_of(policy, question) == expected, clause


# P3.8-reasons: after the contract, by what the record is kept for.
@pytest.mark.parametrize(
    ("operation", "role", "purpose", "category", "level", "expected"),
    [
        ("reveal", "account-manager", "keep-in-touch", "usage-report", "", "REASON_MISMATCH"),
        ("reveal", "account-manager", "claim-or-complaint", "usage-report", "", "ALLOWED"),
        ("reveal", "reporting", "customer-report", "usage-report", "", "REASON_MISMATCH"),
        ("reveal", "account-manager", "keep-in-touch", "former-customer-contact", "", "ALLOWED"),
        ("reveal", "account-manager", "claim-or-complaint", "former-customer-contact", "", "ALLOWED"),
        ("reveal", "marketing", "own-marketing", "former-customer-contact", "", "REASON_MISMATCH"),
        ("export", "legal-officer", "court-order", "number-mapping", "", "ALLOWED"),
        ("resolve", "second-number-app", "service-delivery", "number-mapping", "", "REASON_MISMATCH"),
        ("reveal", "support", "technical-fault", "outgoing-message", "system-file", "REASON_MISMATCH"),
        ("reveal", "legal-officer", "claim-or-complaint", "outgoing-message", "system-file", "ALLOWED"),
        ("reveal", "tenant-app", "service-delivery", "end-customer-contact", "", "REASON_MISMATCH"),
        ("export", "tenant-admin", "customer-request", "end-customer-contact", "", "RECIPIENT_NOT_ALLOWED"),
        ("erase", "tenant-admin", "data-subject-request", "end-customer-contact", "", "ALLOWED"),
        ("reveal", "second-number-app", "service-delivery", "app-usage", "", "ALLOWED"),
    ],
)
def test_after_the_contract_a_purpose_has_one_of_the_reasons(
    policy: Policy, operation: str, role: str, purpose: str, category: str, level: str, expected: str
) -> None:
    question = replace(sound(Operation(operation), role, purpose, category, level), ended=True)

    assert reason_of(policy, question) == expected


# P1.6c-consent, P3.2.1-rep, P3.6-order, P3.6-fraud, P3.6-sectech, P3.5-enable, A3: what is missing when the reference is not the right one.
@pytest.mark.parametrize(
    ("role", "purpose", "category", "level", "missing"),
    [
        ("support", "technical-fault", "outgoing-message", "system-file", "CONSENT_BASIS_MISSING"),
        ("support", "technical-fault", "call-detail", "", "CONSENT_BASIS_MISSING"),
        ("support", "contact", "business-account", "", "CONSENT_BASIS_MISSING"),
        ("account-manager", "customer-request", "end-customer-contact", "", "CUSTOMER_REQUEST_REQUIRED"),
        ("account-manager", "customer-request", "business-account", "", "CUSTOMER_REQUEST_REQUIRED"),
        ("legal-officer", "court-order", "number-mapping", "", "ORDER_REQUIRED"),
        ("legal-officer", "claim-or-complaint", "call-detail", "", "CONSENT_BASIS_MISSING"),
        ("fraud-investigator", "suspected-fraud", "incoming-message", "system-file", "INCIDENT_REQUIRED"),
        ("security-investigator", "security-problem", "incoming-message", "system-file", "INCIDENT_REQUIRED"),
        ("privacy-officer", "data-subject-request", "business-account", "", "CONSENT_BASIS_MISSING"),
    ],
)
def test_without_its_reference_a_purpose_has_no_basis(
    policy: Policy, role: str, purpose: str, category: str, level: str, missing: str
) -> None:
    question = sound(Operation.REVEAL, role, purpose, category, level)

    assert reason_of(policy, question) == "ALLOWED"
    assert reason_of(policy, replace(question, reference=Reference.NONE)) == missing
    assert reason_of(policy, replace(question, reference=Reference.JOB)) == missing
    assert reason_of(policy, replace(question, reference_live=False)) == missing


def test_system_logs_need_no_ticket_because_the_contract_is_basis_enough(policy: Policy) -> None:
    """A3."""
    question = replace(
        sound(Operation.REVEAL, "support", "technical-fault", "outgoing-message", "system-log"),
        reference=Reference.NONE,
        reference_live=False,
        reference_covers=False,
    )

    decision = policy.decide(question)

    assert isinstance(decision, Allowed)
    assert decision.consent_basis == "contract"


def test_an_incident_is_as_good_as_a_ticket_for_a_fault(policy: Policy) -> None:
    """A3."""
    question = replace(sound(Operation.REVEAL, "support", "technical-fault", "call-detail"), reference=Reference.INCIDENT)

    decision = policy.decide(question)

    assert isinstance(decision, Allowed)
    assert decision.consent_basis == "incident"


def test_staff_outside_the_customer_request_are_refused(policy: Policy) -> None:
    """P3.2.1-rep."""
    question = replace(sound(Operation.DELETE, "account-manager", "customer-request", "list-membership"), reference_covers=False)

    assert reason_of(policy, question) == "OUT_OF_REQUEST"


def test_an_order_that_does_not_cover_the_record_releases_nothing(policy: Policy) -> None:
    """N2."""
    question = replace(sound(Operation.REVEAL, "legal-officer", "court-order", "call-detail"), reference_covers=False)

    assert reason_of(policy, question) == "SCOPE_EXCEEDED"


@pytest.mark.parametrize(
    "category",
    ["end-customer-contact", "list-membership", "list-profile", "business-account", "call-detail", "billing-record", "app-usage"],
)
def test_an_order_in_force_is_exported_to_the_authority(policy: Policy, category: str) -> None:
    """P3.6-order; the export asks for the full view and names the authority."""
    question = replace(sound(Operation.EXPORT, "legal-officer", "court-order", category), view=View.FULL, recipient="authority")

    decision = policy.decide(question)

    assert isinstance(decision, Allowed)
    assert decision.consent_basis == "order"
    assert decision.view is View.FULL


def test_a_person_without_a_confidentiality_agreement_is_refused_and_a_service_is_not(policy: Policy) -> None:
    """P3.7-nda."""
    question = replace(sound(Operation.REVEAL, "billing", "billing", "call-detail"), nda_valid=False)

    assert reason_of(policy, question) == "NDA_INVALID"
    assert reason_of(policy, replace(question, actor_kind="somebody")) == "NDA_INVALID"
    assert reason_of(policy, replace(question, actor_kind="service")) == "ALLOWED"


def test_the_call_centre_sees_masked_values_only(policy: Policy) -> None:
    """P3.3-cust."""
    question = sound(Operation.RESOLVE, "call-centre", "caller-identification", "business-account")

    assert reason_of(policy, question) == "ALLOWED"
    assert reason_of(policy, replace(question, view=View.FULL)) == "VIEW_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("internal", "ALLOWED"),
        ("tenant", "ALLOWED"),
        ("data-subject", "RECIPIENT_NOT_ALLOWED"),
        ("authority", "RECIPIENT_NOT_ALLOWED"),
        ("affiliate", "AFFILIATE_CATEGORY"),
        ("third-party", "THIRD_PARTY_CONSENT_REQUIRED"),
        ("", "RECIPIENT_NOT_ALLOWED"),
        ("anyone", "RECIPIENT_NOT_ALLOWED"),
    ],
)
def test_a_release_goes_only_where_the_grant_says(policy: Policy, recipient: str, expected: str) -> None:
    """P1.7-no3p, P3.6-aff, A1."""
    question = replace(sound(Operation.REVEAL, "reporting", "customer-report", "call-detail"), recipient=recipient)

    assert reason_of(policy, question) == expected


def test_the_affiliate_receives_as_the_affiliate_or_not_at_all(policy: Policy) -> None:
    """P3.6-aff."""
    question = sound(Operation.REVEAL, "affiliate-service", "affiliate-service", "business-account")

    assert reason_of(policy, question) == "ALLOWED"
    assert reason_of(policy, replace(question, recipient="internal")) == "RECIPIENT_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("category", "level"),
    [
        ("end-customer-contact", ""),
        ("message-metadata", ""),
        ("fax", "system-log"),
        ("system-log", "system-log"),
        ("billing-record", ""),
        ("app-usage", ""),
        ("usage-report", ""),
    ],
)
def test_the_affiliate_has_only_the_part_of_a_category_that_is_its_own(policy: Policy, category: str, level: str) -> None:
    """P3.6-aff, §2B: voice targets, voice messages, carrier legs, faults on them, voice billing, calls of the second number, voice reports."""
    question = sound(Operation.REVEAL, "affiliate-service", "affiliate-service", category, level)

    assert reason_of(policy, question) == "AFFILIATE_CATEGORY"
    assert reason_of(policy, replace(question, affiliate_part=True)) == "ALLOWED"


@pytest.mark.parametrize("kind", ["person", "upkeep", "somebody"])
def test_what_is_for_services_is_shown_to_a_service_and_to_nobody_else(policy: Policy, kind: str) -> None:
    """§2B: cards and recordings."""
    question = sound(Operation.REVEAL, "second-number-app", "service-delivery", "call-recording")

    assert reason_of(policy, replace(question, actor_kind="service")) == "ALLOWED"
    assert reason_of(policy, replace(question, actor_kind=kind)) == "SERVICE_ONLY"
    assert reason_of(policy, replace(question, actor_kind=kind, roles=frozenset({"support"}))) == "ROLE_NOT_ALLOWED"


def test_a_card_is_never_shown_in_full(policy: Policy, catalogue: Catalogue) -> None:
    """P3.1-direct, §2B: not even to the service that charges it."""
    question = replace(sound(Operation.REVEAL, "billing", "billing", "payment-card"), actor_kind="service")

    assert reason_of(policy, question) == "ALLOWED"
    assert reason_of(policy, replace(question, view=View.FULL)) == "VIEW_NOT_ALLOWED"
    assert {grant.view for grant in catalogue.category("payment-card").grants if Operation.REVEAL in grant.operations} == {View.MASKED}


def test_a_second_role_does_not_open_to_the_affiliate_what_is_closed_to_it(policy: Policy) -> None:
    """A2."""
    question = replace(
        sound(Operation.REVEAL, "reporting", "customer-report", "list-profile"), roles=frozenset({"reporting", "affiliate-service"})
    )

    assert reason_of(policy, question) == "AFFILIATE_CATEGORY"


@pytest.mark.parametrize(
    ("role", "purpose", "expected"),
    [
        ("support", "technical-fault", "RESTRICTED"),
        ("billing", "billing", "RESTRICTED"),
        ("legal-officer", "claim-or-complaint", "ALLOWED"),
        ("legal-officer", "court-order", "ALLOWED"),
        ("privacy-officer", "data-subject-request", "ALLOWED"),
    ],
)
def test_restricted_records_serve_claims_orders_and_the_person_only(policy: Policy, role: str, purpose: str, expected: str) -> None:
    """L31, §6.4."""
    question = replace(sound(Operation.REVEAL, role, purpose, "call-detail"), restricted=True)

    assert reason_of(policy, question) == expected


@pytest.mark.parametrize(
    ("operation", "role", "expected"),
    [(Operation.REVEAL, "second-number-app", "PRODUCT_LOCK"), (Operation.CREATE, "second-number-app", "CATEGORY_PRODUCT_MISMATCH")],
)
def test_data_of_one_product_is_closed_to_another(policy: Policy, operation: Operation, role: str, expected: str) -> None:
    """P3.0-products, P3.4-usage."""
    question = sound(operation, role, "service-delivery", "number-mapping")

    assert reason_of(policy, replace(question, products=None)) == "ALLOWED"
    assert reason_of(policy, replace(question, products=frozenset({"num2", "large-account"}))) == "ALLOWED"
    assert reason_of(policy, replace(question, products=frozenset({"large-account", "star"}))) == expected
    assert reason_of(policy, replace(question, products=frozenset())) == expected


def test_a_refusal_becomes_the_error_of_its_kind(policy: Policy) -> None:
    question = sound(Operation.REVEAL, "billing", "billing", "call-detail")

    refused = policy.decide(replace(question, justified=False))

    assert isinstance(refused, Refused)
    assert refused.kind is RefusalKind.INVALID_ARGUMENT
    error = refused.error()
    assert type(error).__name__ == "InvalidArgumentError"
    assert (error.reason, error.field) == ("JUSTIFICATION_REQUIRED", "justification.reason")
    assert error.metadata == {"rule": "guard:justification", "policy_version": refused.policy_version}


def test_a_decision_names_rule_basis_and_version(policy: Policy, catalogue: Catalogue) -> None:
    """I6."""
    decision = policy.decide(sound(Operation.REVEAL, "billing", "billing", "call-detail"))

    assert decision == Allowed("grant:call-detail:2", "contract", catalogue.policy_version, View.MASKED)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"preference": "in"}, "ALLOWED"),
        ({"preference": "in", "minor": True}, "MINOR_PROTECTED"),
        ({"preference": "none"}, "CONSENT_BASIS_MISSING"),
        ({"preference": "out"}, "CONSENT_BASIS_MISSING"),
    ],
)
def test_adverts_go_to_grown_ups_who_said_yes(policy: Policy, facts: dict[str, Any], expected: str) -> None:
    """A10, A12, L18."""
    question = sound(Operation.REVEAL, "marketing", "own-marketing", "site-visitor")

    assert reason_of(policy, replace(question, **facts)) == expected


def test_whoever_said_no_is_not_kept_in_touch_with(policy: Policy) -> None:
    """A22."""
    question = sound(Operation.REVEAL, "marketing", "keep-in-touch", "former-customer-contact")

    assert reason_of(policy, question) == "ALLOWED"
    assert reason_of(policy, replace(question, preference="out")) == "CONSENT_BASIS_MISSING"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "ALLOWED"),
        ({"incident_kind": "SECURITY"}, "INCIDENT_REQUIRED"),
        ({"reference_live": False, "reference_waiting": True}, "APPROVALS_MISSING"),
        ({"reference_live": False, "reference_expired": True}, "INCIDENT_EXPIRED"),
        ({"reference_covers": False}, "OUT_OF_INCIDENT"),
    ],
)
def test_fraud_is_investigated_under_an_approved_incident_in_its_time_about_its_people(
    policy: Policy, facts: dict[str, Any], expected: str
) -> None:
    """P3.6-fraud."""
    question = sound(Operation.REVEAL, "fraud-investigator", "suspected-fraud", "incoming-message", "system-file")

    assert reason_of(policy, replace(question, **facts)) == expected


@pytest.mark.parametrize(
    ("role", "purpose", "standing", "expected"),
    [
        ("affiliate-service", "affiliate-service", "in-force", "ALLOWED"),
        ("affiliate-service", "affiliate-service", "none", "AGREEMENT_REQUIRED"),
        ("affiliate-service", "affiliate-service", "expired", "AGREEMENT_EXPIRED"),
        ("billing", "billing", "none", "ALLOWED"),
        ("billing", "billing", "expired", "AGREEMENT_EXPIRED"),
        ("legal-officer", "court-order", "expired", "ALLOWED"),
        ("privacy-officer", "data-subject-request", "expired", "ALLOWED"),
    ],
)
def test_work_for_others_stops_with_its_agreement(policy: Policy, role: str, purpose: str, standing: str, expected: str) -> None:
    """L7: what the law and people themselves ask for goes on."""
    question = sound(Operation.REVEAL, role, purpose, "call-detail")

    assert reason_of(policy, replace(question, agreement=standing)) == expected


def test_the_engine_reads_a_list_for_a_job_with_that_list(policy: Policy) -> None:
    """P3.5-send."""
    question = replace(sound(Operation.REVEAL, "messaging-engine", "service-delivery", "list-profile"), reference=Reference.JOB)

    assert reason_of(policy, question) == "ALLOWED"
    assert reason_of(policy, replace(question, reference=Reference.NONE)) == "JOB_REQUIRED"
    assert reason_of(policy, replace(question, reference_live=False)) == "JOB_REQUIRED"
    assert reason_of(policy, replace(question, reference_covers=False)) == "JOB_REQUIRED"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "ALLOWED"),
        ({"reference_live": False, "reference_waiting": True}, "IDENTITY_NOT_VERIFIED"),
        ({"reference_live": False}, "CONSENT_BASIS_MISSING"),
        ({"reference_covers": False}, "CONSENT_BASIS_MISSING"),
    ],
)
def test_a_right_is_used_by_the_persons_own_open_request_once_they_are_known(policy: Policy, facts: dict[str, Any], expected: str) -> None:
    """P2.7-rights, L28."""
    question = sound(Operation.REVEAL, "privacy-officer", "data-subject-request", "call-detail")

    assert reason_of(policy, replace(question, **facts)) == expected


@pytest.mark.parametrize(
    ("reference", "facts", "expected"),
    [
        (Reference.TICKET, {"reference_live": False, "reference_expired": True}, "CONSENT_BASIS_MISSING"),
        (Reference.TICKET, {"reference_live": False, "reference_waiting": True}, "CONSENT_BASIS_MISSING"),
        (Reference.INCIDENT, {"reference_live": False, "reference_covers": False}, "CONSENT_BASIS_MISSING"),
        (Reference.INCIDENT, {"reference_live": False, "reference_expired": True}, "INCIDENT_EXPIRED"),
    ],
)
def test_a_fault_needs_a_ticket_or_an_incident_that_holds(
    policy: Policy, reference: Reference, facts: dict[str, Any], expected: str
) -> None:
    """A3. Harm: a ticket whose time was over counted as an incident's would, and an incident that never was answered as one about others."""
    question = replace(sound(Operation.REVEAL, "support", "technical-fault", "call-detail"), reference=reference)

    assert reason_of(policy, replace(question, **facts)) == expected
