"""The command as it is installed, in processes of its own: one run of it, and a vault that serves until it is stopped or killed.

Rules:
- A run of the command is forked (`forked.py`), not started anew, or hundreds of them would do little but import. Nothing of a caller's environment
  reaches it but what a test gives.
- A vault serves at a port that the kernel chooses and says which in its log; nobody guesses free ports.
- Waiting is polling with a deadline.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.forked import Forked
from vault.client import Connection, VaultClient

COMMAND = Path(sys.executable).with_name("pii-vault")
_DEADLINE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    def answer(self) -> Any:
        """The JSON on standard output; the run must have ended well."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def error(self) -> dict[str, Any]:
        """The JSON error on standard error, which must be all there is."""
        assert self.code == 1, self.out
        error: dict[str, Any] = json.loads(self.err)["error"]
        return error


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None, typed: str = "") -> Finished:
    """Run the command to its end; `typed` is what somebody types into it."""
    with tempfile.TemporaryDirectory() as written:
        out, err = Path(written, "out"), Path(written, "err")
        process = Forked(arguments, environment=_environment(environment or {}), folder=folder, out=out, err=err, typed=typed)
        try:
            code = process.wait(_DEADLINE.total_seconds())
        finally:
            process.kill()
        finished = Finished(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
    assert "Traceback" not in finished.err, finished.err
    return finished


class VaultProcess:
    """`pii-vault serve` on a home."""

    def __init__(self, home: Path, process: Forked, log: Path) -> None:
        self.home = home
        self.process = process
        self._log = log
        self.port = 0

    def log(self) -> list[dict[str, Any]]:
        """What it logged so far."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    def log_text(self) -> str:
        """Its standard output and error so far, whole lines only."""
        text = self._log.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1]

    def wait_until_serving(self) -> None:
        """Wait until it says at which port it serves; then every client folder knows it."""
        wait_until(lambda: '"event": "serving"' in self.log_text() or self.process.poll() is not None, "serving")
        assert self.process.poll() is None, self.log_text()
        self.port = next(int(line["port"]) for line in self.log() if line["event"] == "serving")
        for folder in (self.home / "clients").iterdir():
            (folder / "address").write_text(f"localhost:{self.port}\n")

    def client(self, name: str) -> VaultClient:
        """A client as one of the identities of the home."""
        return VaultClient.connect(Connection.from_folder(self.home / "clients" / name))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait until the process has ended; its exit code."""
        return self.process.wait(_DEADLINE.total_seconds())


@contextmanager
def serve(home: Path) -> Iterator[VaultProcess]:
    """Start `pii-vault serve`; killed at the end if it still runs. The caller waits until it serves, or ends."""
    log = home / f"serve-{time.monotonic_ns()}.log"
    log.touch()
    process = Forked(["serve", "--config", home / "vault.yaml"], environment=_environment({}), folder=None, out=log, err=log)
    try:
        yield VaultProcess(home, process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_DEADLINE.total_seconds())


@contextmanager
def serving(home: Path) -> Iterator[VaultProcess]:
    """A vault process that serves."""
    with serve(home) as vault:
        vault.wait_until_serving()
        yield vault


def copy_home(template: Path, home: Path, **changes: object) -> Path:
    """A home of its own for a test; `changes` replace keys of the configuration."""
    if not home.exists():
        shutil.copytree(template, home)
    configuration = yaml.load((home / "vault.yaml").read_text(), Loader=yaml.CSafeLoader)
    (home / "vault.yaml").write_text(yaml.dump(configuration | changes, Dumper=yaml.CSafeDumper))
    return home


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + _DEADLINE.total_seconds()
    while not condition():
        assert time.monotonic() < deadline, f"not {what} in time"
        time.sleep(0.02)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "PII_VAULT_"))}
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", **more}
