"""A log straight from a database, read only: for the verifier, who has an account that may read, or a copy of the file.

Rules:
- One transaction, so that what is read is one state; on PostgreSQL REPEATABLE READ and READ ONLY, on SQLite a connection that cannot write.
- By the page: memory does not grow with the log.
- Nothing here judges anything; that is `vault.audit.verify`'s, which never sees the database.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from vault.audit.dump import dump_lines
from vault.audit.merkle import HASH_BYTES
from vault.errors import UnavailableError
from vault.store.tables import audit_checkpoints, audit_entries, audit_heads, audit_prunings, audit_restores, audit_tiles

_PAGE = 1000
_TILES = 64


@contextmanager
def reading(url: str) -> Iterator["LogReader"]:
    """A reader of a database's logs.

    Raises:
        UnavailableError: STORE_UNAVAILABLE.
    """
    engine = create_async_engine(url, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _forbid_writing)
    options: dict[str, Any] = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with asyncio.Runner() as runner:
            connection = runner.run(_opened(engine.connect(), options))
            try:
                yield LogReader(connection, runner)
            finally:
                runner.run(connection.close())
                runner.run(engine.dispose())
    except (SQLAlchemyError, OSError, TimeoutError):
        raise UnavailableError("STORE_UNAVAILABLE", "the database cannot be read") from None


@dataclass(frozen=True, slots=True)
class LogReader:
    """One state of the logs of a database."""

    connection: AsyncConnection
    runner: asyncio.Runner

    def sizes(self) -> dict[str, int]:
        """Every log, and how long its head says that it is."""
        query = select(audit_heads.c.tenant_id, audit_heads.c.size).order_by(audit_heads.c.tenant_id)
        return {row.tenant_id: row.size for row in self.runner.run(self.connection.execute(query))}

    def lines(self, log: str, *, origin: str) -> Iterator[str]:
        """The lines of a dump of a log; streams."""
        return dump_lines(
            log=log,
            origin=origin,
            entries=self._stream(self._entries(log)),
            checkpoints=self._notes(audit_checkpoints, log),
            prunings=self._notes(audit_prunings, log),
            restores=self._notes(audit_restores, log, by="number"),
            kept=self._stream(self._kept(log)),
            size=self.sizes().get(log),
        )

    def _notes(self, table: Any, log: str, *, by: str = "size") -> list[str]:
        query = select(table.c.note).where(table.c.tenant_id == log).order_by(table.c[by])
        return [row.note for row in self.runner.run(self.connection.execute(query))]

    def _stream(self, rows: AsyncIterator[list[tuple[int, bytes]]]) -> Iterator[tuple[int, bytes]]:
        while page := self.runner.run(_next(rows)):
            yield from page

    async def _entries(self, log: str) -> AsyncIterator[list[tuple[int, bytes]]]:
        after = -1
        while True:
            query = (
                select(audit_entries.c.entry_index, audit_entries.c.entry)
                .where(audit_entries.c.tenant_id == log, audit_entries.c.entry_index > after)
                .order_by(audit_entries.c.entry_index)
                .limit(_PAGE)
            )
            page = [(row.entry_index, row.entry) for row in await self.connection.execute(query)]
            if not page:
                return
            yield page
            after = page[-1][0]

    async def _kept(self, log: str) -> AsyncIterator[list[tuple[int, bytes]]]:
        """Hashes of the entries below the newest removal, from their tiles."""
        newest = select(audit_prunings.c.size).where(audit_prunings.c.tenant_id == log).order_by(audit_prunings.c.size.desc()).limit(1)
        size = (await self.connection.execute(newest)).scalar_one_or_none() or 0
        after = -1
        while True:
            query = (
                select(audit_tiles.c.tile_index, audit_tiles.c.leaves)
                .where(audit_tiles.c.tenant_id == log, audit_tiles.c.tile_index > after)
                .order_by(audit_tiles.c.tile_index)
                .limit(_TILES)
            )
            rows = (await self.connection.execute(query)).all()
            page = [
                (place, row.leaves[offset * HASH_BYTES : (offset + 1) * HASH_BYTES])
                for row in rows
                for offset in range(len(row.leaves) // HASH_BYTES)
                if (place := row.tile_index * (len(row.leaves) // HASH_BYTES) + offset) < size
            ]
            if not page:
                return
            yield page
            after = rows[-1].tile_index


async def _opened(connection: AsyncConnection, options: dict[str, Any]) -> AsyncConnection:
    await connection.start()
    return await connection.execution_options(**options)


async def _next(rows: AsyncIterator[list[tuple[int, bytes]]]) -> list[tuple[int, bytes]]:
    return await anext(rows, [])


def _forbid_writing(dbapi_connection: Any, _record: object) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()
