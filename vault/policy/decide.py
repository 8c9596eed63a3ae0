"""May this caller do this, for this purpose, now? A decision is a value with a reason, so that a refusal can be recorded before it is raised.

Rules:
- Deny by default: only a grant of the catalogue allows, and any guard refuses. Cedar decides; nothing here can turn its no into a yes.
- The order of checks is fixed: affiliate, role, device, services only, product, level, reason that it is kept for, purpose, view,
  recipient, justification, confidentiality agreement, consent basis, restriction, content level switched on. When several refuse, the earliest
  speaks, so a later check never leaks past an earlier one.
- The answer depends on the question and on the catalogue alone, so it is remembered per question; a new catalogue is a new `Policy`, and the
  memory goes with the old one.

Not here: gathering the facts of a question, recording the answer, per-principal budgets. No I/O after construction.
"""

import functools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import cedarpy

from vault.catalogue.document import CatalogueError
from vault.catalogue.model import Catalogue, Category, ConsentBasis, Grant, Operation, View
from vault.errors import FailedPreconditionError, InvalidArgumentError, PermissionDeniedError, VaultError
from vault.policy.compiled import GUARDS_FILE, Check, PolicySource, RefusalKind, compile_policies, packaged_source

__all__ = ["Allowed", "Operation", "Policy", "Question", "Reference", "RefusalKind", "Refused", "View"]

# Distinct questions are few (roles × categories × purposes in use); the bound only stops a caller who invents them.
_MEMORY = 8192


class Reference(StrEnum):
    """What kind of thing a justification refers to."""

    NONE = "none"
    TICKET = "ticket"
    CUSTOMER_REQUEST = "customer-request"
    INCIDENT = "incident"
    ORDER = "order"
    SUBJECT_REQUEST = "subject-request"
    JOB = "job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything that an answer depends on.

    Attributes:
        roles: roles of the caller, from configuration or claims.
        actor_kind: `service`, `person` or `upkeep`; whatever is unknown counts as a person.
        level: content level of the record; empty where the category has none.
        products: products the caller works for; None for all of them.
        recipient: class of the recipient.
        reference: kind of the reference that was given.
        reference_live: whether it resolves and is in force.
        reference_waiting: whether it resolves and waits: an incident for its approval, a person's request for their identity.
        reference_expired: whether it resolves and its time is over.
        reference_covers: whether the customer request includes this list and action, the job this list, the order this record, the incident or
            the person's request this person.
        incident_kind: kind of the incident that the reference names.
        third_party_consent: whether everybody concerned consented to the third party that receives.
        agreement: standing of the processing agreement that counts: `in-force`, `expired` or `none`.
        minor: whether a party of the record is a minor.
        preference: what the person chose about being written to: `in`, `out` or `none`.
        nda_valid: whether a person's confidentiality agreement is in force.
        device_unmanaged: whether a person works at a device that is not managed.
        restricted: whether a party of the record is restricted.
        ended: whether the customer's contract has ended.
        affiliate_part: whether the record is of the part of its category that goes to the affiliate; nothing where all of it does or none.
        justified: whether a justification was given and is sound.
    """

    operation: Operation
    category: str
    roles: frozenset[str]
    actor_kind: str
    purpose: str
    level: str = ""
    products: frozenset[str] | None = None
    view: View = View.MASKED
    recipient: str = "internal"
    reference: Reference = Reference.NONE
    reference_live: bool = False
    reference_waiting: bool = False
    reference_expired: bool = False
    reference_covers: bool = False
    incident_kind: str = ""
    third_party_consent: bool = False
    agreement: str = "none"
    minor: bool = False
    preference: str = "none"
    nda_valid: bool = False
    device_unmanaged: bool = False
    restricted: bool = False
    ended: bool = False
    affiliate_part: bool = False
    justified: bool = False


@dataclass(frozen=True, slots=True)
class Allowed:
    """Yes, and by which grant, on which basis, up to which view."""

    rule: str
    consent_basis: str
    policy_version: str
    view: View


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and why: the reason of the earliest check that failed."""

    reason: str
    kind: RefusalKind
    rule: str
    message: str
    policy_version: str

    def error(self) -> VaultError:
        """The refusal as the error to raise, once it is recorded."""
        leaf: type[VaultError]
        match self.kind:
            case RefusalKind.PERMISSION_DENIED:
                leaf = PermissionDeniedError
            case RefusalKind.FAILED_PRECONDITION:
                leaf = FailedPreconditionError
            case RefusalKind.INVALID_ARGUMENT:
                leaf = InvalidArgumentError
        field = "justification.reason" if self.reason == "JUSTIFICATION_REQUIRED" else None
        return leaf(self.reason, self.message, field=field, rule=self.rule, policy_version=self.policy_version)


class Policy:
    """The decision function of one catalogue.

    Args:
        catalogue: grants, purposes, roles.
        source: guards and schema; the packaged ones unless told.
    Raises:
        CatalogueError: CATALOGUE_INVALID.
    """

    def __init__(self, catalogue: Catalogue, source: PolicySource | None = None) -> None:
        self._catalogue = catalogue
        self._version = catalogue.policy_version
        self._compiled = compile_policies(catalogue, source or packaged_source())
        self._places = {name: place for place, name in enumerate(self._compiled.grants)}
        self._remembered = functools.lru_cache(_MEMORY)(self._evaluate)
        self._parsed = functools.lru_cache(_MEMORY // 8)(self._parse)

    @property
    def guards(self) -> tuple[str, ...]:
        """Names of the guards, in the order in which they speak."""
        return tuple(sorted(self._compiled.guards, key=lambda name: self._compiled.guards[name].order))

    def decide(self, question: Question) -> Allowed | Refused:
        """Answer a question.

        Raises:
            CatalogueError: CATALOGUE_INVALID, a policy failed while it was evaluated; nothing is allowed then.
        """
        return self._remembered(question)

    def refuse_listing(self, category: str, level: str, roles: frozenset[str], products: frozenset[str] | None = None) -> Refused | None:
        """Why the metadata of records is closed to the roles; None if a grant lets them list such records.

        Metadata is read without a justification, so nothing that a purpose would have to prove is asked for. Lists stay closed to those who
        touch them at the customer's request only (P3.2.1-rep): being in a list is personal data by itself (P3.2-exp-contact). The lock of the
        product holds as it does for values (P3.4-usage), and speaks after the role.

        Args:
            category: the category of the record.
            level: its content level; empty where the category has none.
            roles: roles of the caller.
            products: products the caller works for; None for all of them.
        """
        known = self._catalogue.category(category)
        held = [self._catalogue.roles[name] for name in roles & self._catalogue.roles.keys()]
        if known.is_list and any(role.on_request for role in held):
            return self._refused(self._compiled.guards["guard:customer-request"])
        grants = [grant for grant in known.grants if Operation.LIST in grant.operations and level in (grant.levels or {""})]
        if not any(grant.roles & roles for grant in grants):
            return self._refused(_ROLE)
        is_open = products is None or bool(known.products & products)
        return None if is_open else self._refused(self._compiled.guards["guard:product-lock"])

    def _evaluate(self, question: Question) -> Allowed | Refused:
        category = self._catalogue.categories.get(question.category)
        if category is None:
            return self._refused(_ROLE)
        result = cedarpy.is_authorized(self._request(question), self._compiled.policies, self._entities(question))
        if result.diagnostics.errors:
            raise CatalogueError("cedar-evaluation", "a policy could not be evaluated", file=GUARDS_FILE)
        rules: Iterable[str] = result.diagnostics.id_annotations_by_reason.values()
        if result.allowed:
            return Allowed(
                rule=min(rules, key=self._places.__getitem__),
                consent_basis=self._consent_basis(question, category),
                policy_version=self._version,
                view=question.view,
            )
        return self._refused(*(self._compiled.guards[rule] for rule in rules), _missing_grant(category.grants, question))

    def _request(self, question: Question) -> dict[str, object]:
        return {
            "principal": {"type": "Caller", "id": "caller"},
            "action": {"type": "Action", "id": question.operation.value},
            "resource": {"type": "Category", "id": question.category},
            "context": {
                "purpose": question.purpose,
                "basis": self._basis(question),
                "level": question.level,
                "products": sorted(self._catalogue.products if question.products is None else question.products),
                "view": question.view.value,
                "recipient": question.recipient,
                "reference": question.reference.value,
                "reference_live": question.reference_live,
                "reference_waiting": question.reference_waiting,
                "reference_expired": question.reference_expired,
                "reference_covers": question.reference_covers,
                "incident_kind": question.incident_kind,
                "third_party_consent": question.third_party_consent,
                "agreement": question.agreement,
                "minor": question.minor,
                "preference": question.preference,
                "justified": question.justified,
                "restricted": question.restricted,
                "ended": question.ended,
                "affiliate_part": question.affiliate_part,
            },
        }

    def _entities(self, question: Question) -> cedarpy.Entities:
        return self._parsed(question.category, question.roles, question.actor_kind, question.nda_valid, question.device_unmanaged)

    def _parse(self, name: str, roles: frozenset[str], actor_kind: str, nda_valid: bool, device_unmanaged: bool) -> cedarpy.Entities:
        """Caller and category; parsed once for all that is asked about the two."""
        category = self._catalogue.categories[name]
        held = [self._catalogue.roles[role] for role in sorted(roles) if role in self._catalogue.roles]
        caller = {
            "kind": actor_kind,
            "nda_valid": nda_valid,
            "unmanaged": device_unmanaged,
            "on_request": any(role.on_request for role in held),
            "other_entity": any(role.other_entity for role in held),
            "for_jobs": any(role.for_jobs for role in held),
        }
        about = {
            "is_list": category.is_list,
            "affiliate": category.shared_with_affiliate,
            "service_only": category.service_only,
            "products": sorted(category.products),
            "unretained": sorted(level.name for level in category.levels.values() if not level.retained),
            "outlives": category.outlives,
            "kept_for": sorted(category.kept_for),
        }
        parents = [{"type": "Role", "id": role.name} for role in held]
        return cedarpy.Entities.from_json_str(
            json.dumps(
                [
                    {"uid": {"type": "Caller", "id": "caller"}, "attrs": caller, "parents": parents},
                    {"uid": {"type": "Category", "id": category.name}, "attrs": about, "parents": []},
                ]
            )
        )

    def _basis(self, question: Question) -> str:
        purpose = self._catalogue.purposes.get(question.purpose)
        return purpose.basis_at(question.level).value if purpose else ""

    def _consent_basis(self, question: Question, category: Category) -> str:
        """The basis that an allowed question rests on: what stands by itself, or the kind of reference that the guards required."""
        asked_for = category.is_list and any(
            self._catalogue.roles[name].on_request for name in question.roles & self._catalogue.roles.keys()
        )
        basis = self._basis(question)
        return basis if ConsentBasis(basis).is_standing and not asked_for else question.reference.value

    def _refused(self, *checks: Check | None) -> Refused:
        """The earliest check speaks. None at all would mean that Cedar and the explanation disagree: still a no."""
        first = min((check for check in checks if check), key=lambda check: check.order, default=_ROLE)
        return Refused(first.reason, first.kind, first.id, first.message, self._version)


def _missing_grant(grants: Iterable[Grant], question: Question) -> Check | None:
    """What the grants lack to allow a question: Cedar's default no, explained.

    The grants are narrowed step by step; the step that leaves none is the answer. This only words a refusal that Cedar has given already.
    """
    left = [grant for grant in grants if question.operation in grant.operations]
    for check, admits in _STEPS:
        left = [grant for grant in left if admits(grant, question)]
        if not left:
            return check
    return None


def _denied(step: str, order: int, reason: str, message: str) -> Check:
    return Check(f"default-deny:{step}", order, reason, RefusalKind.PERMISSION_DENIED, message)


_ROLE = _denied("role", 10, "ROLE_NOT_ALLOWED", "no role of the caller may do this with the category")
_STEPS: tuple[tuple[Check, Callable[[Grant, Question], bool]], ...] = (
    (_ROLE, lambda grant, question: bool(grant.roles & question.roles)),
    (
        _denied("level", 20, "LEVEL_NOT_ALLOWED", "the role may not do this at that content level"),
        lambda grant, question: question.level in (grant.levels or {""}),
    ),
    (
        _denied("purpose", 30, "PURPOSE_NOT_ALLOWED", "the role may not do this for that purpose"),
        lambda grant, question: question.purpose in grant.purposes,
    ),
    (
        _denied("view", 40, "VIEW_NOT_ALLOWED", "the full view is not granted"),
        lambda grant, question: grant.view is View.FULL or question.view is View.MASKED,
    ),
    (
        _denied("recipient", 60, "RECIPIENT_NOT_ALLOWED", "what is granted may not go to that recipient"),
        lambda grant, question: question.recipient in grant.recipients,
    ),
)
