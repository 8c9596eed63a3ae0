"""Objections to processing (L34, P2.5-nonsub, A13).

Rules:
- Against advertising an objection is absolute: it is a no on every channel, at once.
- Against any other purpose it restricts the person's data, until somebody looks at it and lifts that with a notice.
- What the catalogue keeps until an objection only, of a visitor without an account, is over at once besides: the next sweep erases it, whether the
  restriction is lifted or not. A hold keeps it, restricted, until the hold ends.
"""

from vault.catalogue.model import ConsentBasis
from vault.errors import InvalidArgumentError
from vault.names import SubjectName
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.preference import CHANNELS, opt_out
from vault.operations.restrict import restrict
from vault.operations.rights import living_subject
from vault.store import objections as objection_store
from vault.store import retention as retention_store
from vault.store.database import Connection


async def object_to_processing(vault: Vault, attempt: Attempt, name: SubjectName, purpose: str) -> Receipt:
    """Record an objection and do what it asks for.

    Raises:
        InvalidArgumentError: UNKNOWN_PURPOSE.
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation, attempt.subjects = "object-to-processing", (name.subject,)
    if not vault.catalogue.known_purpose(purpose):
        raise InvalidArgumentError("UNKNOWN_PURPOSE", "the catalogue has no such purpose", field="purpose")
    attempt.rule = f"objection:{purpose}"
    by, now = attempt.caller.principal, vault.clock()
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        await living_subject(connection, name)
        await objection_store.put_objection(connection, name.tenant, name.subject, purpose, by=by, now=now)
        # How it was told is not said with an objection, and nothing is made up.
        if vault.catalogue.purpose(purpose).basis is ConsentBasis.PREFERENCE:
            await opt_out(vault, connection, keys, name, channels=CHANNELS, source="", text_version="", by=by)
        else:
            await restrict(vault, connection, name, basis="objection", by=by)
            await _end_retention(vault, connection, name)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def _end_retention(vault: Vault, connection: Connection, name: SubjectName) -> None:
    """End the time of the person's own records that are kept until an objection only (P2.5-nonsub)."""
    kinds = [(category.name, kind) for category in vault.catalogue.categories.values() for kind in category.rows if kind.ends_on_objection]
    for category, kind in kinds:
        await retention_store.end_owned(
            connection, name.tenant, name.subject, category, field=kind.field, values=kind.values, now=vault.clock()
        )
