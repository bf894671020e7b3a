"""A call as far as its end is concerned: what each way to end does with the client, the node and the timers.

Guarantees: a call ends once; what it held (its node's stream, timers, messages to replay, its place among the calls) is
then given back; half a message that a client was sent is never followed by anything but a reset.
"""

from __future__ import annotations

import uuid

import structlog

from agentring.auth.access import Caller
from agentring.auth.identity import Identity
from agentring.errors import AgentringError, InternalError, RouterOverloaded
from agentring.http2.frames import Code
from router.relay import response
from router.relay.call_events import CallEvents
from router.relay.call_timers import CallTimers
from router.relay.client_stream import ClientStream
from router.relay.context import RelayContext
from router.relay.node_stream import NodeStream
from router.relay.reattachment import Reattachment

_log = structlog.get_logger()


class CallEnd(CallEvents):
    """The part of a call that ends it; the rest is Call."""

    __slots__ = ("_caller", "_client", "_context", "_error", "_node", "_reattachment", "_timers")

    def __init__(self, context: RelayContext, client: ClientStream, *, reattachable: bool) -> None:
        """As Call, and as CallEvents."""
        super().__init__(reattachable=reattachable)
        self._context = context
        self._caller: Caller | None = None
        """Who has it; None: nobody is asked."""
        self._client = client
        self._node: NodeStream | None = None
        self._error: AgentringError | None = None
        """What it will end with, once the client can be sent it."""
        self._timers: CallTimers | None = None
        self._reattachment: Reattachment | None = None
        context.registry.calls.add(self)
        context.stats.calls += 1

    def will_fail(self, error: AgentringError) -> None:
        """As CallEvents."""
        self._error = error.with_traceback(None)  # whose frames hold what was read from the connection
        self.is_refused = True
        self._leave_node()

    def fail(self, error: AgentringError) -> None:
        """As CallEvents."""
        if not self.ended:
            self._context.stats.errors[error.reason] += 1
            self._end(response.error_trailers(error) if self.is_accepted else response.error_response(error))

    def shed(self) -> None:
        """As CallEvents; what waits for the client is dropped."""
        client = self._client
        cut = client.cut or self.ended
        client.drop_queue()
        if cut:  # nothing that follows half a message would be understood; gRPC reads this code as RESOURCE_EXHAUSTED
            client.abandon(Code.ENHANCE_YOUR_CALM)
        else:
            self.fail(RouterOverloaded())

    def go_away(self) -> None:
        """As CallEvents: the client is sent so, where the method has words for it."""
        if self.reattachable and self.is_accepted and not self.ended:
            self._client.send(response.go_away(self._client.last_response))

    def credential_ends(self) -> None:
        """As OpenCall: the client is sent so, where the method has words for it."""
        if self.reattachable and self.is_accepted and not self.ended:
            self._client.send(response.go_away(self._client.last_response, "CREDENTIAL_ENDS"))

    @property
    def _identity(self) -> Identity | None:
        """Who has it; None: nobody was asked, or it was not let in."""
        return self._caller.identity if self._caller is not None else None

    def client_left(self) -> None:
        """As CallEvents."""
        if not self.ended:
            self._context.stats.cancelled += 1
            self._release("cancelled")

    def _end(self, trailers: bytes, outcome: str = "failed") -> None:
        if not self.ended:
            client = self._client
            self._release(outcome)
            client.send_end(trailers)

    def _release(self, outcome: str) -> None:
        """outcome: of a search for the next owner, if there is one."""
        # Invariant: a call ends once, and nothing holds it after that (tests/unit/router/relay/test_garbage.py).
        self.ended = True
        self._context.registry.calls.discard(self)
        if self._caller is not None and (access := self._context.routing.access) is not None:
            access.ended(self._caller, self)
        if self._timers is not None:
            self._timers.end()
            self._timers = None
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

    def _call_timers(self) -> CallTimers:
        if self._timers is None:
            self._timers = CallTimers(self._context.clock, self.fail)
        return self._timers

    def _await_first_message(self) -> None:
        self._call_timers().await_first_message(self._context.limits.first_frame_timeout_s)
