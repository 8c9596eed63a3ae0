"""The dashboards of Grafana: generated, whole, and asking for metrics and labels that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.dashboards import DASHBOARDS, FOLDER, rendered

ROOT = Path(__file__).parents[2]
FILES = sorted(FOLDER.glob("*.json"))
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))
RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}


def panels(file: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(file.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


EXPRESSIONS = [(file.stem, panel["title"], target["expr"]) for file in FILES for panel in panels(file) for target in panel["targets"]]


def labels_of() -> dict[str, set[str]]:
    """Labels of every metric, by its name in Prometheus."""
    rows = re.findall(r"^\| `[a-z_.]+` \| `([a-z_]+)` \| \w+ \|[^|]*\| ([^|]*)\|", DOCUMENT, re.MULTILINE)
    return {name: {label.replace(".", "_") for label in re.findall(r"`([a-z_.]+)`", cell)} for name, cell in rows}


def test_what_is_committed_is_what_is_generated() -> None:
    assert {file.name: file.read_text(encoding="utf-8") for file in FILES} == {f"{one.uid}.json": rendered(one) for one in DASHBOARDS}


@pytest.mark.parametrize(("dashboard", "panel", "expression"), EXPRESSIONS)
def test_a_panel_asks_for_metrics_and_labels_that_there_are(dashboard: str, panel: str, expression: str) -> None:
    del dashboard, panel
    known = labels_of()
    recorded = set(re.findall(r"pii_vault:[a-z_:0-9]+", expression))
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\b(?:pii_vault|rpc_server)_[a-z_]+", expression)}
    by = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}

    assert names | recorded
    assert names <= known.keys()
    assert recorded <= RECORDED
    assert by - {"le"} <= set().union(*(known[name] for name in names))


@pytest.mark.parametrize(("dashboard", "panel", "expression"), EXPRESSIONS)
def test_a_panel_asks_in_the_language_of_prometheus(dashboard: str, panel: str, expression: str, tmp_path: Path) -> None:
    del dashboard, panel
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    rule = {"record": "tried", "expr": expression.replace("$__rate_interval", "5m")}
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "tried", "rules": [rule]}]}))

    checked = subprocess.run([promtool, "check", "rules", file], check=False, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_can_be_read(file: Path) -> None:
    content, shown = json.loads(file.read_text(encoding="utf-8")), panels(file)
    places = [tuple(panel["gridPos"].values()) for panel in content["panels"]]

    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])
    assert len({place[2:] for place in places}) == len(places)
    assert all(panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in shown)
    assert all(panel["datasource"]["uid"] == "${source}" for panel in shown)
    assert all(place[1] + place[2] <= 24 for place in places)


def test_every_metric_is_on_a_dashboard() -> None:
    """What nobody looks at nobody needs."""
    everything = " ".join(expression for *_, expression in EXPRESSIONS)

    assert {name for name in labels_of() if name not in everything} == set()
