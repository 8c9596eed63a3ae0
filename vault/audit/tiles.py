"""Which hashes a proof consists of, and the tiles that keep them, so that no proof reads the log. Pure: no clock, no database.

Rules:
- A tile is made of 64 entries: their leaf hashes, and the roots of every perfect subtree that its last leaf completes. It is written once.
- So each node above a tile stands in exactly one tile, the last one below it; a proof reads one row for each, and at most 63 leaves besides.
- Tiles outlive the entries that retention removes: old proofs can still be made, and still hold.

Source of the proofs: RFC 9162 §2.1.3 and §2.1.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vault.audit.merkle import HASH_BYTES, Frontier, node_hash
from vault.errors import DataLossError, InvalidArgumentError

TILE_LEVEL = 6
TILE_LEAVES = 1 << TILE_LEVEL


@dataclass(frozen=True, slots=True)
class Span:
    """Leaves from `start` to before `end`, whose root is one hash of a proof."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """The root of the perfect subtree over the leaves from `index << level` to before `index + 1 << level`."""

    level: int
    index: int

    @property
    def tile(self) -> int:
        """The tile that keeps it: the one that its last leaf is in."""
        return ((self.index + 1) << self.level) - 1 >> TILE_LEVEL


@dataclass(frozen=True, slots=True)
class Tile:
    """A row of 64 leaf hashes, and the nodes that they complete, from level 6 upwards."""

    index: int
    leaves: bytes
    nodes: bytes

    def leaf(self, index: int) -> bytes:
        """Hash of one of its leaves, by index in the log."""
        return _hash_at(self.leaves, index % TILE_LEAVES)

    def node(self, level: int) -> bytes:
        """Node of a level that this tile completes.

        Raises:
            DataLossError: LOG_CORRUPT, the tile is not what it should be.
        """
        return _hash_at(self.nodes, level - TILE_LEVEL)


def inclusion_path(index: int, size: int) -> list[Span]:
    """Spans whose roots prove that a leaf is in the tree of a size, from the leaf up.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the leaf is not in that tree.
    """
    if not 0 <= index < size:
        raise InvalidArgumentError("FIELD_INVALID", "the tree of that size does not hold the entry", field="tree_size")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start = middle
    return path[::-1]


def consistency_path(first: int, second: int) -> list[Span]:
    """Spans whose roots prove that the tree of the second size begins with the tree of the first.

    Raises:
        InvalidArgumentError: FIELD_INVALID, the sizes are none, or in the wrong order.
    """
    if not 0 < first <= second:
        raise InvalidArgumentError("FIELD_INVALID", "the first size is not between one and the second", field="from_size")
    path, start, end, is_whole = [], 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(Span(middle, end))
            end = middle
        else:
            path.append(Span(start, middle))
            start, is_whole = middle, False
    return (path if is_whole else [*path, Span(start, end)])[::-1]


def perfect_nodes(span: Span) -> list[Node]:
    """The perfect subtrees that a span of a proof consists of, from left to right; the largest come first."""
    nodes, start = [], span.start
    while start < span.end:
        level = (span.end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Root over perfect subtrees from left to right."""
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def perfect_root(leaves: Sequence[bytes]) -> bytes:
    """Root over a power of two of leaf hashes."""
    level = list(leaves)
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def next_tile(below: Frontier, leaves: Sequence[bytes]) -> tuple[Tile, Frontier]:
    """The tile that follows others, and the frontier after it.

    Args:
        below: the frontier of a tree whose leaves are the roots of the tiles before.
        leaves: 64 leaf hashes.
    """
    carried, lower, peaks = perfect_root(leaves), below.size, list(below.peaks)
    nodes = [carried]
    while lower & 1:
        carried = node_hash(peaks.pop(), carried)
        nodes.append(carried)
        lower >>= 1
    return Tile(below.size, b"".join(leaves), b"".join(nodes)), Frontier(below.size + 1, (*peaks, carried))


def peaks(size: int) -> list[Node]:
    """The perfect subtrees of a tree of a size: where its frontier is found among the nodes."""
    return perfect_nodes(Span(0, size))


def _split(width: int) -> int:
    """The largest power of two below a width."""
    return 1 << (width - 1).bit_length() - 1


def _hash_at(hashes: bytes, position: int) -> bytes:
    found = hashes[position * HASH_BYTES : (position + 1) * HASH_BYTES]
    if position < 0 or len(found) != HASH_BYTES:
        raise DataLossError("LOG_CORRUPT", "a tile of the audit log is damaged")
    return found
