"""RightsService: parse, hand over, convert."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from vault import names
from vault.operations import consent, export_subject, guardian, object, preference, restrict, subject_request  # noqa: A004 - the flow's name
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.rpc import convert, convert_rights
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.v1.rights_service_pb2 import (
    CloseSubjectRequestRequest,
    CloseSubjectRequestResponse,
    ExportSubjectDataRequest,
    ExportSubjectDataResponse,
    ExtendSubjectRequestRequest,
    ExtendSubjectRequestResponse,
    LiftRestrictionRequest,
    LiftRestrictionResponse,
    ListSubjectRequestsRequest,
    ListSubjectRequestsResponse,
    ObjectToProcessingRequest,
    ObjectToProcessingResponse,
    OpenSubjectRequestRequest,
    OpenSubjectRequestResponse,
    RecordConsentRequest,
    RecordConsentResponse,
    RegisterGuardianConsentRequest,
    RegisterGuardianConsentResponse,
    RestrictSubjectRequest,
    RestrictSubjectResponse,
    SetMarketingPreferenceRequest,
    SetMarketingPreferenceResponse,
    VerifySubjectRequestRequest,
    VerifySubjectRequestResponse,
    WithdrawConsentRequest,
    WithdrawConsentResponse,
    WithdrawGuardianConsentRequest,
    WithdrawGuardianConsentResponse,
)
from vault.v1.rights_service_pb2_grpc import RightsServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]
_REQUESTS = subject_request.COLLECTION


class RightsServicer(RightsServiceServicer):
    """What people may ask about themselves."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def RecordConsent(self, request: RecordConsentRequest, context: Context) -> RecordConsentResponse:
        """Record a consent."""
        whose, new = convert_rights.whose(request.subject), convert_rights.consent(request)
        receipt = await consent.record_consent(self._vault, current_attempt(), whose, new)
        return RecordConsentResponse(receipt=convert.receipt(receipt))

    async def WithdrawConsent(self, request: WithdrawConsentRequest, context: Context) -> WithdrawConsentResponse:
        """Withdraw a consent."""
        whose = convert_rights.whose(request.subject)
        receipt = await consent.withdraw_consent(self._vault, current_attempt(), whose, request.scope)
        return WithdrawConsentResponse(receipt=convert.receipt(receipt))

    async def SetMarketingPreference(self, request: SetMarketingPreferenceRequest, context: Context) -> SetMarketingPreferenceResponse:
        """Record a choice about advertising."""
        name = names.parse_subject(request.subject, field="subject")
        receipt = await preference.set_marketing_preference(self._vault, current_attempt(), name, convert_rights.choice(request))
        return SetMarketingPreferenceResponse(receipt=convert.receipt(receipt))

    async def ExportSubjectData(self, request: ExportSubjectDataRequest, context: Context) -> AsyncIterator[ExportSubjectDataResponse]:
        """Send a person their own data."""
        name = names.parse_subject(request.subject, field="subject")
        async for chunk in export_subject.export_subject_data(self._vault, _justified(request), name):
            receipt = convert.receipt(chunk.receipt) if chunk.receipt else None
            yield ExportSubjectDataResponse(data=chunk.data, receipt=receipt)

    async def RestrictSubject(self, request: RestrictSubjectRequest, context: Context) -> RestrictSubjectResponse:
        """Restrict a person's data."""
        name = names.parse_subject(request.subject, field="subject")
        view, receipt = await restrict.restrict_subject(self._vault, _justified(request), name)
        return RestrictSubjectResponse(subject=convert.subject(name.tenant, view), receipt=convert.receipt(receipt))

    async def LiftRestriction(self, request: LiftRestrictionRequest, context: Context) -> LiftRestrictionResponse:
        """Lift every restriction of a person."""
        name = names.parse_subject(request.subject, field="subject")
        view, receipt = await restrict.lift_restriction(self._vault, _justified(request), name, notice_id=request.notice_id)
        return LiftRestrictionResponse(subject=convert.subject(name.tenant, view), receipt=convert.receipt(receipt))

    async def ObjectToProcessing(self, request: ObjectToProcessingRequest, context: Context) -> ObjectToProcessingResponse:
        """Record an objection."""
        name = names.parse_subject(request.subject, field="subject")
        receipt = await object.object_to_processing(self._vault, current_attempt(), name, request.purpose)
        return ObjectToProcessingResponse(receipt=convert.receipt(receipt))

    async def RegisterGuardianConsent(self, request: RegisterGuardianConsentRequest, context: Context) -> RegisterGuardianConsentResponse:
        """Register a guardian's consent."""
        name = names.parse_subject(request.subject, field="subject")
        receipt = await guardian.register_guardian_consent(self._vault, current_attempt(), name, convert_rights.guardian(request))
        return RegisterGuardianConsentResponse(receipt=convert.receipt(receipt))

    async def WithdrawGuardianConsent(self, request: WithdrawGuardianConsentRequest, context: Context) -> WithdrawGuardianConsentResponse:
        """Withdraw a guardian's consent."""
        name = names.parse_subject(request.subject, field="subject")
        receipt = await guardian.withdraw_guardian_consent(self._vault, current_attempt(), name)
        return WithdrawGuardianConsentResponse(receipt=convert.receipt(receipt))

    async def OpenSubjectRequest(self, request: OpenSubjectRequestRequest, context: Context) -> OpenSubjectRequestResponse:
        """Open a request of a person."""
        tenant = names.parse_tenant(request.parent).tenant
        row, receipt = await subject_request.open_subject_request(
            self._vault, current_attempt(), tenant, convert_rights.new_request(request)
        )
        return OpenSubjectRequestResponse(subject_request=convert_rights.subject_request(tenant, row), receipt=convert.receipt(receipt))

    async def VerifySubjectRequest(self, request: VerifySubjectRequestRequest, context: Context) -> VerifySubjectRequestResponse:
        """Note that who asks was verified."""
        name = names.parse_child(request.name, _REQUESTS)
        row, receipt = await subject_request.verify_subject_request(
            self._vault,
            current_attempt(),
            name,
            evidence_sha256=request.evidence_sha256,
            subject=convert_rights.subject_if_any(request.subject),
        )
        return VerifySubjectRequestResponse(
            subject_request=convert_rights.subject_request(name.tenant, row), receipt=convert.receipt(receipt)
        )

    async def ExtendSubjectRequest(self, request: ExtendSubjectRequestRequest, context: Context) -> ExtendSubjectRequestResponse:
        """Extend the clock of a request."""
        name = names.parse_child(request.name, _REQUESTS)
        due_time = convert.required_moment(request, "due_time")
        row, receipt = await subject_request.extend_subject_request(
            self._vault, current_attempt(), name, reason=request.reason, due_time=due_time
        )
        return ExtendSubjectRequestResponse(
            subject_request=convert_rights.subject_request(name.tenant, row), receipt=convert.receipt(receipt)
        )

    async def CloseSubjectRequest(self, request: CloseSubjectRequestRequest, context: Context) -> CloseSubjectRequestResponse:
        """Close a request."""
        name = names.parse_child(request.name, _REQUESTS)
        row, receipt = await subject_request.close_subject_request(self._vault, current_attempt(), name)
        return CloseSubjectRequestResponse(
            subject_request=convert_rights.subject_request(name.tenant, row), receipt=convert.receipt(receipt)
        )

    async def ListSubjectRequests(self, request: ListSubjectRequestsRequest, context: Context) -> ListSubjectRequestsResponse:
        """List requests, what is due first."""
        tenant = names.parse_tenant(request.parent).tenant
        query = (_REQUESTS, tenant, "all" if request.closed else "open")
        rows, following = await subject_request.list_subject_requests(
            self._vault,
            tenant,
            closed=request.closed,
            page_size=request.page_size,
            after=self._pages.open(request.page_token, *query),
        )
        return ListSubjectRequestsResponse(
            subject_requests=[convert_rights.subject_request(tenant, row) for row in rows],
            next_page_token=self._pages.seal(following, *query),
        )


def _justified(request: ExportSubjectDataRequest | RestrictSubjectRequest | LiftRestrictionRequest) -> Attempt:
    attempt = current_attempt()
    attempt.justification = convert.justification(request.justification)
    return attempt
