"""Every RPC that is declared and not built yet, in one place: each answers UNIMPLEMENTED, after the same checks as any other.

When one is built, it moves from here to its servicer; a test compares this list with what the contract declares.
"""

from typing import Any, NoReturn

import grpc

from vault.errors import UnimplementedError
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
    """Delivery."""

    async def ConfirmExportDelivery(
        self, request: legal.ConfirmExportDeliveryRequest, context: Context
    ) -> legal.ConfirmExportDeliveryResponse:
        """Not built yet."""
        _unbuilt()
