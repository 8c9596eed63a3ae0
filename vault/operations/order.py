"""Court orders: register, authenticate, read, list.

Rules:
- What an order says (targets, case, court, judge) is sealed under the tenant's legal key, and so is the scan of it; in clear stand only state, type,
  categories, counts and times.
- What an order covers is held from its registration on for as long as a letter holds, longer once it is authentic, and let go when it is rejected
  (§5.4 step 2).
- Under some instruments nothing is released. They are registered all the same, and rejected with the reason.
- A second person finds out whether it is authentic (§5.4 step 3).
- An order of which nothing may be told is recorded in the system log, which no tenant reads (N16).

Not here: what is exported (`order_scope`), who approves (`order_approval`), how an order ends (`order_end`), what is told (`order_notice`).
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vault import crypto, names, scan
from vault.errors import AlreadyExistsError, FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from vault.names import ChildName
from vault.operations import hold, idempotency, log, order_content, order_intake
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, known_tenant, page_limit
from vault.operations.idempotency import Answer, RequestKey
from vault.operations.keyring import TenantKeys
from vault.operations.order_content import OrderContent, Scope
from vault.operations.order_state import Action, State, require
from vault.store import exports as export_store
from vault.store import orders as order_store
from vault.store.database import Connection
from vault.store.exports import ExportRow
from vault.store.orders import ApprovalRow, OrderRow

STAMP, SIGNATURE, CALL_BACK = "stamp", "signature", "call-back"
NOT_AUTHENTIC = "NOT_AUTHENTIC"
_MAX_SENTENCE = 500  # characters
_MIN_WORDS = 2
# Whoever works on orders knows of every one; others not of one that is to be kept from staff.
_LEGAL = frozenset({order_intake.OFFICER, order_intake.APPROVER, "order-courier"})


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with its approvals and its export."""

    row: OrderRow
    approvals: tuple[ApprovalRow, ...]
    export: ExportRow | None = None


async def register_order(
    vault: Vault, attempt: Attempt, tenant: str, content: OrderContent, request: RequestKey, *, document: bytes = b""
) -> tuple[OrderView, Receipt]:
    """Register an order; it waits to be authenticated, and what it covers is held meanwhile.

    One under whose instrument nothing is released is registered as rejected, and holds nothing.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID, CASE_NUMBER_INVALID, SCOPE_TOO_WIDE, FUTURE_SCOPE, UNKNOWN_CATEGORY,
            IDENTIFIER_INVALID, RECIPIENT_KEY_INVALID, DOCUMENT_MISMATCH.
        FailedPreconditionError: CLASS_NOT_COVERED, ORDER_EXPIRED.
        AlreadyExistsError: ORDER_DUPLICATE, REQUEST_ID_REUSED.
    """
    attempt.operation, attempt.is_gagged = "register-order", bool(content.instrument.gag.kind)
    now, order_id = vault.clock(), names.new_id()
    name = ChildName(tenant, "orders", order_id)
    content = order_intake.checked_content(vault, content, now)
    instrument, kind = content.instrument, order_intake.kind_of(content.instrument.type)
    if document:
        order_intake.check_document(document, instrument.document_sha256, hashlib.sha256(document).digest())
    attempt.resource = str(name)
    payload = order_content.payload(content, salt=secrets.token_hex(32))
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, tenant, hold=True)
        answer = await idempotency.earlier_answer(connection, keys, request)
        if answer is not None:
            return await view(connection, ChildName(tenant, "orders", answer.ids[0])), answer.receipt
        tokens = keys.digests("legal-document", instrument.document_sha256)
        if await order_store.order_with_document(connection, tenant, tokens):
            raise AlreadyExistsError("ORDER_DUPLICATE", "an order with this document is registered")
        row = OrderRow(
            order_id=order_id,
            state=State.REJECTED if kind.refusal else State.RECEIVED,
            instrument_type=instrument.type,
            sealed=_sealed(keys, payload, "legal-order", order_id),
            document_token=tokens[0],
            scope_digest=order_content.digest(payload),
            registrant=attempt.caller.principal,
            # Of what is refused nothing was looked up in the catalogue, and a caller's words stay sealed.
            categories=() if kind.refusal else content.scope.categories,
            target_count=len(content.scope.targets),
            expire_time=instrument.expire_time,
            create_time=now,
            gag=instrument.gag.kind,
            gag_end_time=instrument.gag.end_time,
            gag_from_staff=instrument.gag.from_staff,
            privileged=instrument.privileged_occupation,
            respond_time=instrument.respond_time,
            rejection=kind.refusal,
        )
        await order_store.insert_order(connection, tenant, row)
        if document:
            await order_store.insert_document(connection, tenant, order_id, _sealed(keys, document, "legal-document", order_id))
        held = [] if kind.refusal else await hold_scope(vault, connection, keys, attempt, name, content.scope)
        attempt.rule = f"order:{kind.refusal.lower()}" if kind.refusal else ""
        receipt, *_ = await log.append(vault, connection, keys, [attempt, *held])
        await idempotency.keep(vault, connection, keys, request, Answer((order_id,), receipt))
    return OrderView(row, ()), receipt


async def authenticate_order(
    vault: Vault, attempt: Attempt, name: ChildName, *, method: str, is_authentic: bool, finding: str
) -> tuple[OrderView, Receipt]:
    """Say whether an order is what it says it is, and how that was found; one that is not is rejected, and lets go what it held.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        PermissionDeniedError: SEPARATION_OF_DUTIES, whoever registered it does not say so.
        FailedPreconditionError: AUTHENTICATION_UNFOUNDED, the register does not have what the method looks at; what `require` raises.
    """
    attempt.operation, attempt.resource = "authenticate-order", str(name)
    if method not in {STAMP, SIGNATURE, CALL_BACK}:
        raise InvalidArgumentError("FIELD_INVALID", f"an order is authenticated by {STAMP}, {SIGNATURE} or {CALL_BACK}", field="method")
    check_sentence(finding, field="finding")
    now = vault.clock()
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await locked_order(vault, connection, attempt, name)
        require(Action.AUTHENTICATE, row.state, expire_time=row.expire_time, now=now)
        if not attempt.caller.employee_id or attempt.caller.principal == row.registrant:
            raise PermissionDeniedError("SEPARATION_OF_DUTIES", "an order is authenticated by another person than its registrant")
        said = open_order(keys, row)
        if is_authentic:
            _check_founded(said, method)
        row = replace(
            row,
            state=State.AUTHENTICATED if is_authentic else State.REJECTED,
            authenticator=attempt.caller.principal,
            authentication=method,
            authenticate_time=now,
            rejection="" if is_authentic else NOT_AUTHENTIC,
            remarks=remarked(keys, row, attempt, finding, now),
        )
        await order_store.update_order(connection, name.tenant, row)
        if is_authentic:
            until = row.expire_time + timedelta(days=vault.limits.preservation_days)
            held = await hold_scope(vault, connection, keys, attempt, name, said.scope, until=until)
        else:
            held = await hold.release_for_order(vault, connection, attempt.caller, name, secret=attempt.is_gagged)
        attempt.rule = f"order:{method}:{'confirmed' if is_authentic else 'failed'}"
        receipt, *_ = await log.append(vault, connection, keys, [attempt, *held])
        return await view(connection, name), receipt


async def get_order(vault: Vault, caller: Caller, name: ChildName) -> OrderView:
    """Read an order.

    Raises:
        NotFoundError: ORDER_NOT_FOUND, also for one that the caller may not know of.
    """
    async with vault.database.read() as connection:
        found = await view(connection, name)
    if not _may_know(found.row, caller, vault.clock()):
        raise _no_order()
    return found


async def list_orders(vault: Vault, caller: Caller, tenant: str, *, page_size: int, after: str) -> tuple[list[OrderView], str, int]:
    """Orders of a tenant, where the next page starts, and how many of this page the caller may not know of."""
    limit, now = page_limit(vault, page_size), vault.clock()
    async with vault.database.read() as connection:
        rows = await order_store.list_orders(connection, tenant, after=after, limit=limit + 1)
        known = [row for row in rows[:limit] if _may_know(row, caller, now)]
        views = [await view(connection, ChildName(tenant, "orders", row.order_id)) for row in known]
    return views, rows[limit - 1].order_id if len(rows) > limit else "", len(rows[:limit]) - len(known)


async def load_order(connection: Connection, name: ChildName, *, lock: bool = False) -> OrderRow:
    """The order's row.

    Raises:
        NotFoundError: ORDER_NOT_FOUND.
    """
    row = await order_store.get_order(connection, name.tenant, name.id, lock=lock)
    if row is None:
        raise _no_order()
    return row


async def locked_order(vault: Vault, connection: Connection, attempt: Attempt, name: ChildName) -> OrderRow:
    """The order's row, locked; from now on it is known whether the attempt may be told of.

    Raises:
        NotFoundError: ORDER_NOT_FOUND.
    """
    row = await load_order(connection, name, lock=True)
    attempt.is_gagged = row.is_gagged(vault.clock())
    return row


def open_order(keys: TenantKeys, row: OrderRow) -> OrderContent:
    """What a sealed order says.

    Raises:
        CiphertextInvalidError: damaged, or another order's.
    """
    return order_content.parsed(_opened(keys, row.sealed, "legal-order", row.order_id))


def open_document(keys: TenantKeys, sealed: bytes, order_id: str) -> bytes:
    """The scan of an order.

    Raises:
        CiphertextInvalidError: damaged, or another order's.
    """
    return _opened(keys, sealed, "legal-document", order_id)


def resealed(keys: TenantKeys, row: OrderRow, content: OrderContent) -> OrderRow:
    """The row with another content, under a new digest."""
    payload = order_content.payload(content, salt=secrets.token_hex(32))
    return replace(
        row,
        sealed=_sealed(keys, payload, "legal-order", row.order_id),
        scope_digest=order_content.digest(payload),
        categories=content.scope.categories,
        target_count=len(content.scope.targets),
    )


def remarked(keys: TenantKeys, row: OrderRow, attempt: Attempt, text: str, now: datetime) -> bytes:
    """The order's remarks with one more: who wrote what when they did what; sealed."""
    remarks = json.loads(_opened(keys, row.remarks, "legal-remarks", row.order_id)) if row.remarks else []
    remarks.append([now.isoformat(), attempt.caller.principal, attempt.operation, text])
    return _sealed(keys, json.dumps(remarks, ensure_ascii=False).encode(), "legal-remarks", row.order_id)


def check_sentence(text: str, *, field: str = "reason") -> None:
    """Refuse what is not one sentence without personal data.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
    """
    if len(text.split()) < _MIN_WORDS or len(text) > _MAX_SENTENCE or "\n" in text:
        message = f"the {field} is not one sentence of at most {_MAX_SENTENCE} characters"
        raise InvalidArgumentError("FIELD_INVALID", message, field=field, limit=str(_MAX_SENTENCE))
    if scan.find_personal_data(text):
        raise InvalidArgumentError("PII_IN_JUSTIFICATION", f"the {field} holds personal data", field=field)


async def hold_scope(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    attempt: Attempt,
    name: ChildName,
    scope: Scope,
    *,
    until: datetime | None = None,
) -> Sequence[Attempt]:
    """Hold what a scope covers; what is to be logged of it."""
    return await hold.hold_for_order(
        vault,
        connection,
        keys,
        attempt.caller,
        name,
        targets=scope.targets,
        categories=scope.categories,
        start=scope.start_time,
        end=scope.end_time,
        until=until,
        secret=attempt.is_gagged,
    )


async def view(connection: Connection, name: ChildName) -> OrderView:
    """An order as it stands.

    Raises:
        NotFoundError: ORDER_NOT_FOUND.
    """
    row = await load_order(connection, name)
    approvals = await order_store.approvals_of(connection, name.tenant, name.id)
    return OrderView(row, tuple(approvals), await export_store.export_of_order(connection, name.tenant, name.id))


def _check_founded(said: OrderContent, method: str) -> None:
    instrument = said.instrument
    founded = {
        STAMP: instrument.true_copy_stamp,
        SIGNATURE: instrument.signature_check == "VALID",
        # From our directory: the number in the letter is whoever's wrote the letter.
        CALL_BACK: instrument.call_back,
    }
    if not founded[method]:
        message = "the register has no stamp number, valid signature or call-back number to authenticate the order by"
        raise FailedPreconditionError("AUTHENTICATION_UNFOUNDED", message, method=method)


def _may_know(row: OrderRow, caller: Caller, now: datetime) -> bool:
    # The privacy officer approves what is about a protected profession, and cannot without knowing of it.
    needed = row.privileged or order_intake.kind_of(row.instrument_type).privacy
    known_to = _LEGAL | {order_intake.PRIVACY} if needed else _LEGAL
    return not (row.gag_from_staff and row.is_gagged(now)) or bool(caller.roles & known_to)


def _no_order() -> NotFoundError:
    return NotFoundError("ORDER_NOT_FOUND", "no such order")


def _sealed(keys: TenantKeys, data: bytes, purpose: str, order_id: str) -> bytes:
    return crypto.seal_text(data, under=keys.newest("legal"), purpose=purpose, tenant=keys.tenant, place=order_id)


def _opened(keys: TenantKeys, sealed: bytes, purpose: str, order_id: str) -> bytes:
    key = keys.version("legal", crypto.text_key_version(sealed))
    return crypto.open_text(sealed, under=key, purpose=purpose, tenant=keys.tenant, place=order_id)
