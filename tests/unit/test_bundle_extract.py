"""What the verifier writes to disk, and when it writes nothing (I2)."""

import stat
from pathlib import Path

import pytest

from tests.vectors.bundle_2.sample import IDENTITY, RECIPIENT, SIGNER, bag_anew, build, pack, sample, sign_anew, unpack
from vault.bundle.seal import seal
from vault.bundle.verify import verify
from vault.errors import FailedPreconditionError

TRUST = SIGNER.public_key().public_bytes_raw()
TAR = build(sample(), SIGNER)
FILES = unpack(TAR)
SEALED = seal(TAR, RECIPIENT)
JSONL = "data/02_records/call-detail.jsonl"


def test_a_good_package_is_extracted_for_its_owner_only(tmp_path: Path) -> None:
    target = tmp_path / "opened"

    verify(SEALED, identity=IDENTITY, trust=TRUST, extract_to=target)

    assert {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()} == FILES
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((target / JSONL).stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "files", [{**FILES, "fetch.txt": b""}, sign_anew(bag_anew({**FILES, "bagit.txt": b""}))], ids=["tampered", "signed but unsound"]
)
def test_a_bad_package_leaves_nothing_on_disk(tmp_path: Path, files: dict[str, bytes]) -> None:
    """I2."""
    verdict = verify(seal(pack(files), RECIPIENT), identity=IDENTITY, trust=TRUST, extract_to=tmp_path / "opened")

    assert not verdict.ok
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    for target in (tmp_path, tmp_path / "mine", tmp_path / "dangling", tmp_path / "no" / "such" / "parent"):
        with pytest.raises(FailedPreconditionError) as refused:
            verify(SEALED, identity=IDENTITY, trust=TRUST, extract_to=target)
        assert refused.value.reason == "EXTRACT_FAILED"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "mine"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I2, I10: the stage is removed when a file cannot be written."""

    def refuse(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("vault.bundle.archive._write_file", refuse)

    with pytest.raises(FailedPreconditionError) as refused:
        verify(SEALED, identity=IDENTITY, trust=TRUST, extract_to=tmp_path / "opened")

    assert refused.value.reason == "EXTRACT_FAILED"
    assert list(tmp_path.iterdir()) == []
