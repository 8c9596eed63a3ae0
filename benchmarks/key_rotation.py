"""How fast keys are rotated, next to writing as many bytes into the same rows without any key."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from benchmarks import postgres
from benchmarks.key_vault import BATCH, Clock, PlainCopy, new_tenant, opened, person, rotated, store
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from benchmarks.servers import POSTGRES, SQLITE
from vault.operations.core import Vault
from vault.operations.preparing import RecordInput
from vault.operations.rotate import Asked, KeyKind

_PEOPLE, _ONE_PERSON = "acme", "globex"
_HEAD = ["database", "what", "rows", "rows/s", "by plain UPDATE in batches", "by one UPDATE"]
_PLAIN, _ONE = f"plain UPDATE, batches of {BATCH}", "one UPDATE"


async def measure(work: Path, address: URL, *, quick: bool, say: Callable[[str], None]) -> Section:
    """Rotate and overwrite in turns, several rounds, on both databases."""
    subjects, parts, rounds = (2_000, 400, 3) if quick else (20_000, 2_000, 5)
    rows: list[list[str]] = []
    data: dict[str, Any] = {}
    for name, url in ((SQLITE, f"sqlite+aiosqlite:///{work / 'rotation-sqlite' / 'vault.db'}"), (POSTGRES, address)):
        say(f"rotations on {name}: storing {subjects} people")
        async with _stored(work / f"rotation-{name}", url, subjects, parts) as (vault, person_id, plain):
            if name == POSTGRES:
                # In a thread: it has a loop of its own.
                await asyncio.to_thread(postgres.analyze, address)
            measures: dict[str, tuple[int, Callable[[], Awaitable[float]]]] = {
                KeyKind.DATA: (subjects, lambda: rotated(vault, Asked(KeyKind.DATA, _PEOPLE))),
                _PLAIN: (subjects, plain.in_batches),
                _ONE: (subjects, plain.at_once),
                KeyKind.INDEX: (subjects, lambda: rotated(vault, Asked(KeyKind.INDEX, _PEOPLE))),
                KeyKind.SUBJECT: (parts, lambda: rotated(vault, Asked(KeyKind.SUBJECT, _ONE_PERSON, person_id))),
            }
            seen: dict[str, list[float]] = {what: [] for what in measures}
            order = list(measures)
            # The first one, number 0, warms up and is thrown away.
            for number in range(rounds + 1):
                say(f"rotations on {name}: round {number} of {rounds}")
                turn = number % len(order)
                for what in order[turn:] + order[:turn]:
                    count, work_on = measures[what]
                    seen[what].append(count / await work_on())
        seen = {what: values[1:] for what, values in seen.items()}
        ratios = {
            below: Spread.of(one / other for one, other in zip(seen[KeyKind.DATA], seen[below], strict=True)) for below in (_PLAIN, _ONE)
        }
        for what, (count, _) in measures.items():
            by = [spread_cell(ratios[_PLAIN]), spread_cell(ratios[_ONE])] if what is KeyKind.DATA else ["", ""]
            title = f"{what.value} rotation" if isinstance(what, KeyKind) else what
            rows.append([name, title, f"{count:,}", spread_cell(Spread.of(seen[what])), *by])
        data[name] = {
            "rows_per_second": {str(what): {"rows": measures[what][0], "rounds": values} for what, values in seen.items()},
            "data_rotation_by": {below: {"median": s.median, "least": s.least, "greatest": s.greatest} for below, s in ratios.items()},
        }
    note = (
        f"In process, without a port: start to COMPLETE, {rounds} rounds after one to warm up, in which all take turns. Medians, least and greatest "
        f"in brackets; ratios are formed within a round. A rotation does {BATCH} rows a transaction: reads and locks them, unwraps and wraps, "
        "writes, notes its position. The plain UPDATE writes random bytes of the same length into a copy of the table, by primary key, with as "
        "many rows a commit; the one UPDATE has the database make the bytes. Rows are subject keys for DATA, records with two indexed fields "
        "each for INDEX, parts of one person for SUBJECT. PostgreSQL has its statistics up to date."
    )
    return Section("rotation", "Rotation throughput", note, _HEAD, rows, data, errors=0)


@asynccontextmanager
async def _stored(home: Path, url: URL | str, subjects: int, parts: int) -> AsyncIterator[tuple[Vault, str, PlainCopy]]:
    async with opened(home, url, Clock()) as (vault, _):
        for tenant in (_PEOPLE, _ONE_PERSON):
            await new_tenant(vault, tenant)
        await store(vault, _PEOPLE, [person(number) for number in range(subjects)])
        [first] = await store(vault, _ONE_PERSON, [person(0)])
        one = RecordInput(person(0).category, person(0).fields, subject=f"tenants/{_ONE_PERSON}/subjects/{first.subject}")
        await store(vault, _ONE_PERSON, [one] * (parts - 1))
        plain = PlainCopy(vault)
        await plain.make(_PEOPLE)
        yield vault, first.subject, plain
