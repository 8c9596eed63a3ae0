"""Does the operator's log agree with a package? From a dump of the log (`pii-vault audit dump`) and the signed manifest alone.

- The first entries, as many as the manifest says there were, have the root that the manifest names (RFC 9162 §2.1.1).
- The records that the log says were exported under the order are as many, in each category, as the package holds: none left on the way that the
  recipient did not get, and none was taken besides.

Whether the log is the one that was published is another question: `pii-vault audit verify` answers it.

Part of the verifier: shares no code with the writer.
"""

import base64
import binascii
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

from vault.bundle.verdict import Code, Finding, Manifest


def check_log(lines: Iterable[str], manifest: Manifest) -> Iterator[Finding]:
    """What of the log does not fit the package."""
    root, size = _Root(), 0
    exported: dict[str, set[str]] = defaultdict(set)
    try:
        for content in _entries(lines, manifest.audit_log):
            if size < manifest.audit_size:
                root.add(content)
            size += 1
            _note_exported(json.loads(content), manifest, exported)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        yield Finding(Code.LOG_MISMATCH, f"entry {size} of the log cannot be read")
        return
    if size < manifest.audit_size or root.value() != manifest.audit_root:
        yield Finding(Code.LOG_MISMATCH, "the log does not have the head that was signed")
    for category, count in manifest.counts.items():
        if len(exported[category]) != count:
            yield Finding(Code.LOG_MISMATCH, f"the log names {len(exported[category])} records of {category}")


def _entries(lines: Iterable[str], log: str) -> Iterator[bytes]:
    """The bytes of each entry, in order."""
    numbered = iter(lines)
    if json.loads(next(numbered, "null"))["log"] != log:
        raise ValueError
    index = 0
    for line in numbered:
        members = json.loads(line)
        if members.keys() == {"c"} and not index:
            continue
        if members["i"] != index:
            raise ValueError
        index += 1
        yield base64.b64decode(members["e"], validate=True)


def _note_exported(entry: dict[str, object], manifest: Manifest, exported: dict[str, set[str]]) -> None:
    resource, records, category = str(entry.get("resource")), entry.get("records"), str(entry.get("category"))
    is_ours = (
        entry.get("operation") == "export" and entry.get("decision") == "ALLOWED" and resource.endswith(f"/orders/{manifest.order_id}")
    )
    if is_ours and isinstance(records, list):
        exported[category].update(records)


class _Root:
    """Root of a growing tree, by a stack of (height, hash)."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, bytes]] = []

    def add(self, content: bytes) -> None:
        height, digest = 0, hashlib.sha256(b"\x00" + content).digest()
        while self._stack and self._stack[-1][0] == height:
            digest = hashlib.sha256(b"\x01" + self._stack.pop()[1] + digest).digest()
            height += 1
        self._stack.append((height, digest))

    def value(self) -> str:
        if not self._stack:
            return hashlib.sha256(b"").hexdigest()
        digest = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            digest = hashlib.sha256(b"\x01" + left + digest).digest()
        return digest.hex()
