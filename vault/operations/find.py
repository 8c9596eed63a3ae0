"""Finding people and records by an identifier, exactly, within one tenant and category. Releases nothing but names.

An identifier that nobody has and one that the category does not index answer alike: no match. Every search is recorded, whatever it finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from vault import crypto
from vault.catalogue.model import Category
from vault.errors import InvalidArgumentError, NotFoundError
from vault.identifiers import IdentifierKind, normalise
from vault.names import RecordName
from vault.operations import due, log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant, page_limit, refuse_former_customer
from vault.operations.decision import Facts, decide, gather, require
from vault.operations.keyring import TenantKeys
from vault.operations.subjects import restricted_kind
from vault.policy.decide import Allowed, Operation
from vault.store import records as record_store
from vault.store.database import Connection
from vault.store.records import IndexRow, RecordRow
from vault.store.subjects import Token

# Purposes for which what an erasure kept is found (§6.4, L31): those that the policy lets read what is restricted.
RESTRICTED_PURPOSES = frozenset({"claim-or-complaint", "court-order", "data-subject-request"})


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    Attributes:
        as_of: moment at which a record with an interval must be valid; where numbers are recycled it is compulsory (A29).
        after: record id after which the page starts.
    """

    category: str
    kind: str
    value: str = field(repr=False)
    as_of: datetime | None
    page_size: int
    after: str


@dataclass(frozen=True, slots=True)
class Match:
    """A subject, its role, and the record that matched."""

    name: RecordName
    role: str


@dataclass(frozen=True, slots=True)
class Found:
    """A page of matches and where the next one starts."""

    matches: tuple[Match, ...]
    next_after: str
    receipt: Receipt


async def find_subjects(vault: Vault, attempt: Attempt, tenant: str, search: Search) -> Found:
    """Find the subjects of an identifier.

    Raises:
        InvalidArgumentError: UNKNOWN_CATEGORY, UNKNOWN_IDENTIFIER_KIND, IDENTIFIER_INVALID, AS_OF_REQUIRED.
        PermissionDeniedError, FailedPreconditionError: as the policy says.
    """
    category = vault.catalogue.category(search.category)
    limit = page_limit(vault, search.page_size)
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, tenant, hold=True)
        refuse_former_customer(row, attempt)
        facts = await gather(vault, connection, attempt, row)
        levels = _searched_levels(vault, attempt, facts, category)
        restricted = attempt.justification.purpose in RESTRICTED_PURPOSES
        tokens = search_tokens(vault, keys, category, search.kind, search.value, search.as_of, restricted=restricted)
        # A page ends with a record, not amid the fields of one: the next begins after a record id.
        rows = await record_store.find_by_token(
            connection,
            tenant,
            category=category.name,
            tokens=tokens,
            after=search.after,
            limit=limit + len(category.fields),
        )
        end = _page_end(rows, limit)
        page = [
            (entry, record)
            for entry, record in rows[:end]
            if record.level in levels and is_valid(record, search.as_of) and (restricted or not _is_past_use(vault, record))
        ]
        matches = tuple(Match(RecordName(tenant, entry.subject_id, entry.record_id), entry.role) for entry, _ in page)
        # Some 1,000 matches at most: 58 KB of an entry's 64.
        attempt.records = tuple(dict.fromkeys(match.name.record for match in matches))
        attempt.subjects = tuple(dict.fromkeys(match.name.subject for match in matches))
        attempt.count = len(matches)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return Found(matches, rows[end - 1][0].record_id if len(rows) > end else "", receipt)


async def record_as_of(
    vault: Vault, connection: Connection, keys: TenantKeys, category: Category, search: Search, *, restricted: bool
) -> RecordName:
    """The one record that an identifier belonged to at a moment; one that is kept on restricted only if asked.

    Raises:
        NotFoundError: RECORD_NOT_FOUND, there is none, or more than one.
    """
    tokens = search_tokens(vault, keys, category, search.kind, search.value, search.as_of)
    rows: Sequence[tuple[IndexRow, RecordRow]] = await record_store.find_by_token(
        connection, keys.tenant, category=category.name, tokens=tokens, after="", limit=vault.limits.page_size
    )
    found = [(entry, record) for entry, record in rows if is_valid(record, search.as_of)]
    valid = {entry.record_id: entry for entry, record in found if restricted or not _is_past_use(vault, record)}
    if len(valid) != 1:
        raise NotFoundError("RECORD_NOT_FOUND", "no single record of that identifier at that moment")
    [entry] = valid.values()
    return RecordName(keys.tenant, entry.subject_id, entry.record_id)


def search_tokens(
    vault: Vault, keys: TenantKeys, category: Category, kind: str, value: str, as_of: datetime | None, *, restricted: bool = False
) -> list[Token]:
    """Tokens of what is looked for, one for each key that the index may have been made with; those of the restricted index besides, if asked.

    Raises:
        InvalidArgumentError: UNKNOWN_IDENTIFIER_KIND, IDENTIFIER_INVALID, AS_OF_REQUIRED.
    """
    if kind not in {spec.index for spec in category.fields.values() if spec.index}:
        raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "the category is not searched by that kind of identifier", field="kind")
    if category.requires_as_of and as_of is None:
        raise InvalidArgumentError("AS_OF_REQUIRED", "numbers of this category are recycled, say which moment is meant", field="as_of")
    normalised = normalise(IdentifierKind(kind), value, region=vault.region)
    kinds = [kind, restricted_kind(kind)] if restricted else [kind]
    return [Token(name, crypto.index_token(key, normalised)) for name in kinds for key in keys.index_keys(name)]


def is_valid(record: RecordRow, as_of: datetime | None) -> bool:
    """Whether a record with an interval [from, to) is valid at the moment; one without always is."""
    if as_of is None or record.valid_from is None:
        return True
    return record.valid_from <= as_of and (record.valid_to is None or as_of < record.valid_to)


def _is_past_use(vault: Vault, record: RecordRow) -> bool:
    """Whether a record is kept on restricted, and so led to for some purposes only."""
    return due.is_past_use(vault.catalogue.category(record.category), record.level, record.metadata, record.expire_time, vault.clock())


def _page_end(rows: Sequence[tuple[IndexRow, RecordRow]], limit: int) -> int:
    """Where a page of about `limit` rows ends: after the last field of the record in which it would."""
    end = min(limit, len(rows))
    while 0 < end < len(rows) and rows[end][0].record_id == rows[end - 1][0].record_id:
        end += 1
    return end


def _searched_levels(vault: Vault, attempt: Attempt, facts: Facts, category: Category) -> frozenset[str]:
    """Content levels at which the caller may search; what is kept at another one is not found.

    Raises:
        VaultError: the caller may search at none; the refusal of the first that is kept.
    """
    kept = [level.name for level in category.levels.values() if level.retained] or [""]
    ask = partial(decide, vault, attempt, facts, operation=Operation.FIND, category=category.name)
    found = [level for level in category.levels or ("",) if isinstance(ask(level=level), Allowed)]
    require(vault, attempt, facts, operation=Operation.FIND, category=category.name, level=found[0] if found else kept[0])
    return frozenset(found)
