"""A restored backup brings nobody back: nothing is served until what was erased since is erased again (E9, E10, L9, L43)."""

import asyncio
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import select, update

from deploy import backup
from tests.builders import (
    ERASING,
    asked,
    contact,
    create,
    entries,
    erase,
    find,
    id_of,
    not_revealed,
    record,
    request_erasure,
    reveal,
    rows,
    sought,
    subject_of,
)
from tests.databases import PostgresServer, sqlite_url
from tests.restoring import Restorable, findings, in_thread, people, person_of, replay
from tests.rpc.test_access_matrix import METHODS, answers_of, call, roles_of
from tests.serving import Serving
from vault.audit.certificate import verify_certificate
from vault.client.errors import CallError
from vault.errors import FailedPreconditionError, UnavailableError
from vault.operations import erase_run, upkeep
from vault.operations import ledger as ledger_flow
from vault.operations.move_keys import move_subject_keys
from vault.store import schema, tables
from vault.store.database import Database
from vault.v1.erasure_service_pb2 import (
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_RUNNING,
    ApproveErasureRequest,
    Erasure,
    GetErasureCertificateRequest,
    GetErasureRequest,
)
from vault.v1.operations_service_pb2 import ReplayErasuresRequest
from vault.v1.resources_pb2 import SUBJECT_STATE_ERASED
from vault.v1.vault_service_pb2 import GetSubjectRequest

PHONES = [f"+97250234560{n}" for n in range(4)]
DAY = timedelta(days=1)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
PENDING = ("UNAVAILABLE", "RESTORE_PENDING")
OF_PERSON = (tables.subject_keys, tables.record_parts, tables.index_entries, tables.identities)


@pytest.fixture
def vault(home_template: Path, tmp_path: Path, migrated_url: str) -> Restorable:
    """A vault that keeps everything in one database."""
    return Restorable(home_template, tmp_path / "home", migrated_url)


@pytest.fixture
async def apart(vault: Restorable, database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Restorable:
    """A vault whose subject keys have a database of their own."""
    if database_kind == "sqlite":
        url = sqlite_url(tmp_path / "keys.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.database_url(server.create())
    keys = Database(url, of_keys=True)
    await schema.migrate(keys)
    await keys.close()
    return Restorable(vault.template, vault.home, vault.url, url)


async def shown(served: Serving, name: str) -> str:
    """A contact's number, or why it is not shown."""
    try:
        return (await reveal(served.service("acme-app"), asked(name, "phone"))).fields["phone"].text
    except CallError as error:
        return error.reason


async def restored(vault: Restorable, *, erased: int = 1) -> tuple[list[str], Erasure]:
    """A vault with people of whom a backup knows all, although some were erased since; their records, and one of the erasures."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES)
        file = await vault.back_up()
        erasures = [await erase(served, subject_of(name)) for name in names[:erased]]
    await vault.restore(file)
    return names, erasures[0]


async def test_e9_a_restored_backup_serves_nothing_until_the_replay_and_then_the_erased_are_gone(vault: Restorable) -> None:
    """E9, L9: a backup of ten days ago, a person erased since, and added again yesterday."""
    async with vault.serving() as served:
        await served.create_tenants()
        erased, kept = await people(served, PHONES[:2])
        file = await vault.back_up()
        served.clock.offset = 9 * DAY
        erasure = await erase(served, subject_of(erased))
        again = (await create(served.service("acme-app"), contact(PHONES[0]))).name
        newer = await in_thread(lambda: backup.rows_of(vault.url, "acme", person_of(again)))
    await vault.restore(file)
    await in_thread(lambda: backup.put_rows(vault.url, newer))

    async with vault.serving() as served:
        served.clock.offset = 10 * DAY
        before = [await not_revealed(served.service("acme-app"), asked(name, "phone")) for name in (erased, kept, again)]
        told = await findings(served)
        replayed = await replay(served)
        after = await findings(served)
        gone = await not_revealed(served.service("acme-app"), asked(erased, "phone"))
        app = served.service("acme-app")
        person = (await app.call(app.records.GetSubject, GetSubjectRequest(name=subject_of(erased)))).subject
        left = [await shown(served, name) for name in (kept, again)]
        found = [match.record for match in await find(app, sought("phone", PHONES[0]))]
        auditor = served.service("auditor")
        certificate = await auditor.call(auditor.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure.name))
        said = verify_certificate(certificate.certificate, served.vault.signer.verifier())
        [entry] = [entry for entry in await entries(served, "system") if entry.operation == "replay-erasures"]
    assert {(error.code.name, error.reason) for error in before} == {PENDING}
    assert all(error.retry_after for error in before)
    assert told == ["RESTORE_PENDING 1"]
    assert (replayed.replayed_count, after) == (1, [])
    assert gone.reason == "RECORD_NOT_FOUND"
    assert (person.state, dict(person.record_counts)) == (SUBJECT_STATE_ERASED, {})
    assert left == [PHONES[1], PHONES[0]]
    assert found == [again]
    assert said["erasure"] == erasure.name
    assert (entry.operation, entry.reason) == ("replay-erasures", "")


async def test_every_call_but_those_that_mend_it_is_refused(vault: Restorable) -> None:
    """§6.6: whoever is entitled to it, whatever they ask; before any value is read."""
    await restored(vault)

    async with vault.serving() as served:
        names = [name for name in METHODS if name not in {"OperationsService/ReplayErasures", "OperationsService/GetReadiness"}]
        calls = {name: call(served.person(f"e-{role}", role), name) for name in names for role in roles_of("methods", name)[:1]}
        answers = await answers_of(calls)
        health: Any = health_pb2_grpc.HealthStub(served.service("operator").channel)
        status = (await health.Check(health_pb2.HealthCheckRequest())).status
        stranger = served.service("nobody")
        refused = await stranger.refused(stranger.operations.ReplayErasures, ReplayErasuresRequest())

    assert len(answers) > 60
    assert answers == dict.fromkeys(answers, PENDING)
    assert status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert refused.reason == "ROLE_NOT_ALLOWED"


async def test_what_a_replay_leaves_is_what_the_erasure_left(vault: Restorable) -> None:
    """No key, no part, no token; and a second replay has nothing to do."""
    names, _ = await restored(vault, erased=3)

    async with vault.serving() as served:
        first = (await replay(served)).replayed_count
        counts = await rows(served, *OF_PERSON)
        second = (await replay(served)).replayed_count
        answers = [await shown(served, name) for name in names]

    assert (first, second) == (3, 0)
    assert counts == (1, 1, 1, 1)
    assert answers == ["RECORD_NOT_FOUND"] * 3 + [PHONES[3]]


async def test_a_replayed_database_is_served_at_the_next_start_and_is_another_one(vault: Restorable) -> None:
    """The marker is as far as the ledger, in a new incarnation."""
    await restored(vault)
    async with vault.serving() as served:
        [before] = await ledger_flow.markers(served.vault)
        await replay(served)

    async with vault.serving() as served:
        [after] = await ledger_flow.markers(served.vault)
        told = await findings(served)

    assert (before.sequence, before.is_pending) == (0, 1)
    assert (after.sequence, after.is_pending, told) == (1, 0, [])
    assert after.incarnation != before.incarnation


async def test_the_same_backup_may_be_restored_again(vault: Restorable) -> None:
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES)
        file = await vault.back_up()
        await erase(served, subject_of(names[0]))
    for _ in range(2):
        await vault.restore(file)
        async with vault.serving() as served:
            assert await findings(served) == ["RESTORE_PENDING 1"]
            await replay(served)
            assert await shown(served, names[0]) == "RECORD_NOT_FOUND"


async def test_who_came_after_the_cut_off_is_somebody_else(vault: Restorable) -> None:
    """§6.6: replay deletes who was there before the cut-off only."""
    names, _ = await restored(vault)
    database = Database(vault.url, pool_size=1)
    async with database.write() as connection:
        later = update(tables.subjects).where(tables.subjects.c.subject_id == person_of(names[0]))
        await connection.execute(later.values(create_time=LATER))
    await database.close()

    async with vault.serving() as served:
        assert (await replay(served)).replayed_count == 1
        assert await shown(served, names[0]) == PHONES[0]


async def test_retention_catches_up_before_anything_is_served(vault: Restorable) -> None:
    """§6.6: what fell due since the backup is gone as well."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        fields: dict[str, str | bytes] = {
            "message_id": "m-1",
            "channel": "SMS",
            "submitted_at": served.clock().isoformat(),
            "body": b"on its way",
        }
        await create(served.service("engine"), record("outgoing-message", fields, subject=subject_of(names[1]), level="system-log"))
        file = await vault.back_up()
        await erase(served, subject_of(names[0]))
    await vault.restore(file)

    async with vault.serving() as served:
        served.clock.offset = 400 * DAY
        before = await rows(served, tables.records)
        await replay(served)
        after = await rows(served, tables.records)

    assert (before, after) == ((3,), (1,))


async def test_a_backup_from_between_approval_and_completion_is_finished_and_asks_for_no_replay(
    vault: Restorable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10: the erasure is known; upkeep finishes it at the start."""
    async with vault.serving() as served:
        await served.create_tenants()
        [name] = await people(served, PHONES[:1])
        with monkeypatch.context() as away:
            away.setattr(erase_run, "run", gone_away)
            erasure = await erase(served, subject_of(name))
        file = await vault.back_up()
        await upkeep.resume_erasures(served.vault)
    await vault.restore(file)

    async with vault.serving() as served:
        told = await findings(served)
        counts = await rows(served, *OF_PERSON)
        done = await state_of(served, erasure)

    assert erasure.state == ERASURE_STATE_RUNNING
    assert (told, counts, done) == ([], (0, 0, 0, 0), ERASURE_STATE_COMPLETE)
    assert vault.entry(1).exists()
    assert not vault.entry(2).exists()


async def gone_away(*_: object) -> None:
    """A dependency that is away between the approval and the rest."""
    raise UnavailableError("KEYS_UNAVAILABLE", "away")


async def approved(served: Serving, erasure: Erasure) -> Erasure:
    """The erasure, approved by somebody who may."""
    officer = served.person("e-approver", "privacy-officer")
    request = ApproveErasureRequest(name=erasure.name, justification=ERASING)
    return (await officer.call(officer.erasures.ApproveErasure, request)).erasure


async def state_of(served: Serving, erasure: Erasure) -> int:
    officer = served.service("privacy-officer")
    return (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure.state


async def test_an_erasure_whose_request_the_backup_knows_keeps_its_name_and_its_requester(vault: Restorable) -> None:
    async with vault.serving() as served:
        await served.create_tenants()
        [name] = await people(served, PHONES[:1])
        asked_for = await request_erasure(served.service("acme-admin"), subject_of(name))
        file = await vault.back_up()
        await erase(served, subject_of(name))
    await vault.restore(file)

    async with vault.serving() as served:
        await replay(served)
        officer = served.service("privacy-officer")
        done = (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=asked_for.name))).erasure

    assert (done.state, done.requester) == (ERASURE_STATE_COMPLETE, asked_for.requester)


# --- keys apart (L43)


async def test_l43_restored_keys_alone_are_noticed_and_destroyed_again(apart: Restorable) -> None:
    """L43: the data know the erasure, the keys came back."""
    async with apart.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        file = await apart.back_up(apart.keys_url)
        await erase(served, subject_of(names[0]))
    await apart.restore(file, apart.keys_url)

    async with apart.serving() as served:
        before = await keys_of(served)
        refused = await not_revealed(served.service("acme-app"), asked(names[1], "phone"))
        told = await findings(served)
        await replay(served)
        after = await keys_of(served)
        answers = [await shown(served, name) for name in names]

    assert before == {person_of(name) for name in names}
    assert (refused.reason, told) == ("RESTORE_PENDING", ["RESTORE_PENDING 1"])
    assert after == {person_of(names[1])}
    assert answers == ["RECORD_NOT_FOUND", PHONES[1]]


async def test_restored_data_are_noticed_although_the_keys_are_gone(apart: Restorable) -> None:
    names, _ = await restored(apart)

    async with apart.serving() as served:
        told = await findings(served)
        await replay(served)
        counts = await rows(served, tables.record_parts, tables.index_entries, tables.identities)
        answers = [await shown(served, name) for name in names]

    assert told == ["RESTORE_PENDING 1"]
    assert counts == (3, 3, 3)
    assert answers == ["RECORD_NOT_FOUND", *PHONES[1:]]


async def test_both_restored_from_different_days_are_replayed_together(apart: Restorable) -> None:
    """The keys of somebody whom the restored data do not know any more go as well."""
    async with apart.serving() as served:
        await served.create_tenants()
        data = await apart.back_up()
        names = await people(served, PHONES[:2])
        keys = await apart.back_up(apart.keys_url)
        await erase(served, subject_of(names[0]))
    await apart.restore(data)
    await apart.restore(keys, apart.keys_url)

    async with apart.serving() as served:
        told = await findings(served)
        replayed = (await replay(served)).replayed_count
        left = await keys_of(served)

    assert (told, replayed) == (["RESTORE_PENDING 1"], 1)
    assert left == {person_of(names[1])}


async def keys_of(served: Serving) -> set[str]:
    """Whose keys there are."""
    assert served.vault.key_database is not None
    async with served.vault.key_database.read() as connection:
        return set((await connection.execute(select(tables.subject_keys.c.subject_id))).scalars())


# --- the ledger itself


def cut_off(vault: Restorable) -> None:
    vault.entry(2).unlink()


def taken_away(vault: Restorable) -> None:
    shutil.rmtree(vault.ledger)


def altered(vault: Restorable) -> None:
    content = vault.entry(1).read_bytes()
    vault.entry(1).chmod(0o600)
    vault.entry(1).write_bytes(content.replace(b"ERASURE", b"TERMINATION"))


def taken_out(vault: Restorable) -> None:
    vault.entry(1).unlink()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [(cut_off, "LEDGER_BEHIND 1"), (taken_away, "LEDGER_BEHIND"), (altered, "LEDGER_CORRUPT"), (taken_out, "LEDGER_CORRUPT")],
)
async def test_a_damaged_ledger_stops_everything_and_is_named(
    vault: Restorable, damage: Callable[[Restorable], None], finding: str
) -> None:
    """Harm: a restore that nobody would notice. It is mended by the ledger's own backup, and by nothing else."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:3])
        for name in names[:2]:
            await erase(served, subject_of(name))
    shutil.copytree(vault.ledger, vault.home.with_name("ledger-backup"))
    damage(vault)

    async with vault.serving() as served:
        told = await findings(served)
        refused = await not_revealed(served.service("acme-app"), asked(names[2], "phone"))
        operator = served.service("operator")
        no_replay = await operator.refused(operator.operations.ReplayErasures, ReplayErasuresRequest())
    shutil.rmtree(vault.ledger, ignore_errors=True)
    shutil.copytree(vault.home.with_name("ledger-backup"), vault.ledger)
    async with vault.serving() as served:
        mended = await findings(served)

    assert told == [finding]
    assert (refused.code.name, refused.reason) == ("UNAVAILABLE", finding.split(maxsplit=1)[0])
    assert no_replay.reason == finding.split(maxsplit=1)[0]
    assert mended == []


async def test_a_running_vault_notices_that_its_ledger_was_cut_off(vault: Restorable) -> None:
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        await erase(served, subject_of(names[0]))
        vault.entry(1).unlink()

        told = await findings(served)
        refused = await not_revealed(served.service("acme-app"), asked(names[1], "phone"))

    assert told == ["LEDGER_BEHIND"]
    assert refused.reason == "LEDGER_BEHIND"


async def test_an_erasure_that_cannot_be_noted_destroys_nothing_and_is_done_later(vault: Restorable) -> None:
    """The ledger is away: approved, blocked, not done; everybody else is served, and readiness says what is the matter."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        vault.ledger.rename(vault.home.with_name("unmounted"))
        erasure = await erase(served, subject_of(names[0]))
        counts = await rows(served, *OF_PERSON)
        blocked = await not_revealed(served.service("acme-app"), asked(names[0], "phone"))
        told, other = await findings(served), await shown(served, names[1])
        vault.home.with_name("unmounted").rename(vault.ledger)
        await upkeep.resume_erasures(served.vault)
        done, left = await state_of(served, erasure), await rows(served, *OF_PERSON)

    assert (erasure.state, counts) == (ERASURE_STATE_RUNNING, (2, 2, 2, 2))
    assert blocked.reason == "SUBJECT_ERASED"
    assert (told, other) == (["LEDGER_UNAVAILABLE"], PHONES[1])
    assert (done, left) == (ERASURE_STATE_COMPLETE, (1, 1, 1, 1))
    assert vault.entry(1).exists()


async def test_a_vault_whose_ledger_cannot_be_read_at_the_start_serves_nothing(vault: Restorable) -> None:
    """Nobody knows then whether the database is older than it."""
    async with vault.serving() as served:
        await served.create_tenants()
        [name] = await people(served, PHONES[:1])
    entries_of = vault.ledger / "entries"
    entries_of.rename(vault.ledger / "elsewhere")
    entries_of.touch()

    async with vault.serving() as served:
        told = await findings(served)
        refused = await not_revealed(served.service("acme-app"), asked(name, "phone"))
        entries_of.unlink()
        (vault.ledger / "elsewhere").rename(entries_of)
        mended = await findings(served)
        answer = await shown(served, name)

    assert refused.reason == "LEDGER_UNAVAILABLE"
    assert (told, mended, answer) == (["LEDGER_UNAVAILABLE"], [], PHONES[0])


async def test_the_ledger_holds_nothing_of_the_person(vault: Restorable) -> None:
    """I2: neither number nor opaque id."""
    async with vault.serving() as served:
        await served.create_tenants()
        [name] = await people(served, PHONES[:1])
        await erase(served, subject_of(name))

    content = b"".join(path.read_bytes() for path in vault.ledger.rglob("*") if path.is_file())

    assert person_of(name).encode() not in content
    assert id_of(name).encode() not in content
    assert PHONES[0].removeprefix("+").encode() not in content


async def test_two_replays_at_once_are_one(vault: Restorable) -> None:
    """By lease: the other one is told to come back."""
    await restored(vault)
    async with vault.serving() as served:
        results = await asyncio.gather(*(replay(served) for _ in range(3)), return_exceptions=True)
        told = await findings(served)

    refused = {getattr(result, "reason", "") for result in results if isinstance(result, Exception)}
    assert refused <= {"REPLAY_RUNNING"}
    assert [result for result in results if not isinstance(result, Exception)]
    assert told == []


async def test_the_root_key_is_rotated_under_the_ledger_too(vault: Restorable) -> None:
    """Harm: the old version of the root key was retired, and the ledger opened no more."""
    async with vault.serving() as served:
        await served.create_tenants()
        [name] = await people(served, PHONES[:1])
        await erase(served, subject_of(name))
        before = (vault.ledger / "key.json").read_bytes()
        await ledger_flow.rewrap_key(served.vault)

    async with vault.serving() as served:
        told = await findings(served)

    assert (vault.ledger / "key.json").read_bytes() != before
    assert told == []


# --- pruning


async def test_entries_go_when_no_backup_is_that_old(vault: Restorable) -> None:
    """§6.6: kept as long as the oldest backup and thirty days more; a backup that is older all the same is not served."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        file = await vault.back_up()
        await erase(served, subject_of(names[0]))
        served.clock.offset = 100 * DAY
        with pytest.raises(FailedPreconditionError) as early:
            await ledger_flow.prune(served.vault, before_days=64, backup_days=35)
        pruned = await ledger_flow.prune(served.vault, before_days=65, backup_days=35)
        told = await findings(served)
    await vault.restore(file)

    async with vault.serving() as served:
        after = await findings(served)

    assert early.value.reason == "LEDGER_TOO_YOUNG"
    assert (pruned, told) == (1, [])
    assert not vault.entry(1).exists()
    assert after == ["LEDGER_PRUNED 1"]


async def test_keys_that_move_after_a_pruning_have_seen_what_the_data_had(vault: Restorable, apart: Restorable) -> None:
    """Harm: the new database of keys was taken for a backup from before the oldest entry, and nothing opened the vault."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        await erase(served, subject_of(names[0]))
        served.clock.offset = 100 * DAY
        await ledger_flow.prune(served.vault, before_days=65, backup_days=35)
    data, keys = Database(vault.url), Database(apart.keys_url, of_keys=True)
    moved = await move_subject_keys(data, keys)
    await data.close()
    await keys.close()

    async with apart.serving() as served:
        told, answer = await findings(served), await shown(served, names[1])

    assert (moved, told, answer) == (1, [], PHONES[1])


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_workers_that_erase_at_once_never_take_each_other_for_restored(vault: Restorable) -> None:
    """Two servers, one database, one ledger: an entry is there before the marker is, and that is no restore."""
    other = Restorable(vault.template, vault.home.with_name("second"), vault.url)
    async with vault.serving() as one, other.serving() as two:
        await one.create_tenants()
        names = await people(one, [f"+9725023457{n:02}" for n in range(12)])
        told: set[str] = set()
        done = asyncio.Event()

        async def watch(served: Serving) -> None:
            while not done.is_set():
                told.update(await findings(served))

        watching = [asyncio.create_task(watch(served)) for served in (one, two)]
        requested = [await request_erasure(one.service("acme-admin"), subject_of(name)) for name in names]
        await one.sign_nda("e-approver")
        erasures = await asyncio.gather(*(approved((one, two)[n % 2], erasure) for n, erasure in enumerate(requested)))
        done.set()
        await asyncio.gather(*watching)
        [marker] = await ledger_flow.markers(one.vault)

    assert vault.ledger.resolve() == other.ledger.resolve()
    assert {erasure.state for erasure in erasures} == {ERASURE_STATE_COMPLETE}
    assert told == set()
    assert marker.sequence == len(names)
    assert sorted(path.name for path in (vault.ledger / "entries").iterdir()) == [f"{n:012d}" for n in range(1, len(names) + 1)]
