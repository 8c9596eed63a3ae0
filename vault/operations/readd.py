"""Somebody who was erased comes back (P2.10b-readd, §6.7): allowed, as somebody new, and the log says who asked for it.

Whether they were erased is known by the keyed digest that an erasure leaves unless the person did not want one (A5). It names nobody, blocks nothing,
and no other way of forgetting leaves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vault.errors import InvalidArgumentError, VaultError
from vault.operations import preference
from vault.operations.keyring import TenantKeys
from vault.operations.preparing import Identifier, Prepared
from vault.operations.rights import check_word
from vault.operations.subjects import tokens_of
from vault.store import subjects as subject_store
from vault.store.database import Connection

_SOURCES = frozenset({"SUBJECT", "GUARDIAN", "REPRESENTATIVE", "TENANT"})


def check_source(said: str) -> str:
    """Check who asked, if anybody is named.

    Raises:
        InvalidArgumentError: FIELD_INVALID.
    """
    return check_word(said, _SOURCES, field="record.readd_source") if said else ""


async def ask_who(connection: Connection, keys: TenantKeys, items: Sequence[Prepared | VaultError]) -> list[Prepared | VaultError]:
    """The items, each that brings somebody back refused unless it says who asked; what others say about it is left out."""
    owners = {
        position: item.parts[0].identities
        for position, item in enumerate(items)
        if isinstance(item, Prepared) and item.category.asks_who_readds and not item.subject
    }
    back = await _back(connection, keys, owners) if owners else frozenset()
    return [
        item
        if isinstance(item, VaultError)
        else replace(item, readd_source="")
        if position not in back
        else item
        if item.readd_source
        else InvalidArgumentError(
            "READD_SOURCE_REQUIRED", "the person was erased; say who asked to add them again", field="record.readd_source"
        )
        for position, item in enumerate(items)
    ]


async def _back(connection: Connection, keys: TenantKeys, owners: Mapping[int, Sequence[Identifier]]) -> frozenset[int]:
    """Positions of owners of whom an identifier was erased, and whom nobody has added again since."""
    erased = await preference.were_erased(connection, keys, {item for found in owners.values() for item in found})
    asked = {position: found for position, found in owners.items() if erased & {*found}}
    tokens = {position: {token for item in found for token in tokens_of(keys, item)} for position, found in asked.items()}
    known = await subject_store.subjects_of_tokens(connection, keys.tenant, {token for found in tokens.values() for token in found})
    return frozenset(position for position, found in tokens.items() if not found & known.keys())
