"""Unwrapped tenant keys and how long they may be used: while the epoch is the one of the data (I4), and one TTL without a key service (§9)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from tests.store.rows import ACME, BETA, TENANT
from vault.errors import CiphertextInvalidError, DataLossError, KeyUnavailableError
from vault.operations import keyring as keyring_module
from vault.operations.keyring import PURPOSES, Keyring, TenantKeys
from vault.store.database import Connection, Database
from vault.store.tables import tenant_keys
from vault.store.tenants import TenantKeyRow, insert_tenant

TTL = timedelta(seconds=60)


@dataclass(slots=True)
class FakeKeyService:
    """Wraps by writing the context in front; can be down, and counts what it is asked.

    Attributes:
        down: whether nobody answers.
        unwrapped: contexts of the keys that it unwrapped.
    """

    down: bool = False
    unwrapped: list[bytes] = field(default_factory=list)

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        self._answer()
        return context + b"|" + material

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        self._answer()
        found, _, material = wrapped.partition(b"|")
        if found != context:
            raise CiphertextInvalidError
        self.unwrapped.append(context)
        return material

    def describe(self) -> str:
        return "a fake"

    async def health(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if self.down:
            raise KeyUnavailableError


@dataclass(slots=True)
class FixedClock:
    now: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass(slots=True)
class Parts:
    """A keyring and everything around it."""

    database: Database
    service: FakeKeyService
    clock: FixedClock
    keyring: Keyring

    async def create(self, tenant: str) -> list[TenantKeyRow]:
        rows = await self.keyring.create(tenant)
        async with self.database.write() as connection:
            await insert_tenant(connection, replace(TENANT, tenant_id=tenant), rows)
        return rows

    async def keys(self, tenant: str = ACME, *, epoch: int = 1) -> TenantKeys:
        async with self.database.read() as connection:
            return await self.keyring.of(connection, tenant, epoch=epoch)

    async def change(self, work: Callable[[Connection], Awaitable[object]]) -> None:
        async with self.database.write() as connection:
            await work(connection)


@pytest.fixture
async def parts(database: Database) -> Parts:
    service, clock = FakeKeyService(), FixedClock()
    made = Parts(database, service, clock, Keyring(service, ttl=TTL, clock=clock))
    await made.create(ACME)
    return made


async def test_a_new_tenant_has_one_key_for_each_purpose_all_different_and_wrapped(parts: Parts) -> None:
    rows = await parts.create(BETA)

    keys = await parts.keys(BETA)

    assert [(row.purpose, row.version) for row in rows] == [(purpose, 1) for purpose in PURPOSES]
    assert len({bytes(keys.newest(purpose).material) for purpose in PURPOSES}) == len(PURPOSES)
    assert {len(keys.newest(purpose).material) for purpose in PURPOSES} == {32}


async def test_keys_are_unwrapped_once_and_then_at_hand(parts: Parts) -> None:
    first = await parts.keys()

    second = await parts.keys()

    assert second is first
    assert sorted(parts.service.unwrapped) == sorted(f"acme/{purpose}/1".encode() for purpose in PURPOSES)


async def test_keys_at_hand_need_no_database_and_no_key_service(parts: Parts) -> None:
    keys = await parts.keys()
    parts.service.down = True

    assert parts.keyring.cached(ACME, epoch=1) is keys
    assert parts.keyring.cached(BETA, epoch=1) is None


async def test_keys_at_hand_serve_while_the_key_service_is_down_until_the_ttl(parts: Parts) -> None:
    """§9: survived for one TTL, and then no longer."""
    keys = await parts.keys()
    parts.service.down = True

    parts.clock.now += TTL - timedelta(microseconds=1)
    still = await parts.keys()
    parts.clock.now += timedelta(microseconds=1)
    with pytest.raises(KeyUnavailableError) as raised:
        await parts.keys()

    assert still is keys
    assert raised.value.reason == "KEYS_UNAVAILABLE"
    assert raised.value.retry_after == timedelta(seconds=1)


async def test_without_keys_at_hand_nothing_goes_while_the_key_service_is_down(parts: Parts) -> None:
    parts.service.down = True

    with pytest.raises(KeyUnavailableError):
        await parts.keys()


async def test_a_tenant_is_not_created_while_the_key_service_is_down(parts: Parts) -> None:
    """§9: nothing is written unsealed."""
    parts.service.down = True

    with pytest.raises(KeyUnavailableError):
        await parts.keyring.create(BETA)


async def test_keys_are_unwrapped_again_when_the_key_service_is_back(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "_RETRY_SECONDS", 0.0)
    before = await parts.keys()
    parts.clock.now += TTL
    parts.service.down = True
    with pytest.raises(KeyUnavailableError):
        await parts.keys()

    parts.service.down = False
    after = await parts.keys()

    assert after is not before
    assert after.newest("data").material == before.newest("data").material


async def test_a_use_does_not_make_keys_live_longer(parts: Parts) -> None:
    """Or a busy tenant's keys would never be asked for again."""
    await parts.keys()
    parts.clock.now += TTL / 2
    await parts.keys()
    parts.clock.now += TTL / 2
    parts.service.down = True

    with pytest.raises(KeyUnavailableError):
        await parts.keys()


@pytest.mark.parametrize("epoch", [0, 2, 7])
async def test_another_epoch_drops_what_is_at_hand(parts: Parts, epoch: int) -> None:
    """I4: whoever raises the epoch has killed every cached key of the tenant, in every process."""
    await parts.keys()
    parts.service.down = True

    assert parts.keyring.cached(ACME, epoch=epoch) is None
    with pytest.raises(KeyUnavailableError):
        await parts.keys(epoch=epoch)


async def test_the_epoch_of_one_tenant_is_nothing_to_another(parts: Parts) -> None:
    await parts.create(BETA)
    await parts.keys()
    beta = await parts.keys(BETA)

    await parts.keys(epoch=2)
    parts.service.down = True

    assert await parts.keys(BETA) is beta


async def test_a_destroyed_key_is_gone_on_the_next_read_at_the_new_epoch(parts: Parts) -> None:
    """I4."""
    before = await parts.keys()
    await parts.change(
        lambda connection: connection.execute(delete(tenant_keys).where(tenant_keys.c.tenant_id == ACME, tenant_keys.c.purpose == "text"))
    )

    after = await parts.keys(epoch=2)

    assert before.version("text", 1).version == 1
    with pytest.raises(DataLossError) as raised:
        after.version("text", 1)
    assert raised.value.reason == "KEY_UNKNOWN"


async def test_sealing_under_a_destroyed_key_is_refused_by_its_reason(parts: Parts) -> None:
    await parts.change(
        lambda connection: connection.execute(delete(tenant_keys).where(tenant_keys.c.tenant_id == ACME, tenant_keys.c.purpose == "text"))
    )
    keys = await parts.keys(epoch=2)

    with pytest.raises(DataLossError) as raised:
        keys.newest("text")

    assert raised.value.reason == "KEY_UNKNOWN"


async def test_the_newest_version_seals_and_older_ones_still_open(parts: Parts) -> None:
    wrapped = await parts.service.wrap(b"n" * 32, context=b"acme/data/2")
    old = await parts.keys()
    await parts.change(
        lambda connection: connection.execute(
            tenant_keys.insert().values(
                tenant_id=ACME,
                purpose="data",
                version=2,
                wrapped=wrapped,
                check_value=b"",
                root_key="",
                use_count=0,
                create_time=parts.clock(),
            )
        )
    )

    keys = await parts.keys(epoch=2)

    assert (keys.newest("data").version, bytes(keys.newest("data").material)) == (2, b"n" * 32)
    assert keys.version("data", 1).material == old.newest("data").material


@pytest.mark.parametrize(("purpose", "version", "tenant"), [("data", 1, BETA), ("index", 1, ACME), ("data", 2, ACME)])
async def test_a_wrapped_key_that_was_moved_does_not_unwrap(parts: Parts, purpose: str, version: int, tenant: str) -> None:
    """I3, I11: whoever writes to the database cannot give one tenant the key of another."""
    await parts.create(BETA)
    foreign = await parts.service.wrap(b"f" * 32, context=f"{tenant}/{purpose}/{version}".encode())
    await parts.change(
        lambda connection: connection.execute(
            update(tenant_keys).where(tenant_keys.c.tenant_id == ACME, tenant_keys.c.purpose == "data").values(wrapped=foreign)
        )
    )

    with pytest.raises(CiphertextInvalidError):
        await parts.keys()


async def test_keys_of_an_unknown_tenant_are_none(parts: Parts) -> None:
    keys = await parts.keys(BETA)

    with pytest.raises(DataLossError) as raised:
        keys.version("data", 1)

    assert raised.value.reason == "KEY_UNKNOWN"


async def test_index_keys_differ_by_kind_and_by_tenant_and_stay(parts: Parts) -> None:
    await parts.create(BETA)
    acme, beta = await parts.keys(), await parts.keys(BETA)

    found = {keys.index_key(kind) for keys in (acme, beta) for kind in ("phone", "email")}

    assert len(found) == 4
    assert acme.index_key("phone") == acme.index_key("phone")
    assert acme.index_version == 1


async def test_the_number_of_tenants_at_hand_is_bounded(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "_CACHED_TENANTS", 2)
    names = [ACME, BETA, "gamma"]
    for name in names[1:]:
        await parts.create(name)

    for name in names:
        await parts.keys(name)

    assert [name for name in names if parts.keyring.cached(name, epoch=1) is not None] == [BETA, "gamma"]


async def test_nothing_shows_a_key(parts: Parts) -> None:
    """I2."""
    keys = await parts.keys()
    keys.index_key("phone")

    shown = repr(keys) + str(keys) + repr(keys.newest("data"))

    assert keys.newest("data").material.hex() not in shown
    assert repr(keys.newest("data").material)[2:-1] not in shown
    assert "by_purpose" not in shown
