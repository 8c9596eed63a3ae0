"""One entry of the audit log, and its bytes.

Rules:
- The bytes are canonical JSON: UTF-8, sorted keys, no white space, empty members left out. They are what the Merkle tree is over.
- Members are typed and allow-listed (L4; no free dictionaries): people appear as opaque ids, values never, the justification only sealed.
- An entry names its own log and index, so that it is out of place anywhere else.
- At most 64 KiB: one oversized entry must not break those who read the log.

Not here: hashing (`merkle.py`), storage, and the offline check (`verify.py`, which shares no code with this file).
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vault.audit.armour import unarmoured
from vault.errors import DataLossError, ResourceExhaustedError

FORMAT_VERSION = 1
MAX_ENTRY_BYTES = 64 * 1024

_TEXTS = (
    "log",
    "actor",
    "actor_kind",
    "on_behalf_of",
    "auth_method",
    "tenant",
    "method",
    "component",
    "operation",
    "category",
    "purpose",
    "reference",
    "consent_basis",
    "decision",
    "reason",
    "rule",
    "policy_version",
    "trace_id",
    "resource",
)
_LISTS = ("fields", "records", "subjects")
_KEYS = frozenset({"v", "index", "time", "count", "gagged", "justification", *_TEXTS, *_LISTS})
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What one call did or was refused, as it is kept for years. See docs/audit-log.md for every member and the clause behind it."""

    log: str
    index: int
    time: datetime
    actor: str
    actor_kind: str
    decision: str
    on_behalf_of: str = ""
    auth_method: str = ""
    tenant: str = ""
    method: str = ""
    component: str = ""
    operation: str = ""
    category: str = ""
    fields: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    count: int = 0
    purpose: str = ""
    reference: str = ""
    justification: bytes = field(default=b"", repr=False)
    consent_basis: str = ""
    reason: str = ""
    rule: str = ""
    policy_version: str = ""
    trace_id: str = ""
    resource: str = ""
    gagged: bool = False


def encode(entry: AuditEntry) -> bytes:
    """The bytes of an entry.

    Raises:
        ResourceExhaustedError: ENTRY_TOO_LARGE.
    """
    members: dict[str, object] = {"v": FORMAT_VERSION, "index": entry.index, "time": _time_text(entry.time)}
    for name in _TEXTS:
        if value := getattr(entry, name):
            members[name] = value
    for name in _LISTS:
        if value := getattr(entry, name):
            members[name] = value
    if entry.count:
        members["count"] = entry.count
    if entry.gagged:
        members["gagged"] = True
    if entry.justification:
        members["justification"] = base64.b64encode(entry.justification).decode()
    content = _dumps(members).encode()
    if len(content) > MAX_ENTRY_BYTES:
        raise ResourceExhaustedError("ENTRY_TOO_LARGE", "an audit entry is larger than its limit", limit=str(MAX_ENTRY_BYTES))
    return content


def decode(content: bytes) -> AuditEntry:
    """The entry that the bytes say, if they are exactly what `encode` writes.

    Raises:
        DataLossError: LOG_CORRUPT.
    """
    entry = peek(content)
    try:
        damaged = encode(entry) != content
    except (TypeError, AttributeError, ResourceExhaustedError):
        damaged = True
    if damaged:
        raise _corrupt()
    return entry


def peek(content: bytes) -> AuditEntry:
    """What the bytes say, **however they are spelled**: for readers of very many entries that give nothing of them out.

    Raises:
        DataLossError: LOG_CORRUPT.
    """
    try:
        members = json.loads(content)
        if not isinstance(members, dict) or members.keys() - _KEYS or members.pop("v") != FORMAT_VERSION:
            raise _corrupt()
        members["time"] = datetime.fromisoformat(members["time"])
        members["justification"] = unarmoured(members.get("justification", ""))
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in members.items()}
        return AuditEntry(**values)
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error):
        raise _corrupt() from None


def _corrupt() -> DataLossError:
    return DataLossError("LOG_CORRUPT", "an audit entry is not in its canonical form")


def _time_text(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
