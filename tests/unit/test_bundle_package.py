"""The package as it is built: layout, determinism, what goes into each file (policy §5.5)."""

import csv
import io
import json
import tarfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors.bundle_1.sample import CALLS, DIGEST, EXPORT_ID, SIGNER, sample, unpack
from vault.bundle.content import Column, CustodyEvent, PackageContent, RecordTable, Withheld
from vault.bundle.package import build
from vault.errors import FailedPreconditionError, InvalidArgumentError

LRI, PDI = "\u2066", "\u2069"


def table_of(value: str) -> RecordTable:
    return RecordTable(category="call-detail", columns=(Column("note"),), rows=({"note": value},))


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
        "data/00_cover/cover_en.txt",
        "data/00_cover/cover_he.txt",
        "data/01_order/order_ref.json",
        "data/02_records/call-detail.csv",
        "data/02_records/call-detail.jsonl",
        "data/02_records/number-mapping.csv",
        "data/02_records/number-mapping.jsonl",
        "data/03_schema/call-detail.json",
        "data/03_schema/number-mapping.json",
        "data/04_withheld/withheld.csv",
        "data/05_statement/record_statement.txt",
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
    content = sample(tables=())
    scope = replace(content.scope, categories=(category,))
    table = RecordTable(category=category, columns=(Column("note"),), rows=())

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


def test_hebrew_cover_isolates_every_number_and_latin_word() -> None:
    """Policy §5.5: without isolates numbers read backwards in Hebrew."""
    cover = unpack(build(sample(), SIGNER))["data/00_cover/cover_he.txt"].decode()

    outside = "".join(piece.rpartition(PDI)[2] for piece in cover.split(LRI))

    assert f"{LRI}12345-06-26{PDI}" in cover
    assert f"{LRI}2026-06-04 10:30:00 UTC{PDI}" in cover
    assert not [c for c in outside if c.isdigit() or (c.isascii() and c.isalpha())]


def test_hebrew_survives_into_every_file_that_holds_it() -> None:
    files = unpack(build(sample(), SIGNER))

    assert "בית משפט השלום תל אביב" in files["data/00_cover/cover_en.txt"].decode()
    assert json.loads(files["data/01_order/order_ref.json"])["case_no"] == 'צ"א 12345-06-26'
    assert csv_rows(files["data/02_records/call-detail.csv"])[1][2] == 'שלום "עולם", שורה\nשנייה'
    assert json.loads(files["data/03_schema/call-detail.json"])["columns"][1]["label_he"] == "מספר מתקשר"


def test_csv_begins_with_a_byte_order_mark_and_quotes_every_cell() -> None:
    data = unpack(build(sample(tables=(replace(CALLS, rows=({"record": "r1"},)),)), SIGNER))["data/02_records/call-detail.csv"]

    assert data == b'\xef\xbb\xbf"record","caller","note"\r\n"r1","",""\r\n'


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'"])
def test_a_cell_that_a_spreadsheet_could_run_is_prefixed_and_declared(first: str) -> None:
    """Policy §5.5, formula injection; the exact form is untouched."""
    files = unpack(build(sample(tables=(table_of(first + "1"),)), SIGNER))

    declared = json.loads(files["data/03_schema/call-detail.json"])["csv"]
    assert csv_rows(files["data/02_records/call-detail.csv"])[1] == ["'" + first + "1"]
    assert first in declared["prefixed_when_first"]
    assert declared["prefix"] == "'"
    assert json.loads(files["data/02_records/call-detail.jsonl"])["note"] == first + "1"


@given(st.text())
def test_any_text_comes_back_from_both_forms(value: str) -> None:
    files = unpack(build(sample(tables=(table_of(value),)), SIGNER))

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
        sample(tables=(RecordTable(category="message-body", columns=(Column("text"),), rows=()),))

    assert refused.value.reason == "SCOPE_EXCEEDED"


def test_a_field_that_is_no_column_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        RecordTable(category="call-detail", columns=(Column("note"),), rows=({"note": "a", "salary": "secret-value"},))

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize("operator", ["A\nPayload-Oxum: 0.0", "A\u2028B", "A\u202eB", "A\x00", "A\ud800"])
def test_a_text_that_could_forge_a_line_or_turn_it_around_is_refused(operator: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        sample(operator=operator)

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_an_unpaired_surrogate_in_a_record_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        build(sample(tables=(table_of("secret\ud800"),)), SIGNER)

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"
    assert refused.value.__suppress_context__
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("category", ["../etc", "Calls", "a/b", "", "a" * 41, "a.b"])
def test_a_category_that_is_no_plain_word_is_refused(category: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        RecordTable(category=category, columns=(Column("note"),), rows=())

    assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


def test_an_instant_without_utc_is_refused() -> None:
    jerusalem = timezone(timedelta(hours=3))

    for instant in (datetime(2026, 6, 1, tzinfo=jerusalem), datetime(2026, 6, 1)):  # noqa: DTZ001
        with pytest.raises(InvalidArgumentError) as refused:
            CustodyEvent(instant, "legal-1", "registered", DIGEST)
        assert refused.value.reason == "PACKAGE_CONTENT_INVALID"


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
