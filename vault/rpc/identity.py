"""Who is calling: a service by its client certificate; a person by an access token on top of a service's certificate.

Rules:
- The TLS layer has checked the certificate's chain and dates; here its one SPIFFE id must be a principal of the configuration.
- A person's token is accepted only from a service that may carry people, and both are recorded.
- Roles come from configuration or claims, never from the request; roles that the catalogue does not know are nothing.
- A person without a second factor is refused (L3). A person may touch a tenant, and data of a product, only if the carrying service may.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from vault.errors import UnauthenticatedError
from vault.operations.attempt import Caller
from vault.rpc.jwks import Jwks

_EMPLOYEE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SPIFFE = b"spiffe://"
_BEARER = "Bearer "
# An access token is a few hundred bytes; nothing larger is parsed.
_MAX_TOKEN = 8192


@dataclass(frozen=True, slots=True)
class ServicePrincipal:
    """A service as configured; `tenants` and `products` are None for all, `hourly_releases` None for no limit but those for single purposes."""

    roles: frozenset[str]
    tenants: frozenset[str] | None
    carries_people: bool
    hourly_releases: int | None = None
    hourly_releases_for: Mapping[str, int] = field(default_factory=dict)
    products: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class TokenRules:
    """How access tokens are checked (RFC 9068 without its `typ`, RFC 8725 §3)."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    leeway: timedelta
    employee_claim: str
    roles_claim: str
    tenants_claim: str
    products_claim: str
    device_claim: str
    managed_devices_only: bool = False
    hourly_releases: int = 1000
    hourly_releases_for: Mapping[str, int] = field(default_factory=dict)


class Authenticator:
    """Says who is calling.

    Args:
        principals: services by SPIFFE id; replaced while the vault runs.
        rules: how tokens are checked; None if no people are served.
        jwks: the issuer's keys; None with no rules.
        known_roles: roles of the catalogue.
        clock: current time.
    """

    def __init__(
        self,
        principals: Mapping[str, ServicePrincipal],
        *,
        rules: TokenRules | None,
        jwks: Jwks | None,
        known_roles: frozenset[str],
        clock: Callable[[], datetime],
    ) -> None:
        self.principals = principals
        self._rules = rules
        self._jwks = jwks
        self._known_roles = known_roles
        self._clock = clock

    async def authenticate(self, names: Sequence[bytes], authorization: str | bytes | None, *, method: str, trace_id: str) -> Caller:
        """The caller.

        Args:
            names: subject alternative names of the client certificate.
            authorization: the `authorization` metadata, if any.
            method: full RPC name.
            trace_id: W3C trace id.
        Raises:
            UnauthenticatedError: CREDENTIAL_INVALID, MFA_REQUIRED.
            UnavailableError: IDENTITY_UNAVAILABLE, the issuer's keys cannot be read.
        """
        ids = [name.decode("ascii", "replace") for name in names if name.startswith(_SPIFFE)]
        service = self.principals.get(ids[0]) if len(ids) == 1 else None
        if service is None:
            raise _invalid("the client certificate names no known principal")
        if authorization is None:
            return Caller(
                principal=ids[0],
                kind="service",
                roles=service.roles & self._known_roles,
                tenants=service.tenants,
                products=service.products,
                method=method,
                trace_id=trace_id,
                auth_method="mtls",
                hourly_releases=service.hourly_releases,
                hourly_releases_for=service.hourly_releases_for,
            )
        if not service.carries_people:
            raise _invalid("this service may not carry people's tokens")
        claims = await self._claims(authorization)
        return self._person(claims, service, via=ids[0], method=method, trace_id=trace_id)

    async def _claims(self, authorization: str | bytes) -> Mapping[str, Any]:
        """The claims of a token that holds in every respect but the second factor."""
        if self._rules is None or self._jwks is None:
            raise _invalid("no access tokens are accepted")
        if not isinstance(authorization, str) or not authorization.startswith(_BEARER) or len(authorization) > _MAX_TOKEN:
            raise _invalid("the authorization is not a bearer token")
        token = authorization.removeprefix(_BEARER)
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in self._rules.algorithms:
                raise _invalid("the token's algorithm is not accepted")
            key = await self._jwks.key(str(header.get("kid", "")))
            if key is None:
                raise _invalid("the token is signed by an unknown key")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._rules.algorithms),
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                # Times are checked below, against the vault's own clock.
                options={
                    "require": ["exp", "iat", "aud", "iss", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.PyJWTError:
            # `from None`: the library's text quotes the token.
            raise _invalid("the token does not verify") from None
        self._check_times(claims, self._rules.leeway)
        return claims

    def _check_times(self, claims: Mapping[str, Any], leeway: timedelta) -> None:
        # The leeway is added to now, never to a claim: one at the end of the calendar would overflow.
        now = self._clock()
        if _moment(claims, "exp") <= now - leeway:
            raise _invalid("the token has expired")
        # A second factor proved in the future would stay fresh for as long as somebody likes.
        if any(_moment(claims, name) > now + leeway for name in ("iat", "nbf", "auth_time") if name in claims):
            raise _invalid("the token is from the future")

    def _person(self, claims: Mapping[str, Any], service: ServicePrincipal, *, via: str, method: str, trace_id: str) -> Caller:
        rules = self._rules
        assert rules is not None  # noqa: S101 - the claims were checked by them
        employee = claims.get(rules.employee_claim)
        if not isinstance(employee, str) or not _EMPLOYEE.fullmatch(employee):
            raise _invalid("the token names no employee")
        if "mfa" not in _words(claims, "amr"):
            raise UnauthenticatedError("MFA_REQUIRED", "people prove a second factor")
        tenants = _words(claims, rules.tenants_claim)
        asked = None if tenants == {"*"} else tenants
        return Caller(
            principal=f"people/{employee}",
            kind="person",
            roles=_words(claims, rules.roles_claim) & self._known_roles,
            tenants=_both(asked, service.tenants),
            # A token that says nothing of products is for all of them; one that says it in another form is for none.
            products=_both(_words(claims, rules.products_claim) if rules.products_claim in claims else None, service.products),
            employee_id=employee,
            via=via,
            # Whoever does not say it may be let in; whoever says anything else than yes is not taken for managed (L8).
            device_unmanaged=claims.get(rules.device_claim, not rules.managed_devices_only) is not True,
            mfa_time=_moment(claims, "auth_time") if "auth_time" in claims else None,
            method=method,
            trace_id=trace_id,
            auth_method="mtls+oidc",
            hourly_releases=rules.hourly_releases,
            hourly_releases_for=rules.hourly_releases_for,
        )


def _both(first: frozenset[str] | None, second: frozenset[str] | None) -> frozenset[str] | None:
    """What is in both sets, where None is everything."""
    if first is None or second is None:
        return second if first is None else first
    return first & second


def _words(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    value = claims.get(name)
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    """A NumericDate (RFC 7519 §2)."""
    value = claims[name]
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError  # noqa: TRY301, TRY004 - every damage is one error
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise _invalid("a time of the token is not a number of seconds") from None


def _invalid(message: str) -> UnauthenticatedError:
    return UnauthenticatedError("CREDENTIAL_INVALID", message)
