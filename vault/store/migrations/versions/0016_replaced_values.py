"""What a correction replaced, sealed, for thirty days."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# Older code would not rotate or erase what stands in the new table.
oldest_code = "0016"


def upgrade() -> None:
    op.create_table(
        "replaced_values",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "record_id"],
            ["records.tenant_id", "records.record_id"],
            name=op.f("fk_replaced_values_records"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "record_id", "role", "version", name=op.f("pk_replaced_values")),
    )
    op.create_index(op.f("ix_replaced_values_tenant_id_subject_id"), "replaced_values", ["tenant_id", "subject_id"])
    op.create_index(op.f("ix_replaced_values_tenant_id_expire_time"), "replaced_values", ["tenant_id", "expire_time"])


def downgrade() -> None:
    op.drop_table("replaced_values")
