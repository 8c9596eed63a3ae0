"""The offline verifier of a log. It needs a dump and a public key, and trusts neither the operator nor the database (I8).

Rules:
- It shares no code with the writer but the reading of signed notes: leaves are recomputed from content, the tree is built by its own stack.
- It streams: memory does not grow with the log.
- It pins which log it is told to check: every entry must name that log and its own index.
- Of entries that retention removed, the hashes are left, and a signed note says so: it is bound to their root, and to a time not before the floor.
- Of entries that a restore from backup lost, a signed note says so. A checkpoint has to agree with the log as far as the note leaves them in common;
  what was signed above that is told as lost. Whatever was signed since the newest restore has to be there.

Two verdicts:
- *intact*: every entry is well formed, in place, and the tree over them has the root that each checkpoint signed for its size;
- *complete*: there is a checkpoint, and no checkpoint signs a larger log than the dump holds, but for what restores lost. Entries after the newest
  checkpoint are counted, and nobody vouches for them yet.
"""

import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.audit.armour import unarmoured
from vault.audit.checkpoint import Checkpoint, NoteVerifier, open_checkpoint, open_note
from vault.audit.restore import Loss, Restore, losses, open_restores, shared_sizes
from vault.errors import VaultError

_FORMAT = "pii-vault-audit-dump/1"
_PRUNING = "pii-vault-pruning/1"
_HASH_BYTES = 32
# L4: what is younger than 24 months is never removed.
_FLOOR = timedelta(days=730)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        log: log that was checked.
        entries: entries read before the first bad one.
        intact: see the module.
        complete: see the module; never true for a log that is not intact.
        covered: entries that a checkpoint vouches for.
        pruned: entries of which only the hashes are left, because the retention floor had passed.
        first_bad_index: index of the first bad entry, or of the checkpoint's size that does not fit; None if there is none.
        problem: what is wrong, in words; empty if nothing is.
        lost: what restores from backup lost; a complete log may lack it.
    """

    log: str
    entries: int
    intact: bool
    complete: bool
    covered: int
    first_bad_index: int | None
    problem: str
    pruned: int = 0
    lost: tuple[Loss, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 intact and complete, 1 not intact, 2 intact as far as it goes but not proved complete, 3 complete but for what restores lost."""
        if not self.intact:
            return 1
        if not self.complete:
            return 2
        return 3 if self.lost else 0


class _BadLogError(Exception):
    """Stops the reading; carries what is wrong."""

    def __init__(self, problem: str, index: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.index = index


def verify_dump(
    lines: Iterable[str],
    verifier: NoteVerifier,
    *,
    log: str,
    outside: Sequence[str] = (),
    restores: Sequence[str] = (),
    successors: Sequence[NoteVerifier] = (),
) -> Verdict:
    """Check a dump.

    Args:
        lines: the lines of the dump.
        verifier: the key that the operator published, and the name it signs under.
        log: the log that the dump should be of.
        successors: keys that took over from it, which sign as well (`vault.audit.succession`).
        outside: checkpoints that were published outside the database; they tell when the dump lacks the newest entries.
        restores: notes about restores that were published there.
    """
    reading = _Reading(log, f"{verifier.name}/{log}", (verifier, *successors), restores)
    try:
        reading.checkpoints = [reading.checkpoint(note) for note in outside]
        content = iter(lines)
        _check_header(next(content, ""), log, reading.origin)
        for line in content:
            reading.take(_object(line))
        reading.finish()
    except _BadLogError as bad:
        return Verdict(log, reading.tree.size, intact=False, complete=False, covered=0, first_bad_index=bad.index, problem=bad.problem)
    size = reading.tree.size
    newest = max((head.size for head in reading.heads() if head.size <= reading.shared[head.restore]), default=0)
    problem = ""
    if not reading.checkpoints:
        problem = "no checkpoint vouches for the log"
    elif newest > size:
        problem = f"a checkpoint signs {newest} entries, {size} are there"
    elif reading.head is not None and reading.head != size:
        problem = f"the head of the log counts {reading.head} entries, {size} are there"
    elif len(reading.notes) < len(reading.restores):
        problem = "the log does not know of a restore that was published"
    return Verdict(
        log,
        size,
        intact=True,
        complete=not problem,
        covered=min(newest, size),
        first_bad_index=None,
        problem=problem,
        pruned=reading.pruned,
        lost=losses(reading.restores, reading.checkpoints),
    )


class _Tree:
    """Root of a growing tree, by a stack of (height, hash); the verifier's own, on purpose not the writer's."""

    def __init__(self) -> None:
        self.size = 0
        self._stack: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        height, digest = 0, leaf
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


class _Reading:
    """What is known of a log while its lines go by: checkpoints and notes of removal first, then hashes that are left, then entries."""

    def __init__(self, log: str, origin: str, keys: Sequence[NoteVerifier], restores: Sequence[str]) -> None:
        self.origin = origin
        self.tree = _Tree()
        self.checkpoints: list[Checkpoint] = []
        self.head: int | None = None
        self.pruned = 0
        self.notes: set[str] = set()
        self.restores: Mapping[int, Restore] = {}
        self.shared: Mapping[int, int] = {}
        self._log = log
        self._keys = keys
        self._outside = restores
        self._roots: dict[int, bytes] = {0: self.tree.root()}
        self._wanted: set[int] | None = None
        self._prunings: dict[int, bytes] = {}

    def take(self, members: dict[str, object]) -> None:
        """One line."""
        keys, size = members.keys(), self.tree.size
        if keys == {"i", "e"}:
            self._add(_entry_leaf(members, size, self._log))
        elif keys == {"i", "h"} and self.pruned == size:
            self._add(_kept_leaf(members, size))
            self.pruned += 1
        elif size:
            raise _BadLogError("a line of the dump is neither an entry nor the hash of one that was removed", size)
        elif keys == {"c"} and isinstance(members["c"], str):
            self.checkpoints.append(self.checkpoint(members["c"]))
        elif keys == {"p"} and isinstance(members["p"], str):
            removed = _pruning(members["p"], self._keys, self.origin)
            self._prunings[removed[0]] = removed[1]
        elif keys == {"r"} and isinstance(members["r"], str):
            self.notes.add(members["r"])
        elif keys == {"n"} and isinstance(members["n"], int) and not isinstance(members["n"], bool):
            self.head = members["n"]
        else:
            raise _BadLogError("a line of the dump is of no known kind")

    def checkpoint(self, note: str) -> Checkpoint:
        """A checkpoint of this log, by one of the keys."""
        return _checkpoint(note, self._keys, self.origin)

    def heads(self) -> list[Checkpoint]:
        """Everything signed that the log may have to agree with."""
        return [*self.checkpoints, *(restore.head() for restore in self.restores.values())]

    def finish(self) -> None:
        """Compare roots with what was signed."""
        self._look_at_notes()
        self._roots[self.tree.size] = self.tree.root()
        if self.pruned and (self.pruned not in self._prunings or self._prunings[self.pruned] != self._roots[self.pruned]):
            raise _BadLogError("entries are missing, and no note says that their retention was over", 0)
        _compare(self._roots, [head for head in self.heads() if head.size <= self.shared[head.restore]], self.tree.size)

    def _look_at_notes(self) -> None:
        """What is to be compared, once every note is known."""
        if self._wanted is not None:
            return
        try:
            self.restores = open_restores({*self.notes, *self._outside}, self._keys, origin=self.origin)
        except VaultError as error:
            raise _BadLogError(error.message, 0) from None
        self.shared = shared_sizes(self.restores, len(self.restores))
        if any(checkpoint.restore not in self.shared for checkpoint in self.checkpoints):
            raise _BadLogError("a checkpoint names a restore of which there is no note")
        self._wanted = {head.size for head in self.heads()} | self._prunings.keys()

    def _add(self, leaf: bytes) -> None:
        self._look_at_notes()
        self.tree.add(leaf)
        if self._wanted is not None and self.tree.size in self._wanted:
            self._roots[self.tree.size] = self.tree.root()


def _entry_leaf(members: dict[str, object], index: int, log: str) -> bytes:
    if members["i"] != index or isinstance(members["i"], bool):
        raise _BadLogError("an entry is missing, repeated or out of order", index)
    try:
        content = unarmoured(str(members["e"]))
        entry = json.loads(content)
        canonical = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except (binascii.Error, ValueError):
        raise _BadLogError("an entry is damaged", index) from None
    if not isinstance(entry, dict) or canonical != content or entry.get("v") != 1:
        raise _BadLogError("an entry is not in its canonical form", index)
    if entry.get("log") != log or entry.get("index") != index:
        raise _BadLogError("an entry belongs to another log or another place", index)
    return hashlib.sha256(b"\x00" + content).digest()


def _kept_leaf(members: dict[str, object], index: int) -> bytes:
    try:
        leaf = unarmoured(str(members["h"]))
        sound = members["i"] == index and len(leaf) == _HASH_BYTES
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        raise _BadLogError("the hash of an entry that was removed is damaged or out of order", index)
    return leaf


def _pruning(note: str, keys: Sequence[NoteVerifier], origin: str) -> tuple[int, bytes]:
    """How many entries were removed, and the root over them."""
    signer = next((key for key in keys if _names(note, key)), keys[-1])
    try:
        form, named, size, root, newest, removed, *rest = open_note(note, signer).split("\n")
        gone, floor = int(size), datetime.fromisoformat(removed) - datetime.fromisoformat(newest)
        digest = unarmoured(root)
    except (VaultError, ValueError, TypeError, binascii.Error):
        raise _BadLogError("a note about removed entries does not hold", 0) from None
    if form != _PRUNING or named != origin or rest != [""] or floor < _FLOOR:
        raise _BadLogError("a note about removed entries is of another log, or removes them before their time", 0)
    return gone, digest


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
