"""Do the files of a package agree? Recounts, re-reads and compares, from the bytes alone.

Rules:
- Runs only on files whose signed checksums hold: what it finds is a fault of whoever signed, not of whoever carried.
- Rows are counted twice, in the exact form and in the spreadsheet form, and both readings must be the same records.
- The counts on both cover pages are read from the text that they carry, as a person would read them.
- What was selected is what is there and what was withheld, in every category: nothing is left out without a line that says so.
- A file that cannot be read is a finding, never an exception.
- Part of the verifier: shares no code with the writer.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping

from vault.bundle.archive import Archive
from vault.bundle.attachment import attached
from vault.bundle.verdict import Code, Finding, Manifest
from vault.errors import DataLossError

_ORDER = "data/01_order/order_ref.json"
_WITHHELD = "data/04_withheld/withheld.csv"
_COVERS = {
    "pii-vault-export/1": ("data/00_cover/cover_en.txt", "data/00_cover/cover_he.txt"),
    "pii-vault-export/2": ("data/00_cover/cover_en.pdf", "data/00_cover/cover_he.pdf"),
}
_BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_BOM = "\ufeff"
_CELL = re.compile(r'"([^"]*(?:""[^"]*)*)"(,|\r\n)')
_COVER_COUNT = re.compile(r"- (?:[^:]*\()?([a-z0-9-]+)\)?: ([0-9]{1,18})")
# Isolates, their end, and the right-to-left mark: they order the display and are no part of the text.
_DISPLAY_ONLY = str.maketrans("", "", "\u2066\u2068\u2069\u200f")


def check_agreement(archive: Archive, manifest: Manifest) -> Iterator[Finding]:
    """Every disagreement between the files of a package, its tags and its signed manifest."""
    yield from _check_bag(archive, manifest)
    yield from _check_order(archive, manifest)
    for category, count in manifest.counts.items():
        yield from _check_records(archive.files, category, count)
    for path in _COVERS[manifest.format]:
        if _cover_counts(path, archive.files[path]) != manifest.counts:
            yield Finding(Code.COUNT_MISMATCH, path)
    for category, selected in manifest.selected.items():
        withheld_of = sum(count for (name, _), count in manifest.withheld.items() if name == category)
        if selected != manifest.counts.get(category, 0) + withheld_of:
            yield Finding(Code.COUNT_MISMATCH, category)
    withheld = [["category", "count", "reason"], *([category, str(n), reason] for (category, reason), n in manifest.withheld.items())]
    if sorted(_csv_rows(archive.files[_WITHHELD]) or []) != sorted(withheld):
        yield Finding(Code.TOTALS, _WITHHELD)


def read_order(archive: Archive) -> Mapping[str, object]:
    """The order reference as printed in the package; empty if it cannot be read."""
    value = _json(archive.files[_ORDER])
    return value if isinstance(value, dict) else {}


def _check_bag(archive: Archive, manifest: Manifest) -> Iterator[Finding]:
    """The bag as any BagIt reader would see it (RFC 8493 §2.1.3, §2.2.1, §2.2.2)."""
    files = archive.files
    payload = {path: data for path, data in files.items() if path.startswith("data/")}
    tags = {path: data for path, data in files.items() if "/" not in path and not path.startswith("tagmanifest-")}
    listings = (
        ("manifest-sha256.txt", "sha256", payload),
        ("manifest-sha512.txt", "sha512", payload),
        ("tagmanifest-sha512.txt", "sha512", tags),
    )
    for path, algorithm, listed in listings:
        lines = sorted(f"{hashlib.new(algorithm, data).hexdigest()}  {name}".encode() for name, data in listed.items())
        if sorted(files[path].splitlines()) != lines:
            yield Finding(Code.CHECKSUM_MISMATCH, path)
    info = dict(line.partition(": ")[::2] for line in files["bag-info.txt"].decode(errors="replace").split("\n"))
    stated = [info.get(label) for label in ("External-Identifier", "Payload-Oxum", "Order-Reference", "Scope-Digest")]
    octets = sum(map(len, payload.values()))
    if stated != [archive.root, f"{octets}.{len(payload)}", manifest.order_id, manifest.scope_digest]:
        yield Finding(Code.TOTALS, "bag-info.txt")
    if files["bagit.txt"] != _BAGIT:
        yield Finding(Code.TOTALS, "bagit.txt")


def _check_order(archive: Archive, manifest: Manifest) -> Iterator[Finding]:
    order = read_order(archive)
    scope = order.get("scope")
    digest = scope.get("digest") if isinstance(scope, dict) else None
    if (order.get("order_id"), order.get("document_sha256"), digest) != (
        manifest.order_id,
        manifest.document_sha256,
        manifest.scope_digest,
    ):
        yield Finding(Code.TOTALS, _ORDER)


def _check_records(files: Mapping[str, bytes], category: str, count: int) -> Iterator[Finding]:
    exact_path, csv_path, schema_path = (
        f"data/02_records/{category}.jsonl",
        f"data/02_records/{category}.csv",
        f"data/03_schema/{category}.json",
    )
    exact, table, columns = _exact_rows(files[exact_path]), _csv_rows(files[csv_path]), _schema_columns(files[schema_path])
    if exact is None or len(exact) != count:
        yield Finding(Code.COUNT_MISMATCH, exact_path)
    if table is None or len(table) != count + 1:
        yield Finding(Code.COUNT_MISMATCH, csv_path)
    if columns is None or (exact is not None and any(row.keys() - set(columns) for row in exact)):
        yield Finding(Code.TOTALS, schema_path)
    elif exact is not None and table is not None and table != [columns, *([row.get(name, "") for name in columns] for row in exact)]:
        yield Finding(Code.TOTALS, csv_path)


def _exact_rows(data: bytes) -> list[dict[str, str]] | None:
    """The records of a JSON Lines file, or None if any line is not an object of strings."""
    *lines, rest = data.split(b"\n")
    values = [_json(line) for line in lines]
    rows = [value for value in values if isinstance(value, dict) and all(isinstance(text, str) for text in value.values())]
    return rows if not rest and len(rows) == len(values) else None


def _csv_rows(data: bytes) -> list[list[str]] | None:
    """The cells of a fully quoted CSV file without their apostrophe prefix, or None if it is anything else."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    if not text.startswith(_BOM):
        return None
    rows: list[list[str]] = [[]]
    at = len(_BOM)
    while cell := _CELL.match(text, at):
        rows[-1].append(cell[1].replace('""', '"').removeprefix("'"))
        at = cell.end()
        if cell[2] != ",":
            rows.append([])
    return rows[:-1] if at == len(text) and not rows[-1] else None


def _schema_columns(data: bytes) -> list[str] | None:
    value = _json(data)
    columns = value.get("columns") if isinstance(value, dict) else None
    if not isinstance(columns, list):
        return None
    stated = [column.get("name") for column in columns if isinstance(column, dict)]
    names = [name for name in stated if isinstance(name, str)]
    return names if len(names) == len(columns) else None


def _cover_counts(path: str, data: bytes) -> dict[str, int]:
    """Category and number of each line `- <title> (<category>): <records>`, as displayed; without a title in the first format."""
    try:
        text = attached(data) if path.endswith(".pdf") else data
    except DataLossError:
        return {}
    lines = text.decode(errors="replace").translate(_DISPLAY_ONLY).split("\n")
    return {match[1]: int(match[2]) for line in lines if (match := _COVER_COUNT.fullmatch(line))}


def _json(data: bytes) -> object:
    """The value, or None for what is no JSON; a repeated key makes it no JSON either, for two readers would see two values."""
    try:
        return json.loads(data, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        return None


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError
    return value
