"""Handing a package over: fetched once by one courier, read back by whoever got it, and destroyed here when that is long enough ago.

Rules:
- The first who fetches is the courier; nobody else fetches it then. From the beginning it goes once: when it was sent to the end, only its tail
  may be asked for again, for what the line swallowed, until the digest is read back.
- Nothing is fetched before its release was approved, or when the order is not in force at that second (§5.4 step 10).
- A call for bytes is recorded, with how many, before the first of them leaves (I1, §5.6).
- The receipt is the digest as the recipient read it back; another one than ours is refused, and that is recorded too. It fulfils the order.
- 30 days after it was handed over the package is destroyed; what is left is its receipt: size, digest, counts, who took it. One that
  was not handed over goes with its order (`order_end.py`).
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from vault import crypto
from vault.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError, VaultError
from vault.names import ChildName, ExportName
from vault.operations import log
from vault.operations.attempt import Attempt, Caller, Justification, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.export_order import executable_order, load_export
from vault.operations.keyring import TenantKeys
from vault.operations.order import locked_order
from vault.operations.order_state import Action, State
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store.database import Connection, on_commit
from vault.store.exports import CHUNK_BYTES, ExportRow

_PURPOSE = "court-order"
_DELIVERY = "export-delivery"
_KEPT = timedelta(days=30)
# What may have been on the line when a call ended.
TAIL_BYTES = 4 * CHUNK_BYTES
_UNRELEASED = frozenset({"BUILDING", "SEALED", "CANCELLED"})
_FETCHED = frozenset({"RELEASE_APPROVED", "RELEASED", "DELIVERED"})
_MAX_TEXT = 200
_SHA256_BYTES = 32

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a package and, on the first chunk, where the download was recorded."""

    offset: int
    data: bytes = field(repr=False)
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a recipient says of a package that arrived.

    Attributes:
        sha256: its digest as they read it back, 32 bytes.
        recipient_name, recipient_id: who took it, by name and badge.
        receive_time: when.
        receipt_sha256: digest of the receipt that they signed, 32 bytes; empty if there is none.
    """

    sha256: bytes
    recipient_name: str = field(repr=False)
    recipient_id: str = field(repr=False)
    receive_time: datetime
    receipt_sha256: bytes


async def download_export(vault: Vault, attempt: Attempt, name: ExportName, *, offset: int) -> AsyncIterator[Chunk]:
    """Send the sealed package from an offset on; the download is recorded before the first byte leaves.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the offset is outside the package.
        FailedPreconditionError: RELEASE_NOT_APPROVED, EXPORT_NOT_SEALED, EXPORT_TAKEN; what `require` raises.
        PermissionDeniedError: NOT_THE_COURIER.
    """
    attempt.operation, attempt.resource = "download-export", str(name)
    attempt.justification, attempt.is_justified = Justification(_PURPOSE, str(ChildName(name.tenant, "orders", name.order))), True
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        await executable_order(vault, connection, attempt, ChildName(name.tenant, "orders", name.order), Action.DELIVER)
        row = await load_export(connection, name, lock=True)
        _check_fetched(attempt, row, offset)
        attempt.count = row.size_bytes - offset
        if row.state != "DELIVERED":
            await export_store.update_export(connection, name.tenant, name.export, state="RELEASED", courier=attempt.caller.principal)
        receipt: Receipt | None
        [receipt] = await log.append(vault, connection, keys, [attempt])
    while offset < row.size_bytes:
        sequence, start = divmod(offset, CHUNK_BYTES)
        async with vault.database.read() as connection:
            stored = await export_store.export_chunk(connection, name.tenant, name.export, sequence)
        if stored is None:
            raise NotFoundError("EXPORT_NOT_FOUND", "the package is gone")
        yield Chunk(offset, stored[start:], receipt)
        offset, receipt = (sequence + 1) * CHUNK_BYTES, None
    await _note_sent(vault, name)


async def confirm_delivery(vault: Vault, attempt: Attempt, name: ExportName, delivery: Delivery) -> tuple[ExportRow, Receipt]:
    """Record that the recipient has the package, by the digest that they read back: the order is fulfilled.

    That it arrived is recorded whatever became of the order meanwhile.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
        FailedPreconditionError: EXPORT_NOT_DELIVERED, nobody fetched it or its receipt is there already; EXPORT_DIGEST_MISMATCH.
    """
    attempt.operation, attempt.resource = "confirm-delivery", str(name)
    attempt.justification, attempt.is_justified = Justification(_PURPOSE, str(ChildName(name.tenant, "orders", name.order))), True
    _check_delivery(vault, delivery)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        order = await locked_order(vault, connection, attempt, ChildName(name.tenant, "orders", name.order))
        row = await load_export(connection, name, lock=True)
        if row.state not in {"RELEASED", "DELIVERED"}:
            raise FailedPreconditionError("EXPORT_NOT_DELIVERED", "the package is not on its way to anybody")
        if delivery.sha256.hex() != row.sha256:
            raise FailedPreconditionError("EXPORT_DIGEST_MISMATCH", "what the recipient has is not the package", field="sha256")
        now = vault.clock()
        await export_store.update_export(
            connection,
            name.tenant,
            name.export,
            state="RECEIPT_CONFIRMED",
            deliver_time=row.deliver_time or now,
            confirm_time=now,
            delivery=_sealed(keys, name, delivery),
        )
        if order.state == State.IN_EXECUTION:
            await order_store.set_order_state(connection, name.tenant, name.order, State.FULFILLED)
        attempt.count = row.size_bytes
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await load_export(connection, name), receipt


async def destroy_export(connection: Connection, name: ExportName, *, state: str) -> None:
    """Destroy a package, and what was read for one: for an order that was revoked or has expired, or after it was handed over long ago.

    Args:
        connection: the transaction that says why.
        name: the export.
        state: CANCELLED or PURGED.
    """
    await export_store.update_export(connection, name.tenant, name.export, state=state)
    await export_store.delete_staging(connection, name.tenant, name.export)
    await export_store.delete_chunks(connection, name.tenant, name.export)


async def destroy_due(vault: Vault, caller: Caller) -> int:
    """Destroy every package that was handed over long ago; how many."""
    async with vault.database.read() as connection:
        due = await export_store.exports_to_destroy(connection, now=vault.clock(), kept=_KEPT)
    destroyed = 0
    for tenant, order, export in due:
        name = ExportName(tenant, order, export)
        try:
            async with vault.database.write() as connection:
                _, keys = await known_tenant(vault, connection, tenant)
                attempt = Attempt(caller=caller, operation="purge-export", tenant=tenant, resource=str(name))
                await locked_order(vault, connection, attempt, ChildName(tenant, "orders", order))
                row = await load_export(connection, name, lock=True)
                await destroy_export(connection, name, state="PURGED")
                attempt.count = row.size_bytes
                await log.append(vault, connection, keys, [attempt])
                destroyed += 1
        except VaultError as error:
            _log.warning("export not destroyed", reason=error.reason)
    return destroyed


def _check_fetched(attempt: Attempt, row: ExportRow, offset: int) -> None:
    if row.state in _UNRELEASED:
        raise FailedPreconditionError("RELEASE_NOT_APPROVED", "the package was not approved for release", state=row.state)
    if row.state not in _FETCHED:
        raise FailedPreconditionError("EXPORT_NOT_SEALED", "there is no package to fetch any more, its receipt is there already")
    if row.courier and row.courier != attempt.caller.principal:
        raise PermissionDeniedError("NOT_THE_COURIER", "somebody else fetches this package")
    if not 0 <= offset < row.size_bytes:
        raise InvalidArgumentError("FIELD_INVALID", "offset is outside the package", field="offset", limit=str(row.size_bytes))
    if row.state == "DELIVERED" and (offset == 0 or offset < row.size_bytes - TAIL_BYTES):
        raise FailedPreconditionError("EXPORT_TAKEN", "the package was sent to its end, only its tail can be asked for again")


async def _note_sent(vault: Vault, name: ExportName) -> None:
    """It was sent to the end; whoever confirmed it meanwhile knows more."""
    async with vault.database.write() as connection:
        if (await load_export(connection, name, lock=True)).state == "RELEASED":
            await export_store.update_export(connection, name.tenant, name.export, state="DELIVERED", deliver_time=vault.clock())
            on_commit(connection, lambda: _log.info("export fetched"))


def _check_delivery(vault: Vault, delivery: Delivery) -> None:
    for field_name, text in (("recipient_name", delivery.recipient_name), ("recipient_id", delivery.recipient_id)):
        if not text.strip() or len(text) > _MAX_TEXT or not text.isprintable():
            raise InvalidArgumentError(
                "FIELD_INVALID", f"not one line of 1 to {_MAX_TEXT} characters", field=field_name, limit=str(_MAX_TEXT)
            )
    if len(delivery.sha256) != _SHA256_BYTES:
        raise InvalidArgumentError("FIELD_INVALID", "digest is not 32 bytes", field="sha256")
    if len(delivery.receipt_sha256) not in {0, _SHA256_BYTES}:
        raise InvalidArgumentError("FIELD_INVALID", "digest is not 32 bytes", field="receipt_sha256")
    if delivery.receive_time > vault.clock():
        raise InvalidArgumentError("FIELD_INVALID", "it was received in the future", field="receive_time")


def _sealed(keys: TenantKeys, name: ExportName, delivery: Delivery) -> bytes:
    said = {
        "recipient_name": delivery.recipient_name,
        "recipient_id": delivery.recipient_id,
        "receive_time": delivery.receive_time.isoformat(),
        "receipt_sha256": delivery.receipt_sha256.hex(),
    }
    text = json.dumps(said, ensure_ascii=False, sort_keys=True).encode()
    return crypto.seal_text(text, under=keys.newest("legal"), purpose=_DELIVERY, tenant=name.tenant, place=name.export)
