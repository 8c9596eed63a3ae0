"""Proofs in a stranger's hands: one file that says what was recorded, checked with nothing but the operator's public key (I8).

The file is a C2SP tlog-proof: the entry's bytes as extra data, its index, the hashes of RFC 9162 §2.1.3, and the checkpoint that they lead to.
It shares no code with the writer but the check of a note's signature. Pure; no I/O.

What a proof shows: the operator signed a log in which this entry stands at this place. That the entry is true is the operator's word; that the
log holds nothing else is what `verify.py` shows.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vault.audit.armour import unarmoured
from vault.audit.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from vault.audit.cosignature import WitnessVerifier, cosigned_at
from vault.errors import DataLossError

_MAGIC = "c2sp.org/tlog-proof@v1"
_HASH_BYTES = 32
# A path of a tree with more than 2**63 leaves.
_MAX_HASHES = 63


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows.

    Attributes:
        entry: members of the entry.
        checkpoint: the signed head that it is in.
        cosigners: names of the witnesses, with the time at which they saw the head, in seconds of Unix time.
    """

    log: str
    index: int
    entry: dict[str, object]
    checkpoint: Checkpoint
    cosigners: Mapping[str, int]


def proof_text(*, entry: bytes, index: int, hashes: Sequence[bytes], checkpoint: str) -> str:
    """The proof file, in the form of C2SP tlog-proof."""
    lines = [_MAGIC, f"extra {_encoded(entry)}", f"index {index}", *map(_encoded, hashes)]
    return "\n".join(lines) + f"\n\n{checkpoint}"


def check_proof(text: str, keys: Sequence[NoteVerifier], *, witnesses: Sequence[WitnessVerifier] = ()) -> Proven:
    """Check a proof file.

    Args:
        text: the file.
        keys: the operator's key, and those that took over from it.
        witnesses: keys of independent cosigners; each of them has to have signed.
    Raises:
        DataLossError: PROOF_INVALID; NOTE_INVALID or CHECKPOINT_INVALID, the checkpoint does not hold.
    """
    entry, index, hashes, note = _parsed(text)
    checkpoint = _opened(note, keys)
    verify_inclusion(leaf=hashlib.sha256(b"\x00" + entry).digest(), index=index, size=checkpoint.size, hashes=hashes, root=checkpoint.root)
    try:
        members = json.loads(entry)
    except ValueError:
        members = None
    vault_name, _, log = checkpoint.origin.rpartition("/")
    if not isinstance(members, dict) or vault_name != keys[0].name or members.get("log") != log or members.get("index") != index:
        raise _invalid("the entry names another place than the one it is proved for")
    return Proven(log, index, members, checkpoint, {key.name: _cosigned(note, key) for key in witnesses})


def verify_inclusion(*, leaf: bytes, index: int, size: int, hashes: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 §2.1.3.2.

    Raises:
        DataLossError: PROOF_INVALID.
    """
    if not 0 <= index < size or len(leaf) != _HASH_BYTES:
        raise _invalid("the entry is not in a log of that size")
    node, last, found = index, size - 1, leaf
    for sibling in hashes:
        if last == 0:
            raise _invalid("the proof is too long")
        if node & 1 or node == last:
            found = _node(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = _node(found, sibling)
        node, last = node >> 1, last >> 1
    if last or found != root:
        raise _invalid("the entry does not lead to the signed root")


def verify_consistency(  # noqa: C901 - as the RFC has it
    *, first: int, second: int, first_root: bytes, second_root: bytes, hashes: Sequence[bytes]
) -> None:
    """RFC 9162 §2.1.4.2. From the empty tree everything grows, and there is no proof of it.

    Raises:
        DataLossError: PROOF_INVALID.
    """
    if not 0 < first <= second:
        raise _invalid("a log does not grow from that size to that")
    if first == second:
        if hashes or first_root != second_root:
            raise _invalid("two heads of one size differ")
        return
    path = list(hashes) if first & (first - 1) else [first_root, *hashes]
    if not path:
        raise _invalid("the proof is empty")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _invalid("the proof is too long")
        if node & 1 or node == last:
            before, after = _node(sibling, before), _node(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = _node(after, sibling)
        node, last = node >> 1, last >> 1
    if last or before != first_root or after != second_root:
        raise _invalid("the log did not only grow between the two heads")


def _parsed(text: str) -> tuple[bytes, int, list[bytes], str]:
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    try:
        magic, extra, index, *hashes = lines
        entry = unarmoured(extra.removeprefix("extra "))
        place = index.removeprefix("index ")
        path = [unarmoured(line) for line in hashes]
    except (ValueError, binascii.Error):
        raise _invalid("the file is not a proof") from None
    well_formed = (
        separator
        and magic == _MAGIC
        and extra.startswith("extra ")
        and index.startswith("index ")
        and place.isascii()
        and place.isdecimal()
        and str(int(place)) == place
        and len(path) <= _MAX_HASHES
        and all(len(digest) == _HASH_BYTES for digest in path)
    )
    if not well_formed:
        raise _invalid("the file is not a proof")
    return entry, int(place), path, note


def _opened(note: str, keys: Sequence[NoteVerifier]) -> Checkpoint:
    """The checkpoint, by whichever of the keys signed it."""
    for key in keys[:-1]:
        try:
            return open_checkpoint(note, key)
        except DataLossError:
            continue
    return open_checkpoint(note, keys[-1])


def _cosigned(note: str, witness: WitnessVerifier) -> int:
    seconds = cosigned_at(note, witness)
    if seconds is None:
        raise _invalid("a witness did not sign the checkpoint")
    return seconds


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _invalid(message: str) -> DataLossError:
    return DataLossError("PROOF_INVALID", message)
