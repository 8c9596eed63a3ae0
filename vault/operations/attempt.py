"""Who is calling, and what is known so far about what they attempt.

An `Attempt` is filled as the flow learns things. When the flow succeeds it becomes the entry of what was done; when the flow raises, the edge
turns the same attempt into the entry of the refusal (I5). Nothing else writes refusals, so none can be forgotten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal on one call.

    Attributes:
        principal: SPIFFE id of a service, or `people/{employee}`.
        kind: `service` or `person`; upkeep jobs are `upkeep`.
        roles: roles held, from configuration or claims, never from the request.
        tenants: tenants the principal may touch; None means every tenant.
        products: products the principal works for; None means all of them.
        employee_id: for people; two accounts of one person share it (N5).
        via: the service through which a person acts.
        auth_method: `mtls`, `mtls+oidc` or `internal`.
        mfa_time: when a person last proved a second factor.
        device_unmanaged: whether a person works at a device that their token does not call managed.
        method: full RPC name.
        trace_id: W3C trace id, 32 hex characters.
        hourly_releases: how many records the principal may be released within an hour; None for no limit.
        hourly_releases_for: the same for single purposes, besides.
    """

    principal: str
    kind: str
    roles: frozenset[str]
    tenants: frozenset[str] | None
    method: str
    trace_id: str
    auth_method: str
    products: frozenset[str] | None = None
    employee_id: str = ""
    via: str = ""
    mfa_time: datetime | None = None
    device_unmanaged: bool = False
    hourly_releases: int | None = None
    hourly_releases_for: Mapping[str, int] = field(default_factory=dict)

    def may_touch(self, tenant: str) -> bool:
        """Whether the tenant is one of the caller's; if not, the answer is NOT_FOUND (I11)."""
        return self.tenants is None or tenant in self.tenants


@dataclass(frozen=True, slots=True)
class Justification:
    """Why a call wants what it asks for."""

    purpose: str
    reference: str = ""
    reason: str = field(default="", repr=False)


@dataclass(slots=True)
class Attempt:
    """What one call attempts, as far as it is known. Opaque ids, names of rules and field names only; never a value."""

    caller: Caller
    operation: str = ""
    tenant: str = ""
    category: str = ""
    fields: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    count: int = 0
    justification: Justification = Justification("")
    # Whether the justification was checked: until then it is whatever the caller sent, and none of it reaches the log (A30).
    is_justified: bool = False
    consent_basis: str = ""
    rule: str = ""
    resource: str = ""
    # Whether its tenant may not know: then it is recorded in the system log, and the tenant's has not even a gap (N16).
    is_gagged: bool = False

    def about(
        self,
        *,
        category: str | None = None,
        records: tuple[str, ...] | None = None,
        subjects: tuple[str, ...] | None = None,
        rule: str | None = None,
    ) -> "Attempt":
        """A copy about one part of a batch."""
        return replace(
            self,
            category=self.category if category is None else category,
            records=self.records if records is None else records,
            subjects=self.subjects if subjects is None else subjects,
            rule=self.rule if rule is None else rule,
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the audit log recorded something: log and zero-based index."""

    log: str
    index: int
