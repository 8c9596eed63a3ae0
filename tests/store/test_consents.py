"""Consents: who is covered by which, from when until when."""

from dataclasses import replace
from datetime import datetime

import pytest

from tests.store.rows import ACME, BETA, HOUR, MICROSECOND, NOW
from vault.store.consents import ConsentRow, consents_of, delete_consents, has_consent, insert_consent, withdraw_consents
from vault.store.database import Database

SCOPE = "third-party:partner"
CONSENT = ConsentRow(
    consent_id="consent",
    subject_id="anna",
    scope=SCOPE,
    text_version="1",
    evidence_sha256=b"digest",
    recorded_by="people/e-1",
    create_time=NOW,
    expire_time=None,
    withdrawn_by="",
    withdraw_time=None,
)


async def insert(database: Database, *rows: ConsentRow, tenant: str = ACME) -> None:
    async with database.write() as connection:
        for row in rows:
            await insert_consent(connection, tenant, row)


async def covered(database: Database, *subjects: str, scope: str = SCOPE, tenant: str = ACME, now: datetime = NOW) -> bool:
    async with database.read() as connection:
        return await has_consent(connection, tenant, scope, subjects, now)


async def withdraw(database: Database, subject: str, scope: str = SCOPE) -> int:
    async with database.write() as connection:
        return await withdraw_consents(connection, ACME, subject, scope, by="people/e-2", now=NOW)


async def test_a_consent_comes_back_as_it_was_stored(database: Database) -> None:
    await insert(database, CONSENT)

    async with database.read() as connection:
        assert await consents_of(connection, ACME, "anna") == [CONSENT]


async def test_everybody_must_be_covered(database: Database) -> None:
    await insert(database, CONSENT)

    assert await covered(database, "anna")
    assert await covered(database, "anna", "anna")
    assert not await covered(database, "anna", "bert")
    assert not await covered(database)


async def test_a_consent_covers_its_own_scope_and_tenant(database: Database) -> None:
    await insert(database, CONSENT)

    assert not await covered(database, "anna", scope="third-party:other")
    assert not await covered(database, "anna", tenant=BETA)


async def test_the_tenants_own_consent_covers_everybody_and_nobody(database: Database) -> None:
    await insert(database, replace(CONSENT, subject_id=""))

    assert await covered(database, "anna", "bert")
    assert await covered(database)
    assert not await covered(database, "anna", tenant=BETA)


@pytest.mark.parametrize(("end", "expected"), [(NOW, False), (NOW + MICROSECOND, True)])
async def test_a_consent_ends_on_its_moment(database: Database, end: datetime, *, expected: bool) -> None:
    await insert(database, replace(CONSENT, expire_time=end))

    assert await covered(database, "anna") is expected


async def test_a_withdrawal_ends_every_consent_in_force_and_nothing_else(database: Database) -> None:
    over = replace(CONSENT, consent_id="over", expire_time=NOW - HOUR)
    others = [replace(CONSENT, consent_id="bert", subject_id="bert"), replace(CONSENT, consent_id="other", scope="third-party:other")]
    await insert(database, CONSENT, replace(CONSENT, consent_id="again"), over, *others)

    assert await withdraw(database, "anna") == 2
    assert await withdraw(database, "anna") == 0

    assert not await covered(database, "anna")
    assert await covered(database, "bert")
    assert await covered(database, "anna", scope="third-party:other")


async def test_a_person_is_forgotten_and_the_tenants_own_consent_is_not(database: Database) -> None:
    await insert(database, CONSENT, replace(CONSENT, consent_id="tenant", subject_id=""))

    async with database.write() as connection:
        await delete_consents(connection, ACME, "anna")
        await delete_consents(connection, ACME, "")

    async with database.read() as connection:
        assert await consents_of(connection, ACME, "anna") == []
    assert await covered(database, "anna")
