"""Migrations: one line of revisions, up and down on both databases, ending at the schema that the code has."""

import ast
import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from tests.store.rows import ACME, TENANT, opened
from vault.errors import FailedPreconditionError
from vault.store import schema
from vault.store.database import Database
from vault.store.erasures import Count, certificates_of, get_erasure
from vault.store.guardians import get_guardian
from vault.store.records import get_records
from vault.store.tables import metadata
from vault.store.tenants import TenantKeyRow, get_tenant, insert_tenant

SCRIPTS = ScriptDirectory.from_config(schema.alembic_config())
REVISIONS = list(SCRIPTS.walk_revisions())


def differences(connection: Connection) -> list[object]:
    """What autogenerate would write to make the database the model."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def primary_keys(connection: Connection) -> dict[str, list[str]]:
    inspector = inspect(connection)
    return {name: list(inspector.get_pk_constraint(name)["constrained_columns"]) for name in inspector.get_table_names()}


def upgrade(connection: Connection, revision: str) -> None:
    config = schema.alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def downgrade(connection: Connection) -> None:
    config = schema.alembic_config()
    config.attributes["connection"] = connection
    command.downgrade(config, "base")


async def revision(database: Database) -> str | None:
    async with database.read() as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def test_revisions_form_one_line() -> None:
    assert len(SCRIPTS.get_heads()) == 1
    assert len(SCRIPTS.get_bases()) == 1


@pytest.mark.parametrize("path", [Path(script.path) for script in REVISIONS], ids=lambda path: path.stem)
def test_a_migration_means_the_same_when_the_code_has_moved_on(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported <= {"sqlalchemy", "alembic"}


async def test_a_migrated_database_has_the_schema_of_the_model(database_url: str) -> None:
    async with opened(database_url) as database:
        await schema.migrate(database)

        async with database.read() as connection:
            found = await connection.run_sync(differences)

    assert found == []


async def test_a_migrated_database_has_the_primary_keys_of_the_model(database_url: str) -> None:
    """Autogenerate does not compare them."""
    async with opened(database_url) as database:
        await schema.migrate(database)

        async with database.read() as connection:
            found = await connection.run_sync(primary_keys)

    del found["alembic_version"]
    assert found == {name: [column.name for column in table.primary_key.columns] for name, table in metadata.tables.items()}


async def test_a_database_goes_down_to_nothing_and_up_again(database_url: str) -> None:
    async with opened(database_url) as database:
        await schema.migrate(database)
        async with database.write() as connection:
            await connection.run_sync(downgrade)
        async with database.read() as connection:
            left = await connection.run_sync(tables)

        await schema.migrate(database)
        async with database.read() as connection:
            found = await connection.run_sync(differences)

    assert left == {"alembic_version"}
    assert found == []


async def test_migrating_a_migrated_database_keeps_what_is_in_it(database: Database) -> None:
    async with database.write() as connection:
        await insert_tenant(connection, TENANT, [TenantKeyRow("data", 1, b"wrapped")])

    await schema.migrate(database)

    async with database.read() as connection:
        assert await get_tenant(connection, ACME) == TENANT


async def test_erasures_of_the_first_versions_keep_their_certificate_and_their_counts(database_url: str) -> None:
    """0004: a certificate is the one that was signed, and whoever approved is the one who did."""
    old = (
        "INSERT INTO erasures (tenant_id, erasure_id, subject_id, state, requester, approver, preview_digest, outcomes, request_time, "
        "finish_time, certificate) VALUES ('acme', 'e1', 'anna', 'COMPLETE', 'desk', 'people/e-1', 'digest', "
        """'{"site-visitor": 1, "call-detail": 2}', '2026-01-01 00:00:00+00:00', '2026-01-02 00:00:00+00:00', 'signed')"""
    )

    async with opened(database_url) as database:
        async with database.write() as connection:
            await connection.run_sync(upgrade, "0003")
            await connection.exec_driver_sql(old)

        await schema.migrate(database)

        async with database.read() as connection:
            row = await get_erasure(connection, ACME, "e1")
            notes = await certificates_of(connection, ACME, "e1")

    assert row is not None
    assert row.outcomes == (Count("call-detail", "erased", 2), Count("site-visitor", "erased", 1))
    assert (row.state, row.requester_kind, row.approvers, row.required_approvals) == ("COMPLETE", "SUBJECT", ("people/e-1",), 1)
    assert notes == ["signed"]


async def test_a_guardians_consent_from_before_birthdays_were_asked_counts_as_a_newborns(database_url: str) -> None:
    """0010: nobody loses a protection, and nothing goes too early."""
    old = (
        "INSERT INTO guardian_consents (tenant_id, subject_id, evidence_sha256, method, verified_by, verify_time, key_version, sealed) "
        "VALUES ('acme', 'anna', '', 'DOCUMENT', 'people/e-1', '2026-03-04 05:06:07+00:00', 0, '')"
    )
    async with opened(database_url) as database:
        async with database.write() as connection:
            await connection.run_sync(upgrade, "0009")
            await connection.exec_driver_sql(old)

        await schema.migrate(database)

        async with database.read() as connection:
            row = await get_guardian(connection, ACME, "anna")

    assert row is not None
    assert row.majority_time == datetime(2045, 1, 1, tzinfo=UTC)


async def test_records_are_looked_at_when_their_ordinary_use_ends_and_when_an_interval_ended(database_url: str) -> None:
    """0011: nothing else is looked at, and nothing that went first goes later."""
    used, gone, over = "2027-01-01 00:00:00+00:00", "2033-01-01 00:00:00+00:00", "2026-02-01 00:00:00+00:00"
    old = {
        "message": (None, used, gone),
        "click": (None, used, over),
        "plain": (None, used, used),
        "closed": (over, None, None),
        "open": (None, None, None),
    }
    async with opened(database_url) as database:
        async with database.write() as connection:
            await connection.run_sync(upgrade, "0010")
            for name, times in old.items():
                said = ", ".join("NULL" if time is None else f"'{time}'" for time in times)
                await connection.exec_driver_sql(
                    "INSERT INTO records (tenant_id, record_id, subject_id, category, level, list_id, import_id, create_time, metadata, version, "  # noqa: S608
                    f"valid_to, expire_time, due_time) VALUES ('acme', '{name}', 'anna', 'c', '', '', '', '{used}', '{{}}', 1, {said})"
                )

        await schema.migrate(database)

        async with database.read() as connection:
            rows = {row.record_id: row.due_time for row in await get_records(connection, ACME, list(old))}

    use_ends, went_first = datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    assert rows == {"message": use_ends, "click": went_first, "plain": use_ends, "closed": use_ends, "open": None}


async def test_workers_that_migrate_at_once_all_find_it_done(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as two:
        await asyncio.gather(schema.migrate(one), schema.migrate(two), schema.migrate(two))

        assert await revision(one) == SCRIPTS.get_current_head()


async def test_a_migration_that_fails_leaves_nothing_of_it(database_url: str) -> None:
    async with opened(database_url) as database:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE tenants (something_else INTEGER)"))  # in the way of the last tables

        with pytest.raises(Exception, match="AUDIT_UNAVAILABLE"):
            await schema.migrate(database)

        async with database.read() as connection:
            assert await connection.run_sync(tables) == {"tenants"}


async def test_a_migrated_database_passes_the_check(database: Database) -> None:
    await schema.check(database)


async def test_an_empty_database_is_refused(database_url: str) -> None:
    async with opened(database_url) as database:
        with pytest.raises(FailedPreconditionError) as raised:
            await schema.check(database)

    assert raised.value.reason == "SCHEMA_OUTDATED"


async def test_a_database_of_an_older_revision_is_refused(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    with pytest.raises(FailedPreconditionError) as raised:
        await schema.check(database)

    assert raised.value.reason == "SCHEMA_OUTDATED"


async def test_the_migrations_are_found_in_a_folder_with_a_percent_sign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(schema, "__file__", str(tmp_path / "100%(sure)s" / "schema.py"))

    found = schema.alembic_config().get_main_option("script_location")

    assert found == str(tmp_path / "100%(sure)s" / "migrations")
