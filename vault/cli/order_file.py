"""The details of an order as a JSON file, or as answers to questions, and the messages that they make.

Members are named as in the requirements (§5.1, §5.3). A time without a zone is what the clock in Jerusalem showed, which is how courts write.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from vault import civil_time
from vault.errors import InvalidArgumentError
from vault.v1 import legal_service_pb2 as legal
from vault.v1.legal_service_pb2 import Instrument, OrderScope, OrderTarget

# Identifier types as orders name them (requirements §5.3), and the kinds they are searched by.
KINDS = {
    "PHONE": "phone",
    "EMAIL": "email",
    "SHADOW": "virtual-number",
    "ASSIGNED_NUMBER": "virtual-number",
    "STAR": "star-number",
    "COMPANY_NO": "company-number",
    "INSTALL_ID": "install-id",
}
# Member of the file, field of the message.
_TEXTS = {
    "court_name": "court_name",
    "court_code": "court_code",
    "case_no": "case_number",
    "judge_name": "issuer_name",
    "rank_or_title": "issuer_title",
    "requesting_body": "requesting_body",
    "received_by": "received_by",
    "investigating_case_no": "investigation_number",
    "contact": "contact",
    "call_back": "call_back",
    "legal_basis": "legal_basis",
    "legal_section": "legal_section",
    "true_copy_stamp_no": "true_copy_stamp",
    "language": "language",
    "counsel_note": "counsel_note",
}
_TIMES = {
    "issued_at": "issue_time",
    "received_at": "receive_time",
    "valid_from": "valid_from_time",
    "valid_until": "expire_time",
    "respond_by": "respond_time",
}
_LISTS = ("targets", "categories", "fields", "levels", "declined_categories")
_FLAGS = ("privileged_occupation", "emergency", "names_content")
_ENUMS = {
    "court_level": ("court_level", legal.CourtLevel, "COURT_LEVEL_"),
    "received_channel": ("receive_channel", legal.ReceivedChannel, "RECEIVED_CHANNEL_"),
    "signature_check": ("signature_check", legal.SignatureCheck, "SIGNATURE_CHECK_"),
}
_QUESTIONS = (
    ("instrument_type", "Kind of instrument / סוג המסמך", "COMMS_DATA"),
    ("court_name", "Court / בית המשפט", ""),
    ("case_no", "Case number as printed / מספר התיק", ""),
    ("judge_name", "Judge or officer / שם השופט", ""),
    ("requesting_body", "Body that asks / הגוף המבקש", ""),
    ("issued_at", "Issued, e.g. 2026-06-01T10:00 / מועד ההוצאה", ""),
    ("valid_until", "Ends, empty if not printed / בתוקף עד", ""),
    ("respond_by", "Answer due, empty if not printed / מועד למענה", ""),
    ("true_copy_stamp_no", "Stamp number, empty if none / מספר חותמת נאמן למקור", ""),
    ("call_back", "Number to call back, from our directory / טלפון לאימות מהמדריך שלנו", ""),
)
_SCOPE_QUESTIONS = (
    ("targets", "Targets, e.g. PHONE=050-1234567, by commas / יעדים", ""),
    ("categories", "Categories, by commas / קטגוריות", "call-detail"),
    ("time_from", "From, on the clock of Jerusalem / מיום", ""),
    ("time_to", "To, a date alone is the whole day / עד יום", ""),
    ("fields", "Fields, by commas, empty for all / שדות", ""),
)


def read_details(file: Path) -> Mapping[str, Any]:
    """The members of a file.

    Raises:
        InvalidArgumentError: ORDER_FILE_INVALID.
    """
    try:
        details = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        details = None
    if not isinstance(details, dict):
        raise InvalidArgumentError("ORDER_FILE_INVALID", "the file is not a JSON object", field="file")
    return details


def ask_details() -> Mapping[str, Any]:
    """The same, by questions to whoever sits before the terminal."""
    details: dict[str, Any] = {name: _ask(text, default) for name, text, default in _QUESTIONS}
    scope: dict[str, Any] = {name: _ask(text, default) for name, text, default in _SCOPE_QUESTIONS}
    scope |= {name: _items(scope[name]) for name in ("categories", "fields")}
    scope["targets"] = [dict(zip(("id_type", "value"), item.split("=", 1), strict=False)) for item in _items(scope["targets"])]
    details["gag"] = "FURTHER_ORDER" if typer.confirm("Does it forbid to tell of it? / האם נאסר לגלות?", default=False) else ""
    details["privileged_occupation"] = typer.confirm("About a protected profession? / בעל מקצוע חסוי?", default=False)
    return {**{name: value for name, value in details.items() if value != ""}, "scope": scope}


def instrument_of(details: Mapping[str, Any], digest: bytes) -> Instrument:
    """What the document says about itself.

    Raises:
        InvalidArgumentError: ORDER_FILE_INVALID.
    """
    message = Instrument(document_sha256=digest)
    message.type = _enum(details, "instrument_type", legal.InstrumentType, "INSTRUMENT_TYPE_", required=True)
    for name, field in _TEXTS.items():
        setattr(message, field, text_of(details, name, required=False))
    for name, field in _TIMES.items():
        if text := text_of(details, name, required=False):
            getattr(message, field).CopyFrom(_stamp(text, name))
    for name in _FLAGS:
        setattr(message, name, bool(details.get(name)))
    for name, (field, enum, prefix) in _ENUMS.items():
        setattr(message, field, _enum(details, name, enum, prefix))
    pages = details.get("pages", 0)
    if not isinstance(pages, int):
        raise InvalidArgumentError("ORDER_FILE_INVALID", "member 'pages' is no number", field="pages")
    message.pages = pages
    _set_gag(message, details)
    return message


def scope_of(scope: object) -> OrderScope:
    """What an order covers.

    Raises:
        InvalidArgumentError: ORDER_FILE_INVALID.
    """
    if not isinstance(scope, dict) or not all(isinstance(scope.get(name, []), list) for name in _LISTS):
        raise InvalidArgumentError("ORDER_FILE_INVALID", f"the scope's {', '.join(_LISTS)} are lists", field="scope")
    message = OrderScope(
        targets=[_target(target) for target in scope.get("targets", [])],
        categories=[str(category) for category in scope.get("categories", [])],
        fields=[str(name) for name in scope.get("fields", [])],
        levels=[str(level) for level in scope.get("levels", [])],
        declined_categories=[str(category) for category in scope.get("declined_categories", [])],
        max_rows=int(scope.get("max_rows", 0)),
    )
    message.counterpart_disclosure = _enum(scope, "counterpart_disclosure", legal.CounterpartDisclosure, "COUNTERPART_DISCLOSURE_")
    _set_period(message, text_of(scope, "time_from"), text_of(scope, "time_to"), str(scope.get("time_zone", civil_time.JERUSALEM)))
    return message


def text_of(details: Mapping[str, Any], name: str, *, required: bool = True) -> str:
    """A text of the file.

    Raises:
        InvalidArgumentError: ORDER_FILE_INVALID.
    """
    value = details.get(name, "")
    if not isinstance(value, str) or (required and not value):
        raise InvalidArgumentError("ORDER_FILE_INVALID", f"member '{name}' is missing or no text", field=name)
    return value


def _set_period(message: OrderScope, start: str, end: str, zone: str) -> None:
    if _has_zone(start) and _has_zone(end):
        message.start_time.CopyFrom(_stamp(start, "time_from"))
        message.end_time.CopyFrom(_stamp(end, "time_to"))
        return
    meant = civil_time.interval(start, end, zone)
    message.time_zone, message.local_start, message.local_end = zone, start, end
    message.start_time.FromDatetime(meant.start)
    message.end_time.FromDatetime(meant.end)


def _set_gag(message: Instrument, details: Mapping[str, Any]) -> None:
    """`"FURTHER_ORDER"`, or `{"until": TIME, "from_staff": true}`."""
    gag = details.get("gag")
    if not gag:
        return
    if isinstance(gag, dict) and gag.get("until"):
        message.gag.kind = legal.GAG_KIND_UNTIL
        message.gag.end_time.CopyFrom(_stamp(text_of(gag, "until"), "gag"))
    else:
        message.gag.kind = legal.GAG_KIND_FURTHER_ORDER
    message.gag.from_staff = isinstance(gag, dict) and bool(gag.get("from_staff"))


def _target(target: object) -> OrderTarget:
    if not isinstance(target, dict) or str(target.get("id_type")) not in KINDS:
        raise InvalidArgumentError("ORDER_FILE_INVALID", f"a target's id_type is not one of {', '.join(KINDS)}", field="scope.targets")
    message = OrderTarget(kind=KINDS[target["id_type"]], value=text_of(target, "value"))
    for name, field in (("time_from", "start_time"), ("time_to", "end_time")):
        if text := text_of(target, name, required=False):
            getattr(message, field).CopyFrom(_stamp(text, name))
    return message


def _enum(details: Mapping[str, Any], name: str, enum: Any, prefix: str, *, required: bool = False) -> Any:
    word = text_of(details, name, required=required)
    try:
        return enum.Value(f"{prefix}{word or 'UNSPECIFIED'}")
    except ValueError:
        raise InvalidArgumentError("ORDER_FILE_INVALID", f"no such {name.replace('_', ' ')}", field=name) from None


def _stamp(text: str, name: str) -> Timestamp:
    stamp = Timestamp()
    try:
        stamp.FromDatetime(civil_time.moment(text))
    except InvalidArgumentError:
        raise typer.BadParameter("not a time like 2026-03-01T12:00, or with a zone 2026-03-01T12:00:00Z", param_hint=name) from None
    return stamp


def _has_zone(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _ask(text: str, default: str) -> str:
    return str(typer.prompt(text, default=default, show_default=bool(default))).strip()
