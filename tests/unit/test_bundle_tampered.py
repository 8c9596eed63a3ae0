"""Every file of a package changed, dropped, swapped, truncated; files added; the envelope and the manifests made anew: each caught (N6).

A package with everything that one can have. Each case is judged by our verifier. Every third one, so that every file and every way to tamper with one
is among them, is judged besides by the commands that the document prints, with other people's programs; they must agree.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pyrage import x25519

from tests.packaged import follow
from tests.programs import installed
from tests.signing_authorities import Certified, certified
from tests.timestamping import TimestampAuthority, timestamp_authority
from tests.vectors.bundle_2.sample import (
    IDENTITY,
    MANIFEST,
    RECIPIENT,
    SIGNATURE,
    SIGNER,
    bag_anew,
    build,
    list_anew,
    pack,
    sample,
    sign_anew,
    unpack,
)
from vault.bundle.content import Authorities
from vault.bundle.seal import open_sealed, seal
from vault.bundle.verify import verify
from vault.operations.timestamp import timestamp

Files = dict[str, bytes]
CMS, TIMESTAMP = "meta/export-manifest.p7s", "meta/export-manifest.tsr"
JSONL, COVER = "data/02_records/call-detail.jsonl", "data/00_cover/cover_he.pdf"
# Of how many cases one is judged by other people's programs too; all with `PII_VAULT_OTHERS_EVERY=1`.
OTHERS_EVERY = int(os.environ.get("PII_VAULT_OTHERS_EVERY", "3"))
TRUST = SIGNER.public_key().public_bytes_raw()


@pytest.fixture(scope="module")
def authority() -> Iterator[TimestampAuthority]:
    installed("openssl")
    with timestamp_authority() as running:
        yield running


@pytest.fixture(scope="module")
def company() -> Certified:
    return certified()


@pytest.fixture(scope="module")
def files(company: Certified, authority: TimestampAuthority) -> Files:
    """The package, whole."""

    def beside(manifest: bytes) -> Mapping[str, bytes]:
        return {**company.beside(manifest), TIMESTAMP: asyncio.run(timestamp(manifest, url=authority.url))}

    return unpack(build(sample(authorities=Authorities(company.certificates, authority.ca.read_bytes())), SIGNER, beside=beside))


def is_caught(sealed: bytes) -> bool:
    """By our verifier."""
    return not verify(sealed, identity=IDENTITY, trust=TRUST).ok


def tampered(files: Files) -> Iterator[tuple[str, Files]]:
    """Each way to tamper with each file, by name."""
    names = sorted(files)
    for path in names:
        data = files[path]
        yield f"changed {path}", {**files, path: (data[:-1] + bytes([data[-1] ^ 1])) if data else b"x"}
        yield f"dropped {path}", {name: content for name, content in files.items() if name != path}
        if data:
            yield f"truncated {path}", {**files, path: data[: len(data) // 2]}
            yield f"emptied {path}", {**files, path: b""}
        other = names[(names.index(path) + 1) % len(names)]
        yield f"swapped {path}", {**files, path: files[other], other: data}
    for path in ("data/02_records/extra.csv", "fetch.txt", "meta/other.p7s", "notes.txt"):
        yield f"added {path}", {**files, path: b"x"}
    changed = {**files, JSONL: files[JSONL].replace(b"0500000003", b"0500000004")}
    dropped = {name: content for name, content in files.items() if name != COVER}
    yield "changed, checksum files made anew", {**bag_anew(changed), MANIFEST: files[MANIFEST]}
    yield "changed, every manifest made anew", bag_anew(changed)
    yield "dropped, every manifest made anew", bag_anew(dropped)
    yield "manifest listed anew", list_anew(changed)
    yield "changed, signed anew by the operator, the other signatures left", sign_anew(bag_anew(changed))


def test_every_tampered_package_is_caught_by_us_and_by_other_peoples_programs(files: Files, tmp_path: Path) -> None:
    """N6, §5.5: caught of tried, twice."""
    good = seal(pack(files), RECIPIENT)
    (tmp_path / "good").mkdir()
    assert not is_caught(good)
    assert follow(good, SIGNER, tmp_path / "good") == 0
    missed, missed_by_others, tried = [], [], 0

    for name, other in tampered(files):
        if other == files:
            continue
        tried += 1
        sealed = seal(pack(other), RECIPIENT)
        if not is_caught(sealed):
            missed.append(name)
        if tried % OTHERS_EVERY == 0:
            folder = tmp_path / str(tried)
            folder.mkdir()
            if follow(sealed, SIGNER, folder) == 0:
                missed_by_others.append(name)

    assert tried >= 4 * len(files)
    assert missed == []
    assert missed_by_others == []


def test_an_envelope_that_is_cut_flipped_or_made_anew_is_caught(files: Files, tmp_path: Path) -> None:
    """Truncated, a bit turned, bytes after the end, sealed to somebody else and by somebody else."""
    tar, stranger = pack(files), x25519.Identity.generate()
    sealed = seal(tar, RECIPIENT)
    cases = {
        "header cut": sealed[:100],
        "one byte short": sealed[:-1],
        "a chunk short": sealed[:70_000],
        "a bit turned": sealed[:1000] + bytes([sealed[1000] ^ 1]) + sealed[1001:],
        "the last bit turned": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "bytes after the end": sealed + b"\0",
        "sealed to somebody else": seal(tar, str(stranger.to_public())),
        "of another package": seal(open_sealed(sealed, IDENTITY)[:-10_240], RECIPIENT),
        "nothing": b"",
    }

    outcomes = {}
    for number, (name, case) in enumerate(cases.items()):
        (tmp_path / str(number)).mkdir()
        outcomes[name] = (is_caught(case), follow(case, SIGNER, tmp_path / str(number)) != 0)

    # Other tar programs take an archive without its end; what is in it is checked all the same.
    assert {name for name, (ours, _) in outcomes.items() if not ours} == set()
    assert {name for name, (_, others) in outcomes.items() if not others} <= {"of another package"}


def test_what_a_stranger_signs_anew_is_caught(files: Files) -> None:
    """The operator's key is obtained by another way than the package."""
    other_signer = Ed25519PrivateKey.from_private_bytes(bytes(32))
    forged = sign_anew(bag_anew({**files, JSONL: b""}), other_signer)

    assert is_caught(seal(pack(forged), RECIPIENT))
    assert is_caught(seal(pack({**files, SIGNATURE: forged[SIGNATURE]}), RECIPIENT))
