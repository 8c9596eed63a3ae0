"""A time-stamping authority on loopback: `openssl ts` behind an HTTP port, with an authority of its own."""

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
[extensions]
extendedKeyUsage = critical,timeStamping
"""


class TimestampAuthority:
    """Where it is, whose certificates it shows, and whether it works."""

    def __init__(self, folder: Path, url: str) -> None:
        self.ca = folder / "ca.pem"
        self.url = url
        self.is_broken = False

    def verifies(self, note: Path, token: Path) -> bool:
        """What OpenSSL says about a token."""
        command: list[str | Path] = ["openssl", "ts", "-verify", "-data", note, "-in", token, "-CAfile", self.ca]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextmanager
def timestamp_authority() -> Iterator[TimestampAuthority]:
    """An authority that answers until the end of the context."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        authority = TimestampAuthority(folder, f"http://127.0.0.1:{server.server_port}/tsa")
        server.authority, server.folder = authority, folder  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield authority
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _make(folder: Path) -> None:
    (folder / "config").write_text(_CONFIG.format(folder=folder))
    (folder / "serial").write_text("01\n")
    key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl("req", "-x509", *key, "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-days", "2", "-subj", "/CN=authority")
    _openssl("req", *key, "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr", "-subj", "/CN=time")
    signed: list[str | Path] = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2"]
    extensions: list[str | Path] = ["-extfile", folder / "config", "-extensions", "extensions"]
    _openssl("x509", "-req", "-in", folder / "tsa.csr", "-out", folder / "tsa.pem", *signed, *extensions)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        authority: TimestampAuthority = self.server.authority  # type: ignore[attr-defined]
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        query = folder / f"{threading.get_ident()}.tsq"
        query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        answer = query.with_suffix(".tsr")
        _openssl("ts", "-reply", "-config", folder / "config", "-section", "here", "-queryfile", query, "-out", answer)
        self.send_response(500 if authority.is_broken else 200)
        self.end_headers()
        self.wfile.write(answer.read_bytes())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        del format, args
