"""Keys: key services, how often they are asked, rotation, and reveals while it runs. Writes `benchmarks/results/keys.{json,md}`.

python -m benchmarks.keys [--quick] [--only providers,calls,rotation,reveal] [--no-write]
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import key_calls, key_load, key_providers, key_rotation, machine, postgres, section
from benchmarks.children import NotStartedError
from benchmarks.crew import ClientFailedError
from benchmarks.key_vault import FailedCallError
from benchmarks.section import Section
from vault.errors import VaultError

_PARTS = ("providers", "calls", "rotation", "reveal")


def main() -> int:
    """Run, show, write. Exit code 1 if any call failed."""
    # Ended by a signal, everything is cleared away too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _arguments()
    described = machine.describe()
    sections: list[Section] = []
    try:
        with tempfile.TemporaryDirectory(prefix="pii-vault-benchmark-") as folder:
            work = Path(folder)
            # PostgreSQL may run under another account, which must reach its folder.
            work.chmod(0o711)
            for part in _PARTS:
                if part in arguments.only:
                    sections.append(_measured(part, work, quick=arguments.quick))
                    section.show(sections[-1])
    except (NotStartedError, ClientFailedError, FailedCallError, VaultError) as error:
        _say(f"failed: {error}")
        return 1
    if arguments.write:
        section.write(sections, described, name="keys", title="Keys", quick=arguments.quick)
        _say("written to benchmarks/results/keys.json and keys.md")
    return 1 if any(found.errors for found in sections) else 0


def _measured(part: str, work: Path, *, quick: bool) -> Section:
    home = work / part
    home.mkdir(mode=0o711)
    match part:
        case "providers":
            return key_providers.measure(home, quick=quick, say=_say)
        case "calls":
            _say("calls to the key service")
            return asyncio.run(key_calls.measure(home))
        case "rotation":
            data = home / "data"
            data.mkdir(mode=0o755)
            with postgres.running_postgres(data) as url:
                return asyncio.run(key_rotation.measure(home, url, quick=quick, say=_say))
        case _:
            return key_load.measure(home, quick=quick, say=_say)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keys", description="Key services, rotation, and reveals meanwhile.")
    parser.add_argument("--quick", action="store_true", help="fewer rows and shorter windows, rougher figures")
    parser.add_argument("--only", type=_parts, default=_PARTS, help=f"parts, of {','.join(_PARTS)}")
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
