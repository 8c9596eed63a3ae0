"""Which rows of registers are over: what they record ended so long ago that nothing asks for it any more (§2B: C22, C26, C27, C31).

A row of a person of whom something is held stays: whether it was allowed to use what is held is part of the matter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, Table, delete, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.holds import is_person_held
from vault.store.tables import (
    agreements,
    consents,
    customer_requests,
    guardian_consents,
    marketing_preferences,
    ndas,
    role_grants,
)


@dataclass(frozen=True, slots=True)
class Register:
    """A table, the category that its rows are of, and whether a row ended by a moment."""

    category: str
    table: Table
    ended: Callable[[datetime], ColumnElement[bool]]


def _replaced(before: datetime) -> ColumnElement[bool]:
    """A choice ends when another takes its place: the newest counts, and is kept."""
    newer, this = marketing_preferences.alias("newer").c, marketing_preferences.c
    same = (newer.tenant_id == this.tenant_id, newer.subject_id == this.subject_id, newer.channel == this.channel)
    return select(newer.preference_id).where(*same, newer.create_time > this.create_time, newer.create_time <= before).exists()


REGISTERS = (
    Register("guardian-consent", guardian_consents, lambda before: guardian_consents.c.majority_time <= before),
    Register("marketing-preference", marketing_preferences, _replaced),
    Register("consent-and-instruction", consents, lambda before: or_(consents.c.withdraw_time <= before, consents.c.expire_time <= before)),
    Register(
        "consent-and-instruction",
        customer_requests,
        lambda before: or_(customer_requests.c.close_time <= before, customer_requests.c.expire_time <= before),
    ),
    Register("consent-and-instruction", agreements, lambda before: agreements.c.expire_time <= before),
    Register("staff-authorisation", ndas, lambda before: ndas.c.expire_time <= before),
    Register(
        "staff-authorisation", role_grants, lambda before: or_(role_grants.c.revoke_time <= before, role_grants.c.expire_time <= before)
    ),
)


async def has_over(connection: AsyncConnection, tenant: str, register: Register, now: datetime, before: datetime) -> bool:
    """Whether any row of a register ended by a moment."""
    return (await connection.execute(_over(tenant, register, now, before).limit(1))).first() is not None


async def delete_over(
    connection: AsyncConnection, tenant: str, register: Register, now: datetime, before: datetime, *, limit: int
) -> tuple[int, tuple[str, ...]]:
    """Delete some rows that ended by a moment: how many, and of which subjects."""
    key = register.table.primary_key.columns
    rows = (await connection.execute(_over(tenant, register, now, before).limit(limit).with_for_update(skip_locked=True))).mappings().all()
    if not rows:
        return 0, ()
    found = [tuple(row[column.name] for column in key) for row in rows]
    await connection.execute(delete(register.table).where(tuple_(*key).in_(found)))
    return len(found), tuple(sorted({str(row["subject_id"]) for row in rows if row.get("subject_id")}))


def _over(tenant: str, register: Register, now: datetime, before: datetime) -> Select[tuple[str, ...]]:
    table = register.table
    owner = [table.c.subject_id] if "subject_id" in table.c else []
    free = [~is_person_held(tenant, now, owner[0], register.category)] if owner else []
    columns = [column for column in table.primary_key.columns if column.name != "subject_id"]
    return select(*columns, *owner).where(table.c.tenant_id == tenant, register.ended(before), *free)
