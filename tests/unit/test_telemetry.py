"""What the process says about itself: listed keys and attributes, nothing that quotes, nothing that a caller wrote (I2, L41)."""

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.span import TraceState

from vault.errors import KeyUnavailableError
from vault.telemetry import (
    METRIC_POINTS,
    NO_TRACER,
    begin,
    configure_logging,
    meter_provider,
    remote_parent,
    spanning,
    trace_id,
    tracer_provider,
)

CANARY = "050-2345678"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


pytestmark = pytest.mark.usefixtures("logging_restored")


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Every line on standard error; nothing is on standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


# --- log lines


def test_a_listed_key_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")

    structlog.get_logger().info("not serving", count=3, reason="SOME_REASON")

    [line] = logged(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "not serving", "level": "info", "count": 3, "reason": "SOME_REASON"}


def test_a_key_of_another_event_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")

    structlog.get_logger().info("erasures resumed", count=3, reason="SOME_REASON", port=8443)

    [line] = logged(capsys)
    assert line.keys() == {"event", "level", "timestamp", "count"}


@pytest.mark.parametrize("event", [f"call of {CANARY} failed", CANARY, "", None, 7])
def test_an_event_that_is_not_listed_leaves_no_text(capsys: pytest.CaptureFixture[str], event: object) -> None:
    """Harm: an event that is put together quotes what it is put together of."""
    configure_logging("info")

    structlog.get_logger().info(event, reason=CANARY, count=1)

    [line] = logged(capsys)
    assert CANARY not in str(line)
    assert line["event"] == "unlisted event"


def test_a_line_names_the_trace_that_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")

    with use_span(NonRecordingSpan(SpanContext(int(TRACE, 16), 2, is_remote=False))):
        structlog.get_logger().info("serving", port=1)

    [line] = logged(capsys)
    assert line["trace_id"] == TRACE


@pytest.mark.parametrize(
    "key", ["phone", "value", "request", "message", "exception", "exc_info", "stack", "token", "subject", "Event", "positional_args"]
)
def test_a_key_that_is_not_listed_is_dropped(capsys: pytest.CaptureFixture[str], key: str) -> None:
    """I2: allow-list, not deny-list."""
    configure_logging("debug")

    structlog.get_logger().error("call failed", **{key: CANARY, "log_id": "1"})

    [line] = logged(capsys)
    assert CANARY not in str(line)
    assert line["log_id"] == "1"


def test_an_exception_leaves_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")

    try:
        int(CANARY)
    except ValueError:
        structlog.get_logger().exception("call failed", error="ValueError")

    [line] = logged(capsys)
    assert CANARY not in str(line)
    assert line["error"] == "ValueError"


def test_what_was_bound_to_a_logger_is_dropped_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")

    with structlog.contextvars.bound_contextvars(phone=CANARY):
        structlog.get_logger().bind(mail=CANARY).info("serving", port=1)

    assert CANARY not in str(logged(capsys))


@pytest.mark.parametrize(
    ("level", "heard"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_says_what_is_heard(capsys: pytest.CaptureFixture[str], level: str, heard: list[str]) -> None:
    configure_logging(level)

    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("serving")

    assert [line["level"] for line in logged(capsys)] == heard


def test_a_log_line_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody forges a second entry with a line break."""
    configure_logging("info")

    structlog.get_logger().info("not healthy", reason='x"\n{"event": "forged"}')

    [line] = logged(capsys)
    assert line["event"] == "not healthy"


CRASHES = {
    "in the process": "raise ValueError(CANARY)",
    "in a thread": "t = threading.Thread(target=lambda: int(CANARY)); t.start(); t.join()",
    "in a finalizer": "type('Broken', (), {'__del__': lambda self: int(CANARY)})()",
}


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_leaves_its_type_and_place_and_no_text(crash: str) -> None:
    """L41: a traceback quotes the error, and the error quotes what it met."""
    program = f"""
import threading
from vault.telemetry import configure_logging, mute_crashes
CANARY = "{CANARY}"
configure_logging("info")
mute_crashes()
{CRASHES[crash]}
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    [line] = map(json.loads, ended.stderr.splitlines())
    assert (line["event"], line["error"]) == ("crashed", "ValueError")
    assert line["place"].startswith("<string>:")
    assert CANARY not in ended.stdout + ended.stderr


# --- what libraries log


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_a_library_line_keeps_its_logger_and_place_and_no_text(capsys: pytest.CaptureFixture[str], level: int) -> None:
    configure_logging("info")

    logging.getLogger("sqlalchemy.pool").log(level, "cannot bind %s", CANARY, extra={"phone": CANARY})

    [line] = logged(capsys)
    assert CANARY not in str(line)
    assert (line["event"], line["error"]) == ("library warning", "sqlalchemy.pool")
    assert line["place"].startswith("test_telemetry.py:")


def test_a_library_exception_keeps_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")

    try:
        int(CANARY)
    except ValueError:
        logging.getLogger("grpc").exception(CANARY)

    assert CANARY not in str(logged(capsys))


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_a_library_that_merely_talks_is_not_heard(capsys: pytest.CaptureFixture[str], level: int) -> None:
    configure_logging("debug")

    logging.getLogger("sqlalchemy.engine").log(level, CANARY)

    assert logged(capsys) == []


def test_a_handler_that_was_there_before_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """Or the text would leave by it."""
    logging.getLogger().addHandler(logging.StreamHandler())

    configure_logging("info")
    logging.getLogger("grpc").error(CANARY)

    assert CANARY not in str(logged(capsys))


def test_an_exception_that_nobody_awaited_keeps_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")

    async def lose_a_task() -> None:
        async def fail() -> None:
            raise ValueError(CANARY)

        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        asyncio.get_running_loop().call_exception_handler({"message": CANARY, "exception": task.exception(), "future": task})

    asyncio.run(lose_a_task())

    [line] = logged(capsys)
    assert CANARY not in str(line)
    assert line["error"] == "asyncio"


# --- spans


def exported(*, attributes: dict[str, Any] | None = None, parent: SpanContext | None = None) -> tuple[ReadableSpan, str]:
    """One span with everything in it that could give something away, as it leaves; and all of it as text."""
    exporter = InMemorySpanExporter()
    provider = tracer_provider("instance", exporter)
    context = set_span_in_context(NonRecordingSpan(parent)) if parent else None
    link = Link(SpanContext(1, 2, is_remote=True), attributes={"phone": CANARY})
    span = provider.get_tracer("test").start_span(
        "/vault.v1.VaultService/RevealRecord", context, SpanKind.SERVER, attributes=attributes, links=[link]
    )
    span.add_event("message", {"body": CANARY})
    span.record_exception(ValueError(CANARY))
    span.set_status(Status(StatusCode.ERROR, f"failed for {CANARY}"))
    span.end()
    provider.shutdown()
    [left] = exporter.get_finished_spans()
    return left, left.to_json() + repr(left.context) + repr(left.parent)


def test_a_span_keeps_listed_attributes_only() -> None:
    """L41."""
    listed = {"rpc.system.name": "grpc", "rpc.method": "vault.v1.VaultService/RevealRecord", "rpc.response.status_code": "OK"}

    span, text = exported(
        attributes={**listed, "net.peer.ip": "10.0.0.7", "rpc.user_agent": CANARY, "enduser.id": CANARY, "RPC.method": CANARY}
    )

    assert dict(span.attributes or {}) == listed
    assert "10.0.0.7" not in text
    assert CANARY not in text


def test_a_span_keeps_no_event_no_description_and_of_a_link_its_ids() -> None:
    """L41: exception texts quote."""
    span, text = exported()

    assert [(link.context.trace_id, link.context.span_id, dict(link.attributes or {})) for link in span.links] == [(1, 2, {})]
    assert span.events == ()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert CANARY not in text


def test_a_span_keeps_what_makes_it_a_span() -> None:
    parent = SpanContext(int(TRACE, 16), int(PARENT, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    span, _ = exported(parent=parent)

    assert span.name == "/vault.v1.VaultService/RevealRecord"
    assert span.kind is SpanKind.SERVER
    assert span.context is not None
    assert span.context.trace_id == int(TRACE, 16)
    assert span.context.is_valid
    assert span.parent == parent
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time
    assert span.resource.attributes["service.name"] == "pii-vault"
    assert span.resource.attributes["service.instance.id"] == "instance"


def test_a_span_keeps_nothing_that_the_caller_wrote_into_the_trace_state() -> None:
    """Harm: `tracestate` of the request left with the span as it came, 512 characters of the caller's choice."""
    state = TraceState([("caller", CANARY)])
    parent = SpanContext(int(TRACE, 16), int(PARENT, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED), trace_state=state)

    _, text = exported(parent=parent)

    assert CANARY not in text


def test_flushing_reaches_the_exporter() -> None:
    exporter = InMemorySpanExporter()
    provider = tracer_provider("instance", exporter)
    provider.get_tracer("test").start_span("span").end()

    flushed = provider.force_flush()

    assert flushed
    assert [span.name for span in exporter.get_finished_spans()] == ["span"]
    provider.shutdown()


def test_an_error_leaves_its_kind_in_the_span_and_not_its_text() -> None:
    exporter = InMemorySpanExporter()
    provider = tracer_provider("instance", exporter)

    with pytest.raises(ValueError, match="050"), spanning(provider.get_tracer("test"), "work"):
        raise ValueError(CANARY)
    with pytest.raises(KeyUnavailableError), spanning(provider.get_tracer("test"), "work"):
        raise KeyUnavailableError(CANARY)

    provider.shutdown()
    left = exporter.get_finished_spans()
    assert [dict(span.attributes or {}) for span in left] == [{"error.type": "ValueError"}, {"error.type": "KEYS_UNAVAILABLE"}]
    assert {span.status.status_code for span in left} == {StatusCode.ERROR}
    assert CANARY not in "".join(span.to_json() for span in left)


@pytest.mark.parametrize(("ratio", "flags", "kept"), [(0.0, None, 0), (1.0, None, 1), (0.0, "01", 1), (1.0, "00", 0)])
async def test_the_ratio_decides_of_traces_that_begin_here_and_the_caller_of_its_own(ratio: float, flags: str | None, kept: int) -> None:
    exporter = InMemorySpanExporter()
    provider = tracer_provider("instance", exporter, ratio=ratio)

    begin(provider.get_tracer("test"), "call", remote_parent(f"00-{TRACE}-{PARENT}-{flags}" if flags else None)).end()

    provider.shutdown()
    assert len(exporter.get_finished_spans()) == kept


# --- trace ids


async def begun(traceparent: str | bytes | None) -> str:
    """The trace id of a call that came with this."""

    async def call() -> str:
        begin(NO_TRACER, "call", remote_parent(traceparent))
        return trace_id()

    return await asyncio.create_task(call())


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
@pytest.mark.parametrize("version", ["00", "01", "fe"])
async def test_the_trace_id_of_the_caller_is_taken(version: str, flags: str) -> None:
    """I6, W3C Trace Context."""
    assert await begun(f"{version}-{TRACE}-{PARENT}-{flags}") == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        TRACE,
        f"00-{TRACE}",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00-{TRACE}-{PARENT}-01-{CANARY}",
        f"00-{CANARY:>032}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01".encode(),
        f"00-{'٣' * 32}-{PARENT}-01",
    ],
)
async def test_a_trace_id_that_is_none_is_replaced_by_a_fresh_one(traceparent: str | bytes | None) -> None:
    first, second = await begun(traceparent), await begun(traceparent)

    assert first not in {second, TRACE}
    assert len(first) == 32
    assert int(first, 16)


async def test_a_call_has_one_trace_id_from_its_begin_to_its_end() -> None:
    async def call() -> set[str]:
        begin(NO_TRACER, "call", remote_parent(None))
        return {trace_id(), await asyncio.create_task(later()), trace_id()}

    async def later() -> str:
        return trace_id()

    assert len(await asyncio.create_task(call())) == 1


def test_configuring_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    configure_logging("info")

    structlog.get_logger().info("serving")
    logging.getLogger("grpc").error("text")

    assert len(logged(capsys)) == 2


# --- metrics


def test_a_metric_keeps_listed_attributes_and_sums_up_the_rest() -> None:
    """I2: allow-list, not deny-list; an example would carry what was dropped."""
    reader = InMemoryMetricReader()
    meter = meter_provider("one", reader).get_meter("test")
    counter, histogram = meter.create_counter("told"), meter.create_histogram("took")

    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))):
        counter.add(1, {"category": "site-visitor", "tenant": "acme", "phone": CANARY})
        counter.add(2, {"category": "site-visitor", "subject": CANARY})
        histogram.record(3, {"category": "site-visitor", "phone": CANARY})

    data = reader.get_metrics_data()
    assert data is not None
    [[told], [took]] = [metric.data.data_points for metric in data.resource_metrics[0].scope_metrics[0].metrics]
    assert isinstance(told, NumberDataPoint)
    assert told.value == 3
    for point in (told, took):
        assert dict(point.attributes or {}) == {"category": "site-visitor"}
        [example] = point.exemplars
        assert (example.trace_id, example.span_id, dict(example.filtered_attributes or {})) == (1, 2, {})
    assert CANARY not in data.to_json()


def test_a_call_that_is_not_traced_is_no_example() -> None:
    reader = InMemoryMetricReader()
    counter = meter_provider("one", reader).get_meter("test").create_counter("told")

    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False))):
        counter.add(1)

    data = reader.get_metrics_data()
    assert data is not None
    [point] = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert list(point.exemplars) == []


def test_one_instrument_tells_a_bounded_number_of_points_apart() -> None:
    """Whatever goes wrong, a collector is not flooded."""
    reader = InMemoryMetricReader()
    counter = meter_provider("one", reader).get_meter("test").create_counter("told")

    for number in range(METRIC_POINTS + 100):
        counter.add(1, {"reason": f"REASON_{number}"})

    data = reader.get_metrics_data()
    assert data is not None
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert len(points) <= METRIC_POINTS + 1
    assert sum(point.value for point in points if isinstance(point, NumberDataPoint)) == METRIC_POINTS + 100
