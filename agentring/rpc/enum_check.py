"""Whether a request's enums have values that are known here.

Protobuf keeps a number that it does not know, and code that compares it takes it for none of those it knows, which is
to ignore it. Only fields that are, or hold, enums of this project's own are looked at, so most requests cost nothing.
"""

from collections.abc import Callable

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from agentring.errors import UnknownEnumValue

EnumCheck = Callable[[Message], None]
"""Raises UnknownEnumValue."""

_FOREIGN = "google."
"""Well-known types, whose JSON is checked where it is read."""


def enum_check(descriptor: Descriptor) -> EnumCheck | None:
    """The check of a message's type; None: there is nothing to check."""
    return _check(descriptor, "", frozenset())


def _check(descriptor: Descriptor, path: str, above: frozenset[str]) -> EnumCheck | None:
    if descriptor.full_name.startswith(_FOREIGN) or descriptor.full_name in above:
        return None
    above |= {descriptor.full_name}
    checks = [check for field in descriptor.fields if (check := _field_check(field, path, above))]
    if not checks:
        return None

    def check_all(message: Message) -> None:
        for check in checks:
            check(message)

    return check_all


def _field_check(field: FieldDescriptor, path: str, above: frozenset[str]) -> EnumCheck | None:
    name, place = field.name, f"{path}{field.name}"
    if field.enum_type is not None and not field.enum_type.full_name.startswith(_FOREIGN):
        known = frozenset(field.enum_type.values_by_number)
        if field.is_repeated:

            def check_values(message: Message) -> None:
                if not known.issuperset(getattr(message, name)):
                    raise UnknownEnumValue(place)

            return check_values

        def check_value(message: Message) -> None:
            if getattr(message, name) not in known:
                raise UnknownEnumValue(place)

        return check_value
    if field.message_type is None or (inner := _check(field.message_type, f"{place}.", above)) is None:
        return None
    if field.is_repeated:

        def check_each(message: Message) -> None:
            for part in getattr(message, name):
                inner(part)

        return check_each

    def check_part(message: Message) -> None:
        if message.HasField(name):
            inner(getattr(message, name))

    return check_part
