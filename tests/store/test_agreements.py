"""Processing agreements: how they are found and where they stand."""

from dataclasses import replace
from datetime import datetime

import pytest

from tests.store.rows import ACME, BETA, HOUR, MICROSECOND, NOW
from vault.store.agreements import AgreementRow, agreement_standing, insert_agreement, latest_end, list_agreements
from vault.store.database import Database

AGREEMENT = AgreementRow(
    agreement_id="agreement",
    party="tenant",
    purposes=["service-delivery"],
    document_sha256=b"\1" * 32,
    sign_time=NOW,
    expire_time=NOW + HOUR,
    registered_by="people/e-officer",
    create_time=NOW,
)


async def insert(database: Database, *rows: AgreementRow, tenant: str = ACME) -> None:
    async with database.write() as connection:
        for row in rows:
            await insert_agreement(connection, tenant, row)


async def standing(database: Database, at: datetime, *, tenant: str = ACME, party: str = "tenant") -> str:
    async with database.read() as connection:
        return await agreement_standing(connection, tenant, party, at)


async def test_agreements_come_back_by_id_a_page_at_a_time(database: Database) -> None:
    rows = [replace(AGREEMENT, agreement_id=name) for name in "abc"]
    await insert(database, *rows)
    await insert(database, AGREEMENT, tenant=BETA)

    async with database.read() as connection:
        pages = [await list_agreements(connection, ACME, after=after, limit=2) for after in ("", "b", "c")]

    assert pages == [rows[:2], rows[2:], []]


@pytest.mark.parametrize(
    ("at", "expected"),
    [(NOW - MICROSECOND, "NONE"), (NOW, "IN_FORCE"), (NOW + HOUR - MICROSECOND, "IN_FORCE"), (NOW + HOUR, "EXPIRED")],
    ids=["before", "signed", "last moment", "expired"],
)
async def test_an_agreement_is_in_force_from_its_signature_until_it_expires(database: Database, at: datetime, expected: str) -> None:
    """L7."""
    await insert(database, AGREEMENT)

    assert await standing(database, at) == expected
    assert await standing(database, at, party="affiliate") == "NONE"
    assert await standing(database, at, tenant=BETA) == "NONE"


async def test_a_renewal_puts_a_party_in_force_again_whichever_was_registered_first(database: Database) -> None:
    """L7."""
    renewed = replace(AGREEMENT, agreement_id="renewal", sign_time=NOW + HOUR, expire_time=NOW + 3 * HOUR)
    await insert(database, renewed, AGREEMENT)

    found = [await standing(database, NOW + number * HOUR) for number in range(4)]

    assert found == ["IN_FORCE", "IN_FORCE", "IN_FORCE", "EXPIRED"]
    async with database.read() as connection:
        assert [await latest_end(connection, ACME, party) for party in ("tenant", "affiliate")] == [NOW + 3 * HOUR, None]
