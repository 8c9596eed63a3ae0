"""An organisation's certificate for tests, issued by an authority of its own, and what it and a time authority lay beside a manifest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vault.bundle.countersign import Organisation, countersign

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certified:
    """Certificate with the one above it, and key; PEM."""

    certificates: bytes
    private_key: bytes

    @property
    def organisation(self) -> Organisation:
        """As the vault reads it."""
        return Organisation.of(self.certificates, self.private_key)

    def beside(self, manifest: bytes) -> Mapping[str, bytes]:
        """The signature over a manifest, by path."""
        return {"meta/export-manifest.p7s": countersign(manifest, self.organisation)}


def certified(make_key: Callable[[], Key] = lambda: ec.generate_private_key(ec.SECP256R1()), *, begin: datetime | None = None) -> Certified:
    """A certificate of an organisation, valid from yesterday for thirty days unless told."""
    begin = begin or datetime.now(UTC) - DAY
    above, key = ec.generate_private_key(ec.SECP256R1()), make_key()
    root = _certificate("authority", above.public_key(), "authority", above, begin, is_authority=True)
    leaf = _certificate("Example Telecom Ltd", key.public_key(), "authority", above, begin, is_authority=False)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certified(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM), pem)


def _certificate(
    name: str,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    begin: datetime,
    *,
    is_authority: bool,
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        **dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"),
            False,
        ),
    )
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
