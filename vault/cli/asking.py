"""`pii-vault audit find` and `audit accesses`: what people ask the log, answered as lines, JSON or CSV."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from vault.cli.auditing import Log, line, parent
from vault.cli.session import SESSION, plain, reported, say, show, vault
from vault.errors import InvalidArgumentError
from vault.v1.audit_service_pb2 import ListSubjectAccessesRequest, QueryAuditEntriesRequest
from vault.v1.resources_pb2 import AuditEntry

CSV_COLUMNS = (
    "name", "time", "actor", "actor_kind", "on_behalf_of", "auth_method", "tenant", "method", "component", "operation", "resource", "category",
    "fields", "records", "subjects", "count", "purpose", "reference", "consent_basis", "decision", "reason", "rule", "policy_version", "trace_id",
)  # fmt: skip
# A spreadsheet takes a cell that begins like this for a formula, and some members are what a caller wrote.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Limit = Annotated[int, typer.Option(help="At most this many; 0 for all.", min=0)]
AsCsv = Annotated[bool, typer.Option("--csv", help="Comma-separated values, a line each.")]
Page = tuple[Sequence[AuditEntry], str]


def find(
    log: Log,
    actor: Annotated[str, typer.Option(help="Who acted, or the service through which they did.")] = "",
    about: Annotated[str, typer.Option(help="Ticket, or name of an order, incident or request; what is below it too.")] = "",
    operation: Annotated[str, typer.Option(help="What was attempted, e.g. reveal.")] = "",
    category: Annotated[str, typer.Option(help="Category concerned.")] = "",
    purpose: Annotated[str, typer.Option(help="Purpose stated.")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Refusals only.")] = False,
    since: Annotated[str, typer.Option(help="From when on, RFC 3339.")] = "",
    until: Annotated[str, typer.Option(help="Until before when, RFC 3339.")] = "",
    limit: Limit = 100,
    as_csv: AsCsv = False,
) -> None:
    """Find entries: what did this principal do, what was done under this order, what was refused."""
    with reported(), vault() as client:
        asked = QueryAuditEntriesRequest(
            parent=parent(log),
            actor=actor,
            about=about,
            operation=operation,
            category=category,
            purpose=purpose,
            decision="REFUSED" if refused else "",
            page_size=min(limit, 1000) if limit else 1000,
        )
        for field, text in (("start_time", since), ("end_time", until)):
            if text:
                getattr(asked, field).FromDatetime(_moment(text, field))

        def page(token: str) -> Page:
            asked.page_token = token
            answer = client.call(client.audit.QueryAuditEntries, asked)
            return answer.entries, answer.next_page_token

        _show(all_pages(page, limit), as_csv=as_csv)


def accesses(
    subject: Annotated[str, typer.Argument(help="tenants/{tenant}/subjects/{subject}.", show_default=False)],
    limit: Limit = 100,
    as_csv: AsCsv = False,
) -> None:
    """Who was given data of this person, or was refused it."""
    with reported(), vault() as client:
        asked = ListSubjectAccessesRequest(subject=subject, page_size=min(limit, 1000) if limit else 1000)
        withheld = 0

        def page(token: str) -> Page:
            nonlocal withheld
            asked.page_token = token
            answer = client.call(client.audit.ListSubjectAccesses, asked)
            withheld = answer.withheld_count
            return answer.entries, answer.next_page_token

        _show(all_pages(page, limit), as_csv=as_csv)
        if withheld and not as_csv:
            say(f"{withheld} more under a gag, in the system log")


def all_pages(page: Callable[[str], Page], limit: int) -> Iterator[dict[str, Any]]:
    """Entries of every page, without their bytes; at most so many, or all for 0."""
    token, left = "", limit or sys.maxsize
    while True:
        entries, token = page(token)
        for entry in entries[:left]:
            said = plain(entry)
            said.pop("content")
            yield said
        left -= len(entries)
        if not token or left <= 0:
            return


def _show(entries: Iterable[dict[str, Any]], *, as_csv: bool) -> None:
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows([cell(entry[name]) for name in CSV_COLUMNS] for entry in entries)
    elif SESSION.json:
        show({"entries": list(entries)})
    else:
        for entry in entries:
            say(line(entry))


def cell(value: object) -> str:
    """A member as a cell of CSV that no spreadsheet takes for a formula."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _moment(text: str, field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgumentError("FIELD_INVALID", "not a time of RFC 3339", field=field) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
