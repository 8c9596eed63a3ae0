"""Checks what lies beside the operator's own signature: the CMS signature of the organisation's certificate, and the time stamp. No network.

Rules:
- Which certificates these rest on is said by the manifest that the trusted key signed; the certificates lie in the package, named by that manifest.
  So neither can be exchanged, and both hold as far as the operator's key is trusted.
- Whoever does not want to take the time authority from the operator gives its root; whoever wants to know who stands behind the organisation's
  certificate asks `openssl cms -verify` with the authorities of their own.
- Of CMS exactly what we write is read: one signer, SHA-256, signed attributes, nothing inside.

Part of the verifier: shares no code with the writer.
"""

import hashlib
from datetime import datetime

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

from vault.bundle.verdict import Code, FindingError

# What is read of CMS before its signature is known to hold: no certificate chain is longer.
_MAX_BYTES = 1 << 18


def check_cms(signature: bytes, manifest: bytes, *, certificate: str, where: str) -> None:
    """Whether a CMS signature is the manifest's, by the certificate of this SHA-256.

    Raises:
        FindingError: CMS_INVALID.
    """
    try:
        signer, key = _signer(signature, certificate)
        attributes = {attribute["type"].native: attribute["values"] for attribute in signer["signed_attrs"]}
        told = (
            attributes["message_digest"][0].native == hashlib.sha256(manifest).digest() and attributes["content_type"][0].native == "data"
        )
        signed = signer["signed_attrs"].untag().dump()  # as a SET, which is what is signed (RFC 5652 §5.4)
        if not told or len(attributes) != len(signer["signed_attrs"]):
            raise _invalid(where)
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signer["signature"].native, signed, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signer["signature"].native, signed, padding.PKCS1v15(), hashes.SHA256())
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, InvalidSignature):
        raise _invalid(where) from None


def _signer(signature: bytes, certificate: str) -> tuple[cms.SignerInfo, ec.EllipticCurvePublicKey | rsa.RSAPublicKey]:
    if len(signature) > _MAX_BYTES:
        raise ValueError
    outer = cms.ContentInfo.load(signature, strict=True)
    signed = outer["content"]
    if outer["content_type"].native != "signed_data" or signed["encap_content_info"]["content"].native is not None:
        raise ValueError
    (signer,) = signed["signer_infos"]
    (found,) = {one.chosen.dump() for one in signed["certificates"] if hashlib.sha256(one.chosen.dump()).hexdigest() == certificate}
    if signer["digest_algorithm"]["algorithm"].native != "sha256":
        raise ValueError
    key = x509.load_der_x509_certificate(found).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TypeError
    return signer, key


def check_timestamp(token: bytes, manifest: bytes, *, root: bytes, where: str) -> datetime:
    """When an authority saw the manifest.

    Args:
        token: the authority's answer, DER.
        manifest: what it was asked about.
        root: certificate that the authority's own rests on, PEM.
        where: path of the token.
    Raises:
        FindingError: TIMESTAMP_INVALID.
    """
    try:
        answer = decode_timestamp_response(token)
        builder = VerifierBuilder()
        for certificate in x509.load_pem_x509_certificates(root):
            builder = builder.add_root_certificate(certificate)
        builder.build().verify_message(answer, manifest)
    except (ValueError, VerificationError):
        raise FindingError(Code.TIMESTAMP_INVALID, where) from None
    return answer.tst_info.gen_time


def first_fingerprint(pem: bytes) -> str:
    """SHA-256 of the first certificate of a PEM text, hex; empty if there is none."""
    try:
        return x509.load_pem_x509_certificates(pem)[0].fingerprint(hashes.SHA256()).hex()
    except ValueError:
        return ""


def _invalid(where: str) -> FindingError:
    return FindingError(Code.CMS_INVALID, where)
