"""The audit log: reveals and appends by several workers, proofs in logs of any size, verification. Writes `benchmarks/results/evidence.{json,md}`.

python -m benchmarks.evidence [--quick] [--only reveals,appends,proofs,verify] [--no-write]
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from benchmarks import evidence_reveals, machine, postgres
from benchmarks.report import row, short
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from vault.audit.checkpoint import NoteSigner
from vault.audit.entry import AuditEntry, encode
from vault.audit.merkle import Frontier, leaf_hash
from vault.operations import checkpoint, proofs
from vault.operations.core import Vault
from vault.store import audit as audit_store
from vault.store import schema
from vault.store import tiles as tile_store
from vault.store.database import Database

_RESULTS = Path(__file__).parent / "results"
_PARTS = ("reveals", "appends", "proofs", "verify")
_SIGNER = NoteSigner("vault.benchmark", Ed25519PrivateKey.generate())
_BATCH = 16
_FILL = 5000
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> int:
    """Run, show, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description="Reveals, appends, proofs and verification of the audit log."
    )
    parser.add_argument("--quick", action="store_true", help="smaller logs and shorter windows, rougher figures")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(_PARTS), help=f"parts, of {','.join(_PARTS)}")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    arguments = parser.parse_args()
    console, sections = Console(width=160), list[Section]()
    with tempfile.TemporaryDirectory(prefix="pii-vault-benchmark-") as folder:
        Path(folder).chmod(0o755)
        with postgres.running_postgres(Path(folder)) as url:
            address = url.render_as_string(hide_password=False)
            asyncio.run(_migrated(address))
            sizes = (1_000, 10_000, 100_000) if arguments.quick else (1_000, 100_000, 1_000_000)
            seconds, rounds = (2.0, 2) if arguments.quick else (5.0, 3)
            measured = {
                "reveals": lambda: evidence_reveals.measure(Path(folder) / "reveals", seconds=seconds, rounds=rounds),
                "appends": lambda: _appends(address, seconds=seconds, rounds=rounds),
                "proofs": lambda: asyncio.run(_proofs(address, sizes)),
                "verify": lambda: _verify(address, Path(folder), sizes),
            }
            for part in _PARTS:
                if part in arguments.only:
                    sections.append(measured[part]())
                    console.print(_markdown([sections[-1]]), markup=False)
    if arguments.write:
        document = {"machine": machine.describe(), "quick": arguments.quick, "sections": {s.name: s.data for s in sections}}
        (_RESULTS / "evidence.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        how = "python -m benchmarks.evidence" + (" --quick" if arguments.quick else "")
        head = f"# Evidence\n\nWritten by `{how}`. Compare ratios, not absolute figures.\n\n"
        (_RESULTS / "evidence.md").write_text(head + _markdown(sections), encoding="utf-8")
    return 1 if any(section.errors for section in sections) else 0


def _appends(url: str, *, seconds: float, rounds: int) -> Section:
    """Entries a second by 1, 2 and 4 processes, all in one log and each in its own."""
    found: dict[tuple[int, bool], list[float]] = {}
    for number in range(rounds):
        for workers in (1, 2, 4):
            for shared in (True, False):
                logs = [f"append-{number}-{workers}-{shared}-{0 if shared else worker}" for worker in range(workers)]
                asyncio.run(_create(url, set(logs)))
                with multiprocessing.get_context("spawn").Pool(workers) as pool:
                    counts = pool.starmap(_append_for, [(url, log, seconds) for log in logs])
                found.setdefault((workers, shared), []).append(sum(counts) / seconds)
    base = found[1, True]
    rows = [
        [
            str(workers),
            "one" if shared else "one each",
            spread_cell(Spread.of(values)),
            spread_cell(Spread.of(value / first for value, first in zip(values, base, strict=True))),
        ]
        for (workers, shared), values in found.items()
    ]
    note = f"PostgreSQL, durable commits, {_BATCH} entries a transaction, one transaction at a time in each process."
    data = {f"{workers}-{'one' if shared else 'each'}": values for (workers, shared), values in found.items()}
    return Section("appends", "Entries appended per second", note, ["workers", "logs", "entries/s", "by one worker"], rows, data, 0)


async def _proofs(url: str, sizes: Iterable[int]) -> Section:
    rows, data, random = [], {}, Random(1)  # noqa: S311 - places in a log
    database = Database(url)
    vault = cast("Vault", SimpleNamespace(database=database, name=_SIGNER.name, signer=_SIGNER, clock=lambda: _NOW, published={}, sinks=()))
    for size in sizes:
        log = f"log-{size}"
        await _filled(database, log, size)
        began = time.perf_counter()
        await checkpoint.sign_head(vault, log)
        making = time.perf_counter() - began
        read, times = [], []
        for _ in range(200):
            index, first = random.randrange(size), random.randrange(1, size)
            with _counted() as count:
                began = time.perf_counter()
                await proofs.inclusion_proof(vault, log, index, size)
                times.append((time.perf_counter() - began) * 1000)
                read.append(count[0])
                count[0] = 0
                await proofs.consistency_proof(vault, log, first, size)
                read.append(count[0])
        rows.append([f"{size:,}", short(making), spread_cell(Spread.of(times)), spread_cell(Spread.of(read))])
        data[str(size)] = {"tiles_s": making, "ms": sorted(times), "rows": sorted(read)}
    await database.close()
    note = "200 entries at random; rows of tiles and entries that one proof of inclusion or consistency reads. Tiles were made before."
    return Section("proofs", "Proofs", note, ["entries", "making all tiles, s", "inclusion, ms", "rows read"], rows, data, 0)


def _verify(url: str, work: Path, sizes: Sequence[int]) -> Section:
    key, rows, data, errors = work / "verifier.txt", [], {}, 0
    key.write_text(_SIGNER.verifier().text())
    for size in sizes:
        asyncio.run(_signed(url, f"log-{size}", size))
        command: list[str | Path] = [
            *(Path(sys.executable).with_name("pii-vault"), "audit", "verify-database", "--json"),
            *("--database-url", url, "--key", key, "--log", f"log-{size}"),
        ]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        lasted, errors = time.perf_counter() - began, errors + (process.returncode != 0)
        rows.append([f"{size:,}", f"{size / lasted:,.0f}", f"{used.ru_maxrss / 1024:.0f}"])
        data[str(size)] = {"entries_per_second": size / lasted, "peak_kib": used.ru_maxrss, "exit_code": process.returncode}
    note = "`pii-vault audit verify-database` as a process of its own, its start included."
    return Section(
        "verify", "Verification straight from the database", note, ["entries", "entries/s", "peak memory, MiB"], rows, data, errors
    )


class _counted:  # noqa: N801 - reads as a statement
    """Counts the rows that the operations read of tiles and entries."""

    def __enter__(self) -> list[int]:
        count, self._tiles, self._entries = [0], tile_store.read_tiles, audit_store.entries

        async def read_tiles(*given: Any, **options: Any) -> Any:
            found = await self._tiles(*given, **options)
            count[0] += len(found)
            return found

        async def entries(*given: Any, **options: Any) -> Any:
            found = await self._entries(*given, **options)
            count[0] += len(found)
            return found

        tile_store.read_tiles, audit_store.entries = read_tiles, entries
        return count

    def __exit__(self, *_: object) -> None:
        tile_store.read_tiles, audit_store.entries = self._tiles, self._entries


def _append_for(url: str, log: str, seconds: float) -> int:
    return asyncio.run(_append(url, log, seconds))


async def _append(url: str, log: str, seconds: float) -> int:
    database, count = Database(url, pool_size=1), 0
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        await _append_batch(database, log, _BATCH)
        count += _BATCH
    await database.close()
    return count


async def _append_batch(database: Database, log: str, count: int) -> None:
    async with database.write() as connection:
        head = await audit_store.locked_head(connection, log)
        assert head is not None
        contents = [encode(_entry(log, head[0] + offset)) for offset in range(count)]
        frontier = Frontier.from_bytes(head[1]).extend(map(leaf_hash, contents))
        await audit_store.append_entries(connection, log, start=head[0], entries=contents, frontier=frontier.to_bytes())


def _entry(log: str, index: int) -> AuditEntry:
    return AuditEntry(
        log=log,
        index=index,
        time=_NOW,
        actor="spiffe://vault.benchmark/app",
        actor_kind="service",
        decision="ALLOWED",
        operation="reveal",
        category="end-customer-contact",
        records=("r" * 26,),
        subjects=("s" * 26,),
        count=1,
        purpose="service-delivery",
        justification=bytes(90),
    )


async def _create(url: str, logs: Iterable[str]) -> None:
    database = Database(url)
    async with database.write() as connection:
        for log in logs:
            await audit_store.create_log(connection, log, Frontier.empty().to_bytes())
    await database.close()


async def _filled(database: Database, log: str, size: int) -> None:
    """A log of so many entries; one that is there is left as it is."""
    async with database.write() as connection:
        await audit_store.create_log(connection, log, Frontier.empty().to_bytes())
        head = await audit_store.head(connection, log)
    for _ in range(head[0] if head else 0, size, _FILL):
        await _append_batch(database, log, min(_FILL, size))


async def _signed(url: str, log: str, size: int) -> None:
    database = Database(url)
    await _filled(database, log, size)
    vault = SimpleNamespace(database=database, name=_SIGNER.name, signer=_SIGNER, clock=lambda: _NOW, published={}, sinks=())
    await checkpoint.sign_head(cast("Vault", vault), log)
    await database.close()


async def _migrated(url: str) -> None:
    database = Database(url)
    await schema.migrate(database)
    await database.close()


def _markdown(sections: Iterable[Section]) -> str:
    lines = []
    for section in sections:
        table = [row(section.head), row(["---"] * len(section.head)), *map(row, section.rows)]
        lines += [f"## {section.title}", "", section.note, "", *table, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
