"""How long until a person cannot be read, and until the certificate is there, by how much there is of them; and how fast exceptions are completed."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import URL

from benchmarks.erasure_people import Kind, Person, Times, erased, exceptions, prepare, stored_person
from benchmarks.key_vault import Clock, FailedCallError, analyze, new_tenant, opened
from benchmarks.results import Spread
from benchmarks.section import Section, spread_cell
from benchmarks.servers import POSTGRES, SQLITE
from vault.operations import erase_run
from vault.operations.core import Vault
from vault.operations.upkeep import upkeep_caller

_TENANT = "acme"
_HEAD = ["database", "keys", "what is asked", "records", "unreadable ms", "by the fewest records", "least by least", "certificate s"]
_COMPLETION_HEAD = ["database", "keys", "exceptions", "completed/s"]
# Longer than the law wants an invoice kept.
_ALL_OVER = timedelta(days=20 * 366)
# What the design allows: it does not depend on how much there is.
FLAT = 1.5


@dataclass(frozen=True, slots=True)
class _Place:
    """Where data and keys are."""

    database: str
    keys: str
    vault: Vault
    clock: Clock


async def measure(
    work: Path, urls: Iterator[URL], *, quick: bool, rounds: int, places: Sequence[str], say: Callable[[str], None]
) -> list[Section]:
    """Erase people with few and many records in turns, several rounds, on both databases, with keys beside the data and apart from it."""
    sizes = (10, 100, 1_000) if quick else (10, 1_000, 100_000)
    rows: list[list[str]] = []
    data: dict[str, Any] = {"flat_within": FLAT, "unreadable": {}}
    completion: list[list[str]] = []
    completed: dict[str, float] = {}
    for name in (SQLITE, POSTGRES):
        for keys in places:
            async with _opened(work / f"{name}-{keys}", name, urls, is_apart=keys == "apart") as place:
                times = await _rounds(place, sizes, rounds, say)
                count, seconds = await _complete(place)
            completion.append([name, keys, f"{count:,}", f"{count / seconds:,.0f}"])
            completed[f"{name}, {keys}"] = count / seconds
            for kind in Kind:
                rows += _lines(place, kind, sizes, times)
                data["unreadable"][f"{name}, {keys}, {kind.value}"] = {
                    str(size): [[found.unreadable, found.certified] for found in times[kind, size]] for size in sizes
                }
    note = (
        f"In process, without a port, {rounds} rounds after one to warm up, in which all take turns. `unreadable` is from the call of the last "
        "approval to the first refused reveal of a reader who never stops trying; `certificate` from the same call to the answer. Medians, least "
        f"and greatest in brackets; ratios to the person with the fewest records are formed within a round and are to be at most {FLAT}. "
        "`least by least` is the ratio of the shortest times, which others on the machine disturb least. "
        "Invoices have to stay: they are sealed anew, one by one, before the key is destroyed. PostgreSQL has its statistics up to date."
    )
    speed = "Everything that those with invoices kept, completed at once by the background after its last date."
    return [
        Section("unreadable", "Time until a person is unreadable", note, _HEAD, rows, data, errors=0),
        Section("completion", "Completion of exceptions", speed, _COMPLETION_HEAD, completion, {"per_second": completed}, errors=0),
    ]


@asynccontextmanager
async def _opened(home: Path, name: str, urls: Iterator[URL], *, is_apart: bool) -> AsyncIterator[_Place]:
    """A vault on fresh databases."""
    clock = Clock()
    data, keys = [f"sqlite+aiosqlite:///{home / file}" if name == SQLITE else None for file in ("vault.db", "keys.db")]
    async with opened(home, data or next(urls), clock, keys_url=(keys or next(urls)) if is_apart else None) as (vault, _):
        yield await _ready(_Place(name, "apart" if is_apart else "beside", vault, clock))


async def _ready(place: _Place) -> _Place:
    await new_tenant(place.vault, _TENANT)
    await prepare(place.vault)
    return place


async def _rounds(place: _Place, sizes: Sequence[int], rounds: int, say: Callable[[str], None]) -> dict[tuple[Kind, int], list[Times]]:
    """Times by kind and size, one per round."""
    seen: dict[tuple[Kind, int], list[Times]] = {(kind, size): [] for kind in Kind for size in sizes}
    order, number = list(seen), 0
    # The first one, number 0, warms up and is thrown away.
    for turn in range(rounds + 1):
        say(f"erasures on {place.database}, keys {place.keys}: round {turn} of {rounds}")
        people: dict[tuple[Kind, int], Person] = {}
        for kind, size in order:
            number += 1
            # Nothing is learned from a warm-up of many records but that it takes long.
            records = size if turn else sizes[0]
            people[kind, size] = await stored_person(place.vault, _TENANT, kind, number, records)
        await analyze(place.vault)
        start = turn % len(order)
        for which in order[start:] + order[:start]:
            seen[which].append(await erased(place.vault, people[which]))
    return {which: times[1:] for which, times in seen.items()}


async def _complete(place: _Place) -> tuple[int, float]:
    """Let every exception end, and complete what it kept. How many there were, and how many seconds it took."""
    place.clock.move(_ALL_OVER)
    before = await exceptions(place.vault)
    begin = time.perf_counter()
    await erase_run.resume(place.vault, upkeep_caller())
    seconds = time.perf_counter() - begin
    if not before or await exceptions(place.vault):
        raise FailedCallError("exceptions were there too few, or are left")
    return before, seconds


def _lines(place: _Place, kind: Kind, sizes: Sequence[int], times: dict[tuple[Kind, int], list[Times]]) -> list[list[str]]:
    lines, fewest = [], times[kind, sizes[0]]
    for size in sizes:
        found = times[kind, size]
        ratio = Spread.of(one.unreadable / least.unreadable for one, least in zip(found, fewest, strict=True))
        lines.append(
            [
                *(place.database, place.keys, kind.value, f"{size:,}"),
                spread_cell(Spread.of(1000 * one.unreadable for one in found)),
                "" if size == sizes[0] else spread_cell(ratio),
                "" if size == sizes[0] else f"{min(one.unreadable for one in found) / min(one.unreadable for one in fewest):.3g}",
                f"{median(one.certified for one in found):.3g}",
            ]
        )
    return lines
