"""Places outside the database where signed notes are published: a directory here, an object store in `object_sink`.

Rules:
- A note is written whole or not at all, and one that was published is never replaced by another.
- Names are `<log>/<size, 20 digits>.checkpoint`, after the Nth restore `<log>/r<N, 6 digits>-<size>.checkpoint`, so that the newest is the last in
  order; the note about that restore is `<log>/r<N>.restore`.
- Whoever can write the database must not be able to write here; that is the deployment's to see to, and what finds a log that was cut off.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from vault.errors import UnavailableError
from vault.names import new_id

SUFFIX, RESTORE_SUFFIX = ".checkpoint", ".restore"
# After every place.
END = "s"
# Whether a note, given by its name and its text, is to be believed: others may be able to write to a sink as well.
Belief: TypeAlias = Callable[[str, str], bool]
_T = TypeVar("_T")


class Sink(Protocol):
    """Where notes are published.

    Attributes:
        name: what metrics and alerts call it.
    """

    name: str

    async def put(self, name: str, content: bytes) -> None:
        """Publish; what is there under the name stays as it is.

        Raises:
            UnavailableError: CHECKPOINTS_UNAVAILABLE.
        """

    async def newest(self, log: str, *, start: str = "", end: str = END, is_ours: Belief) -> str | None:
        """The newest checkpoint of a log that is believed, if there is one, from a place on and before another.

        Raises:
            UnavailableError: CHECKPOINTS_UNAVAILABLE.
        """

    async def restores(self, log: str) -> list[tuple[str, str]]:
        """Every note about a restore of a log, by its name, whoever signed it.

        Raises:
            UnavailableError: CHECKPOINTS_UNAVAILABLE.
        """


class DirectorySink:
    """A directory; on other storage than the database's, if it is to be of use."""

    name = "directory"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put(self, name: str, content: bytes) -> None:
        """Write and flush a file, then give it its name."""
        try:
            await asyncio.to_thread(_write, self._directory / name, content)
        except OSError:
            raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the checkpoint directory cannot be written") from None

    async def newest(self, log: str, *, start: str = "", end: str = END, is_ours: Belief) -> str | None:
        """The last file in order."""
        found = self._found(log, SUFFIX, start=start, end=end)
        return await _reading(lambda: next((note for name, note in found if is_ours(name, note)), None))

    async def restores(self, log: str) -> list[tuple[str, str]]:
        """The files of their kind."""
        return await _reading(lambda: list(self._found(log, RESTORE_SUFFIX)))

    def _found(self, log: str, suffix: str, *, start: str = "", end: str = END) -> Iterator[tuple[str, str]]:
        """Names and texts, the last in order first."""
        try:
            there = [entry.name for entry in os.scandir(self._directory / log)]
        except FileNotFoundError:
            return
        names = [name for name in there if name.endswith(suffix) and start <= name < end]
        for name in sorted(names, reverse=True):
            yield f"{log}/{name}", (self._directory / log / name).read_text(encoding="utf-8", errors="replace")


def place_of(size: int, restore: int = 0) -> str:
    """Where a checkpoint stands among those of its log: later ones come after it."""
    return f"{_life(restore)}-{size:020d}" if restore else f"{size:020d}"


def checkpoint_name(log: str, size: int, restore: int = 0) -> str:
    """Name of a published checkpoint."""
    return f"{log}/{place_of(size, restore)}{SUFFIX}"


def restore_name(log: str, number: int) -> str:
    """Name of a published note about a restore."""
    return f"{log}/{_life(number)}{RESTORE_SUFFIX}"


def _life(restore: int) -> str:
    return f"r{restore:06d}"


async def _reading(work: Callable[[], _T]) -> _T:
    try:
        return await asyncio.to_thread(work)
    except OSError:
        raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the checkpoint directory cannot be read") from None


def _write(path: Path, content: bytes) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two may publish the same note at once, a replay and the schedule.
    temporary = path.with_name(f".{path.name}.{new_id()}")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)
