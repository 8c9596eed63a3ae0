"""How many records a principal may be released within an hour, so that one stolen account is not a whole database.

There is one budget for everything, and one for each purpose that the configuration limits; a release has to be within both.

Counted in memory, so that no release waits for it, and shared every second through the database: what other replicas counted is known a second or
two later, which is what an account could exceed its budget by. What is asked for counts, refused or not. What was released is in the log, whoever
counts.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import TypeAlias

from vault.errors import ResourceExhaustedError
from vault.operations.attempt import Caller

# By principal, and by purpose if that is limited, else under the empty purpose: when, and how many records.
Counted: TypeAlias = Mapping[str, Mapping[str, Sequence[tuple[datetime, int]]]]
_WINDOW = timedelta(hours=1)
# Spending is kept in steps of this, so that a busy principal costs sixty numbers a purpose and not one per call.
_STEP = timedelta(minutes=1)


class ReleaseBudgets:
    """What each principal was released in the last hour."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._spent: dict[str, dict[str, deque[tuple[datetime, int]]]] = {}
        self._others: Counted = {}
        self._unshared: dict[tuple[str, str, datetime], int] = {}

    def spend(self, caller: Caller, records: int, *, purpose: str) -> None:
        """Take records from a caller's budget, and from the one for the purpose if there is one.

        Raises:
            ResourceExhaustedError: RELEASE_BUDGET_EXCEEDED, with the time after which the oldest spending is forgotten. Nothing was taken.
        """
        limit, limit_of_purpose = caller.hourly_releases, caller.hourly_releases_for.get(purpose)
        if limit is None and limit_of_purpose is None:
            return
        # What a caller calls its purpose is not kept unless it is a word of the configuration.
        kept_as, now = "" if limit_of_purpose is None else purpose, self._clock()
        lately = self._lately(caller.principal, now)
        if limit is not None:
            _check(list(chain.from_iterable(lately.values())), records, limit, now, "the caller's releases of this hour are used up")
        if limit_of_purpose is not None:
            _check(
                lately.get(purpose, []), records, limit_of_purpose, now, "the caller's releases of this hour for this purpose are used up"
            )
        self._add(caller.principal, kept_as, records, now)

    @property
    def is_watching(self) -> bool:
        """Whether anybody with a budget was released anything lately."""
        return bool(self._spent)

    def take_unshared(self) -> dict[tuple[str, str, datetime], int]:
        """What was spent since the last time, by principal, purpose and minute."""
        taken, self._unshared = self._unshared, {}
        return taken

    def give_back(self, counts: Mapping[tuple[str, str, datetime], int]) -> None:
        """Put back what could not be shared."""
        for key, count in counts.items():
            self._unshared[key] = self._unshared.get(key, 0) + count

    def learn(self, others: Counted) -> None:
        """What other replicas counted, in order of minutes."""
        self._others = others

    def _lately(self, principal: str, now: datetime) -> dict[str, list[tuple[datetime, int]]]:
        """What was spent here and elsewhere within the window, by purpose."""
        lately: dict[str, list[tuple[datetime, int]]] = {}
        for purpose, spent in self._spent.get(principal, {}).items():
            while spent and spent[0][0] <= now - _WINDOW:
                spent.popleft()
            lately[purpose] = list(spent)
        for purpose, elsewhere in self._others.get(principal, {}).items():
            lately.setdefault(purpose, []).extend(item for item in elsewhere if item[0] > now - _WINDOW)
        return lately

    def _add(self, principal: str, purpose: str, records: int, now: datetime) -> None:
        spent = self._spent.setdefault(principal, {}).setdefault(purpose, deque())
        if spent and now - spent[-1][0] < _STEP:
            at, count = spent.pop()
            spent.append((at, count + records))
        else:
            spent.append((now, records))
        minute = principal, purpose, now.replace(second=0, microsecond=0)
        self._unshared[minute] = self._unshared.get(minute, 0) + records


def _check(spent: Sequence[tuple[datetime, int]], records: int, limit: int, now: datetime, message: str) -> None:
    if sum(count for _, count in spent) + records > limit:
        wait = min((time for time, _ in spent), default=now) + _WINDOW - now
        raise ResourceExhaustedError("RELEASE_BUDGET_EXCEEDED", message, retry_after=wait, limit=str(limit))
