"""A tenant's own address: a real HTTPS server on loopback that answers as a test wants, well or badly.

Rules:
- What it was sent is kept whole, in the order in which it came.
- Whether a signature is right is for the library of the Standard Webhooks project to say, not for code of ours.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from standardwebhooks import Webhook

from tests.certificates import Authority, Pair

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """What it says; raises if it is not signed with this secret."""
        Webhook(secret).verify(self.body, self.headers)
        return json.loads(self.body)


def status(code: int, headers: str = "") -> bytes:
    """An answer without a body."""
    return f"HTTP/1.1 {code} whatever\r\n{headers}Content-Length: 0\r\n\r\n".encode()


@dataclass(slots=True)
class Receiver:
    """Where a tenant is told.

    Attributes:
        answers: raw answers to the next requests, one each; 200 when there are none left.
        gate: requests are answered while it is set.
        arrived: set when a request came.
    """

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hooks/vault"

    @property
    def host(self) -> str:
        """As the vault's configuration names it."""
        return f"localhost:{self.port}"

    @contextmanager
    def serving(self, pair: Pair, folder: Path) -> Iterator[None]:
        """Answer, on the port of the last time if there was one."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                receiver.arrived.set()
                receiver.gate.wait(60)
                self.wfile.write(receiver.answers.pop(0) if receiver.answers else OK)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Keep quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A vault that hangs up is nothing to print."""

        server = Server(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair.save(folder, "receiver"))
        # The handshake is each connection's own: one that fails must not stop the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = server.server_port
        self.gate.set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.gate.set()
            server.shutdown()
            server.server_close()
            thread.join()


def certificate_for(authority: Authority, *names: str, **times: Any) -> Pair:
    """A certificate of a server; of `localhost` unless told."""
    found = [x509.DNSName(name) for name in names or ("localhost",)]
    return authority.issue(*found, uses=[ExtendedKeyUsageOID.SERVER_AUTH], **times)
