"""A bucket of an S3-compatible store as a place for signed notes; see `sink` for the rules.

With object lock on the bucket, not even who holds the vault's credentials can take a note back.
"""

import asyncio
from datetime import timedelta

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from vault.errors import FailedPreconditionError, UnavailableError
from vault.operations.sink import SUFFIX, Belief

_TIMEOUT = timedelta(seconds=10)


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

    async def newest(self, log: str, *, from_size: int, is_ours: Belief) -> str | None:
        """The last object in order."""
        try:
            return await asyncio.to_thread(self._newest, log, f"{log}/{from_size:020d}", is_ours)
        except BaseError:
            raise UnavailableError("CHECKPOINTS_UNAVAILABLE", "the object store cannot be read") from None

    def _newest(self, log: str, after: str, is_ours: Belief) -> str | None:
        paths = [
            item["path"] for page in obstore.list(self._store, prefix=log, offset=after) for item in page if item["path"].endswith(SUFFIX)
        ]
        notes = ((path, bytes(obstore.get(self._store, path).bytes()).decode(errors="replace")) for path in sorted(paths, reverse=True))
        return next((note for path, note in notes if is_ours(path, note)), None)
