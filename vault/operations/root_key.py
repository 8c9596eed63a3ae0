"""A root key that is watched: every question to its key service is timed, counted by its outcome, and told in the trace it belongs to."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from opentelemetry.trace import SpanKind, Tracer

from vault.errors import VaultError
from vault.keys.provider import RootKeyProvider
from vault.operations.meters import Meters
from vault.telemetry import is_traced, spanning

Answer = TypeVar("Answer")


class WatchedRootKey:
    """A provider around another one, which it asks.

    Args:
        provider: the one that is asked.
        meters: what counts.
        tracer: where spans are told.
    """

    def __init__(self, provider: RootKeyProvider, meters: Meters, tracer: Tracer) -> None:
        self._provider = provider
        self._meters = meters
        self._tracer = tracer

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt a tenant key."""
        return await self._asked("wrap", lambda: self._provider.wrap(material, context=context))

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt a tenant key."""
        return await self._asked("unwrap", lambda: self._provider.unwrap(wrapped, context=context))

    def describe(self) -> str:
        """Where the root key is."""
        return self._provider.describe()

    async def health(self) -> None:
        """Return if the key service can wrap and unwrap."""
        await self._asked("health", self._provider.health)

    async def _asked(self, operation: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        if not is_traced():
            return await self._timed(operation, ask)
        with spanning(self._tracer, f"root key {operation}", kind=SpanKind.CLIENT) as span:
            span.set_attribute("pii_vault.operation", operation)
            return await self._timed(operation, ask)

    async def _timed(self, operation: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        began, outcome = time.perf_counter(), "CANCELLED"
        try:
            answer = await ask()
        except VaultError as error:
            outcome = error.reason
            raise
        else:
            outcome = "ok"
            return answer
        finally:
            self._meters.asked_root_key(operation, outcome, time.perf_counter() - began)
