"""`pii-vault order …`: the package of an approved order, from its build to the verdict offline; the desk and the holds are beside it."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.bundle.verify import verify as verify_package
from vault.cli import holding, order_desk
from vault.cli.options import RequestId
from vault.cli.session import plain, reported, say, show, vault
from vault.errors import DataLossError
from vault.v1.legal_service_pb2 import ConfirmExportDeliveryRequest, CreateExportRequest, DownloadExportRequest, GetExportRequest

app = typer.Typer(
    no_args_is_help=True, help="Court orders: register, authenticate, scope, approve, export exactly the scope, verify offline."
)
app.add_typer(order_desk.app)
app.add_typer(holding.app)
OrderName = Annotated[str, typer.Argument(help="tenants/…/orders/…", show_default=False)]
ExportName = Annotated[str, typer.Argument(help="tenants/…/orders/…/exports/…", show_default=False)]


@app.command()
def export(order: OrderName, request_id: RequestId = "") -> None:
    """Build the package of an approved order, sealed to its recipient."""
    with reported(), vault() as client:
        show(client.call(client.legal.CreateExport, CreateExportRequest(parent=order, request_id=request_id)))


@app.command("get-export")
def get_export(name: ExportName) -> None:
    """Show an export's counts, size and digest."""
    with reported(), vault() as client:
        show(client.call(client.legal.GetExport, GetExportRequest(name=name)))


@app.command()
def download(name: ExportName, output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]) -> None:
    """Fetch the sealed package; an interrupted download goes on where it stopped."""
    part = output.with_name(output.name + ".part")
    with reported(), vault() as client:
        export = client.call(client.legal.GetExport, GetExportRequest(name=name)).export
        receipt: dict[str, Any] = {}
        with part.open("ab") as out:
            if out.tell() < export.size_bytes:
                for chunk in client.stream(client.legal.DownloadExport, DownloadExportRequest(name=name, offset=out.tell())):
                    out.write(chunk.data)
                    receipt = plain(chunk.receipt) if chunk.HasField("receipt") else receipt
        if _sha256(part) != export.sha256:
            # What an interrupted download left may be of another package, or damaged.
            part.unlink()
            raise DataLossError("DOWNLOAD_DAMAGED", "what was downloaded is not the package whose digest the vault keeps")
        part.replace(output)
        show({"written": str(output), "size_bytes": export.size_bytes, "receipt": receipt})


@app.command()
def deliver(
    name: ExportName,
    sha256: Annotated[str, typer.Option(help="SHA-256 of the package as the recipient read it back, hex.", show_default=False)],
) -> None:
    """Record that the recipient has the package."""
    with reported(), vault() as client:
        try:
            digest = bytes.fromhex(sha256)
        except ValueError:
            raise typer.BadParameter("not hexadecimal", param_hint="--sha256") from None
        show(client.call(client.legal.ConfirmExportDelivery, ConfirmExportDeliveryRequest(name=name, sha256=digest)))


@app.command()
def verify(
    package: Annotated[Path, typer.Argument(help="The sealed package.", exists=True, dir_okay=False)],
    identity: Annotated[Path, typer.Option(help="The recipient's age secret key.", exists=True, dir_okay=False, show_default=False)],
    trust: Annotated[
        Path,
        typer.Option(
            help="The operator's public key, PEM, obtained by another way than the package.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    extract_to: Annotated[Path | None, typer.Option(help="Folder to create with the package's files, if it holds.")] = None,
) -> None:
    """Verify a package offline; exit code 1 if it does not hold."""
    with reported():
        verdict = verify_package(
            package.read_bytes(), identity=identity.read_text(errors="replace"), trust=trust.read_bytes(), extract_to=extract_to
        )
        findings = [{"code": finding.code.value, "where": finding.where} for finding in verdict.findings]
        counts = dict(verdict.manifest.counts) if verdict.manifest else {}
        show({"holds": verdict.ok, "findings": findings, "record_counts": counts})
        say("the package holds" if verdict.ok else "the package does not hold")
    if not verdict.ok:
        raise typer.Exit(1)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
