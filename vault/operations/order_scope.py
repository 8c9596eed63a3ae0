"""What is exported under an order: settled, counted, and seen by whoever approves it (§5.3, §5.4 steps 4 and 5).

Rules:
- A scope is what the order covers, or less. Asking for more is refused, and the second time an incident opens (N2).
- Any edit gives another digest and voids every approval (N3); the recipient and its key are part of it (N14).
- A preview opens no record. It shows the numbers as typed to legal officers, who typed them, and masked to everybody else.
- Whoever approves has seen the preview of that very digest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vault.bundle import seal
from vault.errors import FailedPreconditionError
from vault.masking import MaskStyle, mask
from vault.names import ChildName
from vault.operations import incident, log, order_intake, order_selection
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, known_tenant
from vault.operations.order import OrderView, load_order, locked_order, open_document, open_order, resealed, view
from vault.operations.order_content import Recipient, Scope
from vault.operations.order_selection import Found
from vault.operations.order_state import Action, State, require
from vault.store import orders as order_store
from vault.store.orders import PreviewRow

_SUMMARY = "more was asked under an order than it covers, for the second time"
_STYLES = {"phone": MaskStyle.PHONE, "virtual-number": MaskStyle.PHONE, "star-number": MaskStyle.PHONE, "email": MaskStyle.EMAIL}


@dataclass(frozen=True, slots=True)
class Preview:
    """What an export would hold, in numbers.

    Attributes:
        scope: what is exported; targets as the caller may see them, in the order of `found.targets`.
        digest: what an approval would sign.
        recipient_fingerprint: SHA-256 of the recipient's key, hex; empty if nothing is released.
        document: the scan, if it was asked for and is there.
    """

    scope: Scope
    found: Found
    digest: str
    recipient_fingerprint: str
    document: bytes


async def set_order_scope(
    vault: Vault, attempt: Attempt, name: ChildName, scope: Scope, *, recipient: Recipient | None, counsel_note: str
) -> tuple[OrderView, Receipt]:
    """Settle what is exported; every approval is void.

    Raises:
        InvalidArgumentError: what the registration refuses.
        FailedPreconditionError: SCOPE_EXCEEDED, CLASS_NOT_COVERED; what `require` raises.
    """
    attempt.operation, attempt.resource = "set-order-scope", str(name)
    try:
        return await _set_scope(vault, attempt, name, scope, recipient, counsel_note)
    except FailedPreconditionError as error:
        if error.reason == "SCOPE_EXCEEDED":
            await _note_excess(vault, attempt, name)
        raise


async def _set_scope(
    vault: Vault, attempt: Attempt, name: ChildName, scope: Scope, recipient: Recipient | None, counsel_note: str
) -> tuple[OrderView, Receipt]:
    now = vault.clock()
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await locked_order(vault, connection, attempt, name)
        require(Action.SCOPE, row.state, expire_time=row.expire_time, now=now)
        said = open_order(keys, row)
        instrument = replace(said.instrument, counsel_note=counsel_note or said.instrument.counsel_note)
        scope = order_intake.normalised_scope(vault, scope)
        order_intake.check_narrower(scope, said.ordered)
        order_intake.check_scope(vault, scope, instrument, now)
        if recipient is not None:
            order_intake.check_recipient(recipient)
        before = row.scope_digest
        said = replace(said, instrument=instrument, scope=scope, recipient=recipient or said.recipient)
        row = resealed(keys, replace(row, state=State.SCOPED), said)
        await order_store.delete_approvals(connection, name.tenant, name.id)
        await order_store.update_order(connection, name.tenant, row)
        # §5.6: each change with the digest before and after it.
        attempt.rule = f"order:scope:{before[:16]}:{row.scope_digest[:16]}"
        [receipt] = await log.append(vault, connection, keys, [attempt])
        return await view(connection, name), receipt


async def preview_export(vault: Vault, attempt: Attempt, name: ChildName, *, include_document: bool) -> tuple[Preview, Receipt]:
    """Count what an export would hold, and note that the caller saw it.

    Raises:
        FailedPreconditionError: what `require` raises.
        NotFoundError: ORDER_NOT_FOUND.
    """
    attempt.operation, attempt.resource = "preview-export", str(name)
    now, is_officer = vault.clock(), order_intake.OFFICER in attempt.caller.roles
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await locked_order(vault, connection, attempt, name)
        require(Action.PREVIEW, row.state, expire_time=row.expire_time, now=now)
        said = open_order(keys, row)
        found = await order_selection.count(vault, connection, keys, said.scope)
        seen = PreviewRow(attempt.caller.employee_id, row.scope_digest, found.problems, now)
        await order_store.set_preview(connection, name.tenant, name.id, seen)
        sealed = await order_store.document_of(connection, name.tenant, name.id) if include_document and is_officer else None
        attempt.count = sum(found.counts.values())
        [receipt] = await log.append(vault, connection, keys, [attempt])
    key = said.recipient.age_recipient
    preview = Preview(
        scope=said.scope if is_officer else _masked(said.scope),
        found=found,
        digest=row.scope_digest,
        recipient_fingerprint=seal.fingerprint(key) if key else "",
        document=open_document(keys, sealed, name.id) if sealed else b"",
    )
    return preview, receipt


async def _note_excess(vault: Vault, attempt: Attempt, name: ChildName) -> None:
    """Count that more was asked than the order covers; the second time is an incident. In its own transaction: the flow's is rolled back."""
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, name.tenant, hold=True)
        row = await load_order(connection, name, lock=True)
        row = replace(row, exceeded_count=row.exceeded_count + 1)
        await order_store.update_order(connection, name.tenant, row)
        if row.exceeded_count == 2:  # noqa: PLR2004 - repeated (N2)
            opened = await incident.open_by_itself(vault, connection, keys, attempt, summary=_SUMMARY)
            await log.append(vault, connection, keys, [opened])


def _masked(scope: Scope) -> Scope:
    return replace(scope, targets=tuple(masked_targets(scope.targets)), periods={})


def masked_targets(targets: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Targets by which whoever has the order before them can check what was typed, and nobody else learns a number."""
    return [(kind, mask(_STYLES.get(kind, MaskStyle.HIDDEN), value)) for kind, value in targets]
