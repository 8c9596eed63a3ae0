"""From a call to an answer of the policy: gather the facts once, then decide per record.

The facts need the database (does the reference resolve, is the agreement in force); the decision itself is `policy.decide` and needs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vault import names, scan
from vault.catalogue.model import ConsentBasis
from vault.errors import InvalidArgumentError, PermissionDeniedError
from vault.operations import order_state
from vault.operations.attempt import Attempt, Justification
from vault.operations.core import Vault
from vault.policy import justification as justification_rules
from vault.policy.decide import Allowed, Operation, Question, Reference, Refused, View
from vault.store import consents as consent_store
from vault.store import guardians as guardian_store
from vault.store import incidents as incident_store
from vault.store import jobs as job_store
from vault.store import objections as objection_store
from vault.store import orders as order_store
from vault.store import preferences as preference_store
from vault.store import registers
from vault.store import subject_requests as subject_request_store
from vault.store.database import Connection
from vault.store.registers import CustomerRequestRow
from vault.store.tenants import TenantRow

INTERNAL = "internal"
NO_AGREEMENT = "none"
_INVESTIGATOR = "security-investigator"
# A10: a yes that somebody gave knowingly; the terms of an account are none.
CHOSEN = frozenset({"EXPLICIT_OPT_IN", "EXISTING_CUSTOMER_SIMILAR_SERVICE"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decisions of one call depend on besides the record.

    Attributes:
        reference: kind of the reference that was given.
        live: whether it resolves and is in force.
        request: the customer request it names, if it does.
        nda_valid: whether the person's confidentiality agreement is in force; always true for services.
        justified: whether a justification was given and is sound.
        order_covers: whether a court order covers what is decided; only its own export does (§5, P3.6-order).
        waiting: whether the reference resolves and waits: an incident for its approval, a person's request for their identity.
        expired: whether it resolves and its time is over.
        people: whom it covers, by opaque id; None for everybody.
        lists: the list that it covers, for a job; empty for every one.
        incident_kind: kind of the incident that it names.
        agreement: standing of the processing agreement that counts for the caller.
        ended: whether the tenant's contract has ended.
    """

    reference: Reference
    live: bool
    request: CustomerRequestRow | None
    nda_valid: bool
    justified: bool
    order_covers: bool = False
    waiting: bool = False
    expired: bool = False
    people: frozenset[str] | None = None
    lists: str = ""
    incident_kind: str = ""
    agreement: str = NO_AGREEMENT
    ended: bool = False


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """What a decision depends on besides the call: the people a record is about. Gathered where the purpose or the recipient asks for it."""

    consented: bool = False
    minor: bool = False
    preference: str = "none"


NOBODY_ASKED = PersonFacts()


async def gather(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow, *, required: bool = True) -> Facts:
    """Look at what the justification refers to.

    Args:
        vault: the vault.
        connection: an open transaction.
        attempt: carries the caller and the justification.
        tenant: the tenant, whose ticket pattern and agreements count.
        required: whether the call must be justified; storing needs a purpose only.
    Raises:
        InvalidArgumentError: UNKNOWN_PURPOSE, JUSTIFICATION_REQUIRED, PII_IN_JUSTIFICATION, REFERENCE_INVALID.
        PermissionDeniedError: ROLE_SUSPENDED, an investigator's use of an incident was not reviewed in time (P3.6-sectech).
    """
    why = attempt.justification
    vault.catalogue.purpose(why.purpose)
    reference = _check(why, tenant) if required or why.reason else Reference.NONE
    attempt.is_justified = True
    now = vault.clock()
    await _check_reviews(connection, attempt, tenant, now)
    facts = Facts(
        reference,
        live=True,
        request=None,
        nda_valid=await gather_nda(connection, attempt, now),
        justified=True,
        agreement=_agreement(vault, attempt, tenant, now),
        ended=tenant.has_ended,
    )
    look_up = _LOOK_UPS.get(reference)
    return facts if look_up is None else await look_up(connection, tenant.tenant_id, why.reference, facts, now)


async def _customer_request(connection: Connection, tenant: str, reference: str, facts: Facts, now: datetime) -> Facts:
    name = _child(reference, "customerRequests", tenant)
    request = await registers.get_customer_request(connection, tenant, name) if name else None
    return replace(facts, request=request, live=request is not None and request.close_time is None and request.expire_time > now)


async def _order(connection: Connection, tenant: str, reference: str, facts: Facts, now: datetime) -> Facts:
    name = _child(reference, "orders", tenant)
    order = await order_store.get_order(connection, tenant, name) if name else None
    return replace(facts, live=order is not None and order.state in order_state.LIVE and order.expire_time > now)


async def _incident(connection: Connection, tenant: str, reference: str, facts: Facts, now: datetime) -> Facts:
    name = _child(reference, "incidents", tenant)
    incident = await incident_store.get_incident(connection, tenant, name) if name else None
    if incident is None:
        return replace(facts, live=False)
    expired = incident.close_time is not None or incident.expire_time <= now
    waiting = not expired and incident.kind == "FRAUD" and incident.approve_time is None
    if not expired and not waiting and incident.use_time is None:
        await incident_store.use_incident(connection, tenant, name, now)
    return replace(
        facts,
        live=not expired and not waiting,
        waiting=waiting,
        expired=expired,
        people=frozenset(incident.subjects) or None,
        incident_kind=incident.kind,
    )


async def _subject_request(connection: Connection, tenant: str, reference: str, facts: Facts, _now: datetime) -> Facts:
    name = _child(reference, "subjectRequests", tenant)
    request = await subject_request_store.get_subject_request(connection, tenant, name) if name else None
    if request is None or request.close_time is not None:
        return replace(facts, live=False)
    waiting = request.verify_time is None
    return replace(facts, live=not waiting, waiting=waiting, people=frozenset({request.subject_id} - {""}))


async def _job(connection: Connection, tenant: str, reference: str, facts: Facts, now: datetime) -> Facts:
    name = _child(reference, "jobs", tenant)
    job = await job_store.get_job(connection, tenant, name) if name else None
    if job is None:
        return replace(facts, live=False)
    return replace(facts, live=job.close_time is None and job.expire_time > now, lists=job.list_id)


_LOOK_UPS = {
    Reference.CUSTOMER_REQUEST: _customer_request,
    Reference.ORDER: _order,
    Reference.INCIDENT: _incident,
    Reference.SUBJECT_REQUEST: _subject_request,
    Reference.JOB: _job,
}


async def gather_people(
    vault: Vault, connection: Connection, attempt: Attempt, tenant: str, *, subjects: Sequence[str], recipient: str
) -> PersonFacts:
    """Look at the people a record is about, if the purpose or the recipient makes that matter; all of them must agree (P1.7-no3p)."""
    purpose = vault.catalogue.purposes.get(attempt.justification.purpose)
    by_choice = purpose is not None and purpose.basis is ConsentBasis.PREFERENCE
    _, _, third_party = recipient.partition(":")
    if not by_choice and not third_party:
        return NOBODY_ASKED
    now = vault.clock()
    consented = bool(third_party) and await consent_store.has_consent(connection, tenant, f"third-party:{third_party}", subjects, now)
    if not by_choice:
        return PersonFacts(consented=consented)
    return PersonFacts(
        consented=consented,
        minor=bool(await guardian_store.guardian_standing(connection, tenant, subjects, vault.clock())),
        preference=_together([await _choice(connection, tenant, subject, attempt.justification.purpose) for subject in subjects]),
    )


async def _choice(connection: Connection, tenant: str, subject: str, purpose: str) -> str:
    """What one person chose. Account terms alone are no yes (A10); an objection is a no to its purpose (L34)."""
    if purpose in await objection_store.objections_of(connection, tenant, subject):
        return "out"
    choices = (await preference_store.newest_preferences(connection, tenant, subject)).values()
    if any(choice.state == "IN" and choice.basis in CHOSEN for choice in choices):
        return "in"
    return "out" if any(choice.state == "OUT" for choice in choices) else "none"


def _together(choices: Sequence[str]) -> str:
    """What several people chose: yes only if all did, no if one did."""
    if "out" in choices or not choices:
        return "out"
    return "in" if set(choices) == {"in"} else "none"


def decide(
    vault: Vault,
    attempt: Attempt,
    facts: Facts,
    *,
    operation: Operation,
    category: str,
    level: str = "",
    list_id: str = "",
    view: View = View.MASKED,
    recipient: str = INTERNAL,
    restricted: bool = False,
    affiliate_part: bool = False,
    subject: str = "",
    people: PersonFacts = NOBODY_ASKED,
) -> Allowed | Refused:
    """Ask the policy about one category, level, list and person under the facts of the call."""
    caller = attempt.caller
    return vault.policy.decide(
        Question(
            operation=operation,
            category=category,
            roles=caller.roles,
            actor_kind=caller.kind,
            purpose=attempt.justification.purpose,
            level=level,
            products=caller.products,
            device_unmanaged=caller.device_unmanaged,
            view=view,
            recipient=recipient.partition(":")[0],
            reference=facts.reference,
            reference_live=facts.live,
            reference_waiting=facts.waiting,
            reference_expired=facts.expired,
            reference_covers=_covers(facts, operation, list_id, subject),
            incident_kind=facts.incident_kind,
            third_party_consent=people.consented,
            agreement=facts.agreement,
            minor=people.minor,
            preference=people.preference,
            nda_valid=facts.nda_valid,
            restricted=restricted,
            ended=facts.ended,
            affiliate_part=affiliate_part,
            justified=facts.justified,
        )
    )


def require(
    vault: Vault,
    attempt: Attempt,
    facts: Facts,
    *,
    operation: Operation,
    category: str,
    level: str = "",
    list_id: str = "",
    restricted: bool = False,
    subject: str = "",
) -> Allowed:
    """Decide, note the determining rule in the attempt, and raise if refused.

    Raises:
        VaultError: the refusal, with the reason of the earliest check that failed.
    """
    attempt.operation, attempt.category = operation.value, category
    decision = decide(
        vault, attempt, facts, operation=operation, category=category, level=level, list_id=list_id, restricted=restricted, subject=subject
    )
    attempt.rule = decision.rule
    if isinstance(decision, Refused):
        raise decision.error()
    attempt.consent_basis = decision.consent_basis
    return decision


def _check(why: Justification, tenant: TenantRow) -> Reference:
    return justification_rules.check(
        why.purpose,
        why.reference,
        why.reason,
        reference_pattern=tenant.reference_pattern,
        find_personal_data=scan.find_personal_data,
    )


def _covers(facts: Facts, operation: Operation, list_id: str, subject: str) -> bool:
    """Whether what the reference allows includes this. Searching names nobody yet; what is found is decided when it is released."""
    if facts.reference is Reference.ORDER:
        return facts.order_covers
    if facts.reference is Reference.JOB:
        return facts.lists in {"", list_id}
    if facts.people is not None and operation is not Operation.FIND:
        return subject in facts.people
    if facts.request is None:
        return True
    return operation.value in facts.request.operations and facts.request.list_id in {"", list_id}


def _child(name: str, collection: str, tenant: str) -> str:
    """Id of a resource of this tenant; empty for another tenant's, which then does not resolve."""
    try:
        parsed = names.parse_child(name, collection)
    except InvalidArgumentError:
        return ""
    return parsed.id if parsed.tenant == tenant else ""


def _agreement(vault: Vault, attempt: Attempt, tenant: TenantRow, now: datetime) -> str:
    """Standing of the agreement with the affiliate for its own services, of the tenant's for everybody else (L7)."""
    roles = [vault.catalogue.roles[name] for name in attempt.caller.roles & vault.catalogue.roles.keys()]
    is_affiliate = any(role.other_entity for role in roles)
    ends = tenant.affiliate_agreement_expire_time if is_affiliate else tenant.agreement_expire_time
    if ends is None:
        return NO_AGREEMENT
    return "expired" if ends <= now else "in-force"


async def _check_reviews(connection: Connection, attempt: Attempt, tenant: TenantRow, now: datetime) -> None:
    if _INVESTIGATOR in attempt.caller.roles and await incident_store.overdue_reviews(
        connection, tenant.tenant_id, attempt.caller.principal, now
    ):
        raise PermissionDeniedError("ROLE_SUSPENDED", "access under an incident was not reviewed in time", rule="review:overdue")


async def gather_nda(connection: Connection, attempt: Attempt, now: datetime) -> bool:
    """Whether the confidentiality agreement of the caller is in force; services need none (P3.7-nda)."""
    caller = attempt.caller
    if caller.kind != "person":
        return True
    return caller.principal in await registers.valid_ndas(connection, [caller.principal], now)
