"""The demo tells the truth: it ends well when everything is as it must be, and only then."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo import demo

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "PII_VAULT_"))}


def test_demo_runs_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.demo.demo", str(tmp_path / "demo")]

    ended = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)

    assert ended.stderr == ""
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1].endswith(". Everything came out as it must. To try it yourself: make run")


def test_demo_notices_a_list_that_was_altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    samples = Path(shutil.copytree(demo.SAMPLES, tmp_path / "samples"))
    lines = (samples / "customers.csv").read_bytes().splitlines(keepends=True)
    (samples / "customers.csv").write_bytes(b"".join(lines[:-1]))
    monkeypatch.setattr(demo, "SAMPLES", samples)
    monkeypatch.setattr(sys, "argv", ["demo", str(tmp_path / "demo")])

    code = demo.main()

    told = capsys.readouterr()
    assert code == 1
    assert "not as it must be: import of customers.csv" in told.err
    assert "Everything came out" not in told.out
