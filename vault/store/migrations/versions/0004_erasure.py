"""Erasures with outcomes and exceptions: the restricted keyring, what is kept and why, several certificates of one erasure."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What erasures of the first versions did not say, and what is true of them.
_LATER = (
    ("requester_kind", sa.Text(), "SUBJECT"),
    ("reference", sa.Text(), ""),
    ("approvers", sa.JSON(), "[]"),
    ("required_approvals", sa.Integer(), "1"),
    ("keep_suppression", sa.Integer(), "1"),
    ("preview", sa.JSON(), "[]"),
    ("position", sa.Text(), ""),
    ("kept_version", sa.Integer(), "0"),
    ("restricted_version", sa.Integer(), "0"),
    ("destroyed_keys", sa.JSON(), "[]"),
)


def upgrade() -> None:
    _add_keyring()
    with op.batch_alter_table("imports") as imports:
        imports.add_column(sa.Column("file_token", sa.LargeBinary(), nullable=False, server_default=""))
    with op.batch_alter_table("imports") as imports:
        imports.alter_column("file_token", server_default=None)
    op.create_table(
        "erasure_exceptions",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "record_id", "role", name=op.f("pk_erasure_exceptions")),
    )
    op.create_index(op.f("ix_erasure_exceptions_tenant_id_due_time"), "erasure_exceptions", ["tenant_id", "due_time"])
    op.create_index(op.f("ix_erasure_exceptions_tenant_id_erasure_id"), "erasure_exceptions", ["tenant_id", "erasure_id"])
    op.create_index(op.f("ix_erasure_exceptions_tenant_id_subject_id"), "erasure_exceptions", ["tenant_id", "subject_id"])
    op.create_table(
        "erasure_certificates",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("erasure_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "erasure_id", "number", name=op.f("pk_erasure_certificates")),
    )
    # Certificates of the first format stay as they were signed.
    op.execute(
        "INSERT INTO erasure_certificates (tenant_id, erasure_id, number, state, note, create_time) "
        "SELECT tenant_id, erasure_id, 0, 'COMPLETE', certificate, finish_time FROM erasures WHERE certificate <> ''"
    )
    _rebuild_erasures()


def downgrade() -> None:
    op.drop_index(op.f("ix_erasures_tenant_id_state"), table_name="erasures")
    op.drop_index(op.f("ix_erasures_tenant_id_subject_id"), table_name="erasures")
    with op.batch_alter_table("erasures") as erasures:
        erasures.add_column(sa.Column("approver", sa.Text(), nullable=False, server_default=""))
        erasures.add_column(sa.Column("certificate", sa.Text(), nullable=False, server_default=""))
        for name, _, _ in _LATER:
            erasures.drop_column(name)
        erasures.create_unique_constraint("uq_erasures_tenant_id_subject_id", ["tenant_id", "subject_id"])
    op.drop_table("erasure_certificates")
    op.drop_table("erasure_exceptions")
    with op.batch_alter_table("imports") as imports:
        imports.drop_column("file_token")
    with op.batch_alter_table("subject_keys") as keys:
        keys.drop_column("keyring")


def _add_keyring() -> None:
    with op.batch_alter_table("subject_keys") as keys:
        keys.add_column(sa.Column("keyring", sa.Text(), nullable=False, server_default="data"))
    with op.batch_alter_table("subject_keys") as keys:
        keys.alter_column("keyring", server_default=None)


def _rebuild_erasures() -> None:
    """What was erased before had one outcome, so its counts become a list of categories that were erased."""
    bind = op.get_bind()
    with op.batch_alter_table("erasures") as erasures:
        for name, kind, value in _LATER:
            erasures.add_column(sa.Column(name, kind, nullable=False, server_default=value))
        erasures.drop_constraint("uq_erasures_tenant_id_subject_id", type_="unique")
    rows = sa.table(
        "erasures",
        *(sa.column(name, sa.Text()) for name in ("tenant_id", "erasure_id", "approver")),
        sa.column("outcomes", sa.JSON()),
        sa.column("preview", sa.JSON()),
        sa.column("approvers", sa.JSON()),
    )
    for row in bind.execute(sa.select(rows)).all():
        counts = [{"category": category, "outcome": "erased", "count": count} for category, count in sorted(row.outcomes.items())]
        bind.execute(
            sa.update(rows)
            .where(rows.c.tenant_id == row.tenant_id, rows.c.erasure_id == row.erasure_id)
            .values(outcomes=counts, preview=counts, approvers=[row.approver] if row.approver else [])
        )
    with op.batch_alter_table("erasures") as erasures:
        erasures.drop_column("approver")
        erasures.drop_column("certificate")
        for name, _, _ in _LATER:
            erasures.alter_column(name, server_default=None)
    op.create_index(op.f("ix_erasures_tenant_id_subject_id"), "erasures", ["tenant_id", "subject_id"])
    op.create_index(op.f("ix_erasures_tenant_id_state"), "erasures", ["tenant_id", "state"])
