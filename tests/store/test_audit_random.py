"""Random lives of a log, on both databases: whatever is appended, signed, proved and removed, in whatever order, everything still verifies; and one
edit anywhere is found (I8)."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, update

from tests.store.rows import ACME, NOW, opened
from tests.unit.test_audit_log import SIGNER, naive_root
from vault.audit.check import verify_consistency, verify_inclusion
from vault.audit.checkpoint import open_checkpoint
from vault.audit.dump import dump_lines
from vault.audit.entry import AuditEntry, encode
from vault.audit.merkle import Frontier, leaf_hash
from vault.audit.tiles import TILE_LEAVES
from vault.audit.verify import Verdict, verify_dump
from vault.operations import checkpoint, proofs
from vault.operations.core import Vault
from vault.store import audit as audit_store
from vault.store.audit_dump import reading
from vault.store.database import Database
from vault.store.tables import audit_checkpoints, audit_entries, audit_heads, audit_prunings, audit_tiles

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 2 * TILE_LEAVES + 3)),
        st.tuples(st.just("sign"), st.just(0)),
        st.tuples(st.just("tiles"), st.just(0)),
    ),
    min_size=1,
    max_size=8,
)


@dataclass(slots=True)
class Life:
    """A log in a database, and what its leaves have to be."""

    database: Database
    leaves: list[bytes] = field(default_factory=list)
    heads: list[tuple[int, bytes]] = field(default_factory=list)
    time: datetime = NOW

    @property
    def vault(self) -> Vault:
        """As much of a vault as the operations want."""
        parts = SimpleNamespace(database=self.database, name=SIGNER.name, signer=SIGNER, clock=lambda: self.time, published={}, sinks=())
        return cast("Vault", parts)

    async def append(self, count: int) -> None:
        start = len(self.leaves)
        self.time += timedelta(seconds=1)
        contents = [
            encode(AuditEntry(log=ACME, index=start + n, time=self.time, actor="a", actor_kind="service", decision="ALLOWED"))
            for n in range(count)
        ]
        async with self.database.write() as connection:
            head = await audit_store.locked_head(connection, ACME)
            assert head is not None
            frontier = Frontier.from_bytes(head[1]).extend(map(leaf_hash, contents))
            await audit_store.append_entries(connection, ACME, start=start, entries=contents, frontier=frontier.to_bytes())
        self.leaves += contents

    async def sign(self) -> None:
        signed = open_checkpoint(await checkpoint.sign_head(self.vault, ACME), SIGNER.verifier())
        self.heads.append((signed.size, signed.root))

    async def act(self, kind: str, count: int) -> None:
        match kind:
            case "append":
                await self.append(count)
            case "sign":
                await self.sign()
            case _:
                await proofs.make_tiles(self.vault, ACME)


async def begun(database: Database) -> Life:
    async with database.write() as connection:
        for table in (audit_entries, audit_heads, audit_tiles, audit_checkpoints, audit_prunings):
            await connection.execute(delete(table))
        await audit_store.create_log(connection, ACME, Frontier.empty().to_bytes())
    return Life(database)


async def lived(url: str, operations: list[tuple[str, int]], data: st.DataObject) -> Life:
    async with opened(url) as database:
        life = await begun(database)
        for kind, count in operations:
            await life.act(kind, count)
        await life.append(1)
        await life.sign()
        size, root = life.heads[-1]
        assert root == naive_root(life.leaves)
        index = data.draw(st.integers(0, size - 1))
        hashes = await proofs.inclusion_proof(life.vault, ACME, index, size)
        verify_inclusion(leaf=leaf_hash(life.leaves[index]), index=index, size=size, hashes=hashes, root=root)
        for first, first_root in life.heads:
            if first:
                growth = await proofs.consistency_proof(life.vault, ACME, first, size)
                verify_consistency(first=first, second=size, first_root=first_root, second_root=root, hashes=growth)
    return life


def verdict(url: str) -> Verdict:
    with reading(url) as reader:
        return verify_dump(reader.lines(ACME, origin=f"{SIGNER.name}/{ACME}"), SIGNER.verifier(), log=ACME)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, data=st.data())
def test_whatever_happened_to_a_log_it_verifies_and_one_edit_is_found(
    migrated_url: str, operations: list[tuple[str, int]], data: Any
) -> None:
    life = asyncio.run(lived(migrated_url, operations, data))
    sound = verdict(migrated_url)

    index = data.draw(st.integers(0, len(life.leaves) - 1))
    removed = data.draw(st.booleans())
    asyncio.run(edited(migrated_url, index, None if removed else life.leaves[index].replace(b"ALLOWED", b"REFUSED")))
    after = verdict(migrated_url)

    assert (sound.exit_code, sound.entries) == (0, len(life.leaves))
    assert after.exit_code == (2 if removed and index == len(life.leaves) - 1 else 1)
    assert after.first_bad_index is None or after.first_bad_index >= index


async def edited(url: str, index: int, content: bytes | None) -> None:
    there = (audit_entries.c.tenant_id == ACME) & (audit_entries.c.entry_index == index)
    async with opened(url) as database, database.write() as connection:
        if content is None:
            await connection.execute(delete(audit_entries).where(there))
        else:
            await connection.execute(update(audit_entries).where(there).values(entry=content))


@pytest.mark.parametrize("entries", [0, 1])
def test_a_log_that_hardly_is_verifies(migrated_url: str, entries: int) -> None:
    async def prepare() -> None:
        async with opened(migrated_url) as database:
            life = await begun(database)
            if entries:
                await life.append(entries)
            await life.sign()

    asyncio.run(prepare())

    assert verdict(migrated_url).exit_code == 0


def test_dump_lines_are_those_of_the_database(migrated_url: str) -> None:
    async def prepare() -> list[bytes]:
        async with opened(migrated_url) as database:
            life = await begun(database)
            await life.append(3)
            return life.leaves

    leaves = asyncio.run(prepare())
    with reading(migrated_url) as reader:
        lines = list(reader.lines(ACME, origin="o"))

    assert lines == list(dump_lines(log=ACME, origin="o", entries=enumerate(leaves), checkpoints=[], size=3))
