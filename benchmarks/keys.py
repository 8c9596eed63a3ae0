"""Keys: key services, how often they are asked, rotation, and reveals while it runs. Writes `benchmarks/results/keys.{json,md}`.

python -m benchmarks.keys [--quick] [--only providers,calls,rotation,reveal] [--no-write]
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import key_calls, key_load, key_providers, key_rotation, machine, postgres
from benchmarks.children import NotStartedError
from benchmarks.crew import ClientFailedError
from benchmarks.key_vault import FailedCallError
from benchmarks.report import row
from benchmarks.section import Section
from vault.errors import VaultError

_RESULTS = Path(__file__).parent / "results"
_PARTS = ("providers", "calls", "rotation", "reveal")
_WIDTH = 200


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
                    _show(sections[-1])
    except (NotStartedError, ClientFailedError, FailedCallError, VaultError) as error:
        _say(f"failed: {error}")
        return 1
    if arguments.write:
        _write(sections, described, quick=arguments.quick)
        _say("written to benchmarks/results/keys.json and keys.md")
    return 1 if any(section.errors for section in sections) else 0


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


def _show(section: Section) -> None:
    console = Console(soft_wrap=False, width=max(Console().width, _WIDTH))
    table = Table(title=section.title, title_justify="left", show_edge=False)
    for name in section.head:
        table.add_column(name)
    for cells in section.rows:
        table.add_row(*cells)
    console.print(table, section.note, "", markup=False)


def _write(sections: Sequence[Section], described: Mapping[str, str], *, quick: bool) -> None:
    document = {
        "machine": described,
        "quick": quick,
        "sections": {section.name: {"data": section.data, "errors": section.errors} for section in sections},
    }
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "keys.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    how = "python -m benchmarks.keys --quick" if quick else "python -m benchmarks.keys"
    lines = ["# Keys", "", f"Written by `{how}`. Compare ratios, not absolute figures.", ""]
    for section in sections:
        lines += [
            f"## {section.title}",
            "",
            section.note,
            "",
            row(section.head),
            row(["---"] * len(section.head)),
            *map(row, section.rows),
            "",
        ]
        if section.errors:
            lines += [f"**{section.errors} calls failed: some figures are of something else than was meant.**", ""]
    lines += ["## Machine", "", row(["what", "which"]), row(["---"] * 2), *(row(item) for item in described.items())]
    (_RESULTS / "keys.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
