"""LegalService: parse, hand over, convert."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from vault import names
from vault.errors import InvalidArgumentError
from vault.operations import export, export_deliver, hold, order, order_approval, order_end, order_notice, order_scope
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.export_deliver import Delivery
from vault.operations.hold import NewHold
from vault.rpc import convert, convert_orders
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.v1 import legal_service_pb2, legal_service_pb2_grpc
from vault.v1.legal_service_pb2 import (
    AUTHENTICITY_CONFIRMED,
    AUTHENTICITY_UNSPECIFIED,
    ApproveExportRequest,
    ApproveExportResponse,
    ApproveOrderRequest,
    ApproveOrderResponse,
    AuthenticateOrderRequest,
    AuthenticateOrderResponse,
    CloseOrderRequest,
    CloseOrderResponse,
    ConfirmExportDeliveryRequest,
    ConfirmExportDeliveryResponse,
    CreateExportRequest,
    CreateExportResponse,
    DownloadExportRequest,
    DownloadExportResponse,
    EndGagRequest,
    EndGagResponse,
    GetExportRequest,
    GetExportResponse,
    GetOrderRequest,
    GetOrderResponse,
    ListHoldsRequest,
    ListHoldsResponse,
    ListOrdersRequest,
    ListOrdersResponse,
    PlaceHoldRequest,
    PlaceHoldResponse,
    PreviewExportRequest,
    PreviewExportResponse,
    RegisterOrderRequest,
    RegisterOrderResponse,
    RejectOrderRequest,
    RejectOrderResponse,
    ReleaseHoldRequest,
    ReleaseHoldResponse,
    ResumeOrderRequest,
    ResumeOrderResponse,
    RevokeOrderRequest,
    RevokeOrderResponse,
    SetOrderScopeRequest,
    SetOrderScopeResponse,
    SuspendOrderRequest,
    SuspendOrderResponse,
)
from vault.v1.resources_pb2 import Justification

Context = grpc.aio.ServicerContext[Any, Any]
_COLLECTION = "orders"
_HOLDS = "holds"


class LegalServicer(legal_service_pb2_grpc.LegalServiceServicer):
    """Court orders from the register to the sealed package, and holds."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def RegisterOrder(self, request: RegisterOrderRequest, context: Context) -> RegisterOrderResponse:
        """Register an order."""
        tenant = names.parse_tenant(request.parent).tenant
        key = convert.request_key(request, request.request_id, "RegisterOrder")
        content = convert_orders.content(request)
        view, receipt = await order.register_order(self._vault, current_attempt(), tenant, content, key, document=request.document)
        return RegisterOrderResponse(order=convert_orders.order(tenant, view), receipt=convert.receipt(receipt))

    async def AuthenticateOrder(self, request: AuthenticateOrderRequest, context: Context) -> AuthenticateOrderResponse:
        """Say whether an order is authentic."""
        name = names.parse_child(request.name, _COLLECTION)
        if request.result == AUTHENTICITY_UNSPECIFIED:
            raise InvalidArgumentError("FIELD_REQUIRED", "field 'result' is empty", field="result")
        is_authentic = request.result == AUTHENTICITY_CONFIRMED
        view, receipt = await order.authenticate_order(
            self._vault, current_attempt(), name, method=request.method, is_authentic=is_authentic, finding=request.finding
        )
        return AuthenticateOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def SetOrderScope(self, request: SetOrderScopeRequest, context: Context) -> SetOrderScopeResponse:
        """Settle what is exported."""
        name = names.parse_child(request.name, _COLLECTION)
        recipient = convert_orders.recipient(request.recipient) if request.HasField("recipient") else None
        scope = convert_orders.scope(request.scope)
        view, receipt = await order_scope.set_order_scope(
            self._vault, current_attempt(), name, scope, recipient=recipient, counsel_note=request.counsel_note
        )
        return SetOrderScopeResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def PreviewExport(self, request: PreviewExportRequest, context: Context) -> PreviewExportResponse:
        """Count what an export would hold."""
        name = names.parse_child(request.name, _COLLECTION)
        preview, receipt = await order_scope.preview_export(self._vault, current_attempt(), name, include_document=request.include_document)
        response = convert_orders.preview(preview)
        response.receipt.CopyFrom(convert.receipt(receipt))
        return response

    async def ApproveOrder(self, request: ApproveOrderRequest, context: Context) -> ApproveOrderResponse:
        """Approve an order."""
        name = names.parse_child(request.name, _COLLECTION)
        view, receipt = await order_approval.approve_order(self._vault, current_attempt(), name, scope_digest=request.scope_digest)
        return ApproveOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def RejectOrder(self, request: RejectOrderRequest, context: Context) -> RejectOrderResponse:
        """Reject an order."""
        name = names.parse_child(request.name, _COLLECTION)
        view, receipt = await order_end.reject_order(self._vault, current_attempt(), name, reason=request.reason)
        return RejectOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def RevokeOrder(self, request: RevokeOrderRequest, context: Context) -> RevokeOrderResponse:
        """Revoke an order that the court withdrew."""
        name = names.parse_child(request.name, _COLLECTION)
        view, receipt = await order_end.revoke_order(self._vault, current_attempt(), name, reason=request.reason)
        return RevokeOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def SuspendOrder(self, request: SuspendOrderRequest, context: Context) -> SuspendOrderResponse:
        """Suspend an order."""
        name = names.parse_child(request.name, _COLLECTION)
        view, receipt = await order_end.suspend_order(self._vault, current_attempt(), name, reason=request.reason)
        return SuspendOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def ResumeOrder(self, request: ResumeOrderRequest, context: Context) -> ResumeOrderResponse:
        """Take up a suspended order."""
        name = names.parse_child(request.name, _COLLECTION)
        view, receipt = await order_end.resume_order(self._vault, current_attempt(), name, reason=request.reason)
        return ResumeOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def CloseOrder(self, request: CloseOrderRequest, context: Context) -> CloseOrderResponse:
        """Close an order."""
        name = names.parse_child(request.name, _COLLECTION)
        until = convert.moment(request, "hold_until_time")
        view, receipt = await order_end.close_order(self._vault, current_attempt(), name, hold_until=until)
        return CloseOrderResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def EndGag(self, request: EndGagRequest, context: Context) -> EndGagResponse:
        """Note that nothing forbids any more to tell of an order."""
        name = names.parse_child(request.name, _COLLECTION)
        view, receipt = await order_notice.end_gag(self._vault, current_attempt(), name, reason=request.reason)
        return EndGagResponse(order=convert_orders.order(name.tenant, view), receipt=convert.receipt(receipt))

    async def GetOrder(self, request: GetOrderRequest, context: Context) -> GetOrderResponse:
        """Read an order."""
        name = names.parse_child(request.name, _COLLECTION)
        view = await order.get_order(self._vault, current_attempt().caller, name)
        return GetOrderResponse(order=convert_orders.order(name.tenant, view))

    async def ListOrders(self, request: ListOrdersRequest, context: Context) -> ListOrdersResponse:
        """List the orders of a tenant."""
        tenant = names.parse_tenant(request.parent).tenant
        after = self._pages.open(request.page_token, _COLLECTION, tenant)
        views, following, omitted = await order.list_orders(
            self._vault, current_attempt().caller, tenant, page_size=request.page_size, after=after
        )
        return ListOrdersResponse(
            orders=[convert_orders.order(tenant, view) for view in views],
            next_page_token=self._pages.seal(following, _COLLECTION, tenant),
            omitted_count=omitted,
        )

    async def CreateExport(self, request: CreateExportRequest, context: Context) -> CreateExportResponse:
        """Build the package of an approved order."""
        name = names.parse_child(request.parent, _COLLECTION, field="parent")
        row, receipt = await export.create_export(self._vault, current_attempt(), name)
        return CreateExportResponse(export=convert.export(name.tenant, row), receipt=convert.receipt(receipt) if receipt else None)

    async def GetExport(self, request: GetExportRequest, context: Context) -> GetExportResponse:
        """Read an export."""
        name = names.parse_export(request.name)
        return GetExportResponse(export=convert.export(name.tenant, await export.get_export(self._vault, name)))

    async def ApproveExport(self, request: ApproveExportRequest, context: Context) -> ApproveExportResponse:
        """Let a sealed package be handed over."""
        name = names.parse_export(request.name)
        row, receipt = await order_approval.approve_export(self._vault, current_attempt(), name)
        return ApproveExportResponse(export=convert.export(name.tenant, row), receipt=convert.receipt(receipt))

    async def DownloadExport(self, request: DownloadExportRequest, context: Context) -> AsyncIterator[DownloadExportResponse]:
        """Send the sealed package."""
        name = names.parse_export(request.name)
        async for chunk in export_deliver.download_export(self._vault, current_attempt(), name, offset=request.offset):
            receipt = convert.receipt(chunk.receipt) if chunk.receipt else None
            yield DownloadExportResponse(offset=chunk.offset, data=chunk.data, receipt=receipt)

    async def ConfirmExportDelivery(self, request: ConfirmExportDeliveryRequest, context: Context) -> ConfirmExportDeliveryResponse:
        """Record that the recipient has the package."""
        name = names.parse_export(request.name)
        delivery = Delivery(
            sha256=request.sha256,
            recipient_name=request.recipient_name,
            recipient_id=request.recipient_id,
            receive_time=convert.moment(request, "receive_time") or self._vault.clock(),
            receipt_sha256=request.receipt_sha256,
        )
        row, receipt = await export_deliver.confirm_delivery(self._vault, current_attempt(), name, delivery)
        return ConfirmExportDeliveryResponse(export=convert.export(name.tenant, row), receipt=convert.receipt(receipt))

    async def PlaceHold(self, request: PlaceHoldRequest, context: Context) -> PlaceHoldResponse:
        """Place a hold."""
        tenant = names.parse_tenant(request.parent).tenant
        attempt = _justified(request.justification)
        key = convert.request_key(request, request.request_id, "PlaceHold")
        view, receipt = await hold.place_hold(self._vault, attempt, tenant, _new_hold(request), key)
        return PlaceHoldResponse(hold=convert.hold(tenant, view), receipt=convert.receipt(receipt))

    async def ReleaseHold(self, request: ReleaseHoldRequest, context: Context) -> ReleaseHoldResponse:
        """Release a hold."""
        name = names.parse_child(request.name, _HOLDS)
        view, receipt = await hold.release_hold(self._vault, _justified(request.justification), name)
        return ReleaseHoldResponse(receipt=convert.receipt(receipt), hold=convert.hold(name.tenant, view))

    async def ListHolds(self, request: ListHoldsRequest, context: Context) -> ListHoldsResponse:
        """List the holds of a tenant."""
        tenant = names.parse_tenant(request.parent).tenant
        after = self._pages.open(request.page_token, _HOLDS, tenant)
        views, following = await hold.list_holds(self._vault, tenant, page_size=request.page_size, after=after)
        return ListHoldsResponse(
            holds=[convert.hold(tenant, view) for view in views], next_page_token=self._pages.seal(following, _HOLDS, tenant)
        )


def _justified(message: Justification) -> Attempt:
    attempt = current_attempt()
    attempt.justification = convert.justification(message)
    return attempt


def _new_hold(request: PlaceHoldRequest) -> NewHold:
    """What to hold: by identifiers, which come with categories and a period of their own, or by names.

    Raises:
        InvalidArgumentError: FIELD_INVALID, FIELD_REQUIRED, NAME_INVALID.
    """
    by_identifiers, scope = request.HasField("scope"), request.scope
    if by_identifiers and (request.categories or request.HasField("start_time") or request.HasField("end_time")):
        raise InvalidArgumentError("FIELD_INVALID", "categories and period of identifiers stand in the scope", field="scope")
    if scope.fields:
        raise InvalidArgumentError("FIELD_INVALID", "records are held whole", field="scope.fields")
    return NewHold(
        kind=legal_service_pb2.HoldKind.Name(request.kind).removeprefix("HOLD_KIND_"),
        identifiers=tuple((target.kind, target.value) for target in scope.targets),
        subjects=tuple(names.parse_subject(name, field="subjects") for name in request.subjects),
        records=tuple(names.parse_record(name, field="records") for name in request.records),
        categories=tuple(scope.categories if by_identifiers else request.categories),
        start_time=convert.required_moment(scope, "start_time") if by_identifiers else convert.moment(request, "start_time"),
        end_time=convert.required_moment(scope, "end_time") if by_identifiers else convert.moment(request, "end_time"),
        expire_time=convert.moment(request, "expire_time"),
        review_time=convert.moment(request, "review_time"),
    )
