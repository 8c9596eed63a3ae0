"""The page that says how every rule of the policy fares speaks of every rule, names what exists, and claims nothing that is not there."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from deploy.policy_report import BUILT, NO_TEST, REPORT, Row, read_rows, render, results_in

ROOT = Path(__file__).parents[2]
# Of the requirements, in their order.
_IDS = """
    P1.1-identity P1.2-principles P1.3-gdpr P1.4-dsr P1.5-confidential P1.6a-authorised P1.6b-need P1.6c-consent P1.7-no3p
    P1.8-role P2.1-tou P2.2-notice P2.3-collect P2.4-purpose P2.5-nonsub P2.6-minor P2.7-rights P2.8-others P2.9a-mkt-in
    P2.9b-mkt-out P2.10a-erase P2.10b-readd P2.10c-keep P3.0-products P3.1-direct P3.2-service P3.2-exp-contact P3.2-exp-content
    P3.2-exp-tpl P3.2-lvl-logs P3.2-lvl-rep P3.2-lvl-rep-off P3.2-lvl-files-use P3.2-lvl-files-on P3.2-lvl-files-off
    P3.2.1-channels P3.2.1-files P3.2.1-fields P3.2.1-use P3.2.1-owner P3.2.1-rep P3.3-services P3.3-cust P3.3-cdr P3.3-cdr-use
    P3.4-contacts P3.4-perm-buy P3.4-perm-log P3.4-perm-sms P3.4-perm-media P3.4-perm-party P3.4-usage P3.4-crash P3.4-install
    P3.4-local P3.4-rec P3.4-map P3.5-enable P3.5-send P3.5-reports P3.5-route P3.5-forward P3.5-reg P3.6-aff P3.6-no3p
    P3.6-order P3.6-fraud P3.6-sectech P3.7-tls P3.7-optout P3.7-measures P3.7-nda P3.8-rm-cred P3.8-rm-lists P3.8-keep-contact
    P3.8-keep-map P3.8-keep-rep P3.8-reasons P4-contact
    A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 A16 A17 A18 A19 A20 A21 A22 A23 A24 A25 A26 A27 A28 A29 A30 A31
    L1 L2 L3 L4 L5 L6 L7 L8 L9 L12 L13 L14 L15 L16 L17 L18 L19 L20 L21 L22 L23 L24 L26 L27 L28 L29 L30 L31 L32 L34 L35 L36 L37
    L39 L40 L41 L42 L43
"""
IDS = _IDS.split()
ROWS = read_rows()


@cache
def names_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_id_has_its_row_in_order_and_no_other() -> None:
    """A15: ids are the stable references; reading refuses one that stands there twice."""
    assert len(IDS) == len(set(IDS)) == 148
    assert [row.id for row in ROWS] == IDS


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_a_row_names_is_there(row: Row) -> None:
    """Tests by file and name, files and what stands in them."""
    lost = []
    for node in row.tests:
        path, _, name = node.partition("::")
        if not (ROOT / path).is_file() or name not in names_of(path):
            lost.append(node)
    for place in row.where:
        path, _, what = place.partition(": ")
        if not (ROOT / path).exists() or (what and what not in (ROOT / path).read_text(encoding="utf-8")):
            lost.append(place)

    assert not lost
    assert row.where
    assert len(row.tests) == len(set(row.tests))


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_row_claims_nothing_without_a_test_and_hides_nothing_that_is_missing(row: Row) -> None:
    assert row.built in BUILT
    assert bool(row.missing) == (row.built != "whole")
    assert bool(row.tests) == (row.built != "outside")


def test_the_page_is_what_the_rows_say_but_for_the_results() -> None:
    page = REPORT.read_text(encoding="utf-8")
    results = results_in(page)

    assert page == render(ROWS, results), "stale: make policy-report"
    assert list(results) == IDS
    assert {row.id for row in ROWS if results[row.id] == NO_TEST} == {row.id for row in ROWS if not row.tests}
    assert [one for one in results.values() if not re.fullmatch(rf"\d+ passed|FAILED: .+|{NO_TEST}", one)] == []


def test_the_page_says_at_its_top_how_much_is_not_built() -> None:
    [line] = [line for line in REPORT.read_text(encoding="utf-8").splitlines() if re.match(r"\d+ rows, ", line)]
    count = Counter(row.built for row in ROWS)

    assert [int(number) for number in re.findall(r"\d+", line)] == [
        len(ROWS),
        len({test for row in ROWS for test in row.tests}),
        *(count[state] for state in ("whole", "part", "none", "outside")),
    ]


def test_a_row_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    twice = tmp_path / "rows.yaml"
    twice.write_text("P1:\n  rule: a\n  where: []\nP1:\n  rule: b\n  where: []\n", encoding="utf-8")

    with pytest.raises(ValueError, match="repeated"):
        read_rows(twice)
