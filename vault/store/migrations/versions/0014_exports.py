"""Exports that are read piece by piece, fetched once, confirmed and purged."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("exports") as batch:
        batch.add_column(sa.Column("audit_log", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("audit_size", sa.BigInteger(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("audit_root", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("staging_key", sa.LargeBinary(), nullable=True))
        batch.add_column(sa.Column("progress", sa.JSON(), nullable=False, server_default="{}"))
        batch.add_column(sa.Column("courier", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("seal_time", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("deliver_time", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("confirm_time", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("delivery", sa.LargeBinary(), nullable=True))
    op.execute("UPDATE exports SET seal_time = create_time, audit_log = tenant_id")
    with op.batch_alter_table("exports") as batch:
        for name in ("audit_log", "audit_size", "audit_root", "progress", "courier"):
            batch.alter_column(name, server_default=None)
    op.create_table(
        "export_records",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("export_id", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("sort_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "export_id"], ["exports.tenant_id", "exports.export_id"], name=op.f("fk_export_records_exports")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "export_id", "category", "sort_time", "record_id", name=op.f("pk_export_records")),
    )
    op.create_table(
        "export_pieces",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("export_id", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "export_id"], ["exports.tenant_id", "exports.export_id"], name=op.f("fk_export_pieces_exports")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "export_id", "path", "sequence", name=op.f("pk_export_pieces")),
    )


def downgrade() -> None:
    op.drop_table("export_pieces")
    op.drop_table("export_records")
    with op.batch_alter_table("exports") as batch:
        for name in (
            "audit_log",
            "audit_size",
            "audit_root",
            "staging_key",
            "progress",
            "courier",
            "seal_time",
            "deliver_time",
            "confirm_time",
            "delivery",
        ):
            batch.drop_column(name)
