"""Where an order can stand, and what can be done with it there (§5.4). Pure: no clock, no database.

    RECEIVED → AUTHENTICATED → SCOPED → APPROVED → IN_EXECUTION → FULFILLED → CLOSED

- Beside the way: REJECTED, EXPIRED, REVOKED and REVOKED_AFTER_DELIVERY are ends; SUSPENDED goes back to where it came from.
- A letter that asks to preserve releases nothing: it is closed from APPROVED.
- What an order cannot do where it stands is refused for the reason of that state, so that whoever asks knows what happened to it.
"""

from datetime import datetime
from enum import StrEnum

from vault.errors import FailedPreconditionError


class State(StrEnum):
    """Where an order stands."""

    RECEIVED = "RECEIVED"
    AUTHENTICATED = "AUTHENTICATED"
    SCOPED = "SCOPED"
    APPROVED = "APPROVED"
    IN_EXECUTION = "IN_EXECUTION"
    FULFILLED = "FULFILLED"
    CLOSED = "CLOSED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    SUSPENDED = "SUSPENDED"
    REVOKED = "REVOKED"
    REVOKED_AFTER_DELIVERY = "REVOKED_AFTER_DELIVERY"


class Action(StrEnum):
    """What is done with an order that is registered."""

    AUTHENTICATE = "authenticate"
    SCOPE = "scope"
    PREVIEW = "preview"
    APPROVE = "approve"
    APPROVE_AFTERWARDS = "approve-afterwards"
    REJECT = "reject"
    REVOKE = "revoke"
    SUSPEND = "suspend"
    RESUME = "resume"
    CLOSE = "close"
    EXPORT = "export"
    RELEASE = "release"
    DELIVER = "deliver"


_S = State
PENDING = frozenset({_S.RECEIVED, _S.AUTHENTICATED, _S.SCOPED, _S.APPROVED})
# Where the end of its time ends an order.
RUNNING = PENDING | {_S.IN_EXECUTION, _S.SUSPENDED}
ENDED = frozenset({_S.REJECTED, _S.EXPIRED, _S.REVOKED, _S.REVOKED_AFTER_DELIVERY, _S.CLOSED})
# Where something may be read or handed over under it.
LIVE = frozenset({_S.APPROVED, _S.IN_EXECUTION, _S.FULFILLED})

_ALLOWED: dict[Action, frozenset[State]] = {
    Action.AUTHENTICATE: frozenset({_S.RECEIVED}),
    Action.SCOPE: frozenset({_S.AUTHENTICATED, _S.SCOPED, _S.APPROVED}),
    Action.PREVIEW: frozenset({_S.AUTHENTICATED, _S.SCOPED, _S.APPROVED, _S.IN_EXECUTION, _S.FULFILLED}),
    Action.APPROVE: frozenset({_S.SCOPED}),
    Action.APPROVE_AFTERWARDS: frozenset({_S.APPROVED, _S.IN_EXECUTION, _S.FULFILLED, _S.EXPIRED, _S.REVOKED_AFTER_DELIVERY}),
    Action.REJECT: PENDING | {_S.SUSPENDED},
    Action.REVOKE: RUNNING | {_S.FULFILLED, _S.CLOSED},
    Action.SUSPEND: PENDING | {_S.IN_EXECUTION},
    Action.RESUME: frozenset({_S.SUSPENDED}),
    Action.CLOSE: frozenset({_S.FULFILLED, _S.REVOKED_AFTER_DELIVERY}),
    Action.EXPORT: frozenset({_S.APPROVED, _S.IN_EXECUTION, _S.FULFILLED}),
    Action.RELEASE: frozenset({_S.IN_EXECUTION}),
    Action.DELIVER: frozenset({_S.IN_EXECUTION, _S.FULFILLED}),
}
# What ends with the order's time. To end an order, or to say afterwards that it was right, is possible later too.
_TIMED = frozenset({Action.AUTHENTICATE, Action.SCOPE, Action.APPROVE, Action.RESUME, Action.EXPORT, Action.RELEASE, Action.DELIVER})
_NEEDS_APPROVAL = frozenset({Action.EXPORT, Action.RELEASE, Action.DELIVER})


def require(action: Action, state: str, *, expire_time: datetime, now: datetime) -> None:
    """Refuse what cannot be done with an order where it stands, at this second.

    Raises:
        FailedPreconditionError: ORDER_REJECTED, ORDER_REVOKED, ORDER_SUSPENDED, ORDER_CLOSED, ORDER_EXPIRED; APPROVALS_MISSING for what waits
            for approval; ORDER_NOT_PENDING for what is done already or comes later.
    """
    at = State(state)
    if at not in _ALLOWED[action]:
        if at in ENDED or at is State.SUSPENDED:
            raise _over(at)
        if action in _NEEDS_APPROVAL and at in PENDING - {State.APPROVED}:
            raise FailedPreconditionError("APPROVALS_MISSING", "the order is not approved", state=at.value)
        raise FailedPreconditionError("ORDER_NOT_PENDING", "the order is not waiting for that", state=at.value)
    if action in _TIMED and expire_time <= now:
        raise _over(State.EXPIRED)


def _over(state: State) -> FailedPreconditionError:
    match state:
        case State.REJECTED:
            return FailedPreconditionError("ORDER_REJECTED", "the order was rejected", state=state.value)
        case State.REVOKED | State.REVOKED_AFTER_DELIVERY:
            return FailedPreconditionError("ORDER_REVOKED", "the order was revoked", state=state.value)
        case State.SUSPENDED:
            return FailedPreconditionError("ORDER_SUSPENDED", "the order is suspended until the court has answered", state=state.value)
        case State.CLOSED:
            return FailedPreconditionError("ORDER_CLOSED", "the order is closed", state=state.value)
        case _:
            return FailedPreconditionError("ORDER_EXPIRED", "the order has expired", state=State.EXPIRED.value)
