"""Where spans and metrics go: to a collector by OTLP over gRPC or HTTP, and metrics to whoever scrapes them in the form of Prometheus."""

import hashlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
import prometheus_client
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Tracer

from vault.config import Telemetry, Tls, is_loopback
from vault.errors import FailedPreconditionError
from vault.rpc.certificates import read_file
from vault.telemetry import NO_TRACER, meter_provider, tracer_provider


class _Closing(Protocol):
    def shutdown(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Exporting:
    """What leaves the process; nothing, if nothing is configured."""

    tracer: Tracer = NO_TRACER
    meters: MeterProvider | None = None
    closing: Sequence[_Closing] = ()
    metrics_port: int = 0

    def shutdown(self) -> None:
        """Send what is left, and close."""
        for one in self.closing:
            one.shutdown()


def open_exporting(telemetry: Telemetry, tls: Tls) -> Exporting:
    """Begin to export what the configuration says.

    Raises:
        FailedPreconditionError: CONFIG_INVALID, a file cannot be read; PORT_UNAVAILABLE, the address for metrics is taken.
    """
    name = hashlib.sha256(f"{socket.gethostname()}/{os.getpid()}".encode()).hexdigest()[:16]
    readers: list[MetricReader] = []
    closing: list[_Closing] = []
    tracer, port = NO_TRACER, 0
    if telemetry.otlp_endpoint:
        spans, metrics = _otlp(telemetry)
        provider = tracer_provider(name, spans, ratio=telemetry.trace_ratio)
        tracer = provider.get_tracer("pii_vault")
        closing.append(provider)
        readers.append(PeriodicExportingMetricReader(metrics))
    if telemetry.prometheus:
        registry = prometheus_client.CollectorRegistry()
        endpoint = _PrometheusEndpoint(telemetry.prometheus, tls, registry)
        port = endpoint.port
        closing.append(endpoint)
        readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=registry))
    if not readers:
        return Exporting()
    meters = meter_provider(name, *readers)
    return Exporting(tracer, meters, [meters, *closing], port)


def _otlp(telemetry: Telemetry) -> tuple[SpanExporter, MetricExporter]:
    endpoint, ca = telemetry.otlp_endpoint, telemetry.otlp_ca
    if telemetry.otlp_protocol == "http":
        authority = str(ca) if ca is not None and read_file(ca) else None
        base = endpoint.rstrip("/")
        return (
            HttpSpans(endpoint=f"{base}/v1/traces", certificate_file=authority),
            HttpMetrics(endpoint=f"{base}/v1/metrics", certificate_file=authority),
        )
    insecure = endpoint.startswith("http://")
    credentials = None if insecure else grpc.ssl_channel_credentials(read_file(ca) if ca is not None else None)
    return (
        GrpcSpans(endpoint=endpoint, insecure=insecure, credentials=credentials),
        GrpcMetrics(endpoint=endpoint, insecure=insecure, credentials=credentials),
    )


class _PrometheusEndpoint:
    """Serves metrics in plain HTTP on this machine; elsewhere as the vault's own port does, TLS with a client certificate."""

    def __init__(self, listen: str, tls: Tls, registry: prometheus_client.CollectorRegistry) -> None:
        host, _, port = listen.rpartition(":")
        shown = None if is_loopback(host) else tls
        try:
            self._server, self._thread = prometheus_client.start_http_server(
                int(port),
                host.strip("[]"),
                registry,
                certfile=str(shown.certificate) if shown else None,
                keyfile=str(shown.private_key) if shown else None,
                client_cafile=str(shown.client_ca) if shown else None,
                client_auth_required=shown is not None,
            )
        except OSError:
            raise FailedPreconditionError(
                "PORT_UNAVAILABLE", "the address of telemetry.prometheus is taken or not this machine's"
            ) from None
        self.port = int(self._server.server_port)

    def shutdown(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
