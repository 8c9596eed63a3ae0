"""${message}."""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# Revision of the oldest code that may go on serving after this. An earlier one only if everything is an addition: tables, columns that may be
# NULL or have a server default, indexes that are not unique. Nothing renamed, dropped, narrowed or filled with what old code does not know; no table
# of what goes with a person, since old code erases nothing from it, and no reference that keeps old code from deleting (docs/adr/0023).
oldest_code = ${repr(up_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
