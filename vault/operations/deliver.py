"""Calling tenants' own addresses with what they are to be told; done by upkeep.

    (1) claim some tasks: each counts an attempt and says when it is tried next, committed before anything is sent
    (2) send, all at once, within one time limit and outside any transaction
    (3) note what came of it: sent, with an entry in the tenant's log, or why not

A crash after (1) leaves a task that is tried again: a receiver may get one twice, under the same id, and never not at all (I10). A tenant whose
address does not answer is asked ever more seldom and keeps nobody else waiting; what was tried to no avail waits to be asked for.
"""

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import timedelta

import structlog

from vault.errors import VaultError
from vault.names import ChildName, SubjectName
from vault.operations import log, webhook
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import Vault
from vault.operations.notify import COLLECTION
from vault.store import notifications as notification_store
from vault.store import tenants as tenant_store
from vault.store.notifications import PENDING, SENT, NotificationRow, WebhookRow

# One pass: this many connections at once at most.
_TENANTS = 16
_PER_TENANT = 4
# 30 seconds, doubled each time up to six hours: twelve attempts take about a day.
ATTEMPTS = 12
_FIRST = timedelta(seconds=30)
_LONGEST = timedelta(hours=6)

_log = structlog.get_logger()


async def deliver(vault: Vault, caller: Caller) -> int:
    """One pass over what is to be delivered. How much was received."""
    if not vault.webhooks.hosts:
        return 0
    async with vault.database.read() as connection:
        tenants = await notification_store.tenants_to_tell(connection, vault.clock(), limit=_TENANTS)
    return sum(await asyncio.gather(*(_deliver_to(vault, caller, tenant) for tenant in tenants)))


def backoff(attempts: int, *, fraction: float) -> timedelta | None:
    """How long to wait after so many attempts; None if it is not tried any more.

    Args:
        attempts: how often it was tried, from 1.
        fraction: of 0 to 1, chosen at random, so that many tasks do not come back together. Half of the time is certain.
    """
    if attempts >= ATTEMPTS:
        return None
    return min(_FIRST * (1 << (attempts - 1)), _LONGEST) * (0.5 + fraction / 2)


async def _deliver_to(vault: Vault, caller: Caller, tenant: str) -> int:
    """All three steps for one tenant. What cannot be done now, say because its root key is away, is that tenant's affair and tried again."""
    try:
        hook, rows = await _claim(vault, tenant)
        if hook is None:
            return 0
        why = "" if webhook.is_allowed(vault.webhooks, hook.url) else "HOST_NOT_ALLOWED"
        secret = b"" if why else await _secret(vault, tenant, hook)
        return sum(await asyncio.gather(*(_send(vault, caller, tenant, hook, secret, row, why) for row in rows)))
    except VaultError as error:
        _log.warning("notifications not delivered", resource=f"tenants/{tenant}", reason=error.reason)
        return 0


async def _claim(vault: Vault, tenant: str) -> tuple[WebhookRow | None, list[NotificationRow]]:
    """Step (1). It needs no key, so that a tenant whose keys are away comes back as seldom as one whose address is."""
    async with vault.database.write() as connection:
        hook = (await notification_store.webhooks_by_tenant(connection, [tenant])).get(tenant)
        rows = await notification_store.deliverable(connection, tenant, vault.clock(), limit=_PER_TENANT)
        claimed = [_attempted(vault, row) for row in rows]
        for row in claimed:
            await notification_store.update_notification(connection, tenant, row)
    return hook, claimed


async def _send(vault: Vault, caller: Caller, tenant: str, hook: WebhookRow, secret: bytes, row: NotificationRow, why: str) -> bool:
    """Steps (2) and (3) for one task, without (2) if there is a reason against it. Whether it was received."""
    name = ChildName(tenant, COLLECTION, row.notification_id)
    if not why:
        body = _body(name, row)
        why = await webhook.post(vault.webhooks, hook.url, body, webhook.signed(secret, row.notification_id, body, vault.clock()))
    await _note(vault, caller, name, why)
    if why:
        _log.warning("notification not delivered", resource=str(name), reason=why)
    return not why


async def _note(vault: Vault, caller: Caller, name: ChildName, why: str) -> None:
    async with vault.database.write() as connection:
        row = await notification_store.get_notification(connection, name.tenant, name.id, lock=True)
        if row is None or row.state != PENDING:
            # Acknowledged meanwhile.
            return
        if why:
            await notification_store.update_notification(connection, name.tenant, replace(row, last_error=why))
            return
        await notification_store.update_notification(
            connection, name.tenant, replace(row, state=SENT, next_attempt_time=None, last_error="")
        )
        tenant = await tenant_store.get_tenant(connection, name.tenant)
        assert tenant is not None  # noqa: S101 - tenants are never deleted
        attempt = Attempt(
            caller=caller,
            operation="deliver-notification",
            tenant=name.tenant,
            subjects=(row.subject_id,) if row.subject_id else (),
            rule=f"notification:{row.kind.lower()}",
            resource=str(name),
        )
        keys = await vault.keyring.of(connection, name.tenant, epoch=tenant.key_epoch)
        await log.append(vault, connection, keys, [attempt])


async def _secret(vault: Vault, tenant: str, hook: WebhookRow) -> bytes:
    await vault.keyring.warm(vault.database, tenant)
    async with vault.database.read() as connection:
        row = await tenant_store.get_tenant(connection, tenant)
        assert row is not None  # noqa: S101 - tenants are never deleted
        return webhook.open_secret(await vault.keyring.of(connection, tenant, epoch=row.key_epoch), hook)


def _attempted(vault: Vault, row: NotificationRow) -> NotificationRow:
    attempts = row.attempts + 1
    wait = backoff(attempts, fraction=secrets.randbelow(1000) / 1000)
    return replace(row, attempts=attempts, next_attempt_time=None if wait is None else vault.clock() + wait)


def _body(name: ChildName, row: NotificationRow) -> bytes:
    """Ids and kinds only: the rest is for whoever asks the vault under their own role."""
    data = {
        "name": str(name),
        "kind": row.kind,
        "resource": row.resource,
        "subject": str(SubjectName(name.tenant, row.subject_id)) if row.subject_id else "",
    }
    message = {"type": f"notification.{row.kind.lower()}", "timestamp": row.create_time.isoformat(), "data": data}
    return json.dumps(message, separators=(",", ":")).encode()
