"""What one process has at hand, read whenever a collector asks: pools, caches, queues, checks, certificates. Every process says its own."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from opentelemetry.metrics import Observation

from vault.operations.core import Vault

Reading = Iterator[Observation]


def watch(vault: Vault, *, waiting: Callable[[], int], certificates: Callable[[], Mapping[str, datetime]]) -> None:
    """Have everything read that a process has at hand.

    Args:
        vault: the vault.
        waiting: how many calls wait for their batch.
        certificates: until when each certificate is valid, by what it is for.
    """
    gauge, at_hand = vault.meters.gauge, _AtHand(vault, waiting, certificates, time.time())
    gauge("pii_vault.database.connections.used", "{connection}", "Connections that are held.", at_hand.connections_used)
    gauge("pii_vault.database.connections.max", "{connection}", "Connections that may be held.", at_hand.connections_max)
    gauge("pii_vault.keys.cached", "{tenant}", "Tenants whose keys are at hand.", at_hand.cached_keys)
    gauge("pii_vault.queue.calls", "{call}", "Calls that wait for their batch.", at_hand.queue)
    gauge("pii_vault.health", "{check}", "1 for a check that is well, 0 for one that failed.", at_hand.checks)
    gauge("pii_vault.checkpoint.age", "s", "Since everything was last published, by sink.", at_hand.published)
    gauge("pii_vault.certificate.left", "s", "Until a certificate runs out.", at_hand.certificates_left)
    gauge("pii_vault.replay.pending", "{entry}", "Erasures that the database does not know.", at_hand.pending)
    gauge("pii_vault.policy.age", "s", "Since the database definition was looked through.", at_hand.policy)
    gauge("pii_vault.start.time", "s", "When the process began, as seconds since 1970.", at_hand.start)
    gauge("pii_vault.build.info", "{build}", "Always 1; what runs.", at_hand.build)
    vault.meters.counted("pii_vault.keys.lookups", "{lookup}", "Keys of tenants that were at hand, or were asked for.", at_hand.lookups)


@dataclass(frozen=True, slots=True)
class _AtHand:
    """One reading for each gauge; called in the collector's thread, so that nothing here waits or touches a database."""

    vault: Vault
    waiting: Callable[[], int]
    ends: Callable[[], Mapping[str, datetime]]
    began: float

    def connections_used(self) -> Reading:
        yield Observation(self.vault.database.connections_used, {"database": "data"})
        if self.vault.key_database is not None:
            yield Observation(self.vault.key_database.connections_used, {"database": "keys"})

    def connections_max(self) -> Reading:
        yield Observation(self.vault.database.pool_size, {"database": "data"})
        if self.vault.key_database is not None:
            yield Observation(self.vault.key_database.pool_size, {"database": "keys"})

    def lookups(self) -> Reading:
        yield Observation(self.vault.keyring.hits, {"outcome": "hit"})
        yield Observation(self.vault.keyring.misses, {"outcome": "miss"})

    def cached_keys(self) -> Reading:
        yield Observation(self.vault.keyring.cached_tenants)

    def queue(self) -> Reading:
        yield Observation(self.waiting())

    def checks(self) -> Reading:
        for check, reason in self.vault.health.checks.items():
            yield Observation(0 if reason else 1, {"check": check})

    def published(self) -> Reading:
        now = self.vault.clock().timestamp()
        for sink, moment in self.vault.health.published.items():
            yield Observation(max(0.0, now - moment), {"sink": sink})

    def certificates_left(self) -> Reading:
        now = self.vault.clock()
        for name, end in self.ends().items():
            yield Observation((end - now).total_seconds(), {"certificate": name})

    def pending(self) -> Reading:
        standing = self.vault.standing
        # Of a ledger that cannot be compared nobody knows how many; one is enough to be told of.
        yield Observation(max(1, standing.count) if standing.is_known and standing.reason else 0)

    def policy(self) -> Reading:
        reviewed = datetime.combine(self.vault.catalogue.organisation.definition_reviewed, datetime.min.time(), UTC)
        yield Observation((self.vault.clock() - reviewed).total_seconds())

    def start(self) -> Reading:
        yield Observation(self.began)

    def build(self) -> Reading:
        yield Observation(1, {"version": version("pii-vault"), "policy_version": self.vault.catalogue.policy_version})
