"""A connection to a node: calls go out on it, multiplexed.

Guarantees, beside Connection's: no stream is opened before the node has acknowledged our SETTINGS, so every header
block it sends stands for itself; none beyond the node's MAX_CONCURRENT_STREAMS or after its GOAWAY; streams that a
GOAWAY leaves out are told that they were not processed, the others go on; whatever calls do, the node is not sent more
resets at once than it allows a connection, which would cost all other calls theirs. A node that is silent is asked by
PING (pings.py) and given up if it does not answer. Used by NodePool, which opens another connection where this one
takes no more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.frames import Code, ConnectionBroken, Setting
from agentring.http2.hpack import FieldReader
from agentring.http2.limits import Bucket, Limits, Rate
from router.relay.abandoned_stream import AbandonedStream
from router.relay.call_events import CallEvents
from router.relay.client_stream import ClientStream
from router.relay.node_stream import NodeStream, NodeStreamConnection
from router.relay.pings import PingPolicy, Pings
from router.relay.response import ResponseHead

_LAST_STREAM_ID: Final = frames.MAX_STREAM_ID - 1_000
_RESETS: Final = Rate(5_000, 500)
"""Of streams that may count: half of what a node allows a connection (LIMITS in agentring/rpc/server.py)."""
_OLD_S: Final = 3.0
"""A reset of a stream that was there for so long does not count with the node, however far apart our clocks tick."""
_DELAY_TICKS: Final = 3
_KEPT_HEADS: Final = 512
_SHORT_HEAD_BYTES: Final = 512
"""Longer ones are no session's, and not kept."""


class NodeConnection(NodeStreamConnection):
    """A connection that the router has made."""

    role: ClassVar[str] = "node"

    def __init__(
        self,
        authority: str,
        limits: Limits,
        budget: Budget,
        now_s: float,
        wake: Callable[[], None],
        ready: Callable[[], None],
        ping_policy: PingPolicy,
    ) -> None:
        """authority: of the node, for the log; ready: called once streams can be opened; ping_policy: of the node."""
        super().__init__(limits, now_s, wake)
        self.authority = authority
        self.ready = False
        """Streams can be opened, as long as `has_room`."""
        self.retired = False
        """It takes no new streams."""
        self._budget = budget
        self._keepalive = Pings(limits, ping_policy, now_s)
        self._on_ready = ready
        self._next_stream_id = 1
        self._max_streams = frames.MAX_STREAM_ID
        self._headers_reader = _HeadReader(limits.max_header_block_bytes)
        self._trailers_reader = _HeadReader(limits.max_header_block_bytes)
        self._acknowledged = False
        self._early_resets = Bucket("left streams", _RESETS, now_s)
        self._delayed_resets: list[list[AbandonedStream]] = [[] for _ in range(_DELAY_TICKS)]
        """To be reset, those of the next tick first."""
        self.write(frames.PREFACE)
        self.open({Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0})

    @property
    def has_room(self) -> bool:
        """Whether another stream can be opened."""
        return (
            self.ended is None
            and not self.retired
            and len(self.streams) < self._max_streams
            and self._next_stream_id < _LAST_STREAM_ID
        )

    def open_stream(self, block: bytes, call: CallEvents, client: ClientStream) -> NodeStream:
        """Sends the request's headers. Only while `has_room`."""
        stream_id = self._next_stream_id
        self._next_stream_id += 2
        stream = NodeStream(self, stream_id, self._budget, call, client)
        self.streams[stream_id] = stream
        stream.send_headers(block)
        return stream

    def abandon_stream(self, stream: NodeStream) -> None:
        """As NodeStreamConnection: at once, or, where many calls leave early, once it is old enough for the node not to
        count it. One connection carries the calls of all clients, and each of them may have as many calls end early as
        a connection of its own allows, by RST_STREAM or by their deadlines."""
        if self.streams.get(stream.id) is not stream:
            return
        does_not_count = stream.receive_ended or self.now_s - stream.opened_s > _OLD_S
        if does_not_count or self._early_resets.has_taken(self.now_s):
            stream.reset(Code.CANCEL)
        else:
            self._delayed_resets[-1].append(AbandonedStream(stream, self._budget))

    def tick(self, now_s: float) -> None:
        """Gives a silent node up; a retired connection ends with its last stream."""
        if self.ended is not None:
            return
        self.now_s = now_s
        self._delayed_resets.append([])
        for stream in self._delayed_resets.pop(0):
            stream.reset(Code.CANCEL)
        if self.retired and not self.streams:
            self.end(Code.NO_ERROR)
        elif self.ping_sent_s is not None:
            if self.heard_s > self.ping_sent_s:
                self.ping_sent_s = None
            elif now_s - self.ping_sent_s > self.limits.keepalive_timeout_s:
                self.broken_for = "keepalive timeout"
                self.end(Code.NO_ERROR)
        elif self._keepalive.is_due(now_s, self.heard_s, has_calls=bool(self.streams)):
            self.send_ping(now_s)

    def retire(self) -> None:
        """Takes no new streams; ends with the last one."""
        self.retired = True
        if not self.streams:
            self.end(Code.NO_ERROR)

    def drain(self, why: str = "") -> None:
        """As Connection."""
        self.retire()

    def stop(self) -> None:
        """As Connection: calls that can go on elsewhere do."""
        self.broken_for = "certificate ended"
        self.end(Code.NO_ERROR)

    def node_left(self) -> None:
        """The node has left the cluster, and its claims with it: calls that can go on or be asked anew elsewhere do. It
        may be frozen and never end them itself."""
        self.retire()
        for stream in list(self.streams.values()):
            if isinstance(stream, NodeStream) and (
                stream.reattachable or (not stream.is_accepted and stream.call.is_repeatable)
            ):
                call = stream.call
                stream.reset(Code.CANCEL)
                call.node_lost("node_left")

    def _settings_acknowledged(self) -> None:
        self._acknowledged = True
        self._check_ready()

    def _peer_settings_changed(self) -> None:
        self._check_ready()

    def _check_ready(self) -> None:
        if self._acknowledged and self._settings_seen and not self.ready:
            self.ready = True
            self._on_ready()

    def _setting(self, name: int, value: int) -> None:
        if name == Setting.MAX_CONCURRENT_STREAMS:
            self._max_streams = value
        elif name == Setting.PING_INTERVAL_MS:
            self._keepalive.interval_s = value / 1e3

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_stream_id or not stream_id & 1

    def _received(self, length: int) -> None:
        super()._received(length)
        self._keepalive.answered()

    def _goaway(self, last_stream_id: int) -> None:
        self.retired = True
        if self.goaway_code == Code.ENHANCE_YOUR_CALM:
            self._keepalive.too_many()
        for stream_id in [stream_id for stream_id in self.streams if stream_id > last_stream_id]:
            if (stream := self.streams.get(stream_id)) is None:
                continue  # another one's messages, sent again elsewhere, were too much for the process
            self.forget(stream, peer_may_send=True)
            stream.connection_lost()
        if not self.streams:
            self.end(Code.NO_ERROR)

    def _headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        self._keepalive.answered()
        stream = self.streams.get(stream_id)
        head = (self._trailers_reader if end_stream else self._headers_reader).read(block)
        if stream is None:
            if self._is_idle(stream_id):
                raise ConnectionBroken(Code.PROTOCOL_ERROR, "HEADERS of a stream that was not opened")
            return
        if isinstance(stream, NodeStream):
            stream.receive_head(head, end_stream)
        elif end_stream:
            stream.receive_end()

    def _oversized_headers(self, stream_id: int, end_stream: bool) -> None:
        # There is no table that the next block would need it for, so one call's block costs no other call anything.
        stream = self.streams.get(stream_id)
        if isinstance(stream, NodeStream):
            stream.receive_oversized(end_stream)
        elif stream is not None:
            if end_stream:
                stream.receive_end()
        elif self._is_idle(stream_id):
            raise ConnectionBroken(Code.PROTOCOL_ERROR, "HEADERS of a stream that was not opened")


class _HeadReader:
    """Headers of a session's calls are mostly the same, and trailers of all calls: looked at once."""

    def __init__(self, max_list_bytes: int) -> None:
        self._reader = FieldReader(max_list_bytes=max_list_bytes, dynamic=False)
        self._heads: dict[bytes, ResponseHead] = {}

    def read(self, block: bytes) -> ResponseHead:
        """The head. Raises as FieldReader.read."""
        head = self._heads.get(block)
        if head is None:
            head = ResponseHead(self._reader.read(block))
            if len(block) <= _SHORT_HEAD_BYTES:
                if len(self._heads) >= _KEPT_HEADS:
                    del self._heads[next(iter(self._heads))]
                self._heads[block] = head
        return head
