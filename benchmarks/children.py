"""Processes that end with the benchmark, however it ends."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# The program takes the shell's place, and thereby its process id. A reader beside it waits until this process closes the pipe, or is gone.
_SUPERVISED = 'signal=$1; shift; exec 3<&0; { read -r _ <&3; kill -$signal $$; } 2>/dev/null & exec "$@" 3<&- </dev/null'
_TIMEOUT = 60  # seconds


class NotStartedError(Exception):
    """A process did not come up; the text is the end of what it said."""


@contextmanager
def child(
    command: Sequence[str],
    *,
    log: Path,
    stop: signal.Signals = signal.SIGTERM,
    account: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command until the context ends.

    Args:
        command: the program and its arguments.
        log: where its output goes.
        stop: what it is told to end with.
        account: whom to run it as; None for oneself.
        environment: its environment; this process's unless given.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _SUPERVISED, "sh", stop.name.removeprefix("SIG"), *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            cwd=None if account is None else log.parent,
            env=environment,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
            start_new_session=True,  # an interrupt at the terminal is ours to handle first
        )
    with process:
        try:
            yield process
        finally:
            process.send_signal(stop)
            try:
                process.wait(_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(process: "subprocess.Popen[bytes]", log: Path, is_ready: Callable[[str], bool]) -> str:
    """Wait until what a process has said satisfies a condition; what it has said.

    Raises:
        NotStartedError: it ended, or a minute passed.
    """
    deadline = time.monotonic() + _TIMEOUT
    while True:
        # Looked at before the text is read: what an ended process said is all there.
        has_ended = process.poll() is not None
        text = log.read_text(encoding="utf-8", errors="replace")
        if is_ready(text):
            return text
        if has_ended or time.monotonic() > deadline:
            raise NotStartedError(text[-2000:])
        time.sleep(0.05)
