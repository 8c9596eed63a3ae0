"""Queries on the way of every call use an index to the row, on both databases.

SQLite is asked before and after ANALYZE: nobody runs it on an embedded database, so the plan without statistics is the one that serves.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.store.rows import ACME, BETA, END, NOW, Stored, record, store
from vault.store.database import Connection, Database
from vault.store.erasures import ExceptionRow, insert_exceptions
from vault.store.holds import HoldRow, ScopeRow, held_records, insert_hold
from vault.store.listing import Listed, back_in_list, contacts_of, listed_people
from vault.store.orders import Search, count_in_scope
from vault.store.records import (
    count_by_category,
    count_traces,
    delete_part,
    delete_subject_parts,
    entries_of_tokens,
    find_by_token,
    list_members,
    list_records,
    parts_in,
    readable_parts,
    records_of_identifiers,
    tokenise_subject,
    unbind_identities,
)
from vault.store.replaced import ReplacedRow, keep_replaced
from vault.store.retention import Swept, has_due
from vault.store.subjects import Token, active_subject_keys, claim_identities, subjects_of_tokens

RECORDS = 4000
LISTS = 2
HOLDS = 1000
ASKED = 4
# Of few contacts, those that left their last list.
CLOCK: Mapping[str, Any] = {"expire_time": END, "due_time": END}
CONTACTS = Listed({"end-customer-contact"}, {"list-membership", "list-profile"})

BIG_TABLES = ("records", "record_parts", "index_entries", "subjects", "subject_keys", "identities", "holds", "hold_scopes")


@dataclass(frozen=True, slots=True)
class Filled:
    """A database with enough rows that scanning them would be wrong."""

    database: Database
    stored: Sequence[Stored]

    @property
    def ids(self) -> list[str]:
        return [item.row.record_id for item in self.stored[:ASKED]]

    @property
    def subjects(self) -> list[str]:
        return [item.row.subject_id for item in self.stored[:ASKED]]


Query = Callable[[Connection, Filled], Awaitable[object]]


def token(number: int) -> Token:
    return Token("phone", number.to_bytes(32, "big"))


async def _readable_parts(connection: Connection, filled: Filled) -> object:
    return await readable_parts(connection, ACME, filled.ids)


async def _find_by_token(connection: Connection, filled: Filled) -> object:
    category = filled.stored[0].row.category
    return await find_by_token(connection, ACME, category=category, tokens=[token(0)], after="", limit=101)


async def _list_members(connection: Connection, filled: Filled) -> object:
    row = filled.stored[0].row
    return await list_members(connection, ACME, category=row.category, list_id=row.list_id, owners=filled.subjects)


async def _list_records(connection: Connection, filled: Filled) -> object:
    return await list_records(connection, ACME, filled.subjects[0], category="", after="", limit=101)


async def _list_records_of_category(connection: Connection, filled: Filled) -> object:
    row = filled.stored[0].row
    return await list_records(connection, ACME, row.subject_id, category=row.category, after="", limit=101)


async def _subjects_of_tokens(connection: Connection, _filled: Filled) -> object:
    return await subjects_of_tokens(connection, ACME, [token(0), token(1), Token("mail", b"mail")])


async def _active_subject_keys(connection: Connection, filled: Filled) -> object:
    return await active_subject_keys(connection, ACME, filled.subjects)


async def _count_in_scope(connection: Connection, filled: Filled) -> object:
    categories = [filled.stored[0].row.category, "incoming-message"]
    return await count_in_scope(connection, ACME, categories=categories, searches=[Search("phone", [token(0).token], NOW, END)])


async def _held_records(connection: Connection, filled: Filled) -> object:
    return await held_records(connection, ACME, filled.ids, NOW)


async def _due_and_not_held(connection: Connection, filled: Filled) -> object:
    where = Swept([filled.stored[0].row.category], [""], has_holds=True)
    return await has_due(connection, ACME, NOW, where)


async def _back_in_list(connection: Connection, _filled: Filled) -> object:
    return await back_in_list(connection, ACME, CONTACTS, limit=200, lock=True)


async def _listed_people(connection: Connection, filled: Filled) -> object:
    return await listed_people(connection, ACME, filled.subjects, CONTACTS)


async def _contacts_of(connection: Connection, filled: Filled) -> object:
    return await contacts_of(connection, ACME, filled.subjects[0], CONTACTS)


async def _entries_of_tokens(connection: Connection, _filled: Filled) -> object:
    return await entries_of_tokens(connection, ACME, [token(0), token(1)], limit=1000)


async def _records_of_identifiers(connection: Connection, filled: Filled) -> object:
    return await records_of_identifiers(connection, ACME, filled.subjects[0], ["phone", "mail"])


async def _parts_in(connection: Connection, filled: Filled) -> object:
    row = filled.stored[0].row
    return await parts_in(connection, ACME, row.subject_id, categories=[row.category], but=[2], after="", limit=200, lock=True)


async def _tokenise_subject(connection: Connection, filled: Filled) -> None:
    await tokenise_subject(connection, ACME, filled.subjects[0], categories=[filled.stored[0].row.category], but=[2])


async def _delete_subject_parts(connection: Connection, filled: Filled) -> None:
    await delete_subject_parts(connection, ACME, filled.subjects[1], but=[2])


async def _delete_part(connection: Connection, filled: Filled) -> None:
    await delete_part(connection, ACME, filled.ids[2], "member")


async def _unbind_identities(connection: Connection, filled: Filled) -> None:
    await unbind_identities(connection, ACME, filled.subjects[3])


async def _count_by_category(connection: Connection, filled: Filled) -> object:
    return await count_by_category(connection, ACME, filled.subjects[0], [0, 2])


async def _count_traces(connection: Connection, filled: Filled) -> object:
    return await count_traces(connection, ACME, filled.subjects[0], but=[2])


# What SQLite must have looked up, in the words of EXPLAIN QUERY PLAN: how far into the index each table's search goes.
QUERIES: dict[str, tuple[Query, tuple[str, ...]]] = {
    "readable_parts": (_readable_parts, ("record_parts: tenant_id record_id", "records: tenant_id record_id")),
    "find_by_token": (_find_by_token, ("index_entries: tenant_id kind token record_id", "records: tenant_id record_id")),
    "list_members": (_list_members, ("records: tenant_id list_id category subject_id",)),
    "list_records": (_list_records, ("record_parts: tenant_id subject_id record_id", "records: tenant_id record_id")),
    "list_records of a category": (
        _list_records_of_category,
        ("record_parts: tenant_id subject_id record_id", "records: tenant_id record_id"),
    ),
    "subjects_of_tokens": (_subjects_of_tokens, ("identities: tenant_id kind token",)),
    "active_subject_keys": (_active_subject_keys, ("subject_keys: tenant_id subject_id", "subjects: tenant_id subject_id")),
    "held_records": (
        _held_records,
        (
            "records: tenant_id record_id",
            "hold_scopes: tenant_id subject_id",
            "record_parts: tenant_id record_id",
            "holds: tenant_id hold_id",
        ),
    ),
    "has_due": (
        _due_and_not_held,
        (
            "records: tenant_id category level due_time",
            "hold_scopes: tenant_id subject_id",
            "record_parts: tenant_id record_id",
            "holds: tenant_id hold_id",
        ),
    ),
    "back_in_list": (_back_in_list, ("records: tenant_id category level due_time", "naming: tenant_id subject_id category")),
    # With the category or without: a person has few records, and statistics say so.
    "listed_people": (_listed_people, ()),
    "contacts_of": (_contacts_of, ("records: tenant_id record_id",)),
    "entries_of_tokens": (_entries_of_tokens, ("index_entries: tenant_id kind token", "records: tenant_id record_id")),
    "records_of_identifiers": (_records_of_identifiers, ("index_entries: tenant_id subject_id",)),
    "parts_in": (_parts_in, ("record_parts: tenant_id subject_id record_id", "records: tenant_id record_id")),
    "tokenise_subject": (_tokenise_subject, ("record_parts: tenant_id subject_id",)),
    "delete_subject_parts": (_delete_subject_parts, ("record_parts: tenant_id subject_id", "index_entries: tenant_id subject_id")),
    "delete_part": (_delete_part, ("record_parts: tenant_id record_id role", "records: tenant_id record_id")),
    "unbind_identities": (_unbind_identities, ("identities: tenant_id subject_id",)),
    "count_by_category": (_count_by_category, ("record_parts: tenant_id subject_id", "records: tenant_id record_id")),
    "count_traces": (
        _count_traces,
        ("record_parts: tenant_id subject_id", "index_entries: tenant_id subject_id", "subject_keys: tenant_id subject_id"),
    ),
    "count_in_scope": (_count_in_scope, ("index_entries: tenant_id kind token", "records: tenant_id record_id")),
}


@pytest.fixture
async def filled(database: Database) -> Filled:
    stored = [
        record({"member": f"subject{n}"}, {"phone": ("member", token(n))}, category="list-membership", list_id=f"list{n % LISTS}")
        for n in range(RECORDS)
    ]
    contacts = [
        record({"member": f"subject{n}"}, category="end-customer-contact", **(CLOCK if n % 100 == 0 else {})) for n in range(RECORDS)
    ]
    for tenant in (ACME, BETA):
        await store(database, *stored, *contacts, tenant=tenant)
        async with database.write() as connection:
            await claim_identities(connection, tenant, [(token(n), f"subject{n}") for n in range(RECORDS)])
            for n in range(HOLDS):
                hold = HoldRow(f"hold{n}", "CLAIM", "CASE-17", None, None, None, END, "people/e-legal", NOW)
                await insert_hold(connection, tenant, hold, [ScopeRow(f"subject{n * 4 + k}", "", "") for k in range(4)])
            kept = [ExceptionRow(f"kept{n}", "member", "e1", f"gone{n}", "call-detail", "legal-claim", END, END) for n in range(RECORDS)]
            await insert_exceptions(connection, tenant, kept)
            for item in contacts:
                replaced = ReplacedRow(item.row.record_id, "member", 1, item.row.subject_id, 1, b"sealed", END)
                await keep_replaced(connection, tenant, replaced)
    return Filled(database, stored)


async def analyze(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(text("ANALYZE"))
    # SQLite reads statistics when a connection is opened.
    await database.engine.dispose()


async def plans(filled: Filled, query: Query) -> list[list[str]]:
    """The plan of each statement that a query makes."""
    statements: list[tuple[str, Sequence[object]]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Sequence[object], _context: object, _many: bool) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            statements.append((statement, parameters))

    engine = filled.database.engine.sync_engine
    explain = "EXPLAIN QUERY PLAN" if filled.database.is_sqlite else "EXPLAIN"
    async with filled.database.write() as connection:
        event.listen(engine, "before_cursor_execute", note)
        await query(connection, filled)
        event.remove(engine, "before_cursor_execute", note)
        return [
            [str(row[-1]) for row in await connection.exec_driver_sql(f"{explain} {statement}", tuple(parameters))]
            for statement, parameters in statements
        ]


def searched(plan: Sequence[str]) -> set[str]:
    """`table: columns` of each index search in a plan of SQLite."""
    found = set()
    for line in plan:
        if line.startswith("SEARCH"):
            columns = line.partition("(")[2].partition(")")[0].split(" AND ")
            found.add(f"{line.split()[1]}: " + " ".join(column.rstrip("?").rstrip("=<>") for column in columns))
    return found


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("analyzed", [False, True], ids=["without statistics", "with statistics"])
async def test_sqlite_goes_to_the_rows_by_an_index(filled: Filled, analyzed: bool) -> None:
    if analyzed:
        await analyze(filled.database)

    seen = {name: [line for plan in await plans(filled, query) for line in plan] for name, (query, _) in QUERIES.items()}

    scans = {name: [line for line in plan if line.startswith("SCAN") and line.split()[1] in BIG_TABLES] for name, plan in seen.items()}
    missing = {name: sorted(set(expected) - searched(seen[name])) for name, (_, expected) in QUERIES.items()}
    whole = {name: sorted({f"{table}: tenant_id" for table in BIG_TABLES} & searched(seen[name])) for name in QUERIES}
    if not analyzed:
        # Of few records: a look through the scopes of the tenant, which are few.
        whole["held_records"].remove("hold_scopes: tenant_id")
    assert scans == {name: [] for name in QUERIES}
    assert missing == {name: [] for name in QUERIES}
    assert whole == {name: [] for name in QUERIES}


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_postgres_goes_to_the_rows_by_an_index(filled: Filled) -> None:
    await analyze(filled.database)

    seen = {name: await plans(filled, query) for name, (query, _) in QUERIES.items()}

    scans = {name: [line for plan in found for line in plan if "Seq Scan" in line] for name, found in seen.items()}
    whole = {
        name: [line for plan in found for line in plan if line.strip() == f"Index Cond: (tenant_id = '{ACME}'::text)"]
        for name, found in seen.items()
    }
    assert all(seen.values())
    assert scans == {name: [] for name in QUERIES}
    assert whole == {name: [] for name in QUERIES}
