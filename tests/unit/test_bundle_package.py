"""The package as it is built: layout, determinism, what goes into each file (policy §5.5)."""

import csv
import io
import json
import tarfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors.bundle_2.sample import CALLS, DIGEST, EXPORT_ID, SIGNER, build, of_calls, sample, unpack
from vault.bundle.content import Column, CustodyEvent, PackageContent, RecordTable, Withheld
from vault.bundle.package import csv_path, digest_of, jsonl_path, prepare, tar_of
from vault.bundle.records import csv_head
from vault.errors import DataLossError, FailedPreconditionError, InvalidArgumentError


def files_with(value: str) -> dict[str, bytes]:
    """The files of a package with one record of one field."""
    table = RecordTable(category="call-detail", columns=(Column("note"),), count=1, selected=1)
    return unpack(build(sample(tables=(table,), withheld=()), SIGNER, rows=({"note": value},)))


def csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def test_same_content_gives_the_same_bytes() -> None:
    """N15: a build repeated after a crash gives the same payload."""
    assert build(sample(), SIGNER) == build(sample(), SIGNER)


def test_another_value_gives_other_bytes() -> None:
    assert build(sample(case_no="1-01-26"), SIGNER) != build(sample(), SIGNER)


def test_files_lie_where_the_layout_says() -> None:
    assert sorted(unpack(build(sample(), SIGNER))) == [
        "bag-info.txt",
        "bagit.txt",
        "data/00_cover/cover_en.pdf",
        "data/00_cover/cover_he.pdf",
        "data/01_order/order_ref.json",
        "data/02_records/call-detail.csv",
        "data/02_records/call-detail.jsonl",
        "data/02_records/number-mapping.csv",
        "data/02_records/number-mapping.jsonl",
        "data/03_schema/call-detail.json",
        "data/03_schema/number-mapping.json",
        "data/04_withheld/withheld.csv",
        "data/05_statement/record_statement_en.pdf",
        "data/05_statement/record_statement_he.pdf",
        "data/06_custody/custody.json",
        "manifest-sha256.txt",
        "manifest-sha512.txt",
        "meta/export-manifest.json",
        "meta/export-manifest.sig",
        "tagmanifest-sha512.txt",
    ]


def test_members_are_plain_files_of_nobody_in_order_with_one_date() -> None:
    with tarfile.open(fileobj=io.BytesIO(build(sample(), SIGNER))) as archive:
        members = archive.getmembers()

    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(m.type, m.uid, m.gid, m.uname, m.gname, m.mode, m.mtime) for m in members} == {
        (tarfile.REGTYPE, 0, 0, "", "", 0o600, int(sample().created.timestamp()))
    }


def test_longest_category_still_fits_a_plain_header() -> None:
    category = "a" * 40
    content = sample(tables=(), withheld=())
    scope = replace(content.scope, categories=(category,))
    table = RecordTable(category=category, columns=(Column("note"),), count=0, selected=0)

    files = unpack(build(replace(content, scope=scope, tables=(table,)), SIGNER))

    assert f"data/02_records/{category}.jsonl" in files


def test_targets_named_by_the_order_are_counted_not_listed() -> None:
    order = json.loads(unpack(build(sample(), SIGNER))["data/01_order/order_ref.json"])

    assert order["scope"] == {
        "digest": DIGEST,
        "categories": ["call-detail", "number-mapping"],
        "time_from": "2026-01-01T00:00:00Z",
        "time_to": "2026-02-01T00:00:00Z",
        "target_count": 2,
        "tenants": ["acme"],
    }


def test_hebrew_survives_into_every_file_that_holds_it() -> None:
    files = unpack(build(sample(), SIGNER))

    assert json.loads(files["data/01_order/order_ref.json"])["case_no"] == 'צ"א 12345-06-26'
    assert csv_rows(files["data/02_records/call-detail.csv"])[1][2] == 'שלום "עולם", שורה\nשנייה'
    assert json.loads(files["data/03_schema/call-detail.json"])["columns"][1]["label_he"] == "מספר מתקשר"


def test_csv_begins_with_a_byte_order_mark_and_quotes_every_cell() -> None:
    rows = ({"record": "r1"},)
    data = unpack(build(sample(tables=(of_calls(rows),), withheld=()), SIGNER, rows=rows))["data/02_records/call-detail.csv"]

    assert data == b'\xef\xbb\xbf"record","caller","note"\r\n"r1","",""\r\n'


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'"])
def test_a_cell_that_a_spreadsheet_could_run_is_prefixed_and_declared(first: str) -> None:
    """Policy §5.5, formula injection; the exact form is untouched."""
    files = files_with(first + "1")

    declared = json.loads(files["data/03_schema/call-detail.json"])["csv"]
    assert csv_rows(files["data/02_records/call-detail.csv"])[1] == ["'" + first + "1"]
    assert first in declared["prefixed_when_first"]
    assert declared["prefix"] == "'"
    assert json.loads(files["data/02_records/call-detail.jsonl"])["note"] == first + "1"


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_any_text_comes_back_from_both_forms(value: str) -> None:
    files = files_with(value)

    assert json.loads(files["data/02_records/call-detail.jsonl"]) == {"note": value}
    assert csv_rows(files["data/02_records/call-detail.csv"])[1][0].removeprefix("'") == value


def test_manifest_is_canonical_and_names_no_plaintext_of_the_recipient_key() -> None:
    raw = unpack(build(sample(), SIGNER))["meta/export-manifest.json"]
    manifest = json.loads(raw)

    assert raw == json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert manifest["counts"] == {"call-detail": 3, "number-mapping": 0}
    assert manifest["audit_head"] == {"log": "tenants/acme", "size": 1234, "root": "ab" * 32}
    assert len(manifest["recipient"]["fingerprint"]) == 64


def test_a_category_outside_the_scope_is_refused() -> None:
    """N2."""
    with pytest.raises(FailedPreconditionError) as refused:
        sample(tables=(RecordTable(category="message-body", columns=(Column("text"),), count=0, selected=0),))

    assert refused.value.reason == "SCOPE_EXCEEDED"


def test_a_field_that_is_no_column_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        build(sample(), SIGNER, rows=({"note": "a", "salary": "secret-value"},))

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize("operator", ["A\nPayload-Oxum: 0.0", "A\u2028B", "A\u202eB", "A\x00", "A\ud800"])
def test_a_text_that_could_forge_a_line_or_turn_it_around_is_refused(operator: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        sample(operator=operator)

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_an_unpaired_surrogate_in_a_record_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        files_with("secret\ud800")

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"
    assert refused.value.__suppress_context__
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("category", ["../etc", "Calls", "a/b", "", "a" * 41, "a.b"])
def test_a_category_that_is_no_plain_word_is_refused(category: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        RecordTable(category=category, columns=(Column("note"),), count=0, selected=0)

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_an_instant_without_utc_is_refused() -> None:
    jerusalem = timezone(timedelta(hours=3))

    for instant in (datetime(2026, 6, 1, tzinfo=jerusalem), datetime(2026, 6, 1)):  # noqa: DTZ001
        with pytest.raises(InvalidArgumentError) as refused:
            CustodyEvent(instant, "legal-1", "registered", DIGEST)
        assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_what_was_selected_is_there_or_withheld() -> None:
    """Nothing is left out without a line that says so."""
    with pytest.raises(InvalidArgumentError) as refused:
        sample(withheld=())

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_records_that_are_not_what_was_digested_end_the_package() -> None:
    """The manifest in front of them is signed already."""
    content = sample()
    files = {path(table.category): csv_head(table) for table in content.tables for path in (csv_path, jsonl_path)}
    prepared = prepare(content, {path: digest_of([data]) for path, data in files.items()}, SIGNER)

    for other in (b"", b"x", csv_head(CALLS)[:-1] + b"x"):
        changed = {**files, csv_path("call-detail"): other}
        with pytest.raises(DataLossError) as refused:
            b"".join(tar_of(prepared, {}, lambda path: [changed[path]]))  # noqa: B023 - called before the next turn
        assert refused.value.reason == "PACKAGE_INVALID"


def test_a_repeated_table_and_a_repeated_reason_are_refused() -> None:
    row = Withheld("call-detail", 1, "KEY_DESTROYED")

    with pytest.raises(InvalidArgumentError) as table_refused:
        sample(tables=(CALLS, CALLS))
    with pytest.raises(InvalidArgumentError) as reason_refused:
        sample(withheld=(row, row))

    assert table_refused.value.reason == reason_refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_a_bad_recipient_key_stops_the_build() -> None:
    """N14."""
    with pytest.raises(InvalidArgumentError) as refused:
        build(sample(recipient="age1notakey"), SIGNER)

    assert refused.value.reason == "RECIPIENT_KEY_INVALID"


def test_no_value_and_no_name_shows_in_a_repr() -> None:
    """I2."""
    content: PackageContent = sample()

    shown = repr(content)

    assert EXPORT_ID in shown
    assert "500000001" not in shown
    assert "לדוגמה" not in shown
