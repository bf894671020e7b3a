"""A header block that HEADERS has begun and CONTINUATION frames go on with."""

from agentring.http2.frames import END_STREAM
from agentring.http2.limits import Limits, TooMany


class HeaderBlock:
    """What has come of it: no more of it is kept than the limit allows."""

    __slots__ = ("_continuations", "_limits", "bytes", "end_stream", "oversized", "self_dependent", "stream_id")

    def __init__(self, limits: Limits, stream_id: int, flags: int, payload: bytes) -> None:
        """flags: of HEADERS, which say whether they end the stream."""
        self._limits = limits
        self._continuations = 0
        self.stream_id = stream_id
        self.end_stream = bool(flags & END_STREAM)
        self.bytes = bytearray(payload)
        self.self_dependent = False
        self.oversized = False
        """It is longer than the limit; the rest is dropped."""

    def go_on(self, payload: bytes) -> None:
        """A CONTINUATION. Raises TooMany."""
        self._continuations += 1
        if self._continuations > self._limits.max_continuations:
            raise TooMany("continuations")
        if len(self.bytes) + len(payload) > self._limits.max_header_block_bytes:
            self.oversized = True
        else:
            self.bytes += payload
