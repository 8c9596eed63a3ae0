"""What an erasure does to one part of one record (A4, §6.2, §6.3). Pure: no clock, no database.

Rules:
- A person's own request reaches what the operator is controller of, and what goes once it is delivered. What is processed for a tenant is the
  tenant's to decide: it is forwarded, and done when the tenant says so (P1.8-role, E2).
- A tenant's instruction reaches what is processed for it, and nothing else.
- What the law wants kept is restricted until its date; what is held or claimed, while that lasts. An exception has a basis and an end, or a date on
  which it is looked at again.
- When the last exception is over, a party to a record that others share becomes a token, and everything else goes (§6.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from vault.catalogue.model import Category, Erasure, ErasureException, Responsibility
from vault.operations import due
from vault.store.records import RecordRow

# Where the event that an exception ends with has not come yet: it is looked at again after this long (§6.3: twelve months at most).
REVIEW = timedelta(days=365)


class Requester(StrEnum):
    """Who asks (§6.1)."""

    SUBJECT = "SUBJECT"
    GUARDIAN = "GUARDIAN"
    REPRESENTATIVE = "REPRESENTATIVE"
    TENANT = "TENANT"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a part.

    Attributes:
        kind: erased, tokenised, restricted or forwarded.
        basis: the exception, if it is restricted.
        until: when the exception ends; None if that is not known yet.
        review: when it is looked at again at the latest, if it has no end.
    """

    kind: Erasure
    basis: ErasureException | None = None
    until: datetime | None = None
    review: datetime | None = None

    @property
    def look_again(self) -> datetime | None:
        """When the exception ends, or is looked at again."""
        return self.until or self.review


FORWARDED = Outcome(Erasure.FORWARDED)
ERASED = Outcome(Erasure.ERASED)
TOKENISED = Outcome(Erasure.TOKENISED)


def is_tenants(category: Category) -> bool:
    """Whether the tenant decides about a category: it is processed for the tenant, and not gone once delivered."""
    return category.responsibility is Responsibility.PROCESSOR and not category.is_transient


def in_scope(category: Category, requester: Requester) -> bool:
    """Whether a request reaches a category at all."""
    return requester is not Requester.TENANT or is_tenants(category)


def outcome_of(category: Category, row: RecordRow, requester: Requester, now: datetime, *, held: Outcome | None = None) -> Outcome:
    """What becomes of one party's part of a record in scope.

    Args:
        category: the record's.
        row: the record.
        requester: who asks.
        now: the time.
        held: the exception of a hold or claim that covers the record.
    """
    if requester is not Requester.TENANT and is_tenants(category):
        return FORWARDED
    by_law = _by_law(category, row, now)
    if by_law is not None:
        return by_law
    if held is not None:
        return held
    return at_last(category, row.metadata)


def _by_law(category: Category, row: RecordRow, now: datetime) -> Outcome | None:
    """The exception that the catalogue makes of a record, while it lasts."""
    if _on_erasure(category, row.metadata) is not Erasure.RESTRICTED:
        return None
    end = due.end_of(category, row)
    if end is not None and end <= now:
        return None
    return Outcome(Erasure.RESTRICTED, category.erasure_exception, until=end, review=None if end else now + REVIEW)


def at_last(category: Category, metadata: Mapping[str, str]) -> Outcome:
    """What becomes of a part that nothing keeps, or keeps any more."""
    match _on_erasure(category, metadata):
        case Erasure.TOKENISED:
            return TOKENISED
        case Erasure.RESTRICTED if len(category.parties) > 1:
            return TOKENISED
        case _:
            return ERASED


def depends_on_record(category: Category) -> bool:
    """Whether the outcome differs from record to record."""
    return category.erasure_exception is not None


def _on_erasure(category: Category, metadata: Mapping[str, str]) -> Erasure:
    kind = category.row_kind(metadata)
    return kind.on_erasure if kind is not None and kind.on_erasure is not None else category.on_erasure
