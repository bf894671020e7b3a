"""When a response's headers leave that no message has followed yet.

A call is mostly accepted a moment before its first message, and each write costs its peer a read, and a router between
one more of both. Guarantees: headers wait for the first message or the call's end, no longer than a few rounds of the
event loop, and where they go with neither, they go by themselves. Owned by ServerContext; used by its streams.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_ROUNDS: Final = 4
"""What a turn's acceptance takes until it is published, and one more."""


class AcceptedCall(Protocol):
    """A call that was accepted."""

    def send_head(self) -> None:
        """Sends the headers, if they still wait."""


class LateHeads:
    """The calls of one server whose headers wait."""

    __slots__ = ("_count", "_loop", "_rounds", "_turning")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """None waits."""
        self._loop = loop
        self._rounds: list[list[AcceptedCall]] = [[] for _ in range(_ROUNDS)]
        """By the round in which they are sent at the latest, the next one first."""
        self._count = 0
        self._turning = False

    def wait(self, call: AcceptedCall) -> None:
        """The call's headers are sent after some rounds, if they have not been until then."""
        self._rounds[-1].append(call)
        self._count += 1
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._round)

    def sent(self) -> None:
        """A call's headers wait no more."""
        self._count -= 1

    def _round(self) -> None:
        due = self._rounds.pop(0)
        self._rounds.append([])
        for call in due:
            call.send_head()
        if self._count > 0:
            self._loop.call_soon(self._round)
        else:
            self._turning = False
            for waiting in self._rounds:
                waiting.clear()
