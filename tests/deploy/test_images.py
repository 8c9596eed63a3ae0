"""The image, the compose file and the unit: as strict as they say, as far as that can be told without an engine."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "pii-vault.service"
TOOLS = Path(sys.executable).parent
# Of 100 at most: https://www.freedesktop.org/software/systemd/man/systemd-analyze.html
EXPOSURE = 20
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def ran(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, cwd=ROOT)


# --- the image


def test_the_containerfile_is_without_fault() -> None:
    linted = ran(TOOLS / "hadolint", "--failure-threshold", "style", CONTAINERFILE)

    assert linted.returncode == 0, linted.stdout


def test_a_fault_in_a_containerfile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM python:latest\nRUN cd /tmp && apt-get install curl\n")

    assert ran(TOOLS / "hadolint", "--failure-threshold", "style", tmp_path / "Containerfile").returncode == 1


def test_the_image_takes_locked_packages_and_runs_as_nobody_special() -> None:
    text = CONTAINERFILE.read_text(encoding="utf-8")
    *_, last = text.split("\nFROM ")

    assert "--require-hashes" in text
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "ADD " not in text
    assert not re.search(r"^FROM \S+:latest", text, re.MULTILINE)


def test_the_context_holds_nothing_secret() -> None:
    """What is not copied cannot be in a layer; what is copied is named one by one."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert " ".join(copied).split() == ["requirements.lock", "requirements-server.lock", "pyproject.toml", "README.md", "LICENSE", "vault"]


# --- the compose file


def test_the_compose_file_is_one() -> None:
    checked = ran(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_key_that_compose_does_not_know_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE.read_text(encoding="utf-8").replace("depends_on:", "depend_on:"))

    assert ran(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml").returncode == 1


def test_nothing_of_the_compose_file_listens_to_strangers() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_held_back_and_of_a_version(name: str) -> None:
    service = SERVICES[name]

    assert "no-new-privileges:true" in service["security_opt"]
    assert name == "database" or (service["read_only"] is True and service["cap_drop"] == ["ALL"])
    assert re.search(r":[\w.]+$", service["image"])
    assert not service["image"].endswith(":latest")


def test_files_that_the_compose_file_mounts_from_the_repository_are_there() -> None:
    mounted = [
        volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", []) if volume.startswith("../")
    ]

    assert mounted
    assert {path for path in mounted if not (COMPOSE.parent / path).exists()} == set()


def test_no_secret_is_in_the_compose_file() -> None:
    text = COMPOSE.read_text(encoding="utf-8")

    assert not re.search(r"(?:PASSWORD|TOKEN|SECRET)\w*: (?!/run/secrets/)", text)
    assert "://" not in text.replace("http://", "")


# --- the unit


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    """systemd's own arithmetic: 0 is locked up, 100 is open."""
    looked = ran("systemd-analyze", "security", "--offline=true", "--json=short", f"--threshold={EXPOSURE}", UNIT)
    open_unit = tmp_path / "open.service"
    open_unit.write_text("[Service]\nExecStart=/bin/true\n")
    other = ran("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", open_unit)

    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert json.loads(looked.stdout)
    assert other.returncode != 0


def test_the_unit_stops_later_than_the_vault_needs() -> None:
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)

    assert int(seconds) > 10
