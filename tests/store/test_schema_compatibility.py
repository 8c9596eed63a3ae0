"""Which code may serve which schema: its own, and a later one that lets it; and that a migration which lets it is an addition."""

from dataclasses import replace
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text

from tests.additions import findings, shape, untrue_claims
from tests.next_version import ADDITIVE, BREAKING, Change, next_version
from tests.store.rows import opened
from vault.errors import FailedPreconditionError
from vault.store import schema
from vault.store.cascade import CASCADE, Reach
from vault.store.database import Database
from vault.store.tables import schema_compatibility

of_either = pytest.mark.parametrize("of_keys", [False, True], ids=["data", "keys"])
# The first revision of each line that says how old the code may be.
FIRST = {False: "0015", True: "0004"}
ON_KEYS = Change('op.add_column("subject_keys", sa.Column("mood", sa.Text(), nullable=True))')
RENAMED = Change('op.execute("ALTER TABLE subject_keys RENAME COLUMN wrapped TO sealed")', is_served_by_old_code=False)


async def advance(database: Database, folder: Path, change: Change) -> None:
    """Migrate as the next version would."""
    async with database.write() as connection:
        await connection.run_sync(schema.upgrade, next_version(folder, change, of_keys=database.of_keys))


@of_either
async def test_a_migrated_database_says_how_old_the_code_may_be(database_url: str, of_keys: bool) -> None:
    async with opened(database_url) as database:
        database.of_keys = of_keys
        await schema.migrate(database)
        await schema.migrate(database)

        async with database.read() as connection:
            rows = [tuple(row) for row in await connection.execute(select(schema_compatibility))]

    assert rows == [("system", schema.oldest_code(schema.alembic_config(of_keys=of_keys)))]


@of_either
def test_every_migration_from_the_first_on_says_how_old_the_code_may_be(of_keys: bool) -> None:
    scripts = list(ScriptDirectory.from_config(schema.alembic_config(of_keys=of_keys)).walk_revisions())
    said = {script.revision: script.module.oldest_code for script in scripts if script.revision >= FIRST[of_keys]}

    assert {revision for revision, oldest in said.items() if not FIRST[of_keys] <= oldest <= revision} == set()
    assert all(len(script.revision) == 4 and script.revision.isdecimal() for script in scripts)


@of_either
async def test_a_later_schema_that_lets_this_code_serve_is_served(database_url: str, tmp_path: Path, of_keys: bool) -> None:
    async with opened(database_url) as database:
        database.of_keys = of_keys
        await schema.migrate(database)
        own = await schema.check(database)
        await advance(database, tmp_path, ON_KEYS if of_keys else ADDITIVE)
        later = await schema.check(database)

        # Code as old as this does not migrate it all the same.
        with pytest.raises(FailedPreconditionError) as refused:
            await schema.migrate(database)

    assert (own, later) == (False, True)
    assert refused.value.reason == "SCHEMA_UNKNOWN"


@of_either
async def test_a_later_schema_that_does_not_is_refused(database_url: str, tmp_path: Path, of_keys: bool) -> None:
    async with opened(database_url) as database:
        database.of_keys = of_keys
        await schema.migrate(database)
        await advance(database, tmp_path, RENAMED if of_keys else BREAKING)

        with pytest.raises(FailedPreconditionError) as refused:
            await schema.check(database)

    assert refused.value.reason == "SCHEMA_UNKNOWN"


def test_a_migration_that_breaks_is_not_made_good_by_one_that_adds(tmp_path: Path) -> None:
    """Harm: of two migrations at once, the second says that code of before the first may serve."""
    config = next_version(tmp_path, BREAKING)
    breaking = str(ScriptDirectory.from_config(config).get_current_head())
    more = f'revision = "9000"\ndown_revision = "{breaking}"\noldest_code = "{FIRST[False]}"\n'
    (tmp_path / "migrations" / "versions" / "9000_more.py").write_text(more)

    assert ScriptDirectory.from_config(config).get_current_head() == "9000"
    assert schema.oldest_code(config) == breaking


# --- additions

BASE = (
    "CREATE TABLE other (tenant_id TEXT PRIMARY KEY)",
    "CREATE TABLE old (tenant_id TEXT NOT NULL PRIMARY KEY, word TEXT, number VARCHAR(20) NOT NULL)",
    "CREATE INDEX quick ON old (tenant_id, number)",
)
# What is written instead of what, and what is found then; written behind it all if there is nothing instead of which.
CHANGES = {
    "word TEXT, ": {
        "": ["old: column word is gone"],
        "words TEXT, ": ["old: column word is gone"],
        "word VARCHAR(9), ": ["old: column word was"],
        "word TEXT NOT NULL, ": ["old: column word was"],
        "word TEXT DEFAULT 'x', ": ["old: column word was"],
        "word TEXT UNIQUE, ": ["old: new unique ('word',)"],
        "word TEXT CHECK (word <> ''), ": ["old: new check word <> ''"],
        "word TEXT REFERENCES other (tenant_id), ": ["old: new reference Reference(columns=('word',), table='other'"],
        "word TEXT, more TEXT NOT NULL, ": ["old: column more must be given"],
        "word TEXT, more TEXT, most TEXT NOT NULL DEFAULT 'x', ": [],
    },
    "NOT NULL)": {
        ")": ["old: column number was"],
        "NOT NULL, UNIQUE (number))": ["old: new unique ('number',)"],
    },
    "NOT NULL PRIMARY KEY, ": {"NOT NULL UNIQUE, ": ["old: another primary key", "old: new unique ('tenant_id',)"]},
    "CREATE INDEX quick ON old (tenant_id, number)": {
        "SELECT 1": ["old: index ('tenant_id', 'number') is gone"],
        "CREATE UNIQUE INDEX quick ON old (tenant_id, number)": [
            "old: index ('tenant_id', 'number') is gone",
            "old: new unique ('tenant_id', 'number')",
        ],
    },
    "": {
        "DROP TABLE old": ["table old is gone"],
        "CREATE INDEX more ON old (tenant_id, word)": [],
        "CREATE TABLE new (tenant_id TEXT UNIQUE)": [],
        "CREATE TABLE new (tenant_id TEXT, FOREIGN KEY (tenant_id) REFERENCES old (tenant_id))": ["table new holds rows of old"],
        "CREATE TABLE new (tenant_id TEXT, FOREIGN KEY (tenant_id) REFERENCES old (tenant_id) ON DELETE CASCADE)": [],
    },
}
CASES = [(old, new, found) for old, changes in CHANGES.items() for new, found in changes.items()]


def changed(connection: Connection, old: str, new: str) -> list[str]:
    """What is found of one change, in a schema of its own."""
    shapes = []
    for statements in (BASE, [one.replace(old, new) for one in BASE] if old else [*BASE, new]):
        for table in ("new", "old", "other"):
            connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
        for statement in statements:
            connection.execute(text(statement))
        shapes.append(shape(connection))
    return findings(*shapes)


async def test_everything_but_an_addition_is_found(database_url: str) -> None:
    async with opened(database_url) as database, database.write() as connection:
        found = {(old, new): await connection.run_sync(changed, old, new) for old, new, _ in CASES}

    for old, new, expected in CASES:
        assert len(found[old, new]) == len(expected), (old, new, found[old, new])
        assert all(told.startswith(start) for told, start in zip(found[old, new], expected, strict=True)), (old, new, found[old, new])


async def claims_of(database_url: str, config: Config) -> list[str]:
    gone = {table.name for table, reach in CASCADE.items() if reach is Reach.GONE}
    async with opened(database_url) as database, database.write() as connection:
        return await connection.run_sync(lambda sync: untrue_claims(sync, config, gone_with_a_person=gone))


@of_either
async def test_what_ships_claims_nothing_that_is_not_so(database_url: str, of_keys: bool) -> None:
    assert await claims_of(database_url, schema.alembic_config(of_keys=of_keys)) == []


async def test_a_claim_that_is_so_is_believed(database_url: str, tmp_path: Path) -> None:
    assert await claims_of(database_url, next_version(tmp_path, ADDITIVE)) == []


async def test_a_claim_that_is_not_so_is_found(database_url: str, tmp_path: Path) -> None:
    """Harm: old code goes on serving a schema in which it loses what it is given."""
    found = await claims_of(database_url, next_version(tmp_path, replace(BREAKING, is_served_by_old_code=True)))

    assert {"records: column category is gone", "records: column kind must be given"} <= {words.partition(": ")[2] for words in found}


async def test_a_table_that_goes_with_a_person_is_not_left_to_code_that_does_not_know_it(database_url: str, tmp_path: Path) -> None:
    config = next_version(tmp_path, ADDITIVE)
    async with opened(database_url) as database, database.write() as connection:
        found = await connection.run_sync(lambda sync: untrue_claims(sync, config, gone_with_a_person=["surprises"]))

    assert [words.partition(": ")[2] for words in found] == ["old code erases nobody from surprises"]
