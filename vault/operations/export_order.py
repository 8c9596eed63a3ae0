"""What an export has from its order: whether it may go on at this second, and what of each category it wants."""

from vault.errors import FailedPreconditionError, NotFoundError
from vault.names import ChildName, ExportName
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.export_rows import Wanted
from vault.operations.order import locked_order
from vault.operations.order_content import OrderContent
from vault.operations.order_intake import kind_of
from vault.operations.order_state import Action, require
from vault.store import exports as export_store
from vault.store.database import Connection
from vault.store.exports import ExportRow
from vault.store.orders import OrderRow


async def load_export(connection: Connection, name: ExportName, *, lock: bool = False) -> ExportRow:
    """The export's row.

    Raises:
        NotFoundError: EXPORT_NOT_FOUND.
    """
    row = await export_store.get_export(connection, name.tenant, name.export, lock=lock)
    if row is None or row.order_id != name.order:
        raise NotFoundError("EXPORT_NOT_FOUND", "no such export")
    return row


async def executable_order(vault: Vault, connection: Connection, attempt: Attempt, name: ChildName, action: Action) -> OrderRow:
    """The order's row, locked, if that can be done under it at this second.

    Raises:
        NotFoundError: ORDER_NOT_FOUND.
        FailedPreconditionError: INSTRUMENT_NOT_ALLOWED; what `require` raises.
    """
    order = await locked_order(vault, connection, attempt, name)
    require(action, order.state, expire_time=order.expire_time, now=vault.clock())
    if not kind_of(order.instrument_type).releases:
        raise FailedPreconditionError("INSTRUMENT_NOT_ALLOWED", "nothing is released under an instrument of this kind")
    return order


def wanted_of(vault: Vault, said: OrderContent, category: str) -> Wanted:
    """What of a category the order wants."""
    return Wanted(vault.catalogue.category(category), said.scope.fields, frozenset(said.scope.targets), said.scope.counterpart)
