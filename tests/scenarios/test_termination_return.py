"""What a customer takes with it when its contract ends: all that is processed for it, recorded before it leaves, to nobody else (L36, I1)."""

import csv
import io
import json
from datetime import timedelta

from tests.builders import LINE, PHONE, at, contact, create_all, entries, id_of, subject_of
from tests.faults import quiet
from tests.serving import Serving, why
from tests.terminating import (
    GRACE,
    LISTED,
    Customer,
    approved,
    customer,
    ended,
    ending,
    return_request,
    returned,
    returning,
    told,
    wound_up,
)
from vault.v1.rights_service_pb2 import RestrictSubjectRequest
from vault.v1.tenant_service_pb2 import (
    RETURN_FORMAT_CSV,
    CloseCustomerRequestRequest,
    OpenCustomerRequestRequest,
    ReturnTenantDataRequest,
    ReturnTenantDataResponse,
)

MANY = 450


async def begun(served: Serving) -> Customer:
    await served.create_tenants()
    await quiet(served)
    return await customer(served)


def lines(pages: list[ReturnTenantDataResponse]) -> dict[str, list[dict[str, object]]]:
    """The records by category."""
    found: dict[str, list[dict[str, object]]] = {}
    for page in pages:
        found.setdefault(page.category, []).extend(json.loads(line) for line in page.data.decode().splitlines())
    return found


async def test_l36_a_customer_takes_what_is_processed_for_it_and_nothing_else(served: Serving) -> None:
    """L36: lists, templates, reports on messages; not the operator's own records, and not its system files (P3.2-lvl-files-use)."""
    names = await begun(served)
    await ended(served)
    admin = served.service("acme-admin")
    before = (await told(served)).termination

    pages = list(await returned(admin, await return_request(served)))

    found = lines(pages)
    assert found.keys() == {
        *("end-customer-contact", "list-membership", "list-profile", "email-template", "message-metadata", "incoming-message")
    }
    contacts = {line["record"]: line for line in found["end-customer-contact"]}
    assert {line["phone"] for line in contacts.values()} == {PHONE, LISTED}
    assert contacts[id_of(names["contact"])]["email"] == "spring@example.com"
    assert contacts[id_of(names["contact"])]["list"] == "spring"
    [profile] = found["list-profile"]
    assert (profile["first_name"], profile["subject"]) == ("דנה", id_of(subject_of(names["contact"])))
    assert {line["level"] for line in found["incoming-message"]} == {"report"}
    assert [line["virtual_number"] for line in found["incoming-message"]] == [LINE]
    assert not before.HasField("return_time")
    assert (await told(served)).termination.HasField("return_time")


async def test_i1_every_page_is_recorded_before_it_leaves(served: Serving) -> None:
    """I1: one entry per page names its records; a page is all that is in memory."""
    await served.create_tenants()
    await quiet(served)
    people = [contact(f"+97250221{n:04}", list_id="spring") for n in range(MANY)]
    stored = [result.record.name for result in await create_all(served.service("acme-app"), people)]
    await ended(served)
    admin, reference = served.service("acme-admin"), await return_request(served)

    request = ReturnTenantDataRequest(name="tenants/acme", justification=returning(reference))
    stream = admin.tenants.ReturnTenantData(request, timeout=30)
    first = await stream.read()
    log = await entries(served)
    stream.cancel()
    pages = list(await returned(admin, reference))

    assert isinstance(first, ReturnTenantDataResponse)
    entry = log[first.receipt.index]
    assert (entry.operation, entry.category, len(entry.records)) == ("export", "end-customer-contact", 200)
    assert entry.reference == reference
    assert set(entry.records) == {json.loads(line)["record"] for line in first.data.decode().splitlines()}
    assert [page.count for page in pages] == [200, 200, 50]
    assert {line["record"] for line in lines(pages)["end-customer-contact"]} == {id_of(name) for name in stored}


async def test_l36_nobody_else_takes_it_and_nobody_at_another_time(served: Serving) -> None:
    """L36, P3.2.1-rep: the customer, or the account manager at its request; from the approval until the grace is over."""
    await begun(served)
    admin, manager, other = served.service("acme-admin"), served.service("account-manager"), served.service("globex-admin")
    reference = await return_request(served)

    async def refused(caller: object, said: str = reference, purpose: str = "customer-request") -> str:
        request = ReturnTenantDataRequest(name="tenants/acme", justification=returning(said, purpose))
        error = await caller.refused(caller.tenants.ReturnTenantData, request, streams=True)  # type: ignore[attr-defined]
        return str(error.reason)

    early = await refused(admin)
    await approved(served, ending(served.clock() + timedelta(hours=1)))
    in_time = await returned(admin, reference)
    served.clock.offset += timedelta(hours=1)
    await wound_up(served)
    # The end of the contract closed it.
    closed = await refused(admin)
    reference = await return_request(served)
    by_manager = await returned(manager, reference)
    reasons = {
        "no request": await refused(manager, "END-1"),
        "another purpose": await refused(admin, reference, "customer-report"),
        "another tenant": await refused(other, reference),
        "another operation": await refused_request(served),
    }
    await admin.call(admin.tenants.CloseCustomerRequest, CloseCustomerRequestRequest(name=reference))
    reasons["closed"] = await refused(admin, reference)
    served.clock.offset += GRACE
    late = await refused(admin, await return_request(served))

    assert (early, closed, late) == ("NOT_RETURNABLE", "CUSTOMER_REQUEST_REQUIRED", "NOT_RETURNABLE")
    assert in_time
    assert sum(page.count for page in by_manager) == sum(page.count for page in in_time)
    assert reasons == {
        "no request": "CUSTOMER_REQUEST_REQUIRED",
        "another purpose": "PURPOSE_NOT_ALLOWED",
        "another tenant": "TENANT_NOT_FOUND",
        "another operation": "TENANT_TERMINATED",
        "closed": "CUSTOMER_REQUEST_REQUIRED",
    }


async def refused_request(served: Serving) -> str:
    """After the end a customer asks for nothing but its data."""
    admin = served.service("acme-admin")
    request = OpenCustomerRequestRequest(
        parent="tenants/acme", operations=["reveal", "export"], expire_time=at(served.clock() + timedelta(days=1))
    )
    return (await admin.refused(admin.tenants.OpenCustomerRequest, request)).reason


async def test_l36_as_csv_with_a_header_per_category_and_without_whoever_is_restricted(served: Serving) -> None:
    """L31, L36: what is restricted is left out and counted; a number is no formula."""
    names = await begun(served)
    officer = served.service("privacy-officer")
    because = why("data-subject-request", reason="the person asked for a restriction")
    await officer.call(officer.rights.RestrictSubject, RestrictSubjectRequest(subject=subject_of(names["listed"]), justification=because))
    await ended(served)

    pages = await returned(served.service("acme-admin"), await return_request(served), RETURN_FORMAT_CSV)

    [page] = [page for page in pages if page.category == "end-customer-contact"]
    [row] = list(csv.DictReader(io.StringIO(page.data.decode())))
    assert (page.count, page.withheld) == (1, 1)
    assert row["phone"] == f"'{PHONE}"
    assert row["record"] == id_of(names["contact"])
    assert LISTED.encode() not in b"".join(page.data for page in pages)
