"""What people ask the log: who saw this person, what did this principal do, what was done under this order, what was refused.

Rules:
- An answer is entries as they are stored, so that each can be proved.
- Who is named by which entry is derived from the entries, in the background and, before an answer, up to its end: no answer lacks the newest.
- What a gag covers stands in the system log and not in a tenant's (see `log`). Whoever looks after the whole vault is told how much that is.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from vault.audit.entry import AuditEntry, decode, peek
from vault.errors import NotFoundError
from vault.names import SYSTEM_LOG, SubjectName
from vault.operations.attempt import Caller
from vault.operations.core import Vault, page_limit
from vault.store import audit as audit_store
from vault.store import audit_index

_READER = "subjects"
_AT_ONCE = 1000
# Few, because calls wait for as long as a batch is read.
_INDEXED_AT_ONCE = 200
# What one page reads at most, so that a question that nothing answers does not hold a worker.
_READ_AT_MOST = 20_000
# Nobody is told of gagged entries but those whose office it is to know that there are some.
_TOLD = frozenset({"auditor", "privacy-officer"})

Entries = list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Question:
    """What entries have to be like; what is empty is not asked for."""

    actor: str = ""
    about: str = ""
    operation: str = ""
    category: str = ""
    purpose: str = ""
    decision: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None

    def fits(self, entry: AuditEntry) -> bool:
        """Whether an entry is asked for."""
        return (
            (not self.actor or self.actor in (entry.actor, entry.on_behalf_of))
            and (not self.about or any(is_about(name, self.about) for name in (entry.reference, entry.resource)))
            and (not self.operation or self.operation == entry.operation)
            and (not self.category or self.category == entry.category)
            and (not self.purpose or self.purpose == entry.purpose)
            and (not self.decision or self.decision == entry.decision)
            and (self.start_time is None or self.start_time <= entry.time)
            and (self.end_time is None or entry.time < self.end_time)
        )


def is_about(name: str, asked: str) -> bool:
    """Whether a name is what was asked for, or stands below it."""
    return name == asked or name.startswith(f"{asked}/")


async def query_entries(vault: Vault, log: str, question: Question, *, page_size: int, start: int) -> tuple[Entries, int | None]:
    """Entries of one log that fit, from an index on, and where the next page starts; None at the end.

    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        DataLossError: LOG_CORRUPT, an entry is not what the vault writes.
    """
    limit, found, position = page_limit(vault, page_size), Entries(), start
    async with vault.database.read() as connection:
        if await audit_store.head(connection, log) is None:
            raise NotFoundError("TENANT_NOT_FOUND", "no such log")
        while position < start + _READ_AT_MOST:
            page = await audit_store.entries(connection, log, start=position, limit=_AT_ONCE)
            for index, content in page:
                if question.fits(decode(content)):
                    found.append((index, content))
                position = index + 1
                if len(found) == limit:
                    return found, position
            if len(page) < _AT_ONCE:
                return found, None
    return found, position


async def subject_accesses(
    vault: Vault, caller: Caller, name: SubjectName, *, page_size: int, after: int
) -> tuple[Entries, int | None, int]:
    """Entries of the tenant's log that name a subject; after which index the next page starts; how many a gag covers.

    Raises:
        DataLossError: LOG_CORRUPT.
    """
    limit = page_limit(vault, page_size)
    for log in (name.tenant, SYSTEM_LOG):
        await index_subjects(vault, log)
    async with vault.database.read() as connection:
        found = await audit_index.entries_naming(connection, name.tenant, name.subject, log=name.tenant, after=after, limit=limit + 1)
        withheld = 0
        if caller.roles & _TOLD:
            withheld = await audit_index.count_naming(connection, name.tenant, name.subject, log=SYSTEM_LOG)
    return found[:limit], found[limit - 1][0] if len(found) > limit else None, withheld


async def index_subjects(vault: Vault, log: str, *, within: timedelta = timedelta.max) -> None:
    """Read off the entries of a log which of them name whom, up to its end or until the time is over."""
    began = asyncio.get_running_loop().time()
    while await _index_some(vault, log):
        if asyncio.get_running_loop().time() - began > within.total_seconds():
            return


async def _index_some(vault: Vault, log: str) -> bool:
    """Read a batch of entries. Whether there is more."""
    async with vault.database.read() as connection:
        start = await audit_index.position(connection, log, _READER)
        page = await audit_store.entries(connection, log, start=start, limit=_INDEXED_AT_ONCE)
    if not page:
        return False
    named = {
        (entry.tenant or log, subject, index)
        for index, entry in ((index, peek(content)) for index, content in page)
        for subject in entry.subjects
    }
    async with vault.database.write() as connection:
        await audit_index.add_subjects(connection, log, sorted(named))
        # Two workers that read the same batch store the same; who was slower must not go back.
        if await audit_index.position(connection, log, _READER, lock=True) <= page[-1][0]:
            await audit_index.set_position(connection, log, _READER, page[-1][0] + 1)
    return len(page) == _INDEXED_AT_ONCE
