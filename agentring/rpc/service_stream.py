"""One call at a server of our own services, as a stream: its messages in, its answers out, and its end.

What serves the call is a task (service.py); the two meet in `next_message`, `write` and `end`. Guarantees: a call ends
once, by its trailers or by the client's leaving, and its task is cancelled where it does not end by itself; a client
that has ended its side and one that has left are told apart by what came (`receive_ended`, `ended`), not by an
exception; what either does after the call's end is ignored. What waits is bounded, on both sides: `write` says when to
go on, and the client is granted no more than the inbox has room for.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agentring.auth.access import Caller
from agentring.errors import AgentringError, DeadlineExceeded, NodeOverloaded
from agentring.http2.budget import Budget
from agentring.http2.frames import Code, StreamBroken
from agentring.http2.stream import Stream, StreamConnection
from agentring.rpc import response_blocks
from agentring.rpc.call_recorder import CallRecorder
from agentring.rpc.clock import Timer
from agentring.rpc.inbox import WINDOW, Inbox
from agentring.rpc.late_heads import LateHeads
from agentring.rpc.messages import PREFIX, PREFIX_BYTES, body
from agentring.rpc.pacing import Pacing
from agentring.rpc.request_head import RequestHead

_LOW: Final = WINDOW * 3 // 4


class ServiceStream(Stream):
    """A call."""

    __slots__ = (
        "_arrived",
        "_body_bytes",
        "_deadline",
        "_headers_sent",
        "_last_write",
        "_late_head",
        "_late_heads",
        "_pacing",
        "_written",
        "caller",
        "ended",
        "head",
        "inbox",
        "opened_s",
        "recorder",
        "task",
    )

    def __init__(
        self,
        connection: StreamConnection,
        stream_id: int,
        budget: Budget,
        head: RequestHead,
        pacing: Pacing,
        late_heads: LateHeads,
    ) -> None:
        """head: its headers; pacing: of the connection; late_heads: of the server."""
        super().__init__(connection, stream_id, WINDOW, budget)
        self.low = _LOW
        self.head = head
        self.opened_s = connection.now_s
        self.inbox = Inbox(budget, self)
        self.recorder: CallRecorder | None = None
        """Who writes down what calls are about; None: nobody."""
        self.caller: Caller | None = None
        """Who has it; None: nobody is asked for it, or nobody was (call_tasks.py)."""
        self.task: asyncio.Task[None] | None = None
        """What serves it."""
        self.ended = False
        """Its status was said, or nobody is there to be told."""
        self._pacing = pacing
        self._last_write = -1
        """Of the connection, when this call has sent a message."""
        self._body_bytes = 0
        self._headers_sent = False
        """Or they wait, as `_late_head`."""
        self._late_head = b""
        self._late_heads = late_heads
        self._deadline: Timer | None = None
        self._arrived: asyncio.Future[None] | None = None
        """Resolved once there is something for `next_message`."""
        self._written: asyncio.Future[None] | None = None
        """Resolved once what was written has left the queue."""

    # For the task.

    def next_message(self) -> bytes | None:
        """The next message without its prefix, unpacked; None: there is none now, or `is_complete`. Raises what the
        client did wrong."""
        inbox = self.inbox
        if not inbox:
            if inbox.error is not None:
                raise inbox.error
            return None
        message = inbox.take()
        if self.granted < _LOW:
            self.replenish()
        return message[PREFIX_BYTES:] if not message[0] else body(message, self.head.encoding)

    @property
    def is_complete(self) -> bool:
        """The client has ended its side, and all that it sent was taken. Not where it has left."""
        return self.receive_ended and not self.ended and not self.inbox

    def arrival(self) -> asyncio.Future[None]:
        """Resolved once `next_message` has something to say, or the client has ended its side; cancelled: it left."""
        if self._arrived is None or self._arrived.done():
            self._arrived = asyncio.get_running_loop().create_future()
            if self.ended:
                self._arrived.cancel()
        return self._arrived

    def accept(self, pairs: tuple[tuple[str, str], ...]) -> None:
        """Sends the initial metadata, once; a message that follows soon goes with it (late_heads.py)."""
        if not self._headers_sent and not self.ended:
            self._late_head = response_blocks.headers(pairs)
            self._headers_sent = True
            self._late_heads.wait(self)

    def send_head(self) -> None:
        """As AcceptedCall."""
        if block := self._late_head:
            self._late_head = b""
            self._late_heads.sent()
            self.send_headers(block)

    def write(self, message: bytes) -> asyncio.Future[None] | None:
        """Sends a message; a future: before the next one, that is to be waited for. Cancelled: the call has ended."""
        if not self._headers_sent:
            self.accept(())
        if self._late_head:
            self.send_head()
        if not self.ended:
            self.send(PREFIX.pack(0, len(message)) + message)
        pacing = self._pacing
        is_paced = self.queue is None
        if is_paced and not self.ended and self._last_write != pacing.writes:
            self._last_write = pacing.writes
            return None
        if self._written is None or self._written.done():
            self._written = asyncio.get_running_loop().create_future()
            if self.ended:
                self._written.cancel()
            elif is_paced:  # a second one in one turn of the event loop: others have theirs, and more travels together
                pacing.wait(self._written)
        return self._written

    def end(self, error: AgentringError | None) -> None:
        """Says how the call has ended; None: well. What the client still sends is not wanted."""
        if self.ended:
            return
        trailers = response_blocks.OK if error is None else response_blocks.error_trailers(error)
        if not self._headers_sent:
            trailers = response_blocks.HEAD + trailers
        elif self._late_head:
            self.send_head()
        self._release()
        self.send_end(trailers)

    def fail(self, error: AgentringError) -> None:
        """Ends it with an error, whatever its task is doing."""
        if not self.ended:
            self.end(error)
            self._cancel()

    def credential_ends(self) -> None:
        """As OpenCall; there are no words for it here."""

    def set_deadline(self, timer: Timer) -> None:
        """timer: will call `deadline_met`."""
        self._deadline = timer

    def deadline_met(self) -> None:
        """The client's time is over."""
        self.fail(DeadlineExceeded())

    # For the connection.

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "DATA after END_STREAM"))
            return
        self.granted -= length
        self._body_bytes += length
        expected_bytes = self.head.content_length
        if expected_bytes is not None and self._body_bytes > expected_bytes:
            self._wrong_length()
            return
        if self.ended:
            return  # only its trailers wait
        if self.inbox.put(buffer[start : start + length]):
            self._tell_arrival()
        if self.granted < _LOW:
            self.replenish()

    def receive_end(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.break_stream(self.id, StreamBroken(Code.STREAM_CLOSED, "END_STREAM came twice"))
            return
        expected_bytes = self.head.content_length
        if expected_bytes is not None and self._body_bytes != expected_bytes:
            self._wrong_length()
            return
        self.receive_ended = True
        if not self.ended:
            self.inbox.end()
            self._tell_arrival()

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
        """As Stream: the process holds too many bytes, and this call has held its own for longest."""
        cut = self.cut or self.ended
        self.drop_queue()
        if cut:  # nothing that follows half a message would be understood; gRPC reads this code as RESOURCE_EXHAUSTED
            self.reset(Code.ENHANCE_YOUR_CALM)
            self._client_left()
        else:
            self.fail(NodeOverloaded())

    def replenish(self) -> None:
        """As Stream."""
        if self.granted < 0:
            self.check_granted()
            return
        increment = self.inbox.room_bytes - self.granted
        if increment >= WINDOW // 4 or self.granted <= 0 < increment:
            self.grant(increment)

    def drained(self) -> None:
        """As Stream."""
        if self.queue is None and self._written is not None and not self._written.done():
            self._written.set_result(None)

    def sending_ended(self) -> None:
        """As Stream."""
        if self.receive_ended:
            self.connection.forget(self, peer_may_send=False)
        else:
            self.reset(Code.NO_ERROR)  # RFC 9113 8.1: the answer is complete, the rest of the request is not needed

    def _wrong_length(self) -> None:
        broken = StreamBroken(Code.PROTOCOL_ERROR, "content-length is not the body's length")
        self.connection.break_stream(self.id, broken)

    def _tell_arrival(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _client_left(self) -> None:
        self.receive_ended = self.send_ended = True
        self.drop_queue()
        if not self.ended:
            self._release()
            self._cancel()

    def _release(self) -> None:
        """The call is over: nothing is kept but what is still to be sent, and nobody waits for the client."""
        self.ended = True
        if self._late_head:
            self._late_head = b""
            self._late_heads.sent()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.inbox.clear()

    def _cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
        for waited in (self._arrived, self._written):
            if waited is not None:
                waited.cancel()
