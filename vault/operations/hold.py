"""Legal holds: place, release, list, and the end of those whose time is over (§5.4, §6.3, A18).

Rules:
- A hold is placed for an order on the register, for a letter that asks to preserve, or for a claim. Each ends by itself or is looked at again
  within twelve months; a letter's ends by itself after thirty days, unless configured otherwise.
- It is never changed: for longer, or for more, another one is placed. A released one stays on the register.
- It names people by opaque ids. Identifiers are resolved when it is placed, within their period (A29); whoever comes by one of them later, or
  is recorded under it for the first time, is not held.
- An order that is registered holds what it covers at once, and lets go at once when it is rejected, so that a forged letter freezes nothing.
- What is held is neither changed nor deleted, by whomever and whatever for. What is never kept, like a recording on its way, is not held (P3.4-rec).
- The log names the hold and how many people, never whom: a tenant reads its own log. A hold for an order of which nothing may be told is recorded
  where no tenant reads (N16).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from vault import names
from vault.catalogue.model import ErasureException
from vault.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError, VaultError
from vault.identifiers import IdentifierKind, normalise
from vault.names import ChildName, RecordName, SubjectName
from vault.operations import idempotency, log
from vault.operations.attempt import Attempt, Caller, Justification, Receipt
from vault.operations.core import Vault, known_tenant, page_limit
from vault.operations.decision import gather
from vault.operations.idempotency import Answer, RequestKey
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import Identifier
from vault.operations.rights import months_after
from vault.operations.subjects import tokens_of
from vault.policy.decide import Reference
from vault.store import erasures as erasure_store
from vault.store import holds as hold_store
from vault.store import orders as order_store
from vault.store import records as record_store
from vault.store import subjects as subject_store
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.holds import HoldRow, ScopeRow
from vault.store.orders import OrderRow
from vault.store.tenants import TenantRow

ORDER, PRESERVATION, CLAIM = "ORDER", "PRESERVATION", "CLAIM"
_PURPOSES = {ORDER: "court-order", PRESERVATION: "court-order", CLAIM: "claim-or-complaint"}
_REVIEW_MONTHS = 12
_MAX_NAMED = 1000
_MAX_TARGETS = 100
_GONE = frozenset({"ERASING", "ERASED"})
_ENDED_ORDERS = frozenset({"REJECTED", "REVOKED", "REVOKED_AFTER_DELIVERY"})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewHold:
    """What is placed. Identifiers, as (kind, value), go with categories and a period; else people, records and categories are named, or not.

    Attributes:
        subjects: whose records; everybody's if empty and no identifier is given.
        records: which records; every one if empty.
        categories: which categories; every one if empty.
        start_time: start of the period in which what is held happened; None for from the beginning.
        end_time: end of it, exclusive; None for for ever.
    """

    kind: str
    identifiers: tuple[tuple[str, str], ...] = ()
    subjects: tuple[SubjectName, ...] = ()
    records: tuple[RecordName, ...] = ()
    categories: tuple[str, ...] = ()
    start_time: datetime | None = None
    end_time: datetime | None = None
    expire_time: datetime | None = None
    review_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold with what it covers."""

    row: HoldRow
    scopes: tuple[ScopeRow, ...]


async def place_hold(vault: Vault, attempt: Attempt, tenant: str, new: NewHold, request: RequestKey) -> tuple[HoldView, Receipt]:
    """Place a hold; from its commit on it keeps what was not destroyed by then.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID, UNKNOWN_CATEGORY, CATEGORY_NOT_HELD, UNKNOWN_IDENTIFIER_KIND, IDENTIFIER_INVALID,
            REFERENCE_INVALID, SCOPE_TOO_WIDE.
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, NDA_INVALID.
        NotFoundError: ORDER_NOT_FOUND, SUBJECT_NOT_FOUND, RECORD_NOT_FOUND; also for what is another tenant's (I11).
        FailedPreconditionError: ORDER_REJECTED, SUBJECT_ERASED.
        AlreadyExistsError: REQUEST_ID_REUSED.
    """
    attempt.operation, attempt.is_gagged = "place-hold", new.kind == ORDER
    now = vault.clock()
    expire_time = _checked_end(vault, new, now)
    _check_scope(vault, tenant, new)
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, tenant, hold=True)
        await _check_why(vault, connection, attempt, row, new.kind)
        await hold_store.place_alone(connection, tenant)
        answer = await idempotency.earlier_answer(connection, keys, request)
        if answer is not None:
            return await _view(connection, ChildName(tenant, "holds", answer.ids[0])), answer.receipt
        if new.kind == ORDER:
            order = await _check_order(connection, tenant, attempt.justification.reference)
            attempt.is_gagged = order.is_gagged(now)
        scopes = await _scopes(vault, connection, keys, new)
        hold = HoldRow(
            hold_id=names.new_id(),
            kind=new.kind,
            reference=attempt.justification.reference,
            start_time=new.start_time,
            end_time=new.end_time,
            expire_time=expire_time,
            review_time=new.review_time,
            placed_by=attempt.caller.principal,
            create_time=now,
        )
        await hold_store.insert_hold(connection, tenant, hold, scopes)
        attempt.resource, attempt.count = str(ChildName(tenant, "holds", hold.hold_id)), _people(scopes)
        [receipt] = await log.append(vault, connection, keys, [attempt])
        await idempotency.keep(vault, connection, keys, request, Answer((hold.hold_id,), receipt))
    return HoldView(hold, tuple(scopes)), receipt


async def release_hold(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[HoldView, Receipt]:
    """Release a hold: what is due goes with the next sweep, and an erasure that it stopped goes on. One that ended keeps its time.

    Raises:
        NotFoundError: HOLD_NOT_FOUND.
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, NDA_INVALID.
    """
    attempt.operation, attempt.resource = "release-hold", str(name)
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, name.tenant)
        hold = await _hold(connection, name, lock=True)
        attempt.is_gagged = await _is_gagged(vault, connection, name.tenant, hold)
        await _check_why(vault, connection, attempt, row, hold.kind, is_new=False)
        await _release(vault, connection, name, by=attempt.caller.principal)
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await _view(connection, name), receipt


async def list_holds(vault: Vault, tenant: str, *, page_size: int, after: str) -> tuple[list[HoldView], str]:
    """Holds of a tenant, those that ended among them, and where the next page starts."""
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        rows = await hold_store.list_holds(connection, tenant, after=after, limit=limit + 1)
        views = [HoldView(row, tuple(await hold_store.scopes_of(connection, tenant, row.hold_id))) for row in rows[:limit]]
    return views, rows[limit - 1].hold_id if len(rows) > limit else ""


async def expire_holds(vault: Vault, caller: Caller) -> int:
    """Note the end of every hold whose time is over, and let go on what it stopped; one that cannot be ended now keeps no other. How many ended."""
    async with vault.database.read() as connection:
        expired = await hold_store.expired_holds(connection, vault.clock())
    ended = 0
    for tenant, hold_id in expired:
        name = ChildName(tenant, "holds", hold_id)
        attempt = Attempt(caller=caller, operation="expire-hold", tenant=tenant, resource=str(name))
        try:
            async with vault.database.write() as connection:
                _, keys = await known_tenant(vault, connection, tenant)
                row = await _hold(connection, name, lock=True)
                if row.release_time is None:
                    attempt.is_gagged = await _is_gagged(vault, connection, tenant, row)
                    await _release(vault, connection, name, by=caller.principal)
                    await log.append(vault, connection, keys, [attempt])
                    ended += 1
        except VaultError as error:
            _log.warning("hold not ended", reason=error.reason)
    return ended


async def hold_for_order(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    caller: Caller,
    order: ChildName,
    *,
    targets: Sequence[tuple[str, str]],
    categories: Sequence[str],
    start: datetime,
    end: datetime,
    until: datetime | None = None,
    secret: bool = False,
) -> list[Attempt]:
    """Hold what an order covers: from its registration on for as long as a letter holds, and once it is authentic for longer (§5.4 step 2).

    What is to be logged of it is returned.

    Whoever is not known, or is being erased, is not held: an order that names nobody places none.

    Args:
        vault: the vault.
        connection: the transaction that registers the order.
        keys: keys of its tenant.
        caller: who registers it.
        order: its name.
        targets: identifiers that it names, as (kind, normalised value).
        categories: what it covers.
        start: start of its period.
        end: end of its period, exclusive.
        until: when the hold ends by itself; as a letter's unless told.
        secret: whether the tenant may not know.
    """
    await hold_store.place_alone(connection, keys.tenant)
    found = await _people_of(connection, keys, targets, categories, start, end)
    states = await subject_store.lock_subjects(connection, keys.tenant, found)
    people = sorted(subject for subject, state in states.items() if state not in _GONE)
    if not people:
        return []
    now = vault.clock()
    hold = HoldRow(
        hold_id=names.new_id(),
        kind=ORDER,
        reference=str(order),
        start_time=start,
        end_time=end,
        expire_time=until or now + timedelta(days=vault.limits.preservation_days),
        review_time=None,
        placed_by=caller.principal,
        create_time=now,
    )
    await hold_store.insert_hold(connection, keys.tenant, hold, _product(people, categories))
    return [_of_order(caller, order, "place-hold", hold.hold_id, count=len(people), secret=secret)]


async def release_for_order(
    vault: Vault, connection: Connection, caller: Caller, order: ChildName, *, secret: bool = False
) -> list[Attempt]:
    """Release every hold that rests on an order which is over, in the same transaction; what is to be logged of it."""
    released = await hold_store.unreleased_holds(connection, order.tenant, str(order))
    for hold_id in released:
        await _release(vault, connection, ChildName(order.tenant, "holds", hold_id), by=caller.principal)
    return [_of_order(caller, order, "release-hold", hold_id, secret=secret) for hold_id in released]


async def held_records(vault: Vault, connection: Connection, tenant: str, record_ids: Sequence[str]) -> dict[str, HoldRow]:
    """Those of the records that are held now, each with the hold that ends last; what is never kept is not held."""
    return await hold_store.held_records(connection, tenant, record_ids, vault.clock(), transient=_transient(vault))


async def check_not_held(vault: Vault, connection: Connection, name: RecordName) -> None:
    """Refuse what would change or destroy a record that is held. The transaction has delayed holds.

    Raises:
        FailedPreconditionError: LEGAL_HOLD. It says no more than that: neither who holds it, nor why, nor until when.
    """
    if await held_records(vault, connection, name.tenant, [name.record]):
        raise FailedPreconditionError("LEGAL_HOLD", "the record is retained under law and cannot be changed or deleted now")


async def _release(vault: Vault, connection: Connection, name: ChildName, *, by: str) -> None:
    await hold_store.release_hold(connection, name.tenant, name.id, by=by, now=vault.clock())
    # What erasures kept for a hold is looked at again; another one may keep it still. Retention needs no telling.
    await erasure_store.requeue(connection, name.tenant, [ErasureException.LEGAL_HOLD, ErasureException.LEGAL_CLAIM], vault.clock())
    # So is what the end of the contract left because of it.
    await termination_store.take_up(connection, name.tenant)


def _checked_end(vault: Vault, new: NewHold, now: datetime) -> datetime | None:
    """When the hold ends by itself, once it is sure that somebody looks at it again."""
    expire_time = new.expire_time
    if new.kind == PRESERVATION:
        longest = now + timedelta(days=vault.limits.preservation_days)
        expire_time = expire_time or longest
        if expire_time > longest:
            limit = f"{vault.limits.preservation_days}d"
            message = f"a letter holds for {vault.limits.preservation_days} days at most"
            raise InvalidArgumentError("FIELD_INVALID", message, field="expire_time", limit=limit)
    if expire_time is not None and expire_time <= now:
        raise InvalidArgumentError("FIELD_INVALID", "the hold would have ended already", field="expire_time")
    if new.review_time is not None and not now < new.review_time <= months_after(now, _REVIEW_MONTHS):
        raise InvalidArgumentError("FIELD_INVALID", "the review is not within the next twelve months", field="review_time", limit="12mo")
    if new.review_time is None and (new.kind == CLAIM or expire_time is None):
        raise InvalidArgumentError("FIELD_REQUIRED", "a claim is reviewed, and an order has an end or a review", field="review_time")
    return expire_time


def _check_scope(vault: Vault, tenant: str, new: NewHold) -> None:
    for number, name in enumerate(new.categories):
        category = vault.catalogue.category(name)
        category.check_storable()
        if category.is_transient:
            message = f"category '{category.name}' is never kept, so it cannot be held"
            raise InvalidArgumentError("CATEGORY_NOT_HELD", message, field=f"categories[{number}]")
    if new.start_time is not None and new.end_time is not None and new.start_time >= new.end_time:
        raise InvalidArgumentError("FIELD_INVALID", "the period ends before it begins", field="end_time")
    if new.identifiers and (new.subjects or new.records):
        raise InvalidArgumentError("FIELD_INVALID", "a hold is by identifiers or by names, not by both", field="scope")
    if new.subjects and new.records:
        raise InvalidArgumentError("FIELD_INVALID", "a hold names people or records, not both", field="records")
    if len(new.identifiers) > _MAX_TARGETS:
        raise InvalidArgumentError(
            "SCOPE_TOO_WIDE", f"a hold names at most {_MAX_TARGETS} identifiers", field="scope.targets", limit=str(_MAX_TARGETS)
        )
    _check_count(new.subjects, field="subjects")
    _check_count(new.records, field="records")
    if any(subject.tenant != tenant for subject in new.subjects):
        raise _no_subject()
    if any(record.tenant != tenant for record in new.records):
        raise NotFoundError("RECORD_NOT_FOUND", "no such record")


def _check_count(named: Collection[object], *, field: str) -> None:
    if len(named) > _MAX_NAMED:
        raise InvalidArgumentError("SCOPE_TOO_WIDE", f"a hold names at most {_MAX_NAMED} {field}", field=field, limit=str(_MAX_NAMED))


async def _check_why(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow, kind: str, *, is_new: bool = True) -> None:
    """A hold has the purpose of its kind and, when it is placed, rests on the order or on a ticket; whoever places it is bound (P3.7-nda)."""
    facts = await gather(vault, connection, attempt, tenant)
    if attempt.justification.purpose != _PURPOSES[kind]:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"holds of this kind have the purpose '{_PURPOSES[kind]}'")
    if not facts.nda_valid:
        raise PermissionDeniedError("NDA_INVALID", "no confidentiality agreement is in force")
    wanted = Reference.ORDER if kind == ORDER else Reference.TICKET
    if is_new and facts.reference is not wanted:
        raise InvalidArgumentError(
            "REFERENCE_INVALID", f"a hold of this kind rests on a reference of another form: {wanted}", field="justification.reference"
        )


async def _check_order(connection: Connection, tenant: str, reference: str) -> OrderRow:
    order = names.parse_child(reference, "orders", field="justification.reference")
    row = await order_store.get_order(connection, tenant, order.id, lock=True) if order.tenant == tenant else None
    if row is None:
        raise NotFoundError("ORDER_NOT_FOUND", "no such order")
    if row.state in _ENDED_ORDERS:
        raise FailedPreconditionError("ORDER_REJECTED", "the order was rejected or revoked")
    return row


async def _is_gagged(vault: Vault, connection: Connection, tenant: str, hold: HoldRow) -> bool:
    """Whether the tenant may not know of a hold, because it may not know of the order that it rests on."""
    order = await order_store.get_order(connection, tenant, hold.reference.rpartition("/")[2]) if hold.kind == ORDER else None
    return order is not None and order.is_gagged(vault.clock())


async def _scopes(vault: Vault, connection: Connection, keys: TenantKeys, new: NewHold) -> list[ScopeRow]:
    """What the hold covers, its people locked as an erasure locks them: whichever of both commits first, wins (E4, E5)."""
    if new.records:
        return await _scopes_of_records(connection, keys.tenant, new)
    if new.identifiers:
        assert new.start_time is not None  # noqa: S101 - the edge made sure: whoever names numbers says when (A29)
        assert new.end_time is not None  # noqa: S101 - as above
        targets = _normalised(vault, new.identifiers)
        found = await _people_of(connection, keys, targets, new.categories, new.start_time, new.end_time)
        states = await subject_store.lock_subjects(connection, keys.tenant, found)
        people = sorted(subject for subject, state in states.items() if state not in _GONE)
        if not people:
            raise _no_subject()
    else:
        people = sorted({subject.subject for subject in new.subjects})
        states = await subject_store.lock_subjects(connection, keys.tenant, people)
        if len(states) < len(people):
            raise _no_subject()
        if _GONE & set(states.values()):
            raise FailedPreconditionError("SUBJECT_ERASED", "a subject was erased")
    return _product(people, new.categories)


async def _scopes_of_records(connection: Connection, tenant: str, new: NewHold) -> list[ScopeRow]:
    """Each record under its owner, who leads to it by an index."""
    ids = sorted({record.record for record in new.records})
    parties = {(part.record_id, part.subject_id) for part in await record_store.get_parts(connection, tenant, ids)}
    owners = {row.record_id: row.subject_id for row in await record_store.get_records(connection, tenant, ids)}
    if any((record.record, record.subject) not in parties for record in new.records):
        raise NotFoundError("RECORD_NOT_FOUND", "no such record")
    await subject_store.lock_subjects(connection, tenant, {subject for _, subject in parties})
    return [ScopeRow(owners[record_id], category, record_id) for record_id in ids for category in new.categories or ("",)]


async def _people_of(
    connection: Connection, keys: TenantKeys, targets: Sequence[tuple[str, str]], categories: Sequence[str], start: datetime, end: datetime
) -> frozenset[str]:
    """Whose the identifiers are now, and whose records carry them in the period."""
    found: set[str] = set()
    for kind, value in targets:
        tokens = tokens_of(keys, Identifier(IdentifierKind(kind), value, ""))
        found.update((await subject_store.subjects_of_tokens(connection, keys.tenant, tokens)).values())
        found |= await hold_store.people_of_identifier(
            connection,
            keys.tenant,
            kind=kind,
            tokens=[token.token for token in tokens],
            categories=categories,
            start=start,
            end=end,
            limit=_MAX_NAMED + 1,
        )
        _check_count(found, field="subjects")
    return frozenset(found)


def _normalised(vault: Vault, identifiers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if any(kind not in set(IdentifierKind) for kind, _ in identifiers):
        raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "no such identifier kind", field="scope.targets.kind")
    return sorted({(kind, normalise(IdentifierKind(kind), value, region=vault.region)) for kind, value in identifiers})


def _product(people: Sequence[str], categories: Sequence[str]) -> list[ScopeRow]:
    return [ScopeRow(subject, category, "") for subject in people or ("",) for category in sorted(set(categories)) or ("",)]


def _people(scopes: Sequence[ScopeRow]) -> int:
    return len({scope.subject_id for scope in scopes} - {""})


def _of_order(caller: Caller, order: ChildName, operation: str, hold_id: str, *, count: int = 0, secret: bool = False) -> Attempt:
    return Attempt(
        caller=caller,
        operation=operation,
        tenant=order.tenant,
        count=count,
        justification=Justification(_PURPOSES[ORDER], str(order)),
        is_justified=True,
        resource=str(ChildName(order.tenant, "holds", hold_id)),
        is_gagged=secret,
    )


def _transient(vault: Vault) -> list[str]:
    return [category.name for category in vault.catalogue.categories.values() if category.is_transient]


def _no_subject() -> NotFoundError:
    return NotFoundError("SUBJECT_NOT_FOUND", "no such subject")


async def _hold(connection: Connection, name: ChildName, *, lock: bool = False) -> HoldRow:
    row = await hold_store.get_hold(connection, name.tenant, name.id, lock=lock)
    if row is None:
        raise NotFoundError("HOLD_NOT_FOUND", "no such hold")
    return row


async def _view(connection: Connection, name: ChildName) -> HoldView:
    return HoldView(await _hold(connection, name), tuple(await hold_store.scopes_of(connection, name.tenant, name.id)))
