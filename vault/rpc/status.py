"""From a `VaultError` to a gRPC status, once.

Every error carries one `ErrorInfo` (reason, domain, metadata) and the detail that its kind calls for. No part of it holds personal data: messages
name fields and rules, metadata holds limits and opaque ids.
"""

from datetime import timedelta

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from vault.errors import (
    AbortedError,
    AlreadyExistsError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    VaultError,
)

DOMAIN = "pii-vault"
DETAILS_KEY = "grpc-status-details-bin"

# What is unavailable may be there again soon; who raises the error knows better, or need not say.
_RETRY = timedelta(seconds=1)

_CODES: tuple[tuple[type[VaultError], grpc.StatusCode], ...] = (
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDeniedError, grpc.StatusCode.PERMISSION_DENIED),
    (InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (FailedPreconditionError, grpc.StatusCode.FAILED_PRECONDITION),
    (AbortedError, grpc.StatusCode.ABORTED),
    (AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (ResourceExhaustedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
    (DataLossError, grpc.StatusCode.DATA_LOSS),
)


def code_of(error: VaultError) -> grpc.StatusCode:
    """GRPC code of an error's kind; an unknown kind is a bug."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def status_of(error: VaultError, *, trace_id: str = "") -> status_pb2.Status:
    """The whole status with its details; of a call, with the trace that it belongs to."""
    metadata = dict(error.metadata)
    if trace_id:
        metadata["trace_id"] = trace_id
    if error.receipt is not None:
        metadata |= {"audit_log": error.receipt[0], "audit_index": str(error.receipt[1])}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, InvalidArgumentError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, FailedPreconditionError):
        failure = error_details_pb2.PreconditionFailure.Violation(type=error.reason, description=error.message)
        details.append(error_details_pb2.PreconditionFailure(violations=[failure]))
    if isinstance(error, ResourceExhaustedError):
        quota = error_details_pb2.QuotaFailure.Violation(subject=error.reason, description=error.message)
        details.append(error_details_pb2.QuotaFailure(violations=[quota]))
    retry_after = error.retry_after or (_RETRY if isinstance(error, UnavailableError) else None)
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(retry_after)
        details.append(retry)
    return status_pb2.Status(code=code_of(error).value[0], message=error.message, details=[_packed(detail) for detail in details])


def trailers_of(error: VaultError, *, trace_id: str = "") -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries the status details."""
    return ((DETAILS_KEY, status_of(error, trace_id=trace_id).SerializeToString()),)


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
