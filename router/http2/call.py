"""One client's call: which node it goes to, what the client is told, and when it is over.

A call's way: `begin` finds out what it is about (route.py), if need be from its first message; `_try` opens a stream to
a node (owner.py's Walk says which); the node takes the call by its response headers (`accepted`), where
x-agentring-node stands, or declines it (`declined`: it is redirected, refused, or answered), or the stream breaks off.
Until it is taken nothing has reached the client and the client's messages are kept, so another node can be tried.

Guarantees: every call ends once, by the node's trailers, by an error with an ErrorInfo or by the client's leaving; a
client never sees another process's transport error; a refusal that could be told at once waits for the message that
the client may be sending, because a status that overtakes a message is lost to a client on grpc.aio.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import structlog

from agentring import metadata
from agentring.errors import (
    AgentringError,
    DeadlineExceeded,
    InternalError,
    MessageTooLarge,
    MethodNotImplemented,
    NodeOverloaded,
    NodeUnreachable,
    RouterOverloaded,
)
from agentring.ids import NodeId
from router import route
from router.http2 import answers, messages
from router.http2.answers import Answer
from router.http2.client_stream import ClientStream
from router.http2.frames import Code
from router.http2.patience import Patience
from router.http2.request import Request, deadline
from router.owner import Target, Walk
from router.route import Destination, Route

if TYPE_CHECKING:
    from router.http2.carrier import Carrier
    from router.http2.node_connection import NodeConnection
    from router.http2.node_stream import NodeStream

_log = structlog.get_logger()


class Call:
    """One call."""

    __slots__ = (
        "_block",
        "_carrier",
        "_client",
        "_error",
        "_node",
        "_patience",
        "_request",
        "_retried",
        "_target",
        "_walk",
        "ended",
        "marked",
        "taken",
    )

    def __init__(self, carrier: Carrier, client: ClientStream, request: Request) -> None:
        """carrier: what all calls of the process share."""
        self._carrier = carrier
        self._client = client
        self._request: Request | None = request
        self._block = b""
        """The header block for a node, but for the deadline."""
        self._walk: Walk | None = None
        self._target: Target | None = None
        self._node: NodeStream | None = None
        self._error: AgentringError | None = None
        self._retried = False
        self._patience: Patience | None = None
        self.marked = request.method in route.REATTACHABLE
        """Its answers begin with through_seq and acked_frame."""
        self.taken = False
        self.ended = False
        carrier.calls.add(self)
        carrier.stats.calls += 1

    def begin(self) -> None:
        """Sends it on its way."""
        request = self._request
        assert request is not None
        try:
            if (timeout_s := request.timeout_s()) is not None:
                self._patient().set_deadline(timeout_s)
            request.check_size()
            match route.destination(request.method, request.routing):
                case Destination.OWNER:
                    if (about := route.from_headers(request.method, request.routing)) is not None:
                        self._go(about)
                    else:
                        self._patient().wait_for_first()
                case Destination.ROUTER:
                    self._go_to(self._carrier.own_services)
                case Destination.ANY_NODE:
                    self._go_to(self._carrier.lookup.any_node())
                case Destination.NOBODY:
                    raise MethodNotImplemented
        except AgentringError as error:
            self._fail_politely(error)
        except Exception:
            self._fail_unexpectedly()

    def refuse(self, error: AgentringError) -> None:
        """Instead of `begin`: there is no way for it."""
        self._fail_politely(error)

    def first_message_came(self) -> None:
        """The client's first message is whole, or the client has ended its side without one."""
        if self._patience is not None:
            self._patience.first_came()
        if self._error is not None:
            self.fail(self._error)
        elif self._request is not None and self._target is None:
            try:
                self._go(self._route_of_first(self._request))
            except AgentringError as error:
                self.fail(error)
            except Exception:
                self._fail_unexpectedly()

    # The upstream connection's word.

    def connected(self, connection: NodeConnection) -> None:
        """The connection that was asked for is there."""
        if self.ended:
            return
        assert self._target is not None
        block = self._block
        if self._patience is not None and (remaining_s := self._patience.remaining_s) is not None:
            block += deadline(remaining_s)
        client = self._client
        node = self._node = connection.open_stream(block, self, client)
        node.replenish()
        client.node = node
        for message in client.kept.messages:
            node.send(message)
        if client.assembler:
            node.send(client.assembler.part)
        if client.receive_ended:
            node.send_end(b"")

    def not_connected(self) -> None:
        """It cannot be had."""
        if not self.ended:
            self._next_node()

    # The node's answer.

    def is_acceptance(self, headers: Answer) -> bool:
        """Whether these headers say that the node has taken the call."""
        return self._walk is None or headers.names_node

    def accepted(self, headers: Answer) -> None:
        """The node has taken the call; it is no other's any more."""
        client, walk, target = self._client, self._walk, self._target
        block = headers.passed_on
        if walk is not None and target is not None:
            walk.accepted(target)
            block += self._carrier.ring_field()
        self.taken = True
        self._walk = self._request = None
        if not self.marked:
            self._block = b""
            client.kept.end()
        client.send_headers(block)

    def declined(self, headers: Answer | None, trailers: Answer) -> None:
        """The node ended the stream before it had taken the call."""
        told = trailers.told
        walk = self._walk
        if walk is not None:
            try:
                if (redirect := told.get(metadata.REDIRECT)) is not None:
                    node_id, _, address = redirect.partition(" ")
                    self._try(walk.redirected(Target(NodeId(node_id), address)))
                    return
                if (refusal := told.get(metadata.REFUSED)) is not None:
                    self._try(walk.refused(refusal))
                    return
            except AgentringError as error:
                self.fail(error)
                return
            if trailers.is_broken_off:
                self._next_node()
                return
        if headers is not None:
            self._client.send_headers(headers.passed_on)
        self._end(trailers.passed_on)

    def finished(self, trailers: Answer) -> None:
        """The node ended the call."""
        if self.marked and trailers.is_broken_off:
            self.broken_off(processed=True)
        else:
            self._end(trailers.passed_on)

    def broken_off(self, *, processed: bool) -> None:
        """The stream is no more, without an answer. processed: the node had seen the call."""
        if self.ended:
            return
        if self._patience is not None and self._patience.is_over:
            self.fail(DeadlineExceeded())
        elif self.taken:
            self.fail(NodeUnreachable())
        elif not processed and not self._retried and self._target is not None:
            self._retried = True  # the connection had grown old; a new one may serve
            self._try(self._target)
        else:
            self._next_node()

    def answer_too_large(self) -> None:
        """The node sends a message beyond all bounds."""
        self.fail(MessageTooLarge())

    # The end.

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

    def node_full(self) -> None:
        """The node takes no more streams."""
        self.fail(NodeOverloaded())

    def go_away(self) -> None:
        """Tells the client that the router is about to stop, where the method has words for it."""
        if self.marked and self.taken and not self.ended:
            client = self._client
            client.send(answers.go_away(client.last))

    def client_gone(self) -> None:
        """The client has left, or its connection has."""
        if not self.ended:
            self._carrier.stats.cancelled += 1
            self._release()

    def _end(self, trailers: bytes) -> None:
        if self.ended:
            return
        client = self._client
        self._release()
        client.send_end(trailers)

    def _release(self) -> None:
        self.ended = True
        self._carrier.calls.discard(self)
        if self._patience is not None:
            self._patience.end()
            self._patience = None
        self._walk = self._request = None
        self._leave_node()
        self._client.release()

    def _leave_node(self) -> None:
        node, self._node = self._node, None
        self._client.node = None
        if node is not None:
            node.release()

    def _fail_politely(self, error: AgentringError) -> None:
        if self._client.waiting:
            self._error = error
            self._patient().wait_for_first()
        else:
            self.fail(error)

    def _fail_unexpectedly(self) -> None:
        error_id = uuid.uuid4().hex[:16]
        _log.exception("call_failed", error_id=error_id)
        self.fail(InternalError(error_id))

    def _patient(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(self._carrier, self.fail)
        return self._patience

    # Which node.

    def _route_of_first(self, request: Request) -> Route:
        kept = self._client.kept.messages
        raw = messages.body(kept[0], request.encoding) if kept else b""
        return route.from_message(request.method, request.routing, raw)

    def _go(self, about: Route) -> None:
        assert self._request is not None
        self._walk = self._carrier.lookup.walk(about.ref, about.agent)
        target = self._walk.first()
        self._block = self._request.upstream(about, self._carrier.stream_id_field(), identity=self.marked)
        self._try(target)

    def _go_to(self, target: Target) -> None:
        assert self._request is not None
        self._block = self._request.upstream(None, b"", identity=False)
        self._try(target)

    def _next_node(self) -> None:
        try:
            if self._walk is None or self._target is None:
                raise NodeUnreachable
            self._try(self._walk.unreachable(self._target))
        except AgentringError as error:
            self._fail_politely(error)

    def _try(self, target: Target) -> None:
        self._leave_node()
        self._target = target
        connection = self._carrier.upstreams.connect(target, self)
        if connection is not None:
            self.connected(connection)
