"""What the process says about itself: log lines with listed keys, spans and metrics with listed attributes. Never a value (I2, L41).

Rules:
- A log event is a constant of `events.py`; its keys are listed with it, everything else is dropped by the last processor.
- A span keeps allow-listed attributes only; events and status texts, where exceptions quote things, are dropped, and so are trace state and baggage,
  where a caller may write what it likes. A link keeps its ids.
- A metric keeps allow-listed attributes only, whose values are words of closed lists; the rest is summed up. An example of a value names the trace
  that it belongs to and carries nothing else.
- Without an endpoint nothing is exported, and no span or metric is made; the trace id of the caller is carried into the log all the same.
"""

import logging
import re
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import (
    AlignedHistogramBucketExemplarReservoir,
    MeterProvider,
    SimpleFixedSizeExemplarReservoir,
    TraceBasedExemplarFilter,
)
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, NoOpTracer, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, Tracer

from vault.errors import VaultError
from vault.events import COMMON, EVENTS, UNLISTED

# What nobody configured a collector for.
NO_TRACER: Tracer = NoOpTracer()

SPAN_ATTRIBUTES = frozenset(
    {
        # https://opentelemetry.io/docs/specs/semconv/ of rpc, db and errors.
        "rpc.system.name",
        "rpc.method",
        "rpc.response.status_code",
        "db.system.name",
        "db.operation.name",
        "db.query.text",
        "error.type",
        # Words of closed lists, counts, and the place in an audit log.
        "pii_vault.reason",
        "pii_vault.operation",
        "pii_vault.calls",
        "pii_vault.count",
        "pii_vault.log",
        "pii_vault.index",
    }
)
METRIC_ATTRIBUTES = frozenset(
    {
        "rpc.method",
        "rpc.response.status_code",
        "category",
        "purpose",
        "decision",
        "reason",
        "state",
        "operation",
        "outcome",
        "check",
        "sink",
        "trigger",
        "finding",
        "deadline",
        "certificate",
        "database",
        "policy_version",
        "version",
    }
)
# Sets of attribute values that one instrument tells apart; whatever comes after is summed up as `otel.metric.overflow`.
METRIC_POINTS = 2000
# How many spans wait for the collector; a collector that is away costs this much memory and then spans, never a call.
_SPANS_WAITING = 4096
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_ID = "0" * 8


def remote_parent(traceparent: str | bytes | None) -> Context:
    """The context that a call begins in: the caller's span (W3C Trace Context), or nothing. Neither trace state nor baggage comes in."""
    if (
        isinstance(traceparent, str)
        and (found := _TRACEPARENT.fullmatch(traceparent))
        and found[1] != _NO_ID * 4
        and found[2] != _NO_ID * 2
    ):
        flags = TraceFlags(int(found[3], 16) & TraceFlags.SAMPLED)
        caller = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(caller), Context())
    return Context()


def begin(tracer: Tracer, name: str, parent: Context, *, kind: SpanKind = SpanKind.INTERNAL, links: Sequence[Link] = ()) -> Span:
    """Start a span and make it the current one of this task, for good: the task is its own. It has a trace id even if nothing is traced."""
    span = tracer.start_span(name, parent, kind, links=links)
    if not span.get_span_context().is_valid:
        span = NonRecordingSpan(SpanContext(secrets.randbits(128) or 1, secrets.randbits(64) or 1, is_remote=False))
    contexts.attach(trace.set_span_in_context(span, parent))
    return span


@contextmanager
def spanning(
    tracer: Tracer, name: str, *, kind: SpanKind = SpanKind.INTERNAL, parent: Context | None = None, links: Sequence[Link] = ()
) -> Iterator[Span]:
    """A span around some work, which is the current one meanwhile. An error leaves its type or reason, never its text.

    Args:
        tracer: where it is told.
        name: a constant.
        kind: CLIENT for what another process does for this one.
        parent: the context it belongs to; the current one unless told.
        links: spans of calls that it works for besides.
    """
    with tracer.start_as_current_span(name, parent, kind, links=links, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span
        except BaseException as error:
            failed(span, error)
            raise


def failed(span: Span, error: BaseException) -> None:
    """Mark a span as failed, by a word."""
    if span.is_recording():
        span.set_attribute("error.type", error.reason if isinstance(error, VaultError) else type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))


def is_traced() -> bool:
    """Whether the current work is being traced; nothing is put together for nobody."""
    return trace.get_current_span().is_recording()


def trace_id() -> str:
    """Trace id of the current work, or a fresh one. 32 hex digits."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else secrets.token_hex(16)


def configure_logging(level: str) -> None:
    """JSON lines on standard error, listed events and keys only."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _traced,
            _listed,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard module, and what they quote is not ours to vouch for: the type of event is kept, the text is not.
    logging.basicConfig(handlers=[_Muted()], level=logging.WARNING, force=True)


def mute_crashes() -> None:
    """Have errors that nobody catches leave their type and place. A traceback would quote what they say, and what they say quotes values (L41)."""
    sys.excepthook = lambda kind, _error, trace: _crashed(kind, trace)
    threading.excepthook = lambda crash: _crashed(crash.exc_type, crash.exc_traceback)
    sys.unraisablehook = lambda crash: _crashed(crash.exc_type, crash.exc_traceback)


def _crashed(kind: type[BaseException] | None, trace: TracebackType | None) -> None:
    structlog.get_logger().error("crashed", error=kind.__name__ if kind else "", place=place_of(trace))


def place_of(trace: TracebackType | None) -> str:
    """File and line where an error came from."""
    place = ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _traced(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event


def _listed(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    said = event.get("event")
    keys = EVENTS.get(said) if isinstance(said, str) else None
    if keys is None:
        event["event"], keys = UNLISTED, frozenset()
    return {key: value for key, value in event.items() if key in COMMON or key in keys}


class _Muted(logging.Handler):
    """Lets a library's warning through as the name of the logger and the place, without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("library warning", error=record.name, place=f"{record.filename}:{record.lineno}")


class ListedAttributes(SpanExporter):
    """Passes spans on with listed attributes only."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: "tuple[ReadableSpan, ...] | list[ReadableSpan] | Any") -> SpanExportResult:
        """Export reduced copies."""
        return self._exporter.export([_reduced(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)


def _reduced(span: ReadableSpan) -> ReadableSpan:
    attributes = {key: value for key, value in (span.attributes or {}).items() if key in SPAN_ATTRIBUTES}
    return ReadableSpan(
        name=span.name,
        context=span.context and _stateless(span.context),
        parent=span.parent and _stateless(span.parent),
        resource=span.resource,
        attributes=attributes,
        links=[Link(_stateless(link.context)) for link in span.links],
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _stateless(context: SpanContext) -> SpanContext:
    """Ids and flags, without the trace state."""
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


def tracer_provider(name: str, exporter: SpanExporter, *, ratio: float = 1.0) -> TracerProvider:
    """A provider whose spans leave through the exporter, reduced.

    Args:
        name: of this process.
        exporter: where spans go.
        ratio: share of the traces that begin here and are kept; of those that began at a caller, the caller has decided.
    """
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)), resource=_resource(name))
    provider.add_span_processor(BatchSpanProcessor(ListedAttributes(exporter), max_queue_size=_SPANS_WAITING))
    return provider


def meter_provider(name: str, *readers: MetricReader) -> MeterProvider:
    """A provider whose metrics leave through the readers, reduced."""
    return MeterProvider(
        metric_readers=readers,
        resource=_resource(name),
        exemplar_filter=TraceBasedExemplarFilter(),
        views=[
            View(
                instrument_name="*",
                attribute_keys=set(METRIC_ATTRIBUTES),
                exemplar_reservoir_factory=_bare_reservoir,
                aggregation_cardinality_limit=METRIC_POINTS,
            )
        ],
    )


class _BareHistogramReservoir(AlignedHistogramBucketExemplarReservoir):
    """An example carries whatever attributes were dropped from the point; these were dropped for good."""

    def offer(self, value: float, time_unix_nano: int, attributes: Any, context: Context) -> None:
        del attributes
        super().offer(value, time_unix_nano, {}, context)


class _BareReservoir(SimpleFixedSizeExemplarReservoir):
    """The same for counters."""

    def offer(self, value: float, time_unix_nano: int, attributes: Any, context: Context) -> None:
        del attributes
        super().offer(value, time_unix_nano, {}, context)


def _bare_reservoir(aggregation: type[Any]) -> Callable[..., Any]:
    return _BareHistogramReservoir if aggregation.__name__ == "_ExplicitBucketHistogramAggregation" else _BareReservoir


def _resource(name: str) -> Resource:
    return Resource.create({"service.name": "pii-vault", "service.instance.id": name})
