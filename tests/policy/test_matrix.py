"""The whole matrix – every role, operation, category and level, purpose and view – against a second statement of the rules, and mutations of both."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from tests.policy.matrix import Asker, Place, Table, as_given, differences, expected, single, views
from tests.policy.test_guards import SOURCE, WITNESSES, granting_everything, passes, without
from vault.catalogue.model import Catalogue, Category, Grant, View
from vault.policy.decide import Policy


@pytest.fixture(scope="module")
def table() -> Table:
    return expected()


@pytest.fixture(scope="module")
def askers(catalogue: Catalogue) -> Mapping[str, Asker]:
    return {category.code: asker(catalogue, category.name) for category in catalogue.categories.values()}


def asker(catalogue: Catalogue, name: str) -> Asker:
    alone = single(catalogue, name)
    return Asker(alone, Policy(alone))


def test_the_table_speaks_of_every_category_and_level_and_of_nothing_unknown(catalogue: Catalogue, table: Table) -> None:
    whole = Asker(catalogue, Policy(catalogue))
    spoken = {(place.code, place.level) for place in table}

    assert spoken == {(code, level) for code, category in whole.categories.items() for level in category.levels or [""]}
    assert {place.purpose for place in table} == whole.purposes.keys()
    assert {role for row in table.values() for role in row} == whole.roles.keys() - {"COURIER", "WORK", "SRE"}


def test_every_cell_is_what_the_table_says(askers: Mapping[str, Asker], table: Table) -> None:
    """§2B, P1.6a-authorised, I9: allowed where a row says so, up to its view and to its recipients; refused everywhere else."""
    cells, wrong = 0, list[str]()
    for ask in askers.values():
        asked, differing = differences(ask, table)
        cells, wrong = cells + asked, wrong + differing

    assert not wrong, f"{len(wrong)} of {cells} cells differ: {wrong[:20]}"
    assert cells > 150_000, f"only {cells} cells"


def test_each_grant_and_each_word_of_one_is_missed_when_it_is_gone(catalogue: Catalogue, table: Table) -> None:
    """Each change to a grant changes a cell that the table speaks of; one that changed none would be a grant that nobody needs or nobody tests.

    What a grant gains by mistake is found by the test above, which asks about every cell.
    """
    tried: Counter[str] = Counter()
    unnoticed = []
    for category in catalogue.categories.values():
        alone = single(catalogue, category.name)
        for grant in category.grants:
            for kind, less in lessened(grant):
                tried[kind] += 1
                grants = tuple(less if other is grant else other for other in category.grants)
                changed = replace(category, grants=tuple(filter(None, grants)))
                mutant = replace(alone, categories=MappingProxyType({category.name: changed}))
                if not is_missed(Asker(mutant, Policy(mutant)), category, grant, table):
                    unnoticed.append(f"{category.name} grant {grant.number}: {kind}")

    assert not unnoticed, f"{len(unnoticed)} of {tried.total()} changes go unnoticed: {unnoticed}"
    assert tried["whole"] == sum(len(category.grants) for category in catalogue.categories.values())
    assert tried.total() > 600, f"{tried.total()} changes: {dict(tried)}"


def lessened(grant: Grant) -> Iterator[tuple[str, Grant | None]]:
    """No grant at all, and the grant without each of its words in turn."""
    yield "whole", None
    for operation in grant.operations if len(grant.operations) > 1 else ():
        yield "operation", replace(grant, operations=grant.operations - {operation})
    for role in grant.roles if len(grant.roles) > 1 else ():
        yield "role", replace(grant, roles=grant.roles - {role})
    for purpose in grant.purposes if len(grant.purposes) > 1 else ():
        yield "purpose", replace(grant, purposes=grant.purposes - {purpose})
    for level in grant.levels if len(grant.levels) > 1 else ():
        yield "level", replace(grant, levels=grant.levels - {level})
    for recipient in grant.recipients if len(grant.recipients) > 1 else ():
        yield "recipient", replace(grant, recipients=grant.recipients - {recipient})
    if grant.view is View.FULL:
        yield "view", replace(grant, view=View.MASKED)


def is_missed(ask: Asker, category: Category, grant: Grant, table: Table) -> bool:
    """Whether a cell that the grant was for is not what the table says any more."""
    roles = [code for code, name in ask.roles.items() if name in grant.roles]
    places = [
        Place(category.code, level, operation, purpose)
        for level in grant.levels or [""]
        for operation in grant.operations
        for purpose, name in ask.purposes.items()
        if name in grant.purposes
    ]
    return any(
        not as_given(ask, place, role, table[place][role], view) for place in places for role in roles for view in views(place.operation)
    )


def test_each_guard_is_missed_when_it_is_gone(catalogue: Catalogue) -> None:
    """The questions of the guards are one table of decisions; without any one guard it is another."""
    guarded = Policy(granting_everything(catalogue, SOURCE))
    whole = {name: passes(guarded, question) for name, question in WITNESSES.items()}
    unnoticed = []
    for guard in WITNESSES:
        source = without(guard)
        mutant = Policy(granting_everything(catalogue, source), source)
        if not any(passes(mutant, question) for question in WITNESSES.values()):
            unnoticed.append(guard)

    assert not any(whole.values())
    assert not unnoticed, f"{len(unnoticed)} of {len(WITNESSES)} guards go unnoticed: {unnoticed}"
    assert len(WITNESSES) == 30, f"{len(WITNESSES)} guards"


def test_what_the_lists_of_a_staff_member_need_is_no_matter_of_grants(catalogue: Catalogue, table: Table) -> None:
    """A grant for staff on a list is worth nothing without the customer's request (P3.2.1-rep); the table's rows say CRQ and nothing else."""
    lists = {category.code for category in catalogue.categories.values() if category.is_list}

    staff = {place.purpose for place, row in table.items() if place.code in lists and row.keys() & {"AM", "SUP"}}

    assert lists == {"C01", "C02", "C03"}
    assert staff == {"CRQ"}
