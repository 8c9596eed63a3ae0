"""Which fields of a request are missing: `google.api.field_behavior` walked once per message type.

A required field is missing if it is unset, empty, zero or UNSPECIFIED. Missing parts of a justification have a reason of their own. Unknown enum
values are refused here too, so that no handler meets one (I9).
"""

from dataclasses import dataclass
from functools import cache

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from vault.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    required: bool
    repeated: bool
    message: bool
    enum: EnumDescriptor | None


def check_required(request: Message) -> None:
    """Refuse a request that lacks a required field.

    Raises:
        InvalidArgumentError: FIELD_REQUIRED, JUSTIFICATION_REQUIRED or FIELD_INVALID, naming the path of the field.
    """
    _check(request, "")


def _check(message: Message, path: str) -> None:
    for rule in _rules(message.DESCRIPTOR):
        where = f"{path}.{rule.name}" if path else rule.name
        value = getattr(message, rule.name)
        if rule.message and not rule.repeated:
            if message.HasField(rule.name):
                _check(value, where)
            elif rule.required:
                raise _missing(where)
            continue
        if rule.required and not value:
            raise _missing(where)
        if rule.message:
            for number, item in enumerate(value):
                _check(item, f"{where}[{number}]")
        elif rule.enum is not None and value not in rule.enum.values_by_number:
            raise InvalidArgumentError("FIELD_INVALID", f"field '{where}' holds an unknown enum value", field=where)


def _missing(where: str) -> InvalidArgumentError:
    reason = (
        "JUSTIFICATION_REQUIRED" if where.split(".", maxsplit=1)[0] == "justification" or ".justification" in where else "FIELD_REQUIRED"
    )
    return InvalidArgumentError(reason, f"field '{where}' is empty", field=where)


@cache
def _rules(descriptor: Descriptor) -> tuple[_Rule, ...]:
    """Fields of a message that have to be looked at: required ones, enums, and messages that may hold such."""
    rules = []
    for field in descriptor.fields:
        if field.message_type is not None and (field.message_type.file.package != "vault.v1" or field.message_type.GetOptions().map_entry):
            nested = False
        else:
            nested = field.message_type is not None and bool(_rules(field.message_type))
        required = field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        if required or nested or field.enum_type is not None:
            is_message = field.type == FieldDescriptor.TYPE_MESSAGE
            rules.append(_Rule(field.name, required, field.is_repeated, is_message, field.enum_type))
    return tuple(rules)
