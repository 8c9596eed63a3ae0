"""Erasure: time until a person is unreadable, exceptions completed, retention by a plain DELETE. Writes `benchmarks/results/erasure.{json,md}`.

python -m benchmarks.erasure [--quick] [--only unreadable,retention] [--rounds 3] [--keys beside,apart] [--no-write]
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import URL

from benchmarks import erasure_sweep, erasure_time, machine, postgres, section
from benchmarks.children import NotStartedError
from benchmarks.key_vault import FailedCallError
from benchmarks.section import Section
from vault.errors import VaultError
from vault.telemetry import configure_logging

_PARTS = ("unreadable", "retention")
# One for retention; one for each place of keys, and one for keys alone.
_DATABASES = 4


def main() -> int:
    """Run, show, write. Exit code 1 if any call failed."""
    # Ended by a signal, everything is cleared away too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _arguments()
    configure_logging("error")
    described = machine.describe()
    sections: list[Section] = []
    try:
        with tempfile.TemporaryDirectory(prefix="pii-vault-benchmark-") as folder:
            work = Path(folder)
            # PostgreSQL may run under another account, which must reach its folder.
            work.chmod(0o711)
            data = work / "data"
            data.mkdir(mode=0o755)
            with postgres.running_postgres(data) as url, ExitStack() as stack:
                # Made here, where no loop runs yet.
                urls = iter([stack.enter_context(postgres.another_database(url)) for _ in range(_DATABASES)])
                for part in _PARTS:
                    if part in arguments.only:
                        home = work / part
                        home.mkdir(mode=0o711)
                        found = asyncio.run(_measured(part, home, urls, arguments))
                        for item in found:
                            section.show(item)
                        sections += found
    except (NotStartedError, FailedCallError, VaultError) as error:
        _say(f"failed: {error}")
        return 1
    if arguments.write:
        section.write(sections, described, name="erasure", title="Erasure", quick=arguments.quick)
        _say("written to benchmarks/results/erasure.json and erasure.md")
    return 1 if any(found.errors for found in sections) else 0


async def _measured(part: str, home: Path, urls: Iterator[URL], asked: argparse.Namespace) -> list[Section]:
    if part == "unreadable":
        return await erasure_time.measure(home, urls, quick=asked.quick, rounds=asked.rounds, places=asked.keys, say=_say)
    return [await erasure_sweep.measure(home, urls, quick=asked.quick, say=_say)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.erasure", description="Erasures, retention, and what exceptions kept.")
    parser.add_argument("--quick", action="store_true", help="fewer records, rougher figures")
    parser.add_argument("--only", type=_parts, default=_PARTS, help=f"parts, of {','.join(_PARTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="of erasures, after one to warm up")
    parser.add_argument("--keys", type=lambda text: text.split(","), default=["beside", "apart"], help="where keys are: beside,apart")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if not set(parts) <= set(_PARTS):
        raise argparse.ArgumentTypeError(f"parts are {','.join(_PARTS)}")
    return parts


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
