"""After a restore the audit logs go on being signed, and what was lost is said by a note that nobody else can make (E9, §6.6, I8)."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select, update

from tests.builders import entries, erase, subject_of
from tests.processes import Finished, run
from tests.restoring import Restorable, findings, in_thread, people, replay
from tests.serving import Serving
from vault import server
from vault.audit.checkpoint import NoteSigner, NoteVerifier, open_checkpoint
from vault.audit.restore import Restore, open_restore, sign_restore
from vault.audit.verify import Verdict, verify_dump
from vault.client.errors import CallError
from vault.operations import checkpoint
from vault.operations import ledger as ledger_flow
from vault.operations.proofs import root_at
from vault.operations.sink import DirectorySink, restore_name
from vault.store import restore_notes as note_store
from vault.store import tables
from vault.store.audit_dump import reading
from vault.v1.audit_service_pb2 import GetCheckpointRequest, GetConsistencyProofRequest, GetInclusionProofRequest

PHONES = [f"+97250234561{n}" for n in range(6)]
ACME = "tenants/acme"
LOGS = ("acme", "globex", "system")


@pytest.fixture
def vault(home_template: Path, tmp_path: Path, migrated_url: str) -> Restorable:
    return Restorable(home_template, tmp_path / "home", migrated_url)


async def publish(served: Serving) -> list[str]:
    """Publish every log that grew; the logs that are not signed."""
    return await checkpoint.publish_checkpoints(served.vault)


async def backed_up(vault: Restorable, *, later: int = 2) -> Path:
    """A backup of two people, since when one was erased, others came, and everything was published; put back."""
    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        assert await publish(served) == []
        file = await vault.back_up()
        await erase(served, subject_of(names[0]))
        await people(served, [f"+9725023460{n:02}" for n in range(later)])
        assert await publish(served) == []
    await vault.restore(file)
    return file


def newest(home: Path, log: str = "acme") -> Path:
    """What was published last."""
    return max((home / "checkpoints" / log).glob("*.checkpoint"))


async def size_of(served: Serving, log: str = "acme") -> int:
    async with served.vault.database.read() as connection:
        return int((await connection.execute(select(tables.audit_heads.c.size).where(tables.audit_heads.c.tenant_id == log))).scalar_one())


async def sign(served: Serving) -> str:
    """A checkpoint of acme, or why there is none."""
    auditor = served.service("auditor")
    return (await auditor.call(auditor.audit.GetCheckpoint, GetCheckpointRequest(parent=ACME))).checkpoint


async def incidents(served: Serving) -> Mapping[str, int]:
    """How many incidents were opened by which trigger."""
    kinds = tables.incident_triggers.c.trigger
    async with served.vault.database.read() as connection:
        return {row[0]: row[1] for row in await connection.execute(select(kinds, func.count()).group_by(kinds))}


async def verified(vault: Restorable, log: str = "acme") -> Verdict:
    """What somebody finds who has the database, what was published, and the vault's public key."""
    folder = vault.home / "checkpoints" / log
    key = NoteVerifier.parse((vault.home / "verifier.txt").read_text())
    heads, notes = ([path.read_text() for path in folder.glob(pattern)] for pattern in ("*.checkpoint", "*.restore"))

    def look() -> Verdict:
        with reading(vault.url) as reader:
            return verify_dump(reader.lines(log, origin=f"{key.name}/{log}"), key, log=log, outside=heads, restores=notes)

    return await in_thread(look)


async def test_after_a_restore_the_log_goes_on_and_says_what_was_lost(vault: Restorable) -> None:
    await backed_up(vault)
    before = {path.name: path.read_bytes() for path in (vault.home / "checkpoints" / "acme").iterdir()}
    lost = open_checkpoint(newest(vault.home).read_text(), NoteVerifier.parse((vault.home / "verifier.txt").read_text()))

    async with vault.serving() as served:
        had = await size_of(served)
        pending = await publish(served), await checkpoint.check_logs(served.vault), await incidents(served)
        await replay(served)
        await people(served, PHONES[4:5])
        broken = await publish(served)
        key = served.vault.signer.verifier()
        signed = open_checkpoint(await sign(served), key)
        noted = [entry for entry in await entries(served, "system") if entry.operation == "note-restore"]
        [marker] = await ledger_flow.markers(served.vault)
        opened = await incidents(served)
    verdicts = {log: await verified(vault, log) for log in LOGS}
    after = {path.name: path.read_bytes() for path in (vault.home / "checkpoints" / "acme").iterdir()}
    note = open_restore(after["r000001.restore"].decode(), [key], origin=f"{key.name}/acme")

    assert pending == ([], [], {})
    assert (broken, signed.restore, signed.size > had) == ([], 1, True)
    assert (note.size, note.published, note.incarnation) == (had, lost, marker.incarnation)
    assert lost.size > had
    assert {entry.resource for entry in noted} == {"logs/acme/restores/1", "logs/system/restores/1"}
    assert opened == {"restored-log": 1}
    assert {name: after[name] for name in before} == before
    assert {log: verdict.exit_code for log, verdict in verdicts.items()} == {"acme": 3, "system": 3, "globex": 0}
    assert [(loss.restore, loss.start, loss.end, loss.incarnation) for loss in verdicts["acme"].lost] == [
        (1, had, lost.size, marker.incarnation)
    ]


async def test_a_database_exchanged_under_a_running_vault_is_a_restore_and_no_broken_chain(vault: Restorable) -> None:
    """A worker that has not looked at the ledger yet finds the log shorter than what it published."""
    await backed_up(vault)
    async with vault.serving() as served:
        await checkpoint.look_outside(served.vault)
        served.vault.standing.reason = ""
        broken = await checkpoint.check_logs(served.vault)
        await server._tell_of_broken(served.vault, broken)
        opened = await incidents(served)
        told = await findings(served)

    assert set(broken) >= {"acme"}
    assert (opened, told) == ({}, ["RESTORE_PENDING 1"])


async def test_a_restart_after_the_replay_signs_on_and_opens_no_second_incident(vault: Restorable) -> None:
    await backed_up(vault)
    async with vault.serving() as served:
        await replay(served)

    async with vault.serving() as served:
        await checkpoint.look_outside(served.vault)
        broken = await checkpoint.check_logs(served.vault)
        await people(served, PHONES[4:5])
        broken += await publish(served)
        opened = await incidents(served)

    assert (broken, opened) == ([], {"restored-log": 1})
    assert newest(vault.home).name.startswith("r000001-")


async def test_the_same_backup_may_be_restored_twice_and_then_one_of_between(vault: Restorable) -> None:
    """The second restore forgets the first; what was published of it does not."""
    file, backups = await backed_up(vault), list[Path]()
    for number in (1, 2):
        async with vault.serving() as served:
            assert await findings(served)
            await replay(served)
            await people(served, PHONES[3 + number : 4 + number])
            assert await publish(served) == []
            backups.append(await vault.back_up())
            [other, *_] = await people(served, [f"+97250234570{number}"])
            await erase(served, subject_of(other))
            assert await publish(served) == []
        assert newest(vault.home).name.startswith(f"r00000{number}-")
        verdict = await verified(vault)
        assert (verdict.exit_code, [loss.restore for loss in verdict.lost]) == (3, list(range(1, number + 1)))
        await vault.restore(file if number == 1 else backups[0])

    # Of the first life after a restore, while the second had come to be published: base and number differ.
    async with vault.serving() as served:
        await replay(served)
        await people(served, ["+972502345719"])
        assert await publish(served) == []
        async with served.vault.database.read() as connection:
            note = (await note_store.notes(connection, "acme"))[3]
    verdict = await verified(vault)
    key = served.vault.signer.verifier()
    restore = open_restore(note, [key], origin=f"{key.name}/acme")

    assert (restore.number, restore.base, restore.published.restore) == (3, 1, 2)
    assert (verdict.exit_code, [loss.restore for loss in verdict.lost]) == (3, [1, 2, 3])
    assert verdict.covered == verdict.entries


async def test_a_fork_after_a_restore_is_found_where_the_lost_log_was_longer(vault: Restorable) -> None:
    """Harm: whoever writes the database after a restore could hide behind what was lost."""
    await backed_up(vault)
    async with vault.serving() as served:
        had = await size_of(served)
        await replay(served)
        await people(served, PHONES[4:5])
        assert await publish(served) == []
        there = (tables.audit_entries.c.tenant_id == "acme") & (tables.audit_entries.c.entry_index == had)
        async with served.vault.database.write() as connection:
            content = (await connection.execute(select(tables.audit_entries.c.entry).where(there))).scalar_one()
            await connection.execute(update(tables.audit_entries).where(there).values(entry=content.replace(b"ALLOWED", b"REFUSED")))

    verdict = await verified(vault)

    assert (verdict.exit_code, verdict.intact) == (1, False)


async def test_a_database_put_back_without_a_replay_is_not_signed_before_or_after_a_note(vault: Restorable) -> None:
    """Nothing was erased since either backup, so the ledger has nothing to say."""
    await backed_up(vault)
    async with vault.serving() as served:
        await replay(served)
        assert await publish(served) == []
        file = await vault.back_up()
        await people(served, PHONES[4:6])
        assert await publish(served) == []
    await vault.restore(file)

    async with vault.serving() as served:
        told = await findings(served)
        await checkpoint.look_outside(served.vault)
        broken = await checkpoint.check_logs(served.vault)
        async with served.vault.database.read() as connection:
            notes = len(await note_store.notes(connection, "acme"))
    verdict = await verified(vault)

    assert (told, notes) == ([], 1)
    assert "acme" in broken
    assert verdict.exit_code == 2


async def test_a_database_of_before_a_published_note_is_not_signed_however_long_it_is(vault: Restorable) -> None:
    """Put back as it was before the restore, with the marker of after it: the note that was published says more than the log knows."""
    async with vault.serving() as served:
        await served.create_tenants()
        await people(served, PHONES[:1])
        assert await publish(served) == []
        head = served.vault.published["acme"]
        note = sign_restore(Restore(head.origin, 1, 0, head.size, head.root, head, served.clock(), "elsewhere"), served.vault.signer)
        await DirectorySink(served.home / "checkpoints").put(restore_name("acme", 1), note.encode())
        await people(served, PHONES[1:2])
        await checkpoint.look_outside(served.vault)
        broken = await publish(served)

    assert broken == ["acme"]


@pytest.mark.parametrize("forged", ["another key's", "another log's", "of another size", "under another number"])
async def test_a_forged_note_is_not_believed(vault: Restorable, forged: str) -> None:
    """In the database, and in a sink: a database that was put back is not signed for it."""
    async with vault.serving() as served:
        await served.create_tenants()
        await people(served, PHONES[:1])
        file = await vault.back_up()
        await people(served, PHONES[1:3])
        assert await publish(served) == []
        lost = served.vault.published["acme"]
    await vault.restore(file)

    async with vault.serving() as served:
        stranger = NoteSigner(served.vault.name, Ed25519PrivateKey.generate())
        had = await size_of(served)
        async with served.vault.database.write() as connection:
            root = await root_at(connection, "acme", had)
            restore = Restore(lost.origin, 1, 0, had, root, lost, served.clock(), "forged")
            note = {
                "another key's": sign_restore(restore, stranger),
                "another log's": sign_restore(replace(restore, origin=f"{served.vault.name}/globex"), served.vault.signer),
                "of another size": sign_restore(restore, served.vault.signer).replace(f"\n{had}\n", f"\n{had - 1}\n"),
                "under another number": sign_restore(restore, served.vault.signer).replace("\n1\n0\n", "\n2\n0\n"),
            }[forged]
            await note_store.insert_note(connection, "acme", number=1, published_size=lost.size, note=note, now=served.clock())
        await DirectorySink(served.home / "checkpoints").put(restore_name("acme", 1), note.encode())
        served.vault.published.clear()
        await checkpoint.look_outside(served.vault)
        known = served.vault.published["acme"]
        broken = await checkpoint.check_logs(served.vault)
    verdict = await verified(vault)

    assert known == lost
    assert "acme" in broken
    assert verdict.exit_code == 1


async def test_a_backup_that_contradicts_what_was_published_gets_no_note(vault: Restorable) -> None:
    """Harm: a replay would have vouched for a log that somebody rewrote before putting it back."""
    await backed_up(vault)
    async with vault.serving() as served:
        one = (tables.audit_entries.c.tenant_id == "acme") & (tables.audit_entries.c.entry_index == 0)
        async with served.vault.database.write() as connection:
            content = (await connection.execute(select(tables.audit_entries.c.entry).where(one))).scalar_one()
            await connection.execute(update(tables.audit_entries).where(one).values(entry=content.replace(b"ALLOWED", b"REFUSED")))
        await replay(served)
        broken = await checkpoint.check_logs(served.vault)
        async with served.vault.database.read() as connection:
            notes = [len(await note_store.notes(connection, log)) for log in LOGS]

    assert broken == ["acme"]
    assert notes == [0, 0, 1]


async def test_a_sink_that_is_away_keeps_the_vault_closed_and_the_replay_may_be_asked_for_again(vault: Restorable) -> None:
    await backed_up(vault)
    async with vault.serving() as served:
        sinks = served.vault.sinks
        (vault.home / "file").write_text("in the way")
        object.__setattr__(served.vault, "sinks", (*sinks, DirectorySink(vault.home / "file" / "below")))
        with pytest.raises(CallError) as refused:
            await replay(served)
        object.__setattr__(served.vault, "sinks", sinks)
        told = await findings(served)
        await replay(served)
        broken = await publish(served)

    assert refused.value.reason == "CHECKPOINTS_UNAVAILABLE"
    assert (told, broken) == (["RESTORE_PENDING 1"], [])


async def test_a_replay_without_what_was_published_begins_another_life_all_the_same(vault: Restorable) -> None:
    """Harm: with the place of the checkpoints not mounted, the log was signed on as if nothing had been lost, and contradicted itself for good."""
    await backed_up(vault, later=5)
    published, away = vault.home / "checkpoints", vault.home / "away"
    lost = int(newest(vault.home).stem)
    published.rename(away)
    async with vault.serving() as served:
        had = await size_of(served)
        await replay(served)
        await people(served, PHONES[4:5])
        assert await publish(served) == []
    shutil.copytree(away, published, dirs_exist_ok=True)

    async with vault.serving() as served:
        await checkpoint.look_outside(served.vault)
        broken = await checkpoint.check_logs(served.vault)
        await people(served, PHONES[5:6])
        broken += await publish(served)
    verdict = await verified(vault)

    assert broken == []
    assert (verdict.exit_code, [(loss.start, loss.end) for loss in verdict.lost]) == (3, [(had, lost)])


async def test_a_proof_in_a_lost_head_is_answered_by_what_happened(vault: Restorable) -> None:
    await backed_up(vault, later=9)
    size = int(newest(vault.home).stem)
    async with vault.serving() as served:
        await replay(served)
        auditor = served.service("auditor")
        inclusion = GetInclusionProofRequest(name=f"{ACME}/auditEntries/{size - 1}", tree_size=size)
        refused = [
            await auditor.refused(auditor.audit.GetInclusionProof, inclusion),
            await auditor.refused(auditor.audit.GetConsistencyProof, GetConsistencyProofRequest(parent=ACME, from_size=1, to_size=size)),
        ]
        beyond = GetInclusionProofRequest(name=f"{ACME}/auditEntries/{size}", tree_size=size + 1)
        never = await auditor.refused(auditor.audit.GetInclusionProof, beyond)

    assert [(error.code.name, error.reason) for error in refused] == [("NOT_FOUND", "ENTRY_LOST_IN_RESTORE")] * 2
    assert never.reason == "FIELD_INVALID"


async def test_the_commands_say_what_was_lost_and_a_witness_follows_only_with_the_note(vault: Restorable, tmp_path: Path) -> None:
    auditor, key, published = vault.home / "clients" / "auditor", vault.home / "verifier.txt", vault.home / "checkpoints"
    proof, dump, witness = tmp_path / "proof", tmp_path / "dump", tmp_path / "witness"
    look = ("audit", "witness", "acme", "--home", witness, "--name", "witness.example", "--key", key)

    async def command(served: Serving, *arguments: str | Path) -> Finished:
        (auditor / "address").write_text(served.address)
        return await in_thread(lambda: run("--client", auditor, *arguments, "--json"))

    async with vault.serving() as served:
        await served.create_tenants()
        names = await people(served, PHONES[:2])
        file = await vault.back_up()
        await erase(served, subject_of(names[0]))
        await people(served, PHONES[2:4])
        assert await publish(served) == []
        index = served.vault.published["acme"].size - 1
        first = await command(served, *look)
        proved = await command(served, "audit", "prove", f"acme/{index}", "-o", proof)
    await vault.restore(file)
    async with vault.serving() as served:
        await replay(served)
        await people(served, PHONES[4:6])
        assert await publish(served) == []
        alone = await command(served, *look)
        given = await command(served, *look, "--restores", published)
        dumped = await command(served, "audit", "dump", "acme", "-o", dump)
        later = await command(served, *look)
    checked = run("audit", "check", proof, "--key", key, "--restores", published, "--json")
    whole = run("audit", "verify", dump, "--log", "acme", "--key", key, "--checkpoints", published / "acme", "--json")
    by_hand = run("audit", "verify", dump, "--log", "acme", "--key", key)
    database = run("audit", "verify-database", "--database-url", vault.url, "--key", key, "--checkpoints", published, "--json")

    assert [done.code for done in (first, proved, given, dumped, later)] == [0] * 5
    assert alone.error()["reason"] == "PROOF_INVALID"
    assert (checked.answer()["holds"], checked.answer()["lost_in_restore"]) == (True, 1)
    assert (whole.code, [loss["end"] for loss in json.loads(whole.out)["lost"]]) == (3, [index + 1])
    assert (by_hand.code, "were lost by restore 1" in by_hand.out) == (3, True)
    assert (database.code, json.loads(database.out)["verdict"]) == (3, "intact, complete but for what restores from backup lost")
    assert any(path.name.startswith("r000001-") for path in (witness / "acme").iterdir())
