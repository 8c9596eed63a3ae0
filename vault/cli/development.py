"""A vault for development: keys, a certificate authority, certificates for a handful of roles, a stand-in for the identity provider.

Everything here is made for one machine and one developer. In production certificates come from the organisation's own authority, people's tokens
from its identity provider, and the root key from a key service.
"""

import ipaddress
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vault import config
from vault.audit.checkpoint import NoteSigner
from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.keys import local
from vault.names import check_tenant_id

NAME = "vault.localhost"
TRUST_DOMAIN = "pii-vault.localhost"
ISSUER, AUDIENCE = "https://issuer.pii-vault.localhost", "pii-vault"
_VALID = timedelta(days=365)
_TOKEN_VALID = timedelta(hours=8)
# As the vault wants it of a token's claim.
_EMPLOYEE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_COMMON_NAME = 64  # X.520 ub-common-name


@dataclass(frozen=True, slots=True)
class DevelopmentService:
    """A service that gets a certificate: its name, roles, tenants (`*` for all) and products (all if none)."""

    name: str
    roles: tuple[str, ...]
    tenants: tuple[str, ...]
    carries_people: bool = False
    products: tuple[str, ...] = ()


def services(tenants: Sequence[str]) -> list[DevelopmentService]:
    """Application and administrator of each tenant, and the operator's own services."""
    every = ("*",)
    return [
        *(DevelopmentService(f"{tenant}-app", ("tenant-app",), (tenant,)) for tenant in tenants),
        *(DevelopmentService(f"{tenant}-admin", ("tenant-admin",), (tenant,)) for tenant in tenants),
        DevelopmentService("engine", ("messaging-engine",), every),
        DevelopmentService("reporting", ("reporting",), every),
        DevelopmentService("billing", ("billing",), every),
        DevelopmentService("num2", ("second-number-app",), every, products=("num2",)),
        DevelopmentService("marketing", ("marketing",), every),
        DevelopmentService("operator", ("operator",), every),
        DevelopmentService("auditor", ("auditor",), every),
        DevelopmentService("desk", (), every, carries_people=True),
    ]


def create(home: Path, *, tenants: Sequence[str], listen: str, database_url: str) -> None:
    """Make the home of a development vault (mode 0700) with everything that `serve` needs.

    Raises:
        FailedPreconditionError: HOME_EXISTS, the folder is there and not empty; CONFIG_INVALID, the address or the database's URL is malformed.
        InvalidArgumentError: NAME_INVALID, a tenant id is malformed.
    """
    for tenant in tenants:
        check_tenant_id(tenant, field="tenant")
    principals = services(list(dict.fromkeys(tenants)))
    # Beside the home, so that whoever copies the home copies no ledger.
    ledger = home.resolve().with_name(f"{home.resolve().name}-erasure-ledger")
    configuration = _configuration(principals, listen=listen, database_url=database_url, ledger=f"../{ledger.name}")
    with TemporaryDirectory() as scratch:
        # Before anything is made, so that a mistake can be corrected and the command repeated.
        (Path(scratch) / "vault.yaml").write_text(configuration, encoding="utf-8")
        config.load(Path(scratch) / "vault.yaml")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(home.iterdir()):
        raise FailedPreconditionError("HOME_EXISTS", "the folder is not empty; nothing in it was changed")
    if ledger.exists():
        # Under another root key: the new vault could not read it.
        raise FailedPreconditionError(
            "HOME_EXISTS", f"'{ledger.name}' beside it is the erasure ledger of an earlier vault; nothing was changed"
        )
    home.chmod(0o700)
    local.create(home / "root.key")
    _create_signing_key(home)
    _create_issuer(home)
    authority = _Authority.create(home)
    _write_pair(home, "server", *authority.issue("localhost", server=True))
    for service in principals:
        _create_client(home, authority, service, listen)
    # The URL of a database may hold a password.
    _write_private(home / "vault.yaml", configuration.encode())


def sign_in(home: Path, employee: str, *, roles: Sequence[str], tenants: Sequence[str], mfa: bool = True) -> Path:
    """Stand in for the identity provider: a fresh access token for a person, in a client folder that goes through the desk. The folder.

    Raises:
        FailedPreconditionError: HOME_INVALID, this is not a development home.
        InvalidArgumentError: FIELD_INVALID, a service has that name.
    """
    desk, folder = home / "clients" / "desk", home / "clients" / employee
    if folder.exists() and not (folder / "token.jwt").exists():
        raise InvalidArgumentError("FIELD_INVALID", "a service has that name, and its certificate would be lost", field="employee")
    try:
        key = load_pem_private_key((home / "issuer.key").read_bytes(), password=None)
        kid = json.loads((home / "jwks.json").read_text())["keys"][0]["kid"]
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("address", "ca.pem", "certificate.pem", "private-key.pem"):
            _write_private(folder / name, (desk / name).read_bytes())
    except (OSError, ValueError, KeyError, IndexError):
        raise FailedPreconditionError("HOME_INVALID", "this is not the home of a development vault") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FailedPreconditionError("HOME_INVALID", "this is not the home of a development vault")
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": f"account-of-{employee}",
        "employee_id": employee,
        "roles": list(roles),
        "tenants": list(tenants),
        "amr": ["pwd", "mfa"] if mfa else ["pwd"],
        "iat": int(now.timestamp()),
        "auth_time": int(now.timestamp()),
        "exp": int((now + _TOKEN_VALID).timestamp()),
    }
    _write_private(folder / "token.jwt", jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid}).encode())
    return folder


def _create_signing_key(home: Path) -> None:
    key = Ed25519PrivateKey.generate()
    _write_private(home / "signing.key", _pem(key))
    verifier = NoteSigner(NAME, key).verifier()
    (home / "signing.pub").write_bytes(verifier.pem())
    (home / "verifier.txt").write_text(verifier.text() + "\n")


def _create_issuer(home: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    _write_private(home / "issuer.key", _pem(key))
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    (home / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": secrets.token_hex(8), "use": "sig", "alg": "ES256"}]}))


def _create_client(home: Path, authority: "_Authority", service: DevelopmentService, listen: str) -> None:
    folder = home / "clients" / service.name
    folder.mkdir(mode=0o700, parents=True)
    certificate, key = authority.issue(f"spiffe://{TRUST_DOMAIN}/{service.name}")
    _write_private(folder / "private-key.pem", _pem(key))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "ca.pem").write_bytes((home / "ca.pem").read_bytes())
    (folder / "address").write_text(listen + "\n")


def _configuration(principals: Sequence[DevelopmentService], *, listen: str, database_url: str, ledger: str) -> str:
    rows = []
    for service in principals:
        tenants = '"*"' if service.tenants == ("*",) else json.dumps(list(service.tenants))
        more = ", carries_people: true" if service.carries_people else ""
        more += f", products: {json.dumps(list(service.products))}" if service.products else ""
        rows.append(f"  spiffe://{TRUST_DOMAIN}/{service.name}: {{roles: {json.dumps(list(service.roles))}, tenants: {tenants}{more}}}")
    template = resources.files("vault.cli").joinpath("vault.yaml.template").read_text(encoding="utf-8")
    values = {
        "NAME": NAME,
        # Quoted: whatever they hold, they are one value each.
        "LISTEN": json.dumps(listen),
        "DATABASE_URL": json.dumps(database_url),
        "LEDGER": json.dumps(ledger),
        "ISSUER": ISSUER,
        "AUDIENCE": AUDIENCE,
        "PRINCIPALS": "\n".join(rows),
    }
    for key, value in values.items():
        template = template.replace(f"@{key}@", value)
    return template


@dataclass(frozen=True, slots=True)
class _Authority:
    """A certificate authority for one machine."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @staticmethod
    def create(home: Path) -> "_Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pii-vault development authority")])
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_private(home / "ca.key", _pem(key))
        (home / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        return _Authority(certificate, key)

    def issue(self, name: str, *, server: bool = False) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A server certificate for this machine, or a client certificate with the SPIFFE id as its one name."""
        key = ec.generate_private_key(ec.SECP256R1())
        loopback = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
        names: list[x509.GeneralName] = [x509.DNSName(name), *loopback] if server else [x509.UniformResourceIdentifier(name)]
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name.rsplit("/", 1)[-1][:_MAX_COMMON_NAME])])
        certificate = (
            _builder(subject, self.certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate, key


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    # A little in the past: clocks of one machine and its containers differ.
    now = datetime.now(UTC) - timedelta(minutes=5)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now).not_valid_after(now + _VALID)


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(home: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    _write_private(home / f"{name}.key", _pem(key))
    (home / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)


def check_employee(employee: str) -> str:
    """A name that can be an employee id and a folder.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if not _EMPLOYEE.fullmatch(employee):
        raise InvalidArgumentError(
            "FIELD_INVALID", "an employee id is 1 to 64 letters, digits, '.', '_' and '-'", field="employee", limit="64"
        )
    return employee
