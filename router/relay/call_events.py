"""What a call is told: by its client's stream, by its node's stream and connection, and by the pool of connections.

A native base class, not a Protocol: the relay is compiled as one group (hatch_build.py). `Call` says what follows; that
streams and connections know this class alone keeps imports in one direction.
"""

from __future__ import annotations

from agentring.errors import AgentringError
from router.relay.response import ResponseHead


class CallEvents:
    """A call as its streams, its node's connection and the pool see it."""

    __slots__ = ("ended", "is_accepted", "is_refused", "reattachable")

    def __init__(self, *, reattachable: bool) -> None:
        """reattachable: its responses begin with through_seq and acked_frame, so that another node can go on."""
        self.reattachable = reattachable
        self.is_accepted = False
        """A node has accepted it, though that node may be lost by now."""
        self.is_refused = False
        """Its end is known, and waits for the message that the client may be sending."""
        self.ended = False

    # The client's stream.

    def first_message_came(self) -> None:
        """The client's first message is whole, or the client has ended its side without one."""
        raise NotImplementedError

    def bind(self) -> None:
        """The client has sent more than can be replayed: no other node can be tried any more."""
        raise NotImplementedError

    def will_fail(self, error: AgentringError) -> None:
        """The call is to end with this error, but the client may not be sent it yet."""
        raise NotImplementedError

    def fail(self, error: AgentringError) -> None:
        """Ends the call with an error."""
        raise NotImplementedError

    def shed(self) -> None:
        """The process holds too many bytes, and this call has held its own for longest."""
        raise NotImplementedError

    def client_left(self) -> None:
        """The client has reset its stream, or its connection is lost."""
        raise NotImplementedError

    # The pool of connections.

    def connected(self) -> None:
        """The connection that the call has asked for is there."""
        raise NotImplementedError

    def not_connected(self, *, was_reached: bool) -> None:
        """It cannot be had. was_reached: there was one before, so the node may have died just now."""
        raise NotImplementedError

    def node_full(self) -> None:
        """The node takes no more streams."""
        raise NotImplementedError

    # The node's stream and its connection.

    @property
    def is_repeatable(self) -> bool:
        """Whether another node may be asked, although one may have begun with the call."""
        raise NotImplementedError

    def accepted(self, head: ResponseHead) -> None:
        """The node has sent headers: it has accepted the call."""
        raise NotImplementedError

    def declined(self, head: ResponseHead) -> None:
        """The node has ended the call before it had accepted it."""
        raise NotImplementedError

    def finished(self, trailers: ResponseHead) -> None:
        """The node has ended the call that it had accepted."""
        raise NotImplementedError

    def not_processed(self, cause: str) -> None:
        """The node has not looked at the call, and says so. cause: for the metric, as below."""
        raise NotImplementedError

    def node_lost(self, cause: str) -> None:
        """The connection broke, or the node has left: how far it had come with the call nobody knows."""
        raise NotImplementedError

    def broken_off(self, error: AgentringError) -> None:
        """The node has ended the call by what is no response of gRPC's."""
        raise NotImplementedError

    def response_too_large(self, max_bytes: int) -> None:
        """The node sends a message beyond all bounds."""
        raise NotImplementedError

    def response_metadata_too_large(self) -> None:
        """The node sends headers or trailers beyond all bounds."""
        raise NotImplementedError

    # The router.

    def go_away(self) -> None:
        """The router is about to stop."""
        raise NotImplementedError
