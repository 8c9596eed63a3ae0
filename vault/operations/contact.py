"""May this person be contacted, for this purpose, on this channel? A yes or no with its rule; nothing is released.

Rules:
- What the contract needs may be sent to whoever is known and not restricted; a no to advertising changes nothing about that (P2.9b-mkt-out).
- Advertising needs the person's own yes on that channel, explicit or as a customer of similar services; the account's terms alone are no
  agreement (A10, L18). No minor, nobody who objected, nobody restricted, and no identifier that was suppressed is advertised to (A12, A5, L31).
- Keeping in touch is for former customers, until they say no (P3.8-keep-contact); after the contract nobody is contacted for anything else.
"""

from dataclasses import dataclass

from vault import crypto
from vault.errors import InvalidArgumentError
from vault.identifiers import IdentifierKind, normalise
from vault.operations import log
from vault.operations.attempt import Attempt, Justification, Receipt
from vault.operations.core import Vault, known_tenant, refuse_former_customer
from vault.operations.preference import CHANNELS, is_suppressed
from vault.operations.preference import PURPOSE as MARKETING
from vault.operations.rights import check_word
from vault.store import guardians as guardian_store
from vault.store import objections as objection_store
from vault.store import preferences as preference_store
from vault.store import subjects as subject_store
from vault.store.database import Connection
from vault.store.preferences import OUT
from vault.store.subjects import Token

# The channel that an identifier is usually written to.
_USUAL = {IdentifierKind.PHONE: "SMS", IdentifierKind.EMAIL: "EMAIL"}
# Purposes for which the contract is reason enough to write to someone.
_SERVICE = frozenset({"service-delivery", "contact", "billing"})
_KEEP_IN_TOUCH = "keep-in-touch"
_FORMER_CUSTOMER = "former-customer-contact"
# A10: what an agreement must rest on. To let the account's terms suffice, against the advice there, ACCOUNT_TERMS would be added here.
_SUFFICIENT = frozenset({"EXPLICIT_OPT_IN", "EXISTING_CUSTOMER_SIMILAR_SERVICE"})


@dataclass(frozen=True, slots=True)
class Contactable:
    """The answer and the rule behind it."""

    contactable: bool
    reason: str


async def check_contactable(
    vault: Vault, attempt: Attempt, tenant: str, *, kind: str, value: str, purpose: str, channel: str = ""
) -> tuple[Contactable, Receipt]:
    """Whether a person may be contacted for a purpose.

    Args:
        vault: the vault.
        attempt: who asks.
        tenant: id of the tenant.
        kind: `phone` or `email`.
        value: the identifier, in any usual spelling.
        purpose: of the catalogue.
        channel: where it would be sent; empty for the usual one of the kind.
    Raises:
        InvalidArgumentError: UNKNOWN_PURPOSE, UNKNOWN_IDENTIFIER_KIND, IDENTIFIER_INVALID, FIELD_INVALID.
    """
    attempt.operation, attempt.justification = "check-contactable", Justification(vault.catalogue.purpose(purpose).name)
    if kind not in _USUAL:
        raise InvalidArgumentError("UNKNOWN_IDENTIFIER_KIND", "people are contacted by phone or email", field="kind")
    identifier = IdentifierKind(kind)
    channel = check_word(channel or _USUAL[identifier], frozenset(CHANNELS), field="channel")
    normalised = normalise(identifier, value, region=vault.region)
    async with vault.database.write() as connection:
        row, keys = await known_tenant(vault, connection, tenant, hold=True)
        refuse_former_customer(row, attempt)
        tokens = [Token(kind, crypto.index_token(key, normalised)) for key in keys.index_keys(kind)]
        subject = next(iter((await subject_store.subjects_of_tokens(connection, tenant, tokens)).values()), "")
        if row.has_ended and purpose != _KEEP_IN_TOUCH:
            answer = _no("CONTRACT_ENDED")
        elif purpose == MARKETING and await is_suppressed(connection, keys, kind=identifier, value=normalised, channel=channel):
            # Whoever's it is now, and also if nobody's is known: a number that was erased may be about to be stored again (A5).
            answer = _no("SUPPRESSED")
        else:
            answer = await _answer(vault, connection, tenant, subject, purpose=purpose, channel=channel)
        attempt.subjects, attempt.rule = (subject,) if subject else (), f"contactable:{answer.reason.lower()}"
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return answer, receipt


async def _answer(vault: Vault, connection: Connection, tenant: str, subject: str, *, purpose: str, channel: str) -> Contactable:
    row = await subject_store.get_subject(connection, tenant, subject) if subject else None
    if row is None or row.state in {"ERASING", "ERASED"}:
        return _no("NOT_KNOWN")
    if row.state == "RESTRICTED":
        return _no("RESTRICTED")
    if purpose in _SERVICE:
        return Contactable(contactable=True, reason="SERVICE")
    if purpose not in {MARKETING, _KEEP_IN_TOUCH}:
        return _no("NO_CONSENT")
    return await _by_choice(vault, connection, tenant, subject, purpose=purpose, channel=channel)


async def _by_choice(vault: Vault, connection: Connection, tenant: str, subject: str, *, purpose: str, channel: str) -> Contactable:
    """The answer where the person's own choice counts."""
    if await guardian_store.guardian_standing(connection, tenant, [subject], vault.clock()):
        return _no("MINOR")
    if purpose in await objection_store.objections_of(connection, tenant, subject):
        return _no("OBJECTED")
    chosen = (await preference_store.newest_preferences(connection, tenant, subject)).get(channel)
    if chosen is not None and chosen.state == OUT:
        return _no("OPTED_OUT")
    if purpose == _KEEP_IN_TOUCH:
        is_former = _FORMER_CUSTOMER in await subject_store.record_counts(connection, tenant, subject)
        return Contactable(contactable=is_former, reason="FORMER_CUSTOMER" if is_former else "NO_CONSENT")
    if chosen is None:
        return _no("NO_CONSENT")
    # A10: the account's terms say so and are not enough.
    return Contactable(contactable=chosen.basis in _SUFFICIENT, reason=chosen.basis)


def _no(reason: str) -> Contactable:
    return Contactable(contactable=False, reason=reason)
