"""Carrying out an approved erasure, and completing it when what had to stay may go.

    (1) block: from the commit of the approval on, reads are refused and writes are told to come back (E11); then, with nothing moving any more, see
        that what it does is still what was asked for, and let go of the person if it is not
    (2) note it in the erasure ledger, outside every backup: what cannot be noted is not destroyed (§6.6)
    (3) keep: what is forwarded or must stay is sealed anew, under a key of its own; what must stay, under the restricted keyring and index (§6.4)
    (4) destroy the key: every other ciphertext of the person, backups included, is unreadable from here on (I4, L43)
    (5) delete rows, index entries and identities; a party to records that others share becomes a token
    (6) sweep: nothing of the person may be left but what stays
    (7) certify, signed
    (8) later, when an exception ends: erase or tokenise what it kept, and supplement the certificate (E6)

(3) and (8) go by batches. The last look for what stays and (4) are one transaction under the lock that a hold takes as well: a hold that is there
before freezes what it covers, one that comes after finds nothing (E4, E5). Where keys have a database of their own, (4) follows that transaction, and
until it is done the erasure is PENDING_KEY_DESTRUCTION (E16). Nothing stays: (3) is not there, and the cost of being unreadable does not depend on
how much there is. A crash anywhere leaves an erasure that `resume` takes up where its last commit was (I10, E10).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from vault import crypto
from vault.catalogue.model import Erasure, ErasureException
from vault.crypto import DataKey, Place
from vault.errors import AbortedError, DataLossError, VaultError
from vault.names import ChildName, SubjectName
from vault.operations import ledger, log, notify, preference, rights
from vault.operations.attempt import Attempt, Caller, Justification, Receipt
from vault.operations.core import Vault, add_subject_key, known_tenant, open_subject_key, reading_keys, writing_keys
from vault.operations.erase_certificate import certificate
from vault.operations.erase_counts import count_outcomes, digest_of, kept_before
from vault.operations.ingest import FILE_DIGEST
from vault.operations.keyring import TenantKeys
from vault.operations.outcomes import REVIEW, Outcome, Requester, at_last, depends_on_record, in_scope, is_tenants, outcome_of
from vault.operations.subjects import identifiers_in, indexed_fields, token_of
from vault.store import erasures as erasure_store
from vault.store import holds as hold_store
from vault.store import imports as import_store
from vault.store import notifications as notification_store
from vault.store import records as record_store
from vault.store import replaced as replaced_store
from vault.store import restrictions as restriction_store
from vault.store import subjects as subject_store
from vault.store import tenants as tenant_store
from vault.store.database import Connection
from vault.store.erasures import Count, ErasureRow, ExceptionRow
from vault.store.records import IndexRow, PartRow, RecordRow

# One batch holds its locks for some milliseconds.
_BATCH = 200
# The category of uploaded files (C04).
_FILES = "list-file"


_log = structlog.get_logger()


async def begin(connection: Connection, tenant: str, row: ErasureRow) -> ErasureRow:
    """Step (1), in the transaction of the last approval; the caller holds the locks of erasure and subject."""
    await subject_store.set_subject_state(connection, tenant, row.subject_id, "ERASING")
    return replace(row, state="RUNNING")


async def forward(vault: Vault, connection: Connection, tenant: str, row: ErasureRow, receipt: Receipt) -> ErasureRow:
    """End an erasure that only the tenant may decide about: it is told, and nothing is changed (E2)."""
    row = replace(row, state="FORWARDED", outcomes=row.preview, finish_time=vault.clock())
    await _tell(vault, connection, ChildName(tenant, "erasures", row.erasure_id), row)
    await erasure_store.update_erasure(connection, tenant, row)
    await _issue(vault, connection, tenant, row, receipt, next_time=None)
    return row


async def run(vault: Vault, caller: Caller, name: ChildName) -> ErasureRow:
    """Steps (2) to (7) of an approved erasure, from where it stands.

    Raises:
        AbortedError: PREVIEW_STALE; nothing was destroyed, and it waits for approval again.
        DataLossError: ERASURE_INCOMPLETE, the sweep still finds something; the erasure stays under way.
        UnavailableError: a database or key service is away; the erasure stays under way.
    """
    async with vault.database.read() as connection:
        row = await erasure_store.get_erasure(connection, name.tenant, name.id)
    if row is not None and row.state in erasure_store.UNDER_WAY:
        await _check(vault, name, row)
        await ledger.record(vault, name.tenant, row)
    await _ensure_restricted_key(vault, name)
    while await _keep_batch(vault, name):
        pass
    await _destroy_apart(vault, name)
    return await _finish(vault, caller, name)


async def resume(vault: Vault, caller: Caller) -> int:
    """Go on with what was interrupted, and complete what exceptions or recipients kept open. How many erasures were looked at.

    One that cannot go on now, say for want of its tenant's root key, keeps no other waiting and no vault from starting: its subject is blocked.
    """
    now = vault.clock()
    async with vault.database.read() as connection:
        unfinished = await erasure_store.erasures_under_way(connection)
        due = await erasure_store.erasures_due(connection, now) + await erasure_store.erasures_told(connection)
    done = 0
    for step, found in ((run, unfinished), (complete, due)):
        for tenant, erasure in found:
            name = ChildName(tenant, "erasures", erasure)
            try:
                await step(vault, caller, name)
                done += 1
            except VaultError as error:
                _log.warning("erasure not finished", resource=str(name), reason=error.reason)
    return done


async def complete(vault: Vault, caller: Caller, name: ChildName) -> ErasureRow:
    """Step (8): erase or tokenise what no exception keeps any more; a supplement says so. What another exception keeps stays under that one."""
    while True:
        async with vault.database.write() as connection:
            _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
            await hold_store.delay_holds(connection, name.tenant)
            row = await _locked(connection, name)
            await subject_store.get_subject(connection, name.tenant, row.subject_id, lock=True)
            due = await erasure_store.due_exceptions(connection, name.tenant, name.id, vault.clock(), limit=_BATCH)
            if not due:
                if row.state != "PARTIAL":
                    return row
                return await _supplement(vault, connection, keys, caller, name, row)
            await _end_exceptions(vault, connection, name.tenant, row, due)


async def _check(vault: Vault, name: ChildName, row: ErasureRow) -> None:
    """The rest of step (1): what the erasure does is what was asked for. Once it is in the ledger it goes on, whatever is found.

    Raises:
        AbortedError: PREVIEW_STALE; the person is as before, and the last approval is void.
        UnavailableError: LEDGER_UNAVAILABLE, RESTORE_PENDING; whether it is in the ledger is not known.
    """
    if row.state != "RUNNING" or await ledger.is_noted(vault, row.erasure_id):
        return
    async with vault.database.write() as connection:
        row = await _locked(connection, name)
        await subject_store.get_subject(connection, name.tenant, row.subject_id, lock=True)
        subject, requester = SubjectName(name.tenant, row.subject_id), Requester(row.requester_kind)
        # Where another worker was faster, parts may have changed by the erasure itself.
        if row.state != "RUNNING" or row.position or row.kept_version or row.restricted_version:
            return
        if digest_of(subject, requester, await count_outcomes(vault, connection, subject, requester)) == row.preview_digest:
            return
        await subject_store.set_subject_state(connection, name.tenant, row.subject_id, await _state_of(connection, name, row))
        await erasure_store.update_erasure(connection, name.tenant, replace(row, state="REQUESTED", approvers=row.approvers[:-1]))
    raise AbortedError("PREVIEW_STALE", "what the erasure would do changed since the preview")


async def _ensure_restricted_key(vault: Vault, name: ChildName) -> None:
    """Tenants of the first versions get their restricted key when something has to be kept; made before a transaction is open."""
    async with vault.database.read() as connection:
        row = await tenant_store.get_tenant(connection, name.tenant)
        stored = await tenant_store.tenant_key_rows(connection, name.tenant)
        erasure = await erasure_store.get_erasure(connection, name.tenant, name.id)
        may_stay = erasure is not None and await _may_stay(vault, connection, name.tenant, erasure)
    if row is None or not may_stay or any(key.purpose == subject_store.RESTRICTED for key in stored):
        return
    fresh = await vault.keyring.fresh(name.tenant, subject_store.RESTRICTED, 1, root_key=row.root_key)
    async with vault.database.write() as connection:
        await tenant_store.change_keys(connection, name.tenant)
        stored = await tenant_store.tenant_key_rows(connection, name.tenant)
        if all(key.purpose != subject_store.RESTRICTED for key in stored):
            await tenant_store.insert_tenant_keys(connection, name.tenant, [fresh], vault.clock())
            await tenant_store.bump_epoch(connection, name.tenant)


async def _keep_batch(vault: Vault, name: ChildName) -> bool:
    """One batch of step (3), or step (4) if nothing more stays. Whether there may be more to keep."""
    async with vault.database.write() as connection:
        # In this order everywhere: the tenant's keys, holds, rows.
        await tenant_store.hold_keys(connection, name.tenant)
        await hold_store.delay_holds(connection, name.tenant)
        row = await _locked(connection, name)
        if row.state != "RUNNING":
            return False
        await subject_store.get_subject(connection, name.tenant, row.subject_id, lock=True)
        categories = await _may_stay(vault, connection, name.tenant, row)
        if categories or _is_persons(row):
            # Only what is sealed anew needs the tenant's keys: destroying one waits for no key service.
            _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
            if page := await _page(connection, name.tenant, row, categories):
                row = await _keep(vault, connection, keys, row, page)
                await erasure_store.update_erasure(connection, name.tenant, replace(row, position=page[-1][0].record_id))
                return True
            if await hold_store.holds_parts(
                connection,
                name.tenant,
                row.subject_id,
                vault.clock(),
                but=await _kept(connection, name.tenant, row),
                transient=_transient(vault),
            ):
                # A hold came after its records were passed: once more from the beginning (E5).
                await erasure_store.update_erasure(connection, name.tenant, replace(row, position=""))
                return True
            await _suppress(vault, connection, keys, row)
        async with reading_keys(vault) as apart:
            stored = await subject_store.subject_key_rows(apart or connection, name.tenant, [row.subject_id])
        kept = await _kept(connection, name.tenant, row)
        row = replace(row, destroyed_keys=[key.version for key in stored if key.version not in kept])
        if vault.key_database is None:
            await subject_store.destroy_subject_keys(connection, name.tenant, row.subject_id, but=kept)
        # From here on nothing is looked for that might stay, whatever comes.
        await erasure_store.update_erasure(connection, name.tenant, replace(row, state="PENDING_KEY_DESTRUCTION"))
    return False


async def _page(connection: Connection, tenant: str, row: ErasureRow, categories: Collection[str]) -> list[tuple[PartRow, RecordRow]]:
    """The next parts that may stay, of whole records: a person may be several parties of one, and some of them may be on the next page."""
    if not categories:
        return []
    page = await record_store.parts_in(
        connection,
        tenant,
        row.subject_id,
        categories=categories,
        but=await _kept(connection, tenant, row),
        after=row.position,
        limit=_BATCH,
        lock=True,
    )
    return [item for item in page if item[0].record_id != page[-1][0].record_id] if len(page) == _BATCH else page


def _is_persons(row: ErasureRow) -> bool:
    return Requester(row.requester_kind) is not Requester.TENANT


async def _may_stay(vault: Vault, connection: Connection, tenant: str, row: ErasureRow) -> list[str]:
    """Categories of the person of which some part may stay. Empty for most people, and then nothing is read."""
    requester = Requester(row.requester_kind)
    before = await kept_before(connection, tenant, row.subject_id, but=row.erasure_id)
    found = [vault.catalogue.category(name) for name in await subject_store.record_counts(connection, tenant, row.subject_id, but=before)]
    if await hold_store.has_live_holds(connection, tenant, vault.clock()):
        return [category.name for category in found]
    return [
        category.name
        for category in found
        if not in_scope(category, requester) or depends_on_record(category) or (requester is not Requester.TENANT and is_tenants(category))
    ]


def _transient(vault: Vault) -> list[str]:
    """Categories that are gone once delivered, and that no hold keeps (P3.4-rec)."""
    return [category.name for category in vault.catalogue.categories.values() if category.is_transient]


async def _held(vault: Vault, connection: Connection, tenant: str, ids: Sequence[str]) -> dict[str, Outcome]:
    """The exception of each record that a hold or claim covers. It ends when that does, or is looked at when that is."""
    now = vault.clock()
    held = await hold_store.held_records(connection, tenant, ids, now, transient=_transient(vault))
    basis = {"CLAIM": ErasureException.LEGAL_CLAIM}
    return {
        record: Outcome(
            Erasure.RESTRICTED,
            basis.get(hold.kind, ErasureException.LEGAL_HOLD),
            until=hold.expire_time,
            review=None if hold.expire_time else hold.review_time or now + REVIEW,
        )
        for record, hold in held.items()
    }


@dataclass(slots=True)
class _Kept:
    """What one batch keeps, and how."""

    parts: list[PartRow]
    index: list[IndexRow]
    moved: list[tuple[str, str]]
    exceptions: list[ExceptionRow]
    tokens: list[tuple[str, str]]


async def _keep(
    vault: Vault, connection: Connection, keys: TenantKeys, row: ErasureRow, page: Sequence[tuple[PartRow, RecordRow]]
) -> ErasureRow:
    """Seal anew what stays of a batch, and make tokens of what becomes one; the rest is left for step (5)."""
    requester, now = Requester(row.requester_kind), vault.clock()
    kept = _Kept([], [], [], [], [])
    own = await _own_keys(vault, connection, keys, row.subject_id)
    held = await _held(vault, connection, keys.tenant, [part.record_id for part, _ in page])
    for part, record in page:
        category, hold = vault.catalogue.category(record.category), held.get(part.record_id)
        outcome = outcome_of(category, record, requester, now, held=hold) if in_scope(category, requester) else None
        if outcome is not None and outcome.kind is Erasure.TOKENISED:
            kept.tokens.append((part.record_id, part.role))
            kept.moved.append((part.record_id, part.role))
        elif outcome is None or outcome.kind is Erasure.FORWARDED:
            row, key = await _key(vault, connection, keys, row, own, restricted=False)
            _reseal(keys, part, own, key, kept)
        elif outcome.kind is Erasure.RESTRICTED:
            row, key = await _key(vault, connection, keys, row, own, restricted=True)
            # A hold is on the whole record; a duty to keep is on what it is about.
            spared = () if hold is not None else [spec.name for spec in category.fields.values() if spec.goes_first]
            fields = _reseal(keys, part, own, key, kept, without=spared)
            kept.moved.append((part.record_id, part.role))
            kept.exceptions.append(_exception(row, part, record, outcome, now))
            indexed = {name: fields[name] for name in indexed_fields(category, part.role) & fields.keys()}
            for identifier in identifiers_in(category, part.role, indexed):
                token = token_of(keys, identifier, restricted=True)
                kept.index.append(
                    IndexRow(token.kind, token.token, part.record_id, identifier.field, part.role, part.subject_id, keys.index_version)
                )
    await record_store.replace_parts(connection, keys.tenant, kept.parts)
    await record_store.tokenise_parts(connection, keys.tenant, kept.tokens)
    await record_store.delete_index_roles(connection, keys.tenant, kept.moved)
    await record_store.insert_index(connection, keys.tenant, kept.index)
    await erasure_store.insert_exceptions(connection, keys.tenant, kept.exceptions)
    return row


def _exception(row: ErasureRow, part: PartRow, record: RecordRow, outcome: Outcome, now: datetime) -> ExceptionRow:
    return ExceptionRow(
        record_id=part.record_id,
        role=part.role,
        erasure_id=row.erasure_id,
        subject_id=row.subject_id,
        category=record.category,
        basis=outcome.basis or ErasureException.LEGAL_HOLD,
        end_time=outcome.until,
        due_time=outcome.look_again or now,
    )


async def _own_keys(vault: Vault, connection: Connection, keys: TenantKeys, subject: str) -> dict[int, DataKey]:
    """The person's keys by version; one that does not open is left out."""
    async with reading_keys(vault) as apart:
        stored = await subject_store.subject_key_rows(apart or connection, keys.tenant, [subject])
    own = {}
    for found in stored:
        try:
            own[found.version] = open_subject_key(keys, found)
        except DataLossError as error:
            _log.warning("key not opened", resource=f"tenants/{keys.tenant}", reason=error.reason)
    return own


async def _key(
    vault: Vault, connection: Connection, keys: TenantKeys, row: ErasureRow, own: dict[int, DataKey], *, restricted: bool
) -> tuple[ErasureRow, DataKey]:
    """The key that seals what stays, made when it is first needed."""
    version = row.restricted_version if restricted else row.kept_version
    if version:
        if version not in own:
            raise DataLossError("KEY_UNKNOWN", "the key of what an erasure keeps is gone")
        return row, own[version]
    key = await add_subject_key(
        vault, connection, keys, row.subject_id, keyring=subject_store.RESTRICTED if restricted else subject_store.DATA
    )
    own[key.version] = key
    return (replace(row, restricted_version=key.version) if restricted else replace(row, kept_version=key.version)), key


def _reseal(
    keys: TenantKeys, part: PartRow, own: Mapping[int, DataKey], key: DataKey, kept: _Kept, *, without: Collection[str] = ()
) -> Mapping[str, bytes]:
    """Seal a part under another of the person's keys. What does not open is kept as it is: it opens with no key, and may be the only proof."""
    at = Place(keys.tenant, part.subject_id, part.record_id)
    try:
        if part.key_version not in own:
            raise DataLossError("KEY_UNKNOWN", "the key of the part is gone")  # noqa: TRY301 - handled as a part that is damaged
        opened = crypto.open_fields(part.sealed, None, under=own[part.key_version], at=at)
    except DataLossError as error:
        _log.warning("part not opened", record=part.record_id, reason=error.reason)
        kept.parts.append(replace(part, key_version=key.version))
        return {}
    fields = {name: value for name, value in opened.items() if name not in without}
    kept.parts.append(replace(part, key_version=key.version, sealed=crypto.seal_fields(fields, under=key, at=at)))
    return fields


async def _kept(connection: Connection, tenant: str, row: ErasureRow) -> frozenset[int]:
    """Versions of the person's keys that seal what stays, for this erasure or for an earlier one."""
    own = frozenset({row.kept_version, row.restricted_version} - {0})
    return own | await kept_before(connection, tenant, row.subject_id, but=row.erasure_id)


async def _suppress(vault: Vault, connection: Connection, keys: TenantKeys, row: ErasureRow) -> None:
    """While identifiers can still be read: keep tokens of them that block advertising, or forget those there are (A5)."""
    if _is_persons(row):
        name = SubjectName(keys.tenant, row.subject_id)
        await preference.remember_no(vault, connection, keys, name, keep=row.keep_suppression)


async def _destroy_apart(vault: Vault, name: ChildName) -> None:
    """Step (4) where keys have a database of their own; it waits for no key service."""
    if vault.key_database is None:
        return
    async with vault.database.read() as connection:
        row = await erasure_store.get_erasure(connection, name.tenant, name.id)
        kept = frozenset() if row is None else await _kept(connection, name.tenant, row)
    if row is not None and row.state == "PENDING_KEY_DESTRUCTION":
        async with vault.key_database.write() as apart:
            await subject_store.destroy_subject_keys(apart, name.tenant, row.subject_id, but=kept)


async def _finish(vault: Vault, caller: Caller, name: ChildName) -> ErasureRow:
    """Steps (5) to (7), in one transaction."""
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await _locked(connection, name)
        if row.state != "PENDING_KEY_DESTRUCTION":
            return row
        tenant, subject = name.tenant, row.subject_id
        kept = await _kept(connection, tenant, row)
        # Keys once more: a restored key store must not bring one back (E10).
        async with writing_keys(vault, connection) as keys_on:
            await subject_store.destroy_subject_keys(keys_on, tenant, subject, but=kept)
        if not _is_persons(row):
            await _destroy_files(connection, keys, row)
        await record_store.tokenise_subject(connection, tenant, subject, categories=_tokenised(vault), but=kept)
        await record_store.delete_subject_parts(connection, tenant, subject, but=kept)
        await replaced_store.forget_of_subject(connection, tenant, subject)
        is_gone = row.kept_version == 0
        if is_gone:
            await subject_store.delete_identities(connection, tenant, subject)
        else:
            await record_store.unbind_identities(connection, tenant, subject)
        await subject_store.set_subject_state(connection, tenant, subject, "ERASED" if is_gone else await _state_of(connection, name, row))
        if is_gone:
            await erasure_store.insert_exceptions(connection, tenant, await _proofs(vault, connection, tenant, row))
        if is_gone or _is_persons(row):
            await rights.forget(connection, tenant, subject, is_gone=is_gone, by=caller.principal, now=vault.clock())
        async with reading_keys(vault) as apart:
            left = await record_store.count_traces(connection, tenant, subject, but=kept, keys_on=apart)
        if left:
            raise DataLossError("ERASURE_INCOMPLETE", "the sweep after the erasure still finds rows of the subject")
        row = replace(row, outcomes=await _outcomes(connection, tenant, row), finish_time=vault.clock())
        await _tell(vault, connection, name, row)
        next_time = await erasure_store.next_due(connection, tenant, row.erasure_id)
        row = replace(row, state=await _state_at(connection, name, next_time))
        [receipt] = await log.append(vault, connection, keys, [_entry(caller, name, row, "erase")])
        await _issue(vault, connection, tenant, row, receipt, next_time=next_time)
        await erasure_store.update_erasure(connection, tenant, row)
    # The ledger's entry follows the last approval at once, and outlives a crash.
    if noted := vault.ledger.erasures.get(row.erasure_id):
        vault.meters.certified(vault.clock() - noted)
    return row


async def _proofs(vault: Vault, connection: Connection, tenant: str, row: ErasureRow) -> list[ExceptionRow]:
    """What stays of consents as evidence, without the person: which digest, when, by whom it was recorded (§6.2)."""
    now = vault.clock()
    found = []
    for name, ids in (await rights.proofs_of(connection, tenant, row.subject_id)).items():
        category = vault.catalogue.category(name)
        end = now + timedelta(days=category.retention_at("", {}).days)
        basis = category.erasure_exception or ErasureException.CONSENT_EVIDENCE
        found += [ExceptionRow(item, "", row.erasure_id, row.subject_id, name, basis, end, end) for item in ids]
    return found


async def _destroy_files(connection: Connection, keys: TenantKeys, row: ErasureRow) -> None:
    """Delete the uploaded files that hold a row of the person, whole: what else is in them is in the lists already (C04, §6.2)."""
    wanted = await import_store.files_of_subject(connection, keys.tenant, row.subject_id)
    files = await record_store.records_of_category(connection, keys.tenant, _FILES) if wanted else []
    for file in files:
        tokens = keys.digests(FILE_DIGEST, bytes.fromhex(file.metadata["sha256"]))
        if not wanted.isdisjoint(tokens):
            await record_store.delete_record(connection, keys.tenant, file.record_id)


def _tokenised(vault: Vault) -> list[str]:
    """Categories of which every part becomes a token; where records differ, step (3) has looked at each."""
    return [
        category.name
        for category in vault.catalogue.categories.values()
        if not depends_on_record(category) and at_last(category, {}).kind is Erasure.TOKENISED
    ]


async def _state_of(connection: Connection, name: ChildName, row: ErasureRow) -> str:
    """State of a person of whom something is left that is not the erasure's."""
    restrictions = await restriction_store.restrictions_of(connection, name.tenant, row.subject_id)
    return "RESTRICTED" if any(item.lift_time is None for item in restrictions) else "ACTIVE"


async def _outcomes(connection: Connection, tenant: str, row: ErasureRow) -> list[Count]:
    """What became of every part that was found."""
    found = Counter[str]()
    for count in row.preview:
        found[count.category] += count.count
    kept = await erasure_store.exceptions_of(connection, tenant, row.erasure_id)
    # Once it is certified it stays as it was: later the tenant's own are under another key, or gone for another reason.
    forwarded: Mapping[str, int] = {count.category: count.count for count in row.outcomes if count.outcome == Erasure.FORWARDED}
    if not row.outcomes and row.kept_version:
        forwarded = await record_store.count_by_category(connection, tenant, row.subject_id, {row.kept_version})
    tokens = await record_store.count_by_category(connection, tenant, row.subject_id, {0})
    lines = list(kept)
    for category, number in found.items():
        left = number - sum(line.count for line in kept if line.category == category)
        for outcome, counted in ((Erasure.FORWARDED, forwarded), (Erasure.TOKENISED, tokens)):
            here = min(left, counted.get(category, 0))
            lines += [Count(category, outcome, here)] if here else []
            left -= here
        lines += [Count(category, Erasure.ERASED, left)] if left > 0 else []
    return sorted(lines, key=lambda line: (line.category, line.outcome, line.basis))


async def _tell(vault: Vault, connection: Connection, name: ChildName, row: ErasureRow) -> None:
    """Tell whoever received something; the tenant is told what is its to decide about, and not what it asked for itself (L32, E2)."""
    done, forwarded = Counter[str](), Counter[str]()
    for count in row.outcomes:
        (forwarded if count.outcome == Erasure.FORWARDED else done)[count.category] += count.count
    if done:
        await notify.erased(vault, connection, name, row.subject_id, done, by_tenant=not _is_persons(row))
    if forwarded:
        await notify.forwarded(vault, connection, name, row.subject_id, forwarded)


async def _state_at(connection: Connection, name: ChildName, next_time: datetime | None) -> str:
    """Whether anything is still kept, or anybody who was told has not acknowledged it."""
    return "PARTIAL" if next_time or await notify.pending_for(connection, name.tenant, str(name)) else "COMPLETE"


async def _end_exceptions(vault: Vault, connection: Connection, tenant: str, row: ErasureRow, due: Sequence[ExceptionRow]) -> None:
    """Erase or tokenise what nothing keeps any more; note the exception that keeps the rest."""
    requester, now = Requester(row.requester_kind), vault.clock()
    ids = [item.record_id for item in due]
    records = {record.record_id: record for record in await record_store.get_records(connection, tenant, ids)}
    held = await _held(vault, connection, tenant, ids)
    over, staying = [], []
    for item in due:
        record = records.get(item.record_id)
        category = vault.catalogue.category(item.category)
        outcome = outcome_of(category, record, requester, now, held=held.get(item.record_id)) if record is not None else None
        if outcome is not None and outcome.kind is Erasure.RESTRICTED:
            staying.append(replace(item, basis=outcome.basis or item.basis, end_time=outcome.until, due_time=outcome.look_again or now))
            continue
        over.append(item)
        if outcome is not None and outcome.kind is Erasure.TOKENISED:
            await record_store.delete_index_roles(connection, tenant, [(item.record_id, item.role)])
            await record_store.tokenise_parts(connection, tenant, [(item.record_id, item.role)])
        elif record is not None:
            await record_store.delete_part(connection, tenant, item.record_id, item.role)
        elif not item.role:
            await rights.forget_proof(connection, tenant, item.category, item.record_id)
    await erasure_store.replace_exceptions(connection, tenant, staying)
    await erasure_store.delete_exceptions(connection, tenant, over)


async def _supplement(
    vault: Vault, connection: Connection, keys: TenantKeys, caller: Caller, name: ChildName, row: ErasureRow
) -> ErasureRow:
    """Say what became of what had been kept, if anything did; with the last of it the restricted key dies as well."""
    next_time = await erasure_store.next_due(connection, name.tenant, name.id)
    outcomes, state = await _outcomes(connection, name.tenant, row), await _state_at(connection, name, next_time)
    if state == row.state and outcomes == list(row.outcomes):
        return row
    if next_time is None:
        async with writing_keys(vault, connection) as keys_on:
            # No other one: since then the person's key may have been rotated, or another erasure may keep something.
            stored = {key.version for key in await subject_store.subject_key_rows(keys_on, name.tenant, [row.subject_id])}
            await subject_store.destroy_subject_keys(keys_on, name.tenant, row.subject_id, but=stored - {row.restricted_version})
        row = replace(row, restricted_version=0)
    row = replace(row, outcomes=outcomes, state=state)
    [receipt] = await log.append(vault, connection, keys, [_entry(caller, name, row, "complete-erasure")])
    await _issue(vault, connection, name.tenant, row, receipt, next_time=next_time)
    await erasure_store.update_erasure(connection, name.tenant, row)
    return row


async def _issue(
    vault: Vault, connection: Connection, tenant: str, row: ErasureRow, receipt: Receipt, *, next_time: datetime | None
) -> None:
    """Sign and store a certificate, or the next supplement."""
    number = len(await erasure_store.certificates_of(connection, tenant, row.erasure_id))
    notified = await notification_store.notified(connection, tenant, str(ChildName(tenant, "erasures", row.erasure_id)))
    note = certificate(vault, tenant, row, receipt, number=number, next_time=next_time, notified=notified)
    await erasure_store.insert_certificate(connection, tenant, row.erasure_id, number=number, state=row.state, note=note, now=vault.clock())


def _entry(caller: Caller, name: ChildName, row: ErasureRow, operation: str) -> Attempt:
    return Attempt(
        caller=caller,
        operation=operation,
        tenant=name.tenant,
        subjects=(row.subject_id,),
        count=sum(count.count for count in row.outcomes if count.outcome in {Erasure.ERASED, Erasure.TOKENISED}),
        justification=Justification(rights.PURPOSE, row.reference),
        is_justified=True,
        resource=str(name),
    )


async def _locked(connection: Connection, name: ChildName) -> ErasureRow:
    row = await erasure_store.get_erasure(connection, name.tenant, name.id, lock=True)
    if row is None:
        raise AbortedError("CONCURRENT_CHANGE", "the erasure is gone")
    return row
