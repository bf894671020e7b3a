"""A client's half of a call: its messages, kept for replay and passed to the node's half; what it is sent waits here.

Guarantees: the client is granted a window of 64 KiB, less what waits for the node, so that each direction is held back
by the one beyond it; and less once more than MAX_REPLAY_BYTES are kept, where a node may have to be sent them again: a
call that cannot be re-attached is then bound to the node that it goes to, and nothing is kept any more. A message over
the limit is refused as soon as its length is known, but taken in to its end first where that is not far, because a
status that overtakes a message is lost to a client on grpc.aio.
"""

from __future__ import annotations

from typing import Final

from agentring.errors import MessageTooLarge
from agentring.http2.budget import Budget
from agentring.http2.frames import Code, StreamBroken
from agentring.http2.stream import Stream, StreamConnection
from agentring.rpc.messages import PREFIX_BYTES, PREFIXES, Assembler
from router.relay.call_events import CallEvents
from router.relay.grpc_framing import NO_MARKS
from router.relay.replay_buffer import MAX_REPLAY_BYTES, ReplayBuffer

WINDOW: Final = 64 << 10
_LOW: Final = WINDOW * 3 // 4
_MAX_SKIPPED_BYTES: Final = 8 << 20


class ClientStream(Stream):
    """The stream between the client and the router."""

    __deletable__ = ("call",)
    __slots__ = (
        "assembler",
        "awaits_first_message",
        "call",
        "last_response",
        "max_message_bytes",
        "node",
        "replay",
        "skipping_bytes",
    )

    def __init__(self, connection: StreamConnection, stream_id: int, budget: Budget, max_message_bytes: int) -> None:
        """Opened by the client; `call` is set before anything else comes."""
        super().__init__(connection, stream_id, WINDOW, budget)
        self.max_message_bytes = max_message_bytes
        self.low = _LOW
        self.call: CallEvents
        self.node: Stream | None = None
        """Where its messages go."""
        self.replay = ReplayBuffer(budget, self)
        self.assembler: Assembler | None = None
        self.awaits_first_message = True
        """No message has come yet, nor the end of the client's side."""
        self.skipping_bytes = 0
        self.last_response = NO_MARKS
        """The last response that the client was sent, or what it began with: its marks are there (grpc_framing.py)."""

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "DATA after END_STREAM"))
            return
        self.granted -= length
        message = buffer[start : start + length]
        if self.assembler or not message.startswith(PREFIXES[length]):
            self._receive_part(message)
        else:
            if (replay := self.replay).is_recording:
                replay.add(message)
            if (node := self.node) is not None:
                connection = node.connection
                if (
                    node.queue is None
                    and length <= node.window
                    and length <= connection.send_window
                    and not connection.held
                ):
                    node.put(message, length)  # as Stream.send does
                else:
                    node.send(message)
            if self.awaits_first_message:
                self.awaits_first_message = False
                self.call.first_message_came()
        if self.granted < _LOW:
            self.replenish()

    def receive_end(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "END_STREAM came twice"))
            return
        self.receive_ended = True
        if self.awaits_first_message:
            self.awaits_first_message = False
            self.call.first_message_came()
            if self.send_ended:
                return  # it was refused, and so the stream is over
        if self.skipping_bytes:
            self._refuse_message()
            return
        if self.node is not None:
            self.node.send_end(b"")

    def receive_reset(self, code: int) -> None:
        """As Stream."""
        self._client_left()

    def connection_lost(self) -> None:
        """As Stream."""
        self._client_left()

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)
        self._client_left()

    def shed(self) -> None:
        """As Stream."""
        self.call.shed()

    def replenish(self) -> None:
        """As Stream."""
        if self.granted < 0:
            self.check_granted()
            return
        # Invariant: a client holds no more here than it was granted (tests/unit/router/relay/test_flow_control.py).
        allowed = WINDOW - (self.node.queued_bytes if self.node is not None else 0)
        replay = self.replay
        if replay.is_recording:
            begun = self.assembler
            part_bytes, missing_bytes = (begun.part_bytes, begun.missing_bytes) if begun else (0, 0)
            room = MAX_REPLAY_BYTES - replay.bytes - part_bytes
            if self.node is None or self.call.reattachable:
                allowed = min(allowed, max(room, missing_bytes))
            elif room < 0 and (len(replay.messages) > 1 or (replay.messages and part_bytes)):
                self.call.bind()
            else:
                allowed = min(allowed, max(room, missing_bytes, WINDOW // 4))
        increment = allowed - self.granted
        if increment >= WINDOW // 4 or self.granted <= 0 < increment:
            self.grant(increment)

    def drained(self) -> None:
        """As Stream."""
        if self.node is not None:
            self.node.replenish()

    def add_window(self, increment: int) -> None:
        """As Stream."""
        super().add_window(increment)
        if self.node is not None:
            self.node.replenish()

    def sending_ended(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.forget(self, peer_may_send=False)
        else:
            self.reset(Code.NO_ERROR)  # RFC 9113 8.1: the answer is complete, the rest of the request is not needed
        self._part_from_call()

    def acknowledge(self, acked_frame: int) -> None:
        """The client's messages up to this one are safe."""
        self.replay.drop(acked_frame)
        if self.granted < _LOW:
            self.replenish()

    def abandon(self, code: Code) -> None:
        """Ends the stream and the call at once, without trailers."""
        self.reset(code)
        self._client_left()

    def release(self) -> None:
        """The call is over: nothing is kept for replay."""
        self.node = None
        self.awaits_first_message = False
        self.replay.end()
        if self.assembler is not None:
            self.assembler.clear()
            self.assembler = None

    def _client_left(self) -> None:
        self.receive_ended = self.send_ended = True
        self.drop_queue()
        self.call.client_left()
        self._part_from_call()

    def _part_from_call(self) -> None:
        """The stream is over. The call and it hold each other, and are to be freed at once, not when the garbage
        collector comes by."""
        del self.call

    def _receive_part(self, data: bytes) -> None:
        if self.call.ended:
            return  # only its trailers wait
        if self.skipping_bytes:
            self._skip(len(data))
            return
        if self.assembler is None:
            self.assembler = Assembler(self.budget, self)
        assembler = self.assembler
        messages = assembler.feed(data)
        if self._is_released():
            return  # the process held too much, and this call had to go
        if any(len(message) > self.max_message_bytes + PREFIX_BYTES for message in messages):
            self._refuse_message()
            return
        if assembler.body_bytes > self.max_message_bytes:
            missing_bytes = assembler.missing_bytes
            assembler.clear()
            self.call.will_fail(MessageTooLarge(self.max_message_bytes))
            if missing_bytes > _MAX_SKIPPED_BYTES:
                self._refuse_message()
            else:
                self.skipping_bytes = missing_bytes
            return
        # Invariant: nothing is held of a refused call's message (tests/unit/router/relay/test_access.py): who has no
        # credential could fill the budget, and calls of others would be ended.
        if self.call.is_refused and not messages and assembler.body_bytes:
            self.skipping_bytes = assembler.missing_bytes
            assembler.clear()
            return
        for message in messages:
            if self.replay.is_recording:
                self.replay.add(message)
        if self.node is not None:
            self.node.send(data)
        if messages and self.awaits_first_message:
            self.awaits_first_message = False
            self.call.first_message_came()

    def _is_released(self) -> bool:
        """Asked by a call, because a type checker, and code compiled by its word, would not expect it in between."""
        return self.assembler is None

    def _skip(self, length: int) -> None:
        self.skipping_bytes -= length
        if self.skipping_bytes <= 0:
            self.call.first_message_came()

    def _refuse_message(self) -> None:
        self.call.fail(MessageTooLarge(self.max_message_bytes))
