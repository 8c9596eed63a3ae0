"""The edge: what happens around every call, in one place and in this order.

    (0) is the schema one that this code may serve; if not, nothing is served, and nothing recorded, but the question what is wrong
    (1) authenticate: client certificate, and an access token for people, with the roles that the register adds or takes
    (2) authorise: may this role call this method; unknown methods are refused
    (3) is the database as new as what was erased; if not, nothing is served but what mends that
    (4) tenant: is it one of the caller's; if not, it does not exist
    (5) required fields
    (6) the flow itself
    (7) an error becomes a recorded refusal, then a status

Authorisation comes before validation (AIP-211): a caller who may not call a method learns nothing about its arguments. A refusal that cannot be
recorded is answered with UNAVAILABLE instead (I1, I5). `except Exception` stands here and nowhere else.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from vault.errors import (
    InvalidArgumentError,
    KeyUnavailableError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    VaultError,
)
from vault.names import SYSTEM_LOG, TENANT_ID
from vault.operations import log as audit_log
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import Vault
from vault.operations.role_grant import as_registered
from vault.policy.access import Access
from vault.rpc.identity import Authenticator
from vault.rpc.observed import Observed, Observer
from vault.rpc.required import check_required
from vault.rpc.status import code_of, trailers_of
from vault.telemetry import place_of

_log = structlog.get_logger()

_CURRENT: ContextVar[Attempt] = ContextVar("attempt")

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# Services of grpc itself; they answer anyone who presents a certificate of our authority.
_STANDARD = ("/grpc.health.v1.Health/", "/grpc.reflection.")
# Until a flow knows that nothing forbids to tell of an order, its tenant learns of no call about it, refused or not (N16).
_UNTOLD = "/vault.v1.LegalService/"
# What tells and mends that the database is older than what was erased.
_READINESS = "/vault.v1.OperationsService/GetReadiness"
_SERVED_ALWAYS = frozenset({"/vault.v1.OperationsService/ReplayErasures", _READINESS})


def current_attempt() -> Attempt:
    """The attempt of the call that is being served."""
    return _CURRENT.get()


def admit_tenant(tenant: str) -> str:
    """Check a tenant named by a message of a stream, as the edge does for unary calls.

    Raises:
        NotFoundError: TENANT_NOT_FOUND, also for another caller's tenant (I11).
    """
    attempt = current_attempt()
    if not attempt.caller.may_touch(tenant):
        raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
    attempt.tenant = tenant
    return tenant


class Edge(grpc.aio.ServerInterceptor):
    """Wraps every handler of the vault's services.

    Args:
        vault: the vault, whose log refusals go to.
        authenticator: says who is calling.
        access: who may call what.
        observer: watches every call.
    """

    def __init__(self, vault: Vault, authenticator: Authenticator, access: Mapping[str, Access], observer: Observer) -> None:
        self._vault = vault
        self._observer = observer
        self._authenticator = authenticator
        self._access = access
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Hand out the wrapped handler of a method, made once."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(_STANDARD):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Handler:
        deserializer = _tolerant(handler.request_deserializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._single(method, handler.unary_unary), deserializer, handler.response_serializer)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._single(method, handler.stream_unary), deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, handler.unary_stream), deserializer, handler.response_serializer
            )
        return grpc.stream_stream_rpc_method_handler(
            self._streaming(method, handler.stream_stream), deserializer, handler.response_serializer
        )

    def _single(self, method: str, inner: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            with self._observer.observe(method, metadata.get("traceparent")) as seen:
                try:
                    await self._admit(method, request, context, metadata, seen)
                    return await inner(_checked_stream(request), context)
                except Exception as error:  # noqa: BLE001 - the one place where anything becomes a status
                    failed = await self._failed(error, method, seen)
            return await _abort(failed, context, seen)

        return call

    def _streaming(self, method: str, inner: Callable[[Any, Context], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            metadata = dict(context.invocation_metadata() or ())
            with self._observer.observe(method, metadata.get("traceparent")) as seen:
                try:
                    await self._admit(method, request, context, metadata, seen)
                    async for response in inner(_checked_stream(request), context):
                        yield response
                except Exception as error:  # noqa: BLE001 - the one place where anything becomes a status
                    failed = await self._failed(error, method, seen)
                else:
                    return
            await _abort(failed, context, seen)

        return call

    async def _admit(self, method: str, request: Any, context: Context, metadata: Mapping[str, str | bytes], seen: Observed) -> None:
        attempt = Attempt(caller=_nobody(method, seen.trace_id), is_gagged=method.startswith(_UNTOLD))
        _CURRENT.set(attempt)
        # (0) schema: before anything that could be refused, because a refusal is written
        if method != _READINESS:
            self._vault.health.require_schema()
        # (1) authenticate
        # The URIs alone: a DNS name may be spelled like one.
        certificate = tuple(context.auth_context().get("peer_uri", ()))
        attempt.caller = await self._authenticator.authenticate(
            certificate, metadata.get("authorization"), method=method, trace_id=seen.trace_id
        )
        attempt.caller = await as_registered(self._vault, attempt.caller)
        # (2) authorise
        access = self._access.get(method)
        caller = attempt.caller
        if access is None or not caller.roles & access.roles:
            raise PermissionDeniedError("ROLE_NOT_ALLOWED", "no role of the caller may call this method")
        if access.person and caller.kind != "person":
            raise PermissionDeniedError("PERSON_REQUIRED", "only a person may call this method")
        # (3) restored
        if method not in _SERVED_ALWAYS:
            self._vault.standing.require()
        if isinstance(request, Message):
            # (4) tenant
            self._admit_tenant_of(request, access, attempt)
            # (5) required fields
            check_required(request)
            # Before any transaction: a root key that is slow to answer must not hold a connection.
            await self._vault.keyring.warm(self._vault.database, attempt.tenant or _tenant_in(request) or SYSTEM_LOG)
        elif isinstance(request, _Malformed):
            raise request.error()

    def _admit_tenant_of(self, request: Message, access: Access, attempt: Attempt) -> None:
        if access.system:
            return
        tenant = _tenant_in(request)
        if tenant == SYSTEM_LOG:
            if not attempt.caller.roles & access.system_log:
                raise PermissionDeniedError("ROLE_NOT_ALLOWED", "no role of the caller may read the system log")
        elif tenant:
            if not attempt.caller.may_touch(tenant):
                raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
            attempt.tenant = tenant

    async def _failed(self, error: Exception, method: str, seen: Observed) -> VaultError:
        known = await self._recorded(self._known(error, method))
        seen.failed(known)
        return known

    def _known(self, error: Exception, method: str) -> VaultError:
        """The error itself if it is ours; else a fixed text with the id of the log line, which names types and places, never values."""
        if isinstance(error, VaultError):
            return error
        incident = secrets.token_hex(8)
        _log.error("call failed", method=method, error=type(error).__name__, place=place_of(error.__traceback__), log_id=incident)
        return VaultError("INTERNAL", "internal error", log_id=incident)

    async def _recorded(self, error: VaultError) -> VaultError:
        """Record a refusal, unless the flow did; what merely could not be done now is not a refusal, unless it was for want of keys."""
        if error.receipt is not None or (isinstance(error, UnavailableError) and not isinstance(error, KeyUnavailableError)):
            return error
        try:
            receipt = (await audit_log.refuse(self._vault, [current_attempt()], error))[0]
        except VaultError as unavailable:
            return unavailable
        error.receipt = (receipt.log, receipt.index)
        return error


class _Malformed:
    """Stands in for a request whose bytes are not a message of its type: the flow of checks decides when to say so."""

    def error(self) -> InvalidArgumentError:
        return InvalidArgumentError("REQUEST_MALFORMED", "the request is not a valid message of its type")


async def _abort(error: VaultError, context: Context, seen: Observed) -> NoReturn:
    """Answer with an error, after the call was seen: who has the answer finds the call among the metrics."""
    await context.abort(code_of(error), error.message, trailers_of(error, trace_id=seen.trace_id))


def _tolerant(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """Without this grpc answers a malformed message, e.g. invalid UTF-8, with INTERNAL, and nothing is recorded."""
    if deserialize is None:
        return lambda data: data

    def attempt(data: bytes) -> Any:
        try:
            return deserialize(data)
        except (DecodeError, ValueError):
            return _Malformed()

    return attempt


def _checked_stream(request: Any) -> Any:
    """Requests of a stream are checked one by one as they arrive; a single request was checked already."""
    return _each_checked(request) if hasattr(request, "__aiter__") else request


async def _each_checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        if isinstance(request, _Malformed):
            raise request.error()
        check_required(request)
        yield request


def _nobody(method: str, trace: str) -> Caller:
    """The caller before it is known who calls: what a refused credential is recorded as."""
    return Caller(
        principal="unknown", kind="service", roles=frozenset(), tenants=frozenset(), method=method, trace_id=trace, auth_method="none"
    )


def _tenant_in(request: Message) -> str:
    """Tenant that a request names, or `system`; empty if it names none that could exist (the flow's parser will say so)."""
    for name in ("tenant", "parent", "name", "subject"):
        value = getattr(request, name, None)
        if isinstance(value, str):
            break
    else:
        value = getattr(getattr(request, "tenant", None), "name", "")
    if value == SYSTEM_LOG:
        return SYSTEM_LOG
    parts = str(value).split("/")
    if parts[0] in {"auditEntries", "incidents"}:
        return SYSTEM_LOG
    is_tenant = len(parts) > 1 and parts[0] == "tenants" and parts[1] != SYSTEM_LOG and TENANT_ID.fullmatch(parts[1]) is not None
    return parts[1] if is_tenant else ""
