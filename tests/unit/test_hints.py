"""Every refusal that a person may meet comes with advice: the reasons are read out of the code, not out of a list that ages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vault.catalogue import loader
from vault.cli import hints

VAULT = Path(hints.__file__).parents[1]
GUARDS = VAULT / "policy" / "guards.cedar"
GENERATED = VAULT / "v1"
REASON = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*")

# Helpers that make an error out of the reason they are given; whoever adds one names it here.
HELPERS = {"_denied", "_translated"}
# The message says all there is to do.
SELF_EXPLAINING = {
    "EXTRA_MISSING",
    "TENANT_EXISTS",
    "FILE_TYPE",
    "HEADER_NOT_RECOGNISED",
    "COLUMN_AMBIGUOUS",
    "COLUMN_UNKNOWN",
    "MAP_INVALID",
}
HINTS = hints._HINTS


def called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def constants(node: ast.expr) -> Iterator[str]:
    """The texts that an argument may be: a constant, or one of two."""
    if isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and REASON.fullmatch(node.value):
        yield node.value


def reasons_in(source: str) -> set[str]:
    """Reasons given to errors, to errors' own constructors and to helpers that make errors."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (called(node).endswith("Error") or called(node) in HELPERS | {"__init__"}):
            # Which argument it is differs: an error takes it first, its helpers later.
            for argument in node.args:
                found.update(constants(argument))
    return found


def reasons_of_the_code() -> set[str]:
    sources = [path for path in VAULT.rglob("*.py") if GENERATED not in path.parents]
    return set().union(*(reasons_in(path.read_text(encoding="utf-8")) for path in sources))


def reasons_of_the_guards() -> set[str]:
    return set(re.findall(r'^@reason\("([^"]*)"\)', GUARDS.read_text(encoding="utf-8"), re.MULTILINE))


def reasons_of_the_catalogue() -> set[str]:
    """Reasons that a category gives for a field that is missing or a value that is refused."""
    fields = [field for category in loader.load().categories.values() for field in category.fields.values()]
    return {field.missing_reason for field in fields if field.missing_reason} | {why for field in fields for why in field.refused.values()}


def test_reasons_are_found_wherever_they_are_given() -> None:
    source = """
raise NotFoundError("A_ONE", "text")
raise errors.NotFoundError("A_TWO" if x else "A_THREE", "TEXT that is none")
super().__init__("A_FOUR", "text")
return _denied("step", 1, "A_FIVE", "text")
raise ValueError("no reason")
other("A_SIX")
"""

    found = reasons_in(source)

    assert found == {"A_ONE", "A_TWO", "A_THREE", "A_FOUR", "A_FIVE"}


def test_every_reason_has_a_hint_or_explains_itself() -> None:
    reasons = reasons_of_the_code() | reasons_of_the_guards() | reasons_of_the_catalogue()

    assert reasons - HINTS.keys() - SELF_EXPLAINING == set()


def test_no_hint_is_for_a_reason_that_does_not_exist() -> None:
    reasons = reasons_of_the_code() | reasons_of_the_guards() | reasons_of_the_catalogue()

    assert HINTS.keys() - reasons == set()


def test_what_explains_itself_exists_and_has_no_hint() -> None:
    reasons = reasons_of_the_code() | reasons_of_the_guards() | reasons_of_the_catalogue()

    assert reasons >= SELF_EXPLAINING
    assert not SELF_EXPLAINING & HINTS.keys()


def test_guards_give_reasons() -> None:
    assert {"NDA_INVALID", "RESTRICTED", "AFFILIATE_CATEGORY"} <= reasons_of_the_guards()


@pytest.mark.parametrize("reason", sorted(HINTS))
def test_a_hint_is_one_line_of_plain_advice(reason: str) -> None:
    advice = hints.hint(reason)

    assert "\n" not in advice
    assert advice == advice.strip()
    assert 5 < len(advice) <= 150
    assert not advice.endswith(".")
    assert REASON.fullmatch(reason)
    assert len(reason) <= 63


def test_an_unknown_reason_has_no_hint() -> None:
    assert hints.hint("NO_SUCH_REASON") == ""
