"""TenantService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.errors import InvalidArgumentError
from vault.operations import job as jobs
from vault.operations import notify
from vault.operations import tenant as tenants
from vault.operations.core import Vault
from vault.rpc import convert
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.rpc.unbuilt_servicers import UnbuiltTenantServicer
from vault.v1.tenant_service_pb2 import (
    AcknowledgeNotificationRequest,
    AcknowledgeNotificationResponse,
    CloseCustomerRequestRequest,
    CloseCustomerRequestResponse,
    CloseJobRequest,
    CloseJobResponse,
    CreateTenantRequest,
    CreateTenantResponse,
    GetTenantRequest,
    GetTenantResponse,
    ListNotificationsRequest,
    ListNotificationsResponse,
    ListTenantsRequest,
    ListTenantsResponse,
    OpenCustomerRequestRequest,
    OpenCustomerRequestResponse,
    OpenJobRequest,
    OpenJobResponse,
    UpdateTenantRequest,
    UpdateTenantResponse,
)

Context = grpc.aio.ServicerContext[Any, Any]


class TenantServicer(UnbuiltTenantServicer):
    """Tenants, what they decide about themselves, the requests of their customers, their jobs."""

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
