"""`pii-vault tenant …`: tenants, the requests of their customers, and people's confidentiality agreements."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from vault.cli.options import RequestId, moment
from vault.cli.session import reported, show, vault
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.resources_pb2 import Tenant
from vault.v1.tenant_service_pb2 import (
    CloseCustomerRequestRequest,
    CreateTenantRequest,
    GetTenantRequest,
    ListTenantsRequest,
    OpenCustomerRequestRequest,
    UpdateTenantRequest,
)

app = typer.Typer(no_args_is_help=True, help="Tenants, requests of their customers, confidentiality agreements.")
TenantId = Annotated[str, typer.Argument(help="Tenant id.", show_default=False)]


@app.command()
def create(
    tenant: TenantId,
    display_name: Annotated[str, typer.Option("--display-name", help="Name for people.")] = "",
    root_key: Annotated[str, typer.Option(help="Name of the root key in the configuration; the vault's own unless told.")] = "",
    request_id: RequestId = "",
) -> None:
    """Create a tenant with its keys and its audit log."""
    with reported(), vault() as client:
        request = CreateTenantRequest(tenant_id=tenant, display_name=display_name, root_key=root_key, request_id=request_id)
        show(client.call(client.tenants.CreateTenant, request))


@app.command()
def get(tenant: TenantId) -> None:
    """Show a tenant."""
    with reported(), vault() as client:
        show(client.call(client.tenants.GetTenant, GetTenantRequest(name=f"tenants/{tenant}")))


@app.command("list")
def list_(page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "") -> None:
    """List the tenants that the caller may see."""
    with reported(), vault() as client:
        show(client.call(client.tenants.ListTenants, ListTenantsRequest(page_token=page_token)))


@app.command()
def update(
    tenant: TenantId,
    display_name: Annotated[str | None, typer.Option("--display-name", help="Name for people.")] = None,
    reference_pattern: Annotated[str | None, typer.Option(help="Pattern that a ticket must match whole.")] = None,
    etag: Annotated[str, typer.Option(help="Version that was read.")] = "",
) -> None:
    """Change a tenant's settings."""
    request = UpdateTenantRequest(tenant=Tenant(name=f"tenants/{tenant}", etag=etag))
    for name, value in (("display_name", display_name), ("reference_pattern", reference_pattern)):
        if value is not None:
            setattr(request.tenant, name, value)
            request.update_mask.paths.append(name)
    with reported(), vault() as client:
        show(client.call(client.tenants.UpdateTenant, request))


@app.command("open-request")
def open_request(
    tenant: TenantId,
    operation: Annotated[list[str], typer.Option("--operation", help="reveal, find, update or delete; repeatable.", show_default=False)],
    until: Annotated[str, typer.Option(help="When it ends; at most 30 days ahead.", show_default=False)],
    list_id: Annotated[str, typer.Option("--list", help="Distribution list; every list if not given.")] = "",
) -> None:
    """Let the operator's staff do something with a list, for a while."""
    request = OpenCustomerRequestRequest(
        parent=f"tenants/{tenant}", list=list_id, operations=operation, expire_time=moment(until, "--until")
    )
    with reported(), vault() as client:
        show(client.call(client.tenants.OpenCustomerRequest, request))


@app.command("close-request")
def close_request(name: Annotated[str, typer.Argument(help="tenants/…/customerRequests/…", show_default=False)]) -> None:
    """End such a permission; effective on the next call."""
    with reported(), vault() as client:
        show(client.call(client.tenants.CloseCustomerRequest, CloseCustomerRequestRequest(name=name)))


@app.command("register-nda")
def register_nda(
    employee: Annotated[str, typer.Argument(help="Employee id.", show_default=False)],
    document: Annotated[Path, typer.Argument(help="The signed agreement; only its digest is sent.", exists=True, dir_okay=False)],
    signed: Annotated[str, typer.Option(help="When it was signed.", show_default=False)],
    until: Annotated[str, typer.Option(help="When it ends.", show_default=False)],
) -> None:
    """Register a person's confidentiality agreement; without one, no person is shown anything."""
    request = RegisterNdaRequest(
        person=f"people/{employee}",
        document_sha256=hashlib.sha256(document.read_bytes()).digest(),
        sign_time=moment(signed, "--signed"),
        expire_time=moment(until, "--until"),
    )
    with reported(), vault() as client:
        show(client.call(client.access.RegisterNda, request))
