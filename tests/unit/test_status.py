"""From an error to a status: one code per kind, one `ErrorInfo` always, and the detail that the kind calls for (api.md, "Errors")."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

import vault
from vault import errors
from vault.errors import CiphertextInvalidError, InvalidArgumentError, KeyUnavailableError, VaultError
from vault.rpc.status import DETAILS_KEY, DOMAIN, code_of, status_of, trailers_of

Detail = TypeVar("Detail", bound=Message)
KINDS: dict[type[VaultError], grpc.StatusCode] = {
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.AbortedError: grpc.StatusCode.ABORTED,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.DataLossError: grpc.StatusCode.DATA_LOSS,
}
DETAILS: tuple[type[Message], ...] = (ErrorInfo, BadRequest, PreconditionFailure, QuotaFailure, RetryInfo)
every_kind = pytest.mark.parametrize(("kind", "code"), KINDS.items(), ids=lambda value: getattr(value, "__name__", ""))


def leaves(kind: type[VaultError]) -> Iterator[type[VaultError]]:
    """The kind and everything derived from it in the vault itself; kinds that tests make up do not count."""
    for leaf in kind.__subclasses__():
        if leaf.__module__.startswith("vault."):
            yield leaf
            yield from leaves(leaf)


def details_of(status: Status) -> list[Message]:
    """Every detail, unpacked; one of an unknown type fails the test."""
    found: list[Message] = []
    for packed in status.details:
        [kind] = [kind for kind in DETAILS if packed.Is(kind.DESCRIPTOR)]
        detail = kind()
        packed.Unpack(detail)
        found.append(detail)
    return found


def only(kind: type[Detail], status: Status) -> Detail:
    [packed] = [packed for packed in status.details if packed.Is(kind.DESCRIPTOR)]
    detail = kind()
    packed.Unpack(detail)
    return detail


def kinds_of(status: Status) -> list[type[Message]]:
    return [type(detail) for detail in details_of(status)]


@every_kind
def test_every_kind_has_its_code(kind: type[VaultError], code: grpc.StatusCode) -> None:
    error = kind("SOME_REASON", "what is wrong")

    assert code_of(error) is code
    assert (status_of(error).code, status_of(error).message) == (code.value[0], "what is wrong")


def test_every_error_class_of_the_vault_has_a_code() -> None:
    """A new leaf without a code would be answered as a bug."""
    for module in pkgutil.walk_packages(vault.__path__, "vault."):
        if not module.name.startswith(("vault.v1", "vault.store.migrations", "vault.cli")):
            importlib.import_module(module.name)

    found = set(leaves(VaultError))

    assert found >= {*KINDS, CiphertextInvalidError, KeyUnavailableError}
    for kind in found:
        codes = {code for parent, code in KINDS.items() if issubclass(kind, parent)}
        assert codes == {code_of(kind.__new__(kind))}, kind


def test_the_kinds_of_errors_are_the_ones_listed_here() -> None:
    direct = {kind for kind in VaultError.__subclasses__() if kind.__module__ == errors.__name__}

    assert direct == set(KINDS)


def test_an_error_of_no_kind_is_internal() -> None:
    error = VaultError("INTERNAL", "internal error", log_id="0123456789abcdef")

    status = status_of(error)

    assert code_of(error) is grpc.StatusCode.INTERNAL
    assert kinds_of(status) == [ErrorInfo]
    assert only(ErrorInfo, status).metadata == {"log_id": "0123456789abcdef"}


def test_a_made_up_kind_is_internal() -> None:
    class StrangeError(VaultError):
        """Known to no one."""

    assert code_of(StrangeError("STRANGE", "strange")) is grpc.StatusCode.INTERNAL


@every_kind
def test_every_status_says_domain_reason_and_metadata_first(kind: type[VaultError], code: grpc.StatusCode) -> None:
    status = status_of(kind("SOME_REASON", "what is wrong", limit="1000", kind="phone"))

    info = details_of(status)[0]

    assert info == ErrorInfo(reason="SOME_REASON", domain="pii-vault", metadata={"limit": "1000", "kind": "phone"}), code
    assert kinds_of(status).count(ErrorInfo) == 1
    assert DOMAIN == "pii-vault"


# The table of api.md: what comes with `ErrorInfo`, for an error with and without a field.
@pytest.mark.parametrize(
    ("kind", "with_field", "without_field"),
    [
        (errors.UnauthenticatedError, [], []),
        (errors.PermissionDeniedError, [], []),
        (errors.InvalidArgumentError, [BadRequest], []),
        (errors.NotFoundError, [], []),
        (errors.FailedPreconditionError, [PreconditionFailure], [PreconditionFailure]),
        (errors.AbortedError, [], []),
        (errors.AlreadyExistsError, [], []),
        (errors.ResourceExhaustedError, [QuotaFailure], [QuotaFailure]),
        (errors.UnavailableError, [RetryInfo], [RetryInfo]),
        (errors.DataLossError, [], []),
        (VaultError, [], []),
    ],
)
def test_a_kind_brings_the_details_that_the_contract_lists(
    kind: type[VaultError], with_field: list[type[Message]], without_field: list[type[Message]]
) -> None:
    assert kinds_of(status_of(kind("SOME_REASON", "what is wrong", field="some.field"))) == [ErrorInfo, *with_field]
    assert kinds_of(status_of(kind("SOME_REASON", "what is wrong"))) == [ErrorInfo, *without_field]


def test_an_invalid_argument_names_its_field() -> None:
    status = status_of(InvalidArgumentError("FIELD_INVALID", "field 'record.level' is wrong", field="record.level"))

    [violation] = only(BadRequest, status).field_violations
    assert (violation.field, violation.description) == ("record.level", "field 'record.level' is wrong")


def test_a_failed_precondition_names_its_type() -> None:
    [violation] = only(PreconditionFailure, status_of(errors.FailedPreconditionError("LEGAL_HOLD", "a hold is in force"))).violations

    assert (violation.type, violation.description) == ("LEGAL_HOLD", "a hold is in force")


def test_an_exhausted_resource_names_the_quota_and_when_to_come_back() -> None:
    error = errors.ResourceExhaustedError(
        "RELEASE_BUDGET_EXCEEDED", "the budget is used up", retry_after=timedelta(hours=1, milliseconds=5)
    )

    status = status_of(error)

    [violation] = only(QuotaFailure, status).violations
    assert (violation.subject, violation.description) == ("RELEASE_BUDGET_EXCEEDED", "the budget is used up")
    assert only(RetryInfo, status).retry_delay.ToTimedelta() == timedelta(hours=1, milliseconds=5)


@pytest.mark.parametrize(("given", "told"), [(None, timedelta(seconds=1)), (timedelta(seconds=9), timedelta(seconds=9))])
def test_what_is_unavailable_always_says_when_to_come_back(given: timedelta | None, told: timedelta) -> None:
    """Harm: a log without a head answered UNAVAILABLE without RetryInfo, and clients that wait for one gave up."""
    status = status_of(errors.UnavailableError("AUDIT_UNAVAILABLE", "the log cannot be written", retry_after=given))

    assert only(RetryInfo, status).retry_delay.ToTimedelta() == told


@every_kind
def test_any_kind_may_say_when_to_come_back(kind: type[VaultError], code: grpc.StatusCode) -> None:
    status = status_of(kind("SOME_REASON", "what is wrong", retry_after=timedelta(seconds=2)))

    assert only(RetryInfo, status).retry_delay.seconds == 2, code


def test_a_recorded_refusal_says_where() -> None:
    error = errors.PermissionDeniedError("ROLE_NOT_ALLOWED", "no role of the caller may call this method")
    error.receipt = ("acme", 7)

    assert only(ErrorInfo, status_of(error)).metadata == {"audit_log": "acme", "audit_index": "7"}
    assert error.metadata == {}


def test_the_leaves_with_a_reason_of_their_own_keep_it() -> None:
    assert only(ErrorInfo, status_of(CiphertextInvalidError())).reason == "CIPHERTEXT_INVALID"
    assert only(ErrorInfo, status_of(KeyUnavailableError())).reason == "KEYS_UNAVAILABLE"
    assert only(RetryInfo, status_of(KeyUnavailableError())).retry_delay.seconds == 1


@every_kind
def test_the_status_travels_whole_in_the_trailers(kind: type[VaultError], code: grpc.StatusCode) -> None:
    error = kind("SOME_REASON", "what is wrong", field="some.field", limit="1")

    [(key, value)] = trailers_of(error)

    assert (key, DETAILS_KEY) == ("grpc-status-details-bin", "grpc-status-details-bin")
    assert Status.FromString(value) == status_of(error)
    assert Status.FromString(value).code == code.value[0]


def test_reasons_of_the_leaves_have_the_form_of_aip_193() -> None:
    reasons = [CiphertextInvalidError().reason, KeyUnavailableError().reason]

    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]{0,61}[A-Z0-9]", reason) for reason in reasons)
