"""What one decision costs, remembered and not, and what a start spends on the bundle. Writes `results/decisions.{json,md}`.

python -m benchmarks.decisions [--quick] [--no-write]
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from benchmarks import machine, section
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from vault.catalogue import loader
from vault.catalogue.model import Catalogue
from vault.policy.decide import Policy, Question

_HEAD = ["decision", "µs", "by one that is remembered"]
_START = "from vault.catalogue import loader; from vault.policy.decide import Policy; import time; t = time.perf_counter()"
_NOTE = (
    "One process, no database. Every question that a grant is about: {count:,} of category, role, purpose, level, view and operation. *First*: no "
    "question of its caller and category was asked yet, so that both are parsed as well. *New*: those were, this question was not. "
    "*Remembered*: it was."
)


def main() -> int:
    """Run, show, write."""
    arguments = _arguments()
    described = machine.describe()
    rounds = 2 if arguments.quick else 7
    found = [_decisions(rounds), _starts(rounds)]
    for part in found:
        section.show(part)
    if arguments.write:
        section.write(found, described, name="decisions", title="Decisions", quick=arguments.quick)
    return 0


def _decisions(rounds: int) -> Section:
    catalogue = loader.load()
    questions = _questions(catalogue)
    # One of every caller and category, and the others.
    first = list({(item.category, item.roles): item for item in questions}.values())
    new = [item for item in questions if item not in set(first)]
    times: dict[str, list[float]] = {"first": [], "new": [], "remembered": []}
    # The first round warms up and is thrown away.
    for number in range(rounds + 1):
        policy = Policy(catalogue)
        seen = {"first": _each(policy.decide, first), "new": _each(policy.decide, new), "remembered": _each(policy.decide, new)}
        for what, seconds in seen.items():
            if number:
                times[what].append(seconds * 1e6)
    spreads = {what: Spread.of(found) for what, found in times.items()}
    by_remembered = {
        what: Spread.of(one / other for one, other in zip(found, times["remembered"], strict=True)) for what, found in times.items()
    }
    rows = [[what, spread_cell(spreads[what]), spread_cell(by_remembered[what])] for what in times]
    return Section(
        "decisions", "Decisions", _NOTE.format(count=len(questions)), _HEAD, rows, {"microseconds": times, "questions": len(questions)}, 0
    )


def _questions(catalogue: Catalogue) -> list[Question]:
    return [
        Question(
            operation=operation,
            category=category.name,
            roles=frozenset({role}),
            actor_kind="service",
            purpose=purpose,
            level=level,
            view=grant.view,
            justified=True,
        )
        for category in catalogue.categories.values()
        for grant in category.grants
        for operation in sorted(grant.operations)
        for role in sorted(grant.roles)
        for purpose in sorted(grant.purposes)
        for level in sorted(grant.levels or {""})
    ]


def _each(decide: Callable[[Question], object], questions: Iterable[Question]) -> float:
    """Seconds of one decision, on average."""
    asked = list(questions)
    began = time.perf_counter()
    for question in asked:
        decide(question)
    return (time.perf_counter() - began) / len(asked)


def _starts(rounds: int) -> Section:
    """What reading, checking and compiling the bundle takes, in a process that has not done it."""
    steps = ("read and check the catalogue", "compile and validate its policies")
    times: dict[str, list[float]] = {step: [] for step in steps}
    script = f"{_START}; c = loader.load(); u = time.perf_counter(); Policy(c); print(u - t, time.perf_counter() - u)"
    for _ in range(rounds):
        printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        for step, seconds in zip(steps, printed.split(), strict=True):
            times[step].append(float(seconds) * 1e3)
    rows = [[step, spread_cell(Spread.of(found))] for step, found in times.items()]
    return Section("start", "Start", "Once in a process.", ["step", "ms"], rows, {"milliseconds": times}, 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decisions", description="What a decision costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
