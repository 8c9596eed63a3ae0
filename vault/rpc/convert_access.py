"""Between the messages of AccessService and the values of its flows. No rules here."""

from typing import Any

from vault import names
from vault.names import ChildName, SubjectName
from vault.operations.agreement import NewAgreement
from vault.operations.incident import IncidentView, NewIncident
from vault.rpc import convert
from vault.rpc.convert import timestamp
from vault.store.agreements import AgreementRow
from vault.store.role_grants import RoleGrantRow
from vault.v1 import access_service_pb2


def new_incident(request: access_service_pb2.OpenIncidentRequest) -> NewIncident:
    """What is opened.

    Raises:
        InvalidArgumentError: NAME_INVALID, FIELD_INVALID.
    """
    return NewIncident(
        kind=access_service_pb2.IncidentKind.Name(request.kind).removeprefix("INCIDENT_KIND_"),
        summary=request.summary,
        subjects=tuple(names.parse_subject(name, field=f"subjects[{number}]") for number, name in enumerate(request.subjects)),
        expire_time=convert.moment(request, "expire_time"),
    )


def incident(tenant_id: str, item: IncidentView) -> access_service_pb2.Incident:
    """An incident without what happened."""
    row = item.row
    return access_service_pb2.Incident(
        name=str(ChildName(tenant_id, "incidents", row.incident_id)),
        create_time=timestamp(row.create_time),
        expire_time=timestamp(row.expire_time),
        kind=access_service_pb2.IncidentKind.Value(f"INCIDENT_KIND_{row.kind}"),
        state=access_service_pb2.IncidentState.Value(f"INCIDENT_STATE_{item.state}"),
        subjects=[str(SubjectName(tenant_id, subject)) for subject in row.subjects],
        opened_by=row.opened_by,
        approved_by=row.approved_by,
        approve_time=timestamp(row.approve_time),
        close_time=timestamp(row.close_time),
        review_due_time=timestamp(item.review_due_time),
        review_time=timestamp(row.review_time),
        authority_due_time=timestamp(item.authority_due_time),
        gdpr_due_time=timestamp(item.gdpr_due_time),
        severity="severe" if item.authority_due_time else "ordinary",
        **_why(item),
    )


def _why(item: IncidentView) -> dict[str, Any]:
    """What the vault opened it for; nothing where somebody opened it."""
    trigger = item.trigger
    if trigger is None:
        return {}
    return {
        "trigger": trigger.trigger,
        "principal": trigger.cause,
        "window_start_time": timestamp(trigger.start_time),
        "record_count": trigger.record_count,
        "subject_count": trigger.subject_count,
    }


def role_grant(row: RoleGrantRow) -> access_service_pb2.RoleGrant:
    """A grant, or a revocation."""
    return access_service_pb2.RoleGrant(
        principal=row.principal,
        role=row.role,
        grant_time=timestamp(row.grant_time) if row.granted_by else None,
        expire_time=timestamp(row.expire_time),
        revoke_time=timestamp(row.revoke_time),
        attest_time=timestamp(row.attest_time),
        granted_by=row.granted_by,
    )


def new_agreement(request: access_service_pb2.RegisterAgreementRequest) -> NewAgreement:
    """What was signed.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, FIELD_INVALID.
    """
    return NewAgreement(
        party=request.party,
        purposes=tuple(request.purposes),
        document_sha256=request.document_sha256,
        sign_time=convert.required_moment(request, "sign_time"),
        expire_time=convert.required_moment(request, "expire_time"),
    )


def agreement(tenant_id: str, row: AgreementRow) -> access_service_pb2.Agreement:
    """An agreement."""
    return access_service_pb2.Agreement(
        name=str(ChildName(tenant_id, "agreements", row.agreement_id)),
        party=row.party,
        purposes=row.purposes,
        sign_time=timestamp(row.sign_time),
        expire_time=timestamp(row.expire_time),
        document_sha256=row.document_sha256,
    )
