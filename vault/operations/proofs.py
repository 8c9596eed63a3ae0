"""Proofs that an entry is in a log, and that a log only grew; and the tiles that they are made of.

Rules:
- Tiles are made off the path of a release: before a head is signed, and when a proof wants one that is missing.
- What the tiles and the entries after them hash to has to be the head that the writer kept. If it is not, somebody wrote into the log behind the
  vault's back: LOG_CORRUPT, and nothing is signed.
"""

from collections.abc import Iterable, Mapping, Sequence

from vault.audit.merkle import Frontier, leaf_hash
from vault.audit.tiles import (
    TILE_LEAVES,
    TILE_LEVEL,
    Node,
    Span,
    Tile,
    consistency_path,
    inclusion_path,
    next_tile,
    peaks,
    perfect_nodes,
    perfect_root,
    root_of,
)
from vault.errors import DataLossError, InvalidArgumentError, NotFoundError
from vault.operations.core import Vault
from vault.store import audit as audit_store
from vault.store import restore_notes as note_store
from vault.store import tiles as tile_store
from vault.store.database import Connection

# Tiles made in one transaction: some 4,000 entries.
_AT_ONCE = 64


async def inclusion_proof(vault: Vault, log: str, index: int, size: int) -> list[bytes]:
    """Hashes that lead from an entry to the root of the tree of a size, from the leaf up (RFC 9162 §2.1.3).

    Raises:
        NotFoundError: TENANT_NOT_FOUND; ENTRY_LOST_IN_RESTORE, the log was that long before a restore from backup.
        InvalidArgumentError: FIELD_INVALID, the log never had that size, or the tree of that size does not hold the entry.
        DataLossError: LOG_CORRUPT.
    """
    await _check_lost(vault, log, max(index + 1, size))
    return await _proof(vault, log, inclusion_path(index, size), size, field="tree_size")


async def consistency_proof(vault: Vault, log: str, first: int, second: int) -> list[bytes]:
    """Hashes that show that the tree of the second size begins with the tree of the first (RFC 9162 §2.1.4).

    Raises:
        NotFoundError: TENANT_NOT_FOUND; ENTRY_LOST_IN_RESTORE, the log was that long before a restore from backup.
        InvalidArgumentError: FIELD_INVALID, the log never had that size, or the sizes are in the wrong order.
        DataLossError: LOG_CORRUPT.
    """
    await _check_lost(vault, log, second)
    return await _proof(vault, log, consistency_path(first, second), second, field="to_size")


async def _check_lost(vault: Vault, log: str, size: int) -> None:
    async with vault.database.read() as connection:
        head = await audit_store.head(connection, log)
        is_lost = head is not None and head[0] < size <= await note_store.published_size(connection, log)
    if is_lost:
        raise NotFoundError("ENTRY_LOST_IN_RESTORE", "the log was that long before it was restored from a backup")


async def _proof(vault: Vault, log: str, path: Sequence[Span], size: int, *, field: str) -> list[bytes]:
    async with vault.database.read() as connection:
        head = await audit_store.head(connection, log)
    if head is None:
        raise NotFoundError("TENANT_NOT_FOUND", "no such log")
    if size > head[0]:
        raise InvalidArgumentError("FIELD_INVALID", "the log is not that long", field=field, limit=str(head[0]))
    await make_tiles(vault, log)
    async with vault.database.read() as connection:
        return await roots(connection, log, path)


async def make_tiles(vault: Vault, log: str) -> None:
    """Make every tile that can be made, some in each transaction, so that nobody waits long for a writer."""
    while True:
        async with vault.database.read() as connection:
            if not await _missing(connection, log):
                return
        async with vault.database.write() as connection:
            await _make_some(connection, log)


async def make_last_tiles(connection: Connection, log: str) -> None:
    """Make the tiles that are missing, in a transaction that holds the head."""
    while await _missing(connection, log):
        await _make_some(connection, log)


async def _missing(connection: Connection, log: str) -> int:
    head = await audit_store.head(connection, log)
    return (head[0] // TILE_LEAVES if head else 0) - await tile_store.count_tiles(connection, log)


async def _make_some(connection: Connection, log: str) -> None:
    made = await tile_store.count_tiles(connection, log)
    wanted, tiles = min(await _missing(connection, log), _AT_ONCE), list[Tile]()
    leaves = await _leaves(connection, log, start=made * TILE_LEAVES, count=wanted * TILE_LEAVES)
    # The tree of the tiles' roots is the upper part of the tree of the entries.
    below = Frontier(made, await _frontier(connection, log, made * TILE_LEAVES))
    for start in range(0, len(leaves), TILE_LEAVES):
        tile, below = next_tile(below, leaves[start : start + TILE_LEAVES])
        tiles.append(tile)
    if tiles:
        await tile_store.insert_tiles(connection, log, tiles)


async def check_head(connection: Connection, log: str, head: Frontier) -> None:
    """Compare what is stored with the head that the writer kept.

    Raises:
        DataLossError: LOG_CORRUPT, entries were changed, removed or added since the tiles below them were made.
    """
    if await _frontier(connection, log, head.size) != head.peaks:
        raise DataLossError("LOG_CORRUPT", "the entries of the audit log do not hash to its head")


async def check_span(connection: Connection, log: str, start: int, end: int) -> None:
    """Compare entries with the tiles that were made of them.

    Raises:
        DataLossError: LOG_CORRUPT, the entries are not those that the tiles were made of.
    """
    leaves = await _leaves(connection, log, start=start, count=end - start)
    tiles = await tile_store.read_tiles(connection, log, range(start // TILE_LEAVES, end // TILE_LEAVES), leaves=True)
    if b"".join(leaves) != b"".join(tiles[index].leaves for index in sorted(tiles)):
        raise DataLossError("LOG_CORRUPT", "the entries of the audit log are not those that its tiles were made of")


async def removed_leaves(connection: Connection, log: str, start: int, end: int) -> list[bytes]:
    """Hashes of entries that may have been removed; the tiles they are in were made before.

    Raises:
        DataLossError: LOG_CORRUPT, a tile is missing.
    """
    indexes = range(start, end)
    tiles = await tile_store.read_tiles(connection, log, {index // TILE_LEAVES for index in indexes}, leaves=True)
    if any(index // TILE_LEAVES not in tiles for index in indexes):
        raise _corrupt()
    return [tiles[index // TILE_LEAVES].leaf(index) for index in indexes]


async def root_at(connection: Connection, log: str, size: int) -> bytes:
    """Root of the tree of an earlier size.

    Raises:
        DataLossError: LOG_CORRUPT.
    """
    return (await roots(connection, log, [Span(0, size)]))[0] if size else Frontier.empty().root()


async def roots(connection: Connection, log: str, spans: Iterable[Span]) -> list[bytes]:
    """Root of each span: a row for each node above a tile, and the rest of the last tile's leaves.

    Raises:
        DataLossError: LOG_CORRUPT.
    """
    parts = [perfect_nodes(span) for span in spans]
    hashes = await _hashes(connection, log, {node for nodes in parts for node in nodes})
    return [root_of([hashes[node] for node in nodes]) for nodes in parts]


async def _frontier(connection: Connection, log: str, size: int) -> tuple[bytes, ...]:
    """Roots of the perfect subtrees of the tree of a size, largest first."""
    nodes = peaks(size)
    hashes = await _hashes(connection, log, set(nodes))
    return tuple(hashes[node] for node in nodes)


async def _hashes(connection: Connection, log: str, nodes: set[Node]) -> Mapping[Node, bytes]:
    high = {node for node in nodes if node.level >= TILE_LEVEL}
    low = nodes - high
    above = await tile_store.read_tiles(connection, log, {node.tile for node in high}, leaves=False) if high else {}
    below = await tile_store.read_tiles(connection, log, {node.tile for node in low}, leaves=True) if low else {}
    hashes: dict[Node, bytes] = {}
    for node in high:
        if node.tile not in above:
            raise _corrupt()
        hashes[node] = above[node.tile].node(node.level)
    for node in low:
        start, count = node.index << node.level, 1 << node.level
        if node.tile in below:
            leaves = [below[node.tile].leaf(index) for index in range(start, start + count)]
        else:
            leaves = await _leaves(connection, log, start=start, count=count)
        hashes[node] = perfect_root(leaves)
    return hashes


async def _leaves(connection: Connection, log: str, *, start: int, count: int) -> list[bytes]:
    entries = await audit_store.entries(connection, log, start=start, limit=count)
    if [index for index, _ in entries] != list(range(start, start + count)):
        raise _corrupt()
    return [leaf_hash(content) for _, content in entries]


def _corrupt() -> DataLossError:
    return DataLossError("LOG_CORRUPT", "an entry or a tile of the audit log is missing")
