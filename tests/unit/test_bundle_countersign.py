"""What lies beside the operator's signature: CMS by an organisation's certificate, a time by a real authority; and what OpenSSL says of both."""

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.programs import installed
from tests.signing_authorities import DAY, Certified, certified
from tests.timestamping import TimestampAuthority, timestamp_authority
from tests.vectors.bundle_2.sample import IDENTITY, MANIFEST, RECIPIENT, SIGNER, build, edit_manifest, pack, sample, sign_anew, unpack
from vault.bundle.content import Authorities
from vault.bundle.countersign import Organisation, countersign
from vault.bundle.seal import seal
from vault.bundle.verdict import Verdict
from vault.bundle.verify import verify
from vault.errors import FailedPreconditionError, UnavailableError
from vault.operations.timestamp import timestamp

CMS, TIMESTAMP = "meta/export-manifest.p7s", "meta/export-manifest.tsr"
ORGANISATION, AUTHORITY = "data/06_custody/organisation.pem", "data/06_custody/timestamp_authority.pem"
TRUST = SIGNER.public_key().public_bytes_raw()
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def authority() -> Iterator[TimestampAuthority]:
    installed("openssl")
    with timestamp_authority() as running:
        yield running


@pytest.fixture(scope="module")
def company() -> Certified:
    return certified()


def with_both(company: Certified, authority: TimestampAuthority) -> Files:
    """A package with a CMS signature and a time stamp."""

    def beside(manifest: bytes) -> Mapping[str, bytes]:
        return {**company.beside(manifest), TIMESTAMP: asyncio.run(timestamp(manifest, url=authority.url))}

    authorities = Authorities(company.certificates, authority.ca.read_bytes())
    return unpack(build(sample(authorities=authorities), SIGNER, beside=beside))


def judge(files: Files, timestamp_root: bytes = b"") -> Verdict:
    return verify(seal(pack(files), RECIPIENT), identity=IDENTITY, trust=TRUST, timestamp_root=timestamp_root)


def findings(files: Files) -> list[tuple[str, str]]:
    return [(finding.code.value, finding.where) for finding in judge(files).findings]


def openssl_cms(folder: Path, files: Files, authorities: bytes) -> int:
    """What OpenSSL says of the CMS signature, by the organisation's own authority."""
    for name, data in (("manifest", files[MANIFEST]), ("signature", files[CMS]), ("authorities", authorities)):
        (folder / name).write_bytes(data)
    command = [
        "openssl",
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "signature",
        "-content",
        "manifest",
        "-CAfile",
        "authorities",
    ]
    return subprocess.run([*command, "-purpose", "any", "-out", "out"], cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    "make_key", [lambda: ec.generate_private_key(ec.SECP256R1()), lambda: rsa.generate_private_key(65537, 2048)], ids=["ec", "rsa"]
)
def test_a_cms_signature_is_verified_by_openssl_and_by_us(tmp_path: Path, make_key: object) -> None:
    """I8: by plain `openssl cms -verify`; another manifest is refused by both."""
    installed("openssl")
    company = certified(make_key)  # type: ignore[arg-type]
    files = unpack(build(sample(authorities=Authorities(company.certificates)), SIGNER, beside=company.beside))
    other = sign_anew(edit_manifest(files, {"operator": "Another Ltd"}))

    assert openssl_cms(tmp_path, files, company.certificates) == 0
    assert findings(files) == []
    assert openssl_cms(tmp_path, other, company.certificates) != 0
    assert findings(other) == [("CMS_INVALID", CMS)]


def test_a_time_is_verified_by_openssl_and_by_us(company: Certified, authority: TimestampAuthority, tmp_path: Path) -> None:
    files = with_both(company, authority)
    (tmp_path / "manifest").write_bytes(files[MANIFEST])
    (tmp_path / "token").write_bytes(files[TIMESTAMP])

    verdict = judge(files, authority.ca.read_bytes())

    assert authority.verifies(tmp_path / "manifest", tmp_path / "token")
    assert verdict.ok
    assert verdict.stamp_time is not None
    assert abs(verdict.stamp_time - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_time_authority_of_ones_own_choice_is_the_one_that_counts(company: Certified, authority: TimestampAuthority) -> None:
    """Whoever does not take it from the operator."""
    with timestamp_authority() as stranger:
        verdict = judge(with_both(company, authority), stranger.ca.read_bytes())

    assert [finding.code.value for finding in verdict.findings] == ["TIMESTAMP_INVALID"]
    assert verdict.stamp_time is None


def test_neither_can_be_taken_off_exchanged_or_moved(company: Certified, authority: TimestampAuthority) -> None:
    """N6: the signed manifest says which there are and whose."""
    files, stranger = with_both(company, authority), certified()
    elsewhere = unpack(build(sample(operator="Another Ltd", authorities=Authorities(company.certificates)), SIGNER, beside=company.beside))
    plain = unpack(build(sample(), SIGNER))
    early = asyncio.run(timestamp(elsewhere[MANIFEST], url=authority.url))
    cases: list[tuple[Files, set[tuple[str, str]]]] = [
        ({path: data for path, data in files.items() if path != CMS}, {("PAYLOAD_MISSING", CMS)}),
        ({path: data for path, data in files.items() if path != TIMESTAMP}, {("PAYLOAD_MISSING", TIMESTAMP)}),
        ({**files, CMS: elsewhere[CMS]}, {("CMS_INVALID", CMS)}),
        ({**files, CMS: countersign(files[MANIFEST], stranger.organisation)}, {("CMS_INVALID", CMS)}),
        ({**files, CMS: b""}, {("CMS_INVALID", CMS)}),
        ({**files, CMS: files[CMS] + b"\0"}, {("CMS_INVALID", CMS)}),
        ({**files, TIMESTAMP: early}, {("TIMESTAMP_INVALID", TIMESTAMP)}),
        ({**files, TIMESTAMP: b""}, {("TIMESTAMP_INVALID", TIMESTAMP)}),
        ({**files, ORGANISATION: stranger.certificates}, {("CHECKSUM_MISMATCH", ORGANISATION)}),
        ({**files, AUTHORITY: stranger.certificates}, {("CHECKSUM_MISMATCH", AUTHORITY)}),
        ({**plain, CMS: files[CMS]}, {("PAYLOAD_EXTRA", CMS)}),
        ({**plain, TIMESTAMP: files[TIMESTAMP]}, {("PAYLOAD_EXTRA", TIMESTAMP)}),
    ]

    assert [set(findings(tampered)) for tampered, _ in cases] == [expected for _, expected in cases]


@pytest.mark.parametrize("path", [CMS, TIMESTAMP])
def test_a_flipped_bit_of_either_is_found_or_means_nothing(company: Certified, authority: TimestampAuthority, path: str) -> None:
    """Unsigned corners of DER, such as the certificates that come along, may change; what is signed, and by whom, may not."""
    files = with_both(company, authority)
    missed = 0
    for at in range(0, len(files[path]), 7):
        flipped = files[path][:at] + bytes([files[path][at] ^ 1]) + files[path][at + 1 :]
        verdict = judge({**files, path: flipped})
        missed += verdict.ok
        assert verdict.codes <= {"CMS_INVALID", "TIMESTAMP_INVALID"}

    # The signer's certificate is pinned whole; only the one above it, or parts that OpenSSL ignores too, are nobody's word.
    assert missed < len(files[path]) // 7 // 2


def test_a_key_that_is_not_the_certificates_is_refused_at_the_start() -> None:
    """Also a kind of key that CMS of this form cannot be written with."""
    company, other = certified(), certified()
    edwards = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    for certificates, key in ((company.certificates, other.private_key), (b"", company.private_key), (company.certificates, edwards)):
        with pytest.raises(FailedPreconditionError) as refused:
            Organisation.of(certificates, key)
        assert refused.value.reason == "CONFIG_INVALID"


def test_nothing_is_signed_outside_the_certificates_time() -> None:
    company = certified(begin=datetime.now(UTC) - 60 * DAY)

    with pytest.raises(FailedPreconditionError) as refused:
        company.organisation.check_valid(datetime.now(UTC))

    assert refused.value.reason == "CERTIFICATE_EXPIRED"


async def test_an_authority_that_fails_gives_no_time() -> None:
    installed("openssl")
    with timestamp_authority() as authority:
        authority.is_broken = True
        with pytest.raises(UnavailableError) as refused:
            await timestamp(b"manifest", url=authority.url)

    assert refused.value.reason == "TIMESTAMP_UNAVAILABLE"
