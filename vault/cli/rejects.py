"""The rejects file: which rows of a list were not stored, and why, never what stood in them.

Rules:
- Three columns: line, reason, field. A reason or field that is not a plain word of the contract is replaced, so that no content can slip in, and
  no spreadsheet takes a cell for a formula.
- The file is whole or absent: it is written beside its place, flushed to disk and renamed. Only its owner may read it.
"""

import csv
import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vault.errors import InvalidArgumentError

HEADER = ("line", "reason", "field")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_FIELD = re.compile(r"(?:[a-z][a-z0-9_.\[\]-]{0,127})?")
_UNKNOWN_REASON = "UNSPECIFIED"


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that was not stored, or not wholly.

    Attributes:
        line: physical line, or row of the sheet, at which it starts; one-based.
        reason: e.g. `NO_USABLE_IDENTIFIER`.
        field: field at fault; empty if there is none.
    """

    line: int
    reason: str
    field: str = ""


def write_rejects(path: Path, rejects: Iterable[Reject]) -> int:
    """Write a rejects file, replacing an earlier one.

    Args:
        path: where to.
        rejects: in the order in which they shall stand; consumed one by one.
    Returns:
        How many there were. A file with nothing but its header is written for none.
    Raises:
        InvalidArgumentError: FILE_UNWRITABLE; an earlier file is left as it was.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError:
        raise _unwritable() from None
    part = Path(name)
    try:
        count = _write(handle, rejects)
        part.replace(path)
    except OSError:
        raise _unwritable() from None
    finally:
        # Renamed, it is no longer there; after any error, this one or the caller's, it must not stay.
        part.unlink(missing_ok=True)
    return count


def _write(handle: int, rejects: Iterable[Reject]) -> int:
    count = 0
    # A byte order mark, because spreadsheets otherwise read the file in a code page of their own.
    with open(handle, "w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        for count, reject in enumerate(rejects, start=1):  # noqa: B007 - the count is the result
            reason = reject.reason if _REASON.fullmatch(reject.reason) else _UNKNOWN_REASON
            field = reject.field if _FIELD.fullmatch(reject.field) else ""
            writer.writerow((reject.line, reason, field))
        stream.flush()
        os.fsync(stream.fileno())
    return count


def _unwritable() -> InvalidArgumentError:
    return InvalidArgumentError("FILE_UNWRITABLE", "the rejects file cannot be written there")
