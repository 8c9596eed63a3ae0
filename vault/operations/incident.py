"""Incidents: open, approve, close, review, list (P3.6-fraud, P3.6-sectech, L5, L39).

Rules:
- An incident ends after 72 hours at the latest. Where it stands follows from its times.
- On suspected fraud it names the people it is limited to, and waits until another person than its opener approved it. About security or a
  technical fault it is open at once.
- What was done under a security incident is reviewed by another person than its opener within one business day.
- A security incident counts as a severe one (L5): it shows by when the authorities are to be told.
- What happened and what a review found are sentences without personal data, sealed under the tenant's text key.

Not here: what is released under an incident; that is `decision`.
"""

import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from vault import crypto, names, scan
from vault.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from vault.names import SYSTEM_LOG, ChildName, SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant, page_limit
from vault.operations.keyring import TenantKeys
from vault.store import alarms as alarm_store
from vault.store import incidents as incident_store
from vault.store.alarms import TriggerRow
from vault.store.database import Connection
from vault.store.incidents import SECURITY, IncidentRow

FRAUD = "FRAUD"
# P3.6-fraud: what an incident lasts unless told, and at most.
LONGEST = timedelta(hours=72)
# L5, and the regulation's Article 33 (L39).
_AUTHORITY_DUE = timedelta(hours=24)
_GDPR_DUE = timedelta(hours=72)
_MAX_SUBJECTS = 100
_MAX_SENTENCE = 500  # characters
_MIN_WORDS = 2

State: TypeAlias = Literal["OPENED", "ACTIVE", "EXPIRED", "CLOSED"]


@dataclass(frozen=True, slots=True)
class NewIncident:
    """What is opened; without a time it ends after 72 hours."""

    kind: str
    summary: str
    subjects: tuple[SubjectName, ...]
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class IncidentView:
    """An incident, where it stands, and what is due; None is not due."""

    row: IncidentRow
    state: State
    review_due_time: datetime | None
    authority_due_time: datetime | None
    gdpr_due_time: datetime | None
    trigger: TriggerRow | None = None


async def open_incident(vault: Vault, attempt: Attempt, tenant: str, new: NewIncident) -> tuple[IncidentView, Receipt]:
    """Open an incident.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID, PII_IN_JUSTIFICATION.
        NotFoundError: SUBJECT_NOT_FOUND, also for another tenant's subject (I11).
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation = "open-incident"
    now = vault.clock()
    expire_time = new.expire_time or now + LONGEST
    if not now < expire_time <= now + LONGEST:
        raise InvalidArgumentError("FIELD_INVALID", "expiry is not within the next 72 hours", field="expire_time", limit="72h")
    _check_sentence(new.summary, field="summary")
    subjects = tuple(sorted({subject.subject for subject in new.subjects}))
    if new.kind == FRAUD and not subjects:
        raise InvalidArgumentError("FIELD_REQUIRED", "suspected fraud names the people whom it is about", field="subjects")
    if len(subjects) > _MAX_SUBJECTS:
        raise InvalidArgumentError(
            "FIELD_INVALID", f"an incident is limited to at most {_MAX_SUBJECTS} people", field="subjects", limit=str(_MAX_SUBJECTS)
        )
    if any(subject.tenant != tenant for subject in new.subjects):
        raise _no_subject()
    incident_id = names.new_id()
    attempt.resource, attempt.subjects = str(ChildName(tenant, "incidents", incident_id)), subjects
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, tenant, hold=True)
        await check_subjects(connection, tenant, subjects)
        row = replace(
            security_row(keys, incident_id, new.summary, attempt.caller.principal, now),
            kind=new.kind,
            subjects=subjects,
            expire_time=expire_time,
        )
        await incident_store.insert_incident(connection, tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return _view(row, now), receipt


async def open_by_itself(vault: Vault, connection: Connection, keys: TenantKeys, attempt: Attempt, *, summary: str) -> Attempt:
    """Open an incident because of what somebody attempted, in this transaction; what is to be logged of it.

    Args:
        vault: the vault.
        connection: an open write transaction.
        keys: keys of the tenant that it is about.
        attempt: what was attempted; the incident is opened as by whoever attempted it, so that another person reviews it.
        summary: what happened, a sentence of ours.
    """
    now, incident_id = vault.clock(), names.new_id()
    row = IncidentRow(
        incident_id=incident_id,
        kind=SECURITY,
        summary=_sealed(keys, summary, "incident-summary", incident_id),
        subjects=(),
        opened_by=attempt.caller.principal,
        approved_by="",
        approve_time=None,
        create_time=now,
        expire_time=now + LONGEST,
        close_time=None,
        use_time=None,
        review_due_time=None,
        reviewed_by="",
        review_time=None,
        finding=b"",
    )
    await incident_store.insert_incident(connection, keys.tenant, row)
    return replace(attempt, operation="open-incident", resource=str(ChildName(keys.tenant, "incidents", incident_id)))


async def approve_incident(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[IncidentView, Receipt]:
    """Approve an incident on suspected fraud; from then on what it is about can be looked at.

    Raises:
        NotFoundError: INCIDENT_NOT_FOUND.
        FailedPreconditionError: INCIDENT_NOT_PENDING, INCIDENT_EXPIRED.
        PermissionDeniedError: SEPARATION_OF_DUTIES.
    """
    attempt.operation, attempt.resource = "approve-incident", str(name)
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant)
        row, now = await _incident(connection, name), vault.clock()
        attempt.subjects = tuple(row.subjects)
        match state(row, now):
            case "EXPIRED":
                raise FailedPreconditionError("INCIDENT_EXPIRED", "the incident has ended")
            case "ACTIVE" | "CLOSED":
                raise FailedPreconditionError("INCIDENT_NOT_PENDING", "the incident is not waiting for approval")
            case "OPENED":
                _check_other_person(attempt, row, "an incident is approved by another person than its opener")
        row = replace(row, approved_by=attempt.caller.principal, approve_time=now)
        await incident_store.update_incident(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return _view(row, now), receipt


async def close_incident(vault: Vault, attempt: Attempt, name: ChildName) -> tuple[IncidentView, Receipt]:
    """Close an incident; nothing is released under it from the next call on. A closed one keeps its time.

    Raises:
        NotFoundError: INCIDENT_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "close-incident", str(name)
    async with vault.database.write() as connection:
        keys = await _keys(vault, connection, name.tenant)
        row, now = await _incident(connection, name), vault.clock()
        row = replace(row, close_time=row.close_time or now)
        await incident_store.update_incident(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return _view(row, now), receipt


async def review_incident(vault: Vault, attempt: Attempt, name: ChildName, *, finding: str) -> tuple[IncidentView, Receipt]:
    """Review what was done under an incident. One that is used again afterwards is reviewed again, and the newer finding is kept.

    Raises:
        InvalidArgumentError: FIELD_INVALID, PII_IN_JUSTIFICATION.
        NotFoundError: INCIDENT_NOT_FOUND.
        FailedPreconditionError: INCIDENT_REVIEWED, nothing was done since the last review.
        PermissionDeniedError: SEPARATION_OF_DUTIES.
    """
    attempt.operation, attempt.resource = "review-incident", str(name)
    _check_sentence(finding, field="finding")
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row, now = await _incident(connection, name), vault.clock()
        _check_other_person(attempt, row, "an incident is reviewed by another person than its opener")
        if row.is_reviewed:
            raise FailedPreconditionError("INCIDENT_REVIEWED", "nothing was done under the incident since its review")
        sealed = _sealed(keys, finding, "incident-finding", row.incident_id)
        row = replace(row, reviewed_by=attempt.caller.principal, review_time=now, finding=sealed)
        await incident_store.update_incident(connection, name.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return _view(row, now), receipt


async def list_incidents(vault: Vault, tenant: str, *, page_size: int, after: str) -> tuple[list[IncidentView], str]:
    """Incidents of a tenant, and where the next page starts."""
    limit, now = page_limit(vault, page_size), vault.clock()
    async with vault.database.read() as connection:
        rows = await incident_store.list_incidents(connection, tenant, after=after, limit=limit + 1)
        why = await alarm_store.triggers(connection, tenant, [row.incident_id for row in rows])
    views = [replace(_view(row, now), trigger=why.get(row.incident_id)) for row in rows[:limit]]
    return views, rows[limit - 1].incident_id if len(rows) > limit else ""


def security_row(keys: TenantKeys, incident_id: str, summary: str, principal: str, now: datetime) -> IncidentRow:
    """A new incident about security, about nobody in particular, for as long as one lasts."""
    return IncidentRow(
        incident_id=incident_id,
        kind=SECURITY,
        summary=_sealed(keys, summary, "incident-summary", incident_id),
        subjects=(),
        opened_by=principal,
        approved_by="",
        approve_time=None,
        create_time=now,
        expire_time=now + LONGEST,
        close_time=None,
        use_time=None,
        review_due_time=None,
        reviewed_by="",
        review_time=None,
        finding=b"",
    )


def state(row: IncidentRow, now: datetime) -> State:
    """Where an incident stands."""
    if row.close_time is not None:
        return "CLOSED"
    if row.expire_time <= now:
        return "EXPIRED"
    return "OPENED" if row.kind == FRAUD and row.approve_time is None else "ACTIVE"


def _view(row: IncidentRow, now: datetime) -> IncidentView:
    severe = row.kind == SECURITY
    return IncidentView(
        row,
        state(row, now),
        review_due_time=row.review_due_time if row.is_review_due else None,
        authority_due_time=row.create_time + _AUTHORITY_DUE if severe else None,
        gdpr_due_time=row.create_time + _GDPR_DUE if severe else None,
    )


async def _incident(connection: Connection, name: ChildName) -> IncidentRow:
    row = await incident_store.get_incident(connection, name.tenant, name.id, lock=True)
    if row is None:
        raise NotFoundError("INCIDENT_NOT_FOUND", "no such incident")
    return row


async def _keys(vault: Vault, connection: Connection, tenant: str) -> TenantKeys:
    """Keys of a tenant, or of the system, whose incidents are about what belongs to no tenant."""
    if tenant == SYSTEM_LOG:
        return await log.system_keys(vault, connection)
    _, keys = await known_tenant(vault, connection, tenant)
    return keys


async def check_subjects(connection: Connection, tenant: str, subjects: tuple[str, ...]) -> None:
    """Refuse people who are not there, or not any more.

    Raises:
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    states = await incident_store.subject_states(connection, tenant, subjects)
    if len(states) < len(subjects):
        raise _no_subject()
    if {"ERASING", "ERASED"} & set(states.values()):
        raise FailedPreconditionError("SUBJECT_ERASED", "a subject was erased")


def _no_subject() -> NotFoundError:
    return NotFoundError("SUBJECT_NOT_FOUND", "no such subject")


def _check_other_person(attempt: Attempt, row: IncidentRow, rule: str) -> None:
    # A person's principal is made of the employee id: two accounts of one person are one (N5).
    if not attempt.caller.employee_id or attempt.caller.principal == row.opened_by:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", rule)


def _check_sentence(text: str, *, field: str) -> None:
    words = sum(any(letter.isalpha() for letter in word) for word in text.split())
    # Direction marks are part of Hebrew typing; line breaks and control characters are not part of a sentence.
    one_line = all(unicodedata.category(letter) not in {"Cc", "Cs", "Zl", "Zp"} for letter in text)
    if words < _MIN_WORDS or len(text) > _MAX_SENTENCE or not one_line:
        raise InvalidArgumentError(
            "FIELD_INVALID",
            f"the {field} is not one sentence of at most {_MAX_SENTENCE} characters",
            field=field,
            limit=str(_MAX_SENTENCE),
        )
    if kind := scan.find_personal_data(text):
        raise InvalidArgumentError("PII_IN_JUSTIFICATION", f"the {field} holds personal data ({kind})", field=field, kind=kind)


def _sealed(keys: TenantKeys, text: str, purpose: str, incident_id: str) -> bytes:
    return crypto.seal_text(text.encode(), under=keys.newest("text"), purpose=purpose, tenant=keys.tenant, place=incident_id)
