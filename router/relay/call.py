"""One client's call: which node it goes to, and what the client is told. How it ends is in call_end.py.

A call's way: `begin` finds out where it goes (attempts.py), if need be from its first message; `_try` opens a stream to
the node; the node takes the call by its response headers (`accepted`), or declines it by trailers alone (`declined`: it
is redirected, refused, or answered), or the stream ends without an answer (call_moves.py). Until it is taken nothing
has reached the client and the client's messages are kept, so another node can be tried; a client that sends more than
is kept has its call bound to the node that it goes to (`bind`). A node that is lost after that is followed by the
session's next owner where the method's answers are marked (grpc_framing.py): that one is told where the stream has come
to (RouteAttempts.place) and sent what no node has acknowledged; its client sees one stream.

Guarantees: every call ends once, by the node's trailers, by an error with an ErrorInfo or by the client's leaving; a
client never sees another process's transport error; a refusal that could be told at once waits for the message that
the client may be sending, because a status that overtakes a message is lost to a client on grpc.aio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentring import metadata
from agentring.errors import (
    AgentringError,
    AnswerMetadataTooLarge,
    MessageTooLarge,
    NodeOverloaded,
    SessionMoving,
)
from router.relay.attempts import RouteAttempts
from router.relay.call_moves import CallMoves
from router.relay.client_stream import ClientStream
from router.relay.context import RelayContext
from router.relay.request import Request, deadline
from router.relay.response import Answer
from router.routing.route import CONVERSE

if TYPE_CHECKING:
    from router.relay.node_connection import NodeConnection


class Call(CallMoves):
    """One call."""

    __slots__ = ("_has_frames",)

    def __init__(self, carrier: RelayContext, client: ClientStream, request: Request) -> None:
        """carrier: what all calls of the process share."""
        super().__init__(carrier, client, RouteAttempts(carrier, request))
        self._has_frames = request.method == CONVERSE

    def begin(self, request: Request) -> None:
        """Sends it on its way."""
        try:
            request.check(self._carrier.limits.max_header_list_bytes)
            if (timeout_s := request.timeout_s()) is not None:
                self._patient().set_deadline(timeout_s)
            self._way.by_headers(request)
            if self._way.target is not None:
                self._try()
            else:
                self._patient().wait_for_first()
        except AgentringError as error:
            self._trouble(error)
        except Exception:
            self._fail_unexpectedly()

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
                self._trouble(error)
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
            block += self._way.place(client)
        self._asked_s = self._carrier.now_s()
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
        self._let_client_send()

    def not_connected(self, *, was_reached: bool) -> None:
        """It cannot be had. was_reached: there was one before, so the node may have died just now."""
        self._lost_one = self._lost_one or was_reached
        if not self.ended and self._error is None:
            self._past()

    def node_full(self) -> None:
        """The node takes no more streams."""
        if not self.ended and self._error is None:
            self._trouble(NodeOverloaded())

    # The node's answer.

    def accepted(self, headers: Answer) -> None:
        """The node has taken the call; it is no other's any more."""
        if not self._way.admits(headers.told.get(metadata.EPOCH, "")):
            self._carrier.stats.stale_epochs += 1
            self._way.lost()
            self._trouble(SessionMoving(), "stale_epoch")
            return
        block = headers.passed_on + self._way.taken(headers.told)
        self._taken_s = self._carrier.now_s()
        if self._reattachment is not None:
            self._reattachment.succeeded()
        if self.taken:
            return  # the client has had its headers, from the node before
        self.taken = True
        if not self.marked:
            self._client.kept.end()
            self._client.replenish()
        elif not self._has_frames:
            self._client.kept.keep_request()
        self._client.send_headers(block)

    def declined(self, trailers: Answer) -> None:
        """The node ended the stream before it had taken the call."""
        try:
            if self._way.follow(trailers):
                self._try()
                return
        except AgentringError as error:
            self._trouble(error)
            return
        if self.marked and (trailers.is_moved or (self.taken and trailers.is_unavailable)):
            self._trouble(SessionMoving())
        elif self.taken:
            self._end(trailers.as_trailers, "refused")
        else:
            self._end(trailers.passed_on)

    def finished(self, trailers: Answer) -> None:
        """The node ended the call."""
        if self.marked and trailers.is_moved:
            self.moved()
        else:
            self._end(trailers.passed_on)

    def answer_too_large(self, max_bytes: int) -> None:
        """The node sends a message beyond all bounds."""
        self.fail(MessageTooLarge(max_bytes))

    def answer_metadata_too_large(self) -> None:
        """The node sends headers or trailers beyond all bounds."""
        self.fail(AnswerMetadataTooLarge())

    def bind(self) -> None:
        """The client has sent more than is kept before any node has answered, so nothing can be sent anew: the call is
        this node's, whatever becomes of it. (A service that reads an upload to its end says nothing until then.)"""
        self._way.bind()
        self._client.kept.end()

    def _try(self) -> None:
        self._leave_node()
        assert self._way.target is not None
        connection = self._carrier.upstreams.connect(self._way.target, self)
        if connection is not None:
            self.connected(connection)
