"""Legal holds and what each of them covers."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "holds",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("release_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "hold_id", name=op.f("pk_holds")),
    )
    op.create_index(op.f("ix_holds_tenant_id_release_time"), "holds", ["tenant_id", "release_time"])
    op.create_table(
        "hold_scopes",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id", "hold_id"], ["holds.tenant_id", "holds.hold_id"], name=op.f("fk_hold_scopes_holds")),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "hold_id", "category", "record_id", name=op.f("pk_hold_scopes")),
    )
    op.create_index(op.f("ix_hold_scopes_tenant_id_hold_id"), "hold_scopes", ["tenant_id", "hold_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_hold_scopes_tenant_id_hold_id"), table_name="hold_scopes")
    op.drop_table("hold_scopes")
    op.drop_index(op.f("ix_holds_tenant_id_release_time"), table_name="holds")
    op.drop_table("holds")
