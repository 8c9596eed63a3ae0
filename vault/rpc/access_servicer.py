"""AccessService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.names import SYSTEM_LOG
from vault.operations import agreement, detect, incident, role_grant
from vault.operations.core import Vault
from vault.operations.register_nda import Nda, register_nda
from vault.rpc import convert, convert_access
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.v1.access_service_pb2 import (
    ApproveIncidentRequest,
    ApproveIncidentResponse,
    CloseIncidentRequest,
    CloseIncidentResponse,
    GrantRoleRequest,
    GrantRoleResponse,
    ListAgreementsRequest,
    ListAgreementsResponse,
    ListIncidentsRequest,
    ListIncidentsResponse,
    ListRoleGrantsRequest,
    ListRoleGrantsResponse,
    OpenIncidentRequest,
    OpenIncidentResponse,
    PlantHoneySubjectRequest,
    PlantHoneySubjectResponse,
    RegisterAgreementRequest,
    RegisterAgreementResponse,
    RegisterNdaRequest,
    RegisterNdaResponse,
    ReviewAccessRequest,
    ReviewAccessResponse,
    ReviewIncidentRequest,
    ReviewIncidentResponse,
    RevokeRoleRequest,
    RevokeRoleResponse,
)
from vault.v1.access_service_pb2_grpc import AccessServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]
_INCIDENTS, _ROLE_GRANTS, _AGREEMENTS = "incidents", "roleGrants", "agreements"


class AccessServicer(AccessServiceServicer):
    """The registers that the policy looks at."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def RegisterNda(self, request: RegisterNdaRequest, context: Context) -> RegisterNdaResponse:
        """Register a confidentiality agreement."""
        nda = Nda(
            person=request.person,
            document_sha256=request.document_sha256,
            sign_time=convert.required_moment(request, "sign_time"),
            expire_time=convert.required_moment(request, "expire_time"),
        )
        return RegisterNdaResponse(receipt=convert.receipt(await register_nda(self._vault, current_attempt(), nda)))

    async def GrantRole(self, request: GrantRoleRequest, context: Context) -> GrantRoleResponse:
        """Grant a role."""
        expire_time = convert.moment(request, "expire_time")
        receipt = await role_grant.grant_role(self._vault, current_attempt(), request.principal, request.role, expire_time=expire_time)
        return GrantRoleResponse(receipt=convert.receipt(receipt))

    async def RevokeRole(self, request: RevokeRoleRequest, context: Context) -> RevokeRoleResponse:
        """Revoke a role."""
        receipt = await role_grant.revoke_role(self._vault, current_attempt(), request.principal, request.role)
        return RevokeRoleResponse(receipt=convert.receipt(receipt))

    async def ListRoleGrants(self, request: ListRoleGrantsRequest, context: Context) -> ListRoleGrantsResponse:
        """List role grants with the digest of those in force."""
        query = (_ROLE_GRANTS, request.principal)
        rows, following, digest = await role_grant.list_grants(
            self._vault, principal=request.principal, page_size=request.page_size, after=self._pages.open(request.page_token, *query)
        )
        return ListRoleGrantsResponse(
            grants=[convert_access.role_grant(row) for row in rows], next_page_token=self._pages.seal(following, *query), list_digest=digest
        )

    async def ReviewAccess(self, request: ReviewAccessRequest, context: Context) -> ReviewAccessResponse:
        """Attest the list of role holders."""
        receipt = await role_grant.review_access(self._vault, current_attempt(), list_digest=request.list_digest)
        return ReviewAccessResponse(receipt=convert.receipt(receipt))

    async def OpenIncident(self, request: OpenIncidentRequest, context: Context) -> OpenIncidentResponse:
        """Open an incident."""
        tenant = names.parse_tenant(request.parent).tenant
        view, receipt = await incident.open_incident(self._vault, current_attempt(), tenant, convert_access.new_incident(request))
        return OpenIncidentResponse(incident=convert_access.incident(tenant, view), receipt=convert.receipt(receipt))

    async def ApproveIncident(self, request: ApproveIncidentRequest, context: Context) -> ApproveIncidentResponse:
        """Approve an incident."""
        name = names.parse_child(request.name, _INCIDENTS)
        view, receipt = await incident.approve_incident(self._vault, current_attempt(), name)
        return ApproveIncidentResponse(incident=convert_access.incident(name.tenant, view), receipt=convert.receipt(receipt))

    async def CloseIncident(self, request: CloseIncidentRequest, context: Context) -> CloseIncidentResponse:
        """Close an incident."""
        name = names.parse_incident(request.name)
        view, receipt = await incident.close_incident(self._vault, current_attempt(), name)
        return CloseIncidentResponse(incident=convert_access.incident(name.tenant, view), receipt=convert.receipt(receipt))

    async def ReviewIncident(self, request: ReviewIncidentRequest, context: Context) -> ReviewIncidentResponse:
        """Review what was done under an incident."""
        name = names.parse_child(request.name, _INCIDENTS)
        view, receipt = await incident.review_incident(self._vault, current_attempt(), name, finding=request.finding)
        return ReviewIncidentResponse(incident=convert_access.incident(name.tenant, view), receipt=convert.receipt(receipt))

    async def ListIncidents(self, request: ListIncidentsRequest, context: Context) -> ListIncidentsResponse:
        """List the incidents of a tenant, or of what belongs to none."""
        tenant = SYSTEM_LOG if request.parent == SYSTEM_LOG else names.parse_tenant(request.parent).tenant
        after = self._pages.open(request.page_token, _INCIDENTS, tenant)
        views, following = await incident.list_incidents(self._vault, tenant, page_size=request.page_size, after=after)
        return ListIncidentsResponse(
            incidents=[convert_access.incident(tenant, view) for view in views],
            next_page_token=self._pages.seal(following, _INCIDENTS, tenant),
        )

    async def PlantHoneySubject(self, request: PlantHoneySubjectRequest, context: Context) -> PlantHoneySubjectResponse:
        """Plant a person."""
        name = names.parse_subject(request.subject, field="subject")
        return PlantHoneySubjectResponse(receipt=convert.receipt(await detect.plant_honey(self._vault, current_attempt(), name)))

    async def RegisterAgreement(self, request: RegisterAgreementRequest, context: Context) -> RegisterAgreementResponse:
        """Register a processing agreement."""
        tenant = names.parse_tenant(request.parent).tenant
        row, receipt = await agreement.register_agreement(self._vault, current_attempt(), tenant, convert_access.new_agreement(request))
        return RegisterAgreementResponse(agreement=convert_access.agreement(tenant, row), receipt=convert.receipt(receipt))

    async def ListAgreements(self, request: ListAgreementsRequest, context: Context) -> ListAgreementsResponse:
        """List the processing agreements of a tenant."""
        tenant = names.parse_tenant(request.parent).tenant
        after = self._pages.open(request.page_token, _AGREEMENTS, tenant)
        rows, following = await agreement.list_agreements(self._vault, tenant, page_size=request.page_size, after=after)
        return ListAgreementsResponse(
            agreements=[convert_access.agreement(tenant, row) for row in rows],
            next_page_token=self._pages.seal(following, _AGREEMENTS, tenant),
        )
