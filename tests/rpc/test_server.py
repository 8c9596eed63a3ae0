"""Starting, being well, stopping and dying: health and reflection, what stops a start, SIGTERM, `kill -9` (I7, §9)."""

import asyncio
import hashlib
import queue
import shutil
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection_pb2
from sqlalchemy import make_url

from tests.databases import PostgresServer, sqlite_url
from tests.processes import VaultProcess, copy_home, run, serving, wait_until
from tests.serving import Serving
from tests.serving import serving as serving_here
from vault import server
from vault.client import CallError, VaultClient
from vault.config import load
from vault.errors import VaultError
from vault.store.database import Database
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest
from vault.v1.resources_pb2 import FieldValue
from vault.v1.tenant_service_pb2 import CreateTenantRequest, ListTenantsRequest
from vault.v1.vault_service_pb2 import (
    CreateRecordRequest,
    CreateRecordResponse,
    ImportEnd,
    ImportHeader,
    ImportRecordsRequest,
    ImportRow,
    ImportRows,
    RecordInput,
)

Status = HealthCheckResponse
SERVICES = ("", *server.SERVICES)

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)


# --- health


@pytest.fixture
def _quick_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEALTH_EVERY", timedelta(milliseconds=20))


@pytest.fixture
async def served(_quick_health: None, home_template: Path, tmp_path: Path, migrated_url: str) -> AsyncIterator[Serving]:
    """A vault that looks at its health all the time."""
    async with serving_here(home_template, tmp_path / "home", migrated_url) as vault:
        yield vault


async def statuses(served: Serving, *services: str) -> set[int]:
    """What the health service says of each service."""
    call: Any = served.service("nobody").channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return {(await call(HealthCheckRequest(service=name), timeout=30)).status for name in services or SERVICES}


async def becomes(served: Serving, status: int) -> None:
    """Wait until every service has this status."""
    async with asyncio.timeout(30):
        while await statuses(served) != {status}:  # noqa: ASYNC110 - the vault tells nobody in this process
            await asyncio.sleep(0.01)


async def test_every_service_is_serving(served: Serving) -> None:
    await becomes(served, Status.SERVING)


async def test_an_unknown_service_has_no_health(served: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await statuses(served, "vault.v1.SurpriseService")

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_no_service_is_serving_while_the_schema_is_another_versions(served: Serving, migrated_url: str) -> None:
    """Somebody migrated to a newer version while this one runs."""
    async with served.vault.database.read() as connection:
        mine = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one()
    await execute(migrated_url, "UPDATE schema_compatibility SET oldest_code = '9999'")
    await execute(migrated_url, "UPDATE alembic_version SET version_num = '9999'")

    await becomes(served, Status.NOT_SERVING)
    async with served.vault.database.read() as connection:
        head = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar_one()
    await execute(migrated_url, f"UPDATE alembic_version SET version_num = '{mine}'")  # noqa: S608 - read from there
    await becomes(served, Status.SERVING)

    assert head == "9999"


@on_postgres
async def test_no_service_is_serving_while_the_database_is_gone(
    served: Serving, migrated_url: str, postgres_server: PostgresServer
) -> None:
    """§9: nothing is released, and it recovers by itself."""
    name = make_url(migrated_url).database
    operator = served.service("operator")

    await asyncio.to_thread(postgres_server.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    disconnect = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - our own name
    await asyncio.to_thread(postgres_server.execute, disconnect)
    await becomes(served, Status.NOT_SERVING)
    read = await operator.refused(operator.tenants.ListTenants, ListTenantsRequest())
    write = await operator.refused(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
    await asyncio.to_thread(postgres_server.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await becomes(served, Status.SERVING)
    back = await operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))

    assert (read.code, read.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert (write.code, write.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
    assert read.retry_after == write.retry_after == 1
    assert back.tenant.name == "tenants/acme"


@on_postgres
async def test_no_service_is_serving_while_the_database_says_nothing(
    served: Serving, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Harm: behind a broken network the look at the database never came back, and the vault called itself well for ever."""
    monkeypatch.setattr(server, "_HEALTH_WITHIN", timedelta(milliseconds=500))
    connection = await asyncpg.connect(make_url(migrated_url).set(drivername="postgresql").render_as_string(hide_password=False))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")

    await becomes(served, Status.NOT_SERVING)
    await transaction.rollback()
    await connection.close()
    await becomes(served, Status.SERVING)


async def execute(url: str, statement: str) -> None:
    """Run one statement as somebody else."""
    database = Database(url)
    async with database.write() as connection:
        await connection.exec_driver_sql(statement)
    await database.close()


# --- reflection


@on_sqlite
async def test_reflection_lists_the_services(served: Serving) -> None:
    call: Any = served.service("nobody").channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    [answer] = [answer async for answer in call(ask(), timeout=30)]

    assert {service.name for service in answer.list_services_response.service} == {
        *server.SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


# --- what stops a start


async def refused_start(home: Path) -> VaultError:
    with pytest.raises(VaultError) as raised:
        await server.start(load(home / "vault.yaml"))
    return raised.value


@pytest.fixture
def home(home_template: Path, tmp_path: Path, migrated_url: str) -> Path:
    """A home in which everything is as it should be."""
    return copy_home(home_template, tmp_path / "home", database_url=migrated_url)


async def starts(home: Path) -> None:
    """Start and stop: nothing of an earlier try is in the way."""
    running = await server.start(load(home / "vault.yaml"))
    await running.stop()


async def test_a_home_as_it_should_be_starts_and_stops(home: Path) -> None:
    await starts(home)

    await starts(home)


@on_sqlite
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda home: copy_home(home, home, keys_uri="awskms:alias/vault"), id="before the database is open"),
        pytest.param(lambda home: (home / "server.key").write_text("garbage"), id="while the parts are put together"),
        pytest.param(lambda home: copy_home(home, home, listen="203.0.113.1:8443"), id="at the port"),
    ],
)
async def test_a_refused_start_leaves_nothing_behind(home: Path, spoil: Callable[[Path], object]) -> None:
    """No lock, no open database: the next try finds everything free."""
    good = copy_home(home, home.with_name("good"))
    spoil(home)

    await refused_start(home)

    await starts(good)


@on_sqlite
@pytest.mark.parametrize("listen", ["203.0.113.1:8443", "nowhere.invalid:8443"])
async def test_an_address_of_another_machine_stops_the_start(home: Path, listen: str) -> None:
    copy_home(home, home, listen=listen)

    assert (await refused_start(home)).reason == "PORT_UNAVAILABLE"


@on_sqlite
async def test_two_vaults_do_not_share_a_port(home: Path, home_template: Path, sqlite_template: Path, tmp_path: Path) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "other.db")
    async with serving_here(home_template, tmp_path / "other", sqlite_url(tmp_path / "other.db")) as other:
        copy_home(home, home, listen=f"127.0.0.1:{other.running.port}")

        error = await refused_start(home)

    assert error.reason == "PORT_UNAVAILABLE"


@on_postgres
async def test_workers_on_postgresql_share_a_port_and_may_start_at_the_same_moment(home: Path) -> None:
    """§5: N workers on one port. Harm: of workers that met an empty database together, all but one ended with CONCURRENT_CHANGE."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        copy_home(home, home, listen=f"127.0.0.1:{reserved.getsockname()[1]}")
        settings = load(home / "vault.yaml")

        workers = await asyncio.gather(*(server.start(settings) for _ in range(4)))

    ports = {worker.port for worker in workers}
    for worker in workers:
        await worker.stop()
    assert len(ports) == 1


@on_sqlite
@pytest.mark.parametrize("other", ["the same path", "another spelling", "a link to the file", "a link to the folder", "with parameters"])
async def test_a_sqlite_file_is_served_once_however_it_is_spelled(home: Path, migrated_url: str, other: str) -> None:
    """Harm: two processes that spelled the path differently both served the file."""
    file = Path(make_url(migrated_url).database or "")
    (file.parent / "link.db").symlink_to(file)
    (file.parent / "folder").symlink_to(file.parent)
    spellings = {
        "the same path": migrated_url,
        "another spelling": sqlite_url(file.parent / "home" / ".." / file.name),
        "a link to the file": sqlite_url(file.parent / "link.db"),
        "a link to the folder": sqlite_url(file.parent / "folder" / file.name),
        "with parameters": migrated_url + "?timeout=7",
    }
    second = copy_home(home, home.with_name("second"), database_url=spellings[other])
    running = await server.start(load(home / "vault.yaml"))

    error = await refused_start(second)
    await running.stop()

    assert error.reason == "DATABASE_IN_USE"


# --- real processes


def fields(phone: str) -> RecordInput:
    return RecordInput(category="end-customer-contact", fields={"phone": FieldValue(text=phone)})


@on_sqlite
def test_a_second_process_on_one_sqlite_file_is_refused(home: Path) -> None:
    with serving(home):
        second = run("serve", "--config", home / "vault.yaml")

    assert (second.code, second.out) == (1, "")
    assert second.err.startswith("DATABASE_IN_USE: ")


@on_sqlite
def test_a_process_that_cannot_start_says_why_and_what_to_do(home: Path, database_url: str) -> None:
    copy_home(home, home, database_url=database_url)

    refused = run("--json", "serve", "--config", home / "vault.yaml")

    assert refused.error()["reason"] == "SCHEMA_OUTDATED"
    assert refused.error()["hint"] == "run pii-vault migrate with this configuration"


@on_sqlite
def test_a_database_of_a_newer_version_is_not_migrated(home: Path, migrated_url: str) -> None:
    """An older command on a newer database: told apart from one that `migrate` would help."""
    asyncio.run(execute(migrated_url, "UPDATE alembic_version SET version_num = '9999'"))

    refused = run("--json", "migrate", "--config", home / "vault.yaml")

    assert refused.error()["reason"] == "SCHEMA_UNKNOWN"


def test_a_call_under_way_finishes_after_sigterm_and_the_process_ends_well(home: Path) -> None:
    """§9: NOT_SERVING, then the grace period, then exit 0."""
    with serving(home) as vault, vault.client("operator") as operator, vault.client("acme-app") as app, vault.client("auditor") as auditor:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
        messages: queue.SimpleQueue[ImportRecordsRequest | None] = queue.SimpleQueue()
        messages.put(import_header())
        messages.put(import_rows(0, 3))
        with ThreadPoolExecutor(max_workers=1) as thread:
            importing = thread.submit(app.call, app.records.ImportRecords, iter(messages.get, None))
            wait_until(lambda: size_of_log(auditor) > 0, "importing")

            with watched_health(auditor) as seen:
                vault.signal(signal.SIGTERM)
                wait_until(lambda: Status.NOT_SERVING in seen, "NOT_SERVING")
                # What came in at that very moment may still be answered, or be cut off; a moment later nothing comes in.
                wait_until(lambda: is_closed(operator), "no new call is taken")
                was_under_way = not importing.done()
                messages.put(import_rows(3, 3))
                messages.put(ImportRecordsRequest(end=ImportEnd(row_count=6)))
                messages.put(None)
                answer = importing.result()
        code = vault.ended()

    assert seen[0] == Status.SERVING
    assert was_under_way
    assert answer.accepted_count == 6
    assert code == 0
    assert vault.log()[-1]["event"] == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@on_sqlite
def test_an_idle_process_ends_at_once_and_well(home: Path, number: signal.Signals) -> None:
    with serving(home) as vault:
        vault.signal(number)
        code = vault.ended()

    assert code == 0
    assert [line["event"] for line in vault.log()] == ["serving", "stopped"]


def test_a_call_that_never_ends_does_not_keep_the_process(home: Path) -> None:
    """Harm: on SQLite the connection of the call that was cut off waited for ever for its own end, and so did the process."""
    copy_home(home, home, grace_seconds=1)
    with serving(home) as vault, vault.client("operator") as operator, vault.client("acme-app") as app, vault.client("auditor") as auditor:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
        messages: queue.SimpleQueue[ImportRecordsRequest | None] = queue.SimpleQueue()
        messages.put(import_header())
        messages.put(import_rows(0, 3))
        with ThreadPoolExecutor(max_workers=1) as thread:
            importing = thread.submit(refusal, lambda: app.call(app.records.ImportRecords, iter(messages.get, None)))
            wait_until(lambda: size_of_log(auditor) > 0, "importing")
            vault.signal(signal.SIGTERM)
            code = vault.ended()
            cut_off = importing.result()
            messages.put(None)

    assert code == 0
    assert cut_off.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_what_was_published_before_kill_9_is_in_the_log_after_it(home: Path, tmp_path: Path) -> None:
    """I7, I8: a checkpoint never runs ahead of what is durable, and every record that a caller was told of has its entry."""
    copy_home(home, home, checkpoints={"directory": "checkpoints", "interval_seconds": 1})
    told: list[CreateRecordResponse] = []
    published = home / "checkpoints" / "acme"
    with serving(home) as vault, vault.client("operator") as operator:
        operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
        with writing(vault, told):
            wait_until(lambda: len(told) >= 40 and published.exists() and any(published.glob("*.checkpoint")), "40 records, a checkpoint")
            vault.signal(signal.SIGKILL)
            killed = vault.ended()

    with serving(home) as restarted, restarted.client("auditor") as auditor:
        recorded = records_in_log(auditor)
        dumped = run("--client", home / "clients" / "auditor", "audit", "dump", "acme", "-o", tmp_path / "dump.jsonl")
        verdict = run(
            *("--json", "audit", "verify", tmp_path / "dump.jsonl", "--log", "acme", "--key", home / "verifier.txt"),
            *("--checkpoints", published),
        )

    assert killed == -signal.SIGKILL
    assert {answer.receipt.index: answer.record.name.rsplit("/", 1)[-1] for answer in told}.items() <= recorded.items()
    assert dumped.code == 0
    assert verdict.answer()["intact"]
    assert verdict.answer()["complete"]


class writing:  # noqa: N801 - reads as a statement
    """Callers that create records, one after the other, until the vault is gone; `told` gets what they were told."""

    def __init__(self, vault: VaultProcess, told: list[CreateRecordResponse], callers: int = 4) -> None:
        self._threads = [threading.Thread(target=self._write, args=(vault, told, number)) for number in range(callers)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    @staticmethod
    def _write(vault: VaultProcess, told: list[CreateRecordResponse], caller: int) -> None:
        with vault.client("acme-app") as app:
            for number in range(100_000):
                request = CreateRecordRequest(parent="tenants/acme", record=fields(f"050-2{caller}{number:05}"))
                try:
                    told.append(app.call(app.records.CreateRecord, request))
                except CallError:
                    return


class watched_health:  # noqa: N801 - reads as a statement
    """What the health service says from now on; it is asked once and answers whenever it changes."""

    def __init__(self, client: VaultClient) -> None:
        watch: Any = client._channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        self._answers = watch(HealthCheckRequest(service="vault.v1.VaultService"))
        self._seen: list[int] = []
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> list[int]:
        self._thread.start()
        wait_until(lambda: bool(self._seen), "watching")
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._answers.cancel()
        self._thread.join()

    def _read(self) -> None:
        try:
            for answer in self._answers:
                self._seen.append(answer.status)
        except grpc.RpcError:
            return


def refusal(work: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as raised:
        work()
    return raised.value


def is_closed(caller: VaultClient) -> bool:
    """Whether the vault takes no new call."""
    try:
        caller.call(caller.tenants.ListTenants, ListTenantsRequest())
    except CallError as error:
        return error.code is grpc.StatusCode.UNAVAILABLE
    return False


def size_of_log(auditor: VaultClient) -> int:
    return auditor.call(auditor.audit.ListAuditEntries, ListAuditEntriesRequest(parent="tenants/acme")).log_size


def records_in_log(auditor: VaultClient) -> dict[int, str]:
    """The one record that each entry of the log names, by index."""
    named: dict[int, str] = {}
    size = size_of_log(auditor)
    while len(named) < size:
        request = ListAuditEntriesRequest(parent="tenants/acme", start_index=len(named), page_size=1000)
        for entry in auditor.call(auditor.audit.ListAuditEntries, request).entries:
            named[len(named)] = "".join(entry.records)
    return named


def import_header() -> ImportRecordsRequest:
    digest = hashlib.sha256(b"the file").digest()
    return ImportRecordsRequest(
        header=ImportHeader(parent="tenants/acme", category="list-profile", list="spring", source_digest=digest, channel="API")
    )


def import_rows(first: int, count: int) -> ImportRecordsRequest:
    rows = [ImportRow(line=number + 1, fields={"phone": f"050-2{number:06}"}) for number in range(first, first + count)]
    return ImportRecordsRequest(rows=ImportRows(rows=rows))
