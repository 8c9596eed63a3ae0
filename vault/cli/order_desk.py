"""`pii-vault order …`, the desk: an order from the register to its end. What leaves is `orders`, what is held is `holding`."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.cli.options import RequestId, Tenant, moment
from vault.cli.order_file import ask_details, instrument_of, read_details, scope_of
from vault.cli.order_view import show_answer, show_orders, show_preview
from vault.cli.session import SESSION, plain, reported, say, show, vault
from vault.client import VaultClient
from vault.errors import InvalidArgumentError
from vault.v1 import legal_service_pb2 as legal
from vault.v1.legal_service_pb2 import (
    ApproveExportRequest,
    ApproveOrderRequest,
    AuthenticateOrderRequest,
    CloseOrderRequest,
    EndGagRequest,
    GetOrderRequest,
    ListOrdersRequest,
    Order,
    OrderRecipient,
    PreviewExportRequest,
    PreviewExportResponse,
    RegisterOrderRequest,
    RejectOrderRequest,
    ResumeOrderRequest,
    RevokeOrderRequest,
    SetOrderScopeRequest,
    SuspendOrderRequest,
)

app = typer.Typer()
OrderName = Annotated[str, typer.Argument(help="tenants/…/orders/…", show_default=False)]
Why = Annotated[str, typer.Option(help="One sentence without personal data; kept sealed on the register.", show_default=False)]
Age = Annotated[str, typer.Option(help="age public key of the recipient, age1…")]
Body = Annotated[str, typer.Option(help="Who that is, e.g. a police unit.")]
Verified = Annotated[str, typer.Option(help="How the key was verified, e.g. call-back to the number in our directory.")]
# A message is at most 4 MiB.
_MAX_SCAN = 3 << 20
_SOON = 7


@app.command()
def register(
    tenant: Tenant,
    document: Annotated[
        Path, typer.Option(help="The scanned order, at most 3 MiB; kept sealed.", exists=True, dir_okay=False, show_default=False)
    ],
    file: Annotated[
        Path | None,
        typer.Argument(help="The order's details as JSON, see docs/court-orders.md; asked for, unless given.", exists=True, dir_okay=False),
    ] = None,
    recipient: Age = "",
    recipient_body: Body = "",
    verified: Verified = "",
    request_id: RequestId = "",
) -> None:
    """Register an order; it waits to be authenticated, and what it covers is held meanwhile."""
    with reported():
        details = read_details(file) if file is not None else ask_details()
        scan = document.read_bytes()
        digest = hashlib.sha256(scan).digest()
        if details.get("document_sha256", digest.hex()) != digest.hex():
            raise InvalidArgumentError(
                "DOCUMENT_MISMATCH", "the scanned order is not the one whose digest the details name", field="document"
            )
        if len(scan) > _MAX_SCAN:
            raise InvalidArgumentError("FIELD_INVALID", "the scanned order is larger than 3 MiB", field="document", limit=str(_MAX_SCAN))
        request = RegisterOrderRequest(
            parent=f"tenants/{tenant}", instrument=instrument_of(details, digest), document=scan, request_id=request_id
        )
        if details.get("scope") is not None:
            request.scope.CopyFrom(scope_of(details["scope"]))
        if recipient:
            request.recipient.CopyFrom(OrderRecipient(body=recipient_body, age_recipient=recipient, verification=verified))
        with vault() as client:
            show_answer(client.call(client.legal.RegisterOrder, request))


@app.command("show")
def show_(order: OrderName) -> None:
    """Show where an order stands, what is due and what to do next; not what it says."""
    with reported(), vault() as client:
        show_answer(client.call(client.legal.GetOrder, GetOrderRequest(name=order)))


@app.command("list")
def list_(
    tenant: Tenant,
    due: Annotated[bool, typer.Option("--due", help="Only what is due within a week or late, soonest first.")] = False,
    page_token: Annotated[str, typer.Option(help="Continue a listing.")] = "",
) -> None:
    """List the orders of a tenant with their deadlines and next steps."""
    with reported(), vault() as client:
        request = ListOrdersRequest(parent=f"tenants/{tenant}", page_token=page_token)
        if not due:
            answer = client.call(client.legal.ListOrders, request)
            if SESSION.json:
                show(answer)
                return
            show_orders(answer.orders, omitted=answer.omitted_count)
            if answer.next_page_token:
                say(f"more: --page-token {answer.next_page_token}")
            return
        orders, omitted = _all_orders(client, request)
        urgent = sorted((order for order in orders if _is_due(order)), key=lambda order: order.deadlines[0].time.ToDatetime())
        if SESSION.json:
            show({"orders": [plain(order) for order in urgent], "omitted_count": omitted})
        else:
            show_orders(urgent, omitted=omitted)


@app.command()
def authenticate(
    order: OrderName,
    method: Annotated[str, typer.Option(help="stamp, signature or call-back.", prompt="How / כיצד: stamp, signature, call-back")],
    finding: Annotated[
        str, typer.Option(help="What was found, a sentence without personal data.", prompt="What was found / ממצא", show_default=False)
    ],
    failed: Annotated[bool, typer.Option("--failed", help="It is not authentic, or nobody could be asked: reject it.")] = False,
) -> None:
    """Say whether an order is what it says it is; another person than the registrant does."""
    result = legal.AUTHENTICITY_FAILED if failed else legal.AUTHENTICITY_CONFIRMED
    with reported(), vault() as client:
        request = AuthenticateOrderRequest(name=order, method=method, result=result, finding=finding)
        show_answer(client.call(client.legal.AuthenticateOrder, request))


@app.command()
def scope(
    order: OrderName,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            help="The scope as JSON; as it stands, at first all that the order covers, unless given.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    recipient: Age = "",
    recipient_body: Body = "",
    verified: Verified = "",
    counsel_note: Annotated[str, typer.Option(help="What counsel says of what is unclear.")] = "",
) -> None:
    """Settle what is exported: what the order covers or less; every approval is void."""
    with reported(), vault() as client:
        if file is not None:
            details = read_details(file)
            wanted = scope_of(details.get("scope", details))
        else:
            wanted = client.call(client.legal.PreviewExport, PreviewExportRequest(name=order)).scope
        request = SetOrderScopeRequest(name=order, scope=wanted, counsel_note=counsel_note)
        if recipient:
            request.recipient.CopyFrom(OrderRecipient(body=recipient_body, age_recipient=recipient, verification=verified))
        show_answer(client.call(client.legal.SetOrderScope, request))


@app.command()
def preview(
    order: OrderName,
    document_to: Annotated[Path | None, typer.Option(help="Where to write the scanned order; legal officers only.", dir_okay=False)] = None,
) -> None:
    """Count what would be exported, without opening a record."""
    with reported(), vault() as client:
        answer = _preview(client, order, document=document_to is not None)
        if document_to is not None and answer.document:
            document_to.write_bytes(answer.document)
        answer.ClearField("document")
        if SESSION.json:
            show(answer)
        else:
            show_preview(answer)


@app.command()
def approve(
    name: Annotated[str, typer.Argument(help="tenants/…/orders/…, or …/exports/… to release its package.", show_default=False)],
    digest: Annotated[
        str, typer.Option("--scope-digest", help="Digest of the scope that was seen; shown and asked for, unless given.")
    ] = "",
) -> None:
    """Approve an order after seeing what would be exported, or the release of its package."""
    with reported(), vault() as client:
        if "/exports/" in name:
            show(client.call(client.legal.ApproveExport, ApproveExportRequest(name=name)))
            return
        if not digest and SESSION.json:
            raise InvalidArgumentError("FIELD_REQUIRED", "machines say which scope they approve: --scope-digest", field="scope_digest")
        if not digest:
            # Whoever approves has seen it, at this very moment.
            answer = _preview(client, name)
            show_preview(answer)
            typer.confirm("Approve exactly this? / לאשר בדיוק את זה?", abort=True)
            digest = answer.scope_digest
        show_answer(client.call(client.legal.ApproveOrder, ApproveOrderRequest(name=name, scope_digest=digest)))


@app.command()
def reject(order: OrderName, reason: Why) -> None:
    """Reject an order; it stays on the register, and what it held is let go."""
    _end("RejectOrder", RejectOrderRequest(name=order, reason=reason))


@app.command()
def revoke(order: OrderName, reason: Why) -> None:
    """Revoke an order that the court withdrew; a package that nobody has yet is destroyed."""
    _end("RevokeOrder", RevokeOrderRequest(name=order, reason=reason))


@app.command()
def suspend(order: OrderName, reason: Why) -> None:
    """Suspend an order while the court is asked what it means."""
    _end("SuspendOrder", SuspendOrderRequest(name=order, reason=reason))


@app.command()
def resume(order: OrderName, reason: Why) -> None:
    """Take up a suspended order where it stood."""
    _end("ResumeOrder", ResumeOrderRequest(name=order, reason=reason))


@app.command("end-gag")
def end_gag(order: OrderName, reason: Why) -> None:
    """Note that nothing forbids any more to tell of an order; the tenant sees it from now on."""
    _end("EndGag", EndGagRequest(name=order, reason=reason))


@app.command()
def close(
    order: OrderName,
    hold_until: Annotated[str, typer.Option(help="Until when what it covers is held on, for the case; let go, unless given.")] = "",
) -> None:
    """Close an order that is done with."""
    _end("CloseOrder", CloseOrderRequest(name=order, hold_until_time=moment(hold_until, "--hold-until")))


def _end(method: str, request: Any) -> None:
    with reported(), vault() as client:
        show_answer(client.call(getattr(client.legal, method), request))


def _preview(client: VaultClient, order: str, *, document: bool = False) -> PreviewExportResponse:
    return client.call(client.legal.PreviewExport, PreviewExportRequest(name=order, include_document=document))


def _all_orders(client: VaultClient, request: ListOrdersRequest) -> tuple[list[Order], int]:
    orders: list[Order] = []
    omitted = 0
    while True:
        answer = client.call(client.legal.ListOrders, request)
        orders.extend(answer.orders)
        omitted += answer.omitted_count
        if not answer.next_page_token:
            return orders, omitted
        request.page_token = answer.next_page_token


def _is_due(order: Order) -> bool:
    """Whether something is due within a week."""
    return bool(order.deadlines) and (order.deadlines[0].time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)).days < _SOON
