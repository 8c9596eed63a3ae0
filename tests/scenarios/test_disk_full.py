"""A disk that fills up while the vault writes: refused in time, nothing half-written, and it goes on by itself (design §9, I1, I7).

The disk is as full as the kernel says: the process that writes the database may not make a file larger, by its resource limit.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest
from sqlalchemy import text

from tests.processes import VaultProcess, copy_home, serving
from tests.serving import Clock, Serving
from vault.audit.checkpoint import NoteVerifier
from vault.audit.dump import dump_lines
from vault.audit.verify import verify_dump
from vault.client import CallError, VaultClient
from vault.store.database import Database
from vault.v1.audit_service_pb2 import GetCheckpointRequest, ListAuditEntriesRequest
from vault.v1.resources_pb2 import FieldValue
from vault.v1.vault_service_pb2 import CreateRecordRequest, CreateSubjectRequest, GetSubjectRequest, RecordInput

BODY_BYTES = 600_000
# Above PostgreSQL's log segments of 16 MiB, which are made whole, and soon reached by its tables.
LIMIT_BYTES = 17 << 20
ENOUGH = 80


@pytest.mark.timeout(240)
async def test_a_full_disk_refuses_what_does_not_fit_and_loses_nothing(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    home = copy_home(home_template, tmp_path / "home", database_url=migrated_url)
    with serving(home) as process:
        await create_tenant(process)
        writers = await writing_processes(process, migrated_url)
        with process.client("acme-app") as app, process.client("engine") as engine, process.client("auditor") as auditor:
            subject = app.call(app.records.CreateSubject, CreateSubjectRequest(parent="tenants/acme")).subject.name

            limit(writers, LIMIT_BYTES)
            stored, error = store_until_refused(engine, subject)
            limit(await writing_processes(process, migrated_url), None)
            stored += [store(engine, subject)]

            counted = app.call(app.records.GetSubject, GetSubjectRequest(name=subject)).subject.record_counts
            engine_counts = engine_count(auditor)
            verdict = verify(home, auditor)

    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
    assert error.retry_after == 1
    assert len(stored) > 2
    assert engine_counts == len(stored)
    assert dict(counted) in ({}, {"outgoing-message": len(stored)})
    assert verdict == (True, True)


async def create_tenant(process: VaultProcess) -> None:
    served = Serving(process.home, f"localhost:{process.port}", Clock())
    await served.create_tenants("acme")
    await served.close()


def store(engine: VaultClient, subject: str) -> str:
    """Store one message; its name."""
    fields = {
        "message_id": FieldValue(text="m1"),
        "channel": FieldValue(text="SMS"),
        "submitted_at": FieldValue(text="2026-03-01T10:00:00Z"),
        "body": FieldValue(data=os.urandom(BODY_BYTES // 2).hex().translate(str.maketrans("0123456789", "ghijklmnop")).encode()),
    }
    record = RecordInput(category="outgoing-message", level="system-file", subject=subject, fields=fields)
    return engine.call(engine.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=record)).record.name


def store_until_refused(engine: VaultClient, subject: str) -> tuple[list[str], CallError]:
    """What was acknowledged, and the refusal that followed."""
    stored: list[str] = []
    while len(stored) < ENOUGH:
        try:
            stored.append(store(engine, subject))
        except CallError as error:
            return stored, error
    message = "the disk never filled up"
    raise AssertionError(message)


async def writing_processes(process: VaultProcess, url: str) -> list[int]:
    """The processes that write the database's files."""
    database = Database(url)
    try:
        if database.is_sqlite:
            return [process.process.pid]
        async with database.read() as connection:
            folder = (await connection.execute(text("SHOW data_directory"))).scalar_one()
    finally:
        await database.close()
    return family(Path(folder))


def family(folder: Path) -> list[int]:
    """The server of a data directory and its sessions."""
    server = int((folder / "postmaster.pid").read_text().split("\n", 1)[0])
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [server, *map(int, children)]


def limit(processes: Iterable[int], size: int | None) -> None:
    """Forbid the processes files larger than `size` bytes, or allow them again; as their own account, for root may lack the capability."""
    for number in processes:
        place = Path(f"/proc/{number}")
        try:
            owner = place.stat()
        except FileNotFoundError:
            continue  # a session that ended meanwhile
        command = ["prlimit", f"--pid={number}", f"--fsize={'unlimited' if size is None else size}:"]
        groups: list[int] | None = None if owner.st_uid == os.geteuid() else []
        done = subprocess.run(
            command, user=owner.st_uid, group=owner.st_gid, extra_groups=groups, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0 or not place.exists(), done.stderr


def engine_count(auditor: VaultClient) -> int:
    """Messages that the log says were stored."""
    entries = auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent="tenants/acme", page_size=1000)).entries
    return sum(entry.operation == "create" and entry.decision == "ALLOWED" for entry in entries)


def verify(home: Path, auditor: VaultClient) -> tuple[bool, bool]:
    """Whether the log is intact and complete."""
    note = auditor.call(auditor.audit.GetCheckpoint, GetCheckpointRequest(parent="tenants/acme")).checkpoint
    entries = auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent="tenants/acme", page_size=1000)).entries
    origin = note.split("\n", 1)[0]
    numbered = ((index, entry.content) for index, entry in enumerate(entries))
    lines = dump_lines(log="acme", origin=origin, entries=numbered, checkpoints=[note])
    verdict = verify_dump(lines, NoteVerifier.parse((home / "verifier.txt").read_text()), log="acme")
    return verdict.intact, verdict.complete
