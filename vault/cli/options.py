"""Options that several commands share, described once."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from vault.v1.resources_pb2 import Justification

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="Tenant id.", envvar="PII_VAULT_TENANT", show_default=False)]
Purpose = Annotated[
    str, typer.Option("--purpose", "-p", help="What for: a purpose of the catalogue, e.g. technical-fault.", show_default=False)
]
Reference = Annotated[
    str, typer.Option("--reference", "-r", help="Ticket, or name of a customer request or order, that the purpose rests on.")
]
Reason = Annotated[
    str, typer.Option("--reason", help="One sentence without personal data; kept sealed in the audit log.", show_default=False)
]
RequestId = Annotated[str, typer.Option("--request-id", help="UUID4; the same id and request get the same answer.")]
AsOf = Annotated[str, typer.Option("--as-of", help="Moment asked about, e.g. 2026-03-01T12:00:00Z; needed where numbers are recycled.")]


def justification(purpose: str, reference: str, reason: str) -> Justification:
    """Why a call wants what it asks for."""
    return Justification(purpose=purpose, reference=reference, reason=reason)


def moment(text: str, option: str) -> Timestamp | None:
    """A time given on the command line; None for an empty text. A time without a zone is UTC."""
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("not a time like 2026-03-01T12:00:00Z", param_hint=option) from None
    stamp = Timestamp()
    stamp.FromDatetime(value if value.tzinfo else value.replace(tzinfo=UTC))
    return stamp


def pairs(items: list[str], option: str) -> dict[str, str]:
    """`name=value` arguments."""
    found = {}
    for item in items:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise typer.BadParameter("give it as name=value", param_hint=option)
        found[name] = value
    return found
