"""The rules of Prometheus: every alert fires when it is to and not before, has a runbook, and asks for metrics that there are."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
CALLS = "rpc_server_call_duration_seconds"
REVEAL = 'rpc_method="vault.v1.VaultService/RevealRecord"'
DAY = 86_400


@dataclass(frozen=True)
class Case:
    """What is measured each minute, when the alert is silent still, and when it fires with which labels."""

    alert: str
    series: dict[str, str]
    fires: str
    silent: str = "0m"
    labels: tuple[tuple[str, str], ...] = ()


def steady(value: int, then: int, *, after: int = 10) -> str:
    """A gauge that changes after some minutes, for three days."""
    return f"{value}x{after} {then}x4320"


def calls(bad: str, good: str) -> dict[str, str]:
    return {
        f'{CALLS}_count{{{REVEAL},rpc_response_status_code="OK"}}': good,
        f'{CALLS}_count{{{REVEAL},rpc_response_status_code="UNAVAILABLE"}}': bad,
    }


def reveals(fast: str, every: str) -> dict[str, str]:
    return {f'{CALLS}_bucket{{{REVEAL},le="0.1"}}': fast, f'{CALLS}_count{{{REVEAL},rpc_response_status_code="OK"}}': every}


def health(check: str) -> dict[str, str]:
    return {f'pii_vault_health{{check="{check}"}}': steady(1, 0)}


# Counters: `a+bxn` grows by b a minute, n times. The first ten minutes are well in every case.
CASES = [
    Case("PiiVaultErrorBudgetBurnsFast", calls("0x10 0+5x300", "0+100x310"), "60m", "10m"),
    Case("PiiVaultErrorBudgetBurnsSlowly", calls("0x10 0+1x900", "0+100x910"), "420m", "10m"),
    Case("PiiVaultLatencyBudgetBurnsFast", reveals("0+100x10 1000+50x300", "0+100x310"), "60m", "10m"),
    Case("PiiVaultLatencyBudgetBurnsSlowly", reveals("0+100x10 1000+90x900", "0+100x910"), "420m", "10m"),
    Case("PiiVaultDown", {'up{job="pii-vault"}': steady(1, 0)}, "14m", "11m", (("job", "pii-vault"),)),
    Case("PiiVaultAuditStalled", {'pii_vault_call_failures_total{reason="AUDIT_UNAVAILABLE"}': "0x10 0+6x60"}, "15m", "10m"),
    Case("PiiVaultAuditStalled", health("audit"), "14m", "10m"),
    Case(
        "PiiVaultAuditStalled",
        {f'{CALLS}_count{{{REVEAL},rpc_response_status_code="OK"}}': "0+10x60", "pii_vault_audit_appended_total": "0+10x10 100x50"},
        "20m",
        "10m",
    ),
    Case("PiiVaultDatabaseDown", health("database"), "12m", "10m", (("check", "database"),)),
    Case("PiiVaultDatabaseDown", health("schema"), "12m", "10m", (("check", "schema"),)),
    Case("PiiVaultKeysDown", health("keys"), "12m", "10m"),
    Case("PiiVaultKeysDown", {'pii_vault_kms_duration_seconds_count{outcome="KEYS_UNAVAILABLE"}': "0x10 0+1x60"}, "14m", "10m"),
    Case("PiiVaultReplayPending", {"pii_vault_replay_pending": steady(0, 3)}, "12m", "10m"),
    Case("PiiVaultReplayPending", health("ledger"), "12m", "10m"),
    Case(
        "PiiVaultTampered",
        {'pii_vault_denials_total{reason="CIPHERTEXT_INVALID"}': "0x10 1x60"},
        "12m",
        "10m",
        (("reason", "CIPHERTEXT_INVALID"),),
    ),
    Case(
        "PiiVaultTampered", {'pii_vault_call_failures_total{reason="LOG_CORRUPT"}': "0x10 1x60"}, "12m", "10m", (("reason", "LOG_CORRUPT"),)
    ),
    Case("PiiVaultInternalErrors", {'pii_vault_call_failures_total{reason="INTERNAL"}': "0x10 1x60"}, "12m", "10m"),
    Case(
        "PiiVaultConnectionsUsedUp",
        {
            'pii_vault_database_connections_used{database="data"}': steady(2, 8),
            'pii_vault_database_connections_max{database="data"}': "8x4320",
        },
        "22m",
        "15m",
        (("database", "data"),),
    ),
    Case("PiiVaultQueueGrows", {"pii_vault_queue_calls": steady(3, 900)}, "17m", "12m"),
    Case(
        "PiiVaultCertificateExpiring",
        {'pii_vault_certificate_left_seconds{certificate="server"}': steady(90 * DAY, 13 * DAY)},
        "17m",
        "10m",
        (("certificate", "server"),),
    ),
    Case(
        "PiiVaultCertificateExpiresNow",
        {'pii_vault_certificate_left_seconds{certificate="server"}': steady(13 * DAY, DAY)},
        "17m",
        "10m",
        (("certificate", "server"),),
    ),
    # Another process still publishes; then none does.
    Case(
        "PiiVaultCheckpointLate",
        {
            'pii_vault_checkpoint_age_seconds{sink="directory",instance="a"}': "1000x4320",
            'pii_vault_checkpoint_age_seconds{sink="directory",instance="b"}': steady(30, 1000),
        },
        "17m",
        "10m",
        (("sink", "directory"),),
    ),
    # A counter that nobody counted yet is not there at all.
    Case(
        "PiiVaultIncidentOpened", {'pii_vault_incidents_total{trigger="bulk-read"}': "_x10 1x50"}, "12m", "9m", (("trigger", "bulk-read"),)
    ),
    Case(
        "PiiVaultIncidentOpened", {'pii_vault_incidents_total{trigger="bulk-read"}': "3x30 4x50"}, "32m", "25m", (("trigger", "bulk-read"),)
    ),
    Case("PiiVaultBudgetExceeded", {'pii_vault_denials_total{reason="RELEASE_BUDGET_EXCEEDED"}': "_x10 1x60"}, "12m", "9m"),
    Case("PiiVaultDenialBurst", {'pii_vault_denials_total{reason="PURPOSE_NOT_ALLOWED"}': "0+1x1500 1500+50x60"}, "1512m", "1500m"),
    Case("PiiVaultBudgetExceeded", {'pii_vault_denials_total{reason="RELEASE_BUDGET_EXCEEDED"}': "0x10 1x60"}, "12m", "10m"),
    Case("PiiVaultRetentionOverdue", {"pii_vault_retention_overdue": steady(0, 4)}, "42m", "35m"),
    Case(
        "PiiVaultErasureStuck",
        {'pii_vault_erasures{state="RUNNING"}': steady(0, 1), 'pii_vault_erasures{state="COMPLETE"}': "9x4320"},
        "72m",
        "60m",
        (("state", "RUNNING"),),
    ),
    Case("PiiVaultErasureDeadlineNear", {"pii_vault_erasures_oldest_seconds": steady(19 * DAY, 21 * DAY)}, "22m", "15m"),
    Case(
        "PiiVaultOrderDeadlineNear",
        {'pii_vault_orders_due{deadline="RESPOND"}': steady(0, 1), 'pii_vault_orders_due{deadline="RECALL"}': "0x4320"},
        "22m",
        "15m",
        (("deadline", "RESPOND"),),
    ),
    Case("PiiVaultUpkeepAbsent", {"pii_vault_audit_head": "5x10 _x60"}, "27m", "10m"),
    Case(
        "PiiVaultFindings",
        {'pii_vault_findings{finding="KEYS_WORN"}': steady(0, 1), 'pii_vault_findings{finding="RETENTION_OVERDUE"}': "1x4320"},
        "72m",
        "60m",
        (("finding", "KEYS_WORN"),),
    ),
    Case("PiiVaultPolicyStale", health("policy"), "72m", "60m"),
]
# The faults of the design, §9, and the alert that is meant for each.
FAULTS = {
    "KMS unreachable": {"PiiVaultKeysDown"},
    "audit or database unreachable, disk full": {"PiiVaultAuditStalled", "PiiVaultDatabaseDown"},
    "restore from backup": {"PiiVaultReplayPending"},
    "ciphertext or row tampered": {"PiiVaultTampered", "PiiVaultIncidentOpened"},
    "oversized, malformed, hostile input": {"PiiVaultDenialBurst"},
    "SIGTERM": {"PiiVaultDown"},
}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool, which Debian has in the package `prometheus`."""
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed")
    return subprocess.run([command, *arguments], check=False, capture_output=True, text=True)


def test_the_rules_are_rules() -> None:
    checked = promtool("check", "rules", RULES)

    assert checked.returncode == 0, checked.stderr


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == ALERTS.keys()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.alert}-{number}" for number, case in enumerate(CASES)])
def test_an_alert_is_silent_before_and_fires_after(case: Case, tmp_path: Path) -> None:
    rule = ALERTS[case.alert]
    firing = {"exp_labels": {**rule["labels"], **dict(case.labels)}, "exp_annotations": rule["annotations"]}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.silent, "alertname": case.alert, "exp_alerts": []},
            {"eval_time": case.fires, "alertname": case.alert, "exp_alerts": [firing]},
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))

    tested = promtool("test", "rules", file)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_nothing_fires_for_a_vault_that_is_well(tmp_path: Path) -> None:
    """Nobody is woken for nothing."""
    well = {
        'up{job="pii-vault"}': "1x4320",
        **{f'pii_vault_health{{check="{check}"}}': "1x4320" for check in ("database", "schema", "keys", "ledger", "audit", "policy")},
        f'{CALLS}_count{{{REVEAL},rpc_response_status_code="OK"}}': "0+100x4320",
        f'{CALLS}_count{{{REVEAL},rpc_response_status_code="PERMISSION_DENIED"}}': "0+5x4320",
        f'{CALLS}_bucket{{{REVEAL},le="0.1"}}': "0+105x4320",
        "pii_vault_audit_appended_total": "0+105x4320",
        'pii_vault_denials_total{reason="PURPOSE_NOT_ALLOWED"}': "0+5x4320",
        'pii_vault_kms_duration_seconds_count{outcome="ok"}': "0+1x4320",
        'pii_vault_checkpoint_age_seconds{sink="directory"}': "30x4320",
        'pii_vault_certificate_left_seconds{certificate="server"}': f"{90 * DAY}x4320",
        "pii_vault_replay_pending": "0x4320",
        "pii_vault_retention_overdue": "0x4320",
        'pii_vault_erasures{state="RUNNING"}': "0x4320",
        'pii_vault_findings{finding="KEYS_WORN"}': "0x4320",
        "pii_vault_erasures_oldest_seconds": "0x4320",
        'pii_vault_orders_due{deadline="RESPOND"}': "0x4320",
        "pii_vault_audit_head": "0+105x4320",
        "pii_vault_queue_calls": "2x4320",
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in well.items()],
        "alert_rule_test": [{"eval_time": "2880m", "alertname": alert, "exp_alerts": []} for alert in ALERTS],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))

    tested = promtool("test", "rules", file)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def documented() -> set[str]:
    """Names in Prometheus of every metric there is."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `[a-z_.]+` \| `([a-z_]+)` \|", text, re.MULTILINE))


def metrics_in(expression: str) -> set[str]:
    """Metrics that an expression asks for; a histogram by its own name."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\b(?:pii_vault|rpc_server)_[a-z_]+", expression)}


def test_every_metric_that_is_asked_for_is_there() -> None:
    asked = {name for group in GROUPS for rule in group["rules"] for name in metrics_in(rule["expr"])}

    assert asked - documented() == set()


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_runbook_that_names_it(alert: str) -> None:
    annotations = ALERTS[alert]["annotations"]

    assert annotations.keys() == {"summary", "runbook"}
    assert f"`{alert}`" in (ROOT / annotations["runbook"]).read_text(encoding="utf-8")
    assert ALERTS[alert]["labels"]["severity"] in {"page", "ticket"}


def test_every_fault_of_the_design_has_an_alert() -> None:
    """The table of the runbooks says the same, fault by fault."""
    text = (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
    rows = {
        fault: set(re.findall(r"`(PiiVault\w+)`", cell))
        for fault, cell in re.findall(r"^\| ([^|`]+) \| ([^|]*`PiiVault[^|]*)\|", text, re.MULTILINE)
    }

    assert rows == FAULTS
    assert set().union(*FAULTS.values()) <= ALERTS.keys()
