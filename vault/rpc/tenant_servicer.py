"""TenantService: parse, hand over, convert."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from vault import names
from vault.errors import InvalidArgumentError
from vault.operations import job as jobs
from vault.operations import notify, return_data, surplus, terminate
from vault.operations import tenant as tenants
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.rpc import convert, convert_terminations
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.v1.tenant_service_pb2 import (
    AcknowledgeNotificationRequest,
    AcknowledgeNotificationResponse,
    ApproveTerminationRequest,
    ApproveTerminationResponse,
    CloseCustomerRequestRequest,
    CloseCustomerRequestResponse,
    CloseJobRequest,
    CloseJobResponse,
    CreateTenantRequest,
    CreateTenantResponse,
    GetSurplusReportRequest,
    GetSurplusReportResponse,
    GetTenantRequest,
    GetTenantResponse,
    GetTerminationReportRequest,
    GetTerminationReportResponse,
    ListNotificationsRequest,
    ListNotificationsResponse,
    ListTenantsRequest,
    ListTenantsResponse,
    OpenCustomerRequestRequest,
    OpenCustomerRequestResponse,
    OpenJobRequest,
    OpenJobResponse,
    ReturnTenantDataRequest,
    ReturnTenantDataResponse,
    TerminateTenantRequest,
    TerminateTenantResponse,
    UpdateTenantRequest,
    UpdateTenantResponse,
)
from vault.v1.tenant_service_pb2_grpc import TenantServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]


class TenantServicer(TenantServiceServicer):
    """Tenants, what they decide about themselves, the requests of their customers, their jobs, the ends of their contracts."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def CreateTenant(self, request: CreateTenantRequest, context: Context) -> CreateTenantResponse:
        """Create a tenant."""
        key = convert.request_key(request, request.request_id, "CreateTenant")
        row, receipt = await tenants.create_tenant(
            self._vault, current_attempt(), request.tenant_id, display_name=request.display_name, request=key, root_key=request.root_key
        )
        return CreateTenantResponse(tenant=convert.tenant(row), receipt=convert.receipt(receipt))

    async def GetTenant(self, request: GetTenantRequest, context: Context) -> GetTenantResponse:
        """Read a tenant."""
        name = names.parse_tenant(request.name, field="name")
        return GetTenantResponse(tenant=convert.tenant_view(await tenants.get_tenant(self._vault, name.tenant)))

    async def ListTenants(self, request: ListTenantsRequest, context: Context) -> ListTenantsResponse:
        """List the tenants that the caller may see."""
        after = self._pages.open(request.page_token, "tenants")
        views, following = await tenants.list_tenants(self._vault, current_attempt(), page_size=request.page_size, after=after)
        return ListTenantsResponse(
            tenants=[convert.tenant_view(view) for view in views], next_page_token=self._pages.seal(following, "tenants")
        )

    async def UpdateTenant(self, request: UpdateTenantRequest, context: Context) -> UpdateTenantResponse:
        """Change a tenant's settings."""
        name = names.parse_tenant(request.tenant.name, field="tenant.name")
        paths = set(request.update_mask.paths)
        if not paths or paths - set(tenants.SETTINGS):
            message = f"the mask names some of {', '.join(sorted(tenants.SETTINGS))}"
            raise InvalidArgumentError("FIELD_MASK_REQUIRED", message, field="update_mask")
        change = convert.tenant_change(request.tenant, paths)
        view, receipt, secret = await tenants.update_tenant(self._vault, current_attempt(), name.tenant, change)
        return UpdateTenantResponse(tenant=convert.tenant_view(view), receipt=convert.receipt(receipt), notification_secret=secret)

    async def OpenCustomerRequest(self, request: OpenCustomerRequestRequest, context: Context) -> OpenCustomerRequestResponse:
        """Open a customer request."""
        tenant = names.parse_tenant(request.parent).tenant
        row, receipt = await tenants.open_customer_request(
            self._vault,
            current_attempt(),
            tenant,
            list_id=request.list,
            operations=list(request.operations),
            expire_time=convert.required_moment(request, "expire_time"),
        )
        return OpenCustomerRequestResponse(customer_request=convert.customer_request(tenant, row), receipt=convert.receipt(receipt))

    async def CloseCustomerRequest(self, request: CloseCustomerRequestRequest, context: Context) -> CloseCustomerRequestResponse:
        """Close a customer request."""
        name = names.parse_child(request.name, "customerRequests")
        row, receipt = await tenants.close_customer_request(self._vault, current_attempt(), name)
        return CloseCustomerRequestResponse(customer_request=convert.customer_request(name.tenant, row), receipt=convert.receipt(receipt))

    async def OpenJob(self, request: OpenJobRequest, context: Context) -> OpenJobResponse:
        """Open a job."""
        tenant = names.parse_tenant(request.parent).tenant
        row, receipt = await jobs.open_job(
            self._vault,
            current_attempt(),
            tenant,
            list_id=request.list,
            expire_time=convert.required_moment(request, "expire_time"),
        )
        return OpenJobResponse(job=convert.job(tenant, row), receipt=convert.receipt(receipt))

    async def CloseJob(self, request: CloseJobRequest, context: Context) -> CloseJobResponse:
        """Close a job."""
        name = names.parse_child(request.name, "jobs")
        row, receipt = await jobs.close_job(self._vault, current_attempt(), name)
        return CloseJobResponse(job=convert.job(name.tenant, row), receipt=convert.receipt(receipt))

    async def ListNotifications(self, request: ListNotificationsRequest, context: Context) -> ListNotificationsResponse:
        """List the caller's notifications."""
        tenant, attempt = names.parse_tenant(request.parent).tenant, current_attempt()
        # A token of a caller who may see more opens for nobody else.
        query = ("notifications", request.parent, str(request.show_acknowledged), attempt.caller.principal)
        rows, following = await notify.list_notifications(
            self._vault,
            attempt,
            tenant,
            acknowledged=request.show_acknowledged,
            page_size=request.page_size,
            after=self._pages.open(request.page_token, *query),
        )
        return ListNotificationsResponse(
            notifications=[convert.notification(tenant, row) for row in rows], next_page_token=self._pages.seal(following, *query)
        )

    async def AcknowledgeNotification(self, request: AcknowledgeNotificationRequest, context: Context) -> AcknowledgeNotificationResponse:
        """Acknowledge a notification."""
        name = names.parse_child(request.name, notify.COLLECTION)
        row, receipt = await notify.acknowledge(self._vault, current_attempt(), name)
        return AcknowledgeNotificationResponse(notification=convert.notification(name.tenant, row), receipt=convert.receipt(receipt))

    async def TerminateTenant(self, request: TerminateTenantRequest, context: Context) -> TerminateTenantResponse:
        """Ask for the end of a contract."""
        tenant = names.parse_tenant(request.name, field="name").tenant
        wanted = convert_terminations.ending(request)
        row, termination, receipt = await terminate.terminate_tenant(self._vault, _justified(request), tenant, wanted)
        return TerminateTenantResponse(
            tenant=convert.tenant(row), receipt=convert.receipt(receipt), termination=convert_terminations.termination(termination)
        )

    async def ApproveTermination(self, request: ApproveTerminationRequest, context: Context) -> ApproveTerminationResponse:
        """Approve the end of a contract."""
        tenant = names.parse_tenant(request.name, field="name").tenant
        moment = convert.required_moment(request, "effective_time")
        row, receipt = await terminate.approve_termination(self._vault, _justified(request), tenant, effective_time=moment)
        return ApproveTerminationResponse(termination=convert_terminations.termination(row), receipt=convert.receipt(receipt))

    async def ReturnTenantData(self, request: ReturnTenantDataRequest, context: Context) -> AsyncIterator[ReturnTenantDataResponse]:
        """Send a customer its data."""
        tenant = names.parse_tenant(request.name, field="name").tenant
        form = convert_terminations.form(request.format)
        async for page in return_data.return_tenant_data(self._vault, _justified(request), tenant, form=form):
            yield ReturnTenantDataResponse(
                data=page.data,
                category=page.category,
                receipt=convert.receipt(page.receipt),
                count=page.count,
                withheld=page.withheld,
            )

    async def GetTerminationReport(self, request: GetTerminationReportRequest, context: Context) -> GetTerminationReportResponse:
        """Read what became of everything."""
        tenant = names.parse_tenant(request.name, field="name").tenant
        row, found = await terminate.get_termination_report(self._vault, tenant)
        return convert_terminations.report(row, found)

    async def GetSurplusReport(self, request: GetSurplusReportRequest, context: Context) -> GetSurplusReportResponse:
        """Say what a tenant may hold without needing it."""
        tenant = names.parse_tenant(request.name, field="name").tenant
        lists, due = await surplus.get_surplus_report(self._vault, tenant)
        return GetSurplusReportResponse(lists=[convert_terminations.unused(item) for item in lists], former_contacts_due=due)


def _justified(request: TerminateTenantRequest | ApproveTerminationRequest | ReturnTenantDataRequest) -> Attempt:
    attempt = current_attempt()
    attempt.justification = convert.justification(request.justification)
    return attempt
