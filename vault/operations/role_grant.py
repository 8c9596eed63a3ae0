"""Roles that people are given or taken besides what their token says, and the review of that list (L2, L16).

Rules:
- Only roles of the catalogue exist, none of them for partners (P3.6-no3p), and the role of another legal entity is not given to people: which
  entities there are is the policy's, not an administrator's (A2).
- Nobody grants a role to themself.
- The privacy officer is independent: not also a legal officer, a legal approver or a security investigator (L16).
- A review attests the list that was seen, by its digest; if the list changed meanwhile, it is looked at again.
- Grants, revocations and reviews happen one after another: each holds the head of the system log from its first look on.

Not here: what a token says.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vault import names
from vault.errors import AbortedError, FailedPreconditionError, InvalidArgumentError, PermissionDeniedError
from vault.names import SYSTEM_LOG
from vault.operations import log
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, page_limit
from vault.operations.keyring import TenantKeys
from vault.store import audit as audit_store
from vault.store import role_grants as grant_store
from vault.store.database import Connection
from vault.store.role_grants import AccessReviewRow, RoleGrantRow

_PERSON = re.compile(r"people/[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# L16: no one person holds both.
EXCLUDING = (
    frozenset({"privacy-officer", "legal-officer"}),
    frozenset({"privacy-officer", "legal-approver"}),
    frozenset({"privacy-officer", "security-investigator"}),
)


async def grant_role(vault: Vault, attempt: Attempt, principal: str, role: str, *, expire_time: datetime | None) -> Receipt:
    """Grant a role; what was said of it before, an earlier grant or a revocation, is replaced.

    Raises:
        InvalidArgumentError: FIELD_INVALID, UNKNOWN_ROLE, ROLE_NOT_GRANTABLE.
        PermissionDeniedError: SEPARATION_OF_DUTIES, nobody grants a role to themself.
        FailedPreconditionError: ROLE_CONFLICT, the person holds a role that excludes it (L16).
    """
    attempt.operation = "grant-role"
    _check_names(vault, attempt, principal, role)
    if vault.catalogue.role(role).other_entity:
        raise InvalidArgumentError("ROLE_NOT_GRANTABLE", "the role is another legal entity's and is not given to people", field="role")
    if principal == attempt.caller.principal:
        raise PermissionDeniedError("SEPARATION_OF_DUTIES", "nobody grants a role to themself")
    async with vault.database.write() as connection:
        keys, now = await _begin(vault, connection)
        if expire_time is not None and expire_time <= now:
            raise InvalidArgumentError("FIELD_INVALID", "the grant ends before it begins", field="expire_time")
        held = await grant_store.grants_in_force(connection, now, principal=principal)
        if excluded_by(grant.role for grant in held) & {role}:
            raise FailedPreconditionError("ROLE_CONFLICT", "the person holds a role that excludes this one")
        earlier = await grant_store.get_grant(connection, principal, role)
        row = RoleGrantRow(
            principal=principal,
            role=role,
            granted_by=attempt.caller.principal,
            grant_time=now,
            expire_time=expire_time,
            # Not forgotten: when the grant ends by itself, the role is taken again.
            revoked_by=earlier.revoked_by if earlier else "",
            revoke_time=None,
            attested_by="",
            attest_time=None,
        )
        await grant_store.put_grant(connection, row)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def revoke_role(vault: Vault, attempt: Attempt, principal: str, role: str) -> Receipt:
    """Take a role from a person, whatever their token says; from the commit on. A revoked one keeps its time.

    Raises:
        InvalidArgumentError: FIELD_INVALID, UNKNOWN_ROLE.
    """
    attempt.operation = "revoke-role"
    _check_names(vault, attempt, principal, role)
    async with vault.database.write() as connection:
        keys, now = await _begin(vault, connection)
        row = await grant_store.get_grant(connection, principal, role) or RoleGrantRow(principal, role, "", now, None, "", None, "", None)
        if row.revoke_time is None:
            await grant_store.put_grant(connection, replace(row, revoked_by=attempt.caller.principal, revoke_time=now))
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def review_access(vault: Vault, attempt: Attempt, *, list_digest: str) -> Receipt:
    """Attest the list of role holders that was seen (L2).

    Raises:
        AbortedError: LIST_STALE, the list is another one by now.
    """
    attempt.operation = "review-access"
    async with vault.database.write() as connection:
        keys, now = await _begin(vault, connection)
        grants = await grant_store.grants_in_force(connection, now)
        if digest_of(grants) != list_digest:
            raise AbortedError("LIST_STALE", "the list of role holders is not the one that was seen")
        review = AccessReviewRow(names.new_id(), list_digest, len(grants), attempt.caller.principal, now)
        await grant_store.attest_grants(connection, now, attested_by=attempt.caller.principal)
        await grant_store.insert_review(connection, review)
        attempt.resource, attempt.count = f"accessReviews/{review.review_id}", len(grants)
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def list_grants(vault: Vault, *, principal: str, page_size: int, after: str) -> tuple[list[RoleGrantRow], str, str]:
    """Grants and revocations, of one person or of everybody; where the next page starts; the digest of everybody's grants in force.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if principal:
        _check_person(principal)
    limit = page_limit(vault, page_size)
    person, _, role = after.partition(" ")
    async with vault.database.read() as connection:
        # The digest first: if the list changes in between, it is the digest that is too old, and the review is refused.
        digest = digest_of(await grant_store.grants_in_force(connection, vault.clock()))
        rows = await grant_store.list_grants(connection, principal=principal, after=(person, role), limit=limit + 1)
    following = f"{rows[limit - 1].principal} {rows[limit - 1].role}" if len(rows) > limit else ""
    return rows[:limit], following, digest


async def as_registered(vault: Vault, caller: Caller) -> Caller:
    """The caller with the roles that the register adds or takes, whatever their token says; felt on the next call (L2).

    Raises:
        PermissionDeniedError: ROLE_CONFLICT, the person holds two roles that exclude each other (L16); the caller's roles are gone with it.
    """
    if caller.kind != "person":
        return caller
    async with vault.database.read() as connection:
        granted, revoked = await grant_store.role_changes(connection, caller.principal, vault.clock())
    roles = (caller.roles - revoked) | granted
    if any(pair <= roles for pair in EXCLUDING):
        raise PermissionDeniedError("ROLE_CONFLICT", "the person holds two roles that exclude each other")
    return replace(caller, roles=roles)


def excluded_by(roles: Iterable[str]) -> frozenset[str]:
    """Roles that whoever holds these may not hold (L16)."""
    held = frozenset(roles)
    return frozenset().union(*(pair - held for pair in EXCLUDING if pair & held))


def digest_of(grants: Sequence[RoleGrantRow]) -> str:
    """SHA-256 over canonical JSON of who holds what, from whom, since when and until when. Attesting does not change it."""
    said = [
        {
            "principal": grant.principal,
            "role": grant.role,
            "granted_by": grant.granted_by,
            "grant_time": grant.grant_time.astimezone(UTC).isoformat(),
            "expire_time": grant.expire_time.astimezone(UTC).isoformat() if grant.expire_time else "",
        }
        for grant in grants
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


async def _begin(vault: Vault, connection: Connection) -> tuple[TenantKeys, datetime]:
    """Wait for whoever changes the list now: two grants that exclude each other must not pass each other by."""
    keys = await log.system_keys(vault, connection)
    await audit_store.locked_head(connection, SYSTEM_LOG)
    return keys, vault.clock()


def _check_names(vault: Vault, attempt: Attempt, principal: str, role: str) -> None:
    _check_person(principal)
    attempt.resource = principal
    vault.catalogue.role(role)
    attempt.resource = f"{principal}/roles/{role}"


def _check_person(principal: str) -> None:
    if not _PERSON.fullmatch(principal):
        raise InvalidArgumentError("FIELD_INVALID", "principal is not of the form people/{employee}", field="principal")
