"""Who may do what on PostgreSQL: the statements that an administrator runs after each migration.

Rules:
- The service inserts evidence and never updates or deletes it: what it was talked into, or who took it over, cannot rewrite the log.
- Pruning is another role, for a command that runs now and then; an auditor's role reads evidence and nothing else.
- Migrations are the owner's. None of the three may create, alter, truncate or drop anything.
"""

import re

from vault.errors import InvalidArgumentError
from vault.store.tables import metadata

# Written once and never again.
EVIDENCE = ("audit_entries", "audit_checkpoints", "audit_tiles", "audit_restores")
_PRUNINGS, _HEADS = "audit_prunings", "audit_heads"
# Which schema it is, and how old the code may be that serves it: a migration says so, and nobody else.
_SCHEMA = ("alembic_version", "schema_compatibility")
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def statements(*, service: str, pruning: str, auditor: str) -> list[str]:
    """GRANT and REVOKE for three roles that exist.

    Raises:
        InvalidArgumentError: FIELD_INVALID, a name that would have to be quoted, or one name twice.
    """
    names = {"service": service, "pruning": pruning, "auditor": auditor}
    for field, name in names.items():
        if not _ROLE.fullmatch(name):
            raise InvalidArgumentError("FIELD_INVALID", "a role is named in lower-case letters, digits and underscores", field=field)
    if len(set(names.values())) < len(names):
        raise InvalidArgumentError("FIELD_INVALID", "the three roles are different ones", field="pruning")
    tables = sorted(metadata.tables.keys() | set(_SCHEMA))
    others = [name for name in tables if name not in (*EVIDENCE, _PRUNINGS, _HEADS, *_SCHEMA)]
    lines = [f"REVOKE ALL ON {', '.join(tables)} FROM PUBLIC, {service}, {pruning}, {auditor};"]
    for role in (service, pruning):
        lines += [
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(others)} TO {role};",
            f"GRANT SELECT, INSERT, UPDATE ON {_HEADS} TO {role};",
            f"GRANT SELECT, INSERT ON {', '.join(EVIDENCE)} TO {role};",
            f"GRANT SELECT ON {', '.join((_PRUNINGS, *_SCHEMA))} TO {role};",
        ]
    lines += [
        f"GRANT DELETE ON audit_entries TO {pruning};",
        f"GRANT INSERT ON {_PRUNINGS} TO {pruning};",
        f"GRANT SELECT ON {', '.join((*EVIDENCE, _PRUNINGS, _HEADS))} TO {auditor};",
    ]
    return lines
