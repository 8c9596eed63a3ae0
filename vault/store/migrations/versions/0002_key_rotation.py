"""Root keys by name, check values and use counts of tenant keys, rotations, leases, signing keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _add(table: str, column: sa.Column[str] | sa.Column[bytes] | sa.Column[int], value: str | bytes | int) -> None:
    """Add a column that must have a value, and give it to the rows that are there."""
    with op.batch_alter_table(table) as altered:
        altered.add_column(column)
    op.execute(sa.text(f"UPDATE {table} SET {column.name} = :value").bindparams(sa.bindparam("value", value, column.type)))  # noqa: S608
    with op.batch_alter_table(table) as altered:
        altered.alter_column(column.name, existing_type=column.type, nullable=False)


def upgrade() -> None:
    _add("tenants", sa.Column("root_key", sa.Text(), nullable=True), "")
    _add("tenant_keys", sa.Column("check_value", sa.LargeBinary(), nullable=True), b"")
    _add("tenant_keys", sa.Column("root_key", sa.Text(), nullable=True), "")
    _add("tenant_keys", sa.Column("use_count", sa.BigInteger(), nullable=True), 0)
    _add("identities", sa.Column("index_version", sa.Integer(), nullable=True), 1)
    op.create_table(
        "key_rotations",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("rotation_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("root_key", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("done_count", sa.BigInteger(), nullable=False),
        sa.Column("total_count", sa.BigInteger(), nullable=False),
        sa.Column("failed_count", sa.BigInteger(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finish_time", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "rotation_id", name=op.f("pk_key_rotations")),
    )
    op.create_index(op.f("ix_key_rotations_tenant_id_state_kind"), "key_rotations", ["tenant_id", "state", "kind"])
    op.create_table(
        "leases",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_leases")),
    )
    op.create_table(
        "signing_keys",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name=op.f("pk_signing_keys")),
    )


def downgrade() -> None:
    op.drop_table("signing_keys")
    op.drop_table("leases")
    op.drop_index(op.f("ix_key_rotations_tenant_id_state_kind"), table_name="key_rotations")
    op.drop_table("key_rotations")
    with op.batch_alter_table("tenant_keys") as keys:
        keys.drop_column("use_count")
        keys.drop_column("root_key")
        keys.drop_column("check_value")
    with op.batch_alter_table("identities") as identities:
        identities.drop_column("index_version")
    with op.batch_alter_table("tenants") as tenants:
        tenants.drop_column("root_key")
