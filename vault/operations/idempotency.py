"""Same request id and body, same answer; same id, other body, `REQUEST_ID_REUSED`.

The answer is kept in the transaction of the change it answers. The body is recognised by an HMAC under the tenant's digest key, because it may hold
personal data. Two calls racing with one id: one commits, the other meets the primary key and is told to try again.
"""

import json
import re
from dataclasses import dataclass, field

from vault.errors import AlreadyExistsError, InvalidArgumentError
from vault.operations.attempt import Receipt
from vault.operations.core import Vault
from vault.operations.keyring import TenantKeys
from vault.store import registers
from vault.store.database import Connection
from vault.store.registers import AnsweredRequest

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A request id with the deterministic bytes of the body; an empty id asks for nothing."""

    request_id: str
    method: str
    body: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.request_id and not _UUID4.fullmatch(self.request_id):
            raise InvalidArgumentError("FIELD_INVALID", "request id is not a lower-case UUID4", field="request_id")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was created: its id (or ids) and where that was recorded."""

    ids: tuple[str, ...]
    receipt: Receipt


async def earlier_answer(connection: Connection, keys: TenantKeys, request: RequestKey) -> Answer | None:
    """The answer given under this request id, or None.

    Raises:
        AlreadyExistsError: REQUEST_ID_REUSED.
    """
    if not request.request_id:
        return None
    answered = await registers.answered_request(connection, keys.tenant, request.request_id)
    if answered is None:
        return None
    if answered.method != request.method or answered.body_token not in _tokens(keys, request):
        raise AlreadyExistsError("REQUEST_ID_REUSED", "the request id was used for another request", field="request_id")
    kept = json.loads(answered.response)
    return Answer(tuple(kept["ids"]), Receipt(kept["log"], kept["index"]))


async def keep(vault: Vault, connection: Connection, keys: TenantKeys, request: RequestKey, answer: Answer) -> None:
    """Remember the answer, in this transaction."""
    if not request.request_id:
        return
    kept = json.dumps({"ids": answer.ids, "log": answer.receipt.log, "index": answer.receipt.index}).encode()
    await registers.keep_answer(
        connection, keys.tenant, request.request_id, AnsweredRequest(request.method, _tokens(keys, request)[0], kept), vault.clock()
    )


def _tokens(keys: TenantKeys, request: RequestKey) -> list[bytes]:
    return keys.digests("request-body", request.body)
