"""Releasing personal data. Written for a batch; one call is a batch of one.

    (1) read the tenant's state and epoch, then parts, keys and subject states in one query
    (2) gather the facts of each call, once
    (3) decide for each record
    (4) open what was allowed
    (5) append one entry per call and category, naming every record
    (6) commit; only then do the values leave (I1)
    (7) record what was refused, in a transaction of its own (I5)

An item that fails never takes another one with it: its outcome is the error.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vault import crypto
from vault.catalogue.model import Category, FieldType
from vault.crypto import Place
from vault.errors import DataLossError, FailedPreconditionError, InvalidArgumentError, NotFoundError, VaultError
from vault.masking import MaskStyle, mask
from vault.names import RecordName
from vault.operations import due, log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, keys_of_parts, known_tenant, open_subject_key, readable_parts, refuse_former_customer
from vault.operations.decision import Facts, PersonFacts, decide, gather, gather_people
from vault.operations.keyring import TenantKeys
from vault.policy.decide import Operation, Refused, View
from vault.store.database import Connection
from vault.store.records import ReadableRow
from vault.store.subjects import SubjectKeyRow
from vault.store.tenants import TenantRow

EXTRA = "extra"

# Ids named by one entry: 1,500 of them stay below the entry's size cap of 64 KiB with room for the rest.
_IDS_PER_ENTRY = 1500


@dataclass(frozen=True, slots=True)
class RevealCall:
    """One call: the records it wants, under one justification.

    Attributes:
        attempt: caller and justification; in the end, what the log says.
        names: records of one tenant.
        view: masked or full.
        fields: fields to release; None means all, which the full view does not accept.
        recipient: class of the recipient.
        operation: reveal, or resolve when the record was found by identifier in the same call.
    """

    attempt: Attempt
    names: tuple[RecordName, ...]
    view: View
    fields: frozenset[str] | None
    recipient: str
    operation: Operation = Operation.REVEAL


@dataclass(frozen=True, slots=True)
class Released:
    """The values of one record. They leave only with a receipt, which exists only after the commit."""

    name: RecordName
    category: str
    fields: Mapping[str, str | bytes] = field(repr=False)
    extra: Mapping[str, str] = field(repr=False)
    view: View
    erased_parties: tuple[str, ...]
    subjects: tuple[str, ...]
    rule: str
    consent_basis: str
    receipt: Receipt | None = None


Outcome = Released | VaultError


async def reveal(vault: Vault, tenant: str, calls: Sequence[RevealCall]) -> list[list[Outcome]]:
    """Release what the calls ask for and the policy allows.

    Args:
        vault: the vault.
        tenant: the tenant that every name belongs to.
        calls: any number of calls.
    Returns:
        For each call, one outcome per name, in order.
    Raises:
        NotFoundError: TENANT_NOT_FOUND.
        UnavailableError: AUDIT_UNAVAILABLE or KEYS_UNAVAILABLE; nothing was released.
    """
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, tenant)
        parts = await _load(vault, connection, tenant, calls)
        keys = await keys_of_parts(vault, connection, keys, wrapped_under(part for group in parts.values() for part in group))
        outcomes = [await _outcomes(vault, connection, call, tenant=row, keys=keys, parts=parts) for call in calls]
        outcomes = await _record_releases(vault, connection, keys, calls, outcomes)
    await _record_refusals(vault, calls, outcomes, parts)
    return outcomes


async def _load(vault: Vault, connection: Connection, tenant: str, calls: Iterable[RevealCall]) -> dict[str, list[ReadableRow]]:
    ids = list(dict.fromkeys(name.record for call in calls for name in call.names))
    parts: dict[str, list[ReadableRow]] = defaultdict(list)
    for part in await readable_parts(vault, connection, tenant, ids):
        parts[part.record_id].append(part)
    return parts


def wrapped_under(parts: Iterable[ReadableRow]) -> set[tuple[str, int]]:
    """Keyring and version of the tenant keys under which the parts' subject keys are wrapped."""
    return {(part.keyring, part.tenant_key_version) for part in parts if part.keyring is not None and part.tenant_key_version is not None}


async def _outcomes(
    vault: Vault,
    connection: Connection,
    call: RevealCall,
    *,
    tenant: TenantRow,
    keys: TenantKeys,
    parts: Mapping[str, list[ReadableRow]],
) -> list[Outcome]:
    """Decide and open each record of a call; an error about the call itself holds for every one of them."""
    try:
        if call.view is View.FULL and not call.fields:
            raise InvalidArgumentError("FIELD_MASK_REQUIRED", "the full view needs a field mask", field="field_mask")
        refuse_former_customer(tenant, call.attempt)
        facts = await gather(vault, connection, call.attempt, tenant)
        vault.budgets.spend(call.attempt.caller, len(call.names), purpose=call.attempt.justification.purpose)
    except VaultError as error:
        return [error] * len(call.names)
    outcomes: list[Outcome] = []
    for name in call.names:
        group = parts.get(name.record, [])
        try:
            people = await gather_people(
                vault,
                connection,
                call.attempt,
                tenant.tenant_id,
                subjects=list(dict.fromkeys(part.subject_id for part in group)),
                recipient=call.recipient,
            )
            outcomes.append(_release(vault, keys, call, facts, people, name, group))
        except VaultError as error:
            outcomes.append(error)
    return outcomes


def _release(
    vault: Vault,
    keys: TenantKeys,
    call: RevealCall,
    facts: Facts,
    people: PersonFacts,
    name: RecordName,
    parts: Sequence[ReadableRow],
) -> Released:
    named = next((part for part in parts if part.subject_id == name.subject), None)
    if named is None:
        raise NotFoundError("RECORD_NOT_FOUND", "no such record")
    category = vault.catalogue.category(named.category)
    past_use = due.is_past_use(category, named.level, named.metadata, named.expire_time, vault.clock())
    decision = decide(
        vault,
        call.attempt,
        facts,
        operation=call.operation,
        category=named.category,
        level=named.level,
        list_id=named.list_id,
        view=call.view,
        recipient=call.recipient,
        subject=name.subject,
        people=people,
        restricted=past_use or any(part.is_restricted for part in parts),
        affiliate_part=category.is_for_affiliate(named.metadata),
    )
    if isinstance(decision, Refused):
        raise decision.error()
    # After the contract, or its ordinary use, a token stands for whoever the record is not kept for; what is left of it may be read (A23).
    if named.is_erased and not ((facts.ended or past_use) and named.key_version == 0):
        raise FailedPreconditionError("SUBJECT_ERASED", "the subject was erased")
    _check_fields(category, call.fields)
    values: dict[str, str | bytes] = {key: value for key, value in named.metadata.items() if call.fields is None or key in call.fields}
    opened: list[str] = []
    extra: dict[str, str] = {}
    for part in parts:
        if part.is_erased:
            continue
        if part.wrapped is None:
            raise DataLossError("KEY_UNKNOWN", "the key of a person who was not erased is gone")
        for key, plain in open_part(keys, part, call.fields).items():
            if key == EXTRA:
                extra = {k: _shown_extra(v, call.view) for k, v in json.loads(plain).items()}
            else:
                values[key] = _shown(category, key, plain, call.view)
        opened.append(part.subject_id)
    return Released(
        name=name,
        category=named.category,
        fields=values,
        extra=extra,
        view=call.view,
        erased_parties=_erased_parties(category, parts),
        subjects=tuple(dict.fromkeys(opened)),
        rule=decision.rule,
        consent_basis=decision.consent_basis,
    )


def _erased_parties(category: Category, parts: Sequence[ReadableRow]) -> tuple[str, ...]:
    """Parties whose part is destroyed: its key at first, soon its row too, and without that party's required fields no record was ever stored."""
    dying = {part.role for part in parts if part.is_erased}
    gone = category.missing_parties({part.role for part in parts})
    return tuple(party.name for party in category.parties if party.name in dying or party.name in gone)


def _check_fields(category: Category, fields: frozenset[str] | None) -> None:
    unknown = sorted((fields or frozenset()) - category.fields.keys())
    if unknown:
        raise InvalidArgumentError("UNKNOWN_FIELD", f"category '{category.name}' has no such field", field="field_mask")


def open_part(keys: TenantKeys, part: ReadableRow, fields: frozenset[str] | None) -> dict[str, bytes]:
    """Open the named fields of one party's part; nothing if its key is gone or the party is a token.

    Raises:
        CiphertextInvalidError: the part was altered or moved (I3).
    """
    if part.wrapped is None or part.tenant_key_version is None or part.keyring is None:
        return {}
    key = open_subject_key(keys, SubjectKeyRow(part.subject_id, part.key_version, part.tenant_key_version, part.wrapped, part.keyring))
    return crypto.open_fields(part.sealed, fields, under=key, at=Place(keys.tenant, part.subject_id, part.record_id))


def _shown(category: Category, name: str, plain: bytes, view: View) -> str | bytes:
    spec = category.fields[name]
    if spec.type is FieldType.BYTES:
        return plain if view is View.FULL else b""
    text = plain.decode()
    return text if view is View.FULL else mask(spec.mask, text)


def _shown_extra(text: str, view: View) -> str:
    return text if view is View.FULL else mask(MaskStyle.HIDDEN, text)


async def _record_releases(
    vault: Vault,
    connection: Connection,
    keys: TenantKeys,
    calls: Sequence[RevealCall],
    outcomes: Sequence[Sequence[Outcome]],
) -> list[list[Outcome]]:
    """Append the entries of everything released; hand the outcomes back with their receipts."""
    groups = [(n, group) for n, call in enumerate(outcomes) for group in _groups(call)]
    if not groups:
        return [list(call) for call in outcomes]
    entries = [_entry(calls[n], [released for _, released in group]) for n, group in groups]
    receipts = await log.append(vault, connection, keys, entries)
    recorded = [list(call) for call in outcomes]
    for (n, group), receipt in zip(groups, receipts, strict=True):
        for position, released in group:
            recorded[n][position] = replace(released, receipt=receipt)
    return recorded


def _groups(outcomes: Sequence[Outcome]) -> list[list[tuple[int, Released]]]:
    """Releases of one call by category and rule, in pieces that fit an entry."""
    by_rule: dict[tuple[str, str], list[list[tuple[int, Released]]]] = {}
    sizes: dict[tuple[str, str], int] = {}
    for position, outcome in enumerate(outcomes):
        if not isinstance(outcome, Released):
            continue
        kind, size = (outcome.category, outcome.rule), 1 + len(outcome.subjects)
        pieces = by_rule.setdefault(kind, [[]])
        if sizes.get(kind, 0) + size > _IDS_PER_ENTRY:
            pieces.append([])
            sizes[kind] = 0
        pieces[-1].append((position, outcome))
        sizes[kind] = sizes.get(kind, 0) + size
    return [piece for pieces in by_rule.values() for piece in pieces]


def _entry(call: RevealCall, released: Sequence[Released]) -> Attempt:
    first = released[0]
    return replace(
        call.attempt,
        operation=call.operation.value,
        category=first.category,
        fields=tuple(sorted({name for item in released for name in (*item.fields, *([EXTRA] if item.extra else []))})),
        records=tuple(item.name.record for item in released),
        subjects=tuple(dict.fromkeys(subject for item in released for subject in item.subjects)),
        count=len(released),
        consent_basis=first.consent_basis,
        rule=first.rule,
    )


async def _record_refusals(
    vault: Vault, calls: Sequence[RevealCall], outcomes: Sequence[Sequence[Outcome]], parts: Mapping[str, Sequence[ReadableRow]]
) -> None:
    """One entry per call, category and reason, naming the records that were refused and the fields that were asked for."""
    for call, results in zip(calls, outcomes, strict=True):
        refused: dict[tuple[str, str], list[tuple[RecordName, VaultError]]] = defaultdict(list)
        for name, outcome in zip(call.names, results, strict=True):
            if isinstance(outcome, VaultError):
                refused[_category_of(parts, name), outcome.reason].append((name, outcome))
        for (category, _), items in refused.items():
            known = vault.catalogue.categories[category].fields.keys() if category else frozenset()
            attempt = replace(
                call.attempt,
                operation=call.operation.value,
                category=category,
                # Only words of the catalogue: a mask may hold anything.
                fields=tuple(sorted((call.fields or frozenset()) & known)),
                rule=items[0][1].metadata.get("rule", ""),
                records=tuple(name.record for name, _ in items),
                subjects=tuple(dict.fromkeys(name.subject for name, _ in items)),
                count=len(items),
            )
            pieces = [attempt] if len(items) * 2 <= _IDS_PER_ENTRY else _split(attempt)
            receipt = (await log.refuse(vault, pieces, items[0][1]))[0]
            for _, error in items:
                error.receipt = (receipt.log, receipt.index)


def _category_of(parts: Mapping[str, Sequence[ReadableRow]], name: RecordName) -> str:
    """Category of a record that the name leads to; empty if it leads nowhere."""
    return next((part.category for part in parts.get(name.record, ()) if part.subject_id == name.subject), "")


def _split(attempt: Attempt) -> list[Attempt]:
    """An attempt that names too many ids for one entry, as two."""
    half = len(attempt.records) // 2
    return [
        replace(attempt, records=attempt.records[:half], subjects=attempt.subjects[: len(attempt.subjects) // 2], count=half),
        replace(
            attempt,
            records=attempt.records[half:],
            subjects=attempt.subjects[len(attempt.subjects) // 2 :],
            count=len(attempt.records) - half,
        ),
    ]


async def record_refusal(vault: Vault, attempt: Attempt, error: VaultError) -> None:
    """Record one refused item of a stream that never reached a batch; sets the error's receipt."""
    [receipt] = await log.refuse(vault, [attempt], error)
    error.receipt = (receipt.log, receipt.index)
