"""Idempotent requests, confidentiality agreements, customer requests."""

import asyncio
from dataclasses import replace
from datetime import datetime

import pytest

from tests.store.rows import ACME, BETA, HOUR, MICROSECOND, NOW, opened
from vault.errors import AbortedError, VaultError
from vault.store.database import Database
from vault.store.registers import (
    AnsweredRequest,
    CustomerRequestRow,
    answered_request,
    close_customer_request,
    get_customer_request,
    insert_customer_request,
    keep_answer,
    put_nda,
    valid_ndas,
)

ANSWER = AnsweredRequest("CreateRecord", b"\x00token", b"response")
REQUEST = CustomerRequestRow("request", "spring", ("reveal", "find"), "spiffe://vault.example/desk", NOW, NOW + HOUR, None)


async def sign(database: Database, person: str, *, signed: datetime = NOW, expires: datetime = NOW + HOUR) -> None:
    async with database.write() as connection:
        await put_nda(connection, person, document_sha256=b"sha", sign_time=signed, expire_time=expires, registered_by="desk")


async def bound_at(database: Database, time: datetime, *people: str) -> frozenset[str]:
    async with database.read() as connection:
        return await valid_ndas(connection, people, time)


async def test_an_answer_is_kept_for_its_tenant_and_request(database: Database) -> None:
    async with database.write() as connection:
        await keep_answer(connection, ACME, "one", ANSWER, NOW)
        await keep_answer(connection, BETA, "one", replace(ANSWER, method="Other"), NOW)

    async with database.read() as connection:
        answers = [await answered_request(connection, tenant, request) for tenant, request in ((ACME, "one"), (ACME, "two"))]

    assert answers == [ANSWER, None]


async def test_of_two_calls_under_one_request_id_one_is_stored(database: Database, migrated_url: str) -> None:
    async def answer(which: Database, method: str) -> str:
        async with which.write() as connection:
            await keep_answer(connection, ACME, "one", replace(ANSWER, method=method), NOW)
            await asyncio.sleep(0.01)
        return method

    async with opened(migrated_url) as other:
        outcomes = await asyncio.gather(answer(database, "first"), answer(other, "second"), return_exceptions=True)

    [won] = [outcome for outcome in outcomes if isinstance(outcome, str)]
    [lost] = [outcome for outcome in outcomes if isinstance(outcome, VaultError)]
    assert lost.reason == "CONCURRENT_CHANGE"
    async with database.read() as connection:
        assert await answered_request(connection, ACME, "one") == replace(ANSWER, method=won)


@pytest.mark.parametrize(
    ("time", "valid"),
    [(NOW - MICROSECOND, False), (NOW, True), (NOW + HOUR - MICROSECOND, True), (NOW + HOUR, False)],
    ids=["before", "signed", "last moment", "expired"],
)
async def test_an_agreement_is_in_force_from_its_signature_until_it_expires(database: Database, time: datetime, valid: bool) -> None:
    await sign(database, "anna")

    people = await bound_at(database, time, "anna", "ben")

    assert people == (frozenset({"anna"}) if valid else frozenset())


async def test_nobody_asked_about_is_nobody_bound(database: Database) -> None:
    await sign(database, "anna")

    assert await bound_at(database, NOW) == frozenset()


async def test_a_new_agreement_replaces_the_earlier_one(database: Database) -> None:
    await sign(database, "anna", expires=NOW + HOUR)
    await sign(database, "anna", signed=NOW + HOUR, expires=NOW + 2 * HOUR)

    people = [await bound_at(database, time, "anna") for time in (NOW, NOW + HOUR)]

    assert people == [frozenset(), frozenset({"anna"})]


async def test_a_customer_request_comes_back_as_it_was_stored(database: Database) -> None:
    async with database.write() as connection:
        await insert_customer_request(connection, ACME, REQUEST)
        rows = [await get_customer_request(connection, tenant, "request") for tenant in (ACME, BETA)]

    assert rows[0] == replace(REQUEST, operations=["reveal", "find"])
    assert rows[1] is None


async def test_a_customer_request_is_stored_once(database: Database) -> None:
    async with database.write() as connection:
        await insert_customer_request(connection, ACME, REQUEST)

    with pytest.raises(AbortedError) as raised:
        async with database.write() as connection:
            await insert_customer_request(connection, ACME, REQUEST)

    assert raised.value.reason == "CONCURRENT_CHANGE"


async def test_a_closed_customer_request_keeps_the_time_it_was_closed(database: Database) -> None:
    async with database.write() as connection:
        for tenant in (ACME, BETA):
            await insert_customer_request(connection, tenant, REQUEST)

    async with database.write() as connection:
        await close_customer_request(connection, ACME, "request", NOW)
        await close_customer_request(connection, ACME, "request", NOW + HOUR)
        closed, foreign = [await get_customer_request(connection, tenant, "request") for tenant in (ACME, BETA)]

    assert closed is not None
    assert closed.close_time == NOW
    assert foreign is not None
    assert foreign.close_time is None
