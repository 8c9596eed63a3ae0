"""Between the messages of RightsService and the values of its flows. No rules here."""

from vault import names
from vault.names import ChildName, SubjectName, TenantName
from vault.operations.consent import NewConsent
from vault.operations.guardian import NewGuardian
from vault.operations.preference import Choice
from vault.operations.subject_request import COLLECTION, NewRequest
from vault.rpc.convert import moment, timestamp
from vault.store.subject_requests import SubjectRequestRow
from vault.v1 import rights_service_pb2


def whose(name: str) -> SubjectName | TenantName:
    """Who consents: a person, or the tenant itself for what is its own.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    return names.parse_subject(name, field="subject") if name.count("/") != 1 else names.parse_tenant(name, field="subject")


def consent(request: rights_service_pb2.RecordConsentRequest) -> NewConsent:
    """What is consented to."""
    return NewConsent(request.scope, request.text_version, request.evidence_sha256, moment(request, "expire_time"))


def choice(request: rights_service_pb2.SetMarketingPreferenceRequest) -> Choice:
    """What a person chose about advertising."""
    return Choice(
        allowed=request.allowed,
        channel=request.channel,
        basis=request.basis,
        source=request.source,
        text_version=request.text_version,
    )


def guardian(request: rights_service_pb2.RegisterGuardianConsentRequest) -> NewGuardian:
    """A guardian and how they were verified."""
    return NewGuardian(request.evidence_sha256, request.method, request.guardian_name, request.guardian_contact, request.birth_date)


def new_request(request: rights_service_pb2.OpenSubjectRequestRequest) -> NewRequest:
    """A request as it came in."""
    return NewRequest(
        subject=subject_if_any(request.subject),
        kind=request.kind,
        channel=request.channel,
        requester=request.requester,
        receive_time=moment(request, "receive_time"),
    )


def subject_if_any(name: str) -> SubjectName | None:
    """A subject that may be left out.

    Raises:
        InvalidArgumentError: NAME_INVALID.
    """
    return names.parse_subject(name, field="subject") if name else None


def subject_request(tenant: str, row: SubjectRequestRow) -> rights_service_pb2.SubjectRequest:
    """A request."""
    return rights_service_pb2.SubjectRequest(
        name=str(ChildName(tenant, COLLECTION, row.request_id)),
        subject=str(SubjectName(tenant, row.subject_id)) if row.subject_id else "",
        kind=row.kind,
        channel=row.channel,
        requester=row.requester,
        receive_time=timestamp(row.receive_time),
        due_time=timestamp(row.due_time),
        verify_time=timestamp(row.verify_time),
        extend_time=timestamp(row.extend_time),
        close_time=timestamp(row.close_time),
    )
