"""Where a stream that another node served before has come to, as the router tells it (protos, node.proto).

Only routers say it; a router believes no client that does.
"""

import re
from dataclasses import dataclass

from agentring import metadata
from agentring.errors import MalformedRequest
from agentring.rpc.service import Call

_FRAMES = re.compile(r"([0-9]{1,18}) ([0-9]{1,18})", re.ASCII)
_SEQ = re.compile(r"[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A stream's place. One that begins here has the default."""

    first_frame: int = 1
    """The number of the first of the client's messages that comes here. Beyond 1, an empty one comes before it."""
    last_again: int = 0
    """Messages up to this number were sent to another node before: what they ask for, the client may have been told."""
    after_seq: int | None = None
    """The client was sent everything up to this; None: nothing."""

    def begins_after(self, asked: int | None) -> int | None:
        """The seq that the stream goes on after; asked: what the client wanted at first."""
        return self.after_seq if self.after_seq is not None else asked


def place_of(call: Call) -> Place:
    """The stream's place. Raises MalformedRequest."""
    frames, after_seq = call.metadata.get(metadata.FRAMES), call.metadata.get(metadata.AFTER_SEQ)
    if frames is None:
        return Place()
    found = _FRAMES.fullmatch(frames)
    if found is None or (after_seq is not None and _SEQ.fullmatch(after_seq) is None):
        raise MalformedRequest
    return Place(max(1, int(found[1])), int(found[2]), int(after_seq) if after_seq is not None else None)
