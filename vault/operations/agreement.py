"""Processing agreements with a tenant and, for it, with the affiliate (L7): register and list.

Rules:
- Only the parties that the policy knows have one; another entity needs another policy (A2).
- Agreements follow one another: the last to end says until when the party's data may be processed, and stands with the tenant, where every
  decision reads it.
- Of the document only its digest is kept. Nothing is changed afterwards; a renewal is another agreement.
"""

from dataclasses import dataclass
from datetime import datetime

from vault import names
from vault.errors import InvalidArgumentError
from vault.names import ChildName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, active_tenant, page_limit
from vault.store import agreements as agreement_store
from vault.store import tenants as tenant_store
from vault.store.agreements import AgreementRow

PARTIES = ("tenant", "affiliate")
_SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewAgreement:
    """What was signed; without purposes it covers every one of the catalogue."""

    party: str
    purposes: tuple[str, ...]
    document_sha256: bytes
    sign_time: datetime
    expire_time: datetime


async def register_agreement(vault: Vault, attempt: Attempt, tenant: str, new: NewAgreement) -> tuple[AgreementRow, Receipt]:
    """Register an agreement.

    Raises:
        InvalidArgumentError: FIELD_INVALID, UNKNOWN_PURPOSE.
    """
    attempt.operation = "register-agreement"
    if new.party not in PARTIES:
        raise InvalidArgumentError("FIELD_INVALID", f"the party is none of {', '.join(PARTIES)}", field="party")
    unknown = [number for number, purpose in enumerate(new.purposes) if not vault.catalogue.known_purpose(purpose)]
    if unknown:
        raise InvalidArgumentError("UNKNOWN_PURPOSE", "the catalogue has no such purpose", field=f"purposes[{unknown[0]}]")
    if len(new.document_sha256) != _SHA256_BYTES:
        raise InvalidArgumentError("FIELD_INVALID", "document digest is not 32 bytes", field="document_sha256")
    if new.expire_time <= new.sign_time:
        raise InvalidArgumentError("FIELD_INVALID", "the agreement ends before it begins", field="expire_time")
    now = vault.clock()
    if new.sign_time > now:
        raise InvalidArgumentError("FIELD_INVALID", "the agreement was signed in the future", field="sign_time")
    row = AgreementRow(
        agreement_id=names.new_id(),
        party=new.party,
        purposes=tuple(sorted(set(new.purposes))),
        document_sha256=new.document_sha256,
        sign_time=new.sign_time,
        expire_time=new.expire_time,
        registered_by=attempt.caller.principal,
        create_time=now,
    )
    attempt.resource = str(ChildName(tenant, "agreements", row.agreement_id))
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, tenant)
        await agreement_store.insert_agreement(connection, tenant, row)
        # Twice: the first holds the tenant's row, so that what was registered meanwhile is seen before the second.
        await tenant_store.set_agreement_end(connection, tenant, row.party, row.expire_time)
        end = await agreement_store.latest_end(connection, tenant, row.party)
        await tenant_store.set_agreement_end(connection, tenant, row.party, end or row.expire_time)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, receipt


async def list_agreements(vault: Vault, tenant: str, *, page_size: int, after: str) -> tuple[list[AgreementRow], str]:
    """Agreements of a tenant, and where the next page starts."""
    limit = page_limit(vault, page_size)
    async with vault.database.read() as connection:
        rows = await agreement_store.list_agreements(connection, tenant, after=after, limit=limit + 1)
    return rows[:limit], rows[limit - 1].agreement_id if len(rows) > limit else ""
