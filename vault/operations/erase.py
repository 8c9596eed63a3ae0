"""Erasing a person: preview, request, approve, certificate.

    (1) block the subject: from the commit on, reads are refused and writes are told to come back (E11)
    (2) destroy the key: every ciphertext of the subject, backups included, is unreadable from here on (I4, L43)
    (3) delete rows, index entries and identities
    (4) sweep: nothing of the subject may be left
    (5) certify, signed

(1) and (2) are one transaction where keys stand beside the data; where they have a database of their own (2) follows (1), so that a crash in between
leaves a blocked subject and never an unreadable one. (3) to (5) are another transaction. A crash before the end leaves a RUNNING erasure that
`resume` finishes; the order is safe because keys die before rows. A subject has one erasure: the same request by two channels is one (E12).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from vault import names
from vault.audit import certificate
from vault.audit.checkpoint import sign_note
from vault.errors import (
    AbortedError,
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    VaultError,
)
from vault.names import ChildName, SubjectName
from vault.operations import idempotency, log, rights
from vault.operations.attempt import Attempt, Caller, Justification, Receipt
from vault.operations.core import Vault, known_tenant, page_limit, reading_keys, writing_keys
from vault.operations.decision import Facts, gather, require
from vault.operations.idempotency import Answer, RequestKey
from vault.policy.decide import Operation, Reference
from vault.store import erasures as erasure_store
from vault.store import records as record_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.erasures import ErasureRow
from vault.store.subjects import SubjectRow
from vault.store.tenants import TenantRow

_PURPOSE = "data-subject-request"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Preview:
    """What an erasure would destroy, per category, and the digest a request must repeat."""

    outcomes: Mapping[str, int]
    digest: str


async def preview_erasure(vault: Vault, attempt: Attempt, subject: SubjectName) -> tuple[Preview, Receipt]:
    """Count what an erasure would destroy; changes nothing.

    Raises:
        NotFoundError: SUBJECT_NOT_FOUND.
    """
    attempt.operation, attempt.subjects = "preview-erasure", (subject.subject,)
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, subject.tenant)
        facts = await _facts(vault, connection, attempt, tenant)
        await _live_subject(connection, subject)
        preview = await _preview(connection, subject)
        _require(vault, attempt, facts, preview)
        attempt.count = sum(preview.outcomes.values())
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return preview, receipt


async def request_erasure(
    vault: Vault, attempt: Attempt, subject: SubjectName, *, preview_digest: str, request: RequestKey
) -> tuple[ErasureRow, Receipt]:
    """Ask for an erasure on the ground of a preview.

    Raises:
        AbortedError: PREVIEW_STALE, the subject's records changed since.
        NotFoundError: SUBJECT_NOT_FOUND.
    """
    attempt.operation, attempt.subjects = "request-erasure", (subject.subject,)
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, subject.tenant)
        facts = await _facts(vault, connection, attempt, tenant)
        existing = await erasure_store.erasure_of_subject(connection, subject.tenant, subject.subject)
        answer = await idempotency.earlier_answer(connection, keys, request)
        if answer is not None and existing is not None:
            return existing, answer.receipt
        if existing is None:
            await _live_subject(connection, subject)
            preview = await _preview(connection, subject)
            if preview.digest != preview_digest:
                raise AbortedError("PREVIEW_STALE", "the subject's records changed since the preview")
            _require(vault, attempt, facts, preview)
            existing = ErasureRow(
                erasure_id=names.new_id(),
                subject_id=subject.subject,
                state="REQUESTED",
                requester=attempt.caller.principal,
                approver="",
                preview_digest=preview_digest,
                outcomes=preview.outcomes,
                request_time=vault.clock(),
                finish_time=None,
                certificate="",
            )
            await erasure_store.insert_erasure(connection, subject.tenant, existing)
        attempt.resource = str(ChildName(subject.tenant, "erasures", existing.erasure_id))
        [receipt] = await log.append(vault, connection, keys, [attempt])
        await idempotency.keep(vault, connection, keys, request, Answer((existing.erasure_id,), receipt))
    return existing, receipt


async def approve_erasure(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[ErasureRow, Receipt]:
    """Approve an erasure and carry it out; still RUNNING if a dependency fails midway, and then finished by upkeep.

    Raises:
        PermissionDeniedError: SEPARATION_OF_DUTIES, the requester approves.
        AbortedError: PREVIEW_STALE.
        NotFoundError: ERASURE_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "approve-erasure", str(name)
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, name.tenant)
        facts = await _facts(vault, connection, attempt, tenant)
        row = await _erasure(connection, name, lock=True)
        attempt.subjects = (row.subject_id,)
        if row.state != "REQUESTED":
            raise FailedPreconditionError("ERASURE_NOT_PENDING", "the erasure is not waiting for approval")
        if attempt.caller.principal == row.requester:
            raise PermissionDeniedError("SEPARATION_OF_DUTIES", "an erasure is approved by another principal than its requester")
        subject = SubjectName(name.tenant, row.subject_id)
        await _live_subject(connection, subject, lock=True)
        preview = await _preview(connection, subject)
        if preview.digest != row.preview_digest:
            raise AbortedError("PREVIEW_STALE", "the subject's records changed since the preview")
        _require(vault, attempt, facts, preview)
        # (1) and (2): from this commit on nothing of the subject can be read, whatever happens next.
        await subject_store.set_subject_state(connection, name.tenant, row.subject_id, "ERASING")
        async with reading_keys(vault) as apart:
            attempt.count = len(await subject_store.subject_key_rows(apart or connection, name.tenant, [row.subject_id]))
        if vault.key_database is None:
            await subject_store.destroy_subject_keys(connection, name.tenant, row.subject_id)
        await erasure_store.update_erasure(connection, name.tenant, replace(row, state="RUNNING", approver=attempt.caller.principal))
        [receipt] = await log.append(vault, connection, keys, [attempt])
    try:
        return await finish_erasure(vault, attempt.caller, name), receipt
    except UnavailableError:
        # Approved, and nothing of the person can be read: the rest is done as soon as the dependency is back.
        return await get_erasure(vault, name), receipt


async def finish_erasure(vault: Vault, caller: Caller, name: ChildName) -> ErasureRow:
    """Steps (3) to (5) of an approved erasure; done at once, and again by `resume` if a crash came between.

    Raises:
        DataLossError: ERASURE_INCOMPLETE, the sweep still finds something; the erasure stays RUNNING.
    """
    await _destroy_apart(vault, name)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _erasure(connection, name, lock=True)
        if row.state != "RUNNING":
            return row
        # Keys once more: a restored key store must not bring one back (E10).
        async with writing_keys(vault, connection) as keys_on:
            await subject_store.destroy_subject_keys(keys_on, name.tenant, row.subject_id)
        await record_store.delete_subject_parts(connection, name.tenant, row.subject_id)
        await subject_store.delete_identities(connection, name.tenant, row.subject_id)
        await rights.forget(connection, name.tenant, row.subject_id)
        await subject_store.set_subject_state(connection, name.tenant, row.subject_id, "ERASED")
        async with reading_keys(vault) as apart:
            left = await record_store.count_traces(connection, name.tenant, row.subject_id, keys_on=apart)
        if left:
            raise DataLossError("ERASURE_INCOMPLETE", "the sweep after the erasure still finds rows of the subject")
        attempt = Attempt(
            caller=caller,
            operation="erase",
            tenant=name.tenant,
            subjects=(row.subject_id,),
            count=sum(row.outcomes.values()),
            justification=Justification(_PURPOSE),
            is_justified=True,
            resource=str(name),
        )
        [receipt] = await log.append(vault, connection, keys, [attempt])
        done = replace(row, state="COMPLETE", finish_time=vault.clock())
        done = replace(done, certificate=_certificate(vault, name, done, receipt))
        await erasure_store.update_erasure(connection, name.tenant, done)
    return done


async def _destroy_apart(vault: Vault, name: ChildName) -> None:
    """Step (2) where keys have a database of their own; it waits for no key service."""
    if vault.key_database is None:
        return
    row = await get_erasure(vault, name)
    if row.state == "RUNNING":
        async with vault.key_database.write() as apart:
            await subject_store.destroy_subject_keys(apart, name.tenant, row.subject_id)


async def resume(vault: Vault, caller: Caller) -> int:
    """Finish every erasure that a crash interrupted. How many were finished.

    One that cannot be finished now, say for want of its tenant's root key, keeps no other waiting and no vault from starting: its subject is blocked
    and its key destroyed already.
    """
    async with vault.database.read() as connection:
        unfinished = await erasure_store.unfinished_erasures(connection)
    finished = 0
    for tenant, erasure in unfinished:
        name = ChildName(tenant, "erasures", erasure)
        try:
            await finish_erasure(vault, caller, name)
            finished += 1
        except VaultError as error:
            _log.warning("erasure not finished", resource=str(name), reason=error.reason)
    return finished


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


async def get_certificate(vault: Vault, name: ChildName) -> str:
    """The signed certificate of a finished erasure.

    Raises:
        FailedPreconditionError: ERASURE_NOT_COMPLETE.
    """
    row = await get_erasure(vault, name)
    if row.state != "COMPLETE":
        raise FailedPreconditionError("ERASURE_NOT_COMPLETE", "the erasure has not finished")
    return row.certificate


async def _facts(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow) -> Facts:
    """The facts of the call; the erasure itself is the person's request that the decision rests on.

    Raises:
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, an erasure has one purpose.
    """
    facts = await gather(vault, connection, attempt, tenant)
    if attempt.justification.purpose != _PURPOSE:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"erasing has the purpose '{_PURPOSE}'")
    return replace(facts, reference=Reference.SUBJECT_REQUEST, live=True)


def _require(vault: Vault, attempt: Attempt, facts: Facts, preview: Preview) -> None:
    """Require that the caller may erase every category that the subject has records of; one that may not be erased by them stops it whole."""
    operation = attempt.operation
    if not facts.nda_valid:
        # A subject without records has no category to decide about; the agreement binds the person all the same (P3.7-nda).
        raise PermissionDeniedError("NDA_INVALID", "no confidentiality agreement is in force")
    for name in preview.outcomes:
        level = next(iter(vault.catalogue.category(name).levels), "")
        require(vault, attempt, facts, operation=Operation.ERASE, category=name, level=level)
    attempt.operation, attempt.category = operation, ""


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


async def _preview(connection: Connection, subject: SubjectName) -> Preview:
    counts = await subject_store.record_counts(connection, subject.tenant, subject.subject)
    # Opaque ids and counts only, so a plain digest gives nothing away.
    content = json.dumps({"subject": str(subject), "outcomes": counts}, sort_keys=True).encode()
    return Preview(counts, hashlib.sha256(content).hexdigest())


def _certificate(vault: Vault, name: ChildName, row: ErasureRow, receipt: Receipt) -> str:
    """A signed note over canonical JSON; says what was destroyed, how, and where that is logged. No identifier of the person."""
    body = {
        "format": certificate.FORMAT,
        "issuer": vault.name,
        "erasure": str(name),
        "subject": str(SubjectName(name.tenant, row.subject_id)),
        "state": "COMPLETE",
        "requester": row.requester,
        "approver": row.approver,
        "request_time": row.request_time.isoformat(),
        "finish_time": row.finish_time.isoformat() if row.finish_time else "",
        "method": ["key-destruction", "row-deletion"],
        "outcomes": {category: {"found": found, "erased": found} for category, found in sorted(row.outcomes.items())},
        "kept": [],
        "audit": {"log": receipt.log, "index": receipt.index},
        "policy_version": vault.catalogue.policy_version,
    }
    return sign_note(json.dumps(body, ensure_ascii=False, sort_keys=True, indent=1) + "\n", vault.signer)
