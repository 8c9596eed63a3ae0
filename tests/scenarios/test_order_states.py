"""Every state of an order × everything that is done with one × everybody who may: each has one expected answer (§5.4).

Whoever may not do a thing at all is refused before anybody looks at the order: each of them tries it in one state, another one for each of them.

The expected answers are written here by hand, from the requirements, and know nothing of the table in the code.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.builders import call_detail, create
from tests.orders import approved, build, order_for, preview, team
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.store import tables
from vault.v1 import legal_service_pb2 as legal

# One letter per state, in this order.
STATES = (
    *("RECEIVED", "AUTHENTICATED", "SCOPED", "APPROVED", "IN_EXECUTION", "FULFILLED", "CLOSED"),
    *("REJECTED", "EXPIRED", "SUSPENDED", "REVOKED", "REVOKED_AFTER_DELIVERY"),
)
ANSWERS = {
    "+": "OK",
    "n": "ORDER_NOT_PENDING",
    "m": "APPROVALS_MISSING",
    "c": "ORDER_CLOSED",
    "j": "ORDER_REJECTED",
    "x": "ORDER_EXPIRED",
    "s": "ORDER_SUSPENDED",
    "r": "ORDER_REVOKED",
}
OFFICERS = ("registrant", "legal-officer")
LEGAL = (*OFFICERS, "legal-approver")


@dataclass(frozen=True, slots=True)
class Row:
    """What is done, by whom it may be, what comes of it in each state, and where the package stands before."""

    letters: str
    roles: tuple[str, ...]
    package: str = "SEALED"


EXPECTED: Mapping[str, Row] = {
    # RASAIFC JESRR
    "AuthenticateOrder": Row("+nnnnncjxsrr", LEGAL),
    "SetOrderScope": Row("n+++nncjxsrr", OFFICERS),
    "PreviewExport": Row("n+++++cjxsrr", (*LEGAL, "privacy-officer")),
    "ApproveOrder": Row("nn+nnncjxsrr", (*LEGAL, "privacy-officer")),
    "RejectOrder": Row("++++nncjx+rr", LEGAL),
    "RevokeOrder": Row("+++++++jx+rr", OFFICERS),
    "SuspendOrder": Row("+++++ncjxsrr", OFFICERS),
    "ResumeOrder": Row("nnnnnncjx+rr", OFFICERS),
    "CloseOrder": Row("nnnnn+cjxsr+", OFFICERS),
    "EndGag": Row("++++++++++++", OFFICERS),
    "GetOrder": Row("++++++++++++", (*LEGAL, "privacy-officer", "auditor")),
    "CreateExport": Row("mmm+++cjxsrr", OFFICERS),
    "ApproveExport": Row("mmmn+ncjxsrr", ("legal-approver",)),
    "DownloadExport": Row("mmmn++cjxsrr", ("order-courier",), "RELEASE_APPROVED"),
}
# Who may call, and yet not this: whoever registered it neither authenticates nor approves it; the privacy officer approves what needs them only.
EXCEPTIONS = {
    ("AuthenticateOrder", "RECEIVED", "registrant"): "SEPARATION_OF_DUTIES",
    ("ApproveOrder", "SCOPED", "registrant"): "SEPARATION_OF_DUTIES",
    ("ApproveOrder", "SCOPED", "privacy-officer"): "ROLE_NOT_ALLOWED",
}
ROLES = (
    *("registrant", "legal-officer", "legal-approver", "privacy-officer", "order-courier", "auditor", "operator", "tenant-admin"),
    *("security-investigator", "fraud-investigator", "support", "account-manager", "reporting", "marketing", "call-centre"),
)


def expected(action: str, state: str, role: str) -> str:
    row = EXPECTED[action]
    if role not in row.roles:
        return "ROLE_NOT_ALLOWED"
    return EXCEPTIONS.get((action, state, role), ANSWERS[row.letters[STATES.index(state)]])


def test_every_state_and_every_method_about_an_order_is_in_the_table() -> None:
    """A state or a method that is added has to be given its answers here."""
    states = {value.name.removeprefix("ORDER_STATE_") for value in legal.OrderState.DESCRIPTOR.values} - {"UNSPECIFIED"}
    methods = {method.name for method in legal.DESCRIPTOR.services_by_name["LegalService"].methods}
    elsewhere = {"RegisterOrder", "ListOrders", "GetExport", "ConfirmExportDelivery", "PlaceHold", "ReleaseHold", "ListHolds"}

    assert states == set(STATES)
    assert methods - elsewhere == set(EXPECTED)
    assert {len(row.letters) for row in EXPECTED.values()} == {len(STATES)}


def tried_in(state: str, row: Row) -> list[str]:
    """Everybody who may do it, and some of those who may not."""
    place = STATES.index(state)
    return [role for number, role in enumerate(ROLES) if role in row.roles or number % len(STATES) == place]


class Desk:
    """One order that can be put into any state, and everybody who tries something with it."""

    def __init__(
        self, served: Serving, callers: Mapping[str, Caller], order: legal.Order, scope: legal.OrderScope, export: legal.Export
    ) -> None:
        self._served = served
        self._callers = callers
        self._order = order
        self._scope = scope
        self._export = export
        self._rows: dict[str, list[dict[str, Any]]] = {}

    async def remember(self) -> None:
        """Keep every row about the order as it is now."""
        async with self._served.vault.database.read() as connection:
            for table in (tables.orders, tables.order_approvals, tables.order_previews, tables.exports, tables.export_chunks):
                self._rows[table.name] = [dict(row) for row in (await connection.execute(table.select())).mappings()]

    async def put(self, state: str, package: str) -> None:
        """Everything as it was, but for the states of order and package."""
        went_through = state in {"APPROVED", "IN_EXECUTION", "FULFILLED", "CLOSED", "EXPIRED", "REVOKED_AFTER_DELIVERY"}
        order = {"state": state, "suspended_state": "SCOPED" if state == "SUSPENDED" else ""}
        async with self._served.vault.database.write() as connection:
            for table in (tables.export_chunks, tables.exports, tables.order_approvals, tables.order_previews):
                await connection.execute(table.delete())
            await connection.execute(tables.orders.update().values({**self._rows["orders"][0], **order}))
            await connection.execute(tables.exports.insert().values({**self._rows["exports"][0], "state": package}))
            await connection.execute(tables.export_chunks.insert(), self._rows["export_chunks"])
            await connection.execute(tables.order_previews.insert(), self._rows["order_previews"])
            if went_through:
                await connection.execute(tables.order_approvals.insert(), self._rows["order_approvals"])

    async def attempt(self, action: str, role: str) -> str:
        """OK, or why not."""
        caller = self._callers[role]
        method: Callable[..., Awaitable[Any]] = getattr(caller.legal, action)
        try:
            if action == "DownloadExport":
                await caller.stream(method, self._request(action))
            else:
                await caller.call(method, self._request(action))
        except CallError as error:
            return error.reason
        return "OK"

    def _request(self, action: str) -> object:
        why = "the court wrote to us about it"
        fields: dict[str, dict[str, Any]] = {
            "AuthenticateOrder": {"method": "call-back", "result": legal.AUTHENTICITY_CONFIRMED, "finding": why},
            "SetOrderScope": {"scope": self._scope},
            "ApproveOrder": {"scope_digest": self._order.scope_digest},
            **{name: {"reason": why} for name in ("RejectOrder", "RevokeOrder", "SuspendOrder", "ResumeOrder", "EndGag")},
        }
        message: Any = getattr(legal, f"{action}Request")
        if action == "CreateExport":
            return message(parent=self._order.name)
        name = self._export.name if action in {"ApproveExport", "DownloadExport"} else self._order.name
        return message(name=name, **fields.get(action, {}))


async def desk(served: Serving) -> Desk:
    """An order that was approved and built, of which nothing may be told."""
    await served.create_tenants()
    people = await team(served)
    await served.sign_nda(*(f"e-{role}" for role in ROLES))
    await create(served.service("billing"), call_detail())
    request = order_for(served, people)
    request.instrument.gag.kind = legal.GAG_KIND_FURTHER_ORDER
    order = await approved(people, request)
    callers = {role: served.person(f"e-{role}", role if role != "registrant" else "legal-officer") for role in ROLES}
    for role in ("registrant", "legal-officer", "legal-approver", "privacy-officer"):
        await preview(callers[role], order)
    made = Desk(served, callers, order, request.scope, await build(people, order))
    await made.remember()
    return made


@pytest.mark.timeout(600)
async def test_every_state_action_and_role_has_the_answer_that_the_table_says(served: Serving) -> None:
    """§5.4, N1, N4, N5, N7, N17: nothing is possible that is not listed."""
    at = await desk(served)

    found: dict[tuple[str, str, str], str] = {}
    for action, row in EXPECTED.items():
        for state in STATES:
            await at.put(state, row.package)
            for role in tried_in(state, row):
                found[action, state, role] = await at.attempt(action, role)
                if found[action, state, role] == "OK":
                    await at.put(state, row.package)

    wrong = {triple: (answer, expected(*triple)) for triple, answer in found.items() if answer != expected(*triple)}
    print(f"{len(found)} pairs, {len(wrong)} mismatches; {dict(Counter(found.values()))}")  # noqa: T201 - what the run showed
    assert wrong == {}
    assert {(action, role) for action, _, role in found} == {(action, role) for action in EXPECTED for role in ROLES}
