"""Court orders for tests: a sound one to change, the people who work on it, and the way to its package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pyrage import x25519

from tests.builders import PHONE, at
from tests.serving import Caller, Serving
from vault.bundle.seal import open_sealed
from vault.bundle.verdict import Verdict
from vault.bundle.verify import verify
from vault.v1.legal_service_pb2 import (
    AUTHENTICITY_CONFIRMED,
    EXPORT_STATE_SEALED,
    INSTRUMENT_TYPE_COMMS_DATA,
    ApproveExportRequest,
    ApproveOrderRequest,
    AuthenticateOrderRequest,
    CreateExportRequest,
    DownloadExportRequest,
    DownloadExportResponse,
    Export,
    Order,
    OrderScope,
    PreviewExportRequest,
    PreviewExportResponse,
    RegisterOrderRequest,
    SetOrderScopeRequest,
)

START, END = "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"


@dataclass(slots=True)
class Team:
    """Who works on orders: the registrant, two who approve, one who carries; and the authority that receives."""

    registrant: Caller
    officer: Caller
    approver: Caller
    courier: Caller
    identity: x25519.Identity = field(default_factory=x25519.Identity.generate)


async def team(served: Serving) -> Team:
    """Four people whose agreements are in force."""
    await served.sign_nda("e-registrant", "e-officer", "e-approver", "e-courier")
    return fresh_team(served)


def fresh_team(served: Serving, identity: x25519.Identity | None = None) -> Team:
    """The same people, signed in at the time that the clock shows."""
    return Team(
        served.person("e-registrant", "legal-officer"),
        served.person("e-officer", "legal-officer"),
        served.person("e-approver", "legal-approver"),
        served.person("e-courier", "order-courier"),
        identity or x25519.Identity.generate(),
    )


def order_for(
    served: Serving,
    people: Team,
    *targets: tuple[str, str],
    categories: Sequence[str] = ("call-detail",),
    start: str = START,
    end: str = END,
    fields: Sequence[str] = (),
    tenant: str = "acme",
    document: bytes = b"\1" * 32,
    lasting: timedelta = timedelta(days=14),
) -> RegisterOrderRequest:
    """A sound order for communications data of a number and a week."""
    request = RegisterOrderRequest(parent=f"tenants/{tenant}")
    said, scope, recipient = request.instrument, request.scope, request.recipient
    said.type = INSTRUMENT_TYPE_COMMS_DATA
    said.court_name, said.case_number, said.issuer_name = "בית משפט השלום תל אביב", "12345-03-26", "כב׳ השופטת לוי"
    said.requesting_body, said.document_sha256 = "משטרת ישראל", document
    said.call_back = "the switchboard in our directory"
    said.issue_time.CopyFrom(at(served.clock() - timedelta(days=1)))
    said.expire_time.CopyFrom(at(served.clock() + lasting))
    for kind, value in targets or (("phone", PHONE),):
        scope.targets.add(kind=kind, value=value)
    scope.categories.extend(categories)
    scope.start_time.CopyFrom(at(start))
    scope.end_time.CopyFrom(at(end))
    scope.fields.extend(fields)
    recipient.body, recipient.verification = "משטרת ישראל", "read back by telephone through the switchboard"
    recipient.age_recipient = str(people.identity.to_public())
    return request


async def receive(people: Team, request: RegisterOrderRequest) -> Order:
    """Register an order."""
    return (await people.registrant.call(people.registrant.legal.RegisterOrder, request)).order


async def authenticate(caller: Caller, order: Order) -> Order:
    """Find an order authentic, by calling back."""
    request = AuthenticateOrderRequest(
        name=order.name, method="call-back", result=AUTHENTICITY_CONFIRMED, finding="the registry read the case back to us"
    )
    return (await caller.call(caller.legal.AuthenticateOrder, request)).order


async def settle(caller: Caller, order: Order, scope: OrderScope) -> Order:
    """Settle what is exported."""
    return (await caller.call(caller.legal.SetOrderScope, SetOrderScopeRequest(name=order.name, scope=scope))).order


async def register(people: Team, request: RegisterOrderRequest) -> Order:
    """Register an order, find it authentic, and settle that all of it is exported: it waits for approvals."""
    order = await authenticate(people.officer, await receive(people, request))
    return await settle(people.registrant, order, request.scope)


async def preview(caller: Caller, order: Order) -> PreviewExportResponse:
    """See what would be exported."""
    answer: PreviewExportResponse = await caller.call(caller.legal.PreviewExport, PreviewExportRequest(name=order.name))
    return answer


async def approve(caller: Caller, order: Order) -> Order:
    """Approve an order as it was seen, after seeing what would be exported."""
    await preview(caller, order)
    request = ApproveOrderRequest(name=order.name, scope_digest=order.scope_digest)
    return (await caller.call(caller.legal.ApproveOrder, request)).order


async def approved(people: Team, request: RegisterOrderRequest) -> Order:
    """Register an order and let both approve it."""
    order = await register(people, request)
    await approve(people.officer, order)
    return await approve(people.approver, order)


async def build(people: Team, order: Order) -> Export:
    """Build the package; nobody has released it yet."""
    return (await people.registrant.call(people.registrant.legal.CreateExport, CreateExportRequest(parent=order.name))).export


async def release(caller: Caller, built: Export) -> Export:
    """Let a package be handed over."""
    return (await caller.call(caller.legal.ApproveExport, ApproveExportRequest(name=built.name))).export


async def export(people: Team, order: Order) -> Export:
    """Build the package, and let it be handed over."""
    built = await build(people, order)
    return built if built.state != EXPORT_STATE_SEALED else await release(people.approver, built)


async def download(caller: Caller, name: str, *, offset: int = 0) -> bytes:
    """Fetch a package, or the rest of it."""
    request = DownloadExportRequest(name=name, offset=offset)
    chunks: list[DownloadExportResponse] = await caller.stream(caller.legal.DownloadExport, request)
    return b"".join(chunk.data for chunk in chunks)


def judged(served: Serving, people: Team, package: bytes) -> Verdict:
    """What the recipient's verifier says, with the recipient's key and the operator's public key."""
    return verify(package, identity=str(people.identity), trust=served.vault.signing_key.public_key().public_bytes_raw())


def opened(people: Team, package: bytes) -> bytes:
    """The archive in the package, to look for what must not be in it."""
    return open_sealed(package, str(people.identity))


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came out of an order, verified."""

    export: Export
    package: bytes
    verdict: Verdict
    archive: bytes

    @property
    def counts(self) -> Mapping[str, int]:
        """Records by category, as signed."""
        assert self.verdict.manifest is not None
        return self.verdict.manifest.counts


async def deliver(served: Serving, people: Team, request: RegisterOrderRequest) -> Delivered:
    """An order from the register to the verified package."""
    built = await export(people, await approved(people, request))
    package = await download(people.courier, built.name)
    return Delivered(built, package, judged(served, people, package), opened(people, package))
