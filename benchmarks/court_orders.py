"""Court orders: rows a second into a sealed package, memory, next to a loop that decrypts and writes CSV. Writes `results/court_orders.{json,md}`.

python -m benchmarks.court_orders [--quick] [--records 10000,100000] [--no-write]
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyrage import x25519
from sqlalchemy import URL

from benchmarks import machine, people, postgres, section
from benchmarks.children import NotStartedError
from benchmarks.key_vault import Clock, FailedCallError, analyze, new_tenant, opened, store
from benchmarks.order_build import CATEGORY, EXPORT, LOOP, officer
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from benchmarks.servers import POSTGRES, SQLITE
from vault.bundle.verify import verify
from vault.errors import VaultError
from vault.names import ChildName
from vault.operations import order, order_approval, order_scope, register_nda
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.idempotency import RequestKey
from vault.operations.order_content import Instrument, OrderContent, Recipient, Scope
from vault.operations.preparing import RecordInput
from vault.operations.register_nda import Nda
from vault.telemetry import configure_logging

_HEAD = ["database", "what", "records", "records/s", "by the loop", "memory before, MiB", "memory above, MiB", "package, MiB"]
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_TARGET, _OTHER, _LINE = "+972502345678", "+972502345679", "+97233760000"
_PEOPLE = ("e-dana", "e-eli", "e-noa")
_NO_REQUEST = RequestKey("", "", b"")
_STORED_AT_ONCE = 10_000


def main() -> int:
    """Run, show, write. Exit code 1 if a package does not hold."""
    # Ended by a signal, everything is cleared away too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _arguments()
    configure_logging("error")
    described = machine.describe()
    sizes = arguments.records or ([500, 2000] if arguments.quick else [10_000, 100_000])
    try:
        with tempfile.TemporaryDirectory(prefix="pii-vault-benchmark-") as folder:
            work = Path(folder)
            # PostgreSQL may run under another account, which must reach its folder.
            work.chmod(0o711)
            data = work / "data"
            data.mkdir(mode=0o755)
            with postgres.running_postgres(data) as url, ExitStack() as stack:
                urls = [stack.enter_context(postgres.another_database(url)) for _ in sizes]
                found = _measured(work, urls, sizes, rounds=2 if arguments.quick else 3)
    except (NotStartedError, FailedCallError, VaultError) as error:
        _say(f"failed: {error}")
        return 1
    section.show(found)
    if arguments.write:
        section.write([found], described, name="court_orders", title="Court orders", quick=arguments.quick)
        _say("written to benchmarks/results/court_orders.json and court_orders.md")
    return 1 if found.errors else 0


def _measured(work: Path, urls: list[URL], sizes: list[int], *, rounds: int) -> Section:
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    errors = 0
    for name in (SQLITE, POSTGRES):
        for size, url in zip(sizes, urls, strict=True):
            home = work / f"{name}-{size}"
            address = f"sqlite+aiosqlite:///{home / 'vault.db'}" if name == SQLITE else url.render_as_string(hide_password=False)
            identity = x25519.Identity.generate()
            _say(f"{name}: storing {size:,} calls")
            orders = asyncio.run(_prepared(home, address, size, rounds + 1, identity))
            runs: dict[str, list[Mapping[str, float]]] = {EXPORT: [], LOOP: []}
            # The first round warms up and is thrown away.
            for number, order_name in enumerate(orders):
                _say(f"{name}, {size:,} calls: round {number} of {rounds}")
                for what in (EXPORT, LOOP) if number % 2 else (LOOP, EXPORT):
                    run = _in_a_process(home, order_name, what)
                    if number:
                        runs[what].append(run)
                errors += _is_wrong(home, identity, size)
            rates = {what: [size / run["seconds"] for run in found] for what, found in runs.items()}
            ratio = Spread.of(one / other for one, other in zip(rates[EXPORT], rates[LOOP], strict=True))
            for what, found in runs.items():
                before, above = (Spread.of(run[key] for run in found) for key in ("before_mib", "above_mib"))
                size_mib = f"{found[-1]['size_mib']:.1f}" if what == EXPORT else ""
                by_loop = spread_cell(ratio) if what == EXPORT else ""
                rows.append(
                    [
                        name,
                        what,
                        f"{size:,}",
                        spread_cell(Spread.of(rates[what])),
                        by_loop,
                        spread_cell(before),
                        spread_cell(above),
                        size_mib,
                    ]
                )
            data[f"{name} {size}"] = {"records": size, "runs": runs}
    note = (
        f"Every run is a process of its own on a vault that serves nobody else; {rounds} rounds after one to warm up, in which both take turns. "
        "Medians, least and greatest in brackets. The package: snapshot, pages opened and kept sealed, an entry that names every record, two digests "
        "of every file, CSV and JSON lines, four pages, signature, age, 1 MiB chunks into the database. The loop: the same pages read and opened, "
        "a CSV file in clear, no entry, nothing else. Memory is what the process had at most above what it had "
        "when it began; every package is verified."
    )
    return Section("court-orders", "From an approved order to a sealed package", note, _HEAD, rows, data, errors=errors)


def _in_a_process(home: Path, order_name: str, what: str) -> Mapping[str, float]:
    command = [sys.executable, "-m", "benchmarks.order_build", str(home), order_name, what]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise FailedCallError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else what)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found


def _is_wrong(home: Path, identity: x25519.Identity, size: int) -> bool:
    """Whether the last package is not what the order covers."""
    verdict = verify((home / "package.age").read_bytes(), identity=str(identity), trust=(home / "signing.pub").read_bytes())
    return not verdict.ok or verdict.manifest is None or dict(verdict.manifest.counts) != {CATEGORY: size}


async def _prepared(home: Path, address: str, size: int, orders: int, identity: x25519.Identity) -> list[str]:
    """A vault with so many calls of one number and as many others, and approved orders for all of the number's."""
    async with opened(home, address, Clock()) as (vault, _):
        await new_tenant(vault, people.TENANT + "-calls")
        for start in range(0, size, _STORED_AT_ONCE):
            calls = [_call(number, _TARGET) for number in range(start, min(start + _STORED_AT_ONCE, size))]
            await store(vault, people.TENANT + "-calls", calls, role="billing", purpose="billing")
        await analyze(vault)
        for employee in _PEOPLE:
            nda = Nda(f"people/{employee}", b"\1" * 32, vault.clock() - timedelta(days=1), vault.clock() + timedelta(days=3650))
            await register_nda.register_nda(vault, Attempt(officer("e-registrar", "RegisterNda", "privacy-officer")), nda)
        return [await _approved(vault, number, identity) for number in range(orders)]


async def _approved(vault: Vault, number: int, identity: x25519.Identity) -> str:
    """The name of an order that both approved."""
    tenant, now = people.TENANT + "-calls", vault.clock()
    instrument = Instrument(
        type="COMMS_DATA",
        court_name="בית משפט השלום תל אביב",
        case_number=f"{number + 1}-03-26",
        issuer_name="כב׳ השופטת לוי",
        requesting_body="משטרת ישראל",
        document_sha256=bytes([number]) * 32,
        issue_time=now - timedelta(days=1),
        expire_time=now + timedelta(days=14),
        call_back="the switchboard in our directory",
    )
    scope = Scope((("phone", _TARGET),), (CATEGORY,), _FIRST, _FIRST + timedelta(days=300), ())
    recipient = Recipient("משטרת ישראל", str(identity.to_public()), "read back by telephone")
    attempt = Attempt(officer("e-dana", "RegisterOrder", "legal-officer"), tenant=tenant)
    view, _ = await order.register_order(vault, attempt, tenant, OrderContent(instrument, scope, recipient, scope), _NO_REQUEST)
    name = ChildName(tenant, "orders", view.row.order_id)
    attempt = Attempt(officer("e-eli", "AuthenticateOrder", "legal-officer"), tenant=tenant)
    await order.authenticate_order(
        vault, attempt, name, method=order.CALL_BACK, is_authentic=True, finding="the registry read it back to us"
    )
    attempt = Attempt(officer("e-dana", "SetOrderScope", "legal-officer"), tenant=tenant)
    view, _ = await order_scope.set_order_scope(vault, attempt, name, scope, recipient=None, counsel_note="")
    for employee, role in (("e-eli", "legal-officer"), ("e-noa", "legal-approver")):
        attempt = Attempt(officer(employee, "PreviewExport", role), tenant=tenant)
        await order_scope.preview_export(vault, attempt, name, include_document=False)
        attempt = Attempt(officer(employee, "ApproveOrder", role, now=now), tenant=tenant)
        await order_approval.approve_order(vault, attempt, name, scope_digest=view.row.scope_digest)
    return str(name)


def _call(number: int, calling: str) -> RecordInput:
    start = _FIRST + timedelta(seconds=number)
    fields = {"cdr_id": f"c-{number}", "shadow_number": _LINE, "status": "answered", "duration_s": str(number % 3600)}
    return RecordInput(CATEGORY, {**fields, "calling": calling, "called": _OTHER, "start_at": start.strftime("%Y-%m-%dT%H:%M:%SZ")})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.court_orders", description="Packages of court orders.")
    parser.add_argument("--quick", action="store_true", help="fewer records, rougher figures")
    parser.add_argument("--records", type=lambda text: [int(size) for size in text.split(",")], help="how many records, e.g. 10000,100000")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
