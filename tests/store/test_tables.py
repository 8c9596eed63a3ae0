"""The schema's own promises: tenant first everywhere (design §6), keys apart from ciphertext (§4), times in UTC to the microsecond."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    Identity,
    PrimaryKeyConstraint,
    Sequence,
    Table,
    UniqueConstraint,
    insert,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from tests.store.rows import ACME, HOUR, MICROSECOND, NOW
from vault.store.database import Database
from vault.store.tables import UtcTime, metadata, tenants

TABLES = sorted(metadata.tables.values(), key=lambda table: table.name)

every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


@every_table
def test_tenant_leads_the_primary_key(table: Table) -> None:
    leading = next(iter(table.primary_key.columns)).name

    assert leading == "tenant_id"


@every_table
def test_tenant_leads_every_constraint(table: Table) -> None:
    keyed = [c for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint | ForeignKeyConstraint)]

    leading = {str(constraint.name): next(iter(constraint.columns)).name for constraint in keyed}

    assert leading
    assert set(leading.values()) == {"tenant_id"}


@every_table
def test_a_foreign_key_stays_within_its_tenant(table: Table) -> None:
    referred = [key.elements[0].column.name for key in table.foreign_key_constraints]

    assert set(referred) <= {"tenant_id"}


@every_table
def test_tenant_leads_every_index(table: Table) -> None:
    leading = [index.columns[0].name for index in table.indexes]

    assert set(leading) <= {"tenant_id"}


@every_table
def test_no_number_comes_from_a_sequence(table: Table) -> None:
    generated = [c.name for c in table.columns if isinstance(c.default, Sequence) or isinstance(c.server_default, Identity)]

    assert generated == []
    assert table.autoincrement_column is None


@every_table
def test_no_key_stands_beside_what_it_opens(table: Table) -> None:
    keys = {"wrapped"} & set(table.columns.keys())
    ciphertexts = {"sealed", "data", "entry", "response"} & set(table.columns.keys())

    assert not (keys and ciphertexts)


def test_keys_and_ciphertexts_are_where_the_design_says() -> None:
    wrapped = {table.name for table in TABLES if "wrapped" in table.columns}
    sealed = {table.name for table in TABLES if "sealed" in table.columns}

    assert wrapped == {"tenant_keys", "subject_keys"}
    assert sealed == {"record_parts", "orders", "order_documents", "export_pieces", "guardian_consents", "replaced_values"}


@every_table
def test_every_time_is_kept_as_utc(table: Table) -> None:
    times = [column for column in table.columns if column.name.endswith("_time") or column.name.startswith("valid_")]

    naive = [column.name for column in times if not isinstance(column.type, UtcTime)]
    unnamed = [column.name for column in table.columns if isinstance(column.type, UtcTime | DateTime) and column not in times]

    assert naive == []
    assert unnamed == []


@pytest.mark.parametrize("dialect", [sqlite.dialect, postgresql.dialect])
def test_a_naive_time_is_refused(dialect: Callable[[], Dialect]) -> None:
    with pytest.raises(ValueError, match="naive"):
        UtcTime().process_bind_param(NOW.replace(tzinfo=None), dialect())


@pytest.mark.parametrize(
    "time",
    [
        NOW,
        NOW.replace(microsecond=0),
        NOW.replace(microsecond=999_999),
        datetime(1970, 1, 1, tzinfo=UTC) - MICROSECOND,
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),  # what a caller may send for "for ever"
        NOW.astimezone(timezone(timedelta(hours=3))),
        NOW.astimezone(timezone(-timedelta(hours=9, minutes=30))),
    ],
    ids=str,
)
async def test_a_time_comes_back_in_utc_to_the_microsecond(database: Database, time: datetime) -> None:
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(**_tenant(ACME, time)))
        # What the session thinks of time zones changes nothing.
        if not database.is_sqlite:
            await connection.execute(text("SET LOCAL TIME ZONE 'Asia/Jerusalem'"))
        stored = (await connection.execute(select(tenants.c.create_time))).scalar_one()

    assert stored == time
    assert stored.utcoffset() == timedelta(0)


async def test_times_compare_as_moments_whatever_their_zone(database: Database) -> None:
    east = timezone(timedelta(hours=14))
    moments = {"a": NOW - MICROSECOND, "b": NOW.astimezone(east), "c": NOW + MICROSECOND, "d": (NOW + HOUR).replace(microsecond=0)}
    async with database.write() as connection:
        await connection.execute(insert(tenants), [_tenant(name, moment) for name, moment in moments.items()])

    async with database.read() as connection:
        query = select(tenants.c.tenant_id).where(tenants.c.create_time >= NOW.astimezone(east)).order_by(tenants.c.create_time)
        found = list((await connection.execute(query)).scalars())

    assert found == ["b", "c", "d"]


def _tenant(name: str, time: datetime) -> dict[str, object]:
    values: dict[Column[object], object] = {
        tenants.c.tenant_id: name,
        tenants.c.display_name: "",
        tenants.c.state: "ACTIVE",
        tenants.c.key_epoch: 1,
        tenants.c.reference_pattern: "",
        tenants.c.create_time: time,
        tenants.c.version: 1,
        tenants.c.root_key: "",
    }
    return {column.name: value for column, value in values.items()}
