"""How tenant keys are had from a key service: once for however many ask, not again for a moment after it failed, and not kept longer than used."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from tests.store.rows import ACME, BETA, TENANT
from vault.catalogue import loader
from vault.crypto import DataKey, Place, seal_fields, seal_text
from vault.errors import CiphertextInvalidError, DataLossError, KeyUnavailableError
from vault.operations import keyring as keyring_module
from vault.operations import upkeep
from vault.operations.budget import ReleaseBudgets
from vault.operations.core import Limits, SigningKey, Vault
from vault.operations.keyring import PURPOSES, WARN_USES, Keyring, TenantKeys
from vault.operations.webhook import Webhooks
from vault.policy.decide import Policy
from vault.store import tenants as tenant_store
from vault.store.database import Database
from vault.store.ledger import LedgerDirectory
from vault.store.tables import tenant_keys
from vault.store.tenants import insert_tenant

TTL = timedelta(seconds=60)
EACH_ONCE = {f"{ACME}/{purpose}/1".encode(): 1 for purpose in PURPOSES}


@dataclass(slots=True)
class SlowKeyService:
    """Wraps by writing the context in front; counts what it is asked, and answers when it is let.

    Attributes:
        asked: contexts that it was asked to unwrap.
        answers: set while it answers; what it is asked meanwhile waits.
        error: raised instead of an answer.
    """

    asked: Counter[bytes] = field(default_factory=Counter)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    error: KeyUnavailableError | CiphertextInvalidError | None = None

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        return context + b"|" + material

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        self.asked[context] += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return wrapped.partition(b"|")[2]

    def describe(self) -> str:
        return "slow"

    async def health(self) -> None:
        """Always well."""


@dataclass(slots=True)
class FixedClock:
    now: datetime = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass(slots=True)
class Parts:
    """A keyring, and the key services of its two tenants."""

    database: Database
    ours: SlowKeyService
    theirs: SlowKeyService
    clock: FixedClock
    keyring: Keyring

    async def keys(self, tenant: str = ACME, *, epoch: int = 1) -> TenantKeys:
        async with self.database.read() as connection:
            return await self.keyring.of(connection, tenant, epoch=epoch)

    async def failure(self, tenant: str = ACME) -> KeyUnavailableError | CiphertextInvalidError:
        try:
            await self.keys(tenant)
        except (KeyUnavailableError, CiphertextInvalidError) as error:
            return error
        raise AssertionError


@pytest.fixture
async def parts(database: Database) -> AsyncIterator[Parts]:
    ours, theirs, clock = SlowKeyService(), SlowKeyService(), FixedClock()
    for service in (ours, theirs):
        service.answers.set()
    keyring = Keyring(ours, ttl=TTL, clock=clock, others={"theirs": theirs})
    for tenant, root_key in ((ACME, ""), (BETA, "theirs")):
        rows = await keyring.create(tenant, root_key=root_key)
        async with database.write() as connection:
            await insert_tenant(connection, replace(TENANT, tenant_id=tenant, root_key=root_key), rows)
    yield Parts(database, ours, theirs, clock, keyring)
    # Nobody may be left waiting.
    for service in (ours, theirs):
        service.answers.set()


async def until(condition: Callable[[], bool]) -> None:
    """Poll with a deadline."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


# --- once


async def test_a_hundred_who_ask_at_once_unwrap_each_key_once(parts: Parts) -> None:
    parts.ours.answers.clear()
    async with parts.database.read() as connection:
        waiting = [asyncio.create_task(parts.keyring.of(connection, ACME, epoch=1)) for _ in range(100)]
        await asyncio.sleep(0.05)
        parts.ours.answers.set()
        found = await asyncio.gather(*waiting)

    assert parts.ours.asked == EACH_ONCE
    assert len({id(keys) for keys in found}) == 1


async def test_whoever_looked_before_others_loaded_does_not_load_again(parts: Parts) -> None:
    """Harm: of fifty calls at once, those who were at the database when the first load ended each unwrapped every key again."""
    await asyncio.gather(*(parts.keyring.warm(parts.database, ACME) for _ in range(50)))

    assert parts.ours.asked == EACH_ONCE


async def test_a_caller_who_leaves_takes_nobodys_keys_along(parts: Parts) -> None:
    parts.ours.answers.clear()
    async with parts.database.read() as connection:
        first, second = [asyncio.create_task(parts.keyring.of(connection, ACME, epoch=1)) for _ in range(2)]
        await until(lambda: bool(parts.ours.asked))

        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        parts.ours.answers.set()

        assert (await second).newest("data").version == 1
    assert parts.ours.asked == EACH_ONCE


# --- failures


async def test_a_root_key_that_failed_is_not_asked_again_for_a_moment_and_another_tenants_is(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.ours.error = KeyUnavailableError("away")
    first = await parts.failure()
    asked = parts.ours.asked.total()
    parts.ours.error = None

    again = [await parts.failure() for _ in range(5)]
    asked_again = parts.ours.asked.total()
    theirs = await parts.keys(BETA)
    monkeypatch.setattr(parts.keyring, "_failed", {ACME: (0.0, first)})
    after_a_moment = await parts.keys()

    assert {error.message for error in (first, *again)} == {"away"}
    assert len({id(error) for error in again}) == len(again), "a refusal is noted on its error, which must be one caller's"
    assert asked_again == asked
    assert (theirs.tenant, after_a_moment.tenant) == (BETA, ACME)


async def test_after_the_moment_one_asks_again_and_nobody_else_waits(parts: Parts) -> None:
    """Half open: a key service that hangs holds one caller at a time."""
    parts.ours.answers.clear()
    parts.keyring._failed[ACME] = (0.0, KeyUnavailableError("away"))
    asking = asyncio.create_task(parts.keyring.warm(parts.database, ACME))
    await until(lambda: bool(parts.ours.asked))

    async with asyncio.timeout(10):
        refused = [await parts.failure() for _ in range(5)]
    parts.ours.answers.set()
    await asking

    assert {error.message for error in refused} == {"away"}
    assert (await parts.keys()).newest("data").version == 1
    assert parts.ours.asked == EACH_ONCE


async def test_nobody_waits_long_with_a_transaction_open_and_what_comes_late_is_kept(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Harm: on SQLite the one who waited was the only one who could write."""
    monkeypatch.setattr(keyring_module, "_HOLDING_SECONDS", 0.05)
    parts.ours.answers.clear()

    async with asyncio.timeout(10):
        refused = await parts.failure()
    parts.ours.answers.set()
    await until(lambda: not parts.keyring._loading)

    assert (refused.reason, refused.retry_after) == ("KEYS_UNAVAILABLE", timedelta(seconds=1))
    assert parts.keyring.cached(ACME, epoch=1) is not None
    assert parts.ours.asked == EACH_ONCE


async def test_an_answer_with_another_key_is_refused(parts: Parts) -> None:
    """I3: whoever can write to the database, and has the key service wrap what they know, cannot put that in a key's place."""
    forged = await parts.ours.wrap(b"f" * 32, context=f"{ACME}/data/1".encode())
    async with parts.database.write() as connection:
        await connection.execute(
            update(tenant_keys).where(tenant_keys.c.tenant_id == ACME, tenant_keys.c.purpose == "data").values(wrapped=forged)
        )

    refused = await parts.failure()

    assert refused.reason == "CIPHERTEXT_INVALID"
    assert parts.keyring.cached(ACME, epoch=1) is None


async def test_a_root_key_that_is_not_in_the_configuration_any_more_is_unavailable(parts: Parts) -> None:
    without = Keyring(parts.ours, ttl=TTL, clock=parts.clock)

    async with parts.database.read() as connection:
        with pytest.raises(KeyUnavailableError):
            await without.of(connection, BETA, epoch=1)
        assert (await without.of(connection, ACME, epoch=1)).tenant == ACME


# --- warm


async def test_warm_has_the_keys_at_hand_and_says_nothing_of_failures(parts: Parts) -> None:
    parts.theirs.error = KeyUnavailableError("away")

    for tenant in (ACME, BETA, "nobody"):
        await parts.keyring.warm(parts.database, tenant)

    assert parts.keyring.cached(ACME, epoch=1) is not None
    assert parts.keyring.cached(BETA, epoch=1) is None
    assert parts.keyring.cached("nobody", epoch=1) is None


async def test_warm_holds_no_connection_while_the_key_service_is_slow(parts: Parts) -> None:
    parts.ours.answers.clear()
    warming = [asyncio.create_task(parts.keyring.warm(parts.database, ACME)) for _ in range(50)]
    pool: Any = parts.database.engine.pool

    await until(lambda: bool(parts.ours.asked) and pool.checkedout() == 0)
    waiting = [task.done() for task in warming]
    parts.ours.answers.set()
    await asyncio.gather(*warming)

    assert not any(waiting)
    assert parts.keyring.cached(ACME, epoch=1) is not None


async def test_warm_loads_again_what_was_found_to_be_of_an_older_epoch(parts: Parts) -> None:
    """Harm: another replica had dropped the keys; what was cached still looked good, and the key service was asked inside transactions."""
    await parts.keys()
    async with parts.database.write() as connection:
        await connection.execute(update(tenant_keys.metadata.tables["tenants"]).values(key_epoch=2))
    parts.ours.error = KeyUnavailableError("away")
    with pytest.raises(KeyUnavailableError):
        await parts.keys(epoch=2)
    parts.ours.error = None
    parts.keyring._failed.clear()

    await parts.keyring.warm(parts.database, ACME)

    assert parts.keyring.cached(ACME, epoch=2) is not None


# --- uses


@pytest.fixture
def vault(parts: Parts) -> Vault:
    """As much of a vault as counting needs."""
    catalogue = loader.load()
    return Vault(
        name="vault.example",
        database=parts.database,
        key_database=None,
        keyring=parts.keyring,
        catalogue=catalogue,
        policy=Policy(catalogue),
        signing=SigningKey(None, lambda: None),  # type: ignore[arg-type, return-value]
        clock=parts.clock,
        region="IL",
        limits=Limits(),
        budgets=ReleaseBudgets(parts.clock),
        webhooks=Webhooks.of([], None),
        ledger=LedgerDirectory(Path("nowhere")),
    )


async def counted(database: Database) -> dict[str, int]:
    """Uses of each of the tenant's keys, as stored."""
    query = select(tenant_keys.c.purpose, tenant_keys.c.use_count).where(tenant_keys.c.tenant_id == ACME)
    async with database.read() as connection:
        return {row.purpose: row.use_count for row in await connection.execute(query)}


async def test_every_encryption_under_a_tenants_key_is_counted_once_and_stored(parts: Parts, vault: Vault) -> None:
    """NIST SP 800-38D §8.3: also across a reload of the keys."""
    first = await parts.keys()
    for _ in range(3):
        seal_text(b"x", under=first.newest("text"), purpose="audit-text", tenant=ACME, place="trace")
    parts.clock.now += TTL
    second = await parts.keys()
    seal_text(b"x", under=second.newest("text"), purpose="audit-text", tenant=ACME, place="trace")

    await upkeep.count_uses(vault)
    await upkeep.count_uses(vault)

    assert await counted(parts.database) == {**dict.fromkeys(PURPOSES, 0), "text": 4}


async def test_uses_that_could_not_be_stored_are_counted_later(parts: Parts, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = await parts.keys()
    seal_text(b"x", under=keys.newest("text"), purpose="audit-text", tenant=ACME, place="trace")

    async def away(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch, capture_logs() as logged:
        patch.setattr(tenant_store, "add_uses", away)
        await upkeep.count_uses(vault)
    seal_text(b"x", under=keys.newest("text"), purpose="audit-text", tenant=ACME, place="trace")
    await upkeep.count_uses(vault)

    assert [event["event"] for event in logged] == ["key uses not counted"]
    assert (await counted(parts.database))["text"] == 2


async def test_a_key_that_nears_its_limit_is_warned_of(parts: Parts, vault: Vault) -> None:
    async with parts.database.write() as connection:
        await connection.execute(
            update(tenant_keys).where(tenant_keys.c.tenant_id == ACME, tenant_keys.c.purpose == "text").values(use_count=WARN_USES - 1)
        )
    keys = await parts.keys()

    with capture_logs() as logged:
        await upkeep.count_uses(vault)
        seal_text(b"x", under=keys.newest("text"), purpose="audit-text", tenant=ACME, place="trace")
        await upkeep.count_uses(vault)

    assert [(event["event"], event["count"]) for event in logged] == [("keys near their limit of uses", 1)]


# --- not longer than used


def test_a_keys_bytes_are_overwritten_when_nobody_refers_to_it_any_more() -> None:
    key = DataKey(1, b"k" * 32)
    material = key.material
    seal_fields({"phone": b"x"}, under=key, at=Place(ACME, "subject", "record"))

    del key
    gc.collect()

    assert bytes(material) == bytes(32)


async def test_keys_that_were_forgotten_are_overwritten(parts: Parts) -> None:
    material = (await parts.keys()).newest("data").material

    parts.keyring.forget(ACME)
    gc.collect()

    assert bytes(material) == bytes(32)


async def test_keys_that_nobody_asked_for_within_the_ttl_are_overwritten_after_it(database: Database) -> None:
    """Harm: keys of a tenant that nobody called stayed in memory for as long as the process, revoked or not."""
    service = SlowKeyService()
    service.answers.set()
    keyring = Keyring(service, ttl=timedelta(seconds=0.05), clock=lambda: datetime.now(UTC))
    async with database.write() as connection:
        await insert_tenant(connection, TENANT, await keyring.create(ACME))
    async with database.read() as connection:
        material = (await keyring.of(connection, ACME, epoch=1)).newest("data").material

    def is_overwritten() -> bool:
        gc.collect()
        return bytes(material) == bytes(32)

    await until(is_overwritten)


async def test_keys_of_an_older_epoch_are_overwritten_when_a_newer_one_is_seen(parts: Parts) -> None:
    material = (await parts.keys()).newest("data").material
    parts.ours.error = KeyUnavailableError("away")

    with pytest.raises((KeyUnavailableError, DataLossError)):
        await parts.keys(epoch=2)
    gc.collect()

    assert bytes(material) == bytes(32)
