"""One client's call: which node it goes to, what the client is told, and when it is over.

A call's way: `begin` finds out where it goes (way.py), if need be from its first message; `_try` opens a stream to the
node; the node takes the call by its response headers (`accepted`), where x-agentring-node stands, or declines it
(`declined`: it is redirected, refused, or answered), or the stream breaks off. Until it is taken nothing has reached
the client and the client's messages are kept, so another node can be tried.

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
    NodeOverloaded,
    NodeUnreachable,
    RouterOverloaded,
    SessionMoving,
)
from router.http2 import answers
from router.http2.answers import Answer
from router.http2.carrier import Carrier
from router.http2.client_stream import ClientStream
from router.http2.frames import Code
from router.http2.patience import Patience
from router.http2.reattachment import Reattachment, place
from router.http2.request import Request, deadline
from router.http2.way import Way
from router.route import CONVERSE

if TYPE_CHECKING:
    from router.http2.node_connection import NodeConnection
    from router.http2.node_stream import NodeStream

_log = structlog.get_logger()


class Call:
    """One call."""

    __slots__ = (
        "_carrier",
        "_client",
        "_error",
        "_has_frames",
        "_node",
        "_patience",
        "_reattachment",
        "_way",
        "ended",
        "taken",
    )

    def __init__(self, carrier: Carrier, client: ClientStream, request: Request) -> None:
        """carrier: what all calls of the process share."""
        self._carrier = carrier
        self._client = client
        self._way = Way(carrier, request)
        self._node: NodeStream | None = None
        self._error: AgentringError | None = None
        """What it will end with, once the client can be told."""
        self._patience: Patience | None = None
        self._reattachment: Reattachment | None = None
        self._has_frames = request.method == CONVERSE
        self.taken = False
        """A node has taken it."""
        self.ended = False
        carrier.calls.add(self)
        carrier.stats.calls += 1

    @property
    def marked(self) -> bool:
        """Whether its answers begin with through_seq and acked_frame."""
        return self._way.marked

    def begin(self, request: Request) -> None:
        """Sends it on its way."""
        try:
            if (timeout_s := request.timeout_s()) is not None:
                self._patient().set_deadline(timeout_s)
            request.check_size(self._carrier.limits.max_header_list_bytes)
            self._way.by_headers(request)
            if self._way.target is not None:
                self._try()
            else:
                self._patient().wait_for_first()
        except AgentringError as error:
            self.refuse(error)
        except Exception:
            self._fail_unexpectedly()

    def refuse(self, error: AgentringError) -> None:
        """Ends the call with an error, after the message that the client may be sending."""
        if self._client.waiting:
            self.will_fail(error)
            self._patient().wait_for_first()
        else:
            self.fail(error)

    def first_message_came(self) -> None:
        """The client's first message is whole, or the client has ended its side without one."""
        if self._patience is not None:
            self._patience.first_came()
        if self._error is not None:
            self.fail(self._error)
        elif not self._way.is_known and not self.ended:
            kept = self._client.kept.messages
            try:
                self._way.by_first_message(kept[0] if kept else None)
                self._try()
            except AgentringError as error:
                self.fail(error)
            except Exception:
                self._fail_unexpectedly()

    # The upstream connection's word.

    def connected(self, connection: NodeConnection) -> None:
        """The connection that was asked for is there."""
        if self.ended or self._error is not None:
            return
        block = self._way.block
        if self._patience is not None and (remaining_s := self._patience.remaining_s) is not None:
            block += deadline(remaining_s)
        client = self._client
        if self.taken:
            block += place(client)
        node = self._node = connection.open_stream(block, self, client)
        node.replenish()
        client.node = node
        begun = [client.assembler.part] if client.assembler else []
        for message in [*client.kept.again(), *begun]:
            node.send(message)
            if self._has_left(node):
                return  # the process holds too much, and this call had to go
        if client.receive_ended:
            node.send_end(b"")

    def not_connected(self) -> None:
        """It cannot be had."""
        if not self.ended and self._error is None:
            self._past()

    def node_full(self) -> None:
        """The node takes no more streams."""
        if not self.ended and self._error is None:
            self._trouble(NodeOverloaded())

    # The node's answer.

    def is_acceptance(self, headers: Answer) -> bool:
        """Whether these headers say that the node has taken the call."""
        return headers.names_node or not self._way.is_walk

    def accepted(self, headers: Answer) -> None:
        """The node has taken the call; it is no other's any more."""
        if not self._way.admits(headers.told.get(metadata.EPOCH, "")):
            self._carrier.stats.stale_epochs += 1
            self._way.lost()
            self._leave_node()
            self._trouble(SessionMoving())
            return
        block = headers.passed_on + self._way.taken()
        if self._reattachment is not None:
            self._reattachment.succeeded()
            self._reattachment = None
        if self.taken:
            return  # the client has had its headers, from the node before
        self.taken = True
        if not self.marked:
            self._client.kept.end()
            self._client.replenish()
        elif not self._has_frames:
            self._client.kept.keep_request()
        self._client.send_headers(block)

    def declined(self, headers: Answer | None, trailers: Answer) -> None:
        """The node ended the stream before it had taken the call."""
        try:
            if self._way.follow(trailers):
                self._try()
                return
        except AgentringError as error:
            self._trouble(error)
            return
        if self.marked and trailers.is_moved:
            self._trouble(SessionMoving())
        elif self.taken:
            self._end(trailers.as_trailers)
        else:
            if headers is not None:
                self._client.send_headers(headers.passed_on)
            self._end(trailers.passed_on)

    def finished(self, trailers: Answer) -> None:
        """The node ended the call."""
        if self.marked and (trailers.is_broken_off or trailers.is_moved):
            self.broken_off(processed=True)
        else:
            self._end(trailers.passed_on)

    def broken_off(self, *, processed: bool) -> None:
        """The stream is no more, without an answer. processed: the node had seen the call."""
        if self.ended or self._error is not None:
            return
        if self._patience is not None and self._patience.is_over:
            self.fail(DeadlineExceeded())
        elif self.taken and self._reattachment is None:
            self._way.lost()
            self._trouble(NodeUnreachable())
        elif not processed and self._way.again():
            self._try()
        else:
            self._past()

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

    def go_away(self) -> None:
        """Tells the client that the router is about to stop, where the method has words for it."""
        if self.marked and self.taken and not self.ended:
            self._client.send(answers.go_away(self._client.last))

    def client_gone(self) -> None:
        """The client has left, or its connection has."""
        if not self.ended:
            self._carrier.stats.cancelled += 1
            self._release()

    def _end(self, trailers: bytes) -> None:
        if not self.ended:
            client = self._client
            self._release()
            client.send_end(trailers)

    def _release(self) -> None:
        self.ended = True
        self._carrier.calls.discard(self)
        if self._patience is not None:
            self._patience.end()
            self._patience = None
        if self._reattachment is not None:
            self._reattachment.end()
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

    def _patient(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(self._carrier, self.fail)
        return self._patience

    # Which node.

    def _past(self) -> None:
        """The node that was asked cannot be reached."""
        try:
            self._way.past()
            self._try()
        except AgentringError as error:
            self._trouble(error)

    def _trouble(self, error: AgentringError) -> None:
        """No node takes the call now. A client's stream that can be re-attached waits for its session's next owner,
        also where it is opened while the session moves; any other call ends."""
        waits = self.marked and (error.retry_after_s is not None if self.taken else isinstance(error, SessionMoving))
        if not waits:
            self.refuse(error)
            return
        self._leave_node()
        if self._reattachment is None:
            self._reattachment = Reattachment(self._carrier, self._try_anew, self.fail)
        self._reattachment.later(error)

    def _try_anew(self) -> None:
        if self._error is not None:
            return
        try:
            self._way.anew()
            self._try()
        except AgentringError as error:
            self._trouble(error)
        except Exception:
            self._fail_unexpectedly()

    def _try(self) -> None:
        self._leave_node()
        assert self._way.target is not None
        connection = self._carrier.upstreams.connect(self._way.target, self)
        if connection is not None:
            self.connected(connection)
