"""Certificates that no development authority would issue: expired ones, of strangers, with the wrong names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate, with the ones above it, and its key; both PEM."""

    certificate: bytes
    private_key: bytes

    def save(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both; paths of certificate and key."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.private_key)
        key.chmod(0o600)
        return certificate, key


class Authority:
    """Issues whatever a test wants."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def of_home(cls, home: Path) -> "Authority":
        """The authority of a development vault."""
        key = load_pem_private_key((home / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate((home / "ca.pem").read_bytes()), key)

    @classmethod
    def of_client(cls, folder: Path) -> "Authority":
        """A client's own certificate, misused as an authority."""
        key = load_pem_private_key((folder / "private-key.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes()), key)

    @classmethod
    def foreign(cls) -> "Authority":
        """A stranger that calls itself what the development authority is called."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("pii-vault development authority")
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self, *names: x509.GeneralName, starts: timedelta = -DAY, ends: timedelta = DAY, uses: Sequence[x509.ObjectIdentifier] = ()
    ) -> Pair:
        """A certificate with these names, valid from and to these distances from now; for clients unless told."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name("made by a test"))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(list(uses) or [ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(certificate.public_bytes(Encoding.PEM), private_key)


def uri(text: str) -> x509.UniformResourceIdentifier:
    """A URI as a subject alternative name."""
    return x509.UniformResourceIdentifier(text)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
