"""How many records a principal may be released within an hour, so that one stolen account is not a whole database.

Counted in memory, so that no release waits for it, and shared every second through the database: what other replicas counted is known a second or
two later, which is what an account could exceed its budget by. What is asked for counts, refused or not. What was released is in the log, whoever
counts.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from vault.errors import ResourceExhaustedError

_WINDOW = timedelta(hours=1)
# Spending is kept in steps of this, so that a busy principal costs sixty numbers and not one per call.
_STEP = timedelta(minutes=1)


class ReleaseBudgets:
    """What each principal was released in the last hour."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._spent: dict[str, deque[tuple[datetime, int]]] = {}
        self._others: Mapping[str, Sequence[tuple[datetime, int]]] = {}
        self._unshared: dict[tuple[str, datetime], int] = {}

    def spend(self, principal: str, records: int, *, budget: int | None) -> None:
        """Take records from a principal's budget; None is no limit.

        Raises:
            ResourceExhaustedError: RELEASE_BUDGET_EXCEEDED, with the time after which the oldest spending is forgotten. Nothing was taken.
        """
        if budget is None:
            return
        now = self._clock()
        spent = self._spent.setdefault(principal, deque())
        while spent and spent[0][0] <= now - _WINDOW:
            spent.popleft()
        elsewhere = [item for item in self._others.get(principal, ()) if item[0] > now - _WINDOW]
        if sum(count for _, count in (*spent, *elsewhere)) + records > budget:
            oldest = min((time for time, _ in (*spent, *elsewhere)), default=now)
            wait = oldest + _WINDOW - now
            raise ResourceExhaustedError(
                "RELEASE_BUDGET_EXCEEDED", "the caller's releases of this hour are used up", retry_after=wait, limit=str(budget)
            )
        if spent and now - spent[-1][0] < _STEP:
            at, count = spent.pop()
            spent.append((at, count + records))
        else:
            spent.append((now, records))
        minute = principal, now.replace(second=0, microsecond=0)
        self._unshared[minute] = self._unshared.get(minute, 0) + records

    @property
    def is_watching(self) -> bool:
        """Whether anybody with a budget was released anything lately."""
        return bool(self._spent)

    def take_unshared(self) -> dict[tuple[str, datetime], int]:
        """What was spent since the last time, by principal and minute."""
        taken, self._unshared = self._unshared, {}
        return taken

    def give_back(self, counts: Mapping[tuple[str, datetime], int]) -> None:
        """Put back what could not be shared."""
        for key, count in counts.items():
            self._unshared[key] = self._unshared.get(key, 0) + count

    def learn(self, others: Mapping[str, Sequence[tuple[datetime, int]]]) -> None:
        """What other replicas counted, by principal, in order of minutes."""
        self._others = others
