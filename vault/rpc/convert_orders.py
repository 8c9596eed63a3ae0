"""Between the messages about orders and the values of the flows. No rules here."""

from datetime import UTC, datetime

from vault.errors import InvalidArgumentError
from vault.names import ChildName
from vault.operations.order import OrderView
from vault.operations.order_content import FULL, Gag, Instrument, OrderContent, Period, Recipient, Scope
from vault.operations.order_due import deadlines
from vault.operations.order_quorum import missing
from vault.operations.order_scope import Preview
from vault.rpc import convert
from vault.store.exports import ExportRow
from vault.v1 import legal_service_pb2 as pb

_UNSPECIFIED = "UNSPECIFIED"
_NOWHERE = Scope((), (), datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), ())


def content(request: pb.RegisterOrderRequest) -> OrderContent:
    """The order that a request registers; both scopes are the same.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID.
    """
    said = scope(request.scope) if request.HasField("scope") else _NOWHERE
    return OrderContent(_instrument(request.instrument), said, recipient(request.recipient), said)


def scope(message: pb.OrderScope) -> Scope:
    """A scope.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID.
    """
    start, end = convert.required_moment(message, "start_time"), convert.required_moment(message, "end_time")
    return Scope(
        targets=tuple((target.kind, target.value) for target in message.targets),
        categories=tuple(message.categories),
        start_time=start,
        end_time=end,
        fields=tuple(message.fields),
        periods={
            (target.kind, target.value): Period(convert.moment(target, "start_time") or start, convert.moment(target, "end_time") or end)
            for target in message.targets
            if target.HasField("start_time") or target.HasField("end_time")
        },
        levels=tuple(message.levels),
        counterpart=_word(pb.CounterpartDisclosure.Name(message.counterpart_disclosure), "COUNTERPART_DISCLOSURE_") or FULL,
        max_rows=message.max_rows,
        declined=tuple(message.declined_categories),
        time_zone=message.time_zone,
        local_start=message.local_start,
        local_end=message.local_end,
    )


def recipient(message: pb.OrderRecipient) -> Recipient:
    """A recipient."""
    return Recipient(
        body=message.body,
        age_recipient=message.age_recipient,
        verification=message.verification,
        unit=message.unit,
        person=message.person,
        verified_by=message.verified_by,
        key_expire_time=convert.moment(message, "key_expire_time"),
        delivery_method=message.delivery_method,
    )


def order(tenant: str, view: OrderView) -> pb.Order:
    """An order without what it says."""
    row, name = view.row, str(ChildName(tenant, "orders", view.row.order_id))
    return pb.Order(
        name=name,
        state=pb.OrderState.Value(f"ORDER_STATE_{row.state}"),
        instrument_type=pb.InstrumentType.Value(f"INSTRUMENT_TYPE_{row.instrument_type}"),
        scope_digest=row.scope_digest,
        registrant=row.registrant,
        approvers=[approval.approver for approval in view.approvals],
        expire_time=convert.timestamp(row.expire_time),
        create_time=convert.timestamp(row.create_time),
        categories=row.categories,
        target_count=row.target_count,
        authenticator=row.authenticator,
        gag=pb.GagKind.Value(f"GAG_KIND_{row.gag or _UNSPECIFIED}"),
        gag_end_time=convert.timestamp(row.gag_end_time),
        privileged_occupation=row.privileged,
        missing_approvals=missing(row, view.approvals),
        deadlines=[
            pb.Deadline(kind=pb.DeadlineKind.Value(f"DEADLINE_KIND_{deadline.kind}"), time=convert.timestamp(deadline.time))
            for deadline in deadlines(row)
        ],
        rejection=row.rejection,
        suspended_state=pb.OrderState.Value(f"ORDER_STATE_{row.suspended_state or _UNSPECIFIED}"),
        export=_export_name(name, view.export),
        export_state=pb.ExportState.Value(f"EXPORT_STATE_{view.export.state if view.export else _UNSPECIFIED}"),
        close_time=convert.timestamp(row.close_time),
    )


def preview(item: Preview) -> pb.PreviewExportResponse:
    """What an export would hold; without where that was recorded."""
    return pb.PreviewExportResponse(
        record_counts=item.found.counts,
        withheld_counts=item.found.withheld,
        targets=[
            pb.TargetPreview(
                target=pb.OrderTarget(kind=kind, value=value),
                record_counts=counted.counts,
                holder_count=counted.holders,
                requires_interval=counted.requires_interval,
            )
            for (kind, value), counted in zip(item.scope.targets, item.found.targets, strict=True)
        ],
        scope=_scope(item.scope),
        scope_digest=item.digest,
        problems=item.found.problems,
        notes=item.scope.notes,
        recipient_fingerprint=item.recipient_fingerprint,
        document=item.document,
    )


def _instrument(message: pb.Instrument) -> Instrument:
    issued = convert.required_moment(message, "issue_time")
    return Instrument(
        type=_word(pb.InstrumentType.Name(message.type), "INSTRUMENT_TYPE_"),
        court_name=message.court_name,
        case_number=message.case_number,
        issuer_name=message.issuer_name,
        requesting_body=message.requesting_body,
        document_sha256=message.document_sha256,
        issue_time=issued,
        # One that prints no end is said to end when it was issued: the intake knows what the law gives it.
        expire_time=convert.moment(message, "expire_time") or issued,
        court_code=message.court_code,
        court_level=_word(pb.CourtLevel.Name(message.court_level), "COURT_LEVEL_"),
        issuer_title=message.issuer_title,
        receive_time=convert.moment(message, "receive_time"),
        receive_channel=_word(pb.ReceivedChannel.Name(message.receive_channel), "RECEIVED_CHANNEL_"),
        received_by=message.received_by,
        valid_from_time=convert.moment(message, "valid_from_time"),
        respond_time=convert.moment(message, "respond_time"),
        investigation_number=message.investigation_number,
        contact=message.contact,
        call_back=message.call_back,
        legal_basis=message.legal_basis,
        legal_section=message.legal_section,
        gag=_gag(message.gag) if message.HasField("gag") else Gag(),
        privileged_occupation=message.privileged_occupation,
        emergency=message.emergency,
        pages=message.pages,
        true_copy_stamp=message.true_copy_stamp,
        signature_check=_word(pb.SignatureCheck.Name(message.signature_check), "SIGNATURE_CHECK_"),
        language=message.language or "he",
        names_content=message.names_content,
        counsel_note=message.counsel_note,
    )


def _gag(message: pb.Gag) -> Gag:
    return Gag(_word(pb.GagKind.Name(message.kind), "GAG_KIND_"), convert.moment(message, "end_time"), message.from_staff)


def _scope(item: Scope) -> pb.OrderScope:
    message = pb.OrderScope(
        categories=item.categories,
        start_time=convert.timestamp(item.start_time),
        end_time=convert.timestamp(item.end_time),
        fields=item.fields,
        levels=item.levels,
        counterpart_disclosure=pb.CounterpartDisclosure.Value(f"COUNTERPART_DISCLOSURE_{item.counterpart}"),
        max_rows=item.max_rows,
        declined_categories=item.declined,
        time_zone=item.time_zone,
        local_start=item.local_start,
        local_end=item.local_end,
    )
    for target in item.targets:
        period = item.periods.get(target)
        own = {"start_time": convert.timestamp(period.start), "end_time": convert.timestamp(period.end)} if period else {}
        message.targets.append(pb.OrderTarget(kind=target[0], value=target[1], **own))
    return message


def _export_name(order_name: str, row: ExportRow | None) -> str:
    return f"{order_name}/exports/{row.export_id}" if row is not None else ""


def _word(name: str, prefix: str) -> str:
    """The word of an enum value; empty for the unspecified one."""
    word = name.removeprefix(prefix)
    if word == _UNSPECIFIED and prefix == "INSTRUMENT_TYPE_":
        raise InvalidArgumentError("FIELD_REQUIRED", "field 'instrument.type' is empty", field="instrument.type")
    return "" if word == _UNSPECIFIED else word
