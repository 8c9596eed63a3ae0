"""Tenants, and the requests of their customers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault import names, scan
from vault.audit.merkle import Frontier
from vault.errors import AbortedError, AlreadyExistsError, InvalidArgumentError, NotFoundError
from vault.names import SYSTEM_LOG, ChildName
from vault.operations import idempotency, log, webhook
from vault.operations.attempt import Attempt, Receipt
from vault.operations.consent import RECIPIENTS_OF_AGE
from vault.operations.core import Vault, active_tenant, known_tenant, page_limit
from vault.operations.idempotency import Answer, RequestKey
from vault.operations.levels import check_levels
from vault.operations.preparing import check_list
from vault.operations.transport import Wanted, check_policies
from vault.store import audit as audit_store
from vault.store import consents as consent_store
from vault.store import notifications as notification_store
from vault.store import registers
from vault.store import settings as settings_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.registers import CustomerRequestRow
from vault.store.settings import LevelRow, TransportRow
from vault.store.tenants import TenantRow

# Purposes that tenants of the first version have no key of.
_LATER_PURPOSES = ("digest",)

DEFAULT_REFERENCE_PATTERN = r"[A-Z]{2,10}-\d{1,9}"
_MAX_PATTERN = 200
_MAX_DISPLAY_NAME = 100

SETTINGS = ("display_name", "reference_pattern", "content_levels", "transport_policies", "notification_url")

# What staff may be asked to do with a list (P3.2.1-rep): view, change, delete; and return when the contract ends.
REQUESTABLE = ("reveal", "find", "update", "delete", "export")
# What is left of it when the contract has ended: having its data returned (L36).
_AFTER_THE_END = frozenset({"export"})
_MAX_REQUEST_DAYS = 30


@dataclass(frozen=True, slots=True)
class TenantChange:
    """New settings; None leaves one as it is, and no address means no webhook."""

    display_name: str | None
    reference_pattern: str | None
    etag: str
    content_levels: tuple[LevelRow, ...] | None = None
    transport_policies: tuple[Wanted, ...] | None = None
    notification_url: str | None = None


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant with what it decided about itself."""

    row: TenantRow
    content_levels: Sequence[LevelRow] = ()
    transport_policies: Sequence[TransportRow] = ()
    notification_url: str = ""
    recipients_attest_time: datetime | None = None


async def bootstrap(vault: Vault) -> None:
    """Make sure that the system log exists, with keys of its own, and that no tenant lacks a kind of key; done at every start."""
    async with vault.database.write() as connection:
        if await tenant_store.get_tenant(connection, SYSTEM_LOG) is not None:
            await _complete_keys(vault, connection)
            return
        row = TenantRow(SYSTEM_LOG, "", "ACTIVE", 1, DEFAULT_REFERENCE_PATTERN, vault.clock(), 1)
        await tenant_store.insert_tenant(connection, row, await vault.keyring.create(SYSTEM_LOG))
        await audit_store.create_log(connection, SYSTEM_LOG, Frontier.empty().to_bytes())


async def _complete_keys(vault: Vault, connection: Connection) -> None:
    """Give tenants of an earlier version the keys that came since.

    No others: a key that was lost would be replaced by one that opens nothing, and the loss would not show any more.
    """
    for purpose in _LATER_PURPOSES:
        for row in await tenant_store.tenants_without(connection, purpose):
            keys = await vault.keyring.create(row.tenant_id, root_key=row.root_key, purposes=[purpose])
            await tenant_store.insert_tenant_keys(connection, row.tenant_id, keys, vault.clock())
            await tenant_store.bump_epoch(connection, row.tenant_id)


async def create_tenant(
    vault: Vault, attempt: Attempt, tenant: str, *, display_name: str, request: RequestKey, root_key: str = ""
) -> tuple[TenantRow, Receipt]:
    """Create a tenant with its keys and its audit log.

    Raises:
        InvalidArgumentError: NAME_INVALID, FIELD_INVALID.
        FailedPreconditionError: ROOT_KEY_UNKNOWN.
        KeyUnavailableError: the root key does not answer; nothing was created.
        AlreadyExistsError: TENANT_EXISTS, REQUEST_ID_REUSED.
    """
    names.check_tenant_id(tenant)
    _check_display_name(display_name)
    attempt.operation, attempt.resource = "create-tenant", f"tenants/{tenant}"
    # Before the transaction: a root key that is slow must not hold it open.
    made = await vault.keyring.create(tenant, root_key=root_key)
    async with vault.database.write() as connection:
        system = await log.system_keys(vault, connection)
        existing = await tenant_store.get_tenant(connection, tenant)
        answer = await idempotency.earlier_answer(connection, system, request)
        if answer is not None and existing is not None:
            return existing, answer.receipt
        if existing is not None:
            raise AlreadyExistsError("TENANT_EXISTS", "there is a tenant of that id", field="tenant_id")
        row = TenantRow(tenant, display_name, "ACTIVE", 1, DEFAULT_REFERENCE_PATTERN, vault.clock(), 1, root_key)
        await tenant_store.insert_tenant(connection, row, made)
        await audit_store.create_log(connection, tenant, Frontier.empty().to_bytes())
        [receipt] = await log.append(vault, connection, system, [attempt])
        await idempotency.keep(vault, connection, system, request, Answer((tenant,), receipt))
        return row, receipt


async def get_tenant(vault: Vault, tenant: str) -> TenantView:
    """Read a tenant.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        row = await tenant_store.get_tenant(connection, tenant)
        if row is None:
            raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
        [view] = await _views(vault, connection, [row])
    return view


async def list_tenants(vault: Vault, attempt: Attempt, *, page_size: int, after: str) -> tuple[list[TenantView], str]:
    """The tenants that the caller may see, and where the next page starts."""
    limit = page_limit(vault, page_size)
    only = None if attempt.caller.tenants is None else sorted(attempt.caller.tenants)
    async with vault.database.read() as connection:
        rows = await tenant_store.list_tenants(connection, after=after, limit=limit + 1, only=only)
        rows = [row for row in rows if row.tenant_id != SYSTEM_LOG]
        views = await _views(vault, connection, rows[:limit])
    return views, rows[limit - 1].tenant_id if len(rows) > limit else ""


async def update_tenant(vault: Vault, attempt: Attempt, tenant: str, change: TenantChange) -> tuple[TenantView, Receipt, str]:
    """Change a tenant's settings; content levels and transport policies are replaced whole.

    Returns:
        the tenant, where it was recorded, and the secret of its webhook if an address was set: a fresh one, told this once.
    Raises:
        AbortedError: ETAG_MISMATCH.
        InvalidArgumentError: FIELD_INVALID, the pattern is not a usable regular expression; LEVEL_INVALID, RETENTION_ABOVE_CEILING.
        FailedPreconditionError: RISK_ACK_REQUIRED, NOTIFICATION_HOST_NOT_ALLOWED.
    """
    attempt.operation, attempt.resource = "update-tenant", f"tenants/{tenant}"
    attempt.fields = tuple(name for name in SETTINGS if getattr(change, name) is not None)
    if change.display_name is not None:
        _check_display_name(change.display_name)
    if change.reference_pattern is not None:
        _check_pattern(change.reference_pattern)
    levels = None if change.content_levels is None else check_levels(vault.catalogue, change.content_levels)
    transport = None if change.transport_policies is None else check_policies(change.transport_policies)
    if change.notification_url:
        webhook.check_url(vault.webhooks, change.notification_url)
    secret = ""
    async with vault.database.write() as connection:
        row, keys = await active_tenant(vault, connection, tenant)
        stored = await tenant_store.update_tenant(
            connection,
            tenant,
            version=row.version if change.etag in {"", str(row.version)} else -1,
            display_name=row.display_name if change.display_name is None else change.display_name,
            reference_pattern=row.reference_pattern if change.reference_pattern is None else change.reference_pattern,
        )
        if not stored:
            raise AbortedError("ETAG_MISMATCH", "the tenant was changed since it was read")
        who, now = attempt.caller.principal, vault.clock()
        if levels is not None:
            await settings_store.replace_levels(connection, tenant, levels, set_by=who, now=now)
        if transport is not None:
            await settings_store.replace_transport(connection, tenant, transport, set_by=who)
        if change.notification_url is not None:
            hook, secret = webhook.new_webhook(keys, change.notification_url) if change.notification_url else (None, "")
            await notification_store.replace_webhook(connection, tenant, hook, set_by=who, now=now)
            await notification_store.deliver_again(connection, tenant, now)
        [receipt] = await log.append(vault, connection, keys, [attempt])
        changed, _ = await active_tenant(vault, connection, tenant)
        [view] = await _views(vault, connection, [changed])
    return view, receipt, secret


async def open_customer_request(
    vault: Vault, attempt: Attempt, tenant: str, *, list_id: str, operations: Sequence[str], expire_time: datetime
) -> tuple[CustomerRequestRow, Receipt]:
    """Open a customer request: the consent without which staff may not touch a list (P3.2.1-rep).

    Raises:
        InvalidArgumentError: FIELD_INVALID.
        FailedPreconditionError: TENANT_TERMINATED, for anything but having data returned.
    """
    now = vault.clock()
    check_list(list_id)
    if unknown := [operation for operation in operations if operation not in REQUESTABLE]:
        raise InvalidArgumentError("FIELD_INVALID", f"{len(unknown)} operations are not among {', '.join(REQUESTABLE)}", field="operations")
    if not now < expire_time <= now + timedelta(days=_MAX_REQUEST_DAYS):
        raise InvalidArgumentError(
            "FIELD_INVALID", f"expiry is not within the next {_MAX_REQUEST_DAYS} days", field="expire_time", limit=f"{_MAX_REQUEST_DAYS}d"
        )
    row = CustomerRequestRow(names.new_id(), list_id, tuple(operations), attempt.caller.principal, now, expire_time, None)
    attempt.operation = "open-customer-request"
    attempt.resource = str(ChildName(tenant, "customerRequests", row.request_id))
    async with vault.database.write() as connection:
        within = known_tenant if set(operations) <= _AFTER_THE_END else active_tenant
        _, keys = await within(vault, connection, tenant)
        await registers.insert_customer_request(connection, tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def close_customer_request(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[CustomerRequestRow, Receipt]:
    """Close a customer request; staff lose access on the next call.

    Raises:
        NotFoundError: CUSTOMER_REQUEST_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "close-customer-request", str(name)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        await registers.close_customer_request(connection, name.tenant, name.id, vault.clock())
        row = await registers.get_customer_request(connection, name.tenant, name.id)
        if row is None:
            raise NotFoundError("CUSTOMER_REQUEST_NOT_FOUND", "no such customer request")
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def _views(vault: Vault, connection: Connection, rows: Sequence[TenantRow]) -> list[TenantView]:
    ids = [row.tenant_id for row in rows]
    levels = await settings_store.levels_by_tenant(connection, ids)
    transport = await settings_store.transport_by_tenant(connection, ids)
    hooks = await notification_store.webhooks_by_tenant(connection, ids)
    attested = await consent_store.attested_by_tenant(connection, ids, RECIPIENTS_OF_AGE, vault.clock())
    return [
        TenantView(
            row,
            levels.get(row.tenant_id, ()),
            transport.get(row.tenant_id, ()),
            hooks[row.tenant_id].url if row.tenant_id in hooks else "",
            attested.get(row.tenant_id),
        )
        for row in rows
    ]


def _check_display_name(display_name: str) -> None:
    if scan.find_personal_data(display_name):
        raise InvalidArgumentError("FIELD_INVALID", "display name holds personal data; it is kept in clear", field="display_name")
    if len(display_name) > _MAX_DISPLAY_NAME or not display_name.isprintable():
        raise InvalidArgumentError(
            "FIELD_INVALID",
            f"display name is not one line of at most {_MAX_DISPLAY_NAME} characters",
            field="display_name",
            limit=str(_MAX_DISPLAY_NAME),
        )


def _check_pattern(pattern: str) -> None:
    """Accept simple patterns only: with nested repetition one reference could keep a worker busy for minutes."""
    if len(pattern) > _MAX_PATTERN or re.search(r"[)}*+?]\s*[*+{]|\(\?|\\\d", pattern):
        raise InvalidArgumentError("FIELD_INVALID", "reference pattern is too long or repeats a repetition", field="reference_pattern")
    try:
        re.compile(pattern)
    except re.error:
        raise InvalidArgumentError("FIELD_INVALID", "reference pattern is not a regular expression", field="reference_pattern") from None
