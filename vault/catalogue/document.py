"""A catalogue file as typed nodes that know their line.

Rules:
- Plain YAML only: one document, no anchors, aliases, tags or duplicate keys, because a file that reads differently to two people is no rule.
- Every scalar is text until a reader asks for something else; YAML's guesses (`no` as false, `1e3` as a number) do not apply.
- What is wrong is a `CatalogueError` naming file, line and rule.

Not here: what the keys mean (`loader.py`).
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NoReturn, TypeVar

import yaml

from vault.errors import FailedPreconditionError

_Choice = TypeVar("_Choice", bound=StrEnum)
# A field name is stored with one byte for its length (`crypto.seal_fields`), so names have an end.
_NAME = re.compile(r"(?=.{1,64}$)[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_NAME_RULE = "a name is at most 64 lower-case letters and digits, parted by '-' or '_'"
_NUMBER = re.compile(r"-?[0-9]{1,9}")


# The same grammar, ten times as fast, where the wheel brings libyaml.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CatalogueError(FailedPreconditionError):
    """The catalogue or its policies cannot be used; a vault with such a file does not start.

    Args:
        rule: kebab-case name of the rule that was broken.
        message: what is wrong, in the words of the file.
        file: name of the file.
        line: one-based line; 0 if the fault is not in one place.
    """

    def __init__(self, rule: str, message: str, *, file: str, line: int = 0) -> None:
        super().__init__("CATALOGUE_INVALID", f"{file}:{line}: {message}", file=file, line=str(line), rule=rule)


class Node:
    """One value of a file, at a one-based line: that of its key, or the one it starts on."""

    def __init__(self, node: yaml.Node, file: str, line: int | None = None) -> None:
        self._node = node
        self.file = file
        self.line = int(node.start_mark.line) + 1 if line is None else line

    def fail(self, rule: str, message: str) -> NoReturn:
        """Refuse the file at this line."""
        raise CatalogueError(rule, message, file=self.file, line=self.line)

    def entries(self) -> dict[str, "Node"]:
        """The node as a mapping with text keys, in order."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fail("type", "expected a mapping")
        found: dict[str, Node] = {}
        for key_node, value_node in self._node.value:
            key = Node(key_node, self.file)
            if key.text() in found:
                key.fail("duplicate-key", f"key '{key.text()}' appears twice")
            found[key.text()] = Node(value_node, self.file, key.line)
        return found

    def named_entries(self) -> dict[str, "Node"]:
        """The node as a mapping whose keys are lower-case names, in order."""
        found = self.entries()
        for key, value in found.items():
            if not _NAME.fullmatch(key):
                value.fail("name", _NAME_RULE)
        return found

    def record(self, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, "Node"]:
        """The node as a mapping with exactly these keys."""
        found, needed = self.entries(), list(required)
        allowed = {*needed, *optional}
        for key, value in found.items():
            if key not in allowed:
                value.fail("unknown-key", f"key '{key}' is not known here")
        for key in needed:
            if key not in found:
                self.fail("missing-key", f"key '{key}' is missing")
        return found

    def items(self) -> list["Node"]:
        """The node as a sequence."""
        if not isinstance(self._node, yaml.SequenceNode):
            self.fail("type", "expected a list")
        return [Node(item, self.file) for item in self._node.value]

    def text(self) -> str:
        """The node as text that is not empty."""
        if not isinstance(self._node, yaml.ScalarNode):
            self.fail("type", "expected a text")
        text = str(self._node.value).strip()
        if not text:
            self.fail("type", "expected a text, found nothing")
        return text

    def name(self) -> str:
        """The node as a lower-case name in kebab-case or snake_case."""
        text = self.text()
        if not _NAME.fullmatch(text):
            self.fail("name", _NAME_RULE)
        return text

    def number(self, *, least: int = 0) -> int:
        """The node as a whole number."""
        text = self.text()
        if not _NUMBER.fullmatch(text):
            self.fail("type", "expected a whole number")
        if int(text) < least:
            self.fail("range", f"a number here is at least {least}")
        return int(text)

    def flag(self) -> bool:
        """The node as `true` or `false`, spelled so."""
        text = self.text()
        if text not in {"true", "false"}:
            self.fail("type", "expected true or false")
        return text == "true"

    def choice(self, choices: type[_Choice]) -> _Choice:
        """The node as a member of a closed set."""
        text = self.text()
        if text not in set(choices):
            self.fail("unknown-value", f"'{text}' is not one of {', '.join(choices)}")
        return choices(text)

    def names(self, known: Iterable[str] | None = None, *, what: str = "name") -> tuple[str, ...]:
        """The node as a list of different names, each of them known; None accepts any name."""
        allowed = None if known is None else set(known)
        found: list[str] = []
        for item in self.items():
            name = item.text()
            if allowed is not None and name not in allowed:
                item.fail(f"unknown-{what}", f"'{name}' is not a known {what}")
            if name in found:
                item.fail("duplicate-name", f"'{name}' appears twice")
            found.append(name)
        return tuple(found)

    def some_names(self, known: Iterable[str] | None = None, *, what: str = "name") -> tuple[str, ...]:
        """As `names`, but at least one."""
        found = self.names(known, what=what)
        if not found:
            self.fail("empty", f"at least one {what} is needed")
        return found


def parse(text: str, file: str) -> Node:
    """Parse one file.

    Raises:
        CatalogueError: not a single plain YAML document.
    """
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            _check_plain(event, file)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise CatalogueError("syntax", "not a single YAML document", file=file, line=line) from None
    except yaml.YAMLError:
        raise CatalogueError("syntax", "not YAML", file=file) from None
    if node is None:
        raise CatalogueError("syntax", "the file is empty", file=file)
    return Node(node, file)


def _check_plain(event: yaml.Event, file: str) -> None:
    if not isinstance(event, yaml.NodeEvent):
        return
    tagged = isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None or tagged:
        line = event.start_mark.line + 1 if event.start_mark else 0
        raise CatalogueError("alias", "anchors, aliases and tags are not used here", file=file, line=line)
