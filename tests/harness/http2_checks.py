"""What must hold of the data plane at every moment, whatever it has been sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from structlog.testing import capture_logs

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.connection import Connection
from harness.http2_frames import Frame
from router.relay.client_stream import WINDOW, ClientStream
from router.relay.node_stream import MAX_BUFFERED_BYTES, NodeStream
from router.relay.replay_buffer import MAX_REPLAY_BYTES

_KEPT_COUNTED_FROM_BYTES = 4 << 10
_UNEXPECTED = frozenset({"connection_failed", "call_failed"})


@contextmanager
def nothing_unexpected() -> Iterator[None]:
    """Fails where the data plane has met an exception that it did not expect."""
    with capture_logs() as logs:
        yield
    failed = [entry for entry in logs if entry["event"] in _UNEXPECTED]
    assert not failed, f"logged: {[entry['event'] for entry in failed]}"


def check(connections: Iterable[Connection], budget: Budget, longest_message_bytes: int) -> None:
    """The bounds of every stream, and that the budget counts what they hold."""
    held_bytes = 0
    for connection in connections:
        assert connection.send_window >= 0, "more was sent than the connection's window"
        if connection.ended is not None:
            assert not connection.streams, "an ended connection has streams"
            continue
        assert connection.send_window <= frames.MAX_WINDOW
        for stream in connection.streams.values():
            assert stream.window <= frames.MAX_WINDOW
            assert -1 <= stream.granted <= frames.MAX_WINDOW
            assert (stream.queue is None) == (stream.queued_bytes == 0)
            assert stream.queued_bytes == sum(map(len, stream.queue or ()))
            held_bytes += stream.queued_bytes
            if isinstance(stream, ClientStream):
                held_bytes += _held_by_client(stream, longest_message_bytes)
            elif isinstance(stream, NodeStream):
                assert stream.queued_bytes <= MAX_REPLAY_BYTES + 2 * longest_message_bytes + WINDOW
                if stream.assembler is not None:
                    assert stream.assembler.part_bytes <= longest_message_bytes
                    held_bytes += stream.assembler.part_bytes
    assert budget.used_bytes == held_bytes, f"the budget counts {budget.used_bytes}, {held_bytes} are held"
    assert budget.used_bytes <= budget.max_bytes
    assert (len(budget) == 0) == (budget.used_bytes == 0)


def _held_by_client(stream: ClientStream, longest_message_bytes: int) -> int:
    assert stream.queued_bytes <= MAX_BUFFERED_BYTES + 2 * longest_message_bytes
    replay = stream.replay
    assert replay.bytes == sum(map(len, replay.messages)) + len(replay.request)
    assert replay.bytes <= MAX_REPLAY_BYTES + longest_message_bytes
    counted_bytes = replay.bytes if replay.bytes >= _KEPT_COUNTED_FROM_BYTES else 0
    return counted_bytes + (stream.assembler.part_bytes if stream.assembler is not None else 0)


@dataclass
class _Sent:
    headers: int = 0
    ended: bool = False
    reset: bool = False


@dataclass
class Order:
    """What a server may write on a stream, and in which order; the receiver's faults are no excuse."""

    streams: dict[int, _Sent] = field(default_factory=dict)
    goaway: bool = False

    def take(self, found: Iterable[Frame]) -> None:
        """Frames as they were written."""
        for each in found:
            assert not self.goaway or each.kind in (frames.RST_STREAM, frames.GOAWAY, frames.WINDOW_UPDATE)
            sent = self.streams.setdefault(each.stream_id, _Sent())
            if each.kind == frames.DATA:
                assert sent.headers, "DATA before HEADERS"
            if each.kind in (frames.DATA, frames.HEADERS):
                assert not sent.reset, "a frame after RST_STREAM"
                assert not sent.ended, "a frame after END_STREAM"
                sent.ended = bool(each.flags & frames.END_STREAM)
            if each.kind == frames.HEADERS:
                sent.headers += 1
                assert sent.headers == 1 or sent.ended, "headers came twice"
            elif each.kind == frames.RST_STREAM:
                sent.reset = True
