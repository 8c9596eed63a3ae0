"""`pii-vault operations …`: retention, the database definition, readiness."""

from pathlib import Path
from typing import Annotated

import typer

from vault.cli.session import SESSION, reported, show, vault
from vault.v1.operations_service_pb2 import GetDatabaseDefinitionRequest, GetReadinessRequest, RunRetentionRequest

app = typer.Typer(no_args_is_help=True, help="Retention, the database definition, readiness.")


@app.command()
def retention(
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Tenant id; every tenant unless told.")] = "",
) -> None:
    """Erase what retention has ended for; the server does it by itself every minute."""
    with reported(), vault() as client:
        show(client.call(client.operations.RunRetention, RunRetentionRequest(tenant=f"tenants/{tenant}" if tenant else "")))


@app.command()
def definition(
    language: Annotated[str, typer.Option(help="he or en.")] = "he",
    output: Annotated[Path | None, typer.Option(help="File to write it to.")] = None,
) -> None:
    """Render the database definition document, as Markdown."""
    with reported(), vault() as client:
        found = client.call(client.operations.GetDatabaseDefinition, GetDatabaseDefinitionRequest(language=language))
        if output is not None:
            output.write_text(found.document, encoding="utf-8")
            show({"written": str(output), "policy_version": found.policy_version, "stale": found.stale})
        elif SESSION.json:
            show(found)
        else:
            SESSION.out.print(found.document, markup=False, end="")


@app.command()
def readiness() -> None:
    """Say whether the vault can serve, and what to look at. Exit code 1 if it cannot."""
    with reported(), vault() as client:
        found = client.call(client.operations.GetReadiness, GetReadinessRequest())
        show(found)
    if not found.ready:
        raise typer.Exit(1)
