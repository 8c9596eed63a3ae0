"""The tamper drill: a real vault's database, edited in every way that an administrator of it could think of, and what an auditor sees.

python -m deploy.tamper_drill [--only sqlite|postgres]

A vault serves, two tenants work with it, checkpoints are published to a folder that stands for a place the administrator does not reach. Then, on a
fresh copy of the database for each attack, somebody with every right on that database edits it and covers their tracks as far as they can; and the
auditor runs one command that reads the database, the published checkpoints and the operator's public key, and trusts nobody. Exit code 0 if every
attack was caught and the untouched copy was not.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, insert, make_url, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.databases import PostgresServer, PostgresUnavailableError, running_postgres
from tests.processes import Finished, VaultProcess, copy_home, run, serving, wait_until
from vault.audit.checkpoint import Checkpoint, NoteSigner, NoteVerifier, origin_of, sign_checkpoint
from vault.audit.merkle import Frontier, leaf_hash
from vault.audit.pruning import Pruning, sign_pruning
from vault.audit.restore import Restore, sign_restore
from vault.client import VaultClient
from vault.store.tables import (
    audit_checkpoints,
    audit_entries,
    audit_heads,
    audit_prunings,
    audit_restores,
    audit_tiles,
    signing_keys,
)
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest
from vault.v1.resources_pb2 import FieldValue
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest, RecordInput

TENANTS = ("acme", "globex")
_LOG = "acme"
# Enough for tiles, little enough for a drill of a minute.
_BEFORE, _AFTER = {"acme": 66, "globex": 5}, {"acme": 8, "globex": 3}

Attack = Callable[[AsyncConnection, Path], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attack: the auditor's exit code and what the command said about the log."""

    name: str
    caught: bool
    code: int
    said: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the drill works on.

    Attributes:
        home: the vault's home, with its public key and the published checkpoints.
        copy: makes a fresh copy of the database, or of yesterday's backup of it, and removes it afterwards.
    """

    home: Path
    copy: Callable[[bool], AbstractContextManager[str]]

    def command(self, url: str) -> list[str | Path]:
        """The command that an auditor runs."""
        return [
            *("audit", "verify-database", "--database-url", url),
            *("--key", self.home / "verifier.txt", "--checkpoints", self.home / "checkpoints"),
        ]


async def change_a_byte(connection: AsyncConnection, _home: Path) -> None:
    """One byte of one entry."""
    entries = await _entries(connection)
    await _put(connection, 5, entries[5][:-20] + bytes([entries[5][-20] ^ 1]) + entries[5][-19:])


async def turn_a_refusal_into_a_release(connection: AsyncConnection, _home: Path) -> None:
    """One word, in a form that is as well formed as before; then tiles, head and checkpoints made to fit, but for the signature."""
    entries = await _entries(connection)
    edited = entries[5].replace(b'"decision":"ALLOWED"', b'"decision":"REFUSED"')
    assert edited != entries[5]  # noqa: S101 - the attack has to do something
    await _rewrite(connection, [*entries[:5], edited, *entries[6:]])


async def delete_an_entry(connection: AsyncConnection, _home: Path) -> None:
    """One row."""
    await connection.execute(
        delete(audit_entries).where(audit_entries.c.tenant_id == _LOG, audit_entries.c.entry_index == _BEFORE["globex"])
    )


async def delete_an_entry_and_close_the_gap(connection: AsyncConnection, _home: Path) -> None:
    """One row; those behind it move up, and say so."""
    entries = await _entries(connection)
    await _rewrite(connection, _renumbered([*entries[:7], *entries[8:]]))


async def insert_an_entry(connection: AsyncConnection, _home: Path) -> None:
    """One that never happened, among the others."""
    entries = await _entries(connection)
    await _rewrite(connection, _renumbered([*entries[:9], entries[8], *entries[9:]]))


async def append_an_entry_behind_the_vaults_back(connection: AsyncConnection, _home: Path) -> None:
    """One at the end that the head does not know of."""
    entries = await _entries(connection)
    await connection.execute(
        insert(audit_entries).values(tenant_id=_LOG, entry_index=len(entries), entry=_renumbered([*entries, entries[3]])[-1])
    )


async def reorder_entries(connection: AsyncConnection, _home: Path) -> None:
    """Two rows exchange their places."""
    entries = await _entries(connection)
    entries[3], entries[4] = entries[4], entries[3]
    await _rewrite(connection, entries)


async def truncate_the_tail(connection: AsyncConnection, _home: Path) -> None:
    """The newest entries go, and with them everything in the database that knew of them."""
    entries = await _entries(connection)
    await _rewrite(connection, entries[:-6], keep_notes=True)


async def truncate_the_head(connection: AsyncConnection, home: Path) -> None:
    """The oldest entries go, as if their retention were over; the note that says so is signed with a key of one's own."""
    entries = await _entries(connection)
    forger, now = _forger(home), datetime.now(UTC)
    root = Frontier.empty().extend(leaf_hash(entry) for entry in entries[:64]).root()
    note = sign_pruning(Pruning(origin_of(forger.name, _LOG), 64, root, now - timedelta(days=800), now), forger)
    await connection.execute(delete(audit_entries).where(audit_entries.c.tenant_id == _LOG, audit_entries.c.entry_index < 64))  # noqa: PLR2004
    await connection.execute(insert(audit_prunings).values(tenant_id=_LOG, size=64, note=note, create_time=now))


async def call_a_cut_a_restore(connection: AsyncConnection, home: Path) -> None:
    """The newest entries go, and a note says that a backup was restored; it is signed with a key of one's own."""
    entries = await _entries(connection)
    forger, now = _forger(home), datetime.now(UTC)
    origin, roots = origin_of(forger.name, _LOG), [Frontier.empty().extend(map(leaf_hash, kept)).root() for kept in (entries[:-6], entries)]
    published = Checkpoint(origin, len(entries), roots[1])
    note = sign_restore(Restore(origin, 1, 0, len(entries) - 6, roots[0], published, now, "yesterday"), forger)
    await _rewrite(connection, entries[:-6], keep_notes=True)
    values = {"number": 1, "published_size": len(entries), "note": note, "create_time": now}
    await connection.execute(insert(audit_restores).values(tenant_id=_LOG, **values))


async def roll_back_to_yesterday(connection: AsyncConnection, _home: Path) -> None:
    """Nothing to edit: the backup is genuine, and old."""
    del connection


async def swap_two_tenants(connection: AsyncConnection, _home: Path) -> None:
    """Every row of one log under the name of the other."""
    for table in (audit_entries, audit_heads, audit_tiles, audit_checkpoints):
        for old, new in (("acme", "swapping"), ("globex", "acme"), ("swapping", "globex")):
            await connection.execute(update(table).where(table.c.tenant_id == old).values(tenant_id=new))


async def drop_a_log(connection: AsyncConnection, _home: Path) -> None:
    """As if the tenant had never been."""
    for table in (audit_entries, audit_heads, audit_tiles, audit_checkpoints):
        await connection.execute(delete(table).where(table.c.tenant_id == _LOG))


async def replace_the_signing_key(connection: AsyncConnection, home: Path) -> None:
    """A key of one's own signs a rewritten log, and the database says that it always did."""
    forger = _forger(home)
    entries = await _entries(connection)
    kept = [entry for entry in entries if b'"operation":"reveal"' not in entry][:-1]
    await _rewrite(connection, _renumbered(kept))
    frontier = Frontier.empty().extend(leaf_hash(entry) for entry in await _entries(connection))
    note = sign_checkpoint(Checkpoint(origin_of(forger.name, _LOG), frontier.size, frontier.root()), forger)
    await connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.tenant_id == _LOG))
    await connection.execute(insert(audit_checkpoints).values(tenant_id=_LOG, size=frontier.size, note=note, create_time=datetime.now(UTC)))
    await connection.execute(update(signing_keys).values(public_key=forger.verifier().key.public_bytes_raw()))


ATTACKS: tuple[Attack, ...] = (
    change_a_byte,
    turn_a_refusal_into_a_release,
    delete_an_entry,
    delete_an_entry_and_close_the_gap,
    insert_an_entry,
    append_an_entry_behind_the_vaults_back,
    reorder_entries,
    truncate_the_tail,
    truncate_the_head,
    call_a_cut_a_restore,
    roll_back_to_yesterday,
    swap_two_tenants,
    drop_a_log,
    replace_the_signing_key,
)


@contextmanager
def evidence(work: Path, server: PostgresServer | None) -> Iterator[Evidence]:
    """A vault that served on SQLite, or on a database of a PostgreSQL server, and was stopped; with a backup from before its last entries."""
    home, name = work / "home", (server.create() if server else "")
    options = ["--database-url", server.database_url(name)] if server else []
    made = run("init", home, "--listen", "localhost:0", *options)
    if made.code:
        raise SystemExit(made.err)
    copy_home(home, home, checkpoints={"directory": "checkpoints", "interval_seconds": 1})
    with serving(home) as vault:
        _work(vault, _BEFORE)
    backup = _backup(home, server, name)
    with serving(home) as vault:
        _work(vault, _AFTER)

    @contextmanager
    def copy(old: bool) -> Iterator[str]:
        if server is None:
            path = work / "copy.db"
            _copy(Path(backup) if old else home / "vault.db", path)
            yield f"sqlite+aiosqlite:///{path}"
            for left in work.glob("copy.db*"):
                left.unlink()
            return
        copied = server.create(str(backup) if old else name)
        yield server.database_url(copied)
        server.drop(copied)

    yield Evidence(home, copy)
    if server is not None:
        for database in (name, str(backup)):
            server.drop(database)


def drill(found: Evidence, attack: Attack | None) -> Result:
    """Copy, edit, and ask as the auditor would; without an attack, the copy has to be found sound."""
    with found.copy(attack is roll_back_to_yesterday) as url:
        if attack is not None:
            asyncio.run(_edit(url, attack, found.home))
        finished = run(*found.command(url), "--json")
    name = attack.__name__.replace("_", " ") if attack else "nothing touched"
    return Result(name, finished.code in {1, 2} and finished.out != "", finished.code, _said(finished))


def main() -> int:
    """Run every attack on both databases and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.tamper_drill", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    only = parser.parse_args().only
    failed = 0
    if only != "postgres":
        failed += _drills("SQLite", None)
    if only != "sqlite":
        try:
            with running_postgres() as server:
                failed += _drills("PostgreSQL", server)
        except PostgresUnavailableError as error:
            print(f"PostgreSQL cannot be had here: {error}")
            failed += 1
    return 1 if failed else 0


def _drills(title: str, server: PostgresServer | None) -> int:
    """How many attacks were not caught, and false alarms."""
    with tempfile.TemporaryDirectory(prefix="pii-vault-drill-") as folder, evidence(Path(folder), server) as found:
        url = make_url("postgresql+asyncpg://auditor@host/copy" if server else "sqlite+aiosqlite:///copy.db")
        command = " ".join(map(str, found.command(str(url)))).replace(str(found.home) + "/", "")
        print(f"{title}. The auditor runs:\n\n  pii-vault {command}\n")
        untouched = drill(found, None)
        print(f"  {'ok' if not untouched.caught else 'FALSE ALARM':<12}{untouched.name}: {untouched.said}")
        results = [drill(found, attack) for attack in ATTACKS]
        for result in results:
            print(f"  {'caught' if result.caught else 'NOT CAUGHT':<12}{result.name}: exit code {result.code}, {result.said}")
        caught = sum(result.caught for result in results)
        print(f"\n  attacks tried {len(results)}, caught {caught}\n")
    return len(results) - caught + untouched.caught


def _work(vault: VaultProcess, counts: Mapping[str, int]) -> None:
    """Two tenants store and read; then everything is published."""
    with vault.client("operator") as operator:
        if not (vault.home / "checkpoints" / _LOG).exists():
            for tenant in TENANTS:
                operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id=tenant))
    for tenant in TENANTS:
        with vault.client(f"{tenant}-app") as app:
            for number in range(counts[tenant]):
                phone = FieldValue(text=f"+97250234{number:04d}")
                record = RecordInput(category="end-customer-contact", fields={"phone": phone})
                app.call(app.records.CreateRecord, CreateRecordRequest(parent=f"tenants/{tenant}", record=record))
    for tenant in TENANTS:
        with vault.client("auditor") as auditor:
            size = _log_size(auditor, tenant)
        wait_until(partial(_is_published, vault.home, tenant, size), "published")


def _log_size(auditor: VaultClient, tenant: str) -> int:
    request = ListAuditEntriesRequest(parent=f"tenants/{tenant}", page_size=1)
    return int(auditor.call(auditor.audit.ListAuditEntries, request).log_size)


def _is_published(home: Path, tenant: str, size: int) -> bool:
    return (home / "checkpoints" / tenant / f"{size:020d}.checkpoint").exists()


def _backup(home: Path, server: PostgresServer | None, name: str) -> Path | str:
    if server is not None:
        return server.create(name)
    _copy(home / "vault.db", home / "yesterday.db")
    return home / "yesterday.db"


def _copy(source: Path, target: Path) -> None:
    """A copy with what stands in the write-ahead log still."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


async def _edit(url: str, attack: Attack, home: Path) -> None:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await attack(connection, home)
    finally:
        await engine.dispose()


async def _entries(connection: AsyncConnection) -> list[bytes]:
    query = select(audit_entries.c.entry).where(audit_entries.c.tenant_id == _LOG).order_by(audit_entries.c.entry_index)
    return [row.entry for row in await connection.execute(query)]


async def _put(connection: AsyncConnection, index: int, content: bytes) -> None:
    there = (audit_entries.c.tenant_id == _LOG) & (audit_entries.c.entry_index == index)
    await connection.execute(update(audit_entries).where(there).values(entry=content))


async def _rewrite(connection: AsyncConnection, entries: list[bytes], *, keep_notes: bool = False) -> None:
    """The log as it should have been, with a head that fits; what cannot be made to fit is removed."""
    for table in (audit_entries, audit_tiles):
        await connection.execute(delete(table).where(table.c.tenant_id == _LOG))
    rows = [{"tenant_id": _LOG, "entry_index": index, "entry": entry} for index, entry in enumerate(entries)]
    await connection.execute(insert(audit_entries), rows)
    frontier = Frontier.empty().extend(leaf_hash(entry) for entry in entries)
    fits = (audit_checkpoints.c.size <= len(entries)) if keep_notes else (audit_checkpoints.c.size < 0)
    await connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.tenant_id == _LOG, ~fits))
    await connection.execute(
        update(audit_heads).where(audit_heads.c.tenant_id == _LOG).values(size=len(entries), frontier=frontier.to_bytes())
    )


def _forger(home: Path) -> NoteSigner:
    """Another key under the vault's name."""
    return NoteSigner(NoteVerifier.parse((home / "verifier.txt").read_text()).name, Ed25519PrivateKey.generate())


def _renumbered(entries: list[bytes]) -> list[bytes]:
    """Entries that name the places where they stand now."""
    return [
        json.dumps({**json.loads(entry), "index": index}, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        for index, entry in enumerate(entries)
    ]


def _said(finished: Finished) -> str:
    """What the command said about the logs that are not sound."""
    if not finished.out:
        return finished.err.strip()
    bad = [log for log in json.loads(finished.out)["logs"] if log["problem"]]
    return "; ".join(f"{log['log']}: {log['problem']}" for log in bad) or "intact and complete"


if __name__ == "__main__":
    sys.exit(main())
