"""`pii-vault erase …`: preview, request, approve, certificate, and its offline verification."""

from pathlib import Path
from typing import Annotated

import typer

from vault.audit.certificate import verify_certificate
from vault.audit.checkpoint import NoteVerifier
from vault.bundle.attachment import PDF_MAGIC, attached
from vault.catalogue.words import Language
from vault.cli.options import AsOf, Purpose, Reason, Reference, RequestId, Tenant, justification, moment, pairs
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
_PAGES = {
    "SAME": "the pages are what this version makes of it",
    "DIFFERENT": "the pages are NOT what this version makes of it: another version set them, or somebody altered them; go by what is printed here",
    "NOT_COMPARED": "the pages were not compared, which takes pii-vault[pdf]; go by what is printed here",
}
SubjectName = Annotated[str, typer.Argument(help="tenants/…/subjects/…", show_default=False)]
ErasureName = Annotated[str, typer.Argument(help="tenants/…/erasures/…", show_default=False)]


@app.command()
def preview(
    reason: Reason,
    subject: Annotated[str, typer.Argument(help="tenants/…/subjects/…; or else --tenant and --identifier.")] = "",
    tenant: Annotated[str, typer.Option(help="Tenant, with --identifier.")] = "",
    identifier: Annotated[str, typer.Option(help="KIND=VALUE, e.g. phone=050-2345678; it must lead to one person.")] = "",
    as_of: AsOf = "",
    purpose: Purpose = _DSR,
    reference: Reference = "",
) -> None:
    """Count what an erasure would do; refers to the person's request, unless the tenant itself instructs."""
    with reported(), vault() as client:
        request = PreviewErasureRequest(subject=subject, justification=justification(purpose, reference, reason))
        if identifier:
            [(kind, value)] = pairs([identifier], "--identifier").items()
            request.parent = f"tenants/{tenant}"
            request.identifier.kind, request.identifier.value = kind, value
            stamp = moment(as_of, "--as-of")
            if stamp is not None:
                request.identifier.as_of.CopyFrom(stamp)
        show(client.call(client.erasures.PreviewErasure, request))


@app.command("request")
def request_(
    subject: SubjectName,
    digest: Annotated[str, typer.Option("--preview-digest", help="Digest of the preview that was seen.", show_default=False)],
    reason: Reason,
    purpose: Purpose = _DSR,
    reference: Reference = "",
    request_id: RequestId = "",
    erase_suppression: Annotated[bool, typer.Option(help="Forget as well that the person wants no advertising (A5).")] = False,
) -> None:
    """Ask for an erasure on the ground of a preview."""
    why = justification(purpose, reference, reason)
    with reported(), vault() as client:
        request = RequestErasureRequest(
            subject=subject, preview_digest=digest, justification=why, request_id=request_id, erase_suppression=erase_suppression
        )
        show(client.call(client.erasures.RequestErasure, request))


@app.command()
def approve(erasure: ErasureName, reason: Reason, purpose: Purpose = _DSR, reference: Reference = "") -> None:
    """Approve an erasure; with the last approval it is carried out at once."""
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
    erasure: ErasureName,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the signed certificate.", show_default=False)] = None,
    pdf: Annotated[Path | None, typer.Option(help="File for its pages, with the signed certificate attached.", show_default=False)] = None,
    language: Annotated[Language, typer.Option(help="Language of the pages.")] = Language.HE,
) -> None:
    """Fetch the signed certificate of an erasure, for programs, for people or for both; each supplement beside it."""
    if output is None and pdf is None:
        raise typer.BadParameter("say where to write it: --output FILE, --pdf FILE, or both")
    with reported(), vault() as client:
        answer = client.call(client.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure))
        written = []
        for number, note in enumerate((answer.certificate, *answer.supplements)):
            for file, content in ((output, note.encode()), (pdf, _pages(note, language) if pdf else b"")):
                if file is not None:
                    path = file.with_stem(f"{file.stem}-S{number}") if number else file
                    path.write_bytes(content)
                    written.append(str(path))
        show({"written": written})


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The certificate: the signed text, or a PDF that holds it.", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option(help="The operator's verifier key, name+id+key.", exists=True, dir_okay=False)],
) -> None:
    """Verify a certificate offline; exit code 1 if it does not hold."""
    with reported():
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        content = file.read_bytes()
        is_pdf = content.startswith(PDF_MAGIC)
        note = (attached(content) if is_pdf else content).decode("utf-8", errors="surrogateescape")
        said = verify_certificate(note, verifier)
        verdict = _verdict_on_pages(content, note) if is_pdf else ""
        show({**said, "pages": verdict} if is_pdf else said)
        say("the certificate holds")
        if is_pdf:
            say(_PAGES[verdict])


def _pages(note: str, language: Language) -> bytes:
    from vault.bundle.erasure_page import render_certificate  # noqa: PLC0415 - wants the extra `pdf`, as few commands do
    from vault.catalogue import loader  # noqa: PLC0415

    return render_certificate(note, language, loader.load())


def _verdict_on_pages(pdf: bytes, note: str) -> str:
    """Whether the pages, which nobody signed, are what this version makes of the certificate."""
    try:
        from vault.bundle.erasure_page import language_of  # noqa: PLC0415 - a verifier does without
        from vault.catalogue import loader  # noqa: PLC0415

        return "SAME" if language_of(pdf, note, loader.load()) else "DIFFERENT"
    except ModuleNotFoundError:
        return "NOT_COMPARED"
