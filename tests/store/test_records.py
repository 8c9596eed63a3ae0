"""Records, their sealed parts and their index entries."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from tests.store.rows import ACME, BETA, HOUR, MAIL, NOW, PHONE, Stored, count, index_of, opened, parts_of, record, store, subject_key
from vault.errors import AbortedError
from vault.names import new_id
from vault.store.database import Database
from vault.store.records import (
    PartRow,
    ReadableRow,
    count_by_category,
    count_traces,
    delete_index_fields,
    delete_part,
    delete_record,
    delete_subject_parts,
    entries_of_tokens,
    find_by_token,
    get_parts,
    get_record,
    get_records,
    insert_index,
    insert_records,
    list_members,
    list_records,
    parts_in,
    readable_parts,
    records_of_identifiers,
    replace_part,
    replace_parts,
    tokenise_parts,
    tokenise_subject,
    touch_records,
    unbind_identities,
)
from vault.store.subjects import (
    Token,
    claim_identities,
    destroy_subject_keys,
    insert_subject_keys,
    set_subject_state,
    subject_key_rows,
    subjects_of_tokens,
)

CALL = record(
    {"caller": "anna", "callee": "ben"},
    {"from": ("caller", PHONE), "to": ("callee", MAIL)},
    level="full",
    list_id="spring",
    import_id="import",
    occur_time=NOW,
    valid_from=NOW - HOUR,
    valid_to=NOW + HOUR,
    expire_time=NOW + 24 * HOUR,
    metadata={"direction": "outbound", "note": "שלום 🙂"},
)


async def read(database: Database, *ids: str, tenant: str = ACME) -> list[ReadableRow]:
    async with database.read() as connection:
        rows = await readable_parts(connection, tenant, ids)
    return sorted(rows, key=lambda row: (row.record_id, row.role))


async def found(database: Database, *, tenant: str = ACME, after: str = "", limit: int = 100, category: str = "call-detail") -> list[str]:
    async with database.read() as connection:
        rows = await find_by_token(connection, tenant, category=category, tokens=[PHONE], after=after, limit=limit)
    return [entry.record_id for entry, _ in rows]


async def ids_of(database: Database, subject: str, *, category: str = "", after: str = "", limit: int = 100) -> list[str]:
    async with database.read() as connection:
        rows = await list_records(connection, ACME, subject, category=category, after=after, limit=limit)
    return [row.record_id for row in rows]


async def traces(database: Database, subject: str, *, tenant: str = ACME, but: Sequence[int] = ()) -> int:
    async with database.read() as connection:
        return await count_traces(connection, tenant, subject, but=but)


async def reseal(database: Database, stored: Stored, role: str, version: int) -> None:
    """Seal one part under another version of its party's key, as an erasure does with what stays."""
    [part] = [part for part in parts_of(stored) if part.role == role]
    async with database.write() as connection:
        await replace_part(connection, ACME, replace(part, key_version=version))


async def versions(database: Database, *stored: Stored, tenant: str = ACME) -> dict[tuple[str, str], int]:
    """Version of the key of each part, by record and role; 0 is a token, which has nothing sealed."""
    async with database.read() as connection:
        parts = await get_parts(connection, tenant, [item.row.record_id for item in stored])
    assert all(bool(part.sealed) == (part.key_version != 0) for part in parts)
    return {(part.record_id, part.role): part.key_version for part in parts}


async def erase(database: Database, *subjects: str) -> None:
    for subject in subjects:
        async with database.write() as connection:
            await delete_subject_parts(connection, ACME, subject)


# Storing and reading back


async def test_a_record_comes_back_as_it_was_stored(database: Database) -> None:
    await store(database, CALL)

    async with database.read() as connection:
        row = await get_record(connection, ACME, CALL.row.record_id)
        parts = await get_parts(connection, ACME, [CALL.row.record_id])

    assert row == CALL.row
    assert parts == sorted(parts_of(CALL), key=lambda part: part.role)


async def test_storing_nothing_stores_nothing(database: Database) -> None:
    async with database.write() as connection:
        await insert_records(connection, ACME, [], [], [])
        await insert_index(connection, ACME, [])
        await touch_records(connection, ACME, [])
        await replace_parts(connection, ACME, [])

    assert await count(database, "records") == 0


async def test_a_part_belongs_to_a_record(database: Database) -> None:
    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await insert_records(connection, ACME, [], [PartRow("unknown", "caller", "anna", 1, b"sealed")], [])

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_an_index_entry_belongs_to_a_record_of_its_tenant(database: Database) -> None:
    await store(database, CALL, tenant=BETA)

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await insert_index(connection, ACME, index_of(CALL))

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_one_record_id_in_two_tenants_is_two_records(database: Database) -> None:
    await store(database, CALL, tenant=ACME)
    await store(database, replace(CALL, row=replace(CALL.row, level="other")), tenant=BETA)

    async with database.read() as connection:
        levels = [row.level for tenant in (ACME, BETA) if (row := await get_record(connection, tenant, CALL.row.record_id))]

    assert levels == ["full", "other"]


async def test_records_of_another_tenant_are_not_there(database: Database) -> None:
    await store(database, CALL, tenant=BETA)
    record_id = CALL.row.record_id

    async with database.read() as connection:
        row = await get_record(connection, ACME, record_id)
        rows = await get_records(connection, ACME, [record_id])
        parts = await get_parts(connection, ACME, [record_id])
        readable = await readable_parts(connection, ACME, [record_id])

    assert row is None
    assert rows + parts + readable == []


async def test_asking_for_no_records_gives_none(database: Database) -> None:
    await store(database, CALL)

    async with database.read() as connection:
        rows, parts = await get_records(connection, ACME, []), await get_parts(connection, ACME, [])
        members = await list_members(connection, ACME, category="call-detail", list_id="spring", owners=[])
        readable = await readable_parts(connection, ACME, [])

    assert rows + parts + readable == []
    assert members == {}


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_a_locked_record_waits_for_its_change(database: Database) -> None:
    await store(database, CALL)

    async def version() -> int:
        async with database.write() as connection:
            row = await get_record(connection, ACME, CALL.row.record_id, lock=True)
            return row.version if row else 0

    async with database.write() as connection:
        await get_record(connection, ACME, CALL.row.record_id, lock=True)
        waiting = asyncio.create_task(version())
        await asyncio.sleep(0.1)
        await touch_records(connection, ACME, [replace(CALL.row, version=2)])

    assert await waiting == 2


# What a reveal reads


async def test_a_readable_part_comes_with_everything_that_opening_it_depends_on(database: Database) -> None:
    await store(database, CALL)

    callee, caller = await read(database, CALL.row.record_id)

    assert (callee.role, caller.role) == ("callee", "caller")
    assert caller == ReadableRow(
        record_id=CALL.row.record_id,
        owner="anna",
        category="call-detail",
        level="full",
        list_id="spring",
        occur_time=NOW,
        expire_time=CALL.row.expire_time,
        metadata=CALL.row.metadata,
        role="caller",
        subject_id="anna",
        key_version=1,
        sealed=parts_of(CALL)[0].sealed,
        subject_state="ACTIVE",
        wrapped=subject_key("anna").wrapped,
        tenant_key_version=1,
        keyring="data",
    )
    assert (callee.owner, callee.subject_id, callee.wrapped) == ("anna", "ben", subject_key("ben").wrapped)


async def test_a_part_whose_key_was_destroyed_is_read_without_one(database: Database) -> None:
    await store(database, CALL)
    async with database.write() as connection:
        await destroy_subject_keys(connection, ACME, "anna")
        await set_subject_state(connection, ACME, "anna", "ERASING")

    callee, caller = await read(database, CALL.row.record_id)

    assert (caller.wrapped, caller.tenant_key_version, caller.subject_state) == (None, None, "ERASING")
    assert (callee.wrapped, callee.tenant_key_version, callee.subject_state) == (subject_key("ben").wrapped, 1, "ACTIVE")


async def test_a_part_sealed_under_a_version_that_is_gone_is_read_without_a_key(database: Database) -> None:
    await store(database, CALL)
    async with database.write() as connection:
        await replace_part(connection, ACME, replace(parts_of(CALL)[0], key_version=2))

    _, caller = await read(database, CALL.row.record_id)

    assert (caller.key_version, caller.wrapped) == (2, None)


async def test_a_key_of_the_same_subject_id_in_another_tenant_is_not_read(database: Database) -> None:
    await store(database, CALL, tenant=ACME)
    await store(database, record({"caller": "anna"}), tenant=BETA)
    async with database.write() as connection:
        await destroy_subject_keys(connection, ACME, "anna")

    _, caller = await read(database, CALL.row.record_id)

    assert caller.wrapped is None


@pytest.mark.parametrize("wanted", [1, 3, 1000])
async def test_any_number_of_records_is_read_and_none_twice(database: Database, wanted: int) -> None:
    stored = [record({"caller": "anna", "callee": "ben"}) for _ in range(wanted)]
    await store(database, *stored, record({"caller": "anna"}))

    rows = await read(database, *(item.row.record_id for item in stored))

    assert [(row.record_id, row.role) for row in rows] == sorted((i.row.record_id, role) for i in stored for role in ("caller", "callee"))


async def test_statements_of_a_reveal_are_few_whatever_the_number_of_records(database: Database) -> None:
    statements = set()

    def note(_connection: object, _cursor: object, statement: str, _parameters: object, _context: object, _many: bool) -> None:
        if statement.startswith("SELECT"):
            statements.add(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    for wanted in (1, 2, 3, 4, 5, 6, 7, 8):
        await read(database, *(new_id() for _ in range(wanted)))

    assert len(statements) == 4


async def test_a_record_that_is_asked_for_twice_and_one_that_is_not_there_change_nothing(database: Database) -> None:
    await store(database, CALL)

    rows = await read(database, CALL.row.record_id, "unknown", CALL.row.record_id)

    assert [row.role for row in rows] == ["callee", "caller"]


# Searching and listing


async def test_a_token_finds_its_entries_with_their_records(database: Database) -> None:
    await store(database, CALL, record({"caller": "anna"}, {"from": ("caller", MAIL)}))

    async with database.read() as connection:
        rows = await find_by_token(connection, ACME, category="call-detail", tokens=[PHONE], after="", limit=10)

    assert rows == [(index_of(CALL)[0], CALL.row)]


async def test_a_search_stays_in_its_tenant_category_and_kind(database: Database) -> None:
    mine = record({"caller": "anna"}, {"from": ("caller", PHONE)})
    other_category = record({"caller": "anna"}, {"from": ("caller", PHONE)}, category="incoming-message")
    other_kind = record({"caller": "anna"}, {"from": ("caller", replace(PHONE, kind="mail"))})
    foreign = record({"caller": "anna"}, {"from": ("caller", PHONE)})
    await store(database, mine, other_category, other_kind)
    await store(database, foreign, tenant=BETA)

    results = [await found(database), await found(database, category="incoming-message"), await found(database, tenant="gamma")]

    assert results == [[mine.row.record_id], [other_category.row.record_id], []]


async def test_a_search_is_paged_by_record_id(database: Database) -> None:
    stored = [record({"caller": "anna"}, {"from": ("caller", PHONE)}) for _ in range(7)]
    await store(database, *stored)
    expected = sorted(item.row.record_id for item in stored)

    pages = [page := await found(database, limit=3)]
    while page:
        page = await found(database, after=page[-1], limit=3)
        pages.append(page)

    assert pages == [expected[:3], expected[3:6], expected[6:], []]


async def test_a_record_that_carries_a_token_twice_is_found_by_both_fields(database: Database) -> None:
    await store(database, record({"caller": "anna", "callee": "ben"}, {"to": ("callee", PHONE), "from": ("caller", PHONE)}))

    async with database.read() as connection:
        rows = await find_by_token(connection, ACME, category="call-detail", tokens=[PHONE], after="", limit=10)

    assert [(entry.field, entry.role, entry.subject_id) for entry, _ in rows] == [("from", "caller", "anna"), ("to", "callee", "ben")]


async def test_records_are_listed_for_every_party_in_pages(database: Database) -> None:
    stored = [record({"caller": "anna", "callee": "ben"}) for _ in range(3)] + [
        record({"caller": "ben", "callee": "anna"}) for _ in range(2)
    ]
    await store(database, *stored, record({"caller": "ben"}))
    await store(database, record({"caller": "anna"}), tenant=BETA)
    expected = sorted(item.row.record_id for item in stored)

    pages = [await ids_of(database, "anna", limit=3), await ids_of(database, "anna", after=expected[2], limit=3)]

    assert pages == [expected[:3], expected[3:]]


async def test_a_record_in_which_a_subject_has_two_roles_is_listed_once(database: Database) -> None:
    twice = record({"caller": "anna", "callee": "anna"})
    other = record({"caller": "anna"})
    await store(database, twice, other)

    listed = await ids_of(database, "anna", limit=2)

    assert listed == sorted([twice.row.record_id, other.row.record_id])


async def test_records_are_listed_by_category(database: Database) -> None:
    message = record({"sender": "anna"}, category="incoming-message")
    await store(database, message, record({"caller": "anna"}))

    listed = await ids_of(database, "anna", category="incoming-message")

    assert listed == [message.row.record_id]


async def test_members_of_a_list_are_found_by_owner(database: Database) -> None:
    spring = {name: record({"member": name}, category="list-membership", list_id="spring") for name in ("anna", "ben", "carl")}
    await store(
        database,
        *spring.values(),
        record({"member": "dora"}, category="list-membership", list_id="autumn"),
        record({"member": "dora"}, category="list-profile", list_id="spring"),
        record({"member": "dora", "other": "anna"}, category="list-membership", list_id=""),
    )
    await store(database, record({"member": "dora"}, category="list-membership", list_id="spring"), tenant=BETA)

    async with database.read() as connection:
        members = await list_members(
            connection, ACME, category="list-membership", list_id="spring", owners=["anna", "carl", "dora", "unknown"]
        )

    assert members == {"anna": [spring["anna"].row], "carl": [spring["carl"].row]}


async def test_members_outside_lists_are_those_of_no_list(database: Database) -> None:
    contact = record({"contact": "anna"}, category="end-customer-contact")
    await store(database, contact, record({"contact": "anna"}, category="end-customer-contact", list_id="spring"))

    async with database.read() as connection:
        members = await list_members(connection, ACME, category="end-customer-contact", list_id="", owners=["anna"])

    assert members == {"anna": [contact.row]}


async def test_of_several_records_of_one_member_the_oldest_comes_first(database: Database) -> None:
    oldest = record({"member": "anna"}, list_id="spring", create_time=NOW - HOUR)
    await store(database, record({"member": "anna"}, list_id="spring"), oldest, record({"member": "anna"}, list_id="spring"))

    async with database.read() as connection:
        members = await list_members(connection, ACME, category="call-detail", list_id="spring", owners=["anna"])

    assert members["anna"][0] == oldest.row
    assert len(members["anna"]) == 3


# Changing


async def test_one_part_is_replaced_and_the_others_stay(database: Database) -> None:
    await store(database, CALL)
    await store(database, CALL, tenant=BETA)
    caller, callee = parts_of(CALL)

    async with database.write() as connection:
        await replace_part(connection, ACME, replace(caller, sealed=b"new", key_version=2))
        parts = await get_parts(connection, ACME, [CALL.row.record_id])
        foreign = await get_parts(connection, BETA, [CALL.row.record_id])

    assert parts == [callee, replace(caller, sealed=b"new", key_version=2)]
    assert foreign == [callee, caller]


async def test_several_parts_are_replaced_at_once(database: Database) -> None:
    other = record({"caller": "anna"})
    await store(database, CALL, other)
    await store(database, CALL, tenant=BETA)
    new = [replace(part, sealed=b"new " + part.sealed, key_version=2) for part in [*parts_of(CALL), *parts_of(other)]]

    async with database.write() as connection:
        await replace_parts(connection, ACME, new)
        parts = await get_parts(connection, ACME, [CALL.row.record_id, other.row.record_id])
        foreign = await get_parts(connection, BETA, [CALL.row.record_id])

    assert _sorted(parts) == _sorted(new)
    assert _sorted(foreign) == _sorted(parts_of(CALL))


async def test_touching_records_changes_what_may_change_and_nothing_else(database: Database) -> None:
    bystander = record({"caller": "anna"})
    await store(database, CALL, bystander)
    await store(database, CALL, tenant=BETA)
    changed = replace(
        CALL.row, metadata={"direction": "inbound"}, import_id="later", occur_time=None, valid_from=NOW, valid_to=None, version=2
    )

    async with database.write() as connection:
        await touch_records(connection, ACME, [replace(changed, subject_id="ben", category="x", list_id="x", create_time=NOW + HOUR)])
        rows = [await get_record(connection, ACME, item.row.record_id) for item in (CALL, bystander)]
        foreign = await get_record(connection, BETA, CALL.row.record_id)

    assert rows == [changed, bystander.row]
    assert foreign == CALL.row


async def test_index_entries_of_named_fields_go(database: Database) -> None:
    twin = replace(CALL, row=replace(CALL.row, record_id=new_id()))
    await store(database, CALL, twin)
    await store(database, CALL, tenant=BETA)

    async with database.write() as connection:
        await delete_index_fields(connection, ACME, CALL.row.record_id, ["from"])
        await delete_index_fields(connection, ACME, CALL.row.record_id, [])

    assert await count(database, "index_entries", tenant_id=ACME, record_id=CALL.row.record_id, field="from") == 0
    assert await count(database, "index_entries", tenant_id=ACME) == 3
    assert await count(database, "index_entries", tenant_id=BETA) == 2


# Deleting


async def test_parts_and_index_entries_go_with_their_record(database: Database) -> None:
    other = record({"caller": "anna"}, {"from": ("caller", PHONE)})
    await store(database, CALL, other)
    await store(database, CALL, tenant=BETA)

    async with database.write() as connection:
        await delete_record(connection, ACME, CALL.row.record_id)

    tables = ("records", "record_parts", "index_entries")
    assert [await count(database, table, tenant_id=ACME, record_id=CALL.row.record_id) for table in tables] == [0, 0, 0]
    assert [await count(database, table, tenant_id=ACME) for table in tables] == [1, 1, 1]
    assert [await count(database, table, tenant_id=BETA) for table in tables] == [1, 2, 2]


@pytest.mark.parametrize(("erased", "left"), [("anna", "ben"), ("ben", "anna")])
async def test_erasing_one_party_leaves_the_other_party_of_a_shared_record(database: Database, erased: str, left: str) -> None:
    await store(database, CALL)

    await erase(database, erased)

    [part] = await read(database, CALL.row.record_id)
    assert part.subject_id == left
    assert await count(database, "index_entries", subject_id=erased) == 0
    assert await count(database, "index_entries", subject_id=left) == 1


@pytest.mark.parametrize("order", [("anna", "ben"), ("ben", "anna")])
async def test_a_record_goes_with_its_last_party_whoever_owned_it(database: Database, order: Sequence[str]) -> None:
    await store(database, CALL)

    await erase(database, *order)

    tables = ("records", "record_parts", "index_entries")
    assert [await count(database, table) for table in tables] == [0, 0, 0]


async def test_a_record_goes_with_the_last_of_two_parties_that_are_erased_at_once(database: Database, migrated_url: str) -> None:
    calls = [record({"caller": "anna", "callee": "ben"}) for _ in range(20)]
    await store(database, *calls)

    async with opened(migrated_url) as other:
        await asyncio.gather(erase(database, "anna"), erase(other, "ben"))

    assert await count(database, "records") == 0


async def test_erasing_deletes_nothing_of_others(database: Database) -> None:
    mine = record({"caller": "anna"}, {"from": ("caller", PHONE)})
    others = record({"caller": "ben"}, {"from": ("caller", MAIL)})
    await store(database, mine, others)
    await store(database, mine, tenant=BETA)

    await erase(database, "anna")

    assert await count(database, "records", tenant_id=ACME) == 1
    assert [row.record_id for row in await read(database, others.row.record_id)] == [others.row.record_id]
    assert [row.record_id for row in await read(database, mine.row.record_id, tenant=BETA)] == [mine.row.record_id]


async def test_every_kind_of_row_that_belongs_to_a_subject_is_a_trace(database: Database) -> None:
    await store(database, CALL)
    await store(database, CALL, tenant=BETA)
    async with database.write() as connection:
        await claim_identities(connection, ACME, [(PHONE, "anna")])

    seen = [await traces(database, "anna"), await traces(database, "ben"), await traces(database, "anna", tenant=BETA)]

    assert seen == [4, 3, 3]  # part, index entry, key and, for one, identity


async def test_an_identity_that_is_still_bound_is_a_trace_of_an_erased_subject(database: Database) -> None:
    await store(database, CALL)
    async with database.write() as connection:
        await claim_identities(connection, ACME, [(PHONE, "anna")])
        await destroy_subject_keys(connection, ACME, "anna")
        await delete_subject_parts(connection, ACME, "anna")

    left = await traces(database, "anna")

    assert left == 1  # so the sweep finds that the erasure is not complete


# What an erasure keeps


async def test_an_identifier_is_found_in_every_category_by_any_of_its_tokens(database: Database) -> None:
    old = Token(PHONE.kind, b"\x03" * 32)
    message = record({"sender": "anna"}, {"from": ("sender", old)}, category="incoming-message")
    other_kind = record({"sender": "carl"}, {"from": ("sender", replace(PHONE, kind="mail"))})
    await store(database, CALL, message, other_kind)
    await store(database, record({"caller": "dora"}, {"from": ("caller", PHONE)}), tenant=BETA)

    async with database.read() as connection:
        rows = await entries_of_tokens(connection, ACME, [PHONE, old], limit=10)
        first = await entries_of_tokens(connection, ACME, [PHONE, old], limit=1)

    assert sorted((entry.record_id, row.category) for entry, row in rows) == sorted(
        [(CALL.row.record_id, "call-detail"), (message.row.record_id, "incoming-message")]
    )
    assert all(entry.record_id == row.record_id for entry, row in rows)
    assert len(first) == 1


async def test_each_identifier_of_a_subject_leads_to_one_record(database: Database) -> None:
    """Of several in which it stands, one is enough; other kinds and other people's are left out."""
    twice = [record({"caller": "anna"}, {"from": ("caller", PHONE)}) for _ in range(2)]
    mailed = record({"caller": "anna"}, {"from": ("caller", MAIL)})
    await store(database, *twice, mailed, record({"caller": "ben"}, {"from": ("caller", PHONE)}))
    first = min(item.row.record_id for item in twice)

    async with database.read() as connection:
        found = [await records_of_identifiers(connection, ACME, "anna", kinds) for kinds in ([PHONE.kind], [PHONE.kind, MAIL.kind], [])]
        foreign = await records_of_identifiers(connection, BETA, "anna", [PHONE.kind])

    assert found == [[first], sorted([first, mailed.row.record_id]), []]
    assert foreign == []


async def test_parts_that_may_stay_are_read_by_record_without_tokens_and_what_was_kept(database: Database) -> None:
    calls = sorted([record({"caller": "anna", "callee": "ben"}) for _ in range(5)], key=lambda item: item.row.record_id)
    message = record({"sender": "anna"}, category="incoming-message")
    await store(database, *calls, message)
    await store(database, *calls, tenant=BETA)
    await reseal(database, calls[1], "caller", 2)
    async with database.write() as connection:
        await tokenise_parts(connection, ACME, [(calls[3].row.record_id, "caller")])

    async with database.write() as connection:
        wanted: dict[str, Any] = {"categories": ["call-detail"], "but": [2]}
        pages = [
            await parts_in(connection, ACME, "anna", **wanted, after="", limit=2, lock=True),
            await parts_in(connection, ACME, "anna", **wanted, after=calls[2].row.record_id, limit=2),
        ]

    assert [[(part.record_id, part.role, row) for part, row in page] for page in pages] == [
        [(item.row.record_id, "caller", item.row) for item in (calls[0], calls[2])],
        [(calls[4].row.record_id, "caller", calls[4].row)],
    ]


async def test_a_party_that_becomes_a_token_leaves_its_id_and_nothing_else(database: Database) -> None:
    """A23: the other party, and the same record of another tenant, are what they were."""
    other = record({"caller": "anna"})
    await store(database, CALL, other)
    await store(database, CALL, tenant=BETA)

    async with database.write() as connection:
        await tokenise_parts(connection, ACME, [(CALL.row.record_id, "caller")])
        await tokenise_parts(connection, ACME, [])

    callee, caller = await read(database, CALL.row.record_id)
    assert (caller.subject_id, caller.sealed, caller.key_version, caller.wrapped) == ("anna", b"", 0, None)
    assert caller.is_erased
    assert not callee.is_erased
    assert await versions(database, CALL, other) == {
        (CALL.row.record_id, "caller"): 0,
        (CALL.row.record_id, "callee"): 1,
        (other.row.record_id, "caller"): 1,
    }
    assert set((await versions(database, CALL, tenant=BETA)).values()) == {1}


async def test_a_subject_becomes_a_token_in_some_categories_where_nothing_keeps_it(database: Database) -> None:
    kept, message = record({"caller": "anna", "callee": "ben"}), record({"sender": "anna"}, category="incoming-message")
    await store(database, CALL, kept, message)
    await store(database, CALL, tenant=BETA)
    await reseal(database, kept, "caller", 2)

    async with database.write() as connection:
        await tokenise_subject(connection, ACME, "anna", categories=["call-detail"], but=[2])
        await tokenise_subject(connection, ACME, "anna", categories=[], but=[])

    assert await versions(database, CALL, kept, message) == {
        (CALL.row.record_id, "caller"): 0,
        (CALL.row.record_id, "callee"): 1,
        (kept.row.record_id, "caller"): 2,
        (kept.row.record_id, "callee"): 1,
        (message.row.record_id, "sender"): 1,
    }
    assert set((await versions(database, CALL, tenant=BETA)).values()) == {1}


async def test_deleting_a_subject_leaves_what_is_kept_with_its_index_and_the_tokens(database: Database) -> None:
    """§6.4: what stays is found by its entries; of the rest not one is left."""
    kept = record({"caller": "anna"}, {"from": ("caller", PHONE)})
    token = record({"caller": "anna", "callee": "ben"}, {"from": ("caller", PHONE), "to": ("callee", MAIL)})
    gone = record({"caller": "anna"}, {"from": ("caller", MAIL)})
    await store(database, kept, token, gone)
    await reseal(database, kept, "caller", 2)
    async with database.write() as connection:
        await tokenise_parts(connection, ACME, [(token.row.record_id, "caller")])
        await insert_subject_keys(connection, ACME, [subject_key("anna", version=2)])
    before = await traces(database, "anna", but=[2])

    async with database.write() as connection:
        await delete_subject_parts(connection, ACME, "anna", but=[2])
        await destroy_subject_keys(connection, ACME, "anna", but=[2])
        left = [key.version for key in await subject_key_rows(connection, ACME, ["anna"])]

    assert await versions(database, kept, token, gone) == {
        (kept.row.record_id, "caller"): 2,
        (token.row.record_id, "caller"): 0,
        (token.row.record_id, "callee"): 1,
    }
    assert await count(database, "records", record_id=gone.row.record_id) == 0
    assert await count(database, "index_entries", subject_id="anna") == 1
    assert await count(database, "index_entries", record_id=kept.row.record_id) == 1
    assert left == [2]
    assert before == 4  # part, two index entries that belong to nothing that stays, key
    assert await traces(database, "anna", but=[2]) == 0


async def test_a_record_goes_although_its_subject_is_two_parties_of_it(database: Database) -> None:
    """Harm: each of the two parts was the other one that kept the record."""
    twice = record({"caller": "anna", "callee": "anna"})
    await store(database, twice)

    async with database.write() as connection:
        await delete_subject_parts(connection, ACME, "anna", but=[2])

    assert await count(database, "records") == 0


async def test_a_party_that_nothing_keeps_any_more_goes_alone_and_the_record_with_the_last(database: Database) -> None:
    await store(database, CALL)
    await store(database, CALL, tenant=BETA)
    record_id = CALL.row.record_id

    async with database.write() as connection:
        await delete_part(connection, ACME, record_id, "caller")
    first = [await count(database, table, tenant_id=ACME) for table in ("records", "record_parts", "index_entries")]
    async with database.write() as connection:
        await delete_part(connection, ACME, record_id, "callee")

    assert first == [1, 1, 1]
    assert await count(database, "records", tenant_id=ACME) == 0
    assert await count(database, "record_parts", tenant_id=BETA) == 2


async def test_an_identity_stays_bound_while_a_record_of_its_subject_is_found_by_it(database: Database) -> None:
    """A4: what a tenant keeps is found; the address that stood with the operator alone leads to nobody."""
    old = Token(PHONE.kind, b"\x03" * 32)
    await store(database, CALL, record({"caller": "carl"}, {"from": ("caller", old)}))
    async with database.write() as connection:
        await claim_identities(connection, ACME, [(PHONE, "anna"), (old, "anna"), (MAIL, "ben")])
        await claim_identities(connection, BETA, [(old, "anna")])

    async with database.write() as connection:
        await unbind_identities(connection, ACME, "anna")
        bound = await subjects_of_tokens(connection, ACME, [PHONE, old, MAIL])
        foreign = await subjects_of_tokens(connection, BETA, [old])

    assert bound == {PHONE: "anna", MAIL: "ben"}
    assert foreign == {old: "anna"}


async def test_parts_are_counted_by_category_and_key_and_tokens_as_well(database: Database) -> None:
    message = record({"sender": "anna"}, category="incoming-message")
    twice = record({"caller": "anna", "callee": "anna"})
    await store(database, CALL, message, twice)
    await reseal(database, message, "sender", 2)
    async with database.write() as connection:
        await tokenise_parts(connection, ACME, [(CALL.row.record_id, "caller")])
        found = [await count_by_category(connection, ACME, "anna", keys) for keys in ([0], [1], [2], [0, 2], [])]

    assert found == [{"call-detail": 1}, {"call-detail": 2}, {"incoming-message": 1}, {"call-detail": 1, "incoming-message": 1}, {}]


def _sorted(parts: Sequence[PartRow]) -> list[PartRow]:
    return sorted(parts, key=lambda part: (part.record_id, part.role))
