"""Keys that were rolled back, lost or exchanged: the reason is said and recorded, nothing is shown, and all is well when the cause goes."""

import json
import secrets
from collections.abc import Awaitable, Callable
from uuid import uuid4

import grpc
import pytest

from tests.builders import PHONE, SERVING, asked, contact, create, entry_of, find, reveal, sought
from tests.orders import order_for, team
from tests.rotating import all_rows, drop_cached, ended, put, put_back, remove, rotated, started, until
from tests.rotating import asked_for as rotation_of
from tests.serving import Serving
from vault.client.errors import CallError
from vault.keys import local
from vault.store import tables
from vault.v1.operations_service_pb2 import KEY_ROTATION_STATE_COMPLETE, KEY_ROTATION_STATE_INCOMPLETE
from vault.v1.vault_service_pb2 import CreateRecordRequest

Call = Callable[[], Awaitable[object]]


async def refused(served: Serving, call: Call, reason: str) -> None:
    """A call must be refused for a reason, which is on record, and shows nothing."""
    with pytest.raises(CallError) as raised:
        await call()
    error = raised.value
    assert (error.code, error.reason) == (grpc.StatusCode.DATA_LOSS, reason)
    entry = await entry_of(served, error)
    assert entry.reason == reason
    assert PHONE not in str(error)
    assert PHONE.encode() not in entry.content


async def recovers(call: Call) -> None:
    """A call works again, without anybody doing more than removing the cause."""

    async def works() -> bool:
        try:
            await call()
        except CallError:
            return False
        return True

    await until(works, "well again")


async def test_a_persons_key_that_was_rolled_back_to_before_a_rotation_opens_nothing(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    [before] = await all_rows(served, tables.subject_keys)
    await rotated(served, "DATA")
    [after] = await all_rows(served, tables.subject_keys)

    await put_back(served, tables.subject_keys, before)
    await refused(served, lambda: reveal(app, asked(name, "phone")), "KEY_UNKNOWN")
    # The old bytes under the new version's number do not open either.
    await put(served, tables.subject_keys, before, tenant_key_version=2)
    await refused(served, lambda: reveal(app, asked(name, "phone")), "CIPHERTEXT_INVALID")
    await refused(served, lambda: create(app, contact()), "CIPHERTEXT_INVALID")
    await put_back(served, tables.subject_keys, after)

    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE


async def test_a_tenants_key_that_was_rolled_back_is_refused_once_its_root_key_is_gone(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    [before] = [row for row in await all_rows(served, tables.tenant_keys) if (row.tenant_id, row.purpose) == ("acme", "data")]
    file = served.home / "root.key"
    local.add_version(file)
    await rotated(served, "ROOT")
    [after] = [row for row in await all_rows(served, tables.tenant_keys) if (row.tenant_id, row.purpose) == ("acme", "data")]
    content = json.loads(file.read_text())
    del content["keys"]["1"]
    file.write_text(json.dumps(content))
    await served.vault.keyring.provider("").health()

    await put_back(served, tables.tenant_keys, before)
    await drop_cached(served)
    await refused(served, lambda: reveal(app, asked(name, "phone")), "CIPHERTEXT_INVALID")
    await put_back(served, tables.tenant_keys, after)

    await recovers(lambda: reveal(app, asked(name, "phone")))


async def test_a_retired_tenants_key_that_is_put_back_is_used_for_nothing_new(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    [before] = [row for row in await all_rows(served, tables.tenant_keys) if (row.tenant_id, row.purpose) == ("acme", "data")]
    await rotated(served, "DATA")

    await put_back(served, tables.tenant_keys, before)
    await drop_cached(served)
    await create(app, contact("+972502345671"))

    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE
    assert {row.tenant_key_version for row in await all_rows(served, tables.subject_keys)} == {2}


@pytest.mark.parametrize("purpose", ["data", "index", "text", "legal", "digest"])
async def test_without_a_key_of_some_purpose_what_needs_it_is_refused_and_recorded(served: Serving, purpose: str) -> None:
    """Harm: without the index key nobody was found, as if nobody were stored; without the text key the refusal was not recorded."""
    await served.create_tenants()
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    people = await team(served)
    request = CreateRecordRequest(parent="tenants/acme", record=contact(), request_id=str(uuid4()))
    calls: dict[str, Call] = {
        "data": lambda: reveal(app, asked(name, "phone")),
        "index": lambda: find(app, sought("phone", PHONE)),
        "text": lambda: reveal(app, asked(name, "phone", because=SERVING)),
        "legal": lambda: people.registrant.call(people.registrant.legal.RegisterOrder, order_for(served, people)),
        "digest": lambda: app.call(app.records.CreateRecord, request),
    }
    [lost] = [row for row in await all_rows(served, tables.tenant_keys) if (row.tenant_id, row.purpose) == ("acme", purpose)]

    await remove(served, tables.tenant_keys, lost)
    await drop_cached(served)
    await refused(served, calls[purpose], "KEY_UNKNOWN")
    await put_back(served, tables.tenant_keys, lost)
    await drop_cached(served)

    for call in calls.values():
        await call()


async def test_a_key_service_that_answers_with_another_key_is_found_out(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the right length; nothing is sealed under it, and nothing is lost by it."""
    await served.create_tenants()
    app, provider = served.service("acme-app"), served.vault.keyring.provider("")
    name = (await create(app, contact())).name
    before = await all_rows(served, tables.tenant_keys)
    true = provider.unwrap

    async def unwrap(wrapped: bytes, *, context: bytes) -> bytes:
        return secrets.token_bytes(32) if context.startswith(b"acme/") else await true(wrapped, context=context)

    monkeypatch.setattr(provider, "unwrap", unwrap)
    await drop_cached(served)
    for call in (lambda: reveal(app, asked(name, "phone")), lambda: find(app, sought("phone", PHONE)), lambda: create(app, contact())):
        await refused(served, call, "CIPHERTEXT_INVALID")
    lied = await ended(served, (await started(served, rotation_of("ROOT"))).name)
    during = [row.wrapped for row in await all_rows(served, tables.tenant_keys) if row.tenant_id == "acme"]
    monkeypatch.setattr(provider, "unwrap", true)

    await recovers(lambda: reveal(app, asked(name, "phone")))
    assert (lied.state, lied.failed_count) == (KEY_ROTATION_STATE_INCOMPLETE, 1)
    assert during == [row.wrapped for row in before if row.tenant_id == "acme"]
    assert (await rotated(served, "ROOT")).state == KEY_ROTATION_STATE_COMPLETE
    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE
