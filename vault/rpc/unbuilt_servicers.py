"""Every RPC that is declared and not built yet, in one place: each answers UNIMPLEMENTED, after the same checks as any other.

When one is built, it moves from here to its servicer; a test compares this list with what the contract declares.
"""

from typing import Any, NoReturn

import grpc

from vault.errors import UnimplementedError
from vault.v1 import (
    audit_service_pb2 as audit,
)
from vault.v1 import (
    audit_service_pb2_grpc as audit_grpc,
)
from vault.v1 import (
    legal_service_pb2 as legal,
)
from vault.v1 import (
    legal_service_pb2_grpc as legal_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]


def _unbuilt() -> NoReturn:
    raise UnimplementedError("NOT_BUILT", "the method is declared and not built yet")


class UnbuiltLegalServicer(legal_grpc.LegalServiceServicer):
    """Authentication, changes of scope, release."""

    async def AuthenticateOrder(self, request: legal.AuthenticateOrderRequest, context: Context) -> legal.AuthenticateOrderResponse:
        """Not built yet."""
        _unbuilt()

    async def SetOrderScope(self, request: legal.SetOrderScopeRequest, context: Context) -> legal.SetOrderScopeResponse:
        """Not built yet."""
        _unbuilt()

    async def PreviewExport(self, request: legal.PreviewExportRequest, context: Context) -> legal.PreviewExportResponse:
        """Not built yet."""
        _unbuilt()

    async def RevokeOrder(self, request: legal.RevokeOrderRequest, context: Context) -> legal.RevokeOrderResponse:
        """Not built yet."""
        _unbuilt()

    async def ApproveExport(self, request: legal.ApproveExportRequest, context: Context) -> legal.ApproveExportResponse:
        """Not built yet."""
        _unbuilt()


class UnbuiltAuditServicer(audit_grpc.AuditServiceServicer):
    """Accesses by subject, proofs."""

    async def ListSubjectAccesses(self, request: audit.ListSubjectAccessesRequest, context: Context) -> audit.ListSubjectAccessesResponse:
        """Not built yet."""
        _unbuilt()

    async def GetInclusionProof(self, request: audit.GetInclusionProofRequest, context: Context) -> audit.GetInclusionProofResponse:
        """Not built yet."""
        _unbuilt()

    async def GetConsistencyProof(self, request: audit.GetConsistencyProofRequest, context: Context) -> audit.GetConsistencyProofResponse:
        """Not built yet."""
        _unbuilt()
