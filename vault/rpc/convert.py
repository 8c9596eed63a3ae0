"""Between the messages of vault.v1 and the values of the flows. No rules here."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from vault.audit import entry as audit_entry
from vault.errors import InvalidArgumentError, VaultError
from vault.names import SYSTEM_LOG, ChildName, RecordName, SubjectName
from vault.operations.attempt import Justification, Receipt
from vault.operations.create import Created
from vault.operations.hold import HoldView
from vault.operations.idempotency import RequestKey
from vault.operations.metadata import RecordView, SubjectView
from vault.operations.notify import COLLECTION
from vault.operations.preparing import RecordInput
from vault.operations.reveal import Released
from vault.operations.tenant import TenantChange, TenantView
from vault.operations.transport import Wanted
from vault.policy.decide import View
from vault.rpc.status import status_of
from vault.store.erasures import Count, ErasureRow
from vault.store.exports import ExportRow
from vault.store.jobs import JobRow
from vault.store.notifications import NotificationRow
from vault.store.registers import CustomerRequestRow
from vault.store.rotations import RotationRow
from vault.store.settings import LevelRow, TransportRow
from vault.store.tenants import TenantRow
from vault.v1 import erasure_service_pb2, legal_service_pb2, operations_service_pb2, resources_pb2, tenant_service_pb2, vault_service_pb2

_TENANT_STATES = {
    "ACTIVE": resources_pb2.TENANT_STATE_ACTIVE,
    "TERMINATING": resources_pb2.TENANT_STATE_TERMINATING,
    "TERMINATED": resources_pb2.TENANT_STATE_TERMINATED,
}


def justification(message: resources_pb2.Justification) -> Justification:
    """Why a call wants what it asks for."""
    return Justification(message.purpose, message.reference, message.reason)


def view(value: int) -> View:
    """The view asked for; masked unless told."""
    return View.FULL if value == resources_pb2.VIEW_FULL else View.MASKED


def mask(message: FieldMask) -> frozenset[str] | None:
    """Field names of a mask; None if it is empty."""
    return frozenset(message.paths) or None


def moment(message: Message, field: str) -> datetime | None:
    """A timestamp field, or None if it is not set.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgumentError("FIELD_INVALID", f"field '{field}' is not a time", field=field) from None


def required_moment(message: Message, field: str) -> datetime:
    """A timestamp field that the edge made sure of.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID.
    """
    value = moment(message, field)
    if value is None:
        raise InvalidArgumentError("FIELD_REQUIRED", f"field '{field}' is empty", field=field)
    return value


def request_key(request: Message, request_id: str, method: str) -> RequestKey:
    """What makes a repeated request recognisable: its id and its deterministic bytes."""
    return RequestKey(request_id, method, request.SerializeToString(deterministic=True) if request_id else b"")


def record_input(message: vault_service_pb2.RecordInput) -> RecordInput:
    """A record as the caller sends it."""
    return RecordInput(
        category=message.category,
        fields=values(message.fields),
        extra=dict(message.extra),
        subject=message.subject,
        level=message.level,
        list_id=message.list,
        readd_source=message.readd_source,
    )


def values(fields: Mapping[str, resources_pb2.FieldValue]) -> dict[str, str | bytes]:
    """Values by field name."""
    return {name: value.data if value.WhichOneof("kind") == "data" else value.text for name, value in fields.items()}


def receipt(value: Receipt) -> resources_pb2.Receipt:
    """Where the log recorded something."""
    return resources_pb2.Receipt(log=value.log, index=value.index)


def receipt_of(error: VaultError) -> resources_pb2.Receipt | None:
    """Where the log recorded a refusal."""
    return resources_pb2.Receipt(log=error.receipt[0], index=error.receipt[1]) if error.receipt else None


def revealed(item: Released) -> resources_pb2.RevealedRecord:
    """Released values."""
    fields = {
        name: resources_pb2.FieldValue(data=value) if isinstance(value, bytes) else resources_pb2.FieldValue(text=value)
        for name, value in item.fields.items()
    }
    return resources_pb2.RevealedRecord(
        name=str(item.name),
        category=item.category,
        fields=fields,
        extra=item.extra,
        view=resources_pb2.VIEW_FULL if item.view is View.FULL else resources_pb2.VIEW_MASKED,
        erased_parties=item.erased_parties,
    )


def reveal_result(outcome: Released | VaultError) -> vault_service_pb2.RevealResult:
    """One item of a batch or stream."""
    if isinstance(outcome, VaultError):
        return vault_service_pb2.RevealResult(status=status_of(outcome), receipt=receipt_of(outcome))
    assert outcome.receipt is not None  # noqa: S101 - the flow sets it before it returns
    return vault_service_pb2.RevealResult(record=revealed(outcome), receipt=receipt(outcome.receipt))


def create_result(outcome: Created | VaultError, views: Mapping[str, RecordView]) -> vault_service_pb2.CreateResult:
    """One item of a batch."""
    if isinstance(outcome, VaultError):
        return vault_service_pb2.CreateResult(status=status_of(outcome), receipt=receipt_of(outcome))
    stored = views.get(outcome.name.record)
    message = record(outcome.name.tenant, stored) if stored else resources_pb2.Record(name=str(outcome.name))
    return vault_service_pb2.CreateResult(record=message, receipt=receipt(outcome.receipt))


def record(tenant: str, item: RecordView) -> resources_pb2.Record:
    """A record without its values."""
    row = item.row
    # A name leads to the record by one of its parties, and the owner may be erased where another party is left.
    parties = [part.subject for part in item.parts]
    owner = row.subject_id if row.subject_id in parties or not parties else parties[0]
    return resources_pb2.Record(
        name=str(RecordName(tenant, owner, row.record_id)),
        category=row.category,
        level=row.level,
        create_time=timestamp(row.create_time),
        occur_time=timestamp(row.occur_time),
        valid_from_time=timestamp(row.valid_from),
        valid_to_time=timestamp(row.valid_to),
        expire_time=timestamp(row.expire_time),
        list=row.list_id,
        metadata=dict(row.metadata),
        field_names=sorted(name for part in item.parts for name in part.field_names),
        parties=[
            *(resources_pb2.Party(role=part.role, subject=str(SubjectName(tenant, part.subject))) for part in item.parts),
            *(resources_pb2.Party(role=role, erased=True) for role in item.erased_parties),
        ],
        etag=str(row.version),
    )


_SUBJECT_STATES = {
    "ACTIVE": resources_pb2.SUBJECT_STATE_ACTIVE,
    "RESTRICTED": resources_pb2.SUBJECT_STATE_RESTRICTED,
    "ERASING": resources_pb2.SUBJECT_STATE_ERASED,
    "ERASED": resources_pb2.SUBJECT_STATE_ERASED,
}


def subject(tenant: str, item: SubjectView) -> resources_pb2.Subject:
    """A subject without any value."""
    return resources_pb2.Subject(
        name=str(SubjectName(tenant, item.row.subject_id)),
        state=_SUBJECT_STATES[item.row.state],
        create_time=timestamp(item.row.create_time),
        record_counts=item.counts,
    )


def tenant(row: TenantRow, levels: Sequence[LevelRow] = (), transport: Sequence[TransportRow] = ()) -> resources_pb2.Tenant:
    """A tenant with what it decided about itself."""
    return resources_pb2.Tenant(
        name=f"tenants/{row.tenant_id}",
        display_name=row.display_name,
        state=_TENANT_STATES[row.state],
        reference_pattern=row.reference_pattern,
        create_time=timestamp(row.create_time),
        etag=str(row.version),
        root_key=row.root_key,
        content_levels=[
            resources_pb2.ContentLevel(level=r.level, channel=r.channel, enabled=r.enabled, retention_days=r.retention_days) for r in levels
        ],
        transport_policies=[
            resources_pb2.TransportPolicy(
                edge_service=r.edge_service,
                plaintext_allowed=True,
                signer=r.signer,
                risk_text_version=r.risk_text_version,
                sign_time=timestamp(r.sign_time),
                expire_time=timestamp(r.expire_time),
            )
            for r in transport
        ],
    )


def tenant_view(view: TenantView) -> resources_pb2.Tenant:
    """A tenant as it was read."""
    message = tenant(view.row, view.content_levels, view.transport_policies)
    message.notification_url = view.notification_url
    if (attested := timestamp(view.recipients_attest_time)) is not None:
        message.recipients_attest_time.CopyFrom(attested)
    return message


def tenant_change(message: resources_pb2.Tenant, paths: Collection[str]) -> TenantChange:
    """New settings; what the mask does not name stays as it is."""
    levels = tuple(LevelRow(item.level, item.channel, item.enabled, item.retention_days) for item in message.content_levels)
    # What may not be unencrypted is what is not there.
    transport = tuple(
        Wanted(item.edge_service, item.signer, item.risk_text_version, moment(item, "sign_time"), moment(item, "expire_time"))
        for item in message.transport_policies
        if item.plaintext_allowed
    )
    return TenantChange(
        display_name=message.display_name if "display_name" in paths else None,
        reference_pattern=message.reference_pattern if "reference_pattern" in paths else None,
        etag=message.etag,
        content_levels=levels if "content_levels" in paths else None,
        transport_policies=transport if "transport_policies" in paths else None,
        notification_url=message.notification_url if "notification_url" in paths else None,
    )


def rotation(row: RotationRow) -> operations_service_pb2.KeyRotation:
    """A key rotation."""
    return operations_service_pb2.KeyRotation(
        name=str(ChildName(row.tenant_id, "keyRotations", row.rotation_id)),
        kind=operations_service_pb2.KeyKind.Value(f"KEY_KIND_{row.kind}"),
        subject=str(SubjectName(row.tenant_id, row.subject_id)) if row.subject_id else "",
        root_key=row.root_key,
        state=operations_service_pb2.KeyRotationState.Value(f"KEY_ROTATION_STATE_{row.state}"),
        version=row.version,
        done_count=row.done_count,
        total_count=row.total_count,
        failed_count=row.failed_count,
        create_time=timestamp(row.create_time),
        finish_time=timestamp(row.finish_time),
    )


def customer_request(tenant_id: str, row: CustomerRequestRow) -> tenant_service_pb2.CustomerRequest:
    """A customer request."""
    return tenant_service_pb2.CustomerRequest(
        name=str(ChildName(tenant_id, "customerRequests", row.request_id)),
        list=row.list_id,
        operations=row.operations,
        expire_time=timestamp(row.expire_time),
        create_time=timestamp(row.create_time),
        close_time=timestamp(row.close_time),
    )


def job(tenant_id: str, row: JobRow) -> tenant_service_pb2.Job:
    """A job."""
    return tenant_service_pb2.Job(
        name=str(ChildName(tenant_id, "jobs", row.job_id)),
        list=row.list_id,
        expire_time=timestamp(row.expire_time),
        create_time=timestamp(row.create_time),
        close_time=timestamp(row.close_time),
    )


def notification(tenant_id: str, row: NotificationRow) -> tenant_service_pb2.Notification:
    """A task to tell somebody something."""
    return tenant_service_pb2.Notification(
        name=str(ChildName(tenant_id, COLLECTION, row.notification_id)),
        kind=tenant_service_pb2.NotificationKind.Value(f"NOTIFICATION_KIND_{row.kind}"),
        recipient=row.recipient,
        resource=row.resource,
        subject=str(SubjectName(tenant_id, row.subject_id)) if row.subject_id else "",
        categories=row.categories,
        state=tenant_service_pb2.NotificationState.Value(f"NOTIFICATION_STATE_{row.state}"),
        create_time=timestamp(row.create_time),
        due_time=timestamp(row.due_time),
        visible_time=timestamp(row.visible_time),
        attempts=row.attempts,
        last_error=row.last_error,
        acknowledged_by=row.acknowledged_by,
        acknowledge_time=timestamp(row.acknowledge_time),
    )


def erasure(tenant_id: str, row: ErasureRow, done: int) -> erasure_service_pb2.Erasure:
    """An erasure, and how many of the parts that it reaches are settled."""
    return erasure_service_pb2.Erasure(
        name=str(ChildName(tenant_id, "erasures", row.erasure_id)),
        subject=str(SubjectName(tenant_id, row.subject_id)),
        state=erasure_service_pb2.ErasureState.Value(f"ERASURE_STATE_{row.state}"),
        requester=row.requester,
        approver=row.approvers[-1] if row.approvers else "",
        request_time=timestamp(row.request_time),
        finish_time=timestamp(row.finish_time),
        outcomes=erasure_outcomes(row.outcomes or row.preview),
        requester_kind=erasure_service_pb2.RequesterKind.Value(f"REQUESTER_KIND_{row.requester_kind}"),
        reference=row.reference,
        approvers=row.approvers,
        required_approvals=row.required_approvals,
        total_count=sum(count.count for count in row.preview),
        done_count=done,
    )


def erasure_outcomes(counts: Sequence[Count]) -> list[erasure_service_pb2.ErasureOutcome]:
    """What an erasure does, or did, to each category."""
    lines: dict[str, erasure_service_pb2.ErasureOutcome] = {}
    for count in counts:
        line = lines.setdefault(count.category, erasure_service_pb2.ErasureOutcome(category=count.category))
        line.found_count += count.count
        name = f"{count.outcome}_count"
        setattr(line, name, getattr(line, name) + count.count)
        if count.basis:
            until = timestamp(datetime.fromisoformat(count.until)) if count.until else None
            line.exceptions.append(erasure_service_pb2.ErasureException(basis=_basis(count.basis), count=count.count, end_time=until))
    return [lines[category] for category in sorted(lines)]


def _basis(word: str) -> erasure_service_pb2.ErasureExceptionBasis.ValueType:
    """The exception; a hold is not told from other duties to keep (N16)."""
    name = "RETAINED_UNDER_LAW" if word == "legal-hold" else word.upper().replace("-", "_")
    return erasure_service_pb2.ErasureExceptionBasis.Value(f"ERASURE_EXCEPTION_BASIS_{name}")


def export(tenant_id: str, row: ExportRow) -> legal_service_pb2.Export:
    """An export without its package."""
    return legal_service_pb2.Export(
        name=f"tenants/{tenant_id}/orders/{row.order_id}/exports/{row.export_id}",
        state=legal_service_pb2.ExportState.Value(f"EXPORT_STATE_{row.state}"),
        record_counts=row.record_counts,
        withheld_counts=row.withheld_counts,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        create_time=timestamp(row.create_time),
        seal_time=timestamp(row.seal_time),
        deliver_time=timestamp(row.deliver_time),
        confirm_time=timestamp(row.confirm_time),
    )


def hold(tenant_id: str, item: HoldView) -> legal_service_pb2.Hold:
    """A hold with what it covers; a record is named by its owner."""
    row = item.row
    named = [scope for scope in item.scopes if scope.record_id]
    return legal_service_pb2.Hold(
        name=str(ChildName(tenant_id, "holds", row.hold_id)),
        order=row.reference if row.kind == "ORDER" else "",
        expire_time=timestamp(row.expire_time),
        kind=legal_service_pb2.HoldKind.Value(f"HOLD_KIND_{row.kind}"),
        reference=row.reference,
        subjects=[] if named else sorted({str(SubjectName(tenant_id, scope.subject_id)) for scope in item.scopes if scope.subject_id}),
        categories=sorted({scope.category for scope in item.scopes} - {""}),
        records=sorted({str(RecordName(tenant_id, scope.subject_id, scope.record_id)) for scope in named}),
        start_time=timestamp(row.start_time),
        end_time=timestamp(row.end_time),
        review_time=timestamp(row.review_time),
        placed_by=row.placed_by,
        create_time=timestamp(row.create_time),
        release_time=timestamp(row.release_time),
        released_by=row.released_by,
    )


def entry(log: str, index: int, content: bytes) -> resources_pb2.AuditEntry:
    """An entry of the log with its stored bytes."""
    said = audit_entry.decode(content)
    name = f"auditEntries/{index}" if log == SYSTEM_LOG else f"tenants/{log}/auditEntries/{index}"
    return resources_pb2.AuditEntry(
        name=name,
        content=content,
        time=timestamp(said.time),
        actor=said.actor,
        on_behalf_of=said.on_behalf_of,
        method=said.method,
        operation=said.operation,
        category=said.category,
        purpose=said.purpose,
        reference=said.reference,
        decision=said.decision,
        reason=said.reason,
        rule=said.rule,
        subjects=said.subjects,
        records=said.records,
        trace_id=said.trace_id,
        tenant=said.tenant,
        component=said.component,
        actor_kind=said.actor_kind,
        auth_method=said.auth_method,
        fields=said.fields,
        count=said.count,
        consent_basis=said.consent_basis,
        policy_version=said.policy_version,
        resource=said.resource,
        gagged=said.gagged,
    )


def timestamp(value: datetime | None) -> Timestamp | None:
    """A time as a message; None stays None."""
    if value is None:
        return None
    message = Timestamp()
    message.FromDatetime(value)
    return message
