"""Dashboards of Grafana, written down once and generated: `python -m deploy.dashboards` writes deploy/grafana/*.json, which are committed.

A panel is a title, what it tells, a unit, and what it asks Prometheus. Rows and places follow from the order. No panel can show anybody: the metrics
have no such label.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("grafana")
_SOURCE = {"type": "prometheus", "uid": "${source}"}
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph; `asks` has a legend for each expression."""

    title: str
    tells: str
    unit: str
    asks: Sequence[tuple[str, str]]
    kind: str = "timeseries"


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels, row by row."""

    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


_CALLS = "rpc_server_call_duration_seconds"
_REVEAL = '{rpc_method="vault.v1.VaultService/RevealRecord"}'


def _quantile(share: float, metric: str, by: str = "", *, only: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{only}[$__rate_interval])))"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


SERVICE = Dashboard(
    "pii-vault-service",
    "pii-vault: service",
    [
        (
            "Calls",
            [
                Panel("Rate by method", "Calls a second.", "reqps", [(_rate(f"{_CALLS}_count", "rpc_method"), "{{rpc_method}}")]),
                Panel(
                    "Rate by status",
                    "A refusal is an answer.",
                    "reqps",
                    [(_rate(f"{_CALLS}_count", "rpc_response_status_code"), "{{rpc_response_status_code}}")],
                ),
                Panel(
                    "Failures by reason",
                    "Calls that were answered with an error.",
                    "reqps",
                    [(_rate("pii_vault_call_failures_total", "reason"), "{{reason}}")],
                ),
                Panel(
                    "Duration of reveals",
                    "From arrival to answer.",
                    "s",
                    [(_quantile(q, _CALLS, only=_REVEAL), f"p{int(q * 100)}") for q in (0.5, 0.95, 0.99)],
                ),
                Panel(
                    "Duration by method, p99", "The slowest hundredth.", "s", [(_quantile(0.99, _CALLS, "rpc_method"), "{{rpc_method}}")]
                ),
                Panel(
                    "Error budget",
                    "Share of calls that the vault failed; the objective is 0.1 %.",
                    "percentunit",
                    [("pii_vault:call_errors:ratio_rate1h", "1 h"), ("pii_vault:call_errors:ratio_rate6h", "6 h")],
                ),
            ],
        ),
        (
            "Dependencies",
            [
                Panel("Checks", "1 is well.", "none", [("min by (check) (pii_vault_health)", "{{check}}")], "state-timeline"),
                Panel(
                    "Key service, p99",
                    "What it was asked, and how long that took.",
                    "s",
                    [(_quantile(0.99, "pii_vault_kms_duration_seconds", "operation"), "{{operation}}")],
                ),
                Panel(
                    "Key service, outcomes",
                    "Anything but ok is an outage or damage.",
                    "reqps",
                    [(_rate("pii_vault_kms_duration_seconds_count", "operation, outcome"), "{{operation}} {{outcome}}")],
                ),
                Panel(
                    "Keys at hand",
                    "A miss asks the key service.",
                    "reqps",
                    [(_rate("pii_vault_keys_lookups_total", "outcome"), "{{outcome}}"), ("sum(pii_vault_keys_cached)", "tenants cached")],
                ),
                Panel(
                    "Database connections",
                    "Held, of those that may be.",
                    "none",
                    [
                        ("sum by (database) (pii_vault_database_connections_used)", "{{database}} used"),
                        ("sum by (database) (pii_vault_database_connections_max)", "{{database}} max"),
                    ],
                ),
                Panel("Queue", "Calls that wait for their batch.", "none", [("max(pii_vault_queue_calls)", "waiting")]),
            ],
        ),
        (
            "Process",
            [
                Panel(
                    "What runs",
                    "Version and policy.",
                    "none",
                    [("max by (version, policy_version) (pii_vault_build_info)", "{{version}} {{policy_version}}")],
                    "table",
                ),
                Panel("Began", "Restarts.", "dateTimeFromNow", [("pii_vault_start_time_seconds * 1000", "{{instance}}")], "stat"),
                Panel(
                    "Certificates",
                    "Until they run out.",
                    "s",
                    [("min by (certificate) (pii_vault_certificate_left_seconds)", "{{certificate}}")],
                    "stat",
                ),
            ],
        ),
    ],
)
EVIDENCE = Dashboard(
    "pii-vault-evidence",
    "pii-vault: evidence and duties",
    [
        (
            "Releases",
            [
                Panel(
                    "Released by category",
                    "Records a second that were given to somebody.",
                    "none",
                    [(_rate('pii_vault_releases_total{decision="ALLOWED"}', "category"), "{{category}}")],
                ),
                Panel(
                    "Released by purpose",
                    "The same by why.",
                    "none",
                    [(_rate('pii_vault_releases_total{decision="ALLOWED"}', "purpose"), "{{purpose}}")],
                ),
                Panel(
                    "Refusals by reason",
                    "As the audit logs have them.",
                    "none",
                    [(_rate("pii_vault_denials_total", "reason"), "{{reason}}")],
                ),
            ],
        ),
        (
            "Audit logs",
            [
                Panel(
                    "Entries",
                    "Appended a second, and all there are.",
                    "none",
                    [("sum(rate(pii_vault_audit_appended_total[$__rate_interval]))", "appended"), ("max(pii_vault_audit_head)", "head")],
                ),
                Panel(
                    "Entries of one commit",
                    "How well commits are shared.",
                    "none",
                    [(_quantile(q, "pii_vault_audit_batch_size"), f"p{int(q * 100)}") for q in (0.5, 0.99)],
                ),
                Panel(
                    "Checkpoints",
                    "Since everything was published, and logs that wait.",
                    "s",
                    [
                        ("min by (sink) (pii_vault_checkpoint_age_seconds)", "{{sink}}"),
                        ("max(pii_vault_audit_unpublished)", "logs that grew"),
                    ],
                ),
            ],
        ),
        (
            "Erasure and retention",
            [
                Panel("Erasures by state", "RUNNING is passing.", "none", [("max by (state) (pii_vault_erasures)", "{{state}}")]),
                Panel(
                    "Oldest unfinished erasure",
                    "Since it was asked for.",
                    "s",
                    [("max(pii_vault_erasures_oldest_seconds)", "oldest")],
                    "stat",
                ),
                Panel(
                    "Time until a certificate, p99",
                    "From the last approval.",
                    "s",
                    [(_quantile(0.99, "pii_vault_erasure_duration_seconds"), "p99")],
                ),
                Panel(
                    "Retention",
                    "Erased and stripped a second, by category.",
                    "none",
                    [
                        (_rate("pii_vault_retention_erased_total", "category"), "erased {{category}}"),
                        (_rate("pii_vault_retention_stripped_total", "category"), "stripped {{category}}"),
                    ],
                ),
                Panel(
                    "Overdue",
                    "Must be 0.",
                    "none",
                    [("max(pii_vault_retention_overdue)", "records"), ("max(pii_vault_erasures_exceptions_due)", "exceptions")],
                    "stat",
                ),
                Panel(
                    "Replay",
                    "Erasures that the database does not know; entries replayed.",
                    "none",
                    [("max(pii_vault_replay_pending)", "pending"), ("sum(pii_vault_replay_entries_total)", "replayed")],
                    "stat",
                ),
            ],
        ),
        (
            "Court orders",
            [
                Panel("Orders by state", "Of all tenants.", "none", [("max by (state) (pii_vault_orders)", "{{state}}")]),
                Panel(
                    "Due within a day",
                    "Or overdue; the legal team acts on it.",
                    "none",
                    [("max by (deadline) (pii_vault_orders_due)", "{{deadline}}")],
                    "stat",
                ),
            ],
        ),
        (
            "To be done",
            [
                Panel(
                    "Incidents opened by the vault",
                    "In an hour, by what set them off.",
                    "none",
                    [("sum by (trigger) (increase(pii_vault_incidents_total[1h]))", "{{trigger}}")],
                ),
                Panel("Findings", "What readiness found.", "none", [("max by (finding) (pii_vault_findings)", "{{finding}}")], "stat"),
                Panel("Definition looked through", "Due every twelve months.", "s", [("min(pii_vault_policy_age_seconds)", "age")], "stat"),
            ],
        ),
    ],
)
DASHBOARDS = (SERVICE, EVIDENCE)


def rendered(dashboard: Dashboard) -> str:
    """A dashboard as Grafana imports it."""
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    content = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["pii-vault"],
        "schemaVersion": 41,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source]},
        "panels": list(_panels(dashboard)),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in dashboard.rows:
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}}
        y += 1
        for position, panel in enumerate(panels):
            number += 1
            line, column = divmod(position, _COLUMNS)
            place = {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": y + line * _HEIGHT}
            yield _panel(panel, number, place)
        y += -(-len(panels) // _COLUMNS) * _HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + position),
            "datasource": _SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "exemplar": panel.unit == "s",
        }
        for position, (expression, legend) in enumerate(panel.asks)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.tells,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": targets,
    }


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(rendered(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
