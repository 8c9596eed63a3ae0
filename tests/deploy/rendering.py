"""The chart rendered without helm: the few actions of its templates, and an error for any other.

Known are values, the name of the release, `include`, `if … else … end`, and the functions `quote`, `toYaml` and `nindent`; white space is
trimmed by `{{-` and `-}}` as Go does.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)


@dataclass
class Chart:
    """A chart with its values.

    Attributes:
        folder: where it is.
        values: what is substituted.
        release: name of the release.
    """

    folder: Path
    values: Mapping[str, Any]
    release: str = "vault"
    _named: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in sorted((self.folder / "templates").glob("*.tpl")):
            self._define(_tokens(file.read_text(encoding="utf-8")))

    def documents(self) -> Iterator[dict[str, Any]]:
        """Every manifest."""
        for file in sorted((self.folder / "templates").glob("*.yaml")):
            text = self._render(_tokens(file.read_text(encoding="utf-8")))
            yield from (document for document in yaml.safe_load_all(text) if document is not None)

    def _define(self, tokens: list[tuple[str, str]]) -> None:
        rest = iter(tokens)
        for kind, text in rest:
            if kind == "action" and (found := re.fullmatch(r'define "([\w.-]+)"', text)):
                self._named[found[1]] = _block(rest)[0]

    def _render(self, tokens: list[tuple[str, str]]) -> str:
        out, rest = "", iter(tokens)
        for kind, text in rest:
            if kind == "text":
                out += text
            elif text.startswith("if "):
                then, other = _block(rest)
                out += self._render(then if self._value(text.removeprefix("if ")) else other)
            elif not text.startswith("/*"):
                out += self._piped(text)
        return out

    def _piped(self, action: str) -> str:
        first, *functions = [part.strip() for part in action.split("|")]
        value = self._value(first)
        for function in functions:
            match function.split():
                case ["quote"]:
                    value = '"' + str(value).replace('"', '\\"') + '"'
                case ["nindent", width]:
                    value = "\n" + "\n".join(" " * int(width) + line if line else line for line in str(value).splitlines())
                case _:
                    msg = f"unknown function: {function}"
                    raise ValueError(msg)
        return str(value)

    def _value(self, expression: str) -> Any:
        if found := re.fullmatch(r'include "([\w.-]+)" \.', expression):
            return self._render(self._named[found[1]])
        if found := re.fullmatch(r"toYaml (\.\S+)", expression):
            return yaml.safe_dump(self._value(found[1]), sort_keys=False, allow_unicode=True).strip()
        if expression == ".Release.Name":
            return self.release
        if found := re.fullmatch(r"\.Values\.([\w.]+)", expression):
            value: Any = self.values
            for name in found[1].split("."):
                value = value[name]
            return value
        msg = f"unknown action: {expression}"
        raise ValueError(msg)


def _tokens(text: str) -> list[tuple[str, str]]:
    """Texts and actions in order, trimmed as the actions say."""
    tokens: list[tuple[str, str]] = []
    end, trim = 0, False
    for found in _ACTION.finditer(text):
        between = text[end : found.start()]
        between = between.lstrip() if trim else between
        tokens += [("text", between.rstrip() if found[1] else between), ("action", found[2])]
        end, trim = found.end(), bool(found[3])
    last = text[end:]
    return [*tokens, ("text", last.lstrip() if trim else last)]


def _block(rest: Iterator[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What is between here and the `end` that belongs here, before and after an `else`."""
    parts: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    depth, part = 0, 0
    for kind, text in rest:
        if kind == "action" and text == "end" and depth == 0:
            return parts
        if kind == "action" and text == "else" and depth == 0:
            part = 1
            continue
        depth += (kind == "action" and text.startswith(("if ", "define "))) - (kind == "action" and text == "end")
        parts[part].append((kind, text))
    msg = "no end"
    raise ValueError(msg)
