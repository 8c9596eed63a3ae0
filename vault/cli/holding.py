"""`pii-vault order hold`, `release-hold`, `holds`: what is kept meanwhile."""

from enum import StrEnum
from typing import Annotated

import typer

from vault.cli.options import Reason, RequestId, Tenant, justification, moment, pairs
from vault.cli.session import reported, show, vault
from vault.v1 import legal_service_pb2
from vault.v1.legal_service_pb2 import ListHoldsRequest, OrderScope, OrderTarget, PlaceHoldRequest, ReleaseHoldRequest

app = typer.Typer()
HoldName = Annotated[str, typer.Argument(help="tenants/…/holds/…", show_default=False)]


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
