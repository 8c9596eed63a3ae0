"""Reads the tar of a package, strictly; writes a verified one out. Used by the verifier alone, shares no code with the writer.

Rules:
- Only what the package format produces is a package: plain ustar headers (POSIX.1-1988) of regular files, in strictly ascending order,
  one date, no owner, mode 0600, zero padding. No links, directories, devices, pax or GNU extensions: a second tar reader can see nothing
  else in the same bytes.
- Paths are ASCII words of letters, digits, `.`, `_` and `-`, each beginning with a letter or digit, all below one directory: no absolute
  path, no `..`.
- Two names that differ in case only are refused: on some file systems one would replace the other.
- Nothing is written but by `write_out`: staged beside its target with mode 0700, renamed when complete.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from vault.bundle.verdict import Code, FindingError
from vault.errors import FailedPreconditionError

MAX_ARCHIVE_BYTES = 4 * 1024**3
MAX_MEMBERS = 1_000
_BLOCK_BYTES = 512
_RECORD_BYTES = 20 * _BLOCK_BYTES  # two zero blocks end an archive, then zeros up to a whole record
_ROOT = re.compile(r"EXP-[a-z2-7]{26}")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OCTAL = re.compile(rb"[0-7]{11}")
_REGULAR = b"0"


@dataclass(frozen=True, slots=True)
class Archive:
    """Content by path below `root`; `mtime` is the date that every member carries, in seconds since 1970."""

    root: str
    mtime: int
    files: dict[str, bytes] = field(repr=False)


def read_archive(tar: bytes) -> Archive:
    """Read a package's tar.

    Raises:
        FindingError: OUTER_CORRUPT, PATH_UNSAFE.
    """
    if len(tar) > MAX_ARCHIVE_BYTES:
        raise FindingError(Code.OUTER_CORRUPT, "archive is larger than the limit")
    files: dict[str, bytes] = {}
    names: list[str] = []
    mtimes: set[int] = set()
    at = 0
    while any(header := tar[at : at + _BLOCK_BYTES]):
        if len(names) == MAX_MEMBERS:
            raise FindingError(Code.OUTER_CORRUPT, "archive has more members than the limit")
        name, size, mtime = _read_header(header, member=len(names))
        body, padding = at + _BLOCK_BYTES, -size % _BLOCK_BYTES
        at = body + size + padding
        if at > len(tar) or any(tar[body + size : at]):
            raise FindingError(Code.OUTER_CORRUPT, "archive ends early or hides bytes in its padding")
        names.append(name)
        mtimes.add(mtime)
        files[name.partition("/")[2]] = tar[body : body + size]
    if not 2 * _BLOCK_BYTES <= len(tar) - at < 2 * _BLOCK_BYTES + _RECORD_BYTES or any(tar[at:]):
        raise FindingError(Code.OUTER_CORRUPT, "archive has no proper end")
    roots = {name.partition("/")[0] for name in names}
    if len({name.lower() for name in names}) != len(names) or len(roots) != 1:
        raise FindingError(Code.PATH_UNSAFE, "archive names a member twice or has more than one root")
    if names != sorted(names) or len(mtimes) != 1:
        raise FindingError(Code.OUTER_CORRUPT, "archive members are out of order or differ in date")
    return Archive(roots.pop(), mtimes.pop(), files)


def write_out(archive: Archive, target: Path) -> None:
    """Write a verified package as directory `target`, which must not exist; all of it or nothing.

    Raises:
        FailedPreconditionError: EXTRACT_FAILED.
    """
    if target.exists() or target.is_symlink():
        raise FailedPreconditionError("EXTRACT_FAILED", "target exists already", field="extract_to")
    try:
        stage = Path(tempfile.mkdtemp(prefix=".export-", dir=target.parent))  # mode 0700
        try:
            for path, data in archive.files.items():
                _write_file(stage.joinpath(*path.split("/")), data)
            stage.rename(target)
        except BaseException:
            shutil.rmtree(stage)
            raise
    except OSError:
        raise FailedPreconditionError("EXTRACT_FAILED", "package could not be written to the target", field="extract_to") from None


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(data)


def _read_header(header: bytes, *, member: int) -> tuple[str, int, int]:
    """Name, size in bytes and date of a member, if the header is exactly the one this format writes for them."""
    numbers = [header[start : start + 11] for start in (124, 136)]
    if not all(_OCTAL.fullmatch(number) for number in numbers):
        raise FindingError(Code.OUTER_CORRUPT, f"header of member {member} is malformed")
    if header[156:157] != _REGULAR:
        raise FindingError(Code.PATH_UNSAFE, f"member {member} is not a regular file")
    name = header[:100].rstrip(b"\0").decode("latin-1")
    size, mtime = (int(number, 8) for number in numbers)
    root, *segments = name.split("/")
    if not _ROOT.fullmatch(root) or not segments or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise FindingError(Code.PATH_UNSAFE, f"member {member} has an unsafe path")
    if header != _expected_header(name, size, mtime):
        raise FindingError(Code.OUTER_CORRUPT, f"header of member {member} is not canonical")
    return name, size, mtime


def _expected_header(name: str, size: int, mtime: int) -> bytes:
    """Fields and bytes: name 100, mode 8, uid 8, gid 8, size 12, mtime 12, checksum 8, type 1, link 100, magic 6, version 2, rest zero."""
    before = name.encode().ljust(100, b"\0") + b"0000600\0" + b"0000000\0" * 2 + b"%011o\0%011o\0" % (size, mtime)
    after = _REGULAR + bytes(100) + b"ustar\0" + b"00"
    after = after.ljust(_BLOCK_BYTES - len(before) - 8, b"\0")
    checksum = sum(before) + sum(b" " * 8) + sum(after)
    return before + b"%06o\0 " % checksum + after
