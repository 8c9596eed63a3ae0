"""Ends of contracts for tests: asked for, approved, carried out step by step; and a customer who has something of everything."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.builders import (
    OTHER_PHONE,
    PHONE,
    account,
    at,
    call_detail,
    contact,
    create,
    incoming,
    mapping,
    outgoing,
    profile,
    record,
    subject_of,
)
from tests.serving import Caller, Serving, why
from vault.operations import wind_up
from vault.operations.upkeep import upkeep_caller
from vault.v1.resources_pb2 import Justification
from vault.v1.tenant_service_pb2 import (
    RETURN_FORMAT_JSONL,
    TERMINATION_PARTY_CUSTOMER,
    ApproveTerminationRequest,
    GetTerminationReportRequest,
    GetTerminationReportResponse,
    OpenCustomerRequestRequest,
    ReturnFormat,
    ReturnTenantDataRequest,
    ReturnTenantDataResponse,
    TerminateTenantRequest,
    Termination,
)
from vault.v1.vault_service_pb2 import RecordInput

GRACE = timedelta(days=30)
ENDING = why("service-delivery", "END-1", "the customer gave notice in writing")
# In both the list and in calls and messages; in the list only.
LISTED = "+972502345670"
MAIL = "dana@example.com"


@dataclass(frozen=True, slots=True)
class Customer:
    """Names of the records of a customer, by what they are."""

    names: dict[str, str]

    def __getitem__(self, what: str) -> str:
        return self.names[what]


def message(recipient: str, channel: str = "SMS") -> RecordInput:
    """The report row of a message."""
    said = {"message_id": "m-1", "channel": channel, "submitted_at": "2026-11-02T08:15:00Z", "status": "delivered", "sender": "shop"}
    return record("message-metadata", {**said, "recipient_phone": recipient})


async def customer(served: Serving) -> Customer:
    """A customer who has something of everything that the end of a contract treats in a way of its own."""
    app, engine, num2 = served.service("acme-app"), served.service("engine"), served.service("num2")
    billing, reporting, admin = served.service("billing"), served.service("reporting"), served.service("acme-admin")
    names: dict[str, str] = {}

    async def put(what: str, caller: Caller, new: RecordInput, purpose: str = "") -> str:
        names[what] = (await create(caller, new, purpose=purpose)).name
        return subject_of(names[what])

    person = await put("contact", app, contact(PHONE, list_id="spring", email="spring@example.com"))
    await put("profile", app, profile(person, first_name="דנה"))
    await put("member", app, record("list-membership", {"source": "WEB"}, subject=person, list_id="spring"))
    await put("listed", app, contact(LISTED, list_id="spring"))
    await put("template", admin, record("email-template", {"template_id": "t-1", "html": b"<p>"}, subject=person))
    await put("sms", engine, message(PHONE))
    await put("voice", engine, message(PHONE, "VOICE"))
    await put("reply", engine, incoming("report"))
    await put("file", engine, outgoing(person, "system-file"))
    await put("call", engine, call_detail())
    await put("mapping", num2, mapping(OTHER_PHONE, PHONE, begin="2026-01-01T00:00:00Z"))
    customer = await put("account", billing, account(phone="+972502345671", company_name="Acme", billing_address="Herzl 1, Haifa"))
    await put("invoice", billing, invoice(customer), "billing")
    await put("card", billing, card(customer), "billing")
    await put("credential", app, record("access-credential", {"username": "acme-ftp"}))
    await put("report", reporting, usage_report(customer), "customer-report")
    return Customer(names)


def invoice(subject: str) -> RecordInput:
    """An invoice of the customer."""
    said = {"invoice_no": "i-1", "service": "VOICE", "issued_at": "2026-10-01T00:00:00Z", "amount": "100", "lines": "calls"}
    return record("billing-record", said, subject=subject)


def card(subject: str) -> RecordInput:
    """The card that the customer pays with."""
    said = {"psp_token": "tok", "brand": "visa", "last4": "1111", "exp_month": "1", "exp_year": "2030"}
    return record("payment-card", said, subject=subject)


def usage_report(subject: str) -> RecordInput:
    """A report to the customer, with an end customer's number in its rows."""
    said = {"report_id": "r-1", "service": "VOICE", "period_from": "2026-10-01T00:00:00Z", "period_to": "2026-11-01T00:00:00Z"}
    return record("usage-report", {**said, "aggregates": "12 calls", "rows": f"to {PHONE}: 12"}, subject=subject)


def ending(effective: datetime, **more: Any) -> TerminateTenantRequest:
    """A sound request for the end of acme's contract."""
    said = {"name": "tenants/acme", "asked_by": TERMINATION_PARTY_CUSTOMER, "justification": ENDING, **more}
    return TerminateTenantRequest(effective_time=at(effective), **said)


async def requested(served: Serving, request: TerminateTenantRequest) -> Termination:
    """Ask for it, as the operator."""
    await served.sign_nda("e-operator")
    operator = served.person("e-operator", "operator")
    return (await operator.call(operator.tenants.TerminateTenant, request)).termination


async def approved(served: Serving, request: TerminateTenantRequest) -> Termination:
    """Ask for it, and have the privacy officer approve it."""
    asked = await requested(served, request)
    await served.sign_nda("e-second")
    second = served.person("e-second", "privacy-officer")
    approval = ApproveTerminationRequest(name=request.name, effective_time=asked.effective_time, justification=ENDING)
    return (await second.call(second.tenants.ApproveTermination, approval)).termination


async def wound_up(served: Serving) -> None:
    """Do in this task all that is to be done now, where the server's own upkeep is stopped."""
    for _ in range(10_000):
        if not await wind_up.advance(served.vault, upkeep_caller()):
            return
    message = "the end of a contract does not come to its end"
    raise AssertionError(message)


async def ended(served: Serving, **more: Any) -> None:
    """End the contract now, to the beginning of the grace."""
    await approved(served, ending(served.clock(), **more))
    await wound_up(served)


async def finished(served: Serving, **more: Any) -> None:
    """End the contract now, and let the grace pass."""
    await ended(served, **more)
    served.clock.offset += GRACE + timedelta(seconds=1)
    await wound_up(served)


async def told(served: Serving) -> GetTerminationReportResponse:
    """What the report says now."""
    auditor = served.service("auditor")
    return await auditor.call(auditor.tenants.GetTerminationReport, GetTerminationReportRequest(name="tenants/acme"))


async def return_request(served: Serving) -> str:
    """The customer asks for its data; name of the request."""
    admin = served.service("acme-admin")
    request = OpenCustomerRequestRequest(parent="tenants/acme", operations=["export"], expire_time=at(served.clock() + timedelta(days=1)))
    return (await admin.call(admin.tenants.OpenCustomerRequest, request)).customer_request.name


def returning(reference: str, purpose: str = "customer-request") -> Justification:
    """Why a customer's data leaves."""
    return why(purpose, reference, "the customer takes its data at the end")


async def returned(
    caller: Caller, reference: str, form: ReturnFormat.ValueType = RETURN_FORMAT_JSONL
) -> Sequence[ReturnTenantDataResponse]:
    """Every page of the customer's data."""
    request = ReturnTenantDataRequest(name="tenants/acme", justification=returning(reference), format=form)
    return await caller.stream(caller.tenants.ReturnTenantData, request)
