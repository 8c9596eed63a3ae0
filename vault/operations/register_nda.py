"""Registering a person's confidentiality agreement, without which no person is shown anything (P3.7-nda)."""

import re
from dataclasses import dataclass
from datetime import datetime

from vault.errors import InvalidArgumentError, PermissionDeniedError
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault
from vault.store import registers

_PERSON = re.compile(r"people/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Nda:
    """An agreement: who signed what, from when until when."""

    person: str
    document_sha256: bytes
    sign_time: datetime
    expire_time: datetime


async def register_nda(vault: Vault, attempt: Attempt, nda: Nda) -> Receipt:
    """Register an agreement, replacing the person's earlier one.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
        PermissionDeniedError: SEPARATION_OF_DUTIES, nobody registers their own agreement.
    """
    attempt.operation = "register-nda"
    if not _PERSON.fullmatch(nda.person):
        raise InvalidArgumentError("FIELD_INVALID", "person is not of the form people/{employee}", field="person")
    attempt.resource = nda.person
    if len(nda.document_sha256) != _SHA256_BYTES:
        raise InvalidArgumentError("FIELD_INVALID", "document digest is not 32 bytes", field="document_sha256")
    if nda.expire_time <= nda.sign_time:
        raise InvalidArgumentError("FIELD_INVALID", "the agreement ends before it begins", field="expire_time")
    if nda.person == attempt.caller.principal:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "an agreement is registered by another person than its signer")
    async with vault.database.write() as connection:
        await registers.put_nda(
            connection,
            nda.person,
            document_sha256=nda.document_sha256,
            sign_time=nda.sign_time,
            expire_time=nda.expire_time,
            registered_by=attempt.caller.principal,
        )
        [receipt] = await log.append(vault, connection, await log.system_keys(vault, connection), [attempt])
    return receipt
