"""The note that says what a restore from backup left of a log, and which lives of a log have which entries in common. Pure: no clock, no database.

Between two restores a log lives one life; life 0 is before the first, and note N begins life N. Body, a line each: format, origin of the log, N, the
life that the restored database was a copy of, size and base64 root of what was restored, then life, size and base64 root of the newest head that had
been published, the time, and the new incarnation of the database; signed by the operator as a C2SP note.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from vault.audit.armour import unarmoured
from vault.audit.checkpoint import Checkpoint, NoteSigner, NoteVerifier, open_note, sign_note
from vault.errors import DataLossError

FORMAT = "pii-vault-restore/1"
_ROOT_BYTES = 32
# More than any log has.
_ENDLESS = 1 << 63


@dataclass(frozen=True, slots=True)
class Restore:
    """What one restore did to one log.

    Attributes:
        number: of the restore; later checkpoints name it.
        base: number of the newest restore that the restored log knew of, 0 for none.
        size: how many entries were restored.
        root: over those.
        published: the newest head that had been published.
        incarnation: opaque id of the life of the database that began.
    """

    origin: str
    number: int
    base: int
    size: int
    root: bytes
    published: Checkpoint
    time: datetime
    incarnation: str

    def head(self) -> Checkpoint:
        """With what the new life begins."""
        return Checkpoint(self.origin, self.size, self.root, self.number)

    def body(self) -> str:
        """The text that is signed."""
        head, before = _head(self.size, self.root), _head(self.published.size, self.published.root)
        time = self.time.astimezone(UTC).isoformat(timespec="microseconds")
        lines = [FORMAT, self.origin, str(self.number), str(self.base), *head, str(self.published.restore), *before, time, self.incarnation]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Loss:
    """Entries that were signed and are gone: from `start` on, up to before `end`, by which restore, and when."""

    restore: int
    start: int
    end: int
    time: datetime
    incarnation: str


def sign_restore(restore: Restore, signer: NoteSigner) -> str:
    """The restore as a signed note."""
    return sign_note(restore.body(), signer)


def open_restore(note: str, keys: Sequence[NoteVerifier], *, origin: str) -> Restore:
    """What a note says, if one of the keys signed it and it is about the log of that origin.

    Raises:
        DataLossError: NOTE_INVALID.
    """
    for key in keys:
        with suppress(DataLossError):
            return _parsed(open_note(note, key), origin)
    raise DataLossError("NOTE_INVALID", "a note about a restore is not this vault's, or is about another log")


def open_restores(notes: Iterable[str], keys: Sequence[NoteVerifier], *, origin: str) -> dict[int, Restore]:
    """Every restore of a log, by number.

    Raises:
        DataLossError: NOTE_INVALID, one does not hold, one is missing, or two contradict each other.
    """
    found: dict[int, Restore] = {}
    for note in notes:
        restore = open_restore(note, keys, origin=origin)
        if found.setdefault(restore.number, restore) != restore:
            raise DataLossError("NOTE_INVALID", "two notes about one restore contradict each other")
    if found.keys() != set(range(1, len(found) + 1)):
        raise DataLossError("NOTE_INVALID", "a note about an earlier restore is missing")
    return dict(sorted(found.items()))


def shared_sizes(restores: Mapping[int, Restore], life: int) -> dict[int, int]:
    """How many first entries each life has in common with one of them; more than any log has where it leads to all of it.

    Args:
        restores: every restore of the log, in order.
        life: which one to compare with.
    """
    shared, at = {life: _ENDLESS}, life
    while at:
        above, at = restores[at], restores[at].base
        shared[at] = min(shared[above.number], above.size)
    for number, restore in restores.items():
        if number not in shared:
            shared[number] = min(restore.size, shared[restore.base])
    return shared


def losses(restores: Mapping[int, Restore], checkpoints: Iterable[Checkpoint]) -> tuple[Loss, ...]:
    """What each restore lost of the life that it ended, by its note and by whatever else was signed in that life."""
    heads = list(checkpoints)
    found = []
    for number, restore in restores.items():
        ended = number - 1
        start = shared_sizes(restores, number)[ended]
        end = max((head.size for head in (*heads, restore.published) if head.restore == ended), default=0)
        if end > start:
            found.append(Loss(number, start, end, restore.time, restore.incarnation))
    return tuple(found)


def lost_in(restores: Mapping[int, Restore], *, life: int, index: int) -> Restore | None:
    """By which restore an entry that was signed in a life is gone; None if the log has it.

    Raises:
        DataLossError: NOTE_INVALID, the note that began that life is missing.
    """
    newest = len(restores)
    if life > newest:
        raise DataLossError("NOTE_INVALID", "a note about an earlier restore is missing")
    if index < shared_sizes(restores, newest)[life]:
        return None
    return next(restores[number] for number in range(life + 1, newest + 1) if index >= shared_sizes(restores, number)[life])


def _parsed(body: str, origin: str) -> Restore:
    form, named, *lines = body.split("\n")
    try:
        number, base, size, root, life, before, before_root, time, incarnation, _ = lines
        published = Checkpoint(named, _count(before), _root(before_root), _count(life))
        when = datetime.fromisoformat(time)
        restore = Restore(named, _count(number), _count(base), _count(size), _root(root), published, when, incarnation)
        sound = form == FORMAT and named == origin and restore.body() == body and max(restore.base, published.restore) < restore.number
    except (ValueError, binascii.Error):
        raise _invalid() from None
    if not sound:
        raise _invalid()
    return restore


def _head(size: int, root: bytes) -> tuple[str, str]:
    return str(size), base64.b64encode(root).decode()


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError
    return int(text)


def _root(text: str) -> bytes:
    root = unarmoured(text)
    if len(root) != _ROOT_BYTES:
        raise ValueError
    return root


def _invalid() -> DataLossError:
    return DataLossError("NOTE_INVALID", "the note is not about a restore of this log")
