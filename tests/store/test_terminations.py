"""Rows about ends of contracts, and tokens in the place of people."""

from dataclasses import replace
from datetime import timedelta

from tests.store.rows import ACME, BETA, HOUR, MAIL, NOW, PHONE, count, record, store
from vault.store.database import Database
from vault.store.records import delete_index_roles, get_parts, parts_sealed_before, readable_parts, tokenise_parts, unbind_identities
from vault.store.subjects import claim_identities, set_subject_state
from vault.store.terminations import (
    Queued,
    TerminationRow,
    Which,
    count_left,
    dequeue_subject,
    find_records,
    get_termination,
    has_sealed,
    insert_termination,
    pending_terminations,
    queue_subjects,
    queued_subjects,
    sealed_records,
    set_new_version,
    update_termination,
)

ROW = TerminationRow(
    tenant_id=ACME,
    state="REQUESTED",
    position="",
    asked_by="CUSTOMER",
    remove_contacts=0,
    effective_time=NOW,
    grace_end_time=NOW + timedelta(days=30),
    requester="people/one",
    approver="",
    request_time=NOW,
)


async def test_a_termination_comes_back_as_it_was_stored(database: Database) -> None:
    done = replace(ROW, state="COMPLETE", finish_time=NOW + HOUR, counts={"fax": {"found": 2}}, key_counts={"renewed": 1}, report="note")
    async with database.write() as connection:
        await insert_termination(connection, ROW)
        stored = await get_termination(connection, ACME, lock=True)
        await update_termination(connection, done)

    async with database.read() as connection:
        assert stored == ROW
        assert await get_termination(connection, ACME) == done
        assert await get_termination(connection, BETA) is None


async def test_what_is_due_is_found_at_its_moment_and_not_before(database: Database) -> None:
    states = {
        "a": ("REQUESTED", False, False),
        "b": ("APPROVED", False, True),
        "c": ("GRACE", False, False),
        "d": ("KEYS", True, True),
        "e": ("COMPLETE", False, False),
    }
    async with database.write() as connection:
        for tenant, (state, _, _) in states.items():
            await insert_termination(connection, replace(ROW, tenant_id=tenant, state=state))

    async with database.read() as connection:
        before = await pending_terminations(connection, NOW - HOUR)
        then = await pending_terminations(connection, NOW)
        late = await pending_terminations(connection, NOW + timedelta(days=30))

    assert before == [tenant for tenant, (_, early, _) in states.items() if early]
    assert then == [tenant for tenant, (_, _, due) in states.items() if due]
    assert late == ["b", "c", "d"]


async def test_records_are_found_by_category_level_and_what_they_are_not(database: Database) -> None:
    kinds = [record({"subject": "one"}, category="message-metadata", metadata={"channel": channel}) for channel in ("SMS", "VOICE")] + [
        record({"subject": "two"}, category="fax", level=level) for level in ("report", "system-log")
    ]
    await store(database, *kinds)
    await store(database, record({"subject": "one"}, category="message-metadata", metadata={"channel": "SMS"}), tenant=BETA)
    which = [Which("message-metadata", None, "channel", {"VOICE"}), Which("fax", "report")]

    async with database.read() as connection:
        found = await find_records(connection, ACME, which, limit=10)
        one = await find_records(connection, ACME, which, limit=1)
        left = await count_left(connection, ACME, which)

    assert {row.record_id for row in found} == {kinds[0].row.record_id, kinds[2].row.record_id}
    assert (len(one), left) == (1, 2)


async def test_records_of_somebody_who_is_being_erased_are_counted_and_left_alone(database: Database) -> None:
    """E18."""
    await store(database, record({"subject": "dying"}, category="fax"), record({"subject": "living"}, category="fax"))
    async with database.write() as connection:
        await set_subject_state(connection, ACME, "dying", "ERASING")

        found = await find_records(connection, ACME, [Which("fax")], limit=10)
        sealed = await sealed_records(connection, ACME, [Which("fax")], after="", limit=10)

        assert [row.subject_id for row in found] == [row.subject_id for row in sealed] == ["living"]
        assert await count_left(connection, ACME, [Which("fax")]) == 2


async def test_a_tokenised_part_stays_with_nothing_in_it_and_nothing_leads_to_it(database: Database) -> None:
    """A23: the other party's part, and other records of the same person, are as they were."""
    call = record({"calling": "one", "called": "two"}, {"a": ("calling", PHONE), "b": ("called", MAIL)})
    other = record({"subject": "one"}, {"a": ("subject", PHONE)})
    await store(database, call, other)

    async with database.write() as connection:
        await delete_index_roles(connection, ACME, [(call.row.record_id, "calling")])
        await tokenise_parts(connection, ACME, [(call.row.record_id, "calling")])
        await tokenise_parts(connection, ACME, [])

    async with database.read() as connection:
        parts = {part.role: part for part in await get_parts(connection, ACME, [call.row.record_id])}
        readable = {part.role: part for part in await readable_parts(connection, ACME, [call.row.record_id])}
        older = await parts_sealed_before(connection, ACME, "one", 2, after="", limit=10)
    assert (parts["calling"].sealed, parts["calling"].subject_id, parts["calling"].key_version) == (b"", "one", 0)
    assert (readable["calling"].is_erased, readable["called"].is_erased) == (True, False)
    assert readable["calling"].wrapped is None
    # A rotation of the person's key has nothing to seal in it.
    assert [part.record_id for part in older] == [other.row.record_id]
    assert await count(database, "index_entries", record_id=call.row.record_id) == 1
    assert await count(database, "index_entries", record_id=other.row.record_id) == 1


async def test_somebody_has_something_sealed_until_it_is_a_token(database: Database) -> None:
    item = record({"subject": "one"})
    await store(database, item)
    async with database.write() as connection:
        before = await has_sealed(connection, ACME, "one")
        await tokenise_parts(connection, ACME, [(item.row.record_id, "subject")])

        assert (before, await has_sealed(connection, ACME, "one"), await has_sealed(connection, ACME, "nobody")) == (True, False, False)


async def test_identities_that_lead_to_no_record_go_and_no_others(database: Database) -> None:
    await store(database, record({"subject": "one"}, {"a": ("subject", PHONE)}), record({"subject": "two"}, {"a": ("subject", MAIL)}))
    async with database.write() as connection:
        await claim_identities(connection, ACME, [(PHONE, "one"), (MAIL, "one")])
        await unbind_identities(connection, ACME, "one")

    assert await count(database, "identities", kind=PHONE.kind) == 1
    # The other person has a record by that identifier; it is not this one's for that.
    assert await count(database, "identities", kind=MAIL.kind) == 0


async def test_the_queue_keeps_who_is_in_it_and_how_far_they_are(database: Database) -> None:
    async with database.write() as connection:
        await queue_subjects(connection, ACME, ["one", "two"])
        await set_new_version(connection, ACME, "one", 3)
        await queue_subjects(connection, ACME, ["one", "three"])
        await queue_subjects(connection, BETA, ["one"])
        await queue_subjects(connection, ACME, [])
        await dequeue_subject(connection, ACME, "two")

        assert await queued_subjects(connection, ACME, limit=10) == [Queued("one", 3), Queued("three", 0)]
        assert await queued_subjects(connection, ACME, limit=1) == [Queued("one", 3)]
        assert await queued_subjects(connection, BETA, limit=10) == [Queued("one", 0)]
