"""The rejects file says which rows and why, never what; it is whole or absent."""

import csv
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vault.cli.rejects import Reject, write_rejects
from vault.errors import InvalidArgumentError


def cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream))


def test_rejects_are_written_as_a_spreadsheet_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"

    count = write_rejects(path, [Reject(3, "NO_USABLE_IDENTIFIER", "phone"), Reject(12, "ROW_TOO_LONG")])

    assert count == 2
    assert path.read_bytes() == b"\xef\xbb\xbfline,reason,field\r\n3,NO_USABLE_IDENTIFIER,phone\r\n12,ROW_TOO_LONG,\r\n"


def test_no_rejects_leave_the_header_alone(tmp_path: Path) -> None:
    assert write_rejects(tmp_path / "rejects.csv", []) == 0
    assert cells(tmp_path / "rejects.csv") == [["line", "reason", "field"]]


def test_earlier_file_is_replaced_and_nothing_else_left(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.write_text("old", encoding="utf-8")

    write_rejects(path, (Reject(n, "ROW_TOO_LONG") for n in range(1, 10_001)))

    assert len(cells(path)) == 10_001
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_rejects(tmp_path / "rejects.csv", [])

    assert stat.S_IMODE((tmp_path / "rejects.csv").stat().st_mode) == 0o600


def test_failure_half_way_leaves_the_earlier_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Reject]:
        yield Reject(1, "ROW_TOO_LONG")
        raise InvalidArgumentError("FILE_CHANGED", "the file was changed while it was read")

    path = tmp_path / "rejects.csv"
    path.write_text("old", encoding="utf-8")

    with pytest.raises(InvalidArgumentError):
        write_rejects(path, broken())

    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/rejects.csv", "folder"])
def test_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(InvalidArgumentError) as refused:
        write_rejects(tmp_path / place, [])

    assert refused.value.reason == "FILE_UNWRITABLE"
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(reason=st.text() | st.from_regex("[A-Z_]{1,70}"), field=st.text() | st.from_regex(r"[a-z.\[\]0]{1,140}"))
def test_nothing_but_words_of_the_contract_is_written(tmp_path: Path, reason: str, field: str) -> None:
    path = tmp_path / "rejects.csv"

    write_rejects(path, [Reject(1, reason, field)])

    [_, [line, shown_reason, shown_field]] = cells(path)
    assert line == "1"
    assert shown_reason in {reason, "UNSPECIFIED"}
    assert shown_reason.isascii()
    assert shown_reason.replace("_", "").isalnum()
    assert shown_field in {field, ""}
    assert not shown_field or (shown_field.isascii() and shown_field[0].islower())
