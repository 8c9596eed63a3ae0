"""`pii-vault order …`: from a court order's details to a package that verifies offline, and what is held meanwhile."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.cli.options import Reason, RequestId, Tenant, justification, moment, pairs
from vault.cli.session import reported, show, vault
from vault.errors import InvalidArgumentError
from vault.v1 import legal_service_pb2
from vault.v1.legal_service_pb2 import (
    ApproveOrderRequest,
    CreateExportRequest,
    GetExportRequest,
    GetOrderRequest,
    Instrument,
    ListHoldsRequest,
    ListOrdersRequest,
    OrderRecipient,
    OrderScope,
    OrderTarget,
    PlaceHoldRequest,
    RegisterOrderRequest,
    RejectOrderRequest,
    ReleaseHoldRequest,
)

app = typer.Typer(no_args_is_help=True, help="Court orders: register, approve by two people, export exactly the scope, verify offline.")
OrderName = Annotated[str, typer.Argument(help="tenants/…/orders/…", show_default=False)]
HoldName = Annotated[str, typer.Argument(help="tenants/…/holds/…", show_default=False)]
ExportName = Annotated[str, typer.Argument(help="tenants/…/orders/…/exports/…", show_default=False)]

_BUILD = timedelta(minutes=30)
# Identifier types as orders name them (requirements §5.3), and the kinds they are searched by.
_KINDS = {
    "PHONE": "phone",
    "EMAIL": "email",
    "SHADOW": "virtual-number",
    "ASSIGNED_NUMBER": "virtual-number",
    "STAR": "star-number",
    "COMPANY_NO": "company-number",
    "INSTALL_ID": "install-id",
}


@app.command()
def register(
    file: Annotated[
        Path, typer.Argument(help="The order's details as JSON, see docs/court-order-package.md.", exists=True, dir_okay=False)
    ],
    tenant: Tenant,
    document: Annotated[
        Path, typer.Option(help="The scanned order; its digest must be the one in FILE.", exists=True, dir_okay=False, show_default=False)
    ],
    recipient: Annotated[str, typer.Option(help="age public key of the recipient, age1…", show_default=False)],
    recipient_body: Annotated[str, typer.Option(help="Who that is, e.g. a police unit.", show_default=False)],
    verified: Annotated[
        str, typer.Option(help="How the key was verified, e.g. call-back to the number in our directory.", show_default=False)
    ],
    request_id: RequestId = "",
) -> None:
    """Register an order; it waits for two approvals."""
    with reported():
        details = _details(file)
        digest = hashlib.sha256(document.read_bytes()).digest()
        if digest.hex() != details.get("document_sha256"):
            raise InvalidArgumentError(
                "DOCUMENT_MISMATCH", "the scanned order is not the one whose digest the details name", field="document"
            )
        request = RegisterOrderRequest(
            parent=f"tenants/{tenant}",
            instrument=_instrument(details, digest),
            scope=_scope(details),
            recipient=OrderRecipient(body=recipient_body, age_recipient=recipient, verification=verified),
            request_id=request_id,
        )
        with vault() as client:
            show(client.call(client.legal.RegisterOrder, request))


@app.command()
def approve(
    order: OrderName, digest: Annotated[str, typer.Option("--scope-digest", help="Digest of the scope that was seen.", show_default=False)]
) -> None:
    """Approve an order by repeating its scope digest; two different people are needed."""
    with reported(), vault() as client:
        show(client.call(client.legal.ApproveOrder, ApproveOrderRequest(name=order, scope_digest=digest)))


@app.command()
def reject(order: OrderName, reason: Annotated[str, typer.Option(help="One sentence without personal data.", show_default=False)]) -> None:
    """Reject an order; it stays on the register."""
    with reported(), vault() as client:
        show(client.call(client.legal.RejectOrder, RejectOrderRequest(name=order, reason=reason)))


@app.command()
def get(order: OrderName) -> None:
    """Show an order without what it says."""
    with reported(), vault() as client:
        show(client.call(client.legal.GetOrder, GetOrderRequest(name=order)))


@app.command("list")
def list_(tenant: Tenant, page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "") -> None:
    """List the orders of a tenant."""
    with reported(), vault() as client:
        show(client.call(client.legal.ListOrders, ListOrdersRequest(parent=f"tenants/{tenant}", page_token=page_token)))


@app.command()
def export(order: OrderName, request_id: RequestId = "") -> None:
    """Build the package of an approved order, sealed to its recipient."""
    with reported(), vault() as client:
        # Should it take longer, the same command goes on from there.
        show(client.call(client.legal.CreateExport, CreateExportRequest(parent=order, request_id=request_id), timeout=_BUILD))


@app.command("get-export")
def get_export(name: ExportName) -> None:
    """Show an export's counts, size and digest."""
    with reported(), vault() as client:
        show(client.call(client.legal.GetExport, GetExportRequest(name=name)))


class HoldKind(StrEnum):
    """Why something is held."""

    ORDER = "order"
    PRESERVATION = "preservation"
    CLAIM = "claim"


@app.command()
def hold(
    tenant: Tenant,
    kind: Annotated[HoldKind, typer.Option(help="Why it is placed.", show_default=False)],
    reason: Reason,
    reference: Annotated[str, typer.Option("--reference", "-r", help="Name of the order, or the ticket of the case.", show_default=False)],
    subject: Annotated[
        list[str] | None, typer.Option(help="Whose records: tenants/…/subjects/…; repeatable, everybody's unless given.")
    ] = None,
    record: Annotated[list[str] | None, typer.Option(help="Which records: tenants/…/subjects/…/records/…; repeatable.")] = None,
    identifier: Annotated[
        list[str] | None, typer.Option(help="Whose records, by kind=value; with --category, --from and --to; repeatable.")
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="Which categories; repeatable, every one unless given.")] = None,
    begin: Annotated[str, typer.Option("--from", help="Start of the period in which what is held happened.")] = "",
    end: Annotated[str, typer.Option("--to", help="End of that period, exclusive.")] = "",
    until: Annotated[str, typer.Option(help="When the hold ends by itself.")] = "",
    review: Annotated[str, typer.Option(help="By when it is looked at again, within twelve months; a claim has one.")] = "",
    request_id: RequestId = "",
) -> None:
    """Hold records: nothing of them is deleted, changed or erased until the hold ends."""
    request = PlaceHoldRequest(
        parent=f"tenants/{tenant}",
        kind=legal_service_pb2.HoldKind.Value(f"HOLD_KIND_{kind.name}"),
        justification=justification(_purpose(kind), reference, reason),
        subjects=subject or [],
        records=record or [],
        expire_time=moment(until, "--until"),
        review_time=moment(review, "--review"),
        request_id=request_id,
    )
    if identifier:
        targets = [OrderTarget(kind=name, value=value) for name, value in _targets(identifier)]
        start_time, end_time = moment(begin, "--from"), moment(end, "--to")
        request.scope.CopyFrom(OrderScope(targets=targets, categories=category or [], start_time=start_time, end_time=end_time))
    else:
        request.categories.extend(category or [])
        request.MergeFrom(PlaceHoldRequest(start_time=moment(begin, "--from"), end_time=moment(end, "--to")))
    with reported(), vault() as client:
        show(client.call(client.legal.PlaceHold, request))


@app.command("release-hold")
def release_hold(
    name: HoldName,
    kind: Annotated[HoldKind, typer.Option(help="Why it was placed.", show_default=False)],
    reason: Reason,
    reference: Annotated[str, typer.Option("--reference", "-r", help="Name of the order, or the ticket of the case.")] = "",
) -> None:
    """Release a hold; what is due goes with the next sweep, and it stays on the register."""
    request = ReleaseHoldRequest(name=name, justification=justification(_purpose(kind), reference, reason))
    with reported(), vault() as client:
        show(client.call(client.legal.ReleaseHold, request))


@app.command()
def holds(tenant: Tenant, page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "") -> None:
    """List the holds of a tenant, those that ended among them."""
    with reported(), vault() as client:
        show(client.call(client.legal.ListHolds, ListHoldsRequest(parent=f"tenants/{tenant}", page_token=page_token)))


def _purpose(kind: HoldKind) -> str:
    return "claim-or-complaint" if kind is HoldKind.CLAIM else "court-order"


def _targets(identifiers: list[str]) -> list[tuple[str, str]]:
    """`kind=value` arguments; a kind may be given more than once."""
    return [pair for item in identifiers for pair in pairs([item], "--identifier").items()]


def _details(file: Path) -> Mapping[str, Any]:
    try:
        details = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        details = None
    if not isinstance(details, dict):
        raise InvalidArgumentError("ORDER_FILE_INVALID", "the file is not a JSON object", field="file")
    return details


def _instrument(details: Mapping[str, Any], digest: bytes) -> Instrument:
    try:
        kind = legal_service_pb2.InstrumentType.Value(f"INSTRUMENT_TYPE_{details.get('instrument_type')}")
    except ValueError:
        raise InvalidArgumentError("ORDER_FILE_INVALID", "no such instrument type", field="instrument_type") from None
    return Instrument(
        type=kind,
        court_name=_text(details, "court_name"),
        case_number=_text(details, "case_no"),
        issuer_name=_text(details, "judge_name"),
        requesting_body=_text(details, "requesting_body"),
        document_sha256=digest,
        issue_time=moment(_text(details, "issued_at"), "issued_at"),
        expire_time=moment(_text(details, "valid_until"), "valid_until"),
    )


def _scope(details: Mapping[str, Any]) -> OrderScope:
    scope = details.get("scope")
    lists = ("targets", "categories", "fields")
    if not isinstance(scope, dict) or not all(isinstance({"fields": [], **scope}.get(name), list) for name in lists):
        raise InvalidArgumentError("ORDER_FILE_INVALID", f"the scope's {', '.join(lists)} are lists, the last one optional", field="scope")
    targets = []
    for target in scope["targets"]:
        if not isinstance(target, dict) or str(target.get("id_type")) not in _KINDS:
            raise InvalidArgumentError("ORDER_FILE_INVALID", f"a target's id_type is not one of {', '.join(_KINDS)}", field="scope.targets")
        targets.append(OrderTarget(kind=_KINDS[target["id_type"]], value=_text(target, "value")))
    return OrderScope(
        targets=targets,
        categories=[str(category) for category in scope["categories"]],
        start_time=moment(_text(scope, "time_from"), "time_from"),
        end_time=moment(_text(scope, "time_to"), "time_to"),
        fields=[str(name) for name in scope.get("fields", [])],
    )


def _text(details: Mapping[str, Any], name: str) -> str:
    value = details.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidArgumentError("ORDER_FILE_INVALID", f"member '{name}' is missing or no text", field=name)
    return value
