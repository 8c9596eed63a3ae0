"""`pii-vault order download|deliver|verify`: a package from the vault to its recipient, and what it is worth there."""

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.bundle.verdict_words import sentences
from vault.bundle.verify import verify as verify_package
from vault.catalogue.words import Language
from vault.cli.options import moment
from vault.cli.session import plain, reported, say, show, vault
from vault.errors import DataLossError, InvalidArgumentError
from vault.v1.legal_service_pb2 import ConfirmExportDeliveryRequest, DownloadExportRequest, GetExportRequest

ExportName = Annotated[str, typer.Argument(help="tenants/…/orders/…/exports/…", show_default=False)]
_DIGEST_HEX = 64
_WITHIN = timedelta(minutes=30)


def add_to(app: typer.Typer) -> None:
    """Add the commands to those of orders."""
    for command in (download, deliver, verify):
        app.command()(command)


def download(name: ExportName, output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]) -> None:
    """Fetch the sealed package, once; an interrupted download goes on where it stopped."""
    part = output.with_name(output.name + ".part")
    with reported(), vault() as client:
        export = client.call(client.legal.GetExport, GetExportRequest(name=name)).export
        receipt: dict[str, Any] = {}
        with part.open("ab") as out:
            if not out.tell() or out.tell() < export.size_bytes:
                for chunk in client.stream(
                    client.legal.DownloadExport, DownloadExportRequest(name=name, offset=out.tell()), timeout=_WITHIN
                ):
                    out.write(chunk.data)
                    receipt = plain(chunk.receipt) if chunk.HasField("receipt") else receipt
        if _sha256(part) != export.sha256:
            # What an interrupted download left may be of another package, or damaged.
            part.unlink()
            raise DataLossError("DOWNLOAD_DAMAGED", "what was downloaded is not the package whose digest the vault keeps")
        part.replace(output)
        show({"written": str(output), "size_bytes": export.size_bytes, "receipt": receipt})


def deliver(
    name: ExportName,
    recipient_name: Annotated[str, typer.Option(help="Who took the package.", show_default=False)],
    recipient_id: Annotated[str, typer.Option(help="Their badge, or how else they proved who they are.", show_default=False)],
    package: Annotated[Path | None, typer.Option(help="The package as the recipient has it.", exists=True, dir_okay=False)] = None,
    sha256: Annotated[str, typer.Option(help="Or its SHA-256 as they read it back, hex.")] = "",
    received: Annotated[str, typer.Option(help="When they took it; now, unless told.")] = "",
    signed_receipt: Annotated[
        Path | None, typer.Option("--receipt", help="Scan of the receipt that they signed.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Record that the recipient has the package, by the digest that they read back."""
    with reported():
        digest = _sha256(package) if package else sha256.strip().lower()
        if len(digest) != _DIGEST_HEX or set(digest) - set("0123456789abcdef"):
            raise InvalidArgumentError("FIELD_INVALID", "give --package, or --sha256 as 64 hex digits", field="sha256")
        request = ConfirmExportDeliveryRequest(
            name=name,
            sha256=bytes.fromhex(digest),
            recipient_name=recipient_name,
            recipient_id=recipient_id,
            receive_time=moment(received, "--received"),
            receipt_sha256=bytes.fromhex(_sha256(signed_receipt)) if signed_receipt else b"",
        )
        with vault() as client:
            show(client.call(client.legal.ConfirmExportDelivery, request))


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
    timestamp_root: Annotated[
        Path | None, typer.Option(help="Root of the time authority, PEM, instead of the one in the package.", exists=True, dir_okay=False)
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="A dump of the audit log, to compare its head and what it says was exported.", exists=True, dir_okay=False),
    ] = None,
    extract_to: Annotated[Path | None, typer.Option(help="Folder to create with the package's files, if it holds.")] = None,
    language: Annotated[Language, typer.Option(help="Language of the verdict.")] = Language.EN,
) -> None:
    """Verify a package offline; exit code 1 if it does not hold."""
    with reported():
        verdict = verify_package(
            package.read_bytes(),
            identity=identity.read_text(errors="replace"),
            trust=trust.read_bytes(),
            timestamp_root=timestamp_root.read_bytes() if timestamp_root else b"",
            audit_log=log.read_text(encoding="utf-8", errors="replace").splitlines() if log else None,
            extract_to=extract_to,
        )
        for sentence in sentences(verdict, language):
            say(sentence)
        show(
            {
                "holds": verdict.ok,
                "findings": [{"code": finding.code.value, "where": finding.where} for finding in verdict.findings],
                "record_counts": dict(verdict.manifest.counts) if verdict.manifest else {},
                "stamp_time": verdict.stamp_time.isoformat() if verdict.stamp_time else "",
                "log_compared": log is not None,
            }
        )
    if not verdict.ok:
        raise typer.Exit(1)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
