"""Storing, finding and revealing records; their metadata; subjects."""

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from vault.cli.options import AsOf, Purpose, Reason, Reference, RequestId, Tenant, justification, moment, pairs
from vault.cli.session import plain, reported, show, vault
from vault.client.errors import status_error
from vault.v1 import resources_pb2
from vault.v1.resources_pb2 import FieldValue
from vault.v1.vault_service_pb2 import (
    BatchRevealRecordsRequest,
    CreateRecordRequest,
    CreateSubjectRequest,
    DeleteRecordRequest,
    FindSubjectsRequest,
    GetRecordRequest,
    GetSubjectRequest,
    ListRecordsRequest,
    RecordInput,
    ResolveIdentifierRequest,
    RevealRecordRequest,
    RevealResult,
    UpdateRecordRequest,
)

subject_app = typer.Typer(no_args_is_help=True, help="People and contacts, without any value.")
record_app = typer.Typer(no_args_is_help=True, help="Records without their values: get, list, update, delete.")

Category = Annotated[str, typer.Option("--category", help="Category of the catalogue.", show_default=False)]
Name = Annotated[str, typer.Argument(help="tenants/…/subjects/…/records/…", show_default=False)]
SubjectName = Annotated[str, typer.Argument(help="tenants/…/subjects/…", show_default=False)]
Full = Annotated[bool, typer.Option("--full", help="Whole values instead of masked ones; needs --field.")]
Fields = Annotated[list[str] | None, typer.Option("--field", "-f", help="Field to release; repeatable.")]
Recipient = Annotated[str, typer.Option(help="Class of the recipient.")]
Values = Annotated[list[str] | None, typer.Argument(help="field=value; field=@FILE takes the file's bytes.", show_default=False)]
Extra = Annotated[list[str] | None, typer.Option("--extra", help="Free-form field, name=value; repeatable.")]


def put(
    tenant: Tenant,
    category: Category,
    values: Values = None,
    extra: Extra = None,
    subject: Annotated[str, typer.Option(help="Owner; found or created by identifier if not given.")] = "",
    level: Annotated[str, typer.Option(help="Content level, where the category has levels.")] = "",
    list_id: Annotated[str, typer.Option("--list", help="Distribution list.")] = "",
    purpose: Annotated[str, typer.Option("--purpose", "-p", help="What it is stored for.")] = "service-delivery",
    request_id: RequestId = "",
    readd_source: Annotated[
        str, typer.Option(help="Who asked to add somebody again who was erased: SUBJECT, GUARDIAN, REPRESENTATIVE, TENANT.")
    ] = "",
) -> None:
    """Store one record."""
    record = RecordInput(
        category=category,
        fields=_values(values or []),
        extra=pairs(extra or [], "--extra"),
        subject=subject,
        level=level,
        list=list_id,
        readd_source=readd_source,
    )
    with reported(), vault() as client:
        request = CreateRecordRequest(parent=f"tenants/{tenant}", record=record, purpose=purpose, request_id=request_id)
        show(client.call(client.records.CreateRecord, request))


def find(
    tenant: Tenant,
    category: Category,
    kind: Annotated[str, typer.Option(help="phone, email, company-number, virtual-number, …", show_default=False)],
    value: Annotated[str, typer.Argument(help="The identifier, in any usual spelling.", show_default=False)],
    purpose: Purpose,
    reason: Reason,
    reference: Reference = "",
    as_of: AsOf = "",
    page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "",
) -> None:
    """Find whose an identifier is; answers with opaque names."""
    request = FindSubjectsRequest(
        parent=f"tenants/{tenant}",
        category=category,
        kind=kind,
        value=value,
        justification=justification(purpose, reference, reason),
        as_of=moment(as_of, "--as-of"),
        page_token=page_token,
    )
    with reported(), vault() as client:
        show(client.call(client.records.FindSubjects, request))


def reveal(
    names: Annotated[list[str], typer.Argument(help="Names of records of one tenant.", show_default=False)],
    purpose: Purpose,
    reason: Reason,
    reference: Reference = "",
    full: Full = False,
    fields: Fields = None,
    recipient: Recipient = "internal",
) -> None:
    """Release values, after the release is durably recorded."""
    why = justification(purpose, reference, reason)
    view = resources_pb2.VIEW_FULL if full else resources_pb2.VIEW_MASKED
    mask = FieldMask(paths=fields or [])
    with reported(), vault() as client:
        if len(names) == 1:
            one = RevealRecordRequest(name=names[0], justification=why, view=view, field_mask=mask, recipient=recipient)
            show(client.call(client.records.RevealRecord, one))
            return
        parent = "/".join(names[0].split("/")[:2])
        many = BatchRevealRecordsRequest(parent=parent, names=names, justification=why, view=view, field_mask=mask, recipient=recipient)
        results = client.call(client.records.BatchRevealRecords, many).results
        show({"results": [_result(result) for result in results]})
        if any(result.HasField("status") for result in results):
            raise typer.Exit(1)


def resolve(
    tenant: Tenant,
    kind: Annotated[str, typer.Option(help="phone or virtual-number.", show_default=False)],
    value: Annotated[str, typer.Argument(help="The number.", show_default=False)],
    purpose: Purpose,
    reason: Reason,
    category: Annotated[str, typer.Option(help="Category to look in.")] = "number-mapping",
    reference: Reference = "",
    as_of: AsOf = "",
    full: Full = False,
    fields: Fields = None,
) -> None:
    """Look a number up and release what it belonged to at a moment, in one call."""
    request = ResolveIdentifierRequest(
        parent=f"tenants/{tenant}",
        category=category,
        kind=kind,
        value=value,
        as_of=moment(as_of, "--as-of"),
        justification=justification(purpose, reference, reason),
        view=resources_pb2.VIEW_FULL if full else resources_pb2.VIEW_MASKED,
        field_mask=FieldMask(paths=fields or []),
    )
    with reported(), vault() as client:
        show(client.call(client.records.ResolveIdentifier, request))


@subject_app.command("create")
def create_subject(tenant: Tenant, request_id: RequestId = "") -> None:
    """Create a subject without records."""
    with reported(), vault() as client:
        show(client.call(client.records.CreateSubject, CreateSubjectRequest(parent=f"tenants/{tenant}", request_id=request_id)))


@subject_app.command("get")
def get_subject(name: SubjectName) -> None:
    """Show a subject's state and record counts."""
    with reported(), vault() as client:
        show(client.call(client.records.GetSubject, GetSubjectRequest(name=name)))


@record_app.command("get")
def get_record(name: Name) -> None:
    """Show a record's metadata."""
    with reported(), vault() as client:
        show(client.call(client.records.GetRecord, GetRecordRequest(name=name)))


@record_app.command("list")
def list_records(
    subject: SubjectName,
    category: Annotated[str, typer.Option(help="Only this category.")] = "",
    page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "",
) -> None:
    """List the metadata of a subject's records."""
    with reported(), vault() as client:
        show(client.call(client.records.ListRecords, ListRecordsRequest(parent=subject, category=category, page_token=page_token)))


@record_app.command("update")
def update_record(
    name: Name,
    purpose: Purpose,
    reason: Reason,
    values: Values = None,
    extra: Extra = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Field to remove; repeatable.")] = None,
    reference: Reference = "",
    etag: Annotated[str, typer.Option(help="Version that was read.")] = "",
) -> None:
    """Replace fields of a record."""
    fields, free = _values(values or []), pairs(extra or [], "--extra")
    mask = FieldMask(paths=[*fields, *(["extra"] if free else []), *(remove or [])])
    request = UpdateRecordRequest(
        name=name, fields=fields, extra=free, update_mask=mask, etag=etag, justification=justification(purpose, reference, reason)
    )
    with reported(), vault() as client:
        show(client.call(client.records.UpdateRecord, request))


@record_app.command("delete")
def delete_record(
    name: Name,
    purpose: Purpose,
    reason: Reason,
    reference: Reference = "",
    etag: Annotated[str, typer.Option(help="Version that was read.")] = "",
) -> None:
    """Delete a record with its index entries."""
    with reported(), vault() as client:
        request = DeleteRecordRequest(name=name, etag=etag, justification=justification(purpose, reference, reason))
        show(client.call(client.records.DeleteRecord, request))


def _values(items: list[str]) -> dict[str, FieldValue]:
    return {name: _value(text) for name, text in pairs(items, "field=value").items()}


def _value(text: str) -> FieldValue:
    if not text.startswith("@"):
        return FieldValue(text=text)
    try:
        return FieldValue(data=Path(text[1:]).read_bytes())
    except OSError:
        raise typer.BadParameter("the file of a field cannot be read") from None


def _result(result: RevealResult) -> dict[str, object]:
    if not result.HasField("status"):
        return plain(result)
    error = status_error(result.status)
    return {"refused": {"reason": error.reason, "message": error.message}, "receipt": plain(result.receipt)}
