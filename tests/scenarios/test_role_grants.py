"""Roles that people are given and taken, and the review of who holds what (L2, L16, P3.6-no3p)."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from tests.builders import at, entries, entry_of, rows
from tests.serving import Caller, Serving
from vault.client.errors import CallError
from vault.store import tables
from vault.store.role_grants import role_changes
from vault.v1.access_service_pb2 import (
    GrantRoleRequest,
    ListRoleGrantsRequest,
    ListRoleGrantsResponse,
    ReviewAccessRequest,
    RevokeRoleRequest,
    RoleGrant,
)

DAY = timedelta(days=1)


async def grant(caller: Caller, employee: str, role: str, *, until: datetime | None = None) -> None:
    """Grant a role to a person."""
    await caller.call(caller.access.GrantRole, granted(employee, role, until=until))


async def not_granted(caller: Caller, request: GrantRoleRequest) -> CallError:
    """Be refused to grant a role."""
    return await caller.refused(caller.access.GrantRole, request)


async def revoke(caller: Caller, employee: str, role: str) -> None:
    """Take a role from a person."""
    await caller.call(caller.access.RevokeRole, RevokeRoleRequest(principal=f"people/{employee}", role=role))


def granted(employee: str, role: str, *, until: datetime | None = None) -> GrantRoleRequest:
    """A request to grant a role."""
    return GrantRoleRequest(principal=f"people/{employee}", role=role, expire_time=None if until is None else at(until))


async def listed(caller: Caller, employee: str = "", **page: object) -> ListRoleGrantsResponse:
    """The list of role holders."""
    request = ListRoleGrantsRequest(principal=f"people/{employee}" if employee else "")
    for name, value in page.items():
        setattr(request, name, value)
    return await caller.call(caller.access.ListRoleGrants, request)


async def review(caller: Caller, digest: str) -> None:
    """Attest the list."""
    await caller.call(caller.access.ReviewAccess, ReviewAccessRequest(list_digest=digest))


async def stale(caller: Caller, digest: str) -> CallError:
    """Be refused to attest the list."""
    return await caller.refused(caller.access.ReviewAccess, ReviewAccessRequest(list_digest=digest))


async def changes(served: Serving, employee: str) -> tuple[set[str], set[str]]:
    """What a person's roles gain and lose now."""
    async with served.vault.database.read() as connection:
        gained, lost = await role_changes(connection, f"people/{employee}", served.clock())
    return set(gained), set(lost)


def names(grants: Sequence[RoleGrant]) -> list[tuple[str, str]]:
    return [(item.principal.removeprefix("people/"), item.role) for item in grants]


async def test_a_role_is_granted_seen_and_recorded(served: Serving) -> None:
    """L2: who holds it, from whom, since when, until when."""
    security = served.person("e-sec", "security-investigator")
    until = served.clock() + DAY

    await grant(security, "e-1", "auditor", until=until)

    [found] = (await listed(security)).grants
    assert (found.principal, found.role, found.granted_by) == ("people/e-1", "auditor", "people/e-sec")
    assert found.expire_time == at(until)
    assert found.HasField("grant_time")
    assert not found.HasField("revoke_time")
    assert await changes(served, "e-1") == ({"auditor"}, set())
    entry = (await entries(served, "system"))[-1]
    assert (entry.operation, entry.decision, entry.actor) == ("grant-role", "ALLOWED", "people/e-sec")
    assert b"people/e-1/roles/auditor" in entry.content


@pytest.mark.parametrize("role", ["partner", "PARTNER", "admin", "", "*"])
async def test_no_role_is_granted_that_the_catalogue_does_not_know(served: Serving, role: str) -> None:
    """P3.6-no3p: there is none for partners, and no generic one."""
    security = served.person("e-sec", "security-investigator")

    refused = await not_granted(security, granted("e-1", role))

    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "UNKNOWN_ROLE" if role else "FIELD_REQUIRED")
    assert await rows(served, tables.role_grants) == (0,)


async def test_the_role_of_another_legal_entity_is_not_given_to_people(served: Serving) -> None:
    """A2: that is the policy's, not an administrator's."""
    security = served.person("e-sec", "security-investigator")

    refused = await not_granted(security, granted("e-1", "affiliate-service"))

    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "ROLE_NOT_GRANTABLE")
    assert (await entry_of(served, refused)).decision == "REFUSED"


async def test_nobody_grants_a_role_to_themself(served: Serving) -> None:
    """L2."""
    security = served.person("e-sec", "security-investigator")

    refused = await not_granted(security, granted("e-sec", "auditor"))

    assert (refused.code.name, refused.reason) == ("PERMISSION_DENIED", "SEPARATION_OF_DUTIES")
    assert await rows(served, tables.role_grants) == (0,)


@pytest.mark.parametrize("principal", ["e-1", "people/", "people/e 1", "people/דנה", "spiffe://vault.example/app", "people/e-1/roles/x"])
async def test_a_principal_is_a_person_by_employee_id(served: Serving, principal: str) -> None:
    """L2: services hold what the configuration says; what is no employee id is not repeated in the log."""
    security = served.person("e-sec", "security-investigator")
    before = len(await entries(served, "system"))

    refused = [
        await not_granted(security, GrantRoleRequest(principal=principal, role="auditor")),
        await security.refused(security.access.RevokeRole, RevokeRoleRequest(principal=principal, role="auditor")),
        await security.refused(security.access.ListRoleGrants, ListRoleGrantsRequest(principal=principal)),
    ]

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "FIELD_INVALID")}
    recorded = (await entries(served, "system"))[before:]
    assert len(recorded) == len(refused)
    assert not any(principal.encode() in entry.content for entry in recorded if principal not in {"e-1", "people/"})


@pytest.mark.parametrize("other", ["legal-officer", "legal-approver", "security-investigator"])
async def test_the_privacy_officer_is_independent(served: Serving, other: str) -> None:
    """L16: whichever of the two is granted first, until it is taken or ends."""
    security = served.person("e-sec", "security-investigator")
    await grant(security, "e-1", other)
    await grant(security, "e-2", "privacy-officer", until=served.clock() + DAY)
    await grant(security, "e-1", "auditor")

    refused = [await not_granted(security, granted("e-1", "privacy-officer")), await not_granted(security, granted("e-2", other))]
    await revoke(security, "e-1", other)
    await grant(security, "e-1", "privacy-officer")
    served.clock.offset = 2 * DAY
    security = served.person("e-sec", "security-investigator")
    await grant(security, "e-2", other)

    assert {(error.code.name, error.reason) for error in refused} == {("FAILED_PRECONDITION", "ROLE_CONFLICT")}
    assert await changes(served, "e-1") == ({"privacy-officer", "auditor"}, {other})
    assert await changes(served, "e-2") == ({other}, set())


async def test_two_roles_that_exclude_each_other_do_not_pass_each_other_by(served: Serving) -> None:
    """L16: of grants at the same time one wins."""
    security = served.person("e-sec", "security-investigator")
    people = [f"e-{number}" for number in range(4)]
    asked = [(employee, role) for employee in people for role in ("privacy-officer", "legal-officer")]

    answers = await asyncio.gather(*(grant(security, employee, role) for employee, role in asked), return_exceptions=True)

    assert [answer.reason for answer in answers if isinstance(answer, CallError)] == ["ROLE_CONFLICT"] * len(people)
    assert [len((await changes(served, employee))[0]) for employee in people] == [1] * len(people)


async def test_a_revocation_counts_from_its_commit_on_whatever_the_token_says(served: Serving) -> None:
    """L2: also of a role that nobody granted here; a repeated one changes nothing."""
    security, officer = served.person("e-sec", "security-investigator"), served.person("e-officer", "privacy-officer")
    await grant(security, "e-1", "auditor")

    await revoke(officer, "e-1", "auditor")
    await revoke(security, "e-2", "support")
    first = (await listed(security)).grants
    await revoke(security, "e-1", "auditor")

    assert await changes(served, "e-1") == (set(), {"auditor"})
    assert await changes(served, "e-2") == (set(), {"support"})
    assert (await listed(security)).grants == first
    assert [(item.granted_by, item.HasField("grant_time")) for item in first] == [("people/e-sec", True), ("", False)]
    assert all(item.HasField("revoke_time") for item in first)
    done = [entry.operation for entry in await entries(served, "system") if entry.actor.startswith("people/")]
    assert done == ["grant-role", "revoke-role", "revoke-role", "revoke-role"]


async def test_a_grant_ends_by_the_clock_and_a_revoked_role_does_not_come_back_with_it(served: Serving) -> None:
    """L2."""
    security = served.person("e-sec", "security-investigator")
    await revoke(security, "e-1", "support")
    await grant(security, "e-1", "support", until=served.clock() + DAY)
    await grant(security, "e-1", "auditor", until=served.clock() + DAY)
    refused = await not_granted(security, granted("e-1", "billing", until=served.clock() - DAY))
    during = await changes(served, "e-1")

    served.clock.offset = DAY

    assert refused.reason == "FIELD_INVALID"
    assert during == ({"support", "auditor"}, set())
    assert await changes(served, "e-1") == (set(), {"support"})


async def test_the_list_is_attested_as_it_was_seen(served: Serving) -> None:
    """L2: what changed meanwhile is looked at again."""
    security, auditor = served.person("e-sec", "security-investigator"), served.person("e-auditor", "auditor")
    await grant(security, "e-1", "auditor")
    await grant(security, "e-2", "billing", until=served.clock() + DAY)
    await revoke(security, "e-3", "support")
    seen = (await listed(auditor)).list_digest
    of_one = (await listed(auditor, "e-1")).list_digest

    await revoke(security, "e-2", "billing")
    refused = await stale(auditor, seen)
    unattested = (await listed(auditor)).grants
    newest = (await listed(auditor)).list_digest
    await review(auditor, newest)
    after = await listed(auditor)

    assert of_one == seen
    assert (refused.code.name, refused.reason) == ("ABORTED", "LIST_STALE")
    assert not any(item.HasField("attest_time") for item in unattested)
    assert [item.HasField("attest_time") for item in after.grants] == [True, False, False]
    assert after.list_digest == newest
    async with served.vault.database.read() as connection:
        attested = (await connection.execute(select(tables.access_reviews))).one()
    assert (attested.list_digest, attested.grant_count, attested.reviewed_by) == (newest, 1, "people/e-auditor")
    entry = (await entries(served, "system"))[-1]
    assert (entry.operation, entry.decision) == ("review-access", "ALLOWED")


@pytest.mark.parametrize("changed", ["granted", "granted anew", "expired"])
async def test_every_change_of_the_list_makes_its_digest_stale(served: Serving, changed: str) -> None:
    """L2."""
    security, auditor = served.person("e-sec", "security-investigator"), served.person("e-auditor", "auditor")
    await grant(security, "e-1", "auditor", until=served.clock() + DAY / 4)
    seen = (await listed(auditor)).list_digest

    if changed == "granted":
        await grant(security, "e-2", "billing")
    elif changed == "granted anew":
        await grant(security, "e-1", "auditor")
    else:
        served.clock.offset = DAY / 2
        auditor = served.person("e-auditor", "auditor")

    assert (await stale(auditor, seen)).reason == "LIST_STALE"
    assert (await stale(auditor, "no digest")).reason == "LIST_STALE"


async def test_the_list_is_read_a_page_at_a_time_by_person_and_role(served: Serving) -> None:
    """The token of one person's list opens no other."""
    security = served.person("e-sec", "security-investigator")
    everything = [("e-1", "auditor"), ("e-1", "support"), ("e-2", "billing"), ("e-3", "auditor")]
    for employee, role in reversed(everything):
        await grant(security, employee, role)

    first = await listed(security, page_size=3)
    second = await listed(security, page_size=3, page_token=first.next_page_token)
    request = ListRoleGrantsRequest(principal="people/e-1", page_token=first.next_page_token)
    refused = await security.refused(security.access.ListRoleGrants, request)

    assert names(first.grants) + names(second.grants) == everything
    assert (second.next_page_token, second.list_digest) == ("", first.list_digest)
    assert names((await listed(security, "e-1")).grants) == everything[:2]
    assert refused.reason == "PAGE_TOKEN_INVALID"


async def test_roles_are_granted_and_reviewed_by_people_whose_work_it_is(served: Serving) -> None:
    """P1.6a-authorised: no service grants, the privacy officer revokes only, the granter's word is not the operator's."""
    officer, operator = served.person("e-officer", "privacy-officer"), served.person("e-operator", "operator")
    service = served.service("security-investigator")

    refused = [
        await not_granted(officer, granted("e-1", "auditor")),
        await not_granted(operator, granted("e-1", "auditor")),
        await not_granted(service, granted("e-1", "auditor")),
        await stale(officer, "digest"),
        await operator.refused(operator.access.ListRoleGrants, ListRoleGrantsRequest()),
    ]

    assert [error.reason for error in refused] == [
        "ROLE_NOT_ALLOWED",
        "ROLE_NOT_ALLOWED",
        "PERSON_REQUIRED",
        "ROLE_NOT_ALLOWED",
        "ROLE_NOT_ALLOWED",
    ]
    assert await rows(served, tables.role_grants, tables.access_reviews) == (0, 0)
