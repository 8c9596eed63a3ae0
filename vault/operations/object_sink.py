"""A bucket of an S3-compatible store as a place for signed notes; see `sink` for the rules.

With object lock on the bucket, not even who holds the vault's credentials can take a note back.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from vault.errors import FailedPreconditionError, UnavailableError
from vault.operations.sink import END, RESTORE_SUFFIX, SUFFIX, Belief

_TIMEOUT = timedelta(seconds=10)
_T = TypeVar("_T")


class ObjectSink:
    """A bucket. Credentials and region come from the environment, `AWS_ACCESS_KEY_ID` and so on.

    Args:
        url: `s3://bucket/prefix`.
        endpoint: address of a store that is not Amazon's; empty for Amazon's.
    Raises:
        FailedPreconditionError: CONFIG_INVALID, the library knows no such store.
    """

    name = "object-store"

    def __init__(self, url: str, *, endpoint: str = "") -> None:
        try:
            self._store = S3Store.from_url(
                url,
                config={"endpoint": endpoint} if endpoint else {},
                client_options={"timeout": _TIMEOUT, "allow_http": endpoint.startswith("http:")},
                retry_config={"max_retries": 2, "retry_timeout": _TIMEOUT},
            )
        except BaseError:
            raise FailedPreconditionError("CONFIG_INVALID", "checkpoints.object_store: there is no such store") from None

    async def put(self, name: str, content: bytes) -> None:
        """Create an object."""
        try:
            await obstore.put_async(self._store, name, content, mode="create")
        except AlreadyExistsError:
            return
        except BaseError:
            raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the object store cannot be written") from None

    async def newest(self, log: str, *, start: str = "", end: str = END, is_ours: Belief) -> str | None:
        """The last object in order."""
        found = self._found(log, SUFFIX, start=start, end=end)
        return await _reading(lambda: next((note for name, note in found if is_ours(name, note)), None))

    async def restores(self, log: str) -> list[tuple[str, str]]:
        """The objects of their kind."""
        return await _reading(lambda: list(self._found(log, RESTORE_SUFFIX)))

    def _found(self, log: str, suffix: str, *, start: str = "", end: str = END) -> Iterator[tuple[str, str]]:
        """Names and texts, the last in order first."""
        listed = (item["path"] for page in obstore.list(self._store, prefix=log, offset=f"{log}/{start}") for item in page)
        for path in sorted((path for path in listed if path.endswith(suffix) and path < f"{log}/{end}"), reverse=True):
            yield path, bytes(obstore.get(self._store, path).bytes()).decode(errors="replace")


async def _reading(work: Callable[[], _T]) -> _T:
    try:
        return await asyncio.to_thread(work)
    except BaseError:
        raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the object store cannot be read") from None
