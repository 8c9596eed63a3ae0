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
RECIPIENTS = ("internal", "tenant", "affiliate", "data-subject", "authority", "third-party")
# What a purpose has to refer to (A3 and §1); a job for those that rest on the contract or the law, since the engine reads lists for one.
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
# P3.6-fraud, P3.6-sectech: the kind of incident that a purpose is about.
INCIDENTS = {"SECI": "SECURITY", "FRA": "FRAUD"}
# Roles that guards treat alike can be asked about together where none of them is granted anything: a permit for one of them would be one for all.
# The affiliate's role, those that touch lists on request and the engine that reads them for jobs are asked about apart.
APART = (frozenset({"AFF"}), frozenset({"AM", "SUP"}), frozenset({"ENG"}))
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
    """The rules of `matrix.csv`."""
    return rules(CODES.read_text(encoding="utf-8"))


def rules(text: str) -> Table:
    """The rules of a table, by place and role.

    Raises:
        ValueError: two rows speak of the same role at the same place.
    """
    table: dict[Place, dict[str, Given]] = defaultdict(dict)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
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
        """A question in which everything but the grant is in order: references hold, agreements run, everybody said yes, nobody is a minor."""
        return Question(
            operation=place.operation,
            category=self.categories[place.code].name,
            roles=frozenset(self.roles[role] for role in roles),
            actor_kind="service",
            purpose=self.purposes[place.purpose],
            level=place.level,
            view=view,
            recipient=recipient,
            reference=REFERENCES.get(place.purpose, Reference.JOB),
            reference_live=True,
            reference_covers=True,
            incident_kind=INCIDENTS.get(place.purpose, ""),
            agreement="in-force",
            preference="in",
            nda_valid=True,
            affiliate_part=True,
            third_party_consent=True,
            justified=True,
        )

    def grants(self, place: Place, roles: frozenset[str], view: View, recipient: str) -> bool:
        """Whether a grant says yes, and nothing but what is known to stand in its way says no."""
        decision = self._policy.decide(self.question(place, roles, view, recipient))
        if isinstance(decision, Allowed):
            return True
        return self._stands_in_the_way(place, decision)

    @staticmethod
    def _stands_in_the_way(place: Place, refused: Refused) -> bool:
        off = place.operation is Operation.CREATE and (place.code, place.level) in SWITCHED_OFF
        return off and refused.rule == "guard:content-not-retained"


def views(operation: Operation) -> tuple[View, ...]:
    return tuple(View) if operation in RELEASING else (View.MASKED,)


def usual_recipients(operation: Operation, role: str) -> tuple[str, ...]:
    """Who receives, where no rule says so: an export is for the person or the authority, and the affiliate receives as the affiliate."""
    if role == "AFF":
        return ("affiliate",)
    return ("data-subject", "authority") if operation is Operation.EXPORT else ("internal",)


def groups(roles: frozenset[str]) -> Iterator[frozenset[str]]:
    yield from filter(None, (*(roles & apart for apart in APART), roles.difference(*APART)))


def as_given(ask: Asker, place: Place, role: str, given: Given, view: View) -> bool:
    """Whether a role that a row names gets what the row says, and to nobody else than it says."""
    seen = view is View.MASKED or given.view is View.FULL
    asked = RECIPIENTS if place.operation in RELEASING else ("internal",)
    return all(
        ask.grants(place, frozenset({role}), view, recipient)
        == (seen and recipient in given.recipients and (recipient == "affiliate") <= (role == "AFF"))
        for recipient in asked
    )


def differences(ask: Asker, table: Table) -> tuple[int, list[str]]:
    """How many cells the asker's categories have, and those in which it answers otherwise than the table."""
    cells, wrong = 0, []
    for place in ask.places():
        row = table.get(place, {})
        for view in views(place.operation):
            cells += len(ask.roles)
            wrong += [f"{place} {role} {view}" for role, given in row.items() if not as_given(ask, place, role, given, view)]
            for group in groups(frozenset(ask.roles) - row.keys()):
                for recipient in usual_recipients(place.operation, "AFF" if group == {"AFF"} else ""):
                    if ask.grants(place, group, view, recipient):
                        wrong.append(f"{place} {sorted(group)} {view}: granted to somebody, and the table says to none")
    return cells, wrong


def single(catalogue: Catalogue, category: str) -> Catalogue:
    """The catalogue with one category, so that it compiles in no time; a decision hangs on no other category."""
    return replace(catalogue, categories={category: catalogue.categories[category]})
