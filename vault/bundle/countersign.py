"""The signature that courts know: CMS SignedData (RFC 5652), detached, by the key of the organisation's certificate.

`openssl cms -verify -binary -inform DER -in export-manifest.p7s -content export-manifest.json -CAfile …` checks it.

Why beside the Ed25519 signature and not in its place: a certificate says whose key it is, but it runs out, and its signature names the moment of
signing and therefore never repeats; the Ed25519 signature is checked with nothing but a public key.

Not here: the check (`countersigned.py`, which shares no code with this file).
"""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from vault.errors import FailedPreconditionError

_OPTIONS = (PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCapabilities)


@dataclass(frozen=True, slots=True)
class Organisation:
    """The organisation's certificate, those above it, and its key."""

    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(repr=False)

    @staticmethod
    def of(certificates: bytes, private_key: bytes) -> "Organisation":
        """From PEM; the certificate that signs comes first.

        Raises:
            FailedPreconditionError: CONFIG_INVALID, not a certificate, no RSA or EC key, or not the certificate's key.
        """
        try:
            chain = x509.load_pem_x509_certificates(certificates)
            key = load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError):
            chain, key = [], None
        if not chain or not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) or key.public_key() != chain[0].public_key():
            raise FailedPreconditionError("CONFIG_INVALID", "orders.private_key is not the RSA or EC key of orders.certificate")
        return Organisation(chain[0], tuple(chain[1:]), key)

    def pem(self) -> bytes:
        """The certificates as they go into a package."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    def check_valid(self, now: datetime) -> None:
        """Refuse to sign outside the certificate's time.

        Raises:
            FailedPreconditionError: CERTIFICATE_EXPIRED.
        """
        if not self.certificate.not_valid_before_utc <= now <= self.certificate.not_valid_after_utc:
            raise FailedPreconditionError("CERTIFICATE_EXPIRED", "the organisation's certificate is not valid now")


@dataclass(frozen=True, slots=True)
class Countersigning:
    """What is laid over a manifest beside the operator's own signature; nothing unless it is configured.

    Attributes:
        organisation: signs with a certificate.
        timestamp_url: of the authority that says when.
        timestamp_root: what that authority's certificate rests on, PEM.
    """

    organisation: Organisation | None = None
    timestamp_url: str = ""
    timestamp_root: bytes = b""


def countersign(manifest: bytes, organisation: Organisation) -> bytes:
    """The file `export-manifest.p7s`: DER, SHA-256, with the certificates inside."""
    builder = PKCS7SignatureBuilder().set_data(manifest).add_signer(organisation.certificate, organisation.key, hashes.SHA256())
    for certificate in organisation.above:
        builder = builder.add_certificate(certificate)
    return builder.sign(Encoding.DER, _OPTIONS)


def fingerprint_of(pem: bytes) -> str:
    """SHA-256 of the first certificate of a PEM text, hex; empty if there is none."""
    return x509.load_pem_x509_certificates(pem)[0].fingerprint(hashes.SHA256()).hex() if pem else ""
