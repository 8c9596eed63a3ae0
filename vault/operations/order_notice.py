"""What is told of an order, to whom, and from when on (L35, N16).

Rules:
- A tenant is told that data processed for it leaves by an order: when the order is approved, so before anything is built, and in the same commit.
- What an order forbids to tell is a task all the same, which its recipient sees when that ends: at its date, or when somebody says that it has.
- Until then everything about the order is recorded in the system log. When it ends, the tenant's log says that there was such an order.
"""

from dataclasses import replace

import structlog

from vault.errors import FailedPreconditionError, VaultError
from vault.names import ChildName
from vault.operations import log, notify, order_intake
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.order import OrderView, check_sentence, load_order, remarked, view
from vault.store import orders as order_store
from vault.store.database import Connection
from vault.store.orders import OrderRow

_AT_ONCE = 100
_log = structlog.get_logger()


async def tell_controller(vault: Vault, connection: Connection, attempt: Attempt, name: ChildName, row: OrderRow) -> list[Attempt]:
    """Tell the tenant of an order under which something is released, in this transaction; what is to be logged of it. Told once."""
    if not order_intake.kind_of(row.instrument_type).releases or await notify.is_told(connection, name, notify.Kind.CONTROLLER_NOTICE):
        return []
    gagged = row.is_gagged(vault.clock())
    told = await notify.controller_notice(vault, connection, name, row.categories, gagged=gagged, gag_end=row.gag_end_time)
    operation = "notice-sent" if told else "notice-deferred" if gagged else "notice-not-due"
    # §5.6: sent, or suppressed because of a gag.
    return [replace(attempt, operation=operation, rule=f"order:{operation}", resource=str(name))]


async def end_gag(vault: Vault, attempt: Attempt, name: ChildName, *, reason: str) -> tuple[OrderView, Receipt]:
    """Note that nothing forbids any more to tell of an order.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        FailedPreconditionError: GAG_NOT_SET, nothing forbids it.
    """
    attempt.operation, attempt.resource = "end-gag", str(name)
    check_sentence(reason)
    now = vault.clock()
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await load_order(connection, name, lock=True)
        if not row.gag:
            attempt.is_gagged = False
            raise FailedPreconditionError("GAG_NOT_SET", "nothing forbids to tell of the order")
        row = replace(row, remarks=remarked(keys, row, attempt, reason, now))
        await _disclose(vault, connection, name, row)
        # From this entry on the tenant's log has the order.
        attempt.is_gagged = False
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await view(connection, name), receipt


async def end_gags(vault: Vault, caller: Caller) -> int:
    """End the gag of every order whose date has come; how many. One that cannot be ended now keeps no other."""
    async with vault.database.read() as connection:
        ended = await order_store.ended_gags(connection, vault.clock(), limit=_AT_ONCE)
    count = 0
    for tenant, order_id in ended:
        name = ChildName(tenant, "orders", order_id)
        attempt = Attempt(caller=caller, operation="end-gag", tenant=tenant, resource=str(name))
        try:
            async with vault.database.write() as connection:
                _, keys = await known_tenant(vault, connection, tenant)
                row = await load_order(connection, name, lock=True)
                if row.gag and not row.is_gagged(vault.clock()):
                    await _disclose(vault, connection, name, row)
                    await log.append(vault, connection, keys, [attempt])
                    count += 1
        except VaultError as error:
            _log.warning("gag not ended", reason=error.reason)
    return count


async def _disclose(vault: Vault, connection: Connection, name: ChildName, row: OrderRow) -> None:
    await order_store.update_order(connection, name.tenant, replace(row, gag="", gag_end_time=None, gag_from_staff=False))
    await notify.gag_ended(vault, connection, name.tenant, str(name))
