"""Every RPC as every role, over the wire: who is let in is what `access_matrix.yaml` expects, and nothing else (I9, L2, P1.6a-authorised)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import yaml
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from tests.builders import NEVER, entries
from tests.serving import Caller, Serving
from vault.catalogue import loader
from vault.client.errors import call_error
from vault.v1 import (
    access_service_pb2,
    audit_service_pb2,
    erasure_service_pb2,
    legal_service_pb2,
    operations_service_pb2,
    resources_pb2,
    rights_service_pb2,
    tenant_service_pb2,
    vault_service_pb2,
)

Asked = TypeVar("Asked")
FILES = (
    access_service_pb2,
    audit_service_pb2,
    erasure_service_pb2,
    legal_service_pb2,
    operations_service_pb2,
    rights_service_pb2,
    tenant_service_pb2,
    vault_service_pb2,
)
METHODS: Mapping[str, MethodDescriptor] = {
    f"{service.name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
EXPECTED = yaml.safe_load(Path(__file__).with_name("access_matrix.yaml").read_text())
ROLES: Mapping[str, str] = EXPECTED["roles"]
# The client folder of a service that holds the role and nothing else.
SERVICES = {
    **{role: role for role in ROLES.values()},
    "tenant-app": "acme-app",
    "tenant-admin": "acme-admin",
    "messaging-engine": "engine",
    "second-number-app": "num2",
    "affiliate-service": "affiliate",
}
REFUSED = ("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")
PERSON_REQUIRED = ("PERMISSION_DENIED", "PERSON_REQUIRED")
# Enough to keep the server busy, few enough to leave every call its time.
AT_ONCE = 32
# What an asynchronous client says of a stream whose status it lost, and how often it asks then.
_LOST_STATUS = "Internal error from Core"
_LOST = ("INTERNAL", "lost by the client")
_TRIES = 5


def test_the_matrix_names_every_rpc_and_every_role_and_nothing_else() -> None:
    """I9: a new RPC or role without an expectation fails here."""
    known = loader.load().roles.keys()

    named = {code for row in EXPECTED["methods"].values() for code in row.split()} - {"person"}

    assert EXPECTED["methods"].keys() == METHODS.keys()
    assert set(ROLES.values()) == known
    assert named == ROLES.keys()
    assert EXPECTED["system_log"].keys() <= METHODS.keys()


async def test_every_rpc_lets_in_exactly_the_roles_that_the_matrix_names(served: Serving) -> None:
    """I9, P1.6a-authorised, N17: roles that are not named are refused, whatever they ask and whoever asks."""
    await served.create_tenants()
    services = {role: served.service(SERVICES[role]) for role in ROLES.values()}
    people = {role: served.person(f"e-{role}", role) for role in ROLES.values()}
    calls = {("service", name, role): call(services[role], name) for name in METHODS for role in ROLES.values()}
    calls |= {("person", name, role): call(people[role], name) for name in METHODS if is_for_people(name) for role in ROLES.values()}

    answers = await answers_of(calls)

    wrong = {(kind, name, role): answer for (kind, name, role), answer in answers.items() if not is_expected(kind, name, role, answer)}
    assert wrong == {}


async def test_only_those_who_look_after_the_whole_vault_read_the_system_log(served: Serving) -> None:
    """I11: the log of what belongs to no tenant is closed to the tenants."""
    await served.create_tenants()
    calls = {
        (name, role): call(served.service(SERVICES[role]), name, parent="system", name="auditEntries/0")
        for name in EXPECTED["system_log"]
        for role in roles_of("methods", name)
    }

    answers = await answers_of(calls)

    let_in = {asked for asked, answer in answers.items() if answer != REFUSED}
    assert let_in == {(name, role) for name in EXPECTED["system_log"] for role in roles_of("system_log", name)}


async def test_a_tenants_own_services_find_no_other_tenant_by_any_method(served: Serving) -> None:
    """I11: a tenant that exists and one that does not answer alike, by every method that names one."""
    await served.create_tenants()
    methods = {
        (name, role)
        for role in ("tenant-app", "tenant-admin")
        for name, method in METHODS.items()
        if role in roles_of("methods", name) and not method.client_streaming
    }
    calls = {
        (name, role, tenant): call(served.service(SERVICES[role]), name, **names_in(tenant))
        for name, role in methods
        for tenant in ("globex", "nobody-at-all")
    }

    answers = await answers_of(calls)

    assert len(methods) > 30
    assert answers == dict.fromkeys(calls, ("NOT_FOUND", "TENANT_NOT_FOUND"))


async def test_every_method_that_is_declared_is_built(served: Serving) -> None:
    """What a servicer lacks the generated one answers, and the edge turns that into an internal error."""
    await served.create_tenants()
    calls = {name: call(served.person(f"e-{role}", role), name) for name in METHODS for role in roles_of("methods", name)[:1]}

    answers = await answers_of(calls)

    assert calls.keys() == METHODS.keys()
    assert {name for name, (code, _) in answers.items() if code in {"UNIMPLEMENTED", "INTERNAL", "UNKNOWN"}} == set()


async def test_a_method_that_does_not_exist_is_unimplemented_for_everyone(served: Serving) -> None:
    """I9: what is not declared cannot be called."""
    operator = served.service("operator")
    names = ("VaultService/ExportEverything", "DebugService/Dump", "vaultservice/revealrecord")

    answers = await answers_of({name: raw_call(operator, f"/vault.v1.{name}", b"") for name in names})

    assert {code for code, _ in answers.values()} == {"UNIMPLEMENTED"}


@pytest.mark.parametrize("kind", ["service", "person"])
async def test_a_caller_without_a_role_is_refused_by_every_rpc_and_each_refusal_is_recorded(served: Serving, kind: str) -> None:
    """I5, P1.6a-authorised: as often as it is tried, by a machine or by a person."""
    await served.create_tenants()
    nobody = served.service("nobody") if kind == "service" else served.person("e-nobody")
    before = len(await entries(served, "system"))

    answers = await answers_of({name: call(nobody, name) for name in METHODS})

    # So many denials at once are an incident, and upkeep records it between them.
    recorded = [entry for entry in (await entries(served, "system"))[before:] if entry.actor != "upkeep"]
    assert set(answers.values()) == {REFUSED}
    assert sorted(entry.method for entry in recorded) == sorted(path(name) for name in METHODS)
    assert {(entry.decision, entry.reason) for entry in recorded} == {("REFUSED", "ROLE_NOT_ALLOWED")}
    assert {entry.actor for entry in recorded} == {"spiffe://pii-vault.localhost/nobody" if kind == "service" else "people/e-nobody"}


async def test_a_role_that_the_catalogue_does_not_know_is_nothing(served: Serving) -> None:
    """P3.6-no3p: a token that claims a role of its own invention holds none."""
    await served.create_tenants()
    partner = served.person("e-partner", "partner", "admin", "*")

    answers = await answers_of({name: call(partner, name) for name in METHODS})

    assert set(answers.values()) == {REFUSED}


def is_expected(kind: str, name: str, role: str, answer: tuple[str, str]) -> bool:
    """Whether an answer is what the matrix says; those who are let in may fail at anything that comes later."""
    if role not in roles_of("methods", name):
        return answer == REFUSED
    if kind == "service" and is_for_people(name):
        return answer == PERSON_REQUIRED
    return answer not in {REFUSED, PERSON_REQUIRED} and answer[0] not in {"UNKNOWN", "INTERNAL", "UNAVAILABLE"}


def is_for_people(name: str) -> bool:
    return "person" in EXPECTED["methods"][name].split()


def roles_of(table: str, name: str) -> list[str]:
    return [ROLES[code] for code in EXPECTED[table][name].split() if code != "person"]


def names_in(tenant: str) -> dict[str, str]:
    """Every way in which a request names a tenant."""
    return {
        "parent": f"tenants/{tenant}",
        "name": f"tenants/{tenant}/x",
        "subject": f"tenants/{tenant}/subjects/{NEVER}",
        "tenant": f"tenants/{tenant}",
    }


def path(name: str) -> str:
    return f"/vault.v1.{name}"


async def answers_of(calls: Mapping[Asked, Awaitable[tuple[str, str]]]) -> dict[Asked, tuple[str, str]]:
    """The answer of every call, some at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(pending: Awaitable[tuple[str, str]]) -> tuple[str, str]:
        async with gate:
            return await pending

    return dict(zip(calls, await asyncio.gather(*map(one, calls.values())), strict=True))


async def call(caller: Caller, name: str, /, **fields: Any) -> tuple[str, str]:
    """Call a method with a request that lacks nothing; code and reason of the answer."""
    method = METHODS[name]
    message = filled(GetMessageClass(method.input_type)(), **fields)
    requests = [message.SerializeToString()] * 2
    return await raw_call(
        caller, path(name), *(requests if method.client_streaming else requests[:1]), is_stream=method.client_streaming, method=method
    )


async def raw_call(
    caller: Caller, method_path: str, *requests: bytes, is_stream: bool = False, method: MethodDescriptor | None = None
) -> tuple[str, str]:
    """Call a method by its path with bytes; code and reason of the answer.

    An asynchronous client of grpcio may lose the status of a stream that ends while it writes (grpc issue 36066): it asks again then.
    """
    for _ in range(_TRIES):
        answer = await _raw_call(caller, method_path, requests, is_stream=is_stream, method=method)
        if answer != _LOST:
            break
    return answer


async def _raw_call(
    caller: Caller, method_path: str, requests: Sequence[bytes], *, is_stream: bool, method: MethodDescriptor | None
) -> tuple[str, str]:
    answers = method is not None and method.server_streaming
    form = ("stream" if is_stream else "unary") + "_" + ("stream" if answers else "unary")
    invoke = getattr(caller.channel, form)(method_path)
    request = _sent(requests) if is_stream else requests[0]
    try:
        pending = invoke(request, metadata=caller.metadata, timeout=60)
        if answers:
            async for _ in pending:
                pass
        else:
            await pending
    except grpc.aio.AioRpcError as error:
        refusal = call_error(error)
        return _LOST if error.details() == _LOST_STATUS else (refusal.code.name, refusal.reason)
    return "OK", ""


async def _sent(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


def filled(message: Message, /, **given: Any) -> Message:
    """The message with every required field set to something well-formed; names lead into the tenant `acme`, and there to nothing."""
    for field in message.DESCRIPTOR.fields:
        required = field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        target = getattr(message, field.name)
        if field.name in given and isinstance(target, str):
            setattr(message, field.name, given[field.name])
        elif required and isinstance(target, Message):
            _fill(target, given.get("tenant", "tenants/acme"))
        elif required and field.message_type is not None:
            filled(target.add())
        elif required and field.is_repeated:
            target.append(_value(field))
        elif required:
            setattr(message, field.name, _value(field))
    return message


def _fill(target: Message, tenant: str) -> None:
    match target:
        case Timestamp():
            target.FromJsonString("2026-01-01T00:00:00Z")
        case FieldMask():
            target.paths.append("display_name")
        case resources_pb2.Tenant():
            target.name = tenant
        case _:
            filled(target)


def _value(field: Any) -> object:
    """A value for a field; the name says what kind of name or word a text is."""
    names = {"parent": "tenants/acme", "name": "tenants/acme/x", "subject": f"tenants/acme/subjects/{NEVER}"}
    if field.enum_type is not None:
        return field.enum_type.values[1].number
    return {
        FieldDescriptor.TYPE_STRING: names.get(field.name, "word"),
        FieldDescriptor.TYPE_BYTES: b"\1" * 32,
        FieldDescriptor.TYPE_BOOL: True,
    }.get(field.type, 1)
