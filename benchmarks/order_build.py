"""One run of `benchmarks.court_orders`, in a process of its own: python -m benchmarks.order_build HOME ORDER package|loop. Prints JSON."""

import asyncio
import csv
import gc
import json
import sys
import time
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from vault import config, names, server
from vault.names import ChildName
from vault.operations import export
from vault.operations.attempt import Attempt, Caller
from vault.operations.core import Vault, known_tenant, readable_parts
from vault.operations.reveal import open_part
from vault.store.exports import export_chunk
from vault.store.tables import records
from vault.telemetry import configure_logging

CATEGORY = "call-detail"
EXPORT, LOOP = "package", "loop: decrypt, write CSV"
_PAGE = export._PAGE  # noqa: SLF001 - what is compared has to be of the same size
_MIB = 1 << 20


def officer(employee: str, method: str, role: str, *, now: datetime | None = None) -> Caller:
    """A person of a role, with a second factor proved now."""
    name = f"people/{employee}"
    return Caller(name, "person", frozenset({role}), None, method, "0" * 32, "mtls+oidc", employee_id=employee, mfa_time=now)


def main() -> int:
    """Run, print what it took."""
    home, order_name, what = Path(sys.argv[1]), names.parse_child(sys.argv[2], "orders"), sys.argv[3]
    configure_logging("error")
    print(json.dumps(asyncio.run(_run(home, order_name, what))))
    return 0


async def _run(home: Path, order_name: ChildName, what: str) -> dict[str, float]:
    vault, _ = await server.open_vault(config.load(home / "vault.yaml"))
    try:
        await known_keys(vault, order_name)
        # Everything that is imported at the first use, pages for instance, is not the package's.
        __import__("vault.bundle.order_page")
        gc.collect()
        _forget_peak()
        before, begin = _resident("VmRSS"), time.perf_counter()
        size = await (_package(vault, order_name, home) if what == EXPORT else _loop(vault, order_name, home))
        seconds, peak = time.perf_counter() - begin, _resident("VmHWM")
        if what == EXPORT:
            await _keep(vault, order_name, home)
    finally:
        await server.close_vault(vault)
    return {"seconds": seconds, "before_mib": before, "above_mib": peak - before, "size_mib": size / _MIB}


async def known_keys(vault: Vault, order_name: ChildName) -> None:
    """Unwrap the tenant's keys, which is not what is measured."""
    async with vault.database.read() as connection:
        await known_tenant(vault, connection, order_name.tenant)


async def _package(vault: Vault, order_name: ChildName, home: Path) -> int:
    del home
    attempt = Attempt(officer("e-dana", "CreateExport", "legal-officer"), tenant=order_name.tenant)
    row, _ = await export.create_export(vault, attempt, order_name)
    return row.size_bytes


async def _keep(vault: Vault, order_name: ChildName, home: Path) -> None:
    """Write the package where it is verified."""
    attempt = Attempt(officer("e-dana", "CreateExport", "legal-officer"), tenant=order_name.tenant)
    row, _ = await export.create_export(vault, attempt, order_name)
    with (home / "package.age").open("wb") as out:
        sequence = 0
        while True:
            async with vault.database.read() as connection:
                chunk = await export_chunk(connection, order_name.tenant, row.export_id, sequence)
            if chunk is None:
                return
            out.write(chunk)
            sequence += 1


async def _loop(vault: Vault, order_name: ChildName, home: Path) -> int:
    """Decrypt and write CSV, and nothing else."""
    spec, tenant, after = vault.catalogue.category(CATEGORY), order_name.tenant, ""
    with (home / "loop.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL)
        writer.writerow(["record", *spec.fields])
        while True:
            async with vault.database.read() as connection:
                _, keys = await known_tenant(vault, connection, tenant)
                page = (
                    select(records.c.record_id)
                    .where(records.c.tenant_id == tenant, records.c.category == CATEGORY, records.c.record_id > after)
                    .order_by(records.c.record_id)
                    .limit(_PAGE)
                )
                ids = list((await connection.execute(page)).scalars())
                parts = await readable_parts(vault, connection, tenant, ids)
            if not ids:
                return out.tell()
            rows: dict[str, dict[str, str]] = {record: {} for record in ids}
            for part in parts:
                rows[part.record_id] |= dict(part.metadata)
                rows[part.record_id] |= {name: value.decode() for name, value in open_part(keys, part, frozenset(spec.fields)).items()}
            writer.writerows([record, *(row.get(name, "") for name in spec.fields)] for record, row in rows.items())
            after = ids[-1]


def _forget_peak() -> None:
    """From now on the kernel's peak is that of what follows (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _resident(name: str) -> float:
    """A line of the process's memory, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


if __name__ == "__main__":
    sys.exit(main())
