"""Where a stream that another node served before goes on, as the router says (protos, node.proto).

Only routers say it; a router refuses it from a client. A stream that is taken over goes on after what its client was
sent. Events from there on may be lost here (the node died before it had sent all that it had stored): the client is
then sent a gap with the outcomes that are known. A stream cannot go on where this node's log does not continue the one
that the client was sent.
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
    """Where one stream goes on. One that begins here has the default."""

    is_taken_over: bool = False
    """Another node served it before, or this one on another connection."""
    first_frame: int = 1
    """The number of the first of the client's messages that comes here. Beyond 1, an empty one comes before it."""
    last_retried: int = 0
    """The client's messages up to this number may be retries: another node may have dealt with them."""
    after_seq: int | None = None
    """The client was sent everything up to this; None: nothing."""
    begins_after: int | None = None
    """The seq that the stream began after; None: its first node did not say."""
    keeps_valid: bool = False
    """The client said that it keeps what stays valid (Open), in a message that may not come again."""
    epoch: int | None = None
    """Under which it was served last; None: that node did not say."""

    def resumed_after(self, log: EventLog, *, same_log: bool) -> int | None:
        """The seq that the stream goes on after; None: its client was sent nothing, and it begins as the client asked.

        same_log: whether `log` continues the log of the node that served the stream last. Raises ResumeOffsetExpired
        where it does not.
        """
        seen_seq = self.after_seq if self.after_seq is not None else self.begins_after
        if seen_seq and (not same_log or seen_seq > log.used_seq):
            raise ResumeOffsetExpired(log.oldest_seq, log.head_seq)
        return seen_seq

    def replays_through(self, frame: int) -> int:
        """Up to which seq the events of a turn that was known before are sent again when it comes as this message. The
        stream itself has sent the client the later ones, or will."""
        if frame > self.last_retried:
            return _ALL
        return self.begins_after if self.begins_after is not None else 0


_BEGINS_HERE = ResumePoint()


def resume_point_of(call: Call) -> ResumePoint:
    """Where the call's stream goes on. Raises MalformedRequest."""
    frames = call.metadata.get(metadata.FRAMES)
    if frames is None:
        return _BEGINS_HERE
    if (found := _FRAMES.fullmatch(frames)) is None:
        raise MalformedRequest
    return ResumePoint(
        is_taken_over=True,
        first_frame=max(1, int(found[1])),
        last_retried=int(found[2]),
        after_seq=_number(call, metadata.AFTER_SEQ),
        begins_after=_number(call, metadata.BEGINS_AFTER),
        keeps_valid=call.metadata.get(metadata.KEEPS_VALID) == "1",
        epoch=_number(call, metadata.EPOCH),
    )


def _number(call: Call, name: str) -> int | None:
    if (text := call.metadata.get(name)) is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise MalformedRequest
    return int(text)
