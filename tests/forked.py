"""The command in a process of its own that does not import everything first: it is forked from a server that has (multiprocessing's forkserver).

Hundreds of runs of the command would spend most of their time on imports. What a run is given and how it ends are as if the console script were
started; that the script starts by itself is tried where it is installed (`test_command_line.py`).
"""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["vault.cli.app", "vault.server"])


class Forked:
    """A run of the command that goes on; spoken to as one speaks to `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        folder: Path | None,
        out: Path,
        err: Path,
        typed: str = "",
    ) -> None:
        said = [os.fspath(argument) for argument in arguments]
        self._process: ForkServerProcess = _forks.Process(target=_command, args=(said, dict(environment), folder, out, err, typed))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it, or None."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait for its exit code, for some seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("pii-vault", timeout)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _command(arguments: list[str], environment: dict[str, str], folder: Path | None, out: Path, err: Path, typed: str) -> None:
    """The console script, in the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    for number, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8")
    sys.argv = ["pii-vault", *arguments]
    from vault.cli import main

    main()
