"""What the ports show and want, read again when its files change: a certificate is replaced without a restart.

Rules:
- The files are looked at when somebody connects, at most once a second. New ones count for connections from then on.
- What cannot be used is not: the old certificate stays until the files are sound, and the log says so. At the start it stops the start.
- The private key is written first and the certificate after it, or both by a rename: a pair that does not fit is not taken.
"""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vault.errors import FailedPreconditionError, VaultError

_LOOK_EVERY = 1.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the parts are: certificate chain, its private key, authorities of clients (PEM)."""

    certificate: Path
    private_key: Path
    client_ca: Path

    def read(self) -> "Certificates":
        """Read and check. gRPC takes whatever it is given, and then has no port and no reason.

        Raises:
            FailedPreconditionError: CONFIG_INVALID, naming the key at fault.
        """
        certificate, private_key, client_ca = read_file(self.certificate), read_file(self.private_key), read_file(self.client_ca)
        shown, trusted = _certificates(certificate, "tls.certificate"), _certificates(client_ca, "tls.client_ca")
        try:
            key = load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise FailedPreconditionError("CONFIG_INVALID", "tls.private_key is not a private key in PEM form") from None
        if key.public_key() != shown[0].public_key():
            raise FailedPreconditionError("CONFIG_INVALID", "tls.private_key is not the key of tls.certificate")
        ends = {"server": shown[0].not_valid_after_utc, "client-ca": min(one.not_valid_after_utc for one in trusted)}
        configuration = grpc.ssl_server_certificate_configuration([(private_key, certificate)], root_certificates=client_ca)
        return Certificates(configuration, ends)

    def context(self) -> ssl.SSLContext:
        """The same for Python's own servers: TLS, and a client certificate is required. From the files, since it reads no key from anywhere else.

        Raises:
            FailedPreconditionError: CONFIG_INVALID.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.client_ca)
            context.load_cert_chain(self.certificate, self.private_key)
        except OSError:
            raise FailedPreconditionError("CONFIG_INVALID", "tls.certificate, tls.private_key or tls.client_ca cannot be used") from None
        return context

    def state(self) -> tuple[tuple[int, int], ...]:
        """What changes when a file does; a file that is not there is nothing."""
        return tuple(_state(path) for path in (self.certificate, self.private_key, self.client_ca))


@dataclass(frozen=True, slots=True)
class Certificates:
    """What was read: for gRPC, and until when each is valid."""

    configuration: grpc.ServerCertificateConfiguration
    ends: Mapping[str, datetime]


class Rotating:
    """Credentials of the ports, which follow their files.

    Args:
        files: where they are.
    Raises:
        FailedPreconditionError: CONFIG_INVALID.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self.files = files
        self._state = files.state()
        self._current = self._shown = files.read()
        self._looked = time.monotonic()
        # gRPC and the address for metrics ask from threads of their own.
        self._lock = threading.Lock()

    @property
    def ends(self) -> Mapping[str, datetime]:
        """Until when each certificate in use is valid."""
        return self._current.ends

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with: TLS, and a client certificate is required."""
        # None means that nothing changed, which the stubs do not know.
        fetch = cast(Callable[[], grpc.ServerCertificateConfiguration], self.look)
        return grpc.dynamic_ssl_server_credentials(self._current.configuration, fetch, require_client_authentication=True)

    def look(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificates if they changed, for gRPC, which asks at every connection; else None."""
        current = self.current()
        if current is self._shown:
            return None
        self._shown = current
        return current.configuration

    def current(self) -> Certificates:
        """The certificates that count for a connection that begins now."""
        with self._lock:
            self._follow()
            return self._current

    def _follow(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        state = self.files.state()
        if state == self._state:
            return
        self._state = state
        try:
            self._current = self.files.read()
        except VaultError as error:
            _log.error("certificate not replaced", reason=error.reason)
            return
        _log.info("certificate replaced", version=self._current.ends["server"].date().isoformat())


def read_file(path: Path) -> bytes:
    """A file of the configuration.

    Raises:
        FailedPreconditionError: CONFIG_INVALID, it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError:
        raise FailedPreconditionError("CONFIG_INVALID", f"file {path.name} cannot be read") from None


def _certificates(pem: bytes, key: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise FailedPreconditionError("CONFIG_INVALID", f"{key} is not a certificate in PEM form") from None


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)
