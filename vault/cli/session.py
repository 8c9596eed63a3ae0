"""One run of the command: which vault, as whom, and how the answer is shown."""

import json
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console

from vault.cli.hints import hint
from vault.client import CallError, Connection, VaultClient
from vault.errors import FailedPreconditionError, VaultError


@dataclass(slots=True)
class Session:
    """Options that every command shares."""

    client: Path | None = None
    json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True, emoji=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True, emoji=False))


SESSION = Session()


@contextmanager
def vault() -> Iterator[VaultClient]:
    """A client of the vault, as the identity in the client folder."""
    if SESSION.client is None:
        raise typer.BadParameter("say who is calling: --client FOLDER, or PII_VAULT_CLIENT in the environment")
    try:
        connection = Connection.from_folder(SESSION.client)
    except OSError as error:
        raise typer.BadParameter(f"the client folder lacks '{Path(error.filename or '').name}'") from None
    except UnicodeDecodeError:
        raise typer.BadParameter("the client folder's address or token is no text") from None
    if not connection.address:
        raise typer.BadParameter("the client folder's address is empty")
    if not (connection.token.isascii() and (connection.token.isprintable() or not connection.token)):
        raise typer.BadParameter("the client folder's token is not one line of ASCII")
    with VaultClient.connect(connection) as client:
        yield client


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON values under the contract's own field names; every field is there, empty or not."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def show(message: Message | Mapping[str, Any]) -> None:
    """Show one answer: JSON, or its members line by line and its lists item by item."""
    data = plain(message) if isinstance(message, Message) else dict(message)
    if SESSION.json:
        print(json.dumps(data, ensure_ascii=False, indent=1))  # noqa: T201 - the command's answer
        return
    _lines(data, indent="")


def say(text: str) -> None:
    """A line for people; not part of a JSON answer."""
    if not SESSION.json:
        SESSION.out.print(harmless(text), markup=False)


@contextmanager
def reported() -> Iterator[None]:
    """Turn a refusal into a message and exit code 1."""
    try:
        yield
    except CallError as error:
        receipt = str(error.receipt) if error.receipt else ""
        _refusal(error.reason, error.message, fields=error.fields, receipt=receipt, metadata=error.metadata)
        raise typer.Exit(1) from None
    except VaultError as error:
        _told(error)
    except ModuleNotFoundError as missing:
        message = f"this needs pii-vault[server], for PostgreSQL pii-vault[postgres], for PDF pages pii-vault[pdf]; '{missing.name}' is not installed"
        _told(FailedPreconditionError("EXTRA_MISSING", message))
    except BrokenPipeError:  # whoever read the answer has seen enough
        raise
    except OSError as error:
        _told(FailedPreconditionError("FILE_UNUSABLE", f"a file or folder cannot be used: {(error.strerror or 'unknown').lower()}"))


def _told(error: VaultError) -> NoReturn:
    """Tell a failure on this side of the wire, and end."""
    _refusal(error.reason, error.message, fields=(error.field,) if error.field else (), receipt="", metadata=error.metadata)
    raise typer.Exit(1) from None


def _refusal(reason: str, message: str, *, fields: Sequence[str], receipt: str, metadata: Mapping[str, str]) -> None:
    advice = hint(reason)
    if SESSION.json:
        error = {
            "reason": reason,
            "message": message,
            "fields": list(fields),
            "hint": advice,
            "receipt": receipt,
            "metadata": dict(metadata),
        }
        print(json.dumps({"error": error}, ensure_ascii=False), file=sys.stderr)  # noqa: T201 - the command's answer
        return
    where = f" ({', '.join(fields)})" if fields else ""
    limit = f" [limit {metadata['limit']}]" if "limit" in metadata else ""
    SESSION.err.print(f"{reason}: {message}{where}{limit}", style="red", markup=False)
    if advice:
        SESSION.err.print(f"  what to do: {advice}", markup=False)
    if receipt:
        SESSION.err.print(f"  recorded as: {receipt}", markup=False)


def _lines(data: Mapping[str, Any], *, indent: str) -> None:
    """What is not empty, a line each; a receipt or a field's value is one word."""
    data = {key: _word(value) for key, value in data.items() if value not in ("", [], {}, None)}
    width = max(map(len, data), default=0)
    for key, value in data.items():
        if isinstance(value, Mapping):
            SESSION.out.print(f"{indent}{key}", markup=False)
            _lines(value, indent=indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            SESSION.out.print(f"{indent}{key}", markup=False)
            for row in value:
                _lines(row, indent=indent + "  ")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            SESSION.out.print(harmless(f"{indent}{key:<{width}}  {shown}"), markup=False)


def harmless(text: str) -> str:
    """The text with its control characters spelled out: what a stranger put into a record must not steer the terminal of whoever looks."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)


def _word(value: Any) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"log", "index"}:
        return f"{value['log']}/{value['index']}"
    if isinstance(value, Mapping) and value.keys() in ({"text"}, {"data"}):
        return next(iter(value.values()))
    return value
