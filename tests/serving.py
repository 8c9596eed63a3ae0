"""A whole vault for tests: the real server on a loopback port, TLS as shipped, callers with real certificates and tokens.

Rules:
- The server is `vault.server.start`, in the test's own event loop; nothing between a test's call and the database is replaced.
- The clock is the test's to turn; everything else is what `pii-vault init` makes.
- People's tokens are signed by the development issuer's key, so that a test can also sign what no issuer would.
"""

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vault import server
from vault.cli import development
from vault.client.errors import CallError, call_error
from vault.config import Settings, load
from vault.operations.core import Vault
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
from vault.v1.access_service_pb2 import RegisterAgreementRequest, RegisterNdaRequest
from vault.v1.resources_pb2 import Justification
from vault.v1.tenant_service_pb2 import CreateTenantRequest, OpenJobRequest

Response = TypeVar("Response")
TENANTS = ("acme", "globex")
# Services beside those that `init` makes: one for each role that otherwise only people hold, one that may touch one tenant only, and
# one that works for some products only.
_MORE = (
    development.DevelopmentService("support", ("support",), ("*",)),
    development.DevelopmentService("account-manager", ("account-manager",), ("*",)),
    development.DevelopmentService("call-centre", ("call-centre",), ("*",)),
    development.DevelopmentService("affiliate", ("affiliate-service",), ("*",)),
    development.DevelopmentService("privacy-officer", ("privacy-officer",), ("*",)),
    development.DevelopmentService("legal-officer", ("legal-officer",), ("*",)),
    development.DevelopmentService("legal-approver", ("legal-approver",), ("*",)),
    development.DevelopmentService("order-courier", ("order-courier",), ("*",)),
    development.DevelopmentService("security-investigator", ("security-investigator",), ("*",)),
    development.DevelopmentService("fraud-investigator", ("fraud-investigator",), ("*",)),
    development.DevelopmentService("upkeep-worker", ("upkeep-worker",), ("*",)),
    development.DevelopmentService("nobody", (), ("*",)),
    development.DevelopmentService(
        "large-account", ("messaging-engine", "second-number-app"), ("*",), products=("large-account", "menterprise")
    ),
)


class Clock:
    """The real time, moved by what a test adds."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


@dataclass(slots=True)
class Caller:
    """Stubs of every service, as one identity."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...] = ()
    records: "vault_service_pb2_grpc.VaultServiceAsyncStub" = field(init=False)
    rights: "rights_service_pb2_grpc.RightsServiceAsyncStub" = field(init=False)
    erasures: "erasure_service_pb2_grpc.ErasureServiceAsyncStub" = field(init=False)
    legal: "legal_service_pb2_grpc.LegalServiceAsyncStub" = field(init=False)
    tenants: "tenant_service_pb2_grpc.TenantServiceAsyncStub" = field(init=False)
    access: "access_service_pb2_grpc.AccessServiceAsyncStub" = field(init=False)
    audit: "audit_service_pb2_grpc.AuditServiceAsyncStub" = field(init=False)
    operations: "operations_service_pb2_grpc.OperationsServiceAsyncStub" = field(init=False)

    def __post_init__(self) -> None:
        # Typed as asynchronous stubs: on an asynchronous channel the generated class is one.
        self.records = vault_service_pb2_grpc.VaultServiceStub(self.channel)
        self.rights = rights_service_pb2_grpc.RightsServiceStub(self.channel)
        self.erasures = erasure_service_pb2_grpc.ErasureServiceStub(self.channel)
        self.legal = legal_service_pb2_grpc.LegalServiceStub(self.channel)
        self.tenants = tenant_service_pb2_grpc.TenantServiceStub(self.channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(self.channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(self.channel)
        self.operations = operations_service_pb2_grpc.OperationsServiceStub(self.channel)

    async def call(self, method: Callable[..., Awaitable[Response]], request: object, **options: Any) -> Response:
        """Call a method that answers once; raises `CallError` for a refusal."""
        try:
            return await method(request, metadata=self.metadata, **{"timeout": 30, **options})
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None

    async def stream(self, method: Callable[..., Any], request: object, **options: Any) -> list[Any]:
        """Call a method that answers with a stream; everything it answered."""
        try:
            return [item async for item in method(request, metadata=self.metadata, **{"timeout": 30, **options})]
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None

    async def refused(self, method: Callable[..., Any], request: object, *, streams: bool = False, **options: Any) -> CallError:
        """Call a method that must be refused; the refusal."""
        try:
            answer = await (self.stream if streams else self.call)(method, request, **options)
        except CallError as error:
            return error
        message = f"not refused: {type(answer).__name__}"
        raise AssertionError(message)


class Serving:
    """A running vault and the identities that call it."""

    def __init__(self, home: Path, address: str, clock: Clock, running: server.Running | None = None) -> None:
        self.home = home
        self.address = address
        self.clock = clock
        self._running = running
        self._channels: dict[str, grpc.aio.Channel] = {}

    @property
    def running(self) -> server.Running:
        """The server, if it runs in this process."""
        assert self._running is not None
        return self._running

    @property
    def vault(self) -> Vault:
        """The parts of the running vault, for looking underneath."""
        return self.running.vault

    def service(self, name: str) -> Caller:
        """A service by the name of its client folder, e.g. `acme-app`."""
        return Caller(self._channel(name))

    def person(
        self, employee: str, *roles: str, tenants: Sequence[str] = ("*",), claims: Mapping[str, object] | None = None, via: str = "desk"
    ) -> Caller:
        """A person, signed in just now with a second factor."""
        return self.bearer(self.token(employee, *roles, tenants=tenants, claims=claims), via=via)

    def bearer(self, token: str, *, via: str = "desk") -> Caller:
        """Whoever holds a token, through a service that carries people."""
        return Caller(self._channel(via), (("authorization", f"Bearer {token}"),))

    def token(
        self, employee: str, *roles: str, tenants: Sequence[str] = ("*",), claims: Mapping[str, object] | None = None, key: Any = None
    ) -> str:
        """An access token; `claims` replaces or, with None, removes some."""
        now = int(self.clock().timestamp())
        body: dict[str, object] = {
            "iss": development.ISSUER,
            "aud": development.AUDIENCE,
            "sub": f"account-of-{employee}",
            "employee_id": employee,
            "roles": list(roles),
            "tenants": list(tenants),
            "amr": ["pwd", "mfa"],
            "iat": now,
            "auth_time": now,
            "exp": now + 3600,
            **(claims or {}),
        }
        kid = json.loads((self.home / "jwks.json").read_text())["keys"][0]["kid"]
        return jwt.encode({k: v for k, v in body.items() if v is not None}, key or issuer_key(self.home), "ES256", headers={"kid": kid})

    async def create_tenants(self, *tenants: str) -> None:
        """Create tenants as the operator."""
        operator = self.service("operator")
        for tenant in tenants or TENANTS:
            await operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id=tenant))

    async def sign_nda(self, *employees: str) -> None:
        """Register confidentiality agreements that are in force."""
        officer = self.person("nda-registrar", "privacy-officer")
        for employee in employees:
            request = RegisterNdaRequest(person=f"people/{employee}", document_sha256=b"\1" * 32)
            request.sign_time.FromDatetime(self.clock() - timedelta(days=1))
            request.expire_time.FromDatetime(self.clock() + timedelta(days=365))
            await officer.call(officer.access.RegisterNda, request)

    async def job(self, tenant: str = "acme") -> Justification:
        """Why the messaging engine reads lists of a tenant: a job that is scheduled for all of them (P3.5-send)."""
        admin = self.service(f"{tenant}-admin")
        request = OpenJobRequest(parent=f"tenants/{tenant}")
        request.expire_time.FromDatetime(self.clock() + timedelta(days=1))
        job = (await admin.call(admin.tenants.OpenJob, request)).job
        return Justification(purpose="service-delivery", reference=job.name, reason="sending what the customer scheduled")

    async def agree_with_affiliate(self, tenant: str = "acme") -> None:
        """Register an agreement with the affiliate that is in force (L7)."""
        officer = self.person("agreement-registrar", "privacy-officer")
        request = RegisterAgreementRequest(parent=f"tenants/{tenant}", party="affiliate", document_sha256=b"\1" * 32)
        request.sign_time.FromDatetime(self.clock() - timedelta(days=1))
        request.expire_time.FromDatetime(self.clock() + timedelta(days=365))
        await officer.call(officer.access.RegisterAgreement, request)

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, name: str) -> grpc.aio.Channel:
        if name not in self._channels:
            self._channels[name] = secure_channel(self.home / "clients" / name, self.address)
        return self._channels[name]


def secure_channel(folder: Path, address: str) -> grpc.aio.Channel:
    """A channel with the certificate of a client folder."""
    ca, key, certificate = (folder.joinpath(name).read_bytes() for name in ("ca.pem", "private-key.pem", "certificate.pem"))
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    # Channels of one test must not share connections with those of another.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.aio.secure_channel(address, credentials, options=options)


def make_home(folder: Path) -> Path:
    """A development home with a client folder for every role; made once, copied for each test."""
    home = folder / "home"
    services = development.services

    def more_services(tenants: Sequence[str]) -> list[development.DevelopmentService]:
        return [*services(tenants), *_MORE]

    development.services = more_services
    try:
        development.create(home, tenants=TENANTS, listen="localhost:0", database_url="sqlite+aiosqlite:///vault.db")
    finally:
        development.services = services
    return home


@asynccontextmanager
async def serving(template: Path, home: Path, database_url: str, **changes: object) -> AsyncIterator[Serving]:
    """A vault in a copy of a home, on a database that has the schema already; `changes` replace keys of the configuration."""
    settings = _prepared(template, home, {"database_url": database_url, **changes})
    clock = Clock()
    running = await server.start(settings, clock=clock)
    served = Serving(home, f"localhost:{running.port}", clock, running)
    try:
        yield served
    finally:
        await served.close()
        await running.stop()


def _prepared(template: Path, home: Path, changes: Mapping[str, object]) -> Settings:
    """The settings of a home of its own, with some keys replaced."""
    if not home.exists():
        shutil.copytree(template, home)
    configuration = yaml.load((home / "vault.yaml").read_text(), Loader=yaml.CSafeLoader)
    (home / "vault.yaml").write_text(yaml.dump(configuration | changes, Dumper=yaml.CSafeDumper))
    return load(home / "vault.yaml")


def issuer_key(home: Path) -> ec.EllipticCurvePrivateKey:
    """The development issuer's key."""
    key = load_pem_private_key((home / "issuer.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def why(purpose: str = "service-delivery", reference: str = "", reason: str = "needed to carry out the work of this test") -> Justification:
    """A sound justification."""
    return Justification(purpose=purpose, reference=reference, reason=reason)
