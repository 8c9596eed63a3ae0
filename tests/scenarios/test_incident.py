"""The incident that docs/incident.md works through, as it happens: a key service that is slow, seen in a trace and in the metrics."""

import asyncio
import re
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.builders import asked, contact, create, reveal
from tests.openbao import OpenBao
from tests.serving import Caller, serving
from tests.traces import drawn, shape
from vault import exporting

DOCUMENT = Path(__file__).parents[2] / "docs" / "incident.md"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SLOW = 0.8  # seconds


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_slow_key_service_is_found_in_the_trace_of_a_slow_reveal(
    openbao: OpenBao, root_uri: str, home_template: Path, tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = InMemorySpanExporter()
    monkeypatch.setattr(exporting, "GrpcSpans", lambda **_: kept)
    monkeypatch.setattr(exporting, "GrpcMetrics", lambda **_: ConsoleMetricExporter(out=StringIO()))
    telemetry = {"otlp_endpoint": "http://127.0.0.1:9", "trace_ratio": 1, "prometheus": "127.0.0.1:0", "access_log": 0}
    async with serving(home_template, tmp_path / "home", migrated_url, keys_uri=root_uri, telemetry=telemetry) as served:
        await served.create_tenants()
        app = served.service("acme-app")
        created = await create(app, contact())
        served.vault.keyring.forget("acme")
        openbao.pause()
        asyncio.get_running_loop().call_later(SLOW, openbao.resume)

        await reveal(Caller(app.channel, (("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"),)), asked(created.name))

        for one in served.running._exporting.closing:
            if hasattr(one, "force_flush"):
                one.force_flush()
        spans = [span for span in kept.get_finished_spans() if span.context and span.context.trace_id == int(TRACE, 16)]
        metrics = scraped(served.running.metrics_port)

    seconds = {name: max((span.end_time or 0) - (span.start_time or 0) for span in spans if span.name == name) / 1e9 for name in NAMES}
    assert seconds["root key unwrap"] >= SLOW * 0.8
    assert seconds["root key unwrap"] > 0.7 * seconds["vault.v1.VaultService/RevealRecord"]
    assert seconds["COMMIT"] < SLOW
    assert slow_unwraps(metrics) > 0
    print(drawn(spans))  # noqa: T201 - what the document has of it
    [documented] = re.findall(r"```text\n( +0\.0 .*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert shape(documented) == shape(drawn(spans))


NAMES = ("vault.v1.VaultService/RevealRecord", "root key unwrap", "reveal batch", "COMMIT")


def scraped(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def slow_unwraps(metrics: str) -> float:
    """Unwraps that took longer than half a second."""
    buckets = dict(re.findall(r'pii_vault_kms_duration_seconds_bucket\{le="([^"]+)",operation="unwrap",outcome="ok"\} (\S+)', metrics))
    return float(buckets["+Inf"]) - float(buckets["0.5"])
