"""The same verdict by programs that are not ours: BagIt, age, openssl, coreutils (I8, policy §5.5)."""

import base64
import subprocess
import tarfile
from pathlib import Path

import bagit
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyrage import x25519

from tests.packaged import follow
from tests.programs import installed
from tests.vectors.bundle_2.sample import (
    EXPORT_ID,
    IDENTITY,
    MANIFEST,
    RECIPIENT,
    SIGNATURE,
    SIGNER,
    build,
    sample,
    unpack,
)
from vault.bundle.seal import open_sealed, seal

TAR = build(sample(), SIGNER)
FILES = unpack(TAR)
JSONL = "data/02_records/call-detail.jsonl"


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """The package as any tar program unpacks it."""
    (tmp_path / "package.tar").write_bytes(TAR)
    with tarfile.open(tmp_path / "package.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"EXP-{EXPORT_ID}"


def write_key(directory: Path, signer: Ed25519PrivateKey) -> None:
    (directory / "operator.pem").write_bytes(signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def test_an_independent_bagit_reader_finds_the_bag_valid(bag: Path) -> None:
    read = bagit.Bag(str(bag))

    read.validate()

    assert read.info["External-Identifier"] == f"EXP-{EXPORT_ID}"
    assert sorted(read.algorithms) == ["sha256", "sha512"]


def test_an_independent_bagit_reader_finds_a_changed_file(bag: Path) -> None:
    (bag / JSONL).write_bytes(FILES[JSONL].replace(b"0500000003", b"0500000004"))

    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(bag)).validate()


def test_openssl_verifies_the_signature_and_refuses_another_manifest(tmp_path: Path) -> None:
    installed("openssl")
    write_key(tmp_path, SIGNER)
    (tmp_path / "signature.bin").write_bytes(base64.b64decode(FILES[SIGNATURE]))
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-rawin",
        "-pubin",
        "-inkey",
        "operator.pem",
        "-in",
        "signed.bin",
        "-sigfile",
        "signature.bin",
    ]

    outcomes = []
    for manifest in (FILES[MANIFEST], FILES[MANIFEST].replace(b'"size":1234', b'"size":1235')):
        (tmp_path / "signed.bin").write_bytes(b"pii-vault/export-manifest/1\n" + manifest)
        outcomes.append(subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode)

    assert outcomes == [0, 1]


@pytest.mark.parametrize(
    ("program", "listing"),
    [("sha512sum", "manifest-sha512.txt"), ("sha256sum", "manifest-sha256.txt"), ("sha512sum", "tagmanifest-sha512.txt")],
)
def test_coreutils_agree_with_the_checksum_files(bag: Path, program: str, listing: str) -> None:
    installed(program)

    done = subprocess.run([program, "--strict", "-c", listing], cwd=bag, capture_output=True, check=False, text=True)

    assert done.returncode == 0
    assert done.stdout.count(": OK\n") == len((bag / listing).read_text().splitlines())


def test_the_age_program_opens_what_we_seal_and_we_open_what_it_seals(tmp_path: Path) -> None:
    installed("age")
    (tmp_path / "identity.txt").write_text(IDENTITY + "\n")

    opened = subprocess.run(
        ["age", "-d", "-i", "identity.txt"], input=seal(TAR, RECIPIENT), cwd=tmp_path, capture_output=True, check=True
    ).stdout
    sealed = subprocess.run(["age", "-r", RECIPIENT], input=TAR, cwd=tmp_path, capture_output=True, check=True).stdout

    assert opened == TAR
    assert open_sealed(sealed, IDENTITY) == TAR


def test_the_documented_commands_accept_a_good_package(tmp_path: Path) -> None:
    """Tampered ones: `test_bundle_tampered.py`."""
    assert follow(seal(TAR, RECIPIENT), SIGNER, tmp_path) == 0


def test_the_documented_commands_refuse_a_package_that_was_addressed_to_someone_else(tmp_path: Path) -> None:
    """N14."""
    other = str(x25519.Identity.generate().to_public())

    assert follow(seal(build(sample(recipient=other), SIGNER), RECIPIENT), SIGNER, tmp_path) != 0
