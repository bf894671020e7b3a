"""Events that are nested too deeply to be read, as bytes: protobuf's own library does not make them."""

from agentring.v1 import session_pb2

TOO_DEEP = 40
"""Objects in each other."""
_FIELDS = {descriptor.name: descriptor.number for descriptor in session_pb2.Event.DESCRIPTOR.fields}


def struct(depth: int) -> bytes:
    """A Struct of so many objects in each other."""
    bare = b""
    for _ in range(depth):
        value = _field(5, bare)
        bare = _field(1, _field(1, b"a") + _field(2, value))
    return bare


def deepened(event: bytes, body: str, depth: int = TOO_DEEP) -> bytes:
    """An event whose body's Struct is as deep: its arguments, schema or result. Bytes that follow are merged in."""
    number = {"tool_call": 3, "input_required": 3, "turn_completed": 1}[body]
    return event + _field(_FIELDS[body], _field(number, struct(depth)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def stored_events(events: list[bytes]) -> bytes:
    """A StoredEvents of them."""
    return b"".join(_field(1, _field(1, event)) for event in events)


def event_log(events: list[bytes]) -> bytes:
    """A RunTaskResponse of them."""
    return b"".join(_field(3, event) for event in events)
