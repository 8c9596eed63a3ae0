"""Restricting a person's data, and lifting that again (L31, §6.4).

Rules:
- What is restricted is kept and nothing else, but for claims, court orders and the person's own requests; the policy says so on every decision.
- A restriction counts from its commit on. Several may be in force; all are lifted together.
- The person is told before: without the id of that notice nothing is lifted. What a guardian's withdrawal restricted stays so until there is a
  guardian's consent again.
- Whoever received the data is told of both (L32). The notice to the person is another thing: the vault writes to nobody, and keeps its id.
"""

from vault import names
from vault.errors import FailedPreconditionError, PermissionDeniedError
from vault.names import SubjectName
from vault.operations import log, notify
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.decision import gather
from vault.operations.metadata import SubjectView
from vault.operations.rights import PURPOSE, check_label, living_subject
from vault.store import guardians as guardian_store
from vault.store import restrictions as restriction_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.restrictions import RestrictionRow
from vault.store.tenants import TenantRow


async def restrict_subject(vault: Vault, attempt: Attempt, name: SubjectName) -> tuple[SubjectView, Receipt]:
    """Restrict a person's data because they asked for it.

    Raises:
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, NDA_INVALID.
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: SUBJECT_ERASED.
    """
    attempt.operation, attempt.subjects = "restrict-subject", (name.subject,)
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, name.tenant)
        await _check_why(vault, connection, attempt, tenant)
        await living_subject(connection, name)
        await restrict(vault, connection, name, basis="subject-request", by=attempt.caller.principal)
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await _view(connection, name), receipt


async def lift_restriction(vault: Vault, attempt: Attempt, name: SubjectName, *, notice_id: str) -> tuple[SubjectView, Receipt]:
    """Lift every restriction of a person, who was told before.

    Raises:
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, NDA_INVALID.
        NotFoundError: SUBJECT_NOT_FOUND.
        FailedPreconditionError: NOTICE_REQUIRED, NOT_RESTRICTED, GUARDIAN_CONSENT_REQUIRED, SUBJECT_ERASED.
    """
    attempt.operation, attempt.subjects = "lift-restriction", (name.subject,)
    if not notice_id:
        raise FailedPreconditionError("NOTICE_REQUIRED", "the person is told before a restriction is lifted", field="notice_id")
    check_label(notice_id, field="notice_id")
    async with vault.database.write() as connection:
        tenant, keys = await known_tenant(vault, connection, name.tenant)
        await _check_why(vault, connection, attempt, tenant)
        attempt.rule = f"notice:{notice_id}"
        row = await living_subject(connection, name)
        if row.state != "RESTRICTED":
            raise FailedPreconditionError("NOT_RESTRICTED", "the subject is not restricted")
        standing = await guardian_store.guardian_standing(connection, name.tenant, [name.subject], vault.clock())
        if standing.get(name.subject) == guardian_store.WITHDRAWN:
            raise FailedPreconditionError("GUARDIAN_CONSENT_REQUIRED", "the guardian withdrew the consent")
        # Not before: a refusal repeats no word of the caller's.
        attempt.rule = f"notice:{notice_id}"
        await restriction_store.lift_restrictions(
            connection, name.tenant, name.subject, by=attempt.caller.principal, notice_id=notice_id, now=vault.clock()
        )
        await subject_store.set_subject_state(connection, name.tenant, name.subject, "ACTIVE")
        # All were lifted together, and the newest speaks for them.
        newest = (await restriction_store.restrictions_of(connection, name.tenant, name.subject))[-1]
        await notify.restricted(vault, connection, name, newest.restriction_id, lifted=True)
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await _view(connection, name), receipt


async def restrict(vault: Vault, connection: Connection, name: SubjectName, *, basis: str, by: str) -> None:
    """Restrict a living subject whose lock the caller holds."""
    row = RestrictionRow(
        restriction_id=names.new_id(),
        subject_id=name.subject,
        basis=basis,
        restricted_by=by,
        create_time=vault.clock(),
        lifted_by="",
        lift_time=None,
        notice_id="",
    )
    await restriction_store.insert_restriction(connection, name.tenant, row)
    await subject_store.set_subject_state(connection, name.tenant, name.subject, "RESTRICTED")
    await notify.restricted(vault, connection, name, row.restriction_id)


async def _check_why(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow) -> None:
    """Restricting is something a person asks for; who carries it out as a person is bound by an agreement (P3.7-nda)."""
    facts = await gather(vault, connection, attempt, tenant)
    if attempt.justification.purpose != PURPOSE:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"restrictions have the purpose '{PURPOSE}'")
    if not facts.nda_valid:
        raise PermissionDeniedError("NDA_INVALID", "no confidentiality agreement is in force")


async def _view(connection: Connection, name: SubjectName) -> SubjectView:
    """The subject without counts: which categories it has is not what was asked."""
    row = await subject_store.get_subject(connection, name.tenant, name.subject)
    assert row is not None  # noqa: S101 - the flow found and locked it
    return SubjectView(row, {})
