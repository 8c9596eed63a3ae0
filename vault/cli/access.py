"""`pii-vault access …`: incidents, role grants and their review, processing agreements."""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vault.cli.auditing import parent
from vault.cli.options import Tenant, moment
from vault.cli.session import reported, show, vault
from vault.v1.access_service_pb2 import (
    ApproveIncidentRequest,
    CloseIncidentRequest,
    GrantRoleRequest,
    IncidentKind,
    ListAgreementsRequest,
    ListIncidentsRequest,
    ListRoleGrantsRequest,
    OpenIncidentRequest,
    PlantHoneySubjectRequest,
    RegisterAgreementRequest,
    ReviewAccessRequest,
    ReviewIncidentRequest,
    RevokeRoleRequest,
)

app = typer.Typer(no_args_is_help=True, help="Who may look at what, and why: incidents, role grants, processing agreements.")
IncidentName = Annotated[str, typer.Argument(help="tenants/…/incidents/…", show_default=False)]
Employee = Annotated[str, typer.Argument(help="Employee id.", show_default=False)]
Role = Annotated[str, typer.Argument(help="A role of the catalogue.", show_default=False)]
PageToken = Annotated[str, typer.Option(help="Continue a listing.")]


class Kind(StrEnum):
    """What an incident is about."""

    SECURITY = "security"
    TECHNICAL = "technical"
    FRAUD = "fraud"


class Party(StrEnum):
    """With whom an agreement is."""

    TENANT = "tenant"
    AFFILIATE = "affiliate"


@app.command("open-incident")
def open_incident(
    tenant: Tenant,
    kind: Annotated[Kind, typer.Option(help="What it is about; suspected fraud waits for an approval.", show_default=False)],
    summary: Annotated[str, typer.Option(help="What happened: one sentence without personal data.", show_default=False)],
    subject: Annotated[list[str] | None, typer.Option(help="Person it is limited to, tenants/…/subjects/…; repeatable.")] = None,
    until: Annotated[str, typer.Option(help="When access ends; 72 hours from now unless told, and at the latest.")] = "",
) -> None:
    """Open an incident, so that what happened can be looked into."""
    request = OpenIncidentRequest(
        parent=f"tenants/{tenant}",
        kind=IncidentKind.Value(f"INCIDENT_KIND_{kind.name}"),
        summary=summary,
        subjects=subject or (),
        expire_time=moment(until, "--until"),
    )
    with reported(), vault() as client:
        show(client.call(client.access.OpenIncident, request))


@app.command("approve-incident")
def approve_incident(name: IncidentName) -> None:
    """Approve an incident on suspected fraud that somebody else opened."""
    with reported(), vault() as client:
        show(client.call(client.access.ApproveIncident, ApproveIncidentRequest(name=name)))


@app.command("close-incident")
def close_incident(name: IncidentName) -> None:
    """Close an incident; effective on the next call."""
    with reported(), vault() as client:
        show(client.call(client.access.CloseIncident, CloseIncidentRequest(name=name)))


@app.command("review-incident")
def review_incident(
    name: IncidentName,
    finding: Annotated[str, typer.Option(help="What the review found: one sentence without personal data.", show_default=False)],
) -> None:
    """Review what was done under an incident that somebody else opened."""
    with reported(), vault() as client:
        show(client.call(client.access.ReviewIncident, ReviewIncidentRequest(name=name, finding=finding)))


@app.command()
def incidents(tenant: Tenant, page_token: PageToken = "") -> None:
    """List incidents of a tenant, or of `system`, with what is due: reviews, and reports to the authorities."""
    with reported(), vault() as client:
        show(client.call(client.access.ListIncidents, ListIncidentsRequest(parent=parent(tenant), page_token=page_token)))


@app.command("plant-honey")
def plant_honey(subject: Annotated[str, typer.Argument(help="tenants/…/subjects/… of nobody.", show_default=False)]) -> None:
    """Plant a person who does not exist: whoever is given their data sets off an alarm."""
    with reported(), vault() as client:
        show(client.call(client.access.PlantHoneySubject, PlantHoneySubjectRequest(subject=subject)))


@app.command("grant-role")
def grant_role(
    employee: Employee,
    role: Role,
    until: Annotated[str, typer.Option(help="When it ends by itself; never unless told.")] = "",
) -> None:
    """Grant a role to a person."""
    request = GrantRoleRequest(principal=f"people/{employee}", role=role, expire_time=moment(until, "--until"))
    with reported(), vault() as client:
        show(client.call(client.access.GrantRole, request))


@app.command("revoke-role")
def revoke_role(employee: Employee, role: Role) -> None:
    """Take a role from a person, whatever their token says; effective on the next call."""
    with reported(), vault() as client:
        show(client.call(client.access.RevokeRole, RevokeRoleRequest(principal=f"people/{employee}", role=role)))


@app.command("role-grants")
def role_grants(
    employee: Annotated[str, typer.Option(help="Only this person's.")] = "",
    page_token: PageToken = "",
) -> None:
    """List role grants and revocations, with the digest that a review attests."""
    request = ListRoleGrantsRequest(principal=f"people/{employee}" if employee else "", page_token=page_token)
    with reported(), vault() as client:
        show(client.call(client.access.ListRoleGrants, request))


@app.command()
def review(list_digest: Annotated[str, typer.Argument(help="Digest of the list that was looked through.", show_default=False)]) -> None:
    """Attest the list of role holders, as it was seen."""
    with reported(), vault() as client:
        show(client.call(client.access.ReviewAccess, ReviewAccessRequest(list_digest=list_digest)))


@app.command("register-agreement")
def register_agreement(
    tenant: Tenant,
    party: Annotated[Party, typer.Argument(help="With whom it is.", show_default=False)],
    document: Annotated[Path, typer.Argument(help="The signed agreement; only its digest is sent.", exists=True, dir_okay=False)],
    signed: Annotated[str, typer.Option(help="When it was signed.", show_default=False)],
    until: Annotated[str, typer.Option(help="When it ends.", show_default=False)],
    purpose: Annotated[list[str] | None, typer.Option(help="Purpose it covers; repeatable; every one unless told.")] = None,
) -> None:
    """Register a processing agreement with a tenant, or with the affiliate for it."""
    request = RegisterAgreementRequest(
        parent=f"tenants/{tenant}",
        party=party.value,
        purposes=purpose or (),
        document_sha256=hashlib.sha256(document.read_bytes()).digest(),
        sign_time=moment(signed, "--signed"),
        expire_time=moment(until, "--until"),
    )
    with reported(), vault() as client:
        show(client.call(client.access.RegisterAgreement, request))


@app.command()
def agreements(tenant: Tenant, page_token: PageToken = "") -> None:
    """List the processing agreements of a tenant."""
    with reported(), vault() as client:
        show(client.call(client.access.ListAgreements, ListAgreementsRequest(parent=f"tenants/{tenant}", page_token=page_token)))
