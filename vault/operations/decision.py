"""From a call to an answer of the policy: gather the facts once, then decide per record.

The facts need the database (does the reference resolve, is the agreement in force); the decision itself is `policy.decide` and needs nothing.
"""

from dataclasses import dataclass
from datetime import datetime

from vault import names, scan
from vault.errors import InvalidArgumentError
from vault.operations.attempt import Attempt, Justification
from vault.operations.core import Vault
from vault.policy import justification as justification_rules
from vault.policy.decide import Allowed, Operation, Question, Reference, Refused, View
from vault.store import orders as order_store
from vault.store import registers
from vault.store.database import Connection
from vault.store.registers import CustomerRequestRow
from vault.store.tenants import TenantRow

INTERNAL = "internal"


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
    """

    reference: Reference
    live: bool
    request: CustomerRequestRow | None
    nda_valid: bool
    justified: bool
    order_covers: bool = False


async def gather(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow, *, required: bool = True) -> Facts:
    """Look at what the justification refers to.

    Args:
        vault: the vault.
        connection: an open transaction.
        attempt: carries the caller and the justification.
        tenant: the tenant, whose ticket pattern counts.
        required: whether the call must be justified; storing needs a purpose only.
    Raises:
        InvalidArgumentError: UNKNOWN_PURPOSE, JUSTIFICATION_REQUIRED, PII_IN_JUSTIFICATION, REFERENCE_INVALID.
    """
    why = attempt.justification
    vault.catalogue.purpose(why.purpose)
    reference = _check(why, tenant) if required or why.reason else Reference.NONE
    attempt.is_justified = True
    now = vault.clock()
    live, request = True, None
    if reference is Reference.CUSTOMER_REQUEST:
        name = _child(why.reference, "customerRequests", tenant.tenant_id)
        request = await registers.get_customer_request(connection, tenant.tenant_id, name) if name else None
        live = request is not None and request.close_time is None and request.expire_time > now
    elif reference is Reference.ORDER:
        name = _child(why.reference, "orders", tenant.tenant_id)
        order = await order_store.get_order(connection, tenant.tenant_id, name) if name else None
        live = order is not None and order.state in {"APPROVED", "FULFILLED"} and order.expire_time > now
    elif reference in {Reference.INCIDENT, Reference.SUBJECT_REQUEST, Reference.JOB}:
        live = False  # their registers are not built yet: what cannot be looked up does not hold (I9)
    return Facts(reference, live, request, await gather_nda(connection, attempt, now), justified=True)


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
) -> Allowed | Refused:
    """Ask the policy about one category, level and list under the facts of the call."""
    caller = attempt.caller
    return vault.policy.decide(
        Question(
            operation=operation,
            category=category,
            roles=caller.roles,
            actor_kind=caller.kind,
            purpose=attempt.justification.purpose,
            level=level,
            view=view,
            recipient=recipient,
            reference=facts.reference,
            reference_live=facts.live,
            reference_covers=_covers(facts, operation, list_id),
            nda_valid=facts.nda_valid,
            restricted=restricted,
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
) -> Allowed:
    """Decide, note the determining rule in the attempt, and raise if refused.

    Raises:
        VaultError: the refusal, with the reason of the earliest check that failed.
    """
    attempt.operation, attempt.category = operation.value, category
    decision = decide(vault, attempt, facts, operation=operation, category=category, level=level, list_id=list_id, restricted=restricted)
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


def _covers(facts: Facts, operation: Operation, list_id: str) -> bool:
    """Whether what the reference allows includes this."""
    if facts.reference is Reference.ORDER:
        return facts.order_covers
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


async def gather_nda(connection: Connection, attempt: Attempt, now: datetime) -> bool:
    """Whether the confidentiality agreement of the caller is in force; services need none (P3.7-nda)."""
    caller = attempt.caller
    if caller.kind != "person":
        return True
    return caller.principal in await registers.valid_ndas(connection, [caller.principal], now)
