"""Retention looks once more at what it now has to do about records that are stored: when their ordinary use ends, and when an interval did.

Neither is to be known here, what the catalogue says of a category and how long it is kept: the next sweep finds out.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_records = sa.table(
    "records",
    sa.column("create_time", sa.DateTime(timezone=True)),
    sa.column("valid_to", sa.DateTime(timezone=True)),
    sa.column("expire_time", sa.DateTime(timezone=True)),
    sa.column("due_time", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    record = _records.c
    op.execute(sa.update(_records).where(record.due_time > record.expire_time).values(due_time=record.expire_time))
    waiting = (record.expire_time.is_(None), record.valid_to.is_not(None), record.due_time.is_(None))
    op.execute(sa.update(_records).where(*waiting).values(due_time=record.create_time))


def downgrade() -> None:
    """A look that comes too early does nothing."""
