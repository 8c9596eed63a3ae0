"""`pii-vault tenant terminate …`: the end of a customer's contract, the return of its data, and the signed report, verified offline."""

from pathlib import Path
from typing import IO, Annotated

import typer

from vault.audit.checkpoint import NoteVerifier
from vault.audit.termination_report import verify_report as verify
from vault.cli.options import Reason, Reference, justification, moment
from vault.cli.session import reported, say, show, vault
from vault.errors import AlreadyExistsError
from vault.v1.tenant_service_pb2 import (
    RETURN_FORMAT_CSV,
    RETURN_FORMAT_JSONL,
    TERMINATION_PARTY_CUSTOMER,
    TERMINATION_PARTY_OPERATOR,
    ApproveTerminationRequest,
    GetSurplusReportRequest,
    GetTerminationReportRequest,
    ReturnTenantDataRequest,
    TerminateTenantRequest,
)

app = typer.Typer()
_ENDING = "service-delivery"
_RETURNING = "customer-request"
TenantId = Annotated[str, typer.Argument(help="Tenant id.", show_default=False)]
Effective = Annotated[str, typer.Option("--effective", help="When the contract ends, e.g. 2026-03-31T21:00:00Z.", show_default=False)]


@app.command()
def terminate(
    tenant: TenantId,
    effective: Effective,
    reason: Reason,
    reference: Reference,
    grace_days: Annotated[int, typer.Option(help="Days after it within which the customer may take its data; 30 unless told.")] = 0,
    by_operator: Annotated[bool, typer.Option("--by-operator", help="The operator ends it, and not the customer.")] = False,
    remove_contacts: Annotated[bool, typer.Option("--remove-contacts", help="The customer asked that its contacts be removed.")] = False,
) -> None:
    """Ask for the end of a contract; another person approves it."""
    request = TerminateTenantRequest(
        name=f"tenants/{tenant}",
        effective_time=moment(effective, "--effective"),
        grace_days=grace_days,
        asked_by=TERMINATION_PARTY_OPERATOR if by_operator else TERMINATION_PARTY_CUSTOMER,
        remove_contacts=remove_contacts,
        justification=justification(_ENDING, reference, reason),
    )
    with reported(), vault() as client:
        show(client.call(client.tenants.TerminateTenant, request))


@app.command("approve-termination")
def approve_termination(tenant: TenantId, effective: Effective, reason: Reason, reference: Reference) -> None:
    """Approve the end of a contract as it was asked for."""
    why = justification(_ENDING, reference, reason)
    request = ApproveTerminationRequest(name=f"tenants/{tenant}", effective_time=moment(effective, "--effective"), justification=why)
    with reported(), vault() as client:
        show(client.call(client.tenants.ApproveTermination, request))


@app.command("termination-report")
def termination_report(
    tenant: TenantId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write the signed report to, once there is one.")] = None,
) -> None:
    """Show how far the end of a contract is, and what became of everything."""
    with reported(), vault() as client:
        answer = client.call(client.tenants.GetTerminationReport, GetTerminationReportRequest(name=f"tenants/{tenant}"))
        if output is not None and answer.report:
            output.write_text(answer.report, encoding="utf-8")
        answer.ClearField("report")
        show(answer)


@app.command("verify-termination")
def verify_termination(
    file: Annotated[Path, typer.Argument(help="The signed report.", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option(help="The operator's verifier key, name+id+key.", exists=True, dir_okay=False)],
) -> None:
    """Verify a termination report offline; exit code 1 if it does not hold."""
    with reported():
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        show(verify(file.read_text(encoding="utf-8", errors="surrogateescape"), verifier))
        say("the report holds")


@app.command("return-export")
def return_export(
    tenant: TenantId,
    request_name: Annotated[
        str, typer.Option("--request", help="The customer's request, tenants/…/customerRequests/….", show_default=False)
    ],
    reason: Reason,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make, with one file per category.", show_default=False)],
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of JSON lines.")] = False,
) -> None:
    """Write what is processed for a customer to files, when its contract ends."""
    asked = ReturnTenantDataRequest(
        name=f"tenants/{tenant}",
        justification=justification(_RETURNING, request_name, reason),
        format=RETURN_FORMAT_CSV if as_csv else RETURN_FORMAT_JSONL,
    )
    with reported(), vault() as client:
        try:
            output.mkdir(mode=0o700)
        except FileExistsError:
            raise AlreadyExistsError("FILE_EXISTS", "there is a folder of that name", field="output") from None
        files: dict[str, IO[bytes]] = {}
        counts: dict[str, int] = {}
        withheld, receipts = 0, 0
        try:
            for page in client.stream(client.tenants.ReturnTenantData, asked):
                if page.category not in files:
                    files[page.category] = (output / f"{page.category}.{'csv' if as_csv else 'jsonl'}").open("xb")
                files[page.category].write(page.data)
                counts[page.category] = counts.get(page.category, 0) + page.count
                withheld += page.withheld
                receipts += 1
        finally:
            for file in files.values():
                file.close()
        show({"written": str(output), "counts": counts, "withheld": withheld, "entries": receipts})


@app.command()
def surplus(tenant: TenantId) -> None:
    """Say which lists nobody used for a year, and how many former contacts are due for a look."""
    with reported(), vault() as client:
        show(client.call(client.tenants.GetSurplusReport, GetSurplusReportRequest(name=f"tenants/{tenant}")))
