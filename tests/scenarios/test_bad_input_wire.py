"""What a client library would not send: broken bytes, numbers without a meaning, messages and records that are too large, calls given up."""

from typing import Any

import grpc

from tests.builders import NOTHING, asked, contact, create, entries, entry_of, outgoing, rows, subject_of
from tests.serving import Caller, Serving
from vault.client.errors import CallError, call_error
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest, CreateRecordRequest, RevealRecordRequest


async def send(caller: Caller, method: str, data: bytes) -> CallError:
    """Send bytes as they are; the refusal."""
    try:
        invoke: Any = caller.channel.unary_unary(f"/vault.v1.VaultService/{method}")
        await invoke(data, metadata=caller.metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return call_error(error)
    raise AssertionError("not refused")


async def test_bytes_that_are_no_message_are_refused_and_recorded(served: Serving) -> None:
    """I5: invalid UTF-8, a message cut short, and noise; the system log says so, for no tenant is known."""
    await served.create_tenants()
    app = served.service("acme-app")
    sound = CreateRecordRequest(parent="tenants/acme", record=contact()).SerializeToString()
    broken = [sound.replace(b"phone", b"\xff\xfeone"), sound[:-3], b"\xff" * 20]

    refused = [await send(app, "CreateRecord", data) for data in broken]

    assert {(error.code.name, error.reason) for error in refused} == {("INVALID_ARGUMENT", "REQUEST_MALFORMED")}
    recorded = [await entry_of(served, error) for error in refused]
    assert {(entry.decision, entry.reason) for entry in recorded} == {("REFUSED", "REQUEST_MALFORMED")}
    assert await rows(served) == NOTHING


async def test_a_number_that_no_view_has_is_refused(served: Serving) -> None:
    """I9: an unknown enum value never reaches a flow."""
    await served.create_tenants()
    app = served.service("acme-app")
    request = asked((await create(app, contact())).name)
    data = RevealRecordRequest(name=request.name, justification=request.justification).SerializeToString() + b"\x18\x63"

    refused = await send(app, "RevealRecord", data)

    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "FIELD_INVALID", ("view",))
    assert (await entry_of(served, refused)).decision == "REFUSED"


async def test_a_message_above_the_limit_is_not_even_read(served: Serving) -> None:
    """Message 4 MiB: refused by gRPC itself, and the vault goes on."""
    await served.create_tenants()
    app = served.service("acme-app")
    huge = CreateRecordRequest(parent="tenants/acme", record=contact(channel="x" * (5 << 20)))

    refused = await app.refused(app.records.CreateRecord, huge)

    assert refused.code.name == "RESOURCE_EXHAUSTED"
    assert await rows(served) == NOTHING
    assert (await create(app, contact())).name


async def test_a_call_that_ran_out_of_time_is_done_whole_or_not_at_all(served: Serving) -> None:
    """I7: what is stored and what is recorded agree, whenever the caller gave up."""
    await served.create_tenants()
    app = served.service("acme-app")
    batch = BatchCreateRecordsRequest(parent="tenants/acme", records=[contact(f"050-2{n:06d}") for n in range(1000)], atomic=True)

    late = await app.refused(app.records.BatchCreateRecords, batch, timeout=0.05)
    after = (await create(app, contact("+972542345678"))).name

    stored = (await rows(served))[1] - 1
    recorded = [len(entry.records) for entry in await entries(served) if entry.decision == "ALLOWED"]
    assert late.reason == "DEADLINE_EXCEEDED"
    assert after
    assert stored in {0, 1000}
    assert sum(recorded) == stored + 1


async def test_a_record_of_two_mebibytes_is_refused_with_its_limit_and_not_stored(served: Serving) -> None:
    """Design §9: the answer names the field and the limit."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    person = subject_of((await create(app, contact())).name)
    large = CreateRecordRequest(parent="tenants/acme", record=outgoing(person, "system-file", b"x" * (2 << 20)))

    refused = await engine.refused(engine.records.CreateRecord, large)

    assert (refused.code.name, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "FIELD_INVALID", ("body",))
    assert refused.metadata["limit"] == "1000000"
    assert (await rows(served))[1] == 1
