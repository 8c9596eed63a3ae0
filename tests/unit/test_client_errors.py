"""What a caller learns from a refused call: reason, fields, receipt, when to come back; and something sound if the answer is strange."""

from datetime import timedelta
from typing import Any

import grpc
import pytest

from vault.client.errors import CallError, Receipt, call_error, status_error
from vault.errors import InvalidArgumentError, PermissionDeniedError, UnavailableError, VaultError
from vault.rpc.status import DETAILS_KEY, status_of


class FakeRpcError(grpc.RpcError):
    """A failed call as gRPC hands it over."""

    def __init__(self, code: grpc.StatusCode, trailers: Any = (), details: str | None = "text") -> None:
        super().__init__()
        self._code = code
        self._trailers = trailers
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def trailing_metadata(self) -> Any:
        return self._trailers

    def details(self) -> str | None:
        return self._details


def told(error: VaultError) -> CallError:
    """What a caller is told of an error of the vault."""
    return call_error(FakeRpcError(grpc.StatusCode.UNKNOWN, ((DETAILS_KEY, status_of(error).SerializeToString()),)))


def test_a_refusal_tells_code_reason_and_message() -> None:
    error = told(PermissionDeniedError("ROLE_NOT_ALLOWED", "not yours"))

    assert (error.code, error.reason, error.message) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", "not yours")
    assert (error.fields, error.receipt, error.retry_after, error.metadata) == ((), None, None, {})
    assert str(error) == "ROLE_NOT_ALLOWED: not yours"


def test_a_refusal_tells_its_fields_and_limits() -> None:
    error = told(InvalidArgumentError("FIELD_INVALID", "too long", field="justification.reason", limit="500"))

    assert error.fields == ("justification.reason",)
    assert error.metadata == {"limit": "500"}


def test_a_refusal_tells_where_it_was_recorded() -> None:
    refused = PermissionDeniedError("ROLE_NOT_ALLOWED", "not yours")
    refused.receipt = ("acme", 0)

    error = told(refused)

    assert error.receipt == Receipt("acme", 0)
    assert str(error.receipt) == "acme/0"
    assert error.metadata == {}


def test_what_is_unavailable_tells_when_to_come_back() -> None:
    assert told(UnavailableError("KEYS_UNAVAILABLE", "away", retry_after=timedelta(seconds=2.5))).retry_after == 2.5


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
    ],
)
@pytest.mark.parametrize("details", ["text", "", None])
@pytest.mark.parametrize("trailers", [(), None, (("other", b"x"),), ((DETAILS_KEY, b"\xff garbage"),)], ids=str)
def test_an_answer_without_sound_details_is_told_by_its_code(
    code: grpc.StatusCode, reason: str, details: str | None, trailers: object
) -> None:
    error = call_error(FakeRpcError(code, trailers, details))

    assert (error.code, error.reason) == (code, reason)
    assert error.message
    assert error.receipt is None


def test_a_status_of_a_code_that_nobody_knows_is_unknown() -> None:
    """Harm: it ended in StopIteration, and that ends a stream as if it were complete."""
    status = status_of(PermissionDeniedError("ROLE_NOT_ALLOWED", "not yours"))
    status.code = 99

    assert status_error(status).code is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize("index", ["", "-1", "x", "1.5"])
def test_a_receipt_that_is_none_is_left_out(index: str) -> None:
    status = status_of(PermissionDeniedError("ROLE_NOT_ALLOWED", "not yours", audit_log="acme", audit_index=index))

    assert status_error(status).receipt is None
