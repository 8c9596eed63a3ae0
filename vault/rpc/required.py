"""Which fields of a request are missing: `google.api.field_behavior` walked once per message type.

A required field is missing if it is unset, empty, zero or UNSPECIFIED. A truth value is never missing, because `false` is one: a person who
withdraws an agreement says just that. Missing parts of a justification have a reason of their own. Unknown enum values are refused here too, so that
no handler meets one (I9).
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
        is_set = message.HasField(rule.name) if rule.message and not rule.repeated else bool(value)
        if rule.required and not is_set:
            raise _missing(where)
        if not is_set or not (rule.message or rule.enum):
            continue
        if not rule.repeated:
            _check_value(rule, value, where)
            continue
        for number, item in enumerate(value):
            _check_value(rule, item, f"{where}[{number}]")


def _check_value(rule: _Rule, value: Message | int, where: str) -> None:
    if isinstance(value, Message):
        _check(value, where)
    elif rule.enum is not None and value not in rule.enum.values_by_number:
        raise InvalidArgumentError("FIELD_INVALID", f"field '{where}' holds an unknown enum value", field=where)


def _missing(where: str) -> InvalidArgumentError:
    reason = "JUSTIFICATION_REQUIRED" if "justification" in where.split(".") else "FIELD_REQUIRED"
    return InvalidArgumentError(reason, f"field '{where}' is empty", field=where)


@cache
def _rules(descriptor: Descriptor) -> tuple[_Rule, ...]:
    """Fields of a message that have to be looked at: required ones, enums, and messages that may hold such."""
    rules = []
    for field in descriptor.fields:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        is_ours = field.message_type is not None and field.message_type.file.package == "vault.v1" and not is_map
        nested = is_ours and bool(_rules(field.message_type))
        required = field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        required = required and field.type != FieldDescriptor.TYPE_BOOL
        if required or nested or field.enum_type is not None:
            # The keys and values of a map are not looked into, only whether there are any.
            is_message = field.type == FieldDescriptor.TYPE_MESSAGE and not is_map
            rules.append(_Rule(field.name, required, field.is_repeated, is_message, field.enum_type))
    return tuple(rules)
