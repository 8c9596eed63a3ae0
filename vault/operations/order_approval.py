"""Who approves an order, and the release of what was built for it (§5.4 steps 6, 7 and 10).

Rules:
- An approval signs the scope digest: document, instrument, scope, recipient and its key. Another digest voids it (N3, N14).
- Approvers are different people, by employee and not by account, and none of them is the registrant (N4, N5). One is a legal approver. About a
  protected profession, and for a regulator, the privacy officer is one more (L21).
- Each has a second factor of the last fifteen minutes, and has seen the preview of that digest.
- An urgent permit needs one approval before, and one more within a business day (L20); until then it stays among what is due.
- When the last one has approved, the tenant is told, before anything is built (L35).
- Release is approved by another person than the builder, and the order is in force at that second; one that is not any more ends then and there, and
  what was built is destroyed (N1).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from vault.errors import AbortedError, FailedPreconditionError, PermissionDeniedError, UnauthenticatedError
from vault.names import ChildName, ExportName
from vault.operations import log, order_end, order_intake, order_notice, order_selection
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.export_order import load_export
from vault.operations.order import OrderView, locked_order, open_order, view
from vault.operations.order_intake import APPROVER, OFFICER, PRIVACY
from vault.operations.order_quorum import is_approved, missing, wanted
from vault.operations.order_state import Action, State, require
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store.database import Connection, on_commit
from vault.store.exports import ExportRow
from vault.store.incidents import one_business_day_after
from vault.store.orders import ApprovalRow, OrderRow

_MFA_FRESH = timedelta(minutes=15)

_log = structlog.get_logger()


async def approve_order(vault: Vault, attempt: Attempt, name: ChildName, *, scope_digest: str) -> tuple[OrderView, Receipt]:
    """Approve an order by repeating the digest of what was seen.

    Raises:
        UnauthenticatedError: MFA_REQUIRED, the second factor is older than fifteen minutes.
        PermissionDeniedError: SEPARATION_OF_DUTIES; ROLE_NOT_ALLOWED, the order does not need the privacy officer.
        AbortedError: SCOPE_DIGEST_CHANGED.
        FailedPreconditionError: PREVIEW_REQUIRED, REQUIRES_INTERVAL, EXPORT_TOO_LARGE, RECIPIENT_KEY_INVALID; what `require` raises.
    """
    attempt.operation, attempt.resource = "approve-order", str(name)
    now = vault.clock()
    _check_second_factor(attempt.caller, now)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await locked_order(vault, connection, attempt, name)
        approvals = await order_store.approvals_of(connection, name.tenant, name.id)
        if row.scope_digest != scope_digest:
            raise AbortedError("SCOPE_DIGEST_CHANGED", "the order is not the one that was seen")
        afterwards = _is_afterwards(row, approvals)
        require(Action.APPROVE_AFTERWARDS if afterwards else Action.APPROVE, row.state, expire_time=row.expire_time, now=now)
        role = _approving_role(attempt.caller, row, approvals)
        _check_separation(attempt.caller, row, approvals, role)
        if not afterwards:
            await _check_seen(connection, attempt.caller, name, row)
            if order_intake.kind_of(row.instrument_type).releases:
                order_intake.require_usable_key(open_order(keys, row).recipient, now)
        approval = ApprovalRow(attempt.caller.employee_id, attempt.caller.principal, role, scope_digest, now)
        await order_store.insert_approval(connection, name.tenant, name.id, approval)
        approvals = [*approvals, approval]
        # §5.6: when the second factor was proved, and what was signed.
        proved = attempt.caller.mfa_time.isoformat(timespec="seconds") if attempt.caller.mfa_time else ""
        attempt.rule = f"order:approval:{role}:{scope_digest[:16]}:{proved}"
        told = await _advance(vault, connection, attempt, name, row, approvals)
        receipt, *_ = await log.append(vault, connection, keys, [attempt, *told])
        return await view(connection, name), receipt


async def approve_export(vault: Vault, attempt: Attempt, name: ExportName) -> tuple[ExportRow, Receipt]:
    """Let a sealed package be handed over, if the order is in force at this second.

    Raises:
        UnauthenticatedError: MFA_REQUIRED.
        NotFoundError: EXPORT_NOT_FOUND.
        PermissionDeniedError: SEPARATION_OF_DUTIES, whoever built it or registered the order does not release it.
        FailedPreconditionError: ORDER_EXPIRED, and what was built is destroyed; EXPORT_NOT_SEALED, RECIPIENT_KEY_INVALID; what `require` raises.
    """
    attempt.operation, attempt.resource = "approve-export", str(name)
    order, now = ChildName(name.tenant, "orders", name.order), vault.clock()
    _check_second_factor(attempt.caller, now)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await locked_order(vault, connection, attempt, order)
        export = await load_export(connection, name, lock=True)
        # What ends here has to stay ended when this call is refused: the refusal is raised after the commit.
        expired = row.state == State.IN_EXECUTION and row.expire_time <= now and not export.has_left
        if expired:
            ended = await order_end.expire(vault, connection, keys, attempt, order, row)
            await log.append(vault, connection, keys, ended)
        else:
            require(Action.RELEASE, row.state, expire_time=row.expire_time, now=now)
            await _check_releasable(connection, attempt.caller, order, row, export)
            order_intake.require_usable_key(open_order(keys, row).recipient, now)
            told = await order_notice.tell_controller(vault, connection, attempt, order, row)
            by, state = attempt.caller.principal, "RELEASE_APPROVED"
            await export_store.update_export(connection, name.tenant, name.export, state=state, release_approver=by, release_time=now)
            export = replace(export, state=state, release_approver=by, release_time=now)
            receipt, *_ = await log.append(vault, connection, keys, [attempt, *told])
            on_commit(connection, lambda: _log.info("export released"))
    if expired:
        raise FailedPreconditionError("ORDER_EXPIRED", "the order has expired")
    return export, receipt


def _check_second_factor(caller: Caller, now: datetime) -> None:
    if caller.mfa_time is None or now - caller.mfa_time > _MFA_FRESH:
        raise UnauthenticatedError("MFA_REQUIRED", "an approval needs a second factor proved in the last 15 minutes")


def _is_afterwards(row: OrderRow, approvals: Sequence[ApprovalRow]) -> bool:
    return wanted(row).afterwards > 0 and is_approved(row, approvals) and bool(missing(row, approvals))


def _approving_role(caller: Caller, row: OrderRow, approvals: Sequence[ApprovalRow]) -> str:
    """The role in which somebody approves: the one that is still missing, of those they hold."""
    if APPROVER in caller.roles:
        return APPROVER
    if OFFICER in caller.roles:
        return OFFICER
    if PRIVACY not in missing(row, approvals):
        raise PermissionDeniedError("ROLE_NOT_ALLOWED", "the order does not wait for the privacy officer")
    return PRIVACY


def _check_separation(caller: Caller, row: OrderRow, approvals: Sequence[ApprovalRow], role: str) -> None:
    if not caller.employee_id:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "an approval is given by a person with an employee id")
    # A person's principal is made of the employee id: two accounts of one person are one (N5).
    if caller.principal == row.registrant or caller.employee_id in {approval.employee_id for approval in approvals}:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "registrant and approvers are different people")
    lacks = set(missing(row, approvals))
    if role == OFFICER and OFFICER not in lacks and APPROVER in lacks:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "one of the approvals is a legal approver's")
    # A legal approver may stand in for a legal officer, not the other way round.
    if not lacks & ({OFFICER, APPROVER} if role == APPROVER else {role}):
        raise FailedPreconditionError("ORDER_NOT_PENDING", "the order does not wait for another approval of this role", state=row.state)


async def _check_seen(connection: Connection, caller: Caller, name: ChildName, row: OrderRow) -> None:
    seen = await order_store.preview_of(connection, name.tenant, name.id, caller.employee_id)
    if seen is None or seen.scope_digest != row.scope_digest:
        raise FailedPreconditionError("PREVIEW_REQUIRED", "whoever approves has seen what would be exported")
    order_selection.check_problems(seen.problems)


async def _advance(
    vault: Vault, connection: Connection, attempt: Attempt, name: ChildName, row: OrderRow, approvals: Sequence[ApprovalRow]
) -> list[Attempt]:
    """Move the order on if everybody has approved, and tell whoever is to be told; what is to be logged of that."""
    if not is_approved(row, approvals):
        return []
    lacks, told = missing(row, approvals), []
    if row.state == State.SCOPED:
        row = replace(row, state=State.APPROVED)
        told = await order_notice.tell_controller(vault, connection, attempt, name, row)
    due = one_business_day_after(approvals[-1].approve_time) if lacks else None
    await order_store.update_order(connection, name.tenant, replace(row, second_approval_due_time=due))
    return told


async def _check_releasable(connection: Connection, caller: Caller, order: ChildName, row: OrderRow, export: ExportRow) -> None:
    if export.state != "SEALED":
        raise FailedPreconditionError("EXPORT_NOT_SEALED", "the export is not waiting for its release", state=export.state)
    if not caller.employee_id or caller.principal in {export.builder, row.registrant}:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "a package is released by another person than its builder and the registrant")
    if not is_approved(row, await order_store.approvals_of(connection, order.tenant, order.id)):
        raise FailedPreconditionError("APPROVALS_MISSING", "the order is not approved")
