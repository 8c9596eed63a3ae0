"""AuditService and AccessService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.names import SYSTEM_LOG
from vault.operations import checkpoint
from vault.operations.core import Vault
from vault.operations.register_nda import Nda, register_nda
from vault.rpc import convert
from vault.rpc.edge import current_attempt
from vault.rpc.unbuilt_servicers import UnbuiltAccessServicer, UnbuiltAuditServicer
from vault.v1.access_service_pb2 import RegisterNdaRequest, RegisterNdaResponse
from vault.v1.audit_service_pb2 import (
    GetCheckpointRequest,
    GetCheckpointResponse,
    ListAuditEntriesRequest,
    ListAuditEntriesResponse,
)

Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(UnbuiltAuditServicer):
    """Reading the log and its checkpoints."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def ListAuditEntries(self, request: ListAuditEntriesRequest, context: Context) -> ListAuditEntriesResponse:
        """List entries of one log."""
        log = _log(request.parent)
        entries, size = await checkpoint.list_entries(self._vault, log, start=request.start_index, page_size=request.page_size)
        return ListAuditEntriesResponse(entries=[convert.entry(log, index, content) for index, content in entries], log_size=size)

    async def GetCheckpoint(self, request: GetCheckpointRequest, context: Context) -> GetCheckpointResponse:
        """Sign the current head of a log."""
        return GetCheckpointResponse(checkpoint=await checkpoint.sign_head(self._vault, _log(request.parent)))


class AccessServicer(UnbuiltAccessServicer):
    """The registers that the policy looks at."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def RegisterNda(self, request: RegisterNdaRequest, context: Context) -> RegisterNdaResponse:
        """Register a confidentiality agreement."""
        nda = Nda(
            person=request.person,
            document_sha256=request.document_sha256,
            sign_time=convert.required_moment(request, "sign_time"),
            expire_time=convert.required_moment(request, "expire_time"),
        )
        return RegisterNdaResponse(receipt=convert.receipt(await register_nda(self._vault, current_attempt(), nda)))


def _log(parent: str) -> str:
    return SYSTEM_LOG if parent == SYSTEM_LOG else names.parse_tenant(parent).tenant
