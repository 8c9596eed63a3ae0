"""What an erasure would do, counted by the database: no record is read, however many there are.

Where records of a category differ in what becomes of them, that depends on their level, on the clear fields that tell kinds of them apart, and on
when they expire. The database groups them by the former; the earliest and the latest expiry of a group say the rest, unless the moment at which
duties end lies between them, and then it is asked how many are past it.
"""

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vault.catalogue.model import Category, Erasure
from vault.names import SubjectName
from vault.operations import due, rights
from vault.operations.core import Vault
from vault.operations.outcomes import Outcome, Requester, at_last, depends_on_record, in_scope, is_tenants, outcome_of
from vault.store import erasures as erasure_store
from vault.store import groups as group_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.erasures import Count
from vault.store.groups import Group
from vault.store.records import RecordRow


async def count_outcomes(vault: Vault, connection: Connection, subject: SubjectName, requester: Requester) -> list[Count]:
    """What becomes of a person's parts, counted. Holds are not looked at: they win when it is carried out, whoever approved what (E4)."""
    counts = Counter[Count]()
    now = vault.clock()
    before = await kept_before(connection, subject.tenant, subject.subject)
    for name, found in (await subject_store.record_counts(connection, subject.tenant, subject.subject, but=before)).items():
        category = vault.catalogue.category(name)
        if not in_scope(category, requester):
            continue
        if requester is not Requester.TENANT and is_tenants(category):
            counts[Count(name, Erasure.FORWARDED, 0)] += found
        elif not depends_on_record(category):
            counts[Count(name, str(at_last(category, {}).kind), 0)] += found
        else:
            async for outcome, number in _outcomes(connection, subject, category, requester, now, before):
                counts[Count(name, outcome.kind, 0, outcome.basis or "", outcome.until.isoformat() if outcome.until else "")] += number
    if not any(count.outcome == Erasure.FORWARDED for count in counts):
        # Who lives on with a tenant has agreed to what they agreed to.
        for name, ids in (await rights.proofs_of(connection, subject.tenant, subject.subject)).items():
            basis = vault.catalogue.category(name).erasure_exception or ""
            counts[Count(name, Erasure.RESTRICTED, 0, basis)] += len(ids)
    return _summed(counts)


async def kept_before(connection: Connection, tenant: str, subject: str, *, but: str = "") -> frozenset[int]:
    """Versions of the keys that seal what other erasures of a person keep: that is theirs, is not found again, and outlives this one."""
    rows = await erasure_store.erasures_of_subject(connection, tenant, subject)
    return frozenset(row.restricted_version for row in rows if row.restricted_version and row.erasure_id != but)


def digest_of(subject: SubjectName, requester: Requester, outcomes: Sequence[Count]) -> str:
    """SHA-256 over what an erasure would do, in hexadecimal.

    Opaque ids and counts only, so a plain digest gives nothing away. Without dates: they move with the clock.
    """
    counts = Counter[tuple[str, str]]()
    for count in outcomes:
        counts[count.category, count.outcome] += count.count
    content = json.dumps({"subject": str(subject), "requester": requester, "outcomes": sorted(counts.items())}).encode()
    return hashlib.sha256(content).hexdigest()


async def _outcomes(
    connection: Connection, subject: SubjectName, category: Category, requester: Requester, now: datetime, before: Collection[int]
) -> AsyncIterator[tuple[Outcome, int]]:
    """Outcomes of the parts of a category whose records differ, each with how many have it."""
    fields = {kind.field for kind in category.rows}
    for group in await group_store.groups_of(connection, subject.tenant, subject.subject, category.name, fields, but=before):
        if group.count > group.dated:
            yield outcome_of(category, _like(category, group, None), requester, now), group.count - group.dated
        if group.first is None or group.last is None:
            continue
        first, last = (_like(category, group, moment) for moment in (group.first, group.last))
        over, earliest = 0, due.end_of(category, first)
        # None ends past the calendar.
        if earliest is not None and earliest <= now:
            # A group has one retention, so its duties end as long after expiry for all of it.
            by = now - (earliest - group.first)
            over = group.dated
            if group.last > by:
                over = await group_store.count_expired(
                    connection, subject.tenant, subject.subject, category.name, fields, group, by=by, but=before
                )
        if over:
            yield outcome_of(category, first, requester, now), over
        if over < group.dated:
            yield outcome_of(category, last, requester, now), group.dated - over


def _like(category: Category, group: Group, expire_time: datetime | None) -> RecordRow:
    """A record of a group, as far as its outcome depends on it."""
    return RecordRow(
        record_id="",
        subject_id="",
        category=category.name,
        level=group.level,
        list_id="",
        import_id="",
        create_time=expire_time or datetime.min.replace(tzinfo=UTC),
        occur_time=None,
        valid_from=None,
        valid_to=None,
        expire_time=expire_time,
        metadata=group.metadata,
        version=0,
    )


def _summed(counts: Counter[Count]) -> list[Count]:
    """One line per category, outcome and basis, with the last of their dates."""
    lines: dict[tuple[str, str, str], Count] = {}
    for count, number in counts.items():
        key = count.category, count.outcome, count.basis
        line = lines.get(key, replace(count, count=0))
        until = max(line.until, count.until) if line.until and count.until else ""
        lines[key] = replace(line, count=line.count + number, until=until)
    return [lines[key] for key in sorted(lines)]
