"""`pii-vault order …`: the package of an approved order, and what else is done with orders: the desk, what leaves, the holds are beside it."""

from datetime import timedelta
from typing import Annotated

import typer

from vault.cli import holding, order_desk, order_packages
from vault.cli.options import RequestId
from vault.cli.session import reported, show, vault
from vault.v1.legal_service_pb2 import CreateExportRequest, GetExportRequest

app = typer.Typer(
    no_args_is_help=True, help="Court orders: register, authenticate, scope, approve, export exactly the scope, verify offline."
)
app.add_typer(order_desk.app)
app.add_typer(holding.app)
order_packages.add_to(app)
OrderName = Annotated[str, typer.Argument(help="tenants/…/orders/…", show_default=False)]
ExportName = Annotated[str, typer.Argument(help="tenants/…/orders/…/exports/…", show_default=False)]

_BUILD = timedelta(minutes=30)


@app.command()
def export(order: OrderName, request_id: RequestId = "") -> None:
    """Build the package of an approved order, sealed to its recipient."""
    with reported(), vault() as client:
        # Should it take longer, the same command goes on from there.
        show(client.call(client.legal.CreateExport, CreateExportRequest(parent=order, request_id=request_id), timeout=_BUILD))


@app.command("get-export")
def get_export(name: ExportName) -> None:
    """Show an export's counts, size and digest."""
    with reported(), vault() as client:
        show(client.call(client.legal.GetExport, GetExportRequest(name=name)))
