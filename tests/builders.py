"""Requests and short flows that many tests share: well-formed records, erasures and orders, and a look at what was stored and logged.

Every telephone number here is of a range that is valid in Israel; none is anybody's on purpose.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Table, func, select

from tests.serving import Caller, Serving, why
from vault.client.errors import CallError, status_error
from vault.store import tables
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest
from vault.v1.erasure_service_pb2 import ApproveErasureRequest, Erasure, PreviewErasureRequest, RequestErasureRequest
from vault.v1.resources_pb2 import VIEW_FULL, VIEW_MASKED, AuditEntry, FieldValue, Justification, Record, RevealedRecord
from vault.v1.rights_service_pb2 import OpenSubjectRequestRequest, VerifySubjectRequestRequest
from vault.v1.tenant_service_pb2 import CustomerRequest, OpenCustomerRequestRequest
from vault.v1.vault_service_pb2 import (
    BatchCreateRecordsRequest,
    CreateRecordRequest,
    CreateResult,
    FindSubjectsRequest,
    RecordInput,
    RevealRecordRequest,
    RevealResult,
    SubjectMatch,
)

# Id of a subject, record, erasure, order or request that never existed.
NEVER = "a" * 26
PHONE, OTHER_PHONE = "+972502345678", "+972502345679"
LINE = "+972732345678"
SERVING = why()
ERASING = why("data-subject-request", reason="the person asked us to be forgotten")


def at(moment: datetime | str) -> Timestamp:
    """A moment as a message; text is RFC 3339."""
    message = Timestamp()
    message.FromDatetime(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
    return message


def values(fields: Mapping[str, str | bytes]) -> dict[str, FieldValue]:
    """Values by field name."""
    return {name: FieldValue(data=value) if isinstance(value, bytes) else FieldValue(text=value) for name, value in fields.items()}


def record(
    category: str,
    fields: Mapping[str, str | bytes],
    *,
    subject: str = "",
    level: str = "",
    list_id: str = "",
    extra: Mapping[str, str] | None = None,
    readd_source: str = "",
) -> RecordInput:
    """A record of any category."""
    return RecordInput(
        category=category, fields=values(fields), extra=extra, subject=subject, level=level, list=list_id, readd_source=readd_source
    )


def contact(phone: str = PHONE, *, list_id: str = "", **fields: str) -> RecordInput:
    """An end customer whom a tenant reaches."""
    return record("end-customer-contact", {"phone": phone, **fields} if phone else fields, list_id=list_id)


def profile(subject: str, *, list_id: str = "spring", extra: Mapping[str, str] | None = None, **fields: str) -> RecordInput:
    """What a tenant knows about an end customer besides."""
    return record("list-profile", fields, subject=subject, list_id=list_id, extra=extra)


def call_detail(*, calling: str = PHONE, called: str = OTHER_PHONE, start: str = "2026-03-02T08:15:00Z", **fields: str) -> RecordInput:
    """One telephone call through a customer's line."""
    given = {"cdr_id": "c-1", "shadow_number": LINE, "status": "answered", "duration_s": "61", **fields}
    return record("call-detail", {**given, "calling": calling, "called": called, "start_at": start})


def mapping(assigned: str, real: str, *, begin: str, end: str = "") -> RecordInput:
    """A second number that was somebody's from a moment on."""
    fields = {"real_number": real, "assigned_number": assigned, "service": "NUM2", "valid_from": begin}
    return record("number-mapping", {**fields, "valid_to": end} if end else fields)


def outgoing(subject: str, level: str, body: bytes = b"the parcel is here") -> RecordInput:
    """A message that a tenant sent."""
    fields: dict[str, str | bytes] = {"message_id": "m-1", "channel": "SMS", "submitted_at": "2026-03-02T08:15:00Z", "body": body}
    return record("outgoing-message", fields, subject=subject, level=level)


def sent(subject: str, moment: datetime, message_id: str = "m-1") -> RecordInput:
    """A message that is kept for 180 days from a moment, so that what its recipient does about it can be stored."""
    fields: dict[str, str | bytes] = {"message_id": message_id, "channel": "SMS", "submitted_at": moment.isoformat(), "body": b"hello"}
    return record("outgoing-message", fields, subject=subject, level="system-file")


def incoming(level: str, body: bytes = b"thank you", sender: str = PHONE) -> RecordInput:
    """A message that an end customer sent."""
    fields: dict[str, str | bytes] = {"message_id": "m-2", "virtual_number": LINE, "received_at": "2026-03-02T08:20:00Z"}
    return record("incoming-message", {**fields, "from": sender, "body": body}, level=level)


def account(**fields: str) -> RecordInput:
    """A business customer."""
    return record("business-account", {"full_name": "דנה לוי", "company_no": "512345678", "email": "dana@example.com", **fields})


async def create(caller: Caller, new: RecordInput, *, tenant: str = "acme", request_id: str = "", purpose: str = "") -> Record:
    """Store one record."""
    request = CreateRecordRequest(parent=f"tenants/{tenant}", record=new, request_id=request_id, purpose=purpose)
    answer = await caller.call(caller.records.CreateRecord, request)
    return answer.record


async def create_all(
    caller: Caller, new: Iterable[RecordInput], *, tenant: str = "acme", atomic: bool = False, request_id: str = ""
) -> Sequence[CreateResult]:
    """Store a batch of records."""
    request = BatchCreateRecordsRequest(parent=f"tenants/{tenant}", records=new, atomic=atomic, request_id=request_id)
    answer = await caller.call(caller.records.BatchCreateRecords, request)
    return answer.results


def asked(name: str, *full: str, because: Justification = SERVING, recipient: str = "") -> RevealRecordRequest:
    """A request to reveal a record: masked, or the named fields in full."""
    view = VIEW_FULL if full else VIEW_MASKED
    return RevealRecordRequest(name=name, justification=because, view=view, field_mask=FieldMask(paths=full), recipient=recipient)


async def reveal(caller: Caller, request: RevealRecordRequest) -> RevealedRecord:
    """Be shown one record."""
    answer = await caller.call(caller.records.RevealRecord, request)
    return answer.record


async def not_revealed(caller: Caller, request: RevealRecordRequest) -> CallError:
    """Be refused one record."""
    return await caller.refused(caller.records.RevealRecord, request)


def sought(
    kind: str,
    value: str,
    *,
    category: str = "end-customer-contact",
    tenant: str = "acme",
    because: Justification = SERVING,
    as_of: str = "",
) -> FindSubjectsRequest:
    """A request to find people."""
    moment = at(as_of) if as_of else None
    return FindSubjectsRequest(parent=f"tenants/{tenant}", category=category, kind=kind, value=value, justification=because, as_of=moment)


async def find(caller: Caller, request: FindSubjectsRequest) -> Sequence[SubjectMatch]:
    """Find people."""
    answer = await caller.call(caller.records.FindSubjects, request)
    return answer.matches


def refusal(item: CreateResult | RevealResult) -> CallError:
    """What an item of a batch that failed says."""
    assert item.WhichOneof("outcome") == "status"
    return status_error(item.status)


def subject_of(name: str) -> str:
    """Name of the subject that a record is named under."""
    return name.rpartition("/records/")[0]


def id_of(name: str) -> str:
    """Last part of a name."""
    return name.rpartition("/")[2]


async def open_request(served: Serving, list_id: str, *operations: str, lasting: timedelta = timedelta(days=1)) -> CustomerRequest:
    """Let the tenant's administrator ask staff to do something with a list."""
    admin = served.service("acme-admin")
    request = OpenCustomerRequestRequest(
        parent="tenants/acme", list=list_id, operations=operations, expire_time=at(served.clock() + lasting)
    )
    answer = await admin.call(admin.tenants.OpenCustomerRequest, request)
    return answer.customer_request


async def asked_by(served: Serving, subject: str, requester: str = "SUBJECT") -> Justification:
    """A justification that refers to a person's request to be erased, whose identity was verified."""
    await served.sign_nda("e-desk")
    desk = served.person("e-desk", "privacy-officer")
    opening = OpenSubjectRequestRequest(parent="tenants/acme", subject=subject, kind="ERASURE", channel="EMAIL_INFO", requester=requester)
    name = (await desk.call(desk.rights.OpenSubjectRequest, opening)).subject_request.name
    await desk.call(desk.rights.VerifySubjectRequest, VerifySubjectRequestRequest(name=name, evidence_sha256=b"\4" * 32))
    return why(ERASING.purpose, reference=name, reason=ERASING.reason)


async def request_erasure(caller: Caller, subject: str, because: Justification = ERASING, *, forget: bool = False) -> Erasure:
    """Preview an erasure and ask for it; a tenant's administrator needs no other ground than being that."""
    preview = await caller.call(caller.erasures.PreviewErasure, PreviewErasureRequest(subject=subject, justification=because))
    request = RequestErasureRequest(subject=subject, preview_digest=preview.preview_digest, justification=because, erase_suppression=forget)
    return (await caller.call(caller.erasures.RequestErasure, request)).erasure


async def approve(served: Serving, erasure: Erasure) -> Erasure:
    """Approve an erasure by as many people as it needs."""
    for number in range(erasure.required_approvals):
        employee = f"e-approver-{number}"
        await served.sign_nda(employee)
        approver = served.person(employee, "privacy-officer")
        request = ApproveErasureRequest(name=erasure.name, justification=ERASING)
        erasure = (await approver.call(approver.erasures.ApproveErasure, request)).erasure
    return erasure


async def erase(served: Serving, subject: str) -> Erasure:
    """Erase what is processed for the tenant, as it instructs."""
    return await approve(served, await request_erasure(served.service("acme-admin"), subject))


async def erase_for_person(served: Serving, subject: str, requester: str = "SUBJECT", *, forget: bool = False) -> Erasure:
    """Erase a person because they asked for it; and, if they want that, that they were ever there."""
    because = await asked_by(served, subject, requester)
    return await approve(served, await request_erasure(served.service("privacy-officer"), subject, because, forget=forget))


async def entries(served: Serving, log: str = "acme") -> list[AuditEntry]:
    """Every entry of a log, read as the auditor."""
    auditor = served.service("auditor")
    parent = log if log == "system" else f"tenants/{log}"
    read: list[AuditEntry] = []
    while True:
        request = ListAuditEntriesRequest(parent=parent, start_index=len(read), page_size=1000)
        answer = await auditor.call(auditor.audit.ListAuditEntries, request)
        read.extend(answer.entries)
        if len(read) == answer.log_size:
            return read


async def entry_of(served: Serving, error: CallError) -> AuditEntry:
    """The entry that recorded a refusal."""
    assert error.receipt is not None
    return (await entries(served, error.receipt.log))[error.receipt.index]


async def rows(served: Serving, *wanted: Table) -> tuple[int, ...]:
    """How many rows of each table there are; of subjects, records, parts, index entries and identities unless told."""
    counted = wanted or (tables.subjects, tables.records, tables.record_parts, tables.index_entries, tables.identities)
    async with served.vault.database.read() as connection:
        return tuple([(await connection.execute(select(func.count()).select_from(table))).scalar_one() for table in counted])


NOTHING = (0, 0, 0, 0, 0)
