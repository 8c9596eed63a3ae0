"""The end of a customer's contract: asked for, approved by another person, carried out in the background, reported (P3.8).

- Asked for again before it is approved, it is another request, which has to be approved anew; afterwards the same answer is given, and nothing
  can be changed any more.
- From its moment on nothing is stored for the tenant (`TENANT_TERMINATED`), and what is there is read for the reasons it is kept for
  (`REASON_MISMATCH`). Rights, orders, retention, erasures and rotations go on.
- The report names categories and counts, nobody and nothing of anybody.

Not here: what is done, which is `wind_up.py`, and the data that the customer takes, which is `return_data.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vault.catalogue.model import Catalogue
from vault.errors import AbortedError, FailedPreconditionError, InvalidArgumentError, NotFoundError, PermissionDeniedError
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.decision import gather
from vault.policy.decide import Reference
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.tenants import TenantRow
from vault.store.terminations import TerminationRow

# P3.8-rm-lists: the customer may take its data within a month, unless another time was agreed.
_GRACE_DAYS = 30
_MAX_GRACE_DAYS = 365
_AHEAD, _BACK = timedelta(days=366), timedelta(days=31)
# What the contract was for is what ends with it.
_PURPOSE = "service-delivery"


@dataclass(frozen=True, slots=True)
class Ending:
    """What is asked for.

    Attributes:
        effective_time: when the contract ends.
        grace_days: how long the customer may take its data; 0 for the usual time.
        asked_by: CUSTOMER or OPERATOR.
        remove_contacts: whether the customer asked that its contacts be removed too (P3.8-keep-contact).
    """

    effective_time: datetime
    grace_days: int
    asked_by: str
    remove_contacts: bool


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the records of one category; what is neither there nor gone by the contract's end is `otherwise`."""

    found: int
    erased: int
    converted: int
    tokenised: int
    kept: int
    reasons: tuple[str, ...]

    @property
    def otherwise(self) -> int:
        """Records whose time was over in between, or whose people were erased."""
        return self.found - self.erased - self.kept


async def terminate_tenant(vault: Vault, attempt: Attempt, tenant: str, ending: Ending) -> tuple[TenantRow, TerminationRow, Receipt]:
    """Ask for the end of a contract.

    Raises:
        InvalidArgumentError: FIELD_INVALID, JUSTIFICATION_REQUIRED, REFERENCE_REQUIRED.
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, NDA_INVALID.
        FailedPreconditionError: TERMINATION_APPROVED, another end was approved.
        NotFoundError: TENANT_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "terminate-tenant", f"tenants/{tenant}"
    now = vault.clock()
    _check(ending, now)
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, tenant)
        await _require(vault, connection, attempt, row)
        existing = await termination_store.get_termination(connection, tenant, lock=True)
        wanted = TerminationRow(
            tenant_id=tenant,
            state="REQUESTED",
            position="",
            asked_by=ending.asked_by,
            remove_contacts=int(ending.remove_contacts),
            effective_time=ending.effective_time,
            grace_end_time=ending.effective_time + timedelta(days=ending.grace_days or _GRACE_DAYS),
            requester=attempt.caller.principal,
            approver="",
            request_time=now,
        )
        if existing is None:
            await termination_store.insert_termination(connection, wanted)
        elif _is_same(existing, wanted):
            wanted = existing
        elif existing.state == "REQUESTED":
            await termination_store.update_termination(connection, wanted)
        else:
            raise FailedPreconditionError("TERMINATION_APPROVED", "another end of the contract was approved")
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return row, wanted, receipt


async def approve_termination(vault: Vault, attempt: Attempt, tenant: str, *, effective_time: datetime) -> tuple[TerminationRow, Receipt]:
    """Approve the end of a contract as it was asked for; upkeep carries it out when its moment has come.

    Raises:
        PermissionDeniedError: SEPARATION_OF_DUTIES, who asked for it approves.
        AbortedError: TERMINATION_CHANGED, it was asked for otherwise meanwhile.
        FailedPreconditionError: TERMINATION_NOT_PENDING.
        NotFoundError: TENANT_NOT_FOUND, TERMINATION_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "approve-termination", f"tenants/{tenant}"
    async with vault.database.write() as connection:
        tenant_row, keys = await known_tenant(vault, connection, tenant)
        await _require(vault, connection, attempt, tenant_row)
        row = await _termination(connection, tenant, lock=True)
        if row.state != "REQUESTED":
            raise FailedPreconditionError("TERMINATION_NOT_PENDING", "the end of the contract is not waiting for approval")
        if attempt.caller.principal == row.requester:
            raise PermissionDeniedError("SEPARATION_OF_DUTIES", "the end of a contract is approved by another person than who asked for it")
        if effective_time != row.effective_time:
            raise AbortedError("TERMINATION_CHANGED", "the end of the contract was asked for anew, with another moment")
        approved = replace(row, state="APPROVED", approver=attempt.caller.principal)
        await termination_store.update_termination(connection, approved)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return approved, receipt


async def get_termination_report(vault: Vault, tenant: str) -> tuple[TerminationRow, Mapping[str, Tally]]:
    """How far the end of a contract is, and what became of each category so far.

    Raises:
        NotFoundError: TENANT_NOT_FOUND, TERMINATION_NOT_FOUND.
    """
    async with vault.database.read() as connection:
        await known_tenant(vault, connection, tenant)
        row = await _termination(connection, tenant)
        kept = await termination_store.count_by_category(connection, tenant)
    return row, tallies(vault.catalogue, row, kept)


def tallies(catalogue: Catalogue, row: TerminationRow, kept: Mapping[str, int]) -> dict[str, Tally]:
    """What became of each category that there was, or is, something of. A report that was signed says what was kept when it was."""
    found: dict[str, Tally] = {}
    for category in sorted(row.counts.keys() | (set() if row.finish_time else kept.keys())):
        counted = row.counts.get(category, {})
        found[category] = Tally(
            # Before the contract has ended nothing was counted yet.
            found=counted.get("found", 0) if row.counts else kept.get(category, 0),
            erased=counted.get("erased", 0),
            converted=counted.get("converted", 0),
            tokenised=counted.get("tokenised", 0),
            kept=counted.get("kept", 0) if row.finish_time else kept.get(category, 0),
            reasons=tuple(sorted(catalogue.category(category).kept_for)),
        )
    return found


async def _termination(connection: Connection, tenant: str, *, lock: bool = False) -> TerminationRow:
    row = await termination_store.get_termination(connection, tenant, lock=lock)
    if row is None:
        raise NotFoundError("TERMINATION_NOT_FOUND", "nobody asked for an end of the tenant's contract")
    return row


async def _require(vault: Vault, connection: Connection, attempt: Attempt, tenant: TenantRow) -> None:
    facts = await gather(vault, connection, attempt, tenant)
    if attempt.justification.purpose != _PURPOSE:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"a contract is ended with the purpose '{_PURPOSE}'")
    if not facts.nda_valid:
        raise PermissionDeniedError("NDA_INVALID", "no confidentiality agreement is in force")
    if facts.reference not in {Reference.TICKET, Reference.CUSTOMER_REQUEST} or not facts.live:
        raise InvalidArgumentError(
            "REFERENCE_REQUIRED", "a contract is ended under a ticket or an open customer request", field="justification.reference"
        )


def _check(ending: Ending, now: datetime) -> None:
    if not now - _BACK <= ending.effective_time <= now + _AHEAD:
        raise InvalidArgumentError(
            "FIELD_INVALID", f"a contract ends within {_AHEAD.days} days, or ended within {_BACK.days}", field="effective_time"
        )
    if not 0 <= ending.grace_days <= _MAX_GRACE_DAYS:
        raise InvalidArgumentError("FIELD_INVALID", "grace is out of range", field="grace_days", limit=str(_MAX_GRACE_DAYS))


def _is_same(one: TerminationRow, other: TerminationRow) -> bool:
    def said(row: TerminationRow) -> tuple[object, ...]:
        return row.effective_time, row.grace_end_time, row.asked_by, row.remove_contacts

    return said(one) == said(other)
