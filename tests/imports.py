"""Imports for tests: the messages of a file, and the two ways in which sending them ends."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from tests.serving import Caller
from vault.client.errors import CallError
from vault.v1.vault_service_pb2 import (
    ImportEnd,
    ImportHeader,
    ImportRecordsRequest,
    ImportRecordsResponse,
    ImportRow,
    ImportRows,
)

FILE = hashlib.sha256(b"the file").digest()


def header(category: str = "list-profile", *, list_id: str = "spring", **more: Any) -> ImportRecordsRequest:
    """The first message."""
    fields = {"parent": "tenants/acme", "category": category, "list": list_id, "source_digest": FILE, "channel": "SFTP", **more}
    return ImportRecordsRequest(header=ImportHeader(**fields))


def some(*given: Mapping[str, str], start: int = 1, extra: Mapping[str, str] | None = None) -> ImportRecordsRequest:
    """Some rows, numbered from a line on."""
    return ImportRecordsRequest(rows=ImportRows(rows=[ImportRow(line=start + n, fields=row, extra=extra) for n, row in enumerate(given)]))


def people(first: int, count: int) -> ImportRecordsRequest:
    """Rows about people, one each."""
    return some(*({"phone": f"050-2{n:06d}", "first_name": f"name {n}"} for n in range(first, first + count)), start=first + 1)


def end(count: int) -> ImportRecordsRequest:
    """The last message."""
    return ImportRecordsRequest(end=ImportEnd(row_count=count))


async def sent(messages: Iterable[ImportRecordsRequest]) -> AsyncIterator[ImportRecordsRequest]:
    """Messages as a stream."""
    for message in messages:
        yield message


async def imported(caller: Caller, *messages: ImportRecordsRequest) -> ImportRecordsResponse:
    """Send an import."""
    return await caller.call(caller.records.ImportRecords, sent(messages))


async def not_imported(caller: Caller, *messages: ImportRecordsRequest) -> CallError:
    """Send an import that is refused."""
    return await caller.refused(caller.records.ImportRecords, sent(messages))


def people_without_names(first: int, count: int) -> ImportRecordsRequest:
    """Rows about people of whom nothing but a number is known."""
    return some(*({"phone": f"050-2{n:06d}"} for n in range(first, first + count)), start=first + 1)
