"""The chart: what it makes is what Kubernetes takes, every pod is locked up, and nothing secret is in it."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.rendering import Chart
from vault.config import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "helm" / "pii-vault"
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((FOLDER / "values.schema.json").read_text(encoding="utf-8"))
VERSION = "1.34"


def values(**changes: object) -> dict[str, Any]:
    """The chart's own values, with some replaced by dotted path."""
    changed = copy.deepcopy(VALUES)
    for path, value in changes.items():
        *sections, name = path.split("__")
        target = changed
        for section in sections:
            target = target[section]
        target[name] = value
    return changed


def rendered(**changes: object) -> list[dict[str, Any]]:
    return list(Chart(FOLDER, values(**changes)).documents())


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]


def pods(documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for document in of_kind(documents, "Deployment") + of_kind(documents, "Job"):
        yield document["spec"]["template"]["spec"]


VARIANTS: list[dict[str, object]] = [
    {},
    {"autoscaling__enabled": False},
    {"networkPolicy__enabled": False, "certManager__enabled": False},
    {"keysApart": True, "image__digest": "sha256:" + "a" * 64},
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_manifest_is_one_that_kubernetes_takes(changes: dict[str, object]) -> None:
    for document in rendered(**changes):
        if document["apiVersion"].startswith("cert-manager.io/"):
            continue  # a resource of somebody else's, whose form is not known here
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_manifest_that_kubernetes_does_not_take_is_noticed() -> None:
    [deployment] = of_kind(rendered(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


def test_everything_that_is_asked_for_is_made() -> None:
    kinds = {document["kind"] for document in rendered()}

    assert kinds == {
        "Certificate",
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    }


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_pod_is_locked_up(changes: dict[str, object]) -> None:
    for pod in pods(rendered(**changes)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "privileged": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_every_name_that_is_used_is_made_or_a_secret_that_is_named() -> None:
    documents = rendered()
    maps = {document["metadata"]["name"] for document in of_kind(documents, "ConfigMap")}

    for pod in pods(documents):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounts == volumes.keys()
        assert {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume} <= maps
        assert {volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume} <= set(VALUES["secrets"].values())


def test_probes_ask_the_health_service_and_kill_nobody_for_a_dependency() -> None:
    [deployment] = of_kind(rendered(), "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]

    asked = {name: container[name]["exec"]["command"][-1] for name in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert asked == {"startupProbe": "startup", "livenessProbe": "liveness", "readinessProbe": "readiness"}
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > VALUES["config"]["grace_seconds"]


def test_with_autoscaling_nobody_else_says_how_many() -> None:
    """Harm: every upgrade set the number back to what the values say."""
    [scaled], [fixed] = (of_kind(rendered(autoscaling__enabled=on), "Deployment") for on in (True, False))

    assert "replicas" not in scaled["spec"]
    assert fixed["spec"]["replicas"] == VALUES["replicas"]


def test_the_configuration_is_one_that_the_vault_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [made, migrating] = of_kind(rendered(), "ConfigMap")
    (tmp_path / "vault.yaml").write_text(made["data"]["vault.yaml"])
    monkeypatch.setenv("VAULT_DATABASE_URL", "postgresql+asyncpg://vault@database/vault")

    settings = load(tmp_path / "vault.yaml")

    assert settings.telemetry.prometheus == "0.0.0.0:9464"
    assert made["data"] == migrating["data"]


def test_the_schema_takes_the_chart_s_own_values() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize(
    "changes",
    [
        {"image__tag": "latest"},
        {"image__digest": "sha256:abc"},
        {"replicas": 0},
        {"surprise": 1},
        {"secrets__database": "Not A Name"},
        {"config__database_url": "postgresql+asyncpg://vault:secret@database/vault"},
        {"certManager__issuerKind": "Nobody"},
        {"autoscaling__cpuPercent": 500},
    ],
)
def test_the_schema_refuses_what_would_go_wrong(changes: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values(**changes), SCHEMA)
