"""What becomes of which records when a contract ends, as the catalogue says (§2B). Pure: no clock, no database."""

from vault.catalogue.model import Catalogue, Category, ContractEnd, HeldAs
from vault.store.terminations import Which

_REPORT = "report"


def ending_as(catalogue: Catalogue, end: ContractEnd) -> list[Which]:
    """Categories that end in one way with the contract, whole."""
    return [Which(category.name) for category in _stored(catalogue) if category.on_contract_end is end]


def gone_after_grace(catalogue: Catalogue) -> list[Which]:
    """What is erased when the grace is over: lists, and content kept for the customer's reports, whatever becomes of the other levels (A24)."""
    reports = [
        Which(category.name, _REPORT)
        for category in _stored(catalogue)
        if category.on_contract_end is ContractEnd.EXPIRES and _REPORT in category.levels
    ]
    return [*ending_as(catalogue, ContractEnd.ERASED), *reports]


def tokenised(catalogue: Catalogue) -> list[Which]:
    """Categories that are tokenised, without the kinds of rows that are kept as they are."""
    found = []
    for category in _stored(catalogue):
        if category.on_contract_end is ContractEnd.TOKENISED:
            kept = [kind for kind in category.rows if kind.on_contract_end not in {None, ContractEnd.TOKENISED}]
            # The kinds of one category are told by the same field.
            field, but = (kept[0].field, frozenset().union(*(kind.values for kind in kept))) if kept else ("", frozenset())
            found.append(Which(category.name, None, field, but))
    return found


def _stored(catalogue: Catalogue) -> list[Category]:
    return [category for category in catalogue.categories.values() if category.held_as is HeldAs.RECORD]
