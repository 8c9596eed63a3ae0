"""VaultService: parse, hand over, convert."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import grpc

from vault import names
from vault.errors import InvalidArgumentError, NotFoundError, VaultError
from vault.operations import change, contact, create, find, ingest, metadata, resolve
from vault.operations import reveal as revealing
from vault.operations.attempt import Attempt
from vault.operations.core import Vault
from vault.operations.create import CreateCall
from vault.operations.reveal import Released, RevealCall
from vault.rpc import convert
from vault.rpc.coalesce import Coalescer
from vault.rpc.edge import admit_tenant, current_attempt
from vault.rpc.pages import PageTokens
from vault.v1 import resources_pb2, vault_service_pb2, vault_service_pb2_grpc
from vault.v1.vault_service_pb2 import (
    BatchCreateRecordsRequest,
    BatchCreateRecordsResponse,
    BatchRevealRecordsRequest,
    BatchRevealRecordsResponse,
    CheckContactableRequest,
    CheckContactableResponse,
    ConfirmDeliveryRequest,
    ConfirmDeliveryResponse,
    CreateRecordRequest,
    CreateRecordResponse,
    CreateSubjectRequest,
    CreateSubjectResponse,
    DeleteRecordRequest,
    DeleteRecordResponse,
    FindSubjectsRequest,
    FindSubjectsResponse,
    GetRecordRequest,
    GetRecordResponse,
    GetSubjectRequest,
    GetSubjectResponse,
    ImportRecordsRequest,
    ImportRecordsResponse,
    ListRecordsRequest,
    ListRecordsResponse,
    ResolveIdentifierRequest,
    ResolveIdentifierResponse,
    RevealRecordRequest,
    RevealRecordResponse,
    StreamRevealRecordsRequest,
    StreamRevealRecordsResponse,
    UpdateRecordRequest,
    UpdateRecordResponse,
)

Context = grpc.aio.ServicerContext[Any, Any]
Item = TypeVar("Item")

# Reveals of one stream that are under way at once; their answers keep the order of the requests.
_STREAM_WINDOW = 64
_INTERNAL = "internal"
_NUMBER_MAPPING = "number-mapping"


class VaultServicer(vault_service_pb2_grpc.VaultServiceServicer):
    """The data plane. Reveal and create run through one coalesced path each, whether unary, batch or stream."""

    def __init__(self, vault: Vault, pages: PageTokens, *, max_batch: int) -> None:
        self._vault = vault
        self._pages = pages
        self._reveals: Coalescer[RevealCall, list[revealing.Outcome]] = Coalescer(
            lambda tenant, calls: revealing.reveal(vault, tenant, calls),
            weight=lambda call: len(call.names),
            max_weight=max_batch,
            name="reveal batch",
            tracer=vault.tracer,
        )
        self._creates: Coalescer[CreateCall, list[create.Outcome]] = Coalescer(
            lambda tenant, calls: create.create_records(vault, tenant, calls),
            weight=lambda call: len(call.records),
            max_weight=max_batch,
            name="create batch",
            tracer=vault.tracer,
        )

    @property
    def waiting(self) -> int:
        """Calls that wait for their batch."""
        return self._reveals.waiting + self._creates.waiting

    async def CreateSubject(self, request: CreateSubjectRequest, context: Context) -> CreateSubjectResponse:
        """Create a subject without records."""
        tenant = names.parse_tenant(request.parent).tenant
        key = convert.request_key(request, request.request_id, "CreateSubject")
        view, receipt = await metadata.create_subject(self._vault, current_attempt(), tenant, key)
        return CreateSubjectResponse(subject=convert.subject(tenant, view), receipt=convert.receipt(receipt))

    async def GetSubject(self, request: GetSubjectRequest, context: Context) -> GetSubjectResponse:
        """Read a subject's state and record counts."""
        name = names.parse_subject(request.name)
        return GetSubjectResponse(subject=convert.subject(name.tenant, await metadata.get_subject(self._vault, current_attempt(), name)))

    async def FindSubjects(self, request: FindSubjectsRequest, context: Context) -> FindSubjectsResponse:
        """Find subjects by one identifier."""
        tenant = names.parse_tenant(request.parent).tenant
        query = ("find", tenant, request.category, request.kind, request.value)
        search = find.Search(
            category=request.category,
            kind=request.kind,
            value=request.value,
            as_of=convert.moment(request, "as_of"),
            page_size=request.page_size,
            after=self._pages.open(request.page_token, *query),
        )
        found = await find.find_subjects(self._vault, _justified(request), tenant, search)
        matches = [
            vault_service_pb2.SubjectMatch(
                subject=str(names.SubjectName(tenant, match.name.subject)), record=str(match.name), role=match.role
            )
            for match in found.matches
        ]
        return FindSubjectsResponse(
            matches=matches, next_page_token=self._pages.seal(found.next_after, *query), receipt=convert.receipt(found.receipt)
        )

    async def CreateRecord(self, request: CreateRecordRequest, context: Context) -> CreateRecordResponse:
        """Store one record."""
        tenant = names.parse_tenant(request.parent).tenant
        key = convert.request_key(request, request.request_id, "CreateRecord")
        call = CreateCall(_storing(request.purpose), (convert.record_input(request.record),), atomic=False, request=key)
        [outcome] = await self._creates.submit(tenant, call)
        if isinstance(outcome, VaultError):
            raise outcome
        views = await metadata.record_views(self._vault, tenant, [outcome.name.record])
        result = convert.create_result(outcome, views)
        return CreateRecordResponse(record=result.record, receipt=result.receipt)

    async def BatchCreateRecords(self, request: BatchCreateRecordsRequest, context: Context) -> BatchCreateRecordsResponse:
        """Store up to 1,000 records."""
        tenant = names.parse_tenant(request.parent).tenant
        self._check_batch(request.records, "records")
        key = convert.request_key(request, request.request_id, "BatchCreateRecords")
        records = tuple(convert.record_input(record) for record in request.records)
        call = CreateCall(_storing(request.purpose), records, atomic=request.atomic, request=key)
        outcomes = await self._creates.submit(tenant, call)
        first = outcomes[0]
        if (request.atomic or request.request_id) and isinstance(first, VaultError):
            raise first
        stored = [outcome.name.record for outcome in outcomes if isinstance(outcome, create.Created)]
        views = await metadata.record_views(self._vault, tenant, stored)
        return BatchCreateRecordsResponse(results=[convert.create_result(outcome, views) for outcome in outcomes])

    async def ImportRecords(self, request: AsyncIterator[ImportRecordsRequest], context: Context) -> ImportRecordsResponse:
        """Store a list file row by row."""
        attempt, state = current_attempt(), None
        async for message in request:
            match message.WhichOneof("message"):
                case "header" if state is None:
                    attempt.justification = create.stored_for("")
                    tenant = admit_tenant(names.parse_tenant(message.header.parent).tenant)
                    state = await ingest.begin_import(self._vault, attempt, tenant, _header(message.header))
                    if state.complete:
                        break
                case "rows" if state is not None:
                    await ingest.import_rows(self._vault, attempt, state, [_row(row) for row in message.rows.rows])
                case "end" if state is not None:
                    await ingest.finish_import(self._vault, state, row_count=message.end.row_count)
                    break
                case _:
                    raise InvalidArgumentError("IMPORT_OUT_OF_ORDER", "an import is one header, then rows, then one end", field="message")
        if state is None:
            raise InvalidArgumentError("IMPORT_OUT_OF_ORDER", "an import begins with a header", field="message")
        return _import_response(state, await ingest.result_of(self._vault, state))

    async def GetRecord(self, request: GetRecordRequest, context: Context) -> GetRecordResponse:
        """Read a record's metadata."""
        name = names.parse_record(request.name)
        return GetRecordResponse(record=convert.record(name.tenant, await metadata.get_record(self._vault, current_attempt(), name)))

    async def ListRecords(self, request: ListRecordsRequest, context: Context) -> ListRecordsResponse:
        """List the metadata of a subject's records."""
        name = names.parse_subject(request.parent, field="parent")
        query = ("records", str(name), request.category)
        views, after = await metadata.list_records(
            self._vault,
            current_attempt(),
            name,
            category=request.category,
            page_size=request.page_size,
            after=self._pages.open(request.page_token, *query),
        )
        records = [convert.record(name.tenant, view) for view in views]
        return ListRecordsResponse(records=records, next_page_token=self._pages.seal(after, *query))

    async def UpdateRecord(self, request: UpdateRecordRequest, context: Context) -> UpdateRecordResponse:
        """Replace the named fields of a record."""
        name = names.parse_record(request.name)
        update = change.Update(frozenset(request.update_mask.paths), convert.values(request.fields), dict(request.extra), request.etag)
        view, receipt = await change.update_record(self._vault, _justified(request), name, update)
        return UpdateRecordResponse(record=convert.record(name.tenant, view), receipt=convert.receipt(receipt))

    async def DeleteRecord(self, request: DeleteRecordRequest, context: Context) -> DeleteRecordResponse:
        """Delete one record."""
        receipt = await change.delete_record(self._vault, _justified(request), names.parse_record(request.name), etag=request.etag)
        return DeleteRecordResponse(receipt=convert.receipt(receipt))

    async def RevealRecord(self, request: RevealRecordRequest, context: Context) -> RevealRecordResponse:
        """Release one record's fields."""
        name = names.parse_record(request.name)
        [outcome] = await self._reveals.submit(name.tenant, _reveal_call(request, (name,)))
        released = _released(outcome)
        return RevealRecordResponse(record=convert.revealed(released), receipt=_receipt(released))

    async def BatchRevealRecords(self, request: BatchRevealRecordsRequest, context: Context) -> BatchRevealRecordsResponse:
        """Release up to 1,000 records of one tenant."""
        tenant = names.parse_tenant(request.parent).tenant
        self._check_batch(request.names, "names")
        wanted = tuple(names.parse_record(name, field="names") for name in request.names)
        if any(name.tenant != tenant for name in wanted):
            raise NotFoundError("RECORD_NOT_FOUND", "a name does not belong to the tenant of the batch")
        outcomes = await self._reveals.submit(tenant, _reveal_call(request, wanted))
        return BatchRevealRecordsResponse(results=[convert.reveal_result(outcome) for outcome in outcomes])

    async def StreamRevealRecords(
        self, request: AsyncIterator[StreamRevealRecordsRequest], context: Context
    ) -> AsyncIterator[StreamRevealRecordsResponse]:
        """Release records as their names arrive, in order."""
        window: asyncio.Queue[asyncio.Task[StreamRevealRecordsResponse] | None] = asyncio.Queue(_STREAM_WINDOW)
        reader = asyncio.create_task(self._read_stream(request, window))
        try:
            while (task := await window.get()) is not None:
                yield await task
            await reader
        finally:
            reader.cancel()
            # Room for the reader's last word: it would wait for ever for a place that nobody frees, and keep what was released in memory.
            while not window.empty():
                window.get_nowait()

    async def ResolveIdentifier(self, request: ResolveIdentifierRequest, context: Context) -> ResolveIdentifierResponse:
        """Look an identifier up and release the record it belonged to."""
        tenant = names.parse_tenant(request.parent).tenant
        search = find.Search(
            category=request.category or _NUMBER_MAPPING,
            kind=request.kind,
            value=request.value,
            as_of=convert.moment(request, "as_of"),
            page_size=0,
            after="",
        )
        released = await resolve.resolve_identifier(self._vault, tenant, _reveal_call(request, ()), search)
        return ResolveIdentifierResponse(record=convert.revealed(released), receipt=_receipt(released))

    async def CheckContactable(self, request: CheckContactableRequest, context: Context) -> CheckContactableResponse:
        """Answer whether a person may be contacted."""
        tenant = names.parse_tenant(request.parent).tenant
        answer, receipt = await contact.check_contactable(
            self._vault,
            current_attempt(),
            tenant,
            kind=request.kind,
            value=request.value,
            purpose=request.purpose,
            channel=request.channel,
        )
        return CheckContactableResponse(contactable=answer.contactable, reason=answer.reason, receipt=convert.receipt(receipt))

    async def ConfirmDelivery(self, request: ConfirmDeliveryRequest, context: Context) -> ConfirmDeliveryResponse:
        """Destroy a transient record that was delivered."""
        receipt = await change.confirm_delivery(self._vault, current_attempt(), names.parse_record(request.name))
        return ConfirmDeliveryResponse(receipt=convert.receipt(receipt))

    async def _read_stream(
        self,
        requests: AsyncIterator[StreamRevealRecordsRequest],
        window: "asyncio.Queue[asyncio.Task[StreamRevealRecordsResponse] | None]",
    ) -> None:
        """Start one reveal per request; the bounded queue is what holds a fast sender back."""
        try:
            async for item in requests:
                await window.put(asyncio.create_task(self._stream_item(item.reveal, replace(current_attempt()))))
        finally:
            await window.put(None)

    async def _stream_item(self, request: RevealRecordRequest, attempt: Attempt) -> StreamRevealRecordsResponse:
        outcome: revealing.Outcome
        try:
            name = names.parse_record(request.name, field="reveal.name")
            if not attempt.caller.may_touch(name.tenant):
                raise NotFoundError("TENANT_NOT_FOUND", "no such tenant")
            attempt.tenant = name.tenant
            [outcome] = await self._reveals.submit(name.tenant, _reveal_call(request, (name,), attempt))
        except VaultError as error:
            outcome = error
        if isinstance(outcome, VaultError) and outcome.receipt is None:
            await revealing.record_refusal(self._vault, attempt, outcome)
        return StreamRevealRecordsResponse(result=convert.reveal_result(outcome))

    def _check_batch(self, items: Sequence[Item], field: str) -> None:
        limit = self._vault.limits.batch
        if len(items) > limit:
            raise InvalidArgumentError("BATCH_TOO_LARGE", f"at most {limit} items in one batch", field=field, limit=str(limit))


def _justified(request: FindSubjectsRequest | UpdateRecordRequest | DeleteRecordRequest) -> Attempt:
    attempt = current_attempt()
    attempt.justification = convert.justification(request.justification)
    return attempt


def _storing(purpose: str) -> Attempt:
    attempt = current_attempt()
    attempt.operation, attempt.justification = "create", create.stored_for(purpose)
    return attempt


def _reveal_call(
    request: RevealRecordRequest | BatchRevealRecordsRequest | ResolveIdentifierRequest,
    wanted: tuple[names.RecordName, ...],
    attempt: Attempt | None = None,
) -> RevealCall:
    attempt = attempt or current_attempt()
    attempt.operation, attempt.justification = "reveal", convert.justification(request.justification)
    return RevealCall(
        attempt=attempt,
        names=wanted,
        view=convert.view(request.view),
        fields=convert.mask(request.field_mask),
        recipient=request.recipient or _INTERNAL,
    )


def _released(outcome: revealing.Outcome) -> Released:
    if isinstance(outcome, VaultError):
        raise outcome
    return outcome


def _receipt(released: Released) -> resources_pb2.Receipt:
    assert released.receipt is not None  # noqa: S101 - the flow sets it before it returns
    return convert.receipt(released.receipt)


def _header(header: vault_service_pb2.ImportHeader) -> ingest.Header:
    return ingest.Header(header.category, header.list, header.channel, header.source_digest, header.repeat, header.ingress)


def _row(row: vault_service_pb2.ImportRow) -> ingest.Row:
    return ingest.Row(row.line, dict(row.fields), dict(row.extra))


def _import_response(state: ingest.Import, result: ingest.Result) -> ImportRecordsResponse:
    return ImportRecordsResponse(
        name=f"tenants/{state.tenant}/imports/{state.import_id}",
        row_count=result.row.row_count,
        accepted_count=result.row.accepted_count,
        duplicate_count=result.row.duplicate_count,
        rejected_counts=result.rejected,
        issues=[vault_service_pb2.ImportIssue(line=i.line, reason=i.reason, field=i.field) for i in result.issues],
        resumed_count=state.resumed,
        receipt=convert.receipt(state.receipt) if state.receipt else None,
    )
