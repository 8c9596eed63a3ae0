"""People to erase, and who asks, approves and looks: through the operations, without a port in between."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from sqlalchemy import func, select

from benchmarks import people
from benchmarks.key_vault import FailedCallError, caller, store
from vault.catalogue.words import View
from vault.errors import VaultError
from vault.names import ChildName, RecordName, SubjectName, new_id
from vault.operations import erase, register_nda, subject_request
from vault.operations.attempt import Attempt, Caller, Justification
from vault.operations.core import Vault
from vault.operations.erase import Selector
from vault.operations.idempotency import RequestKey
from vault.operations.preparing import RecordInput
from vault.operations.register_nda import Nda
from vault.operations.reveal import RevealCall, reveal
from vault.operations.subject_request import NewRequest
from vault.store.erasures import ErasureRow
from vault.store.tables import erasure_exceptions

_ERASING = "data-subject-request"
_WHY = "the person asked us to be forgotten"
_APPROVERS = ("e-first", "e-second")
_NO_REQUEST = RequestKey("", "", b"")
_VISITOR = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
# Blocked first, and then not there any more.
_GONE = frozenset({"SUBJECT_ERASED", "RECORD_NOT_FOUND"})
# Nobody waits longer for a person to be unreadable.
_DEADLINE_SECONDS = 120


class Kind(Enum):
    """Who asks, and whether anything has to stay."""

    TENANT = "tenant's instruction"
    PERSON = "person's request"
    KEPT = "person's request, invoices stay"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with records.

    Attributes:
        looked_at: a record that can be read until the person is erased.
    """

    kind: Kind
    subject: SubjectName
    records: int
    looked_at: RecordName


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the call of the last approval: until a read of the person was refused, and until the certificate was there."""

    unreadable: float
    certified: float


async def prepare(vault: Vault) -> None:
    """Bind those who approve by an agreement (P3.7-nda)."""
    now = vault.clock()
    for employee in ("e-desk", *_APPROVERS):
        nda = Nda(f"people/{employee}", b"\1" * 32, now - timedelta(days=1), now + timedelta(days=3650))
        await register_nda.register_nda(vault, Attempt(_officer("e-registrar", "RegisterNda")), nda)


async def stored_person(vault: Vault, tenant: str, kind: Kind, number: int, records: int) -> Person:
    """Store a person with so many records; one of them more where invoices stay, which leads to the person."""
    contact = {"phone": people.phone(number), "email": people.email(number)}
    first = RecordInput(people.CATEGORY, contact) if kind is Kind.TENANT else RecordInput("site-visitor", {**_VISITOR, **contact})
    [looked_at] = await store(vault, tenant, [first])
    subject = SubjectName(tenant, looked_at.subject)
    if kind is Kind.KEPT:
        invoices = [_invoice(vault, subject, item) for item in range(records)]
        await store(vault, tenant, invoices, role="billing", purpose="billing")
    else:
        await store(vault, tenant, [RecordInput(first.category, first.fields, subject=str(subject))] * (records - 1))
    return Person(kind, subject, records, looked_at)


async def erased(vault: Vault, person: Person) -> Times:
    """Erase a person, and look all the while whether they can be read.

    Raises:
        FailedCallError: the erasure did not come to its end, or the person could not be read before it.
    """
    row = await _requested(vault, person)
    name = ChildName(person.subject.tenant, "erasures", row.erasure_id)
    *others, last = _APPROVERS[: row.required_approvals]
    for employee in others:
        await erase.approve_erasure(vault, _attempt(_officer(employee, "ApproveErasure"), name.tenant), name)
    if refusal := await _refusal(vault, person):
        raise FailedCallError(f"the person could not be read before the erasure: {refusal}")
    begin = time.perf_counter()
    approving = asyncio.create_task(erase.approve_erasure(vault, _attempt(_officer(last, "ApproveErasure"), name.tenant), name))
    while await _refusal(vault, person) not in _GONE:
        if approving.done() or time.perf_counter() - begin > _DEADLINE_SECONDS:
            approving.result()
            raise FailedCallError("the person could still be read after the erasure")
    unreadable = time.perf_counter() - begin
    row, _ = await approving
    certified = time.perf_counter() - begin
    if row.state not in {"COMPLETE", "PARTIAL"}:
        raise FailedCallError(f"the erasure is {row.state}")
    return Times(unreadable, certified)


async def _requested(vault: Vault, person: Person) -> ErasureRow:
    """Ask for the erasure on the ground of a preview."""
    tenant, selector = person.subject.tenant, Selector(person.subject.tenant, person.subject)
    asker, reference = caller("tenant-admin", "RequestErasure"), people.WHY.reference
    if person.kind is not Kind.TENANT:
        asker = _officer("e-desk", "RequestErasure")
        reference = await _asked(vault, asker, person)
    preview, _ = await erase.preview_erasure(vault, _attempt(asker, tenant, reference), selector)
    row, _ = await erase.request_erasure(
        vault,
        _attempt(asker, tenant, reference),
        selector,
        preview_digest=preview.digest,
        keep_suppression=False,
        request=_NO_REQUEST,
    )
    return row


async def _asked(vault: Vault, desk: Caller, person: Person) -> str:
    """The person's request, with their identity verified."""
    tenant = person.subject.tenant
    new = NewRequest(person.subject, "ERASURE", "EMAIL_INFO", "SUBJECT", None)
    row, _ = await subject_request.open_subject_request(vault, Attempt(desk, tenant=tenant), tenant, new)
    name = ChildName(tenant, subject_request.COLLECTION, row.request_id)
    await subject_request.verify_subject_request(vault, Attempt(desk, tenant=tenant), name, evidence_sha256=b"\4" * 32, subject=None)
    return str(name)


async def _refusal(vault: Vault, person: Person) -> str:
    """Try to read a record of the person: why it was refused, or nothing."""
    role = "tenant-app" if person.kind is Kind.TENANT else "account-manager"
    attempt = Attempt(caller(role, "RevealRecord"), tenant=person.subject.tenant)
    attempt.justification = Justification(people.WHY.purpose, people.WHY.reference, people.WHY.reason)
    [[outcome]] = await reveal(vault, person.subject.tenant, [RevealCall(attempt, (person.looked_at,), View.MASKED, None, "internal")])
    return outcome.reason if isinstance(outcome, VaultError) else ""


def _attempt(who: Caller, tenant: str, reference: str = people.WHY.reference) -> Attempt:
    return Attempt(who, tenant=tenant, justification=Justification(_ERASING, reference, _WHY))


def _officer(employee: str, method: str) -> Caller:
    roles = frozenset({"privacy-officer"})
    return Caller(f"people/{employee}", "person", roles, None, method, "0" * 32, "mtls+oidc", employee_id=employee)


def _invoice(vault: Vault, subject: SubjectName, number: int) -> RecordInput:
    issued = vault.clock().isoformat(timespec="seconds")
    fields = {"invoice_no": f"{new_id()[:8]}-{number}", "service": "VOICE", "issued_at": issued, "amount": "11900"}
    return RecordInput("billing-record", fields, subject=str(subject))


async def exceptions(vault: Vault) -> int:
    """How many parts erasures keep."""
    async with vault.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(erasure_exceptions))).scalar_one())
