"""Erasing a person: preview, request, approve. What happens then is `erase_run.py`.

Rules:
- It rests on the person's own request, whose identity was verified (E1), or on the instruction of the tenant for whom the data is processed
  (P1.8-role). Until that is checked nothing is looked up, so nobody learns who exists.
- A preview counts what becomes of every part, and changes nothing. Its digest must still match when it is asked for and when it is approved.
- Approval is by another person than asked; by two where much goes, or something has to stay (§6.1).
- The same request by two channels is one erasure (E12).
- What only tenants decide about is forwarded to them at once, and nothing is changed (E2).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from vault import crypto, names
from vault.catalogue.fields import Description
from vault.catalogue.model import Erasure, HeldAs
from vault.errors import (
    AbortedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from vault.identifiers import IdentifierKind, normalise
from vault.names import ChildName, SubjectName
from vault.operations import erase_counts, erase_run, idempotency, log, rights, subject_request
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant, page_limit, reading_keys
from vault.operations.decision import Facts, gather, require
from vault.operations.find import is_valid
from vault.operations.idempotency import Answer, RequestKey
from vault.operations.keyring import TenantKeys
from vault.operations.outcomes import Requester
from vault.operations.preference import SUPPRESSION_QUESTION
from vault.policy.decide import Operation, Reference
from vault.store import erasures as erasure_store
from vault.store import groups as group_store
from vault.store import records as record_store
from vault.store import subject_requests as request_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.erasures import Count, ErasureRow
from vault.store.subjects import SubjectRow, Token
from vault.store.tenants import TenantRow

# Above this many parts two people approve (§6.1).
_TWO_APPROVE_ABOVE = 1000
_PAGE = 1000
_TENANT_ROLE = "tenant-admin"


@dataclass(frozen=True, slots=True)
class Selector:
    """Who is to be erased: by name, or by an identifier that leads to exactly one person.

    Attributes:
        as_of: moment at which a number that is recycled was theirs (A29, E8).
    """

    tenant: str
    subject: SubjectName | None = None
    kind: str = ""
    value: str = field(default="", repr=False)
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would do, per category and outcome, and the digest that a request must repeat."""

    subject: SubjectName
    outcomes: Sequence[Count]
    digest: str
    required_approvals: int
    # What is found and not in scope; of somebody of whom nothing else is there, that is what the caller may not erase.
    beyond: Collection[str] = ()
    # What the person is asked before the request (A5); None where a tenant instructs, and where nothing is erased here.
    question: Description | None = None


@dataclass(frozen=True, slots=True)
class _Ground:
    """What an erasure rests on."""

    facts: Facts
    requester: Requester
    reference: str


async def preview_erasure(vault: Vault, attempt: Attempt, selector: Selector) -> tuple[Preview, Receipt]:
    """Count what an erasure would do; changes nothing.

    Raises:
        FailedPreconditionError: IDENTITY_NOT_VERIFIED, CONSENT_BASIS_MISSING, AMBIGUOUS_SUBJECT, SUBJECT_ERASED.
        NotFoundError: SUBJECT_NOT_FOUND.
    """
    attempt.operation = "preview-erasure"
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, selector.tenant, hold=bool(selector.value))
        ground = await _ground(vault, connection, attempt, tenant)
        subject = await _selected(vault, connection, keys, selector, ground)
        attempt.subjects = (subject.subject,)
        await _live_subject(connection, subject)
        preview = await _preview(vault, connection, subject, ground.requester)
        _require(vault, attempt, ground, preview)
        attempt.count = sum(count.count for count in preview.outcomes)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return preview, receipt


async def request_erasure(
    vault: Vault, attempt: Attempt, selector: Selector, *, preview_digest: str, keep_suppression: bool, request: RequestKey
) -> tuple[ErasureRow, Receipt]:
    """Ask for an erasure on the ground of a preview. What only the tenant decides about is forwarded to it, and that is all (E2).

    Raises:
        AbortedError: PREVIEW_STALE, what it would do changed since.
        VaultError: as for a preview.
    """
    attempt.operation = "request-erasure"
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, selector.tenant, hold=True)
        ground = await _ground(vault, connection, attempt, tenant)
        subject = await _selected(vault, connection, keys, selector, ground)
        attempt.subjects = (subject.subject,)
        answer = await idempotency.earlier_answer(connection, keys, request)
        earlier = await erasure_store.erasures_of_subject(connection, subject.tenant, subject.subject)
        if answer is not None and earlier:
            return next(row for row in earlier if row.erasure_id == answer.ids[0]), answer.receipt
        row = await _same(connection, earlier, subject, ground.requester)
        if row is None:
            await _live_subject(connection, subject, lock=True)
            preview = await _preview(vault, connection, subject, ground.requester)
            if preview.digest != preview_digest:
                raise AbortedError("PREVIEW_STALE", "what the erasure would do changed since the preview")
            _require(vault, attempt, ground, preview)
            row = next((row for row in earlier if row.state == "FORWARDED" and row.preview_digest == preview.digest), None)
            row = row or await _insert(vault, connection, attempt, ground, preview, keep_suppression=keep_suppression)
        attempt.resource = str(ChildName(subject.tenant, "erasures", row.erasure_id))
        [receipt] = await log.append(vault, connection, keys, [attempt])
        if row.state == "REQUESTED" and _is_forwarded(row.preview):
            row = await erase_run.forward(vault, connection, subject.tenant, row, receipt)
        await idempotency.keep(vault, connection, keys, request, Answer((row.erasure_id,), receipt))
    return row, receipt


async def approve_erasure(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[ErasureRow, Receipt]:
    """Approve an erasure. With the last approval it is carried out; RUNNING if a dependency fails midway, and then finished by upkeep.

    Raises:
        PermissionDeniedError: SEPARATION_OF_DUTIES, the requester or an earlier approver approves.
        FailedPreconditionError: ERASURE_NOT_PENDING.
        AbortedError: PREVIEW_STALE.
        NotFoundError: ERASURE_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "approve-erasure", str(name)
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        facts = await _facts(vault, connection, attempt, tenant)
        row = await _erasure(connection, name, lock=True)
        attempt.subjects = (row.subject_id,)
        if row.state != "REQUESTED":
            raise FailedPreconditionError("ERASURE_NOT_PENDING", "the erasure is not waiting for approval")
        if attempt.caller.principal in {row.requester, *row.approvers}:
            raise PermissionDeniedError("SEPARATION_OF_DUTIES", "an erasure is approved by other people than its requester, each once")
        subject = SubjectName(name.tenant, row.subject_id)
        await _live_subject(connection, subject, lock=True)
        requester, is_last = Requester(row.requester_kind), len(row.approvers) + 1 >= row.required_approvals
        # With the last approval the person is blocked first and counted then: how long that takes must not depend on how much there is.
        preview = Preview(subject, row.preview, row.preview_digest, row.required_approvals)
        if not is_last or not row.preview:
            preview = await _preview(vault, connection, subject, requester)
        if preview.digest != row.preview_digest:
            raise AbortedError("PREVIEW_STALE", "what the erasure would do changed since the preview")
        # The request that it rests on was looked at when it was made.
        _require(vault, attempt, _Ground(_as_asked(facts), requester, row.reference), preview)
        row = replace(row, approvers=(*row.approvers, attempt.caller.principal), preview=preview.outcomes)
        if is_last:
            row = await erase_run.begin(connection, name.tenant, row)
            async with reading_keys(vault) as apart:
                attempt.count = len(await subject_store.subject_key_rows(apart or connection, name.tenant, [row.subject_id]))
        await erasure_store.update_erasure(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    if row.state != "RUNNING":
        return row, receipt
    try:
        return await erase_run.run(vault, attempt.caller, name), receipt
    except UnavailableError:
        # Approved, and nothing of the person can be read: the rest is done as soon as the dependency is back.
        return await get_erasure(vault, name), receipt


async def get_erasure(vault: Vault, name: ChildName) -> ErasureRow:
    """Read an erasure.

    Raises:
        NotFoundError: ERASURE_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        return await _erasure(connection, name)


async def list_erasures(vault: Vault, tenant: str, *, page_size: int, after: str) -> tuple[list[ErasureRow], str]:
    """Erasures of a tenant, and where the next page starts."""
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        rows = await erasure_store.list_erasures(connection, tenant, after=after, limit=limit + 1)
    return rows[:limit], rows[limit - 1].erasure_id if len(rows) > limit else ""


async def progress(vault: Vault, tenant: str, rows: Sequence[ErasureRow]) -> list[int]:
    """How many of the parts that each erasure reaches are settled: those it has gone through, or all of them once it has finished."""
    done = []
    async with vault.database.read() as connection:
        for row in rows:
            total = sum(count.count for count in row.preview)
            if row.finish_time is not None:
                done.append(total)
            elif row.state in erasure_store.UNDER_WAY and row.position:
                done.append(min(total, await group_store.count_up_to(connection, tenant, row.subject_id, row.position)))
            else:
                done.append(0)
    return done


async def get_certificates(vault: Vault, name: ChildName) -> list[str]:
    """The signed certificate of an erasure, and its supplements.

    Raises:
        FailedPreconditionError: ERASURE_NOT_COMPLETE.
    """
    async with vault.database.read() as connection:
        await _erasure(connection, name)
        notes = await erasure_store.certificates_of(connection, name.tenant, name.id)
    if not notes:
        raise FailedPreconditionError("ERASURE_NOT_COMPLETE", "the erasure has not finished")
    return notes


async def _facts(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow) -> Facts:
    facts = await gather(vault, connection, attempt, tenant)
    if attempt.justification.purpose != rights.PURPOSE:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"erasing has the purpose '{rights.PURPOSE}'")
    return facts


async def _ground(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow) -> _Ground:
    """What the call rests on: the tenant's own instruction, or an open request of a person whose identity was verified (E1)."""
    facts = await _facts(vault, connection, attempt, tenant)
    if _TENANT_ROLE in attempt.caller.roles:
        return _Ground(_as_asked(facts), Requester.TENANT, "")
    if facts.waiting and facts.reference is Reference.SUBJECT_REQUEST:
        raise FailedPreconditionError("IDENTITY_NOT_VERIFIED", "the identity of who asks was not verified")
    if facts.reference is not Reference.SUBJECT_REQUEST or not facts.live:
        raise _no_request()
    name = names.parse_child(attempt.justification.reference, subject_request.COLLECTION)
    request = await request_store.get_subject_request(connection, tenant.tenant_id, name.id)
    if request is None or request.kind != "ERASURE":
        raise _no_request()
    return _Ground(facts, Requester(request.requester), str(name))


def _no_request() -> FailedPreconditionError:
    return FailedPreconditionError(
        "CONSENT_BASIS_MISSING", "an open request of the person to be erased is required", field="justification.reference"
    )


def _as_asked(facts: Facts) -> Facts:
    """The facts where the ground is not the justification's own reference."""
    return replace(facts, reference=Reference.SUBJECT_REQUEST, live=True, waiting=False, people=None)


async def _selected(vault: Vault, connection: Connection, keys: TenantKeys, selector: Selector, ground: _Ground) -> SubjectName:
    """The one person who is meant, and whom the request is about."""
    subject = selector.subject or SubjectName(selector.tenant, await _resolved(vault, connection, keys, selector))
    people = ground.facts.people
    if people is None or subject.subject in people:
        return subject
    # A request names nobody any more when its erasure is done; the erasure still names the request, so asking again is answered (E12).
    earlier = await erasure_store.erasures_of_subject(connection, subject.tenant, subject.subject)
    if all(row.reference != ground.reference for row in earlier):
        raise _no_request()
    return subject


async def _resolved(vault: Vault, connection: Connection, keys: TenantKeys, selector: Selector) -> str:
    """The person of an identifier, however it is spelled (E19)."""
    if selector.kind not in set(IdentifierKind):
        raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "no such identifier kind", field="identifier.kind")
    recycled = selector.kind in _recycled_kinds(vault)
    if recycled and selector.as_of is None:
        raise InvalidArgumentError(
            "AS_OF_REQUIRED", "numbers of this kind are recycled, say which moment is meant", field="identifier.as_of"
        )
    normalised = normalise(IdentifierKind(selector.kind), selector.value, region=vault.region)
    tokens = [Token(selector.kind, crypto.index_token(key, normalised)) for key in keys.index_keys(selector.kind)]
    entries = await record_store.entries_of_tokens(connection, selector.tenant, tokens, limit=_PAGE)
    found = {entry.subject_id for entry, record in entries if is_valid(record, selector.as_of)}
    if not found and not recycled:
        found = set((await subject_store.subjects_of_tokens(connection, selector.tenant, tokens)).values())
    if not found:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    if len(found) > 1:
        # E14: a household shares a number; nobody is erased because of it.
        raise FailedPreconditionError("AMBIGUOUS_SUBJECT", "several people have this identifier; name the one who is meant")
    return found.pop()


def _recycled_kinds(vault: Vault) -> frozenset[str]:
    """Kinds of numbers that are one person's today and another's tomorrow: people are assigned them, and not known by them (A29)."""
    return frozenset(
        spec.index
        for category in vault.catalogue.categories.values()
        if category.requires_as_of
        for name, spec in category.fields.items()
        if spec.index is not None and not any(name in party.identified_by for party in category.parties)
    )


async def _live_subject(connection: Connection, name: SubjectName, *, lock: bool = False) -> SubjectRow:
    row = await subject_store.get_subject(connection, name.tenant, name.subject, lock=lock)
    if row is None:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    if row.state in {"ERASING", "ERASED"}:
        raise FailedPreconditionError("SUBJECT_ERASED", "the subject was erased")
    return row


async def _erasure(connection: Connection, name: ChildName, *, lock: bool = False) -> ErasureRow:
    row = await erasure_store.get_erasure(connection, name.tenant, name.id, lock=lock)
    if row is None:
        raise NotFoundError("ERASURE_NOT_FOUND", "no such erasure")
    return row


async def _same(connection: Connection, earlier: Sequence[ErasureRow], subject: SubjectName, requester: Requester) -> ErasureRow | None:
    """The erasure that a repeated request means: one under way, or the one that erased the person."""
    person = await subject_store.get_subject(connection, subject.tenant, subject.subject)
    is_gone = person is not None and person.state in {"ERASING", "ERASED"}
    for row in earlier:
        asked_alike = (row.requester_kind == Requester.TENANT) == (requester is Requester.TENANT)
        if row.state in {"REQUESTED", "RUNNING"} and (asked_alike or is_gone):
            return row
        if is_gone and row.state in {"PARTIAL", "COMPLETE"}:
            return row
    return None


async def _preview(vault: Vault, connection: Connection, subject: SubjectName, requester: Requester) -> Preview:
    outcomes = await erase_counts.count_outcomes(vault, connection, subject, requester)
    total = sum(count.count for count in outcomes)
    two = total > _TWO_APPROVE_ABOVE or any(count.outcome == Erasure.RESTRICTED for count in outcomes)
    beyond = [] if outcomes else list(await subject_store.record_counts(connection, subject.tenant, subject.subject))
    question = None if requester is Requester.TENANT or _is_forwarded(outcomes) else SUPPRESSION_QUESTION
    return Preview(subject, outcomes, erase_counts.digest_of(subject, requester, outcomes), 2 if two else 1, beyond, question)


def _is_forwarded(outcomes: Sequence[Count]) -> bool:
    return bool(outcomes) and all(count.outcome == Erasure.FORWARDED for count in outcomes)


def _require(vault: Vault, attempt: Attempt, ground: _Ground, preview: Preview) -> None:
    """Require that the caller may erase every category in scope; one that may not be erased by them stops it whole."""
    operation = attempt.operation
    if not ground.facts.nda_valid:
        # A subject without records has no category to decide about; the agreement binds the person all the same (P3.7-nda).
        raise PermissionDeniedError("NDA_INVALID", "no confidentiality agreement is in force")
    found = {count.category for count in preview.outcomes if count.outcome != Erasure.FORWARDED}
    # What stays in a register as evidence is erased by nobody.
    decided = [name for name in found if vault.catalogue.category(name).held_as is HeldAs.RECORD]
    for name in sorted(decided or preview.beyond):
        level = next(iter(vault.catalogue.category(name).levels), "")
        require(vault, attempt, ground.facts, operation=Operation.ERASE, category=name, level=level, subject=preview.subject.subject)
    attempt.operation, attempt.category = operation, ""


async def _insert(
    vault: Vault, connection: Connection, attempt: Attempt, ground: _Ground, preview: Preview, *, keep_suppression: bool
) -> ErasureRow:
    row = ErasureRow(
        erasure_id=names.new_id(),
        subject_id=preview.subject.subject,
        state="REQUESTED",
        requester=attempt.caller.principal,
        requester_kind=ground.requester,
        reference=ground.reference,
        approvers=(),
        required_approvals=preview.required_approvals,
        keep_suppression=keep_suppression,
        preview_digest=preview.digest,
        preview=preview.outcomes,
        outcomes=(),
        request_time=vault.clock(),
    )
    await erasure_store.insert_erasure(connection, preview.subject.tenant, row)
    return row
