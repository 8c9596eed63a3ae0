"""`pii-vault operations …`: retention, the database definition, readiness, and what is to be done after a restore."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from vault.cli.session import SESSION, reported, show, vault
from vault.v1.operations_service_pb2 import (
    GetDatabaseDefinitionRequest,
    GetReadinessRequest,
    ReplayErasuresRequest,
    RunRetentionRequest,
)

# As long as it takes to look at everybody, to erase again whom a backup brought back, and to catch up with retention.
_REPLAY = timedelta(hours=6)

app = typer.Typer(no_args_is_help=True, help="Retention, the database definition, readiness, restores.")


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


@app.command("replay-erasures")
def replay_erasures() -> None:
    """Erase again whom a restored backup brought back; the vault serves nothing else until that is done."""
    with reported(), vault() as client:
        show(client.call(client.operations.ReplayErasures, ReplayErasuresRequest(), timeout=_REPLAY))


@app.command("prune-ledger")
def prune_ledger(
    older_than: Annotated[int, typer.Option("--older-than", help="Age in days of the entries to take away.", show_default=False)],
    config: Annotated[Path, typer.Option("--config", help="Configuration file.", envvar="PII_VAULT_CONFIG")] = Path("vault.yaml"),
) -> None:
    """Take entries off the erasure ledger that no backup is old enough to need. On the machine of the vault, which may serve meanwhile."""
    with reported():
        import asyncio  # noqa: PLC0415

        from vault import config as configuration  # noqa: PLC0415
        from vault import server  # noqa: PLC0415

        show({"pruned": asyncio.run(server.prune_ledger(configuration.load(config), before_days=older_than))})
