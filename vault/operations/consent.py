"""Consents: recording one, withdrawing one (P1.7-no3p, L26).

Rules:
- What is consented to is a recipient, `third-party:{name}`, or a purpose of the catalogue, `purpose:{purpose}`; never both and never everything.
- A tenant may consent for its own: then the name is the tenant's. So does its administrator attest that the recipients on its lists are of age, or
  have a guardian's consent: nobody here guesses how old they are (A12).
- A withdrawal counts from its commit on, for whatever is decided after it; it is one call, as consenting is (GDPR 7(3)).
- Evidence is a digest; the document stays where it is.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from vault import names
from vault.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from vault.names import SubjectName, TenantName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant, known_tenant
from vault.operations.rights import check_digest, check_label, living_subject, may_be_contact
from vault.store import consents as consent_store
from vault.store.consents import TENANT_ITSELF, ConsentRow
from vault.store.database import Connection

_THIRD_PARTY = re.compile(r"third-party:([a-z0-9][a-z0-9-]{1,61})")
_PURPOSE = "purpose:"
RECIPIENTS_OF_AGE = "attestation:recipients-of-age"
_ATTESTS = "tenant-admin"


@dataclass(frozen=True, slots=True)
class NewConsent:
    """What is consented to, and what shows it."""

    scope: str
    text_version: str
    evidence_sha256: bytes
    expire_time: datetime | None


async def record_consent(vault: Vault, attempt: Attempt, whose: SubjectName | TenantName, new: NewConsent) -> Receipt:
    """Record a consent.

    Raises:
        InvalidArgumentError: FIELD_INVALID, FIELD_REQUIRED, UNKNOWN_PURPOSE.
        PermissionDeniedError: ROLE_NOT_ALLOWED, somebody else than the tenant's administrator attests.
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation = "record-consent"
    now = vault.clock()
    check_scope(vault, new.scope)
    attempt.rule = f"consent:{new.scope}"
    check_label(new.text_version, field="text_version")
    if new.scope == RECIPIENTS_OF_AGE:
        _check_attestation(attempt, whose, new)
    check_digest(new.evidence_sha256, required=False)
    if new.expire_time is not None and new.expire_time <= now:
        raise InvalidArgumentError("FIELD_INVALID", "the consent ends before it begins", field="expire_time")
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, whose.tenant)
        row = ConsentRow(
            consent_id=names.new_id(),
            subject_id=await _whose(connection, attempt, whose),
            scope=new.scope,
            text_version=new.text_version,
            evidence_sha256=new.evidence_sha256,
            recorded_by=attempt.caller.principal,
            create_time=now,
            expire_time=new.expire_time,
            withdrawn_by="",
            withdraw_time=None,
        )
        await consent_store.insert_consent(connection, whose.tenant, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def withdraw_consent(vault: Vault, attempt: Attempt, whose: SubjectName | TenantName, scope: str) -> Receipt:
    """Withdraw a consent.

    Raises:
        InvalidArgumentError: FIELD_INVALID, UNKNOWN_PURPOSE.
        NotFoundError: SUBJECT_NOT_FOUND, CONSENT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation = "withdraw-consent"
    check_scope(vault, scope)
    attempt.rule = f"consent:{scope}"
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, whose.tenant)
        subject = await _whose(connection, attempt, whose)
        attempt.count = await consent_store.withdraw_consents(
            connection, whose.tenant, subject, scope, by=attempt.caller.principal, now=vault.clock()
        )
        if not attempt.count:
            raise NotFoundError("CONSENT_NOT_FOUND", "no consent to that is in force")
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


def check_scope(vault: Vault, scope: str) -> None:
    """Check what is consented to. The scope stays in clear and is logged, so a name may be nobody's number.

    Raises:
        InvalidArgumentError: FIELD_INVALID, UNKNOWN_PURPOSE.
    """
    if scope == RECIPIENTS_OF_AGE:
        return
    if scope.startswith(_PURPOSE):
        if not vault.catalogue.known_purpose(scope.removeprefix(_PURPOSE)):
            raise InvalidArgumentError("UNKNOWN_PURPOSE", "the catalogue has no such purpose", field="scope")
        return
    found = _THIRD_PARTY.fullmatch(scope)
    if found is None or may_be_contact(found[1]):
        raise InvalidArgumentError("FIELD_INVALID", "scope is not of the form third-party:{recipient} or purpose:{purpose}", field="scope")


def _check_attestation(attempt: Attempt, whose: SubjectName | TenantName, new: NewConsent) -> None:
    if _ATTESTS not in attempt.caller.roles:
        raise PermissionDeniedError("ROLE_NOT_ALLOWED", "a tenant's administrator attests for the tenant, and nobody else")
    if not isinstance(whose, TenantName):
        raise InvalidArgumentError("FIELD_INVALID", "this is attested for all of a tenant's recipients, never for one", field="subject")
    if not new.text_version:
        raise InvalidArgumentError("FIELD_REQUIRED", "an attestation says which text was signed", field="text_version")


async def _whose(connection: Connection, attempt: Attempt, whose: SubjectName | TenantName) -> str:
    if isinstance(whose, TenantName):
        attempt.resource = str(whose)
        return TENANT_ITSELF
    attempt.subjects = (whose.subject,)
    return (await living_subject(connection, whose)).subject_id
