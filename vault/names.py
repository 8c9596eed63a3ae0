"""Resource names: parse and format. Pure strings, no look-ups.

Rules:
- Ids are random 128-bit values in lower-case base32 (26 characters); they never derive from personal data, because names end up in spans,
  logs and audit entries for ever. Tenant ids are chosen by the operator.
- A name that does not parse is `NAME_INVALID`; the message repeats the expected pattern, never the input (it may hold anything).
- `system` is the log of what belongs to no tenant; no tenant can be called that.
"""

import base64
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from vault.errors import InvalidArgumentError

SYSTEM_LOG = "system"

TENANT_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
_ID = re.compile(r"[a-z2-7]{26}")
# Lists are named by the tenant's own application; only opaque tokens are accepted, so that no sentence about a person ends up in a name.
LIST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_id(randomness: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh resource id: 128 random bits, 26 characters of lower-case base32."""
    return base64.b32encode(randomness(16)).decode("ascii").rstrip("=").lower()


@dataclass(frozen=True, slots=True)
class TenantName:
    """`tenants/{tenant}`."""

    tenant: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}"


@dataclass(frozen=True, slots=True)
class SubjectName:
    """`tenants/{tenant}/subjects/{subject}`."""

    tenant: str
    subject: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/subjects/{self.subject}"


@dataclass(frozen=True, slots=True)
class RecordName:
    """`tenants/{tenant}/subjects/{subject}/records/{record}`."""

    tenant: str
    subject: str
    record: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/subjects/{self.subject}/records/{self.record}"


@dataclass(frozen=True, slots=True)
class ChildName:
    """`tenants/{tenant}/{collection}/{id}`: erasures, orders, customerRequests, imports, keyRotations. Without a tenant for what is the vault's."""

    tenant: str
    collection: str
    id: str

    def __str__(self) -> str:
        return f"{self.collection}/{self.id}" if self.tenant == SYSTEM_LOG else f"tenants/{self.tenant}/{self.collection}/{self.id}"


@dataclass(frozen=True, slots=True)
class ExportName:
    """`tenants/{tenant}/orders/{order}/exports/{export}`."""

    tenant: str
    order: str
    export: str

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/orders/{self.order}/exports/{self.export}"


def parse_tenant(name: str, *, field: str = "parent") -> TenantName:
    """Parse `tenants/{tenant}`.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    parts = _split(name, "tenants/{tenant}", field)
    return TenantName(_tenant(parts[1], field))


def parse_subject(name: str, *, field: str = "name") -> SubjectName:
    """Parse `tenants/{tenant}/subjects/{subject}`.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    parts = _split(name, "tenants/{tenant}/subjects/{subject}", field)
    return SubjectName(_tenant(parts[1], field), _id(parts[3], field))


def parse_record(name: str, *, field: str = "name") -> RecordName:
    """Parse `tenants/{tenant}/subjects/{subject}/records/{record}`.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    parts = _split(name, "tenants/{tenant}/subjects/{subject}/records/{record}", field)
    return RecordName(_tenant(parts[1], field), _id(parts[3], field), _id(parts[5], field))


def parse_child(name: str, collection: str, *, field: str = "name") -> ChildName:
    """Parse `tenants/{tenant}/{collection}/{id}`.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    parts = _split(name, f"tenants/{{tenant}}/{collection}/{{id}}", field)
    return ChildName(_tenant(parts[1], field), collection, _id(parts[3], field))


def parse_rotation(name: str, *, field: str = "name") -> ChildName:
    """Parse `tenants/{tenant}/keyRotations/{rotation}`, or `keyRotations/{rotation}` for the vault's own keys.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    if not name.startswith("keyRotations/"):
        return parse_child(name, "keyRotations", field=field)
    return ChildName(SYSTEM_LOG, "keyRotations", _id(_split(name, "keyRotations/{rotation}", field)[1], field))


def parse_incident(name: str, *, field: str = "name") -> ChildName:
    """Parse `tenants/{tenant}/incidents/{incident}`, or `incidents/{incident}` of what belongs to no tenant.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    if not name.startswith("incidents/"):
        return parse_child(name, "incidents", field=field)
    return ChildName(SYSTEM_LOG, "incidents", _id(_split(name, "incidents/{incident}", field)[1], field))


def parse_entry(name: str, *, field: str = "name") -> tuple[str, int]:
    """Log and index of `tenants/{tenant}/auditEntries/{index}`, or of `auditEntries/{index}` of the system log.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    if name.startswith("auditEntries/"):
        return SYSTEM_LOG, _index(_split(name, "auditEntries/{index}", field)[1], field)
    parts = _split(name, "tenants/{tenant}/auditEntries/{index}", field)
    return _tenant(parts[1], field), _index(parts[3], field)


def parse_export(name: str, *, field: str = "name") -> ExportName:
    """Parse `tenants/{tenant}/orders/{order}/exports/{export}`.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    parts = _split(name, "tenants/{tenant}/orders/{order}/exports/{export}", field)
    return ExportName(_tenant(parts[1], field), _id(parts[3], field), _id(parts[5], field))


def check_tenant_id(tenant_id: str, *, field: str = "tenant_id") -> str:
    """Check an operator-chosen tenant id.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    return _tenant(tenant_id, field)


def check_list_id(list_id: str, *, field: str = "list") -> str:
    """Check a tenant-chosen distribution list id: 1 to 64 of letters, digits, `.`, `_`, `-`.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    if not LIST_ID.fullmatch(list_id):
        raise InvalidArgumentError("NAME_INVALID", "list id is not 1 to 64 letters, digits, '.', '_' or '-'", field=field)
    return list_id


def _split(name: str, pattern: str, field: str) -> list[str]:
    wanted, parts = pattern.split("/"), name.split("/")
    literal = all(w == p for w, p in zip(wanted, parts, strict=False) if not w.startswith("{"))
    if len(wanted) != len(parts) or not literal:
        raise InvalidArgumentError("NAME_INVALID", f"name is not of the form {pattern}", field=field)
    return parts


def _tenant(part: str, field: str) -> str:
    if part == SYSTEM_LOG or not TENANT_ID.fullmatch(part):
        raise InvalidArgumentError("NAME_INVALID", "tenant id is not of the form [a-z][a-z0-9-]*[a-z0-9]", field=field)
    return part


def _id(part: str, field: str) -> str:
    if not _ID.fullmatch(part):
        raise InvalidArgumentError("NAME_INVALID", "resource id is not 26 characters of base32", field=field)
    return part


def _index(part: str, field: str) -> int:
    # One spelling, and nothing that a database would not hold.
    if not (part.isascii() and part.isdecimal() and str(int(part[:20])) == part and int(part) < 1 << 63):
        raise InvalidArgumentError("NAME_INVALID", "index is not a whole number", field=field)
    return int(part)
