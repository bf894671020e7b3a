"""What a peer may do, in numbers, and the buckets that count it."""

from dataclasses import dataclass

from agentring.http2.frames import Code, ConnectionBroken


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second on the average."""

    burst: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one client's connection; RouterSettings has each as a setting."""

    max_header_block_bytes: int = 64 << 10
    """As it is on the wire. A longer one is not read, and refused as METADATA_TOO_LARGE."""
    max_header_list_bytes: int = 8 << 10
    """Of a request's fields together, but for those that route, counted as HTTP/2 does. Beyond: METADATA_TOO_LARGE."""
    max_continuations: int = 32
    """Of one block; more end the connection."""
    max_streams: int = 10_000
    pings: Rate = Rate(200, 50)
    settings: Rate = Rate(50, 5)
    resets: Rate = Rate(1_000, 100)
    """Streams reset by the client, or by us because of what it sent, before their end."""
    idle_frames: Rate = Rate(10_000, 2_000)
    """Frames that carry nothing: empty DATA, PRIORITY, unknown ones, frames for streams that have ended."""
    first_frame_timeout_s: float = 10.0
    """For the connection's preface and SETTINGS, and for a call's first message."""
    reattach_timeout_s: float = 30.0
    """How long a call waits for its session's next owner."""
    idle_timeout_s: float = 900.0
    """Of a connection without a stream."""
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 10.0
    linger_s: float = 1.0
    """How long a connection that was ended is still read from, so that the peer can see why."""


class Bucket:
    """Counts one kind of frame on one connection."""

    __slots__ = ("_left", "_name", "_rate", "_since_s")

    def __init__(self, name: str, rate: Rate, now_s: float) -> None:
        """name: what is counted, for the peer and the metric."""
        self._name = name
        self._rate = rate
        self._left = float(rate.burst)
        self._since_s = now_s

    def take(self, now_s: float) -> None:
        """Counts one. Raises ConnectionBroken beyond the rate."""
        if not self.has_taken(now_s):
            raise TooMany(self._name)

    def has_taken(self, now_s: float) -> bool:
        """Counts one, unless that is beyond the rate."""
        if self._left < 1:
            grown = self._left + (now_s - self._since_s) * self._rate.per_s
            self._left = min(float(self._rate.burst), grown)
            self._since_s = now_s
            if self._left < 1:
                return False
        self._left -= 1
        return True


class TooMany(ConnectionBroken):
    """More frames of a kind than the limit."""

    def __init__(self, what: str) -> None:
        """what: the kind."""
        super().__init__(Code.ENHANCE_YOUR_CALM, f"too many {what}")
        self.what = what
