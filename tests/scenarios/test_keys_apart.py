"""Subject keys in a database of their own (`keys_url`): everything works, a crash between the two databases leaves nothing readable that should
not be and nothing unreadable that should be, and either one may be away for a while."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import delete, event, func, select

from tests.builders import (
    ERASING,
    PHONE,
    SERVING,
    asked,
    call_detail,
    contact,
    create,
    entry_of,
    erase,
    find,
    id_of,
    not_revealed,
    profile,
    request_erasure,
    reveal,
    sought,
    subject_of,
    values,
)
from tests.databases import PostgresServer, sqlite_url
from tests.faults import Crash, Outage, boundaries, quiet
from tests.imports import end, header, imported, people
from tests.orders import deliver, order_for, team
from tests.processes import run
from tests.serving import Caller, Serving, serving
from vault.audit.certificate import verify_certificate
from vault.audit.entry import decode
from vault.client.errors import CallError
from vault.errors import DataLossError, FailedPreconditionError
from vault.operations import move_keys, rotate, upkeep
from vault.operations.move_keys import move_subject_keys
from vault.operations.verify_keys import verify_keys
from vault.server import _healthy
from vault.store import schema, tables
from vault.store import subjects as subject_store
from vault.store.database import Database
from vault.v1.erasure_service_pb2 import (
    ERASURE_STATE_COMPLETE,
    ERASURE_STATE_PENDING_KEY_DESTRUCTION,
    ApproveErasureRequest,
    Erasure,
    GetErasureCertificateRequest,
    GetErasureRequest,
)
from vault.v1.operations_service_pb2 import (
    KEY_KIND_DATA,
    KEY_KIND_SUBJECT,
    KEY_ROTATION_STATE_COMPLETE,
    KEY_ROTATION_STATE_RUNNING,
    GetKeyRotationRequest,
    KeyRotation,
    RotateKeysRequest,
)
from vault.v1.vault_service_pb2 import CreateSubjectRequest, UpdateRecordRequest

BILLING = "billing"
# Boundaries that a flow certainly has; a test that reached fewer looked at nothing.
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Apart:
    """Where a vault's two databases are, and how one is started on them."""

    template: Path
    home: Path
    url: str
    keys_url: str

    def serving(self, *, keys_url: str | None = "") -> AbstractAsyncContextManager[Serving]:
        """Start a vault; with its own database of keys unless told."""
        return serving(self.template, self.home, self.url, keys_url=self.keys_url if keys_url == "" else keys_url)


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a second database, without any table."""
    if database_kind == "sqlite":
        yield sqlite_url(tmp_path / "keys.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.database_url(name)
    server.drop(name)


@pytest.fixture
async def apart(home_template: Path, tmp_path: Path, migrated_url: str, empty_url: str) -> Apart:
    """Two databases with their schemas."""
    keys = Database(empty_url, of_keys=True)
    await schema.migrate(keys)
    await keys.close()
    return Apart(home_template, tmp_path / "home", migrated_url, empty_url)


@pytest.fixture
async def served(apart: Apart) -> AsyncIterator[Serving]:
    """A running vault whose keys are apart."""
    async with apart.serving() as vault:
        await vault.create_tenants()
        yield vault


def keys_of(served: Serving) -> Database:
    assert served.vault.key_database is not None
    return served.vault.key_database


async def subjects_with_keys(database: Database) -> list[str]:
    """Whose keys are in a database."""
    async with database.read() as connection:
        return list((await connection.execute(select(tables.subject_keys.c.subject_id).order_by("subject_id"))).scalars())


async def states(served: Serving) -> dict[str, str]:
    """State of each subject."""
    query = select(tables.subjects.c.subject_id, tables.subjects.c.state)
    async with served.vault.database.read() as connection:
        return {row.subject_id: row.state for row in await connection.execute(query)}


async def shown(caller: Caller, name: str) -> str:
    """A contact's number, or why it is not shown."""
    try:
        return (await reveal(caller, asked(name, "phone"))).fields["phone"].text
    except CallError as error:
        return error.reason


async def approve(caller: Caller, erasure: Erasure) -> bool:
    """Approve; whether that was acknowledged."""
    try:
        await caller.call(caller.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))
    except CallError:
        return False
    return True


async def erasure_state(served: Serving, erasure: Erasure) -> int:
    officer = served.service("privacy-officer")
    return (await officer.call(officer.erasures.GetErasure, GetErasureRequest(name=erasure.name))).erasure.state


# --- everything works


async def test_every_flow_works_and_the_database_of_the_data_holds_no_key(served: Serving) -> None:
    """ADR-0004: create, import, reveal, update, find, order."""
    app, engine = served.service("acme-app"), served.service("engine")
    name = (await create(app, contact())).name
    person = (await app.call(app.records.CreateSubject, CreateSubjectRequest(parent="tenants/acme"))).subject.name
    extended = (await create(app, profile(person, first_name="דנה"))).name
    await imported(app, header(), people(0, 20), end(20))
    changed = UpdateRecordRequest(
        name=name, fields=values({"phone": "+972502345670"}), update_mask=FieldMask(paths=["phone"]), justification=SERVING
    )
    await app.call(app.records.UpdateRecord, changed)
    await create(served.service(BILLING), call_detail())
    people_of_orders = await team(served)
    delivered = await deliver(served, people_of_orders, order_for(served, people_of_orders))

    assert await shown(app, name) == "+972502345670"
    assert (await reveal(engine, asked(extended, "first_name", because=await served.job()))).fields["first_name"].text == "דנה"
    assert [match.record for match in await find(app, sought("phone", "+972502345670"))] == [name]
    assert len(await find(app, sought("phone", "050-2000007"))) == 1
    assert dict(delivered.export.record_counts) == {"call-detail": 1}
    assert await subjects_with_keys(served.vault.database) == []
    assert await subjects_with_keys(keys_of(served)) == sorted(await states(served))


async def test_after_an_erasure_neither_database_holds_anything_of_the_person(served: Serving) -> None:
    """I4, L43: with a certificate that verifies."""
    app, auditor = served.service("acme-app"), served.service("auditor")
    name, other = (await create(app, contact())).name, (await create(app, contact("+972502345671"))).name

    erasure = await erase(served, subject_of(name))

    request = GetErasureCertificateRequest(name=erasure.name)
    certificate = (await auditor.call(auditor.erasures.GetErasureCertificate, request)).certificate
    said = verify_certificate(certificate, served.vault.signer.verifier())
    assert (erasure.state, said["state"]) == (ERASURE_STATE_COMPLETE, "COMPLETE")
    assert await subjects_with_keys(keys_of(served)) == [id_of(subject_of(other))]
    assert await subjects_with_keys(served.vault.database) == []
    assert (await not_revealed(app, asked(name, "phone"))).reason == "RECORD_NOT_FOUND"
    assert await shown(app, other) == "+972502345671"


# --- crashes


async def test_an_erasure_that_dies_at_any_statement_shows_nothing_and_is_finished(served: Serving) -> None:
    """I4, I10: blocked from the first commit on, readable until then, and gone in the end from both databases."""
    await quiet(served)
    app, admin = served.service("acme-app"), served.service("acme-admin")
    await served.sign_nda("e-approver")
    approver = served.person("e-approver", "privacy-officer")
    bystander = (await create(app, contact("+972502345671"))).name
    crash = Crash(served.vault.database, keys_of(served))
    seen: set[str] = set()

    for boundary in boundaries(every=3):
        phone = f"+97250236{boundary:04}"
        name = (await create(app, contact(phone))).name
        person = id_of(subject_of(name))
        erasure = await request_erasure(admin, subject_of(name))
        crash.at(boundary)
        acknowledged = await approve(approver, erasure)
        crash.over()

        state = (await states(served))[person]
        seen.add(state)
        assert await shown(app, name) == phone if state == "ACTIVE" else (await shown(app, name)) in {"RECORD_NOT_FOUND", "SUBJECT_ERASED"}
        # What the next process does when it starts.
        await upkeep.resume_erasures(served.vault)
        if state == "ACTIVE":
            assert await approve(approver, erasure)
        assert await erasure_state(served, erasure) == ERASURE_STATE_COMPLETE
        assert (await states(served))[person] == "ERASED"
        assert await subjects_with_keys(keys_of(served)) == [id_of(subject_of(bystander))]
        assert list(await find(app, sought("phone", phone))) == []
        if acknowledged:
            break

    assert boundary > FEWEST
    assert seen == {"ACTIVE", "ERASING", "ERASED"}
    assert await shown(app, bystander) == "+972502345671"


async def test_an_erasure_that_died_between_the_two_databases_is_finished_by_the_next_start(apart: Apart) -> None:
    """The subject is blocked, its key not destroyed yet: with the key still there nothing is read, and the next start destroys it."""
    async with apart.serving() as first:
        await first.create_tenants()
        app = first.service("acme-app")
        name, other = (await create(app, contact())).name, (await create(app, contact("+972502345671"))).name
        erasure = await request_erasure(first.service("acme-admin"), subject_of(name))
        await first.sign_nda("e-approver")
        await quiet(first)
        crash = Crash(first.vault.database, keys_of(first))
        crash.before(lambda database, statement: database.of_keys and statement.startswith("DELETE"))
        acknowledged = await approve(first.person("e-approver", "privacy-officer"), erasure)
        crash.over()
        between = await shown(app, name)
        keys = await subjects_with_keys(keys_of(first))
        state = (await states(first))[id_of(subject_of(name))]

    async with apart.serving() as second:
        app = second.service("acme-app")

        assert (acknowledged, state, between) == (False, "ERASING", "SUBJECT_ERASED")
        assert keys == sorted(id_of(subject_of(each)) for each in (name, other))
        assert await erasure_state(second, erasure) == ERASURE_STATE_COMPLETE
        assert await subjects_with_keys(keys_of(second)) == [id_of(subject_of(other))]
        assert await shown(app, name) == "RECORD_NOT_FOUND"
        assert await shown(app, other) == "+972502345671"


async def test_a_create_that_dies_at_any_statement_leaves_no_data_without_its_key(served: Serving) -> None:
    """I7, I10: what was not acknowledged is stored whole or not at all, and the same request stores it once."""
    await quiet(served)
    app = served.service("acme-app")
    crash = Crash(served.vault.database, keys_of(served))

    for boundary in boundaries(every=3):
        phone, request_id = f"+97250236{boundary:04}", str(uuid4())
        crash.at(boundary)
        name = ""
        with suppress(CallError):
            name = (await create(app, contact(phone), request_id=request_id)).name
        acknowledged = bool(name)
        crash.over()

        assert set(await states(served)) <= set(await subjects_with_keys(keys_of(served)))
        name = (await create(app, contact(phone), request_id=request_id)).name
        assert await shown(app, name) == phone
        assert [match.record for match in await find(app, sought("phone", phone))] == [name]
        if acknowledged:
            break

    assert boundary > FEWEST


async def test_a_create_that_died_between_the_two_databases_leaves_a_key_that_opens_nothing(apart: Apart) -> None:
    """The key commits first; the next start is not kept from serving by it."""
    async with apart.serving() as first:
        await first.create_tenants()
        app = first.service("acme-app")
        await quiet(first)
        crash = Crash(first.vault.database, keys_of(first))
        stored: list[str] = []

        def between(database: Database, statement: str) -> bool:
            stored.extend([statement] if database.of_keys and statement.startswith("INSERT") else [])
            return bool(stored) and not database.of_keys and statement == "COMMIT"

        crash.before(between)
        with pytest.raises(CallError):
            await create(app, contact())
        crash.over()

    async with apart.serving() as second:
        app = second.service("acme-app")
        orphans = await subjects_with_keys(keys_of(second))
        name = (await create(app, contact())).name

        assert len(orphans) == 1
        assert orphans[0] not in await states(second)
        assert await shown(app, name) == PHONE


# --- one of them is away


async def test_without_the_database_of_keys_nothing_is_shown_or_stored_and_that_is_recorded(
    apart: Apart, served: Serving, database_kind: str, request: pytest.FixtureRequest
) -> None:
    """I1, I9: KEYS_UNAVAILABLE with the time to wait, an entry; by itself again when it is back."""
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    outage = Outage(apart.keys_url, request.getfixturevalue("postgres_server") if database_kind == "postgres" else None)
    provider = served.vault.keyring.provider("")

    await outage.begin(keys_of(served))
    refused = [
        await not_revealed(app, asked(name, "phone")),
        await app.refused(app.records.CreateSubject, CreateSubjectRequest(parent="tenants/acme")),
    ]
    with pytest.raises(CallError) as not_stored:
        await create(app, contact("+972502345671"))
    recorded = [await entry_of(served, error) for error in (*refused, not_stored.value)]
    healthy_during = await _healthy(served.vault, provider)
    outage.end()
    await asyncio.sleep(0)
    after = await shown(app, name)
    stored = (await create(app, contact("+972502345671"))).name

    assert {(error.code, error.reason, error.retry_after) for error in (*refused, not_stored.value)} == {
        (grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE", 1.0)
    }
    assert {error.receipt.log for error in (*refused, not_stored.value) if error.receipt} == {"acme"}
    assert {entry.reason for entry in recorded} == {"KEYS_UNAVAILABLE"}
    # Not looked at yet when the keys were wanted: it may hold anything (A30).
    assert {decode(entry.content).justification for entry in recorded} == {b""}
    assert (healthy_during, await _healthy(served.vault, provider)) == (False, True)
    assert after == PHONE
    assert await shown(app, stored) == "+972502345671"


async def test_an_erasure_whose_keys_cannot_be_reached_keeps_no_vault_from_serving(
    apart: Apart, database_kind: str, request: pytest.FixtureRequest
) -> None:
    """Harm: one erasure that could not be finished stopped every start, and every other erasure."""
    outage = Outage(apart.keys_url, request.getfixturevalue("postgres_server") if database_kind == "postgres" else None)
    async with apart.serving() as vault:
        await vault.create_tenants()
        app = vault.service("acme-app")
        name = (await create(app, contact())).name
        erasure = await request_erasure(vault.service("acme-admin"), subject_of(name))
        await vault.sign_nda("e-approver")
        await quiet(vault)
        crash = Crash(vault.vault.database, keys_of(vault))
        crash.before(lambda database, statement: database.of_keys and statement.startswith("DELETE"))
        await approve(vault.person("e-approver", "privacy-officer"), erasure)
        crash.over()

        await outage.begin(keys_of(vault))
        await upkeep.resume_erasures(vault.vault)
        during = await shown(app, name)
        outage.end()
        await upkeep.resume_erasures(vault.vault)

        assert during in {"KEYS_UNAVAILABLE", "SUBJECT_ERASED"}
        assert await erasure_state(vault, erasure) == ERASURE_STATE_COMPLETE
        assert await subjects_with_keys(keys_of(vault)) == []


async def test_e16_where_a_key_cannot_be_destroyed_yet_the_erasure_is_pending_and_upkeep_finishes_it(served: Serving) -> None:
    """E16, I10: never complete before the key is gone; nothing of the person is shown from the approval on, and nobody approves again."""
    await quiet(served)
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    erasure = await request_erasure(served.service("acme-admin"), subject_of(name))
    await served.sign_nda("e-approver")
    approver = served.person("e-approver", "privacy-officer")
    failed: list[str] = []

    def fail_once(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("DELETE") and not failed:
            failed.append(statement)
            raise OSError

    event.listen(keys_of(served).engine.sync_engine, "before_cursor_execute", fail_once)
    answer = await approver.call(approver.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))
    during = await shown(app, name)
    refused = await approver.refused(approver.erasures.GetErasureCertificate, GetErasureCertificateRequest(name=erasure.name))
    await upkeep.resume_erasures(served.vault)

    assert refused.reason == "ERASURE_NOT_COMPLETE"
    assert (answer.erasure.state, during) == (ERASURE_STATE_PENDING_KEY_DESTRUCTION, "SUBJECT_ERASED")
    assert await erasure_state(served, erasure) == ERASURE_STATE_COMPLETE
    assert await subjects_with_keys(keys_of(served)) == []


# --- the way there


async def test_a_vault_that_does_not_find_the_keys_does_not_start(apart: Apart, tmp_path: Path) -> None:
    """Or everybody would look erased."""
    async with apart.serving() as vault:
        await vault.create_tenants()
        await create(vault.service("acme-app"), contact())

    with pytest.raises(FailedPreconditionError) as without:
        async with apart.serving(keys_url=None):
            pass
    other = sqlite_url(tmp_path / "other.db")
    elsewhere = Database(other, of_keys=True)
    await schema.migrate(elsewhere)
    await elsewhere.close()
    with pytest.raises(FailedPreconditionError) as empty:
        async with apart.serving(keys_url=other):
            pass

    assert (without.value.reason, empty.value.reason) == ("SUBJECT_KEYS_MISSING", "SUBJECT_KEYS_MISSING")


async def test_keys_beside_the_data_are_moved_by_the_command_and_then_the_vault_starts(apart: Apart) -> None:
    async with apart.serving(keys_url=None) as before:
        await before.create_tenants()
        names = [(await create(before.service("acme-app"), contact(f"+97250236000{n}"))).name for n in range(3)]
    with pytest.raises(FailedPreconditionError) as not_moved:
        async with apart.serving():
            pass

    moved = await asyncio.to_thread(run, "keys", "move-subject-keys", "--config", apart.home / "vault.yaml", "--json")
    again = await asyncio.to_thread(run, "keys", "move-subject-keys", "--config", apart.home / "vault.yaml", "--json")

    assert not_moved.value.reason == "SUBJECT_KEYS_NOT_MOVED"
    assert "keys move-subject-keys" in not_moved.value.message
    assert (moved.answer()["moved"], again.answer()["moved"]) == (3, 0)
    async with apart.serving() as after:
        assert [await shown(after.service("acme-app"), name) for name in names] == [f"+97250236000{n}" for n in range(3)]
        assert await subjects_with_keys(after.vault.database) == []


async def test_a_move_that_dies_at_any_statement_leaves_every_key_somewhere_and_may_be_repeated(
    apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_keys, "_BATCH", 2)
    async with apart.serving(keys_url=None) as before:
        await before.create_tenants()
        names = [(await create(before.service("acme-app"), contact(f"+97250236000{n}"))).name for n in range(5)]
    everyone = sorted(id_of(subject_of(name)) for name in names)
    source, target = Database(apart.url), Database(apart.keys_url, of_keys=True)
    crash = Crash(source, target)

    moved = -1
    for boundary in boundaries(every=3):
        crash.at(boundary)
        with suppress(Exception):
            moved = await move_subject_keys(source, target)
        crash.over()
        beside, copied = await subjects_with_keys(source), await subjects_with_keys(target)
        assert sorted({*beside, *copied}) == everyone
        assert beside in ([], everyone)
        if moved >= 0:
            break
    await source.close()
    await target.close()

    assert boundary > FEWEST
    assert (moved, beside, copied) == (5, [], everyone)
    async with apart.serving() as after:
        assert await shown(after.service("acme-app"), names[4]) == "+972502360004"


async def test_keys_are_not_moved_to_a_database_without_its_schema(migrated_url: str, empty_url: str) -> None:
    source, target = Database(migrated_url), Database(empty_url, of_keys=True)

    with pytest.raises(FailedPreconditionError) as refused:
        await move_subject_keys(source, target)
    await source.close()
    await target.close()

    assert refused.value.reason == "SCHEMA_OUTDATED"


async def test_keys_that_were_written_meanwhile_are_not_lost(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Harm: a vault that served although it should not wrote a key between the copy and the removal, which then took it away."""
    async with apart.serving(keys_url=None) as before:
        await before.create_tenants()
        app = before.service("acme-app")
        await create(app, contact())
        copy = subject_store.copy_subject_keys

        async def copied_while_serving(*arguments: Any) -> None:
            await copy(*arguments)
            # Sorted before every other, so that no later page holds it.
            [row] = await subject_store.all_subject_keys(arguments[0], after=("", "", 0), limit=1)
            async with before.vault.database.write() as connection:
                await subject_store.insert_subject_keys(connection, "acme", [replace(row[1], subject_id="0" * 26)])

        target = Database(apart.keys_url, of_keys=True)
        with monkeypatch.context() as patch:
            patch.setattr(subject_store, "copy_subject_keys", copied_while_serving)
            with pytest.raises(DataLossError) as refused:
                await move_subject_keys(before.vault.database, target)
        still = len(await subjects_with_keys(before.vault.database))
        moved = await move_subject_keys(before.vault.database, target)
        await target.close()

    assert (refused.value.reason, still, moved) == ("KEYS_INCOMPLETE", 2, 2)


async def test_the_database_of_the_data_is_not_taken_for_the_one_of_keys(apart: Apart) -> None:
    with pytest.raises(FailedPreconditionError) as refused:
        async with apart.serving(keys_url=apart.url):
            pass

    assert refused.value.reason == "CONFIG_INVALID"
    assert "keys_url" in refused.value.message


async def test_verification_finds_a_key_that_is_missing_in_its_database(served: Serving) -> None:
    app = served.service("acme-app")
    names = [(await create(app, contact(f"+97250236000{n}"))).name for n in range(2)]
    sound = {found.tenant: (found.opened, found.problems) async for found in verify_keys(served.vault)}

    async with keys_of(served).write() as connection:
        gone = id_of(subject_of(names[0]))
        await connection.execute(delete(tables.subject_keys).where(tables.subject_keys.c.subject_id == gone))
    after = {found.tenant: (found.opened, found.problems) async for found in verify_keys(served.vault)}

    assert sound["acme"] == (2, ())
    assert after["acme"] == (1, ("SUBJECT_KEY_MISSING",))


async def test_migrate_makes_both_schemas(home_template: Path, tmp_path: Path, database_url: str, empty_url: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(home_template, home)

    made = await asyncio.to_thread(
        run,
        "migrate",
        "--config",
        home / "vault.yaml",
        "--json",
        environment={"VAULT_DATABASE_URL": database_url, "VAULT_KEYS_URL": empty_url},
    )

    assert made.answer() == {"migrated": True}
    for database in (Database(database_url), Database(empty_url, of_keys=True)):
        await schema.check(database)
        await database.close()


# --- rotation


async def rotated(served: Serving, request: RotateKeysRequest) -> KeyRotation:
    """Rotate a key, and wait until that is done."""
    operator = served.service("operator")
    name = (await operator.call(operator.operations.RotateKeys, request)).rotation.name
    async with asyncio.timeout(timedelta(seconds=30).total_seconds()):
        while True:
            rotation = (await operator.call(operator.operations.GetKeyRotation, GetKeyRotationRequest(name=name))).rotation
            if rotation.state != KEY_ROTATION_STATE_RUNNING:
                return rotation
            await asyncio.sleep(0.05)


async def test_the_tenants_key_is_rotated(served: Serving) -> None:
    """Every key is wrapped under the new version, and everything is read on."""
    app = served.service("acme-app")
    names = [(await create(app, contact(f"+97250236000{n}"))).name for n in range(5)]

    rotation = await rotated(served, RotateKeysRequest(tenant="tenants/acme", kind=KEY_KIND_DATA))

    async with keys_of(served).read() as connection:
        under = (await connection.execute(select(tables.subject_keys.c.tenant_key_version).distinct())).scalars().all()
    assert (rotation.state, rotation.done_count, rotation.failed_count) == (KEY_ROTATION_STATE_COMPLETE, 5, 0)
    assert under == [2]
    assert [await shown(app, name) for name in names] == [f"+97250236000{n}" for n in range(5)]


async def test_a_persons_key_is_rotated_while_everybody_reads(served: Serving) -> None:
    """Reads never fail because of it, and the old key is gone."""
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    seen: set[str] = set()

    async def read_on() -> None:
        while True:
            seen.add(await shown(app, name))
            # On SQLite every reveal is a writer, and there is one at a time: whoever never pauses keeps the rotation waiting.
            await asyncio.sleep(0.02)

    reading = [asyncio.create_task(read_on()) for _ in range(4)]
    rotation = await rotated(served, RotateKeysRequest(tenant="tenants/acme", kind=KEY_KIND_SUBJECT, subject=subject_of(name)))
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)

    async with keys_of(served).read() as connection:
        versions = (await connection.execute(select(tables.subject_keys.c.version))).scalars().all()
    assert (rotation.state, rotation.done_count) == (KEY_ROTATION_STATE_COMPLETE, 1)
    assert versions == [2]
    assert seen == {PHONE}
    assert await shown(app, name) == PHONE


async def test_the_rotation_of_a_persons_key_that_dies_at_any_statement_loses_nothing(served: Serving) -> None:
    """Harm: the old key was destroyed in its database before the parts under the new one were committed in theirs."""
    await quiet(served)
    app, operator = served.service("acme-app"), served.service("operator")
    crash = Crash(served.vault.database, keys_of(served))

    for boundary in boundaries(every=3):
        phone = f"+97250236{boundary:04}"
        name = (await create(app, contact(phone))).name
        request = RotateKeysRequest(tenant="tenants/acme", kind=KEY_KIND_SUBJECT, subject=subject_of(name))
        await operator.call(operator.operations.RotateKeys, request)
        crash.at(boundary)
        with suppress(Exception):
            while await rotate.advance(served.vault, upkeep.upkeep_caller()):
                pass
        happened = crash.happened
        crash.over()

        assert await shown(app, name) == phone
        while await rotate.advance(served.vault, upkeep.upkeep_caller()):
            pass
        assert await shown(app, name) == phone
        if not happened:
            break

    assert boundary > FEWEST
    async with served.vault.database.read() as connection:
        left = select(func.count()).select_from(tables.key_rotations).where(tables.key_rotations.c.state != "COMPLETE")
        assert (await connection.execute(left)).scalar_one() == 0
