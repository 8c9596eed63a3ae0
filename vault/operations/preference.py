"""Marketing preferences: yes and no, per channel (P2.9a-mkt-in, P2.9b-mkt-out, A5, A10, L18, L34).

Rules:
- A no counts from its commit on, on every channel unless the person narrowed it. It is never refused for what else the call says.
- A no also suppresses the person's numbers and mailboxes, by keyed digests that name nobody: whoever is stored again, by mistake or under
  another record, is still not advertised to.
- A yes says on what it rests. Only an explicit one takes suppressions and an earlier objection away.
- Whoever opens an account agrees by its terms on every channel that they have not chosen about; that yes is weak (A10).
- Choices are added, never changed: what was chosen when is evidence.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from vault import names
from vault.catalogue.fields import Description
from vault.errors import CiphertextInvalidError, InvalidArgumentError
from vault.identifiers import IdentifierKind
from vault.names import SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, keys_of_parts, known_tenant, readable_parts
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import Identifier
from vault.operations.reveal import open_part, wrapped_under
from vault.operations.rights import check_label, check_word, living_subject
from vault.store import objections as objection_store
from vault.store import preferences as preference_store
from vault.store import records as record_store
from vault.store.database import Connection
from vault.store.preferences import IN, OUT, PreferenceRow, Suppression
from vault.store.records import ReadableRow

PURPOSE = "own-marketing"
CHANNELS = ("SMS", "EMAIL", "VOICE", "FAX", "POST")
ACCOUNT_TERMS, EXPLICIT_OPT_IN = "ACCOUNT_TERMS", "EXPLICIT_OPT_IN"
_BASES = frozenset({ACCOUNT_TERMS, EXPLICIT_OPT_IN, "EXISTING_CUSTOMER_SIMILAR_SERVICE"})
_SOURCES = frozenset({"WEB", "PHONE", "EMAIL", "FAX", "LETTER"})
_KINDS = frozenset({IdentifierKind.PHONE, IdentifierKind.EMAIL})
# A5: what whoever asks to be erased is asked. Silence keeps the mark.
SUPPRESSION_QUESTION = Description(
    "האם להשאיר סימן חד־כיווני של המספרים ושל תיבות הדוא״ל שלכם, שאינו אומר עליכם דבר ורק מונע דיוור פרסומי אם יישמרו שוב? "
    "הסימן נשאר אלא אם תבקשו אחרת, ואז יימחק גם הוא.",
    "May a one-way mark of your numbers and mailboxes stay, which says nothing of you and only stops advertising if they are stored again? "
    "It stays unless you want otherwise; then it is erased too.",
)
# In the place of a channel: whose identifier this was has been erased.
_ERASED = "ERASED"
_BATCH = 500

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose, and how that was told."""

    allowed: bool
    channel: str
    basis: str
    source: str
    text_version: str


async def set_marketing_preference(vault: Vault, attempt: Attempt, name: SubjectName, choice: Choice) -> Receipt:
    """Record a choice.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID.
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation, attempt.subjects = "set-marketing-preference", (name.subject,)
    channels = (check_word(choice.channel, frozenset(CHANNELS), field="channel"),) if choice.channel else CHANNELS
    check_word(choice.source, _SOURCES, field="source")
    check_label(choice.text_version, field="text_version")
    if choice.allowed and not choice.basis:
        raise InvalidArgumentError("FIELD_REQUIRED", "an agreement says on what it rests", field="basis")
    if choice.allowed:
        check_word(choice.basis, _BASES, field="basis")
    attempt.rule = f"marketing:{IN if choice.allowed else OUT}".lower()
    attempt.consent_basis = choice.basis.lower().replace("_", "-") if choice.allowed else ""
    by = attempt.caller.principal
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        await living_subject(connection, name)
        if choice.allowed:
            await _opt_in(vault, connection, keys, name, channels=channels, choice=choice, by=by)
        else:
            await opt_out(vault, connection, keys, name, channels=channels, source=choice.source, text_version=choice.text_version, by=by)
        attempt.count = len(channels)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def accept_terms(vault: Vault, connection: Connection, tenant: str, accounts: Mapping[str, str], *, by: str) -> None:
    """Record the weak yes of people who opened an account, where they have not chosen yet (P2.9a-mkt-in).

    Args:
        vault: the vault.
        connection: a transaction that holds the people, so that no choice of theirs is made meanwhile.
        tenant: id of the tenant.
        accounts: the version of the terms that each accepted, by subject.
        by: who stored it.
    """
    if not accounts:
        return
    chosen = await preference_store.chosen_channels(connection, tenant, accounts)
    # How it was told is not said with an account, and nothing is made up.
    rows = [
        _row(vault, SubjectName(tenant, subject), channel, state=IN, basis=ACCOUNT_TERMS, source="", text_version=terms, by=by)
        for subject, terms in accounts.items()
        for channel in CHANNELS
        if (subject, channel) not in chosen
    ]
    await preference_store.add_preferences(connection, tenant, rows)


async def opt_out(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    name: SubjectName,
    *,
    channels: Sequence[str],
    source: str,
    text_version: str,
    by: str,
) -> None:
    """Record a no on some channels, and suppress the person's identifiers there. The caller holds the subject's lock."""
    rows = [_row(vault, name, channel, state=OUT, basis="", source=source, text_version=text_version, by=by) for channel in channels]
    await preference_store.add_preferences(connection, name.tenant, rows)
    identifiers = await _identifiers(vault, connection, keys, name)
    # Only the newest digest is kept; whoever asks tries every version.
    items = [Suppression(_kind(kind, channel), _digests(keys, kind, value)[0]) for kind, value in identifiers for channel in channels]
    await preference_store.add_suppressions(connection, name.tenant, items, vault.clock())


async def remember_no(vault: Vault, connection: Connection, keys: TenantKeys, name: SubjectName, *, keep: bool) -> None:
    """Before a person is erased: suppress their identifiers on every channel, or forget that they were (A5); and that they are erased.

    The caller holds the subject's lock.
    """
    places = (*CHANNELS, _ERASED)
    identifiers = await _identifiers(vault, connection, keys, name)
    if keep:
        items = [Suppression(_kind(kind, place), _digests(keys, kind, value)[0]) for kind, value in identifiers for place in places]
        await preference_store.add_suppressions(connection, name.tenant, items, vault.clock())
        return
    items = [
        Suppression(_kind(kind, place), digest) for kind, value in identifiers for digest in _digests(keys, kind, value) for place in places
    ]
    await preference_store.remove_suppressions(connection, name.tenant, items)


async def were_erased(connection: Connection, keys: TenantKeys, identifiers: Collection[Identifier]) -> frozenset[Identifier]:
    """Those of some identifiers that somebody had who was erased, and did not want that forgotten."""
    marks = {
        Suppression(_kind(item.kind, _ERASED), digest): item
        for item in identifiers
        if item.kind in _KINDS
        for digest in _digests(keys, item.kind, item.value)
    }
    return frozenset(marks[found] for found in await preference_store.suppressed_among(connection, keys.tenant, marks))


async def is_suppressed(connection: Connection, keys: TenantKeys, *, kind: IdentifierKind, value: str, channel: str) -> bool:
    """Whether a normalised identifier is not to be advertised to on a channel, whoever's it is."""
    return await preference_store.is_suppressed(connection, keys.tenant, _kind(kind, channel), _digests(keys, kind, value))


async def _opt_in(
    vault: Vault, connection: Connection, keys: TenantKeys, name: SubjectName, *, channels: Sequence[str], choice: Choice, by: str
) -> None:
    text_version = choice.text_version
    rows = [
        _row(vault, name, channel, state=IN, basis=choice.basis, source=choice.source, text_version=text_version, by=by)
        for channel in channels
    ]
    await preference_store.add_preferences(connection, name.tenant, rows)
    if choice.basis != EXPLICIT_OPT_IN:
        return
    await objection_store.delete_objection(connection, name.tenant, name.subject, PURPOSE)
    items = [
        Suppression(_kind(kind, channel), digest)
        for kind, value in await _identifiers(vault, connection, keys, name)
        for digest in _digests(keys, kind, value)
        for channel in channels
    ]
    await preference_store.remove_suppressions(connection, name.tenant, items)


def _row(
    vault: Vault, name: SubjectName, channel: str, *, state: str, basis: str, source: str, text_version: str, by: str
) -> PreferenceRow:
    return PreferenceRow(names.new_id(), name.subject, channel, state, basis, source, text_version, by, vault.clock())


async def _identifiers(vault: Vault, connection: Connection, keys: TenantKeys, name: SubjectName) -> list[tuple[IdentifierKind, str]]:
    """Telephone numbers and mailboxes in the person's own parts of records, each opened once; shown to nobody."""
    ids = await record_store.records_of_identifiers(connection, name.tenant, name.subject, _KINDS)
    found: dict[tuple[IdentifierKind, str], None] = {}
    for start in range(0, len(ids), _BATCH):
        parts = [
            part
            for part in await readable_parts(vault, connection, name.tenant, ids[start : start + _BATCH])
            if part.subject_id == name.subject
        ]
        usable = await keys_of_parts(vault, connection, keys, wrapped_under(parts))
        for part in parts:
            found |= dict.fromkeys(_identifiers_in(vault, usable, part))
    return list(found)


def _identifiers_in(vault: Vault, keys: TenantKeys, part: ReadableRow) -> list[tuple[IdentifierKind, str]]:
    fields = vault.catalogue.category(part.category).fields
    wanted = {name: spec.index for name, spec in fields.items() if spec.party == part.role and spec.index in _KINDS}
    if not wanted:
        return []
    try:
        opened = open_part(keys, part, frozenset(wanted))
    except CiphertextInvalidError:
        # A damaged record must not stand in the way of somebody's no; the choice itself counts whatever is suppressed.
        _log.warning("identifiers not read", record=part.record_id, reason="CIPHERTEXT_INVALID")
        return []
    return [(kind, opened[name].decode()) for name, kind in wanted.items() if name in opened]


def _kind(kind: IdentifierKind, channel: str) -> str:
    return f"{kind.value}/{channel}"


def _digests(keys: TenantKeys, kind: IdentifierKind, value: str) -> list[bytes]:
    return keys.digests(f"suppression/{kind.value}", value.encode())
