"""Tokens in the place of people: a party of a record that stays, of whom nothing is left but a random id (A23).

A tokenised part keeps its row, so that everybody sees that there was such a party and that it was the same one as in other records; `sealed` is
empty, which no sealed part is. The id leads nowhere once the person's identities, keys and index entries are gone, and nothing can undo that.
"""

from collections.abc import Sequence

from sqlalchemy import bindparam, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.records import delete_index_roles
from vault.store.tables import record_parts


async def tokenise_parts(connection: AsyncConnection, tenant: str, parts: Sequence[tuple[str, str]]) -> None:
    """Leave of each part, named by (record, role), a token only; what led to it in the index goes in the same transaction."""
    if not parts:
        return
    statement = (
        update(record_parts)
        .where(
            record_parts.c.tenant_id == tenant,
            record_parts.c.record_id == bindparam("b_record"),
            record_parts.c.role == bindparam("b_role"),
        )
        .values(sealed=b"", key_version=0)
    )
    await connection.execute(statement, [{"b_record": record, "b_role": role} for record, role in parts])
    await delete_index_roles(connection, tenant, parts)
