"""Made-up people, and the requests about them. Deterministic: number n always has the same telephone and mailbox."""

import hashlib
from collections.abc import Sequence

from benchmarks.plan import BATCH_RECORDS
from vault.v1.resources_pb2 import FieldValue, Justification
from vault.v1.vault_service_pb2 import (
    BatchRevealRecordsRequest,
    CreateRecordRequest,
    FindSubjectsRequest,
    ImportEnd,
    ImportHeader,
    ImportRecordsRequest,
    ImportRow,
    ImportRows,
    RecordInput,
    RevealRecordRequest,
)

TENANT = "acme"
PARENT = f"tenants/{TENANT}"
CATEGORY = "end-customer-contact"
# Israeli mobile prefixes under which every seven digits from 2,000,000 on are a valid number.
_PREFIXES = ("50", "51", "52", "53", "54")
_FIRST, _PER_PREFIX = 2_000_000, 8_000_000
_ROWS_PER_MESSAGE = 500
# Numbers from here on are stored while something is measured, those below before.
FIRST_NEW = 1_000_000
# So many numbers are each client process's own.
NEW_PER_CLIENT = 9_000_000

WHY = Justification(purpose="service-delivery", reference="OPS-4711", reason="message was not delivered, support looks into the address")


def phone(number: int) -> str:
    """Telephone number of a person."""
    return f"+972{_PREFIXES[number // _PER_PREFIX]}{_FIRST + number % _PER_PREFIX}"


def email(number: int) -> str:
    """Mailbox of a person."""
    return f"person.{number}@mail.example"


def record(number: int) -> RecordInput:
    """The contact record of a person."""
    return RecordInput(category=CATEGORY, fields={"phone": FieldValue(text=phone(number)), "email": FieldValue(text=email(number))})


def create(number: int) -> CreateRecordRequest:
    """Store a person."""
    return CreateRecordRequest(parent=PARENT, record=record(number))


def find(number: int) -> FindSubjectsRequest:
    """Look a person up."""
    return FindSubjectsRequest(parent=PARENT, category=CATEGORY, kind="phone", value=phone(number), justification=WHY)


def reveal(name: str) -> RevealRecordRequest:
    """Release a record, masked."""
    return RevealRecordRequest(name=name, justification=WHY)


def reveal_batch(names: Sequence[str]) -> BatchRevealRecordsRequest:
    """Release a batch of records, masked."""
    assert len(names) == BATCH_RECORDS
    return BatchRevealRecordsRequest(parent=PARENT, names=names, justification=WHY)


def import_file(first: int, rows: int) -> list[ImportRecordsRequest]:
    """The messages that import a file of new people."""
    digest = hashlib.sha256(f"benchmark {first}".encode()).digest()
    header = ImportHeader(parent=PARENT, category=CATEGORY, source_digest=digest, channel="API")
    messages = [ImportRecordsRequest(header=header)]
    for start in range(0, rows, _ROWS_PER_MESSAGE):
        lines = range(start, min(rows, start + _ROWS_PER_MESSAGE))
        content = [ImportRow(line=line + 1, fields={"phone": phone(first + line), "email": email(first + line)}) for line in lines]
        messages.append(ImportRecordsRequest(rows=ImportRows(rows=content)))
    return [*messages, ImportRecordsRequest(end=ImportEnd(row_count=rows))]
