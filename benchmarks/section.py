"""What one part of a benchmark found, on the terminal and in `benchmarks/results`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report import row, short
from benchmarks.results import Spread

_RESULTS = Path(__file__).parent / "results"
_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Section:
    """One table, what has to be known to read it, and the same for machines.

    Attributes:
        errors: calls that failed, or did not fail where they should have.
    """

    name: str
    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: Mapping[str, Any]
    errors: int


def spread_cell(spread: Spread) -> str:
    """Median, and least and greatest in brackets."""
    return f"{short(spread.median)} ({short(spread.least)}–{short(spread.greatest)})"


def show(section: Section) -> None:
    """Print the table and its note."""
    console = Console(soft_wrap=False, width=max(Console().width, _WIDTH))
    table = Table(title=section.title, title_justify="left", show_edge=False)
    for name in section.head:
        table.add_column(name)
    for cells in section.rows:
        table.add_row(*cells)
    console.print(table, section.note, "", markup=False)


def write(sections: Sequence[Section], described: Mapping[str, str], *, name: str, title: str, quick: bool) -> None:
    """Write `results/{name}.json` and `.md`, as the command `python -m benchmarks.{name}` found it."""
    document = {
        "machine": described,
        "quick": quick,
        "sections": {section.name: {"data": section.data, "errors": section.errors} for section in sections},
    }
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    how = f"python -m benchmarks.{name}{' --quick' if quick else ''}"
    lines = [f"# {title}", "", f"Written by `{how}`. Compare ratios, not absolute figures.", ""]
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
    (_RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
