"""How an order ends, or waits: rejected, revoked, suspended, expired, closed (§5.4, N1, N7).

Rules:
- Whatever ends an order before the recipient has the package destroys the package; that there was one stays on the register.
- A rejected or revoked order lets go at once what it held. What an expired one covered is held for as long as a letter holds, because another order
  may be on its way (N1). What a closed one held is let go, or held on for the case.
- An order that is revoked when the recipient has the package already is not as if it had never been: the recipient is asked to give it back, which
  stays among what is due until the order is closed.
- A suspension stops whatever is done under the order, not its time.
- Nothing is taken off the register.
"""

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from vault.errors import FailedPreconditionError, InvalidArgumentError, VaultError
from vault.names import ChildName, ExportName
from vault.operations import export_deliver, hold, log, order_intake, order_quorum
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.keyring import TenantKeys
from vault.operations.order import OrderView, check_sentence, hold_scope, locked_order, open_order, remarked, view
from vault.operations.order_state import RUNNING, Action, State, require
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store.database import Connection
from vault.store.incidents import one_business_day_after
from vault.store.orders import OrderRow

REJECTED_BY_PERSON = "REJECTED"
_AT_ONCE = 100
_log = structlog.get_logger()


async def reject_order(vault: Vault, attempt: Attempt, name: ChildName, *, reason: str) -> tuple[OrderView, Receipt]:
    """Reject an order; it stays on the register with the reason, and what it held is let go.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        FailedPreconditionError: what `require` raises.
    """
    attempt.operation, attempt.resource = "reject-order", str(name)
    check_sentence(reason)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _taken(vault, connection, attempt, name, Action.REJECT)
        ended = replace(row, state=State.REJECTED, suspended_state="", rejection=REJECTED_BY_PERSON)
        return await _ended(vault, connection, keys, attempt, name, ended, reason)


async def revoke_order(vault: Vault, attempt: Attempt, name: ChildName, *, reason: str) -> tuple[OrderView, Receipt]:
    """Revoke an order that the court withdrew, wherever it stands; what was built and not handed over is destroyed (N7).

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        FailedPreconditionError: what `require` raises.
    """
    attempt.operation, attempt.resource = "revoke-order", str(name)
    check_sentence(reason)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _taken(vault, connection, attempt, name, Action.REVOKE)
        export = await export_store.export_of_order(connection, name.tenant, name.id)
        has_left = export is not None and export.has_left
        row = replace(row, state=State.REVOKED_AFTER_DELIVERY if has_left else State.REVOKED, suspended_state="", close_time=None)
        row = replace(row, recall_due_time=one_business_day_after(vault.clock()) if has_left else None)
        return await _ended(vault, connection, keys, attempt, name, row, reason)


async def suspend_order(vault: Vault, attempt: Attempt, name: ChildName, *, reason: str) -> tuple[OrderView, Receipt]:
    """Suspend an order until the court has answered what it means.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        FailedPreconditionError: EXPORT_RELEASED, the recipient may have the package; what `require` raises.
    """
    attempt.operation, attempt.resource = "suspend-order", str(name)
    check_sentence(reason)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _taken(vault, connection, attempt, name, Action.SUSPEND)
        export = await export_store.export_of_order(connection, name.tenant, name.id)
        if export is not None and export.has_left:
            raise FailedPreconditionError("EXPORT_RELEASED", "the recipient may have the package already, it can only be recalled")
        row = replace(row, state=State.SUSPENDED, suspended_state=row.state)
        return await _stored(vault, connection, keys, attempt, name, row, reason)


async def resume_order(vault: Vault, attempt: Attempt, name: ChildName, *, reason: str) -> tuple[OrderView, Receipt]:
    """Take up an order where it stood when it was suspended.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        FailedPreconditionError: what `require` raises.
    """
    attempt.operation, attempt.resource = "resume-order", str(name)
    check_sentence(reason)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _taken(vault, connection, attempt, name, Action.RESUME)
        row = replace(row, state=row.suspended_state, suspended_state="")
        return await _stored(vault, connection, keys, attempt, name, row, reason)


async def close_order(vault: Vault, attempt: Attempt, name: ChildName, *, hold_until: datetime | None) -> tuple[OrderView, Receipt]:
    """Close an order that is done with, or one whose package was asked back; what it held is let go, or held on for the case.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the hold would have ended already.
        FailedPreconditionError: APPROVALS_MISSING, the approval after release of an urgent permit; what `require` raises.
    """
    attempt.operation, attempt.resource = "close-order", str(name)
    now = vault.clock()
    if hold_until is not None and hold_until <= now:
        raise InvalidArgumentError("FIELD_INVALID", "the hold would have ended already", field="hold_until_time")
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await locked_order(vault, connection, attempt, name)
        if not _is_kept_letter(row):
            require(Action.CLOSE, row.state, expire_time=row.expire_time, now=now)
        if order_quorum.missing(row, await order_store.approvals_of(connection, name.tenant, name.id)):
            raise FailedPreconditionError("APPROVALS_MISSING", "the approval after release is missing")
        # That it was revoked after delivery is what it is remembered by.
        state = row.state if row.state == State.REVOKED_AFTER_DELIVERY else State.CLOSED
        await order_store.update_order(connection, name.tenant, replace(row, state=state, close_time=now, recall_due_time=None))
        released = await hold.release_for_order(vault, connection, attempt.caller, name, secret=attempt.is_gagged)
        placed = (
            await hold_scope(vault, connection, keys, attempt, name, open_order(keys, row).scope, until=hold_until) if hold_until else []
        )
        receipt, *_ = await log.append(vault, connection, keys, [attempt, *released, *placed])
        return await view(connection, name), receipt


async def expire_orders(vault: Vault, caller: Caller) -> int:
    """End every order whose time is over; how many. One that cannot be ended now keeps no other."""
    async with vault.database.read() as connection:
        due = await order_store.due_orders(connection, sorted(RUNNING), vault.clock(), limit=_AT_ONCE)
    ended = 0
    for tenant, order_id in due:
        name = ChildName(tenant, "orders", order_id)
        attempt = Attempt(caller=caller, tenant=tenant)
        try:
            async with vault.database.write() as connection:
                _, keys = await known_tenant(vault, connection, tenant, hold=True)
                row = await locked_order(vault, connection, attempt, name)
                if row.state in RUNNING and row.expire_time <= vault.clock():
                    await log.append(vault, connection, keys, await expire(vault, connection, keys, attempt, name, row))
                    ended += 1
        except VaultError as error:
            _log.warning("order not ended", reason=error.reason)
    if ended:
        _log.info("orders expired", count=ended)
    return ended


async def expire(vault: Vault, connection: Connection, keys: TenantKeys, attempt: Attempt, name: ChildName, row: OrderRow) -> list[Attempt]:
    """End an order whose time is over, in this transaction; what is to be logged of it.

    What the recipient may have already is not taken back: then the order goes on to its receipt. Of what was sent in part nobody may fetch the rest.
    """
    export = await export_store.export_of_order(connection, name.tenant, name.id)
    if export is not None and export.has_left:
        if export.state == "RELEASED":
            await export_store.delete_chunks(connection, name.tenant, export.export_id)
        await order_store.update_order(connection, name.tenant, replace(row, state=State.FULFILLED, suspended_state=""))
        return [replace(attempt, operation="fulfil-order", resource=str(name))]
    await _destroy_export(connection, name)
    await order_store.update_order(connection, name.tenant, replace(row, state=State.EXPIRED, suspended_state=""))
    until = vault.clock() + timedelta(days=vault.limits.preservation_days)
    held = await hold_scope(vault, connection, keys, attempt, name, open_order(keys, row).scope, until=until)
    return [replace(attempt, operation="expire-order", resource=str(name)), *held]


async def _taken(vault: Vault, connection: Connection, attempt: Attempt, name: ChildName, action: Action) -> OrderRow:
    row = await locked_order(vault, connection, attempt, name)
    require(action, row.state, expire_time=row.expire_time, now=vault.clock())
    return row


async def _ended(
    vault: Vault, connection: Connection, keys: TenantKeys, attempt: Attempt, name: ChildName, row: OrderRow, reason: str
) -> tuple[OrderView, Receipt]:
    """Store an order that has ended, destroy what was built for it, and let go what it held."""
    await _destroy_export(connection, name)
    if row.state != State.REVOKED_AFTER_DELIVERY:
        # Nothing left under it: nobody has to say afterwards that it was right.
        row = replace(row, second_approval_due_time=None)
    row = replace(row, remarks=remarked(keys, row, attempt, reason, vault.clock()))
    await order_store.update_order(connection, name.tenant, row)
    released = await hold.release_for_order(vault, connection, attempt.caller, name, secret=attempt.is_gagged)
    receipt, *_ = await log.append(vault, connection, keys, [attempt, *released])
    return await view(connection, name), receipt


async def _stored(
    vault: Vault, connection: Connection, keys: TenantKeys, attempt: Attempt, name: ChildName, row: OrderRow, reason: str
) -> tuple[OrderView, Receipt]:
    row = replace(row, remarks=remarked(keys, row, attempt, reason, vault.clock()))
    await order_store.update_order(connection, name.tenant, row)
    [receipt] = await log.append(vault, connection, keys, [attempt])
    return await view(connection, name), receipt


async def _destroy_export(connection: Connection, name: ChildName) -> None:
    export = await export_store.export_of_order(connection, name.tenant, name.id)
    if export is not None and not export.has_left:
        await export_deliver.destroy_export(connection, ExportName(name.tenant, name.id, export.export_id), state="CANCELLED")


def _is_kept_letter(row: OrderRow) -> bool:
    """Whether it is a letter that was approved: nothing is released under one, so there is nothing to wait for."""
    return row.instrument_type == order_intake.PRESERVATION and row.state == State.APPROVED
