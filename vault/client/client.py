"""A channel to the vault with every service's stub, and errors that carry their reason.

    with VaultClient.connect(Connection.from_folder("clients/acme-app")) as vault:
        answer = vault.call(vault.records.RevealRecord, RevealRecordRequest(...))

The stubs are the generated ones; nothing here stands between a caller and the contract.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from vault.client.errors import call_error
from vault.v1 import (
    access_service_pb2_grpc,
    audit_service_pb2_grpc,
    erasure_service_pb2_grpc,
    legal_service_pb2_grpc,
    operations_service_pb2_grpc,
    rights_service_pb2_grpc,
    tenant_service_pb2_grpc,
    vault_service_pb2_grpc,
)

Request = TypeVar("Request")
Response = TypeVar("Response")

MESSAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the vault is and who calls it.

    Attributes:
        address: `host:port`.
        ca: PEM of the authority that signed the vault's certificate.
        certificate: PEM of the client certificate, with its chain.
        private_key: PEM of the client's key.
        token: access token of a person whom the service carries; empty for a service's own calls.
    """

    address: str
    ca: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    token: str = field(default="", repr=False)

    @staticmethod
    def from_folder(folder: Path | str) -> "Connection":
        """Read `address`, `ca.pem`, `certificate.pem`, `private-key.pem` and, for a person, `token.jwt`.

        Raises:
            OSError: a file is missing or cannot be read.
        """
        path = Path(folder)
        token = path / "token.jwt"
        return Connection(
            address=(path / "address").read_text().strip(),
            ca=(path / "ca.pem").read_bytes(),
            certificate=(path / "certificate.pem").read_bytes(),
            private_key=(path / "private-key.pem").read_bytes(),
            token=token.read_text().strip() if token.exists() else "",
        )


class VaultClient:
    """Stubs of every service on one channel."""

    def __init__(self, channel: grpc.Channel, *, token: str = "", timeout: timedelta = timedelta(seconds=30)) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout
        self._health: Any = HealthStub(channel)
        self.records = vault_service_pb2_grpc.VaultServiceStub(channel)
        self.rights = rights_service_pb2_grpc.RightsServiceStub(channel)
        self.erasures = erasure_service_pb2_grpc.ErasureServiceStub(channel)
        self.legal = legal_service_pb2_grpc.LegalServiceStub(channel)
        self.tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        self.operations = operations_service_pb2_grpc.OperationsServiceStub(channel)

    @classmethod
    def connect(cls, connection: Connection, *, timeout: timedelta = timedelta(seconds=30)) -> Self:
        """A client on a channel of its own; TLS with a client certificate is the only way in."""
        credentials = grpc.ssl_channel_credentials(connection.ca, connection.private_key, connection.certificate)
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
        return cls(grpc.secure_channel(connection.address, credentials, options=options), token=connection.token, timeout=timeout)

    def call(self, method: Callable[..., Response], request: object, *, timeout: timedelta | None = None) -> Response:
        """Call a method that answers once; `request` is a message, or an iterator of them for a client stream.

        Raises:
            CallError: refused or failed, with its reason.
        """
        try:
            return method(request, timeout=(timeout or self._timeout).total_seconds(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise call_error(error) from None

    def stream(self, method: Callable[..., Iterator[Response]], request: object, *, timeout: timedelta | None = None) -> Iterator[Response]:
        """Call a method that answers with a stream.

        Raises:
            CallError: refused or failed, perhaps after some answers.
        """
        try:
            yield from method(request, timeout=(timeout or self._timeout).total_seconds(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise call_error(error) from None

    def is_serving(self, service: str = "readiness", *, timeout: timedelta | None = None) -> bool:
        """Whether the vault says that it serves.

        Args:
            service: `startup`, `liveness`, `readiness`, or a service of the contract by its full name.
            timeout: how long to wait.
        Raises:
            CallError: it does not answer, or knows no such service.
        """
        answer: HealthCheckResponse = self.call(self._health.Check, HealthCheckRequest(service=service), timeout=timeout)
        return answer.status == HealthCheckResponse.SERVING

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
