"""`pii-vault keys verify`: finds every key that is damaged or gone and every part that does not open, and shows nothing."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from tests.builders import PHONE, contact
from tests.commands import Commands, commands
from tests.processes import Finished, run
from vault.config import load
from vault.store import tables
from vault.store.database import Connection, Database
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest

TENANTS = ("acme", "damaged-key", "lost-key", "lost-data-key", "damaged-part", "moved-part", "lost-version")
FOUND = {
    "acme": [],
    "damaged-key": ["CIPHERTEXT_INVALID"],
    "lost-key": ["KEY_MISSING"],
    "lost-data-key": ["KEY_MISSING"],
    "damaged-part": ["CIPHERTEXT_INVALID"],
    "moved-part": ["SUBJECT_KEY_MISSING"],
    "lost-version": ["KEY_MISSING"],
}


@pytest.fixture
def vault(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    """A serving vault with two contacts of each tenant."""
    with commands(database_kind, request, tmp_path) as started:
        with started.vault.client("operator") as operator:
            for tenant in TENANTS[1:]:
                operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id=tenant))
        with started.vault.client("engine") as engine:
            for tenant in TENANTS:
                for phone in (PHONE, "+972502345671"):
                    engine.call(engine.records.CreateRecord, CreateRecordRequest(parent=f"tenants/{tenant}", record=contact(phone)))
        yield started


def verify(vault: Commands) -> Finished:
    return run("keys", "verify", "--config", vault.home / "vault.yaml", "--json")


def change(vault: Commands, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Change what is stored, as somebody with the database would."""

    async def do() -> None:
        database = Database(load(vault.home / "vault.yaml").database_url.get_secret_value())
        try:
            async with database.write() as connection:
                await work(connection)
        finally:
            await database.close()

    asyncio.run(do())


async def damage(connection: Connection) -> None:
    """One thing for each tenant."""
    keys, parts, people = tables.tenant_keys, tables.record_parts, tables.subject_keys

    def of(tenant: str, purpose: str) -> tuple[object, object]:
        return keys.c.tenant_id == tenant, keys.c.purpose == purpose

    await connection.execute(update(keys).where(*of("damaged-key", "legal")).values(wrapped=b"\0" * 61))  # type: ignore[arg-type]
    await connection.execute(delete(keys).where(*of("lost-key", "text")))  # type: ignore[arg-type]
    await connection.execute(delete(keys).where(*of("lost-data-key", "data")))  # type: ignore[arg-type]
    await connection.execute(update(keys).where(*of("lost-version", "digest")).values(version=2))  # type: ignore[arg-type]
    sealed = (await connection.execute(select(parts.c.sealed).where(parts.c.tenant_id == "damaged-part").limit(1))).scalar_one()
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    await connection.execute(update(parts).where(parts.c.tenant_id == "damaged-part", parts.c.sealed == sealed).values(sealed=changed))
    gone = select(people.c.subject_id).where(people.c.tenant_id == "moved-part").limit(1)
    subject = (await connection.execute(gone)).scalar_one()
    await connection.execute(delete(people).where(people.c.tenant_id == "moved-part", people.c.subject_id == subject))


def test_every_damage_is_found_and_nothing_is_shown(vault: Commands) -> None:
    """I2, I9: also a key whose loss a start would have covered up by making a new one."""
    sound = verify(vault).answer()
    wrapped: list[bytes] = []

    async def look(connection: Connection) -> None:
        wrapped.extend((await connection.execute(select(tables.tenant_keys.c.wrapped))).scalars())

    change(vault, look)
    change(vault, damage)
    found = verify(vault)

    assert sound["sound"] is True
    assert {item["tenant"]: (item["keys"], item["parts_opened"]) for item in sound["tenants"]}["acme"] == (6, 2)
    assert found.code == 1
    problems = {item["tenant"]: item["problems"] for item in json.loads(found.out)["tenants"]}
    # Of the moved digest key it is the place that does not fit, before its version is looked at.
    assert problems["lost-version"] == ["CIPHERTEXT_INVALID", "KEY_MISSING"]
    assert {tenant: problems[tenant] for tenant in FOUND if tenant != "lost-version"} == {
        tenant: expected for tenant, expected in FOUND.items() if tenant != "lost-version"
    }
    assert problems["system"] == []
    shown = found.out + found.err
    assert not any(value in shown for value in (PHONE, "2345678", "2345671"))
    assert not any(form in shown for key in wrapped for form in (key.hex(), repr(key)[2:-1]))
