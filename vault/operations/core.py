"""What every flow works with, put together once at start-up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from opentelemetry.trace import Tracer

from vault import crypto
from vault.audit.checkpoint import Checkpoint, NoteSigner
from vault.bundle.countersign import Countersigning
from vault.catalogue.model import Catalogue
from vault.crypto import DataKey
from vault.errors import FailedPreconditionError, NotFoundError, UnavailableError
from vault.names import SYSTEM_LOG
from vault.operations.attempt import Attempt
from vault.operations.budget import ReleaseBudgets
from vault.operations.keyring import Keyring, TenantKeys
from vault.operations.meters import Meters
from vault.operations.sink import Sink
from vault.operations.webhook import Webhooks
from vault.policy.decide import Policy
from vault.store import records as record_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection, Database
from vault.store.ledger import LedgerDirectory
from vault.store.records import ReadableRow
from vault.store.subjects import SubjectKeyRow
from vault.store.tenants import TenantRow
from vault.telemetry import NO_TRACER

# Roles of the customer's own callers.
_CUSTOMER = frozenset({"tenant-app", "tenant-admin"})
_ASK_AGAIN = timedelta(seconds=5)
_WHY_NOT = {
    "RESTORE_PENDING": "the database is older than what was erased, run `pii-vault operations replay-erasures`",
    "LEDGER_BEHIND": "the erasure ledger lacks entries that the database has seen",
    "LEDGER_CORRUPT": "the erasure ledger was altered",
    "LEDGER_PRUNED": "the database is older than the oldest entry of the erasure ledger, its backup was kept too long",
    "LEDGER_UNAVAILABLE": "the erasure ledger cannot be read",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Documented limits; every one is named in the error that enforces it."""

    batch: int = 1000
    record_bytes: int = 1 << 20
    extra_fields: int = 50
    page_size: int = 1000
    # A18: what a letter that asks to preserve freezes at most.
    preservation_days: int = 30
    # Records that one principal is released within an hour before it is an alarm; it stops nobody.
    bulk_records: int = 100_000


@dataclass(slots=True)
class SigningKey:
    """The key that signs now, and where the next one is read from; replaced while the vault runs."""

    key: Ed25519PrivateKey = field(repr=False)
    load: Callable[[], Ed25519PrivateKey]


@dataclass(slots=True)
class Standing:
    """Whether anything may be served, as the erasure ledger says; nothing is, until it was asked.

    Attributes:
        reason: why not; empty if everything may be.
        count: of how many entries.
        reachable: whether the ledger could be read the last time.
        is_known: whether it ever could.
        lock: one look at a time.
    """

    reason: str = "RESTORE_PENDING"
    count: int = 0
    reachable: bool = True
    is_known: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def require(self) -> None:
        """Refuse what would read, write or destroy in a database that may be older than what was erased.

        Raises:
            UnavailableError: RESTORE_PENDING, or what is wrong with the ledger.
        """
        if self.reason:
            raise UnavailableError(self.reason, _WHY_NOT.get(self.reason, _WHY_NOT["RESTORE_PENDING"]), retry_after=_ASK_AGAIN)


@dataclass(slots=True)
class Health:
    """What was found when the vault was last looked at.

    Attributes:
        checks: for each check the reason of its failure; empty for what is well.
        published: when everything was last published, by sink, as seconds since 1970.
    """

    checks: Mapping[str, str] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)

    @property
    def foreign_schema(self) -> str:
        """Why this code may not serve the schema that it found, e.g. after a migration; empty if it may."""
        return self.checks.get("schema", "")

    def require_schema(self) -> None:
        """Refuse what would read or write a schema that this code may not serve.

        Raises:
            UnavailableError: SCHEMA_UNKNOWN or SCHEMA_OUTDATED; a process of the other version answers the same call.
        """
        if self.foreign_schema:
            raise UnavailableError(self.foreign_schema, "the database schema is another version's", retry_after=_ASK_AGAIN)


@dataclass(frozen=True, slots=True)
class Vault:
    """The parts of a running vault.

    Attributes:
        name: origin of the audit logs, e.g. `vault.example`.
        signing: the key that signs checkpoints, certificates and packages.
        key_database: where subject keys are, if not beside the data.
        region: region for telephone numbers written without a country, e.g. `IL`.
        webhooks: which hosts may be told of notifications.
        ledger: what was erased, outside every backup.
        standing: whether anything may be served after what the ledger says.
        meters: what is counted for whoever watches.
        sinks: where checkpoints are published outside the database.
        published: the newest checkpoint of each log that is known to be published.
        countersigning: what is laid over the manifest of a package beside that key's signature.
        unpublished: name and content of what a sink could not take, by sink and kind.
        tracer: where spans are told.
        health: what was found the last time somebody looked.
    """

    name: str
    database: Database
    key_database: Database | None
    keyring: Keyring
    catalogue: Catalogue
    policy: Policy
    signing: SigningKey
    clock: Callable[[], datetime]
    region: str
    limits: Limits
    budgets: ReleaseBudgets
    webhooks: Webhooks
    ledger: LedgerDirectory
    standing: Standing = field(default_factory=Standing)
    meters: Meters = field(default_factory=Meters)
    sinks: Sequence[Sink] = ()
    published: dict[str, Checkpoint] = field(default_factory=dict)
    countersigning: Countersigning = field(default_factory=Countersigning)
    unpublished: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tracer: Tracer = NO_TRACER
    health: Health = field(default_factory=Health)

    @property
    def is_left_alone(self) -> bool:
        """Whether nothing is done to the databases unasked: they may be older than what was erased, or their schema is not this code's."""
        return bool(self.standing.reason or self.health.foreign_schema)

    @property
    def signer(self) -> NoteSigner:
        """Signs checkpoints and certificates as notes."""
        return NoteSigner(self.name, self.signing.key)

    @property
    def signing_key(self) -> Ed25519PrivateKey:
        """The same key, for package manifests; their signed bytes begin differently."""
        return self.signing.key


@asynccontextmanager
async def writing_keys(vault: Vault, connection: Connection) -> AsyncIterator[Connection]:
    """Where subject keys are written: in this transaction, or in one of their own database that commits on leaving.

    That one commits first. A crash in between leaves a key that opens nothing, never data without its key.
    """
    if vault.key_database is None:
        yield connection
        return
    async with vault.key_database.write() as apart:
        yield apart


@asynccontextmanager
async def reading_keys(vault: Vault) -> AsyncIterator[Connection | None]:
    """Another connection on which subject keys are read; None where they stand beside the data."""
    if vault.key_database is None:
        yield None
        return
    async with vault.key_database.read() as apart:
        yield apart


async def readable_parts(vault: Vault, connection: Connection, tenant: str, ids: Sequence[str]) -> list[ReadableRow]:
    """Every part of the records, with its key."""
    async with reading_keys(vault) as apart:
        return await record_store.readable_parts(connection, tenant, ids, keys_on=apart)


async def usable_keys(vault: Vault, connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, SubjectKeyRow]:
    """Newest key of each subject that is not erased; no erasure overtakes this transaction (E11)."""
    async with reading_keys(vault) as apart:
        return await subject_store.active_subject_keys(connection, tenant, ids, keys_on=apart)


async def known_tenant(vault: Vault, connection: Connection, tenant: str, *, hold: bool = False) -> tuple[TenantRow, TenantKeys]:
    """The tenant and its keys, under contract or not: for rights, orders, erasures and upkeep, and for reading what is kept (P3.8).

    Args:
        vault: the vault.
        connection: an open transaction.
        tenant: id of the tenant.
        hold: no key of the tenant is replaced or retired, and its contract does not end, until the transaction ends; for whoever stores under the
            keys, or searches by them.
    Raises:
        NotFoundError: TENANT_NOT_FOUND.
    """
    if hold:
        await tenant_store.hold_keys(connection, tenant)
    row = await tenant_store.get_tenant(connection, tenant)
    if row is None or row.tenant_id == SYSTEM_LOG:
        raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
    return row, await vault.keyring.of(connection, tenant, epoch=row.key_epoch)


async def active_tenant(vault: Vault, connection: Connection, tenant: str, *, hold: bool = False) -> tuple[TenantRow, TenantKeys]:
    """The tenant and its keys, while its contract runs: for whatever the contract is for.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        FailedPreconditionError: TENANT_TERMINATED.
    """
    row, keys = await known_tenant(vault, connection, tenant, hold=hold)
    if row.has_ended:
        raise _has_ended()
    return row, keys


def refuse_former_customer(tenant: TenantRow, attempt: Attempt) -> None:
    """Whoever acts for a customer reads nothing any more when its contract has ended, but what is returned to it.

    Raises:
        FailedPreconditionError: TENANT_TERMINATED.
    """
    if tenant.has_ended and attempt.caller.roles <= _CUSTOMER:
        raise _has_ended()


def _has_ended() -> FailedPreconditionError:
    return FailedPreconditionError("TENANT_TERMINATED", "the tenant's contract has ended")


async def add_subject_key(vault: Vault, connection: Connection, keys: TenantKeys, subject: str, *, keyring: str) -> DataKey:
    """Another key of a subject, wrapped by the tenant's key of that keyring and stored; the caller holds the subject's lock."""
    async with reading_keys(vault) as apart:
        stored = await subject_store.subject_key_rows(apart or connection, keys.tenant, [subject])
    key, under = DataKey(max((row.version for row in stored), default=0) + 1, crypto.new_key_material()), keys.newest(keyring)
    wrapped = crypto.wrap_subject_key(key, under=under, tenant=keys.tenant, subject=subject)
    async with writing_keys(vault, connection) as keys_on:
        row = SubjectKeyRow(subject, key.version, under.version, wrapped, keyring)
        await subject_store.insert_subject_keys(keys_on, keys.tenant, [row])
    return key


def open_subject_key(keys: TenantKeys, row: SubjectKeyRow) -> DataKey:
    """A subject's key, unwrapped by the tenant's key of its keyring.

    Raises:
        DataLossError: KEY_UNKNOWN, or CIPHERTEXT_INVALID: wrapped for another subject, tenant or version, or damaged.
    """
    under = keys.version(row.keyring, row.tenant_key_version)
    return crypto.unwrap_subject_key(row.wrapped, version=row.version, under=under, tenant=keys.tenant, subject=row.subject_id)


async def keys_of_parts(vault: Vault, connection: Connection, keys: TenantKeys, versions: set[tuple[str, int]]) -> TenantKeys:
    """Keys that open parts read after the tenant was: a rotation may have wrapped their subjects' keys anew in between.

    Args:
        vault: the vault.
        connection: the transaction that read both.
        keys: what is at hand.
        versions: keyring and version of every tenant key that the parts name.
    """
    if all(keys.has(keyring, version) for keyring, version in versions):
        return keys
    row = await tenant_store.get_tenant(connection, keys.tenant)
    return keys if row is None else await vault.keyring.of(connection, keys.tenant, epoch=row.key_epoch)


def page_limit(vault: Vault, asked: int) -> int:
    """Page size to use: 100 unless told, never above the limit."""
    return min(asked, vault.limits.page_size) if asked > 0 else 100
