"""Bring a database to the schema this code needs, or say that it is not there.

Rules:
- Code serves its own schema, or a later one that says so: `oldest_code`, a row that the migration writes in its own transaction.
- A migration says in one constant how old the code may be that goes on serving after it; of all of them the strictest counts.
- Revisions are four digits, so that text is ordered as they are.
"""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, delete, insert, select, text

from vault.errors import FailedPreconditionError
from vault.names import SYSTEM_LOG
from vault.store.database import Database
from vault.store.tables import schema_compatibility

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
            await connection.run_sync(upgrade, alembic_config(of_keys=database.of_keys))
        except CommandError:
            raise FailedPreconditionError("SCHEMA_UNKNOWN", "the database schema is of a version that this one does not know") from None


async def check(database: Database) -> bool:
    """Refuse to work on a schema that this code may not serve. Whether it is a later one, which this code may.

    Raises:
        FailedPreconditionError: SCHEMA_OUTDATED; `pii-vault migrate` brings the schema up. SCHEMA_UNKNOWN; a newer version of the vault made it, and
            code as old as this may not serve it.
    """
    newest = _newest(database.of_keys)
    async with database.read() as connection:
        current = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
        if current == newest:
            return False
        if current is None or current < newest:
            raise FailedPreconditionError("SCHEMA_OUTDATED", "the database schema is not this version's, run `pii-vault migrate`")
        oldest = (await connection.execute(select(schema_compatibility.c.oldest_code))).scalar()
    if oldest is None or oldest > newest:
        raise FailedPreconditionError("SCHEMA_UNKNOWN", "the database schema is of a newer version, which this one may not serve")
    return True


def upgrade(connection: Connection, config: Config) -> None:
    """Upgrade within a transaction that is open already, and note how old the code may be that serves the outcome."""
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
    command.upgrade(config, "head")
    connection.execute(delete(schema_compatibility))
    connection.execute(insert(schema_compatibility).values(tenant_id=SYSTEM_LOG, oldest_code=oldest_code(config)))


def oldest_code(config: Config) -> str:
    """Revision of the oldest code that may serve the newest schema. Migrations of before the constant say nothing."""
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    return max(str(script.module.oldest_code) for script in scripts if hasattr(script.module, "oldest_code"))


@cache
def _newest(of_keys: bool) -> str:
    """This code's own revision. Kept, because it is asked for every few seconds and found by reading every migration."""
    return str(ScriptDirectory.from_config(alembic_config(of_keys=of_keys)).get_current_head())
