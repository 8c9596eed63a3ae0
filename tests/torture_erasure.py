"""Kills a vault at moments that nobody chose, amid erasures, retention and replays, and looks at what it left: `make torture-erasure`.

Rules:
- Real processes, `SIGKILL`, SQLite and PostgreSQL, keys beside the data and apart. Every number comes from a run.
- After each kill the tables are looked at as the next process would find them, every part is opened that opens, and compared with what was stored.
- The people have a part of every outcome: what is the tenant's, what goes, an invoice that tax law keeps, and calls that neighbours share.
- Half of the erasures are the tenants' instructions, half are people's own requests.
"""

import argparse
import asyncio
import random
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TypeVar

from sqlalchemy import delete, select

from deploy import backup
from tests.builders import ERASING, asked_by, call_detail, contact, id_of, record, request_erasure, sent, subject_of
from tests.databases import create_migrated_sqlite, running_postgres, sqlite_url
from tests.erasure_checks import DONE, Stored, findings, stored
from tests.processes import VaultProcess, copy_home, serving
from tests.serving import Clock, Serving, make_home
from vault.audit.entry import decode
from vault.client import CallError
from vault.config import load
from vault.operations import ledger
from vault.operations.core import Vault
from vault.server import close_vault, open_vault
from vault.store import erasures as erasure_store
from vault.store import schema, tables
from vault.store.database import Database
from vault.v1.erasure_service_pb2 import ApproveErasureRequest, Erasure
from vault.v1.operations_service_pb2 import ReplayErasuresRequest, RunRetentionRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest, RecordInput

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results" / "erasure-torture.md"
FLEET = 40
DUE = 900
# What goes at once; everything else of a person is forwarded, kept under law, or not in scope.
GOES = {"TENANT": "end-customer-contact", "SUBJECT": "site-visitor"}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Kills:
    """How many kills amid each flow."""

    erasure: int
    retention: int
    replay: int


@dataclass(slots=True)
class Tally:
    """What was found of one flow.

    Attributes:
        amid: kills that left something under way.
        inconsistent: kills after which something was as it may not be.
        unfinished: restarts after which something was still under way.
    """

    database: str
    keys: str
    flow: str
    kills: int = 0
    amid: int = 0
    inconsistent: int = 0
    unfinished: int = 0
    told: list[str] = field(default_factory=list)

    def note(self, told: Sequence[str]) -> None:
        """Count one look."""
        self.inconsistent += bool(told)
        self.told += told


class Torture:
    """One vault that is killed again and again.

    Args:
        home: its folder.
        url: of the data.
        keys_url: of the subject keys, if they are apart.
        names: of the database and of where the keys are.
        seed: of the moments to kill at.
    """

    def __init__(self, home: Path, url: str, keys_url: str, *, names: tuple[str, str], seed: int) -> None:
        self._home, self._urls, self._names = home, [url, keys_url][: 1 + bool(keys_url)], names
        self._moments = random.Random(seed)  # noqa: S311 - moments to kill at, not a secret
        self._before = Stored()
        self._asked: dict[str, str] = {}
        self._people = 0
        self._events: set[str] = set()

    def run(self, kills: Kills) -> list[Tally]:
        """Kill it so many times, flow by flow."""
        with serving(self._home) as vault, vault.client("operator") as operator:
            operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
        return [self._retention(kills.retention), self._erasure(kills.erasure), self._replay(kills.replay)]

    def _erasure(self, kills: int) -> Tally:
        tally, waiting = Tally(*self._names, "erasure"), list[Erasure]()
        for _ in range(kills):
            with serving(self._home) as vault:
                tally.unfinished += asyncio.run(_is_any_under_way(self._urls[0]))
                if len(waiting) < FLEET // 4:
                    # A backup has people in it who are not known to be asking yet.
                    waiting += self._calls(vault, self._fleet)
                self._kill(vault, partial(self._approve, tuple(waiting)), within=0.4)
            found = self._look(stored)
            tally.kills, tally.amid = tally.kills + 1, tally.amid + bool(found.under_way())
            tally.note([*findings(found), *self._lost(found)])
            done = {row.erasure_id for row in found.erasures.values() if row.state != "REQUESTED"}
            waiting = [erasure for erasure in waiting if id_of(erasure.name) not in done]
        with serving(self._home) as vault:
            self._calls(vault, partial(self._approve, tuple(waiting)))
        found = self._look(stored)
        tally.unfinished += any(row.state not in DONE for row in found.erasures.values())
        tally.note([*findings(found), *self._lost(found)])
        return tally

    def _retention(self, kills: int) -> Tally:
        tally, left = Tally(*self._names, "retention"), set[str]()
        for _ in range(kills):
            with serving(self._home) as vault:
                if not left:
                    self._calls(vault, self._store_events)
                self._kill(vault, _sweep, within=0.8)
            found, logged = self._look(_seen_and_logged)
            left = self._events & found.records.keys()
            tally.kills, tally.amid = tally.kills + 1, tally.amid + (0 < len(left) < DUE)
            tally.note([*findings(found), *([] if self._events - left == logged & self._events else ["the log and the tables differ"])])
        with serving(self._home) as vault:
            self._calls(vault, _sweep)
        found = self._look(stored)
        tally.unfinished += bool(self._events & found.records.keys())
        tally.note(findings(found))
        return tally

    def _replay(self, kills: int) -> Tally:
        tally = Tally(*self._names, "replay")
        self._restore()
        for _ in range(kills):
            with serving(self._home) as vault:
                self._kill(vault, _ask_to_replay, within=1.0)
            found, is_pending = self._look(_seen_and_pending)
            tally.kills, tally.amid = tally.kills + 1, tally.amid + (is_pending and bool(found.erasures))
            open_though = not is_pending and any(row.state not in DONE for row in found.erasures.values())
            tally.note([*findings(found), *self._lost(found), *(["opened before its end"] if open_though else [])])
            if not is_pending:
                self._restore()
        with serving(self._home) as vault:
            self._calls(vault, _ask_to_replay)
        found = self._look(stored)
        replayed = {row.subject_id for row in found.erasures.values() if row.state in DONE}
        tally.unfinished += self._look(_is_pending) or replayed != set(self._asked) & found.subjects.keys()
        tally.note([*findings(found), *self._lost(found)])
        return tally

    def _kill(self, vault: VaultProcess, work: Callable[[Serving], Awaitable[object]], *, within: float) -> None:
        """Kill the vault at some moment of its work."""
        asking = Thread(target=lambda: self._calls(vault, work))
        asking.start()
        time.sleep(self._moments.uniform(0, within))
        vault.process.kill()
        code = vault.ended()
        asking.join()
        if code != -SIGKILL:
            message = f"the vault ended by itself, with {code}"
            raise RuntimeError(message)

    def _calls(self, vault: VaultProcess, work: Callable[[Serving], Awaitable[_T]]) -> _T:
        async def call() -> _T:
            served = Serving(vault.home, f"localhost:{vault.port}", Clock())
            try:
                return await work(served)
            finally:
                await served.close()

        return asyncio.run(call())

    def _look(self, at_what: Callable[[Vault], Awaitable[_T]]) -> _T:
        """Look at the databases as the next process finds them."""

        async def look() -> _T:
            vault, _ = await open_vault(load(self._home / "vault.yaml"))
            try:
                return await at_what(vault)
            finally:
                await close_vault(vault)

        return asyncio.run(look())

    async def _fleet(self, served: Serving) -> list[Erasure]:
        """More people, a backup, and erasures that wait for their last approval."""
        phones = [f"+97250220{self._people + n:04}" for n in range(FLEET)]
        self._people += FLEET
        visitor = {"is_subscriber": "no", "source": "VOLUNTARY", "terms_version": "2026-01"}
        new = [item for phone in phones for item in (contact(phone), record("site-visitor", {**visitor, "phone": phone}))]
        names = await _store(served, "acme-app", new)
        people = [subject_of(name) for name in names[::2]]
        now = served.clock().isoformat()
        fields = {"invoice_no": "inv-1", "service": "VOICE", "issued_at": now, "amount": "11900"}
        await _store(served, "billing", [record("billing-record", fields, subject=person) for person in people], purpose="billing")
        calls = [call_detail(calling=one, called=other, start=now) for one, other in zip(phones, phones[1:] + phones[:1], strict=True)]
        await _store(served, "billing", calls, purpose="billing")
        self._before = await self._seen()
        for number, url in enumerate(self._urls):
            await asyncio.to_thread(backup.back_up, url, self._home / f"backup-{number}")
        waiting = []
        for number, person in enumerate(people):
            kind = "SUBJECT" if number % 2 else "TENANT"
            self._asked[id_of(person)] = kind
            waiting.append(await _asked_for(served, person, kind))
        return waiting

    async def _seen(self) -> Stored:
        vault, _ = await open_vault(load(self._home / "vault.yaml"))
        try:
            return await stored(vault)
        finally:
            await close_vault(vault)

    async def _approve(self, waiting: Sequence[Erasure], served: Serving) -> None:
        approver = served.person("e-approver-1", "privacy-officer")
        for erasure in waiting:
            with suppress(CallError):
                await approver.call(approver.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))

    async def _store_events(self, served: Serving) -> None:
        """Records whose time is over already."""
        [owner] = await _store(served, "acme-app", [contact("+972502999999")])
        moment = (served.clock() - timedelta(days=400)).isoformat()
        await _store(served, "engine", [sent(subject_of(owner), served.clock())])
        given = {"event_id": "e-1", "message_id": "m-1", "kind": "click", "ip": "192.0.2.7", "user_agent": "a browser", "at": moment}
        names = await _store(served, "engine", [record("interaction-event", given, subject=subject_of(owner))] * DUE)
        self._events = {id_of(name) for name in names}

    def _restore(self) -> None:
        """Restore the backup; the databases know then nothing of the erasures of the last people, and all of those before."""
        for number, url in enumerate(self._urls):
            backup.restore(url, self._home / f"backup-{number}")

    def _lost(self, found: Stored) -> list[str]:
        """What must stay and does not open, and what must be gone and is there."""
        told = []
        done = {row.subject_id for row in found.erasures.values() if row.state in DONE}
        for place, fields in self._before.opened.items():
            subject, _ = self._before.parts[place]
            goes = GOES.get(self._asked.get(subject, ""), "") == self._before.records[place[0]]
            if not goes and place[0] not in self._events and found.opened.get(place) != fields:
                told.append(f"{place} is lost")
            if goes and subject in done and place in found.parts:
                told.append(f"{place} is left")
            if goes and subject not in done and found.subjects[subject] == "ACTIVE" and found.opened.get(place) != fields:
                told.append(f"{place} is lost before its time")
        return told


async def _store(served: Serving, service: str, new: Sequence[RecordInput], *, purpose: str = "") -> list[str]:
    caller = served.service(service)
    request = BatchCreateRecordsRequest(parent="tenants/acme", records=new, purpose=purpose)
    results = (await caller.call(caller.records.BatchCreateRecords, request)).results
    return [result.record.name for result in results]


async def _asked_for(served: Serving, person: str, kind: str) -> Erasure:
    """An erasure that waits for its last approval."""
    if kind == "TENANT":
        return await request_erasure(served.service("acme-admin"), person)
    erasure = await request_erasure(served.service("privacy-officer"), person, await asked_by(served, person))
    await served.sign_nda("e-approver-0", "e-approver-1")
    first = served.person("e-approver-0", "privacy-officer")
    return (await first.call(first.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))).erasure


async def _sweep(served: Serving) -> None:
    operator = served.service("operator")
    with suppress(CallError):
        await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))


async def _ask_to_replay(served: Serving) -> None:
    operator = served.service("operator")
    with suppress(CallError):
        await operator.call(operator.operations.ReplayErasures, ReplayErasuresRequest(), timeout=120)


async def _is_any_under_way(url: str) -> bool:
    """Whether an erasure was approved and is not certified."""
    database = Database(url, pool_size=1)
    async with database.read() as connection:
        found = await erasure_store.erasures_under_way(connection)
    await database.close()
    return bool(found)


async def _seen_and_logged(vault: Vault) -> tuple[Stored, set[str]]:
    return await stored(vault), await _swept(vault)


async def _seen_and_pending(vault: Vault) -> tuple[Stored, bool]:
    await _let_next_one_go_on(vault)
    return await stored(vault), await _is_pending(vault)


async def _is_pending(vault: Vault) -> bool:
    return (await ledger.check(vault)).reason == "RESTORE_PENDING"


async def _swept(vault: Vault) -> set[str]:
    """Records that the log says were erased for their time being over."""
    entry = tables.audit_entries.c
    async with vault.database.read() as connection:
        rows = await connection.execute(select(entry.entry).where(entry.tenant_id == "acme"))
        read = [decode(row.entry) for row in rows]
    return {name for item in read if item.operation == "retain" and not item.fields for name in item.records}


async def _let_next_one_go_on(vault: Vault) -> None:
    """As if the quarter of a minute had passed for which the killed one's work is kept for it."""
    async with vault.database.write() as connection:
        await connection.execute(delete(tables.leases))


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Addresses of two databases with their schemas: for the data, and for keys that are apart."""
    if kind == "SQLite":
        create_migrated_sqlite(folder / "data.db")
        urls = sqlite_url(folder / "data.db"), sqlite_url(folder / "keys.db")
        asyncio.run(make_keys(urls[1]))
        yield urls
        return
    with running_postgres() as server:
        urls = server.database_url(server.create_migrated()), server.database_url(server.create())
        asyncio.run(make_keys(urls[1]))
        yield urls


async def make_keys(url: str) -> None:
    """Give a database the schema of keys that are apart."""
    database = Database(url, of_keys=True)
    await schema.migrate(database)
    await database.close()


def torture(template: Path, home: Path, urls: tuple[str, str], *, names: tuple[str, str], kills: Kills, seed: int = 6) -> list[Tally]:
    """Torture one vault.

    Args:
        template: a home to copy.
        home: where to copy it to.
        urls: of the data and, if they are apart, of the keys; with their schemas.
        names: of the database and of where the keys are.
        kills: how many.
        seed: of the moments to kill at.
    """
    changes = {"database_url": urls[0], **({"keys_url": urls[1]} if urls[1] else {})}
    copy_home(template, home, **changes)
    return Torture(home, *urls, names=names, seed=seed).run(kills)


def table(tallies: Sequence[Tally]) -> str:
    """The figures, in Markdown."""
    heads = ("database", "keys", "flow", "kills", "amid", "inconsistent", "unfinished after restart")
    lines = [heads, ("---",) * 3 + ("---:",) * 4, *(astuple(item)[:7] for item in tallies)]
    sums = [sum(getattr(item, name) for item in tallies) for name in ("kills", "amid", "inconsistent", "unfinished")]
    lines.append(("all", "", "", *sums))
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main() -> int:
    """0 if nothing was found that may not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60, help="for each database and place of the keys; half of them amid erasures")
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args()
    kills = Kills(arguments.kills // 2, arguments.kills // 4, arguments.kills - arguments.kills // 2 - arguments.kills // 4)
    tallies: list[Tally] = []
    with TemporaryDirectory(prefix="pii-vault-torture-") as name, ExitStack() as stack:
        template = make_home(Path(name))
        for kind in ("SQLite", "PostgreSQL"):
            for place in ("beside", "apart"):
                folder = Path(name) / f"{kind}-{place}"
                folder.mkdir()
                urls = stack.enter_context(databases(kind, folder))
                home, used = folder / "home", (urls[0], urls[1] if place == "apart" else "")
                tallies += torture(template, home, used, names=(kind, place), kills=kills, seed=arguments.seed)
                RESULTS.write_text(f"{HEAD}\n{table(tallies)}\n", encoding="utf-8")
                print(table(tallies), flush=True)  # noqa: T201 - what the run measured
                shutil.rmtree(home)
    for tally in tallies:
        print(*tally.told[:20], sep="\n", end="\n" if tally.told else "", file=sys.stderr)  # noqa: T201 - what the run found
    return int(any(tally.inconsistent or tally.unfinished for tally in tallies))


HEAD = """# Killing a vault amid erasures, retention and replays

`make torture-erasure` writes this. Every line is counted in one run: `pii-vault serve` in a process of its own, `SIGKILL` at a random moment,
a look at every table and every ciphertext before the next start.

- *amid*: kills that left work half done.
- *inconsistent*: looks at which anything was as it may not be (`tests/erasure_checks.py`), or something that must stay did not open, or something
  that must be gone was there.
- *unfinished after restart*: starts after which something was still under way.
"""

if __name__ == "__main__":
    sys.exit(main())
