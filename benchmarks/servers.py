"""Starting what is measured: each server in a process of its own, with everything that belongs to it in one temporary directory."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL

from benchmarks import people, postgres
from benchmarks.children import child, wait_for
from vault.cli import development
from vault.store import schema
from vault.store.database import Database

ECHO, SQLITE, POSTGRES = "echo", "sqlite", "postgres"
_VAULT = "from vault.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Server:
    """One server that runs.

    Attributes:
        address: where it serves.
        clients: folder with the certificates of its clients.
        pid: its process.
        database_pid: first process of its database; None if it has none of its own on this machine.
        database_url: its database, if that wants to be told when a lot was stored.
        settings: what its database says about durability.
    """

    name: str
    address: str
    clients: Path
    pid: int
    database_pid: int | None = None
    database_url: URL | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def watch(self) -> dict[str, int]:
        """Processes whose CPU time counts."""
        return {"server": self.pid} | ({} if self.database_pid is None else {"database": self.database_pid})

    def settle(self) -> None:
        """To be called when a lot was stored, before anything is measured."""
        if self.database_url is not None:
            postgres.analyze(self.database_url)


@contextmanager
def running_servers(work: Path, wanted: list[str]) -> Iterator[list[Server]]:
    """Start the servers; they stop when the context ends.

    Raises:
        NotStartedError: one does not start.
    """
    start = {ECHO: _echo, SQLITE: _on_sqlite, POSTGRES: _on_postgres}
    # PostgreSQL may run under another account, which must reach its folder.
    work.chmod(0o711)
    with ExitStack() as stack:
        yield [stack.enter_context(start[name](work / name)) for name in wanted]


@contextmanager
def _echo(home: Path) -> Iterator[Server]:
    make_home(home, "sqlite+aiosqlite:///unused.db")
    with _serving(home, "-m", "benchmarks.echo", str(home)) as (pid, port):
        yield Server(ECHO, f"localhost:{port}", home / "clients", pid)


@contextmanager
def _on_sqlite(home: Path) -> Iterator[Server]:
    url = f"sqlite+aiosqlite:///{home / 'vault.db'}"
    make_home(home, url)
    asyncio.run(migrate(url))
    with vault(home) as (pid, port):
        # As `vault.store.database` sets them on every connection.
        settings = {"journal_mode": "WAL", "synchronous": "FULL", "secure_delete": "ON"}
        yield Server(SQLITE, f"localhost:{port}", home / "clients", pid, settings=settings)


@contextmanager
def _on_postgres(home: Path) -> Iterator[Server]:
    database = home.with_name(f"{home.name}-data")
    database.mkdir(mode=0o755)
    with postgres.running_postgres(database) as url:
        address = url.render_as_string(hide_password=False)
        make_home(home, address)
        asyncio.run(migrate(address))
        with vault(home) as (pid, port):
            yield Server(
                POSTGRES,
                f"localhost:{port}",
                home / "clients",
                pid,
                database_pid=postgres.first_process(url),
                database_url=url,
                settings=postgres.settings(url),
            )


def make_home(home: Path, database_url: str) -> None:
    """Keys, certificates and configuration, as `pii-vault init` makes them."""
    development.create(home, tenants=[people.TENANT], listen="localhost:0", database_url=database_url)


async def migrate(url: str) -> None:
    """Give an empty database its schema."""
    database = Database(url)
    try:
        await schema.migrate(database)
    finally:
        await database.close()


@contextmanager
def vault(home: Path) -> Iterator[tuple[int, int]]:
    """`pii-vault serve` on a home; its process and port."""
    with _serving(home, "-c", _VAULT, "serve", "--config", str(home / "vault.yaml")) as served:
        yield served


@contextmanager
def _serving(home: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """A Python process that says, in a line of JSON, which port it serves; its id and the port."""
    # What is set in this shell for a vault must not reach the ones that are measured.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VAULT_")}
    log = home / "log"
    with child([sys.executable, *arguments], log=log, environment=environment) as process:
        text = wait_for(process, log, lambda text: _port_in(text) is not None)
        yield process.pid, _port_in(text) or 0


def _port_in(text: str) -> int | None:
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}") and (port := json.loads(line).get("port")):
            return int(port)
    return None
