"""Short flows about notifications that several tests share."""

from collections.abc import Sequence

from tests.builders import account, create, subject_of
from tests.serving import Caller, Serving, why
from vault.operations import deliver
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.resources_pb2 import Tenant
from vault.v1.rights_service_pb2 import RestrictSubjectRequest
from vault.v1.tenant_service_pb2 import (
    AcknowledgeNotificationRequest,
    ListNotificationsRequest,
    Notification,
    NotificationKind,
    UpdateTenantRequest,
    UpdateTenantResponse,
)

ASKED = why("data-subject-request", reason="the person asked us to stop using it")
CARD = {"psp_token": "tok_9f", "brand": "visa", "last4": "1111", "exp_month": "3", "exp_year": "2030"}


async def listed(caller: Caller, tenant: str = "acme", *, done: bool = False) -> Sequence[Notification]:
    """The caller's notifications."""
    request = ListNotificationsRequest(parent=f"tenants/{tenant}", show_acknowledged=done)
    return (await caller.call(caller.tenants.ListNotifications, request)).notifications


def told(notifications: Sequence[Notification]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Kind, recipient and categories of each."""
    return sorted(
        (NotificationKind.Name(one.kind).removeprefix("NOTIFICATION_KIND_"), one.recipient, tuple(one.categories)) for one in notifications
    )


async def acknowledge(caller: Caller, name: str) -> Notification:
    """Say that one is done."""
    return (await caller.call(caller.tenants.AcknowledgeNotification, AcknowledgeNotificationRequest(name=name))).notification


async def restrict(served: Serving, subject: str) -> None:
    """Restrict a person, as the privacy officer's service."""
    officer = served.service("privacy-officer")
    await officer.call(officer.rights.RestrictSubject, RestrictSubjectRequest(subject=subject, justification=ASKED))


async def customer(served: Serving) -> str:
    """A business customer who pays by card: the subject."""
    manager = served.service("account-manager")
    return subject_of((await create(manager, account())).name)


async def set_url(served: Serving, url: str, tenant: str = "acme") -> UpdateTenantResponse:
    """Have a tenant's administrator say where to be told."""
    admin = served.service(f"{tenant}-admin")
    return await admin.call(admin.tenants.UpdateTenant, asked_url(url, tenant))


def asked_url(url: str, tenant: str = "acme") -> UpdateTenantRequest:
    """The request."""
    request = UpdateTenantRequest(tenant=Tenant(name=f"tenants/{tenant}", notification_url=url))
    request.update_mask.paths.append("notification_url")
    return request


async def delivered(served: Serving) -> int:
    """One pass of the background work. How much was received."""
    return await deliver.deliver(served.vault, upkeep_caller())


async def stored(served: Serving) -> list[dict[str, object]]:
    """Every notification as stored."""
    async with served.vault.database.read() as connection:
        found = await connection.execute(tables.notifications.select())
        return [dict(row._mapping) for row in found]
