"""A stream to a node whose call has left it, and whose reset is delayed: see NodeConnection.abandon_stream.

Guarantees that nothing that the node still says there reaches a call, and that it is granted nothing more.
"""

from __future__ import annotations

from agentring.http2.budget import Budget
from agentring.http2.frames import Code
from agentring.http2.stream import Stream


class AbandonedStream(Stream):
    """The stream, until it is reset or the node has ended it."""

    __slots__ = ()

    def __init__(self, abandoned: Stream, budget: Budget) -> None:
        """abandoned: the stream that the call had, whose place it takes."""
        super().__init__(abandoned.connection, abandoned.id, abandoned.granted, budget)
        self.receive_ended = abandoned.receive_ended
        abandoned.connection.streams[abandoned.id] = self

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """As Stream."""
        self.granted -= length
        self.check_granted()

    def receive_end(self) -> None:
        """As Stream."""
        self.reset(Code.CANCEL)

    def receive_reset(self, code: int) -> None:
        """As Stream."""

    def connection_lost(self) -> None:
        """As Stream."""

    def broken(self) -> None:
        """As Stream."""
        self.connection.forget(self, peer_may_send=True)

    def shed(self) -> None:
        """As Stream: nothing waits here."""

    def replenish(self) -> None:
        """As Stream."""
        self.check_granted()

    def drained(self) -> None:
        """As Stream."""

    def sending_ended(self) -> None:
        """As Stream."""
