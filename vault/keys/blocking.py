"""Calling a key service whose client blocks, without blocking anybody else.

Each provider has threads of its own: a key service that hangs takes those and no others, and one tenant's key service never delays another's.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

from vault.errors import KeyUnavailableError

Result = TypeVar("Result")

# What a caller waits at most. The client's own time-outs are shorter, so that its thread is free again by then.
WITHIN = timedelta(seconds=5)
CONNECT_SECONDS = 2.0
READ_SECONDS = 3.0
_THREADS = 4


class Blocking:
    """Runs blocking calls of one provider.

    Args:
        name: scheme of the provider; names its threads.
    """

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"keys-{name}")

    async def run(self, call: Callable[[], Result]) -> Result:
        """The result of a blocking call.

        Raises:
            KeyUnavailableError: KEYS_UNAVAILABLE, no answer in time.
        """
        try:
            async with asyncio.timeout(WITHIN.total_seconds()):
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except TimeoutError:
            raise KeyUnavailableError("the key service does not answer in time") from None
