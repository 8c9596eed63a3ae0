"""OperationsService: parse, hand over, convert."""

from typing import Any

import grpc

from vault import names
from vault.errors import InvalidArgumentError
from vault.names import SYSTEM_LOG
from vault.operations import definition, readiness, replay, retain, rotate, signing
from vault.operations.core import Vault
from vault.operations.rotate import Asked, KeyKind
from vault.rpc import convert
from vault.rpc.edge import admit_tenant, current_attempt
from vault.rpc.pages import PageTokens
from vault.v1 import operations_service_pb2, operations_service_pb2_grpc
from vault.v1.operations_service_pb2 import (
    DropCachedKeysRequest,
    DropCachedKeysResponse,
    GetDatabaseDefinitionRequest,
    GetDatabaseDefinitionResponse,
    GetKeyRotationRequest,
    GetKeyRotationResponse,
    GetReadinessRequest,
    GetReadinessResponse,
    ListKeyRotationsRequest,
    ListKeyRotationsResponse,
    MoveTenantKeysRequest,
    MoveTenantKeysResponse,
    ReplayErasuresRequest,
    ReplayErasuresResponse,
    RotateKeysRequest,
    RotateKeysResponse,
    RunRetentionRequest,
    RunRetentionResponse,
)

Context = grpc.aio.ServicerContext[Any, Any]


class OperationsServicer(operations_service_pb2_grpc.OperationsServiceServicer):
    """Running the vault."""

    def __init__(self, vault: Vault, pages: PageTokens) -> None:
        self._vault = vault
        self._pages = pages

    async def GetDatabaseDefinition(self, request: GetDatabaseDefinitionRequest, context: Context) -> GetDatabaseDefinitionResponse:
        """Render the database definition document."""
        found = definition.database_definition(self._vault, request.language)
        return GetDatabaseDefinitionResponse(document=found.document, policy_version=found.policy_version, stale=found.stale)

    async def GetReadiness(self, request: GetReadinessRequest, context: Context) -> GetReadinessResponse:
        """Look whether the vault can serve."""
        found = await readiness.readiness(self._vault)
        return GetReadinessResponse(ready=found.ready, findings=found.findings)

    async def RunRetention(self, request: RunRetentionRequest, context: Context) -> RunRetentionResponse:
        """Erase what retention has ended for."""
        tenant = admit_tenant(names.parse_tenant(request.tenant, field="tenant").tenant) if request.tenant else ""
        erased, receipt = await retain.run_retention(self._vault, current_attempt(), tenant)
        return RunRetentionResponse(erased_counts=erased, receipt=convert.receipt(receipt))

    async def ReplayErasures(self, request: ReplayErasuresRequest, context: Context) -> ReplayErasuresResponse:
        """Replay what was erased after a restore."""
        replayed, receipt = await replay.replay_erasures(self._vault, current_attempt())
        return ReplayErasuresResponse(replayed_count=replayed, receipt=convert.receipt(receipt))

    async def RotateKeys(self, request: RotateKeysRequest, context: Context) -> RotateKeysResponse:
        """Start rotating a key."""
        attempt = current_attempt()
        if request.kind == operations_service_pb2.KEY_KIND_SIGNING:
            if request.tenant or request.subject or request.root_key:
                raise InvalidArgumentError("FIELD_INVALID", "the signing key is the vault's, no tenant's", field="kind")
            return RotateKeysResponse(receipt=convert.receipt(await signing.rotate_signing_key(self._vault, attempt)))
        tenant = _of(request.tenant, field="tenant") if request.tenant else ""
        subject = names.parse_subject(request.subject, field="subject") if request.subject else None
        if subject is not None and subject.tenant != tenant:
            raise InvalidArgumentError("FIELD_INVALID", "the subject is not one of the tenant", field="subject")
        asked = Asked(KeyKind(_kind(request.kind)), tenant, subject.subject if subject else "", request.root_key)
        row, receipt = await rotate.start_rotation(self._vault, attempt, asked)
        return RotateKeysResponse(receipt=convert.receipt(receipt), rotation=convert.rotation(row))

    async def GetKeyRotation(self, request: GetKeyRotationRequest, context: Context) -> GetKeyRotationResponse:
        """Read a rotation."""
        name = names.parse_rotation(request.name)
        if name.tenant != SYSTEM_LOG:
            admit_tenant(name.tenant)
        return GetKeyRotationResponse(rotation=convert.rotation(await rotate.get_rotation(self._vault, name)))

    async def ListKeyRotations(self, request: ListKeyRotationsRequest, context: Context) -> ListKeyRotationsResponse:
        """List rotations."""
        tenant = _of(request.parent, field="parent")
        query = f"keyRotations/{tenant}"
        after = self._pages.open(request.page_token, query)
        rows, following = await rotate.list_rotations(self._vault, tenant, page_size=request.page_size, after=after)
        return ListKeyRotationsResponse(
            rotations=[convert.rotation(row) for row in rows], next_page_token=self._pages.seal(following, query)
        )

    async def MoveTenantKeys(self, request: MoveTenantKeysRequest, context: Context) -> MoveTenantKeysResponse:
        """Wrap a tenant's keys under another root key."""
        tenant = _of(request.name, field="name")
        receipt = await rotate.move_tenant(self._vault, current_attempt(), tenant, root_key=request.root_key)
        return MoveTenantKeysResponse(receipt=convert.receipt(receipt))

    async def DropCachedKeys(self, request: DropCachedKeysRequest, context: Context) -> DropCachedKeysResponse:
        """Have every replica unwrap a tenant's keys anew."""
        tenant = _of(request.name, field="name")
        receipt = await rotate.drop_cached_keys(self._vault, current_attempt(), tenant)
        return DropCachedKeysResponse(receipt=convert.receipt(receipt))


def _of(name: str, *, field: str) -> str:
    """The tenant named, which must be one of the caller's, or the system log."""
    return SYSTEM_LOG if name == SYSTEM_LOG else admit_tenant(names.parse_tenant(name, field=field).tenant)


def _kind(value: int) -> str:
    try:
        return operations_service_pb2.KeyKind.Name(value).removeprefix("KEY_KIND_")  # type: ignore[arg-type]
    except ValueError:
        raise InvalidArgumentError("FIELD_INVALID", "no such kind of key", field="kind") from None
