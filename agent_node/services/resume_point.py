"""Where a stream that another node served before has come to, as the router tells it (protos, node.proto).

Only routers say it; a router believes no client that does. A stream that is taken over goes on after what its client
was sent: what that begins in may be lost here (the node died before it had told all that it had stored), and is then
told as a gap with the outcomes that are known; only a story that is another one altogether cannot be gone on with.
"""

import re
from dataclasses import dataclass

from agent_node.events.log import EventLog
from agentring import metadata
from agentring.errors import MalformedRequest, ResumeOffsetExpired
from agentring.rpc.service import Call

_FRAMES = re.compile(r"([0-9]{1,18}) ([0-9]{1,18})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_ALL = 1 << 64


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """A stream's place. One that begins here has the default."""

    is_taken_over: bool = False
    """Another node served it before, or this one on another connection."""
    first_frame: int = 1
    """The number of the first of the client's messages that comes here. Beyond 1, an empty one comes before it."""
    last_again: int = 0
    """Another node may have dealt with messages up to this number."""
    after_seq: int | None = None
    """The client was sent everything up to this; None: nothing."""
    begins_after: int | None = None
    """The seq that the stream began after; None: its first node did not say."""
    epoch: int | None = None
    """Under which it was served last; None: that node did not say."""

    def resumed_after(self, log: EventLog, *, same_story: bool) -> int | None:
        """The seq that the stream goes on after; None: its client was sent nothing, and it begins as the client asked.

        same_story: whether what the last node told is what `log` goes on with. Raises ResumeOffsetExpired where it is
        not.
        """
        seen_seq = self.after_seq if self.after_seq is not None else self.begins_after
        if seen_seq and (not same_story or seen_seq > log.used_seq):
            raise ResumeOffsetExpired(log.oldest_seq, log.head_seq)
        return seen_seq

    def replays_through(self, frame: int) -> int:
        """Up to which seq a turn that was known before is told again when it comes as this message. What comes later
        the client was told by the stream itself, or will be."""
        if frame > self.last_again:
            return _ALL
        return self.begins_after if self.begins_after is not None else 0


def place_of(call: Call) -> ResumePoint:
    """The stream's place. Raises MalformedRequest."""
    frames = call.metadata.get(metadata.FRAMES)
    if frames is None:
        return ResumePoint()
    if (found := _FRAMES.fullmatch(frames)) is None:
        raise MalformedRequest
    return ResumePoint(
        is_taken_over=True,
        first_frame=max(1, int(found[1])),
        last_again=int(found[2]),
        after_seq=_number(call, metadata.AFTER_SEQ),
        begins_after=_number(call, metadata.BEGINS_AFTER),
        epoch=_number(call, metadata.EPOCH),
    )


def _number(call: Call, name: str) -> int | None:
    if (word := call.metadata.get(name)) is None:
        return None
    if _NUMBER.fullmatch(word) is None:
        raise MalformedRequest
    return int(word)
