"""Keys of what an erasure had to keep are wrapped by a tenant key of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("subject_keys") as keys:
        keys.add_column(sa.Column("keyring", sa.Text(), nullable=False, server_default="data"))
    with op.batch_alter_table("subject_keys") as keys:
        keys.alter_column("keyring", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("subject_keys") as keys:
        keys.drop_column("keyring")
