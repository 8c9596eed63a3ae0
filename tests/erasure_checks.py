"""What no moment of an erasure may show, whoever died when: looked for in whole tables, of every person at once.

Rules:
- What is sealed opens, with the keys that are there, to what was stored; a part without a key belongs to somebody whose key was destroyed just now.
- Nothing points nowhere: no key, part, index entry, identity or exception without what it belongs to.
- What is restricted is under the restricted keyring and in the restricted index, with an exception; nothing else is.
- Who is being erased has an erasure under way, and the other way round; what is certified is over, and what is over is certified.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, select

from vault import crypto
from vault.crypto import Place
from vault.errors import DataLossError
from vault.operations.core import Vault, active_tenant, open_subject_key, reading_keys
from vault.store import erasures as erasure_store
from vault.store import tables
from vault.store.subjects import RESTRICTED, SubjectKeyRow

DONE = ("COMPLETE", "PARTIAL")
Part = tuple[str, str]


@dataclass(slots=True)
class Stored:
    """What a tenant's tables hold, as far as erasures touch it.

    Attributes:
        subjects: state of each person.
        keys: keyring of each key, by person and version.
        records: category of each record.
        parts: whose each part is and the version of the key it is sealed under, by record and role; 0 is a token.
        opened: what opens, by record and role.
        damaged: what has a key and does not open.
        index: record, role, person and kind of each index entry.
        is_apart: whether keys have a database of their own.
    """

    subjects: dict[str, str] = field(default_factory=dict)
    keys: dict[tuple[str, int], str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    parts: dict[Part, tuple[str, int]] = field(default_factory=dict)
    opened: dict[Part, dict[str, str]] = field(default_factory=dict)
    damaged: set[Part] = field(default_factory=set)
    index: list[tuple[str, str, str, str]] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    exceptions: dict[Part, str] = field(default_factory=dict)
    erasures: "dict[str, Row[tuple[str, str, str, int, int]]]" = field(default_factory=dict)
    certificates: Counter[str] = field(default_factory=Counter)
    is_apart: bool = False

    def under_way(self) -> dict[str, str]:
        """State of the erasure that each person is in."""
        return {row.subject_id: row.state for row in self.erasures.values() if row.state in erasure_store.UNDER_WAY}

    def is_restricted(self, part: Part) -> bool:
        """Whether a part is under the restricted keyring."""
        return self.keys.get(self.parts[part]) == RESTRICTED


async def stored(vault: Vault, tenant: str = "acme") -> Stored:
    """Read the tables, and open whatever opens."""
    found = Stored(is_apart=vault.key_database is not None)
    async with vault.database.read() as connection, reading_keys(vault) as apart:
        subjects, erasures, exceptions = tables.subjects.c, tables.erasures.c, tables.erasure_exceptions.c
        _, keys = await active_tenant(vault, connection, tenant)

        async def rows(*columns: Any) -> Sequence[Row[Any]]:
            [table] = {column.table for column in columns}
            return (await connection.execute(select(*columns).where(table.c.tenant_id == tenant))).all()

        found.subjects = {row.subject_id: row.state for row in await rows(subjects.subject_id, subjects.state)}
        record = tables.records.c
        found.records = {row.record_id: row.category for row in await rows(record.record_id, record.category)}
        entry, part = tables.index_entries.c, tables.record_parts.c
        found.index = [tuple(row) for row in await rows(entry.record_id, entry.role, entry.subject_id, entry.kind)]
        found.identities = {row.subject_id for row in await rows(tables.identities.c.subject_id)}
        named = await rows(exceptions.record_id, exceptions.role, exceptions.erasure_id)
        found.exceptions = {(row.record_id, row.role): row.erasure_id for row in named if row.role}
        columns = (erasures.erasure_id, erasures.subject_id, erasures.state, erasures.kept_version, erasures.restricted_version)
        found.erasures = {row.erasure_id: row for row in await rows(*columns)}
        found.certificates = Counter(row.erasure_id for row in await rows(tables.erasure_certificates.c.erasure_id))
        sealed = await rows(part.record_id, part.role, part.subject_id, part.key_version, part.sealed)
        query = select(tables.subject_keys).where(tables.subject_keys.c.tenant_id == tenant)
        wrapped = {}
        for row in await (apart or connection).execute(query):
            found.keys[row.subject_id, row.version] = row.keyring
            wrapped[row.subject_id, row.version] = SubjectKeyRow(
                row.subject_id, row.version, row.tenant_key_version, row.wrapped, row.keyring
            )
    for row in sealed:
        place = row.record_id, row.role
        found.parts[place] = row.subject_id, row.key_version
        if (key := wrapped.get((row.subject_id, row.key_version))) is None:
            continue
        try:
            at = Place(tenant, row.subject_id, row.record_id)
            opened = crypto.open_fields(row.sealed, None, under=open_subject_key(keys, key), at=at)
        except DataLossError:
            found.damaged.add(place)
        else:
            found.opened[place] = {name: value.decode() for name, value in opened.items()}
    return found


def findings(found: Stored) -> list[str]:
    """What must not be, in words; empty if everything is as it may be at any moment."""
    told = [f"part {place} has a key and does not open" for place in sorted(found.damaged)]
    told += _pointing_nowhere(found)
    told += _restricted(found)
    told += _erasures(found)
    return told


def _pointing_nowhere(found: Stored) -> list[str]:
    under_way = found.under_way()
    told = [f"key {key} of nobody" for key in sorted(found.keys) if key[0] not in found.subjects]
    told += [f"part {place} of no record" for place in sorted(found.parts) if place[0] not in found.records]
    told += [f"record {record} without a part" for record in sorted(found.records.keys() - {record for record, _ in found.parts})]
    for place, (subject, version) in sorted(found.parts.items()):
        is_dying = under_way.get(subject) == "PENDING_KEY_DESTRUCTION"
        if version and (subject, version) not in found.keys and not is_dying:
            told.append(f"part {place} without its key")
    for record, role, subject, kind in sorted(found.index):
        whose, version = found.parts.get((record, role), ("", 0))
        if whose != subject or not version:
            told.append(f"index entry {kind} of {record, role} without its part")
    told += [f"identity of {subject}" for subject in sorted(found.identities) if found.subjects.get(subject, "ERASED") == "ERASED"]
    told += [f"exception of {place} without its part" for place in sorted(found.exceptions.keys() - found.parts.keys())]
    return told


def _restricted(found: Stored) -> list[str]:
    told = [
        f"part {place} is restricted without an exception, or the other way round"
        for place in sorted(found.parts)
        if found.is_restricted(place) != (place in found.exceptions)
    ]
    for record, role, subject, kind in sorted(found.index):
        version = found.parts.get((record, role), ("", 0))[1]
        if (found.keys.get((subject, version)) == RESTRICTED) != kind.startswith("restricted:") and (subject, version) in found.keys:
            told.append(f"index entry {kind} of {record, role} is in the wrong index")
    used = {found.parts[place] for place in found.parts}
    # In a database of its own, a key is there before what it seals: whoever died in between left it, and the end of the erasure destroys it.
    early = found.under_way() if found.is_apart else {}
    told += [
        f"restricted key {key} of nothing"
        for key, ring in sorted(found.keys.items())
        if ring == RESTRICTED and key not in used and key[0] not in early
    ]
    return told


def _erasures(found: Stored) -> list[str]:
    under_way = found.under_way()
    blocked = {subject for subject, state in found.subjects.items() if state == "ERASING"}
    told = [f"{subject} is blocked for nothing, or not blocked" for subject in sorted(blocked ^ under_way.keys())]
    for erasure, row in sorted(found.erasures.items()):
        is_certified = bool(found.certificates[erasure])
        if is_certified != (row.state in (*DONE, "FORWARDED")):
            told.append(f"erasure {erasure} is {row.state} with {found.certificates[erasure]} certificates")
        if row.state == "COMPLETE" and erasure in found.exceptions.values():
            told.append(f"erasure {erasure} is complete and keeps something")
    for subject, state in sorted(found.subjects.items()):
        keys = {key: ring for key, ring in found.keys.items() if key[0] == subject}
        if state == "ERASED" and any(ring != RESTRICTED for ring in keys.values()):
            told.append(f"{subject} is erased and has a key")
    return told
