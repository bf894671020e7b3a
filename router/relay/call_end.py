"""A call as far as its end is concerned: what each way to end does with the client, the node and the timers.

Guarantees: a call ends once; what it held (its node's stream, timers, kept messages, its place among the calls) is then
given back; half a message that a client was sent is never followed by anything but a reset.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import structlog

from agentring.errors import AgentringError, InternalError, RouterOverloaded
from agentring.http2.frames import Code
from router.relay import response as answers
from router.relay.call_timers import CallTimers
from router.relay.client_stream import ClientStream
from router.relay.context import RelayContext
from router.relay.reattachment import Reattachment

if TYPE_CHECKING:
    from router.relay.node_stream import NodeStream

_log = structlog.get_logger()


class CallEnd:
    """The part of a call that ends it; the rest is Call."""

    __slots__ = ("_carrier", "_client", "_error", "_node", "_patience", "_reattachment", "ended", "marked", "taken")

    def __init__(self, carrier: RelayContext, client: ClientStream, *, marked: bool) -> None:
        """As Call. marked: its answers begin with through_seq and acked_frame."""
        self._carrier = carrier
        self._client = client
        self._node: NodeStream | None = None
        self._error: AgentringError | None = None
        """What it will end with, once the client can be told."""
        self._patience: CallTimers | None = None
        self._reattachment: Reattachment | None = None
        self.marked = marked
        self.taken = False
        """A node has taken it, though that node may be lost by now."""
        self.ended = False
        carrier.calls.add(self)
        carrier.stats.calls += 1

    def will_fail(self, error: AgentringError) -> None:
        """The call is to end with this error, but the client may not be told yet."""
        self._error = error
        self._leave_node()

    def fail(self, error: AgentringError) -> None:
        """Ends the call with an error."""
        if not self.ended:
            self._carrier.stats.errors[error.reason] += 1
            self._end(answers.error_trailers(error) if self.taken else answers.error_answer(error))

    def shed(self) -> None:
        """Ends the call because the process holds too many bytes; what waits for the client is dropped."""
        client = self._client
        cut = client.cut or self.ended
        client.drop_queue()
        if cut:  # nothing that follows half a message would be understood; gRPC reads this code as RESOURCE_EXHAUSTED
            client.abandon(Code.ENHANCE_YOUR_CALM)
        else:
            self.fail(RouterOverloaded())

    def go_away(self) -> None:
        """Tells the client that the router is about to stop, where the method has words for it."""
        if self.marked and self.taken and not self.ended:
            self._client.send(answers.go_away(self._client.last))

    def client_gone(self) -> None:
        """The client has left, or its connection has."""
        if not self.ended:
            self._carrier.stats.cancelled += 1
            self._release("cancelled")

    def _end(self, trailers: bytes, outcome: str = "failed") -> None:
        if not self.ended:
            client = self._client
            self._release(outcome)
            client.send_end(trailers)

    def _release(self, outcome: str) -> None:
        """outcome: of a search for the next owner, if there is one."""
        self.ended = True
        self._carrier.calls.discard(self)
        if self._patience is not None:
            self._patience.end()
            self._patience = None
        if self._reattachment is not None:
            self._reattachment.end(outcome)
            self._reattachment = None
        self._leave_node()
        self._client.release()

    def _leave_node(self) -> None:
        node, self._node = self._node, None
        self._client.node = None
        if node is not None:
            node.release()

    def _has_left(self, node: NodeStream) -> bool:
        """As ClientStream._is_released: asked by a call."""
        return self._node is not node

    def _fail_unexpectedly(self) -> None:
        error_id = uuid.uuid4().hex[:16]
        _log.exception("call_failed", error_id=error_id)
        self.fail(InternalError(error_id))

    def _patient(self) -> CallTimers:
        if self._patience is None:
            self._patience = CallTimers(self._carrier, self.fail)
        return self._patience
