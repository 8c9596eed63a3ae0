"""Which records an order covers, without opening one: what a preview counts and what an export takes are found by the same search.

- A record is covered if one of its indexed fields is a target, and it happened or was valid in that target's period (A29).
- Who somebody is has no moment: a record of subscriber data that does not say when is covered whenever it carries a target.
- What an erasure kept under an exception is searched too: orders are what it is kept for (§6.4).
- A number is not a person: one that had several users in the period needs a period of its own (N12).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vault import crypto
from vault.catalogue.model import CourtClass
from vault.errors import FailedPreconditionError
from vault.operations.core import Vault
from vault.operations.keyring import TenantKeys
from vault.operations.order_content import Scope
from vault.operations.subjects import restricted_kind
from vault.store import orders as order_store
from vault.store.database import Connection
from vault.store.orders import Search

REQUIRES_INTERVAL, TOO_MANY = "REQUIRES_INTERVAL", "EXPORT_TOO_LARGE"
OUTSIDE_PERIOD, CLASS_NOT_COVERED = "OUTSIDE_PERIOD", "CLASS_NOT_COVERED"


@dataclass(frozen=True, slots=True)
class TargetCount:
    """What is covered of one target.

    Attributes:
        target: (kind, value).
        counts: records by category.
        holders: people who had the number in the period, where numbers are recycled.
    """

    target: tuple[str, str]
    counts: dict[str, int]
    holders: int

    @property
    def requires_interval(self) -> bool:
        """Whether several people had the number in its period."""
        return self.holders > 1


@dataclass(frozen=True, slots=True)
class Found:
    """What a scope covers, in numbers.

    Attributes:
        counts: records by category; every category of the scope is there.
        withheld: records that carry a target and stay, by reason.
        declined: the same of what the order does not cover, by category; every one that was asked for is there.
        targets: the same by target; a record that carries two targets counts for each.
        problems: why it cannot be approved as it is.
    """

    counts: dict[str, int]
    withheld: dict[str, int]
    declined: dict[str, int]
    targets: tuple[TargetCount, ...]
    problems: tuple[str, ...]


def searches_of(vault: Vault, keys: TenantKeys, scope: Scope, targets: Sequence[tuple[str, str]] = ()) -> list[Search]:
    """How the targets of a scope are looked for; all of them unless told which."""
    found = []
    timeless = [
        name for name in (*scope.categories, *scope.declined) if vault.catalogue.category(name).court_class is CourtClass.SUBSCRIBER
    ]
    for target in targets or scope.targets:
        kind, value = target
        period = scope.period_of(target)
        for name in (kind, restricted_kind(kind)):
            tokens = [crypto.index_token(key, value) for key in keys.index_keys(name)]
            found.append(Search(name, tokens, period.start, period.end, timeless))
    return found


async def count(vault: Vault, connection: Connection, keys: TenantKeys, scope: Scope) -> Found:
    """Count what a scope covers; not one record is opened."""
    tenant, searches = keys.tenant, searches_of(vault, keys, scope)
    counts = await order_store.count_in_scope(connection, tenant, categories=scope.categories, searches=searches, levels=scope.levels)
    carrying = await order_store.count_carrying(connection, tenant, categories=scope.categories, searches=searches)
    declined = await order_store.count_in_scope(connection, tenant, categories=scope.declined, searches=searches)
    total = sum(counts.values())
    withheld = {OUTSIDE_PERIOD: carrying - total, CLASS_NOT_COVERED: sum(declined.values())}
    targets = tuple([await _count_of(vault, connection, keys, scope, target) for target in scope.targets])
    problems = [REQUIRES_INTERVAL] * any(target.requires_interval for target in targets)
    problems += [TOO_MANY] * (0 < scope.max_rows < total)
    return Found(
        counts={**dict.fromkeys(scope.categories, 0), **counts},
        withheld={reason: n for reason, n in withheld.items() if n},
        declined={**dict.fromkeys(scope.declined, 0), **declined},
        targets=targets,
        problems=tuple(problems),
    )


def check_problems(problems: Sequence[str]) -> None:
    """Refuse what has to be narrowed first.

    Raises:
        FailedPreconditionError: REQUIRES_INTERVAL, EXPORT_TOO_LARGE.
    """
    if REQUIRES_INTERVAL in problems:
        raise FailedPreconditionError("REQUIRES_INTERVAL", "a number had several users in the period, narrow the scope")
    if TOO_MANY in problems:
        raise FailedPreconditionError("EXPORT_TOO_LARGE", "more is covered than the order allows, narrow the scope")


async def _count_of(vault: Vault, connection: Connection, keys: TenantKeys, scope: Scope, target: tuple[str, str]) -> TargetCount:
    searches = searches_of(vault, keys, scope, [target])
    counts = await order_store.count_in_scope(connection, keys.tenant, categories=scope.categories, searches=searches, levels=scope.levels)
    recycled = [category.name for category in vault.catalogue.categories.values() if category.requires_as_of]
    return TargetCount(target, counts, await order_store.count_holders(connection, keys.tenant, categories=recycled, searches=searches))
