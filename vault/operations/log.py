"""Writing the audit log: the one way an entry comes to be.

Rules:
- `append` runs in the transaction of what it records; the reply follows the commit (I1, I7).
- `refuse` runs in a transaction of its own: the refused flow raised, and its transaction rolled back (I5).
- The head row stays locked from reading the size to the commit, so the order of a log is total under any number of writers.
- What a gag covers is recorded in the system log: the tenant's log shows neither a gap nor a number too many (N16).
- A justification's text is sealed; everything else in an entry is an opaque id or a word of the catalogue.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from opentelemetry import trace

from vault import crypto
from vault.audit.entry import AuditEntry, encode
from vault.audit.merkle import Frontier, leaf_hash
from vault.errors import CiphertextInvalidError, DataLossError, KeyUnavailableError, UnavailableError, VaultError
from vault.names import SYSTEM_LOG
from vault.operations.attempt import Attempt, Justification, Receipt
from vault.operations.core import Vault
from vault.operations.keyring import TenantKeys
from vault.store import audit as audit_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection, on_commit
from vault.store.tenants import TenantRow

_COMPONENT = "pii-vault"


async def append(
    vault: Vault, connection: Connection, keys: TenantKeys, attempts: Sequence[Attempt], *, refused: VaultError | None = None
) -> list[Receipt]:
    """Append one entry per attempt to the log of the keys' tenant, or to the system log if a gag covers it, in this transaction.

    Args:
        vault: the vault.
        connection: an open write transaction.
        keys: keys of the tenant whose log it is; they seal the justifications.
        attempts: what was done, in order.
        refused: why it was not; None for what was allowed.
    Raises:
        DataLossError: LOG_CORRUPT, the log has no head.
    """
    if not any(attempt.is_gagged for attempt in attempts):
        return await _append(vault, connection, keys.tenant, keys, attempts, refused)
    receipts = dict[int, Receipt]()
    # The tenant's head is always locked before the system's, so that no two writers wait for each other.
    for log, is_gagged in ((keys.tenant, False), (SYSTEM_LOG, True)):
        places = [place for place, attempt in enumerate(attempts) if attempt.is_gagged is is_gagged]
        if places:
            recorded = await _append(vault, connection, log, keys, [attempts[place] for place in places], refused)
            receipts.update(zip(places, recorded, strict=True))
    return [receipts[place] for place in range(len(attempts))]


async def _append(
    vault: Vault, connection: Connection, log: str, keys: TenantKeys | None, attempts: Sequence[Attempt], refused: VaultError | None
) -> list[Receipt]:
    head = await audit_store.locked_head(connection, log)
    if head is None:
        raise DataLossError("LOG_CORRUPT", "the audit log has no head")
    size, frontier = head[0], Frontier.from_bytes(head[1])
    now = vault.clock()
    said = [_entry(vault, log, keys, attempt, index=size + offset, now=now, refused=refused) for offset, attempt in enumerate(attempts)]
    entries = [encode(entry) for entry in said]
    frontier = frontier.extend([leaf_hash(entry) for entry in entries])
    await audit_store.append_entries(connection, log, start=size, entries=entries, frontier=frontier.to_bytes())
    on_commit(connection, lambda: vault.meters.recorded(said))
    _mark(log, size, len(entries))
    return [Receipt(log, size + offset) for offset in range(len(entries))]


def _mark(log: str, index: int, count: int) -> None:
    """Say in the span of this work where it was recorded: a trace leads to its entries."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({"pii_vault.log": log, "pii_vault.index": index, "pii_vault.count": count})


async def refuse(vault: Vault, attempts: Sequence[Attempt], error: VaultError) -> list[Receipt]:
    """Record a refusal in its own transaction: in the tenant's log; in the system log if the caller may not know the tenant, or it the attempt.

    Raises:
        UnavailableError: AUDIT_UNAVAILABLE; the caller must then be told that instead of the refusal.
    """
    tenant = attempts[0].tenant
    async with vault.database.write() as connection:
        row = await tenant_store.get_tenant(connection, tenant) if tenant and attempts[0].caller.may_touch(tenant) else None
        if row is None:
            # A tenant that does not exist is only a word of the caller's.
            row, attempts = await tenant_store.get_tenant(connection, SYSTEM_LOG), [replace(attempt, tenant="") for attempt in attempts]
        if row is None:
            raise UnavailableError("AUDIT_UNAVAILABLE", "the system log does not exist")
        keys = await _keys_if_any(vault, connection, row, error)
        log = SYSTEM_LOG if attempts[0].is_gagged else row.tenant_id
        return await _append(vault, connection, log, keys, attempts, error)


async def _keys_if_any(vault: Vault, connection: Connection, row: TenantRow, error: VaultError) -> TenantKeys | None:
    """Keys to seal a refusal's justification with. That somebody tried is recorded without them too, and then not what they wrote as their reason.

    A refusal for want of keys asks for none: its transaction would be open for as long as the key service lets it wait.
    """
    if isinstance(error, KeyUnavailableError):
        keys = vault.keyring.cached(row.tenant_id, epoch=row.key_epoch)
        return keys if keys is not None and keys.by_purpose["text"] else None
    try:
        keys = await vault.keyring.of(connection, row.tenant_id, epoch=row.key_epoch)
    except (KeyUnavailableError, CiphertextInvalidError):
        return None
    return keys if keys.by_purpose["text"] else None


async def append_to_system(vault: Vault, connection: Connection, attempt: Attempt) -> Receipt:
    """Append one entry without a justification to the system log, in this transaction."""
    [receipt] = await _append(vault, connection, SYSTEM_LOG, None, [attempt], None)
    return receipt


async def system_keys(vault: Vault, connection: Connection) -> TenantKeys:
    """Keys of the system log, for what belongs to no tenant.

    Raises:
        UnavailableError: AUDIT_UNAVAILABLE, the vault was never started.
    """
    row = await tenant_store.get_tenant(connection, SYSTEM_LOG)
    if row is None:
        raise UnavailableError("AUDIT_UNAVAILABLE", "the system log does not exist")
    return await vault.keyring.of(connection, SYSTEM_LOG, epoch=row.key_epoch)


def _entry(
    vault: Vault, log: str, keys: TenantKeys | None, attempt: Attempt, *, index: int, now: datetime, refused: VaultError | None
) -> AuditEntry:
    caller = attempt.caller
    why = attempt.justification if attempt.is_justified else Justification(vault.catalogue.known_purpose(attempt.justification.purpose))
    sealed = b""
    if why.reason and keys is not None:
        text = why.reason.encode()
        sealed = crypto.seal_text(text, under=keys.newest("text"), purpose="audit-text", tenant=keys.tenant, place=caller.trace_id)
    return AuditEntry(
        log=log,
        index=index,
        time=now,
        actor=caller.principal,
        actor_kind=caller.kind,
        on_behalf_of=caller.via,
        auth_method=caller.auth_method,
        tenant=attempt.tenant,
        method=caller.method,
        component=_COMPONENT,
        operation=attempt.operation,
        category=attempt.category,
        fields=attempt.fields,
        records=attempt.records,
        subjects=attempt.subjects,
        count=attempt.count,
        purpose=why.purpose,
        reference=why.reference,
        justification=sealed,
        consent_basis=attempt.consent_basis,
        decision="ALLOWED" if refused is None else "REFUSED",
        reason="" if refused is None else refused.reason,
        rule=attempt.rule,
        policy_version=vault.catalogue.policy_version,
        trace_id=caller.trace_id,
        resource=attempt.resource,
        gagged=attempt.is_gagged,
    )
