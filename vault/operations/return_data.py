"""Returning to a customer what was processed for it, when its contract ends (L36, P3.8-rm-lists).

    (1) an end of the contract is approved and its grace is not over; whoever asks may have it, under an open customer request that says `export`
    (2) category by category, a page at a time: read, decide, open
    (3) append an entry that names every record of the page; commit; only then does the page leave (I1)

Memory is a page, however much there is. Who is restricted or being erased is left out, and counted. Content of system files is the operator's own
(P3.2-lvl-files-use) and is not in it.

JSON lines, or CSV with a header in front of each category; what is binary is Base64. Texts are written as they are: a cell that a spreadsheet
would take for a formula has an apostrophe in front.
"""

import base64
import csv
import io
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vault.catalogue.model import Category, FieldType, HeldAs, Responsibility
from vault.errors import FailedPreconditionError, PermissionDeniedError
from vault.operations import log
from vault.operations.attempt import Attempt, Receipt
from vault.operations.core import Vault, keys_of_parts, known_tenant, readable_parts
from vault.operations.decision import decide, gather
from vault.operations.keyring import TenantKeys
from vault.operations.reveal import EXTRA, open_part, wrapped_under
from vault.policy.decide import Allowed, Operation, Refused, View
from vault.store import terminations as termination_store
from vault.store.database import Connection
from vault.store.records import ReadableRow, RecordRow
from vault.store.terminations import TerminationRow, Which

JSONL, CSV = "JSONL", "CSV"
_PURPOSE = "customer-request"
_RECIPIENT = "tenant"
_PAGE = 200
_OPEN = frozenset({"APPROVED", "CREDENTIALS", "KEEPING", "GRACE"})
# Refusals that speak about the category and not about the call.
_ABOUT_CATEGORY = frozenset({"ROLE_NOT_ALLOWED", "LEVEL_NOT_ALLOWED", "PURPOSE_NOT_ALLOWED"})
_ABOUT = ("record", "subject", "list", "level", "create_time")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of one category, as lines; what was left out of them, and where it was recorded."""

    category: str
    data: bytes = field(repr=False)
    count: int
    withheld: int
    receipt: Receipt


async def return_tenant_data(vault: Vault, attempt: Attempt, tenant: str, *, form: str) -> AsyncIterator[Page]:
    """Send a customer its data.

    Raises:
        FailedPreconditionError: NOT_RETURNABLE, no end of the contract is approved, or its grace is over; CUSTOMER_REQUEST_REQUIRED.
        PermissionDeniedError: PURPOSE_NOT_ALLOWED, OUT_OF_REQUEST, NDA_INVALID.
        ResourceExhaustedError: RELEASE_BUDGET_EXCEEDED.
    """
    attempt.operation, attempt.resource = Operation.EXPORT.value, f"tenants/{tenant}"
    vault.budgets.spend(attempt.caller, 1, purpose=attempt.justification.purpose)
    rules = await _rules(vault, attempt, tenant)
    for (name, level), rule in rules.items():
        after, is_first = "", True
        while True:
            page, after = await _page(vault, attempt, tenant, vault.catalogue.category(name), level, rule, after, form, is_first=is_first)
            if page is not None:
                is_first = False
                yield page
            if not after:
                break
    await _note_returned(vault, attempt, tenant)


async def _rules(vault: Vault, attempt: Attempt, tenant: str) -> dict[tuple[str, str], Allowed]:
    """What may be returned, by category and level, and by which rule."""
    async with vault.database.read() as connection:
        found, refusal = await _decided(vault, connection, attempt, tenant)
    rules = {place: decision for place, decision in found.items() if isinstance(decision, Allowed)}
    if refusal is not None or not rules:
        refused = refusal or next(decision for decision in found.values() if isinstance(decision, Refused))
        attempt.rule = refused.rule
        raise refused.error()
    return rules


async def _decided(
    vault: Vault, connection: Connection, attempt: Attempt, tenant: str
) -> tuple[dict[tuple[str, str], Allowed | Refused], Refused | None]:
    """The answer for everything that is processed for the customer, and the first that is about the call."""
    row, _ = await known_tenant(vault, connection, tenant)
    facts = await gather(vault, connection, attempt, row)
    if attempt.justification.purpose != _PURPOSE:
        raise PermissionDeniedError("PURPOSE_NOT_ALLOWED", f"data is returned for the purpose '{_PURPOSE}'")
    _require_open(vault, await termination_store.get_termination(connection, tenant))
    found = {
        (category.name, level): decide(
            vault, attempt, facts, operation=Operation.EXPORT, category=category.name, level=level, view=View.FULL, recipient=_RECIPIENT
        )
        for category in _processed(vault)
        for level in category.levels or ("",)
    }
    refused = (answer for answer in found.values() if isinstance(answer, Refused) and answer.reason not in _ABOUT_CATEGORY)
    return found, next(refused, None)


async def _page(
    vault: Vault,
    attempt: Attempt,
    tenant: str,
    category: Category,
    level: str,
    rule: Allowed,
    after: str,
    form: str,
    *,
    is_first: bool,
) -> tuple[Page | None, str]:
    """One page, recorded; and after which record the next begins, if there is one. The grace may end between two of them."""
    async with vault.database.write() as connection:
        _, keys = await known_tenant(vault, connection, tenant)
        _require_open(vault, await termination_store.get_termination(connection, tenant))
        rows = await termination_store.page_of(connection, tenant, Which(category.name, level), after=after, limit=_PAGE)
        if not rows:
            return None, ""
        parts: dict[str, list[ReadableRow]] = defaultdict(list)
        for part in await readable_parts(vault, connection, tenant, [row.record_id for row in rows]):
            parts[part.record_id].append(part)
        keys = await keys_of_parts(vault, connection, keys, wrapped_under(part for group in parts.values() for part in group))
        free = [row for row in rows if all(part.subject_state == "ACTIVE" for part in parts[row.record_id])]
        lines = [_line(keys, category, row, parts[row.record_id]) for row in free]
        entry = replace(
            attempt,
            category=category.name,
            fields=tuple(sorted({name for line in lines for name in line} - set(_ABOUT))),
            records=tuple(row.record_id for row in free),
            subjects=tuple(dict.fromkeys(part.subject_id for row in free for part in parts[row.record_id])),
            count=len(free),
            rule=rule.rule,
            consent_basis=rule.consent_basis,
        )
        [receipt] = await log.append(vault, connection, keys, [entry])
    data = _jsonl(lines) if form == JSONL else _csv(category, lines, header=is_first)
    return Page(category.name, data, len(free), len(rows) - len(free), receipt), rows[-1].record_id if len(rows) == _PAGE else ""


async def _note_returned(vault: Vault, attempt: Attempt, tenant: str) -> None:
    """That the customer has all of it; the report says so."""
    async with vault.database.write() as connection:
        row = await termination_store.get_termination(connection, tenant, lock=True)
        if row is not None:
            await termination_store.update_termination(connection, replace(row, return_time=vault.clock()))
        _, keys = await known_tenant(vault, connection, tenant)
        await log.append(vault, connection, keys, [replace(attempt, operation="return-complete", category="")])


def _require_open(vault: Vault, row: TerminationRow | None) -> None:
    if row is None or row.state not in _OPEN or row.grace_end_time <= vault.clock():
        raise FailedPreconditionError("NOT_RETURNABLE", "no end of the contract is approved, or its grace is over")


def _processed(vault: Vault) -> list[Category]:
    return [
        category
        for category in vault.catalogue.categories.values()
        if category.responsibility is Responsibility.PROCESSOR and category.held_as is HeldAs.RECORD and not category.service_only
    ]


def _line(keys: TenantKeys, category: Category, row: RecordRow, parts: Sequence[ReadableRow]) -> dict[str, object]:
    """One record: what it is, and every value."""
    values: dict[str, object] = {
        "record": row.record_id,
        "subject": row.subject_id,
        "list": row.list_id,
        "level": row.level,
        "create_time": row.create_time.isoformat(),
        **row.metadata,
    }
    for part in parts:
        for name, plain in open_part(keys, part, None).items():
            values[name] = _value(category, name, plain)
    return values


def _value(category: Category, name: str, plain: bytes) -> object:
    spec = category.fields.get(name)
    if name == EXTRA or (spec is not None and spec.type is FieldType.MAP):
        said: object = json.loads(plain)
        return said
    return base64.b64encode(plain).decode() if spec is not None and spec.type is FieldType.BYTES else plain.decode()


def _jsonl(lines: Sequence[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _csv(category: Category, lines: Sequence[Mapping[str, object]], *, header: bool) -> bytes:
    columns = list(dict.fromkeys([*_ABOUT, *category.fields, EXTRA]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    if header:
        writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text
