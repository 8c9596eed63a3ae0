"""Two vault processes on one PostgreSQL: what is destroyed or revoked by one is gone on the other's next read (I4)."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import update

from tests.builders import ERASING, PHONE, contact
from tests.commands import Commands
from tests.databases import PostgresServer
from tests.openbao import OpenBao, Root
from tests.processes import VaultProcess, copy_home, serving, wait_until
from tests.serving import why
from vault.client import CallError, VaultClient
from vault.names import parse_record
from vault.store import schema, tables
from vault.store.database import Connection, Database
from vault.v1.erasure_service_pb2 import ApproveErasureRequest, PreviewErasureRequest, RequestErasureRequest
from vault.v1.operations_service_pb2 import (
    KEY_KIND_DATA,
    KEY_KIND_SUBJECT,
    KEY_ROTATION_STATE_COMPLETE,
    KEY_ROTATION_STATE_RUNNING,
    DropCachedKeysRequest,
    GetKeyRotationRequest,
    RotateKeysRequest,
)
from vault.v1.resources_pb2 import VIEW_FULL
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest, RevealRecordRequest

pytestmark = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
THEIRS = "theirs"


@dataclass(frozen=True, slots=True)
class Replica:
    """One of the two processes, and calls to it; every call makes a connection of its own."""

    process: VaultProcess

    def create_tenant(self, tenant: str, root_key: str = "") -> None:
        with self.process.client("operator") as operator:
            operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id=tenant, root_key=root_key))

    def app(self, tenant: str) -> VaultClient:
        """A client as the tenant's application."""
        return self.process.client(f"{tenant}-app")

    def create(self, phone: str = PHONE, *, tenant: str = "acme") -> str:
        with self.app(tenant) as app:
            return app.call(app.records.CreateRecord, CreateRecordRequest(parent=f"tenants/{tenant}", record=contact(phone))).record.name

    def shown(self, name: str) -> str:
        """A contact's number, or why it is not shown."""
        request = RevealRecordRequest(name=name, justification=why(), view=VIEW_FULL, field_mask=FieldMask(paths=["phone"]))
        with self.app(parse_record(name).tenant) as app:
            try:
                return app.call(app.records.RevealRecord, request).record.fields["phone"].text
            except CallError as error:
                return error.reason

    def read_until(self, name: str, done: Event) -> list[tuple[float, str]]:
        """Read on one connection, again and again. When each read began, and what it gave."""
        request = RevealRecordRequest(name=name, justification=why(), view=VIEW_FULL, field_mask=FieldMask(paths=["phone"]))
        answers = []
        with self.app(parse_record(name).tenant) as app:
            while not done.is_set():
                begun = time.monotonic()
                try:
                    answer = app.call(app.records.RevealRecord, request).record.fields["phone"].text
                except CallError as error:
                    answer = error.reason
                answers.append((begun, answer))
        return answers

    def erase(self, name: str) -> None:
        """Asked for by the tenant, approved by a privacy officer whose agreement is in force."""
        subject = name.rpartition("/records/")[0]
        Commands(self.process).sign_in("e-approver", "privacy-officer")
        with self.process.client("acme-admin") as admin, self.process.client("e-approver") as officer:
            preview = admin.call(admin.erasures.PreviewErasure, PreviewErasureRequest(subject=subject, justification=ERASING))
            asked = RequestErasureRequest(subject=subject, preview_digest=preview.preview_digest, justification=ERASING)
            erasure = admin.call(admin.erasures.RequestErasure, asked).erasure
            officer.call(officer.erasures.ApproveErasure, ApproveErasureRequest(name=erasure.name, justification=ERASING))

    def drop_cached_keys(self, tenant: str) -> None:
        with self.process.client("operator") as operator:
            operator.call(operator.operations.DropCachedKeys, DropCachedKeysRequest(name=f"tenants/{tenant}"))

    def rotate(self, request: RotateKeysRequest) -> int:
        """Rotate a key, and wait until that is done. The state in the end."""
        with self.process.client("operator") as operator:
            name = operator.call(operator.operations.RotateKeys, request).rotation.name
            states: list[int] = []

            def ended() -> bool:
                states.append(operator.call(operator.operations.GetKeyRotation, GetKeyRotationRequest(name=name)).rotation.state)
                return states[-1] != KEY_ROTATION_STATE_RUNNING

            wait_until(ended, "rotated")
            return states[-1]


@dataclass(frozen=True, slots=True)
class Homes:
    """Makes two replicas, which share their keys, their database and their configuration."""

    template: Path
    folder: Path
    url: str

    def started(self, stack: ExitStack, **changes: object) -> tuple[Replica, Replica]:
        """Start both."""
        one = copy_home(self.template, self.folder / "one", database_url=self.url, **changes)
        two = self.folder / "two"
        shutil.copytree(one, two)
        return Replica(stack.enter_context(serving(one))), Replica(stack.enter_context(serving(two)))


@pytest.fixture
def homes(home_template: Path, tmp_path: Path, migrated_url: str) -> Homes:
    return Homes(home_template, tmp_path, migrated_url)


@pytest.fixture
def keys_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A second database, for subject keys."""
    name = postgres_server.create()
    url = postgres_server.database_url(name)
    on_database(url, schema.migrate, of_keys=True)
    yield url
    postgres_server.drop(name)


def on_database(url: str, work: Callable[[Database], Awaitable[None]], *, of_keys: bool = False) -> None:
    """Do something to a database from outside."""

    async def do() -> None:
        database = Database(url, of_keys=of_keys)
        try:
            await work(database)
        finally:
            await database.close()

    asyncio.run(do())


@pytest.mark.parametrize("apart", [False, True], ids=["keys beside the data", "keys apart"])
def test_a_person_erased_on_one_replica_is_gone_on_the_others_next_read(homes: Homes, keys_url: str, apart: bool) -> None:
    """I4: also for whoever reads all the time; no read that began after the approval was answered shows anything."""
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        one, two = homes.started(stack, **({"keys_url": keys_url} if apart else {}))
        one.create_tenant("acme")
        name, other = one.create(), two.create("+972502345671")
        done = Event()
        # Whatever happens here, or the readers would be waited for.
        stack.callback(done.set)
        reading = pool.submit(two.read_until, name, done)
        before = two.shown(name)

        one.erase(name)
        erased = time.monotonic()
        after = [replica.shown(name) for replica in (two, one)]
        done.set()
        answers = reading.result()

        assert (before, after) == (PHONE, ["RECORD_NOT_FOUND"] * 2)
        assert {answer for _, answer in answers} <= {PHONE, "SUBJECT_ERASED", "RECORD_NOT_FOUND"}
        assert {answer for begun, answer in answers if begun > erased} <= {"RECORD_NOT_FOUND"}
        assert [replica.shown(other) for replica in (one, two)] == ["+972502345671"] * 2


def test_a_tenant_that_is_terminated_is_refused_by_every_replica_on_its_next_read(homes: Homes) -> None:
    """P3.8: the state alone does it, as soon as it is committed; how it comes about is in test_termination.py."""
    with ExitStack() as stack:
        one, two = homes.started(stack)
        for tenant in ("acme", "globex"):
            one.create_tenant(tenant)
        acmes, globexs = one.create(), one.create(tenant="globex")
        before = [replica.shown(name) for replica in (one, two) for name in (acmes, globexs)]

        async def terminate(database: Database) -> None:
            connection: Connection
            async with database.write() as connection:
                await connection.execute(update(tables.tenants).where(tables.tenants.c.tenant_id == "globex").values(state="TERMINATED"))

        on_database(homes.url, terminate)

        assert before == [PHONE] * 4
        assert [replica.shown(name) for replica in (one, two) for name in (acmes, globexs)] == [PHONE, "TENANT_TERMINATED"] * 2


def test_a_revoked_root_key_is_felt_by_every_replica_when_one_was_told_to_drop_its_keys(
    homes: Homes, openbao: OpenBao, root: Root, root_uri: str
) -> None:
    """BYOK: by the epoch, not by the TTL; and the other tenant is read on."""
    with ExitStack() as stack:
        one, two = homes.started(stack, root_keys={THEIRS: root_uri})
        one.create_tenant("acme")
        one.create_tenant("globex", THEIRS)
        acmes, globexs = one.create(), one.create(tenant="globex")
        before = [replica.shown(globexs) for replica in (one, two)]

        openbao.disable(root)
        within = [replica.shown(globexs) for replica in (one, two)]
        one.drop_cached_keys("globex")
        after = [replica.shown(name) for replica in (two, one) for name in (acmes, globexs)]
        openbao.enable(root)
        for replica in (one, two):
            wait_until(lambda replica=replica: replica.shown(globexs) == PHONE, "readable again")  # type: ignore[misc]

        assert (before, within) == ([PHONE] * 2, [PHONE] * 2)
        assert after == [PHONE, "KEYS_UNAVAILABLE"] * 2


def test_a_rotation_that_one_replica_carries_out_is_not_noticed_on_the_other(homes: Homes) -> None:
    """Reads never fail because of it, and what the other one stores meanwhile is readable after the old key is retired."""
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        one, two = homes.started(stack)
        one.create_tenant("acme")
        names = [one.create(f"+97250236000{n}") for n in range(5)]
        done = Event()
        # Whatever happens here, or the readers would be waited for.
        stack.callback(done.set)
        reading = [pool.submit(two.read_until, name, done) for name in names[:2]]

        states = [
            one.rotate(RotateKeysRequest(tenant="tenants/acme", kind=KEY_KIND_DATA)),
            one.rotate(
                RotateKeysRequest(tenant="tenants/acme", kind=KEY_KIND_SUBJECT, subject=names[0].rpartition("/records/")[0]),
            ),
        ]
        names.append(two.create("+972502360005"))
        done.set()
        answers = [{answer for _, answer in read.result()} for read in reading]

        assert states == [KEY_ROTATION_STATE_COMPLETE] * 2
        assert answers == [{"+972502360000"}, {"+972502360001"}]
        for replica in (one, two):
            assert [replica.shown(name) for name in names] == [f"+97250236000{n}" for n in range(6)]
