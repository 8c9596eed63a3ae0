"""Court orders: register, approve by two people, reject.

Rules:
- What an order says (targets, case, court, judge) is sealed under the tenant's legal key; in clear stand only state, type, categories and counts.
- An approval signs the scope digest: SHA-256 over the canonical instrument, scope and recipient *with a random salt*, so that the digest cannot be
  used to test a guessed telephone number (I2). The recipient's key is part of it (N14).
- Two different people approve, neither of them the registrant, at least one a legal approver, each with a second factor proved in the last
  fifteen minutes (§5.4 step 6, N4, N5).
- What an order covers is held from its registration on, and let go when it is rejected (§5.4 step 2).
- Nothing is ever exported from the future (L23), and communications data never includes content (L19, A19).
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vault import crypto, names, scan
from vault.bundle import seal
from vault.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from vault.identifiers import IdentifierKind, normalise
from vault.names import ChildName
from vault.operations import hold, idempotency, log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant, page_limit
from vault.operations.idempotency import Answer, RequestKey
from vault.operations.keyring import TenantKeys
from vault.store import orders as order_store
from vault.store.database import Connection
from vault.store.orders import ApprovalRow, OrderRow

APPROVALS = 2
LEGAL_APPROVER = "legal-approver"
_MFA_FRESH = timedelta(minutes=15)
_MAX_TARGETS = 100
_SHA256_BYTES = 32
_MAX_TEXT = 200
# How long each supported instrument can run from its issue; None: what is printed on it (§5.2).
_LONGEST = {"COMMS_DATA": None, "COMMS_URGENT": timedelta(hours=24)}
# Subscriber and traffic data; content needs another instrument (L19).
_CLASSES = frozenset({"S", "T"})


@dataclass(frozen=True, slots=True)
class Instrument:
    """What the document says about itself."""

    type: str
    court_name: str
    case_number: str
    issuer_name: str
    requesting_body: str
    document_sha256: bytes
    issue_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Scope:
    """What the order covers: identifiers as (kind, value), categories, period [start, end), fields (all if empty)."""

    targets: tuple[tuple[str, str], ...]
    categories: tuple[str, ...]
    start_time: datetime
    end_time: datetime
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who receives the package, and how its key was verified."""

    body: str
    age_recipient: str
    verification: str


@dataclass(frozen=True, slots=True)
class OrderContent:
    """Everything that is sealed with an order."""

    instrument: Instrument
    scope: Scope
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with its approvers."""

    row: OrderRow
    approvers: tuple[str, ...]


async def register_order(
    vault: Vault, attempt: Attempt, tenant: str, content: OrderContent, request: RequestKey
) -> tuple[OrderView, Receipt]:
    """Register an order; it waits for two approvals, and what it covers is held meanwhile.

    Raises:
        InvalidArgumentError: FIELD_INVALID, SCOPE_TOO_WIDE, FUTURE_SCOPE, UNKNOWN_CATEGORY, IDENTIFIER_INVALID, RECIPIENT_KEY_INVALID.
        FailedPreconditionError: CLASS_NOT_COVERED, INSTRUMENT_NOT_SUPPORTED, ORDER_EXPIRED.
        AlreadyExistsError: ORDER_DUPLICATE, REQUEST_ID_REUSED.
    """
    attempt.operation = "register-order"
    now = vault.clock()
    _check_instrument(content.instrument, now)
    scope = _checked_scope(vault, content.scope, now)
    seal.fingerprint(content.recipient.age_recipient)
    _check_texts(content.recipient.body, content.recipient.verification)
    order_id = names.new_id()
    attempt.resource = str(ChildName(tenant, "orders", order_id))
    payload = _payload(OrderContent(content.instrument, scope, content.recipient), salt=secrets.token_hex(32))
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, tenant, hold=True)
        answer = await idempotency.earlier_answer(connection, keys, request)
        if answer is not None:
            return await _view(connection, ChildName(tenant, "orders", answer.ids[0])), answer.receipt
        documents = _document_tokens(keys, content.instrument)
        if await order_store.order_with_document(connection, tenant, documents):
            raise AlreadyExistsError("ORDER_DUPLICATE", "an order with this document, court and case is registered")
        row = OrderRow(
            order_id=order_id,
            state="SCOPED",
            instrument_type=content.instrument.type,
            sealed=crypto.seal_text(payload, under=keys.newest("legal"), purpose="legal-order", tenant=tenant, place=order_id),
            document_token=documents[0],
            scope_digest=hashlib.sha256(payload).hexdigest(),
            registrant=attempt.caller.principal,
            categories=scope.categories,
            target_count=len(scope.targets),
            expire_time=content.instrument.expire_time,
            create_time=now,
        )
        await order_store.insert_order(connection, tenant, row)
        held = await hold.hold_for_order(
            vault,
            connection,
            keys,
            attempt.caller,
            ChildName(tenant, "orders", order_id),
            targets=scope.targets,
            categories=scope.categories,
            start=scope.start_time,
            end=scope.end_time,
        )
        receipt, *_ = await log.append(vault, connection, keys, [attempt, *held])
        await idempotency.keep(vault, connection, keys, request, Answer((order_id,), receipt))
    return OrderView(row, ()), receipt


async def approve_order(vault: Vault, attempt: Attempt, name: ChildName, *, scope_digest: str) -> tuple[OrderView, Receipt]:
    """Approve an order by repeating the digest of what was seen.

    Raises:
        UnauthenticatedError: MFA_REQUIRED, the second factor is older than fifteen minutes.
        PermissionDeniedError: SEPARATION_OF_DUTIES.
        AbortedError: SCOPE_DIGEST_CHANGED.
        FailedPreconditionError: ORDER_EXPIRED, ORDER_NOT_PENDING.
    """
    attempt.operation, attempt.resource = "approve-order", str(name)
    now, caller = vault.clock(), attempt.caller
    if caller.mfa_time is None or now - caller.mfa_time > _MFA_FRESH:
        raise UnauthenticatedError("MFA_REQUIRED", "an approval needs a second factor proved in the last 15 minutes")
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await load_order(connection, name, lock=True)
        if row.scope_digest != scope_digest:
            raise AbortedError("SCOPE_DIGEST_CHANGED", "the order is not the one that was seen")
        if row.expire_time <= now:
            raise FailedPreconditionError("ORDER_EXPIRED", "the order has expired")
        if row.state != "SCOPED":
            raise FailedPreconditionError("ORDER_NOT_PENDING", "the order is not waiting for approval")
        approvals = await order_store.approvals_of(connection, name.tenant, name.id)
        _check_separation(attempt, row, approvals)
        approval = ApprovalRow(caller.employee_id, caller.principal, _approver_role(attempt), scope_digest, now)
        await order_store.insert_approval(connection, name.tenant, name.id, approval)
        if len(approvals) + 1 >= APPROVALS:
            await order_store.set_order_state(connection, name.tenant, name.id, "APPROVED")
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await _view(connection, name), receipt


async def reject_order(vault: Vault, attempt: Attempt, name: ChildName, *, reason: str) -> tuple[OrderView, Receipt]:
    """Reject an order; it stays on the register, and what it held is let go.

    Raises:
        FailedPreconditionError: ORDER_NOT_PENDING, a package was built already or the order was rejected before.
        InvalidArgumentError: PII_IN_JUSTIFICATION.
    """
    attempt.operation, attempt.resource = "reject-order", str(name)
    if scan.find_personal_data(reason):
        raise InvalidArgumentError("PII_IN_JUSTIFICATION", "the reason holds personal data", field="reason")
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await load_order(connection, name, lock=True)
        if row.state not in {"SCOPED", "APPROVED"}:
            raise FailedPreconditionError("ORDER_NOT_PENDING", "the order can no longer be rejected")
        await order_store.set_order_state(connection, name.tenant, name.id, "REJECTED")
        released = await hold.release_for_order(vault, connection, attempt.caller, name)
        receipt, *_ = await log.append(vault, connection, keys, [attempt, *released])
        return await _view(connection, name), receipt


async def get_order(vault: Vault, name: ChildName) -> OrderView:
    """Read an order.

    Raises:
        NotFoundError: ORDER_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        return await _view(connection, name)


async def list_orders(vault: Vault, tenant: str, *, page_size: int, after: str) -> tuple[list[OrderView], str]:
    """Orders of a tenant, and where the next page starts."""
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        rows = await order_store.list_orders(connection, tenant, after=after, limit=limit + 1)
        views = [await _view(connection, ChildName(tenant, "orders", row.order_id)) for row in rows[:limit]]
    return views, rows[limit - 1].order_id if len(rows) > limit else ""


async def load_order(connection: Connection, name: ChildName, *, lock: bool = False) -> OrderRow:
    """The order's row.

    Raises:
        NotFoundError: ORDER_NOT_FOUND.
    """
    row = await order_store.get_order(connection, name.tenant, name.id, lock=lock)
    if row is None:
        raise NotFoundError("ORDER_NOT_FOUND", "no such order")
    return row


def open_order(keys: TenantKeys, row: OrderRow) -> OrderContent:
    """What a sealed order says.

    Raises:
        CiphertextInvalidError: damaged, or another order's.
    """
    key = keys.version("legal", crypto.text_key_version(row.sealed))
    payload = crypto.open_text(row.sealed, under=key, purpose="legal-order", tenant=keys.tenant, place=row.order_id)
    return _parsed(json.loads(payload))


async def _view(connection: Connection, name: ChildName) -> OrderView:
    row = await load_order(connection, name)
    approvals = await order_store.approvals_of(connection, name.tenant, name.id)
    return OrderView(row, tuple(approval.approver for approval in approvals))


def _check_instrument(instrument: Instrument, now: datetime) -> None:
    if instrument.type not in _LONGEST:
        raise FailedPreconditionError("INSTRUMENT_NOT_SUPPORTED", "nothing can be released under this type of instrument yet")
    _check_texts(instrument.court_name, instrument.case_number, instrument.issuer_name, instrument.requesting_body)
    if len(instrument.document_sha256) != _SHA256_BYTES:
        raise InvalidArgumentError("FIELD_INVALID", "document digest is not 32 bytes", field="instrument.document_sha256")
    if not instrument.issue_time <= now:
        raise InvalidArgumentError("FIELD_INVALID", "the order was issued in the future", field="instrument.issue_time")
    longest = _LONGEST[instrument.type]
    if longest and instrument.expire_time > instrument.issue_time + longest:
        raise InvalidArgumentError("FIELD_INVALID", "the instrument cannot run that long", field="instrument.expire_time")
    if instrument.expire_time <= now:
        raise FailedPreconditionError("ORDER_EXPIRED", "the order has expired")


def _check_texts(*texts: str) -> None:
    if any(not text.strip() or len(text) > _MAX_TEXT or not text.isprintable() for text in texts):
        raise InvalidArgumentError(
            "FIELD_INVALID", f"a text of the order is not one line of 1 to {_MAX_TEXT} characters", field="instrument", limit=str(_MAX_TEXT)
        )


def _checked_scope(vault: Vault, scope: Scope, now: datetime) -> Scope:
    """The scope with normalised targets."""
    if not 1 <= len(scope.targets) <= _MAX_TARGETS:
        raise InvalidArgumentError(
            "SCOPE_TOO_WIDE", f"an order names 1 to {_MAX_TARGETS} targets", field="scope.targets", limit=str(_MAX_TARGETS)
        )
    if scope.end_time > now:
        raise InvalidArgumentError("FUTURE_SCOPE", "the period ends in the future", field="scope.end_time")
    if scope.start_time >= scope.end_time:
        raise InvalidArgumentError("FIELD_INVALID", "the period ends before it begins", field="scope.end_time")
    for number, name in enumerate(scope.categories):
        category = vault.catalogue.category(name)
        category.check_storable()
        if category.court_if_named and not scope.fields:
            raise FailedPreconditionError("CLASS_NOT_COVERED", "the order has to name the fields of this category", category=category.name)
        if set(scope.fields) - category.fields.keys():
            raise InvalidArgumentError("UNKNOWN_FIELD", "a field is not one of the category's", field=f"scope.categories[{number}]")
        asked = scope.fields or tuple(category.fields)
        if any(category.fields[field].court_class not in _CLASSES for field in asked):
            # A19: what is asked for is refused whole, not narrowed in silence; whoever names the fields that are covered gets those.
            raise FailedPreconditionError("CLASS_NOT_COVERED", "the instrument does not cover all of this", category=category.name)
    targets = []
    for number, (kind, value) in enumerate(scope.targets):
        if kind not in set(IdentifierKind):
            raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "no such identifier kind", field=f"scope.targets[{number}].kind")
        targets.append((kind, normalise(IdentifierKind(kind), value, region=vault.region)))
    return Scope(
        tuple(sorted(set(targets))),
        tuple(sorted(set(scope.categories))),
        scope.start_time,
        scope.end_time,
        tuple(sorted(set(scope.fields))),
    )


def _check_separation(attempt: Attempt, row: OrderRow, approvals: Sequence[ApprovalRow]) -> None:
    caller = attempt.caller
    if not caller.employee_id:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "an approval is given by a person with an employee id")
    if caller.principal == row.registrant or caller.employee_id in {approval.employee_id for approval in approvals}:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "registrant and approvers are different people")
    if approvals and LEGAL_APPROVER not in {_approver_role(attempt), *(approval.role for approval in approvals)}:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "one of the two approvals is a legal approver's")


def _approver_role(attempt: Attempt) -> str:
    return LEGAL_APPROVER if LEGAL_APPROVER in attempt.caller.roles else "legal-officer"


def _document_tokens(keys: TenantKeys, instrument: Instrument) -> list[bytes]:
    content = json.dumps([instrument.court_name, instrument.case_number, instrument.document_sha256.hex()]).encode()
    return keys.digests("legal-document", content)


def _payload(content: OrderContent, *, salt: str) -> bytes:
    """Canonical JSON of an order; its digest is what approvals sign."""
    i, s, r = content.instrument, content.scope, content.recipient
    body = {
        "salt": salt,
        "instrument": {
            "type": i.type,
            "court_name": i.court_name,
            "case_number": i.case_number,
            "issuer_name": i.issuer_name,
            "requesting_body": i.requesting_body,
            "document_sha256": i.document_sha256.hex(),
            "issue_time": _text(i.issue_time),
            "expire_time": _text(i.expire_time),
        },
        "scope": {
            "targets": [list(target) for target in s.targets],
            "categories": list(s.categories),
            "start_time": _text(s.start_time),
            "end_time": _text(s.end_time),
            "fields": list(s.fields),
        },
        "recipient": {"body": r.body, "age_recipient": r.age_recipient, "verification": r.verification},
    }
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _parsed(body: Mapping[str, Mapping[str, object]]) -> OrderContent:
    i, s, r = body["instrument"], body["scope"], body["recipient"]
    targets = s["targets"]
    assert isinstance(targets, list)  # noqa: S101 - our own sealed JSON
    return OrderContent(
        Instrument(
            type=str(i["type"]),
            court_name=str(i["court_name"]),
            case_number=str(i["case_number"]),
            issuer_name=str(i["issuer_name"]),
            requesting_body=str(i["requesting_body"]),
            document_sha256=bytes.fromhex(str(i["document_sha256"])),
            issue_time=datetime.fromisoformat(str(i["issue_time"])),
            expire_time=datetime.fromisoformat(str(i["expire_time"])),
        ),
        Scope(
            targets=tuple((kind, value) for kind, value in targets),
            categories=_strings(s["categories"]),
            start_time=datetime.fromisoformat(str(s["start_time"])),
            end_time=datetime.fromisoformat(str(s["end_time"])),
            fields=_strings(s["fields"]),
        ),
        Recipient(str(r["body"]), str(r["age_recipient"]), str(r["verification"])),
    )


def _strings(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
