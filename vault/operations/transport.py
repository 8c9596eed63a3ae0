"""Edge services at which a tenant lets data come unencrypted (P3.7-optout, A11).

Rules:
- The vault's own port has no such choice: it is TLS with client certificates, always.
- A choice is signed for, with the text about the risk that was read, and ends twelve months later at the latest.
- It never covers credentials and cards.
- What came unencrypted is marked as such where it is stored, so that the risk can be measured.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime
from re import compile as pattern

from vault import scan
from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.operations.core import Vault
from vault.operations.preparing import Prepared
from vault.store import settings as settings_store
from vault.store.database import Connection
from vault.store.settings import TransportRow

TLS, PLAINTEXT = "TLS", "PLAINTEXT"
EDGE_SERVICES = ("API", "FTP", "SAFE", "SFTP", "WEB", "WS")
# A11: never for credentials and cards; what guardians sign is kept in a register, which nothing is imported into.
_NEVER = frozenset({"access-credential", "payment-card"})
_MONTHS = 12
_TOKEN = pattern(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A choice as a tenant states it."""

    edge_service: str
    signer: str
    risk_text_version: str
    sign_time: datetime | None
    expire_time: datetime | None


def check_policies(wanted: Sequence[Wanted]) -> tuple[TransportRow, ...]:
    """Check what a tenant wants.

    Raises:
        FailedPreconditionError: RISK_ACK_REQUIRED, nobody signed for the risk.
        InvalidArgumentError: FIELD_INVALID.
    """
    rows = [_signed(choice) for choice in wanted]
    seen: set[str] = set()
    for row in rows:
        if row.edge_service not in EDGE_SERVICES or row.edge_service in seen:
            message = f"edge service is not one of {', '.join(EDGE_SERVICES)}, each once"
            raise InvalidArgumentError("FIELD_INVALID", message, field="transport_policies.edge_service")
        seen.add(row.edge_service)
        for field in ("signer", "risk_text_version"):
            # Both stay in clear.
            text = getattr(row, field)
            if not _TOKEN.fullmatch(text) or scan.find_personal_data(text):
                raise InvalidArgumentError("FIELD_INVALID", f"{field} is not a role or an id", field=f"transport_policies.{field}")
        if not row.sign_time < row.expire_time <= _a_year_after(row.sign_time):
            message = f"expiry is not within {_MONTHS} months of the signature"
            raise InvalidArgumentError("FIELD_INVALID", message, field="transport_policies.expire_time", limit=f"{_MONTHS} months")
    return tuple(sorted(rows, key=lambda row: row.edge_service))


def _signed(choice: Wanted) -> TransportRow:
    if not choice.signer or not choice.risk_text_version or choice.sign_time is None:
        raise FailedPreconditionError("RISK_ACK_REQUIRED", "somebody signs for the risk first, naming the version of the text about it")
    if choice.expire_time is None:
        raise InvalidArgumentError("FIELD_INVALID", "the choice has no end", field="transport_policies.expire_time")
    return TransportRow(choice.edge_service, choice.signer, choice.risk_text_version, choice.sign_time, choice.expire_time)


def check_ingress(ingress: str) -> str:
    """How something came to the edge service; over TLS unless told.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    if ingress not in {"", TLS, PLAINTEXT}:
        raise InvalidArgumentError("FIELD_INVALID", f"ingress is neither {TLS} nor {PLAINTEXT}", field="header.ingress")
    return ingress or TLS


async def require_policy(vault: Vault, connection: Connection, tenant: str, *, category: str, channel: str) -> None:
    """Require that what comes unencrypted by a channel may.

    Raises:
        FailedPreconditionError: PLAINTEXT_CHANNEL_FORBIDDEN.
    """
    allowed = await settings_store.plaintext_services(connection, tenant, vault.clock())
    if category in _NEVER or channel not in allowed:
        raise _forbidden()


async def plaintext_channels(vault: Vault, connection: Connection, tenant: str, items: Iterable[Prepared]) -> frozenset[str]:
    """The channels that may be unencrypted now; asked for only if one of the records came so."""
    if not any(_is_plain(item) for item in items):
        return frozenset()
    return await settings_store.plaintext_services(connection, tenant, vault.clock())


def check_record(item: Prepared, allowed: frozenset[str]) -> None:
    """Refuse a record that came unencrypted by a channel that may not be.

    Raises:
        FailedPreconditionError: PLAINTEXT_CHANNEL_FORBIDDEN.
    """
    if _is_plain(item) and item.metadata.get("channel", "") not in allowed:
        raise _forbidden()


def _is_plain(item: Prepared) -> bool:
    return item.metadata.get("ingress") == PLAINTEXT


def _forbidden() -> FailedPreconditionError:
    return FailedPreconditionError("PLAINTEXT_CHANNEL_FORBIDDEN", "the tenant has not signed for unencrypted data by this channel")


def _a_year_after(moment: datetime) -> datetime:
    if moment.year == MAXYEAR:
        return datetime.max.replace(tzinfo=UTC)
    try:
        return moment.replace(year=moment.year + 1)
    except ValueError:  # the 29th of February
        return moment.replace(year=moment.year + 1, day=28)
