"""Finding or creating the subjects of a batch of records, and the keys to seal under.

Find-or-create is atomic: tokens are claimed first (the database lets one writer win), read back, and only winners become subjects. A subject that is
being erased refuses the write (E11).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vault import crypto, names
from vault.catalogue.model import Category
from vault.crypto import DataKey
from vault.errors import AbortedError, FailedPreconditionError, NotFoundError, VaultError
from vault.identifiers import IdentifierKind
from vault.operations.core import Vault, open_subject_key, usable_keys, writing_keys
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import Identifier, Prepared, PreparedPart
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.subjects import SubjectKeyRow, SubjectRow, Token


class PartKey(NamedTuple):
    """A part of a prepared record: position of the record in its batch, role of the party."""

    position: int
    role: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whose each part is, and the key to seal it under."""

    subjects: Mapping[PartKey, str]
    keys: Mapping[str, DataKey]
    created: frozenset[str]


def token_of(keys: TenantKeys, identifier: Identifier, *, restricted: bool = False) -> Token:
    """The index token of an identifier; in the restricted index for what an erasure kept."""
    kind = restricted_kind(identifier.kind) if restricted else identifier.kind.value
    return Token(kind, crypto.index_token(keys.index_key(kind), identifier.value))


def indexed_fields(category: Category, role: str) -> frozenset[str]:
    """Fields of one party by which records are found."""
    return frozenset(name for name, spec in category.fields.items() if spec.index is not None and spec.party == role)


def identifiers_in(category: Category, role: str, opened: Mapping[str, bytes]) -> list[Identifier]:
    """Identifiers of a part; what is sealed was normalised when it was stored."""
    return [
        Identifier(IdentifierKind(kind), opened[name].decode(), name)
        for name in sorted(indexed_fields(category, role) & opened.keys())
        if (kind := category.fields[name].index) is not None
    ]


def restricted_kind(kind: str) -> str:
    """Kind under which the restricted index holds an identifier: with a key of its own, so that no ordinary search leads there (§6.4)."""
    return f"restricted:{kind}"


def tokens_of(keys: TenantKeys, identifier: Identifier) -> list[Token]:
    """Every token that the identifier may be found under, newest first."""
    kind = identifier.kind.value
    return [Token(kind, crypto.index_token(key, identifier.value)) for key in keys.index_keys(kind)]


async def resolve_subjects(vault: Vault, connection: Connection, keys: TenantKeys, records: Sequence[Prepared]) -> Resolved:
    """Find or create the subject of every part. Subjects that records name are usable; `unusable_subjects` made sure.

    Raises:
        AbortedError: RETRY_AFTER_ERASURE, a subject is being erased; the transaction must not be committed.
    """
    wanted = {PartKey(position, part.role): (record, part) for position, record in enumerate(records) for part in record.parts}
    tokens = {key: token_of(keys, part.identities[0]) for key, (_, part) in wanted.items() if part.identities}
    bound = await _bound(connection, keys, {tokens[key]: part.identities[0] for key, (_, part) in wanted.items() if key in tokens})
    claims = _claims(wanted, tokens, bound)
    if claims:
        await subject_store.claim_identities(connection, keys.tenant, list(claims.items()), index_version=keys.index_version)
        bound |= await subject_store.subjects_of_tokens(connection, keys.tenant, claims)
    subjects = {
        key: record.subject if record.subject and _is_owner(record, part) else bound[tokens[key]] for key, (record, part) in wanted.items()
    }
    further = {
        token_of(keys, identifier): (identifier, subjects[key]) for key, (_, part) in wanted.items() for identifier in part.identities[1:]
    }
    taken = await _bound(connection, keys, {token: identifier for token, (identifier, _) in further.items()})
    also = [(token, subject) for token, (_, subject) in further.items() if token not in taken]
    await subject_store.claim_identities(connection, keys.tenant, also, index_version=keys.index_version)
    named = {record.subject for record in records if record.subject}
    won = {subject for token, subject in claims.items() if bound[token] == subject} - named
    fresh = _fresh_keys(keys, won)
    await _insert(vault, connection, keys.tenant, [row for row, _ in fresh.values()])
    known = await _known_keys(vault, connection, keys, {*subjects.values()} - won)
    return Resolved(subjects, known | {subject: key for subject, (_, key) in fresh.items()}, frozenset(won))


async def _bound(connection: Connection, keys: TenantKeys, identifiers: Mapping[Token, Identifier]) -> dict[Token, str]:
    """Subject of each token that is bound.

    While the index is made anew, some are still bound by a token of an older key. They are bound by the new one as well: the rotation reads no
    record that was stored under the new key, and so would unbind whoever stands in no other.
    """
    spelled = {spelling: token for token, identifier in identifiers.items() for spelling in tokens_of(keys, identifier)}
    found = await subject_store.subjects_of_tokens(connection, keys.tenant, spelled)
    older = {spelled[spelling]: subject for spelling, subject in found.items() if spelling not in identifiers}
    newest = {token: subject for token, subject in found.items() if token in identifiers}
    if late := older.keys() - newest.keys():
        living = await subject_store.lock_living(connection, keys.tenant, sorted({older[token] for token in late}))
        claims = [(token, older[token]) for token in late if older[token] in living]
        await subject_store.claim_identities(connection, keys.tenant, claims, index_version=keys.index_version)
    return older | newest


def _claims(
    wanted: Mapping[PartKey, tuple[Prepared, PreparedPart]], tokens: Mapping[PartKey, Token], bound: Mapping[Token, str]
) -> dict[Token, str]:
    """A subject for every token that has none: the one the caller named, or a new one."""
    claims: dict[Token, str] = {}
    for key, token in tokens.items():
        record, part = wanted[key]
        if token not in bound and token not in claims:
            claims[token] = record.subject if record.subject and _is_owner(record, part) else names.new_id()
    return claims


def _is_owner(record: Prepared, part: PreparedPart) -> bool:
    return part.role == record.category.parties[0].name


def _fresh_keys(keys: TenantKeys, subjects: Iterable[str]) -> dict[str, tuple[SubjectKeyRow, DataKey]]:
    under = keys.newest("data")
    fresh = {}
    for subject in sorted(subjects):
        key = DataKey(1, crypto.new_key_material())
        wrapped = crypto.wrap_subject_key(key, under=under, tenant=keys.tenant, subject=subject)
        fresh[subject] = (SubjectKeyRow(subject, key.version, under.version, wrapped), key)
    return fresh


async def _insert(vault: Vault, connection: Connection, tenant: str, rows: Sequence[SubjectKeyRow]) -> None:
    if rows:
        async with writing_keys(vault, connection) as keys_on:
            await subject_store.insert_subjects(connection, tenant, rows, vault.clock(), keys_on=keys_on)


async def unusable_subjects(vault: Vault, connection: Connection, tenant: str, named: Iterable[str]) -> dict[str, VaultError]:
    """Why nothing can be stored under some of the subjects that records name; an empty name asks nothing."""
    wanted = sorted(filter(None, named))
    usable = await usable_keys(vault, connection, tenant, wanted)
    errors: dict[str, VaultError] = {}
    for subject in wanted:
        if subject not in usable:
            known = await subject_store.get_subject(connection, tenant, subject)
            errors[subject] = _unusable(known)
    return errors


def _unusable(known: SubjectRow | None) -> VaultError:
    if known is None:
        return NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    if known.state == "ERASED":
        return FailedPreconditionError("SUBJECT_ERASED", "the subject was erased")
    return _erasing()


def _erasing() -> AbortedError:
    return AbortedError("RETRY_AFTER_ERASURE", "the subject is being erased")


async def new_subject(vault: Vault, connection: Connection, keys: TenantKeys) -> str:
    """A subject that no identifier is known of yet."""
    [(subject, (row, _))] = _fresh_keys(keys, [names.new_id()]).items()
    await _insert(vault, connection, keys.tenant, [row])
    return subject


async def _known_keys(vault: Vault, connection: Connection, keys: TenantKeys, subjects: Iterable[str]) -> dict[str, DataKey]:
    wanted = sorted(subjects)
    rows = await usable_keys(vault, connection, keys.tenant, wanted)
    for subject in wanted:
        if subject not in rows:
            raise _erasing()
    return {subject: open_subject_key(keys, row) for subject, row in rows.items()}
