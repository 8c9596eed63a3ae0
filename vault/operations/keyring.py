"""A tenant's keys, unwrapped, for as long as they may be used.

Rules:
- Only tenant keys are cached, never a subject's. A cached set is used only while its epoch is the one read with the data and its age is below
  the TTL: a destroyed key is dead on the next read (I4), an unreachable key service is survived for one TTL.
- Four purposes: `data` wraps subject keys, `index` makes tokens, `text` seals justifications, `legal` seals orders. They die at different times.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vault import crypto
from vault.crypto import DataKey
from vault.errors import DataLossError
from vault.keys.provider import RootKeyProvider
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.tenants import TenantKeyRow

PURPOSES = ("data", "index", "text", "legal")

# A set is a few hundred bytes; the bound only keeps a vault with very many tenants from holding every key it ever touched.
_CACHED_TENANTS = 10_000


@dataclass(slots=True)
class TenantKeys:
    """Every unwrapped key of one tenant, by purpose and version."""

    tenant: str
    epoch: int
    loaded: datetime
    by_purpose: dict[str, dict[int, DataKey]] = field(repr=False)
    _index_keys: dict[str, bytes] = field(default_factory=dict, repr=False)

    def newest(self, purpose: str) -> DataKey:
        """The key new things are sealed under.

        Raises:
            DataLossError: KEY_UNKNOWN.
        """
        versions = self.by_purpose[purpose]
        if not versions:
            raise DataLossError("KEY_UNKNOWN", f"the tenant has no {purpose} key")
        return versions[max(versions)]

    def version(self, purpose: str, version: int) -> DataKey:
        """The key something older was sealed under.

        Raises:
            DataLossError: KEY_UNKNOWN.
        """
        key = self.by_purpose[purpose].get(version)
        if key is None:
            raise DataLossError("KEY_UNKNOWN", f"the tenant has no {purpose} key of that version")
        return key

    def index_key(self, kind: str) -> bytes:
        """Key of the blind index for one identifier kind."""
        key = self._index_keys.get(kind)
        if key is None:
            root = self.newest("index")
            key = self._index_keys[kind] = crypto.derive_index_key(root.material, tenant=self.tenant, kind=kind)
        return key

    @property
    def index_version(self) -> int:
        """Version of the index key that tokens are made with."""
        return self.newest("index").version


class Keyring:
    """Unwraps tenant keys through the root-key provider and remembers them for a while."""

    def __init__(self, provider: RootKeyProvider, *, ttl: timedelta, clock: Callable[[], datetime]) -> None:
        self._provider = provider
        self._ttl = ttl
        self._clock = clock
        self._cache: OrderedDict[str, TenantKeys] = OrderedDict()

    async def create(self, tenant: str) -> list[TenantKeyRow]:
        """Fresh keys for a new tenant, wrapped."""
        return [
            TenantKeyRow(purpose, 1, await self._provider.wrap(crypto.new_key_material(), context=_context(tenant, purpose, 1)))
            for purpose in PURPOSES
        ]

    def cached(self, tenant: str, *, epoch: int) -> TenantKeys | None:
        """The keys if they are at hand and still good for this epoch."""
        keys = self._cache.get(tenant)
        if keys is None or keys.epoch != epoch or self._clock() - keys.loaded >= self._ttl:
            return None
        return keys

    async def of(self, connection: Connection, tenant: str, *, epoch: int) -> TenantKeys:
        """The tenant's keys at the epoch that was read with the data.

        Raises:
            KeyUnavailableError: the key service is unreachable and no cached key is left.
        """
        keys = self.cached(tenant, epoch=epoch)
        if keys is None:
            rows = await tenant_store.tenant_key_rows(connection, tenant)
            keys = TenantKeys(tenant, epoch, self._clock(), await self._unwrap(tenant, rows))
            self._cache[tenant] = keys
            if len(self._cache) > _CACHED_TENANTS:
                self._cache.popitem(last=False)
        return keys

    async def _unwrap(self, tenant: str, rows: Sequence[TenantKeyRow]) -> dict[str, dict[int, DataKey]]:
        keys: dict[str, dict[int, DataKey]] = {purpose: {} for purpose in PURPOSES}
        for row in rows:
            material = await self._provider.unwrap(row.wrapped, context=_context(tenant, row.purpose, row.version))
            keys[row.purpose][row.version] = DataKey(row.version, material)
        return keys


def _context(tenant: str, purpose: str, version: int) -> bytes:
    """What a wrapped key is bound to; no part can hold a slash."""
    return f"{tenant}/{purpose}/{version}".encode()
