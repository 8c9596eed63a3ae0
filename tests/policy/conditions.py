"""What must be in order besides a grant: the second statement of the conditions, written from the requirements and never from the guards.

Each condition says when it is asked for and what meets it; the first that is not met is the answer. `cells` gives every granted cell that a
condition could tell from another, `worlds` every state of the facts that conditions look at.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tests.policy.matrix import RELEASING, Given, Place, Table
from vault.catalogue.model import Operation
from vault.policy.decide import Question, Reference

# Codes of requirements §0.
LISTS = {"C01", "C02", "C03"}
STAFF = {"AM", "SUP"}
ENGINE = "ENG"
AFFILIATE = "AFF"
# What the law and people themselves ask for goes on without an agreement with the tenant.
NOT_STOPPED = {"CLM", "CRT", "DSR"}
READING = {Operation.REVEAL, Operation.RESOLVE}
# P3.8, §2B: what goes when the contract ends, what hangs on none, and what is also kept to keep in touch; everything else is kept for (a) and (b).
GONE = {"C01", "C02", "C03", "C04", "C09", "C19", "C21", "C23"}
NO_CONTRACT = {"C17", "C20", "C22", "C31"}
FORMER = "C24"
REASONS_OF_PURPOSE = {"CLM": {"a", "b"}, "CRT": {"b"}, "KIT": {"c"}}
INCIDENT_KINDS = ("SECURITY", "TECHNICAL", "FRAUD")
KIND_OF_PURPOSE = {"FRA": "FRAUD", "SECI": "SECURITY"}


@dataclass(frozen=True, slots=True)
class Cell:
    """A place of the table, one of the roles it names, and what that role is given there; `only_after` for what differs after the contract only."""

    place: Place
    role: str
    given: Given
    only_after: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A cell and one state of the facts."""

    cell: Cell
    question: Question


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: whether it is asked for in a cell, what meets it, and what is answered where nothing does."""

    requirement: str
    asked: Callable[[Case], bool]
    met: Callable[[Case], bool]
    reason: str


def on_request(cell: Cell) -> bool:
    return cell.place.purpose == "CRQ" or (cell.place.code in LISTS and cell.role in STAFF)


def about_a_fault(cell: Cell) -> bool:
    """A3: a fault is looked into under a ticket or an incident, but for the system logs."""
    return cell.place.purpose == "TEC" and cell.place.level != "system-log"


def kept_for(code: str) -> set[str]:
    """P3.8-reasons: (a) enquiries and complaints, (b) authority and claims, (c) keeping in touch."""
    if code in GONE | NO_CONTRACT:
        return set()
    return {"a", "b", "c"} if code == FORMER else {"b"} if code in {"C29", "C30"} else {"a", "b"}


def goes_on_after_the_contract(case: Case) -> bool:
    """Rights go on, the customer may take its data, and everything else needs a reason that is one of the record's."""
    place = case.cell.place
    is_return = place.purpose == "CRQ" and place.operation is Operation.EXPORT
    return place.purpose == "DSR" or is_return or bool(REASONS_OF_PURPOSE.get(place.purpose, set()) & kept_for(place.code))


def under_an_incident(case: Case) -> bool:
    investigates = case.cell.place.purpose in KIND_OF_PURPOSE or about_a_fault(case.cell)
    return investigates and case.question.reference is Reference.INCIDENT and found(case.question)


def found(question: Question) -> bool:
    """Whether what is referred to exists, in force or not."""
    return question.reference_live or question.reference_waiting or question.reference_expired


def live(question: Question, kind: Reference) -> bool:
    return question.reference is kind and question.reference_live


# In the order in which they speak.
CONDITIONS = (
    Condition(
        "P3.8-reasons: what is kept after the contract is used for the reasons it is kept for",
        lambda case: case.question.ended and case.cell.place.code not in NO_CONTRACT,
        goes_on_after_the_contract,
        "REASON_MISMATCH",
    ),
    Condition(
        "P1.7-no3p: a third party receives what everybody concerned consented to",
        lambda case: case.question.recipient == "third-party",
        lambda case: case.question.third_party_consent,
        "THIRD_PARTY_CONSENT_REQUIRED",
    ),
    Condition(
        "L7: the affiliate works under an agreement",
        lambda case: case.cell.role == AFFILIATE,
        lambda case: case.question.agreement != "none",
        "AGREEMENT_REQUIRED",
    ),
    Condition(
        "L7: what the agreement was for stops when it has run out",
        lambda case: case.cell.role == AFFILIATE or case.cell.place.purpose not in NOT_STOPPED,
        lambda case: case.question.agreement != "expired",
        "AGREEMENT_EXPIRED",
    ),
    Condition(
        "§2B: nobody advertises to minors",
        lambda case: case.cell.place.purpose == "MKTG",
        lambda case: not case.question.minor,
        "MINOR_PROTECTED",
    ),
    Condition(
        "P1.7-no3p: what is released goes where the row says",
        lambda _: True,
        lambda case: case.question.recipient in case.cell.given.recipients,
        "RECIPIENT_NOT_ALLOWED",
    ),
    Condition(
        "P3.5-send: the engine reads a list for a scheduled job with that list",
        lambda case: case.cell.role == ENGINE and case.cell.place.code in LISTS and case.cell.place.operation in READING,
        lambda case: live(case.question, Reference.JOB) and case.question.reference_covers,
        "JOB_REQUIRED",
    ),
    Condition(
        "P3.2.1-rep: staff touch lists at the customer's request",
        lambda case: on_request(case.cell),
        lambda case: live(case.question, Reference.CUSTOMER_REQUEST),
        "CUSTOMER_REQUEST_REQUIRED",
    ),
    Condition(
        "P3.2.1-rep: and as far as it goes",
        lambda case: on_request(case.cell),
        lambda case: case.question.reference_covers,
        "OUT_OF_REQUEST",
    ),
    Condition(
        "P3.6-order: what the law demands has an approved order",
        lambda case: case.cell.place.purpose == "CRT",
        lambda case: live(case.question, Reference.ORDER),
        "ORDER_REQUIRED",
    ),
    Condition(
        "N2: and as far as it goes",
        lambda case: case.cell.place.purpose == "CRT",
        lambda case: case.question.reference_covers,
        "SCOPE_EXCEEDED",
    ),
    Condition(
        "P3.6-fraud, P3.6-sectech: investigators have an incident of their kind",
        lambda case: case.cell.place.purpose in KIND_OF_PURPOSE,
        lambda case: (
            case.question.reference is Reference.INCIDENT
            and found(case.question)
            and case.question.incident_kind == KIND_OF_PURPOSE[case.cell.place.purpose]
        ),
        "INCIDENT_REQUIRED",
    ),
    Condition(
        "P3.6-fraud: that a second person approved",
        under_an_incident,
        lambda case: not case.question.reference_waiting,
        "APPROVALS_MISSING",
    ),
    Condition(
        "P3.6-fraud: whose time is not over", under_an_incident, lambda case: not case.question.reference_expired, "INCIDENT_EXPIRED"
    ),
    Condition("P3.6-fraud: and that names the person", under_an_incident, lambda case: case.question.reference_covers, "OUT_OF_INCIDENT"),
    Condition(
        "P3.5-enable, P3.8-reasons: a question or a complaint has a ticket",
        lambda case: case.cell.place.purpose in {"CON", "CLM"},
        lambda case: live(case.question, Reference.TICKET),
        "CONSENT_BASIS_MISSING",
    ),
    Condition(
        "A3: a fault has a ticket or an incident",
        lambda case: about_a_fault(case.cell),
        lambda case: live(case.question, Reference.TICKET) or live(case.question, Reference.INCIDENT),
        "CONSENT_BASIS_MISSING",
    ),
    Condition(
        "P2.7-rights: a right is used by an open request of that person",
        lambda case: case.cell.place.purpose == "DSR",
        lambda case: (
            case.question.reference is Reference.SUBJECT_REQUEST
            and (case.question.reference_live or case.question.reference_waiting)
            and case.question.reference_covers
        ),
        "CONSENT_BASIS_MISSING",
    ),
    Condition(
        "P2.7-rights, L28: whose identity is known",
        lambda case: case.cell.place.purpose == "DSR",
        lambda case: not case.question.reference_waiting,
        "IDENTITY_NOT_VERIFIED",
    ),
    Condition(
        "A10, L18: adverts go to whom said yes",
        lambda case: case.cell.place.purpose == "MKTG" and case.cell.place.operation in RELEASING,
        lambda case: case.question.preference == "in",
        "CONSENT_BASIS_MISSING",
    ),
    Condition(
        "A22: whoever said no is not kept in touch with",
        lambda case: case.cell.place.purpose == "KIT" and case.cell.place.operation in RELEASING,
        lambda case: case.question.preference != "out",
        "CONSENT_BASIS_MISSING",
    ),
)


def unmet(case: Case) -> Condition | None:
    """The first condition that is not met."""
    return next((condition for condition in CONDITIONS if condition.asked(case) and not condition.met(case)), None)


def answer(case: Case) -> str:
    """What the requirements answer: the reason of the first condition that is not met, or `ALLOWED`."""
    condition = unmet(case)
    return condition.reason if condition else "ALLOWED"


def cells(table: Table) -> list[Cell]:
    """One granted cell of each kind that any condition could tell apart: every purpose, with and without lists, per kind of role and operation."""
    kinds: dict[tuple[object, ...], Cell] = {}
    for place, row in table.items():
        if place.operation is Operation.CREATE and place.level == "report":
            continue  # Off until the tenant switches it on; a matter of the category and of no condition here.
        for role, given in row.items():
            caller = role if role in {ENGINE, AFFILIATE} else "staff" if role in STAFF else "other"
            does = place.operation if place.operation in RELEASING else "other"
            kind = (place.purpose, place.level == "system-log", place.code in LISTS, caller, does)
            kinds.setdefault(kind, Cell(place, role, given))
            after = (place.purpose, place.code in NO_CONTRACT, *sorted(kept_for(place.code)), place.operation is Operation.EXPORT)
            kinds.setdefault(("after", *after), Cell(place, role, given, only_after=True))
    return list(kinds.values())


def worlds(cell: Cell, sound: Question) -> Iterator[Question]:
    """Every state of the facts that conditions look at, the rest being in order."""
    recipients: list[Mapping[str, Any]] = [{}]
    if cell.place.operation in RELEASING:
        recipients += [{"recipient": "third-party", "third_party_consent": consent} for consent in (False, True)]
    for reference, agreement, minor, preference, recipient in product(
        [] if cell.only_after else references(), ("in-force", "expired", "none"), (False, True), ("in", "out", "none"), recipients
    ):
        yield replace(sound, **{**reference, "agreement": agreement, "minor": minor, "preference": preference, **recipient})
    # It speaks before all others, so one state of each reference is enough.
    for reference in references():
        yield replace(sound, **reference, ended=True)


def references() -> list[Mapping[str, Any]]:
    """Every reference: its kind, whether it is in force, waits, is over or does not exist, whether it covers, and the kind of an incident."""
    states = [
        {f"reference_{state}": state == now for state in ("live", "waiting", "expired")} for now in ("live", "waiting", "expired", "")
    ]
    return [
        {"reference": reference, "reference_covers": covers, "incident_kind": kind, **state}
        for reference in Reference
        for kind in (INCIDENT_KINDS if reference is Reference.INCIDENT else ("",))
        for covers in (True, False)
        for state in states
        if reference is not Reference.NONE or not (state["reference_waiting"] or state["reference_expired"])
    ]
