"""Reading a list file for import: CSV, TSV or XLSX, in any encoding that such files come in, row by row.

Rules:
- What a file is follows from its bytes, never from its name. What cannot be read for certain is refused whole, before the first row is given out:
  a guess would store wrong names under right numbers.
- A text file is read three times (bytes, shape, rows) and never held in memory; only the last reading gives out rows. A spreadsheet is checked for
  damage and size first, then read once; its shared texts are held in memory, within a limit.
- Which rows there are, and which are rejected here, depends on the file and its header alone and not on what becomes of a column: an import that
  is resumed must count the same rows.
- No cell is dropped silently: a row with more cells than the header has columns is rejected by line.
- No error and no `repr` holds a cell: rows are named by line, columns by position.

Not here: whether a value is a telephone number or an order's date is the vault's to say.
"""

import codecs
import csv
import hashlib
import io
import itertools
import lzma
import re
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Protocol, cast

import openpyxl
from openpyxl.cell import Cell, MergedCell
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.workbook import Workbook
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from vault.cli.headers import Column, Entry, Use, count_recognised, parse_mapping, understand
from vault.cli.rejects import Reject
from vault.errors import InvalidArgumentError

MAX_CELL_CHARACTERS = 32_767  # what a spreadsheet's cell holds (ECMA-376, Excel specifications and limits)
MAX_ROW_CHARACTERS = 262_144  # far above what the vault takes for a record; a longer row is a quotation mark that was never closed
MAX_COLUMNS = 1000  # twenty times as many as a row may have extra fields; a wider header is a mistaken delimiter
MAX_SHEET_ROWS = 1_048_576  # rows of a sheet (ECMA-376, Excel specifications and limits)
MAX_ARCHIVE_BYTES = 2**30  # a full sheet of seven columns takes about 400 MB uncompressed
MAX_PART_BYTES = 2**27  # any part but a sheet is read into memory whole
_MAX_ARCHIVE_PARTS = 10_000
_CHUNK_BYTES = 2**18
_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r"sep=([,;|\t])\r?\n?", re.IGNORECASE)  # Excel's own way of naming the delimiter
_ZIP, _OLE = (b"PK\x03\x04", b"PK\x05\x06"), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_HEBREW = "cp1255"
# One character may look like UTF-8 by chance for so many bytes that do not, or the file is damaged UTF-8: a letter before a closing quotation mark
# and an ellipsis does. Damage leaves far more sound characters than that; and if it did not, six Hebrew letters of UTF-8, alef and lamed among them,
# hold bytes that Windows-1255 does not have.
_CHANCE = 4
# A cell of nothing but these is empty: white space, direction marks and zero-width characters.
_INVISIBLE = " \t\r\n\v\f\xa0\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
# What zipfile, zlib, expat or, where it is installed, lxml (both a SyntaxError) and openpyxl raise on damaged or hostile input; openpyxl has no
# error of its own for it.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, SyntaxError, InvalidFileException, ArithmeticError, AssertionError, AttributeError),
    *(LookupError, RuntimeError, TypeError, ValueError, lzma.LZMAError, struct.error),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file.

    Attributes:
        line: one-based physical line at which the row starts; in a spreadsheet, its row.
        fields: cells by field name, trimmed; empty ones are left out.
        extra: cells of other columns by header, likewise.
    """

    line: int
    fields: Mapping[str, str] = field(repr=False)
    extra: Mapping[str, str] = field(repr=False)


# Line and trimmed cells of every row that is not empty.
_Records = Generator[tuple[int, list[str]], None, None]


class _Source(Protocol):
    """A way to read a file's rows."""

    def records(self, path: Path) -> _Records:
        """Line and trimmed cells of every row that is not empty."""


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list file that was found sound, and how it was understood.

    Attributes:
        path: where it is.
        digest: SHA-256 of its bytes. A digest of personal data without a key: sent to the vault, never logged (I2).
        encoding: `utf-8`, `utf-8-sig`, `utf-16` or `cp1255`; empty for a spreadsheet.
        delimiter: between cells; empty for a spreadsheet.
        columns: what each column is.
        total_rows: how many rows `rows` gives out; None for a spreadsheet, where counting would be reading.
        other_sheets: visible sheets of a spreadsheet besides the first, which are not read; worth telling the user.
    """

    path: Path = field(repr=False)
    digest: bytes = field(repr=False)
    encoding: str
    delimiter: str
    columns: tuple[Column, ...]
    total_rows: int | None
    other_sheets: int
    _source: _Source = field(repr=False)
    _has_header: bool = field(repr=False)
    _stamp: tuple[int, int, int] = field(repr=False)

    def rows(self) -> Iterator[Row | Reject]:
        """Read the rows, from the start with every call.

        Yields:
            A row, or why a row cannot be taken: ROW_TOO_LONG, it has more cells than the header has columns.
        Raises:
            InvalidArgumentError: FILE_CHANGED, it is not the file that was found sound, or no longer; FILE_UNREADABLE. Of a spreadsheet also
                FILE_TRUNCATED and FILE_TOO_LARGE. What was given out must then not be taken for the whole file.
        """
        self._check_unchanged()
        records = self._source.records(self.path)
        for line, cells in itertools.islice(records, int(self._has_header), None):
            yield _row(line, cells, self.columns)
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if _stamp(self.path) != self._stamp:
            raise InvalidArgumentError("FILE_CHANGED", "the file was changed while it was read")


def read_list(path: Path, *, category: str, mapping: Iterable[str] = ()) -> ListFile:
    """Examine a list file and understand its header; the rows are read by `ListFile.rows`.

    Args:
        path: a regular file.
        category: what its rows are, e.g. `list-profile`.
        mapping: what the user says about columns, as `headers.parse_mapping` takes it.
    Raises:
        InvalidArgumentError: UNKNOWN_CATEGORY, MAP_INVALID, COLUMN_UNKNOWN, COLUMN_AMBIGUOUS, HEADER_NOT_RECOGNISED: see `headers`.
            FILE_UNREADABLE, FILE_EMPTY. FILE_TYPE: neither text nor a spreadsheet that can be read. FILE_ENCODING: not text in a known encoding.
            FILE_TRUNCATED: the file ends inside a character or a quoted cell, or the spreadsheet is damaged. FILE_TOO_LARGE: a cell, a row or
            the unpacked spreadsheet is above its limit. FILE_CHANGED.
    """
    entries = parse_mapping(category, mapping)
    stamp = _stamp(path)
    digest, encoding = _examine(path)
    source: _Source
    if encoding:
        text = _text_source(path, encoding, category, entries)
        source, delimiter, other_sheets, first = text, text.delimiter, 0, _first_row(text, path)
    else:
        _check_archive(path)
        text, source, delimiter = None, _Sheet(), ""
        other_sheets, first = _survey(path)
    if not first:
        raise InvalidArgumentError("FILE_EMPTY", "the file has no rows")
    if len(first) > MAX_COLUMNS:
        raise _too_large(f"the first row has more than {MAX_COLUMNS} columns", MAX_COLUMNS)
    header = understand(first, category, entries)
    total = sum(1 for _ in text.records(path)) - header.is_header if text else None
    found = ListFile(path, digest, encoding, delimiter, header.columns, total, other_sheets, source, header.is_header, stamp)
    found._check_unchanged()  # noqa: SLF001 - the digest and the count are of one file only if nobody wrote to it meanwhile
    return found


def _first_row(source: _Source, path: Path) -> list[str]:
    with closing(source.records(path)) as records:
        return next((cells for _, cells in records), [])


def _row(line: int, cells: Sequence[str], columns: Sequence[Column]) -> Row | Reject:
    if len(cells) > len(columns) and any(cells[len(columns) :]):
        return Reject(line, "ROW_TOO_LONG")
    fields: dict[str, str] = {}
    extra: dict[str, str] = {}
    # A row may be shorter than the header: spreadsheets leave out empty cells at its end.
    for column, cell in zip(columns, cells, strict=False):
        if cell and column.use is not Use.DROPPED:
            (fields if column.use is Use.FIELD else extra)[column.name] = cell
    return Row(line, fields, extra)


def _trimmed(line: int, cells: Iterable[str]) -> list[str]:
    """Cells without white space around them; what cannot be seen counts as empty.

    Raises:
        InvalidArgumentError: FILE_TOO_LARGE.
    """
    trimmed = [cell if (cell := raw.strip()).strip(_INVISIBLE) else "" for raw in cells]
    if max(map(len, trimmed), default=0) > MAX_CELL_CHARACTERS:
        raise _too_large(f"a cell of the row at line {line} has more than {MAX_CELL_CHARACTERS} characters", MAX_CELL_CHARACTERS)
    return trimmed


def _examine(path: Path) -> tuple[bytes, str]:
    """Digest of the file's bytes, and its encoding: empty for a spreadsheet.

    Raises:
        InvalidArgumentError: FILE_UNREADABLE, FILE_EMPTY, FILE_TYPE, FILE_ENCODING, FILE_TRUNCATED.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            chunk = stream.read(_CHUNK_BYTES)
            if not chunk:
                raise InvalidArgumentError("FILE_EMPTY", "the file has no bytes")
            scan = _scan_for(chunk)
            while chunk:
                digest.update(chunk)
                scan.feed(chunk)
                chunk = stream.read(_CHUNK_BYTES)
    except OSError:
        raise _unreadable() from None
    return digest.digest(), scan.finish()


class _Scan:
    """Takes a file in chunks and tells its encoding in the end. This one is for what is not text."""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""

    def finish(self) -> str:
        """The encoding; empty if the file is not text."""
        return ""


class _MarkedScan(_Scan):
    """For text whose encoding is told by its byte order mark, and which must then be in it to the last byte."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def feed(self, chunk: bytes) -> None:
        try:
            text = self._decoder.decode(chunk)
        except UnicodeError:
            raise _not_text(f"starts with the mark of {self._encoding} but is not in it") from None
        if "\0" in text:
            raise _not_text("holds NUL characters")

    def finish(self) -> str:
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeError:
            raise _truncated("ends inside a character") from None
        return self._encoding


class _UnmarkedScan(_Scan):
    """For text without a mark: UTF-8 if all of it is, Windows-1255 if next to nothing of it outside ASCII is, and nothing in between.

    A Hebrew text in one of the two is as good as never sound in the other: letters of Windows-1255 are lead bytes of UTF-8 without the bytes that
    must follow. A file with some of both is UTF-8 with damage, and reading it as Windows-1255 would store names as nonsense.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._good = 0
        self._bad = 0

    def feed(self, chunk: bytes) -> None:
        if b"\0" in chunk:
            raise _not_text("holds NUL bytes: it is no text, or UTF-16 without a byte order mark")
        self._count(self._decoder.decode(chunk))

    def finish(self) -> str:
        bad_before = self._bad
        self._count(self._decoder.decode(b"", final=True))
        if not self._bad:
            return "utf-8"
        if self._good * _CHANCE <= self._bad:
            return _HEBREW
        raise _not_text("is UTF-8 with damaged characters") if bad_before else _truncated("ends inside a character")

    def _count(self, text: str) -> None:
        if not text.isascii():
            good = len(text.encode("utf-8", "ignore").decode())
            self._bad += len(text) - good
            self._good += good - len(text.encode("ascii", "ignore"))


def _scan_for(start: bytes) -> _Scan:
    if start.startswith(_OLE):
        raise InvalidArgumentError(
            "FILE_TYPE", "the file is an old or password-protected spreadsheet; save it as XLSX without a password, or as CSV"
        )
    if start.startswith(_ZIP):
        return _Scan()
    return next((_MarkedScan(encoding) for mark, encoding in _BYTE_ORDER_MARKS if start.startswith(mark)), _UnmarkedScan())


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written to."""
    try:
        found = path.stat()
    except OSError:
        raise _unreadable() from None
    if not stat.S_ISREG(found.st_mode):
        # A pipe cannot be read again, and an import that is resumed reads again.
        raise InvalidArgumentError("FILE_UNREADABLE", "the path is not a regular file")
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True)
class _Text:
    """CSV or TSV: cells between delimiters, quoted with `"` where need be (RFC 4180), lines ended in any of the three ways."""

    encoding: str
    delimiter: str
    skipped_lines: int = 0

    def records(self, path: Path) -> _Records:
        """Line and trimmed cells of every row that is not empty.

        Raises:
            InvalidArgumentError: FILE_UNREADABLE, FILE_ENCODING, FILE_TRUNCATED, FILE_TOO_LARGE.
        """
        try:
            with path.open(encoding=self.encoding, newline="") as stream:
                lines = _Lines(stream)
                for _ in range(self.skipped_lines):
                    next(lines, None)
                # Without `strict`: quotation marks inside a cell are common in Hebrew abbreviations and harmless.
                reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True)
                lines.start_row()
                for raw in reader:
                    if lines.ended:  # The reader asked for a line more than there is: it was inside quotation marks.
                        raise _truncated(f"ends inside a quoted cell of the row at line {lines.row_line}")
                    cells = _trimmed(lines.row_line, raw)
                    if any(cells):
                        yield lines.row_line, cells
                    lines.start_row()
        except UnicodeError:
            raise _not_text("is neither UTF-8 nor Windows-1255") from None
        except csv.Error:
            raise _too_large("a cell is too long", csv.field_size_limit()) from None
        except OSError:
            raise _unreadable() from None


class _Lines:
    """Physical lines of a stream, counted, none read further than a row may be long.

    Attributes:
        row_line: one-based line at which the current row starts.
        ended: whether a line was asked for after the last one.
    """

    def __init__(self, stream: io.TextIOBase | io.TextIOWrapper) -> None:
        self._stream = stream
        self._count = 0
        self._characters = 0
        self.row_line = 1
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_ROW_CHARACTERS + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self._count += 1
        self._characters += len(line)
        if self._characters > MAX_ROW_CHARACTERS:
            raise _too_large(f"the row at line {self.row_line} has more than {MAX_ROW_CHARACTERS} characters", MAX_ROW_CHARACTERS)
        return line

    def start_row(self) -> None:
        """The next line begins a row."""
        self.row_line = self._count + 1
        self._characters = 0


def _text_source(path: Path, encoding: str, category: str, entries: Sequence[Entry]) -> _Text:
    """The delimiter under which most headers are known; among equals the one that makes most columns.

    Raises:
        InvalidArgumentError: as `_Text.records`, if no delimiter lets the first row be read.
    """
    try:
        with path.open(encoding=encoding, newline="") as stream:
            named = _SEPARATOR_LINE.fullmatch(stream.readline(len("sep=;\r\n")))
    except UnicodeError:
        raise _not_text("is neither UTF-8 nor Windows-1255") from None
    except OSError:
        raise _unreadable() from None
    if named:
        return _Text(encoding, named[1], skipped_lines=1)
    best, score, failure = None, (-1, -1), None
    for delimiter in _DELIMITERS:
        candidate = _Text(encoding, delimiter)
        try:
            cells = _first_row(candidate, path)
        except InvalidArgumentError as error:
            # A wrong delimiter can make a quotation mark inside a cell open a quoted one; only if all fail is the file at fault.
            failure = error
            continue
        if not cells:  # The file is nothing but this delimiter and white space.
            return candidate
        if (merit := (count_recognised(cells, category, entries), len(cells))) > score:
            best, score = candidate, merit
    if best is None:
        assert failure is not None  # noqa: S101 - one of the two is set in every turn of the loop
        raise failure
    return best


@dataclass(frozen=True, slots=True)
class _Sheet:
    """XLSX: the first visible sheet, by rows. A formula counts as the value last saved for it, as nothing if there is none."""

    def records(self, path: Path) -> _Records:
        """Row number and trimmed cells of every row that is not empty.

        Raises:
            InvalidArgumentError: FILE_UNREADABLE, FILE_TRUNCATED, FILE_TOO_LARGE.
        """
        with _workbook(path) as book:
            yield from _sheet_records(_visible(book)[0])


def _check_archive(path: Path) -> None:
    """Check an XLSX file for kind, size and damage, before openpyxl reads any of it.

    The sizes are those that the archive declares, and the ones that hold: zipfile gives out no more bytes of a part than are declared for it.

    Raises:
        InvalidArgumentError: FILE_TYPE, FILE_TRUNCATED, FILE_TOO_LARGE, FILE_UNREADABLE.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            names = {part.filename for part in parts}
            if "[Content_Types].xml" not in names or "xl/workbook.xml" not in names:
                raise InvalidArgumentError(
                    "FILE_TYPE", "the file is an archive but no XLSX spreadsheet; unpack it, or save it as XLSX or CSV"
                )
            if len(parts) > _MAX_ARCHIVE_PARTS or sum(part.file_size for part in parts) > MAX_ARCHIVE_BYTES:
                raise _too_large("the unpacked spreadsheet is too large", MAX_ARCHIVE_BYTES)
            if any(part.file_size > MAX_PART_BYTES and not part.filename.startswith("xl/worksheets/") for part in parts):
                raise _too_large("a part of the unpacked spreadsheet is too large", MAX_PART_BYTES)
            is_sound = archive.testzip() is None
    except _DAMAGE:
        raise _damaged() from None
    except OSError:
        raise _unreadable() from None
    if not is_sound:
        raise _damaged()


def _survey(path: Path) -> tuple[int, list[str]]:
    """How many visible sheets there are besides the first, and the first row of that one."""
    with _workbook(path) as book:
        first, *others = _visible(book)
        with closing(_sheet_records(first)) as records:
            return len(others), next((cells for _, cells in records), [])


@contextmanager
def _workbook(path: Path) -> Iterator[Workbook]:
    """An open workbook; whatever openpyxl finds wrong while it is open is damage."""
    try:
        with path.open("rb") as stream:  # of a path openpyxl would look at the name
            with _silence():
                book = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
            with closing(book):
                yield book
    except _DAMAGE:
        raise _damaged() from None
    except OSError:
        raise _unreadable() from None


def _visible(book: Workbook) -> list[ReadOnlyWorksheet]:
    """Visible sheets of cells, in order.

    Raises:
        InvalidArgumentError: FILE_EMPTY.
    """
    worksheets = cast("list[ReadOnlyWorksheet]", book.worksheets)  # what `read_only` makes them
    sheets = [sheet for sheet in worksheets if sheet.sheet_state == "visible"]
    if not sheets:
        raise InvalidArgumentError("FILE_EMPTY", "the spreadsheet has no visible sheet")
    return sheets


def _sheet_records(sheet: ReadOnlyWorksheet) -> _Records:
    # The dimensions that a sheet declares may be wrong, and rows beyond them would be cut off.
    sheet.reset_dimensions()
    rows = iter(sheet.rows)
    for line in itertools.count(1):
        with _silence():
            cells = next(rows, None)
        if cells is None:
            return
        if line > MAX_SHEET_ROWS:
            raise _too_large(f"the sheet has more than {MAX_SHEET_ROWS} rows", MAX_SHEET_ROWS)
        texts = _trimmed(line, map(_cell_text, cells))
        while texts and not texts[-1]:  # cells that are only formatted, up to the last column of the sheet if a whole row was
            texts.pop()
        if texts:
            yield line, texts


@contextmanager
def _silence() -> Iterator[None]:
    """Without openpyxl's warnings: they are about formatting, and one of them repeats the value of a cell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _cell_text(cell: Cell | MergedCell) -> str:
    """A cell as text: numbers without exponent or needless fraction, dates in ISO 8601, without a zone as the sheet has none."""
    value = cell.value
    match value:
        case None:
            text = ""
        case str():
            text = value.replace("_x000D_", "\r")  # how XLSX writes a carriage return (ECMA-376 part 1, §22.9.2.19)
        case bool():
            text = str(value).upper()
        case float():
            text = str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
        case datetime() if value.time() == time() and "h" not in cell.number_format.lower():
            text = value.date().isoformat()
        case date() | time():
            text = value.isoformat()
        case _:
            text = str(value)
    return text


def _unreadable() -> InvalidArgumentError:
    return InvalidArgumentError("FILE_UNREADABLE", "the file cannot be read")


def _not_text(message: str) -> InvalidArgumentError:
    return InvalidArgumentError("FILE_ENCODING", f"the file {message}")


def _truncated(message: str) -> InvalidArgumentError:
    return InvalidArgumentError("FILE_TRUNCATED", f"the file {message}")


def _damaged() -> InvalidArgumentError:
    return InvalidArgumentError("FILE_TRUNCATED", "the spreadsheet is damaged or incomplete")


def _too_large(message: str, limit: int) -> InvalidArgumentError:
    return InvalidArgumentError("FILE_TOO_LARGE", message, limit=str(limit))
