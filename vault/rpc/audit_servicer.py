"""AuditService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.names import SYSTEM_LOG
from vault.operations import checkpoint, proofs, question
from vault.operations.core import Vault
from vault.operations.question import Question
from vault.rpc import convert
from vault.rpc.edge import current_attempt
from vault.rpc.pages import PageTokens
from vault.v1.audit_service_pb2 import (
    GetCheckpointRequest,
    GetCheckpointResponse,
    GetConsistencyProofRequest,
    GetConsistencyProofResponse,
    GetInclusionProofRequest,
    GetInclusionProofResponse,
    ListAuditEntriesRequest,
    ListAuditEntriesResponse,
    ListSubjectAccessesRequest,
    ListSubjectAccessesResponse,
    QueryAuditEntriesRequest,
    QueryAuditEntriesResponse,
)
from vault.v1.audit_service_pb2_grpc import AuditServiceServicer

Context = grpc.aio.ServicerContext[Any, Any]
_QUERY, _ACCESSES = "auditEntries", "subjectAccesses"


class AuditServicer(AuditServiceServicer):
    """Reading the log, asking it, proofs and checkpoints."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def ListAuditEntries(self, request: ListAuditEntriesRequest, context: Context) -> ListAuditEntriesResponse:
        """List entries of one log, or what is left of those that were removed."""
        log = _log(request.parent)
        if request.removed:
            hashes, note, size = await checkpoint.list_removed(self._vault, log, start=request.start_index, page_size=request.page_size)
            return ListAuditEntriesResponse(removed_hashes=hashes, removal_note=note, log_size=size)
        entries, size = await checkpoint.list_entries(self._vault, log, start=request.start_index, page_size=request.page_size)
        return ListAuditEntriesResponse(entries=[convert.entry(log, index, content) for index, content in entries], log_size=size)

    async def QueryAuditEntries(self, request: QueryAuditEntriesRequest, context: Context) -> QueryAuditEntriesResponse:
        """List the entries of one log that are asked for."""
        log, asked = _log(request.parent), _question(request)
        query = (_QUERY, log, repr(asked))
        start = int(self._pages.open(request.page_token, *query) or 0)
        entries, following = await question.query_entries(self._vault, log, asked, page_size=request.page_size, start=start)
        return QueryAuditEntriesResponse(
            entries=[convert.entry(log, index, content) for index, content in entries],
            next_page_token=self._pages.seal("" if following is None else str(following), *query),
        )

    async def ListSubjectAccesses(self, request: ListSubjectAccessesRequest, context: Context) -> ListSubjectAccessesResponse:
        """List who was given data of a subject."""
        name = names.parse_subject(request.subject, field="subject")
        query = (_ACCESSES, name.tenant, name.subject)
        after = int(self._pages.open(request.page_token, *query) or -1)
        caller = current_attempt().caller
        entries, following, withheld = await question.subject_accesses(self._vault, caller, name, page_size=request.page_size, after=after)
        return ListSubjectAccessesResponse(
            entries=[convert.entry(name.tenant, index, content) for index, content in entries],
            next_page_token=self._pages.seal("" if following is None else str(following), *query),
            withheld_count=withheld,
        )

    async def GetCheckpoint(self, request: GetCheckpointRequest, context: Context) -> GetCheckpointResponse:
        """Sign the current head of a log."""
        log = _log(request.parent)
        note = await checkpoint.sign_head(self._vault, log)
        return GetCheckpointResponse(checkpoint=note, restore_notes=await checkpoint.restore_notes(self._vault, log))

    async def GetInclusionProof(self, request: GetInclusionProofRequest, context: Context) -> GetInclusionProofResponse:
        """Prove that an entry is in the log."""
        log, index = names.parse_entry(request.name)
        return GetInclusionProofResponse(hashes=await proofs.inclusion_proof(self._vault, log, index, request.tree_size))

    async def GetConsistencyProof(self, request: GetConsistencyProofRequest, context: Context) -> GetConsistencyProofResponse:
        """Prove that a log only grew."""
        hashes = await proofs.consistency_proof(self._vault, _log(request.parent), request.from_size, request.to_size)
        return GetConsistencyProofResponse(hashes=hashes)


def _log(parent: str) -> str:
    return SYSTEM_LOG if parent == SYSTEM_LOG else names.parse_tenant(parent).tenant


def _question(request: QueryAuditEntriesRequest) -> Question:
    return Question(
        actor=request.actor,
        about=request.about,
        operation=request.operation,
        category=request.category,
        purpose=request.purpose,
        decision=request.decision,
        start_time=convert.moment(request, "start_time"),
        end_time=convert.moment(request, "end_time"),
    )
