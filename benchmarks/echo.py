"""A server that does nothing: the floor under every RPC that Python serves with `grpc.aio`.

It parses requests and answers each with a message that was built once, of the type and size the vault answers with, over the same TLS with client
certificates and the same options, on uvloop. No interceptor, no database, no policy.

    python -m benchmarks.echo HOME    prints its port, serves until SIGTERM
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks import people
from benchmarks.plan import BATCH_RECORDS
from vault.v1.resources_pb2 import VIEW_MASKED, FieldValue, Party, Receipt, Record, RevealedRecord
from vault.v1.vault_service_pb2 import (
    BatchRevealRecordsRequest,
    BatchRevealRecordsResponse,
    CreateRecordRequest,
    CreateRecordResponse,
    FindSubjectsRequest,
    FindSubjectsResponse,
    ImportRecordsRequest,
    ImportRecordsResponse,
    RevealRecordRequest,
    RevealRecordResponse,
    RevealResult,
    StreamRevealRecordsRequest,
    StreamRevealRecordsResponse,
    SubjectMatch,
)

Context = grpc.aio.ServicerContext[Any, Any]

_SUBJECT = f"{people.PARENT}/subjects/{'s' * 26}"
_NAME = f"{_SUBJECT}/records/{'r' * 26}"
_RECEIPT = Receipt(log=people.TENANT, index=1_000_000)
_RECORD = Record(
    name=_NAME, category=people.CATEGORY, field_names=["email", "phone"], parties=[Party(role="subject", subject=_SUBJECT)], etag="1"
)
_REVEALED = RevealedRecord(
    name=_NAME,
    category=people.CATEGORY,
    fields={"phone": FieldValue(text="+97250•••••78"), "email": FieldValue(text="p•••@mail.example")},
    view=VIEW_MASKED,
)
_RESULT = RevealResult(record=_REVEALED, receipt=_RECEIPT)

_REVEAL = RevealRecordResponse(record=_REVEALED, receipt=_RECEIPT)
_REVEAL_BATCH = BatchRevealRecordsResponse(results=[_RESULT] * BATCH_RECORDS)
_REVEAL_STREAM = StreamRevealRecordsResponse(result=_RESULT)
_CREATE = CreateRecordResponse(record=_RECORD, receipt=_RECEIPT)
_FIND = FindSubjectsResponse(matches=[SubjectMatch(subject=_SUBJECT, record=_NAME, role="subject")], receipt=_RECEIPT)


async def _reveal(_request: RevealRecordRequest, _context: Context) -> RevealRecordResponse:
    return _REVEAL


async def _reveal_batch(_request: BatchRevealRecordsRequest, _context: Context) -> BatchRevealRecordsResponse:
    return _REVEAL_BATCH


async def _reveal_stream(
    requests: AsyncIterator[StreamRevealRecordsRequest], _context: Context
) -> AsyncIterator[StreamRevealRecordsResponse]:
    async for _ in requests:
        yield _REVEAL_STREAM


async def _create(_request: CreateRecordRequest, _context: Context) -> CreateRecordResponse:
    return _CREATE


async def _find(_request: FindSubjectsRequest, _context: Context) -> FindSubjectsResponse:
    return _FIND


async def _import(requests: AsyncIterator[ImportRecordsRequest], _context: Context) -> ImportRecordsResponse:
    rows = 0
    async for message in requests:
        rows += len(message.rows.rows)
    return ImportRecordsResponse(row_count=rows, accepted_count=rows, receipt=_RECEIPT)


def _handlers() -> grpc.GenericRpcHandler:
    """The methods that are measured; every other one is UNIMPLEMENTED."""
    return grpc.method_handlers_generic_handler(
        "vault.v1.VaultService",
        {
            "RevealRecord": grpc.unary_unary_rpc_method_handler(
                _reveal, RevealRecordRequest.FromString, RevealRecordResponse.SerializeToString
            ),
            "BatchRevealRecords": grpc.unary_unary_rpc_method_handler(
                _reveal_batch, BatchRevealRecordsRequest.FromString, BatchRevealRecordsResponse.SerializeToString
            ),
            "StreamRevealRecords": grpc.stream_stream_rpc_method_handler(
                _reveal_stream, StreamRevealRecordsRequest.FromString, StreamRevealRecordsResponse.SerializeToString
            ),
            "CreateRecord": grpc.unary_unary_rpc_method_handler(
                _create, CreateRecordRequest.FromString, CreateRecordResponse.SerializeToString
            ),
            "FindSubjects": grpc.unary_unary_rpc_method_handler(
                _find, FindSubjectsRequest.FromString, FindSubjectsResponse.SerializeToString
            ),
            "ImportRecords": grpc.stream_unary_rpc_method_handler(
                _import, ImportRecordsRequest.FromString, ImportRecordsResponse.SerializeToString
            ),
        },
    )


async def _serve(home: Path) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 << 20), ("grpc.max_send_message_length", 4 << 20)])
    server.add_generic_rpc_handlers((_handlers(),))
    key, certificate, authority = ((home / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    credentials = grpc.ssl_server_credentials([(key, certificate)], root_certificates=authority, require_client_auth=True)
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f'{{"port": {port}}}', file=sys.stderr, flush=True)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
