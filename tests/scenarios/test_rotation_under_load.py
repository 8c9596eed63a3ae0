"""Rotations under load: readers, writers, searches, imports and an erasure go on, and not one of them fails because of it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import SERVING, asked, contact, create, create_all, erase, find, reveal, rows, sought, subject_of, values
from tests.imports import end, header, imported, people
from tests.rotating import all_rows, rotated, versions
from tests.serving import Serving
from vault.operations import rotate
from vault.store import tables
from vault.v1.operations_service_pb2 import KEY_ROTATION_STATE_COMPLETE
from vault.v1.vault_service_pb2 import UpdateRecordRequest

PEOPLE = 80
IMPORTED = 8


class Load:
    """Calls of every kind, one after the other in each of several tasks, and what must be true in the end.

    Attributes:
        done: how many calls of each kind were answered.
        records: names of the records of each number.
        mails: mail address of each record that was updated.
    """

    def __init__(self, served: Serving, records: dict[str, list[str]]) -> None:
        self.app = served.service("acme-app")
        self.done: dict[str, int] = defaultdict(int)
        self.records = records
        self.mails: dict[str, str] = {}
        self._known = list(records)
        self._chance = random.Random(7)  # noqa: S311 - which call comes next
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._new = 0

    def start(self) -> None:
        calls = (self._reveal, self._reveal, self._find, self._create, self._repeat, self._update, self._import)
        self._tasks = [asyncio.create_task(self._go_on(call)) for call in calls]

    async def stop(self) -> None:
        """Raises what any call failed with."""
        self._stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def _go_on(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            while not self._stop.is_set():
                await call()
                self.done[call.__name__] += 1
                # Small batches are to meet many calls, not to be outrun by them.
                await asyncio.sleep(0.05)
        finally:
            # One that failed ends them all.
            self._stop.set()

    async def _reveal(self) -> None:
        phone = self._chance.choice(self._known)
        assert (await reveal(self.app, asked(self.records[phone][0], "phone"))).fields["phone"].text == phone

    async def _find(self) -> None:
        phone = self._chance.choice(self._known)
        before = set(self.records[phone])
        assert before <= {match.record for match in await find(self.app, sought("phone", phone))}

    async def _create(self) -> None:
        phone = f"+97250231{self._new:04}"
        self._new += 1
        self.records[phone] = [(await create(self.app, contact(phone))).name]

    async def _repeat(self) -> None:
        phone = self._chance.choice(self._known)
        name = (await create(self.app, contact(phone))).name
        assert subject_of(name) == subject_of(self.records[phone][0])
        self.records[phone].append(name)

    async def _update(self) -> None:
        name, mail = self.records[self._chance.choice(self._known)][0], f"m{self.done['_update']}@example.com"
        request = UpdateRecordRequest(
            name=name, fields=values({"email": mail}), update_mask=FieldMask(paths=["email"]), justification=SERVING
        )
        await self.app.call(self.app.records.UpdateRecord, request)
        self.mails[name] = mail

    async def _import(self) -> None:
        file = self.done["_import"].to_bytes(32)
        await imported(self.app, header(source_digest=file), people(0, IMPORTED), end(IMPORTED))


async def test_nobody_notices_rotations_and_nothing_is_lost_or_doubled(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.create_tenants()
    # Many batches, each of which meets the others.
    monkeypatch.setattr(rotate, "_BATCH", 20)
    app = served.service("acme-app")
    phones = [f"+97250230{n:04}" for n in range(PEOPLE)]
    stored = await create_all(app, [contact(phone) for phone in phones])
    records = {phone: [result.record.name] for phone, result in zip(phones, stored, strict=True)}
    erased = {phone: records.pop(phone) for phone in phones[-3:]}
    load = Load(served, records)

    load.start()
    ended = []
    for kind, gone in zip(("DATA", "INDEX", "SUBJECT"), erased.values(), strict=True):
        subject = subject_of(records[phones[0]][0]) if kind == "SUBJECT" else ""
        [rotation, _] = await asyncio.gather(rotated(served, kind, subject=subject), erase(served, subject_of(gone[0])))
        ended.append(rotation)
    await load.stop()

    assert [(rotation.state, rotation.failed_count) for rotation in ended] == [(KEY_ROTATION_STATE_COMPLETE, 0)] * 3
    assert min(load.done.values()) > 1, load.done
    assert len(load.done) == 6, load.done
    for phone, names in records.items():
        assert {subject_of(name) for name in names} == {subject_of(names[0])}
        assert {match.record for match in await find(app, sought("phone", phone))} == set(names)
        assert (await reveal(app, asked(names[-1], "phone"))).fields["phone"].text == phone
    for name, mail in load.mails.items():
        assert [match.record for match in await find(app, sought("email", mail))] == [name]
    for phone in erased:
        assert not await find(app, sought("phone", phone))
    assert await rows(served, tables.subjects) == (len(records) + len(erased) + IMPORTED,)
    assert await rows(served, tables.subject_keys, tables.identities) == (len(records) + IMPORTED,) * 2
    assert (await versions(served, "data"), await versions(served, "index")) == ([2], [2])
    assert {row.index_version for table in (tables.index_entries, tables.identities) for row in await all_rows(served, table)} == {2}
    assert {row.tenant_key_version for row in await all_rows(served, tables.subject_keys)} == {2}
