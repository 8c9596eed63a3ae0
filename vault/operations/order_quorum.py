"""How many approvals an order needs, and whose are still missing (§5.2, N4, L20, L21). Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vault.operations import order_intake
from vault.operations.order_intake import APPROVER, OFFICER, PRIVACY
from vault.store.orders import ApprovalRow, OrderRow


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many approvals an order needs, by who gives them.

    Attributes:
        legal: of the legal team before anything is built, a legal approver among them.
        privacy: of the privacy officer, before as well.
        afterwards: of the legal team after release.
    """

    legal: int
    privacy: int
    afterwards: int


def wanted(row: OrderRow) -> Wanted:
    """How many approvals an order needs."""
    kind = order_intake.kind_of(row.instrument_type)
    return Wanted(kind.approvals, int(row.privileged or kind.privacy), kind.afterwards)


def missing(row: OrderRow, approvals: Sequence[ApprovalRow]) -> list[str]:
    """Roles of whose holders an approval is still missing, before or after; what a legal approver must give is theirs alone."""
    need, given = wanted(row), Counter(approval.role for approval in approvals)
    legal = need.legal + need.afterwards - given[APPROVER] - given[OFFICER]
    lacks = [PRIVACY] * max(0, need.privacy - given[PRIVACY])
    if legal > 0 and not given[APPROVER]:
        lacks, legal = [*lacks, APPROVER], legal - 1
    return sorted([*lacks, *[OFFICER] * max(0, legal)])


def is_approved(row: OrderRow, approvals: Sequence[ApprovalRow]) -> bool:
    """Whether everybody has approved who has to before anything is built."""
    need, given = wanted(row), Counter(approval.role for approval in approvals)
    return given[APPROVER] + given[OFFICER] >= need.legal and given[APPROVER] > 0 and given[PRIVACY] >= need.privacy
