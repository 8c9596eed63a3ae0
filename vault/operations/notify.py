"""Telling those who received data what became of it, as tasks that somebody acknowledges (L32, L35, E2).

Rules:
- A task is made in the transaction of what it is about, once per kind, recipient and resource: neither is there without the other.
- Who is told follows from the catalogue: the tenant of what is processed for it, the affiliate of what may be released to it if there ever was an
  agreement with it for the tenant, the payment provider of cards. More may be told than received anything; nobody who did is left out.
- A task says what happened to which opaque id, never to whom: recipients know the id from when they were given the data, or ask the vault for what
  it still has under their own role.
- What an order forbids to tell is a task all the same; its recipient sees it when that ends.
- Acknowledging is the recipient's, or the privacy officer's for one that has no access of its own. It is never taken back.

Not here: how a tenant's own address is called; that is `deliver`.
"""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from vault import names
from vault.catalogue.model import Responsibility
from vault.errors import NotFoundError
from vault.names import ChildName, RecordName, SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant, page_limit
from vault.operations.rights import months_after
from vault.store import notifications as notification_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.notifications import ACKNOWLEDGED, PENDING, NotificationRow
from vault.store.records import RecordRow

COLLECTION = "notifications"
# GDPR 12(3): what a person asked for is answered within a month, and its recipients have no longer.
_MONTHS = 1
_CARDS = "payment-card"
# Who changes a record in the tenant's name knows of it.
_TENANTS_OWN = frozenset({"tenant-admin", "tenant-app"})


class Kind(enum.StrEnum):
    """What is told."""

    ERASURE = "ERASURE"
    RECTIFICATION = "RECTIFICATION"
    RESTRICTION = "RESTRICTION"
    RESTRICTION_LIFTED = "RESTRICTION_LIFTED"
    FORWARDED = "FORWARDED"
    CONTROLLER_NOTICE = "CONTROLLER_NOTICE"


class Recipient(enum.StrEnum):
    """Who is told."""

    TENANT = "tenant"
    AFFILIATE = "affiliate"
    PAYMENT_PROVIDER = "payment-provider"


_OF_ROLE: Mapping[str, frozenset[str]] = {
    "privacy-officer": frozenset(Recipient),
    "tenant-admin": frozenset({Recipient.TENANT}),
    "affiliate-service": frozenset({Recipient.AFFILIATE}),
}
_OVERSEES = "privacy-officer"


@dataclass(frozen=True, slots=True)
class Told:
    """What a task says.

    Attributes:
        resource: name of what it is about; opaque.
        subject: opaque id; empty if it is about nobody in particular.
        categories: of which data.
        due_time: by when it is to be acknowledged; a month from when the recipient may know unless told.
        gagged: whether an order forbids to tell, for now.
        gag_end: when that ends; None if nobody knows yet, and then `gag_ended` says so.
    """

    kind: Kind
    resource: str
    subject: str = ""
    categories: Collection[str] = ()
    due_time: datetime | None = None
    gagged: bool = False
    gag_end: datetime | None = None


async def erased(
    vault: Vault, connection: Connection, name: ChildName, subject: str, categories: Mapping[str, int], *, by_tenant: bool
) -> None:
    """Tell whoever received something of a person that it is erased; `categories` are what the erasure found, by count.

    A tenant need not be told what it asked for itself.
    """
    told = Told(Kind.ERASURE, str(name), subject, categories)
    for recipient, concerned in (await _recipients(vault, connection, name.tenant, categories)).items():
        if not (by_tenant and recipient is Recipient.TENANT):
            await notify(vault, connection, name.tenant, recipient, replace(told, categories=concerned))


async def contract_ended(vault: Vault, connection: Connection, tenant: str, categories: Collection[str]) -> None:
    """Tell whoever received data of a tenant that these categories are erased with its contract; the tenant itself knows."""
    told = Told(Kind.ERASURE, f"tenants/{tenant}", categories=categories)
    for recipient, concerned in (await _recipients(vault, connection, tenant, categories)).items():
        if recipient is not Recipient.TENANT:
            await notify(vault, connection, tenant, recipient, replace(told, categories=concerned))


async def forwarded(
    vault: Vault,
    connection: Connection,
    name: ChildName,
    subject: str,
    categories: Mapping[str, int],
    *,
    due_time: datetime | None = None,
) -> None:
    """Hand a person's request to the tenant that answers for the data; nothing was changed (E2, P1.8-role)."""
    told = Told(Kind.FORWARDED, str(name), subject, categories, due_time)
    await notify(vault, connection, name.tenant, Recipient.TENANT, told)


async def rectified(vault: Vault, connection: Connection, caller: Caller, name: RecordName, row: RecordRow) -> None:
    """Tell whoever received a record that it says something else now. A tenant need not be told what its own services changed."""
    told = Told(Kind.RECTIFICATION, f"{name}@{row.version}", name.subject, [row.category])
    await _tell_of_record(vault, connection, caller, row, name.tenant, told)


async def deleted(vault: Vault, connection: Connection, caller: Caller, name: RecordName, row: RecordRow) -> None:
    """Tell whoever received a record that it is erased. A tenant need not be told what its own services deleted."""
    await _tell_of_record(vault, connection, caller, row, name.tenant, Told(Kind.ERASURE, str(name), name.subject, [row.category]))


async def _tell_of_record(vault: Vault, connection: Connection, caller: Caller, row: RecordRow, tenant: str, told: Told) -> None:
    recipients = await _recipients(vault, connection, tenant, told.categories)
    if not vault.catalogue.category(row.category).is_for_affiliate(row.metadata):
        recipients.pop(Recipient.AFFILIATE, None)
    if caller.roles & _TENANTS_OWN:
        recipients.pop(Recipient.TENANT, None)
    for recipient in recipients:
        await notify(vault, connection, tenant, recipient, told)


async def restricted(vault: Vault, connection: Connection, name: SubjectName, restriction_id: str, *, lifted: bool = False) -> None:
    """Tell whoever received something of a person that it may not be used for now, or that it may be again."""
    counts = await subject_store.record_counts(connection, name.tenant, name.subject)
    kind = Kind.RESTRICTION_LIFTED if lifted else Kind.RESTRICTION
    resource = str(ChildName(name.tenant, "restrictions", restriction_id))
    await _tell(vault, connection, name.tenant, Told(kind, resource, name.subject, counts))


async def controller_notice(
    vault: Vault,
    connection: Connection,
    name: ChildName,
    categories: Collection[str],
    *,
    gagged: bool,
    gag_end: datetime | None = None,
) -> bool:
    """Tell a tenant that data of its own leaves by an order; before it is released, and in the transaction that lets it go on (L35).

    Args:
        vault: the vault.
        connection: an open write transaction.
        name: the order; the tenant learns its name and the categories, and nothing else of it.
        categories: what the order covers; the tenant is told of what is processed for it.
        gagged: whether the order forbids to tell. Then the tenant sees the task when that ends.
        gag_end: when it ends, if that is known.
    Returns:
        whether the tenant may know now.
    """
    concerned = (await _recipients(vault, connection, name.tenant, categories)).get(Recipient.TENANT)
    if concerned is None:
        return False
    told = Told(Kind.CONTROLLER_NOTICE, str(name), categories=concerned, gagged=gagged, gag_end=gag_end)
    await notify(vault, connection, name.tenant, Recipient.TENANT, told)
    return not gagged


async def gag_ended(vault: Vault, connection: Connection, tenant: str, resource: str) -> int:
    """Let a recipient see from now on what an order forbade to tell. How many tasks."""
    now = vault.clock()
    return await notification_store.make_visible(connection, tenant, resource, now=now, due_time=months_after(now, _MONTHS))


async def is_told(connection: Connection, name: ChildName, kind: Kind) -> bool:
    """Whether there is a task for the tenant about a resource already, to be seen now or later."""
    return await notification_store.has_notification(connection, name.tenant, kind=kind, recipient=Recipient.TENANT, resource=str(name))


async def pending_for(connection: Connection, tenant: str, resource: str) -> bool:
    """Whether anybody who was to be told of a resource has not acknowledged it: until nobody is left, an erasure is not complete."""
    return await notification_store.has_unacknowledged(connection, tenant, resource)


async def notify(vault: Vault, connection: Connection, tenant: str, recipient: Recipient, told: Told) -> None:
    """Make a task, in the caller's transaction; one that is there already stays as it is."""
    if await notification_store.has_notification(connection, tenant, kind=told.kind, recipient=recipient, resource=told.resource):
        return
    now = vault.clock()
    visible = told.gag_end if told.gagged else now
    row = NotificationRow(
        notification_id=names.new_id(),
        kind=told.kind.value,
        recipient=recipient.value,
        resource=told.resource,
        subject_id=told.subject,
        categories=sorted(told.categories),
        state=PENDING,
        create_time=now,
        due_time=told.due_time or months_after(visible or now, _MONTHS),
        visible_time=visible,
        attempts=0,
        next_attempt_time=visible,
        last_error="",
        acknowledged_by="",
        acknowledge_time=None,
    )
    await notification_store.insert_notification(connection, tenant, row)


async def list_notifications(
    vault: Vault, attempt: Attempt, tenant: str, *, acknowledged: bool, page_size: int, after: str
) -> tuple[list[NotificationRow], str]:
    """The caller's tasks, what is due first, and where the next page starts; what is done only if `acknowledged`."""
    limit, roles = page_limit(vault, page_size), attempt.caller.roles
    due, _, last_id = after.partition(" ")
    async with vault.database.read() as connection:
        rows = await notification_store.list_notifications(
            connection,
            tenant,
            recipients=_may_see(roles),
            visible_at=None if _OVERSEES in roles else vault.clock(),
            acknowledged=acknowledged,
            after=(datetime.fromisoformat(due), last_id) if after else None,
            limit=limit + 1,
        )
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], f"{last.due_time.isoformat()} {last.notification_id}" if last else ""


async def acknowledge(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[NotificationRow, Receipt]:
    """Say that a task is done. One that was acknowledged before keeps who did and when.

    Raises:
        NotFoundError: NOTIFICATION_NOT_FOUND, also for another recipient's, and for what the caller may not know of yet (I11).
    """
    attempt.operation, attempt.resource = "acknowledge-notification", str(name)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await notification_store.get_notification(connection, name.tenant, name.id, lock=True)
        now = vault.clock()
        if row is None or not _is_visible(row, attempt.caller, now):
            raise NotFoundError("NOTIFICATION_NOT_FOUND", "no such notification")
        attempt.subjects, attempt.rule = (row.subject_id,) if row.subject_id else (), f"notification:{row.kind.lower()}"
        if row.state != ACKNOWLEDGED:
            row = replace(row, state=ACKNOWLEDGED, acknowledged_by=attempt.caller.principal, acknowledge_time=now, next_attempt_time=None)
            await notification_store.update_notification(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def _tell(vault: Vault, connection: Connection, tenant: str, told: Told) -> None:
    """Make a task for each recipient, about those categories that concern it."""
    for recipient, categories in (await _recipients(vault, connection, tenant, told.categories)).items():
        await notify(vault, connection, tenant, recipient, replace(told, categories=categories))


async def _recipients(vault: Vault, connection: Connection, tenant: str, categories: Collection[str]) -> dict[Recipient, list[str]]:
    """Who received data of which of these categories, as far as the catalogue can tell."""
    known = [vault.catalogue.category(name) for name in categories]
    row = await tenant_store.get_tenant(connection, tenant)
    # One that has ended too: what was given under it is still there.
    agreed = row is not None and row.affiliate_agreement_expire_time is not None
    found = {
        Recipient.TENANT: [c.name for c in known if c.responsibility is Responsibility.PROCESSOR],
        Recipient.AFFILIATE: [c.name for c in known if agreed and c.shared_with_affiliate != "no"],
        Recipient.PAYMENT_PROVIDER: [c.name for c in known if c.name == _CARDS],
    }
    return {recipient: names_of for recipient, names_of in found.items() if names_of}


def _may_see(roles: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(recipients for role, recipients in _OF_ROLE.items() if role in roles))


def _is_visible(row: NotificationRow, caller: Caller, now: datetime) -> bool:
    in_time = row.visible_time is not None and row.visible_time <= now
    return row.recipient in _may_see(caller.roles) and (in_time or _OVERSEES in caller.roles)
