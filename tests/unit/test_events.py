"""The vocabulary of the log: every event is listed, said by somebody, and documented; no line carries more than is listed (L41)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from vault.events import COMMON, EVENTS

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
# Words that would hold a person, or what a caller wrote.
FORBIDDEN = {
    "subject",
    "subjects",
    "principal",
    "actor",
    "caller",
    "employee",
    "value",
    "fields",
    "message",
    "request",
    "peer",
    "token",
    "exception",
}


def lines() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger in the package: where it stands, and the call."""
    for path in sorted((ROOT / "vault").rglob("*.py")):
        if path.parts[-2] == "v1":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and is_logger(node.func.value)
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def is_logger(node: ast.expr) -> bool:
    """`_log`, or `structlog.get_logger()`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "get_logger"
    return isinstance(node, ast.Name) and node.id in {"_log", "log", "logger", "_logger"}


def event_of(call: ast.Call) -> str | None:
    """The event, if it is a constant and the only thing that has no name."""
    [event] = call.args if len(call.args) == 1 else [None]
    return event.value if isinstance(event, ast.Constant) and isinstance(event.value, str) else None


def test_every_line_says_a_listed_event_with_listed_keys() -> None:
    wrong = {}
    for place, call in lines():
        event = event_of(call)
        # `**keys` is a handful of listed keys put together; the last processor holds it to the list.
        keys = {keyword.arg for keyword in call.keywords if keyword.arg}
        if event is None or event not in EVENTS or keys - EVENTS[event]:
            wrong[place] = (event, keys - EVENTS.get(event or "", frozenset()))

    assert wrong == {}


def test_every_listed_event_is_said_somewhere() -> None:
    said = {event_of(call) for _, call in lines()}

    assert EVENTS.keys() - said == set()


def test_the_search_finds_what_it_is_to_find() -> None:
    assert len(list(lines())) > 25


def test_no_key_is_one_that_would_hold_a_person() -> None:
    listed = {key for keys in EVENTS.values() for key in keys} | COMMON

    assert listed & FORBIDDEN == set()


def test_the_document_has_every_event_with_its_keys() -> None:
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9 ]+)` \| (?:debug|info|warning|error) \| ([^|]*)\|", text, re.MULTILINE)

    told = {event: set(re.findall(r"`([a-z_]+)`", keys)) for event, keys in rows}

    assert told == {event: set(keys) for event, keys in EVENTS.items()}
