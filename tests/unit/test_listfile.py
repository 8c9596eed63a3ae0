"""List files are read as they come: every encoding, delimiter and line break; what is damaged or unclear is refused, and no error repeats a cell."""

import contextlib
import csv
import hashlib
import io
import itertools
import random
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault.catalogue import loader
from vault.catalogue.fields import FieldType
from vault.cli import listfile
from vault.cli.headers import FIELDS, TAKES_EXTRA, Column, Use, plain
from vault.cli.listfile import ListFile, Row, read_list
from vault.cli.rejects import Reject
from vault.errors import InvalidArgumentError

PROFILE = "list-profile"
# Every way such a file is written: codec, and the bytes before the text.
ENCODINGS = {
    "utf-8": ("utf-8", b""),
    "utf-8-sig": ("utf-8", b"\xef\xbb\xbf"),
    "utf-16-le": ("utf-16-le", b"\xff\xfe"),
    "utf-16-be": ("utf-16-be", b"\xfe\xff"),
    "cp1255": ("cp1255", b""),
}
DELIMITERS = [",", ";", "\t", "|"]
HEADER = ["טלפון", 'דוא"ל', "שם פרטי", "שם משפחה", "כתובת", "מספר לקוח", "הערה"]
NAMES = ["phone", "email", "first_name", "last_name", "address", "מספר לקוח", "הערה"]
SECRET = "שמרית-7781-Zorblatt"  # stands in cells that no error may repeat


def written(table: Sequence[Sequence[str]], *, encoding: str = "utf-8", delimiter: str = ",", end: str = "\r\n", quoting: int = 0) -> bytes:
    codec, mark = ENCODINGS[encoding]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(table)  # type: ignore[arg-type]
    return mark + stream.getvalue().encode(codec)


def read(folder: Path, data: bytes, category: str = PROFILE, *mapping: str) -> tuple[ListFile, list[Row | Reject]]:
    path = folder / "list"
    path.write_bytes(data)
    found = read_list(path, category=category, mapping=mapping)
    return found, list(found.rows())


def refusal(folder: Path, data: bytes, category: str = PROFILE, *mapping: str) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as refused:
        read(folder, data, category, *mapping)
    assert SECRET not in f"{refused.value} {refused.value!r} {refused.value.metadata}"
    return refused.value


def cells_of(row: Row | Reject) -> dict[str, str]:
    assert isinstance(row, Row)
    return {**row.fields, **row.extra}


def fields_of(found: ListFile) -> list[str]:
    return [column.name if column.use is Use.FIELD else column.use.value for column in found.columns]


def workbook(rows: Sequence[Sequence[object]], folder: Path) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    book.save(folder / "book.xlsx")
    return (folder / "book.xlsx").read_bytes()


def repacked(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


# Text files: encodings, delimiters, lines.


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"], ids=["crlf", "lf", "cr"])
@pytest.mark.parametrize("delimiter", DELIMITERS, ids=["comma", "semicolon", "tab", "bar"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_and_delimiter_reads_the_same(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    row = ["050-2345678", "noa@example.com", "נועה", "בן־דוד", "הרצל 5, חיפה; ישראל", "1|2\t3", 'אמרה "שלום"\u200f']
    data = written([HEADER, row], encoding=encoding, delimiter=delimiter, end=end)

    found, rows = read(tmp_path, data)

    assert [cells_of(one) for one in rows] == [dict(zip(NAMES, row, strict=True))]
    assert found.delimiter == delimiter
    assert found.encoding == {"utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    assert found.total_rows == 1
    assert found.digest == hashlib.sha256(data).digest()


def test_line_is_the_physical_line_at_which_the_row_starts(tmp_path: Path) -> None:
    data = b'\n\nphone,note\n1,a\n2,"two\nlines\r\nand a third"\n,\n\n3,"x\ry"\r4,b\n5,'

    found, rows = read(tmp_path, data)

    assert [(row.line, cells_of(row)["phone"]) for row in rows] == [(4, "1"), (5, "2"), (10, "3"), (12, "4"), (13, "5")]
    assert cells_of(rows[1])["note"] == "two\nlines\r\nand a third"
    assert found.total_rows == 5


def test_rows_can_be_read_again(tmp_path: Path) -> None:
    found, rows = read(tmp_path, b"phone\n1\n2\n")

    assert list(found.rows()) == rows


def test_header_alone_is_an_empty_list(tmp_path: Path) -> None:
    found, rows = read(tmp_path, "טלפון;שם\n".encode())

    assert (found.total_rows, rows) == (0, [])


def test_cells_are_trimmed_and_empty_ones_left_out(tmp_path: Path) -> None:
    data = 'phone, email ,first name,note\n 050 ,\u00a0a@b.example\u2003,\u200f \u200e, "q, r" \n"  ",\t,,\ufeff\n'.encode()

    _, rows = read(tmp_path, data)

    assert [cells_of(row) for row in rows] == [{"phone": "050", "email": "a@b.example", "note": "q, r"}]


def test_short_row_is_read_and_long_row_is_rejected_by_line(tmp_path: Path) -> None:
    data = f"phone,email,\n1\n2,b@example.com,{SECRET}\n3,c@example.com,,,\n4,d@example.com,,{SECRET}\n5,e@example.com\n".encode()

    found, rows = read(tmp_path, data, "end-customer-contact")

    assert [row if isinstance(row, Reject) else row.fields["phone"] for row in rows] == [
        *("1", Reject(3, "ROW_TOO_LONG"), "3", Reject(5, "ROW_TOO_LONG"), "5")
    ]
    assert found.total_rows == 5


def test_separator_line_names_the_delimiter_and_counts_as_a_line(tmp_path: Path) -> None:
    found, rows = read(tmp_path, b"sep=|\r\nphone|a,b,c,d,e\r\n1|2\r\n")

    assert (found.delimiter, rows[0].line, cells_of(rows[0])) == ("|", 3, {"phone": "1", "a,b,c,d,e": "2"})


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("phone;first,last and all,the,rest", ";"),
        ('"a;b;c;d;e",phone', ","),
        ('טלפון;דוא"ל,x;שם פרטי', ";"),
        ('phone|"first\nname, ; "|note', "|"),
        ("phone", ","),
    ],
)
def test_delimiter_is_the_one_that_makes_known_headers(tmp_path: Path, header: str, delimiter: str) -> None:
    found, _ = read(tmp_path, header.encode())

    assert found.delimiter == delimiter


def test_whatever_the_name_content_decides_the_format(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(workbook([["phone"], ["0502345678"]], tmp_path))

    found = read_list(path, category=PROFILE)

    assert [cells_of(row) for row in found.rows()] == [{"phone": "0502345678"}]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w", encoding="cp1255") as stream:
            stream.write("טלפון;הערה\n")
            stream.writelines(f"05{n:08d};הערה של שורה {n}\n" for n in range(rows))
        tracemalloc.start()
        assert sum(1 for _ in read_list(path, category=PROFILE).rows()) == rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(10)  # imports and caches

    assert peak(100_000) < 1.5 * peak(20_000)


# What csv.writer writes is read back the same.

_PLAIN = "אבגדהוזחטיךכלםמןנסעףפץצקרשת" + "abzAZ019" + " ,;|\t\r\n\"'=+-@#/.:"
_CELL = {
    "any": st.text(st.one_of(st.sampled_from(_PLAIN), st.characters(codec="utf-16", exclude_characters="\0")), max_size=12),
    # Bytes 80 to BF are left to the tests with real sentences: random ones after a random letter can be UTF-8 by chance.
    "cp1255": st.text(st.sampled_from(_PLAIN + "׳״־\u200e\u200fְָּײ"), max_size=12),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(
    data=st.data(),
    encoding=st.sampled_from(sorted(ENCODINGS)),
    delimiter=st.sampled_from(DELIMITERS),
    end=st.sampled_from(["\r\n", "\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_whatever_is_written_is_read_back(
    tmp_path: Path, data: st.DataObject, encoding: str, delimiter: str, end: str, quoting: int
) -> None:
    cell = _CELL["cp1255" if encoding == "cp1255" else "any"]
    # A writer that ends lines with LF alone leaves a lone CR unquoted, so that no reader could tell.
    cell = cell if end == "\r\n" else cell.map(lambda text: text.replace("\r", "\n"))
    table = data.draw(st.lists(st.lists(cell, min_size=len(HEADER), max_size=len(HEADER)), max_size=6))

    found, rows = read(tmp_path, written([HEADER, *table], encoding=encoding, delimiter=delimiter, end=end, quoting=quoting))

    expected, line = [], 2
    for row in table:
        kept = {name: text.strip() for name, text in zip(NAMES, row, strict=True) if text.strip().strip(listfile._INVISIBLE)}
        if kept:
            expected.append((line, kept))
        line += 1 + sum(cell.replace("\r\n", "\n").replace("\r", "\n").count("\n") for cell in row)
    assert [(row.line, cells_of(row)) for row in rows] == expected
    assert found.total_rows == len(expected)


def messy_file(seed: int) -> tuple[bytes, list[tuple[int, dict[str, str]]], set[int]]:
    """A file as people send them, the rows it holds with their lines, and the lines to be rejected."""
    rng = random.Random(seed)  # noqa: S311 - the same file for the same seed
    encoding, delimiter, end = rng.choice(list(ENCODINGS)), rng.choice(DELIMITERS), rng.choice(["\r\n", "\n"])
    header = {"phone": ["נייד", "Mobile", " טלפון ", "מס' טלפון"], "email": ["E-Mail", "דוא״ל", "כתובת מייל", "mail"]}
    header |= {"first_name": ["שם_פרטי", "First Name"], "last_name": ["משפחה", "FAMILY NAME"], "address": ["כתובת", "address"]}
    names = rng.sample(sorted(header), rng.randrange(2, 6))
    extra = rng.sample(["עיר מגורים", "Customer no.", "הערות", "VIP?"], rng.randrange(4))
    columns = [(name, rng.choice(header[name])) for name in names] + [(name, name) for name in extra]
    rng.shuffle(columns)
    if encoding == "cp1255":
        columns.append(("תאריך הצטרפות", "תאריך הצטרפות"))  # enough Hebrew that the encoding can be told
    expected, rejected, texts = [], set(), []
    for _ in range(rng.randrange(40)):
        texts.append([rng.choice(_MESS) for _ in columns[: rng.randrange(1, len(columns) + 1)]])
        if rng.random() < 0.1:
            texts[-1] = ["x"] * (len(columns) + rng.randrange(1, 3))
    line = 1
    out = []
    for cells in [[shown for _, shown in columns], *texts]:
        out.append(delimiter.join(_quoted(cell, delimiter, rng) for cell in cells) + end)
        kept = {name: cell.strip() for (name, _), cell in zip(columns, cells, strict=False) if cell.strip(listfile._INVISIBLE)}
        if len(cells) > len(columns):
            rejected.add(line)
        elif kept and line > 1:
            expected.append((line, kept))
        line += 1 + sum(cell.count("\n") for cell in cells)
        if rng.random() < 0.1:
            out.append(rng.choice(["", delimiter * 3]) + end)
            line += 1
    codec, mark = ENCODINGS[encoding]
    return mark + "".join(out).encode(codec), expected, rejected


_MESS = [
    "",
    " ",
    "\u200f",
    "050-2345678",
    "+972 50 234 5678",
    "נועה",
    'רשל"צ',
    "ג'ני",
    "a@example.com",
    "=SUM(A1)",
    "שתי\nשורות",
    "א,ב;ג|ד\tה",
    "“”…₪",
]


def _quoted(cell: str, delimiter: str, rng: random.Random) -> str:
    if any(mark in cell for mark in (delimiter, "\n")) or cell.startswith('"') or rng.random() < 0.2:
        return '"' + cell.replace('"', '""') + '"'
    return cell  # quotation marks inside a word stand as they are


@pytest.mark.parametrize("seed", range(40))
def test_messy_files_are_read_to_the_last_row(tmp_path: Path, seed: int) -> None:
    data, expected, rejected = messy_file(seed)

    found, rows = read(tmp_path, data)

    assert [(row.line, cells_of(row)) for row in rows if isinstance(row, Row)] == expected
    assert {row.line for row in rows if isinstance(row, Reject)} == rejected
    assert found.total_rows == len(rows)


# Damaged and hostile files.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "FILE_EMPTY"),
        (b"\xef\xbb\xbf", "FILE_EMPTY"),
        (b"\xff\xfe", "FILE_EMPTY"),
        (b" \n\n,,,\n", "FILE_EMPTY"),
        (f'phone,note\n1,"{SECRET}\n2,b\n'.encode(), "FILE_TRUNCATED"),
        (f'phone,note\n1,"{SECRET}""'.encode(), "FILE_TRUNCATED"),
        (f'phone,email,"{SECRET}'.encode(), "HEADER_NOT_RECOGNISED"),
        (f"phone,note\n1,{SECRET} נועה".encode()[:-1], "FILE_TRUNCATED"),
        (b"\xef\xbb\xbf" + "phone,note\n1,נועה".encode()[:-1], "FILE_TRUNCATED"),
        (b"\xff\xfe" + f"phone\n{SECRET}\n".encode("utf-16-le")[:-1], "FILE_TRUNCATED"),
        (b"\xff\xfe" + "phone\n😀".encode("utf-16-le")[:-2], "FILE_TRUNCATED"),
        (f"טלפון,הערה\n1,{SECRET} \xff\n".encode().replace("ÿ".encode(), b"\xff"), "FILE_ENCODING"),
        (b"\xef\xbb\xbf" + "טלפון\n1\n".encode("cp1255"), "FILE_ENCODING"),
        (b"\xff\xfe" + b"\x00\xd8a\x00\n\x00", "FILE_ENCODING"),
        (b"\xff\xfe\x00\x00p\x00\x00\x00", "FILE_ENCODING"),
        ("phone\n1\n".encode("utf-16-le"), "FILE_ENCODING"),
        (f"phone,note\n1,{SECRET}\0\n".encode(), "FILE_ENCODING"),
        (b"\xfe\xff" + f"phone,note\n1,{SECRET}\0\n".encode("utf-16-be"), "FILE_ENCODING"),
        ("טלפון;הערה\n1;שלום".encode("cp862"), "FILE_ENCODING"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, "FILE_TYPE"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "FILE_ENCODING"),
        (f"phone,note\n1,{SECRET * 2000}\n".encode(), "FILE_TOO_LARGE"),
        (f"phone,note\n1,{SECRET * 20000}\n".encode(), "FILE_TOO_LARGE"),
        (f'phone,note\n1,"{SECRET}\n'.encode() + b"2,b\n" * 100_000, "FILE_TOO_LARGE"),
        (("phone" + ",x" * 1000).encode(), "FILE_TOO_LARGE"),
        (("phone," + "x" * 500_000).encode(), "FILE_TOO_LARGE"),
    ],
    ids=itertools.count(),
)
def test_damaged_text_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    assert refusal(tmp_path, data).reason == reason


def test_damage_at_the_end_is_found_before_the_first_row_is_given_out(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("phone\n" + "1\n" * 100_000 + '"', encoding="utf-8")

    with pytest.raises(InvalidArgumentError) as refused:
        read_list(path, category=PROFILE)

    assert refused.value.reason == "FILE_TRUNCATED"


@pytest.mark.parametrize("text", ["שלום ₪5 – “כן”…", "בְּרֵאשִׁית", "מס׳ 5 ,צה״ל"])
def test_ordinary_hebrew_of_windows_1255_is_not_taken_for_damage(tmp_path: Path, text: str) -> None:
    _, rows = read(tmp_path, written([["טלפון", "הערה"], ["1", text]], encoding="cp1255"))

    assert [cells_of(row) for row in rows] == [{"phone": "1", "הערה": text}]


def test_encoding_is_told_from_the_last_byte_of_a_long_file(tmp_path: Path) -> None:
    data = b"phone,note\n" + b"1,abc\n" * 200_000

    utf8, _ = read(tmp_path, data + "2,שלום\n".encode())
    hebrew, rows = read(tmp_path, data + "2,שלום\n".encode("cp1255"))

    assert (utf8.encoding, hebrew.encoding) == ("utf-8", "cp1255")
    assert cells_of(rows[-1])["note"] == "שלום"


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidArgumentError) as refused:
            read_list(path, category=PROFILE)
        assert refused.value.reason == "FILE_UNREADABLE"


@pytest.mark.parametrize("data", [b"phone\n1\n2\n3\n", "xlsx"])
def test_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, data: bytes | str) -> None:
    path = tmp_path / "list"
    path.write_bytes(data if isinstance(data, bytes) else workbook([["phone"], ["1"], ["2"]], tmp_path))
    found = read_list(path, category=PROFILE)
    rows = found.rows()
    next(rows)
    with path.open("ab") as stream:
        stream.write(b"4\n")

    for again in (rows, found.rows()):
        with pytest.raises(InvalidArgumentError) as refused:
            list(again)
        assert refused.value.reason == "FILE_CHANGED"


def test_nothing_shown_of_a_file_holds_its_content(tmp_path: Path) -> None:
    found, rows = read(tmp_path, f"phone,{SECRET}\n{SECRET},{SECRET}\n".encode())

    shown = f"{found!r} {found.columns!r} {rows!r}"

    assert SECRET not in shown
    assert found.digest.hex() not in shown


# Headers and mapping.


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Phone", "phone"),
        ("PHONE_NUMBER", "phone"),
        ("\u200fטלפון נייד\u200e", "phone"),
        ("מס׳ טלפון", "phone"),
        ("מס' טלפון*", "phone"),
        ("סלולרי:", "phone"),
        ("e-mail", "email"),
        ("E_Mail Address", "email"),
        ('דוא"ל', "email"),
        ("דוא״ל", "email"),
        ("דוא”ל", "email"),
        ("דוא''ל", "email"),
        ("אי־מייל", "email"),
        ("שם פרטי", "first_name"),
        ("first\nname", "first_name"),
        ("Ｆｉｒｓｔ　ｎａｍｅ", "first_name"),
        ("שם_משפחה", "last_name"),
        ("כתובת", "address"),
    ],
)
def test_header_is_known_however_it_is_spelt(tmp_path: Path, header: str, name: str) -> None:
    found, _ = read(tmp_path, written([[header, "other"]]))

    assert fields_of(found) == [name, "extra"]


@pytest.mark.parametrize("category", FIELDS)
def test_every_field_is_known_by_its_own_name(tmp_path: Path, category: str) -> None:
    found, rows = read(tmp_path, written([list(FIELDS[category]), ["x"] * len(FIELDS[category])]), category)

    assert fields_of(found) == list(FIELDS[category])
    assert [cells_of(row) for row in rows] == [dict.fromkeys(FIELDS[category], "x")]


def test_table_of_headers_agrees_with_the_catalogue() -> None:
    catalogue = loader.load()
    contact = set(catalogue.category("end-customer-contact").fields) - {"channel", "reached_by"}
    of_list = {"end-customer-contact": set(), "list-membership": set(), PROFILE: set(catalogue.category(PROFILE).fields)}

    for category, fields in FIELDS.items():
        specs = catalogue.category(category).fields
        extra = {name for name, spec in specs.items() if spec.type is FieldType.MAP}
        assert set(fields) == (of_list[category] | contact if category in of_list else set(specs)) - extra
        assert (category in TAKES_EXTRA) == bool(extra)


def test_no_header_means_two_fields() -> None:
    for fields in FIELDS.values():
        names = [plain(name) for own, others in fields.items() for name in (own, *others)]
        doubled = {name for name in names if names.count(name) > 1}
        meanings = {name: {own for own, others in fields.items() if name in map(plain, (own, *others))} for name in doubled}
        assert {name: owners for name, owners in meanings.items() if len(owners) > 1} == {}


@pytest.mark.parametrize(
    ("header", "category", "mapping", "expected"),
    [
        (["tel", "mail"], PROFILE, [], ["phone", "email"]),
        (["tel", "VIP"], PROFILE, [], ["phone", "extra"]),
        (["tel", "VIP"], PROFILE, ["vip=-"], ["phone", "dropped"]),
        (["tel", "VIP"], PROFILE, ["VIP="], ["phone", "dropped"]),
        (["tel", "a=b"], PROFILE, ["a=b=address"], ["phone", "address"]),
        (["Телефон", "Имя"], PROFILE, ["ТЕЛЕФОН=phone"], ["phone", "extra"]),
        (["טלפון", "נייד"], PROFILE, ["נייד=phone"], ["extra", "phone"]),
        (["טלפון", "נייד"], PROFILE, ["#1=extra"], ["extra", "phone"]),
        (["טלפון", "נייד"], "end-customer-contact", ["#1=-"], ["dropped", "phone"]),
        (["", "tel"], PROFILE, ["#1=-"], ["dropped", "phone"]),
        (["tel", "#"], PROFILE, ["#=address"], ["phone", "address"]),
        (["tel", "", ""], PROFILE, [], ["phone"]),
        (["0502345678", SECRET], PROFILE, ["#1=phone", "#2=first_name"], ["phone", "first_name"]),
        ([SECRET, "x", "y"], "end-customer-contact", ["#1=email", "#2=-", "#3="], ["email", "dropped", "dropped"]),
        (["0502345678"], PROFILE, ["#1=phone", "#2=email"], ["phone", "email"]),
        (["0502345678", "phone"], PROFILE, ["#1=phone", "#2=address"], ["phone", "address"]),
    ],
)
def test_columns_are_what_the_header_and_the_user_say(
    tmp_path: Path, header: list[str], category: str, mapping: list[str], expected: list[str]
) -> None:
    found, _ = read(tmp_path, written([header]), category, *mapping)

    assert fields_of(found) == expected
    assert [column.position for column in found.columns] == list(range(1, len(expected) + 1))


@pytest.mark.parametrize(
    ("header", "category", "mapping", "reason"),
    [
        ([SECRET, "x"], PROFILE, [], "HEADER_NOT_RECOGNISED"),
        (["0502345678", "phone"], PROFILE, [], "HEADER_NOT_RECOGNISED"),
        (["phone", f"{SECRET}@example.com"], PROFILE, [], "HEADER_NOT_RECOGNISED"),
        (["050-234-5678", SECRET], PROFILE, [f"{SECRET}=address"], "HEADER_NOT_RECOGNISED"),
        ([SECRET, "x"], PROFILE, ["#1=-", "#2=-"], "HEADER_NOT_RECOGNISED"),
        (["phone", SECRET], "end-customer-contact", [], "COLUMN_UNKNOWN"),
        (["phone", "", "email"], PROFILE, [], "COLUMN_UNKNOWN"),
        (["phone", SECRET * 4], PROFILE, [], "COLUMN_UNKNOWN"),
        (["phone"], PROFILE, ["#2=email"], "COLUMN_UNKNOWN"),
        (["טלפון", "נייד"], "end-customer-contact", ["#2=phone"], "COLUMN_UNKNOWN"),
        (["0502345678", SECRET], PROFILE, ["#1=phone"], "COLUMN_UNKNOWN"),
        (["0502345678", SECRET], PROFILE, ["#1=phone", "#2=extra"], "COLUMN_UNKNOWN"),
        (["טלפון", "נייד"], PROFILE, [], "COLUMN_AMBIGUOUS"),
        (["phone", SECRET, SECRET], PROFILE, [], "COLUMN_AMBIGUOUS"),
        (["phone"], PROFILE, ["phone"], "MAP_INVALID"),
        (["phone"], PROFILE, ["=phone"], "MAP_INVALID"),
        (["phone"], PROFILE, [f"phone={SECRET}"], "MAP_INVALID"),
        (["phone"], "end-customer-contact", ["phone=extra"], "MAP_INVALID"),
        (["phone"], "end-customer-contact", ["phone=address"], "MAP_INVALID"),
        (["phone"], PROFILE, [f"{SECRET}=email"], "MAP_INVALID"),
        (["a", "a"], PROFILE, ["a=email"], "MAP_INVALID"),
        (["a", "b"], PROFILE, ["a=email", "b=email"], "MAP_INVALID"),
        (["a", "b"], PROFILE, ["a=email", "#1=phone"], "MAP_INVALID"),
        (["phone"], "call-recording", [], "UNKNOWN_CATEGORY"),
    ],
)
def test_unclear_columns_are_refused(tmp_path: Path, header: list[str], category: str, mapping: list[str], reason: str) -> None:
    error = refusal(tmp_path, written([header, [SECRET]]), category, *mapping)

    assert error.reason == reason


def test_without_header_the_first_row_is_data(tmp_path: Path) -> None:
    found, rows = read(tmp_path, "0502345678;נועה;x\n0522345678;יעל;y\n".encode(), PROFILE, "#1=phone", "#2=first_name", "#3=-")

    assert [(row.line, cells_of(row)) for row in rows] == [
        (1, {"phone": "0502345678", "first_name": "נועה"}),
        (2, {"phone": "0522345678", "first_name": "יעל"}),
    ]
    assert found.total_rows == 2


def test_what_becomes_of_a_column_does_not_change_which_rows_there_are(tmp_path: Path) -> None:
    data = b"phone,note\n1,a\n,b\n3,c,d\n"

    _, whole = read(tmp_path, data)
    _, dropped = read(tmp_path, data, PROFILE, "note=-")

    assert [row.line for row in dropped] == [row.line for row in whole]
    assert dropped[1] == Row(3, {}, {})


def test_extra_header_is_shown_on_one_line_without_direction_marks(tmp_path: Path) -> None:
    found, _ = read(tmp_path, 'phone,"\u200fמספר\n לקוח\u200e "\n'.encode())

    assert found.columns[1] == Column(2, Use.EXTRA, "מספר לקוח")


# Spreadsheets.


def test_spreadsheet_is_read_by_row_with_numbers_and_dates_as_text(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        [],
        ["Phone", "Email", "A", "B", "C", "D", "E"],
        [502345678, "a@example.com", 4580123412341234.0, 0.1, 1e-7, True, 12.0],
        [],
        ["0522345678", None, date(2026, 3, 1), datetime(2026, 3, 1, 9, 30), time(9, 30), timedelta(hours=30), "שתי\nשורות"],  # noqa: DTZ001
        [" ", None, None, None, None, None, "=1+1"],
    ]

    found, read_rows = read(tmp_path, workbook(rows, tmp_path))

    assert [(row.line, cells_of(row)) for row in read_rows] == [
        (
            3,
            {"phone": "502345678", "email": "a@example.com"}
            | {"A": "4580123412341234", "B": "0.1", "C": "0.0000001", "D": "TRUE", "E": "12"},
        ),
        (
            5,
            {
                "phone": "0522345678",
                "A": "2026-03-01",
                "B": "2026-03-01T09:30:00",
                "C": "09:30:00",
                "D": "1 day, 6:00:00",
                "E": "שתי\nשורות",
            },
        ),
    ]
    assert (found.encoding, found.delimiter, found.total_rows, found.other_sheets) == ("", "", None, 0)


def test_spreadsheet_row_with_more_cells_than_the_header_is_rejected(tmp_path: Path) -> None:
    _, rows = read(tmp_path, workbook([["phone"], ["1"], ["2", "", SECRET], ["3", " "]], tmp_path))

    assert rows == [Row(2, {"phone": "1"}, {}), Reject(3, "ROW_TOO_LONG"), Row(4, {"phone": "3"}, {})]


def test_first_visible_sheet_is_read_and_the_others_counted(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for title, state in (("hidden", "hidden"), ("list", "visible"), ("more", "visible")):
        sheet = book.create_sheet(title)
        sheet.sheet_state = state
        sheet.append(["phone"])
        sheet.append([title])
    del book["Sheet"]
    book.save(tmp_path / "book.xlsx")

    found, rows = read(tmp_path, (tmp_path / "book.xlsx").read_bytes())

    assert [cells_of(row) for row in rows] == [{"phone": "list"}]
    assert found.other_sheets == 1


def test_declared_dimensions_do_not_cut_a_sheet_off(tmp_path: Path) -> None:
    data = workbook([["phone", "note"], ["1", "a"], ["2", "b"]], tmp_path)

    _, rows = read(tmp_path, repacked(data, lambda _, part: part.replace(b'ref="A1:B3"', b'ref="A1"')))

    assert [cells_of(row) for row in rows] == [{"phone": "1", "note": "a"}, {"phone": "2", "note": "b"}]


def test_texts_as_other_programs_write_them_are_read(tmp_path: Path) -> None:
    """Shared texts, a line break of Windows, a formula with its saved value, and one that was never calculated."""
    cells = b'<c r="A2" t="s"><v>1</v></c><c r="B2" t="s"><v>0</v></c><c r="C2"><f>1+1</f><v>2</v></c><c r="D2"><f>1+1</f></c>'
    rows_end = b'<row r="2">%b</row></sheetData>' % cells
    texts = "<si><t>שורה_x000D_\nשנייה</t></si><si><r><t>050</t></r><r><t>2345678</t></r></si>"
    shared = f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{texts}</sst>'.encode()
    kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    listed = b'<Override PartName="/xl/sharedStrings.xml" ContentType="%b"/></Types>' % kind
    data = repacked(
        workbook([["phone", "a", "b", "c"]], tmp_path),
        lambda _, part: part.replace(b"</sheetData>", rows_end).replace(b"</Types>", listed),
    )
    out = io.BytesIO(data)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", shared)

    _, rows = read(tmp_path, out.getvalue())

    assert [cells_of(row) for row in rows] == [{"phone": "0502345678", "a": "שורה\r\nשנייה", "b": "2"}]


def test_value_that_is_no_date_is_not_warned_about(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["phone", "note"])
    sheet.append([972502345678, 1])
    sheet["A2"].number_format = "yyyy-mm-dd"
    book.save(tmp_path / "book.xlsx")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, rows = read(tmp_path, (tmp_path / "book.xlsx").read_bytes())

    assert caught == []
    assert cells_of(rows[0])["phone"] == "#VALUE!"  # the vault reports it as an identifier that had to be left out


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_spreadsheet_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    data = workbook([["phone"], *([str(n)] for n in range(100))], tmp_path)

    assert refusal(tmp_path, data[: int(len(data) * kept)]).reason == "FILE_TRUNCATED"


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("xl/worksheets/sheet1.xml", b"</sheetData>", b"<", "FILE_TRUNCATED"),
        ("xl/worksheets/sheet1.xml", b'<row r="2"', b'<row r="two"', "FILE_TRUNCATED"),
        ("xl/worksheets/sheet1.xml", b'<c r="A2" t="inlineStr">', b'<c r="A2" t="s"><v>77</v>', "FILE_TRUNCATED"),
        ("xl/worksheets/sheet1.xml", b'r="A2"', b'r="AAAA2"', "FILE_TRUNCATED"),
        ("xl/worksheets/sheet1.xml", b'<row r="2"', b'<row r="99999999999"', "FILE_TOO_LARGE"),
        ("xl/workbook.xml", b"<sheets>", b"<sheet", "FILE_TRUNCATED"),
        ("xl/workbook.xml", b'state="visible"', b'state="hidden"', "FILE_EMPTY"),
    ],
)
def test_damaged_and_hostile_spreadsheet_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: bytes, new: bytes, reason: str
) -> None:
    monkeypatch.setattr(listfile, "MAX_SHEET_ROWS", 1000)
    data = workbook([["phone"], [SECRET]], tmp_path)

    changed = repacked(data, lambda part, content: content.replace(old, new) if part == name else content)

    assert refusal(tmp_path, changed).reason == reason


def test_archive_that_is_no_spreadsheet_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("list.csv", f"phone\n{SECRET}\n")

    assert refusal(tmp_path, out.getvalue()).reason == "FILE_TYPE"
    assert refusal(tmp_path, b"PK\x05\x06" + bytes(18)).reason == "FILE_TYPE"


def test_spreadsheet_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, workbook([], tmp_path)).reason == "FILE_EMPTY"


@pytest.mark.parametrize(("limit", "value"), [("MAX_ARCHIVE_BYTES", 10_000), ("MAX_PART_BYTES", 5_000), ("_MAX_ARCHIVE_PARTS", 5)])
def test_spreadsheet_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    data = workbook([["phone"], *([f"{n} {SECRET}"] for n in range(500))], tmp_path)
    monkeypatch.setattr(listfile, limit, value)

    assert refusal(tmp_path, data).reason == "FILE_TOO_LARGE"


def test_archive_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    data = repacked(workbook([["phone"], *([f"{n}"] for n in range(500))], tmp_path), lambda _, part: part)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = struct.pack("<L", archive.getinfo("xl/worksheets/sheet1.xml").file_size)

    assert refusal(tmp_path, data.replace(size, struct.pack("<L", 100))).reason == "FILE_TRUNCATED"


def test_spreadsheet_cell_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listfile, "MAX_CELL_CHARACTERS", 10)

    assert refusal(tmp_path, workbook([["phone"], [SECRET]], tmp_path)).reason == "FILE_TOO_LARGE"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    place=st.floats(0, 0.9999),
    byte=st.integers(0, 255),
    name=st.sampled_from(["", "xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"]),
)
def test_any_changed_byte_is_read_or_refused_and_never_a_crash(tmp_path: Path, place: float, byte: int, name: str) -> None:
    def flipped(data: bytes) -> bytes:
        at = int(place * len(data))
        return data[:at] + bytes([byte]) + data[at + 1 :]

    data = workbook([["phone", "note"], [SECRET, 1], ["2", date(2026, 1, 1)]], tmp_path)
    data = repacked(data, lambda part, content: flipped(content) if part == name else content) if name else flipped(data)

    with contextlib.suppress(InvalidArgumentError):
        read(tmp_path, data)
