"""`pii-vault rights …`: consents, advertising, restrictions, objections, guardians, and people's requests about their own data."""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.cli.options import Reason, Reference, Tenant, justification, moment
from vault.cli.session import plain, reported, show, vault
from vault.errors import AlreadyExistsError
from vault.v1.rights_service_pb2 import (
    CloseSubjectRequestRequest,
    ExportSubjectDataRequest,
    ExtendSubjectRequestRequest,
    LiftRestrictionRequest,
    ListSubjectRequestsRequest,
    ObjectToProcessingRequest,
    OpenSubjectRequestRequest,
    RecordConsentRequest,
    RegisterGuardianConsentRequest,
    RestrictSubjectRequest,
    SetMarketingPreferenceRequest,
    VerifySubjectRequestRequest,
    WithdrawConsentRequest,
    WithdrawGuardianConsentRequest,
)

app = typer.Typer(no_args_is_help=True, help="What people agree to, choose, object to and ask for about themselves.")
Subject = Annotated[str, typer.Argument(help="tenants/…/subjects/…", show_default=False)]
Whose = Annotated[str, typer.Argument(help="tenants/…/subjects/…, or tenants/… where the tenant itself consents.", show_default=False)]
Scope = Annotated[str, typer.Argument(help="third-party:RECIPIENT, purpose:PURPOSE or attestation:recipients-of-age.", show_default=False)]
RequestName = Annotated[str, typer.Argument(help="tenants/…/subjectRequests/…", show_default=False)]
Evidence = Annotated[
    Path, typer.Option(help="File that shows it; only its digest is sent.", exists=True, dir_okay=False, show_default=False)
]
_PURPOSE = "data-subject-request"


class Choice(StrEnum):
    """What somebody chose about advertising."""

    IN = "in"
    OUT = "out"


class Channel(StrEnum):
    """Where advertising comes."""

    SMS = "sms"
    EMAIL = "email"
    VOICE = "voice"
    FAX = "fax"
    POST = "post"


class Source(StrEnum):
    """How a choice was told."""

    WEB = "web"
    PHONE = "phone"
    EMAIL = "email"
    FAX = "fax"
    LETTER = "letter"


class Basis(StrEnum):
    """What an agreement rests on."""

    ACCOUNT_TERMS = "account-terms"
    EXPLICIT_OPT_IN = "explicit-opt-in"
    EXISTING_CUSTOMER_SIMILAR_SERVICE = "existing-customer-similar-service"


class Method(StrEnum):
    """How a guardian was verified."""

    DOCUMENT = "document"
    CALL_BACK = "call-back"
    IN_PERSON = "in-person"


class Kind(StrEnum):
    """What is asked for."""

    ACCESS = "access"
    RECTIFICATION = "rectification"
    ERASURE = "erasure"
    RESTRICTION = "restriction"
    OBJECTION = "objection"
    PORTABILITY = "portability"


class Intake(StrEnum):
    """How a request came."""

    PHONE = "phone"
    FAX = "fax"
    LETTER = "letter"
    WEB = "web"
    EMAIL_INFO = "email-info"
    EMAIL_SUPPORT = "email-support"
    EMAIL_CONTACT = "email-contact"


class Requester(StrEnum):
    """Who asks."""

    SUBJECT = "subject"
    GUARDIAN = "guardian"
    REPRESENTATIVE = "representative"


@app.command()
def consent(
    subject: Whose,
    scope: Scope,
    text_version: Annotated[str, typer.Option(help="Version of the text that was shown.")] = "",
    evidence: Annotated[Path | None, typer.Option(help="File that shows it; only its digest is sent.", exists=True, dir_okay=False)] = None,
    until: Annotated[str, typer.Option(help="When it ends by itself; never unless told.")] = "",
) -> None:
    """Record a consent."""
    request = RecordConsentRequest(
        subject=subject,
        scope=scope,
        text_version=text_version,
        evidence_sha256=_digest(evidence) if evidence else b"",
        expire_time=moment(until, "--until"),
    )
    with reported(), vault() as client:
        show(client.call(client.rights.RecordConsent, request))


@app.command()
def withdraw(subject: Whose, scope: Scope) -> None:
    """Withdraw a consent; effective on the next call."""
    with reported(), vault() as client:
        show(client.call(client.rights.WithdrawConsent, WithdrawConsentRequest(subject=subject, scope=scope)))


@app.command()
def marketing(
    subject: Subject,
    choice: Annotated[Choice, typer.Argument(help="Whether the person agrees.", show_default=False)],
    source: Annotated[Source, typer.Option(help="How it was told.", show_default=False)],
    channel: Annotated[Channel | None, typer.Option(help="Only on this channel; every one unless told.")] = None,
    basis: Annotated[Basis | None, typer.Option(help="What an agreement rests on.")] = None,
    text_version: Annotated[str, typer.Option(help="Version of the text that was shown.")] = "",
) -> None:
    """Record what somebody chose about advertising."""
    request = SetMarketingPreferenceRequest(
        subject=subject,
        channel=channel.name if channel else "",
        allowed=choice is Choice.IN,
        basis=basis.name if basis else "",
        source=source.name,
        text_version=text_version,
    )
    with reported(), vault() as client:
        show(client.call(client.rights.SetMarketingPreference, request))


@app.command()
def restrict(subject: Subject, reason: Reason, reference: Reference = "") -> None:
    """Restrict a person's data: kept, and used for claims, orders and the person's own requests only."""
    request = RestrictSubjectRequest(subject=subject, justification=justification(_PURPOSE, reference, reason))
    with reported(), vault() as client:
        show(client.call(client.rights.RestrictSubject, request))


@app.command()
def lift(
    subject: Subject,
    reason: Reason,
    reference: Reference = "",
    notice: Annotated[str, typer.Option(help="Id of the notice by which the person was told before.")] = "",
) -> None:
    """Lift a person's restrictions, after they were told."""
    request = LiftRestrictionRequest(subject=subject, justification=justification(_PURPOSE, reference, reason), notice_id=notice)
    with reported(), vault() as client:
        show(client.call(client.rights.LiftRestriction, request))


@app.command("object")
def object_(subject: Subject, purpose: Annotated[str, typer.Argument(help="A purpose of the catalogue.", show_default=False)]) -> None:
    """Record an objection: against advertising a no everywhere, against anything else a restriction."""
    with reported(), vault() as client:
        show(client.call(client.rights.ObjectToProcessing, ObjectToProcessingRequest(subject=subject, purpose=purpose)))


@app.command()
def guardian(
    subject: Subject,
    evidence: Evidence,
    method: Annotated[Method, typer.Option(help="How the guardian was verified.")] = Method.DOCUMENT,
    name: Annotated[str, typer.Option(help="Name of the guardian; kept sealed.")] = "",
    contact: Annotated[str, typer.Option(help="Telephone number or mailbox of the guardian; kept sealed.")] = "",
    born: Annotated[str, typer.Option(help="Date of birth of the minor, 2012-12-31; only the year of coming of age is kept.")] = "",
) -> None:
    """Register a guardian's consent for a minor."""
    request = RegisterGuardianConsentRequest(
        subject=subject,
        evidence_sha256=_digest(evidence),
        method=method.name,
        guardian_name=name,
        guardian_contact=contact,
        birth_date=born,
    )
    with reported(), vault() as client:
        show(client.call(client.rights.RegisterGuardianConsent, request))


@app.command("guardian-withdraw")
def guardian_withdraw(subject: Subject) -> None:
    """Withdraw a guardian's consent; what is kept of the minor is restricted."""
    with reported(), vault() as client:
        show(client.call(client.rights.WithdrawGuardianConsent, WithdrawGuardianConsentRequest(subject=subject)))


@app.command()
def request(
    tenant: Tenant,
    kind: Annotated[Kind, typer.Argument(help="What is asked for.", show_default=False)],
    channel: Annotated[Intake, typer.Option(help="How it came.", show_default=False)],
    requester: Annotated[Requester, typer.Option(help="Who asks.")] = Requester.SUBJECT,
    subject: Annotated[str, typer.Option(help="The person, tenants/…/subjects/…, if known.")] = "",
    received: Annotated[str, typer.Option(help="When it was first received, by whatever channel; now unless told.")] = "",
) -> None:
    """Open a person's request about their own data, and start its clock."""
    opened = OpenSubjectRequestRequest(
        parent=f"tenants/{tenant}",
        subject=subject,
        kind=kind.name,
        channel=channel.name,
        requester=requester.name,
        receive_time=moment(received, "--received"),
    )
    with reported(), vault() as client:
        show(client.call(client.rights.OpenSubjectRequest, opened))


@app.command("verify-request")
def verify_request(
    name: RequestName,
    evidence: Evidence,
    subject: Annotated[str, typer.Option(help="The person, tenants/…/subjects/…, if the request does not name them yet.")] = "",
) -> None:
    """Note that the identity of who asks was verified."""
    verified = VerifySubjectRequestRequest(name=name, evidence_sha256=_digest(evidence), subject=subject)
    with reported(), vault() as client:
        show(client.call(client.rights.VerifySubjectRequest, verified))


@app.command("extend-request")
def extend_request(
    name: RequestName,
    until: Annotated[str, typer.Option(help="By when it will be answered; two more months at most.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why it takes longer: one sentence without personal data.", show_default=False)],
) -> None:
    """Extend the clock of a request, once."""
    extended = ExtendSubjectRequestRequest(name=name, reason=reason, due_time=moment(until, "--until"))
    with reported(), vault() as client:
        show(client.call(client.rights.ExtendSubjectRequest, extended))


@app.command("close-request")
def close_request(name: RequestName) -> None:
    """Close a request."""
    with reported(), vault() as client:
        show(client.call(client.rights.CloseSubjectRequest, CloseSubjectRequestRequest(name=name)))


@app.command()
def requests(
    tenant: Tenant,
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones too.")] = False,
    page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "",
) -> None:
    """List requests, what is due first."""
    listed = ListSubjectRequestsRequest(parent=f"tenants/{tenant}", closed=closed, page_token=page_token)
    with reported(), vault() as client:
        show(client.call(client.rights.ListSubjectRequests, listed))


@app.command()
def export(
    subject: Subject,
    request_name: Annotated[str, typer.Option("--request", help="The person's verified request, tenants/…/subjectRequests/….")],
    reason: Reason,
    output: Annotated[Path, typer.Option("--output", "-o", help="ZIP file to write.", show_default=False)],
) -> None:
    """Write a person's own data to a file."""
    asked = ExportSubjectDataRequest(subject=subject, justification=justification(_PURPOSE, request_name, reason))
    with reported(), vault() as client:
        data, receipt = bytearray(), dict[str, Any]()
        # Before anything is released: it is somebody's data, for its owner only, whole or not at all.
        try:
            output.touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise AlreadyExistsError("FILE_EXISTS", "there is a file of that name", field="output") from None
        try:
            for chunk in client.stream(client.rights.ExportSubjectData, asked):
                data += chunk.data
                receipt = plain(chunk.receipt) if chunk.HasField("receipt") else receipt
            output.write_bytes(data)
        except BaseException:
            output.unlink()
            raise
        show({"written": str(output), "size_bytes": len(data), "receipt": receipt})


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
