"""How orders are shown to people: where each stands, in English and Hebrew, what is due, and what to do next."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from vault import civil_time
from vault.cli.session import SESSION, harmless, show
from vault.v1 import legal_service_pb2 as legal
from vault.v1.legal_service_pb2 import Deadline, Order, PreviewExportResponse
from vault.v1.resources_pb2 import Receipt

# First strong isolate and its end: Hebrew beside a number stays where the column is, whichever way the terminal writes.
_FSI, _PDI = "\u2068", "\u2069"
_LABEL = 22  # columns

_STATES: Mapping[int, tuple[str, str]] = {
    legal.ORDER_STATE_RECEIVED: ("received", "התקבל"),
    legal.ORDER_STATE_AUTHENTICATED: ("authenticated", "אומת"),
    legal.ORDER_STATE_SCOPED: ("scoped", "היקף נקבע"),
    legal.ORDER_STATE_APPROVED: ("approved", "אושר"),
    legal.ORDER_STATE_IN_EXECUTION: ("in execution", "בביצוע"),
    legal.ORDER_STATE_FULFILLED: ("fulfilled", "קוים"),
    legal.ORDER_STATE_CLOSED: ("closed", "נסגר"),
    legal.ORDER_STATE_REJECTED: ("rejected", "נדחה"),
    legal.ORDER_STATE_EXPIRED: ("expired", "פקע"),
    legal.ORDER_STATE_SUSPENDED: ("suspended", "מושהה"),
    legal.ORDER_STATE_REVOKED: ("revoked", "בוטל"),
    legal.ORDER_STATE_REVOKED_AFTER_DELIVERY: ("revoked after delivery", "בוטל לאחר מסירה"),
}
_DUE: Mapping[int, tuple[str, str]] = {
    legal.DEADLINE_KIND_RESPOND: ("answer", "מענה"),
    legal.DEADLINE_KIND_EXPIRE: ("the order ends", "פקיעת הצו"),
    legal.DEADLINE_KIND_SECOND_APPROVAL: ("second approval", "אישור שני"),
    legal.DEADLINE_KIND_GAG_END: ("the gag ends", "סיום האיסור לגלות"),
    legal.DEADLINE_KIND_RECALL: ("ask the package back", "דרישת החזרה"),
}
_NEXT: Mapping[int, tuple[str, str]] = {
    legal.ORDER_STATE_RECEIVED: ("another person than the registrant finds out whether it is authentic", "authenticate"),
    legal.ORDER_STATE_AUTHENTICATED: ("settle what is exported", "scope"),
    legal.ORDER_STATE_SCOPED: ("waits for approval by: {lacks}", "approve"),
    legal.ORDER_STATE_APPROVED: ("build the package", "export"),
    legal.ORDER_STATE_FULFILLED: ("close it", "close"),
    legal.ORDER_STATE_SUSPENDED: ("when the court has answered, take it up", "resume"),
    legal.ORDER_STATE_REVOKED_AFTER_DELIVERY: ("ask the recipient to give the package back, then close it", "close"),
}
_PROBLEMS = {
    "REQUIRES_INTERVAL": "a number had several users in the period: give it a period of its own",
    "EXPORT_TOO_LARGE": "more is covered than the order allows",
}
_NOTES = {
    "START_CAME_TWICE": "the start is in the hour that came twice; the first one is meant",
    "END_CAME_TWICE": "the end is in the hour that came twice; the second one is meant",
    "START_NEVER_CAME": "the start is in the hour that never came; it was moved forward",
    "END_NEVER_CAME": "the end is in the hour that never came; it was moved forward",
}


def next_step(order: Order) -> tuple[str, str]:
    """What to do next about an order, and the command for it; empty if nothing is to be done."""
    lacks = ", ".join(sorted(set(order.missing_approvals)))
    if order.state == legal.ORDER_STATE_IN_EXECUTION:
        return _next_of_export(order)
    if order.state == legal.ORDER_STATE_REVOKED_AFTER_DELIVERY and order.HasField("close_time"):
        return "", ""
    if order.state == legal.ORDER_STATE_FULFILLED and lacks:
        return f"waits for the approval after release by: {lacks}", f"pii-vault order approve {order.name}"
    if order.state == legal.ORDER_STATE_APPROVED and order.instrument_type == legal.INSTRUMENT_TYPE_PRESERVATION:
        return "nothing is released under a letter; close it when the case is over", f"pii-vault order close {order.name}"
    what, command = _NEXT.get(order.state, ("", ""))
    return what.format(lacks=lacks), command and f"pii-vault order {command} {order.name}"


def show_order(order: Order, receipt: Receipt | None = None) -> None:
    """Show one order to people, with what is due and the next step."""
    for label, value in _lines(order, receipt):
        if value:
            SESSION.out.print(f"{label:<{_LABEL}}{harmless(value)}", markup=False)
    _say_next(order)


def show_answer(message: Any) -> None:
    """Show the answer of any method about one order: as it came for machines, else the order with what is due and the next step."""
    if SESSION.json:
        show(message)
    else:
        show_order(message.order, getattr(message, "receipt", None))


def show_orders(orders: Iterable[Order], *, omitted: int) -> None:
    """A table of orders, whatever is due first on top."""
    table = Table(box=None, pad_edge=False)
    for heading, width in (("order", 26), ("state", 14), ("instrument", 10), ("targets", 1), ("due", 16), ("next", 16)):
        table.add_column(heading, overflow="fold", min_width=width)
    for order in orders:
        due = f"{_when(order.deadlines[0])} {_both(_DUE[order.deadlines[0].kind])}" if order.deadlines else ""
        kind = legal.InstrumentType.Name(order.instrument_type).removeprefix("INSTRUMENT_TYPE_")
        table.add_row(order.name.rpartition("/")[2], _both(_STATES[order.state]), kind, str(order.target_count), due, next_step(order)[0])
    SESSION.out.print(table)
    if omitted:
        SESSION.out.print(f"{omitted} more of which you may not know", markup=False)


def show_preview(preview: PreviewExportResponse) -> None:
    """What would be exported, in numbers: by category, by target, what stays; and what stands in the way."""
    scope = preview.scope
    start, end = (civil_time.on_the_wall(time.ToDatetime(tzinfo=UTC)) for time in (scope.start_time, scope.end_time))
    SESSION.out.print(f"{'period in Jerusalem':<{_LABEL}}{start} – {end}", markup=False)
    for note in preview.notes:
        SESSION.out.print(f"{'note':<{_LABEL}}{_NOTES.get(note, note)}", markup=False)
    if scope.fields:
        SESSION.out.print(f"{'fields':<{_LABEL}}{', '.join(scope.fields)}", markup=False)
    SESSION.out.print(f"{'key of recipient':<{_LABEL}}{preview.recipient_fingerprint}", markup=False)
    counts = Table("category", "records", box=None, pad_edge=False)
    for category, count in sorted(preview.record_counts.items()):
        counts.add_row(category, f"{count:,}")
    for reason, count in sorted(preview.withheld_counts.items()):
        counts.add_row(f"stays: {reason}", f"{count:,}", style="dim")
    SESSION.out.print(counts)
    targets = Table("target", "records", "users", box=None, pad_edge=False)
    for item in preview.targets:
        value = harmless(f"{item.target.kind} {_FSI}{item.target.value}{_PDI}")
        targets.add_row(value, f"{sum(item.record_counts.values()):,}", str(item.holder_count) if item.holder_count else "")
    SESSION.out.print(targets)
    for problem in preview.problems:
        SESSION.out.print(f"stands in the way: {_PROBLEMS.get(problem, problem)}", style="red", markup=False)
    SESSION.out.print(f"{'scope digest':<{_LABEL}}{preview.scope_digest}", markup=False)


def _lines(order: Order, receipt: Receipt | None) -> list[tuple[str, str]]:
    gag = legal.GagKind.Name(order.gag).removeprefix("GAG_KIND_").replace("_", " ").lower() if order.gag else ""
    if order.HasField("gag_end_time"):
        gag += f" {civil_time.on_the_wall(order.gag_end_time.ToDatetime(tzinfo=UTC))}"
    export = legal.ExportState.Name(order.export_state).removeprefix("EXPORT_STATE_").replace("_", " ").lower() if order.export else ""
    return [
        ("order", order.name),
        ("state", _both(_STATES[order.state])),
        ("rejected because", order.rejection),
        ("instrument", legal.InstrumentType.Name(order.instrument_type).removeprefix("INSTRUMENT_TYPE_")),
        ("categories", ", ".join(order.categories)),
        ("targets", str(order.target_count)),
        ("nothing may be told", gag),
        ("protected profession", "yes" if order.privileged_occupation else ""),
        ("registered by", order.registrant),
        ("authenticated by", order.authenticator),
        ("approved by", ", ".join(order.approvers)),
        ("approval missing", ", ".join(order.missing_approvals)),
        ("export", f"{order.export} ({export})" if order.export else ""),
        ("scope digest", order.scope_digest),
        *(("due", f"{_when(deadline)} {_both(_DUE[deadline.kind])}") for deadline in order.deadlines),
        ("recorded as", f"{receipt.log}/{receipt.index}" if receipt is not None and receipt.log else ""),
    ]


def _next_of_export(order: Order) -> tuple[str, str]:
    match order.export_state:
        case legal.EXPORT_STATE_SEALED:
            return "another person than the builder approves the release", f"pii-vault order approve {order.export}"
        case legal.EXPORT_STATE_RELEASE_APPROVED:
            return "hand the package over", f"pii-vault order download {order.export} --output PACKAGE"
        case legal.EXPORT_STATE_RELEASED | legal.EXPORT_STATE_DELIVERED:
            command = f"pii-vault order deliver {order.export} --recipient-name NAME --recipient-id BADGE --sha256 DIGEST"
            return "have the recipient read the digest back", command
        case _:
            return "the package is being built", f"pii-vault order export {order.name}"


def _say_next(order: Order) -> None:
    what, command = next_step(order)
    if what:
        SESSION.out.print(f"next: {what}\n      {command}", markup=False)


def _both(words: tuple[str, str]) -> str:
    return f"{words[0]} · {_FSI}{words[1]}{_PDI}"


def _when(deadline: Deadline) -> str:
    late = " LATE" if deadline.time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC) else ""
    return f"{civil_time.on_the_wall(deadline.time.ToDatetime(tzinfo=UTC))}{late}"
