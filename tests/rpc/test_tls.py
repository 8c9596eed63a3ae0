"""The one port wants TLS 1.2 or newer and a client certificate of our authority with one known name (P3.7-tls, I9)."""

import asyncio
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import vault
from tests.certificates import DAY, Authority, Pair, uri
from tests.databases import sqlite_url
from tests.serving import Caller, Serving, serving
from vault.cli import development
from vault.client import CallError, Connection, VaultClient
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest, ListTenantsRequest, ListTenantsResponse

OPERATOR = f"spiffe://{development.TRUST_DOMAIN}/operator"
AUDITOR = f"spiffe://{development.TRUST_DOMAIN}/auditor"
SOURCES = [path for path in Path(vault.__file__).parent.rglob("*") if path.suffix in {".py", ".template"}]
ONE_POOL = [("grpc.use_local_subchannel_pool", 1)]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(home_template: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """One vault for all: what happens here happens before any database is asked."""
    folder = tmp_path_factory.mktemp("tls")
    shutil.copyfile(sqlite_template, folder / "vault.db")
    async with serving(home_template, folder / "home", sqlite_url(folder / "vault.db")) as running:
        yield running


@pytest.fixture
def authority(home_template: Path) -> Authority:
    return Authority.of_home(home_template)


async def attempt(served: Serving, credentials: grpc.ChannelCredentials) -> ListTenantsResponse | CallError:
    """A call that the operator may make, with these credentials."""
    async with grpc.aio.secure_channel(served.address, credentials, options=ONE_POOL) as channel:
        caller = Caller(channel)
        try:
            return await caller.call(caller.tenants.ListTenants, ListTenantsRequest())
        except CallError as error:
            return error


async def attempt_with(served: Serving, pair: Pair) -> ListTenantsResponse | CallError:
    return await attempt(served, grpc.ssl_channel_credentials(ca_of(served), pair.private_key, pair.certificate))


def ca_of(served: Serving) -> bytes:
    return (served.home / "ca.pem").read_bytes()


async def size_of_system_log(served: Serving) -> int:
    auditor = served.service("auditor")
    answer = await auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent="system"))
    return int(answer.log_size)


# --- who does not get as far as a call


async def test_a_plaintext_client_fails(served: Serving) -> None:
    """P3.7-tls."""
    before = await size_of_system_log(served)

    async with grpc.aio.insecure_channel(served.address, options=ONE_POOL) as channel:
        caller = Caller(channel)
        refused = await caller.refused(caller.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")
    assert await size_of_system_log(served) == before


async def test_a_client_without_certificate_fails(served: Serving) -> None:
    refused = await attempt(served, grpc.ssl_channel_credentials(ca_of(served)))

    assert isinstance(refused, CallError)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"])
async def test_health_and_reflection_want_a_certificate_too(served: Serving, method: str) -> None:
    async with grpc.aio.secure_channel(served.address, grpc.ssl_channel_credentials(ca_of(served)), options=ONE_POOL) as channel:
        call: Any = channel.unary_unary(method)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"", timeout=30)

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(Authority.foreign().issue(uri(OPERATOR)), id="foreign authority of the same name"),
        pytest.param(None, id="issued by a client"),
        pytest.param({"starts": -2 * DAY, "ends": -DAY}, id="expired"),
        pytest.param({"starts": DAY, "ends": 2 * DAY}, id="not yet valid"),
        pytest.param({"uses": [ExtendedKeyUsageOID.SERVER_AUTH]}, id="for servers only"),
    ],
)
async def test_a_certificate_that_does_not_hold_fails_in_the_handshake(
    served: Serving, authority: Authority, pair: Pair | dict[str, object] | None
) -> None:
    """P3.7-tls."""
    before = await size_of_system_log(served)
    if pair is None:
        # A client that signs certificates with its own key, and sends its own along.
        forger = Authority.of_client(served.home / "clients" / "acme-app")
        forged = forger.issue(uri(OPERATOR))
        pair = Pair(forged.certificate + forger.pem, forged.private_key)
    elif isinstance(pair, dict):
        pair = authority.issue(uri(OPERATOR), **pair)  # type: ignore[arg-type]

    refused = await attempt_with(served, pair)

    assert isinstance(refused, CallError)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")
    assert await size_of_system_log(served) == before


async def test_a_sound_certificate_made_by_a_test_is_accepted(served: Serving, authority: Authority) -> None:
    """Or the refusals here would prove nothing."""
    answer = await attempt_with(served, authority.issue(uri(OPERATOR)))

    assert isinstance(answer, ListTenantsResponse)


# --- who gets as far as a call, and no further


@pytest.mark.parametrize(
    "names",
    [
        [],
        [uri(f"spiffe://{development.TRUST_DOMAIN}/nobody-knows-me")],
        [uri("spiffe://other.example/operator")],
        [uri(OPERATOR), uri(AUDITOR)],
        [uri(OPERATOR), uri(OPERATOR)],
        [uri(OPERATOR + "/")],
        [uri(OPERATOR + " ")],
        [uri(OPERATOR.upper())],
        [uri(OPERATOR.replace("spiffe", "SPIFFE"))],
        [uri(OPERATOR.replace("spiffe", "https"))],
        [uri("spiffe://")],
        [x509.DNSName("operator")],
        [x509.RFC822Name("operator@pii-vault.localhost")],
    ],
    ids=lambda names: " and ".join(str(name.value) for name in names) or "no name",
)
async def test_a_certificate_without_exactly_one_known_spiffe_id_is_refused(
    served: Serving, authority: Authority, names: list[x509.GeneralName]
) -> None:
    """I9; and the refusal is recorded (I5)."""
    before = await size_of_system_log(served)

    refused = await attempt_with(served, authority.issue(*names))

    assert isinstance(refused, CallError)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert refused.receipt is not None
    assert (refused.receipt.log, refused.receipt.index) == ("system", before)


@pytest.mark.parametrize("name", [x509.DNSName(OPERATOR), x509.RFC822Name(OPERATOR)], ids=["DNS", "mailbox"])
async def test_a_name_of_another_kind_that_reads_like_a_spiffe_id_is_none(
    served: Serving, authority: Authority, name: x509.GeneralName
) -> None:
    """An authority that checks URIs may well let a host name or a mailbox through that looks like one (SPIFFE X.509-SVID §2)."""
    refused = await attempt_with(served, authority.issue(name))

    assert isinstance(refused, CallError)
    assert refused.reason == "CREDENTIAL_INVALID"


async def test_the_common_name_is_nobody(served: Serving) -> None:
    """The development authority writes the service's name there too; nothing reads it."""
    certificate = x509.load_pem_x509_certificate((served.home / "clients" / "operator" / "certificate.pem").read_bytes())

    assert [name.value for name in certificate.subject] == ["operator"]
    assert [name.value for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value] == [OPERATOR]


# --- versions and ciphers


def context_of(served: Serving, version: ssl.TLSVersion, *, ciphers: str = "ALL") -> ssl.SSLContext:
    """The operator's, offering this one version."""
    folder = served.home / "clients" / "operator"
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "certificate.pem", folder / "private-key.pem")
    # The local library would otherwise refuse to offer what the server is asked to refuse.
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    return context


def handshake(served: Serving, context: ssl.SSLContext) -> str | None:
    """The version that was agreed."""
    with (
        socket.create_connection(("localhost", served.running.port)) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        return secured.version()


def offered(context: ssl.SSLContext) -> bytes:
    """The client's first message."""
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(served: Serving, version: ssl.TLSVersion) -> None:
    """P3.7-tls."""
    agreed = await asyncio.to_thread(handshake, served, context_of(served, version))

    assert agreed == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_older_tls_is_refused_by_the_server(served: Serving, version: ssl.TLSVersion) -> None:
    """P3.7-tls. The server hangs up without a word, so what shows that it was asked is the hello."""
    context = context_of(served, version)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(handshake, served, context)

    # Record (5 bytes), handshake (4), then the version that is offered.
    assert offered(context)[9:11] == version.to_bytes(2)


@pytest.mark.parametrize(
    ("suite", "number"), [("ECDHE-ECDSA-AES128-SHA", 0xC009), ("ECDHE-ECDSA-AES256-SHA384", 0xC024), ("ECDHE-ECDSA-NULL-SHA", 0xC006)]
)
async def test_a_cipher_without_authenticated_encryption_is_refused(served: Serving, suite: str, number: int) -> None:
    context = context_of(served, ssl.TLSVersion.TLSv1_2, ciphers=suite)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(handshake, served, context)

    assert number.to_bytes(2) in offered(context)


# --- the client's side


async def reach(connection: Connection) -> CallError | ListTenantsResponse:
    """What our client says; in a thread, for it does not await."""

    def call() -> CallError | ListTenantsResponse:
        with VaultClient.connect(connection) as client:
            try:
                return client.call(client.tenants.ListTenants, ListTenantsRequest())
            except CallError as error:
                return error

    return await asyncio.to_thread(call)


def connection_to(served: Serving, address: str, ca: bytes | None = None) -> Connection:
    folder = served.home / "clients" / "operator"
    return Connection(address, ca or ca_of(served), (folder / "certificate.pem").read_bytes(), (folder / "private-key.pem").read_bytes())


async def test_our_client_reaches_the_vault(served: Serving) -> None:
    answer = await reach(connection_to(served, served.address))

    assert isinstance(answer, ListTenantsResponse)


async def test_our_client_refuses_a_server_of_a_foreign_authority(served: Serving) -> None:
    refused = await reach(connection_to(served, served.address, ca=Authority.foreign().pem))

    assert isinstance(refused, CallError)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")


async def test_our_client_refuses_a_server_of_another_name(
    home_template: Path, sqlite_template: Path, tmp_path: Path, authority: Authority
) -> None:
    """Another machine of the same authority, in the vault's place."""
    shutil.copyfile(sqlite_template, tmp_path / "vault.db")
    pair = authority.issue(x509.DNSName("mail.example"), uses=[ExtendedKeyUsageOID.SERVER_AUTH])
    certificate, key = pair.save(tmp_path, "other")
    tls = {"certificate": str(certificate), "private_key": str(key), "client_ca": "ca.pem"}
    async with serving(home_template, tmp_path / "home", sqlite_url(tmp_path / "vault.db"), tls=tls) as other:
        refused = await reach(connection_to(other, other.address))

    assert isinstance(refused, CallError)
    assert refused.reason == "UNREACHABLE"


async def test_our_client_says_when_nobody_listens(served: Serving) -> None:
    refused = await reach(connection_to(served, "localhost:1"))

    assert isinstance(refused, CallError)
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNREACHABLE")


# --- the code


async def test_there_is_no_insecure_port_in_the_code() -> None:
    """P3.7-tls: what is not there cannot be switched on."""
    forbidden = re.compile(
        r"add_insecure_port|insecure_channel|insecure_server_credentials|insecure_channel_credentials|local_server_credentials"
    )
    sources = {path.name: path.read_text("utf-8") for path in SOURCES}

    found = [name for name, text in sources.items() if forbidden.search(text)]

    assert len(sources) > 100
    assert found == []
