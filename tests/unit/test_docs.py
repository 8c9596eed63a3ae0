"""What the documents say is there is there: tests, files, commands with their options, targets of make."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from vault.catalogue import loader
from vault.cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after `pii-vault`, of lines in code blocks and of spans in prose; an optional part counts as given."""
    text = text.replace("\\\n", " ")
    for found in re.findall(r"^(?:\$ )?pii-vault (.+)$", text, re.MULTILINE) + re.findall(r"`pii-vault ([^`]+)`", text):
        line = re.sub(r"\s#.*", "", found).replace("[", " ").replace("]", " ").rstrip(" &")
        yield shlex.split(line)


def unknown_in(words: list[str]) -> list[str]:
    """Commands and options of a line that the command does not have."""
    command, unknown = typer.main.get_command(app), []
    known = set(options_of(command))
    takes_value = options_of(command)
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            if word not in known | {"--json", "--help"}:
                unknown.append(word)
            skip = takes_value.get(word, False)
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return [*unknown, word]
            command = command.commands[word]
            known, takes_value = set(options_of(command)), options_of(command)
    return unknown


def options_of(command: object) -> dict[str, bool]:
    """Options of a command, and whether each takes a value."""
    return {name: not getattr(one, "is_flag", False) for one in getattr(command, "params", []) for name in one.opts if name.startswith("-")}


def test_unknown_commands_and_options_are_noticed() -> None:
    assert unknown_in(shlex.split("-c folder tenant create acme --display-name x --json")) == []
    assert unknown_in(shlex.split("-c folder tenant make acme")) == ["make"]
    assert unknown_in(shlex.split("tenant create acme --nickname x")) == ["--nickname"]


@pytest.mark.parametrize("name", NAMES)
def test_tests_that_are_named_exist(name: str) -> None:
    text = text_of(name)

    paths = re.findall(r"\btests/[\w./-]*\w", text)
    names = re.findall(r"\b(test_\w+)\b(?!\.py\b)", text)

    assert {path for path in paths if not (ROOT / path).exists()} == set()
    assert [one for one in names if not re.search(rf"def {one}\(", TESTS) and not list((ROOT / "tests").rglob(f"{one}.py"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_resolve(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(name))

    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]

    assert {link for link in local if not ((ROOT / name).parent / link).exists()} == set()


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_exist(name: str) -> None:
    wrong = {shlex.join(words): unknown for words in command_lines(text_of(name)) if (unknown := unknown_in(words))}

    assert wrong == {}


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    said = re.findall(r"(?:^|`|then `?)make ((?:[a-z-]+ ?)+)`", text_of(name), re.MULTILINE)
    listed = re.findall(r"^make ([a-z-]+)  ", text_of(name), re.MULTILINE)

    assert {word for words in [*said, *listed] for word in words.split()} - targets == set()


def test_the_table_of_categories_is_the_catalogue() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text_of("docs/policy.md").splitlines()
        if re.match(r"\| C\d\d ", line)
    ]

    told = {(row[0], row[1]): (row[2], row[3], *row[5:9]) for row in rows}
    days = {row[0]: set(map(int, re.findall(r"\b\d+\b", row[4]))) for row in rows}

    categories = loader.load().categories.values()
    assert told == {
        (c.code, c.name): (
            *(c.held_as.value, c.responsibility.value, c.on_erasure.value, c.on_contract_end.value),
            *(c.court_class.value, c.shared_with_affiliate),
        )
        for c in categories
    }
    for category in categories:
        kept = [level.retention for level in category.levels.values()] or [category.retention_at("")]
        assert days[category.code] == {days for r in kept for days in (r.days, r.restricted_days) if days or r.days == days == 0}, (
            category.code
        )
