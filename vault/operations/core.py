"""What every flow works with, put together once at start-up."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.audit.checkpoint import Checkpoint, NoteSigner
from vault.catalogue.model import Catalogue
from vault.errors import FailedPreconditionError, NotFoundError
from vault.names import SYSTEM_LOG
from vault.operations.budget import ReleaseBudgets
from vault.operations.keyring import Keyring, TenantKeys
from vault.operations.sink import Sink
from vault.policy.decide import Policy
from vault.store import records as record_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection, Database
from vault.store.records import ReadableRow
from vault.store.subjects import SubjectKeyRow
from vault.store.tenants import TenantRow


@dataclass(frozen=True, slots=True)
class Limits:
    """Documented limits; every one is named in the error that enforces it."""

    batch: int = 1000
    record_bytes: int = 1 << 20
    extra_fields: int = 50
    page_size: int = 1000
    # Records that one principal is released within an hour before it is an alarm; it stops nobody.
    bulk_records: int = 100_000


@dataclass(slots=True)
class SigningKey:
    """The key that signs now, and where the next one is read from; replaced while the vault runs."""

    key: Ed25519PrivateKey = field(repr=False)
    load: Callable[[], Ed25519PrivateKey]


@dataclass(frozen=True, slots=True)
class Vault:
    """The parts of a running vault.

    Attributes:
        name: origin of the audit logs, e.g. `vault.example`.
        signing: the key that signs checkpoints, certificates and packages.
        key_database: where subject keys are, if not beside the data.
        region: region for telephone numbers written without a country, e.g. `IL`.
        sinks: where checkpoints are published outside the database.
        published: the newest checkpoint of each log that is known to be published.
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
    sinks: Sequence[Sink] = ()
    published: dict[str, Checkpoint] = field(default_factory=dict)

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


async def active_tenant(vault: Vault, connection: Connection, tenant: str, *, hold: bool = False) -> tuple[TenantRow, TenantKeys]:
    """The tenant and its keys.

    Args:
        vault: the vault.
        connection: an open transaction.
        tenant: id of the tenant.
        hold: no key of the tenant is replaced or retired until the transaction ends; for whoever stores under the keys, or searches by them.
    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        FailedPreconditionError: TENANT_TERMINATED.
    """
    if hold:
        await tenant_store.hold_keys(connection, tenant)
    row = await tenant_store.get_tenant(connection, tenant)
    if row is None or row.tenant_id == SYSTEM_LOG:
        raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
    if row.state != "ACTIVE":
        raise FailedPreconditionError("TENANT_TERMINATED", "the tenant's contract has ended")
    return row, await vault.keyring.of(connection, tenant, epoch=row.key_epoch)


async def keys_of_parts(vault: Vault, connection: Connection, keys: TenantKeys, versions: set[int]) -> TenantKeys:
    """Keys that open parts read after the tenant was: a rotation may have wrapped their subjects' keys anew in between.

    Args:
        vault: the vault.
        connection: the transaction that read both.
        keys: what is at hand.
        versions: versions of the `data` key that the parts name.
    """
    if keys.has("data", versions):
        return keys
    row = await tenant_store.get_tenant(connection, keys.tenant)
    return keys if row is None else await vault.keyring.of(connection, keys.tenant, epoch=row.key_epoch)


def page_limit(vault: Vault, asked: int) -> int:
    """Page size to use: 100 unless told, never above the limit."""
    return min(asked, vault.limits.page_size) if asked > 0 else 100
