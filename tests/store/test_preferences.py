"""Choices about advertising, and suppressions."""

from dataclasses import replace

from tests.store.rows import ACME, BETA, HOUR, NOW
from vault.store.database import Database
from vault.store.preferences import (
    PreferenceRow,
    Suppression,
    add_preferences,
    add_suppressions,
    delete_preferences,
    is_suppressed,
    newest_preferences,
    preferences_of,
    remove_suppressions,
)

CHOICE = PreferenceRow("1", "anna", "SMS", "IN", "EXPLICIT_OPT_IN", "WEB", "1", "people/e-1", NOW)
NO = Suppression("phone/SMS", b"token")


async def test_the_newest_choice_of_a_channel_counts(database: Database) -> None:
    later = replace(CHOICE, preference_id="2", state="OUT", basis="", create_time=NOW + HOUR)
    mail = replace(CHOICE, preference_id="3", channel="EMAIL", create_time=NOW - HOUR)
    async with database.write() as connection:
        await add_preferences(connection, ACME, [later, mail, CHOICE, replace(later, preference_id="4", subject_id="bert")])
        await add_preferences(connection, ACME, [])

    async with database.read() as connection:
        assert await newest_preferences(connection, ACME, "anna") == {"SMS": later, "EMAIL": mail}
        assert await newest_preferences(connection, BETA, "anna") == {}


async def test_of_two_choices_at_one_moment_the_no_counts(database: Database) -> None:
    no = replace(CHOICE, preference_id="0", state="OUT", basis="")
    async with database.write() as connection:
        await add_preferences(connection, ACME, [no, CHOICE, replace(CHOICE, preference_id="9")])

    async with database.read() as connection:
        assert await newest_preferences(connection, ACME, "anna") == {"SMS": no}


async def test_choices_are_deleted_and_suppressions_stay(database: Database) -> None:
    async with database.write() as connection:
        await add_preferences(connection, ACME, [CHOICE])
        await add_suppressions(connection, ACME, [NO], NOW)
        await delete_preferences(connection, ACME, "anna")

    async with database.read() as connection:
        assert await preferences_of(connection, ACME, "anna") == []
        assert await is_suppressed(connection, ACME, NO.kind, [b"older", NO.token])


async def test_a_suppression_is_of_one_tenant_kind_and_token(database: Database) -> None:
    async with database.write() as connection:
        await add_suppressions(connection, ACME, [NO, NO], NOW)
        await add_suppressions(connection, ACME, [NO], NOW + HOUR)
        await add_suppressions(connection, ACME, [], NOW)

    async with database.read() as connection:
        assert not await is_suppressed(connection, BETA, NO.kind, [NO.token])
        assert not await is_suppressed(connection, ACME, "phone/VOICE", [NO.token])
        assert not await is_suppressed(connection, ACME, NO.kind, [b"other"])


async def test_a_suppression_is_taken_away(database: Database) -> None:
    voice = Suppression("phone/VOICE", NO.token)
    async with database.write() as connection:
        await add_suppressions(connection, ACME, [NO, voice], NOW)
        await remove_suppressions(connection, ACME, [NO])

    async with database.read() as connection:
        assert not await is_suppressed(connection, ACME, NO.kind, [NO.token])
        assert await is_suppressed(connection, ACME, voice.kind, [voice.token])
