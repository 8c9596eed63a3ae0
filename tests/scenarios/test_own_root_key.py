"""Root keys in real key services: a tenant's own (bring your own key), which costs nobody else anything, and the vault's.

`acme` is wrapped by the vault's own root key, `globex` by one of its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.aws import LocalKMS, aws, local_kms  # noqa: F401 - fixtures
from tests.builders import PHONE, asked, call_detail, create, not_revealed, reveal
from tests.openbao import OpenBao, Root
from tests.scenarios.conftest import token_uri
from tests.serving import TENANTS, Caller, Serving, serving, why
from tests.softhsm import SoftHSM, softhsm, softhsm_store  # noqa: F401 - fixtures
from vault.audit.entry import AuditEntry, decode
from vault.client.errors import CallError
from vault.errors import KeyUnavailableError
from vault.operations.keyring import PURPOSES
from vault.server import _healthy, _set_health
from vault.store import audit as audit_store
from vault.store import tenants as tenant_store
from vault.v1.operations_service_pb2 import DropCachedKeysRequest, MoveTenantKeysRequest
from vault.v1.tenant_service_pb2 import CreateTenantRequest, GetTenantRequest
from vault.v1.vault_service_pb2 import RevealRecordRequest

THEIRS = "theirs"
BILLING = why("billing")
STATUS = health_pb2.HealthCheckResponse
AFTER_TTL = timedelta(seconds=61)
# What a caller waits for a key service that hangs, and some time for a machine that is busy; what others may be held up by it.
PATIENCE_SECONDS, UNTOUCHED_SECONDS = 15.0, 2.5
MANY = 50
# More than if each call waited for the key service, and fewer than any machine manages.
FEW = 10
# One service for every test of a tenant's key, and each kind of database with one of them.
EVERY_SERVICE = pytest.mark.parametrize(
    ("database_kind", "theirs"),
    [("sqlite", "openbao"), ("postgres", "openbao"), ("sqlite", "softhsm"), ("sqlite", "aws")],
    indirect=True,
)
ON_OPENBAO = pytest.mark.parametrize("theirs", ["openbao"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@dataclass(frozen=True, slots=True)
class TheirKey:
    """A root key in a tenant's own key service, and what the tenant does there."""

    uri: str
    disable: Callable[[], object]
    enable: Callable[[], object]


@pytest.fixture
def theirs(request: pytest.FixtureRequest) -> TheirKey:
    """The key of `globex`."""
    match request.param:
        case "openbao":
            server, key = request.getfixturevalue("openbao"), request.getfixturevalue("root")
            return TheirKey(request.getfixturevalue("root_uri"), lambda: server.disable(key), lambda: server.enable(key))
        case "softhsm":
            token: SoftHSM = request.getfixturevalue("softhsm")
            token.add_version()
            return TheirKey(token.uri(), token.remove, token.put_back)
        case _:
            service: LocalKMS = request.getfixturevalue("aws")
            return TheirKey(service.uri(), service.disable, service.enable)


@pytest.fixture
async def served(theirs: TheirKey, home_template: Path, tmp_path: Path, migrated_url: str) -> AsyncIterator[Serving]:
    """A vault with a tenant on each root key."""
    async with serving(home_template, tmp_path / "home", migrated_url, root_keys={THEIRS: theirs.uri}) as vault:
        await vault.create_tenants("acme")
        operator = vault.service("operator")
        await operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="globex", root_key=THEIRS))
        yield vault


async def calls(served: Serving) -> tuple[str, str]:
    """A call of each tenant, whose keys are cached then."""
    ours, globexs = [(await create(served.service("billing"), call_detail(), tenant=tenant)).name for tenant in TENANTS]
    return ours, globexs


def wanted(name: str) -> RevealRecordRequest:
    return asked(name, "calling", because=BILLING)


async def shown(caller: Caller, name: str) -> str:
    """Who called, or why it is not shown."""
    try:
        return (await reveal(caller, wanted(name))).fields["calling"].text
    except CallError as error:
        return error.reason


async def until_shown(caller: Caller, name: str) -> None:
    """Poll with a deadline: it must be shown again without anybody's doing."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await shown(caller, name) != PHONE:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


async def drop(served: Serving, tenant: str) -> None:
    operator = served.service("operator")
    await operator.call(operator.operations.DropCachedKeys, DropCachedKeysRequest(name=f"tenants/{tenant}"))


async def move(served: Serving, tenant: str, root_key: str) -> None:
    operator = served.service("operator")
    await operator.call(operator.operations.MoveTenantKeys, MoveTenantKeysRequest(name=f"tenants/{tenant}", root_key=root_key))


async def root_key_of(served: Serving, tenant: str) -> str:
    operator = served.service("operator")
    return (await operator.call(operator.tenants.GetTenant, GetTenantRequest(name=f"tenants/{tenant}"))).tenant.root_key


async def health(served: Serving) -> int:
    """What the vault finds now, which it looks for every five seconds."""
    await _set_health(served.running._health, await _healthy(served.vault, served.vault.keyring.provider("")))
    stub: Any = health_pb2_grpc.HealthStub(served.service("nobody").channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)).status)


async def entry_of(served: Serving, error: CallError) -> tuple[AuditEntry, bytes]:
    """The entry that recorded a refusal, read where it is stored: listing a log is an entry too, which needs keys."""
    assert error.receipt is not None
    async with served.vault.database.read() as connection:
        [(_, content)] = await audit_store.entries(connection, error.receipt.log, start=error.receipt.index, limit=1)
    return decode(content), content


async def timed(call: Awaitable[str]) -> tuple[str, float]:
    """What a call gives, and how long it took, in seconds."""
    begin = time.monotonic()
    return await call, time.monotonic() - begin


async def longest_wait(caller: Caller, name: str, *, until: "asyncio.Future[Any]") -> tuple[int, float]:
    """Reveal one record after another until something else is done: how often, and the longest wait in seconds."""
    waits = []
    while not until.done():
        answer, seconds = await timed(shown(caller, name))
        assert answer == PHONE
        waits.append(seconds)
        await asyncio.sleep(0.02)
    return len(waits), max(waits)


# --- a tenant's own


@EVERY_SERVICE
async def test_a_key_that_its_tenant_disabled_makes_that_tenant_unreadable_after_the_ttl_and_no_other(
    served: Serving, theirs: TheirKey
) -> None:
    """BYOK: KEYS_UNAVAILABLE with the time to wait, recorded without the words that could not be sealed; by itself again when it is enabled."""
    billing = served.service("billing")
    ours, globexs = await calls(served)

    theirs.disable()
    within = [await shown(billing, name) for name in (ours, globexs)]
    served.clock.offset += AFTER_TTL
    refused = await not_revealed(billing, wanted(globexs))
    with pytest.raises(CallError) as not_stored:
        await create(billing, call_detail(calling="+972502345671"), tenant="globex")
    during = await shown(billing, ours)
    status = await health(served)
    entry, content = await entry_of(served, refused)
    theirs.enable()
    await until_shown(billing, globexs)

    assert within == [PHONE, PHONE]
    assert (refused.code, refused.reason, refused.retry_after) == (grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE", 1.0)
    assert not_stored.value.reason == "KEYS_UNAVAILABLE"
    assert (entry.log, entry.decision, entry.reason, entry.justification) == ("globex", "REFUSED", "KEYS_UNAVAILABLE", b"")
    assert BILLING.reason.encode() not in content
    assert (during, status) == (PHONE, STATUS.SERVING)


@EVERY_SERVICE
async def test_a_disabled_key_is_felt_at_once_when_the_cached_keys_are_dropped(served: Serving, theirs: TheirKey) -> None:
    billing = served.service("billing")
    ours, globexs = await calls(served)

    theirs.disable()
    await drop(served, "globex")
    during = [await shown(billing, name) for name in (ours, globexs)]
    theirs.enable()
    await until_shown(billing, globexs)

    assert during == [PHONE, "KEYS_UNAVAILABLE"]


@ON_OPENBAO
@ON_SQLITE
async def test_a_revoked_token_and_a_deleted_key_are_felt_by_their_tenant_alone(
    served: Serving, openbao: OpenBao, root: Root, root_uri: str, tmp_path: Path
) -> None:
    """A new token in the file is enough; a deleted key is gone for ever, and so is all that it wrapped."""
    billing = served.service("billing")
    ours, globexs = await calls(served)
    assert str(tmp_path) in root_uri

    openbao.admin.auth.token.revoke((tmp_path / "token").read_text().strip())
    await drop(served, "globex")
    revoked = [await shown(billing, name) for name in (ours, globexs)]
    token_uri(openbao, root, tmp_path)
    await until_shown(billing, globexs)
    openbao.delete(root)
    served.clock.offset += AFTER_TTL
    deleted = [await shown(billing, name) for name in (ours, globexs)]

    assert revoked == deleted == [PHONE, "KEYS_UNAVAILABLE"]


@ON_OPENBAO
async def test_a_key_service_that_hangs_costs_its_own_tenant_and_nobody_else(served: Serving, openbao: OpenBao) -> None:
    """Fifty calls wait for it, and take no connection, lock or thread that another tenant needs."""
    billing = served.service("billing")
    ours, globexs = await calls(served)

    openbao.pause()
    served.clock.offset += AFTER_TTL
    waiting = asyncio.gather(*(timed(shown(billing, globexs)) for _ in range(MANY)))
    served_meanwhile, longest = await longest_wait(billing, ours, until=waiting)
    answers = await waiting
    status = await health(served)
    openbao.resume()
    await until_shown(billing, globexs)

    assert {reason for reason, _ in answers} == {"KEYS_UNAVAILABLE"}
    assert max(seconds for _, seconds in answers) < PATIENCE_SECONDS
    assert served_meanwhile > FEW
    assert longest < UNTOUCHED_SECONDS
    assert status == STATUS.SERVING


@ON_OPENBAO
async def test_a_key_service_that_hangs_after_the_keys_were_dropped_elsewhere_costs_nobody_else(served: Serving, openbao: OpenBao) -> None:
    """Harm: what was cached still looked good, so that each call met its newer epoch with a transaction open, and waited for the key service
    with it."""
    billing = served.service("billing")
    ours, globexs = await calls(served)

    openbao.pause()
    async with served.vault.database.write() as connection:
        await tenant_store.bump_epoch(connection, "globex")
    end = time.monotonic() + 6

    async def ask_on() -> list[str]:
        answers = []
        while time.monotonic() < end:
            answers.append(await shown(billing, globexs))
            await asyncio.sleep(0.05)
        return answers

    asking = asyncio.gather(*(ask_on() for _ in range(8)))
    served_meanwhile, longest = await longest_wait(billing, ours, until=asking)
    answers = {answer for each in await asking for answer in each}
    openbao.resume()
    await until_shown(billing, globexs)

    assert answers == {"KEYS_UNAVAILABLE"}
    assert served_meanwhile > FEW
    assert longest < UNTOUCHED_SECONDS


@ON_OPENBAO
async def test_a_tenants_keys_move_to_its_own_root_key_and_back(served: Serving, theirs: TheirKey) -> None:
    """Readable on all the way; what counts is the root key where they are."""
    billing = served.service("billing")
    ours, globexs = await calls(served)

    await move(served, "acme", THEIRS)
    moved = (await root_key_of(served, "acme"), await shown(billing, ours))
    theirs.disable()
    await drop(served, "acme")
    disabled = await shown(billing, ours)
    with pytest.raises(CallError) as stuck:
        await move(served, "acme", "")
    still = await root_key_of(served, "acme")
    theirs.enable()
    await until_shown(billing, ours)
    await move(served, "acme", "")
    await move(served, "globex", "")
    theirs.disable()
    served.clock.offset += AFTER_TTL
    back = [await shown(billing, name) for name in (ours, globexs)]

    assert moved == (THEIRS, PHONE)
    assert (disabled, stuck.value.reason, still) == ("KEYS_UNAVAILABLE", "KEYS_UNAVAILABLE", THEIRS)
    assert (back, await root_key_of(served, "acme")) == ([PHONE, PHONE], "")


@ON_OPENBAO
@ON_SQLITE
async def test_a_root_key_that_the_configuration_does_not_name_is_refused(served: Serving) -> None:
    operator = served.service("operator")

    refused = [
        await operator.refused(operator.operations.MoveTenantKeys, MoveTenantKeysRequest(name="tenants/acme", root_key="nobodys")),
        await operator.refused(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="initech", root_key="nobodys")),
    ]

    assert {(error.code, error.reason) for error in refused} == {(grpc.StatusCode.FAILED_PRECONDITION, "ROOT_KEY_UNKNOWN")}
    assert await root_key_of(served, "acme") == ""


@ON_OPENBAO
@ON_SQLITE
async def test_a_vault_that_is_started_without_a_tenants_root_key_serves_the_others(
    theirs: TheirKey, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    async with serving(home_template, tmp_path / "home", migrated_url, root_keys={THEIRS: theirs.uri}) as before:
        operator = before.service("operator")
        await before.create_tenants("acme")
        await operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="globex", root_key=THEIRS))
        ours, globexs = await calls(before)

    async with serving(home_template, tmp_path / "home", migrated_url, root_keys={}) as vault:
        billing = vault.service("billing")

        assert [await shown(billing, name) for name in (ours, globexs)] == [PHONE, "KEYS_UNAVAILABLE"]
        assert await health(vault) == STATUS.SERVING


@pytest.mark.parametrize("theirs", ["aws"], indirect=True)
@ON_SQLITE
async def test_any_number_of_reveals_within_a_ttl_unwraps_each_key_once(served: Serving, aws: LocalKMS) -> None:  # noqa: F811 - the fixture
    """The key service is asked once per tenant and TTL, however many ask at once."""
    billing = served.service("billing")
    _, globexs = await calls(served)
    served.clock.offset += AFTER_TTL
    aws.requests.clear()

    answers = await asyncio.gather(*(shown(billing, globexs) for _ in range(MANY)))
    at_once = len(aws.requests)
    for _ in range(20):
        await shown(billing, globexs)
    one_after_another = len(aws.requests)
    served.clock.offset += AFTER_TTL
    await shown(billing, globexs)

    assert set(answers) == {PHONE}
    assert (at_once, one_after_another, len(aws.requests)) == (len(PURPOSES), len(PURPOSES), 2 * len(PURPOSES))


@pytest.mark.parametrize("theirs", ["aws"], indirect=True)
@pytest.mark.parametrize("error", ["ThrottlingException", "AccessDeniedException", "UnrecognizedClientException", "KMSInternalException"])
@ON_SQLITE
async def test_a_key_service_that_refuses_says_so_by_one_reason_and_recovers(
    served: Serving,
    aws: LocalKMS,  # noqa: F811 - the fixture
    error: str,
) -> None:
    """Throttled, wrong credentials, not allowed, broken."""
    billing = served.service("billing")
    ours, globexs = await calls(served)
    served.clock.offset += AFTER_TTL

    with aws.failing(error):
        refused = await not_revealed(billing, wanted(globexs))
        during = await shown(billing, ours)
    await until_shown(billing, globexs)

    assert (refused.reason, refused.retry_after, during) == ("KEYS_UNAVAILABLE", 1.0, PHONE)
    assert refused.receipt is not None


# --- the vault's


@asynccontextmanager
async def slow(port: int) -> AsyncIterator[tuple[int, Callable[[float], None]]]:
    """A way to a server that takes its time. Its port, and how to say how many seconds each answer takes."""
    delay = 0.0
    open_writers: set[asyncio.StreamWriter] = set()
    under_way: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await asyncio.sleep(delay if answers else 0)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        open_writers.update({writer, there_writer})
        await asyncio.gather(pass_on(reader, there_writer, answers=False), pass_on(there_reader, writer, answers=True))

    def set_delay(seconds: float) -> None:
        nonlocal delay
        delay = seconds

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], set_delay
    finally:
        server.close()
        # What the vault's client keeps open for its next call would outlive the loop.
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for writer in open_writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in open_writers), return_exceptions=True)


def vault_on(uri: str, home_template: Path, tmp_path: Path, url: str) -> Any:
    return serving(home_template, tmp_path / "home", url, keys_uri=uri)


@ON_SQLITE
async def test_a_vault_whose_root_key_cannot_be_reached_does_not_start(
    openbao: OpenBao, root_uri: str, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    openbao.seal()
    with pytest.raises(KeyUnavailableError) as is_sealed:
        async with vault_on(root_uri, home_template, tmp_path, migrated_url):
            pass
    openbao.stop()
    with pytest.raises(KeyUnavailableError) as is_down:
        async with vault_on(root_uri, home_template, tmp_path, migrated_url):
            pass
    openbao.repair()
    async with vault_on(root_uri, home_template, tmp_path, migrated_url) as vault:
        await vault.create_tenants()
        ours, _ = await calls(vault)
        assert await shown(vault.service("billing"), ours) == PHONE

    assert is_sealed.value.reason == is_down.value.reason == "KEYS_UNAVAILABLE"


async def test_keys_serve_for_one_ttl_while_the_vaults_root_key_is_down_and_no_longer(
    openbao: OpenBao, root_uri: str, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    """design §9: then KEYS_UNAVAILABLE, recorded; by itself again when it is back, throttled or not."""
    async with vault_on(root_uri, home_template, tmp_path, migrated_url) as vault:
        await vault.create_tenants()
        billing = vault.service("billing")
        ours, _ = await calls(vault)

        openbao.stop()
        within = await shown(billing, ours)
        vault.clock.offset += AFTER_TTL
        refused = await not_revealed(billing, wanted(ours))
        entry, _ = await entry_of(vault, refused)
        status = await health(vault)
        openbao.repair()
        await until_shown(billing, ours)
        healthy_again = await health(vault)
        vault.clock.offset += AFTER_TTL
        with openbao.throttled():
            throttled = await shown(billing, ours)
        await until_shown(billing, ours)

        assert (within, refused.reason, throttled) == (PHONE, "KEYS_UNAVAILABLE", "KEYS_UNAVAILABLE")
        assert (entry.log, entry.reason, entry.justification) == ("acme", "KEYS_UNAVAILABLE", b"")
        assert (status, healthy_again) == (STATUS.NOT_SERVING, STATUS.SERVING)


@ON_SQLITE
async def test_a_slow_key_service_is_waited_for_and_a_very_slow_one_is_not(
    openbao: OpenBao, root_uri: str, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    """A wait has an end, and the answer is the one of a key service that is down."""
    async with slow(openbao.port) as (port, answer_after):
        uri = root_uri.replace(f":{openbao.port}/", f":{port}/")
        answer_after(0.1)
        async with vault_on(uri, home_template, tmp_path, migrated_url) as vault:
            await vault.create_tenants()
            billing = vault.service("billing")
            ours, _ = await calls(vault)

            answer_after(0.3)
            vault.clock.offset += AFTER_TTL
            slowly = await timed(shown(billing, ours))
            answer_after(30)
            vault.clock.offset += AFTER_TTL
            never = await timed(shown(billing, ours))
            answer_after(0)
            await until_shown(billing, ours)

    assert slowly[0] == PHONE
    assert 0.3 <= slowly[1] < PATIENCE_SECONDS
    assert never[0] == "KEYS_UNAVAILABLE"
    assert never[1] < PATIENCE_SECONDS
