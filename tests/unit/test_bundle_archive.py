"""The verifier's tar reader against archives that were made to harm (N6)."""

import io
import tarfile
from collections.abc import Callable

import pytest

from tests.vectors.bundle_2.sample import pack
from vault.bundle import archive
from vault.bundle.archive import read_archive
from vault.bundle.verdict import Code, FindingError

ROOT = f"EXP-{'a' * 26}"
BLOCK = 512


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o600
    return info


def tar_of(*members: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT, data: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def refusal(tar: bytes) -> Code:
    with pytest.raises(FindingError) as refused:
        read_archive(tar)
    return refused.value.finding.code


def with_field(offset: int, value: bytes) -> bytes:
    """One empty member whose header holds other bytes at an offset, under a checksum that fits."""
    tar = bytearray(tar_of(member(f"{ROOT}/a")))
    tar[offset : offset + len(value)] = value
    tar[148:156] = b" " * 8
    tar[148:156] = b"%06o\0 " % sum(tar[:BLOCK])
    return bytes(tar)


def test_a_plain_archive_is_read() -> None:
    read = read_archive(pack({"a.txt": b"1", "b/c.txt": b"2" * 600, "empty": b""}, root=ROOT, mtime=7))

    assert (read.root, read.mtime, read.files) == (ROOT, 7, {"a.txt": b"1", "b/c.txt": b"2" * 600, "empty": b""})


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.DIRTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CONTTYPE,
        tarfile.AREGTYPE,
    ],
)
def test_a_member_that_is_no_regular_file_is_unsafe(kind: bytes) -> None:
    assert refusal(tar_of(member(f"{ROOT}/a", kind, link="/etc/passwd"))) is Code.PATH_UNSAFE


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../etc/passwd",
        f"{ROOT}/../etc/passwd",
        f"{ROOT}/a/../../b",
        f"{ROOT}/./a",
        f"{ROOT}//a",
        f"{ROOT}/.ssh/authorized_keys",
        f"{ROOT}/-rf",
        f"{ROOT}/a b",
        f"{ROOT}/a\\b",
        f"{ROOT}/C:",
        f"{ROOT}/a\x1b[2J",
        f"{ROOT}/ä",
        f"{ROOT}/",
        ROOT,
        "other/a",
        "EXP-short/a",
    ],
)
def test_an_unsafe_path_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(FindingError) as refused:
        read_archive(tar_of(member(name)))

    assert refused.value.finding.code is Code.PATH_UNSAFE
    assert refused.value.finding.where == "member 0 has an unsafe path"


def test_a_name_twice_or_twice_but_for_case_is_unsafe() -> None:
    assert refusal(tar_of(member(f"{ROOT}/a"), member(f"{ROOT}/a"))) is Code.PATH_UNSAFE
    assert refusal(tar_of(member(f"{ROOT}/A.csv"), member(f"{ROOT}/a.csv"))) is Code.PATH_UNSAFE


def test_two_roots_are_unsafe() -> None:
    assert refusal(tar_of(member(f"{ROOT}/a"), member(f"EXP-{'b' * 26}/b"))) is Code.PATH_UNSAFE


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_an_extension_header_is_unsafe(form: int) -> None:
    """Another reader would take the real name from it."""
    assert refusal(tar_of(member(f"{ROOT}/{'a' * 200}"), form=form)) is Code.PATH_UNSAFE


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (100, b"0000777\0"),  # mode
        (108, b"0000001\0"),  # uid
        (116, b"0000001\0"),  # gid
        (124, b"-0000000001\0"),  # size below zero, which would turn the reader back
        (124, b"          0\0"),
        (124, b"\x80" + bytes(11)),  # base-256
        (136, b"99999999999\0"),
        (157, b"link"),
        (257, b"ustar  \0"),
        (265, b"root"),
        (329, b"0000001\0"),
        (345, b"prefix"),
        (500, b"x"),
    ],
)
def test_a_header_that_this_format_never_writes_is_corrupt(offset: int, value: bytes) -> None:
    assert refusal(with_field(offset, value)) is Code.OUTER_CORRUPT


def test_a_wrong_header_checksum_is_corrupt() -> None:
    tar = tar_of(member(f"{ROOT}/a"))

    assert refusal(tar[:148] + b"000000\0 " + tar[156:]) is Code.OUTER_CORRUPT


def test_members_out_of_order_or_of_different_dates_are_corrupt() -> None:
    later = member(f"{ROOT}/b")
    later.mtime = 1

    assert refusal(tar_of(member(f"{ROOT}/b"), member(f"{ROOT}/a"))) is Code.OUTER_CORRUPT
    assert refusal(tar_of(member(f"{ROOT}/a"), later)) is Code.OUTER_CORRUPT


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tar: tar[:0],
        lambda tar: tar[:100],
        lambda tar: tar[:BLOCK],
        lambda tar: tar[: BLOCK + 1],
        lambda tar: tar[: 2 * BLOCK],
        lambda tar: tar[: 3 * BLOCK],
        lambda tar: tar[: BLOCK + 1] + b"hidden" + tar[BLOCK + 7 :],
        lambda tar: tar[:-1] + b"x",
        lambda tar: tar + bytes(20 * BLOCK),
        lambda tar: tar + tar,
    ],
    ids=["empty", "in header", "after header", "in body", "no end", "half an end", "padding", "end", "long end", "second archive"],
)
def test_an_archive_cut_short_or_with_hidden_bytes_is_corrupt(spoil: Callable[[bytes], bytes]) -> None:
    assert refusal(spoil(pack({"a": b"1"}, root=ROOT))) is Code.OUTER_CORRUPT


def test_an_archive_without_members_is_unsafe_for_it_has_no_root() -> None:
    assert refusal(bytes(20 * BLOCK)) is Code.PATH_UNSAFE


def test_more_members_or_bytes_than_the_limit_are_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    tar = pack({"a": b"", "b": b""}, root=ROOT)

    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    assert refusal(tar) is Code.OUTER_CORRUPT

    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    assert read_archive(tar).files.keys() == {"a", "b"}

    monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", len(tar) - 1)
    assert refusal(tar) is Code.OUTER_CORRUPT
