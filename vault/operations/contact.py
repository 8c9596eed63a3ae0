"""May this person be contacted, for this purpose? A yes or no with its rule; nothing is released.

Until marketing preferences are kept, nobody can have agreed to marketing, so the answer is no (A10: account terms alone are no agreement).
"""

from dataclasses import dataclass

from vault import crypto
from vault.errors import InvalidArgumentError
from vault.identifiers import IdentifierKind, normalise
from vault.operations import log
from vault.operations.attempt import Attempt, Justification, Receipt
from vault.operations.core import Vault, active_tenant
from vault.store import subjects as subject_store
from vault.store.subjects import Token

_KINDS = frozenset({IdentifierKind.PHONE, IdentifierKind.EMAIL})
# Purposes for which the contract is reason enough to write to someone.
_SERVICE = frozenset({"service-delivery", "contact", "billing"})


@dataclass(frozen=True, slots=True)
class Contactable:
    """The answer and the rule behind it."""

    contactable: bool
    reason: str


async def check_contactable(
    vault: Vault, attempt: Attempt, tenant: str, *, kind: str, value: str, purpose: str
) -> tuple[Contactable, Receipt]:
    """Whether a person may be contacted for a purpose.

    Raises:
        InvalidArgumentError: UNKNOWN_PURPOSE, UNKNOWN_IDENTIFIER_KIND, IDENTIFIER_INVALID.
    """
    attempt.operation, attempt.justification = "check-contactable", Justification(vault.catalogue.purpose(purpose).name)
    if kind not in _KINDS:
        raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "people are contacted by phone or email", field="kind")
    normalised = normalise(IdentifierKind(kind), value, region=vault.region)
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, tenant, hold=True)
        tokens = [Token(kind, crypto.index_token(key, normalised)) for key in keys.index_keys(kind)]
        subject = next(iter((await subject_store.subjects_of_tokens(connection, tenant, tokens)).values()), None)
        row = await subject_store.get_subject(connection, tenant, subject) if subject else None
        answer = _answer(row.state if row else None, purpose)
        attempt.subjects, attempt.rule = (subject,) if subject else (), f"contactable:{answer.reason.lower()}"
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return answer, receipt


def _answer(state: str | None, purpose: str) -> Contactable:
    if state is None or state in {"ERASING", "ERASED"}:
        return Contactable(contactable=False, reason="NOT_KNOWN")
    if state == "RESTRICTED":
        return Contactable(contactable=False, reason="RESTRICTED")
    if purpose in _SERVICE:
        return Contactable(contactable=True, reason="SERVICE")
    return Contactable(contactable=False, reason="NO_CONSENT")
