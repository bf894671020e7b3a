"""One client's call: which node it goes to, and what the client is sent. How it ends is in call_end.py.

The stages: `begin` finds out where it goes (attempts.py), if need be from its first message; `_try` opens a stream to
the node; the node accepts the call by its response headers (`accepted`), or declines it by trailers alone (`declined`:
it is redirected, refused, or answered), or the stream ends without a response (call_failover.py). Until it is accepted
nothing has reached the client and the client's messages are kept for replay, so another node can be tried; a client
that sends more than fits has its call bound to the node that it goes to (`bind`). A node that is lost after that is
followed by the session's next owner where the method's responses are marked (grpc_framing.py): that one is told where
the stream has come to (RouteAttempts.opening_block) and sent what no node has acknowledged; its client sees one stream.

Guarantees: every call ends once, by the node's trailers, by an error with an ErrorInfo or by the client's leaving; a
client never sees another process's transport error; a refusal that could be sent at once waits for the message that
the client may be sending, because a status that overtakes a message is lost to a client on grpc.aio.
"""

from __future__ import annotations

from agentring import metadata
from agentring.errors import (
    AgentringError,
    AnswerMetadataTooLarge,
    MessageTooLarge,
    NodeOverloaded,
    SessionMoving,
)
from router.relay.attempts import RouteAttempts
from router.relay.call_failover import CallFailover
from router.relay.client_stream import ClientStream
from router.relay.context import RelayContext
from router.relay.node_connection import NodeConnection
from router.relay.request import Request, deadline
from router.relay.response import ResponseHead
from router.routing.route import CONVERSE


class Call(CallFailover):
    """One call."""

    __slots__ = ("_acknowledges",)

    def __init__(self, context: RelayContext, client: ClientStream, request: Request) -> None:
        """context: what all calls of the process share."""
        super().__init__(context, client, RouteAttempts(context.routing, request))
        self._acknowledges = request.method == CONVERSE
        """Its client's messages are acknowledged one by one; else there is one, the request."""

    def begin(self, request: Request) -> None:
        """Looks for its node."""
        try:
            request.check(self._context.limits.max_header_list_bytes)
            if (access := self._context.routing.access) is not None:
                self._caller = access.admit(request, self._client.connection, self)
            if (timeout_s := request.timeout_s()) is not None:
                self._call_timers().set_deadline(timeout_s)
            self._attempts.route_by_headers(request)
            if (recorder := self._context.routing.recorder) is not None and self._attempts.is_routed:
                recorder.opened(request.method, request.routing, self._client.connection.peer, self._identity)
            if self._attempts.target is not None:
                self._try()
            else:
                self._await_first_message()
        except AgentringError as error:
            if (recorder := self._context.routing.recorder) is not None:
                recorder.opened(
                    request.method, request.routing, self._client.connection.peer, self._identity, error.reason
                )
            self._wait_or_refuse(error)
        except Exception:
            self._fail_unexpectedly()

    def first_message_came(self) -> None:
        """As CallEvents."""
        if self._timers is not None:
            self._timers.first_message_came()
        if self._error is not None:
            self.fail(self._error)
        elif not self._attempts.is_routed and not self.ended:
            received = self._client.replay.messages
            try:
                self._attempts.route_by_first_message(received[0] if received else None)
                if (recorder := self._context.routing.recorder) is not None:
                    self._attempts.record(recorder, self._client.connection.peer, self._identity)
                self._try()
            except AgentringError as error:
                if not self._attempts.is_routed and (recorder := self._context.routing.recorder) is not None:
                    recorder.opened(
                        self._attempts.method, {}, self._client.connection.peer, self._identity, error.reason
                    )
                self._wait_or_refuse(error)
            except Exception:
                self._fail_unexpectedly()

    # From the pool of connections.

    def connected(self) -> None:
        """As CallEvents."""
        if not self.ended and self._error is None:
            self._open()

    def not_connected(self, *, was_reached: bool) -> None:
        """As CallEvents."""
        self._node_was_lost = self._node_was_lost or was_reached
        if not self.ended and self._error is None:
            self._try_next()

    def node_full(self) -> None:
        """As CallEvents."""
        if not self.ended and self._error is None:
            self._wait_or_refuse(NodeOverloaded())

    # The node's response.

    def accepted(self, head: ResponseHead) -> None:
        """As CallEvents; it is no other node's any more."""
        if not self._attempts.admits(head.values.get(metadata.EPOCH, "")):
            self._context.stats.stale_epochs += 1
            self._attempts.forget_owner()
            self._wait_or_refuse(SessionMoving(), "stale_epoch")
            return
        ring = self._attempts.accepted(head.values)
        caller = self._caller
        block = head.forwarded + ring if caller is None or caller.is_operator else head.forwarded_to_users
        self._accepted_s = self._context.clock.time()
        if self._reattachment is not None:
            self._reattachment.succeeded()
        if self.is_accepted:
            return  # the client has had its headers, from the node before
        self.is_accepted = True
        if not self.reattachable:
            self._client.replay.end()
            self._client.replenish()
        elif not self._acknowledges:
            self._client.replay.keep_request()
        self._client.send_headers(block)

    def declined(self, head: ResponseHead) -> None:
        """As CallEvents."""
        try:
            if self._attempts.follow(head):
                self._try()
                return
        except AgentringError as error:
            self._wait_or_refuse(error)
            return
        if self.reattachable and (head.says_moved or (self.is_accepted and head.says_unavailable)):
            self._wait_or_refuse(SessionMoving())
        elif self.is_accepted:
            self._end(head.as_trailers, "refused")
        else:
            self._end(head.forwarded)

    def finished(self, trailers: ResponseHead) -> None:
        """As CallEvents."""
        if self.reattachable and trailers.says_moved:
            self.session_moved()
        else:
            self._end(trailers.forwarded)

    def response_too_large(self, max_bytes: int) -> None:
        """As CallEvents."""
        self.fail(MessageTooLarge(max_bytes))

    def response_metadata_too_large(self) -> None:
        """As CallEvents."""
        self.fail(AnswerMetadataTooLarge())

    def bind(self) -> None:
        """As CallEvents, since nothing can be sent anew: the call is this node's, whatever becomes of it. (A service
        that reads an upload to its end says nothing until then.)"""
        self._attempts.bind()
        self._client.replay.end()

    def _try(self) -> None:
        self._leave_node()
        self._open()

    def _open(self) -> None:
        """Opens a stream to the target, or is called again once there is a connection."""
        assert self._attempts.target is not None
        connection = self._context.nodes.connect(self._attempts.target, self)
        if connection is not None and not self.ended and self._error is None:
            self._send_request(connection)

    def _send_request(self, connection: NodeConnection) -> None:
        client = self._client
        try:
            block = self._attempts.opening_block(client, takes_over=self.is_accepted)
        except AgentringError as error:
            self._wait_or_refuse(error)
            return
        if self._timers is not None and (remaining_s := self._timers.remaining_s) is not None:
            block += deadline(remaining_s)
        self._opened_s = self._context.clock.time()
        node = self._node = connection.open_stream(block, self, client)
        node.replenish()
        client.node = node
        begun = [client.assembler.part] if client.assembler else []
        for message in [*client.replay.messages_to_send(), *begun]:
            node.send(message)
            if self._has_left(node):
                return  # the process holds too much, and this call had to go
        if client.receive_ended:
            node.send_end(b"")
        self._let_client_send()
