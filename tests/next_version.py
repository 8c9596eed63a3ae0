"""The next version of the vault, as far as a database sees it: the migrations there are, and one more.

`ADDITIVE` says that code of before may go on serving and is right; `BREAKING` says that it may not.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from vault.store import schema

_MODULE = '''"""Made by a test."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{mine}"
branch_labels = None
depends_on = None

oldest_code = "{oldest_code}"


def upgrade() -> None:
    {upgrade}
'''


@dataclass(frozen=True, slots=True)
class Change:
    """What the next migration does; `is_served_by_old_code` is what it claims."""

    upgrade: str
    is_served_by_old_code: bool = True


ADDITIVE = Change(
    """
    op.create_table("surprises", sa.Column("tenant_id", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("tenant_id"))
    for table in ("records", "subjects", "audit_heads"):
        op.add_column(table, sa.Column("mood", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("colour", sa.Text(), nullable=False, server_default="grey"))
    op.create_index("ix_records_mood", "records", ["tenant_id", "mood"])
    """
)
BREAKING = Change('op.execute("ALTER TABLE records RENAME COLUMN category TO kind")', is_served_by_old_code=False)


def next_version(folder: Path, change: Change, *, of_keys: bool = False) -> Config:
    """Alembic's configuration of the next version, whose migrations are written to this folder."""
    shipped = schema.alembic_config(of_keys=of_keys)
    mine = ScriptDirectory.from_config(shipped).get_current_head()
    assert mine is not None
    migrations = folder / "migrations"
    shutil.copytree(str(shipped.get_main_option("script_location")), migrations)
    revision = f"{int(mine) + 1:04}"
    content = _MODULE.format(
        revision=revision, mine=mine, oldest_code=mine if change.is_served_by_old_code else revision, upgrade=change.upgrade.strip()
    )
    (migrations / "versions" / f"{revision}_next.py").write_text(content)
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config
