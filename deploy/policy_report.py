"""Writes `docs/policy-conformance.md`: every rule of the policy, where it lives, the tests that fail without it, and how they ended just now.

    python deploy/policy_report.py

The rows are kept by hand in `docs/policy-conformance.yaml`; the tests are run on both databases. The text holds neither times nor dates, so that
two runs of one state are equal. The exit code is 1 if any test did not pass.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "docs" / "policy-conformance.yaml"
REPORT = ROOT / "docs" / "policy-conformance.md"
SECTIONS = {"P": "Clauses of the policy", "A": "Tensions and gaps", "L": "Rows of law"}
BUILT = {"whole": "built", "part": "built in part", "none": "not built", "outside": "outside software"}
NO_TEST = "no test"
_ROW = re.compile(r"^\| ([PAL][\w.-]*) \|.*\| ([^|]*) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One rule.

    Attributes:
        rule: what holds, in the project's own words.
        where: files or folders, each perhaps with something that stands in it after a colon.
        tests: node ids without parameters; empty only for what software cannot show.
        built: `whole`, `part`, `none` or `outside`.
        missing: what is not there, unless it is whole.
    """

    id: str
    rule: str
    where: tuple[str, ...]
    tests: tuple[str, ...]
    built: str
    missing: str


class _Loader(yaml.SafeLoader):
    """Refuses an id that stands there twice; plain YAML lets the later one win."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, object]:
    keys = [str(loader.construct_object(key)) for key, _ in node.value]
    if repeated := [key for key, count in Counter(keys).items() if count > 1]:
        raise ValueError(f"repeated: {repeated}")
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_rows(path: Path = ROWS) -> list[Row]:
    """The rows, in the order of the file.

    Raises:
        ValueError: an id stands there twice, or a row has a key that no row has.
    """
    said = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 – a safe loader that is stricter still
    rows = []
    for name, row in said.items():
        if unknown := row.keys() - {"rule", "where", "tests", "built", "missing"}:
            raise ValueError(f"{name}: unknown {sorted(unknown)}")
        where, tests = (tuple(row.get(key, ())) for key in ("where", "tests"))
        rows.append(Row(name, row["rule"], where, tests, row.get("built", "whole"), row.get("missing", "")))
    return rows


def render(rows: Sequence[Row], results: Mapping[str, str]) -> str:
    """The page: counts, then a table per kind of row."""
    count = Counter(row.built for row in rows)
    named = {test for row in rows for test in row.tests}
    lines = [
        "# Conformance to the policy",
        "",
        "Written by `make policy-report` from [policy-conformance.yaml](policy-conformance.yaml); not to be edited. Ids are those of the",
        "requirements, rules are told in the project's own words. Each test named would fail without its rule; of what is not built the test shows",
        "that it is refused, or what is there instead. *Passed* counts cases: parameters, and both databases.",
        "",
        f"{len(rows)} rows, {len(named)} tests. {', '.join(f'{count[state]} {word}' for state, word in BUILT.items())}.",
    ]
    for kind, title in SECTIONS.items():
        lines += ["", f"## {title}", "", "| id | rule | where | tests | built | result |", "|---|---|---|---|---|---|"]
        lines += [_line(row, results.get(row.id, NO_TEST)) for row in rows if row.id.startswith(kind)]
    return "\n".join([*lines, ""])


def _line(row: Row, result: str) -> str:
    where = ", ".join(f"`{place}`" for place in row.where)
    by_file: dict[str, list[str]] = {}
    for test in row.tests:
        path, _, name = test.partition("::")
        by_file.setdefault(path, []).append(f"`{name}`")
    tests = "; ".join(f"`{path}`: {', '.join(names)}" for path, names in by_file.items()) or "–"
    built = f"{BUILT[row.built]}: {row.missing}" if row.missing else "yes"
    return f"| {row.id} | {row.rule} | {where} | {tests} | {built} | {result} |"


def results_in(page: str) -> Mapping[str, str]:
    """The results that a page tells, by id."""
    return {found[1]: found[2] for found in _ROW.finditer(page)}


def run_tests(tests: Sequence[str]) -> Mapping[str, Counter[str]]:
    """Run tests; how many cases of each passed, failed or were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        jobs = os.environ.get("JOBS", "auto")
        command = [sys.executable, "-m", "pytest", "-q", "-n", jobs, "-p", "no:cacheprovider", f"--junit-xml={report}", *tests]
        subprocess.run(command, cwd=ROOT, check=False)
        if not report.exists():
            sys.exit("the tests did not run")
        outcomes: dict[str, Counter[str]] = {test: Counter() for test in tests}
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 – written by the line above
            node = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
            worst = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
            outcomes.setdefault(node, Counter())[worst] += 1
    return outcomes


def result_of(row: Row, outcomes: Mapping[str, Counter[str]]) -> str:
    """How the tests of a row ended, in a word or two."""
    if not row.tests:
        return NO_TEST
    cases = sum((outcomes[test] for test in row.tests), Counter[str]())
    if any(not outcomes[test] for test in row.tests):
        return "FAILED: a test did not run"
    if bad := cases.total() - cases["passed"]:
        return f"FAILED: {bad} of {cases.total()}"
    return f"{cases['passed']} passed"


def main() -> int:
    """Run the tests of every row and write the page."""
    rows = read_rows()
    outcomes = run_tests(sorted({test for row in rows for test in row.tests}))
    results = {row.id: result_of(row, outcomes) for row in rows}
    REPORT.write_text(render(rows, results), encoding="utf-8")
    failed = [name for name, result in results.items() if result.startswith("FAILED")]
    print(f"{REPORT.relative_to(ROOT)}: {len(rows)} rows, {len(failed)} failed {failed or ''}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
