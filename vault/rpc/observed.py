"""One call as whoever runs the vault sees it: a span, a place in the metrics, and, of some, a line in the log. Nobody's name is in any of them.

Rules:
- The span begins where the caller's ended (W3C Trace Context) and is the current one of the call's own task, for good.
- Its status is an error where the vault is at fault; a refusal is an answer (semantic conventions of rpc).
- A line is logged of the share of calls that the configuration says, chosen by the trace id so that every worker chooses alike, and of every
  call that the vault itself failed.
- A call of the legal service is told under the service's name: which order is being worked on, and how, is not everybody's to know (L41).
"""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
import structlog
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from vault.errors import VaultError
from vault.operations.meters import Meters
from vault.rpc.status import code_of
from vault.telemetry import begin, remote_parent, trace_id

# Where the vault failed and not the caller: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ (server spans).
_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
_GAGGED = "vault.v1.LegalService"
_LOW = 1 << 64

_log = structlog.get_logger()


@dataclass(slots=True)
class Observer:
    """Watches calls.

    Attributes:
        meters: what counts.
        tracer: where spans are told.
        logged: share of calls that get a line in the log, 0 to 1; may change while the vault runs.
    """

    meters: Meters
    tracer: Tracer
    logged: float = 0.0

    def observe(self, method: str, traceparent: str | bytes | None) -> "Observed":
        """Watch one call from here on.

        Args:
            method: path of the method, `/service/method`.
            traceparent: what the caller sent.
        """
        return Observed(self, method.removeprefix("/"), traceparent)


class Observed:
    """One call under way; a context manager around its handler."""

    __slots__ = ("_began", "_code", "_method", "_observer", "_reason", "_shown", "_span", "trace_id")

    def __init__(self, observer: Observer, method: str, traceparent: str | bytes | None) -> None:
        self._began = time.perf_counter()
        self._observer = observer
        self._method = method
        self._shown = _GAGGED if method.startswith(_GAGGED) else method
        self._code, self._reason = "OK", ""
        self._span: Span = begin(observer.tracer, self._shown, remote_parent(traceparent), kind=SpanKind.SERVER)
        self.trace_id = trace_id()

    def failed(self, error: VaultError) -> None:
        """Note with what the call is answered."""
        self._code, self._reason = code_of(error).name, error.reason
        if error.receipt is not None and self._span.is_recording():
            self._span.set_attributes({"pii_vault.log": error.receipt[0], "pii_vault.index": error.receipt[1]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None and not self._reason:
            self._code = self._reason = grpc.StatusCode.CANCELLED.name
        seconds = time.perf_counter() - self._began
        meters = self._observer.meters
        if meters.is_read:
            meters.called(self._method, self._code, seconds)
            if self._reason:
                meters.failed(self._reason)
        is_fault = self._code in _FAULTS
        if is_fault or int(self.trace_id[16:], 16) < self._observer.logged * _LOW:
            keys = {"reason": self._reason} if self._reason else {}
            _log.info("call", method=self._shown, code=self._code, milliseconds=round(seconds * 1000, 3), **keys)
        self._end(is_fault=is_fault)

    def _end(self, *, is_fault: bool) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes({"rpc.system.name": "grpc", "rpc.method": self._shown, "rpc.response.status_code": self._code})
            if self._reason:
                span.set_attributes({"pii_vault.reason": self._reason, "error.type": self._code})
            if is_fault:
                span.set_status(Status(StatusCode.ERROR))
        span.end()
