"""What somebody did about a message is stored with that message and not without it (P3.2-service).

The message is looked for among the records of the person who reacted: an event is linked to its message, and so to the message's recipient. What
took the message away since, retention or an erasure, took with it what could be said about it.
"""

from collections.abc import Sequence

from vault.errors import FailedPreconditionError, VaultError
from vault.operations.preparing import Prepared
from vault.store import records as record_store
from vault.store.database import Connection

_EVENT, _MESSAGES = "interaction-event", ("message-metadata", "outgoing-message")
_LINK = "message_id"


async def missing_parents(connection: Connection, tenant: str, items: Sequence[Prepared]) -> frozenset[tuple[str, str]]:
    """Person and message of the events among some records whose person has no such message; asked only if there are events."""
    wanted = {(item.subject, item.metadata[_LINK]) for item in items if item.category.name == _EVENT}
    if not wanted:
        return frozenset()
    people, messages = ({pair[place] for pair in wanted} for place in (0, 1))
    return frozenset(wanted - await record_store.with_value(connection, tenant, people, _MESSAGES, field=_LINK, values=messages))


def without_parent(item: Prepared, missing: frozenset[tuple[str, str]]) -> VaultError | None:
    """Why a record is not stored without what it belongs to; None if it stands alone, or that is there."""
    if item.category.name != _EVENT or (item.subject, item.metadata[_LINK]) not in missing:
        return None
    return FailedPreconditionError("PARENT_NOT_FOUND", "no message of that id was sent to the person", field=_LINK)
