"""The dump of a log: JSON Lines that a stranger can keep, mail and check.

First line `{"format": …, "log": …, "origin": …}`; then one `{"c": note}` for each checkpoint, one `{"p": note}` for each removal after the
retention floor, one `{"r": note}` for each restore from backup and, where it is known, `{"n": size}` as the head of the log has it; then
`{"i": index, "h": base64 of the hash}` for what was removed and `{"i": index, "e": base64 of the entry's bytes}` for what is there, in order. Notes
come first, so that a verifier knows at which sizes to look while it streams.
"""

import base64
import json
from collections.abc import Iterable, Iterator

FORMAT = "pii-vault-audit-dump/1"


def dump_lines(
    *,
    log: str,
    origin: str,
    entries: Iterable[tuple[int, bytes]],
    checkpoints: Iterable[str],
    prunings: Iterable[str] = (),
    restores: Iterable[str] = (),
    kept: Iterable[tuple[int, bytes]] = (),
    size: int | None = None,
) -> Iterator[str]:
    """The lines of a dump, each with its line break; streams.

    Args:
        log: id of the log.
        origin: what its checkpoints call it.
        entries: index and bytes of what is there, in order.
        checkpoints: signed notes.
        prunings: signed notes about what was removed.
        restores: signed notes about restores from backup.
        kept: index and leaf hash of what was removed.
        size: how long the log is, as its head has it.
    """
    yield _line({"format": FORMAT, "log": log, "origin": origin})
    for note in checkpoints:
        yield _line({"c": note})
    for note in prunings:
        yield _line({"p": note})
    for note in restores:
        yield _line({"r": note})
    if size is not None:
        yield _line({"n": size})
    for index, leaf in kept:
        yield _line({"i": index, "h": base64.b64encode(leaf).decode()})
    for index, content in entries:
        yield _line({"i": index, "e": base64.b64encode(content).decode()})


def _line(members: dict[str, object]) -> str:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")) + "\n"
