"""Merkle arithmetic of the log: leaf and node hashes and the compact range of a growing tree.

Source: RFC 9162 §2.1 (the same tree as RFC 6962). Pure: no clock, no database.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from vault.errors import DataLossError

HASH_BYTES = 32
_SIZE_BYTES = 8


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """What has to be remembered of a tree to make it grow: its size and the roots of its perfect subtrees, largest first.

    There is one subtree per one-bit of the size, so a log of a million entries needs at most twenty hashes.
    """

    size: int
    peaks: tuple[bytes, ...]

    @staticmethod
    def empty() -> "Frontier":
        """The frontier of an empty tree."""
        return Frontier(0, ())

    def extend(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after more leaves."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaf_hashes:
            carried, lower = leaf, size
            while lower & 1:
                carried = node_hash(peaks.pop(), carried)
                lower >>= 1
            peaks.append(carried)
            size += 1
        return Frontier(size, tuple(peaks))

    def root(self) -> bytes:
        """Root hash of the tree; of the empty tree, SHA-256 of nothing."""
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def to_bytes(self) -> bytes:
        """Size (8, big endian) | peaks (32 each)."""
        return self.size.to_bytes(_SIZE_BYTES) + b"".join(self.peaks)

    @staticmethod
    def from_bytes(data: bytes) -> "Frontier":
        """Inverse of `to_bytes`.

        Raises:
            DataLossError: LOG_CORRUPT.
        """
        size, rest = int.from_bytes(data[:_SIZE_BYTES]), data[_SIZE_BYTES:]
        if len(data) < _SIZE_BYTES or len(rest) != HASH_BYTES * size.bit_count():
            raise DataLossError("LOG_CORRUPT", "the head of the audit log is damaged")
        return Frontier(size, tuple(rest[start : start + HASH_BYTES] for start in range(0, len(rest), HASH_BYTES)))
