"""Answering a person's request for their own data: a ZIP of JSON and CSV (P1.3-gdpr, L13, L29, P1.8-role, P3.4-perm-party).

    (1) look at the request that the call refers to: that very person's, identity verified, still open
    (2) read every record in which the person is a party, and what is registered about them
    (3) decide for each category of which the operator is controller; what may not be exported is named and left out
    (4) open: the person's own part whole, what is another party's masked
    (5) append entries naming every record; commit; only then does the first byte leave (I1)

What the operator processes for a customer is not in it. Instead a statement names that customer, who decides about it (L13). Orders, holds and
what was handed to an authority are nowhere in it: the recipients told are those of the policy, so that an order under secrecy cannot be read off
something missing (§5).

Not here: what the files look like; that is `subject_package`.
"""

import asyncio
import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vault import names
from vault.catalogue.model import Category, ConsentBasis, FieldType, HeldAs, Recipient, Responsibility
from vault.errors import FailedPreconditionError, NotFoundError, PermissionDeniedError, ResourceExhaustedError
from vault.masking import MaskStyle, mask
from vault.names import SubjectName
from vault.operations import log, replaced
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, keys_of_parts, known_tenant, readable_parts
from vault.operations.decision import gather
from vault.operations.guardian import open_guardian
from vault.operations.keyring import TenantKeys
from vault.operations.replaced import Replaced
from vault.operations.reveal import EXTRA, open_part, wrapped_under
from vault.operations.rights import PURPOSE
from vault.operations.subject_package import CategoryData, Text, build
from vault.operations.subject_request import COLLECTION
from vault.policy.decide import Allowed, Operation, Question, Reference, Refused, View
from vault.store import consents as consent_store
from vault.store import guardians as guardian_store
from vault.store import objections as objection_store
from vault.store import preferences as preference_store
from vault.store import records as record_store
from vault.store import subject_requests as request_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.records import ReadableRow, RecordRow
from vault.store.subjects import RESTRICTED
from vault.store.tenants import TenantRow

# Requests that ask for a copy.
_KINDS = frozenset({"ACCESS", "PORTABILITY"})
_RECIPIENT = Recipient.DATA_SUBJECT.value
# Registers that people have a right to see; the others are about orders, the log and staff.
_REGISTERS = ("marketing-preference", "consent-and-instruction", "guardian-consent")
# Refusals that speak about the category and not about the call: the category is then left out, and named.
_ABOUT_CATEGORY = frozenset({"ROLE_NOT_ALLOWED", "PURPOSE_NOT_ALLOWED", "VIEW_NOT_ALLOWED", "RECIPIENT_NOT_ALLOWED", "LEVEL_NOT_ALLOWED"})
# A package is built in memory; more than this is refused, never truncated.
_MAX_RECORDS = 20_000
_BATCH = 500
# Column of what a correction replaced: until when it is kept.
_REPLACED = "replaced_until"
_IDS_PER_ENTRY = 1500
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of the package; with the first, where the export was recorded."""

    data: bytes = field(repr=False)
    receipt: Receipt | None


async def export_subject_data(vault: Vault, attempt: Attempt, name: SubjectName) -> AsyncIterator[Chunk]:
    """Send a person's data.

    Raises:
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, NDA_INVALID, ROLE_NOT_ALLOWED.
        FailedPreconditionError: CONSENT_BASIS_MISSING, IDENTITY_NOT_VERIFIED, SUBJECT_ERASED.
        NotFoundError: SUBJECT_NOT_FOUND.
        ResourceExhaustedError: EXPORT_TOO_LARGE, RELEASE_BUDGET_EXCEEDED.
    """
    attempt.operation, attempt.subjects = Operation.EXPORT.value, (name.subject,)
    vault.budgets.spend(attempt.caller, 1, purpose=attempt.justification.purpose)
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, name.tenant)
        question = await _question(vault, connection, attempt, tenant, name)
        _require(vault, attempt, question)
        await _check_subject(connection, name)
        gathered = await _gather(vault, connection, keys, question, name)
        entries = _entries(attempt, gathered)
        receipts = await log.append(vault, connection, keys, entries)
    receipt: Receipt | None = receipts[0]
    holder = Text(he=tenant.display_name or tenant.tenant_id, en=tenant.display_name or tenant.tenant_id)
    # Compressing megabytes: not on the loop that serves everyone else.
    package = await asyncio.to_thread(
        build,
        str(name),
        gathered.data,
        created=vault.clock().replace(microsecond=0),
        policy_version=vault.catalogue.policy_version,
        controller=Text(he=vault.catalogue.operator.name.he, en=vault.catalogue.operator.name.en),
        holder_for=(f"tenants/{tenant.tenant_id}", holder) if gathered.held_for_tenant else None,
        left_out=gathered.left_out,
    )
    for start in range(0, len(package), _CHUNK_BYTES):
        yield Chunk(package[start : start + _CHUNK_BYTES], receipt)
        receipt = None


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What goes into the package, and what the log says about it."""

    data: Sequence[CategoryData]
    left_out: Sequence[str]
    held_for_tenant: bool
    rules: Mapping[str, Allowed]
    records: Mapping[str, Sequence[str]]
    subjects: Mapping[str, Sequence[str]]


async def _question(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow, name: SubjectName) -> Question:
    """What is asked of the policy for every category, but the category."""
    facts = await gather(vault, connection, attempt, tenant)
    if attempt.justification.purpose != PURPOSE:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"a person's data is exported for the purpose '{PURPOSE}'")
    live = waiting = covers = False
    if facts.reference is Reference.SUBJECT_REQUEST:
        said = names.parse_child(attempt.justification.reference, COLLECTION, field="justification.reference")
        row = await request_store.get_subject_request(connection, name.tenant, said.id) if said.tenant == name.tenant else None
        if row is not None and row.kind in _KINDS:
            live, waiting = row.is_live, row.is_waiting
            # Before their identity was verified a request may name nobody; the answer is then about that.
            covers = row.subject_id == name.subject or (waiting and not row.subject_id)
    return Question(
        operation=Operation.EXPORT,
        category="",
        roles=attempt.caller.roles,
        actor_kind=attempt.caller.kind,
        purpose=PURPOSE,
        products=attempt.caller.products,
        device_unmanaged=attempt.caller.device_unmanaged,
        view=View.FULL,
        recipient=_RECIPIENT,
        reference=facts.reference,
        reference_live=live,
        reference_waiting=waiting,
        reference_covers=covers,
        nda_valid=facts.nda_valid,
        justified=facts.justified,
    )


def _require(vault: Vault, attempt: Attempt, question: Question) -> None:
    """Require what holds for the call whatever the person has; before anything says whether there is such a person."""
    decision = vault.policy.decide(replace(question, category=_REGISTERS[0]))
    attempt.rule = decision.rule
    if isinstance(decision, Refused):
        raise decision.error()
    attempt.consent_basis = decision.consent_basis


async def _check_subject(connection: Connection, name: SubjectName) -> None:
    row = await subject_store.get_subject(connection, name.tenant, name.subject)
    if row is None:
        raise NotFoundError("SUBJECT_NOT_FOUND", "no such subject")
    if row.state in {"ERASING", "ERASED"}:
        raise FailedPreconditionError("SUBJECT_ERASED", "the subject was erased")


async def _gather(vault: Vault, connection: Connection, keys: TenantKeys, question: Question, name: SubjectName) -> _Gathered:
    rows: dict[str, list[tuple[RecordRow, Mapping[str, str]]]] = defaultdict(list)
    rules: dict[str, Allowed] = {}
    left_out: set[str] = set()
    records: dict[str, list[str]] = defaultdict(list)
    subjects: dict[str, dict[str, None]] = defaultdict(dict)
    held_for_tenant = False
    for row, parts in await _records(vault, connection, name):
        category = vault.catalogue.category(row.category)
        if category.responsibility is Responsibility.PROCESSOR:
            held_for_tenant = True
            continue
        decision = vault.policy.decide(
            replace(
                question,
                category=row.category,
                level=row.level,
                restricted=any(part.subject_state == "RESTRICTED" for part in parts),
                affiliate_part=category.is_for_affiliate(row.metadata),
            )
        )
        if isinstance(decision, Refused):
            if decision.reason not in _ABOUT_CATEGORY:
                raise decision.error()
            left_out.add(row.category)
            continue
        usable = await keys_of_parts(vault, connection, keys, wrapped_under(parts))
        opened, shown_of = _opened(usable, category, row, parts, name.subject)
        rules[row.category] = decision
        rows[row.category].append((row, opened))
        records[row.category].append(row.record_id)
        subjects[row.category] |= dict.fromkeys(shown_of)
    former = await replaced.opened(vault, connection, keys, name.subject)
    data = [_described(vault, vault.catalogue.category(category), found, former) for category, found in sorted(rows.items())]
    for register, found_rows in (await _registered(vault, connection, keys, name)).items():
        decision = vault.policy.decide(replace(question, category=register))
        if isinstance(decision, Refused):
            raise decision.error()
        if found_rows:
            rules[register], subjects[register] = decision, {name.subject: None}
            data.append(_described_register(vault, vault.catalogue.category(register), found_rows))
    return _Gathered(
        data, sorted(left_out), held_for_tenant, rules, records, {category: list(found) for category, found in subjects.items()}
    )


async def _records(vault: Vault, connection: Connection, name: SubjectName) -> list[tuple[RecordRow, list[ReadableRow]]]:
    """Every record in which the person is a party, with every party's part."""
    found: list[tuple[RecordRow, list[ReadableRow]]] = []
    after = ""
    while True:
        rows = await record_store.list_records(connection, name.tenant, name.subject, category="", after=after, limit=_BATCH)
        parts: dict[str, list[ReadableRow]] = defaultdict(list)
        for part in await readable_parts(vault, connection, name.tenant, [row.record_id for row in rows]):
            parts[part.record_id].append(part)
        found.extend((row, parts[row.record_id]) for row in rows)
        if len(found) > _MAX_RECORDS:
            raise ResourceExhaustedError("EXPORT_TOO_LARGE", "the person has more records than one package holds", limit=str(_MAX_RECORDS))
        if len(rows) < _BATCH:
            return found
        after = rows[-1].record_id


def _opened(
    keys: TenantKeys, category: Category, row: RecordRow, parts: Sequence[ReadableRow], subject: str
) -> tuple[dict[str, str], list[str]]:
    """Values of a record, and whose they are: the person's own whole, what is another party's masked (P3.4-perm-party)."""
    values = dict(row.metadata)
    shown_of = []
    for part in parts:
        if part.wrapped is None or part.is_erased:
            continue
        own = part.subject_id == subject
        if part.keyring == RESTRICTED and not own:
            # Somebody else was erased, and what the law keeps of them is no part of this person's copy (§6.4).
            continue
        for key, plain in open_part(keys, part, None).items():
            values[key] = _own(category, key, plain) if own else _others(category, key, plain)
        shown_of.append(part.subject_id)
    return values, shown_of


def _own(category: Category, name: str, plain: bytes) -> str:
    spec = category.fields.get(name)
    if spec is not None and spec.type is FieldType.BYTES:
        return base64.b64encode(plain).decode()
    return plain.decode()


def _others(category: Category, name: str, plain: bytes) -> str:
    spec = category.fields.get(name)
    if name == EXTRA or spec is None or spec.type is FieldType.BYTES:
        return mask(MaskStyle.HIDDEN, "hidden")
    return mask(spec.mask, plain.decode())


async def _registered(vault: Vault, connection: Connection, keys: TenantKeys, name: SubjectName) -> dict[str, list[dict[str, str]]]:
    """What is registered about the person, by category."""
    tenant, subject = name.tenant, name.subject
    preferences = [
        {
            "channel": row.channel,
            "state": row.state,
            "basis": row.basis,
            "source": row.source,
            "text_version": row.text_version,
            "at": row.create_time.isoformat(),
        }
        for row in await preference_store.preferences_of(connection, tenant, subject)
    ]
    consents = [
        {
            "kind": "CONSENT",
            "scope": row.scope,
            "at": row.create_time.isoformat(),
            "expires_at": row.expire_time.isoformat() if row.expire_time else "",
            "withdrawn_at": row.withdraw_time.isoformat() if row.withdraw_time else "",
            "text_version": row.text_version,
            "doc_hash": row.evidence_sha256.hex(),
        }
        for row in await consent_store.consents_of(connection, tenant, subject)
    ]
    objections = [
        {"kind": "OBJECTION", "scope": f"purpose:{purpose}", "at": since.isoformat()}
        for purpose, since in (await objection_store.objections_of(connection, tenant, subject)).items()
    ]
    requests = [
        {
            "kind": "REQUEST",
            "scope": row.kind,
            "at": row.receive_time.isoformat(),
            "channel": row.channel,
            "due_at": row.due_time.isoformat(),
            "closed_at": row.close_time.isoformat() if row.close_time else "",
        }
        for row in await request_store.requests_of(connection, tenant, subject)
    ]
    return {
        "marketing-preference": preferences,
        "consent-and-instruction": [*consents, *objections, *requests],
        "guardian-consent": await _guardian(vault, connection, keys, name),
    }


async def _guardian(vault: Vault, connection: Connection, keys: TenantKeys, name: SubjectName) -> list[dict[str, str]]:
    row = await guardian_store.get_guardian(connection, name.tenant, name.subject)
    if row is None:
        return []
    spec = vault.catalogue.category("guardian-consent").fields
    who = await open_guardian(vault, connection, keys, row)
    return [
        {
            # Another person's, though it lies under the minor's key.
            **{key: mask(spec[key].mask, value) for key, value in who.items()},
            "method": row.method,
            "evidence_hash": row.evidence_sha256.hex(),
            "verified_at": row.verify_time.isoformat(),
            "withdrawn_at": row.withdraw_time.isoformat() if row.withdraw_time else "",
        }
    ]


def _described(
    vault: Vault, category: Category, found: Sequence[tuple[RecordRow, Mapping[str, str]]], former: Mapping[str, Sequence[Replaced]]
) -> CategoryData:
    """The records, each followed by what corrections replaced in it and is kept still (L14)."""
    rows = []
    for row, values in found:
        about = {
            "record": row.record_id,
            "stored_at": row.create_time.isoformat(),
            "kept_until": row.expire_time.isoformat() if row.expire_time else "",
        }
        rows.append({**about, **values})
        for before, own in former.get(row.record_id, ()):
            said = {name: _own(category, name, plain) for name, plain in own.items()}
            rows.append({"record": row.record_id, _REPLACED: before.expire_time.isoformat(), **said})
    corrected = [_REPLACED] if any(_REPLACED in row for row in rows) else []
    columns = ["record", "stored_at", "kept_until", *corrected, *category.fields]
    return _category_data(vault, category, columns, rows, level=found[0][0].level)


def _described_register(vault: Vault, category: Category, rows: Sequence[Mapping[str, str]]) -> CategoryData:
    columns = dict.fromkeys(key for row in rows for key in row)
    return _category_data(vault, category, list(columns), rows, level="")


def _category_data(
    vault: Vault, category: Category, columns: Sequence[str], rows: Sequence[Mapping[str, str]], *, level: str
) -> CategoryData:
    """A category's rows with everything that GDPR 15(1) wants said about them."""
    grants = [grant for grant in category.grants if Operation.ERASE not in grant.operations]
    purposes = sorted({purpose for grant in grants for purpose in grant.purposes})
    entity = vault.catalogue.operator
    if category.operating_entity == vault.catalogue.affiliate.id:
        entity = vault.catalogue.affiliate
    retention = category.retention_at(level)
    labels = {name: Text(he=spec.description.he, en=spec.description.en) for name, spec in category.fields.items()}
    return CategoryData(
        name=category.name,
        title=Text(he=category.title.he, en=category.title.en),
        source=Text(he=category.source.he, en=category.source.en),
        purposes={
            name: Text(he=vault.catalogue.purposes[name].description.he, en=vault.catalogue.purposes[name].description.en)
            for name in purposes
        },
        controller=Text(he=entity.name.he, en=entity.name.en),
        recipients=_recipients(vault, category),
        retention=Text(he=retention.text.he, en=retention.text.en),
        # GDPR 20(1): what rests on a contract or on the person's own agreement, and is kept as records that the person or the use gave.
        portable=category.held_as is HeldAs.RECORD
        and any(vault.catalogue.purposes[name].basis in {ConsentBasis.CONTRACT, ConsentBasis.PREFERENCE} for name in purposes),
        labels=labels,
        columns=tuple(columns),
        rows=tuple(rows),
    )


def _recipients(vault: Vault, category: Category) -> list[str]:
    """Classes of recipients that the policy knows; authorities are not among them, so that no order shows (§5)."""
    classes = {recipient for grant in category.grants for recipient in grant.recipients}
    classes -= {Recipient.INTERNAL, Recipient.DATA_SUBJECT, Recipient.AUTHORITY}
    named = {recipient.value for recipient in classes - {Recipient.AFFILIATE}}
    if category.shared_with_affiliate != "no":
        named.add(vault.catalogue.affiliate.name.en)
    return sorted(named)


def _entries(attempt: Attempt, gathered: _Gathered) -> list[Attempt]:
    """The export as a whole, then one entry per category, in pieces that fit."""
    entries = [replace(attempt, operation="export-subject-data", count=sum(len(data.rows) for data in gathered.data))]
    for data in gathered.data:
        decision = gathered.rules[data.name]
        records, subjects = gathered.records.get(data.name, ()), gathered.subjects.get(data.name, ())
        fields = tuple(sorted({key for row in data.rows for key in row}))
        for start in range(0, max(len(records), len(subjects), 1), _IDS_PER_ENTRY // 2):
            end = start + _IDS_PER_ENTRY // 2
            entries.append(
                replace(
                    attempt,
                    category=data.name,
                    fields=fields,
                    records=tuple(records[start:end]),
                    subjects=tuple(subjects[start:end]),
                    count=len(records[start:end]) or len(data.rows),
                    rule=decision.rule,
                    consent_basis=decision.consent_basis,
                )
            )
    return entries
