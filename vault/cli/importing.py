"""`pii-vault import FILE`: a list file into the vault, row by row; killed anywhere and run again, it goes on where it stopped.

Nothing of a row is ever printed: the terminal gets counts, the rejects file gets lines and reasons.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import grpc
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vault.cli.options import Tenant
from vault.cli.rejects import Reject, write_rejects
from vault.cli.session import SESSION, reported, say, show, vault
from vault.client import CallError, VaultClient
from vault.errors import VaultError
from vault.v1.vault_service_pb2 import ImportEnd, ImportHeader, ImportRecordsRequest, ImportRecordsResponse, ImportRow, ImportRows

if TYPE_CHECKING:
    from vault.cli.listfile import ListFile, Row

# Rows of one message: few enough that a commit stays short, and far below the 4 MiB of a message.
_ROWS, _BYTES = 250, 1 << 20
_TIMEOUT = timedelta(hours=12)
_ATTEMPTS, _PAUSE = 5, timedelta(seconds=1)
_PASSING = frozenset({grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE})


def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, TSV or XLSX; UTF-8, UTF-16 or Windows-1255.", exists=True, dir_okay=False)],
    tenant: Tenant,
    category: Annotated[str, typer.Option(help="Category of each row.", show_default=False)],
    list_id: Annotated[str, typer.Option("--list", help="Distribution list, for list categories.")] = "",
    map_: Annotated[list[str] | None, typer.Option("--map", help="COLUMN=field, #1=field or COLUMN=- to leave out; repeatable.")] = None,
    channel: Annotated[str, typer.Option(help="How the file came: WEB, API, WS, FTP, SFTP or SAFE.")] = "API",
    rejects: Annotated[Path | None, typer.Option(help="File for refused rows; FILE.rejects.csv unless told.")] = None,
    repeat: Annotated[str, typer.Option(help="Any word: imports a file again that was imported before.")] = "",
) -> None:
    """Import a list file: new people are created, known ones found, duplicates merged, refused rows told by line and reason."""
    from vault.cli.listfile import read_list  # noqa: PLC0415 - reading spreadsheets is slow to load, and every other command would wait for it

    with reported(), vault() as client:
        source = read_list(file, category=category, mapping=map_ or [])
        header = ImportHeader(
            parent=f"tenants/{tenant}", category=category, list=list_id, source_digest=source.digest, channel=channel, repeat=repeat
        )
        _describe(source)
        local: list[Reject] = []
        answer = _send(client, header, source, local)
        refused = [*local, *(Reject(issue.line, issue.reason, issue.field) for issue in answer.issues)]
        target = rejects or file.with_name(file.name + ".rejects.csv")
        written = write_rejects(target, sorted(refused, key=lambda reject: reject.line)) if refused else 0
        counts = dict(answer.rejected_counts)
        for reject in local:
            counts[reject.reason] = counts.get(reject.reason, 0) + 1
        show(
            {
                "import": answer.name,
                "rows": answer.row_count + len(local),
                "accepted": answer.accepted_count,
                "duplicates": answer.duplicate_count,
                "rejected": counts,
                "resumed_after": answer.resumed_count,
                "rejects_file": str(target) if written else "",
                "receipt": f"{answer.receipt.log}/{answer.receipt.index}" if answer.HasField("receipt") else "",
            }
        )


def _describe(source: "ListFile") -> None:
    for number, column in enumerate(source.columns, start=1):
        say(f"column {number}: {column.use.value}{f' {column.name}' if column.use.value == 'field' else ''}")
    if source.other_sheets:
        say(f"{source.other_sheets} more sheets of the workbook are not read")


def _send(client: VaultClient, header: ImportHeader, source: "ListFile", local: list[Reject]) -> ImportRecordsResponse:
    """Send the whole file; after a passing failure send it again, and the vault skips what it has."""
    with Progress(
        TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=SESSION.err, disable=SESSION.json
    ) as progress:
        task = progress.add_task("", total=source.total_rows)
        for attempt in range(1, _ATTEMPTS + 1):
            local.clear()
            broken: list[VaultError] = []
            progress.reset(task)
            messages = _messages(header, source, local, broken, lambda rows: progress.advance(task, rows))
            try:
                answer = client.call(client.records.ImportRecords, messages, timeout=_TIMEOUT)
            except CallError as error:
                if error.code not in _PASSING or attempt == _ATTEMPTS:
                    raise
                time.sleep(error.retry_after or _PAUSE.total_seconds())
                continue
            if broken:
                raise broken[0]
            return answer
    raise AssertionError  # the last attempt returned or raised


def _messages(
    header: ImportHeader, source: "ListFile", local: list[Reject], broken: list[VaultError], sent: Callable[[int], None]
) -> Iterator[ImportRecordsRequest]:
    """Header, rows, end. A file that turns out unreadable midway ends without the end message, so that the import stays open."""
    yield ImportRecordsRequest(header=header)
    count, rows, size = 0, [], 0
    for item in _until_broken(source, broken):
        if isinstance(item, Reject):
            local.append(item)
            continue
        row = _row(item)
        rows.append(row)
        size += row.ByteSize()
        count += 1
        if len(rows) == _ROWS or size >= _BYTES:
            yield ImportRecordsRequest(rows=ImportRows(rows=rows))
            sent(len(rows))
            rows, size = [], 0
    if rows:
        yield ImportRecordsRequest(rows=ImportRows(rows=rows))
        sent(len(rows))
    if not broken:
        yield ImportRecordsRequest(end=ImportEnd(row_count=count))


def _until_broken(source: "ListFile", broken: list[VaultError]) -> Iterator["Row | Reject"]:
    """The rows; what stops the reading is kept, because an exception inside the call's own thread would be lost."""
    try:
        yield from source.rows()
    except VaultError as error:
        broken.append(error)


def _row(row: "Row") -> ImportRow:
    return ImportRow(line=row.line, fields=dict(row.fields), extra=dict(row.extra))
