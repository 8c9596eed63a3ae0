"""Who is calling: people's access tokens, from an issuer that really signs and rotates, against a vault that really serves (L3, I9; RFC 8725).

The issuer is an HTTP server on a loopback port; what it publishes, and how it fails, is the test's to change.
"""

import asyncio
import base64
import functools
import hashlib
import hmac
import json
import math
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.databases import sqlite_url
from tests.serving import Caller, Clock, Serving, serving, why
from vault.cli import development
from vault.client.errors import CallError
from vault.errors import VaultError
from vault.names import ChildName
from vault.operations.attempt import Attempt
from vault.operations.attempt import Caller as Principal
from vault.operations.order_approval import approve_order
from vault.rpc import jwks
from vault.rpc.identity import Authenticator, ServicePrincipal, TokenRules
from vault.telemetry import configure_logging
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest, ListAuditEntriesResponse
from vault.v1.legal_service_pb2 import ApproveOrderRequest
from vault.v1.resources_pb2 import AuditEntry, FieldValue
from vault.v1.tenant_service_pb2 import CreateTenantRequest, GetTenantRequest, ListTenantsRequest, ListTenantsResponse
from vault.v1.vault_service_pb2 import CreateRecordRequest, RecordInput, RevealRecordRequest

ISSUER, AUDIENCE = "https://people.example", "pii-vault"
LEEWAY, REFRESH = 60, 300
# Longer than the vault waits before it asks the issuer again about a key it does not know.
AGAIN = timedelta(seconds=6)
DESK = f"spiffe://{development.TRUST_DOMAIN}/desk"
NARROW_DESK = f"spiffe://{development.TRUST_DOMAIN}/acme-app"

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def signing_key(algorithm: str, name: str = "") -> SigningKey:
    """A key of the kind an algorithm needs; the same for the same name."""
    assert name is not None
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_jwk(key: SigningKey) -> dict[str, Any]:
    """The public half as a JWK, without an id."""
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        return ECAlgorithm.to_jwk(public, as_dict=True)
    if isinstance(public, rsa.RSAPublicKey):
        return RSAAlgorithm.to_jwk(public, as_dict=True)
    return OKPAlgorithm.to_jwk(public, as_dict=True)


class Issuer:
    """Publishes keys and signs with them.

    Attributes:
        published: the set's members, as they stand.
        requests: how often the set was asked for.
        raw: whole HTTP answer to give instead of the set.
        gate: answers wait until it is set.
    """

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.requests = 0
        self.raw: bytes | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self._server = self._serve(0)
        self.port = self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    def publish(self, *kids: str, algorithm: str = "ES256") -> None:
        """Publish exactly these keys, of one kind."""
        self.published = [self.entry(kid, algorithm=algorithm) for kid in kids]

    def entry(self, kid: str, *, algorithm: str = "ES256") -> dict[str, Any]:
        """A member of the set."""
        return {**public_jwk(signing_key(algorithm, kid)), "kid": kid, "use": "sig", "alg": algorithm}

    def document(self) -> bytes:
        """The set."""
        return json.dumps({"keys": self.published}).encode()

    def token(
        self,
        *,
        now: float,
        kid: str | None = "one",
        algorithm: str = "ES256",
        headers: Mapping[str, object] | None = None,
        **claims: Any,
    ) -> str:
        """A token of an auditor of every tenant, signed; a claim that is None is left out."""
        body: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "account-of-dana",
            "employee_id": "dana",
            "roles": ["auditor"],
            "tenants": ["*"],
            "amr": ["pwd", "mfa"],
            "iat": int(now),
            "auth_time": int(now),
            "exp": int(now) + 3600,
            **claims,
        }
        said = {name: value for name, value in body.items() if value is not None}
        header = {**({"kid": kid} if kid is not None else {}), **(headers or {})}
        # Not `jwt.encode`: it refuses to sign some of what tests want signed.
        return jwt.PyJWS().encode(json.dumps(said).encode(), signing_key(algorithm, kid or "one"), algorithm, headers=header)

    def stop(self) -> None:
        """Be gone: connections are refused."""
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def restart(self) -> None:
        """Be back, where it was."""
        self._server = self._serve(self.port)

    def _serve(self, port: int) -> ThreadingHTTPServer:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                issuer.waiting.set()
                issuer.gate.wait(60)
                self.wfile.write(issuer.raw if issuer.raw is not None else answered(issuer.document()))
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Keep quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server


def answered(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole HTTP answer."""
    return f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def oidc(source: str) -> dict[str, object]:
    """The section of the configuration."""
    return {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks": source,
        "algorithms": ["ES256", "RS256", "EdDSA"],
        "leeway_seconds": LEEWAY,
        "refresh_seconds": REFRESH,
    }


def principals(home: Path) -> dict[str, Any]:
    """Principals as `init` makes them, and a service of one tenant that carries people as well."""
    known: dict[str, Any] = yaml.safe_load((home / "vault.yaml").read_text())["principals"]
    known[NARROW_DESK]["carries_people"] = True
    return known


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    made.publish("one")
    yield made
    made.stop()


@pytest.fixture
async def served(issuer: Issuer, home_template: Path, tmp_path: Path, migrated_url: str) -> AsyncIterator[Serving]:
    """A vault that takes the issuer's people."""
    async with serving(
        home_template, tmp_path / "home", migrated_url, oidc=oidc(issuer.url), principals=principals(home_template)
    ) as vault:
        yield vault


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    home_template: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Serving, Issuer]]:
    """One vault and one issuer for every test that leaves both as they are."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copyfile(sqlite_template, folder / "vault.db")
    issuer = Issuer()
    issuer.published = [issuer.entry("one"), issuer.entry("rsa", algorithm="RS256"), issuer.entry("ed", algorithm="EdDSA")]
    changes = {"oidc": oidc(issuer.url), "principals": principals(home_template)}
    async with serving(home_template, folder / "home", sqlite_url(folder / "vault.db"), **changes) as vault:
        await vault.create_tenants()
        yield vault, issuer
    issuer.stop()


# What does not depend on the database, and changes nothing, runs once and on the shared vault.
once = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_shared = pytest.mark.asyncio(loop_scope="module")


async def try_token(served: Serving, token: str, *, via: str = "desk") -> CallError | ListTenantsResponse:
    """A call that any auditor may make."""
    person = served.bearer(token, via=via)
    try:
        return await person.call(person.tenants.ListTenants, ListTenantsRequest())
    except CallError as error:
        return error


async def refusal(served: Serving, token: str, *, via: str = "desk") -> CallError:
    answer = await try_token(served, token, via=via)
    assert isinstance(answer, CallError)
    return answer


def now(served: Serving) -> float:
    return served.clock().timestamp()


def claiming(claim: str, value: object) -> dict[str, Any]:
    return {claim: value}


def unsigned(claims: Mapping[str, object], header: Mapping[str, object]) -> str:
    return f"{segment(json.dumps(header).encode())}.{segment(json.dumps(claims).encode())}."


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def resigned(token: str, signature: Callable[[bytes], bytes], **header: object) -> str:
    """The token's claims under another header and signature."""
    signing_input = f"{segment(json.dumps(header).encode())}.{token.split('.')[1]}"
    return f"{signing_input}.{segment(signature(signing_input.encode()))}"


# --- what is accepted


@on_shared
@pytest.mark.parametrize(("kid", "algorithm"), [("one", "ES256"), ("rsa", "RS256"), ("ed", "EdDSA")])
async def test_a_token_signed_by_a_published_key_is_accepted(shared: tuple[Serving, Issuer], kid: str, algorithm: str) -> None:
    served, issuer = shared

    answer = await try_token(served, issuer.token(now=now(served), kid=kid, algorithm=algorithm))

    assert isinstance(answer, ListTenantsResponse)
    assert [tenant.name for tenant in answer.tenants] == ["tenants/acme", "tenants/globex"]


@on_shared
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other-app", AUDIENCE]},
        {"amr": ["mfa"]},
        {"roles": ["auditor", "emperor", 5, None]},
        {"nbf": None},
        {"auth_time": None},
        {"unheard_of": {"a": [1, 2]}},
        {"employee_id": "A.b_c-9"},
        {"employee_id": "x" * 64},
    ],
    ids=str,
)
async def test_a_token_that_says_more_or_less_than_usual_is_accepted(shared: tuple[Serving, Issuer], claims: dict[str, Any]) -> None:
    served, issuer = shared

    answer = await try_token(served, issuer.token(now=now(served), **claims))

    assert isinstance(answer, ListTenantsResponse)


@on_shared
@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
async def test_clocks_may_differ_by_the_leeway(shared: tuple[Serving, Issuer], claim: str) -> None:
    served, issuer = shared
    off = {"exp": -LEEWAY // 2, "iat": LEEWAY // 2, "nbf": LEEWAY // 2}[claim]

    answer = await try_token(served, issuer.token(now=now(served), **claiming(claim, int(now(served)) + off)))

    assert isinstance(answer, ListTenantsResponse)


@on_shared
async def test_a_large_token_is_accepted(shared: tuple[Serving, Issuer]) -> None:
    served, issuer = shared

    token = issuer.token(now=now(served), groups=["g" * 50] * 60)
    answer = await try_token(served, token)

    assert 4000 < len(token) < 8000
    assert isinstance(answer, ListTenantsResponse)


# --- what is not


@on_shared
@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other-app"},
        {"aud": ["other-app"]},
        {"aud": None},
        {"aud": []},
        {"aud": {AUDIENCE: True}},
        {"iss": "https://people.example/"},
        {"iss": "https://other.example"},
        {"iss": [ISSUER]},
        {"iss": None},
        {"sub": None},
        {"sub": 5},
        {"iat": None},
        {"exp": None},
        {"exp": "4102444800"},
        {"exp": True},
        {"exp": [4102444800]},
        {"exp": math.nan},
        {"exp": math.inf},
        {"exp": -math.inf},
        {"exp": 10**30},
        {"exp": -(10**30)},
        {"iat": math.nan},
        {"iat": "0"},
        {"iat": -math.inf},
        {"iat": -(10**30)},
        {"nbf": math.nan},
        {"nbf": "soon"},
        {"auth_time": math.nan},
        {"auth_time": "now"},
        {"auth_time": 10**30},
        {"employee_id": None},
        {"employee_id": ""},
        {"employee_id": 7},
        {"employee_id": ["dana"]},
        {"employee_id": "dana\n"},
        {"employee_id": "dana levi"},
        {"employee_id": "../dana"},
        {"employee_id": "people/dana"},
        {"employee_id": "-dana"},
        {"employee_id": "דנה"},
        {"employee_id": "x" * 65},
    ],
    ids=str,
)
async def test_a_signed_token_with_a_wrong_claim_is_refused(shared: tuple[Serving, Issuer], claims: dict[str, Any]) -> None:
    """L3, RFC 8725 §3.8 to §3.10."""
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served), **claims))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@on_shared
@pytest.mark.parametrize(
    ("claim", "moment"),
    # The last and the first second that a date can have: adding a leeway to them overflows.
    [("exp", -62135596800), ("iat", 253402300799), ("nbf", 253402300799), ("auth_time", 253402300799)],
)
async def test_a_time_at_the_end_of_the_calendar_is_no_crash(shared: tuple[Serving, Issuer], claim: str, moment: int) -> None:
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served), **claiming(claim, moment)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@on_shared
@pytest.mark.parametrize(("claim", "moment"), [("exp", 253402300799), ("iat", -62135596800)])
async def test_a_time_at_the_end_of_the_calendar_may_be_sound(shared: tuple[Serving, Issuer], claim: str, moment: int) -> None:
    """Harm: `exp` of 9999-12-31 plus the leeway overflowed, and the call was answered with INTERNAL."""
    served, issuer = shared

    answer = await try_token(served, issuer.token(now=now(served), **claiming(claim, moment)))

    assert isinstance(answer, ListTenantsResponse)


@on_shared
@pytest.mark.parametrize(("claim", "off"), [("exp", -LEEWAY - 1), ("iat", 2 * LEEWAY), ("nbf", 2 * LEEWAY), ("auth_time", 2 * LEEWAY)])
async def test_a_token_outside_its_time_is_refused(shared: tuple[Serving, Issuer], claim: str, off: int) -> None:
    """Harm: a second factor proved next year stayed fresh until then."""
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served), **claiming(claim, int(now(served)) + off)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@once
async def test_a_token_expires_by_the_clock_of_the_vault(served: Serving, issuer: Issuer) -> None:
    token = issuer.token(now=now(served))

    before = await try_token(served, token)
    served.clock.offset += timedelta(seconds=3600 + LEEWAY)
    after = await refusal(served, token)

    assert isinstance(before, ListTenantsResponse)
    assert after.reason == "CREDENTIAL_INVALID"


def _none(token: str) -> str:
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return unsigned(claims, {"alg": "none", "kid": "one"})


def _confused(token: str) -> str:
    """HS256 under the published PEM as the secret (RFC 8725 §2.1)."""
    pem = signing_key("ES256", "one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return resigned(token, lambda data: hmac.new(pem, data, hashlib.sha256).digest(), alg="HS256", kid="one")


def _edited(token: str) -> str:
    header, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"roles": ["operator"]}
    return f"{header}.{segment(json.dumps(claims).encode())}.{signature}"


def _self_issued(token: str) -> str:
    """A key that comes with the token (RFC 8725 §3.10: `jwk`, `jku`, `x5u` are claims of the sender)."""
    own = ec.generate_private_key(ec.SECP256R1())
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return jwt.encode(claims, own, "ES256", headers={"kid": "one", "jwk": public_jwk(own), "jku": "http://127.0.0.1:1/keys"})


def _resigned(signature: Callable[[bytes], bytes] = lambda _: bytes(64), **header: object) -> Callable[[str], str]:
    return lambda token: resigned(token, signature, **header)


FORGERIES: dict[str, Callable[[str], str]] = {
    "no algorithm": _none,
    "the public key as a secret": _confused,
    "other claims": _edited,
    "a key that comes with the token": _self_issued,
    "an empty signature": lambda token: token.rsplit(".", 1)[0] + ".",
    "no signature": lambda token: token.rsplit(".", 1)[0],
    "a signature of zeros": lambda token: token.rsplit(".", 1)[0] + "." + segment(bytes(64)),
    "zeros under a header of its own": _resigned(alg="ES256", kid="one"),
    "a list of algorithms": _resigned(alg=["ES256"], kid="one"),
    "an algorithm that is null": _resigned(alg=None, kid="one"),
    "a header without algorithm": _resigned(kid="one"),
    "another algorithm than the key's": _resigned(lambda _: bytes(256), alg="RS256", kid="one"),
    "a list of key ids": _resigned(alg="ES256", kid=["one"]),
    "an object as key id": _resigned(alg="ES256", kid={}),
    "nothing": lambda _: "",
    "a word": lambda _: "dana",
    "three words": lambda _: "a.b.c",
    "two dots": lambda _: "..",
    "a header too deep": lambda _: f"{segment(b'[' * 3000)}.e30.e30",
    "a header that is a list": lambda _: f"{segment(b'[]')}.e30.e30",
    "a header that is no text": lambda _: f"{segment(bytes([255] * 9))}.e30.e30",
    "two tokens": lambda token: token + token,
    "dots doubled": lambda token: token.replace(".", ".."),
}


@on_shared
@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_or_broken_token_is_refused(shared: tuple[Serving, Issuer], forge: Callable[[str], str]) -> None:
    served, issuer = shared

    refused = await refusal(served, forge(issuer.token(now=now(served))))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@on_shared
@pytest.mark.parametrize(
    ("kid", "algorithm", "headers"),
    [
        (None, "ES256", {}),  # no key id
        ("", "ES256", {}),
        ("unknown", "ES256", {}),
        ("rsa", "ES256", {}),  # the id of another kind of key
        ("ed", "RS256", {}),
        ("one", "ES256", {"crit": ["exp"]}),
        ("one", "ES256", {"crit": ["b64"], "b64": False}),
        ("rsa", "RS512", {}),  # the right key under an algorithm that nobody accepts
        ("rsa", "PS256", {}),
    ],
)
async def test_a_signed_token_with_a_wrong_header_is_refused(
    shared: tuple[Serving, Issuer], kid: str | None, algorithm: str, headers: dict[str, object]
) -> None:
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served), kid=kid, algorithm=algorithm, headers=headers))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@on_shared
@pytest.mark.parametrize("scheme", ["Basic {}", "bearer {}", "{}", "Bearer{}", "Bearer  {}", "DPoP {}", "Bearer", ""])
async def test_another_scheme_than_bearer_is_refused(shared: tuple[Serving, Issuer], scheme: str) -> None:
    served, issuer = shared
    desk = served.service("desk")
    caller = Caller(desk.channel, (("authorization", scheme.format(issuer.token(now=now(served)))),))

    refused = await caller.refused(caller.tenants.ListTenants, ListTenantsRequest())

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@on_shared
@pytest.mark.parametrize("amr", [None, [], ["pwd"], "mfa", ["MFA"], {"mfa": True}, [["mfa"]], ["pwd", "mfa "]], ids=str)
async def test_a_person_without_a_second_factor_is_refused(shared: tuple[Serving, Issuer], amr: object) -> None:
    """L3."""
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served), amr=amr))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "MFA_REQUIRED")
    assert refused.receipt is not None


@on_shared
@pytest.mark.parametrize("name", ["operator", "acme-admin", "auditor"])
async def test_a_service_that_may_not_carry_people_is_refused_a_good_token(shared: tuple[Serving, Issuer], name: str) -> None:
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served)), via=name)

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@once
async def test_a_vault_without_an_issuer_takes_no_people(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    async with serving(home_template, tmp_path / "home", migrated_url, oidc=None) as served:
        refused = await refusal(served, served.token("dana", "auditor"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


async def test_a_token_of_more_than_8_kib_is_not_parsed(tmp_path: Path) -> None:
    """Below the transport, whose own limit on metadata is near and random."""
    source = tmp_path / "jwks.json"
    issuer_entry = {**public_jwk(signing_key("ES256", "one")), "kid": "one"}
    source.write_text(json.dumps({"keys": [issuer_entry]}))
    authenticator = authenticator_of(source)
    sizes = [len("Bearer " + padded_token(length)) for length in (0, 1)]
    missing = 8192 - sizes[0]

    largest, too_large = (padded_token(missing * 3 // 4 + more) for more in (-8, 8))
    accepted = await authenticator.authenticate([DESK.encode()], f"Bearer {largest}", method="m", trace_id="0" * 32)
    with pytest.raises(VaultError) as raised:
        await authenticator.authenticate([DESK.encode()], f"Bearer {too_large}", method="m", trace_id="0" * 32)

    assert len(f"Bearer {largest}") <= 8192 < len(f"Bearer {too_large}")
    assert accepted.principal == "people/dana"
    assert raised.value.reason == "CREDENTIAL_INVALID"


@pytest.mark.parametrize(
    ("claimed", "only_managed", "unmanaged"),
    [
        (True, True, False),
        (True, False, False),
        (False, False, True),
        ("true", False, True),
        (1, False, True),
        (None, False, False),
        (None, True, True),
    ],
)
async def test_a_device_is_managed_if_the_token_says_so_by_true(
    tmp_path: Path, claimed: object, only_managed: bool, unmanaged: bool
) -> None:
    """L8: what a token without the claim means is for the configuration to say."""
    source = tmp_path / "jwks.json"
    source.write_text(json.dumps({"keys": [{**public_jwk(signing_key("ES256", "one")), "kid": "one"}]}))
    token = Issuer.token(Issuer.__new__(Issuer), now=time.time(), device_managed=claimed)

    authenticator = authenticator_of(source, managed_devices_only=only_managed)
    caller = await authenticator.authenticate([DESK.encode()], f"Bearer {token}", method="m", trace_id="0" * 32)

    assert caller.device_unmanaged is unmanaged


def padded_token(length: int) -> str:
    """A sound token with so much more in it, from an issuer that need not run."""
    return Issuer.token(Issuer.__new__(Issuer), now=time.time(), padding="p" * length)


def authenticator_of(source: Path, *, managed_devices_only: bool = False) -> Authenticator:
    """The rules of these tests over keys in a file, without a server around them."""
    clock = Clock()
    rules = TokenRules(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=("ES256",),
        leeway=timedelta(seconds=LEEWAY),
        employee_claim="employee_id",
        roles_claim="roles",
        tenants_claim="tenants",
        products_claim="products",
        device_claim="device_managed",
        managed_devices_only=managed_devices_only,
    )
    return Authenticator(
        {DESK: ServicePrincipal(frozenset(), None, carries_people=True)},
        rules=rules,
        jwks=jwks.Jwks(str(source), refresh=timedelta(seconds=REFRESH), clock=clock),
        known_roles=frozenset({"auditor"}),
        clock=clock,
    )


# --- roles and tenants


@on_shared
@pytest.mark.parametrize("roles", [None, [], ["emperor"], "auditor", {"auditor": True}, [["auditor"]], ["AUDITOR"]], ids=str)
async def test_a_role_that_the_catalogue_does_not_know_is_none(shared: tuple[Serving, Issuer], roles: object) -> None:
    """I9."""
    served, issuer = shared

    refused = await refusal(served, issuer.token(now=now(served), roles=roles))

    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")


@on_shared
@pytest.mark.parametrize(
    ("claim", "via", "visible"),
    [
        (["*"], "desk", ["acme", "globex"]),
        (["acme"], "desk", ["acme"]),
        (["acme", "globex", "initech"], "desk", ["acme", "globex"]),
        (["*", "acme"], "desk", ["acme"]),  # the star stands alone, or for nothing
        ([], "desk", []),
        (None, "desk", []),
        ("*", "desk", []),
        ("acme", "desk", []),
        ([["acme"]], "desk", []),
        (["*"], "acme-app", ["acme"]),
        (["acme"], "acme-app", ["acme"]),
        (["globex"], "acme-app", []),
        (None, "acme-app", []),
    ],
    ids=str,
)
async def test_a_person_touches_the_tenants_of_both_claim_and_service(
    shared: tuple[Serving, Issuer], claim: object, via: str, visible: list[str]
) -> None:
    """I11: every other tenant answers as one that does not exist."""
    served, issuer = shared
    person = served.bearer(issuer.token(now=now(served), tenants=claim), via=via)

    seen, reasons = set(), set()
    for tenant in ("acme", "globex", "initech"):
        try:
            await person.call(person.tenants.GetTenant, GetTenantRequest(name=f"tenants/{tenant}"))
            seen.add(tenant)
        except CallError as error:
            reasons.add((error.code, error.reason))
    listed = await person.call(person.tenants.ListTenants, ListTenantsRequest())

    assert sorted(seen) == visible
    assert reasons <= {(grpc.StatusCode.NOT_FOUND, "TENANT_NOT_FOUND")}
    assert [tenant.name.removeprefix("tenants/") for tenant in listed.tenants] == visible


@on_shared
async def test_a_person_does_not_get_the_roles_of_the_service(shared: tuple[Serving, Issuer]) -> None:
    served, issuer = shared
    person = served.bearer(issuer.token(now=now(served), roles=["auditor"]), via="acme-app")
    record = RecordInput(category="end-customer-contact", fields={"phone": FieldValue(text="050-2345678")})

    refused = await person.refused(person.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record))

    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")


# --- the second factor, when an order is approved

ORDER = f"tenants/acme/orders/{'a' * 26}"


@on_shared
@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(minutes=10), "ORDER_NOT_FOUND"),  # fresh enough: the next check speaks
        (timedelta(minutes=15, seconds=1), "MFA_REQUIRED"),
        (timedelta(days=1), "MFA_REQUIRED"),
        (None, "MFA_REQUIRED"),
    ],
    ids=str,
)
async def test_an_order_is_approved_with_a_second_factor_of_the_last_15_minutes(
    shared: tuple[Serving, Issuer], age: timedelta | None, reason: str
) -> None:
    """L3, §5.4 step 6."""
    served, issuer = shared
    auth_time = None if age is None else int((served.clock() - age).timestamp())
    person = served.bearer(issuer.token(now=now(served), roles=["legal-approver"], auth_time=auth_time))

    refused = await person.refused(person.legal.ApproveOrder, ApproveOrderRequest(name=ORDER, scope_digest="0" * 64))

    assert refused.reason == reason


@on_shared
@pytest.mark.parametrize("age", [timedelta(minutes=16), None], ids=str)
async def test_the_flow_itself_wants_a_fresh_second_factor(shared: tuple[Serving, Issuer], age: timedelta | None) -> None:
    served, _ = shared
    caller = Principal(
        principal="people/dana",
        kind="person",
        roles=frozenset({"legal-approver"}),
        tenants=None,
        method="test",
        trace_id="0" * 32,
        auth_method="mtls+oidc",
        employee_id="dana",
        mfa_time=None if age is None else served.clock() - age,
    )

    with pytest.raises(VaultError) as raised:
        await approve_order(served.vault, Attempt(caller), ChildName("acme", "orders", "a" * 26), scope_digest="0" * 64)

    assert raised.value.reason == "MFA_REQUIRED"


# --- the issuer's keys while they change


@once
async def test_a_new_key_is_accepted_after_a_rotation(served: Serving, issuer: Issuer) -> None:
    before = await try_token(served, issuer.token(now=now(served)))

    issuer.publish("one", "two")
    at_once = await refusal(served, issuer.token(now=now(served), kid="two"))
    served.clock.offset += AGAIN
    later = await try_token(served, issuer.token(now=now(served), kid="two"))

    assert isinstance(before, ListTenantsResponse)
    assert at_once.reason == "CREDENTIAL_INVALID"
    assert isinstance(later, ListTenantsResponse)
    assert issuer.requests == 2


@once
async def test_a_removed_key_is_dead_once_the_set_is_read_again(served: Serving, issuer: Issuer) -> None:
    old = issuer.token(now=now(served))
    assert isinstance(await try_token(served, old), ListTenantsResponse)

    issuer.publish("two")
    until_refresh = await try_token(served, old)
    served.clock.offset += timedelta(seconds=REFRESH)
    after_refresh = await refusal(served, old)

    assert isinstance(until_refresh, ListTenantsResponse)
    assert (after_refresh.code, after_refresh.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")


@once
async def test_a_removed_key_is_dead_when_a_new_one_made_the_set_be_read(served: Serving, issuer: Issuer) -> None:
    old = issuer.token(now=now(served))
    await try_token(served, old)

    issuer.publish("two")
    served.clock.offset += AGAIN
    new = await try_token(served, issuer.token(now=now(served), kid="two"))
    refused = await refusal(served, old)

    assert isinstance(new, ListTenantsResponse)
    assert refused.reason == "CREDENTIAL_INVALID"


@once
async def test_a_key_of_the_same_id_is_replaced(served: Serving, issuer: Issuer) -> None:
    """A leaked key that is replaced under its old id."""
    leaked = issuer.token(now=now(served))
    await try_token(served, leaked)

    issuer.published = [issuer.entry("one") | public_jwk(ec.generate_private_key(ec.SECP256R1()))]
    served.clock.offset += timedelta(seconds=REFRESH)
    refused = await refusal(served, leaked)

    assert refused.reason == "CREDENTIAL_INVALID"


@once
async def test_a_flood_of_invented_key_ids_is_no_flood_of_requests(served: Serving, issuer: Issuer) -> None:
    await try_token(served, issuer.token(now=now(served)))
    served.clock.offset += AGAIN

    answers = await asyncio.gather(*(try_token(served, issuer.token(now=now(served), kid=f"invented-{n}")) for n in range(40)))

    assert {getattr(answer, "reason", None) for answer in answers} == {"CREDENTIAL_INVALID"}
    # The first look, and one more because of the first invented id.
    assert issuer.requests == 2


@once
async def test_many_people_at_once_make_one_request(served: Serving, issuer: Issuer) -> None:
    answers = await asyncio.gather(*(try_token(served, issuer.token(now=now(served))) for _ in range(20)))

    assert {type(answer) for answer in answers} == {ListTenantsResponse}
    assert issuer.requests == 1


# --- the issuer while it is away


@once
async def test_known_keys_go_on_while_the_issuer_is_away(served: Serving, issuer: Issuer) -> None:
    token = issuer.token(now=now(served))
    await try_token(served, token)

    issuer.stop()
    served.clock.offset += timedelta(seconds=REFRESH + 1)
    known = await try_token(served, token)
    unknown = await refusal(served, issuer.token(now=now(served), kid="two"))
    issuer.restart()

    assert isinstance(known, ListTenantsResponse)
    assert unknown.reason == "CREDENTIAL_INVALID"


@once
async def test_without_keys_people_are_told_to_come_back_and_services_are_served(served: Serving, issuer: Issuer) -> None:
    token = issuer.token(now=now(served))
    issuer.stop()

    away = await refusal(served, token)
    operator = served.service("operator")
    served_all_the_same = await operator.call(operator.tenants.ListTenants, ListTenantsRequest())
    issuer.restart()
    served.clock.offset += AGAIN
    back = await try_token(served, token)

    assert (away.code, away.reason) == (grpc.StatusCode.UNAVAILABLE, "IDENTITY_UNAVAILABLE")
    assert away.retry_after == 5
    assert list(served_all_the_same.tenants) == []
    assert isinstance(back, ListTenantsResponse)


BAD_ANSWERS = {
    "an error": answered(b"{}", "500 Internal Server Error"),
    "a page": answered(b"<html>sign in</html>"),
    "no text": answered(b"\xff\xfe\x00"),
    "no object": answered(b"[]"),
    "no list": answered(b'{"keys": {}}'),
    "nothing": answered(b""),
    "too deep": answered(b"[" * 100_000),
    "cut off": answered(b'{"keys": []}', headers="")[:-5],
    "too large": answered(b'{"keys": [' + b" " * (1 << 20) + b"]}"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "hung up": b"",
    "a header without end": b"HTTP/1.0 200 OK\r\nX: " + b"x" * 100_000,
    "a redirect": b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9/keys\r\n\r\n",
}


@once
@pytest.mark.parametrize("raw", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_known_keys_go_on_whatever_the_issuer_answers(served: Serving, issuer: Issuer, raw: bytes) -> None:
    """Harm: an answer that was no HTTP made every person's call INTERNAL."""
    token = issuer.token(now=now(served))
    await try_token(served, token)

    issuer.raw = raw
    served.clock.offset += timedelta(seconds=REFRESH)
    known = await try_token(served, token)

    assert isinstance(known, ListTenantsResponse)
    assert issuer.requests == 2


@once
@pytest.mark.parametrize("raw", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_a_first_answer_that_is_no_set_is_no_answer(served: Serving, issuer: Issuer, raw: bytes) -> None:
    issuer.raw = raw

    refused = await refusal(served, issuer.token(now=now(served)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "IDENTITY_UNAVAILABLE")


@once
async def test_the_issuer_sends_nobody_elsewhere(served: Serving, issuer: Issuer) -> None:
    """A redirect would fetch keys from a place that nobody configured, and perhaps without TLS."""
    elsewhere = Issuer()
    elsewhere.publish("one")
    issuer.raw = f"HTTP/1.0 302 Found\r\nLocation: {elsewhere.url}\r\n\r\n".encode()

    refused = await refusal(served, issuer.token(now=now(served)))
    elsewhere.stop()

    assert refused.reason == "IDENTITY_UNAVAILABLE"
    assert elsewhere.requests == 0


@once
async def test_a_member_of_the_set_that_is_no_usable_key_is_passed_over(served: Serving, issuer: Issuer) -> None:
    """Harm: one key without algorithm, `"alg": "none"`, made the whole set unreadable, and every call INTERNAL."""
    symmetric = {"kty": "oct", "kid": "oct", "k": segment(b"s" * 32), "alg": "HS256"}
    good = issuer.entry("one")
    issuer.published = [
        "text",
        None,
        [],
        {},
        symmetric,
        good | {"kid": "none", "alg": "none"},
        good | {"kid": "hmac", "alg": "HS256"},
        good | {"kid": "list", "alg": ["ES256"]},
        good | {"kid": "number", "x": 5},
        good | {"kid": "bad base64", "x": "=!"},
        good | {"kid": "off curve", "y": good["x"]},
        good | {"kid": "strange curve", "crv": "P-999"},
        good | {"kid": "for encryption", "use": "enc"},
        {name: value for name, value in good.items() if name != "kid"},
        {"kty": "RSA", "kid": "no modulus", "e": "AQAB"},
        {"kty": "OKP", "kid": "x25519", "crv": "X25519", "x": segment(bytes(32))},
        good,
    ]

    answer = await try_token(served, issuer.token(now=now(served)))
    refused = [
        await refusal(served, resigned(issuer.token(now=now(served)), lambda data: hmac.new(b"s" * 32, data, "sha256").digest(), **header))
        for header in ({"alg": "HS256", "kid": "oct"}, {"alg": "ES256", "kid": "oct"}, {"alg": "ES256", "kid": "for encryption"})
    ]

    assert isinstance(answer, ListTenantsResponse)
    assert {error.reason for error in refused} == {"CREDENTIAL_INVALID"}


@once
async def test_a_key_too_short_to_be_safe_is_refused(served: Serving, issuer: Issuer) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    issuer.published = [public_jwk(weak) | {"kid": "weak", "alg": "RS256"}]
    claims = jwt.decode(issuer.token(now=now(served)), options={"verify_signature": False})
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = jwt.encode(claims, weak, "RS256", headers={"kid": "weak"})

    refused = await refusal(served, token)

    assert refused.reason == "CREDENTIAL_INVALID"


@once
async def test_an_issuer_that_does_not_answer_holds_up_one_call_not_all(
    served: Serving, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Harm: with an issuer that accepts and never answers, people's calls waited for each other's timeouts, one after the other."""
    monkeypatch.setattr(jwks, "_TIMEOUT", timedelta(seconds=60))
    token = issuer.token(now=now(served))
    await try_token(served, token)

    issuer.gate.clear()
    issuer.waiting.clear()
    served.clock.offset += timedelta(seconds=REFRESH)
    held_up = asyncio.create_task(try_token(served, token))
    await asyncio.to_thread(issuer.waiting.wait)
    others = await asyncio.gather(*(try_token(served, token) for _ in range(5)))
    is_held_up = not held_up.done()
    issuer.gate.set()
    released = await held_up

    assert is_held_up
    assert {type(answer) for answer in [*others, released]} == {ListTenantsResponse}
    assert issuer.requests == 2


# --- keys in a file


@once
async def test_a_set_in_a_file_is_followed_while_it_is_rotated_in_place(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    source = tmp_path / "keys.json"
    issuer = Issuer()
    issuer.publish("one")
    source.write_bytes(issuer.document())
    async with serving(home_template, tmp_path / "home", migrated_url, oidc=oidc(str(source))) as served:
        old = issuer.token(now=now(served))
        before = await try_token(served, old)

        source.write_bytes(issuer.document()[:20])  # somebody is still writing it
        served.clock.offset += timedelta(seconds=REFRESH)
        half_written = await try_token(served, old)
        issuer.publish("two")
        source.write_bytes(issuer.document())
        served.clock.offset += timedelta(seconds=REFRESH)
        new = await try_token(served, issuer.token(now=now(served), kid="two"))
        after = await refusal(served, old)
    issuer.stop()

    assert {type(answer) for answer in (before, half_written, new)} == {ListTenantsResponse}
    assert after.reason == "CREDENTIAL_INVALID"
    assert issuer.requests == 0


@once
async def test_a_file_that_is_not_there_yet_is_waited_for(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    source = tmp_path / "keys.json"
    async with serving(home_template, tmp_path / "home", migrated_url, oidc=oidc(str(source))) as served:
        token = padded_token(0)

        missing = await refusal(served, token)
        source.write_text(json.dumps({"keys": [public_jwk(signing_key("ES256", "one")) | {"kid": "one"}]}))
        served.clock.offset += AGAIN
        found = await try_token(served, token)

    assert missing.reason == "IDENTITY_UNAVAILABLE"
    assert isinstance(found, ListTenantsResponse)


# --- what the log says


async def test_both_identities_are_recorded_with_what_was_released(served: Serving, issuer: Issuer) -> None:
    """L3, I6: who acted, and through which service."""
    await served.create_tenants("acme")
    app = served.service("acme-app")
    record = RecordInput(category="end-customer-contact", fields={"phone": FieldValue(text="050-2345678")})
    created = await app.call(app.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record))
    person = served.bearer(issuer.token(now=now(served), roles=["tenant-app"]), via="acme-app")

    refused = await person.refused(person.records.RevealRecord, RevealRecordRequest(name=created.record.name, justification=why()))
    [*_, entry] = await entries(served, "tenants/acme")

    assert (entry.actor, entry.on_behalf_of, said(entry)["auth_method"]) == ("people/dana", NARROW_DESK, "mtls+oidc")
    assert (entry.decision, entry.reason) == ("REFUSED", "NDA_INVALID")
    assert refused.receipt is not None
    assert entry.name == f"tenants/acme/auditEntries/{refused.receipt.index}"


async def test_both_identities_are_recorded_with_what_was_refused_at_the_edge(served: Serving, issuer: Issuer) -> None:
    person = served.bearer(issuer.token(now=now(served), roles=["auditor"]))

    await person.refused(person.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
    [entry] = await entries(served, "system")

    assert (entry.actor, entry.on_behalf_of, entry.reason) == ("people/dana", DESK, "ROLE_NOT_ALLOWED")


@pytest.mark.usefixtures("logging_restored")
async def test_a_refused_credential_is_recorded_without_a_word_of_the_token(
    served: Serving, issuer: Issuer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """I2, I5: the refusal is in the system log; the token, true or false, is nowhere."""
    configure_logging("debug")
    tokens = [
        issuer.token(now=now(served), employee_id="canary-one", sub="canary-two", aud="canary-three"),
        issuer.token(now=now(served), employee_id="canary-four", exp=1),
        issuer.token(now=now(served), employee_id="canary-five", kid="canary-six"),
        issuer.token(now=now(served), employee_id="canary seven", roles=["canary-eight"]),
        issuer.token(now=now(served), employee_id="canary-nine", amr=[]),
        _none(issuer.token(now=now(served), employee_id="canary-ten")),
        "canary-eleven",
    ]

    refused = [await refusal(served, token) for token in tokens]
    recorded = await entries(served, "system")

    assert [entry.reason for entry in recorded] == [error.reason for error in refused]
    assert [(error.receipt.log, error.receipt.index) for error in refused if error.receipt] == [("system", n) for n in range(len(tokens))]
    assert {(entry.actor, entry.decision, said(entry)["auth_method"]) for entry in recorded} == {("unknown", "REFUSED", "none")}
    captured = capfd.readouterr()
    told = [str((error.message, error.fields, error.metadata)) for error in refused]
    everything = [captured.out, captured.err, *told, *(str(entry) + entry.content.decode() for entry in recorded)]
    everything += files(tmp_path)
    for token in tokens:
        for part in ("canary", *(piece for piece in token.split(".") if len(piece) > 12)):
            assert not [text for text in everything if part in text]


async def test_a_second_factor_that_is_missing_is_recorded(served: Serving, issuer: Issuer) -> None:
    """L3."""
    refused = await refusal(served, issuer.token(now=now(served), amr=["pwd"]))

    [entry] = await entries(served, "system")

    assert (entry.reason, entry.decision) == ("MFA_REQUIRED", "REFUSED")
    assert refused.receipt is not None
    assert (refused.receipt.log, refused.receipt.index) == ("system", 0)


def said(entry: AuditEntry) -> dict[str, Any]:
    """The entry's own bytes, which hold more than the message."""
    content: dict[str, Any] = json.loads(entry.content)
    return content


def files(folder: Path) -> list[str]:
    """Every file below a folder, as text of sorts."""
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]


async def entries(served: Serving, log: str) -> list[AuditEntry]:
    auditor = served.service("auditor")
    answer: ListAuditEntriesResponse = await auditor.call(
        auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent=log, page_size=100)
    )
    return list(answer.entries)
