"""A development vault as a process of its own, for the demo and `make run`."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

_READY_WITHIN = timedelta(seconds=30)


def command(tree: Path | None = None) -> list[str]:
    """The `pii-vault` command of this environment, or of another version of the source."""
    other = f"import sys; sys.path.insert(0, {str(tree)!r}); " if tree else ""
    return [sys.executable, "-c", f"{other}from vault.cli import main; main()"]


class VaultProcess:
    """`pii-vault serve` on a home, of another version of the source if told; entered when it serves, left when it has stopped."""

    def __init__(self, home: Path, tree: Path | None = None) -> None:
        self.home = home
        self._command = command(tree)
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(
        cls, home: Path, *, tenants: Sequence[str], listen: str = "localhost:0", database_url: str = "", tree: Path | None = None
    ) -> Self:
        """A vault in a new home, by `pii-vault init`; on a SQLite file in it unless told."""
        options = [part for tenant in tenants for part in ("--tenant", tenant)]
        options += ["--database-url", database_url] if database_url else []
        subprocess.run([*command(tree), "init", str(home), *options, "--listen", listen], check=True, capture_output=True)
        return cls(home, tree)

    def __enter__(self) -> Self:
        with (self.home / "vault.log").open("wb") as log:
            self._process = subprocess.Popen([*self._command, "serve", "--config", str(self.home / "vault.yaml")], stderr=log)
        port = self._port(self._process)
        self.address = f"localhost:{port}"
        # With port 0 the system chose one; the clients have to know.
        for folder in (self.home / "clients").iterdir():
            (folder / "address").write_text(self.address)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def wait(self) -> int:
        """Wait until the vault ends by itself; its exit code."""
        return self._process.wait() if self._process is not None else 0

    def _port(self, process: subprocess.Popen[bytes]) -> int:
        deadline = time.monotonic() + _READY_WITHIN.total_seconds()
        while process.poll() is None and time.monotonic() < deadline:
            for line in (self.home / "vault.log").read_text().splitlines():
                if line.startswith("{") and line.endswith("}") and json.loads(line).get("event") == "serving":
                    return int(json.loads(line)["port"])
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise SystemExit(f"the vault did not start:\n{(self.home / 'vault.log').read_text()}")
