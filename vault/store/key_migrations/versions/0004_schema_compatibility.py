"""A database of subject keys says how old the code may be that serves it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Code of before refuses every schema but its own.
oldest_code = "0004"


def upgrade() -> None:
    op.create_table(
        "schema_compatibility",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("oldest_code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_schema_compatibility")),
    )


def downgrade() -> None:
    op.drop_table("schema_compatibility")
