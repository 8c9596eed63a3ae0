"""Proving that the keys are there: every tenant key unwraps to the key it was, and a sample of what is sealed under each opens. Shows nothing."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from vault.errors import DataLossError, VaultError
from vault.operations.core import Vault, readable_parts
from vault.operations.keyring import LATER_PURPOSES, PURPOSES, WARN_USES, TenantKeys
from vault.operations.reveal import open_part
from vault.store import records as record_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.records import ReadableRow
from vault.store.tenants import TenantKeyRow

_SAMPLE = 20
# Purposes of whose keys a rotation destroys the older versions.
_RETIRED = frozenset({"data", "restricted", "index"})


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of one tenant's keys.

    Attributes:
        keys: keys that unwrap and are the ones that were wrapped.
        opened: parts of the sample that open.
        problems: reasons, each once; empty if all is well.
        worn: keys used more than half as often as NIST SP 800-38D §8.3 allows.
    """

    tenant: str
    root_key: str
    keys: int
    opened: int
    problems: tuple[str, ...]
    worn: int


async def verify_keys(vault: Vault) -> AsyncIterator[Verified]:
    """Look at every tenant, one after the other; the sample is some twenty of its records."""
    async with vault.database.read() as connection:
        tenants = [tenant async for tenant in _tenants(connection)]
    for tenant in tenants:
        async with vault.database.read() as connection:
            row = await tenant_store.get_tenant(connection, tenant)
            stored = await tenant_store.tenant_key_rows(connection, tenant)
            if row is None:
                continue
            problems: dict[str, None] = {}
            sound = 0
            for key in stored:
                try:
                    await vault.keyring.unwrap(tenant, key)
                    sound += 1
                except VaultError as error:
                    problems[error.reason] = None
            if not _is_complete(stored):
                problems["KEY_MISSING"] = None
            opened = 0
            if not problems:
                await vault.keyring.warm(vault.database, tenant)
                keys = await vault.keyring.of(connection, tenant, epoch=row.key_epoch)
                ids = await record_store.sample_records(connection, tenant, limit=_SAMPLE)
                parts = await readable_parts(vault, connection, tenant, ids)
                # A person who was erased has no key, and shall have none.
                for part in (part for part in parts if not part.is_erased):
                    problem = _problem(keys, part)
                    opened += problem is None
                    if problem:
                        problems[problem] = None
        worn = sum(key.use_count >= WARN_USES for key in stored)
        yield Verified(tenant, row.root_key, sound, opened, tuple(problems), worn)


async def _tenants(connection: Connection) -> AsyncIterator[str]:
    after = ""
    while page := await tenant_store.tenant_ids(connection, after=after):
        for tenant in page:
            yield tenant
        after = page[-1]


def _is_complete(stored: Sequence[TenantKeyRow]) -> bool:
    """Whether there is a key of each purpose, and no version is gone but the oldest ones, which rotations of some purposes retire."""
    for purpose in PURPOSES:
        versions = sorted(key.version for key in stored if key.purpose == purpose)
        if not versions and purpose in LATER_PURPOSES:
            continue
        if not versions or versions != list(range(versions[0], versions[-1] + 1)):
            return False
        if purpose not in _RETIRED and versions[0] != 1:
            return False
    return True


def _problem(keys: TenantKeys, part: ReadableRow) -> str | None:
    """Why a living person's part does not open; None if it does."""
    if part.wrapped is None:
        return "SUBJECT_KEY_MISSING"
    try:
        open_part(keys, part, None)
    except DataLossError as error:
        return error.reason
    return None
