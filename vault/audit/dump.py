"""The dump of a log: JSON Lines that a stranger can keep, mail and check.

First line `{"format": …, "log": …, "origin": …}`; then one `{"c": note}` for each checkpoint; then
`{"i": index, "e": base64 of the entry's bytes}` in order. Checkpoints come first, so that a verifier knows at which sizes to look while it streams.
"""

import base64
import json
from collections.abc import Iterable, Iterator

FORMAT = "pii-vault-audit-dump/1"


def dump_lines(*, log: str, origin: str, entries: Iterable[tuple[int, bytes]], checkpoints: Iterable[str]) -> Iterator[str]:
    """The lines of a dump, each with its line break; streams."""
    yield _line({"format": FORMAT, "log": log, "origin": origin})
    for note in checkpoints:
        yield _line({"c": note})
    for index, content in entries:
        yield _line({"i": index, "e": base64.b64encode(content).decode()})


def _line(members: dict[str, object]) -> str:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")) + "\n"
