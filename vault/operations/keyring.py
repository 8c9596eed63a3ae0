"""A tenant's keys, unwrapped, for as long as they may be used.

Rules:
- Only tenant keys are cached, never a subject's. A cached set is used only while its epoch is the one read with the data and its age is below
  the TTL: a destroyed key is dead on the next read (I4), an unreachable key service is survived for one TTL.
- Six purposes: `data` wraps subject keys, `restricted` those of what an erasure has to keep (§6.4), `index` makes tokens of identifiers, `text`
  seals justifications, `legal` seals orders, `digest` recognises requests, files and documents that were seen before. They die at different times.
- The newest version of a key makes new things; older ones open and find what they made until a rotation retires them.
- A tenant's keys are wrapped by the vault's root key or by one of its own (bring your own key). A root key that does not answer costs its own
  tenants and nobody else: it is asked before a transaction is open, by one caller at a time, and not again for a moment after it failed. Whoever
  must ask inside a transaction waits a second at most.
- What is not used any more is dropped, so that its bytes are overwritten: after the TTL, and as soon as a newer epoch is seen.
"""

import asyncio
import hmac
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vault import crypto
from vault.crypto import DataKey, Uses
from vault.errors import CiphertextInvalidError, DataLossError, FailedPreconditionError, KeyUnavailableError, VaultError
from vault.keys.provider import RootKeyProvider
from vault.store import tenants as tenant_store
from vault.store.database import Connection, Database
from vault.store.tenants import TenantKeyRow

PURPOSES = ("data", "restricted", "index", "text", "legal", "digest")
# What tenants of the first versions have no key of until something needs one.
LATER_PURPOSES = frozenset({"restricted"})
# Where a key is worn out: NIST SP 800-38D §8.3 allows 2**32 encryptions under random nonces. Warned at half of that, which leaves years.
MAX_USES = 1 << 32
WARN_USES = MAX_USES >> 1

_KeyError = KeyUnavailableError | CiphertextInvalidError
_KEY_ERRORS = (KeyUnavailableError, CiphertextInvalidError)

# A set is a few hundred bytes; the bound only keeps a vault with very many tenants from holding every key it ever touched.
_CACHED_TENANTS = 10_000
# A root key that failed is not asked again for this long, in seconds; what retries ask callers to wait.
_RETRY_SECONDS = 1.0
# How long a caller who holds a transaction, on SQLite the only one that writes, waits for a root key, in seconds. The answer is kept for the next.
_HOLDING_SECONDS = 1.0


@dataclass(slots=True)
class TenantKeys:
    """Every unwrapped key of one tenant, by purpose and version."""

    tenant: str
    epoch: int
    loaded: datetime
    by_purpose: dict[str, dict[int, DataKey]] = field(repr=False)
    _derived: dict[tuple[str, str, int], bytes] = field(default_factory=dict, repr=False)

    def newest(self, purpose: str) -> DataKey:
        """The key new things are sealed under.

        Raises:
            DataLossError: KEY_UNKNOWN.
        """
        versions = self.by_purpose[purpose]
        if not versions:
            raise DataLossError("KEY_UNKNOWN", f"the tenant has no {purpose} key")
        return versions[max(versions)]

    def next_version(self, purpose: str) -> int:
        """Version of the key that comes after the newest; 1 if there is none yet."""
        return max(self.by_purpose[purpose], default=0) + 1

    def version(self, purpose: str, version: int) -> DataKey:
        """The key something older was sealed under.

        Raises:
            DataLossError: KEY_UNKNOWN.
        """
        key = self.by_purpose[purpose].get(version)
        if key is None:
            raise DataLossError("KEY_UNKNOWN", f"the tenant has no {purpose} key of that version")
        return key

    def has(self, purpose: str, version: int) -> bool:
        """Whether a version is at hand."""
        return version in self.by_purpose[purpose]

    def index_key(self, kind: str) -> bytes:
        """Key of the blind index for one identifier kind: what new tokens are made with."""
        return self._key_for("index", kind, self.index_version)

    def index_keys(self, kind: str) -> list[bytes]:
        """Keys that tokens of this kind may have been made with, newest first: more than one while the index is made anew.

        Raises:
            DataLossError: KEY_UNKNOWN; without a key nobody would be found, and that is not what is true.
        """
        self.newest("index")
        return [self._key_for("index", kind, version) for version in sorted(self.by_purpose["index"], reverse=True)]

    @property
    def index_version(self) -> int:
        """Version of the index key that new tokens are made with."""
        return self.newest("index").version

    def digests(self, kind: str, content: bytes) -> list[bytes]:
        """Keyed digests by which this content may be known, under every version of the key, newest first; the first is for new things."""
        self.newest("digest")
        versions = sorted(self.by_purpose["digest"], reverse=True)
        return [crypto.keyed_digest(self._key_for("digest", kind, version), content) for version in versions]

    def _key_for(self, purpose: str, kind: str, version: int) -> bytes:
        key = self._derived.get((purpose, kind, version))
        if key is None:
            root = self.version(purpose, version)
            key = self._derived[purpose, kind, version] = crypto.derive_index_key(root.material, tenant=self.tenant, kind=kind)
        return key


class Keyring:
    """Unwraps tenant keys through the root-key providers and remembers them for a while.

    Args:
        provider: the vault's own root key.
        ttl: how long an unwrapped set may be used.
        clock: the time.
        others: further root keys by name, for tenants that bring their own.
    """

    def __init__(
        self,
        provider: RootKeyProvider,
        *,
        ttl: timedelta,
        clock: Callable[[], datetime],
        others: Mapping[str, RootKeyProvider] | None = None,
    ) -> None:
        self._providers: dict[str, RootKeyProvider] = {"": provider, **(others or {})}
        self._ttl = ttl
        self._clock = clock
        self._cache: OrderedDict[str, TenantKeys] = OrderedDict()
        self._loading: dict[tuple[str, int], asyncio.Task[TenantKeys]] = {}
        # Until when, on the loop's clock, a tenant's keys need not be asked for again, and why.
        self._failed: dict[str, tuple[float, _KeyError]] = {}
        # How often the keys of a tenant were at hand, and how often a key service had to be asked.
        self.hits = self.misses = 0
        self._uses: defaultdict[tuple[str, str, int], Uses] = defaultdict(Uses)

    @property
    def root_keys(self) -> Mapping[str, RootKeyProvider]:
        """Providers by name; the vault's own has the empty name."""
        return self._providers

    @property
    def cached_tenants(self) -> int:
        """How many tenants' keys are at hand."""
        return len(self._cache)

    def provider(self, root_key: str) -> RootKeyProvider:
        """The provider of a name.

        Raises:
            FailedPreconditionError: ROOT_KEY_UNKNOWN, the configuration has none of that name.
        """
        provider = self._providers.get(root_key)
        if provider is None:
            raise FailedPreconditionError("ROOT_KEY_UNKNOWN", "the configuration names no such root key", field="root_key")
        return provider

    async def create(self, tenant: str, *, root_key: str = "", purposes: Sequence[str] = PURPOSES) -> list[TenantKeyRow]:
        """Fresh keys for a new tenant, wrapped."""
        return list(await asyncio.gather(*(self.fresh(tenant, purpose, 1, root_key=root_key) for purpose in purposes)))

    async def fresh(self, tenant: str, purpose: str, version: int, *, root_key: str) -> TenantKeyRow:
        """A fresh key, wrapped."""
        return await self._wrapped(tenant, TenantKeyRow(purpose, version, b""), crypto.new_key_material(), root_key)

    async def rewrap(self, tenant: str, row: TenantKeyRow, *, root_key: str) -> TenantKeyRow:
        """The same key, wrapped by the newest version of a root key.

        Raises:
            KeyUnavailableError: one of the two key services does not answer.
            CiphertextInvalidError: what is stored does not unwrap.
        """
        return await self._wrapped(tenant, row, await self.unwrap(tenant, row), root_key)

    def cached(self, tenant: str, *, epoch: int) -> TenantKeys | None:
        """The keys if they are at hand and still good for this epoch."""
        keys = self._cache.get(tenant)
        if keys is None or keys.epoch != epoch or self._clock() - keys.loaded >= self._ttl:
            return None
        return keys

    async def warm(self, database: Database, tenant: str) -> None:
        """Have the tenant's keys at hand before a transaction is open, so that a slow root key holds no connection. Says nothing of failures."""
        keys = self._cache.get(tenant)
        if (keys is not None and self._clock() - keys.loaded < self._ttl) or self._failure(tenant) is not None:
            return
        try:
            async with database.read() as connection:
                row = await tenant_store.get_tenant(connection, tenant)
                rows = await tenant_store.tenant_key_rows(connection, tenant) if row else []
            if row is not None:
                await self._load_once(tenant, row.key_epoch, rows)
        except VaultError:
            return

    async def of(self, connection: Connection, tenant: str, *, epoch: int) -> TenantKeys:
        """The tenant's keys at the epoch that was read with the data.

        Raises:
            KeyUnavailableError: the key service is unreachable and no cached key is left.
            CiphertextInvalidError: a stored key is not what was wrapped, or the key service answered with another one.
        """
        keys = self.cached(tenant, epoch=epoch)
        if keys is not None:
            self.hits += 1
            return keys
        self._drop_older(tenant, epoch)
        failure = self._failure(tenant)
        if failure is not None:
            raise failure
        return await self._load_once(tenant, epoch, await tenant_store.tenant_key_rows(connection, tenant), within=_HOLDING_SECONDS)

    async def unwrap(self, tenant: str, row: TenantKeyRow) -> bytes:
        """One key, unwrapped and recognised.

        Raises:
            KeyUnavailableError: the key service is unreachable, or the configuration names it no more.
            CiphertextInvalidError: the row is not what was wrapped, or the key service answered with another key.
        """
        provider = self._providers.get(row.root_key)
        if provider is None:
            raise KeyUnavailableError("the root key of the tenant is not in the configuration")
        address = _address(tenant, row.purpose, row.version)
        material = await provider.unwrap(row.wrapped, context=address)
        if row.check_value and not hmac.compare_digest(crypto.check_value(material, address), row.check_value):
            raise CiphertextInvalidError("a tenant key is not the one that was wrapped")
        return material

    def forget(self, tenant: str) -> None:
        """Drop what is cached of a tenant in this process."""
        self._cache.pop(tenant, None)
        self._failed.pop(tenant, None)

    def take_uses(self) -> dict[tuple[str, str, int], int]:
        """Encryptions since the last time this was asked, by (tenant, purpose, version)."""
        return {key: count for key, uses in self._uses.items() if (count := uses.take())}

    def give_back(self, uses: Mapping[tuple[str, str, int], int]) -> None:
        """Count encryptions again that were taken and could not be stored."""
        for key, count in uses.items():
            self._uses[key].count += count

    async def _wrapped(self, tenant: str, row: TenantKeyRow, material: bytes, root_key: str) -> TenantKeyRow:
        address = _address(tenant, row.purpose, row.version)
        wrapped = await self.provider(root_key).wrap(material, context=address)
        return TenantKeyRow(row.purpose, row.version, wrapped, crypto.check_value(material, address), root_key, row.use_count)

    async def _load_once(self, tenant: str, epoch: int, rows: Sequence[TenantKeyRow], *, within: float | None = None) -> TenantKeys:
        """Load, once however many callers wait; a caller that leaves takes nobody's keys with it. `within` is in seconds."""
        # Others may have loaded, or failed to, since the caller looked.
        if (keys := self.cached(tenant, epoch=epoch)) is not None:
            return keys
        if (failure := self._failure(tenant)) is not None:
            raise failure
        task = self._loading.get((tenant, epoch))
        if task is None:
            task = self._loading[tenant, epoch] = asyncio.create_task(self._load(tenant, epoch, rows))
            task.add_done_callback(lambda done: self._loaded(tenant, epoch, done))
        try:
            async with asyncio.timeout(within):
                return await asyncio.shield(task)
        except TimeoutError:
            late = KeyUnavailableError("the key service does not answer in time")
            self._note(tenant, late)
            raise _own(late) from None
        except _KEY_ERRORS as error:
            raise _own(error) from None

    def _loaded(self, tenant: str, epoch: int, task: "asyncio.Task[TenantKeys]") -> None:
        del self._loading[tenant, epoch]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, _KEY_ERRORS):
            self._note(tenant, error)
            return
        self._failed.pop(tenant, None)

    def _note(self, tenant: str, error: _KeyError) -> None:
        self._failed[tenant] = (asyncio.get_running_loop().time() + _RETRY_SECONDS, error)

    async def _load(self, tenant: str, epoch: int, rows: Sequence[TenantKeyRow]) -> TenantKeys:
        self.misses += 1
        by_purpose: dict[str, dict[int, DataKey]] = {purpose: {} for purpose in PURPOSES}
        # All at once: a key service that is far away is waited for once, not once for each key.
        materials = await asyncio.gather(*(self.unwrap(tenant, row) for row in rows))
        for row, material in zip(rows, materials, strict=True):
            by_purpose[row.purpose][row.version] = DataKey(row.version, material, self._uses[tenant, row.purpose, row.version])
        keys = TenantKeys(tenant, epoch, self._clock(), by_purpose)
        self._cache[tenant] = keys
        self._cache.move_to_end(tenant)
        if len(self._cache) > _CACHED_TENANTS:
            self._cache.popitem(last=False)
        # By name and time: the timer must not keep alive what was dropped before.
        asyncio.get_running_loop().call_later(self._ttl.total_seconds(), self._expire, tenant, keys.loaded)
        return keys

    def _expire(self, tenant: str, loaded: datetime) -> None:
        keys = self._cache.get(tenant)
        if keys is not None and keys.loaded == loaded:
            del self._cache[tenant]

    def _drop_older(self, tenant: str, epoch: int) -> None:
        keys = self._cache.get(tenant)
        if keys is not None and keys.epoch < epoch:
            del self._cache[tenant]

    def _failure(self, tenant: str) -> _KeyError | None:
        """Why the tenant's keys could not be had a moment ago; after that moment one caller asks again, and the others do not wait for the answer."""
        until, error = self._failed.get(tenant, (0.0, None))
        if error is None:
            return None
        is_asking = any(loading == tenant for loading, _ in self._loading)
        return _own(error) if is_asking or asyncio.get_running_loop().time() < until else None


def _own(error: _KeyError) -> _KeyError:
    """The error for one caller alone: whoever records a refusal notes so on its error."""
    return type(error)(error.message, **error.metadata)


def _address(tenant: str, purpose: str, version: int) -> bytes:
    """What a wrapped key is bound to; no part can hold a slash."""
    return f"{tenant}/{purpose}/{version}".encode()
