"""Imports: what was handled so far, and which rows were refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.store.tables import import_issues, imports, records


@dataclass(frozen=True, slots=True)
class ImportRow:
    """Progress of one import."""

    import_id: str
    row_count: int
    accepted_count: int
    duplicate_count: int
    state: str


@dataclass(frozen=True, slots=True)
class IssueRow:
    """Why one row of the file was refused."""

    line: int
    reason: str
    field: str


_IMPORT = (imports.c.import_id, imports.c.row_count, imports.c.accepted_count, imports.c.duplicate_count, imports.c.state)


async def find_import(connection: AsyncConnection, tenant: str, source_tokens: Sequence[bytes]) -> ImportRow | None:
    """The import of a file, known by one of several tokens, or None."""
    query = select(*_IMPORT).where(imports.c.tenant_id == tenant, imports.c.source_token.in_(source_tokens))
    row = (await connection.execute(query)).first()
    return ImportRow(*row) if row else None


async def locked_import(connection: AsyncConnection, tenant: str, import_id: str) -> ImportRow:
    """Progress of an import; the row stays locked, so that two attempts on one file cannot interleave."""
    query = select(*_IMPORT).where(imports.c.tenant_id == tenant, imports.c.import_id == import_id).with_for_update()
    return ImportRow(*(await connection.execute(query)).one())


async def insert_import(
    connection: AsyncConnection,
    tenant: str,
    import_id: str,
    *,
    source_token: bytes,
    file_token: bytes = b"",
    category: str,
    list_id: str,
    now: datetime,
    ingress: str = "TLS",
) -> None:
    """Start an import."""
    await connection.execute(
        insert(imports).values(
            tenant_id=tenant,
            import_id=import_id,
            source_token=source_token,
            file_token=file_token,
            category=category,
            list_id=list_id,
            ingress=ingress,
            row_count=0,
            accepted_count=0,
            duplicate_count=0,
            state="OPEN",
            create_time=now,
        )
    )


async def files_of_subject(connection: AsyncConnection, tenant: str, subject: str) -> frozenset[bytes]:
    """Tokens of the files that a subject's records came in."""
    query = (
        select(imports.c.file_token)
        .join(records, (records.c.tenant_id == imports.c.tenant_id) & (records.c.import_id == imports.c.import_id))
        .where(imports.c.tenant_id == tenant, records.c.subject_id == subject, imports.c.file_token != b"")
        .distinct()
    )
    return frozenset(row.file_token for row in await connection.execute(query))


async def mark_plaintext(connection: AsyncConnection, tenant: str, import_id: str) -> None:
    """Say of an import that some of it came unencrypted; that is never taken back."""
    await connection.execute(
        update(imports).where(imports.c.tenant_id == tenant, imports.c.import_id == import_id).values(ingress="PLAINTEXT")
    )


async def advance_import(connection: AsyncConnection, tenant: str, row: ImportRow, issues: Sequence[IssueRow]) -> None:
    """Store progress and refusals, in the transaction that stores the rows."""
    await connection.execute(
        update(imports)
        .where(imports.c.tenant_id == tenant, imports.c.import_id == row.import_id)
        .values(row_count=row.row_count, accepted_count=row.accepted_count, duplicate_count=row.duplicate_count, state=row.state)
    )
    if issues:
        await connection.execute(
            insert(import_issues),
            [{"tenant_id": tenant, "import_id": row.import_id, "line": i.line, "reason": i.reason, "field": i.field} for i in issues],
        )


async def issues_of(connection: AsyncConnection, tenant: str, import_id: str, *, limit: int) -> list[IssueRow]:
    """Refused rows by line."""
    c = import_issues.c
    query = select(c.line, c.reason, c.field).where(c.tenant_id == tenant, c.import_id == import_id).order_by(c.line).limit(limit)
    return [IssueRow(*row) for row in await connection.execute(query)]


async def issue_counts(connection: AsyncConnection, tenant: str, import_id: str) -> dict[str, int]:
    """Number of refused rows by reason."""
    c = import_issues.c
    query = select(c.reason, func.count()).where(c.tenant_id == tenant, c.import_id == import_id).group_by(c.reason)
    return {row[0]: row[1] for row in await connection.execute(query)}
