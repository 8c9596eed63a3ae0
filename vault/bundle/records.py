"""Records of a package as files: CSV for a spreadsheet, JSON Lines for exactness, and the dictionary that explains both.

Rules:
- JSON is canonical (RFC 8785, which for objects of strings and small integers is: sorted keys, no spaces, UTF-8 unescaped): same content,
  same bytes.
- CSV is UTF-8 with BOM (a Hebrew Excel needs it), CRLF, every cell quoted.
- A cell that a spreadsheet could run as a formula gets an apostrophe in front; a cell that begins with an apostrophe gets one too, so
  that the prefix can always be taken off again. Phone numbers begin with `+` and are therefore prefixed; the schema file says so.

Not here: which rows and columns (`content.py`), where the files lie (`package.py`).
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping

from vault.bundle.content import RecordTable, Withheld
from vault.errors import InvalidArgumentError

# First characters that spreadsheets take for a formula, their full-width twins, and the prefix itself.
GUARDED = "=+-@\t\r\n＝＋－＠'"
PREFIX = "'"
BOM = "\ufeff".encode()


def csv_head(table: RecordTable) -> bytes:
    """Byte order mark and header row."""
    return BOM + _csv([[column.name for column in table.columns]])


def csv_rows(table: RecordTable, rows: Iterable[Mapping[str, str]]) -> bytes:
    """One row per record; an absent field is an empty cell.

    Raises:
        InvalidArgumentError: PACKAGE_CONTENT_INVALID.
    """
    names = [column.name for column in table.columns]
    return _csv([row.get(name, "") for name in names] for row in table.checked(rows))


def jsonl_rows(table: RecordTable, rows: Iterable[Mapping[str, str]]) -> bytes:
    """One canonical JSON object per record and line; absent fields are absent.

    Raises:
        InvalidArgumentError: PACKAGE_CONTENT_INVALID.
    """
    return b"".join(canonical_json(dict(row)) for row in table.checked(rows))


def write_schema(table: RecordTable) -> bytes:
    """The field dictionary of one category, and how its CSV differs from the exact form."""
    return canonical_json(
        {
            "category": table.category,
            "columns": [{"name": c.name, "label_en": c.label_en, "label_he": c.label_he} for c in table.columns],
            "csv": {"encoding": "UTF-8 with BOM", "line_end": "CRLF", "prefix": PREFIX, "prefixed_when_first": GUARDED},
            "exact_form": f"{table.category}.jsonl",
        }
    )


def write_withheld(withheld: Iterable[Withheld]) -> bytes:
    """Category, count and reason code; never a value."""
    return BOM + _csv([["category", "count", "reason"], *([item.category, str(item.count), item.reason] for item in withheld)])


def canonical_json(value: object) -> bytes:
    """One line of canonical JSON.

    Raises:
        InvalidArgumentError: PACKAGE_CONTENT_INVALID, text that UTF-8 cannot carry.
    """
    return utf8(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n")


def utf8(text: str) -> bytes:
    """Text as it is stored in the package.

    Raises:
        InvalidArgumentError: PACKAGE_CONTENT_INVALID, an unpaired surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError("PACKAGE_CONTENT_INVALID", "text holds an unpaired surrogate") from None


def _csv(rows: Iterable[list[str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([_guard(cell) for cell in row] for row in rows)
    return utf8(out.getvalue())


def _guard(cell: str) -> str:
    return PREFIX + cell if cell.startswith(tuple(GUARDED)) else cell
