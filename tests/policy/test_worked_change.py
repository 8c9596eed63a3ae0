"""The worked change of `docs/policy.md`, carried out from that page on a copy of the bundle: what it says about it is so."""

import json
import re
from pathlib import Path

import pytest

from tests.policy.matrix import CODES, Asker, differences, expected, rules, single
from tests.processes import Finished, run
from vault.policy.bundle import Bundle, load, write
from vault.policy.changes import changes
from vault.policy.decide import Policy

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## A worked change") : PAGE.index("## How it is proved")]
EXPLAIN = ("explain", "--role", "support", "--operation", "reveal", "--category", "number-tail", "--view", "full")


def block(language: str) -> str:
    """The one code block of a language in the section."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    return str(found)


def policy(*arguments: str | Path) -> Finished:
    return run("policy", *arguments)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write(tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A copy of the bundle with the edit of the page."""
    folder = tmp_path / "new"
    write(folder)
    lines = block("diff").splitlines()
    target = lines[1].removeprefix("+++ b/")
    assert lines[2] == f"@@ -0,0 +1,{len(lines) - 3} @@"
    assert all(line.startswith("+") for line in lines[3:])
    (folder / target).write_text("".join(f"{line[1:]}\n" for line in lines[3:]), encoding="utf-8")
    return folder


def asker(bundle: Bundle) -> Asker:
    alone = single(bundle.catalogue, "number-tail")
    return Asker(alone, Policy(alone))


def test_the_commands_say_what_the_page_says(old: Path, new: Path) -> None:
    """P1.2-principles: another policy version, and in words what is different."""
    told = policy("diff", old, new)
    before, after = load(old).catalogue.policy_version, load(new).catalogue.policy_version

    assert told.code == 1
    assert f"```\npii-vault policy diff OLD NEW\n{told.out}```".replace(before, "{old}").replace(after, "{new}") in SECTION
    assert before != after


@pytest.mark.parametrize(
    ("arguments", "decision", "rule"),
    [
        (("-p", "technical-fault"), "ALLOWED", "grant:number-tail:2"),
        (("-p", "technical-fault", "--without", "reference"), "REFUSED", "guard:ticket-or-incident"),
        (("-p", "contact"), "REFUSED", "default-deny:purpose"),
    ],
)
def test_a_question_is_answered_by_the_rule_that_the_page_names(new: Path, arguments: tuple[str, ...], decision: str, rule: str) -> None:
    answer = json.loads(policy(*EXPLAIN, *arguments, "--bundle", new, "--json").out)

    assert (answer["decision"], answer["rule"]) == (decision, rule)
    assert f"by `{rule}`" in " ".join(SECTION.split())


def test_the_bundle_before_the_change_does_not_know_it(old: Path) -> None:
    assert policy(*EXPLAIN, "-p", "technical-fault", "--bundle", old).err.startswith("UNKNOWN_CATEGORY")


def test_the_matrix_notices_the_change_until_its_lines_are_written(new: Path) -> None:
    """§2B: what nobody stated a second time is granted to nobody."""
    ask = asker(load(new))
    stated = rules(CODES.read_text(encoding="utf-8") + block("csv"))

    cells, unnoticed = differences(ask, expected())
    _, wrong = differences(ask, stated)

    assert cells > 4000
    assert {place.split("operation=<Operation.")[1].split(":")[0] for place in unnoticed} == {
        *("CREATE", "REVEAL", "LIST", "EXPORT", "ERASE"),
    }
    assert not wrong


def test_nothing_else_of_the_bundle_is_touched(old: Path, new: Path) -> None:
    """The mapping of numbers stays closed to support."""
    [change] = changes(load(old), load(new))
    mapping = load(new).catalogue.category("number-mapping")

    assert (change.part, change.name, change.what) == ("category", "number-tail", "added")
    assert not [grant for grant in mapping.grants if "support" in grant.roles]
