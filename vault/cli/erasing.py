"""`pii-vault erase …`: preview, request, approve, certificate, and its offline verification."""

from pathlib import Path
from typing import Annotated

import typer

from vault.audit.certificate import verify_certificate
from vault.audit.checkpoint import NoteVerifier
from vault.cli.options import Purpose, Reason, Reference, RequestId, Tenant, justification
from vault.cli.session import reported, say, show, vault
from vault.v1.erasure_service_pb2 import (
    ApproveErasureRequest,
    GetErasureCertificateRequest,
    GetErasureRequest,
    ListErasuresRequest,
    PreviewErasureRequest,
    RequestErasureRequest,
)

app = typer.Typer(no_args_is_help=True, help="Erase a person by destroying their key, and prove it.")
_DSR = "data-subject-request"
SubjectName = Annotated[str, typer.Argument(help="tenants/…/subjects/…", show_default=False)]
ErasureName = Annotated[str, typer.Argument(help="tenants/…/erasures/…", show_default=False)]


@app.command()
def preview(subject: SubjectName, reason: Reason, purpose: Purpose = _DSR, reference: Reference = "") -> None:
    """Count what an erasure would destroy."""
    with reported(), vault() as client:
        request = PreviewErasureRequest(subject=subject, justification=justification(purpose, reference, reason))
        show(client.call(client.erasures.PreviewErasure, request))


@app.command("request")
def request_(
    subject: SubjectName,
    digest: Annotated[str, typer.Option("--preview-digest", help="Digest of the preview that was seen.", show_default=False)],
    reason: Reason,
    purpose: Purpose = _DSR,
    reference: Reference = "",
    request_id: RequestId = "",
) -> None:
    """Ask for an erasure on the ground of a preview."""
    why = justification(purpose, reference, reason)
    with reported(), vault() as client:
        request = RequestErasureRequest(subject=subject, preview_digest=digest, justification=why, request_id=request_id)
        show(client.call(client.erasures.RequestErasure, request))


@app.command()
def approve(erasure: ErasureName, reason: Reason, purpose: Purpose = _DSR, reference: Reference = "") -> None:
    """Approve an erasure; it is carried out at once."""
    with reported(), vault() as client:
        request = ApproveErasureRequest(name=erasure, justification=justification(purpose, reference, reason))
        show(client.call(client.erasures.ApproveErasure, request))


@app.command()
def get(erasure: ErasureName) -> None:
    """Show an erasure."""
    with reported(), vault() as client:
        show(client.call(client.erasures.GetErasure, GetErasureRequest(name=erasure)))


@app.command("list")
def list_(tenant: Tenant, page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "") -> None:
    """List the erasures of a tenant."""
    with reported(), vault() as client:
        show(client.call(client.erasures.ListErasures, ListErasuresRequest(parent=f"tenants/{tenant}", page_token=page_token)))


@app.command()
def certificate(
    erasure: ErasureName, output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)]
) -> None:
    """Fetch the signed certificate of a finished erasure."""
    with reported(), vault() as client:
        answer = client.call(client.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure))
        output.write_text(answer.certificate, encoding="utf-8")
        show({"written": str(output)})


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The certificate.", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option(help="The operator's verifier key, name+id+key.", exists=True, dir_okay=False)],
) -> None:
    """Verify a certificate offline; exit code 1 if it does not hold."""
    with reported():
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        show(verify_certificate(file.read_text(encoding="utf-8", errors="surrogateescape"), verifier))
        say("the certificate holds")
