"""Places outside the database where signed notes are published: a directory here, an object store in `object_sink`.

Rules:
- A note is written whole or not at all, and one that was published is never replaced by another.
- Names are `<log>/<size, 20 digits>.checkpoint`, so that the newest is the last in order.
- Whoever can write the database must not be able to write here; that is the deployment's to see to, and what finds a log that was cut off.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

from vault.errors import UnavailableError

SUFFIX = ".checkpoint"
# Whether a note, given by its name and its text, is to be believed: others may be able to write to a sink as well.
Belief: TypeAlias = Callable[[str, str], bool]


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

    async def newest(self, log: str, *, from_size: int, is_ours: Belief) -> str | None:
        """The newest checkpoint of a log that signs at least a size and is believed, if there is one.

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

    async def newest(self, log: str, *, from_size: int, is_ours: Belief) -> str | None:
        """The last file in order."""
        try:
            return await asyncio.to_thread(_newest, self._directory, log, f"{from_size:020d}", is_ours)
        except OSError:
            raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the checkpoint directory cannot be read") from None


def checkpoint_name(log: str, size: int) -> str:
    """Name of a published checkpoint."""
    return f"{log}/{size:020d}{SUFFIX}"


def _write(path: Path, content: bytes) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def _newest(directory: Path, log: str, first: str, is_ours: Belief) -> str | None:
    if not (directory / log).is_dir():
        return None
    names = (f"{log}/{entry.name}" for entry in os.scandir(directory / log) if entry.name.endswith(SUFFIX) and entry.name >= first)
    notes = ((name, (directory / name).read_text(encoding="utf-8", errors="replace")) for name in sorted(names, reverse=True))
    return next((note for name, note in notes if is_ours(name, note)), None)
