"""What an endpoint sends is bounded while it is read: an event without an end would fill the node's memory.

Guarantees: an answer is given up once it has more than the most bytes without the end of a line, and one that is an
error once it has more than the most bytes at all. Used by openai_model.py.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

MOST_LINE_BYTES = 16 << 20
"""An answer's events have some hundred bytes each; the largest is that of a whole answer at once, of 4 MiB."""
MOST_ERROR_BYTES = 1 << 20


class Endless(Exception):
    """The endpoint sends more than any answer has."""


def bounding(client_type: type) -> Callable[[Any], Awaitable[None]]:
    """A hook for each response. client_type: of the openai package's own client, which is that of httpx, or of what the
    package has in its place."""
    http: Any = sys.modules[client_type.__bases__[0].__module__.partition(".")[0]]

    class Bounded(http.AsyncByteStream):  # type: ignore[misc]
        """The bytes of one response."""

        def __init__(self, stream: Any, *, is_error: bool) -> None:
            self._stream = stream
            self._is_error = is_error

        async def __aiter__(self) -> AsyncIterator[bytes]:
            most_bytes = MOST_ERROR_BYTES if self._is_error else MOST_LINE_BYTES
            size_bytes = 0
            async for piece in self._stream:
                end = -1 if self._is_error else piece.rfind(b"\n")
                size_bytes = size_bytes + len(piece) if end < 0 else len(piece) - end - 1
                if size_bytes > most_bytes:
                    raise Endless(f"more than {most_bytes} bytes without an end")
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def bound(response: Any) -> None:
        response.stream = Bounded(response.stream, is_error=response.is_error)

    return bound
