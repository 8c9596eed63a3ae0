"""AuditService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.names import SYSTEM_LOG
from vault.operations import checkpoint
from vault.operations.core import Vault
from vault.rpc import convert
from vault.rpc.unbuilt_servicers import UnbuiltAuditServicer
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


def _log(parent: str) -> str:
    return SYSTEM_LOG if parent == SYSTEM_LOG else names.parse_tenant(parent).tenant
