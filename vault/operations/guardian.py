"""Consents of guardians for minors: registering one, withdrawing one (P2.6-minor, A12, L27).

Rules:
- That a guardian was verified is a person's finding; the vault keeps the digest of the evidence and how it was done.
- Of the minor's birthday only the year in which they come of age is kept: when it is over, they are no minor any more. Where none is told they
  count as just born.
- Who the guardian is lies sealed under the minor's key: it dies with the minor's data.
- When a guardian withdraws, what is kept of the minor is restricted at once. It stays so until the consent is given anew and the restriction is
  lifted with a notice, like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from vault import crypto
from vault.catalogue.check import MAJORITY, is_under_age
from vault.crypto import DataKey, Place
from vault.errors import AbortedError, CiphertextInvalidError, InvalidArgumentError, NotFoundError
from vault.names import SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant, known_tenant, open_subject_key, reading_keys, usable_keys
from vault.operations.keyring import TenantKeys
from vault.operations.restrict import restrict
from vault.operations.rights import check_digest, check_word, living_subject
from vault.scan import refuse_card_data
from vault.store import guardians as guardian_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.guardians import GuardianRow

# Where the guardian's fields are sealed, in the place of a record's id.
PLACE = "guardian-consent"
_METHODS = frozenset({"DOCUMENT", "CALL_BACK", "IN_PERSON"})
_DEFAULT_METHOD = "DOCUMENT"
_MAX_BYTES = 400
_NAME, _CONTACT = "guardian_name", "guardian_contact"


@dataclass(frozen=True, slots=True)
class NewGuardian:
    """What shows the consent, how the guardian was verified, and who that is."""

    evidence_sha256: bytes
    method: str
    name: str = field(repr=False)
    contact: str = field(repr=False)
    birth_date: str = field(default="", repr=False)


async def register_guardian_consent(vault: Vault, attempt: Attempt, minor: SubjectName, new: NewGuardian) -> Receipt:
    """Register a guardian's consent, replacing an earlier one.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation, attempt.subjects, attempt.category = "register-guardian-consent", (minor.subject,), PLACE
    check_digest(new.evidence_sha256)
    method = check_word(new.method or _DEFAULT_METHOD, _METHODS, field="method")
    majority = _majority(new.birth_date, vault.clock())
    fields = {name: _checked(value, name) for name, value in ((_NAME, new.name), (_CONTACT, new.contact)) if value}
    attempt.fields = tuple(sorted(fields))
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, minor.tenant, hold=True)
        await living_subject(connection, minor)
        key = await _newest_key(vault, connection, keys, minor.subject)
        row = GuardianRow(
            subject_id=minor.subject,
            evidence_sha256=new.evidence_sha256,
            method=method,
            verified_by=attempt.caller.principal,
            verify_time=vault.clock(),
            withdraw_time=None,
            majority_time=majority,
            key_version=key.version,
            sealed=crypto.seal_fields(fields, under=key, at=Place(minor.tenant, minor.subject, PLACE)),
        )
        await guardian_store.put_guardian(connection, minor.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def withdraw_guardian_consent(vault: Vault, attempt: Attempt, minor: SubjectName) -> Receipt:
    """Withdraw a guardian's consent and restrict the minor's data.

    Raises:
        NotFoundError: SUBJECT_NOT_FOUND, CONSENT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation, attempt.subjects, attempt.category = "withdraw-guardian-consent", (minor.subject,), PLACE
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, minor.tenant)
        await living_subject(connection, minor)
        if not await guardian_store.withdraw_guardian(connection, minor.tenant, minor.subject, vault.clock()):
            raise NotFoundError("CONSENT_NOT_FOUND", "no guardian's consent is in force")
        await restrict(vault, connection, minor, basis="guardian-withdrawn", by=attempt.caller.principal)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def open_guardian(vault: Vault, connection: Connection, keys: TenantKeys, row: GuardianRow) -> dict[str, str]:
    """Who the guardian is; nothing if the key that sealed it is gone.

    Raises:
        CiphertextInvalidError: the row was altered or moved (I3).
    """
    async with reading_keys(vault) as apart:
        stored = await subject_store.subject_key_rows(apart or connection, keys.tenant, [row.subject_id])
    for found in stored:
        if found.version == row.key_version:
            opened = crypto.open_fields(row.sealed, None, under=open_subject_key(keys, found), at=Place(keys.tenant, row.subject_id, PLACE))
            return {name: value.decode() for name, value in opened.items()}
    return {}


async def reseal_guardian(connection: Connection, tenant: str, minor: str, *, own: Mapping[int, DataKey], version: int) -> bool:
    """Seal who the guardian is under another of the minor's keys, before the older ones are destroyed.

    Args:
        connection: an open write transaction that holds the subject's lock.
        tenant: id of the tenant.
        minor: the subject.
        own: the subject's keys by version.
        version: the one to seal under.
    Returns:
        Whether nothing is left under an older key; False if it does not open.
    """
    row = await guardian_store.get_guardian(connection, tenant, minor)
    if row is None or row.key_version == version:
        return True
    at = Place(tenant, minor, PLACE)
    try:
        if row.key_version not in own or version not in own:
            return False
        fields = crypto.open_fields(row.sealed, None, under=own[row.key_version], at=at)
    except CiphertextInvalidError:
        return False
    sealed = crypto.seal_fields(fields, under=own[version], at=at)
    await guardian_store.put_guardian(connection, tenant, replace(row, key_version=version, sealed=sealed))
    return True


def _majority(birth_date: str, now: datetime) -> datetime:
    """When the year is over in which somebody comes of age."""
    born = now.date()
    if birth_date:
        try:
            born = datetime.strptime(birth_date, "%Y-%m-%d").replace(tzinfo=UTC).date()
        except ValueError:
            raise InvalidArgumentError("FIELD_INVALID", "birth_date is a day like 2012-12-31", field="birth_date") from None
        if born > now.date() or not is_under_age(born, now):
            raise InvalidArgumentError("FIELD_INVALID", "birth_date is not that of a minor", field="birth_date")
    return datetime(born.year + MAJORITY + 1, 1, 1, tzinfo=UTC)


async def _newest_key(vault: Vault, connection: Connection, keys: TenantKeys, subject: str) -> DataKey:
    row = (await usable_keys(vault, connection, keys.tenant, [subject])).get(subject)
    if row is None:
        raise AbortedError("RETRY_AFTER_ERASURE", "the subject is being erased or was erased")
    return open_subject_key(keys, row)


def _checked(value: str, name: str) -> bytes:
    refuse_card_data(value, field=name)
    encoded = value.encode()
    if len(encoded) > _MAX_BYTES or not value.isprintable():
        raise InvalidArgumentError(
            "FIELD_INVALID", f"field '{name}' is not one line of at most {_MAX_BYTES} bytes", field=name, limit=str(_MAX_BYTES)
        )
    return encoded
