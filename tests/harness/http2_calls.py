"""A call of the model in http2_model.py, as its client and as each node knows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentring.rpc.messages import PREFIX, PREFIX_BYTES
from harness.http2_frames import CONVERSE, RUN_TASK, marked, message
from harness.http2_peers import ClientPeer, Heard, NodePeer
from router.relay.grpc_framing import MARKS

MARKED = frozenset({CONVERSE, RUN_TASK})
_ACKED_AT = slice(MARKS.size - 8, MARKS.size)
"""Where a message says acked_frame, which may differ from node to node."""


@dataclass
class Sent:
    """One call, as its client knows it."""

    client: ClientPeer
    stream_id: int
    path: str
    session: str
    said: bytearray = field(default_factory=bytearray)
    """All that it has sent or is about to."""
    part: bytes = b""
    """The rest of a message that it has begun."""
    starts: list[int] = field(default_factory=list)
    """Where in `said` each message begins."""
    ended: bool = False
    client_left: bool = False
    event_log: list[bytes] = field(default_factory=list)
    """What there is to be told of it, by number from 1: whichever node tells it, the same."""
    acked: int = 0
    """The highest acked_frame that any node has said."""

    @property
    def messages(self) -> int:
        """How many it has begun."""
        return len(self.starts)

    @property
    def heard(self) -> Heard:
        return self.client.streams[self.stream_id]

    @property
    def is_over(self) -> bool:
        """Nothing can come of it any more."""
        return self.client_left or self.heard.ended or self.heard.reset is not None or self.client.goaway is not None

    def said_from(self, frame: int) -> bytes:
        """What it has said from this message on."""
        return bytes(self.said[self.starts[frame - 1] :]) if frame <= len(self.starts) else b""

    def heard_through(self) -> int:
        """The last number that the client was told whole: it must have been sent each once, in order."""
        data, seq = self.heard.data, 0
        while data:
            body = self.event_log[seq] if seq < len(self.event_log) else None
            assert body is not None, f"a client on {self.path} was told what no node said"
            seq += 1
            expected = marked(seq, 0, body)
            received = data[: len(expected)]
            same = (received[: _ACKED_AT.start], received[_ACKED_AT.stop :])
            assert same == (
                expected[: len(same[0])],
                expected[_ACKED_AT.stop : _ACKED_AT.stop + len(same[1])],
            ), f"a client on {self.path} was not told {seq} after {seq - 1}, but {_number(received)}"
            if len(received) < len(expected):
                return seq - 1
            data = data[len(expected) :]
        return seq


@dataclass
class Answered:
    """One attempt at a node, as the node knows it."""

    node: NodePeer
    stream_id: int
    said: bytearray = field(default_factory=bytearray)
    seq: int = 0
    """The last number that it has told, or was told that the client had."""
    first_frame: int = 1
    accepted: bool = False
    finished: bool = False
    status: str = ""
    """What it has finished the call with."""
    fate: str = ""
    """How the attempt has ended otherwise: `lost` with its connection, or `passed on`, not looked at."""

    def __post_init__(self) -> None:
        fields = self.heard.fields
        self.seq = int(fields.get("x-agentring-after-seq", 0))
        if fields[":path"] == CONVERSE:
            self.first_frame = int(fields.get("x-agentring-frames", "1 0").split()[0])

    @property
    def heard(self) -> Heard:
        return self.node.streams[self.stream_id]

    @property
    def number(self) -> int:
        """Which call it is."""
        return int(self.heard.fields["x-call"])

    def expected(self, sent: Sent) -> bytes:
        """What the node is to be sent in the end of what the client has said so far."""
        if self.first_frame == 1:
            return bytes(sent.said)
        return message(b"") + sent.said_from(self.first_frame)

    def safe_frames(self) -> int:
        """The number of the last message that has come whole."""
        count = whole_messages(self.heard.data)
        return count if self.first_frame == 1 else self.first_frame - 1 + max(0, count - 1)


def whole_messages(data: bytes) -> int:
    """How many gRPC messages there are, but for one that has only begun."""
    count = pos = 0
    while pos + PREFIX_BYTES <= len(data):
        pos += PREFIX_BYTES + PREFIX.unpack_from(data, pos)[1]
        if pos > len(data):
            break
        count += 1
    return count


def _number(received: bytes) -> object:
    return MARKS.unpack_from(received)[0] if len(received) >= MARKS.size else "the beginning of something"
