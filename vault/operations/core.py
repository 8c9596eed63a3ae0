"""What every flow works with, put together once at start-up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.audit.checkpoint import NoteSigner
from vault.catalogue.model import Catalogue
from vault.errors import FailedPreconditionError, NotFoundError
from vault.names import SYSTEM_LOG
from vault.operations.budget import ReleaseBudgets
from vault.operations.keyring import Keyring, TenantKeys
from vault.policy.decide import Policy
from vault.store import tenants as tenant_store
from vault.store.database import Connection, Database
from vault.store.tenants import TenantRow


@dataclass(frozen=True, slots=True)
class Limits:
    """Documented limits; every one is named in the error that enforces it."""

    batch: int = 1000
    record_bytes: int = 1 << 20
    extra_fields: int = 50
    page_size: int = 1000


@dataclass(frozen=True, slots=True)
class Vault:
    """The parts of a running vault.

    Attributes:
        name: origin of the audit logs, e.g. `vault.example`.
        signer: signs checkpoints and certificates as notes.
        signing_key: the same key, for package manifests; their signed bytes begin differently.
        region: region for telephone numbers written without a country, e.g. `IL`.
    """

    name: str
    database: Database
    keyring: Keyring
    catalogue: Catalogue
    policy: Policy
    signer: NoteSigner
    signing_key: Ed25519PrivateKey
    clock: Callable[[], datetime]
    region: str
    limits: Limits
    budgets: ReleaseBudgets


async def active_tenant(vault: Vault, connection: Connection, tenant: str) -> tuple[TenantRow, TenantKeys]:
    """The tenant and its keys.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        FailedPreconditionError: TENANT_TERMINATED.
    """
    row = await tenant_store.get_tenant(connection, tenant)
    if row is None or row.tenant_id == SYSTEM_LOG:
        raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
    if row.state != "ACTIVE":
        raise FailedPreconditionError("TENANT_TERMINATED", "the tenant's contract has ended")
    return row, await vault.keyring.of(connection, tenant, epoch=row.key_epoch)


def page_limit(vault: Vault, asked: int) -> int:
    """Page size to use: 100 unless told, never above the limit."""
    return min(asked, vault.limits.page_size) if asked > 0 else 100
