"""Bring a database to the schema this code needs, or say that it is not there."""

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from vault.errors import FailedPreconditionError
from vault.store.database import Database

# Any 64-bit number that no one else in this database takes for an advisory lock.
_MIGRATION_LOCK = int.from_bytes(b"piivault", "big")


def alembic_config(*, of_keys: bool = False) -> Config:
    """Alembic's configuration, without a file: for the data, or for a database of subject keys alone."""
    config = Config()
    folder = Path(__file__).parent / ("key_migrations" if of_keys else "migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


async def migrate(database: Database) -> None:
    """Upgrade the schema to the newest revision, in one transaction. Of several at once, one does it and the others find it done.

    Raises:
        FailedPreconditionError: SCHEMA_UNKNOWN, a newer version of the vault made it.
    """
    async with database.write() as connection:
        try:
            await connection.run_sync(_upgrade, database.of_keys)
        except CommandError:
            raise FailedPreconditionError("SCHEMA_UNKNOWN", "the database schema is of a version that this one does not know") from None


async def check(database: Database) -> None:
    """Refuse to work on another schema than this code's.

    Raises:
        FailedPreconditionError: SCHEMA_OUTDATED; `pii-vault migrate` brings the schema up.
    """
    async with database.read() as connection:
        current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    if current != _newest(of_keys=database.of_keys):
        raise FailedPreconditionError("SCHEMA_OUTDATED", "the database schema is not this version's, run `pii-vault migrate`")


@functools.cache
def _newest(*, of_keys: bool) -> str | None:
    """The revision that this code's migrations end at; they are part of the package, and reading them takes longer than the check."""
    return ScriptDirectory.from_config(alembic_config(of_keys=of_keys)).get_current_head()


def _upgrade(connection: Connection, of_keys: bool) -> None:
    config = alembic_config(of_keys=of_keys)
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    command.upgrade(config, "head")
