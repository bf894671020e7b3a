"""The messages a client sends on one call, kept until a node has accepted the call.

Guarantees: no message is lost or reordered whichever node takes the call in the end: until `accept`, each attempt
reads them again from the first; memory stays bounded (KEPT_BYTES, at least one message), beyond that the client is
slowed down by gRPC's flow control. The reading is one task for the whole call, because a cancelled read would lose
its message. Called by the relay."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from agentring.errors import AgentringError, FirstFrameTimeout
from agentring.rpc.limits import check_message

KEPT_BYTES = 1 << 20


class ClientMessages:
    """The call's messages from the client."""

    def __init__(self, read: Callable[[], Awaitable[bytes | None]]) -> None:
        """read: the next message; None: the client has closed its side."""
        self._read = read
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._first = 0
        """The place on the stream of the first one kept."""
        self._accepted = False
        self._ended = False
        self._error: AgentringError | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Reads until the client has closed its side or sent what cannot be carried; the owner cancels it."""
        while not self._ended:
            while self._kept and self._kept_bytes >= KEPT_BYTES:
                await self._wait()
            message = await self._read()
            if message is None:
                self._ended = True
            else:
                try:
                    check_message(message)
                except AgentringError as error:
                    self._error, self._ended = error, True
                else:
                    self._kept.append(message)
                    self._kept_bytes += len(message)
            self._notify()

    async def first(self, timeout_s: float) -> bytes | None:
        """The first message, which stays kept; None: the client closed its side without any. Raises FirstFrameTimeout,
        MessageTooLarge."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self.get(0)
        except TimeoutError:
            raise FirstFrameTimeout from None

    async def get(self, place: int) -> bytes | None:
        """The message at a place on the stream, from 0; None: the client closed its side before. Raises
        MessageTooLarge. Places must grow by one within an attempt; once accepted, a message is dropped when the next
        is asked for."""
        while True:
            if self._accepted:
                self._drop_before(place)
            if place - self._first < len(self._kept):
                return self._kept[place - self._first]
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            await self._wait()

    def accept(self) -> None:
        """A node has taken the call: there will be no other attempt."""
        self._accepted = True
        self._notify()

    def _drop_before(self, place: int) -> None:
        dropped = False
        while self._kept and self._first < place:
            self._kept_bytes -= len(self._kept.popleft())
            self._first += 1
            dropped = True
        if dropped:
            self._notify()

    async def _wait(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
