"""Until when a guardian's consent counts, and is kept after: the year in which the minor comes of age is over."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_consents = sa.table(
    "guardian_consents",
    sa.column("tenant_id", sa.Text()),
    sa.column("subject_id", sa.Text()),
    sa.column("verify_time", sa.DateTime(timezone=True)),
    sa.column("majority_time", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    op.add_column("guardian_consents", sa.Column("majority_time", sa.DateTime(timezone=True), nullable=True))
    connection = op.get_bind()
    for tenant, subject, verified in connection.execute(
        sa.select(_consents.c.tenant_id, _consents.c.subject_id, _consents.c.verify_time)
    ).all():
        # Nobody asked how old they were: as if they had just been born.
        majority = verified.replace(year=verified.year + 19, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        connection.execute(
            sa.update(_consents).where(_consents.c.tenant_id == tenant, _consents.c.subject_id == subject).values(majority_time=majority)
        )
    with op.batch_alter_table("guardian_consents") as table:
        table.alter_column("majority_time", existing_type=sa.DateTime(timezone=True), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("guardian_consents") as table:
        table.drop_column("majority_time")
