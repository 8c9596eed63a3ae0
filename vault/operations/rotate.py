"""Rotating keys while everything goes on: root, tenant, index and subject keys.

    (1) start: make the new version in one transaction that nobody who seals or searches overlaps; from its commit on, new things use it
    (2) batches: wrap, index or seal anew what the older versions made, in one short transaction each, with the position they reached
    (3) retire: when nothing is left of the older versions, destroy them

Rules:
- Reads never fail because of it: every version opens and finds what it made until it is retired, and a batch replaces whole rows.
- A crash at any point leaves a RUNNING rotation that the next worker takes up where its last commit was (I10). A batch done twice changes nothing.
- Only what older versions made is read: whoever stores faster than a rotation goes on does not delay its end.
- What cannot be opened is left as it is and counted: the rotation ends INCOMPLETE and the older version is kept, for it may be the only proof.
  What is being erased is neither: its rows are the erasure's.
- A rotation that cannot go on, say because a key of its tenant is damaged, keeps no other one waiting.
- An old key is destroyed only after everything under the new one is committed, because the keys may be in another database.
- The keys that seal what lies still (`text`, `legal`) or recognise it (`digest`) get a new version, and the old ones stay.

Which new version of a root key exists is the key service's affair: a rotation of the root key wraps every tenant key under the newest one.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from vault import crypto, names
from vault.crypto import DataKey, Place
from vault.errors import (
    AbortedError,
    AlreadyExistsError,
    CiphertextInvalidError,
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    KeyUnavailableError,
    NotFoundError,
    VaultError,
)
from vault.names import SYSTEM_LOG, ChildName
from vault.operations import ledger, log
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import (
    Vault,
    add_subject_key,
    known_tenant,
    open_subject_key,
    page_limit,
    readable_parts,
    reading_keys,
    usable_keys,
    writing_keys,
)
from vault.operations.guardian import reseal_guardian
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import Identifier
from vault.operations.reveal import open_part
from vault.operations.subjects import identifiers_in, indexed_fields, token_of, tokens_of
from vault.store import guardians as guardian_store
from vault.store import records as record_store
from vault.store import replaced as replaced_store
from vault.store import rotations as rotation_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.records import IndexRow, PartRow, ReadableRow
from vault.store.rotations import RotationRow
from vault.store.subjects import SubjectKeyRow
from vault.store.tenants import TenantKeyRow, TenantRow

# One batch holds its locks for some milliseconds.
_BATCH = 200
_TENANTS = 20
# Of whom nothing is opened or stored any more.
_DYING = frozenset({"ERASING", "ERASED"})

_log = structlog.get_logger()


class KeyKind(enum.StrEnum):
    """Which key is rotated."""

    ROOT = "ROOT"
    DATA = "DATA"
    RESTRICTED = "RESTRICTED"
    INDEX = "INDEX"
    TEXT = "TEXT"
    LEGAL = "LEGAL"
    DIGEST = "DIGEST"
    SUBJECT = "SUBJECT"


# They wrap subject keys.
_KEYRINGS = frozenset({KeyKind.DATA, KeyKind.RESTRICTED})
# Rotated by a new version alone.
_AT_REST = frozenset({KeyKind.TEXT, KeyKind.LEGAL, KeyKind.DIGEST})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be rotated.

    Attributes:
        tenant: whose key; empty for the root key.
        subject: for a subject key.
        root_key: which root key, by its name in the configuration; empty for the vault's own.
    """

    kind: KeyKind
    tenant: str = ""
    subject: str = ""
    root_key: str = ""


async def start_rotation(vault: Vault, attempt: Attempt, asked: Asked) -> tuple[RotationRow, Receipt]:
    """Start rotating a key; upkeep does the rest.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the fields do not fit the kind of key.
        NotFoundError: TENANT_NOT_FOUND, SUBJECT_NOT_FOUND.
        FailedPreconditionError: ROOT_KEY_UNKNOWN, SUBJECT_ERASED.
        AlreadyExistsError: ROTATION_RUNNING.
        KeyUnavailableError: the root key does not answer; nothing was started.
    """
    _check(asked)
    fresh = await _fresh(vault, asked)
    attempt.operation, attempt.rule = "rotate-keys", f"key:{asked.kind.value.lower()}"
    attempt.subjects = (asked.subject,) if asked.subject else ()
    async with vault.database.write() as connection:
        of = asked.tenant or SYSTEM_LOG
        # Whoever rotates a key of this tenant waits here, so that of two at once one finds the other.
        await tenant_store.change_keys(connection, of)
        tenant: TenantRow | None
        if asked.tenant in {"", SYSTEM_LOG}:
            tenant = await tenant_store.get_tenant(connection, SYSTEM_LOG) if asked.tenant else None
            keys = await log.system_keys(vault, connection)
        else:
            tenant, keys = await known_tenant(vault, connection, asked.tenant)
        running = await rotation_store.running_rotation(connection, of, asked.kind.value, subject=asked.subject, root_key=asked.root_key)
        if running is not None:
            raise AlreadyExistsError("ROTATION_RUNNING", "the key is being rotated", rotation=running)
        version, total = await _begin(vault, connection, asked, tenant, keys, fresh)
        now = vault.clock()
        is_done = asked.kind in _AT_REST
        row = RotationRow(
            tenant_id=of,
            rotation_id=names.new_id(),
            kind=asked.kind.value,
            subject_id=asked.subject,
            state="COMPLETE" if is_done else "RUNNING",
            root_key=asked.root_key,
            version=version,
            position="",
            done_count=0,
            total_count=total,
            failed_count=0,
            requester=attempt.caller.principal,
            create_time=now,
            finish_time=now if is_done else None,
        )
        await rotation_store.insert_rotation(connection, row)
        attempt.resource, attempt.count = name_of(row), total
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def is_pending(vault: Vault) -> bool:
    """Whether any rotation is under way."""
    async with vault.database.read() as connection:
        return bool(await rotation_store.tenants_with_rotations(connection))


async def advance(vault: Vault, caller: Caller) -> bool:
    """Do one batch of every rotation under way. Whether any batch was done.

    A root key that does not answer, or a tenant key that is damaged, stops its own rotations until that is mended; the others go on.
    """
    async with vault.database.read() as connection:
        tenants = await rotation_store.tenants_with_rotations(connection)
        rows = [row for tenant in tenants for row in await rotation_store.running_rotations(connection, tenant)]
    advanced = False
    for row in rows:
        try:
            await _STEPS[KeyKind(row.kind)](vault, caller, row)
            advanced = True
        except VaultError as error:
            _log.warning("rotation delayed", resource=name_of(row), reason=error.reason)
    return advanced


async def get_rotation(vault: Vault, name: ChildName) -> RotationRow:
    """Read a rotation.

    Raises:
        NotFoundError: ROTATION_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        row = await rotation_store.get_rotation(connection, name.tenant, name.id)
    if row is None:
        raise NotFoundError("ROTATION_NOT_FOUND", "no such rotation")
    return row


async def list_rotations(vault: Vault, tenant: str, *, page_size: int, after: str) -> tuple[list[RotationRow], str]:
    """Rotations of a tenant, or of the vault's own keys under `system`, and where the next page starts."""
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        rows = await rotation_store.list_rotations(connection, tenant, after=after, limit=limit + 1)
    return rows[:limit], rows[limit - 1].rotation_id if len(rows) > limit else ""


async def move_tenant(vault: Vault, attempt: Attempt, tenant: str, *, root_key: str) -> Receipt:
    """Wrap a tenant's keys under another root key, theirs or the vault's own; the keys stay what they are.

    Raises:
        FailedPreconditionError: ROOT_KEY_UNKNOWN.
        NotFoundError: TENANT_NOT_FOUND.
        KeyUnavailableError: one of the two root keys does not answer; nothing was changed.
        CiphertextInvalidError: a stored key does not unwrap; nothing was changed.
    """
    attempt.operation, attempt.resource = "move-tenant-keys", f"tenants/{tenant}"
    vault.keyring.provider(root_key)
    async with vault.database.read() as connection:
        if tenant != SYSTEM_LOG:
            await known_tenant(vault, connection, tenant)
    return await rewrap_tenant(vault, attempt, tenant, root_key=root_key)


async def drop_cached_keys(vault: Vault, attempt: Attempt, tenant: str) -> Receipt:
    """Make every replica unwrap the tenant's keys anew on its next read: a root key that was revoked is then felt at once, not after the TTL.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "drop-cached-keys", f"tenants/{tenant}"
    async with vault.database.write() as connection:
        if await tenant_store.get_tenant(connection, tenant) is None:
            raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
        await tenant_store.bump_epoch(connection, tenant)
        # In the system log: the tenant's own keys may be the ones that are gone.
        [receipt] = await log.append(vault, connection, await log.system_keys(vault, connection), [replace(attempt, tenant="")])
    vault.keyring.forget(tenant)
    return receipt


def name_of(row: RotationRow) -> str:
    """Resource name of a rotation."""
    return str(ChildName(row.tenant_id, "keyRotations", row.rotation_id))


def _check(asked: Asked) -> None:
    if (asked.kind is KeyKind.ROOT) == bool(asked.tenant):
        raise InvalidArgumentError("FIELD_INVALID", "every key but the root key is a tenant's", field="tenant")
    if (asked.kind is KeyKind.SUBJECT) != bool(asked.subject):
        raise InvalidArgumentError("FIELD_INVALID", "a subject key names its subject, no other key does", field="subject")
    if asked.tenant == SYSTEM_LOG and asked.kind not in _AT_REST:
        raise InvalidArgumentError("FIELD_INVALID", "the system log has no key of that kind in use", field="kind")
    if asked.root_key and asked.kind is not KeyKind.ROOT:
        raise InvalidArgumentError("FIELD_INVALID", "only a rotation of a root key names one", field="root_key")


async def _fresh(vault: Vault, asked: Asked) -> TenantKeyRow | None:
    """The new version of a tenant's key, made before the transaction: a root key that is slow must not hold it open."""
    purpose = asked.kind.value.lower()
    if not asked.tenant or asked.kind is KeyKind.SUBJECT:
        return None
    async with vault.database.read() as connection:
        row = await tenant_store.get_tenant(connection, asked.tenant)
        stored = await tenant_store.tenant_key_rows(connection, asked.tenant)
    if row is None:
        return None
    newest = max((key.version for key in stored if key.purpose == purpose), default=0)
    return await vault.keyring.fresh(asked.tenant, purpose, newest + 1, root_key=row.root_key)


async def _begin(
    vault: Vault, connection: Connection, asked: Asked, tenant: TenantRow | None, keys: TenantKeys, fresh: TenantKeyRow | None
) -> tuple[int, int]:
    """Make the new version. Its number, and how many things will be done anew."""
    if tenant is None:
        vault.keyring.provider(asked.root_key)
        return 0, await tenant_store.count_tenants(connection, root_key=asked.root_key)
    if asked.kind is KeyKind.SUBJECT:
        return await _begin_subject(vault, connection, keys, asked.subject)
    purpose = asked.kind.value.lower()
    version = keys.next_version(purpose)
    if fresh is None or (fresh.version, fresh.root_key) != (version, tenant.root_key):
        raise AbortedError("CONCURRENT_CHANGE", "another call changed the tenant's keys, try again")
    await tenant_store.insert_tenant_keys(connection, tenant.tenant_id, [fresh], vault.clock())
    await tenant_store.bump_epoch(connection, tenant.tenant_id)
    if asked.kind is KeyKind.INDEX:
        return version, await record_store.count_records(connection, tenant.tenant_id)
    if asked.kind in _KEYRINGS:
        async with reading_keys(vault) as apart:
            return version, await subject_store.count_subject_keys(apart or connection, tenant.tenant_id, keyring=purpose)
    return version, 0


async def _begin_subject(vault: Vault, connection: Connection, keys: TenantKeys, subject: str) -> tuple[int, int]:
    row = await subject_store.get_subject(connection, keys.tenant, subject, lock=True)
    if row is None:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    if subject not in await usable_keys(vault, connection, keys.tenant, [subject]):
        raise FailedPreconditionError("SUBJECT_ERASED", "the subject was erased")
    key = await add_subject_key(vault, connection, keys, subject, keyring=subject_store.DATA)
    return key.version, await record_store.count_parts(connection, keys.tenant, subject)


async def _advance_root(vault: Vault, caller: Caller, row: RotationRow) -> None:
    """Wrap the keys of some tenants under the newest version of their root key."""
    async with vault.database.read() as connection:
        tenants = await tenant_store.tenants_of_root(connection, row.root_key, after=row.position, limit=_TENANTS)
    failed = 0
    for tenant in tenants:
        try:
            await rewrap_tenant(vault, Attempt(caller, "rewrap-tenant-keys"), tenant, root_key=row.root_key)
        except DataLossError:
            failed += 1
    if len(tenants) < _TENANTS and not row.root_key:
        await ledger.rewrap_key(vault)
    reached = tenants[-1] if tenants else row.position
    async with vault.database.write() as connection:
        current = await _locked(connection, row)
        if current is None or current.position != row.position:
            return
        done = replace(
            current,
            done_count=row.done_count + len(tenants) - failed,
            failed_count=row.failed_count + failed,
            position=reached,
        )
        if len(tenants) == _TENANTS:
            await rotation_store.update_rotation(connection, done)
        else:
            await _finish(vault, connection, await log.system_keys(vault, connection), caller, done)


async def rewrap_tenant(vault: Vault, attempt: Attempt, tenant: str, *, root_key: str) -> Receipt:
    """Wrap a tenant's keys under the newest version of a root key; the keys stay what they are.

    The key services are asked before the transaction; what changed meanwhile is done again.

    Raises:
        KeyUnavailableError: a key service does not answer.
        CiphertextInvalidError: a stored key does not unwrap.
    """
    async with vault.database.read() as connection:
        before = await tenant_store.tenant_key_rows(connection, tenant)
    wrapped = [await vault.keyring.rewrap(tenant, key, root_key=root_key) for key in before]
    async with vault.database.write() as connection:
        await tenant_store.change_keys(connection, tenant)
        state = await tenant_store.get_tenant(connection, tenant)
        now = await tenant_store.tenant_key_rows(connection, tenant)
        if state is None or [(k.purpose, k.version, k.wrapped) for k in now] != [(k.purpose, k.version, k.wrapped) for k in before]:
            raise KeyUnavailableError("the tenant's keys were changed at the same time")
        await tenant_store.replace_tenant_keys(connection, tenant, wrapped)
        if state.root_key != root_key:
            await tenant_store.set_root_key(connection, tenant, root_key)
            await tenant_store.bump_epoch(connection, tenant)
        keys = await vault.keyring.of(connection, tenant, epoch=state.key_epoch)
        attempt.count, attempt.resource = len(wrapped), f"tenants/{tenant}"
        attempt.tenant = "" if tenant == SYSTEM_LOG else tenant
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def _advance_keyring(vault: Vault, caller: Caller, row: RotationRow) -> None:
    """Wrap some subject keys under the new tenant key; at the end, destroy the old one."""
    tenant, keyring = row.tenant_id, row.kind.lower()
    async with vault.database.write() as connection:
        current = await _locked(connection, row)
        if current is None:
            return
        _, keys = await known_tenant(vault, connection, tenant)
        async with writing_keys(vault, connection) as keys_on:
            page = _whole(
                await subject_store.subject_keys_wrapped_before(
                    keys_on, tenant, row.version, keyring=keyring, after=current.position, limit=_BATCH
                )
            )
            renewed, failed = _rewrapped(keys, keys.version(keyring, row.version), page)
            await subject_store.replace_subject_keys(keys_on, tenant, renewed)
        done = replace(current, done_count=current.done_count + len(renewed), failed_count=current.failed_count + failed)
        if page:
            await rotation_store.update_rotation(connection, replace(done, position=page[-1].subject_id))
            return
    async with vault.database.write() as connection:
        await tenant_store.change_keys(connection, tenant)
        current = await _locked(connection, row)
        if current is None:
            return
        _, keys = await known_tenant(vault, connection, tenant)
        async with reading_keys(vault) as apart:
            left = await subject_store.count_keys_wrapped_before(apart or connection, tenant, row.version, keyring=keyring)
        if left and not done.failed_count:
            # Somebody wrote under the old key while the first batches ran: once more from the beginning.
            await rotation_store.update_rotation(connection, replace(done, position=""))
            return
        if not left:
            await _retire(connection, tenant, keyring, row.version)
        await _finish(vault, connection, keys, caller, replace(done, failed_count=left))


def _rewrapped(keys: TenantKeys, under: DataKey, rows: Sequence[SubjectKeyRow]) -> tuple[list[SubjectKeyRow], int]:
    """The keys wrapped under the new tenant key, and how many do not open."""
    renewed, failed = [], 0
    for row in rows:
        try:
            key = open_subject_key(keys, row)
        except DataLossError:
            failed += 1
            continue
        wrapped = crypto.wrap_subject_key(key, under=under, tenant=keys.tenant, subject=row.subject_id)
        renewed.append(replace(row, tenant_key_version=under.version, wrapped=wrapped))
    return renewed, failed


def _whole(page: list[SubjectKeyRow]) -> list[SubjectKeyRow]:
    """The page without the keys of its last subject, if it is full: some of them may be on the next. One subject never has as many."""
    return [key for key in page if key.subject_id != page[-1].subject_id] if len(page) == _BATCH else page


async def _advance_index(vault: Vault, caller: Caller, row: RotationRow) -> None:
    """Index some records anew; at the end, destroy the old index key and every token it made."""
    tenant = row.tenant_id
    async with vault.database.write() as connection:
        # Alone with the tenant's index for a moment: who stores or searches waits, and none of them can meet this batch half done.
        await tenant_store.change_keys(connection, tenant)
        current = await _locked(connection, row)
        if current is None:
            return
        _, keys = await known_tenant(vault, connection, tenant)
        # Without the new version nothing is made anew under an old one.
        keys.version("index", row.version)
        ids = await record_store.records_indexed_before(connection, tenant, row.version, after=current.position, limit=_BATCH)
        living = await record_store.lock_records(connection, tenant, ids)
        failed = await _reindex(vault, connection, keys, await readable_parts(vault, connection, tenant, living))
        done = replace(current, done_count=current.done_count + len(ids) - failed, failed_count=current.failed_count + failed)
        if ids:
            await rotation_store.update_rotation(connection, replace(done, position=ids[-1]))
            return
    async with vault.database.write() as connection:
        await tenant_store.change_keys(connection, tenant)
        current = await _locked(connection, row)
        if current is None:
            return
        _, keys = await known_tenant(vault, connection, tenant)
        # Nobody writes old tokens since the start, so what is left belongs to nothing that was met: it is kept with its key, like what did not open.
        left = await record_store.count_index_before(connection, tenant, row.version)
        if not left and not done.failed_count:
            await subject_store.retire_identities(connection, tenant, before=row.version)
            await _retire(connection, tenant, "index", row.version)
        await _finish(vault, connection, keys, caller, replace(done, failed_count=done.failed_count or left))


async def _reindex(vault: Vault, connection: Connection, keys: TenantKeys, parts: Sequence[ReadableRow]) -> int:
    """Replace the index entries of the parts by new ones, and bind their people to new tokens. How many records have a part that does not open."""
    entries: list[IndexRow] = []
    replaced: list[tuple[str, str]] = []
    identifiers: list[Identifier] = []
    failed: set[str] = set()
    for part in parts:
        if part.is_erased:
            # What leads to somebody who is being erased is gone early, not made anew.
            replaced.append((part.record_id, part.role))
            continue
        category = vault.catalogue.category(part.category)
        try:
            if part.wrapped is None:
                raise CiphertextInvalidError
            found = identifiers_in(category, part.role, open_part(keys, part, indexed_fields(category, part.role)))
        except DataLossError:
            failed.add(part.record_id)
            continue
        replaced.append((part.record_id, part.role))
        for identifier in found:
            token = token_of(keys, identifier, restricted=part.keyring == subject_store.RESTRICTED)
            entries.append(
                IndexRow(token.kind, token.token, part.record_id, identifier.field, part.role, part.subject_id, keys.index_version)
            )
        # Nobody is recognised by what was kept of them under an exception (§6.4).
        identifiers += [] if part.keyring == subject_store.RESTRICTED else found
    await record_store.delete_index_roles(connection, keys.tenant, replaced)
    await record_store.insert_index(connection, keys.tenant, entries)
    await _rebind(connection, keys, identifiers)
    return len(failed)


async def _rebind(connection: Connection, keys: TenantKeys, identifiers: Sequence[Identifier]) -> None:
    """Bind each identifier's new token to whomever an old one is bound to, whosever record it stands in: people may share an identifier."""
    spellings = {new: old for new, *old in (tokens_of(keys, identifier) for identifier in identifiers)}
    bound = await subject_store.subjects_of_tokens(connection, keys.tenant, [token for old in spellings.values() for token in old])
    # Held until the commit, so that no erasure of theirs has unbound them before they are bound here.
    living = await subject_store.lock_living(connection, keys.tenant, sorted(set(bound.values())))
    claims = {}
    for new, old in spellings.items():
        # Newest first.
        subject = next((bound[token] for token in old if token in bound), None)
        if subject in living:
            claims[new] = subject
    await subject_store.claim_identities(connection, keys.tenant, list(claims.items()), index_version=keys.index_version)


async def _advance_subject(vault: Vault, caller: Caller, row: RotationRow) -> None:
    """Seal some of a person's parts under their new key; at the end, destroy the old one.

    In this order: (1) every part is under the new key, committed; (2) the old key is destroyed, and with that the rotation ends.
    """
    tenant, subject = row.tenant_id, row.subject_id
    async with vault.database.write() as connection:
        current = await _locked(connection, row)
        if current is None:
            return
        _, keys = await known_tenant(vault, connection, tenant, hold=True)
        person = await subject_store.get_subject(connection, tenant, subject, lock=True)
        if person is None or person.state in _DYING:
            # Whatever is left of them is the erasure's.
            await _finish(vault, connection, keys, caller, replace(current, failed_count=0))
            return
        if not current.position and not await _reseal_guardian(vault, connection, keys, current):
            return
        async with reading_keys(vault) as apart:
            stored = await subject_store.subject_key_rows(apart or connection, tenant, [subject])
        page = whole_records(
            await record_store.parts_sealed_before(
                connection, tenant, subject, row.version, but=kept_apart(stored), after=current.position, limit=_BATCH
            )
        )
        if page:
            sealed, failed = resealed(tenant, opened_keys(keys, stored), row.version, page)
            await record_store.replace_parts(connection, tenant, sealed)
            done = replace(current, done_count=current.done_count + len(sealed), failed_count=current.failed_count + failed)
            await rotation_store.update_rotation(connection, replace(done, position=page[-1].record_id))
            return
        left = await record_store.parts_sealed_before(connection, tenant, subject, row.version, but=kept_apart(stored), after="", limit=1)
        if left and not current.failed_count:
            await rotation_store.update_rotation(connection, replace(current, position=""))
            return
        if not left and not current.failed_count:
            # Keys that are apart are gone a moment before the rotation has ended; nothing needs them any more.
            async with writing_keys(vault, connection) as keys_on:
                await subject_store.retire_subject_keys(keys_on, tenant, subject, before=row.version)
            # What corrections replaced is under older keys; it is not worth keeping one for (L14).
            await replaced_store.forget_of_subject(connection, tenant, subject)
        await _finish(vault, connection, keys, caller, current)


async def _reseal_guardian(vault: Vault, connection: Connection, keys: TenantKeys, current: RotationRow) -> bool:
    """Seal who a minor's guardian is under the new key, in a commit of its own. Whether there was nothing to do."""
    row = await guardian_store.get_guardian(connection, keys.tenant, current.subject_id)
    if row is None or row.key_version >= current.version or current.failed_count:
        return True
    async with reading_keys(vault) as apart:
        stored = await subject_store.subject_key_rows(apart or connection, keys.tenant, [current.subject_id])
    sealed = await reseal_guardian(connection, keys.tenant, current.subject_id, own=opened_keys(keys, stored), version=current.version)
    await rotation_store.update_rotation(connection, replace(current, failed_count=current.failed_count + (not sealed)))
    return False


def whole_records(page: list[PartRow]) -> list[PartRow]:
    """The page without the last record's parts, if it is full: a person may be several parties of one record, and some of them may be on the next."""
    return [part for part in page if part.record_id != page[-1].record_id] if len(page) == _BATCH else page


def kept_apart(rows: Sequence[SubjectKeyRow]) -> frozenset[int]:
    """Versions that seal what an erasure kept: they are not replaced with the others."""
    return frozenset(row.version for row in rows if row.keyring != subject_store.DATA)


def opened_keys(keys: TenantKeys, rows: Sequence[SubjectKeyRow]) -> dict[int, DataKey]:
    """A person's keys by version; one that does not open is left out."""
    opened = {}
    for row in rows:
        try:
            opened[row.version] = open_subject_key(keys, row)
        except DataLossError:
            continue
    return opened


def resealed(tenant: str, own: Mapping[int, DataKey], version: int, parts: Sequence[PartRow]) -> tuple[list[PartRow], int]:
    """The parts sealed under the new key, and how many do not open."""
    sealed, failed = [], 0
    for part in parts:
        at = Place(tenant, part.subject_id, part.record_id)
        try:
            if part.key_version not in own or version not in own:
                raise CiphertextInvalidError  # noqa: TRY301 - a key that is gone and a part that is damaged are left alike
            fields = crypto.open_fields(part.sealed, None, under=own[part.key_version], at=at)
        except CiphertextInvalidError:
            failed += 1
            continue
        sealed.append(replace(part, key_version=version, sealed=crypto.seal_fields(fields, under=own[version], at=at)))
    return sealed, failed


async def _locked(connection: Connection, row: RotationRow) -> RotationRow | None:
    """The rotation as it stands, locked; None if another worker has finished it."""
    current = await rotation_store.get_rotation(connection, row.tenant_id, row.rotation_id, lock=True)
    return current if current is not None and current.state == "RUNNING" else None


async def _retire(connection: Connection, tenant: str, purpose: str, version: int) -> None:
    """Destroy the older versions; every cached copy of them is useless from the commit on (I4)."""
    await tenant_store.retire_tenant_keys(connection, tenant, purpose, before=version)
    await tenant_store.bump_epoch(connection, tenant)


async def _finish(vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, row: RotationRow) -> None:
    done = replace(row, state="INCOMPLETE" if row.failed_count else "COMPLETE", finish_time=vault.clock())
    await rotation_store.update_rotation(connection, done)
    attempt = Attempt(
        caller=caller,
        operation="finish-key-rotation",
        tenant="" if row.tenant_id == SYSTEM_LOG else row.tenant_id,
        subjects=(row.subject_id,) if row.subject_id else (),
        count=done.done_count,
        rule=f"key:{row.kind.lower()}",
        resource=name_of(row),
    )
    await log.append(vault, connection, keys, [attempt])


_STEPS = {
    KeyKind.ROOT: _advance_root,
    KeyKind.DATA: _advance_keyring,
    KeyKind.RESTRICTED: _advance_keyring,
    KeyKind.INDEX: _advance_index,
    KeyKind.SUBJECT: _advance_subject,
}
