"""The figures as tables: on the terminal, in Markdown, in JSON. Ratios come first, because they are what other machines can compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.plan import TITLES, Plan, Scenario
from benchmarks.results import Figures, Ratio, Spread, as_json

_MIB = 1 << 20
_WIDTH = 132


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a run found.

    Attributes:
        memory_bytes: most memory each server's process ever held.
        databases: what each server's database says about durability.
    """

    machine: Mapping[str, str]
    plan: Plan
    ratios: Sequence[Ratio]
    figures: Sequence[Figures]
    memory_bytes: Mapping[str, int]
    databases: Mapping[str, Mapping[str, str]]

    @property
    def errors(self) -> int:
        """Calls that failed, over the whole run."""
        return sum(count for item in self.figures for count in item.errors.values())


def write(report: Report, folder: Path) -> None:
    """Write `latest.json` and `latest.md`."""
    folder.mkdir(exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(_document(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "latest.md").write_text(_markdown(report), encoding="utf-8")


def show(report: Report) -> None:
    """Print the tables."""
    # Where it is not a terminal, or a narrow one, lines may be longer than the screen: a cell cut short says nothing.
    console = Console(soft_wrap=False, width=max(Console().width, _WIDTH))
    for title, head, rows in _tables(report):
        table = Table(title=title, title_justify="left", show_edge=False)
        for number, name in enumerate(head):
            table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table, "")
    for item in report.figures:
        for error, count in item.errors.items():
            console.print(
                f"{item.server}, {item.cell.scenario.value}, {item.cell.in_flight} in flight: {count} calls failed, {error}", markup=False
            )


def _document(report: Report) -> dict[str, object]:
    plan = report.plan
    return {
        "machine": report.machine,
        "databases": report.databases,
        "plan": {
            "rounds": plan.rounds,
            "warm_up_seconds": plan.warm_up.total_seconds(),
            "window_seconds": plan.window.total_seconds(),
            "subjects": plan.subjects,
            "import_rows": plan.import_rows,
            "channels": plan.channels,
            "client_processes": plan.clients,
        },
        "ratios": [as_json(ratio) for ratio in report.ratios],
        "figures": [as_json(item) for item in report.figures],
        "peak_rss_bytes": report.memory_bytes,
    }


def _markdown(report: Report) -> str:
    plan = report.plan
    lines = [
        "# Benchmark",
        "",
        (
            f"Written by `python -m benchmarks`. {plan.rounds} rounds; in each, every server met every load in turn, for "
            f"{plan.window.total_seconds():g} s after {plan.warm_up.total_seconds():g} s of warm-up. Figures are medians over the rounds, with least "
            "and greatest in brackets. CPU is per record or row; `server`, `client` and `others` say how much of one core the server's process, the "
            "load client and everything else on the machine used meanwhile. Compare ratios, not absolute figures."
        ),
        "",
    ]
    for title, head, rows in _tables(report):
        lines += [f"## {title}", "", row(head), row(["---"] * len(head)), *map(row, rows), ""]
    if report.errors:
        lines += [f"**{report.errors} calls failed: some figures are of something else than was meant.**", ""]
    lines += ["## Machine", "", row(["what", "which"]), row(["---"] * 2), *(row(item) for item in report.machine.items())]
    for server, settings in report.databases.items():
        if settings:
            lines.append(row([server, ", ".join(f"{name} {value}" for name, value in settings.items())]))
    return "\n".join(lines) + "\n"


def row(cells: Sequence[str]) -> str:
    """One line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _tables(report: Report) -> list[tuple[str, list[str], list[list[str]]]]:
    tables = [("Ratios", ["ratio", "vault on", "median", "(min–max)", "aim"], [_ratio_row(ratio) for ratio in report.ratios])]
    head = ["in flight", "server", "per second", "(min–max)", "p50 ms", "p95", "p99", "CPU µs", "database µs", "server", "client", "others"]
    for scenario in Scenario:
        rows = [_figures_row(item) for item in report.figures if item.cell.scenario is scenario]
        if rows:
            tables.append((TITLES[scenario], head, rows))
    memory = [[server, f"{size / _MIB:.0f}"] for server, size in report.memory_bytes.items()]
    return [*tables, ("Most memory of the server's process", ["server", "MiB"], memory)]


def _ratio_row(ratio: Ratio) -> list[str]:
    aim = "" if ratio.aim is None else f"≥ {ratio.aim:g}"
    return [ratio.name, ratio.server, short(ratio.spread.median), f"({short(ratio.spread.least)}–{short(ratio.spread.greatest)})", aim]


def _figures_row(item: Figures) -> list[str]:
    rate = item.items_per_second
    return [
        str(item.cell.in_flight),
        item.server if not item.errors else f"{item.server}, {sum(item.errors.values())} failed",
        f"{rate.median:,.0f}",
        f"({rate.least:,.0f}–{rate.greatest:,.0f})",
        *(short(item.latency_ms[name]) for name in ("p50", "p95", "p99")),
        short(item.server_cpu_us.median),
        "–" if item.database_cpu_us is None else short(item.database_cpu_us.median),
        _percent(item.server_busy),
        _percent(item.client_busy),
        _percent(item.others_busy),
    ]


def _percent(share: Spread) -> str:
    return f"{share.median:.0%}"


def short(value: float) -> str:
    """Three digits that say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
