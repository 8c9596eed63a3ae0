"""Alembic environment: run by `vault.store.schema` with a live connection, or by the alembic command with a URL."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, engine_from_config, pool

from vault.store.tables import UtcTime, metadata


def _render(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Write the database's type instead of ours: a migration must mean the same when the code has moved on."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        render_item=_render,
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
