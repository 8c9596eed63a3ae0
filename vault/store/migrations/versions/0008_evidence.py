"""Evidence: tiles of the log, signed prunings, who is named by which entry, releases counted by all replicas, planted people."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_prunings",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "size", name=op.f("pk_audit_prunings")),
    )
    op.create_table(
        "audit_readers",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "reader", name=op.f("pk_audit_readers")),
    )
    op.create_table(
        "audit_subjects",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", "log", "entry_index", name=op.f("pk_audit_subjects")),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("tile_index", sa.BigInteger(), nullable=False),
        sa.Column("leaves", sa.LargeBinary(), nullable=False),
        sa.Column("nodes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "tile_index", name=op.f("pk_audit_tiles")),
    )
    op.create_table(
        "honey_subjects",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("planted_by", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "subject_id", name=op.f("pk_honey_subjects")),
    )
    op.create_table(
        "incident_triggers",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record_count", sa.BigInteger(), nullable=False),
        sa.Column("subject_count", sa.BigInteger(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "incident_id", name=op.f("pk_incident_triggers")),
    )
    op.create_index(op.f("ix_incident_triggers_tenant_id_trigger_cause"), "incident_triggers", ["tenant_id", "trigger", "cause"])
    op.create_table(
        "release_counts",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("minute_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("record_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "principal", "purpose", "minute_time", "worker", name=op.f("pk_release_counts")),
    )
    op.create_index(op.f("ix_release_counts_tenant_id_minute_time"), "release_counts", ["tenant_id", "minute_time"])


def downgrade() -> None:
    for table in (
        "release_counts",
        "incident_triggers",
        "honey_subjects",
        "audit_tiles",
        "audit_subjects",
        "audit_readers",
        "audit_prunings",
    ):
        op.drop_table(table)
