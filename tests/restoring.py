"""A vault whose databases are backed up and restored while it does not run, as an operator does it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from deploy import backup
from tests.builders import contact, create, subject_of
from tests.serving import Serving, serving
from vault.v1.operations_service_pb2 import GetReadinessRequest, ReplayErasuresRequest, ReplayErasuresResponse

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Restorable:
    """Where a vault and its databases are.

    Attributes:
        template: the home to copy.
        home: the vault's own.
        url: of the data.
        keys_url: of the subject keys, if they are apart.
    """

    template: Path
    home: Path
    url: str
    keys_url: str = ""

    @asynccontextmanager
    async def serving(self, **changes: object) -> AsyncIterator[Serving]:
        """Start the vault."""
        changes = changes | ({"keys_url": self.keys_url} if self.keys_url else {})
        async with serving(self.template, self.home, self.url, **changes) as served:
            yield served

    async def back_up(self, url: str = "") -> Path:
        """A backup of the data, or of the database of this address."""
        file = self.home.with_name(f"backup-{len(list(self.home.parent.glob('backup-*')))}")
        await in_thread(lambda: backup.back_up(url or self.url, file))
        return file

    async def restore(self, file: Path, url: str = "") -> None:
        """Put a backup in the place of a database; the vault must not run."""
        await in_thread(lambda: backup.restore(url or self.url, file))

    @property
    def ledger(self) -> Path:
        """The directory of the erasure ledger."""
        return self.home / str(yaml.safe_load((self.home / "vault.yaml").read_text())["erasure_ledger"])

    def entry(self, sequence: int) -> Path:
        """The file of a ledger entry."""
        return self.ledger / "entries" / f"{sequence:012d}"


async def in_thread(work: Callable[[], _T]) -> _T:
    """What waits, or runs a loop of its own."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


async def people(served: Serving, phones: Sequence[str], tenant: str = "acme") -> list[str]:
    """Contacts with these numbers; their names."""
    app = served.service(f"{tenant}-app")
    return [(await create(app, contact(phone), tenant=tenant)).name for phone in phones]


async def replay(served: Serving) -> ReplayErasuresResponse:
    """Replay as the operator."""
    operator = served.service("operator")
    return await operator.call(operator.operations.ReplayErasures, ReplayErasuresRequest(), timeout=120)


async def findings(served: Serving) -> list[str]:
    """What readiness says about the ledger and restores; nothing if it is ready."""
    operator = served.service("operator")
    found = await operator.call(operator.operations.GetReadiness, GetReadinessRequest())
    told = [finding for finding in found.findings if finding.startswith(("RESTORE", "LEDGER"))]
    assert not found.ready or set(told) <= {"LEDGER_UNAVAILABLE"}
    return told


def person_of(name: str) -> str:
    """Opaque id of the person of a record."""
    return subject_of(name).rsplit("/", 1)[-1]
