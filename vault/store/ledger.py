"""The directory that holds the erasure ledger. It is no part of the database, and must not be in the same backup.

    key.json                what the ledger's key is wrapped as, under the vault's root key
    entries/000000000001    one entry each, made once and never written again
    pruned/000000000001     which entries were taken away because no backup is that old any more

Rules:
- A file is written whole under a name of its own, flushed, and linked to its final name, which fails if somebody was faster: workers on any number of
  hosts that share the directory never write over one another. An entry is there when it and its directory are flushed.
- Entries are read one after the other and proved on the way; a gap cannot come to be, because whoever adds number n has read n - 1.
- Everything here waits for a disk: callers run it in a thread.

What this directory does not show, an end that was cut off, the database does (`operations/ledger.py`).
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vault.audit import ledger
from vault.audit.ledger import START, LedgerEntry, LedgerKey
from vault.errors import DataLossError, UnavailableError
from vault.names import new_id
from vault.store.tenants import TenantKeyRow

_KEY_FILE = "key.json"
_PURPOSE = "ledger"


@dataclass(slots=True)
class LedgerDirectory:
    """The ledger as far as this process has read it.

    Attributes:
        path: where it is.
        key: None until it was unwrapped.
        first: number of the oldest entry that is kept, or that will be made.
        last: number of the newest entry read; 0 for none.
        erasures: ids of the erasures and terminations that have an entry, and when it was made.
    """

    path: Path
    key: LedgerKey | None = None
    first: int = 1
    last: int = 0
    erasures: dict[str, datetime] = field(default_factory=dict)
    _digest: str = START
    _is_read: bool = False

    def token_of(self, subject: str) -> str:
        """What stands for a person, `tenants/{tenant}/subjects/{subject}`.

        Raises:
            UnavailableError: LEDGER_UNAVAILABLE, it was never read.
        """
        return self._usable_key.token_of(subject)

    def wrapped_key(self) -> TenantKeyRow | None:
        """The key as it is stored, or None where no ledger is.

        Raises:
            UnavailableError: LEDGER_UNAVAILABLE.
            DataLossError: LEDGER_CORRUPT.
        """
        try:
            stored = json.loads((self.path / _KEY_FILE).read_bytes())
            return TenantKeyRow(_PURPOSE, 1, bytes.fromhex(stored["wrapped"]), bytes.fromhex(stored["check_value"]))
        except FileNotFoundError:
            return None
        except OSError:
            raise _unavailable() from None
        except (ValueError, TypeError, KeyError):
            raise DataLossError("LEDGER_CORRUPT", "the key of the erasure ledger is not what was written there") from None

    def store_key(self, row: TenantKeyRow, *, replacing: bool = False) -> None:
        """Store the wrapped key; of several that store the first one, one does. `replacing` is for the same key, wrapped anew.

        Raises:
            UnavailableError: LEDGER_UNAVAILABLE.
        """
        content = json.dumps({"wrapped": row.wrapped.hex(), "check_value": row.check_value.hex()}).encode()
        try:
            for folder in (self.path, self._entries, self._pruned):
                folder.mkdir(mode=0o700, exist_ok=True, parents=folder is self.path)
            _sync(self.path.parent)
            with suppress(FileExistsError):
                _make(self.path / _KEY_FILE, content, replacing=replacing)
        except OSError:
            raise _unavailable() from None

    def read_on(self) -> None:
        """Read what was added since the last time, all of it the first time, and prove it.

        Raises:
            UnavailableError: LEDGER_UNAVAILABLE, the directory cannot be read.
            DataLossError: LEDGER_CORRUPT; LEDGER_BEHIND, the newest entry that was read before is not there any more.
        """
        try:
            self._skip_pruned()
            if self.last >= self.first and self._read(self.last) is None:
                raise DataLossError("LEDGER_BEHIND", "entries of the erasure ledger are gone")
            # Listed before they are read: whatever is in the list was complete up to itself, unless somebody took an entry away.
            present = 0 if self._is_read else max((int(path.name) for path in self._entries.iterdir() if path.name.isdigit()), default=0)
            while (content := self._read(self.last + 1)) is not None:
                self._take(content)
            if self.last < present:
                raise DataLossError("LEDGER_CORRUPT", "an entry of the erasure ledger is gone", entry=str(self.last + 1))
            self._is_read = True
        except OSError:
            raise _unavailable() from None

    def append(self, entry: LedgerEntry) -> int:
        """Add an entry at the end; its number. It is on the disk when this returns.

        Raises:
            UnavailableError: LEDGER_UNAVAILABLE, the directory cannot be written; nothing was added, or it will be read with the next.
            DataLossError: as `read_on`.
        """
        while True:
            self.read_on()
            if entry.erasure in self.erasures:
                return self.last
            content = ledger.encode(entry.after(self.last, self._digest), self._usable_key)
            try:
                _make(self._entries / _name(self.last + 1), content)
            except FileExistsError:
                continue
            except OSError:
                raise _unavailable() from None

    def entries(self, *, after: int = 0) -> Iterator[LedgerEntry]:
        """Entries that were read, oldest first, from the one after this number on.

        Raises:
            DataLossError: LEDGER_CORRUPT, LEDGER_BEHIND.
            UnavailableError: LEDGER_UNAVAILABLE.
        """
        start = max(after + 1, self.first)
        previous = None
        for sequence in range(start, self.last + 1):
            try:
                content = self._read(sequence)
            except OSError:
                raise _unavailable() from None
            if content is None:
                raise DataLossError("LEDGER_BEHIND", "entries of the erasure ledger are gone")
            # Whoever starts in the middle trusts the link that was proved when the entry was read first.
            entry = ledger.decode(content, self._usable_key, sequence=sequence, previous=previous or _previous_in(content))
            previous = ledger.digest(content)
            yield entry

    def prune(self, *, before: datetime, seen: int) -> int:
        """Take away entries of erasures before a moment, as far as the database has seen them; how many.

        The note comes first: a crash leaves entries that nobody reads, never a gap that nobody explains.

        Raises:
            UnavailableError: LEDGER_UNAVAILABLE.
        """
        end = self.first - 1
        for entry in self.entries():
            if entry.cut_off >= before or entry.sequence > seen:
                break
            end = entry.sequence
        if end < self.first:
            return 0
        try:
            previous = ledger.digest((self._entries / _name(end)).read_bytes())
            _make(self._pruned / _name(end), ledger.encode_pruned(end, previous, self._usable_key))
            for sequence in range(self.first, end + 1):
                (self._entries / _name(sequence)).unlink(missing_ok=True)
            _sync(self._entries)
        except OSError:
            raise _unavailable() from None
        count, self.first = end - self.first + 1, end + 1
        return count

    def _skip_pruned(self) -> None:
        """Begin after the entries that were taken away because no backup is that old any more."""
        notes = sorted(path.name for path in self._pruned.iterdir() if path.name.isdigit())
        if not notes or int(notes[-1]) < self.first:
            return
        sequence, digest = ledger.decode_pruned((self._pruned / notes[-1]).read_bytes(), self._usable_key)
        if _name(sequence) != notes[-1] or (sequence == self.last and digest != self._digest):
            raise DataLossError("LEDGER_CORRUPT", "the erasure ledger does not say rightly which entries were taken away")
        self.first = sequence + 1
        if self.last < sequence:
            self.last, self._digest = sequence, digest

    def _take(self, content: bytes) -> None:
        entry = ledger.decode(content, self._usable_key, sequence=self.last + 1, previous=self._digest)
        self.last, self._digest = entry.sequence, ledger.digest(content)
        self.erasures[entry.erasure] = entry.cut_off

    def _read(self, sequence: int) -> bytes | None:
        try:
            return (self._entries / _name(sequence)).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def _usable_key(self) -> LedgerKey:
        if self.key is None:
            raise _unavailable()
        return self.key

    @property
    def _entries(self) -> Path:
        return self.path / "entries"

    @property
    def _pruned(self) -> Path:
        return self.path / "pruned"


def _previous_in(content: bytes) -> str:
    try:
        return str(json.loads(content)["previous"])
    except (ValueError, TypeError, KeyError):
        return START


def _name(sequence: int) -> str:
    return f"{sequence:012d}"


def _make(path: Path, content: bytes, *, replacing: bool = False) -> None:
    """Make a file, whole and flushed, that nobody else made; `replacing` takes the place of one that is there."""
    temporary = path.with_name(f".{path.name}.{new_id()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        if replacing:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Flush a directory, so that the names in it outlive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unavailable() -> UnavailableError:
    return UnavailableError("LEDGER_UNAVAILABLE", "the erasure ledger cannot be reached, nothing is erased")
