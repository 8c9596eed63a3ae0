"""Subjects, their keys, and who an identifying token belongs to."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

import pytest
from sqlalchemy import insert

from tests.store.rows import ACME, BETA, MAIL, NOW, PHONE, opened, record, store, subject_key
from vault.errors import AbortedError
from vault.names import new_id
from vault.store.database import Connection, Database
from vault.store.subjects import (
    SubjectRow,
    Token,
    active_subject_keys,
    claim_identities,
    delete_identities,
    destroy_subject_keys,
    get_subject,
    insert_subjects,
    record_counts,
    set_subject_state,
    subjects_of_tokens,
)
from vault.store.tables import subject_keys


async def create(database: Database, *subjects: str, tenant: str = ACME) -> None:
    async with database.write() as connection:
        await insert_subjects(connection, tenant, [subject_key(subject) for subject in subjects], NOW)


async def claim(database: Database, claims: Sequence[tuple[Token, str]], *, tenant: str = ACME) -> None:
    async with database.write() as connection:
        await claim_identities(connection, tenant, claims)


async def owner_of(database: Database, token: Token, *, tenant: str = ACME) -> str | None:
    async with database.read() as connection:
        return (await subjects_of_tokens(connection, tenant, [token])).get(token)


async def add_keys(connection: Connection, subject: str, *versions: int) -> None:
    """Further versions of a subject's key, as rotation will make them."""
    await connection.execute(
        insert(subject_keys), [{"tenant_id": ACME, **asdict(subject_key(subject, version=version))} for version in versions]
    )


async def find_or_create(connection: Connection, token: Token) -> str:
    """What storing a record does: claim, then read who won."""
    await claim_identities(connection, ACME, [(token, new_id())])
    return (await subjects_of_tokens(connection, ACME, [token]))[token]


async def test_a_new_subject_is_active_and_has_its_key(database: Database) -> None:
    await create(database, "anna", "ben")

    async with database.read() as connection:
        subject = await get_subject(connection, ACME, "anna")
        keys = await active_subject_keys(connection, ACME, ["anna", "ben", "unknown"])

    assert subject == SubjectRow("anna", "ACTIVE", NOW)
    assert keys == {"anna": subject_key("anna"), "ben": subject_key("ben")}


async def test_no_subjects_are_stored_as_nothing(database: Database) -> None:
    await create(database)
    await claim(database, [])

    async with database.read() as connection:
        keys, bound = await active_subject_keys(connection, ACME, []), await subjects_of_tokens(connection, ACME, [])

    assert keys == {}
    assert bound == {}


async def test_another_tenants_subject_is_unknown(database: Database) -> None:
    await create(database, "anna", tenant=BETA)

    async with database.read() as connection:
        subject = await get_subject(connection, ACME, "anna")
        keys = await active_subject_keys(connection, ACME, ["anna"])

    assert subject is None
    assert keys == {}


async def test_of_several_keys_the_newest_is_used(database: Database) -> None:
    await create(database, "anna")
    async with database.write() as connection:
        await add_keys(connection, "anna", 10, 9)

    async with database.read() as connection:
        keys = await active_subject_keys(connection, ACME, ["anna"])

    assert keys == {"anna": subject_key("anna", version=10)}


@pytest.mark.parametrize(("state", "usable"), [("ACTIVE", True), ("RESTRICTED", True), ("ERASING", False), ("ERASED", False)])
async def test_keys_of_a_subject_are_used_unless_it_is_being_erased(database: Database, state: str, usable: bool) -> None:
    await create(database, "anna", "ben")

    async with database.write() as connection:
        await set_subject_state(connection, ACME, "anna", state)
        keys = await active_subject_keys(connection, ACME, ["anna", "ben"])

    assert ("anna" in keys) == usable
    assert "ben" in keys


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_an_erasure_waits_for_a_write_that_uses_the_key(database: Database) -> None:
    await create(database, "anna")
    finished = []

    async def erase() -> None:
        async with database.write() as connection:
            await get_subject(connection, ACME, "anna", lock=True)
            finished.append("erasure")

    async with database.write() as connection:
        await active_subject_keys(connection, ACME, ["anna"])
        waiting = asyncio.create_task(erase())
        await asyncio.sleep(0.1)
        finished.append("write")
    await waiting

    assert finished == ["write", "erasure"]


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_a_write_that_waited_for_an_erasure_gets_no_key(database: Database) -> None:
    await create(database, "anna")

    async def use() -> list[str]:
        async with database.write() as connection:
            return list(await active_subject_keys(connection, ACME, ["anna"]))

    async with database.write() as connection:
        await get_subject(connection, ACME, "anna", lock=True)
        waiting = asyncio.create_task(use())
        await asyncio.sleep(0.1)
        await set_subject_state(connection, ACME, "anna", "ERASING")
        await destroy_subject_keys(connection, ACME, "anna")
    used = await waiting

    assert used == []


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_two_writes_use_a_key_at_once(database: Database) -> None:
    await create(database, "anna")

    async with database.write() as one, database.write() as two:
        keys = [await active_subject_keys(connection, ACME, ["anna"]) for connection in (one, two)]

    assert keys == [{"anna": subject_key("anna")}] * 2


async def test_destroying_keys_destroys_every_version_of_one_subject(database: Database) -> None:
    await create(database, "anna", "ben")
    await create(database, "anna", tenant=BETA)
    async with database.write() as connection:
        await add_keys(connection, "anna", 2)

    async with database.write() as connection:
        destroyed = await destroy_subject_keys(connection, ACME, "anna")
        again = await destroy_subject_keys(connection, ACME, "anna")
        left = await active_subject_keys(connection, ACME, ["anna", "ben"])
        foreign = await active_subject_keys(connection, BETA, ["anna"])

    assert (destroyed, again) == (2, 0)
    assert list(left) == ["ben"]
    assert list(foreign) == ["anna"]


async def test_a_token_that_is_bound_keeps_its_subject(database: Database) -> None:
    await claim(database, [(PHONE, "anna")])
    await claim(database, [(PHONE, "ben"), (MAIL, "ben")])

    owners = [await owner_of(database, token) for token in (PHONE, MAIL)]

    assert owners == ["anna", "ben"]


async def test_the_same_token_of_another_tenant_is_another_one(database: Database) -> None:
    await claim(database, [(PHONE, "anna")], tenant=ACME)
    await claim(database, [(PHONE, "ben")], tenant=BETA)

    owners = [await owner_of(database, PHONE, tenant=tenant) for tenant in (ACME, BETA, "gamma")]

    assert owners == ["anna", "ben", None]


async def test_the_same_bytes_of_another_kind_are_another_token(database: Database) -> None:
    twin = Token("mail", PHONE.token)
    await claim(database, [(PHONE, "anna"), (twin, "ben")])

    async with database.read() as connection:
        bound = await subjects_of_tokens(connection, ACME, [PHONE, twin, MAIL, Token("fax", PHONE.token)])

    assert bound == {PHONE: "anna", twin: "ben"}


async def test_thousands_of_tokens_are_looked_up_at_once(database: Database) -> None:
    tokens = [Token(kind, number.to_bytes(32, "big")) for number in range(2500) for kind in ("phone", "mail")]
    await claim(database, [(token, str(n)) for n, token in enumerate(tokens)])

    async with database.read() as connection:
        bound = await subjects_of_tokens(connection, ACME, tokens)

    assert bound == {token: str(n) for n, token in enumerate(tokens)}


async def test_two_writers_of_one_token_agree_on_one_subject(database: Database, migrated_url: str) -> None:
    async def one(which: Database) -> str:
        async with which.write() as connection:
            subject = await find_or_create(connection, PHONE)
            await asyncio.sleep(0.01)
            return subject

    async with opened(migrated_url) as other:
        found = await asyncio.gather(*(one(which) for which in (database, other) * 4))

    assert len(set(found)) == 1
    assert await owner_of(database, PHONE) == found[0]


async def test_the_winner_of_a_token_that_rolls_back_leaves_it_to_the_next(database: Database) -> None:
    async def give_up() -> None:
        async with database.write() as connection:
            await claim_identities(connection, ACME, [(PHONE, "anna")])
            raise AbortedError("RETRY_AFTER_ERASURE", "the subject is being erased or was erased")

    with pytest.raises(AbortedError):
        await give_up()
    await claim(database, [(PHONE, "ben")])

    assert await owner_of(database, PHONE) == "ben"


async def test_writers_of_the_same_tokens_in_different_order_do_not_deadlock(database: Database, migrated_url: str) -> None:
    tokens = [Token("phone", number.to_bytes(32, "big")) for number in range(3000)]

    async def one(which: Database, order: Sequence[Token], subject: str) -> None:
        await claim(which, [(token, subject) for token in order])

    async with opened(migrated_url) as other:
        await asyncio.gather(one(database, tokens, "anna"), one(other, tokens[::-1], "ben"))
    async with database.read() as connection:
        bound = await subjects_of_tokens(connection, ACME, tokens)

    assert len(bound) == len(tokens)
    assert len(set(bound.values())) == 1


async def test_identities_are_unbound_for_one_subject_of_one_tenant(database: Database) -> None:
    await claim(database, [(PHONE, "anna"), (MAIL, "ben")])
    await claim(database, [(PHONE, "anna")], tenant=BETA)

    async with database.write() as connection:
        await delete_identities(connection, ACME, "anna")

    assert [await owner_of(database, token) for token in (PHONE, MAIL)] == [None, "ben"]
    assert await owner_of(database, PHONE, tenant=BETA) == "anna"


async def test_records_are_counted_by_category_in_which_the_subject_is_a_party(database: Database) -> None:
    await store(
        database,
        record({"caller": "anna", "callee": "ben"}),
        record({"caller": "ben", "callee": "anna"}),
        record({"contact": "anna"}, category="end-customer-contact"),
        record({"contact": "ben"}, category="end-customer-contact"),
    )
    await store(database, record({"caller": "anna"}), tenant=BETA)

    async with database.read() as connection:
        counts = await record_counts(connection, ACME, "anna")

    assert counts == {"call-detail": 2, "end-customer-contact": 1}
