"""The second line: a collector that lets through what the vault tells, and takes off what looks like somebody."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vault.telemetry import METRIC_ATTRIBUTES, SPAN_ATTRIBUTES

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "collector" / "collector.yaml").read_text(encoding="utf-8"))
REDACTION = CONFIG["processors"]["redaction"]
RESOURCE = {"service.name", "service.instance.id", "telemetry.sdk.language", "telemetry.sdk.name", "telemetry.sdk.version"}
# As RE2 writes it, which the collector reads; Python writes a character by its number otherwise.
BLOCKED = [re.compile(re.sub(r"\\x\{([0-9A-F]{4})\}", r"\\u\1", pattern)) for pattern in REDACTION["blocked_values"]]


def test_it_lets_through_what_the_vault_tells_and_nothing_else() -> None:
    assert REDACTION["allow_all_keys"] is False
    assert set(REDACTION["allowed_keys"]) == SPAN_ATTRIBUTES | METRIC_ATTRIBUTES | RESOURCE | {"otel.metric.overflow"}


@pytest.mark.parametrize(
    "text",
    [
        "+972502345678",
        "972502345678",
        "050-2345678",
        "0502345678",
        "03 6123456",
        "call of somebody@example.org failed",
        "123456782",
        "4580116273309981",
        "4580 1162 7330 9981",
        "ישראל ישראלי",
    ],
)
def test_it_takes_off_what_looks_like_somebody(text: str) -> None:
    assert any(pattern.search(text) for pattern in BLOCKED)


@pytest.mark.parametrize(
    "text",
    [
        "vault.v1.VaultService/RevealRecord",
        "RELEASE_BUDGET_EXCEEDED",
        "end-customer-contact",
        "SELECT audit_heads.size FROM audit_heads WHERE audit_heads.tenant_id = $1::VARCHAR",
        "a" * 32,
        "2026-11-01+3",
    ],
)
def test_it_leaves_the_vaults_own_words_alone(text: str) -> None:
    assert not any(pattern.search(text) for pattern in BLOCKED)


@pytest.mark.parametrize("pipeline", ["traces", "metrics"])
def test_every_pipeline_redacts_before_it_exports(pipeline: str) -> None:
    stages = CONFIG["service"]["pipelines"][pipeline]

    assert stages["processors"][:2] == ["memory_limiter", "redaction"]
    assert stages["processors"][-1] == "batch"
    assert {*stages["receivers"], *stages["processors"], *stages["exporters"]} <= {
        *CONFIG["receivers"],
        *CONFIG["processors"],
        *CONFIG["exporters"],
    }
