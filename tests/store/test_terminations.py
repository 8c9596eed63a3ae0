"""Rows about ends of contracts, and tokens in the place of people."""

from dataclasses import replace
from datetime import timedelta

from tests.store.rows import ACME, BETA, HOUR, MAIL, NOW, PHONE, count, record, store
from vault.store.database import Database
from vault.store.erasures import ExceptionRow, insert_exceptions
from vault.store.holds import HoldRow, ScopeRow, insert_hold
from vault.store.records import delete_index_roles, get_parts, parts_sealed_before, readable_parts, tokenise_parts, unbind_identities
from vault.store.subjects import claim_identities, set_subject_state
from vault.store.terminations import (
    Queued,
    Spared,
    TerminationRow,
    Which,
    count_left,
    dequeue_subject,
    find_records,
    get_termination,
    has_sealed,
    insert_termination,
    kept_parts,
    pending_terminations,
    queue_subjects,
    queued_subjects,
    sealed_records,
    set_new_version,
    take_up,
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


async def test_what_is_held_is_spared_and_counted_by_nobody(database: Database) -> None:
    """§5.4: by the clock; a hold that is over spares nothing."""
    held, free = record({"subject": "one"}, category="fax"), record({"subject": "two"}, category="fax")
    await store(database, held, free)
    letter = HoldRow("h", "PRESERVATION", "CASE-1", None, None, NOW + HOUR, None, "people/one", NOW)
    async with database.write() as connection:
        await insert_hold(connection, ACME, letter, [ScopeRow("one", "", "")])
        which, now, later = [Which("fax")], Spared(NOW), Spared(NOW + HOUR)

        found = [await find_records(connection, ACME, which, limit=10, spared=spared) for spared in (now, later, Spared())]
        sealed = await sealed_records(connection, ACME, which, after="", limit=10, spared=now)
        left = [await count_left(connection, ACME, which, spared=spared) for spared in (now, later, Spared(NOW, {"fax"}))]

    assert [len(rows) for rows in found] == [1, 2, 2]
    assert [row.record_id for row in (*found[0], *sealed)] == [free.row.record_id] * 2
    assert left == [1, 2, 2]


async def test_a_record_is_left_alone_when_an_erasure_keeps_all_of_it(database: Database) -> None:
    """E18, §6.3: of a record that others share, what is kept is known by party."""
    shared = record({"calling": "one", "called": "two"}, category="fax")
    own = record({"subject": "one"}, category="fax")
    await store(database, shared, own)
    kept = [
        ExceptionRow(item.row.record_id, role, "e", "one", "fax", "legal-hold", None, NOW)
        for item, role in ((shared, "calling"), (own, "subject"))
    ]
    async with database.write() as connection:
        await insert_exceptions(connection, ACME, kept)
        await insert_exceptions(connection, BETA, kept)

        found = await find_records(connection, ACME, [Which("fax")], limit=10)
        parts = await kept_parts(connection, ACME, [shared.row.record_id, own.row.record_id])
        await tokenise_parts(connection, ACME, [(shared.row.record_id, "called")])
        sealed = await sealed_records(connection, ACME, [Which("fax")], after="", limit=10)
        left = await count_left(connection, ACME, [Which("fax")])

    assert [row.record_id for row in found] == [shared.row.record_id]
    assert parts == {(shared.row.record_id, "calling"), (own.row.record_id, "subject")}
    assert (sealed, left) == ([], 1)


async def test_an_end_is_taken_up_once_it_has_begun(database: Database) -> None:
    """A hold that is released before the contract ends changes nothing of what was asked for."""
    async with database.write() as connection:
        await insert_termination(connection, replace(ROW, tenant_id="a", state="APPROVED"))
        await insert_termination(connection, replace(ROW, tenant_id="b", state="COMPLETE", finish_time=NOW, erase_time=NOW, report="note"))
        for tenant in ("a", "b", "c"):
            await take_up(connection, tenant)
        waiting, begun, none = [await get_termination(connection, tenant) for tenant in ("a", "b", "c")]

    assert waiting == replace(ROW, tenant_id="a", state="APPROVED")
    assert begun == replace(ROW, tenant_id="b", state="CREDENTIALS", finish_time=None, erase_time=NOW, report="note")
    assert none is None


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
