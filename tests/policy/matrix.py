"""The second, independent statement of the rules, and how the policy is asked for each of its cells.

`matrix.csv` is written by hand from requirements §2B. A cell is one role, operation, category and level, purpose and view; the recipient is the
one that the operation has, and for cells that are granted every recipient is asked for.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vault.catalogue.model import Catalogue, Operation, View
from vault.policy.decide import Allowed, Policy, Question, Reference, Refused

CODES = Path(__file__).with_name("matrix.csv")
RELEASING = (Operation.REVEAL, Operation.RESOLVE, Operation.EXPORT)
RECIPIENTS = ("internal", "tenant", "affiliate", "data-subject", "authority")
# What a purpose has to refer to (A3 and §1); nothing for those that rest on the contract or the law.
REFERENCES = {
    "CON": Reference.TICKET,
    "TEC": Reference.TICKET,
    "CLM": Reference.TICKET,
    "SECI": Reference.INCIDENT,
    "FRA": Reference.INCIDENT,
    "CRT": Reference.ORDER,
    "CRQ": Reference.CUSTOMER_REQUEST,
    "DSR": Reference.SUBJECT_REQUEST,
}
# A10, A22: granted, and closed all the same until a person's own choice is on record.
BY_PREFERENCE = {"MKTG", "KIT"}
# P3.2-lvl-rep: granted, and off until the tenant switches it on.
SWITCHED_OFF = {("C06", "report"), ("C10", "report")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule applies."""

    code: str
    level: str
    operation: Operation
    purpose: str


@dataclass(frozen=True, slots=True)
class Given:
    """What a role may have there: the most that is shown, and to whom."""

    view: View
    recipients: frozenset[str]


Table = Mapping[Place, Mapping[str, Given]]


def expected() -> Table:
    """The rules of `matrix.csv`, by place and role.

    Raises:
        ValueError: two rows speak of the same role at the same place.
    """
    table: dict[Place, dict[str, Given]] = defaultdict(dict)
    lines = [line for line in CODES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        for level in row["level"].split() or [""]:
            for operation in row["operations"].split():
                # Nothing leaves by the others, so there is one view and nobody but the caller.
                releases = operation in RELEASING
                given = Given(View(row["view"]) if releases else View.MASKED, frozenset(row["recipients"].split()))
                for purpose in row["purpose"].split():
                    for role in row["roles"].split():
                        place = Place(row["code"], level, Operation(operation), purpose)
                        if role in table[place]:
                            raise ValueError(f"{place} {role} stands there twice")
                        table[place][role] = given
    return table


class Asker:
    """Asks the policy about cells by their codes."""

    def __init__(self, catalogue: Catalogue, policy: Policy) -> None:
        self._policy = policy
        self.roles = {role.code: role.name for role in catalogue.roles.values()}
        self.purposes = {purpose.code: purpose.name for purpose in catalogue.purposes.values()}
        self.categories = {category.code: category for category in catalogue.categories.values()}

    def places(self) -> Iterator[Place]:
        """Every place there is."""
        for code, category in self.categories.items():
            for level in category.levels or [""]:
                for operation in Operation:
                    for purpose in self.purposes:
                        yield Place(code, level, operation, purpose)

    def question(self, place: Place, roles: frozenset[str], view: View, recipient: str) -> Question:
        """A question in which everything but the grant is in order."""
        return Question(
            operation=place.operation,
            category=self.categories[place.code].name,
            roles=frozenset(self.roles[role] for role in roles),
            actor_kind="service",
            purpose=self.purposes[place.purpose],
            level=place.level,
            view=view,
            recipient=recipient,
            reference=REFERENCES.get(place.purpose, Reference.NONE),
            reference_live=True,
            reference_covers=True,
            nda_valid=True,
            affiliate_part=True,
            justified=True,
        )

    def grants(self, place: Place, roles: frozenset[str], view: View, recipient: str) -> bool:
        """Whether a grant says yes, and nothing but what is known to stand in its way says no."""
        decision = self._policy.decide(self.question(place, roles, view, recipient))
        if isinstance(decision, Allowed):
            return place.purpose not in BY_PREFERENCE
        return self._stands_in_the_way(place, decision)

    @staticmethod
    def _stands_in_the_way(place: Place, refused: Refused) -> bool:
        if place.purpose in BY_PREFERENCE:
            return refused.rule == "guard:known-basis"
        off = place.operation is Operation.CREATE and (place.code, place.level) in SWITCHED_OFF
        return off and refused.rule == "guard:content-not-retained"


def views(operation: Operation) -> tuple[View, ...]:
    return tuple(View) if operation in RELEASING else (View.MASKED,)


def usual_recipients(operation: Operation, role: str) -> tuple[str, ...]:
    """Who receives, where no rule says so: an export is for the person or the authority, and the affiliate receives as the affiliate."""
    if role == "AFF":
        return ("affiliate",)
    return ("data-subject", "authority") if operation is Operation.EXPORT else ("internal",)


def single(catalogue: Catalogue, category: str) -> Catalogue:
    """The catalogue with one category, so that it compiles in no time; a decision hangs on no other category."""
    return replace(catalogue, categories={category: catalogue.categories[category]})
