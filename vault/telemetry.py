"""What the process says about itself: log lines with listed keys, spans and metrics with listed attributes. Never a value (I2, L41).

Rules:
- A log event is a constant; its fields are allow-listed, everything else is dropped by the last processor.
- A span keeps allow-listed attributes only; events and status texts, where exceptions quote things, are dropped, and so is the trace state,
  where a caller may write what it likes.
- A metric keeps allow-listed attributes only, whose values are words of closed lists; the rest is summed up, and no example of it is kept.
- Without an OTLP endpoint nothing is exported, and no span or metric is made; the trace id of the caller is carried into the log all the same.
"""

import logging
import re
import secrets
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, Status

_LOG_KEYS = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "method",
        "error",
        "place",
        "log_id",
        "count",
        "port",
        "reason",
        "log",
        "version",
        "database",
        "erasures",
        "resource",
    }
)
_SPAN_ATTRIBUTES = frozenset(
    {"rpc.system", "rpc.service", "rpc.method", "rpc.grpc.status_code", "rpc.response.status_code", "rpc.system.name"}
)
_METRIC_ATTRIBUTES = frozenset({"category", "state", "trigger"})
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = "0" * 32


def trace_id(traceparent: str | bytes | None) -> str:
    """Trace id of the call: the current span's, else the caller's (W3C Trace Context), else a fresh one. 32 hex digits."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        return f"{span.trace_id:032x}"
    if isinstance(traceparent, str) and (found := _TRACEPARENT.fullmatch(traceparent)) and found[1] != _NO_TRACE:
        return found[1]
    return secrets.token_hex(16)


def configure_logging(level: str) -> None:
    """JSON lines on standard error, listed keys only."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _listed_keys,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard module, and what they quote is not ours to vouch for: the type of event is kept, the text is not.
    logging.basicConfig(handlers=[_Muted()], level=logging.WARNING, force=True)


def _listed_keys(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: value for key, value in event.items() if key in _LOG_KEYS}


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
    attributes = {key: value for key, value in (span.attributes or {}).items() if key in _SPAN_ATTRIBUTES}
    return ReadableSpan(
        name=span.name,
        context=_stateless(span.context),
        parent=_stateless(span.parent),
        resource=span.resource,
        attributes=attributes,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _stateless(context: SpanContext | None) -> SpanContext | None:
    """Ids and flags, without the trace state."""
    return context and SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


def tracer_provider(name: str, exporter: SpanExporter) -> TracerProvider:
    """A provider whose spans leave through the exporter, reduced."""
    provider = TracerProvider(resource=_resource(name))
    provider.add_span_processor(BatchSpanProcessor(ListedAttributes(exporter)))
    return provider


def meter_provider(name: str, reader: MetricReader) -> MeterProvider:
    """A provider whose metrics leave through the reader, reduced."""
    return MeterProvider(
        metric_readers=[reader],
        resource=_resource(name),
        # An example would carry the attributes that were dropped.
        exemplar_filter=AlwaysOffExemplarFilter(),
        views=[View(instrument_name="*", attribute_keys=set(_METRIC_ATTRIBUTES))],
    )


def _resource(name: str) -> Resource:
    return Resource.create({"service.name": "pii-vault", "service.instance.id": name})
