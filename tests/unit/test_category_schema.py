"""The published form of a category file: every shipped file has it, and what the loader refuses for its form alone does not."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

import vault.catalogue
from tests.unit.test_catalogue_loader import BROKEN
from vault.catalogue.schema import category_schema

PACKAGED = Path(vault.catalogue.__file__).parent
PUBLISHED = PACKAGED / "category.schema.json"
VALIDATOR = Draft202012Validator(category_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
FILES = sorted((PACKAGED / "categories").glob("*.yaml"))
# Rules about the form of one file; the other rules compare keys with each other, or with other files.
OF_FORM = {
    "unknown-key",
    "missing-key",
    "unknown-value",
    "unknown-operation",
    "unknown-recipient",
    "unknown-level",
    "type",
    "range",
    "empty",
}
# Rules of form that plain YAML does not show: `yes` is true to YAML and a text to the loader, and names of another file are names all the same.
NOT_SEEN = {
    ("type", "affiliate: yes"),
    ("unknown-level", "levels: [archive]"),
    ("unknown-value", "values: [CALL, LETTER]"),
}


def is_of_the_form(text: str) -> bool:
    return bool(VALIDATOR.is_valid(yaml.safe_load(text)))


def test_the_published_schema_is_the_loaders_and_a_schema() -> None:
    Draft202012Validator.check_schema(category_schema())

    assert json.loads(PUBLISHED.read_text(encoding="utf-8")) == category_schema(), "write it anew: pii-vault policy schema"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_of_the_form(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


def test_there_are_as_many_files_as_categories() -> None:
    assert len(FILES) == 31


@pytest.mark.parametrize(
    ("rule", "file", "old", "new"),
    [
        case[:4]
        for case in BROKEN
        if case[0] in OF_FORM
        and case[1].startswith("categories/")
        and not any(case[0] == rule and words in case[3] for rule, words in NOT_SEEN)
    ],
)
def test_what_the_loader_refuses_for_its_form_is_not_of_the_form(rule: str, file: str, old: str, new: str) -> None:
    text = (PACKAGED / file).read_text(encoding="utf-8")

    assert is_of_the_form(text)
    assert not is_of_the_form(text.replace(old, new, 1)), rule


@pytest.mark.parametrize("rule", ["values", "limit", "index"])
def test_most_rules_about_one_field_are_seen_too(rule: str) -> None:
    cases = [case for case in BROKEN if case[0] == rule and case[1].startswith("categories/")]
    seen = [case for case in cases if not is_of_the_form((PACKAGED / case[1]).read_text(encoding="utf-8").replace(case[2], case[3], 1))]

    assert len(seen) >= 1
