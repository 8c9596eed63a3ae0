"""What a call to the vault can answer besides its response: one error with a reason to branch on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the audit log recorded a call: log and zero-based index."""

    log: str
    index: int

    def __str__(self) -> str:
        return f"{self.log}/{self.index}"


class CallError(Exception):
    """A call that was refused or failed.

    Attributes:
        code: gRPC status code.
        reason: stable word, e.g. `PURPOSE_NOT_ALLOWED`; `UNREACHABLE` or `DEADLINE_EXCEEDED` if no answer came.
        message: one line for people, without personal data.
        fields: request fields at fault.
        receipt: where the refusal was recorded, if it was.
        retry_after: seconds to wait before the same call may succeed, if the vault said so.
        metadata: further facts, e.g. `limit`.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        fields: tuple[str, ...] = (),
        receipt: Receipt | None = None,
        retry_after: float | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.fields = fields
        self.receipt = receipt
        self.retry_after = retry_after
        self.metadata = metadata or {}


def call_error(error: grpc.RpcError) -> CallError:
    """What a gRPC error says."""
    code: grpc.StatusCode = error.code()
    trailers = cast(Iterable[tuple[str, bytes]], error.trailing_metadata() or ())
    for key, value in trailers:
        if key == _DETAILS_KEY:
            try:
                return status_error(status_pb2.Status.FromString(value))
            except DecodeError:
                break  # somebody between us and the vault wrote it
    if code is grpc.StatusCode.UNAVAILABLE:
        return CallError(code, "UNREACHABLE", "the vault does not answer at this address with this certificate")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallError(code, "DEADLINE_EXCEEDED", "the vault did not answer in time")
    return CallError(code, code.name, error.details() or code.name.lower())


def status_error(status: status_pb2.Status) -> CallError:
    """What a status says: of a call, or of one item of a batch."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    metadata = dict(info.metadata)
    log, index = metadata.pop("audit_log", ""), metadata.pop("audit_index", "")
    return CallError(
        next((code for code in grpc.StatusCode if code.value[0] == status.code), grpc.StatusCode.UNKNOWN),
        info.reason or "UNKNOWN",
        status.message,
        fields=tuple(violation.field for violation in bad.field_violations),
        receipt=Receipt(log, int(index)) if log and index.isdecimal() else None,
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        metadata=metadata,
    )
