"""What tests do to databases: a process that dies at any statement, and a database that goes away.

Rules:
- A process that died reaches no database any more, until `over` says that another one runs now; what it had not committed is rolled back.
- Whatever else a server does in the background is stopped first, or a fault would strike there: `quiet`.
"""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url

from tests.databases import PostgresServer
from tests.serving import Serving
from vault.store.database import Database


def boundaries(first: int = 1, *, every: int) -> Iterator[int]:
    """Statements to die at, one after the other: each so many-th, or each one where `PII_VAULT_EVERY_STATEMENT` says so."""
    return itertools.count(first, 1 if "PII_VAULT_EVERY_STATEMENT" in os.environ else every)


class CrashError(OSError):
    """The process is gone."""


class Crash:
    """Lets a process die at some statement, or commit, from now on.

    Args:
        databases: those that it works on.
    """

    def __init__(self, *databases: Database) -> None:
        self._left: int | None = None
        self._when: Callable[[Database, str], bool] | None = None
        for database in databases:
            self._listen(database)

    @property
    def happened(self) -> bool:
        """Whether it came to the statement."""
        return self._left == 0

    def at(self, boundary: int) -> None:
        """Die when so many statements and commits are done."""
        self._left, self._when = boundary, None

    def before(self, when: Callable[[Database, str], bool]) -> None:
        """Die at the first statement of which this holds; a commit is the statement `COMMIT`."""
        self._left, self._when = None, when

    def over(self) -> None:
        """Another process runs now."""
        self._left, self._when = None, None

    def _listen(self, database: Database) -> None:
        def execute(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            self._reach(database, statement)

        def commit(_connection: Any) -> None:
            self._reach(database, "COMMIT")

        event.listen(database.engine.sync_engine, "before_cursor_execute", execute)
        event.listen(database.engine.sync_engine, "commit", commit)

    def _reach(self, database: Database, statement: str) -> None:
        if self._when is not None and self._when(database, statement):
            self._left = 0
        if self._left == 0:
            raise CrashError
        if self._left is not None:
            self._left -= 1


class Outage:
    """Takes a database away, and brings it back.

    Args:
        url: its address.
        server: the PostgreSQL that it is on, unless it is a SQLite file.
    """

    def __init__(self, url: str, server: PostgresServer | None) -> None:
        self._name = make_url(url).database or ""
        self._server = server

    async def begin(self, database: Database) -> None:
        """From now on nobody can connect, and who was connected is not any more."""
        if self._server is not None:
            self._server.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
            self._server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")  # noqa: S608
            return
        # An open file would outlive its name.
        await database.close()
        self._put_away(Path(self._name))

    def _put_away(self, file: Path) -> None:
        file.rename(file.with_name("elsewhere.db"))
        file.mkdir()

    def end(self) -> None:
        """It is back."""
        if self._server is not None:
            self._server.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")
            return
        file = Path(self._name)
        file.rmdir()
        file.with_name("elsewhere.db").rename(file)


async def quiet(served: Serving) -> None:
    """Stop what the server does besides answering calls, at a moment when it does nothing: a connection that is cut off is nobody's to close."""
    pools: list[Any] = [database.engine.pool for database in (served.vault.database, served.vault.key_database) if database is not None]
    while any(pool.checkedout() for pool in pools):  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)
    for task in served.running._background:
        task.cancel()
    await asyncio.gather(*served.running._background, return_exceptions=True)
