"""Required fields: every one of the contract, taken out of an otherwise complete request, is missed under its own path.

The requests are built by reflection from the descriptors, so that a new RPC or field is tested without anybody thinking of it.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

import vault.v1
from vault.errors import InvalidArgumentError
from vault.rpc.required import check_required
from vault.v1.resources_pb2 import Justification, View
from vault.v1.rights_service_pb2 import SetMarketingPreferenceRequest
from vault.v1.vault_service_pb2 import (
    BatchCreateRecordsRequest,
    ImportEnd,
    ImportRecordsRequest,
    RecordInput,
    RevealRecordRequest,
    StreamRevealRecordsRequest,
)

SERVICES = {
    "AccessService",
    "AuditService",
    "ErasureService",
    "LegalService",
    "OperationsService",
    "RightsService",
    "TenantService",
    "VaultService",
}
Path = tuple[str | int, ...]


def requests() -> dict[str, Descriptor]:
    """Request message of every method of every service."""
    found: dict[str, Descriptor] = {}
    for module in pkgutil.iter_modules(vault.v1.__path__):
        if module.name.endswith("_service_pb2"):
            for service in importlib.import_module(f"vault.v1.{module.name}").DESCRIPTOR.services_by_name.values():
                found |= {f"{service.name}.{method.name}": method.input_type for method in service.methods}
    return found


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def is_required(field: FieldDescriptor) -> bool:
    """Truth values are left out: `false` says something."""
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.REQUIRED in behaviors and field.type != FieldDescriptor.TYPE_BOOL


def complete(descriptor: Descriptor) -> list[Message]:
    """Messages with every field set, one for each way of choosing members of its `oneof`s (no message has two of them)."""
    members = [member for oneof in descriptor.oneofs for member in oneof.fields]
    choices: list[FieldDescriptor | None] = [*members] or [None]
    return [_complete(descriptor, without=[other for other in members if other is not choice]) for choice in choices]


def _complete(descriptor: Descriptor, without: list[FieldDescriptor]) -> Message:
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field in without or is_map(field):
            continue
        if field.message_type is not None:
            target = getattr(message, field.name)
            inner = complete(field.message_type)[0]
            if field.is_repeated:
                target.extend([inner, inner])
            else:
                target.CopyFrom(inner)
        elif field.is_repeated:
            getattr(message, field.name).extend([_scalar(field), _scalar(field)])
        else:
            setattr(message, field.name, _scalar(field))
    return message


def _scalar(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[1].number
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return "x"
        case FieldDescriptor.TYPE_BYTES:
            return b"x"
        case FieldDescriptor.TYPE_BOOL:
            return True
        case _:
            return 1


def fields_in(message: Message, path: Path = ()) -> Iterator[tuple[Path, FieldDescriptor]]:
    """Every field that is set in a message of ours, with its path, in depth."""
    for field, value in message.ListFields():
        where = (*path, field.name)
        yield where, field
        if field.message_type is not None and field.message_type.file.package == "vault.v1":
            for number, item in enumerate(value if field.is_repeated else [value]):
                yield from fields_in(item, (*where, number) if field.is_repeated else where)


def spelled(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def holder_of(message: Message, path: Path) -> Any:
    """The message that holds the last field of a path."""
    holder: Any = message
    for step in path[:-1]:
        holder = holder[step] if isinstance(step, int) else getattr(holder, step)
    return holder


METHODS = requests()
CASES = [
    pytest.param(message, path, id=f"{method}-{number}-{spelled(path)}")
    for method, descriptor in METHODS.items()
    for number, message in enumerate(complete(descriptor))
    for path, field in fields_in(message)
    if is_required(field)
]
ENUMS = [
    pytest.param(message, path, id=f"{method}-{spelled(path)}")
    for method, descriptor in METHODS.items()
    for message in complete(descriptor)
    for path, field in fields_in(message)
    if field.enum_type is not None
]


def refusal(request: Message) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as refused:
        check_required(request)
    return refused.value


def test_every_service_is_walked_and_has_something_to_require() -> None:
    """Guards the tests below against walking over nothing."""
    assert {method.partition(".")[0] for method in METHODS} == SERVICES
    assert len(CASES) > 150
    assert len(ENUMS) >= 5


@pytest.mark.parametrize("method", METHODS)
def test_a_complete_request_passes(method: str) -> None:
    for message in complete(METHODS[method]):
        check_required(message)


@pytest.mark.parametrize(("message", "path"), CASES)
def test_a_missing_field_is_refused_by_its_path(message: Message, path: Path) -> None:
    request = type(message)()
    request.CopyFrom(message)

    holder_of(request, path).ClearField(path[-1])

    refused = refusal(request)
    reason = "JUSTIFICATION_REQUIRED" if "justification" in path else "FIELD_REQUIRED"
    assert (refused.reason, refused.field) == (reason, spelled(path))


@pytest.mark.parametrize(("message", "path"), ENUMS)
@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
def test_an_unknown_enum_number_is_refused_by_its_path(message: Message, path: Path, number: int) -> None:
    """I9. Protobuf keeps numbers that it does not know."""
    request = type(message)()
    request.CopyFrom(message)

    setattr(holder_of(request, path), str(path[-1]), number)

    refused = refusal(request)
    assert (refused.reason, refused.field) == ("FIELD_INVALID", spelled(path))
    assert str(number) not in str(refused)


def test_an_empty_request_misses_its_first_required_field() -> None:
    assert (refusal(RevealRecordRequest()).reason, refusal(RevealRecordRequest()).field) == ("FIELD_REQUIRED", "name")


@pytest.mark.parametrize(
    ("justification", "field"),
    [
        (None, "justification"),
        (Justification(), "justification.purpose"),
        (Justification(purpose="billing"), "justification.reason"),
        (Justification(reason="a fault at night"), "justification.purpose"),
        (Justification(reference="HD-1"), "justification.purpose"),
    ],
    ids=["all of it", "everything in it", "the reason", "the purpose", "purpose and reason"],
)
def test_what_is_missing_of_a_justification_has_a_reason_of_its_own(justification: Justification | None, field: str) -> None:
    refused = refusal(RevealRecordRequest(name="x", justification=justification))

    assert (refused.reason, refused.field) == ("JUSTIFICATION_REQUIRED", field)


def test_a_justification_deep_in_a_request_has_the_same_reason() -> None:
    inner = RevealRecordRequest(name="x", justification=Justification(purpose="billing"))

    refused = refusal(StreamRevealRecordsRequest(reveal=inner))

    assert (refused.reason, refused.field) == ("JUSTIFICATION_REQUIRED", "reveal.justification.reason")


def test_the_item_of_a_list_is_named_by_its_number() -> None:
    good = RecordInput(category="call-detail")

    assert refusal(BatchCreateRecordsRequest(parent="x", records=[good, good, RecordInput()])).field == "records[2].category"


def test_what_is_optional_may_be_missing() -> None:
    check_required(RevealRecordRequest(name="x", justification=Justification(purpose="billing", reason="a fault at night")))
    check_required(ImportRecordsRequest())


def test_what_is_required_of_an_optional_part_is_so_only_if_the_part_is_there() -> None:
    empty = ImportRecordsRequest()
    empty.header.SetInParent()

    check_required(ImportRecordsRequest())
    assert refusal(empty).field == "header.parent"


def test_an_unspecified_optional_enum_passes() -> None:
    request = RevealRecordRequest(name="x", justification=Justification(purpose="billing", reason="a fault"), view=View.VIEW_UNSPECIFIED)

    check_required(request)


def test_a_truth_value_may_be_false() -> None:
    """Harm: nobody could take an agreement to marketing back, because `allowed = false` was a missing field."""
    check_required(SetMarketingPreferenceRequest(subject="x", source="WEB", allowed=False))


def test_a_file_may_have_no_row() -> None:
    """Harm: such an import could not be finished, because `row_count = 0` was a missing field."""
    check_required(ImportRecordsRequest(end=ImportEnd(row_count=0)))


def test_the_value_of_a_field_is_not_repeated() -> None:
    refused = refusal(RevealRecordRequest(name="+972501234567", view=99))  # type: ignore[arg-type]

    assert "972501234567" not in f"{refused} {refused.metadata}"


@pytest.fixture(scope="module")
def made_up() -> type[Any]:
    """A message with shapes that the contract does not use yet: a list of enums, a required map of messages, a recursive foreign message."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/made_up.proto", package="vault.v1", syntax="proto3")
    file.dependency.extend(["vault/v1/resources.proto", "google/protobuf/struct.proto"])
    message = file.message_type.add(name="MadeUpRequest")
    entry = message.nested_type.add(name="LabelsEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.add(name="key", number=1, label="LABEL_OPTIONAL", type="TYPE_STRING")
    entry.field.add(name="value", number=2, label="LABEL_OPTIONAL", type="TYPE_MESSAGE", type_name=".vault.v1.Justification")
    message.field.add(name="views", number=1, label="LABEL_REPEATED", type="TYPE_ENUM", type_name=".vault.v1.View")
    labels = message.field.add(name="labels", number=2, label="LABEL_REPEATED", type="TYPE_MESSAGE")
    labels.type_name = ".vault.v1.MadeUpRequest.LabelsEntry"
    labels.options.Extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.REQUIRED)
    message.field.add(name="foreign", number=3, label="LABEL_OPTIONAL", type="TYPE_MESSAGE", type_name=".google.protobuf.Value")
    made = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(made.message_types_by_name["MadeUpRequest"])


def test_a_required_map_is_missing_if_it_is_empty(made_up: type[Any]) -> None:
    """Harm: the keys of a required map were taken for messages, which ended in an internal error."""
    assert (refusal(made_up()).reason, refusal(made_up()).field) == ("FIELD_REQUIRED", "labels")
    check_required(made_up(labels={"a": Justification()}, foreign=struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)))


def test_every_enum_of_a_list_is_looked_at(made_up: type[Any]) -> None:
    """Harm: a list of enums was looked up as if it were one, which ended in an internal error."""
    labels = {"a": Justification()}

    check_required(made_up(labels=labels, views=[View.VIEW_FULL, View.VIEW_MASKED]))
    refused = refusal(made_up(labels=labels, views=[View.VIEW_FULL, 99]))

    assert (refused.reason, refused.field) == ("FIELD_INVALID", "views[1]")
