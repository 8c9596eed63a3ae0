"""Alembic environment: run by `vault.store.schema` with a live connection, or by the alembic command with a URL."""

from alembic import context
from sqlalchemy import Connection, engine_from_config, pool

from vault.store.tables import metadata


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        # Everything or nothing: a migration that fails leaves the schema as it was.
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None and isinstance(given, Connection):
    _migrate(given)
elif given is not None:
    with given.connect() as opened:
        _migrate(opened)
else:
    section = context.config.get_section(context.config.config_ini_section) or {}
    with engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool).connect() as opened:
        _migrate(opened)
        opened.commit()
