"""Tenants and their wrapped keys."""

from dataclasses import replace

import pytest

from tests.store.rows import ACME, BETA, TENANT
from vault.errors import AbortedError
from vault.names import SYSTEM_LOG
from vault.store.database import Database
from vault.store.tenants import TenantKeyRow, get_tenant, insert_tenant, list_tenants, tenant_key_rows, update_tenant

KEYS = [TenantKeyRow("data", 1, b"data key"), TenantKeyRow("index", 1, b"index key")]


async def create(database: Database, *names: str) -> None:
    async with database.write() as connection:
        for name in names:
            await insert_tenant(connection, replace(TENANT, tenant_id=name), KEYS)


async def names_of(database: Database, *, after: str = "", limit: int = 10, only: list[str] | None = None) -> list[str]:
    async with database.read() as connection:
        return [row.tenant_id for row in await list_tenants(connection, after=after, limit=limit, only=only)]


async def test_a_tenant_comes_back_as_it_was_stored(database: Database) -> None:
    await create(database, ACME)

    async with database.read() as connection:
        stored = await get_tenant(connection, ACME)

    assert stored == TENANT


async def test_an_unknown_tenant_is_none(database: Database) -> None:
    await create(database, ACME)

    async with database.read() as connection:
        stored = await get_tenant(connection, BETA)

    assert stored is None


async def test_a_tenant_is_created_once(database: Database) -> None:
    await create(database, ACME)

    with pytest.raises(AbortedError) as raised:
        await create(database, ACME)

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_keys_come_back_for_their_tenant_only(database: Database) -> None:
    await create(database, ACME)
    async with database.write() as connection:
        await insert_tenant(connection, replace(TENANT, tenant_id=BETA), [TenantKeyRow("data", 1, b"another key")])

    async with database.read() as connection:
        keys = await tenant_key_rows(connection, ACME)

    assert sorted(keys, key=lambda key: key.purpose) == KEYS


async def test_tenants_are_listed_by_id_in_pages(database: Database) -> None:
    await create(database, "zeta", ACME, "gamma", BETA)

    pages = [await names_of(database, limit=3), await names_of(database, after="gamma", limit=3)]

    assert pages == [[ACME, BETA, "gamma"], ["zeta"]]


async def test_a_list_of_tenants_holds_those_asked_for_only(database: Database) -> None:
    await create(database, ACME, BETA, "gamma")

    some, none = await names_of(database, only=[BETA, "gamma", "unknown"]), await names_of(database, only=[])

    assert some == [BETA, "gamma"]
    assert none == []


async def test_the_system_log_is_no_tenant_and_shortens_no_page(database: Database) -> None:
    await create(database, ACME, SYSTEM_LOG, "tango", "uniform")

    page = await names_of(database, limit=3)

    assert page == [ACME, "tango", "uniform"]


async def test_settings_are_changed_if_they_are_those_that_were_read(database: Database) -> None:
    await create(database, ACME, BETA)

    async with database.write() as connection:
        changed = await update_tenant(connection, ACME, version=1, display_name="New", reference_pattern="X")
        rows = [await get_tenant(connection, name) for name in (ACME, BETA)]

    assert changed
    assert rows == [replace(TENANT, display_name="New", reference_pattern="X", version=2), replace(TENANT, tenant_id=BETA)]


async def test_settings_that_changed_meanwhile_are_left_alone(database: Database) -> None:
    await create(database, ACME)

    async with database.write() as connection:
        changed = await update_tenant(connection, ACME, version=2, display_name="New", reference_pattern="X")
        row = await get_tenant(connection, ACME)

    assert not changed
    assert row == TENANT
