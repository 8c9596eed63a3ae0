"""Between the messages about ends of contracts and the values of the flows. No rules here."""

from collections.abc import Mapping

from vault.operations.return_data import CSV, JSONL
from vault.operations.surplus import UnusedList
from vault.operations.terminate import Ending, Tally
from vault.rpc import convert
from vault.store.terminations import TerminationRow
from vault.v1 import tenant_service_pb2 as messages

_STATES = {
    "REQUESTED": messages.TERMINATION_STATE_REQUESTED,
    "APPROVED": messages.TERMINATION_STATE_APPROVED,
    "CREDENTIALS": messages.TERMINATION_STATE_CLOSING,
    "KEEPING": messages.TERMINATION_STATE_CLOSING,
    "GRACE": messages.TERMINATION_STATE_GRACE,
    "LISTS": messages.TERMINATION_STATE_ERASING,
    "TOKENS": messages.TERMINATION_STATE_ERASING,
    "KEYS": messages.TERMINATION_STATE_ERASING,
    "COMPLETE": messages.TERMINATION_STATE_COMPLETE,
}
_PARTIES = {"CUSTOMER": messages.TERMINATION_PARTY_CUSTOMER, "OPERATOR": messages.TERMINATION_PARTY_OPERATOR}


def ending(request: messages.TerminateTenantRequest) -> Ending:
    """What is asked for; who wants it is one of the two, or the call was refused before."""
    return Ending(
        effective_time=convert.required_moment(request, "effective_time"),
        grace_days=request.grace_days,
        asked_by="CUSTOMER" if request.asked_by == messages.TERMINATION_PARTY_CUSTOMER else "OPERATOR",
        remove_contacts=request.remove_contacts,
    )


def termination(row: TerminationRow) -> messages.Termination:
    """The end of a contract."""
    times = {name: getattr(row, name) for name in ("credentials_time", "return_time", "finish_time")}
    return messages.Termination(
        tenant=f"tenants/{row.tenant_id}",
        state=_STATES[row.state],
        effective_time=convert.timestamp(row.effective_time),
        grace_end_time=convert.timestamp(row.grace_end_time),
        asked_by=_PARTIES[row.asked_by],
        remove_contacts=bool(row.remove_contacts),
        requester=row.requester,
        approver=row.approver,
        request_time=convert.timestamp(row.request_time),
        **{name: convert.timestamp(moment) for name, moment in times.items() if moment is not None},
    )


def report(row: TerminationRow, found: Mapping[str, Tally]) -> messages.GetTerminationReportResponse:
    """What became of every category, and the signed report."""
    return messages.GetTerminationReportResponse(
        removed_counts={name: tally.erased for name, tally in found.items() if tally.erased},
        kept_counts={name: tally.kept for name, tally in found.items() if tally.kept},
        termination=termination(row),
        counts={
            name: messages.TerminationCounts(
                found=tally.found,
                erased=tally.erased,
                converted=tally.converted,
                tokenised=tally.tokenised,
                kept=tally.kept,
                otherwise=max(0, tally.otherwise),
                reasons=tally.reasons if tally.kept else (),
            )
            for name, tally in found.items()
        },
        report=row.report,
    )


def form(value: messages.ReturnFormat.ValueType) -> str:
    """How returned data is written; JSON lines unless told."""
    return CSV if value == messages.RETURN_FORMAT_CSV else JSONL


def unused(item: UnusedList) -> messages.SurplusList:
    """A list that nobody used."""
    return messages.SurplusList(list=item.list_id, record_count=item.count, last_use_time=convert.timestamp(item.last_use))
