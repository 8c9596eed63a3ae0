"""`pii-vault tenant …`: tenants, what they decide about themselves, requests of their customers, jobs, notifications, confidentiality agreements."""

import hashlib
import re
from pathlib import Path
from typing import Annotated

import typer

from vault.cli.options import RequestId, moment, pairs
from vault.cli.session import reported, show, vault
from vault.v1.access_service_pb2 import RegisterNdaRequest
from vault.v1.resources_pb2 import ContentLevel, Tenant, TransportPolicy
from vault.v1.tenant_service_pb2 import (
    AcknowledgeNotificationRequest,
    CloseCustomerRequestRequest,
    CloseJobRequest,
    CreateTenantRequest,
    GetTenantRequest,
    ListNotificationsRequest,
    ListTenantsRequest,
    OpenCustomerRequestRequest,
    OpenJobRequest,
    UpdateTenantRequest,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Tenants: content levels, edge transport, customer requests, jobs, notifications; confidentiality agreements.",
)
notifications_app = typer.Typer(no_args_is_help=True, help="Who is to be told of erasures, corrections, restrictions and orders.")
app.add_typer(notifications_app, name="notifications")
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
    notification_url: Annotated[
        str | None, typer.Option(help="https address that is called with notifications; none if empty. The answer tells its secret once.")
    ] = None,
    etag: Annotated[str, typer.Option(help="Version that was read.")] = "",
) -> None:
    """Change a tenant's settings."""
    request = UpdateTenantRequest(tenant=Tenant(name=f"tenants/{tenant}", etag=etag))
    settings = {"display_name": display_name, "reference_pattern": reference_pattern, "notification_url": notification_url}
    for name, value in settings.items():
        if value is not None:
            setattr(request.tenant, name, value)
            request.update_mask.paths.append(name)
    with reported(), vault() as client:
        show(client.call(client.tenants.UpdateTenant, request))


@app.command()
def levels(
    tenant: TenantId,
    setting: Annotated[
        list[str] | None,
        typer.Argument(help="LEVEL[/CHANNEL]=on, =off or =DAYS, e.g. report=on report/SMS=30 system-file=off.", show_default=False),
    ] = None,
    etag: Annotated[str, typer.Option(help="Version that was read.")] = "",
) -> None:
    """Say at which content levels content is kept, for how many days; the catalogue's for every level that is not named."""
    request = UpdateTenantRequest(tenant=Tenant(name=f"tenants/{tenant}", etag=etag))
    request.tenant.content_levels.extend(_level(place, said) for place, said in pairs(setting or [], "SETTING").items())
    request.update_mask.paths.append("content_levels")
    with reported(), vault() as client:
        show(client.call(client.tenants.UpdateTenant, request))


@app.command()
def transport(
    tenant: TenantId,
    service: Annotated[
        list[str] | None, typer.Argument(help="Edge service that may be unencrypted: WEB, API, WS, FTP, SFTP, SAFE.", show_default=False)
    ] = None,
    signer: Annotated[str, typer.Option(help="Who signed for it on the tenant's side; a role or an id, not a name.")] = "",
    risk_text: Annotated[str, typer.Option(help="Version of the text about the risk.")] = "",
    signed: Annotated[str, typer.Option(help="When it was signed.")] = "",
    until: Annotated[str, typer.Option(help="When it ends; twelve months after the signature at the latest.")] = "",
    etag: Annotated[str, typer.Option(help="Version that was read.")] = "",
) -> None:
    """Say at which edge services data may come unencrypted; none, unless some are named. Never to the vault itself."""
    request = UpdateTenantRequest(tenant=Tenant(name=f"tenants/{tenant}", etag=etag))
    request.tenant.transport_policies.extend(
        TransportPolicy(
            edge_service=name,
            plaintext_allowed=True,
            signer=signer,
            risk_text_version=risk_text,
            sign_time=moment(signed, "--signed"),
            expire_time=moment(until, "--until"),
        )
        for name in service or []
    )
    request.update_mask.paths.append("transport_policies")
    with reported(), vault() as client:
        show(client.call(client.tenants.UpdateTenant, request))


@app.command("open-job")
def open_job(
    tenant: TenantId,
    until: Annotated[str, typer.Option(help="When it ends; at most 30 days ahead.", show_default=False)],
    list_id: Annotated[str, typer.Option("--list", help="Distribution list; every list if not given.")] = "",
) -> None:
    """Let the messaging engine read a list for a scheduled job."""
    request = OpenJobRequest(parent=f"tenants/{tenant}", list=list_id, expire_time=moment(until, "--until"))
    with reported(), vault() as client:
        show(client.call(client.tenants.OpenJob, request))


@app.command("close-job")
def close_job(name: Annotated[str, typer.Argument(help="tenants/…/jobs/…", show_default=False)]) -> None:
    """End a job; effective on the next call."""
    with reported(), vault() as client:
        show(client.call(client.tenants.CloseJob, CloseJobRequest(name=name)))


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


@notifications_app.command("list")
def list_notifications(
    tenant: TenantId,
    acknowledged: Annotated[bool, typer.Option("--acknowledged", help="Also those that are done.")] = False,
    page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "",
) -> None:
    """List what the caller is to be told, what is due first."""
    request = ListNotificationsRequest(parent=f"tenants/{tenant}", show_acknowledged=acknowledged, page_token=page_token)
    with reported(), vault() as client:
        show(client.call(client.tenants.ListNotifications, request))


@notifications_app.command("acknowledge")
def acknowledge_notification(name: Annotated[str, typer.Argument(help="tenants/…/notifications/…", show_default=False)]) -> None:
    """Say that one is done."""
    with reported(), vault() as client:
        show(client.call(client.tenants.AcknowledgeNotification, AcknowledgeNotificationRequest(name=name)))


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


def _level(place: str, said: str) -> ContentLevel:
    level, _, channel = place.partition("/")
    # No days at all would be read as the catalogue's, which is the opposite of what it says.
    if said not in {"on", "off"} and not re.fullmatch(r"[1-9][0-9]{0,4}", said):
        raise typer.BadParameter("give it as on, off or a number of days from 1", param_hint="SETTING")
    return ContentLevel(level=level, channel=channel, enabled=said != "off", retention_days=int(said) if said.isdecimal() else 0)
