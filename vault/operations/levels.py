"""Content levels of a tenant: what is kept, per channel, for how long (P3.2-lvl-rep, P3.2-lvl-files-off).

Rules:
- What a tenant says about a channel goes before what it says about every channel, and that before the catalogue.
- A tenant may keep content for less than the catalogue says, never for more (A7). The system log is always kept, and always expires.
- A change is felt by what is stored after it. What is stored at a level that is switched off goes with the next sweep; switching on brings nothing
  back.

The settings are remembered with the version of the tenant, which every change of them raises and every call reads anyway: a tenant that changed
nothing costs one query for as long as the process lives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from weakref import WeakKeyDictionary

from vault.catalogue.fields import Storage
from vault.catalogue.model import Catalogue, Category, Level
from vault.catalogue.words import HeldAs
from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.operations.core import Vault
from vault.policy.decide import Policy
from vault.store import settings as settings_store
from vault.store.database import Connection, Database
from vault.store.retention import Off, Swept
from vault.store.settings import LevelRow
from vault.store.tenants import TenantRow

ALWAYS_KEPT = "system-log"
CHANNELS = ("SMS", "EMAIL", "VOICE", "FAX")
_CHANNEL = "channel"
# Content of one channel only, which therefore names none.
_CHANNEL_OF: Mapping[str, str] = MappingProxyType({"fax": "FAX", "incoming-message": "SMS"})

_remembered: "WeakKeyDictionary[Database, dict[str, tuple[int, Levels]]]" = WeakKeyDictionary()
_policies: "WeakKeyDictionary[Policy, Policy]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Levels:
    """What one tenant chose; empty for what the catalogue says."""

    rows: tuple[LevelRow, ...] = ()

    def is_kept(self, category: Category, level: str, metadata: Mapping[str, object]) -> bool:
        """Whether content of a record with these clear fields is kept at a level; what has no levels is."""
        if not level:
            return True
        chosen = self._chosen(level, _channel(category, metadata))
        return category.levels[level].retained if chosen is None else chosen.enabled

    def check(self, category: Category, level: str, metadata: Mapping[str, object]) -> None:
        """Refuse content that is not kept.

        Raises:
            FailedPreconditionError: CONTENT_NOT_RETAINED.
        """
        if not self.is_kept(category, level, metadata):
            raise FailedPreconditionError("CONTENT_NOT_RETAINED", f"content of '{category.name}' is not kept at this level")

    def days(self, category: Category, level: str, metadata: Mapping[str, object]) -> int | None:
        """Days for which it is kept, if fewer than the catalogue says."""
        chosen = self._chosen(level, _channel(category, metadata)) if level else None
        if chosen is None or not chosen.retention_days or chosen.retention_days >= category.levels[level].retention.days:
            return None
        return chosen.retention_days

    def swept(self, catalogue: Catalogue) -> Swept:
        """Where the sweep looks for the tenant's records."""
        stored = [category for category in catalogue.categories.values() if category.held_as is HeldAs.RECORD]
        off = [found for category in stored for level in category.levels for found in self._off(category, level)]
        return Swept(
            [category.name for category in stored],
            ["", *sorted({level for category in stored for level in category.levels})],
            off,
            transient=[category.name for category in stored if category.is_transient],
        )

    def _off(self, category: Category, level: str) -> Sequence[Off]:
        spec = category.fields.get(_CHANNEL)
        if spec is None or spec.storage is not Storage.CLEAR or not spec.values:
            return [] if self.is_kept(category, level, {}) else [Off(category.name, level)]
        lost = [value for value in spec.values if not self.is_kept(category, level, {_CHANNEL: value})]
        if len(lost) == len(spec.values) and (spec.required or not self.is_kept(category, level, {})):
            return [Off(category.name, level)]
        return [Off(category.name, level, _CHANNEL, lost)] if lost else []

    def _chosen(self, level: str, channel: str) -> LevelRow | None:
        found = {row.channel: row for row in self.rows if row.level == level}
        return found.get(channel) or found.get("")


async def levels_of(vault: Vault, connection: Connection, tenant: TenantRow) -> Levels:
    """The levels of a tenant that was read in this transaction. Not for the transaction that changes them."""
    known = _remembered.setdefault(vault.database, {})
    version, levels = known.get(tenant.tenant_id, (0, Levels()))
    if version != tenant.version:
        levels = Levels(await settings_store.level_rows(connection, tenant.tenant_id))
        known[tenant.tenant_id] = (tenant.version, levels)
    return levels


def as_chosen(vault: Vault, levels: Levels) -> Vault:
    """The vault with a policy that leaves it to the tenant which levels are kept, where the tenant keeps one that the catalogue does not.

    The guard knows the catalogue's levels only; whoever asks this policy has asked `Levels.check`.
    """
    if not any(row.enabled for row in levels.rows):
        return vault
    policy = _policies.get(vault.policy)
    if policy is None:
        policy = _policies[vault.policy] = Policy(_every_level_kept(vault.catalogue))
    return replace(vault, policy=policy)


def check_levels(catalogue: Catalogue, rows: Sequence[LevelRow]) -> tuple[LevelRow, ...]:
    """Check what a tenant wants.

    Raises:
        InvalidArgumentError: LEVEL_INVALID, FIELD_INVALID, RETENTION_ABOVE_CEILING.
    """
    seen: set[tuple[str, str]] = set()
    for row in rows:
        known = _levels_named(catalogue, row.level)
        if not known:
            raise InvalidArgumentError("LEVEL_INVALID", "the catalogue has no such content level", field="content_levels.level")
        if row.channel not in {"", *CHANNELS}:
            raise InvalidArgumentError("FIELD_INVALID", f"channel is not one of {', '.join(CHANNELS)}", field="content_levels.channel")
        if (row.level, row.channel) in seen:
            raise InvalidArgumentError("FIELD_INVALID", "a level is named twice for one channel", field="content_levels")
        seen.add((row.level, row.channel))
        if row.level == ALWAYS_KEPT and not row.enabled:
            raise InvalidArgumentError("FIELD_INVALID", f"level '{ALWAYS_KEPT}' is never switched off", field="content_levels.enabled")
        if row.retention_days < 0:
            raise InvalidArgumentError("FIELD_INVALID", "days are not below zero", field="content_levels.retention_days")
        most = max(min(level.retention.days, level.retention.ceiling_days or level.retention.days) for level in known)
        if row.retention_days > most:
            message = f"content of level '{row.level}' is kept for {most} days at most"
            raise InvalidArgumentError("RETENTION_ABOVE_CEILING", message, field="content_levels.retention_days", limit=f"{most}d")
    return tuple(sorted(rows, key=lambda row: (row.level, row.channel)))


def _levels_named(catalogue: Catalogue, name: str) -> list[Level]:
    return [category.levels[name] for category in catalogue.categories.values() if name in category.levels]


def _channel(category: Category, metadata: Mapping[str, object]) -> str:
    return _CHANNEL_OF.get(category.name) or str(metadata.get(_CHANNEL, ""))


def _every_level_kept(catalogue: Catalogue) -> Catalogue:
    def kept(category: Category) -> Category:
        return replace(category, levels=MappingProxyType({name: replace(level, retained=True) for name, level in category.levels.items()}))

    return replace(catalogue, categories=MappingProxyType({name: kept(category) for name, category in catalogue.categories.items()}))
