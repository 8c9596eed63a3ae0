"""Keys after the end of a contract: nothing opens what was erased, in no backup either (P3.8-rm-lists, ADR 0015).

For everybody who lost a record:
- Nothing is sealed under their key any more: it is destroyed, their identifiers lead to nobody, and the id that is left is a token.
- Something is left: (1) a new key, (2) what is left is sealed under it, committed, (3) the older keys are destroyed.

What an erasure kept under the restricted keyring stays under it, and its identifiers lead to nobody, as the erasure left them.

(3) is another transaction than (1) and (2), because the keys may be in another database. What does not open is left under its key, and counted.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from vault.operations.core import Vault, add_subject_key, reading_keys, writing_keys
from vault.operations.guardian import reseal_guardian
from vault.operations.keyring import TenantKeys
from vault.operations.rotate import kept_apart, opened_keys, resealed, whole_records
from vault.store import records as record_store
from vault.store import replaced as replaced_store
from vault.store import subjects as subject_store
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.subjects import SubjectKeyRow
from vault.store.terminations import Queued

_PEOPLE = 50
_PARTS = 200
_DYING = frozenset({"ERASING", "ERASED"})


@dataclass(slots=True)
class Renewed:
    """What one batch did: people whose keys were `destroyed`, were `renewed`, or are `left` because something does not open."""

    counts: Counter[str] = field(default_factory=Counter)
    done: list[str] = field(default_factory=list)

    @property
    def people(self) -> tuple[str, ...]:
        """Who has lost a key."""
        return tuple(self.done)


async def renew_keys(vault: Vault, connection: Connection, keys: TenantKeys) -> Renewed | None:
    """Take some people a step further, in this transaction. None if there is nobody left."""
    queued = await termination_store.queued_subjects(connection, keys.tenant, limit=_PEOPLE)
    if not queued:
        return None
    renewed, parts = Renewed(), 0
    for person in queued:
        parts += await _advance(vault, connection, keys, person, renewed)
        if parts >= _PARTS:
            break
    return renewed


async def _advance(vault: Vault, connection: Connection, keys: TenantKeys, person: Queued, renewed: Renewed) -> int:
    """One step for one person. How many parts were sealed anew."""
    tenant, subject = keys.tenant, person.subject_id
    row = await subject_store.get_subject(connection, tenant, subject, lock=True)
    kept = kept_apart(await _stored(vault, connection, tenant, subject))
    if row is None or row.state in _DYING:
        if row is not None and row.state == "ERASED":
            # A restored key store must not bring one back.
            async with writing_keys(vault, connection) as keys_on:
                await subject_store.destroy_subject_keys(keys_on, tenant, subject, but=kept)
        await termination_store.dequeue_subject(connection, tenant, subject)
        return 0
    if not await termination_store.has_sealed(connection, tenant, subject, but=kept):
        await _destroy(vault, connection, tenant, subject, kept)
        await _end(connection, tenant, subject, "destroyed", renewed)
        return 0
    version = person.version or await _new_key(vault, connection, keys, subject)
    page = whole_records(await record_store.parts_sealed_before(connection, tenant, subject, version, but=kept, after="", limit=_PARTS))
    own = opened_keys(keys, await _stored(vault, connection, tenant, subject))
    sealed, _ = resealed(tenant, own, version, page)
    await record_store.replace_parts(connection, tenant, sealed)
    if page and not sealed:
        await _end(connection, tenant, subject, "left", renewed)
    elif not page and person.version:
        if await reseal_guardian(connection, tenant, subject, own=own, version=version):
            async with writing_keys(vault, connection) as keys_on:
                await subject_store.retire_subject_keys(keys_on, tenant, subject, before=version)
            await replaced_store.forget_of_subject(connection, tenant, subject)
            await _end(connection, tenant, subject, "renewed", renewed)
        else:
            await _end(connection, tenant, subject, "left", renewed)
    return len(sealed)


async def _stored(vault: Vault, connection: Connection, tenant: str, subject: str) -> list[SubjectKeyRow]:
    async with reading_keys(vault) as apart:
        return await subject_store.subject_key_rows(apart or connection, tenant, [subject])


async def _destroy(vault: Vault, connection: Connection, tenant: str, subject: str, kept: Collection[int]) -> None:
    async with writing_keys(vault, connection) as keys_on:
        await subject_store.destroy_subject_keys(keys_on, tenant, subject, but=kept)
    await subject_store.delete_identities(connection, tenant, subject)
    await replaced_store.forget_of_subject(connection, tenant, subject)
    await subject_store.set_subject_state(connection, tenant, subject, "ERASED")


async def _new_key(vault: Vault, connection: Connection, keys: TenantKeys, subject: str) -> int:
    """Make a key that what is left of somebody is sealed under; its version."""
    key = await add_subject_key(vault, connection, keys, subject, keyring=subject_store.DATA)
    await termination_store.set_new_version(connection, keys.tenant, subject, key.version)
    await record_store.unbind_identities(connection, keys.tenant, subject)
    return key.version


async def _end(connection: Connection, tenant: str, subject: str, outcome: str, renewed: Renewed) -> None:
    await termination_store.dequeue_subject(connection, tenant, subject)
    renewed.counts[outcome] += 1
    renewed.done.append(subject)
