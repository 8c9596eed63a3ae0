"""What whoever runs the vault sees of calls: metrics, spans, lines in the log; and nobody's data or name in any of it (I2, L41)."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

import pytest
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from tests.builders import NEVER, PHONE, asked, contact, create, entries, entry_of, not_revealed, record, reveal, sought
from tests.collector import collecting
from tests.faults import quiet
from tests.processes import wait_until
from tests.serving import Caller, Serving, serving, why
from vault import exporting
from vault.client import CallError
from vault.errors import VaultError
from vault.names import SYSTEM_LOG
from vault.operations import observe
from vault.store.database import on_commit
from vault.telemetry import METRIC_ATTRIBUTES, configure_logging
from vault.v1.legal_service_pb2 import ListOrdersRequest
from vault.v1.tenant_service_pb2 import GetTenantRequest
from vault.v1.vault_service_pb2 import BatchRevealRecordsRequest, CreateRecordRequest

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "caller=canary"), ("baggage", "phone=canary"))
Points = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture
async def served(home_template: Path, tmp_path: Path, migrated_url: str) -> AsyncIterator[Serving]:
    """A vault whose metrics can be scraped."""
    telemetry = {"prometheus": "127.0.0.1:0", "access_log": 0}
    async with serving(home_template, tmp_path / "home", migrated_url, telemetry=telemetry) as vault:
        await vault.create_tenants()
        yield vault


def scraped(served: Serving) -> Points:
    """Value of every point, by name and attributes."""
    points: Points = {}
    with urlopen(f"http://127.0.0.1:{served.running.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            points.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return points


def value(points: Points, name: str, **labels: str) -> float:
    """Sum of the points that carry these labels."""
    return sum(number for found, number in points.get(name, {}).items() if labels.items() <= dict(found).items())


def with_trace(caller: Caller) -> Caller:
    """The same caller, within a trace of its own."""
    return Caller(caller.channel, (*caller.metadata, *TRACEPARENT))


# --- metrics


async def test_calls_are_counted_by_method_and_status_and_failures_by_reason(served: Serving) -> None:
    app = served.service("acme-app")
    created = await create(app, contact())

    for _ in range(3):
        await reveal(app, asked(created.name))
    await not_revealed(app, asked(created.name.replace(created.name.rsplit("/", 1)[-1], NEVER)))
    await not_revealed(served.service("auditor"), asked(created.name))

    points, method = scraped(served), "vault.v1.VaultService/RevealRecord"
    name = "rpc_server_call_duration_seconds_count"
    assert value(points, name, rpc_method=method, rpc_response_status_code="OK") == 3
    assert value(points, name, rpc_method=method, rpc_response_status_code="NOT_FOUND") == 1
    assert value(points, name, rpc_method=method, rpc_response_status_code="PERMISSION_DENIED") == 1
    assert value(points, "pii_vault_call_failures_total", reason="RECORD_NOT_FOUND") == 1
    assert value(points, "pii_vault_call_failures_total", reason="ROLE_NOT_ALLOWED") == 1


async def test_releases_are_counted_by_category_purpose_and_decision_and_denials_by_reason(served: Serving) -> None:
    app = served.service("acme-app")
    created = [(await create(app, contact(f"+97250234567{number}"))).name for number in range(3)]

    request = BatchRevealRecordsRequest(parent="tenants/acme", names=created, justification=why())
    await app.call(app.records.BatchRevealRecords, request)
    await not_revealed(app, asked(created[0], because=why("own-marketing")))

    points = scraped(served)
    by = {"category": "end-customer-contact", "decision": "ALLOWED", "purpose": "service-delivery"}
    assert value(points, "pii_vault_releases_total", **by) == 3
    assert value(points, "pii_vault_releases_total", decision="REFUSED", purpose="own-marketing") == 1
    assert value(points, "pii_vault_denials_total") == 1


async def test_words_of_a_caller_never_become_a_label(served: Serving) -> None:
    """Harm: whoever may call could make a thousand new series a second, or write a name into one."""
    app = served.service("acme-app")
    created = await create(app, contact())

    await not_revealed(app, asked(created.name, because=why("canary-purpose")))
    await app.refused(app.records.FindSubjects, sought("canary-kind", PHONE))
    await app.refused(app.records.FindSubjects, sought("phone", PHONE, because=why("canary-purpose")))
    await app.refused(
        app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record("canary-category", {"phone": PHONE}))
    )
    await app.refused(app.tenants.GetTenant, GetTenantRequest(name="tenants/canary-tenant"))

    points = scraped(served)
    labels = {(name, text) for found in points.values() for key in found for name, text in key}
    categories, purposes = served.vault.catalogue.categories.keys(), served.vault.catalogue.purposes.keys()
    assert not [text for _, text in labels if "canary" in text or "acme" in text or PHONE[-9:] in text]
    assert {name for name, _ in labels} <= {name.replace(".", "_") for name in METRIC_ATTRIBUTES} | {"le"} | TARGET
    assert {text for name, text in labels if name == "category"} <= categories | {""}
    assert {text for name, text in labels if name == "purpose"} <= purposes | {""}


TARGET = {"service_name", "service_instance_id", "telemetry_sdk_language", "telemetry_sdk_name", "telemetry_sdk_version"}


async def test_keys_pools_queues_checks_and_certificates_are_told(served: Serving) -> None:
    app = served.service("acme-app")
    created = await create(app, contact())
    await quiet(served)
    before = scraped(served)

    for _ in range(5):
        await reveal(app, asked(created.name))

    points = scraped(served)
    hits = [value(found, "pii_vault_keys_lookups_total", outcome="hit") for found in (before, points)]
    assert hits[1] - hits[0] >= 5
    assert (
        value(points, "pii_vault_keys_lookups_total", outcome="miss") == value(before, "pii_vault_keys_lookups_total", outcome="miss") > 0
    )
    assert value(points, "pii_vault_kms_duration_seconds_count", operation="unwrap", outcome="ok") > 0
    assert value(points, "pii_vault_database_connections_max", database="data") == 8
    assert value(points, "pii_vault_database_connections_used", database="data") <= 8
    assert {value(points, "pii_vault_health", check=check) for check in ("database", "schema", "keys", "ledger", "audit")} == {1}
    assert value(points, "pii_vault_certificate_left_seconds", certificate="server") > 300 * 86_400
    assert value(points, "pii_vault_queue_calls") == 0
    assert value(points, "pii_vault_replay_pending") == 0
    assert value(points, "pii_vault_build_info", policy_version=served.vault.catalogue.policy_version) == 1


async def test_a_transaction_that_is_rolled_back_is_not_counted(served: Serving) -> None:
    counted: list[str] = []

    with pytest.raises(VaultError):  # noqa: PT012 - the transaction is what is left
        async with served.vault.database.write() as connection:
            on_commit(connection, lambda: counted.append("rolled back"))
            raise VaultError("STOP", "stop")
    for _ in range(served.vault.database.pool_size):
        async with served.vault.database.write() as connection:
            on_commit(connection, lambda: counted.append("committed"))

    assert counted == ["committed"] * served.vault.database.pool_size


# --- spans


@pytest.fixture
async def traced(
    home_template: Path, tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Serving, InMemorySpanExporter]]:
    """A vault whose every span is kept; what the exporter gets is what would leave."""
    kept = InMemorySpanExporter()
    monkeypatch.setattr(exporting, "GrpcSpans", lambda **_: kept)
    monkeypatch.setattr(exporting, "GrpcMetrics", lambda **_: ConsoleMetricExporter(out=StringIO()))
    telemetry = {"otlp_endpoint": "http://127.0.0.1:9", "trace_ratio": 1, "access_log": 0}
    async with serving(home_template, tmp_path / "home", migrated_url, telemetry=telemetry) as vault:
        await vault.create_tenants()
        yield vault, kept


def spans_of(served: Serving, kept: InMemorySpanExporter) -> list[ReadableSpan]:
    """Every span so far."""
    for one in served.running._exporting.closing:
        if hasattr(one, "force_flush"):
            one.force_flush()
    return list(kept.get_finished_spans())


def named(spans: Iterable[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def said(span: ReadableSpan) -> Mapping[str, object]:
    return dict(span.attributes or {})


async def test_one_trace_leads_from_the_caller_to_the_commit_and_the_entry(traced: tuple[Serving, InMemorySpanExporter]) -> None:
    """I6: a trace leads to its entry and back."""
    served, kept = traced
    app = served.service("acme-app")
    created = await create(app, contact())

    await reveal(with_trace(app), asked(created.name))

    spans = [span for span in spans_of(served, kept) if span.context and span.context.trace_id == int(TRACE, 16)]
    [call], [batch] = named(spans, "vault.v1.VaultService/RevealRecord"), named(spans, "reveal batch")
    assert call.parent is not None
    assert call.context is not None
    assert batch.parent is not None
    assert call.parent.span_id == int(PARENT, 16)
    assert batch.parent.span_id == call.context.span_id
    assert said(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": "vault.v1.VaultService/RevealRecord",
        "rpc.response.status_code": "OK",
    }
    assert said(batch) == {"pii_vault.calls": 1, "pii_vault.log": "acme", "pii_vault.index": 1, "pii_vault.count": 1}
    statements = [span for span in spans if "db.query.text" in said(span)]
    assert {"SELECT audit_heads", "INSERT audit_entries", "UPDATE audit_heads"} <= {span.name for span in statements}
    assert len(named(spans, "COMMIT")) == 1
    assert [entry.trace_id for entry in await entries(served)][1] == TRACE
    text = "".join(span.to_json() for span in spans)
    assert not [word for word in ("canary", PHONE[-9:], created.name.rsplit("/", 1)[-1]) if word in text]


async def test_a_batch_is_linked_to_every_call_that_shares_it(traced: tuple[Serving, InMemorySpanExporter]) -> None:
    """Harm: what a batch did was told in the trace of whoever had come first, long ago."""
    served, kept = traced
    app = served.service("acme-app")
    created = await create(app, contact())

    await asyncio.gather(*(reveal(app, asked(created.name)) for _ in range(40)))

    spans = spans_of(served, kept)
    calls, batches = named(spans, "vault.v1.VaultService/RevealRecord"), named(spans, "reveal batch")
    links = [[link.context.span_id for link in batch.links] for batch in batches]
    ids = {call.context.span_id: call.context.trace_id for call in calls if call.context}
    assert sorted(one for group in links for one in group) == sorted(ids)
    assert len(batches) < len(calls) == 40
    for batch, group in zip(batches, links, strict=True):
        assert batch.context is not None
        assert batch.context.trace_id == ids[group[0]]
        assert said(batch)["pii_vault.calls"] == len(group)


async def test_a_refusal_is_an_answer_and_an_outage_an_error(traced: tuple[Serving, InMemorySpanExporter]) -> None:
    """Harm: with `abort_with_status` the contributed interceptor left the status of every refusal at OK."""
    served, kept = traced
    app = served.service("acme-admin")
    tracing = with_trace(app)

    refused = await tracing.refused(tracing.tenants.GetTenant, GetTenantRequest(name="tenants/globex"))
    served.vault.standing.reason = "RESTORE_PENDING"
    unavailable = await app.refused(app.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))
    served.vault.standing.reason = ""

    first, second = named(spans_of(served, kept), "vault.v1.TenantService/GetTenant")
    assert (first.status.status_code, second.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert refused.receipt is not None
    assert said(first)["pii_vault.reason"] == refused.reason == "TENANT_NOT_FOUND"
    assert said(first)["rpc.response.status_code"] == "NOT_FOUND"
    assert (said(first)["pii_vault.log"], said(first)["pii_vault.index"]) == (SYSTEM_LOG, refused.receipt.index)
    assert said(second)["rpc.response.status_code"] == "UNAVAILABLE"
    assert refused.metadata["trace_id"] == (await entry_of(served, refused)).trace_id == TRACE
    assert second.context is not None
    assert unavailable.metadata["trace_id"] == f"{second.context.trace_id:032x}"


async def test_work_of_the_legal_service_has_a_neutral_name(traced: tuple[Serving, InMemorySpanExporter]) -> None:
    """L41: which order is being worked on, and how, is not everybody's to know."""
    served, kept = traced
    officer = served.service("legal-officer")

    await officer.call(officer.legal.ListOrders, ListOrdersRequest(parent="tenants/acme"))

    [span] = named(spans_of(served, kept), "vault.v1.LegalService")
    assert said(span)["rpc.method"] == "vault.v1.LegalService"


async def test_background_work_has_traces_of_its_own(traced: tuple[Serving, InMemorySpanExporter]) -> None:
    served, kept = traced

    async with asyncio.timeout(30):
        while not named(spans := spans_of(served, kept), "upkeep retention"):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.1)

    steps = [span for span in spans if span.name.startswith("upkeep ")]
    assert {span.parent for span in steps} == {None}
    assert len({span.context.trace_id for span in steps if span.context}) == len(steps)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_spans_reach_a_collector_over_grpc_and_http(home_template: Path, tmp_path: Path, migrated_url: str, protocol: str) -> None:
    with collecting(tmp_path) as collector:
        endpoint = collector.endpoint if protocol == "grpc" else collector.http_endpoint
        telemetry = {"otlp_endpoint": endpoint, "otlp_protocol": protocol, "trace_ratio": 1}
        async with serving(home_template, tmp_path / "home", migrated_url, telemetry=telemetry) as served:
            await served.create_tenants()
            await create(served.service("acme-app"), contact())
        wait_until(lambda: "create batch" in collector.received(), "spans at the collector")
        received = collector.received()

    assert "vault.v1.VaultService/CreateRecord" in received
    assert not [word for word in (PHONE[-9:], "spiffe", "user_agent") if word in received]


# --- the access log


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_access_log_has_the_share_that_is_asked_for_and_every_failure_of_the_vault(
    served: Serving, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info")
    app = with_trace(served.service("acme-admin"))

    async def call() -> list[dict[str, object]]:
        capsys.readouterr()
        for tenant in ("acme", "globex"):
            with suppress(CallError):
                await app.call(app.tenants.GetTenant, GetTenantRequest(name=f"tenants/{tenant}"))
        return [line for line in map(json.loads, capsys.readouterr().err.splitlines()) if line["event"] == "call"]

    none = await call()
    served.running.observer.logged = 1.0
    both = await call()
    served.running.observer.logged = 0.0
    served.vault.standing.reason = "RESTORE_PENDING"
    failed = await call()

    assert none == []
    assert [(line["method"], line["code"], line.get("reason")) for line in both] == [
        ("vault.v1.TenantService/GetTenant", "OK", None),
        ("vault.v1.TenantService/GetTenant", "NOT_FOUND", "TENANT_NOT_FOUND"),
    ]
    assert {line["trace_id"] for line in both} == {TRACE}
    assert both[0].keys() == {"event", "level", "timestamp", "trace_id", "method", "code", "milliseconds"}
    assert [line["reason"] for line in failed] == ["RESTORE_PENDING"] * 2


# --- the document


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_document_names_every_metric_as_it_is_scraped(served: Serving) -> None:
    app = served.service("acme-app")
    created = await create(app, contact())
    await reveal(app, asked(created.name))
    await not_revealed(app, asked(created.name, because=why("own-marketing")))
    meters = served.vault.meters
    meters.retained({"list-file": 1}, {"list-file": 1})
    meters.certified(timedelta(seconds=1))
    meters.replayed(1)
    meters.alarmed("bulk-read")
    await observe.look(served.vault)
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| `([a-z_.]+)` \| `([a-z_]+)` \| (\w+) \|[^|]*\| ([^|]*)\|", text, re.MULTILINE)

    found: dict[str, set[str]] = {}
    for name, keys in scraped(served).items():
        if not name.endswith(("_bucket", "_sum", "_created")) and name != "target_info":
            labels = {label for key in keys for label, _ in key}
            found.setdefault(name.removesuffix("_count"), set()).update(labels)
    told = {prometheus: {word.replace(".", "_") for word in re.findall(r"`([a-z_.]+)`", keys)} for _, prometheus, _, keys in rows}
    assert told == found
