"""Requests of people about their own data: open, verify, extend, close, list (P1.3-gdpr, P2.7-rights, P4-contact, A26, L28).

Rules:
- Every channel is a right one, and the clock runs from when the request was first received, by whatever channel (A26).
- It is due one calendar month later. Once, and for a reason, that becomes up to two months more (GDPR 12(3)).
- Nothing is released or done on the ground of a request before a person verified who asks; what showed it stays outside, as a digest here.

Not here: what is asked for; export, erasure, restriction and objection are flows of their own that refer to the request.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vault import crypto, names
from vault.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from vault.names import ChildName, SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant, page_limit
from vault.operations.rights import check_digest, check_sentence, check_word, living_subject, months_after
from vault.store import subject_requests as request_store
from vault.store.database import Connection
from vault.store.subject_requests import SubjectRequestRow

COLLECTION = "subjectRequests"
_KINDS = frozenset({"ACCESS", "RECTIFICATION", "ERASURE", "RESTRICTION", "OBJECTION", "PORTABILITY"})
_CHANNELS = frozenset({"PHONE", "FAX", "LETTER", "WEB", "EMAIL_INFO", "EMAIL_SUPPORT", "EMAIL_CONTACT"})
_REQUESTERS = frozenset({"SUBJECT", "GUARDIAN", "REPRESENTATIVE"})
# GDPR 12(3).
_MONTHS, _MONTHS_MORE = 1, 2
# A letter may lie for a while before somebody opens it here; a date before that is a slip of the pen.
_OLDEST = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request as it came in."""

    subject: SubjectName | None
    kind: str
    channel: str
    requester: str
    receive_time: datetime | None


async def open_subject_request(vault: Vault, attempt: Attempt, tenant: str, new: NewRequest) -> tuple[SubjectRequestRow, Receipt]:
    """Open a request and start its clock.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
        NotFoundError: SUBJECT_NOT_FOUND, also for another tenant's subject (I11).
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation = "open-subject-request"
    now = vault.clock()
    received = new.receive_time or now
    if not now - _OLDEST <= received <= now:
        raise InvalidArgumentError("FIELD_INVALID", "receipt is not within the last year", field="receive_time", limit=f"{_OLDEST.days}d")
    row = SubjectRequestRow(
        request_id=names.new_id(),
        subject_id=new.subject.subject if new.subject else "",
        kind=check_word(new.kind, _KINDS, field="kind"),
        channel=check_word(new.channel, _CHANNELS, field="channel"),
        requester=check_word(new.requester, _REQUESTERS, field="requester"),
        opened_by=attempt.caller.principal,
        receive_time=received,
        due_time=months_after(received, _MONTHS),
        evidence_sha256=b"",
        verified_by="",
        verify_time=None,
        extend_reason=b"",
        extend_time=None,
        close_time=None,
    )
    attempt.resource, attempt.subjects = str(ChildName(tenant, COLLECTION, row.request_id)), (row.subject_id,) if row.subject_id else ()
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, tenant)
        await _check_subject(connection, tenant, new.subject)
        await request_store.insert_subject_request(connection, tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def verify_subject_request(
    vault: Vault, attempt: Attempt, name: ChildName, *, evidence_sha256: bytes, subject: SubjectName | None
) -> tuple[SubjectRequestRow, Receipt]:
    """Note that the identity of who asks was verified.

    Raises:
        InvalidArgumentError: FIELD_INVALID, FIELD_REQUIRED.
        NotFoundError: SUBJECT_REQUEST_NOT_FOUND, SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_REQUEST_CLOSED, ALREADY_VERIFIED, SUBJECT_ERASED.
    """
    attempt.operation, attempt.resource = "verify-subject-request", str(name)
    check_digest(evidence_sha256)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _open_request(connection, name)
        if row.verify_time is not None:
            raise FailedPreconditionError("ALREADY_VERIFIED", "the identity of who asks was verified already")
        await _check_subject(connection, name.tenant, subject)
        whose = row.subject_id or (subject.subject if subject else "")
        if not whose:
            raise InvalidArgumentError("FIELD_REQUIRED", "the request does not name the person yet", field="subject")
        if subject is not None and subject.subject != whose:
            raise InvalidArgumentError("FIELD_INVALID", "the request is another person's", field="subject")
        attempt.subjects = (whose,)
        row = replace(
            row,
            subject_id=whose,
            evidence_sha256=evidence_sha256,
            verified_by=attempt.caller.principal,
            verify_time=vault.clock(),
        )
        await request_store.update_subject_request(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def extend_subject_request(
    vault: Vault, attempt: Attempt, name: ChildName, *, reason: str, due_time: datetime
) -> tuple[SubjectRequestRow, Receipt]:
    """Extend the clock of a request, once.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        NotFoundError: SUBJECT_REQUEST_NOT_FOUND.
        FailedPreconditionError: ALREADY_EXTENDED, SUBJECT_REQUEST_CLOSED.
    """
    attempt.operation, attempt.resource = "extend-subject-request", str(name)
    check_sentence(reason, field="reason")
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await _open_request(connection, name)
        attempt.subjects = (row.subject_id,) if row.subject_id else ()
        if row.extend_time is not None:
            raise FailedPreconditionError("ALREADY_EXTENDED", "the clock of a request is extended once")
        # Counted from the receipt: the last day of a short month must not cost days of the next ones.
        if not row.due_time < due_time <= months_after(row.receive_time, _MONTHS + _MONTHS_MORE):
            raise InvalidArgumentError(
                "FIELD_INVALID", "the new time is not within two months after the request was due", field="due_time", limit="2 months"
            )
        sealed = crypto.seal_text(
            reason.encode(), under=keys.newest("text"), purpose="subject-request-extension", tenant=keys.tenant, place=name.id
        )
        row = replace(row, due_time=due_time, extend_reason=sealed, extend_time=vault.clock())
        await request_store.update_subject_request(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def close_subject_request(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[SubjectRequestRow, Receipt]:
    """Close a request; nothing is done on the ground of it any more.

    Raises:
        NotFoundError: SUBJECT_REQUEST_NOT_FOUND.
        FailedPreconditionError: SUBJECT_REQUEST_CLOSED.
    """
    attempt.operation, attempt.resource = "close-subject-request", str(name)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row = await _open_request(connection, name)
        attempt.subjects = (row.subject_id,) if row.subject_id else ()
        row = replace(row, close_time=vault.clock())
        await request_store.update_subject_request(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def list_subject_requests(
    vault: Vault, tenant: str, *, closed: bool, page_size: int, after: str
) -> tuple[list[SubjectRequestRow], str]:
    """Requests of a tenant, what is due first, and where the next page starts."""
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        await known_tenant(vault, connection, tenant)
        rows = await request_store.list_subject_requests(connection, tenant, closed=closed, after=_place(after), limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], f"{last.due_time.isoformat()} {last.request_id}" if last else ""


def _place(after: str) -> tuple[datetime, str] | None:
    due, _, request = after.partition(" ")
    return (datetime.fromisoformat(due), request) if after else None


async def _check_subject(connection: Connection, tenant: str, subject: SubjectName | None) -> None:
    if subject is None:
        return
    if subject.tenant != tenant:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    await living_subject(connection, subject)


async def _open_request(connection: Connection, name: ChildName) -> SubjectRequestRow:
    """The request, locked."""
    row = await request_store.get_subject_request(connection, name.tenant, name.id, lock=True)
    if row is None:
        raise NotFoundError("SUBJECT_REQUEST_NOT_FOUND", "no such request")
    if row.close_time is not None:
        raise FailedPreconditionError("SUBJECT_REQUEST_CLOSED", "the request was closed")
    return row
