"""Holds for tests: requests to change, the officer who places them, and the ways to place, release and list them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from tests.builders import at
from tests.serving import Caller, Serving, why
from vault.client.errors import CallError
from vault.v1.legal_service_pb2 import (
    HOLD_KIND_CLAIM,
    HOLD_KIND_ORDER,
    HOLD_KIND_PRESERVATION,
    Hold,
    HoldKind,
    ListHoldsRequest,
    PlaceHoldRequest,
    ReleaseHoldRequest,
)
from vault.v1.resources_pb2 import Justification

KEEPING = "what the case is about must not vanish"
_PURPOSES = {HOLD_KIND_ORDER: "court-order", HOLD_KIND_PRESERVATION: "court-order", HOLD_KIND_CLAIM: "claim-or-complaint"}


async def officer_of(served: Serving, *, tenants: Sequence[str] = ("*",)) -> Caller:
    """A legal officer whose agreement is in force."""
    await served.sign_nda("e-legal")
    return served.person("e-legal", "legal-officer", tenants=tenants)


def because(kind: "HoldKind.ValueType" = HOLD_KIND_PRESERVATION, reference: str = "CASE-17") -> Justification:
    """Why a hold of a kind is placed or released."""
    return why(_PURPOSES[kind], reference, KEEPING)


def wanted(
    *subjects: str,
    kind: "HoldKind.ValueType" = HOLD_KIND_PRESERVATION,
    reference: str = "CASE-17",
    records: Sequence[str] = (),
    categories: Sequence[str] = (),
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    until: datetime | None = None,
    review: datetime | None = None,
    tenant: str = "acme",
    request_id: str = "",
) -> PlaceHoldRequest:
    """A sound request; for a letter that asks to preserve unless told."""
    return PlaceHoldRequest(
        parent=f"tenants/{tenant}",
        kind=kind,
        justification=because(kind, reference),
        subjects=subjects,
        records=records,
        categories=categories,
        start_time=at(start) if start else None,
        end_time=at(end) if end else None,
        expire_time=at(until) if until else None,
        review_time=at(review) if review else None,
        request_id=request_id,
    )


def claim(
    served: Serving, *subjects: str, records: Sequence[str] = (), categories: Sequence[str] = (), days: int = 300
) -> PlaceHoldRequest:
    """A request to hold for a claim, which lasts until it is released."""
    review = served.clock() + timedelta(days=days)
    return wanted(*subjects, kind=HOLD_KIND_CLAIM, records=records, categories=categories, review=review)


async def place(caller: Caller, request: PlaceHoldRequest) -> Hold:
    """Place a hold."""
    return (await caller.call(caller.legal.PlaceHold, request)).hold


async def not_placed(caller: Caller, request: PlaceHoldRequest) -> CallError:
    """Be refused to place a hold."""
    return await caller.refused(caller.legal.PlaceHold, request)


async def release(caller: Caller, hold: Hold) -> Hold:
    """Release a hold."""
    request = ReleaseHoldRequest(name=hold.name, justification=because(hold.kind))
    return (await caller.call(caller.legal.ReleaseHold, request)).hold


async def listed(served: Serving, tenant: str = "acme") -> list[Hold]:
    """The holds of a tenant, as the auditor sees them."""
    auditor = served.service("auditor")
    return list((await auditor.call(auditor.legal.ListHolds, ListHoldsRequest(parent=f"tenants/{tenant}"))).holds)
