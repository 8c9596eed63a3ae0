"""The offline verifier of a log. It needs a dump and a public key, and trusts neither the operator nor the database (I8).

Rules:
- It shares no code with the writer but the check of a note's signature: leaves are recomputed from content, the tree is built by its own stack.
- It streams: memory does not grow with the log.
- It pins which log it is told to check: every entry must name that log and its own index.

Two verdicts:
- *intact*: every entry is well formed, in place, and the tree over them has the root that each checkpoint signed for its size;
- *complete*: there is a checkpoint, and no checkpoint signs a larger log than the dump holds. Entries after the newest checkpoint are counted,
  and nobody vouches for them yet.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vault.audit.armour import unarmoured
from vault.audit.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from vault.errors import VaultError

_FORMAT = "pii-vault-audit-dump/1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        log: log that was checked.
        entries: entries read before the first bad one.
        intact: see the module.
        complete: see the module; never true for a log that is not intact.
        covered: entries that a checkpoint vouches for.
        first_bad_index: index of the first bad entry, or of the checkpoint's size that does not fit; None if there is none.
        problem: what is wrong, in words; empty if nothing is.
    """

    log: str
    entries: int
    intact: bool
    complete: bool
    covered: int
    first_bad_index: int | None
    problem: str

    @property
    def exit_code(self) -> int:
        """0 intact and complete, 1 not intact, 2 intact as far as it goes but not proved complete."""
        if not self.intact:
            return 1
        return 0 if self.complete else 2


class _BadLogError(Exception):
    """Stops the reading; carries what is wrong."""

    def __init__(self, problem: str, index: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.index = index


def verify_dump(
    lines: Iterable[str], verifier: NoteVerifier, *, log: str, outside: Sequence[str] = (), successors: Sequence[NoteVerifier] = ()
) -> Verdict:
    """Check a dump.

    Args:
        lines: the lines of the dump.
        verifier: the key that the operator published, and the name it signs under.
        log: the log that the dump should be of.
        successors: keys that took over from it, which sign as well (`vault.audit.succession`).
        outside: checkpoints that were published outside the database; they tell when the dump lacks the newest entries.
    """
    tree = _Tree()
    try:
        origin = f"{verifier.name}/{log}"
        keys = (verifier, *successors)
        checkpoints = [_checkpoint(note, keys, origin) for note in outside]
        content = iter(lines)
        _check_header(next(content, ""), log, origin)
        roots = _read(content, tree, log, keys, origin, checkpoints)
        _compare(roots, checkpoints, tree.size)
    except _BadLogError as bad:
        return Verdict(log, tree.size, intact=False, complete=False, covered=0, first_bad_index=bad.index, problem=bad.problem)
    newest = max((checkpoint.size for checkpoint in checkpoints), default=0)
    if not checkpoints:
        return Verdict(
            log, tree.size, intact=True, complete=False, covered=0, first_bad_index=None, problem="no checkpoint vouches for the log"
        )
    if newest > tree.size:
        problem = f"a checkpoint signs {newest} entries, the dump holds {tree.size}"
        return Verdict(log, tree.size, intact=True, complete=False, covered=tree.size, first_bad_index=None, problem=problem)
    return Verdict(log, tree.size, intact=True, complete=True, covered=newest, first_bad_index=None, problem="")


class _Tree:
    """Root of a growing tree, by a stack of (height, hash); the verifier's own, on purpose not the writer's."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []

    def add(self, content: bytes) -> None:
        height, digest = 0, hashlib.sha256(b"\x00" + content).digest()
        while self._stack and self._stack[-1][0] == height:
            digest = hashlib.sha256(b"\x01" + self._stack.pop()[1] + digest).digest()
            height += 1
        self._stack.append((height, digest))
        self.size += 1

    def root(self) -> bytes:
        if not self._stack:
            return hashlib.sha256(b"").digest()
        digest = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            digest = hashlib.sha256(b"\x01" + left + digest).digest()
        return digest


def _check_header(line: str, log: str, origin: str) -> None:
    header = _object(line)
    if header.keys() != {"format", "log", "origin"} or header["format"] != _FORMAT:
        raise _BadLogError("the first line is not the header of a dump")
    if header["log"] != log or header["origin"] != origin:
        raise _BadLogError("the dump is of another log")


def _read(
    lines: Iterator[str], tree: _Tree, log: str, keys: Sequence[NoteVerifier], origin: str, checkpoints: list[Checkpoint]
) -> dict[int, bytes]:
    """Read checkpoints, then entries; returns the root at each size that a checkpoint signs, and at the end."""
    roots: dict[int, bytes] = {0: tree.root()}
    wanted = {checkpoint.size for checkpoint in checkpoints}
    for line in lines:
        members = _object(line)
        if members.keys() == {"c"} and isinstance(members["c"], str) and not tree.size:
            checkpoints.append(_checkpoint(members["c"], keys, origin))
            wanted.add(checkpoints[-1].size)
        elif members.keys() == {"i", "e"}:
            _check_entry(members, tree, log)
            if tree.size in wanted:
                roots[tree.size] = tree.root()
        else:
            raise _BadLogError("a line of the dump is neither a checkpoint nor an entry", tree.size)
    roots[tree.size] = tree.root()
    return roots


def _check_entry(members: dict[str, object], tree: _Tree, log: str) -> None:
    index = tree.size
    if members["i"] != index or isinstance(members["i"], bool):
        raise _BadLogError("an entry is missing, repeated or out of order", index)
    try:
        content = unarmoured(str(members["e"]))
        if base64.b64encode(content).decode() != members["e"]:
            raise ValueError  # noqa: TRY301 - a second spelling of the same bytes
        entry = json.loads(content)
        canonical = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except (binascii.Error, ValueError):
        raise _BadLogError("an entry is damaged", index) from None
    if not isinstance(entry, dict) or canonical != content or entry.get("v") != 1:
        raise _BadLogError("an entry is not in its canonical form", index)
    if entry.get("log") != log or entry.get("index") != index:
        raise _BadLogError("an entry belongs to another log or another place", index)
    tree.add(content)


def _checkpoint(note: str, keys: Sequence[NoteVerifier], origin: str) -> Checkpoint:
    # By the key whose signature is there; if it is none's, the last one says what is wrong.
    signer = next((key for key in keys if _names(note, key)), keys[-1])
    try:
        checkpoint = open_checkpoint(note, signer)
    except VaultError as error:
        raise _BadLogError(f"a checkpoint does not hold: {error.message}") from None
    if checkpoint.origin != origin:
        raise _BadLogError("a checkpoint is about another log")
    return checkpoint


def _names(note: str, key: NoteVerifier) -> bool:
    """Whether a signature in the note says that it is this key's; whether it is, `open_checkpoint` says."""
    for line in note.splitlines():
        name, _, encoded = line.removeprefix("— ").partition(" ")
        try:
            if name == key.name and unarmoured(encoded)[: len(key.key_id)] == key.key_id:
                return True
        except (binascii.Error, ValueError):
            continue
    return False


def _compare(roots: dict[int, bytes], checkpoints: Iterable[Checkpoint], size: int) -> None:
    for checkpoint in checkpoints:
        if checkpoint.size <= size and roots[checkpoint.size] != checkpoint.root:
            raise _BadLogError(f"the entries do not have the root that was signed for the first {checkpoint.size}", checkpoint.size)


def _object(line: str) -> dict[str, object]:
    try:
        members = json.loads(line)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise _BadLogError("a line of the dump is not a JSON object")
    return members
