"""What a connection tells a stream, and what a stream's sending half tells its receiving half.

A native base class, not a Protocol: the streams and their connections are compiled together (hatch_build.py).
"""


class StreamEvents:
    """What happens on a stream; the derived classes say what follows."""

    __slots__ = ()

    def receive_data(self, buffer: bytes, start: int, length: int) -> None:
        """DATA came: length bytes of the buffer. Raises ConnectionBroken."""
        raise NotImplementedError

    def receive_end(self) -> None:
        """The peer has ended its side."""
        raise NotImplementedError

    def receive_reset(self, code: int) -> None:
        """The peer has ended the stream; the connection has forgotten it."""
        raise NotImplementedError

    def connection_lost(self) -> None:
        """The connection has ended and has forgotten the stream."""
        raise NotImplementedError

    def broken(self) -> None:
        """The peer broke the protocol on this stream, and was sent RST_STREAM."""
        raise NotImplementedError

    def replenish(self) -> None:
        """Grants the peer what can be taken, and checks that it did not send more than was granted."""
        raise NotImplementedError

    def drained(self) -> None:
        """Something that waited was sent."""
        raise NotImplementedError

    def sending_ended(self) -> None:
        """Our side has ended; with the peer's ended too the stream is over."""
        raise NotImplementedError

    def shed(self) -> None:
        """As Holder (budget.py): what waits here has waited too long."""
        raise NotImplementedError
