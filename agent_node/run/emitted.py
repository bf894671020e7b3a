"""The events that an agent emits beside its words, told apart in whatever order they come.

Guarantees: the same events have the same digest in every attempt, also where two tools that run side by side end in
another order; others have another one. Questions are none of them: they are asked again in any case.
"""

from hashlib import blake2b

from agentring.v1 import session_pb2

_MASK = (1 << 64) - 1


class EmittedEvents:
    """So many, and what they are."""

    __slots__ = ("count", "digest")

    def __init__(self) -> None:
        """None yet."""
        self.count = 0
        self.digest = 0

    def add(self, event: session_pb2.Event) -> bool:
        """Adds one; False: it is none of them."""
        match event.WhichOneof("body"):
            case "tool_call":
                said = b"call" + event.tool_call.call_id.encode()
            case "tool_result":
                said = b"result" + event.tool_result.call_id.encode()
            case "custom_event":
                said = b"custom" + event.custom_event.SerializeToString(deterministic=True)
            case _:
                return False
        self.count += 1
        self.digest = (self.digest + int.from_bytes(blake2b(said, digest_size=8).digest(), "big")) & _MASK
        return True
