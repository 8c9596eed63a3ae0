"""A real OTLP collector: rotel, from its wheel, printing every span or metric it is sent."""

import importlib.util
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.processes import wait_until


class Collector:
    """A running collector.

    Attributes:
        endpoint: where it takes OTLP over gRPC.
        http_endpoint: the same over HTTP.
    """

    def __init__(self, port: int, http_port: int, log: Path) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.http_endpoint = f"http://127.0.0.1:{http_port}"
        self._log = log

    def received(self) -> str:
        """Everything that was sent to it so far, as it printed it."""
        return self._log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def collecting(folder: Path, *, of: Literal["traces", "metrics", "none"] = "traces") -> Iterator[Collector]:
    """Run a collector on a loopback port that prints spans, metrics, or nothing."""
    port, other = _free_ports()
    spec = importlib.util.find_spec("rotel")
    assert spec is not None
    assert spec.origin is not None
    log = folder / "collector.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                Path(spec.origin).with_name("rotel-agent"),
                "start",
                *("--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{other}"),
                *("--exporter", "blackhole", "--debug-log", of, "--debug-log-verbosity", "detailed"),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, "collector")
        assert process.poll() is None, log.read_text()
        yield Collector(port, other, log)
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nothing listens at."""
    return _free_ports()[0]


def _free_ports() -> tuple[int, int]:
    """Two ports that nothing listens at; the collector cannot be told to choose."""
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _listens(port: int) -> bool:
    """Whether something listens at the port: a hexadecimal address in the kernel's own table."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)
