"""The committed samples are what their generator writes, hold nobody's data, and `expected.json` says what the vault's own rules make of them."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import phonenumbers
import pytest

from vault.catalogue import loader
from vault.cli.headers import Use
from vault.cli.listfile import Row, read_list
from vault.errors import InvalidArgumentError
from vault.identifiers import IdentifierKind, normalise
from vault.scan import refuse_card_data

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
SAMPLES = DEMO / "samples"
EXPECTED: dict[str, Any] = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
ORDER: dict[str, Any] = json.loads((SAMPLES / "order.json").read_text(encoding="utf-8"))
LISTS = ["customers.csv", "customers.xlsx"]
EVENTS = ["calls.csv", "mappings.csv"]


def rows_of(name: str) -> list[Row]:
    rows = list(read_list(SAMPLES / name, category=EXPECTED[name]["category"]).rows())
    assert all(isinstance(row, Row) for row in rows)
    return [row for row in rows if isinstance(row, Row)]


def usable(kind: IdentifierKind, row: Row, field: str) -> str:
    try:
        return normalise(kind, row.fields[field]) if field in row.fields else ""
    except InvalidArgumentError:
        return ""


def cells(path: Path) -> list[list[tuple[object, str]]]:
    book = openpyxl.load_workbook(path)
    return [[(cell.value, cell.number_format) for cell in row] for sheet in book.worksheets for row in sheet.rows]


def test_samples_are_what_the_generator_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(DEMO / "make_samples.py"), str(tmp_path)], check=True)

    assert {path.name for path in SAMPLES.iterdir()} == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        if path.suffix == ".xlsx":
            assert cells(SAMPLES / path.name) == cells(path)
        else:
            assert (SAMPLES / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", LISTS)
def test_expected_counts_of_a_list_follow_from_the_rules(name: str) -> None:
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    issues = []
    for row in rows_of(name):
        phone, email = usable(IdentifierKind.PHONE, row, "phone"), usable(IdentifierKind.EMAIL, row, "email")
        if not (phone or email):
            last_tried = "email" if "email" in row.fields else "phone"
            issues.append({"line": row.line, "reason": "NO_USABLE_IDENTIFIER", "field": last_tried})
            continue
        try:
            for text in row.extra.values():
                refuse_card_data(text, field="extra")
        except InvalidArgumentError as error:
            issues.append({"line": row.line, "reason": error.reason, "field": error.field or ""})
            continue
        if "phone" in row.fields and not phone:
            issues.append({"line": row.line, "reason": "IDENTIFIER_DROPPED", "field": "phone"})
        counts["duplicates" if (phone or email) in seen else "accepted"] += 1
        seen |= {phone, email} - {""}
    rejected = Counter(issue["reason"] for issue in issues if issue["reason"] != "IDENTIFIER_DROPPED")

    expected = EXPECTED[name]
    assert {key: expected[key] for key in ("accepted", "duplicates", "rejected", "issues")} == {
        **counts,
        "rejected": rejected,
        "issues": issues,
    }
    assert expected["rows"] == counts.total() + rejected.total()


@pytest.mark.parametrize("name", EVENTS)
def test_every_row_of_events_fits_its_category(name: str) -> None:
    category = loader.load().category(EXPECTED[name]["category"])
    rows = rows_of(name)

    for row in rows:
        for field, value in category.check_fields(row.fields).items():
            kind = category.fields[field].index
            assert kind is None or normalise(kind, str(value))
    assert EXPECTED[name]["rows"] == EXPECTED[name]["accepted"] == len(rows)
    assert (EXPECTED[name]["duplicates"], EXPECTED[name]["rejected"], EXPECTED[name]["issues"]) == (0, {}, [])


def test_order_covers_the_expected_calls() -> None:
    scope = ORDER["scope"]
    [target] = scope["targets"]
    start, end = datetime.fromisoformat(scope["time_from"]), datetime.fromisoformat(scope["time_to"])
    calls = [row.fields for row in rows_of("calls.csv")]

    about = [call for call in calls if f"+{call['calling']}" == target["value"]]
    covered = [
        call
        for call in calls
        if target["value"] in {f"+{call.get(field)}" for field in ("calling", "called", "route_line")}
        and start <= datetime.fromisoformat(call["start_at"]) < end
    ]

    assert EXPECTED["order.json"] == {"records": {scope["categories"][0]: len(covered)}}
    assert (len(about), sum(call in covered for call in about)) == (10, 8)
    assert Counter(call["calling"] for call in calls).most_common(1)[0][0] == target["value"].removeprefix("+")


def test_order_is_about_its_document() -> None:
    assert ORDER["document_sha256"] == hashlib.sha256((SAMPLES / "order.pdf").read_bytes()).hexdigest()


def test_one_number_was_recycled_after_it_was_handed_back() -> None:
    rows = sorted((row.fields for row in rows_of("mappings.csv")), key=lambda fields: fields["valid_from"])
    numbers = Counter(fields["assigned_number"] for fields in rows)
    [recycled] = [number for number, count in numbers.items() if count > 1]

    first, second = (fields for fields in rows if fields["assigned_number"] == recycled)

    assert first["valid_to"] < second["valid_from"]
    assert first["real_number"] != second["real_number"]
    assert EXPECTED["mappings.csv"]["recycled_numbers"] == 1


def test_lists_share_the_expected_people() -> None:
    people = [{usable(IdentifierKind.PHONE, row, "phone") for row in rows_of(name)} - {""} for name in LISTS]

    assert len(people[0] & people[1]) == EXPECTED["customers.xlsx"]["people_of_customers_csv"]


def test_customers_are_a_file_as_old_programs_save_them() -> None:
    found = read_list(SAMPLES / "customers.csv", category="list-profile")
    notes = [row.extra.get("הערה", "") for row in rows_of("customers.csv")]

    assert (found.encoding, found.delimiter, found.total_rows) == ("cp1255", ";", 62)
    assert [column.name for column in found.columns if column.use is Use.EXTRA] == ["מספר לקוח", "הערה"]
    assert any("\n" in note for note in notes)
    assert any(note.startswith("=") for note in notes)


def test_numbers_can_exist_and_mailboxes_cannot() -> None:
    for name in LISTS + EVENTS:
        for row in rows_of(name):
            numbers = [normalise(IdentifierKind.PHONE, value) for value in row.fields.values() if value.startswith("972")]
            numbers += [usable(IdentifierKind.PHONE, row, "phone")] * ("phone" in row.fields)
            assert all(phonenumbers.is_valid_number_for_region(phonenumbers.parse(number), "IL") for number in numbers if number)
            mailbox = usable(IdentifierKind.EMAIL, row, "email")
            assert not mailbox or mailbox.rpartition("@")[2] in {"example.com", "example.org", "example.net"}
