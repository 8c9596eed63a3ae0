"""Where spans and metrics go: to a collector by OTLP over gRPC or HTTP, and metrics to whoever scrapes them in the form of Prometheus.

The address that is scraped shows the vault's certificate; like the vault's port it takes a new one up when the files change.
"""

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import grpc
import prometheus_client
import structlog
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import Tracer

from vault.config import Telemetry, is_loopback
from vault.errors import FailedPreconditionError, VaultError
from vault.rpc.certificates import Rotating, read_file
from vault.telemetry import NO_TRACER, meter_provider, tracer_provider

# Whoever connects to scrape and then says nothing is let go.
_SCRAPE_SECONDS = 10

_log = structlog.get_logger()


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


def open_exporting(telemetry: Telemetry, certificates: Rotating) -> Exporting:
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
        endpoint = _PrometheusEndpoint(telemetry.prometheus, certificates, registry)
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

    def __init__(self, listen: str, certificates: Rotating, registry: prometheus_client.CollectorRegistry) -> None:
        host, _, port = listen.rpartition(":")
        tls = None if is_loopback(host) else _Tls(certificates)
        try:
            self._server = _Server(host.strip("[]"), int(port), tls)
        except OSError:
            raise FailedPreconditionError(
                "PORT_UNAVAILABLE", "the address of telemetry.prometheus is taken or not this machine's"
            ) from None
        self._server.set_app(prometheus_client.make_wsgi_app(registry))
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Tls:
    """What a connection is met with: made anew when the certificates are others. What cannot be used leaves the old one."""

    def __init__(self, certificates: Rotating) -> None:
        self._certificates = certificates
        self._made_of = certificates.current()
        self._context = certificates.files.context()

    def context(self) -> ssl.SSLContext:
        current = self._certificates.current()
        if current is not self._made_of:
            self._made_of = current
            try:
                self._context = self._certificates.files.context()
            except VaultError as error:
                _log.error("certificate not replaced", reason=error.reason)
        return self._context


class _Handler(WSGIRequestHandler):
    timeout = _SCRAPE_SECONDS

    def log_message(self, *_: Any, **__: Any) -> None:
        """Say nothing: who scrapes, and what they ask for, is no event of the log."""


class _Server(ThreadingMixIn, WSGIServer):
    """One thread for each scrape, in which also the handshake is made: nobody who stalls keeps others waiting."""

    daemon_threads = True

    def __init__(self, host: str, port: int, tls: _Tls | None) -> None:
        self._tls = tls
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = found[0]
        super().__init__((str(found[4][0]), port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.context().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, *_: Any, **__: Any) -> None:
        """Say nothing: a traceback would quote what strangers sent (L41)."""
