"""Alembic environment of a database of subject keys; run by `vault.store.schema` with a live connection."""

from alembic import context
from sqlalchemy import Connection

given = context.config.attributes["connection"]
assert isinstance(given, Connection)  # noqa: S101 - only `vault.store.schema` runs this
context.configure(connection=given, target_metadata=None, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
