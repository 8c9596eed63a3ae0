"""How many records a principal may be released within an hour, so that one stolen account is not a whole database.

Counted per process and in memory: a restart forgets it and each worker counts for itself, so the limit that holds is the budget times the number
of workers. What is asked for counts, refused or not. What was released is in the log, whoever counts.
"""

from collections import deque
from collections.abc import Callable
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
        if sum(count for _, count in spent) + records > budget:
            wait = spent[0][0] + _WINDOW - now if spent else _WINDOW
            raise ResourceExhaustedError(
                "RELEASE_BUDGET_EXCEEDED", "the caller's releases of this hour are used up", retry_after=wait, limit=str(budget)
            )
        if spent and now - spent[-1][0] < _STEP:
            at, count = spent.pop()
            spent.append((at, count + records))
        else:
            spent.append((now, records))
