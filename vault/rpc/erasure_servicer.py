"""ErasureService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.errors import InvalidArgumentError
from vault.operations import erase
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.erase import Selector
from vault.rpc import convert
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.store.erasures import ErasureRow
from vault.v1 import erasure_service_pb2_grpc
from vault.v1.erasure_service_pb2 import (
    ApproveErasureRequest,
    ApproveErasureResponse,
    Erasure,
    GetErasureCertificateRequest,
    GetErasureCertificateResponse,
    GetErasureRequest,
    GetErasureResponse,
    ListErasuresRequest,
    ListErasuresResponse,
    PreviewErasureRequest,
    PreviewErasureResponse,
    RequestErasureRequest,
    RequestErasureResponse,
)

Context = grpc.aio.ServicerContext[Any, Any]
_COLLECTION = "erasures"


class ErasureServicer(erasure_service_pb2_grpc.ErasureServiceServicer):
    """Erasing a subject, and proving it."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def PreviewErasure(self, request: PreviewErasureRequest, context: Context) -> PreviewErasureResponse:
        """Count what an erasure would destroy."""
        preview, receipt = await erase.preview_erasure(self._vault, _justified(request), _selector(request))
        return PreviewErasureResponse(
            outcomes=convert.erasure_outcomes(preview.outcomes),
            preview_digest=preview.digest,
            receipt=convert.receipt(receipt),
            subject=str(preview.subject),
            required_approvals=preview.required_approvals,
            suppression_question={"he": preview.question.he, "en": preview.question.en} if preview.question else {},
        )

    async def RequestErasure(self, request: RequestErasureRequest, context: Context) -> RequestErasureResponse:
        """Ask for an erasure."""
        subject = names.parse_subject(request.subject, field="subject")
        row, receipt = await erase.request_erasure(
            self._vault,
            _justified(request),
            Selector(subject.tenant, subject),
            preview_digest=request.preview_digest,
            keep_suppression=not request.erase_suppression,
            request=convert.request_key(request, request.request_id, "RequestErasure"),
        )
        return RequestErasureResponse(erasure=await self._shown(subject.tenant, row), receipt=convert.receipt(receipt))

    async def ApproveErasure(self, request: ApproveErasureRequest, context: Context) -> ApproveErasureResponse:
        """Approve an erasure and carry it out."""
        name = names.parse_child(request.name, _COLLECTION)
        row, receipt = await erase.approve_erasure(self._vault, _justified(request), name)
        return ApproveErasureResponse(erasure=await self._shown(name.tenant, row), receipt=convert.receipt(receipt))

    async def GetErasure(self, request: GetErasureRequest, context: Context) -> GetErasureResponse:
        """Read an erasure."""
        name = names.parse_child(request.name, _COLLECTION)
        return GetErasureResponse(erasure=await self._shown(name.tenant, await erase.get_erasure(self._vault, name)))

    async def ListErasures(self, request: ListErasuresRequest, context: Context) -> ListErasuresResponse:
        """List the erasures of a tenant."""
        tenant = names.parse_tenant(request.parent).tenant
        after = self._pages.open(request.page_token, _COLLECTION, tenant)
        rows, following = await erase.list_erasures(self._vault, tenant, page_size=request.page_size, after=after)
        done = await erase.progress(self._vault, tenant, rows)
        return ListErasuresResponse(
            erasures=[convert.erasure(tenant, row, count) for row, count in zip(rows, done, strict=True)],
            next_page_token=self._pages.seal(following, _COLLECTION, tenant),
        )

    async def GetErasureCertificate(self, request: GetErasureCertificateRequest, context: Context) -> GetErasureCertificateResponse:
        """Read the certificate of a finished erasure."""
        name = names.parse_child(request.name, _COLLECTION)
        certificate, *supplements = await erase.get_certificates(self._vault, name)
        return GetErasureCertificateResponse(certificate=certificate, supplements=supplements)

    async def _shown(self, tenant: str, row: ErasureRow) -> Erasure:
        [done] = await erase.progress(self._vault, tenant, [row])
        return convert.erasure(tenant, row, done)


def _selector(request: PreviewErasureRequest) -> Selector:
    """Who is meant: a subject by name, or else an identifier within a tenant."""
    if request.subject:
        subject = names.parse_subject(request.subject, field="subject")
        return Selector(subject.tenant, subject)
    tenant = names.parse_tenant(request.parent, field="parent").tenant
    identifier = request.identifier
    if not identifier.kind or not identifier.value:
        raise InvalidArgumentError("FIELD_REQUIRED", "name the subject, or give parent and identifier", field="subject")
    return Selector(tenant, None, identifier.kind, identifier.value, convert.moment(identifier, "as_of"))


def _justified(request: PreviewErasureRequest | RequestErasureRequest | ApproveErasureRequest) -> Attempt:
    attempt = current_attempt()
    attempt.justification = convert.justification(request.justification)
    return attempt
