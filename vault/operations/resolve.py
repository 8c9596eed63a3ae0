"""Looking an identifier up and releasing what it belonged to at a moment, in one call (P3.5-route, P3.4-map).

The look-up finds at most one record; the release is `reveal`'s, with the same decision, opening and entry.
"""

from dataclasses import replace

from vault.errors import VaultError
from vault.operations.core import Vault, known_tenant, refuse_former_customer
from vault.operations.decision import gather, require
from vault.operations.find import RESTRICTED_PURPOSES, Search, record_as_of
from vault.operations.reveal import Released, RevealCall, reveal
from vault.policy.decide import Operation


async def resolve_identifier(vault: Vault, tenant: str, call: RevealCall, search: Search) -> Released:
    """Release the fields of the record that the identifier belonged to.

    Args:
        vault: the vault.
        tenant: the tenant.
        call: caller, justification, view and fields; its names are filled in here.
        search: identifier and moment.
    Raises:
        InvalidArgumentError: AS_OF_REQUIRED, UNKNOWN_IDENTIFIER_KIND, IDENTIFIER_INVALID.
        NotFoundError: RECORD_NOT_FOUND.
        VaultError: as `reveal`.
    """
    category = vault.catalogue.category(search.category)
    async with vault.database.read() as connection:
        row, keys = await known_tenant(vault, connection, tenant, hold=True)
        refuse_former_customer(row, call.attempt)
        facts = await gather(vault, connection, call.attempt, row)
        # Decided before the look-up, so that who may not resolve learns nothing about what exists.
        require(vault, call.attempt, facts, operation=Operation.RESOLVE, category=category.name)
        restricted = call.attempt.justification.purpose in RESTRICTED_PURPOSES
        name = await record_as_of(vault, connection, keys, category, search, restricted=restricted)
    [[outcome]] = await reveal(vault, tenant, [replace(call, names=(name,), operation=Operation.RESOLVE)])
    if isinstance(outcome, VaultError):
        raise outcome
    return outcome
