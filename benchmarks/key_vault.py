"""A vault inside this process: counting calls to its key service, and timing rotations without a port in between."""

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL, Column, MetaData, Table, bindparam, insert, literal_column, select, text, update
from sqlalchemy.schema import CreateTable

from benchmarks import people
from vault import config, server
from vault.cli import development
from vault.errors import VaultError
from vault.keys.provider import RootKeyProvider
from vault.names import ChildName, RecordName
from vault.operations import rotate, tenant
from vault.operations.attempt import Attempt, Caller, Justification
from vault.operations.core import Vault
from vault.operations.create import CreateCall, create_records
from vault.operations.idempotency import RequestKey
from vault.operations.keyring import Keyring
from vault.operations.preparing import RecordInput
from vault.operations.rotate import Asked
from vault.operations.upkeep import upkeep_caller
from vault.store import schema
from vault.store.database import Database
from vault.store.tables import subject_keys

# As many as one batch of a rotation.
BATCH = rotate._BATCH  # noqa: SLF001 - what is compared has to be of the same size
# What `key_cache_seconds` is unless told.
TTL = timedelta(seconds=60)
_STORED_AT_ONCE = 500
_NO_REQUEST = RequestKey("", "", b"")
WHY = Justification(people.WHY.purpose, people.WHY.reference, people.WHY.reason)


class FailedCallError(Exception):
    """A call failed that should not have."""


class Counting:
    """A provider that counts what it is asked, by tenant."""

    def __init__(self, provider: RootKeyProvider) -> None:
        self._provider = provider
        self.unwraps: Counter[str] = Counter()

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        return await self._provider.wrap(material, context=context)

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        self.unwraps[context.partition(b"/")[0].decode()] += 1
        return await self._provider.unwrap(wrapped, context=context)

    def describe(self) -> str:
        return self._provider.describe()

    async def health(self) -> None:
        await self._provider.health()


class Clock:
    """Stands still unless it is moved, so that a slow machine does not reach the end of a TTL."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by


@asynccontextmanager
async def opened(home: Path, url: URL | str, clock: Clock, *, keys_url: URL | str | None = None) -> AsyncIterator[tuple[Vault, Counting]]:
    """A vault as `pii-vault init` makes it, whose provider counts. With `keys_url`, subject keys have that database to themselves."""
    development.create(home, tenants=[people.TENANT], listen="localhost:0", database_url=_address(url))
    settings = config.load(home / "vault.yaml")
    await _migrate(url)
    if keys_url is not None:
        await _migrate(keys_url, of_keys=True)
        settings = settings.model_copy(update={"keys_url": SecretStr(_address(keys_url))})
    vault, provider = await server.open_vault(settings, clock=clock)
    counting = Counting(provider)
    ring = Keyring(counting, ttl=TTL, clock=clock)
    try:
        yield replace(vault, keyring=ring), counting
    finally:
        await server.close_vault(vault)


def _address(url: URL | str) -> str:
    return url if isinstance(url, str) else url.render_as_string(hide_password=False)


async def _migrate(url: URL | str, *, of_keys: bool = False) -> None:
    database = Database(_address(url), of_keys=of_keys)
    await schema.migrate(database)
    await database.close()


def caller(role: str, method: str) -> Caller:
    """A service of a role that may touch every tenant."""
    return Caller(f"spiffe://bench/{role}", "service", frozenset({role}), None, method, "0" * 32, "mtls")


async def new_tenant(vault: Vault, name: str) -> None:
    """Make a tenant."""
    await tenant.create_tenant(vault, Attempt(caller("operator", "CreateTenant")), name, display_name="", request=_NO_REQUEST)


async def store(
    vault: Vault, name: str, records: Sequence[RecordInput], *, role: str = "tenant-app", purpose: str = "service-delivery"
) -> list[RecordName]:
    """Store records; their names."""
    stored = []
    for start in range(0, len(records), _STORED_AT_ONCE):
        attempt = Attempt(caller(role, "BatchCreateRecords"), "create", name, justification=Justification(purpose))
        call = CreateCall(attempt, tuple(records[start : start + _STORED_AT_ONCE]), atomic=True, request=_NO_REQUEST)
        [outcomes] = await create_records(vault, name, [call])
        for outcome in outcomes:
            if isinstance(outcome, VaultError):
                raise FailedCallError(f"{outcome.reason}: {outcome.message}")
            stored.append(outcome.name)
    return stored


async def analyze(vault: Vault) -> None:
    """Bring the planner's statistics up to date, as a PostgreSQL server does by itself within a minute."""
    if not vault.database.is_sqlite:
        async with vault.database.write() as connection:
            await connection.execute(text("ANALYZE"))


def person(number: int) -> RecordInput:
    """The contact record of a person, as `people.record` has it."""
    return RecordInput(people.CATEGORY, {"phone": people.phone(number), "email": people.email(number)})


async def rotated(vault: Vault, asked: Asked) -> float:
    """Rotate a key from beginning to end; how many seconds it took."""
    begin = time.monotonic()
    row, _ = await rotate.start_rotation(vault, Attempt(caller("operator", "RotateKeys"), tenant=asked.tenant), asked)
    while await rotate.advance(vault, upkeep_caller()):
        pass
    seconds = time.monotonic() - begin
    done = await rotate.get_rotation(vault, ChildName(row.tenant_id, "keyRotations", row.rotation_id))
    if done.state != "COMPLETE" or done.done_count < row.total_count:
        raise FailedCallError(f"rotation of {asked.kind}: {done.state}, {done.done_count} of {row.total_count}")
    return seconds


class PlainCopy:
    """A copy of the table of subject keys, with its primary key, whose rows are overwritten with random bytes."""

    def __init__(self, vault: Vault) -> None:
        self._database = vault.database
        # Not by to_metadata: the name of the primary key would be taken.
        columns = [Column(column.name, column.type, primary_key=column.primary_key, autoincrement=False) for column in subject_keys.c]
        self._table = Table("bench_subject_keys", MetaData(), *columns)
        self._rows: list[tuple[str, int]] = []
        self._length = 0

    async def make(self, name: str) -> None:
        """Copy a tenant's rows."""
        table = self._table
        async with self._database.write() as connection:
            await connection.execute(CreateTable(table))
            await connection.execute(
                insert(table).from_select(table.c.keys(), select(subject_keys).where(subject_keys.c.tenant_id == name))
            )
            found = (
                await connection.execute(select(table.c.subject_id, table.c.version, table.c.wrapped).order_by(table.c.subject_id))
            ).all()
        self._name = name
        self._rows = [(row.subject_id, row.version) for row in found]
        self._length = len(found[0].wrapped)

    async def in_batches(self) -> float:
        """Overwrite every row, in batches and commits of a rotation's size; how many seconds it took."""
        table = self._table
        statement = (
            update(table)
            .where(table.c.tenant_id == self._name, table.c.subject_id == bindparam("b_subject"), table.c.version == bindparam("b_version"))
            .values(tenant_key_version=table.c.tenant_key_version + 1, wrapped=bindparam("b_wrapped"))
        )
        begin = time.monotonic()
        for start in range(0, len(self._rows), BATCH):
            rows = [
                {"b_subject": subject, "b_version": version, "b_wrapped": secrets.token_bytes(self._length)}
                for subject, version in self._rows[start : start + BATCH]
            ]
            async with self._database.write() as connection:
                await connection.execute(statement, rows)
        return time.monotonic() - begin

    async def at_once(self) -> float:
        """Overwrite every row in one statement that makes the random bytes itself; how many seconds it took."""
        table = self._table
        pieces = " || ".join(["uuid_send(gen_random_uuid())"] * -(-self._length // 16))
        fresh = f"randomblob({self._length})" if self._database.is_sqlite else f"substring({pieces} from 1 for {self._length})"
        statement = update(table).values(tenant_key_version=table.c.tenant_key_version + 1, wrapped=literal_column(fresh))
        begin = time.monotonic()
        async with self._database.write() as connection:
            await connection.execute(statement)
        return time.monotonic() - begin
