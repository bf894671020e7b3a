"""A call of the model in http2_model.py, as its client and as each node knows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.http2_peers import ClientPeer, Heard, NodePeer


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
    messages: int = 0
    ended: bool = False
    gone: bool = False

    @property
    def heard(self) -> Heard:
        return self.client.streams[self.stream_id]

    @property
    def is_over(self) -> bool:
        """Nothing can come of it any more."""
        return self.gone or self.heard.ended or self.heard.reset is not None or self.client.goaway is not None


@dataclass
class Answered:
    """One attempt at a node, as the node knows it."""

    node: NodePeer
    stream_id: int
    said: bytearray = field(default_factory=bytearray)
    messages: list[bytes] = field(default_factory=list)
    seq: int = 0
    accepted: bool = False
    finished: bool = False

    @property
    def heard(self) -> Heard:
        return self.node.streams[self.stream_id]


def whole_messages(data: bytes) -> int:
    """How many gRPC messages there are, but for one that has only begun."""
    count = pos = 0
    while pos + 5 <= len(data):
        pos += 5 + int.from_bytes(data[pos + 1 : pos + 5], "big")
        if pos > len(data):
            break
        count += 1
    return count
