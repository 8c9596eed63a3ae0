"""One database, SQLite or PostgreSQL, behind two context managers: `read` and `write`.

Rules:
- What was acknowledged is never lost (I7): SQLite runs WAL with `synchronous=FULL`, PostgreSQL with `synchronous_commit=on`.
- A write transaction always carries its audit entry, so a failing commit answers AUDIT_UNAVAILABLE and releases nothing (I1).
- SQLite writers take the write lock at BEGIN: a transaction that reads first and writes later would otherwise fail halfway under load.
- Driver errors stop here. They are raised without their cause, because the cause quotes statements and parameters.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any

from opentelemetry.trace import SpanKind, Tracer
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from vault.errors import AbortedError, KeyUnavailableError, UnavailableError
from vault.store.traced import trace_statements
from vault.telemetry import NO_TRACER, is_traced

# What flows hand from query to query: an open transaction. They know nothing else of SQL.
Connection = AsyncConnection

BACKENDS = ("sqlite+aiosqlite", "postgresql+asyncpg")

_RETRY = timedelta(seconds=1)
# serialization_failure and deadlock_detected: the transaction may simply be tried again.
_PG_RETRYABLE = frozenset({"40001", "40P01"})
# SQLite waits this long for another process's write lock (a second worker is refused at start; this is for backups and tools).
_SQLITE_BUSY = timedelta(seconds=5)
# How often a new file is tried to be turned to a write-ahead log; everybody who is refused made way for somebody.
_WAL_ATTEMPTS = 16
# What a connection remembers until its transaction ends.
_ON_COMMIT, _COMMIT = "vault_on_commit", "vault_commit"


class Database:
    """An engine and the way transactions are opened on it.

    Args:
        url: `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`.
        pool_size: connections kept open.
        of_keys: whether it holds subject keys and nothing else; then what fails is said to be the keys.
        tracer: where its spans are told.
    """

    def __init__(self, url: str, *, pool_size: int = 8, of_keys: bool = False, tracer: Tracer = NO_TRACER) -> None:
        self.of_keys = of_keys
        self.pool_size = pool_size
        self._tracer = tracer
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        # hide_parameters: an error text must not quote what was bound, sealed or not.
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            hide_parameters=True,
            # Flows lock a row and then read what others committed meanwhile; a server that defaults to snapshots would not show it.
            isolation_level=None if self.is_sqlite else "READ COMMITTED",
        )
        self._system = "sqlite" if self.is_sqlite else "postgresql"
        if tracer is not NO_TRACER:
            trace_statements(self.engine.sync_engine, tracer, system=self._system)
            event.listen(self.engine.sync_engine, "commit", _note_commit)
        # One writer at a time on SQLite: waiting here is fair and costs nothing, waiting in SQLite polls.
        self._writer: AbstractAsyncContextManager[Any] = asyncio.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
            event.listen(self.engine.sync_engine, "invalidate", _release_sqlite)
        else:
            event.listen(self.engine.sync_engine, "connect", _prepare_postgres)

    @property
    def connections_used(self) -> int:
        """Connections that somebody holds at this moment."""
        return int(getattr(self.engine.pool, "checkedout", int)())

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits on leaving and rolls back on an error.

        Raises:
            UnavailableError: AUDIT_UNAVAILABLE, the database cannot be reached or cannot commit.
            AbortedError: CONCURRENT_CHANGE, another transaction got there first.
        """
        async with self._writer:
            try:
                async with self.engine.connect() as connection:
                    if self.is_sqlite:
                        await connection.execution_options(write=True)
                    connection.info.pop(_ON_COMMIT, None)
                    async with connection.begin():
                        yield connection
                    self._committed(connection)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                raise self._translated(error, "AUDIT_UNAVAILABLE", "the audit log cannot be written, nothing is released") from None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads.

        Raises:
            UnavailableError: STORE_UNAVAILABLE.
        """
        try:
            async with self.engine.connect() as connection, connection.begin():
                yield connection
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise self._translated(error, "STORE_UNAVAILABLE", "the database cannot be reached") from None

    def _committed(self, connection: AsyncConnection) -> None:
        began = connection.info.pop(_COMMIT, None)
        if began is not None and is_traced():
            span = self._tracer.start_span("COMMIT", kind=SpanKind.CLIENT, start_time=began)
            span.set_attributes({"db.system.name": self._system, "db.operation.name": "COMMIT"})
            span.end()
        for call in connection.info.pop(_ON_COMMIT, ()):
            call()

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    def _translated(self, error: Exception, reason: str, message: str) -> UnavailableError | AbortedError:
        if isinstance(error, IntegrityError):
            return AbortedError("CONCURRENT_CHANGE", "another call changed the same data, try again")
        sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
        if sqlstate in _PG_RETRYABLE:
            return AbortedError("CONCURRENT_CHANGE", "another call changed the same data, try again")
        if self.of_keys:
            return KeyUnavailableError("the database of subject keys cannot be reached")
        return UnavailableError(reason, message, retry_after=_RETRY)


def on_commit(connection: AsyncConnection, call: Callable[[], None]) -> None:
    """Have something done when a transaction of `write` has committed, and not at all if it does not."""
    connection.info.setdefault(_ON_COMMIT, []).append(call)


def is_database_url(url: str) -> bool:
    """Whether a URL names a database of a kind that the vault runs on."""
    try:
        return make_url(url).drivername in BACKENDS
    except ArgumentError:
        return False


def shown_url(url: str) -> str:
    """The URL for people: without its password."""
    return make_url(url).render_as_string(hide_password=True)


def _note_commit(connection: Any) -> None:
    connection.info[_COMMIT] = time.time_ns()


def _prepare_postgres(dbapi_connection: Any, _record: object) -> None:
    # A server, role or database may have been told not to wait for the disk; one that waits for its replicas too is left alone.
    cursor = dbapi_connection.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
    )
    cursor.close()
    # A setting made in a transaction that is rolled back is undone.
    dbapi_connection.commit()


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    # The driver's own BEGIN is turned off; `_begin_sqlite` says which kind of transaction it is.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(_SQLITE_BUSY.total_seconds() * 1000)}")
    _write_ahead(cursor)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",  # a deleted row's bytes are overwritten in the page
        "temp_store=MEMORY",  # no temporary file ever holds a row (I2)
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Keep a write-ahead log, which the file remembers."""
    # Of several who open a new file at once, SQLite lets one turn it and refuses the others instead of letting them wait, as each wants to write
    # while it reads. Whoever asks for the write lock does wait until that one is done.
    for _ in range(_WAL_ATTEMPTS):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
        else:
            return
    cursor.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("write") else "BEGIN")


def _release_sqlite(dbapi_connection: Any, _record: object, _error: object) -> None:
    # A caller who leaves cuts a statement off, and its connection is thrown away. Closing alone would keep the write lock for as long as anything
    # still refers to the statement, and every other writer would wait in vain.
    if dbapi_connection is not None:
        dbapi_connection.rollback()
