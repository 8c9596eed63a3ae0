"""Entries of the erasure ledger: what must not come back with a backup. Pure: no clock, no files, no database.

Rules:
- An entry names nobody: the person is the HMAC of an opaque id under the ledger's own key, which opens nothing else.
- Entries are numbered from 1 and chained: each holds the digest of the one before it, so that one taken out, put in or moved is noticed.
- Each carries an HMAC under another key of the ledger: whoever can write files but has no key makes no entry.
- An entry is the one canonical form of what it says; anything else is refused.

A chain does not show that its end was cut off; the number that the database noted does (`operations/ledger.py`).
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from vault import crypto
from vault.errors import DataLossError
from vault.names import SYSTEM_LOG

FORMAT = "pii-vault/ledger/1"
# What stands before the first entry.
START = "0" * 64


class Kind(StrEnum):
    """What was ended for good."""

    ERASURE = "ERASURE"
    TERMINATION = "TERMINATION"


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """The two keys that are derived from the ledger's key: one makes entries, the other makes tokens of people.

    Args:
        mac: 32 bytes.
        token: 32 bytes.
    """

    mac: bytes = field(repr=False)
    token: bytes = field(repr=False)

    @staticmethod
    def derived(material: bytes) -> "LedgerKey":
        """Both keys from 32 random bytes (HKDF-SHA-256, RFC 5869)."""
        made = (crypto.derive_index_key(material, tenant=SYSTEM_LOG, kind=kind) for kind in ("ledger-mac", "ledger-token"))
        return LedgerKey(*made)

    def token_of(self, subject: str) -> str:
        """What stands for a person, `tenants/{tenant}/subjects/{subject}`: HMAC-SHA-256 as 64 hex digits."""
        return crypto.index_token(self.token, subject).hex()


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One erasure or termination.

    Attributes:
        sequence: from 1, without a gap.
        previous: SHA-256 of the bytes of the entry before, as hex digits.
        tenant: id of the tenant.
        subject_token: the person, as a token; empty for a termination.
        erasure: id of the erasure, or of the termination.
        cut_off: whoever came later is somebody else.
        keys: versions of the person's key that were to be destroyed.
        categories: what was known of the person.
        requester: as what kind it was asked for, which says what it reaches; empty for a termination.
        terms: what a termination was agreed to be; empty for an erasure, and then not in the bytes.
    """

    kind: Kind
    tenant: str
    subject_token: str
    erasure: str
    cut_off: datetime
    keys: Sequence[int] = ()
    categories: Sequence[str] = ()
    requester: str = ""
    terms: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0
    previous: str = START

    def after(self, sequence: int, previous: str) -> "LedgerEntry":
        """The entry, behind the one of this number and digest."""
        return replace(self, sequence=sequence + 1, previous=previous)


def encode(entry: LedgerEntry, key: LedgerKey) -> bytes:
    """The bytes of an entry: one line of canonical JSON with the HMAC of all its other members."""
    members = {
        **asdict(entry),
        "format": FORMAT,
        "kind": entry.kind.value,
        "cut_off": entry.cut_off.astimezone(UTC).isoformat(timespec="microseconds"),
        "keys": list(entry.keys),
        "categories": list(entry.categories),
    }
    if not entry.terms:
        del members["terms"]
    return _line({**members, "mac": hmac.digest(key.mac, _line(members), hashlib.sha256).hex()})


def decode(content: bytes, key: LedgerKey, *, sequence: int, previous: str) -> LedgerEntry:
    """The entry that the bytes say, at this place of the chain.

    Raises:
        DataLossError: LEDGER_CORRUPT, it is not what the vault wrote at this place.
    """
    try:
        members = json.loads(content)
        del members["mac"], members["format"]
        entry = LedgerEntry(
            **{
                **members,
                "kind": Kind(members["kind"]),
                "cut_off": datetime.fromisoformat(members["cut_off"]),
                "keys": tuple(members["keys"]),
                "categories": tuple(members["categories"]),
            }
        )
        intact = hmac.compare_digest(encode(entry, key), content)
    except (ValueError, TypeError, KeyError, AttributeError):
        intact = False
    if not intact or (entry.sequence, entry.previous) != (sequence, previous):
        raise DataLossError("LEDGER_CORRUPT", "an entry of the erasure ledger is not what was written there", entry=str(sequence))
    return entry


def digest(content: bytes) -> str:
    """What the next entry names this one by."""
    return hashlib.sha256(content).hexdigest()


def encode_pruned(sequence: int, previous: str, key: LedgerKey) -> bytes:
    """What is left of entries that were taken away: the number and the digest of the last of them, with an HMAC."""
    members = {"format": FORMAT, "pruned": sequence, "previous": previous}
    return _line({**members, "mac": hmac.digest(key.mac, _line(members), hashlib.sha256).hex()})


def decode_pruned(content: bytes, key: LedgerKey) -> tuple[int, str]:
    """(number, digest) of the last entry that was taken away.

    Raises:
        DataLossError: LEDGER_CORRUPT.
    """
    try:
        members = json.loads(content)
        sequence, previous = int(members["pruned"]), str(members["previous"])
        intact = hmac.compare_digest(encode_pruned(sequence, previous, key), content)
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact:
        raise DataLossError("LEDGER_CORRUPT", "the erasure ledger does not say rightly which entries were taken away")
    return sequence, previous


def _line(members: dict[str, object]) -> bytes:
    return json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
