"""A tenant is called at its own address: signed, at least once, never anywhere else, and never at the cost of anybody (L32)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL

import pytest
from sqlalchemy import update
from standardwebhooks import WebhookVerificationError

from tests.builders import PHONE, contact, create, entries, id_of, subject_of
from tests.certificates import DAY, Authority, Pair
from tests.faults import Crash, quiet
from tests.processes import copy_home, serving, wait_until
from tests.receiver import Receiver, certificate_for, status
from tests.serving import Serving
from tests.serving import serving as serving_here
from tests.telling import ASKED, acknowledge, asked_url, delivered, listed, restrict, set_url, stored
from vault.names import ChildName
from vault.operations import deliver, notify, webhook
from vault.store import tables
from vault.store.database import Database
from vault.v1.resources_pb2 import Tenant
from vault.v1.rights_service_pb2 import RestrictSubjectRequest
from vault.v1.tenant_service_pb2 import NOTIFICATION_STATE_SENT, CreateTenantRequest, GetTenantRequest, UpdateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest

LATER = timedelta(hours=7)


@dataclass(slots=True)
class Told:
    """A vault, the address of its tenant acme, and what calls to it are signed with."""

    served: Serving
    receiver: Receiver
    secret: str

    async def task(self, phone: str = PHONE) -> str:
        """Something to be told; the name of the person that it is about."""
        subject = subject_of((await create(self.served.service("acme-app"), contact(phone))).name)
        await restrict(self.served, subject)
        return subject

    async def again(self) -> int:
        """One pass, after every wait is over."""
        self.served.clock.offset += LATER
        return await delivered(self.served)

    async def errors(self) -> list[object]:
        return [row["last_error"] for row in await stored(self.served)]


@pytest.fixture
def pair(home_template: Path) -> Pair:
    """The receiver's certificate, of the authority that the vault is told of."""
    return certificate_for(Authority.of_home(home_template))


@pytest.fixture
def receiver(pair: Pair, tmp_path: Path) -> Iterator[Receiver]:
    one = Receiver()
    with one.serving(pair, tmp_path):
        yield one


@pytest.fixture
async def told(receiver: Receiver, home_template: Path, tmp_path: Path, migrated_url: str) -> AsyncIterator[Told]:
    """Nothing is delivered but by the test."""
    changes = {"notification_hosts": [receiver.host], "notification_ca": "ca.pem"}
    async with serving_here(home_template, tmp_path / "home", migrated_url, **changes) as served:
        await served.create_tenants()
        await quiet(served)
        secret = (await set_url(served, receiver.url)).notification_secret
        yield Told(served, receiver, secret)


async def test_a_tenant_is_called_with_ids_only_and_can_check_who_calls(told: Told) -> None:
    """L32, I2, I6: checked with the Standard Webhooks project's own library."""
    subject = await told.task()

    assert await delivered(told.served) == 1

    [task] = await listed(told.served.service("acme-admin"))
    [call] = told.receiver.received
    said = call.verified(told.secret)
    assert said["type"] == "notification.restriction"
    assert said["data"] == {"name": task.name, "kind": "RESTRICTION", "resource": task.resource, "subject": subject}
    assert (call.path, call.id, call.headers["content-type"]) == ("/hooks/vault", id_of(task.name), "application/json")
    assert (task.state, task.attempts, task.last_error) == (NOTIFICATION_STATE_SENT, 1, "")
    entry = (await entries(told.served))[-1]
    assert (entry.operation, entry.actor, list(entry.subjects)) == ("deliver-notification", "upkeep", [id_of(subject)])
    assert await told.again() == 0


async def test_one_that_was_changed_or_signed_with_another_secret_is_noticed(told: Told) -> None:
    await told.task()
    await delivered(told.served)
    [call] = told.receiver.received
    other = (await set_url(told.served, told.receiver.url)).notification_secret

    call.verified(told.secret)
    for changed, secret in ((call.body.replace(b"RESTRICTION", b"ERASURE"), told.secret), (call.body, other)):
        with pytest.raises(WebhookVerificationError):
            type(call)(call.path, call.headers, changed).verified(secret)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (status(500), "STATUS_500"),
        (status(404), "STATUS_404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "ANSWER_INVALID"),
        (b"x" * 10_000, "ANSWER_INVALID"),
        (b"", "UNREACHABLE"),
    ],
    ids=["500", "404", "no-http", "no-line", "nothing"],
)
async def test_what_is_not_taken_is_tried_again_under_the_same_id(told: Told, answer: bytes, why: str) -> None:
    """L32: 500, then 200."""
    await told.task()
    told.receiver.answers = [answer]

    first = await delivered(told.served)
    at_once, errors = await delivered(told.served), await told.errors()
    second = await told.again()

    assert (first, at_once, second, errors) == (0, 0, 1, [why])
    assert len({call.id for call in told.receiver.received}) == 1
    assert len(told.receiver.received) == 2
    # Signed anew: the receiver may refuse an old time.
    assert len({call.headers["webhook-timestamp"] for call in told.receiver.received}) == 2


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(told: Told, code: int) -> None:
    """A receiver cannot make the vault call arbitrary addresses."""
    await told.task()
    told.receiver.answers = [status(code, f"Location: https://{told.receiver.host}/elsewhere\r\n")]

    assert await delivered(told.served) == 0

    assert [call.path for call in told.receiver.received] == ["/hooks/vault"]
    assert await told.errors() == [f"STATUS_{code}"]


async def test_a_slow_receiver_is_given_up_and_asked_again_later(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole call has one time limit, so one that dribbles is no different."""
    monkeypatch.setattr(webhook, "WITHIN", timedelta(seconds=0.5))
    await told.task()
    told.receiver.gate.clear()

    assert await delivered(told.served) == 0
    assert await told.errors() == ["TIMEOUT"]

    told.receiver.gate.set()
    assert await told.again() == 1
    assert len({call.id for call in told.receiver.received}) == 1


async def test_a_receiver_that_is_down_is_told_when_it_is_back(pair: Pair, home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """L32: meanwhile the tenant can ask for it."""
    receiver = Receiver()
    with receiver.serving(pair, tmp_path):
        pass
    changes = {"notification_hosts": [receiver.host], "notification_ca": "ca.pem"}
    async with serving_here(home_template, tmp_path / "home", migrated_url, **changes) as served:
        await served.create_tenants()
        await quiet(served)
        told = Told(served, receiver, (await set_url(served, receiver.url)).notification_secret)
        await told.task()

        down, errors = await delivered(served), await told.errors()
        asked = await listed(served.service("acme-admin"))
        with receiver.serving(pair, tmp_path):
            up = await told.again()

    assert (down, errors, len(asked), up) == (0, ["UNREACHABLE"], 1, 1)


@pytest.mark.parametrize("wrong", ["stranger", "other-name", "expired", "client"])
async def test_a_wrong_certificate_is_told_nothing(wrong: str, home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """P3.7-tls: nothing is sent before the other side has shown who it is."""
    ours = Authority.of_home(home_template)
    shown = {
        "stranger": lambda: certificate_for(Authority.foreign()),
        "other-name": lambda: certificate_for(ours, "elsewhere.example"),
        "expired": lambda: certificate_for(ours, starts=-2 * DAY, ends=-DAY),
        "client": lambda: Authority.of_home(home_template).issue(),
    }[wrong]()
    receiver = Receiver()
    with receiver.serving(shown, tmp_path):
        changes = {"notification_hosts": [receiver.host], "notification_ca": "ca.pem"}
        async with serving_here(home_template, tmp_path / "home", migrated_url, **changes) as served:
            await served.create_tenants()
            await quiet(served)
            told = Told(served, receiver, (await set_url(served, receiver.url)).notification_secret)
            await told.task()

            assert await delivered(served) == 0
            assert await told.errors() == ["TLS_REFUSED"]

    assert receiver.received == []


async def test_attempts_are_ever_rarer_and_end_and_begin_again_with_a_new_address(told: Told) -> None:
    await told.task()
    told.receiver.answers = [status(503)] * 100
    waits = []

    while (row := (await stored(told.served))[0])["next_attempt_time"] is not None:
        waits.append(row["next_attempt_time"])
        told.served.clock.offset += max(timedelta(), _moment(row["next_attempt_time"]) - told.served.clock())
        await delivered(told.served)
        assert len(waits) <= deliver.ATTEMPTS
    ended = len(told.receiver.received)
    await told.again()

    assert ended == len(told.receiver.received) == deliver.ATTEMPTS
    told.receiver.answers = []
    await set_url(told.served, told.receiver.url)
    assert await delivered(told.served) == 1


def test_waits_double_up_to_six_hours_and_differ() -> None:
    """Half of the time is certain, so that receivers are left alone, and half is chance, so that tasks do not come back together."""
    longest = [wait for n in range(1, 14) if (wait := deliver.backoff(n, fraction=1)) is not None]

    assert [wait / timedelta(seconds=30) for wait in longest[:5]] == [1, 2, 4, 8, 16]
    assert (max(longest), len(longest)) == (timedelta(hours=6), deliver.ATTEMPTS - 1)
    assert [deliver.backoff(n, fraction=0) for n in range(1, 12)] == [wait / 2 for wait in longest]


async def test_a_crash_at_any_statement_leaves_nothing_untold(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: at least once, under one id; that it may come twice is the price."""
    monkeypatch.setattr(deliver, "ATTEMPTS", 100)
    await told.task()
    crash = Crash(told.served.vault.database)

    for boundary in itertools.count():
        crash.at(boundary)
        with suppress(Exception):
            await delivered(told.served)
        happened = crash.happened
        crash.over()
        if not happened:
            break
        told.served.clock.offset += LATER

    [row] = await stored(told.served)
    assert (row["state"], boundary > 5) == ("SENT", True)
    assert len(told.receiver.received) > 1, "no crash came between sending and noting"
    assert {call.id for call in told.receiver.received} == {row["notification_id"]}
    assert [entry.operation for entry in await entries(told.served)].count("deliver-notification") == 1


def test_a_vault_that_is_killed_before_it_hears_the_answer_tells_again_under_the_same_id(
    receiver: Receiver, home_template: Path, tmp_path: Path, migrated_url: str
) -> None:
    """A real process and SIGKILL; what delivers is the background work, which nobody asks."""
    changes = {"database_url": migrated_url, "notification_hosts": [receiver.host], "notification_ca": "ca.pem"}
    home = copy_home(home_template, tmp_path / "home", **changes)
    receiver.gate.clear()
    with serving(home) as vault:
        with vault.client("operator") as operator:
            operator.call(operator.tenants.CreateTenant, CreateTenantRequest(tenant_id="acme"))
        with vault.client("acme-admin") as admin:
            secret = admin.call(admin.tenants.UpdateTenant, asked_url(receiver.url)).notification_secret
        with vault.client("acme-app") as app:
            request = CreateRecordRequest(parent="tenants/acme", record=contact(PHONE))
            subject = subject_of(app.call(app.records.CreateRecord, request).record.name)
        with vault.client("acme-admin") as admin:
            admin.call(admin.rights.RestrictSubject, RestrictSubjectRequest(subject=subject, justification=ASKED))
        wait_until(receiver.arrived.is_set, "called")
        vault.process.kill()
        assert vault.ended() == -SIGKILL
    receiver.gate.set()
    asyncio.run(_let_time_pass(migrated_url))
    with serving(home) as vault:
        wait_until(lambda: len(receiver.received) > 1, "called again")
        vault.process.terminate()
        assert vault.ended() == 0

    assert len({call.id for call in receiver.received}) == 1
    assert {call.verified(secret)["data"]["subject"] for call in receiver.received} == {subject}


async def _let_time_pass(url: str) -> None:
    """As if the wait for the next attempt, and for the killed one's lease, were over."""
    database = Database(url, pool_size=1)
    async with database.write() as connection:
        await connection.execute(tables.leases.delete())
        await connection.execute(update(tables.notifications).values(next_attempt_time=tables.notifications.c.create_time))
    await database.close()


async def test_what_may_not_be_told_yet_is_not_delivered(told: Told) -> None:
    """L35: under a gag."""
    order = ChildName("acme", "orders", "a" * 26)
    vault = told.served.vault
    async with vault.database.write() as connection:
        await notify.controller_notice(vault, connection, order, ["end-customer-contact"], gagged=True)

    before = await delivered(told.served)
    async with vault.database.write() as connection:
        await notify.gag_ended(vault, connection, "acme", str(order))

    assert (before, await delivered(told.served)) == (0, 1)
    assert told.receiver.received[0].verified(told.secret)["data"]["subject"] == ""


async def test_what_was_asked_for_and_done_is_not_delivered(told: Told) -> None:
    admin = told.served.service("acme-admin")
    await told.task()
    await acknowledge(admin, (await listed(admin))[0].name)

    assert (await delivered(told.served), told.receiver.received) == (0, [])


async def test_a_tenant_without_an_address_asks(told: Told) -> None:
    """The other tenant's tasks, and those of other recipients, are nobody's to be called with."""
    await set_url(told.served, "")
    await told.task()

    assert (await delivered(told.served), told.receiver.received) == (0, [])
    assert len(await listed(told.served.service("acme-admin"))) == 1


async def test_the_secret_is_told_once_and_kept_sealed_for_its_address(told: Told) -> None:
    """I2: a row that names another address delivers nothing there."""
    admin = told.served.service("acme-admin")
    tenant = (await admin.call(admin.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))).tenant
    renamed = UpdateTenantRequest(tenant=Tenant(name="tenants/acme", display_name="Acme"))
    renamed.update_mask.paths.append("display_name")
    other = await admin.call(admin.tenants.UpdateTenant, renamed)
    async with told.served.vault.database.read() as connection:
        [row] = (await connection.execute(tables.webhooks.select())).all()

    assert told.secret.startswith("whsec_")
    assert told.secret.removeprefix("whsec_") not in f"{tenant}{other}"
    assert (tenant.notification_url, other.notification_secret) == (told.receiver.url, "")
    assert len(row.secret) > 32
    async with told.served.vault.database.write() as connection:
        await connection.execute(update(tables.webhooks).values(url=f"https://{told.receiver.host}/somebody-elses"))
    await told.task()
    assert (await delivered(told.served), told.receiver.received) == (0, [])


async def test_only_hosts_of_the_configuration_are_called(told: Told) -> None:
    """A tenant cannot make the vault call arbitrary addresses; nor does one that was taken from the list stay reachable."""
    port = told.receiver.port
    admin = told.served.service("acme-admin")

    for url in ("https://example.com/hooks", "https://localhost/hooks", f"https://127.0.0.1:{port}/hooks", f"https://localhost:{port + 1}"):
        error = await admin.refused(admin.tenants.UpdateTenant, asked_url(url))
        assert (error.code.name, error.reason) == ("FAILED_PRECONDITION", "NOTIFICATION_HOST_NOT_ALLOWED")
    async with told.served.vault.database.write() as connection:
        await connection.execute(update(tables.webhooks).values(url=f"https://127.0.0.1:{port}/hooks"))
    await told.task()

    assert (await delivered(told.served), told.receiver.received) == (0, [])
    assert await told.errors() == ["HOST_NOT_ALLOWED"]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/hooks",
        "https://user:password@localhost:{port}/hooks",
        "https://user@localhost:{port}/hooks",
        "https://localhost:{port}/hooks?token=secret",
        "https://localhost:{port}/hooks#part",
        "https://localhost:{port}/hooks/../admin\r\nx: y",
        "https://localhost:{port}//hooks",
        "https://LOCALHOST:{port}/hooks",
        "https://localhost:{port}/%2e%2e",
        "https://localhost:0{port}/hooks",
        "https:///hooks",
        "localhost:{port}",
        "https://localhost:{port}/0502345678",
        "https://localhost:{port}/" + "x" * 500,
    ],
)
async def test_an_address_is_https_without_anything_that_is_a_secret(told: Told, url: str) -> None:
    """I2: it is kept in clear."""
    admin = told.served.service("acme-admin")

    error = await admin.refused(admin.tenants.UpdateTenant, asked_url(url.format(port=told.receiver.port)))

    assert (error.reason, *error.fields) == ("FIELD_INVALID", "tenant.notification_url")


async def test_there_are_no_webhooks_unless_the_configuration_names_hosts(served: Serving) -> None:
    await served.create_tenants()
    admin = served.service("acme-admin")

    error = await admin.refused(admin.tenants.UpdateTenant, asked_url("https://localhost/hooks"))

    assert error.reason == "NOTIFICATION_HOST_NOT_ALLOWED"


async def test_a_tenant_whose_address_does_not_answer_keeps_no_other_waiting(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks for one that is slow, one for another: both are tried in the same pass, the slow one's a few at a time."""
    monkeypatch.setattr(webhook, "WITHIN", timedelta(seconds=0.5))
    for number in range(6):
        await told.task(f"+97250234568{number}")
    other = told.served.service("globex-app")
    await set_url(told.served, told.receiver.url, "globex")
    await restrict(told.served, subject_of((await create(other, contact(PHONE), tenant="globex")).name))
    told.receiver.gate.clear()

    await delivered(told.served)

    tried = {(row["tenant_id"], row["attempts"]) for row in await stored(told.served)}
    assert ("globex", 1) in tried
    assert len([row for row in await stored(told.served) if row["attempts"]]) == 5


def _moment(stored_time: object) -> datetime:
    assert isinstance(stored_time, datetime)
    return stored_time.astimezone(UTC)
