"""What an export has from its order: whether it may go on at this second, and what of each category it wants."""

from vault.errors import FailedPreconditionError, NotFoundError
from vault.names import ExportName
from vault.operations.core import Vault
from vault.operations.export_rows import Wanted
from vault.operations.order import OrderContent
from vault.store import exports as export_store
from vault.store.database import Connection
from vault.store.exports import ExportRow
from vault.store.orders import OrderRow

_IN_FORCE = frozenset({"APPROVED", "FULFILLED"})


async def load_export(connection: Connection, name: ExportName, *, lock: bool = False) -> ExportRow:
    """The export's row.

    Raises:
        NotFoundError: EXPORT_NOT_FOUND.
    """
    row = await export_store.get_export(connection, name.tenant, name.export, lock=lock)
    if row is None or row.order_id != name.order:
        raise NotFoundError("EXPORT_NOT_FOUND", "no such export")
    return row


def check_executable(vault: Vault, order: OrderRow) -> None:
    """Refuse what an order is not, or not any more, good for.

    Raises:
        FailedPreconditionError: APPROVALS_MISSING, ORDER_EXPIRED.
    """
    if order.state not in _IN_FORCE:
        raise FailedPreconditionError("APPROVALS_MISSING", "the order is not approved")
    if order.expire_time <= vault.clock():
        raise FailedPreconditionError("ORDER_EXPIRED", "the order has expired")


def wanted_of(vault: Vault, said: OrderContent, category: str) -> Wanted:
    """What of a category the order wants."""
    return Wanted(vault.catalogue.category(category), said.scope.fields, frozenset(said.scope.targets))
